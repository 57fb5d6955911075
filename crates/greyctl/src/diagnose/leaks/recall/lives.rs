//! The processes of samples over time: for each the longest time in which it was
//! never missing, and who is whose restart.
//!
//! A sample has the largest processes alone: who is missing has ended or was
//! smaller. What it held meanwhile nobody knows, so no trace goes over a gap.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use grey_model::{Bytes, ProcessField, ProcessId, ProcessSample};
use grey_policy::leak::LeakRule;
use grey_telemetry::process::Program;

use super::super::follow::{Facts, Followed, Identity, MOST_PROCESSES, Subject};
use super::super::shared::SharedMemory;
use super::samples::ProcessesThen;

/// Who began later than this after another's end, in milliseconds, is not that one
/// restarted.
const RESTART_WITHIN_MS: u64 = 120_000;

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
            if let Some((mapped, machine)) = mapped.zip(then.machine.shmem) {
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
    /// Whether it still ran, and what it held at the end is not known.
    pub(super) is_out_of_sight: bool,
    /// Whether its pid was.
    pub(super) is_asked_for: bool,
}

/// Follows them. Who began after another had ended, of the same name and in the
/// same cgroup, goes on in its row; each has one at the most. As history knows no
/// command line, what an earlier life held is told of that one alone: see
/// [`shown`].
pub(super) fn follow(mut all: Vec<Life>, followed: &mut Followed) {
    all.sort_by_key(|life| (life.started_ms, life.id));
    let mut programs: Vec<Vec<Link>> = Vec::new();
    let mut past: HashMap<Identity, Past> = HashMap::new();
    for life in all {
        let past = past.entry(Identity::of(&life.facts)).or_default();
        let until = (life.started_ms, usize::MAX);
        let before = past.over.range(..=until).next_back().map(|(&key, _)| key);
        let before = before.and_then(|key| Some((key.0, past.over.remove(&key)?)));
        let index = match before {
            Some((_, index)) => index,
            None if life.facts.wanted && programs.len() < MOST_PROCESSES => {
                programs.push(Vec::new());
                programs.len() - 1
            }
            None => {
                followed.cut |= life.facts.wanted;
                continue;
            }
        };
        let soon = |(ended, _)| life.started_ms.saturating_sub(ended) <= RESTART_WITHIN_MS;
        let is_alone = past.alive_until_ms <= life.started_ms;
        let is_restart = is_alone && before.is_some_and(soon);
        if life.ended {
            past.over.insert((life.last_ms, index), index);
        }
        let end = if life.ended { life.last_ms } else { u64::MAX };
        past.alive_until_ms = past.alive_until_ms.max(end);
        programs[index].push(Link { life, is_restart });
    }
    for lives in programs {
        let subjects = shown(&lives).into_iter();
        followed
            .subjects
            .extend(subjects.filter_map(|index| subject(lives.get(..=index)?)));
    }
}

/// Those of one identity so far.
#[derive(Default)]
struct Past {
    /// Who is over and not followed by another, by when and where.
    over: BTreeMap<(u64, usize), usize>,
    /// When the last of them ended.
    alive_until_ms: u64,
}

/// A life of a program.
struct Link {
    life: Life,
    /// Whether it is the one before restarted: it began soon after that one's end,
    /// and no other of that name ran then. Of compilers, each is one of many.
    is_restart: bool,
}

/// Which lives of a program have a row: the present one; where that is too short
/// for a verdict, the last before it that was long enough; of those before, the
/// one that grew most, if that is worth a leak: a leaker that was killed and is
/// started again is what history is asked for. And whom a pid asks for.
fn shown(lives: &[Link]) -> BTreeSet<usize> {
    let enough = lives.iter().rposition(|link| link.life.is_enough);
    let earlier = lives.iter().enumerate().rev().skip(1);
    let grown = earlier
        .filter(|(_, link)| link.life.is_enough)
        .map(|(index, link)| (link.life.grown(), index))
        .max()
        .filter(|(grown, _)| *grown >= LeakRule::default().minimum_growth);
    let asked_for = lives.iter().enumerate();
    let asked_for = asked_for.filter(|(_, link)| link.life.is_asked_for);
    let mut shown: BTreeSet<usize> = asked_for.map(|(index, _)| index).collect();
    shown.extend(lives.len().checked_sub(1));
    shown.extend(enough);
    shown.extend(grown.map(|(_, index)| index));
    shown
}

impl Life {
    /// From the first reading to the last.
    fn grown(&self) -> Bytes {
        match (self.held.first(), self.held.last()) {
            (Some((_, first)), Some((_, last))) => last.saturating_sub(*first),
            _ => Bytes::ZERO,
        }
    }
}

/// The last of these lives. Of those that were restarted to it, only that they
/// were.
fn subject(lives: &[Link]) -> Option<Subject> {
    let program = |life: &Life| Program {
        name: life.facts.name.clone(),
        layout: None,
    };
    let from = lives.iter().rposition(|link| !link.is_restart).unwrap_or(0);
    let lives = &lives[from..];
    let (first, last) = (&lives.first()?.life, &lives.last()?.life);
    let mut subject = Subject::new(first.id, first.facts.clone(), program(first));
    for (index, Link { life, .. }) in lives.iter().enumerate() {
        if index > 0 {
            subject.is_restarted(life.id, life.facts.clone(), program(life));
        }
        if index + 1 < lives.len() {
            let (at, held) = *life.held.last()?;
            subject.take(at, held);
            continue;
        }
        for &(at, held) in &life.held {
            subject.take(at, held);
        }
        for &(at, shared) in &life.shared {
            subject.take_shared(at, shared);
        }
    }
    (subject.ended, subject.is_out_of_sight) = (last.ended, last.is_out_of_sight);
    Some(subject)
}
