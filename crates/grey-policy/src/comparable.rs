//! What of two samples of history can be compared.
//!
//! A sample keeps the largest processes and cgroups alone: what one of them
//! lacks may have been there, too small to be kept. Never takes that for what
//! appeared or went, and never guesses an amount: it is bounded by the smallest
//! that was kept.

use std::collections::BTreeSet;

use grey_model::{
    CgroupField, CgroupPath, CgroupSample, CgroupValues, Comparison, Fate, ProcessField, ProcessId,
    ProcessSample, ProcessValues, Sample,
};

/// How much a sample keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Whether the later sample has every process.
    pub later_has_all_processes: bool,
    /// Whether it has every cgroup.
    pub later_has_all_cgroups: bool,
    /// With fewer cgroups than this, a sample has all of them.
    pub most_cgroups: usize,
    /// The kernel's clock ticks in a second; 0 where unknown: then nothing is
    /// known to have started between the two.
    pub ticks_per_second: u64,
}

/// What became of those that only one of the two has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparability {
    /// Processes that were left out of both samples: whether and how much they
    /// changed cannot be told.
    pub processes_left_out: BTreeSet<ProcessId>,
    /// Cgroups that were.
    pub cgroups_left_out: BTreeSet<CgroupPath>,
    /// Processes that were there before without being kept, and are larger now
    /// than those that were: the earlier sample was given them with the most
    /// that they can have had, which makes their change the least that it was.
    pub at_most_before: BTreeSet<ProcessId>,
    /// Processes that the later sample lacks, and that were larger than those it
    /// kept: it was given them with the most that they can have. They ended, or
    /// fell at least so much.
    pub at_most_after: BTreeSet<ProcessId>,
    /// Cgroups that the earlier sample lacks in the same way.
    pub cgroups_entered: BTreeSet<CgroupPath>,
    /// Cgroups that the later sample lacks in the same way.
    pub cgroups_left: BTreeSet<CgroupPath>,
}

impl Comparability {
    /// Takes back, in the comparison of the two, what they were given: an amount
    /// that is the most that there can have been is none that was read, and what
    /// was not seen to begin or end did neither. Changes stay, as the least that
    /// they were.
    pub fn forget_bounds(&self, comparison: &mut Comparison) {
        let mut names = Vec::new();
        for delta in &mut comparison.processes {
            if self.at_most_before.contains(&delta.id) {
                (delta.rss_before, delta.swap_before) = (None, None);
            }
            if self.at_most_after.contains(&delta.id) {
                delta.fate = Fate::Left;
                (delta.rss_after, delta.swap_after) = (None, None);
                names.push(&delta.name);
            }
        }
        for program in &mut comparison.programs {
            let left = names.iter().filter(|name| **name == &program.name).count();
            let left = u64::try_from(left).unwrap_or(u64::MAX);
            program.count_after = program.count_after.saturating_sub(left);
        }
        for delta in &mut comparison.cgroups {
            if self.cgroups_entered.contains(&delta.path) {
                delta.fate = Fate::Entered;
                (delta.current_before, delta.swap_before) = (None, None);
            }
            if self.cgroups_left.contains(&delta.path) {
                delta.fate = Fate::Left;
                (delta.current_after, delta.swap_after) = (None, None);
            }
        }
    }
}

/// Leaves out of two samples of one boot what cannot be compared. What appeared
/// for certain (it started since) or went for certain (the later sample is
/// whole, or another process has its pid) stays. What is larger than the
/// smallest that the other one kept stays too, and the other one is given it
/// with the most that it can have had: see [`Comparability::forget_bounds`].
pub fn keep_comparable(before: &mut Sample, after: &mut Sample, extent: Extent) -> Comparability {
    let mut found = Comparability::default();
    processes(before, after, extent, &mut found);
    cgroups(before, after, extent, &mut found);
    found
}

fn processes(before: &mut Sample, after: &mut Sample, extent: Extent, found: &mut Comparability) {
    let smallest_before = before.processes.iter().map(ProcessSample::size).min();
    let smallest_after = after.processes.iter().map(ProcessSample::size).min();
    let then = before.since_boot_ms;
    let (mut bounded, mut bounded_after) = (Vec::new(), Vec::new());
    // Of two under one pid, the later one began when the other had ended.
    let pids = |sample: &Sample| -> BTreeSet<u32> {
        let processes = sample.processes.iter();
        processes.map(|process| process.key.id.pid).collect()
    };
    let (pids_before, pids_after) = (pids(before), pids(after));
    after.processes.retain(|process| {
        let id = process.key.id;
        // The same process, or one before it under its pid.
        if pids_before.contains(&id.pid) || started_after(id, then, extent.ticks_per_second) {
            return true;
        }
        match smallest_before {
            Some(smallest) if rss(process) > smallest => {
                found.at_most_before.insert(id);
                bounded.push(bounded_by(process, smallest));
                true
            }
            _ => {
                found.processes_left_out.insert(id);
                false
            }
        }
    });
    before.processes.retain(|process| {
        let id = process.key.id;
        if extent.later_has_all_processes || pids_after.contains(&id.pid) {
            return true;
        }
        match smallest_after {
            Some(smallest) if rss(process) > smallest => {
                found.at_most_after.insert(id);
                bounded_after.push(bounded_by(process, smallest));
                true
            }
            _ => {
                found.processes_left_out.insert(id);
                false
            }
        }
    });
    for (sample, bounded) in [(before, bounded), (after, bounded_after)] {
        sample.processes.extend(bounded);
        sample.processes.sort_by_key(|process| process.key.id);
    }
}

/// Whether it started after so many milliseconds since boot; the tick in which
/// both lie counts as after.
fn started_after(id: ProcessId, since_boot_ms: u64, ticks_per_second: u64) -> bool {
    id.started_by_ms(ticks_per_second)
        .is_some_and(|started| started > since_boot_ms)
}

/// The process as it was, or is, at most: no larger than the smallest that was kept;
/// with as much in swap as it has, of which nothing is known.
fn bounded_by(process: &ProcessSample, smallest: u64) -> ProcessSample {
    let swap = process.values.get(ProcessField::Swap);
    ProcessSample {
        key: process.key.clone(),
        values: ProcessValues::default()
            .with(ProcessField::Rss, Some(smallest))
            .with(ProcessField::Swap, swap),
    }
}

fn cgroups(before: &mut Sample, after: &mut Sample, extent: Extent, found: &mut Comparability) {
    let (Some(earlier), Some(later)) = (&mut before.cgroups, &mut after.cgroups) else {
        return;
    };
    let paths = |groups: &[CgroupSample]| -> BTreeSet<CgroupPath> {
        groups.iter().map(|group| group.path.clone()).collect()
    };
    // Below this, one that is missing may have been there.
    let floor = |groups: &[CgroupSample], is_whole: bool| match is_whole {
        true => None,
        false => groups.iter().map(size_of_cgroup).min(),
    };
    let before_has = paths(earlier);
    let after_has = paths(later);
    let floor_before = floor(earlier, earlier.len() < extent.most_cgroups);
    let floor_after = floor(
        later,
        extent.later_has_all_cgroups || later.len() < extent.most_cgroups,
    );
    // Those that stay although the other sample lacks them, as that may have them.
    let mut leave_out =
        |groups: &mut Vec<CgroupSample>, other: &BTreeSet<_>, floor: Option<u64>| {
            let mut bounded = Vec::new();
            groups.retain(|group| match floor {
                Some(_) if other.contains(&group.path) => true,
                None => true,
                Some(floor) if size_of_cgroup(group) > floor => {
                    bounded.push(cgroup_bounded_by(group, floor));
                    true
                }
                Some(_) => {
                    found.cgroups_left_out.insert(group.path.clone());
                    false
                }
            });
            bounded
        };
    let entered = leave_out(later, &before_has, floor_before);
    let left = leave_out(earlier, &after_has, floor_after);
    let paths = |groups: &[CgroupSample]| groups.iter().map(|group| group.path.clone()).collect();
    (found.cgroups_entered, found.cgroups_left) = (paths(&entered), paths(&left));
    for (groups, bounded) in [(earlier, entered), (later, left)] {
        groups.extend(bounded);
        groups.sort_by(|one, other| one.path.cmp(&other.path));
    }
}

/// The cgroup as it was, or is, at most.
fn cgroup_bounded_by(group: &CgroupSample, smallest: u64) -> CgroupSample {
    CgroupSample {
        path: group.path.clone(),
        values: CgroupValues::default().with(CgroupField::Current, Some(smallest)),
    }
}

fn rss(process: &ProcessSample) -> u64 {
    process.values.get(ProcessField::Rss).unwrap_or_default()
}

fn size_of_cgroup(group: &CgroupSample) -> u64 {
    let value = |field| group.values.get(field).unwrap_or_default();
    value(CgroupField::Current).saturating_add(value(CgroupField::Swap))
}
