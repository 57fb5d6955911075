//! Keeps readings apart: one trace a process, a group, a kind of a cgroup's
//! memory; and knows a restart when it sees one.
//!
//! Reads nothing itself. Never takes a reused pid for the process before it,
//! and never joins a new process to one that still runs.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use grey_model::{Bytes, CgroupPath, GrowthOf, KernelText, ProcessId, Trace, TracePoint};
use grey_telemetry::cgroup::CgroupGrowth;
use grey_telemetry::process::AnonymousMemory;

use super::document::GroupKind;

/// More processes than this are not followed.
pub(super) const MOST_PROCESSES: usize = 20_000;

/// What is known of a process beside its memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) name: KernelText,
    pub(super) cgroup: Option<CgroupPath>,
    pub(super) command_line: Option<KernelText>,
    pub(super) group: (GroupKind, String),
    /// Whether it is one that was asked for. One that was not is followed only
    /// as the restart of one that was.
    pub(super) wanted: bool,
}

/// Two processes of which the later one is the earlier one restarted have all
/// of this in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Program {
    name: KernelText,
    cgroup: Option<CgroupPath>,
    command_line: Option<KernelText>,
}

/// A process over time, through its restarts.
#[derive(Debug)]
pub(super) struct Subject {
    /// The latest process of it.
    pub(super) id: ProcessId,
    pub(super) facts: Facts,
    pub(super) trace: Trace,
    pub(super) ended: bool,
}

/// A group over time.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) trace: Trace,
    /// The most processes at once.
    pub(super) processes: u64,
    members: BTreeSet<ProcessId>,
    life: u64,
}

/// Everything that is followed.
#[derive(Debug, Default)]
pub(super) struct Followed {
    pub(super) subjects: Vec<Subject>,
    pub(super) groups: BTreeMap<(GroupKind, String), Group>,
    pub(super) cgroups: BTreeMap<(CgroupPath, GrowthOf), Trace>,
    /// Whether there were more processes than are followed.
    pub(super) cut: bool,
    running: HashMap<ProcessId, usize>,
    over: HashMap<Program, Vec<usize>>,
    ignored: HashSet<ProcessId>,
}

impl Followed {
    /// Takes the readings of all processes at the time `at`. `facts` is asked
    /// once for each process that is new; one that it does not know is asked
    /// for again the next time.
    pub(super) fn take_processes(
        &mut self,
        at: Duration,
        readings: &[AnonymousMemory],
        mut facts: impl FnMut(ProcessId) -> Option<Facts>,
    ) {
        let now: HashSet<ProcessId> = readings.iter().map(|reading| reading.id).collect();
        self.end_all_but(&now);
        self.ignored.retain(|id| now.contains(id));
        let mut sums: BTreeMap<(GroupKind, String), Vec<AnonymousMemory>> = BTreeMap::new();
        for reading in readings {
            let Some(index) = self.subject_of(reading.id, &mut facts) else {
                continue;
            };
            let subject = &mut self.subjects[index];
            subject.trace.push(TracePoint {
                at,
                amount: reading.anonymous,
                life: reading.id.start_time_ticks,
            });
            let members = sums.entry(subject.facts.group.clone()).or_default();
            members.push(*reading);
        }
        for (name, members) in sums {
            self.groups.entry(name).or_default().take(at, &members);
        }
    }

    /// Takes the readings of all cgroups at the time `at`.
    pub(super) fn take_cgroups(&mut self, at: Duration, groups: &[CgroupGrowth]) {
        for group in groups {
            for (of, amount) in [
                (GrowthOf::Anonymous, group.anonymous),
                (GrowthOf::Shmem, group.shmem),
                (GrowthOf::Slab, group.slab),
                (GrowthOf::Kernel, group.kernel),
                (GrowthOf::DyingCgroups, group.dying.map(Bytes)),
            ] {
                let Some(amount) = amount else { continue };
                let trace = self.cgroups.entry((group.path.clone(), of)).or_default();
                trace.push(TracePoint {
                    at,
                    amount,
                    life: group.id.0,
                });
            }
        }
    }

    /// How many processes run now.
    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    fn end_all_but(&mut self, now: &HashSet<ProcessId>) {
        let Self {
            running,
            subjects,
            over,
            ..
        } = self;
        running.retain(|id, index| {
            if now.contains(id) {
                return true;
            }
            let subject = &mut subjects[*index];
            subject.ended = true;
            let program = Program::of(&subject.facts);
            over.entry(program).or_default().push(*index);
            false
        });
    }

    fn subject_of(
        &mut self,
        id: ProcessId,
        facts: &mut impl FnMut(ProcessId) -> Option<Facts>,
    ) -> Option<usize> {
        if let Some(index) = self.running.get(&id) {
            return Some(*index);
        }
        if self.ignored.contains(&id) {
            return None;
        }
        let facts = facts(id)?;
        let before = self.over.get_mut(&Program::of(&facts)).and_then(Vec::pop);
        let index = if let Some(index) = before {
            let subject = &mut self.subjects[index];
            subject.id = id;
            subject.ended = false;
            index
        } else if !facts.wanted {
            self.ignored.insert(id);
            return None;
        } else if self.subjects.len() >= MOST_PROCESSES {
            self.cut = true;
            self.ignored.insert(id);
            return None;
        } else {
            self.subjects.push(Subject {
                id,
                facts,
                trace: Trace::new(),
                ended: false,
            });
            self.subjects.len() - 1
        };
        self.running.insert(id, index);
        Some(index)
    }
}

impl Program {
    fn of(facts: &Facts) -> Self {
        Self {
            name: facts.name.clone(),
            cgroup: facts.cgroup.clone(),
            command_line: facts.command_line.clone(),
        }
    }
}

impl Group {
    /// The sum of its processes now. When none of those before is left, the
    /// group was restarted as a whole.
    fn take(&mut self, at: Duration, members: &[AnonymousMemory]) {
        let now: BTreeSet<ProcessId> = members.iter().map(|member| member.id).collect();
        if !self.members.is_empty() && self.members.is_disjoint(&now) {
            self.life += 1;
        }
        self.members = now;
        self.processes = self.processes.max(members.len() as u64);
        self.trace.push(TracePoint {
            at,
            amount: members.iter().map(|member| member.anonymous).sum(),
            life: self.life,
        });
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
