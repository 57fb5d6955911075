//! A moment of history as a diagnosis.
//!
//! Never fills in what history does not keep: it is absent, and a note says so.

use std::time::{Duration, Instant};

use grey_model::{
    Breakdown, BreakdownRow, Bytes, CgroupField, CgroupPath, GroupBy, Meminfo, MemoryLimit,
    ResolvedTarget, RowName, Sample, SystemField, Target, Vmstat,
};

use super::document::{self, Diagnosis, Swap};
use super::leaks::document::LeakDetection;
use super::smaller;
use crate::cli::GlobalOptions;
use crate::failure::Failure;
use crate::history;
use crate::history::folds;
use crate::history::past::ROWS;
use crate::moment::Moment;
use crate::scope::Scope;

/// What history knows of `moment`, or of the targets then, to be folded `by`; and
/// how long after boot that was.
///
/// # Errors
/// A [`Failure`] when there is no history, the moment is outside of it, its sample
/// lacks what every machine has, has nothing of a target, or not by what is folded.
pub(super) fn at(
    global: &GlobalOptions,
    moment: &Moment,
    targets: &[Target],
    by: Option<GroupBy>,
) -> Result<(Diagnosis, Duration), Failure> {
    let begun = Instant::now();
    if let Some(by) = by {
        folds::require(global, "memory-diagnose", targets, moment, by)?;
    }
    let mut history = history::command::open(global)?;
    let words = "memory-diagnose --at";
    let mut sample = history::command::sample_at(global, &mut history, moment, words)?;
    let mut notes = notes();
    notes.extend(history::command::missing(&history));
    let cgroups = history::past::take_cgroups(&mut history, &mut sample)
        .map_err(|error| history::record::history_failure(&error))?;
    notes.extend(cgroups.note());
    let mut diagnosis = diagnosis(&sample)?;
    if !targets.is_empty() {
        let found = history::target::resolve_all(global, &sample, targets, &mut notes)?;
        narrow(&mut diagnosis, found);
    }
    if by.is_some() || !targets.is_empty() {
        notes.push(of_the_largest(&sample));
        let by = by.unwrap_or(GroupBy::Program);
        notes.extend(smaller::notes(&sample, targets, by));
    }
    diagnosis.notes = notes;
    diagnosis.taken_in_seconds = begun.elapsed().as_secs_f64();
    Ok((diagnosis, Duration::from_millis(sample.since_boot_ms)))
}

/// Leaves everybody out but the targets, and every cgroup that they are in.
fn narrow(diagnosis: &mut Diagnosis, targets: Vec<ResolvedTarget>) {
    let scope = Scope::of(&targets);
    let is_above = |path: &CgroupPath| {
        let mut of_targets = targets.iter().filter_map(|target| target.cgroup.as_ref());
        of_targets.any(|cgroup| path.contains(cgroup))
    };
    let (processes, cgroups) = (&mut diagnosis.processes, &mut diagnosis.cgroups);
    processes.retain(|process| scope.has(process.id, &process.name, process.cgroup.as_ref()));
    cgroups.retain(|group| scope.has_cgroup(&group.path) || is_above(&group.path));
    diagnosis.targets = Some(targets);
}

/// That what is summed up here is not all that there was.
fn of_the_largest(sample: &Sample) -> String {
    let kept = sample.processes.len();
    let of = sample.system.get(SystemField::Processes);
    let of = of.map_or_else(String::new, |of| format!(" of {of}"));
    format!(
        "sums are of the {kept}{of} processes alone that were kept, which were the largest of the \
         machine then: smaller ones are in none of them"
    )
}

fn notes() -> Vec<String> {
    vec![
        "from history: it keeps the largest processes and cgroups alone, and of the machine \
         neither the averages of pressure, nor swap devices, nor KSM; the residual holds every \
         row that it lacks"
            .to_owned(),
        "PSS is what the recorder had read last, moved by what RSS did since".to_owned(),
    ]
}

fn diagnosis(sample: &Sample) -> Result<Diagnosis, Failure> {
    let snapshot = history::past::snapshot(sample)?;
    let value = |field| sample.system.get(field);
    let bytes = |field| value(field).map(Bytes);
    let meminfo = Meminfo {
        mem_total: bytes(SystemField::Total),
        mem_free: bytes(SystemField::Free),
        mem_available: bytes(SystemField::Available),
        anon_pages: bytes(SystemField::Anonymous),
        shmem: bytes(SystemField::Shared),
        s_reclaimable: bytes(SystemField::SlabReclaimable),
        s_unreclaim: bytes(SystemField::SlabUnreclaimable),
        page_tables: bytes(SystemField::PageTables),
        swap_total: bytes(SystemField::SwapTotal),
        swap_free: bytes(SystemField::SwapTotal)
            .zip(bytes(SystemField::SwapUsed))
            .map(|(total, used)| total.saturating_sub(used)),
        zswap: bytes(SystemField::Zswap),
        ..Meminfo::default()
    };
    let mut processes = snapshot.processes;
    history::past::complete(&mut processes, sample);
    let mut cgroups = snapshot.cgroups;
    for (group, kept) in cgroups.iter_mut().zip(sample.cgroups.iter().flatten()) {
        let limit = kept.values.get(CgroupField::Limit);
        group.effective_limit = limit.map(|limit| MemoryLimit::Bytes(Bytes(limit)));
    }
    Ok(Diagnosis {
        schema: document::SCHEMA,
        host: snapshot.host,
        system: snapshot.system,
        breakdown: breakdown(sample, snapshot.system.total),
        pressure: None,
        swap: Swap::new(&meminfo, Vec::new(), Vec::new(), None),
        meminfo,
        ksm: None,
        vmstat: Vmstat {
            oom_kill: value(SystemField::OomKills),
            pgmajfault: value(SystemField::MajorFaults),
            pswpin: value(SystemField::SwapIn),
            pswpout: value(SystemField::SwapOut),
            workingset_refault_anon: value(SystemField::RefaultAnonymous),
            workingset_refault_file: value(SystemField::RefaultFile),
            pgscan_direct: value(SystemField::ScannedDirect),
            pgscan_kswapd: value(SystemField::ScannedKswapd),
            ..Vmstat::default()
        },
        targets: None,
        processes,
        grouped_by: None,
        groups: None,
        cgroups,
        unreadable_processes: None,
        cold: None,
        recorded: true,
        taken_at_unix_seconds: snapshot.taken_at.unwrap_or_default(),
        taken_in_seconds: 0.0,
        taken_by_pid: None,
        leak_detection: LeakDetection::default(),
        notes: Vec::new(),
    })
}

/// The rows that are known; the rest is the residual.
fn breakdown(sample: &Sample, total: Bytes) -> Breakdown {
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let mut rows: Vec<BreakdownRow> = ROWS
        .iter()
        .filter_map(|&(name, field)| {
            let bytes = signed(sample.system.get(field)?);
            Some(BreakdownRow { name, bytes })
        })
        .collect();
    let known = rows
        .iter()
        .fold(0_i64, |sum, row| sum.saturating_add(row.bytes));
    rows.push(BreakdownRow {
        name: RowName::Residual,
        bytes: signed(total.get()).saturating_sub(known),
    });
    Breakdown(rows)
}
