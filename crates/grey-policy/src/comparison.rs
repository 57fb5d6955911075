//! Compares two snapshots: the machine, its processes, programs and cgroups.
//!
//! Never matches processes by pid alone: a pid with another start time, or of
//! another boot, is another process.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use grey_model::{
    Bytes, CgroupDelta, CgroupMemory, Comparison, Fate, KernelText, ProcessDelta, ProcessId,
    ProcessMemory, ProcessState, ProgramDelta, RowDelta, Snapshot, SystemDelta,
};

/// The rows of the breakdown that are file cache.
const CACHE_ROWS: [&str; 4] = ["file_active", "file_inactive", "file_other", "file_cache"];

/// The row of the pages that are free and that neither `MemFree` nor
/// `MemAvailable` counts.
const LISTED_ROW: &str = "free_per_cpu_lists";

/// Snapshots that cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// One is of these targets, the other of others or of the whole machine.
    #[error("the snapshots are not of the same targets: `{before}` and `{after}`")]
    OtherTargets {
        /// What the earlier is limited to.
        before: String,
        /// What the later is limited to.
        after: String,
    },
}

/// What changed from `before` to `after`. Whichever is given first is taken
/// for the earlier.
///
/// # Errors
/// [`CompareError`] when they do not show the same part of a machine.
pub fn compare(before: &Snapshot, after: &Snapshot) -> Result<Comparison, CompareError> {
    if targets(before) != targets(after) {
        return Err(CompareError::OtherTargets {
            before: shown_targets(before),
            after: shown_targets(after),
        });
    }
    let same_boot = match (&before.host.boot_id, &after.host.boot_id) {
        (Some(before), Some(after)) => Some(before == after),
        _ => None,
    };
    Ok(Comparison {
        elapsed_seconds: before
            .taken_at
            .zip(after.taken_at)
            .map(|(before, after)| after - before),
        same_boot,
        system: system(before, after),
        breakdown: rows(before, after),
        processes: processes(before, after, same_boot != Some(false)),
        programs: programs(before, after),
        cgroups: cgroups(before, after, same_boot != Some(false)),
    })
}

fn targets(snapshot: &Snapshot) -> Option<BTreeSet<&str>> {
    let targets = snapshot.targets.as_ref()?;
    Some(targets.iter().map(|target| target.typed.as_str()).collect())
}

fn shown_targets(snapshot: &Snapshot) -> String {
    targets(snapshot).map_or_else(
        || "the whole machine".to_owned(),
        |targets| targets.into_iter().collect::<Vec<_>>().join(", "),
    )
}

fn system(before: &Snapshot, after: &Snapshot) -> SystemDelta {
    let delta = |before: Bytes, after: Bytes| after.signed_difference(before);
    let (pss_delta_bytes, pss_unknown_processes) = pss(before, after);
    // Pages move between these lists and `MemFree` all the time, by megabytes.
    let listed = listed(before).zip(listed(after));
    let (listed_before, listed_after) = listed.unwrap_or_default();
    let used = |snapshot: &Snapshot, listed| snapshot.system.used.saturating_sub(listed);
    let (used_before, used_after) = (used(before, listed_before), used(after, listed_after));
    let free = |snapshot: &Snapshot, listed| snapshot.system.free.saturating_add(listed);
    let available = |snapshot: &Snapshot, listed| {
        let available = snapshot.system.available;
        available.map(|available| available.saturating_add(listed))
    };
    SystemDelta {
        used_delta_bytes: delta(used_before, used_after),
        available_delta_bytes: available(before, listed_before)
            .zip(available(after, listed_after))
            .map(|(before, after)| delta(before, after)),
        free_delta_bytes: delta(free(before, listed_before), free(after, listed_after)),
        per_cpu_free_lists_delta_bytes: listed.map(|(before, after)| delta(before, after)),
        swap_used_delta_bytes: delta(Bytes(before.swap.used_bytes), Bytes(after.swap.used_bytes)),
        cache_delta_bytes: cache(before)
            .zip(cache(after))
            .map(|(before, after)| after.saturating_sub(before)),
        rss_delta_bytes: delta(rss(before), rss(after)),
        pss_delta_bytes,
        pss_unknown_processes,
        reduction_percent: reduction(used_before, used_after),
    }
}

/// The free pages on the lists of single CPUs.
fn listed(snapshot: &Snapshot) -> Option<Bytes> {
    let mut rows = snapshot.breakdown.iter();
    let row = rows.find(|row| row.name == LISTED_ROW)?;
    u64::try_from(row.bytes).ok().map(Bytes)
}

/// How many percent smaller `after` is; negative when it is larger.
fn reduction(before: Bytes, after: Bytes) -> Option<f64> {
    let left = after.percent_of(before)?;
    Some(100.0 - left.0)
}

fn cache(snapshot: &Snapshot) -> Option<i64> {
    let mut sum = None;
    for row in &snapshot.breakdown {
        if CACHE_ROWS.contains(&row.name.as_str()) {
            sum = Some(sum.unwrap_or(0_i64).saturating_add(row.bytes));
        }
    }
    sum
}

fn rss(snapshot: &Snapshot) -> Bytes {
    snapshot
        .processes
        .iter()
        .filter_map(|process| process.rss)
        .sum()
}

/// The sum of PSS, later minus earlier, and how many processes are left out of
/// it: those whose PSS is unknown in a snapshot that has them.
fn pss(before: &Snapshot, after: &Snapshot) -> (Option<i64>, u64) {
    let unknown: BTreeSet<ProcessId> = before
        .processes
        .iter()
        .chain(&after.processes)
        .filter(|process| has_memory(process) && process.pss.is_none())
        .map(|process| process.id)
        .collect();
    let sum = |snapshot: &Snapshot| -> Bytes {
        let known = snapshot.processes.iter();
        known
            .filter(|process| !unknown.contains(&process.id))
            .filter_map(|process| process.pss)
            .sum()
    };
    let known = |snapshot: &Snapshot| {
        let mut processes = snapshot.processes.iter();
        processes.any(|process| process.pss.is_some() && !unknown.contains(&process.id))
    };
    let delta = (unknown.is_empty() || known(before) || known(after))
        .then(|| sum(after).signed_difference(sum(before)));
    (delta, unknown.len() as u64)
}

/// Whether it has memory of its own to speak of.
fn has_memory(process: &ProcessMemory) -> bool {
    !process.kernel_thread && process.state != ProcessState::Zombie
}

fn rows(before: &Snapshot, after: &Snapshot) -> Vec<RowDelta> {
    let find = |snapshot: &Snapshot, name: &str| {
        let row = snapshot.breakdown.iter().find(|row| row.name == name);
        row.map(|row| row.bytes)
    };
    let only_before = before
        .breakdown
        .iter()
        .filter(|row| find(after, &row.name).is_none());
    after
        .breakdown
        .iter()
        .chain(only_before)
        .map(|row| {
            let (before, after) = (find(before, &row.name), find(after, &row.name));
            RowDelta {
                name: row.name.clone(),
                before_bytes: before,
                after_bytes: after,
                delta_bytes: before
                    .zip(after)
                    .map(|(before, after)| after.saturating_sub(before)),
            }
        })
        .collect()
}

fn processes(before: &Snapshot, after: &Snapshot, matched: bool) -> Vec<ProcessDelta> {
    let earlier: BTreeMap<ProcessId, &ProcessMemory> = before
        .processes
        .iter()
        .map(|process| (process.id, process))
        .collect();
    let later: BTreeSet<ProcessId> = after.processes.iter().map(|process| process.id).collect();
    let mut deltas = Vec::new();
    for process in &after.processes {
        let was = earlier.get(&process.id).copied().filter(|_| matched);
        deltas.push(process_delta(was, Some(process)));
    }
    for process in &before.processes {
        if !matched || !later.contains(&process.id) {
            deltas.push(process_delta(Some(process), None));
        }
    }
    let mut changed: Vec<ProcessDelta> = deltas.into_iter().flatten().collect();
    changed.sort_by_key(|delta| (Reverse(size(delta.delta_bytes)), delta.id));
    changed
}

/// `None` when nothing changed, or there never was anything.
fn process_delta(
    before: Option<&ProcessMemory>,
    after: Option<&ProcessMemory>,
) -> Option<ProcessDelta> {
    let either = after.or(before)?;
    if !has_memory(before.unwrap_or(either)) && !has_memory(either) {
        return None;
    }
    let by_pss = [before, after]
        .into_iter()
        .flatten()
        .all(|process| process.pss.is_some());
    let resident = |process: &ProcessMemory| if by_pss { process.pss } else { process.rss };
    let swapped = |process: &ProcessMemory| {
        if by_pss {
            process.swap_pss.or(process.swap)
        } else {
            process.swap
        }
    };
    let amounts = |process: Option<&ProcessMemory>| {
        process.map(|process| (resident(process), swapped(process)))
    };
    let (was, is) = (amounts(before), amounts(after));
    let delta = total(was)
        .zip(total(is))
        .map(|(was, is)| is.signed_difference(was));
    let fate = fate(was, is, delta)?;
    Some(ProcessDelta {
        id: either.id,
        name: either.name.clone(),
        fate,
        rss_before: before.and_then(|process| process.rss),
        rss_after: after.and_then(|process| process.rss),
        pss_before: before.and_then(|process| process.pss),
        pss_after: after.and_then(|process| process.pss),
        swap_before: before.and_then(|process| process.swap),
        swap_after: after.and_then(|process| process.swap),
        delta_bytes: delta,
    })
}

/// Memory and swap: what is there, and how much of each is known.
type Amounts = Option<(Option<Bytes>, Option<Bytes>)>;

/// Both together. What is not there has none; memory that is unknown makes the
/// sum unknown, while swap that is unknown is taken for none.
fn total(amounts: Amounts) -> Option<Bytes> {
    match amounts {
        None => Some(Bytes::ZERO),
        Some((memory, swap)) => Some(memory?.saturating_add(swap.unwrap_or_default())),
    }
}

fn fate(was: Amounts, is: Amounts, delta: Option<i64>) -> Option<Fate> {
    match (was, is, delta) {
        (None, None, _) => None,
        (None, Some(_), _) => Some(Fate::Appeared),
        (Some(_), None, _) => Some(Fate::Went),
        (Some(_), Some(_), None) => Some(Fate::Unknown),
        (Some(_), Some(_), Some(1..)) => Some(Fate::Grew),
        (Some(_), Some(_), Some(..0)) => Some(Fate::Shrank),
        (Some(was), Some(is), Some(0)) => (was != is).then_some(Fate::Moved),
    }
}

/// By what a change is ordered; an unknown one comes last.
fn size(delta: Option<i64>) -> u64 {
    delta.map_or(0, i64::unsigned_abs)
}

/// One program's processes in a snapshot.
#[derive(Default)]
struct Program {
    count: u64,
    pss: Option<Bytes>,
    rss: Option<Bytes>,
    swap: Bytes,
}

fn programs_of(snapshot: &Snapshot) -> BTreeMap<&KernelText, Program> {
    let mut programs: BTreeMap<&KernelText, Program> = BTreeMap::new();
    for process in snapshot
        .processes
        .iter()
        .filter(|process| has_memory(process))
    {
        let program = programs.entry(&process.name).or_default();
        let add = |sum: Option<Bytes>, more: Option<Bytes>| match program.count {
            0 => more,
            _ => sum.zip(more).map(|(sum, more)| sum.saturating_add(more)),
        };
        (program.pss, program.rss) = (add(program.pss, process.pss), add(program.rss, process.rss));
        let swap = process.swap_pss.or(process.swap).unwrap_or_default();
        program.swap = program.swap.saturating_add(swap);
        program.count += 1;
    }
    programs
}

fn programs(before: &Snapshot, after: &Snapshot) -> Vec<ProgramDelta> {
    let (mut earlier, mut later) = (programs_of(before), programs_of(after));
    let names: BTreeSet<&KernelText> = earlier.keys().chain(later.keys()).copied().collect();
    let mut deltas = Vec::new();
    for name in names {
        // One that is not there has nothing, which is known.
        let nothing = || Program {
            pss: Some(Bytes::ZERO),
            rss: Some(Bytes::ZERO),
            ..Program::default()
        };
        let was = earlier.remove(name).unwrap_or_else(nothing);
        let is = later.remove(name).unwrap_or_else(nothing);
        let resident = was.pss.zip(is.pss).or_else(|| was.rss.zip(is.rss));
        let delta = resident.map(|(was_resident, is_resident)| {
            let sum = |resident: Bytes, swap: Bytes| resident.saturating_add(swap);
            sum(is_resident, is.swap).signed_difference(sum(was_resident, was.swap))
        });
        if delta != Some(0) || was.count != is.count {
            deltas.push(ProgramDelta {
                name: name.clone(),
                count_before: was.count,
                count_after: is.count,
                delta_bytes: delta,
            });
        }
    }
    deltas.sort_by(|one, other| {
        let key = |delta: &ProgramDelta| (Reverse(size(delta.delta_bytes)), delta.name.clone());
        key(one).cmp(&key(other))
    });
    deltas
}

fn cgroups(before: &Snapshot, after: &Snapshot, same_boot: bool) -> Vec<CgroupDelta> {
    // One that was made again is another, as long as its id means anything.
    let matches = |one: &CgroupMemory, other: &CgroupMemory| {
        one.path == other.path && (!same_boot || one.id == other.id)
    };
    let by_path: BTreeMap<_, _> = before
        .cgroups
        .iter()
        .map(|group| (&group.path, group))
        .collect();
    let still: BTreeMap<_, _> = after
        .cgroups
        .iter()
        .map(|group| (&group.path, group))
        .collect();
    let mut deltas = Vec::new();
    for group in &after.cgroups {
        let was = by_path
            .get(&group.path)
            .copied()
            .filter(|was| matches(was, group));
        deltas.push(cgroup_delta(was, Some(group)));
    }
    for group in &before.cgroups {
        if !still.get(&group.path).is_some_and(|is| matches(group, is)) {
            deltas.push(cgroup_delta(Some(group), None));
        }
    }
    let mut changed: Vec<CgroupDelta> = deltas.into_iter().flatten().collect();
    changed.sort_by(|one, other| {
        let key = |delta: &CgroupDelta| (Reverse(size(delta.delta_bytes)), delta.path.clone());
        key(one).cmp(&key(other))
    });
    changed
}

fn cgroup_delta(
    before: Option<&CgroupMemory>,
    after: Option<&CgroupMemory>,
) -> Option<CgroupDelta> {
    let either = after.or(before)?;
    let amounts =
        |group: Option<&CgroupMemory>| group.map(|group| (group.current, group.swap_current));
    let (was, is) = (amounts(before), amounts(after));
    let delta = total(was)
        .zip(total(is))
        .map(|(was, is)| is.signed_difference(was));
    let fate = fate(was, is, delta)?;
    let unknown_in_both = matches!((was, is), (Some((None, _)), Some((None, _))));
    (!unknown_in_both).then(|| CgroupDelta {
        path: either.path.clone(),
        fate,
        current_before: before.and_then(|group| group.current),
        current_after: after.and_then(|group| group.current),
        swap_before: before.and_then(|group| group.swap_current),
        swap_after: after.and_then(|group| group.swap_current),
        delta_bytes: delta,
    })
}
