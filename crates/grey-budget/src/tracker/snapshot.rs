//! One moment of the program's memory, and the growth between two.
//!
//! Never reads anything: a growth is a pure function of two snapshots.

use std::time::{Duration, SystemTime};

use grey_model::Bytes;

use super::counters::ComponentCounts;

/// One moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemorySnapshot {
    /// On the tracker's clock.
    pub at: Duration,
    /// The time of day.
    pub wall: SystemTime,
    /// The resident set size.
    pub process_memory: Bytes,
    /// The highest resident set size so far.
    pub peak: Bytes,
    /// What the program holds of its allocator.
    pub heap: Option<Bytes>,
    /// Threads of the process.
    pub threads: Option<u64>,
    /// What all components of the budget have reserved.
    pub accounted: Bytes,
    /// Bytes that were ever recorded as taken.
    pub allocated: Bytes,
    /// Bytes that were ever recorded as given back.
    pub freed: Bytes,
    /// The program's own counts.
    pub counts: ComponentCounts,
}

/// What changed from one snapshot to a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Growth {
    /// Of the resident set, in bytes; negative when it fell.
    pub process_memory: i64,
    /// Of the heap, in bytes; `None` where either did not know it.
    pub heap: Option<i64>,
    /// Bytes that were recorded as taken meanwhile.
    pub allocated: Bytes,
    /// How long that took.
    pub over: Duration,
}

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

impl Growth {
    /// From `earlier` to `later`.
    #[must_use]
    pub fn between(earlier: &MemorySnapshot, later: &MemorySnapshot) -> Self {
        let heap = earlier.heap.zip(later.heap);
        Self {
            process_memory: later
                .process_memory
                .signed_difference(earlier.process_memory),
            heap: heap.map(|(earlier, later)| later.signed_difference(earlier)),
            allocated: later.allocated.saturating_sub(earlier.allocated),
            over: later.at.saturating_sub(earlier.at),
        }
    }

    /// Bytes of the resident set a minute; `None` when no time has passed.
    #[must_use]
    pub fn per_minute(&self) -> Option<i64> {
        rate(i128::from(self.process_memory), self.over, MINUTE)
    }

    /// Bytes that were recorded as taken a second; `None` when no time has
    /// passed.
    #[must_use]
    pub fn allocation_rate_per_second(&self) -> Option<Bytes> {
        let rate = rate(i128::from(self.allocated.get()), self.over, SECOND)?;
        u64::try_from(rate).ok().map(Bytes)
    }
}

fn rate(amount: i128, over: Duration, unit: Duration) -> Option<i64> {
    let (unit, over) = (
        i128::try_from(unit.as_nanos()).ok()?,
        i128::try_from(over.as_nanos()).ok()?,
    );
    let rate = amount.saturating_mul(unit).checked_div(over)?;
    Some(i64::try_from(rate).unwrap_or(if rate < 0 { i64::MIN } else { i64::MAX }))
}
