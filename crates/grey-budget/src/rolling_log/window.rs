//! What is kept, as it is under the lock.
//!
//! Never locks, and never drops an operation: who calls does, when the lock is
//! free.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::statistics::LogStatistics;
use crate::budget::Reservation;
use crate::queue::charge::Charge;

/// An operation that is kept.
pub(super) struct Kept<Op> {
    pub(super) operation: Arc<Op>,
    pub(super) bytes: u64,
}

pub(super) struct Window<Op> {
    pub(super) kept: VecDeque<Kept<Op>>,
    /// How many left at the front, ever.
    pub(super) left: usize,
    pub(super) bytes: u64,
    /// How many were appended since the last compaction.
    pub(super) fresh: usize,
    pub(super) compacted_at: Duration,
    pub(super) compacting: bool,
    /// Whether the last compaction made room.
    pub(super) is_useful: bool,
    pub(super) statistics: LogStatistics,
    pub(super) charge: Charge,
}

impl<Op> Window<Op> {
    /// Takes the oldest out until `most` are left. To be dropped outside of
    /// the lock.
    pub(super) fn shrink_to(&mut self, most: usize) -> Vec<Kept<Op>> {
        let over = self.kept.len().saturating_sub(most);
        let gone: Vec<_> = self.kept.drain(..over).collect();
        self.left = self.left.wrapping_add(over);
        for kept in &gone {
            self.bytes -= kept.bytes;
        }
        gone
    }

    /// Takes out what is reserved far above what is kept.
    pub(super) fn excess(&mut self, quantum: u64) -> Option<Reservation<'static>> {
        let keep = self.bytes.saturating_add(quantum);
        (self.charge.size() > keep.saturating_add(quantum))
            .then(|| self.charge.take_above(keep))
            .flatten()
    }
}
