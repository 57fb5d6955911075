//! When a log is compacted, and what becomes of what the compaction gives.
//!
//! Never loses operations to a compaction that panics, and never calls the
//! compaction under the lock.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use grey_model::Bytes;

use super::log::RollingLog;
use super::window::{Kept, Window, charge_of};
use crate::queue::charge::discard;
use crate::sync::lock;

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

impl<Op> RollingLog<Op> {
    pub(super) fn is_due(&self, window: &Window<Op>, now: Duration) -> bool {
        if self.compact.is_none() || window.compacting || window.fresh == 0 {
            return false;
        }
        window.fresh >= self.after
            || now.saturating_sub(window.compacted_at) >= self.interval
            || (window.is_useful && window.kept.len() > self.operations)
    }

    /// Takes out what is over the window; while a compaction runs it may be
    /// over, because it will be less soon.
    pub(super) fn keep_window(&self, window: &mut Window<Op>) -> Vec<Kept<Op>> {
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
    /// program's: appending and reading ask by themselves, and a log that is
    /// registered with a controller is compacted when memory is short, but one
    /// that nobody calls is not compacted when its time is over. Tells whether
    /// it did.
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
        let sum = |of: fn(u64) -> u64| {
            let results = compacted.iter().flatten();
            results
                .map(|kept| of(kept.bytes))
                .fold(0, u64::saturating_add)
        };
        let bytes = sum(|bytes| bytes);
        // It is there already: the account must say so, whatever the limits.
        let credit = self.component.overdraw(Bytes(sum(charge_of::<Op>)));
        let credit = credit.into_owned();
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
}
