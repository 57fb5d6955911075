//! What a program calls: appending, and reading what is kept.
//!
//! Never drops an operation under the lock.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use grey_model::Bytes;

use super::builder::RollingLogBuilder;
use super::compaction::Compact;
use super::error::AppendError;
use super::statistics::LogStatistics;
use super::window::{Kept, Window, charge_of, overhead};
use crate::budget::{Component, Reservation, ReserveError};
use crate::clock::Clock;
use crate::queue::charge::{discard, quantum_of, reserve_quantum};
use crate::queue::settings::Weigher;
use crate::sync::{Mutex, lock};

/// A window over the last operations, charged to a component: each takes what it
/// weighs and [`Self::OPERATION_OVERHEAD`].
pub struct RollingLog<Op> {
    pub(super) name: Arc<str>,
    pub(super) component: Component,
    pub(super) operations: usize,
    pub(super) after: usize,
    pub(super) interval: Duration,
    pub(super) compact: Option<Box<dyn Compact<Op>>>,
    pub(super) weigher: Option<Weigher<Op>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) window: Mutex<Window<Op>>,
}

impl<Op> fmt::Debug for RollingLog<Op> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RollingLog")
            .field("name", &self.name)
            .field("operations", &lock(&self.window).kept.len())
            .finish_non_exhaustive()
    }
}

impl<Op> RollingLog<Op> {
    /// What an operation takes of the budget beside its weight: its place in the
    /// window, and a count of who holds it.
    pub const OPERATION_OVERHEAD: Bytes = Bytes(overhead::<Op>());

    /// A log with limits of its own.
    pub fn builder(component: Component) -> RollingLogBuilder<Op> {
        RollingLogBuilder::new(component)
    }

    /// Records `operation`, and compacts if it is time to; in this thread.
    ///
    /// # Errors
    /// [`AppendError`], with the operation in it.
    pub fn append(&self, operation: Op) -> Result<(), AppendError<Op>> {
        let bytes = self.weigh(&operation);
        let credit = match self.credit(charge_of::<Op>(bytes)) {
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
        window.fresh += 1;
        window.statistics.appended += 1;
        window.push(Kept { operation, bytes }, self.operations);
        // Not 0 only if somebody else used meanwhile what we had counted on.
        let missing = window.held().saturating_sub(window.charge.size());
        let is_due = self.is_due(&window, now);
        let (gone, excess) = if is_due {
            (Vec::new(), None)
        } else {
            let gone = self.keep_window(&mut window);
            (gone, window.excess(self.quantum()))
        };
        drop(window);
        drop(excess);
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
        match self.component.reserve_spare(Bytes(bytes)) {
            Ok(credit) => Ok(Some(credit)),
            Err(_) => Err(self.component.refused(refusal)),
        }
    }

    fn has_charge(&self, bytes: u64) -> bool {
        let window = lock(&self.window);
        window.held().saturating_add(bytes) <= window.charge.size()
    }

    /// As much as the whole window of the smallest operations.
    pub(super) fn quantum(&self) -> u64 {
        let own = charge_of::<Op>(size_of::<Op>() as u64);
        let operations = u64::try_from(self.operations).unwrap_or(u64::MAX);
        quantum_of(own.saturating_mul(operations))
    }

    pub(super) fn weigh(&self, operation: &Op) -> u64 {
        let own = u64::try_from(size_of::<Op>()).unwrap_or(u64::MAX).max(1);
        match &self.weigher {
            None => own,
            Some(weigh) => weigh(operation).get().max(own),
        }
    }

    /// All that is kept, oldest first; compacted in this thread, if it is time
    /// to.
    #[must_use]
    pub fn operations(&self) -> Vec<Arc<Op>> {
        self.compact_if_due();
        lock(&self.window)
            .kept
            .iter()
            .map(|kept| Arc::clone(&kept.operation))
            .collect()
    }

    /// How many operations are kept; compacted in this thread, if it is time to.
    #[must_use]
    pub fn len(&self) -> usize {
        self.compact_if_due();
        lock(&self.window).kept.len()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is kept weighs so much; compacted in this thread, if it is time to.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.compact_if_due();
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
