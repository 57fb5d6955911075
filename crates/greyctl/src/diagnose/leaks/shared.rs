//! Shared memory that a process maps, over time.
//!
//! Never takes for growth that a process touches for the first time what others
//! hold already, as a worker of a database does with its buffers: it counts for
//! no more than what the machine has more of since. Where several together map
//! more than that, nobody knows who made it, and none is called a leak.

use std::time::Duration;

use grey_model::{Bytes, GrowthOf, LeakVerdict, Trace, TracePoint};

use super::document::ProcessLeak;
use crate::count::counted;

/// A process that never mapped so much is not judged by it: less never makes a
/// leak.
const LEAST: Bytes = Bytes::from_mib(10);

/// What a process and the machine have of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SharedMemory {
    /// Resident and mapped by the process: `RssShmem`.
    pub(super) mapped: Bytes,
    /// Of the machine: `Shmem`.
    pub(super) machine: Bytes,
}

/// What a process maps, through its restarts.
#[derive(Debug, Default)]
pub(super) struct SharedTrace {
    trace: Trace,
    /// What there was when the present life began, and which one it is.
    first: Option<(u64, SharedMemory)>,
    /// What the machine has more of since then.
    more: Bytes,
    most: Bytes,
}

impl SharedTrace {
    /// A reading in its life of this number.
    pub(super) fn take(&mut self, at: Duration, life: u64, now: SharedMemory) {
        let first = match self.first {
            Some((of, first)) if of == life => first,
            _ => self.first.insert((life, now)).1,
        };
        self.more = now.machine.saturating_sub(first.machine);
        let amount = now.mapped.min(first.mapped.saturating_add(self.more));
        self.most = self.most.max(amount);
        self.trace.push(TracePoint { at, amount, life });
    }

    /// What is judged; `None` where it is nothing to speak of.
    pub(super) fn judged(&self) -> Option<&Trace> {
        (self.most >= LEAST).then_some(&self.trace)
    }
}

/// Calls none a leak where those that grow map, together, much more than the
/// machine has more of: what is to be said about that.
pub(super) fn doubt<'traces>(
    leaks: &mut [ProcessLeak],
    traces: impl Iterator<Item = &'traces SharedTrace>,
) -> Option<String> {
    let of_machine = traces
        .filter(|trace| trace.judged().is_some())
        .map(|trace| trace.more)
        .max()?;
    let mut growing: Vec<&mut ProcessLeak> = leaks
        .iter_mut()
        .filter(|leak| leak.of == GrowthOf::Shmem && leak.judgement.verdict.grows())
        .collect();
    let grown = growing.iter().map(|leak| leak.judgement.growth_bytes);
    let together: Bytes = grown
        .filter_map(|grown| u64::try_from(grown?).ok().map(Bytes))
        .sum();
    if together <= of_machine.saturating_add(of_machine.scale(1, 2)) {
        return None;
    }
    for leak in &mut growing {
        leak.judgement.verdict = LeakVerdict::Growing;
    }
    let processes = counted(growing.len() as u64, "process maps", "processes map");
    Some(format!(
        "leaks: {processes} {together} more of shared memory, and the machine has {of_machine} \
         more of it: who made it and who only touches it is not known, so none is called a leak"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    fn taken(readings: &[(u64, u64, u64)]) -> SharedTrace {
        let mut shared = SharedTrace::default();
        for (second, &(life, mapped, machine)) in (0..).zip(readings) {
            let now = SharedMemory {
                mapped: Bytes(mapped * MB),
                machine: Bytes(machine * MB),
            };
            shared.take(Duration::from_secs(second), life, now);
        }
        shared
    }

    fn judged(shared: &SharedTrace) -> Option<Vec<u64>> {
        let points = shared.judged()?.points();
        Some(points.iter().map(|point| point.amount.0 / MB).collect())
    }

    #[test]
    fn what_was_there_before_it_was_touched_is_no_growth() {
        // A worker that touches 80 MB of buffers, of which 10 MB are new.
        let worker = taken(&[(0, 20, 500), (0, 60, 500), (0, 100, 510)]);
        assert_eq!(judged(&worker), Some(vec![20, 20, 30]));
        // One that makes as much as it maps.
        let maker = taken(&[(0, 20, 500), (0, 60, 540), (0, 100, 580)]);
        assert_eq!(judged(&maker), Some(vec![20, 60, 100]));
    }

    #[test]
    fn each_life_begins_with_what_there_was_then() {
        let restarted = taken(&[(0, 20, 500), (0, 60, 540), (1, 50, 540), (1, 90, 540)]);
        assert_eq!(judged(&restarted), Some(vec![20, 60, 50, 50]));
    }

    #[test]
    fn who_made_it_is_not_known_where_several_map_more_than_there_is_more_of() {
        let trace = taken(&[(0, 20, 500), (0, 60, 540)]);
        let leak = |pid, of, verdict| ProcessLeak {
            id: grey_model::ProcessId {
                pid,
                start_time_ticks: 1,
            },
            group: "group".into(),
            cgroup: None,
            name: "name".into(),
            ended: false,
            out_of_sight: false,
            of,
            judgement: grey_model::LeakJudgement {
                verdict,
                growth_bytes: Some(40_000_000),
                growth_percent: None,
                slope_bytes_per_second: None,
                confidence: None,
                exhausts_in_seconds: None,
                restarts: 0,
                window_seconds: 60.0,
                needs_seconds: None,
            },
        };
        let (own, shared) = (GrowthOf::Anonymous, GrowthOf::Shmem);
        let verdicts = |leaks: &mut Vec<ProcessLeak>| {
            let told = doubt(leaks, [&trace].into_iter());
            let verdicts = leaks.iter().map(|leak| leak.judgement.verdict);
            (told, verdicts.collect::<Vec<_>>())
        };
        let (leaking, growing) = (LeakVerdict::Leak, LeakVerdict::Growing);
        let mut one = vec![leak(1, own, leaking), leak(1, shared, leaking)];
        one.push(leak(2, shared, LeakVerdict::Stable));
        let (told, all) = verdicts(&mut one);
        assert_eq!((told, &all[..2]), (None, &[leaking; 2][..]));
        let mut two = vec![leak(1, own, leaking), leak(1, shared, leaking)];
        two.push(leak(2, shared, growing));
        let (told, all) = verdicts(&mut two);
        assert_eq!(all, [leaking, growing, growing]);
        let told = told.unwrap();
        assert!(told.contains("2 processes map 76.3 MiB more"), "{told}");
        assert!(told.contains("the machine has 38.1 MiB more"), "{told}");
    }

    #[test]
    fn next_to_nothing_is_not_judged() {
        assert_eq!(judged(&taken(&[(0, 1, 500), (0, 9, 600)])), None);
    }
}
