//! Folds processes by what they have in common, and points out the groups that
//! hold much and do nothing.
//!
//! Never guesses: what of a member is unknown is counted as such, and a group
//! is idle only when each of its members is known to be.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

use grey_model::{
    Bytes, GroupBy, KernelText, ProcessGroup, ProcessId, ProcessMemory, ProcessState,
};

/// What is known beside the processes themselves.
#[derive(Debug, Clone, Default)]
pub struct GroupFacts {
    /// Time since boot; `None` where unknown.
    pub since_boot_seconds: Option<u64>,
    /// The kernel's clock ticks in a second; 0 where unknown.
    pub ticks_per_second: u64,
    /// For how many seconds, at least, a process has not been on a CPU.
    pub idle_seconds: HashMap<ProcessId, u64>,
}

/// A group that holds at least this share of the machine's memory, in memory
/// and swap, holds much.
const MUCH: (u64, u64) = (1, 50);

/// A group that did nothing for this long, in seconds, is idle: 10 minutes.
const IDLE: u64 = 600;

/// Folds `processes`, the largest group first. Kernel threads and zombies are
/// left out: they have no memory.
#[must_use]
pub fn fold(processes: &[ProcessMemory], by: GroupBy, facts: &GroupFacts) -> Vec<ProcessGroup> {
    let roots = Roots::of(processes, by);
    let mut groups: BTreeMap<Option<KernelText>, Vec<&ProcessMemory>> = BTreeMap::new();
    for process in processes.iter().filter(|process| has_memory(process)) {
        groups
            .entry(name(process, by, &roots))
            .or_default()
            .push(process);
    }
    let mut folded: Vec<ProcessGroup> = groups
        .into_iter()
        .map(|(name, members)| group(name, &members, facts))
        .collect();
    folded.sort_by_key(|group| (Reverse(weight(group)), group.name.clone()));
    folded
}

/// The groups that hold much and have done nothing for long: what to take
/// memory from first.
pub fn idle_holders(groups: &[ProcessGroup], total: Bytes) -> impl Iterator<Item = &ProcessGroup> {
    let much = total.scale(MUCH.0, MUCH.1);
    groups.iter().filter(move |group| {
        group.idle_seconds.is_some_and(|seconds| seconds >= IDLE) && weight(group) >= much
    })
}

/// Memory and swap; by PSS where every member's is known, else by RSS.
fn weight(group: &ProcessGroup) -> Bytes {
    let resident = match group.pss_unknown {
        0 => group.pss,
        _ => group.rss,
    };
    resident.saturating_add(group.swap)
}

fn has_memory(process: &ProcessMemory) -> bool {
    !process.kernel_thread && process.state != ProcessState::Zombie
}

/// What it has in common with the others, byte for byte: two names that look
/// the same when they are printed are two.
fn name(process: &ProcessMemory, by: GroupBy, roots: &Roots<'_>) -> Option<KernelText> {
    match by {
        GroupBy::Program => Some(process.name.clone()),
        GroupBy::Unit => process.unit.as_ref().map(KernelText::from),
        GroupBy::Container => process.container.as_ref().map(KernelText::from),
        GroupBy::User => {
            let number = process.user_id.map(|id| id.to_string());
            let name = process.user.clone().or(number);
            name.as_ref().map(KernelText::from)
        }
        GroupBy::Cgroup => {
            let path = process.cgroup.as_ref()?;
            Some(KernelText::from(path.as_bytes()))
        }
        GroupBy::Tree => {
            let root = roots.root_of(process);
            let pid = format!(" ({})", root.id.pid);
            Some(KernelText([root.name.as_bytes(), pid.as_bytes()].concat()))
        }
    }
}

/// Who each process stems from.
struct Roots<'all> {
    by_pid: HashMap<u32, &'all ProcessMemory>,
}

impl<'all> Roots<'all> {
    fn of(processes: &'all [ProcessMemory], by: GroupBy) -> Self {
        let with_memory = processes.iter().filter(|_| by == GroupBy::Tree);
        Self {
            by_pid: with_memory
                .map(|process| (process.id.pid, process))
                .collect(),
        }
    }

    /// The highest ancestor that is not the first process, nor somebody whose
    /// parent cannot be seen. What the first process adopted is a root itself.
    fn root_of<'one>(&self, process: &'one ProcessMemory) -> &'one ProcessMemory
    where
        'all: 'one,
    {
        let mut root = process;
        let mut seen = HashSet::from([process.id.pid]);
        while let Some(&parent) = self.by_pid.get(&root.parent_pid) {
            // A loop is a tree that changed while it was read.
            if parent.id.pid == 1 || parent.kernel_thread || !seen.insert(parent.id.pid) {
                break;
            }
            root = parent;
        }
        root
    }
}

fn group(name: Option<KernelText>, members: &[&ProcessMemory], facts: &GroupFacts) -> ProcessGroup {
    let sum = |of: fn(&ProcessMemory) -> Option<Bytes>| -> Bytes {
        members.iter().filter_map(|process| of(process)).sum()
    };
    let unknown = |of: fn(&ProcessMemory) -> Option<Bytes>| {
        members
            .iter()
            .filter(|process| of(process).is_none())
            .count() as u64
    };
    let oldest = members
        .iter()
        .map(|process| process.id.start_time_ticks)
        .min();
    let started = oldest.and_then(|ticks| ticks.checked_div(facts.ticks_per_second));
    let idle = members
        .iter()
        .map(|process| facts.idle_seconds.get(&process.id).copied());
    ProcessGroup {
        name,
        count: members.len() as u64,
        rss: sum(|process| process.rss),
        rss_unknown: unknown(|process| process.rss),
        pss: sum(|process| process.pss),
        pss_unknown: unknown(|process| process.pss),
        uss: sum(|process| process.uss),
        uss_unknown: unknown(|process| process.uss),
        // Shared memory in swap would count for each member.
        swap: sum(|process| process.swap_pss.or(process.swap)),
        oldest_seconds: facts
            .since_boot_seconds
            .zip(started)
            .map(|(now, started)| now.saturating_sub(started)),
        // The group did something when any of them did.
        idle_seconds: idle.min().flatten(),
        members: members.iter().map(|process| process.id).collect(),
    }
}

/// Since when each process has not been on a CPU, from what is known of its CPU
/// time at several moments. `readings` are given in the order of time: seconds
/// and CPU ticks of each; the last is now.
#[derive(Debug, Clone, Default)]
pub struct Idleness {
    since: HashMap<ProcessId, (u64, u64)>,
}

impl Idleness {
    /// Takes that `process` had been on a CPU for `ticks` at `at_seconds`.
    pub fn take(&mut self, process: ProcessId, at_seconds: u64, ticks: u64) {
        let entry = self.since.entry(process).or_insert((at_seconds, ticks));
        if entry.1 != ticks {
            *entry = (at_seconds, ticks);
        }
    }

    /// For how many seconds each has been idle at `now_seconds`, at least.
    #[must_use]
    pub fn seconds_at(&self, now_seconds: u64) -> HashMap<ProcessId, u64> {
        let idle =
            |(id, (since, _)): (&ProcessId, &(u64, u64))| (*id, now_seconds.saturating_sub(*since));
        self.since.iter().map(idle).collect()
    }
}
