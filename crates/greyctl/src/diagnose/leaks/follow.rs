//! Keeps readings apart: one trace a process, a group, a kind of a cgroup's
//! memory; and knows a restart when it sees one, of which an exec is one kind.
//!
//! Reads nothing itself. Never takes a reused pid for the process before it,
//! never joins a new process to one that still runs, and never names a program
//! that runs no more while another one does in its place.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use grey_model::{Bytes, CgroupPath, GrowthOf, KernelText, ProcessId, Trace, TracePoint};
use grey_telemetry::cgroup::CgroupGrowth;
use grey_telemetry::process::{AnonymousMemory, Program};

use super::document::GroupKind;
use super::shared::{SharedMemory, SharedTrace};

/// More processes than this are not followed.
pub(super) const MOST_PROCESSES: usize = 20_000;

/// What is known of a process beside its memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) name: KernelText,
    pub(super) cgroup: Option<CgroupPath>,
    pub(super) command_line: Option<KernelText>,
    pub(super) group: (GroupKind, KernelText),
    /// Whether it is one that was asked for. One that was not is followed only
    /// as the restart of one that was.
    pub(super) wanted: bool,
}

/// Two processes of which the later one is the earlier one restarted have all
/// of this in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Identity {
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
    /// As what it would be restarted: what it was when it began to run this.
    identity: Identity,
    /// What it runs.
    program: Program,
    pub(super) trace: Trace,
    pub(super) shared: SharedTrace,
    pub(super) ended: bool,
    /// Whether it still ran, and what it held at the end is not known.
    pub(super) is_out_of_sight: bool,
    /// How often it was restarted.
    life: u64,
}

/// One program of a process.
pub(super) type Member = (ProcessId, u64);

/// A group over time.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) trace: Trace,
    /// The most processes at once.
    pub(super) processes: u64,
    members: BTreeSet<Member>,
    life: u64,
}

/// Everything that is followed.
#[derive(Debug, Default)]
pub(super) struct Followed {
    pub(super) subjects: Vec<Subject>,
    pub(super) groups: BTreeMap<(GroupKind, KernelText), Group>,
    pub(super) cgroups: BTreeMap<(CgroupPath, GrowthOf), Trace>,
    /// Whether there were more processes than are followed.
    pub(super) cut: bool,
    running: HashMap<ProcessId, usize>,
    over: HashMap<Identity, Vec<usize>>,
    ignored: HashMap<ProcessId, Program>,
}

impl Followed {
    /// Takes the readings of all processes at the time `at`, when the machine had
    /// so much shared memory. `facts` is asked once for each program that is new;
    /// one that it does not know is asked for again the next time.
    pub(super) fn take_processes(
        &mut self,
        at: Duration,
        readings: &[AnonymousMemory],
        machine: Option<Bytes>,
        mut facts: impl FnMut(ProcessId) -> Option<Facts>,
    ) {
        let now: HashSet<ProcessId> = readings.iter().map(|reading| reading.id).collect();
        self.end_all_but(&now);
        self.ignored.retain(|id, _| now.contains(id));
        let mut sums: BTreeMap<(GroupKind, KernelText), Vec<(Member, Bytes)>> = BTreeMap::new();
        for reading in readings {
            let Some(index) = self.subject_of(reading, &mut facts) else {
                continue;
            };
            let subject = &mut self.subjects[index];
            subject.take(at, reading.anonymous);
            if let Some((mapped, machine)) = reading.shared.zip(machine) {
                subject.take_shared(at, SharedMemory { mapped, machine });
            }
            let members = sums.entry(subject.facts.group.clone()).or_default();
            members.push(((reading.id, subject.life), reading.anonymous));
        }
        for (name, members) in sums {
            self.groups.entry(name).or_default().take(at, &members);
        }
    }

    /// Takes the readings of all cgroups at the time `at`.
    pub(super) fn take_cgroups(&mut self, at: Duration, groups: &[CgroupGrowth]) {
        for group in groups {
            let dying = group.dying.map(Bytes);
            let dying = dying.map(|count| (GrowthOf::DyingCgroups, count));
            for (of, amount) in group.amounts().chain(dying) {
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
            over.entry(subject.identity.clone())
                .or_default()
                .push(*index);
            false
        });
    }

    fn subject_of(
        &mut self,
        reading: &AnonymousMemory,
        facts: &mut impl FnMut(ProcessId) -> Option<Facts>,
    ) -> Option<usize> {
        let id = reading.id;
        if let Some(&index) = self.running.get(&id) {
            return self.subjects[index]
                .goes_on(reading, facts)
                .then_some(index);
        }
        let ignored = self.ignored.get(&id);
        if ignored.is_some_and(|program| !program.is_replaced_in(&reading.program)) {
            return None;
        }
        let facts = facts(id)?;
        let identity = Identity::of(&facts);
        let before = self.over.get_mut(&identity).and_then(Vec::pop);
        let index = if let Some(index) = before {
            let subject = &mut self.subjects[index];
            subject.is_restarted(id, facts, reading.program.clone());
            index
        } else if !facts.wanted || self.subjects.len() >= MOST_PROCESSES {
            self.cut |= facts.wanted;
            self.ignored.insert(id, reading.program.clone());
            return None;
        } else {
            self.subjects
                .push(Subject::new(id, facts, reading.program.clone()));
            self.subjects.len() - 1
        };
        self.ignored.remove(&id);
        self.running.insert(id, index);
        Some(index)
    }
}

impl Subject {
    /// One without readings so far.
    pub(super) fn new(id: ProcessId, facts: Facts, program: Program) -> Self {
        Self {
            id,
            identity: Identity::of(&facts),
            facts,
            program,
            trace: Trace::new(),
            shared: SharedTrace::default(),
            ended: false,
            is_out_of_sight: false,
            life: 0,
        }
    }

    /// Takes note of a new name, and of an exec, which is a restart; whether
    /// it is known who the process is now.
    fn goes_on(
        &mut self,
        reading: &AnonymousMemory,
        facts: &mut impl FnMut(ProcessId) -> Option<Facts>,
    ) -> bool {
        if self.program.is_replaced_in(&reading.program) {
            let Some(found) = facts(reading.id) else {
                return false;
            };
            self.is_restarted(reading.id, found, reading.program.clone());
        } else if self.program.name != reading.program.name {
            self.facts.name.clone_from(&reading.program.name);
        }
        self.program.clone_from(&reading.program);
        true
    }

    /// A reading of it.
    pub(super) fn take(&mut self, at: Duration, amount: Bytes) {
        let life = self.life;
        self.trace.push(TracePoint { at, amount, life });
    }

    /// A reading of the shared memory that it maps.
    pub(super) fn take_shared(&mut self, at: Duration, now: SharedMemory) {
        self.shared.take(at, self.life, now);
    }

    /// Another process, or another program in the same one, goes on in its place.
    pub(super) fn is_restarted(&mut self, id: ProcessId, facts: Facts, program: Program) {
        self.id = id;
        self.identity = Identity::of(&facts);
        let wanted = self.facts.wanted;
        self.facts = Facts { wanted, ..facts };
        self.program = program;
        self.ended = false;
        self.life += 1;
    }
}

impl Identity {
    pub(super) fn of(facts: &Facts) -> Self {
        Self {
            name: facts.name.clone(),
            cgroup: facts.cgroup.clone(),
            command_line: facts.command_line.clone(),
        }
    }
}

impl Group {
    /// The sum of its processes now. When no program of those before is left, the
    /// group was restarted as a whole.
    pub(super) fn take(&mut self, at: Duration, members: &[(Member, Bytes)]) {
        let now: BTreeSet<Member> = members.iter().map(|(member, _)| *member).collect();
        if !self.members.is_empty() && self.members.is_disjoint(&now) {
            self.life += 1;
        }
        self.members = now;
        let amount = members.iter().map(|(_, anonymous)| *anonymous).sum();
        self.push(at, members.len() as u64, amount);
    }

    /// The same where the sum alone is known, and whether all of its processes
    /// began after the last one.
    pub(super) fn take_sum(&mut self, at: Duration, processes: u64, sum: Bytes, is_new: bool) {
        if is_new && !self.trace.points().is_empty() {
            self.life += 1;
        }
        self.push(at, processes, sum);
    }

    fn push(&mut self, at: Duration, processes: u64, amount: Bytes) {
        self.processes = self.processes.max(processes);
        let life = self.life;
        self.trace.push(TracePoint { at, amount, life });
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
