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
use super::super::shared::SharedMemory;
use super::samples::ProcessesThen;

/// A process in all samples that have it.
pub(super) struct Seen<'samples> {
    pub(super) id: ProcessId,
    /// In which samples, and what it held there: anonymous memory and swap.
    pub(super) held: Vec<(usize, Bytes)>,
    /// In the same samples, as far as known: shared memory that it maps.
    pub(super) shared: Vec<(usize, SharedMemory)>,
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
                    shared: Vec::new(),
                    last: process,
                });
                all.len() - 1
            });
            let held = Bytes(anonymous).saturating_add(Bytes(swap));
            all[place].held.push((index, held));
            let mapped = process.values.get(ProcessField::Shared).map(Bytes);
            if let Some((mapped, machine)) = mapped.zip(then.shared) {
                let shared = SharedMemory { mapped, machine };
                all[place].shared.push((index, shared));
            }
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

/// What a process that ended held while it ended is left out: less than half of
/// what it held before.
pub(super) fn without_its_end(run: &[(usize, Bytes)]) -> &[(usize, Bytes)] {
    match run {
        [before @ .., (_, last)] if before.last().is_some_and(|(_, held)| held.0 / 2 > last.0) => {
            before
        }
        run => run,
    }
}

/// One life of a program: what of a process is judged.
pub(super) struct Life {
    pub(super) id: ProcessId,
    pub(super) facts: Facts,
    /// When, and what it held.
    pub(super) held: Vec<(Duration, Bytes)>,
    /// And what shared memory it mapped.
    pub(super) shared: Vec<(Duration, SharedMemory)>,
    /// Whether that is enough for a verdict.
    pub(super) is_enough: bool,
    /// When it started and when it was there last, in milliseconds since boot.
    pub(super) started_ms: u64,
    pub(super) last_ms: u64,
    pub(super) ended: bool,
}

/// Follows them. Who began after another had ended, of the same name and in the
/// same cgroup, is that one's restart; each has one at the most. As history knows
/// no command line, what an earlier life held is told of that one alone: of the
/// last that was long enough, where the present one is not yet.
pub(super) fn follow(mut all: Vec<Life>, followed: &mut Followed) {
    all.sort_by_key(|life| (life.started_ms, life.id));
    let mut programs: Vec<Vec<Life>> = Vec::new();
    // Who is over, by who it was and when.
    let mut over: HashMap<Identity, BTreeMap<(u64, usize), usize>> = HashMap::new();
    for life in all {
        let over = over.entry(Identity::of(&life.facts)).or_default();
        let until = (life.started_ms, usize::MAX);
        let before = over.range(..=until).next_back().map(|(&key, _)| key);
        let before = before.and_then(|key| over.remove(&key));
        let index = match before {
            Some(index) => index,
            None if life.facts.wanted && programs.len() < MOST_PROCESSES => {
                programs.push(Vec::new());
                programs.len() - 1
            }
            None => {
                followed.cut |= life.facts.wanted;
                continue;
            }
        };
        if life.ended {
            over.insert((life.last_ms, index), index);
        }
        programs[index].push(life);
    }
    for lives in programs {
        let enough = lives.iter().rposition(|life| life.is_enough);
        let last = lives.len().saturating_sub(1);
        let earlier = enough.filter(|&enough| enough != last);
        let shown = earlier.into_iter().chain([last]);
        followed
            .subjects
            .extend(shown.filter_map(|index| subject(lives.get(..=index)?)));
    }
}

/// The last of these lives. Of those before, only that they were.
fn subject(lives: &[Life]) -> Option<Subject> {
    let program = |life: &Life| Program {
        name: life.facts.name.clone(),
        layout: None,
    };
    let (first, last) = (lives.first()?, lives.last()?);
    let mut subject = Subject::new(first.id, first.facts.clone(), program(first));
    for (index, life) in lives.iter().enumerate() {
        if index > 0 {
            subject.is_restarted(life.id, life.facts.clone(), program(life));
        }
        let held = match index + 1 == lives.len() {
            true => &life.held[..],
            false => life.held.last().map_or(&[][..], std::slice::from_ref),
        };
        for &(at, held) in held {
            subject.take(at, held);
        }
        if index + 1 == lives.len() {
            for &(at, shared) in &life.shared {
                subject.take_shared(at, shared);
            }
        }
    }
    subject.ended = last.ended;
    Some(subject)
}
