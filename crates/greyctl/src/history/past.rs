//! A sample as a snapshot, to be compared with another.
//!
//! What a sample does not have stays unknown; it never becomes 0.

use std::ops::ControlFlow;

use grey_model::{
    Bytes, CgroupField, CgroupSample, Owner, ProcessField, ProcessMemory, ProcessSample, RowName,
    Sample, Snapshot, SystemField,
};
use grey_telemetry::history::{History, HistoryError};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::exit_code::Exit;
use crate::failure::Failure;
use crate::moment::shown;

/// The rows of the breakdown that a sample knows.
pub(crate) const ROWS: [(RowName, SystemField); 10] = [
    (RowName::Free, SystemField::Free),
    (RowName::FreePerCpuLists, SystemField::FreePerCpuLists),
    (RowName::Anonymous, SystemField::Anonymous),
    (RowName::FileCache, SystemField::FileCache),
    (RowName::Shared, SystemField::Shared),
    (RowName::SlabReclaimable, SystemField::SlabReclaimable),
    (RowName::SlabUnreclaimable, SystemField::SlabUnreclaimable),
    (RowName::PageTables, SystemField::PageTables),
    (RowName::ZswapPool, SystemField::Zswap),
    (RowName::ZramPool, SystemField::Zram),
];

/// The cgroups are not in each sample: those of so long before are looked for,
/// in milliseconds.
const CGROUPS_BEFORE_MS: u64 = 60_000;

/// Of when the cgroups of a sample are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CgroupsOf {
    /// Of the sample itself.
    Itself,
    /// Of one before it, taken then, in milliseconds since 1970.
    Before(u64),
    /// There are none.
    Nothing,
}

impl CgroupsOf {
    /// What to know of it.
    pub(crate) fn note(self) -> Option<String> {
        match self {
            Self::Itself => None,
            Self::Before(at) => {
                let at = shown(at, &TimeZone::system());
                Some(format!(
                    "the cgroups are those of {at}: they are not read for each sample"
                ))
            }
            Self::Nothing => Some("the cgroups were not read in the minute before".to_owned()),
        }
    }
}

/// Gives a sample without cgroups those of the last one before it that has some,
/// and the groups of processes that were read with them.
///
/// # Errors
/// [`HistoryError`] when a file cannot be read.
pub(crate) fn take_cgroups(
    history: &mut History,
    sample: &mut Sample,
) -> Result<CgroupsOf, HistoryError> {
    if sample.cgroups.is_some() {
        return Ok(CgroupsOf::Itself);
    }
    let (until, boot) = (sample.at_unix_ms, sample.boot.clone());
    let mut found = None;
    let each = |before: Sample| {
        if before.boot == boot
            && let Some(cgroups) = before.cgroups
        {
            found = Some((before.at_unix_ms, cgroups, before.groups));
        }
        ControlFlow::Continue(())
    };
    history.samples(until.saturating_sub(CGROUPS_BEFORE_MS), until, each)?;
    Ok(match found {
        Some((at, cgroups, groups)) => {
            sample.cgroups = Some(cgroups);
            sample.groups = groups;
            CgroupsOf::Before(at)
        }
        None => CgroupsOf::Nothing,
    })
}

/// What `sample` knows of the machine.
///
/// # Errors
/// A [`Failure`] when it lacks a number that every machine has.
pub(crate) fn snapshot(sample: &Sample) -> Result<Snapshot, Failure> {
    let system = |field| sample.system.get(field);
    let rows = ROWS.iter().filter_map(|&(name, field)| {
        let bytes = system(field)?;
        Some(json!({ "name": name, "bytes": bytes }))
    });
    let groups = sample.cgroups.iter().flatten();
    let document = json!({
        "taken_at_unix_seconds": seconds(sample.at_unix_ms),
        "host": {
            "kernel": null, "boot_id": boot(sample), "cgroup_mode": "none",
            "page_size_bytes": 0, "systemd": false, "container": false,
        },
        "system": {
            "total_bytes": system(SystemField::Total),
            "available_bytes": system(SystemField::Available),
            "used_bytes": system(SystemField::Used).or(used_without_available(sample)),
            "free_bytes": system(SystemField::Free),
        },
        "breakdown": rows.collect::<Vec<_>>(),
        "swap": { "used_bytes": system(SystemField::SwapUsed).unwrap_or_default() },
        "targets": null,
        "processes": sample.processes.iter().map(process).collect::<Vec<_>>(),
        "cgroups": groups.map(group).collect::<Vec<_>>(),
        "unreadable_processes": 0,
    });
    serde_json::from_value(document).map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("failed to compare a sample of history: {error}"),
        )
    })
}

/// Gives the processes of `sample`'s snapshot what is shown of them, and not
/// compared: PSS as the recorder had it, and the unit and the container that the
/// path of the cgroup tells.
pub(crate) fn complete(processes: &mut [ProcessMemory], sample: &Sample) {
    let systemd = has_systemd(sample);
    for (memory, kept) in processes.iter_mut().zip(&sample.processes) {
        let owner = memory.cgroup.as_ref().map(|path| Owner::of(path, systemd));
        memory.unit = owner.as_ref().and_then(Owner::unit).map(str::to_owned);
        memory.container = owner.as_ref().and_then(Owner::container);
        memory.pss = kept.values.get(ProcessField::Pss).map(Bytes);
    }
}

/// Whether systemd managed the machine: it makes these three before all others,
/// and nobody else does.
pub(crate) fn has_systemd(sample: &Sample) -> bool {
    const ITS_OWN: [&[u8]; 3] = [b"init.scope", b"system.slice", b"user.slice"];
    let of_processes = sample.processes.iter();
    let of_processes = of_processes.filter_map(|process| process.key.cgroup.as_ref());
    let groups = sample.cgroups.iter().flatten().map(|group| &group.path);
    let mut paths = of_processes.chain(groups);
    paths.any(|path| {
        path.components()
            .next()
            .is_some_and(|first| ITS_OWN.contains(&first))
    })
}

/// Before 3.14 nobody knew what is available.
fn used_without_available(sample: &Sample) -> Option<u64> {
    let total = sample.system.get(SystemField::Total)?;
    Some(total.saturating_sub(sample.system.get(SystemField::Free)?))
}

fn boot(sample: &Sample) -> Option<&str> {
    Some(sample.boot.0.as_str()).filter(|boot| !boot.is_empty())
}

/// Milliseconds as seconds; a moment of our time is exact to the microsecond.
fn seconds(unix_ms: u64) -> f64 {
    std::time::Duration::from_millis(unix_ms).as_secs_f64()
}

fn process(process: &ProcessSample) -> Value {
    let value = |field| process.values.get(field);
    json!({
        "pid": process.key.id.pid,
        "start_time_ticks": process.key.id.start_time_ticks,
        "parent_pid": 0,
        "name": process.key.name,
        "state": "unknown",
        "kernel_thread": false,
        "cpu_time_ticks": value(ProcessField::CpuTime),
        "rss_bytes": value(ProcessField::Rss),
        "rss_anon_bytes": value(ProcessField::Anonymous),
        "rss_shmem_bytes": value(ProcessField::Shared),
        "swap_bytes": value(ProcessField::Swap),
        "cgroup": process.key.cgroup,
    })
}

fn group(group: &CgroupSample) -> Value {
    let value = |field| group.values.get(field);
    json!({
        "path": group.path,
        // History knows a cgroup by its path alone.
        "id": 0,
        "current_bytes": value(CgroupField::Current),
        "swap_current_bytes": value(CgroupField::Swap),
        "can_reclaim": false,
    })
}
