//! Shared memory that a process maps, over time.
//!
//! Never takes for growth that a process touches for the first time what others
//! hold already, as a worker of a database does with its buffers: it counts for
//! no more than what the machine has more of since.

use std::time::Duration;

use grey_model::{Bytes, Trace, TracePoint};

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
    most: Bytes,
}

impl SharedTrace {
    /// A reading in its life of this number.
    pub(super) fn take(&mut self, at: Duration, life: u64, now: SharedMemory) {
        let first = match self.first {
            Some((of, first)) if of == life => first,
            _ => self.first.insert((life, now)).1,
        };
        let more = now.machine.saturating_sub(first.machine);
        let amount = now.mapped.min(first.mapped.saturating_add(more));
        self.most = self.most.max(amount);
        self.trace.push(TracePoint { at, amount, life });
    }

    /// What is judged; `None` where it is nothing to speak of.
    pub(super) fn judged(&self) -> Option<&Trace> {
        (self.most >= LEAST).then_some(&self.trace)
    }
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
    fn next_to_nothing_is_not_judged() {
        assert_eq!(judged(&taken(&[(0, 1, 500), (0, 9, 600)])), None);
    }
}
