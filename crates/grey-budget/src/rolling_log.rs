//! The last operations of something, and what the older ones were merged into:
//! a window that compacts itself.
//!
//! Never loses operations to a compaction that fails, and never calls the
//! compaction under its lock.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use grey_model::{Bytes, Priority};

use crate::budget::{Component, Reservation, ReserveError};
use crate::clock::{Clock, SystemClock};
use crate::queue::charge::{Charge, discard, quantum_of, reserve_quantum};
use crate::queue::settings::Weigher;
use crate::reclaimer::{ReclaimMode, ReclaimRequest, Reclaimed, Reclaimer, Stop};
use crate::sync::{Mutex, lock};

/// Most operations that are kept, and after how many it is compacted.
const DEFAULT_OPERATIONS: usize = 1_000;

/// After how long it is compacted.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(600);

/// While a compaction runs the window may hold so many times its operations.
const OVERRUN: usize = 2;

/// Merges operations: gives fewer that mean the same, such as one snapshot.
/// Gets all that are kept, oldest first.
pub trait Compact<Op>: Send + Sync {
    /// What stands for `operations` from now on.
    fn compact(&self, operations: &[Arc<Op>]) -> Vec<Op>;
}

impl<Op, F> Compact<Op> for F
where
    F: Fn(&[Arc<Op>]) -> Vec<Op> + Send + Sync,
{
    fn compact(&self, operations: &[Arc<Op>]) -> Vec<Op> {
        self(operations)
    }
}

/// An operation was not recorded.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum AppendError<Op> {
    /// There is no memory for it, even after compaction.
    #[error("failed to append to `{log}`: no memory for the operation")]
    Refused {
        /// Which log.
        log: Arc<str>,
        /// Why.
        #[source]
        source: ReserveError,
        /// The operation.
        operation: Op,
    },
}

/// Without the operation, which need not know how to print itself.
impl<Op> fmt::Debug for AppendError<Op> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "AppendError({self})")
    }
}

/// The numbers of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LogStatistics {
    /// Operations that were appended so far.
    pub appended: u64,
    /// Operations that fell out of the window without being compacted.
    pub dropped: u64,
    /// Compactions that were done so far.
    pub compactions: u64,
    /// Compactions that panicked; what they were to merge was kept.
    pub failed_compactions: u64,
}

/// A log before it is made.
#[must_use = "a log exists once it is built"]
pub struct RollingLogBuilder<Op> {
    component: Component,
    operations: usize,
    after: usize,
    interval: Duration,
    compact: Option<Box<dyn Compact<Op>>>,
    weigher: Option<Weigher<Op>>,
    clock: Arc<dyn Clock>,
}

impl<Op> fmt::Debug for RollingLogBuilder<Op> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RollingLogBuilder")
            .field("component", &self.component.name())
            .field("operations", &self.operations)
            .field("after", &self.after)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

impl<Op> RollingLogBuilder<Op> {
    /// The most operations that are kept; at least 1. 1,000 if not said.
    pub fn max_operations(mut self, operations: usize) -> Self {
        self.operations = operations.max(1);
        self
    }

    /// After how many new operations it is compacted; at least 1. 1,000 if not
    /// said.
    pub fn compact_after(mut self, operations: usize) -> Self {
        self.after = operations.max(1);
        self
    }

    /// After how long it is compacted, if there is anything new. 10 minutes if
    /// not said.
    pub fn compact_every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// How operations are merged. If not said they are not: the oldest go.
    pub fn compact_with(mut self, compact: impl Compact<Op> + 'static) -> Self {
        self.compact = Some(Box::new(compact));
        self
    }

    /// Tells what an operation weighs in all; it weighs its own size
    /// (`size_of`) at least, and just that if not said.
    pub fn weigher(mut self, weigh: impl Fn(&Op) -> Bytes + Send + Sync + 'static) -> Self {
        self.weigher = Some(Box::new(weigh));
        self
    }

    /// Tells the time.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Makes it.
    pub fn build(self) -> RollingLog<Op> {
        let compacted_at = self.clock.now();
        RollingLog {
            name: self.component.name().into(),
            operations: self.operations,
            after: self.after,
            interval: self.interval,
            compact: self.compact,
            weigher: self.weigher,
            clock: self.clock,
            window: Mutex::new(Window {
                kept: VecDeque::new(),
                left: 0,
                bytes: 0,
                fresh: 0,
                compacted_at,
                compacting: false,
                is_useful: true,
                statistics: LogStatistics::default(),
                charge: Charge::new(&self.component),
            }),
            component: self.component,
        }
    }
}

/// An operation that is kept.
struct Kept<Op> {
    operation: Arc<Op>,
    bytes: u64,
}

struct Window<Op> {
    kept: VecDeque<Kept<Op>>,
    /// How many left at the front, ever.
    left: usize,
    bytes: u64,
    /// How many were appended since the last compaction.
    fresh: usize,
    compacted_at: Duration,
    compacting: bool,
    /// Whether the last compaction made room.
    is_useful: bool,
    statistics: LogStatistics,
    charge: Charge,
}

/// A window over the last operations, charged to a component.
pub struct RollingLog<Op> {
    name: Arc<str>,
    component: Component,
    operations: usize,
    after: usize,
    interval: Duration,
    compact: Option<Box<dyn Compact<Op>>>,
    weigher: Option<Weigher<Op>>,
    clock: Arc<dyn Clock>,
    window: Mutex<Window<Op>>,
}

impl<Op> fmt::Debug for RollingLog<Op> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RollingLog")
            .field("name", &self.name)
            .field("operations", &self.len())
            .finish_non_exhaustive()
    }
}

impl<Op> Window<Op> {
    /// Takes the oldest out until `most` are left. To be dropped outside of
    /// the lock.
    fn shrink_to(&mut self, most: usize) -> Vec<Kept<Op>> {
        let over = self.kept.len().saturating_sub(most);
        let gone: Vec<_> = self.kept.drain(..over).collect();
        self.left = self.left.wrapping_add(over);
        for kept in &gone {
            self.bytes -= kept.bytes;
        }
        gone
    }

    /// Takes out what is reserved far above what is kept.
    fn excess(&mut self, quantum: u64) -> Option<Reservation<'static>> {
        let keep = self.bytes.saturating_add(quantum);
        (self.charge.size() > keep.saturating_add(quantum))
            .then(|| self.charge.take_above(keep))
            .flatten()
    }
}

impl<Op> RollingLog<Op> {
    /// A log with limits of its own.
    pub fn builder(component: Component) -> RollingLogBuilder<Op> {
        RollingLogBuilder {
            component,
            operations: DEFAULT_OPERATIONS,
            after: DEFAULT_OPERATIONS,
            interval: DEFAULT_INTERVAL,
            compact: None,
            weigher: None,
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// Records `operation`, and compacts if it is time to; in this thread.
    ///
    /// # Errors
    /// [`AppendError`], with the operation in it.
    pub fn append(&self, operation: Op) -> Result<(), AppendError<Op>> {
        let bytes = self.weigh(&operation);
        let credit = match self.credit(bytes) {
            Ok(credit) => credit,
            Err(source) => {
                return Err(AppendError::Refused {
                    log: Arc::clone(&self.name),
                    source,
                    operation,
                });
            }
        };
        let operation = Arc::new(operation);
        let now = self.clock.now();
        let mut window = lock(&self.window);
        window.charge.put(credit);
        window.bytes += bytes;
        // Not 0 only if somebody else used meanwhile what we had counted on.
        let missing = window.bytes.saturating_sub(window.charge.size());
        window.fresh += 1;
        window.statistics.appended += 1;
        window.kept.push_back(Kept { operation, bytes });
        let is_due = self.is_due(&window, now);
        let gone = if is_due {
            Vec::new()
        } else {
            self.keep_window(&mut window)
        };
        drop(window);
        discard(gone.into_iter().map(|kept| kept.operation));
        if missing > 0 {
            let credit = self.component.overdraw(Bytes(missing)).into_owned();
            lock(&self.window).charge.put(Some(credit));
        }
        if is_due {
            self.compact_now();
        }
        Ok(())
    }

    /// Reserves for `bytes` more, if there is not enough; if there are none to
    /// be had, compacts and asks again.
    fn credit(&self, bytes: u64) -> Result<Option<Reservation<'static>>, ReserveError> {
        if self.has_charge(bytes) {
            return Ok(None);
        }
        let refusal = match reserve_quantum(&self.component, self.quantum(), bytes, bytes) {
            Ok(credit) => return Ok(Some(credit)),
            Err(refusal) => refusal,
        };
        if self.compact_now() && self.has_charge(bytes) {
            return Ok(None);
        }
        match self.component.reserve_owned(Bytes(bytes)) {
            Ok(credit) => Ok(Some(credit)),
            Err(_) => Err(refusal),
        }
    }

    fn has_charge(&self, bytes: u64) -> bool {
        let window = lock(&self.window);
        window.bytes.saturating_add(bytes) <= window.charge.size()
    }

    /// As much as the whole window of the smallest operations.
    fn quantum(&self) -> u64 {
        let own = u64::try_from(size_of::<Op>()).unwrap_or(u64::MAX);
        let operations = u64::try_from(self.operations).unwrap_or(u64::MAX);
        quantum_of(own.saturating_mul(operations))
    }

    fn weigh(&self, operation: &Op) -> u64 {
        let own = u64::try_from(size_of::<Op>()).unwrap_or(u64::MAX).max(1);
        match &self.weigher {
            None => own,
            Some(weigh) => weigh(operation).get().max(own),
        }
    }

    fn is_due(&self, window: &Window<Op>, now: Duration) -> bool {
        if self.compact.is_none() || window.compacting || window.fresh == 0 {
            return false;
        }
        window.fresh >= self.after
            || now.saturating_sub(window.compacted_at) >= self.interval
            || (window.is_useful && window.kept.len() > self.operations)
    }

    /// Takes out what is over the window; while a compaction runs it may be
    /// over, because it will be less soon.
    fn keep_window(&self, window: &mut Window<Op>) -> Vec<Kept<Op>> {
        let most = if window.compacting {
            self.operations.saturating_mul(OVERRUN)
        } else {
            self.operations
        };
        let gone = window.shrink_to(most);
        let count = u64::try_from(gone.len()).unwrap_or(u64::MAX);
        window.statistics.dropped = window.statistics.dropped.saturating_add(count);
        gone
    }

    /// Compacts if operations or time enough have passed. For a timer of the
    /// program's; appending asks by itself. Tells whether it did.
    pub fn compact_if_due(&self) -> bool {
        let now = self.clock.now();
        let is_due = self.is_due(&lock(&self.window), now);
        is_due && self.compact_now()
    }

    /// Compacts, in this thread. Tells whether it did: not when there is no
    /// compaction or nothing to compact, when one is under way, or when it
    /// panics, after which all is as it was.
    pub fn compact_now(&self) -> bool {
        let Some(compact) = &self.compact else {
            return false;
        };
        let mut window = lock(&self.window);
        if window.compacting || window.kept.is_empty() {
            return false;
        }
        window.compacting = true;
        let operations: Vec<_> = window
            .kept
            .iter()
            .map(|kept| Arc::clone(&kept.operation))
            .collect();
        let left_before = window.left;
        window.fresh = 0;
        drop(window);
        let compacted = catch_unwind(AssertUnwindSafe(|| {
            let results = compact.compact(&operations);
            let weighed = |operation: Op| Kept {
                bytes: self.weigh(&operation),
                operation: Arc::new(operation),
            };
            results.into_iter().map(weighed).collect::<Vec<_>>()
        }));
        let done = self.replace(operations.len(), left_before, compacted.ok());
        discard(operations);
        done
    }

    /// Puts what a compaction gave in the place of the `count` that it got.
    fn replace(&self, count: usize, left_before: usize, compacted: Option<Vec<Kept<Op>>>) -> bool {
        let bytes = compacted
            .iter()
            .flatten()
            .map(|kept| kept.bytes)
            .fold(0, u64::saturating_add);
        // It is there already: the account must say so, whatever the limits.
        let credit = self.component.overdraw(Bytes(bytes)).into_owned();
        let now = self.clock.now();
        let mut window = lock(&self.window);
        window.compacting = false;
        window.compacted_at = now;
        window.charge.put(Some(credit));
        let mut gone = Vec::new();
        let done = compacted.is_some();
        if let Some(results) = compacted {
            let still_there = count.saturating_sub(window.left.wrapping_sub(left_before));
            let most = window.kept.len().saturating_sub(still_there);
            gone = window.shrink_to(most);
            window.bytes = window.bytes.saturating_add(bytes);
            for kept in results.into_iter().rev() {
                window.kept.push_front(kept);
            }
            window.statistics.compactions += 1;
        } else {
            window.statistics.failed_compactions += 1;
        }
        window.is_useful = done && window.kept.len() < self.operations;
        gone.extend(self.keep_window(&mut window));
        let excess = window.excess(self.quantum());
        drop(window);
        drop(excess);
        discard(gone.into_iter().map(|kept| kept.operation));
        if !done {
            tracing::error!(log = %self.name, "the compaction panicked: its operations are kept");
        }
        done
    }

    /// All that is kept, oldest first.
    #[must_use]
    pub fn operations(&self) -> Vec<Arc<Op>> {
        lock(&self.window)
            .kept
            .iter()
            .map(|kept| Arc::clone(&kept.operation))
            .collect()
    }

    /// How many operations are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.window).kept.len()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is kept weighs so much.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        Bytes(lock(&self.window).bytes)
    }

    /// The numbers.
    #[must_use]
    pub fn statistics(&self) -> LogStatistics {
        lock(&self.window).statistics
    }
}

/// Operations are dropped one by one, so that one that panics does not end the
/// program; their bytes are given back after.
impl<Op> Drop for RollingLog<Op> {
    fn drop(&mut self) {
        let kept = std::mem::take(&mut lock(&self.window).kept);
        discard(kept.into_iter().map(|kept| kept.operation));
    }
}

/// Trimming compacts. Operations are never dropped for memory.
impl<Op: Send + Sync> Reclaimer for RollingLog<Op> {
    fn name(&self) -> &str {
        &self.name
    }

    fn priority(&self) -> Priority {
        self.component.priority()
    }

    fn reclaimable(&self, mode: ReclaimMode) -> Bytes {
        let window = lock(&self.window);
        let slack = window.charge.size() - window.bytes.min(window.charge.size());
        Bytes(match mode {
            // What compaction leaves nobody knows: it may be next to nothing.
            ReclaimMode::Trim if self.compact.is_some() && window.fresh > 0 => window.charge.size(),
            ReclaimMode::Trim => slack,
            ReclaimMode::Unload | ReclaimMode::Spill | ReclaimMode::Evict => 0,
        })
    }

    fn reclaim(&self, request: &ReclaimRequest, _stop: &Stop) -> Reclaimed {
        if request.mode != ReclaimMode::Trim {
            return Reclaimed::default();
        }
        let before = self.sizes();
        if before.2 > 0 {
            self.compact_now();
        }
        let mut window = lock(&self.window);
        window.kept.shrink_to_fit();
        let bytes = window.bytes;
        let excess = window.charge.take_above(bytes);
        drop(window);
        drop(excess);
        let after = self.sizes();
        Reclaimed {
            freed: before.0.saturating_sub(after.0),
            entries: before.1.saturating_sub(after.1),
            ..Reclaimed::default()
        }
    }

    fn modes(&self) -> &[ReclaimMode] {
        &[ReclaimMode::Trim]
    }
}

impl<Op> RollingLog<Op> {
    /// Bytes reserved, operations kept, and how many of those are new.
    fn sizes(&self) -> (Bytes, u64, usize) {
        let window = lock(&self.window);
        let kept = u64::try_from(window.kept.len()).unwrap_or(u64::MAX);
        (Bytes(window.charge.size()), kept, window.fresh)
    }
}

#[cfg(test)]
#[cfg(not(grey_loom))]
mod tests;
