//! The processes of samples over time: for each the longest time in which it was
//! never missing, and who is whose restart.
//!
//! A sample has the largest processes alone: who is missing has ended or was
//! smaller. What it held meanwhile nobody knows, so no trace goes over a gap.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use grey_model::{Bytes, ProcessField, ProcessId, ProcessSample};
use grey_telemetry::process::Program;

use super::super::follow::{Facts, Followed, Identity, MOST_PROCESSES, Subject};
use super::samples::ProcessesThen;

/// A process in all samples that have it.
pub(super) struct Seen<'samples> {
    pub(super) id: ProcessId,
    /// In which samples, and what it held there: anonymous memory and swap.
    pub(super) held: Vec<(usize, Bytes)>,
    /// In the last of them.
    pub(super) last: &'samples ProcessSample,
}

/// All processes of the samples, by pid; without those of whom it is not known
/// what they held.
pub(super) fn seen(readings: &[(u64, ProcessesThen)]) -> Vec<Seen<'_>> {
    let mut places: HashMap<ProcessId, usize> = HashMap::new();
    let mut all: Vec<Seen<'_>> = Vec::new();
    for (index, (_, then)) in readings.iter().enumerate() {
        for process in &then.largest {
            let Some(anonymous) = process.values.get(ProcessField::Anonymous) else {
                continue;
            };
            let swap = process.values.get(ProcessField::Swap).unwrap_or_default();
            let place = *places.entry(process.key.id).or_insert_with(|| {
                all.push(Seen {
                    id: process.key.id,
                    held: Vec::new(),
                    last: process,
                });
                all.len() - 1
            });
            let held = Bytes(anonymous).saturating_add(Bytes(swap));
            all[place].held.push((index, held));
            all[place].last = process;
        }
    }
    all.sort_by_key(|seen| seen.id);
    all
}

impl Seen<'_> {
    /// The last time without a gap that `is_enough`, else the longest.
    pub(super) fn unbroken(
        &self,
        is_enough: impl Fn(&[(usize, Bytes)]) -> bool,
    ) -> &[(usize, Bytes)] {
        let runs: Vec<&[(usize, Bytes)]> = self
            .held
            .chunk_by(|(one, _), (next, _)| one + 1 == *next)
            .collect();
        let enough = runs.iter().rev().find(|run| is_enough(run));
        let longest = runs.iter().max_by_key(|run| run.len());
        enough.or(longest).copied().unwrap_or_default()
    }

    /// The last sample that has it.
    pub(super) fn last_index(&self) -> usize {
        self.held.last().map_or(0, |(index, _)| *index)
    }

    /// Whether the sample after its last one had room for it: then it ended, and
    /// did not only become a little smaller.
    pub(super) fn was_seen_to_end(&self, readings: &[(u64, ProcessesThen)]) -> bool {
        let after = readings.get(self.last_index() + 1);
        after.is_some_and(|(_, then)| {
            let smallest = then.largest.iter().map(ProcessSample::size).min();
            then.are_all || smallest.is_some_and(|smallest| smallest < self.last.size())
        })
    }
}

/// What of a process is judged.
pub(super) struct Judged {
    pub(super) id: ProcessId,
    pub(super) facts: Facts,
    pub(super) trace: Vec<(Duration, Bytes)>,
    /// When it started and when it was there last, in milliseconds since boot.
    pub(super) started_ms: u64,
    pub(super) last_ms: u64,
    pub(super) ended: bool,
}

/// Follows them. Who began after another had ended, of the same name and in the
/// same cgroup, is that one's restart; each has one at the most.
pub(super) fn follow(mut all: Vec<Judged>, followed: &mut Followed) {
    all.sort_by_key(|judged| (judged.started_ms, judged.id));
    // Who is over, by who it was and when.
    let mut over: HashMap<Identity, BTreeMap<(u64, usize), usize>> = HashMap::new();
    for judged in all {
        let over = over.entry(Identity::of(&judged.facts)).or_default();
        let until = (judged.started_ms, usize::MAX);
        let before = over.range(..=until).next_back().map(|(&key, _)| key);
        let before = before.and_then(|key| over.remove(&key));
        // History has names alone.
        let (wanted, name) = (judged.facts.wanted, judged.facts.name.clone());
        let program = Program { name, layout: None };
        let subjects = &mut followed.subjects;
        let index = match before {
            Some(index) => {
                subjects[index].is_restarted(judged.id, judged.facts, program);
                index
            }
            None if wanted && subjects.len() < MOST_PROCESSES => {
                subjects.push(Subject::new(judged.id, judged.facts, program));
                subjects.len() - 1
            }
            None => {
                followed.cut |= wanted;
                continue;
            }
        };
        let subject = &mut subjects[index];
        subject.ended = judged.ended;
        for (at, held) in judged.trace {
            subject.take(at, held);
        }
        if judged.ended {
            over.insert((judged.last_ms, index), index);
        }
    }
}
