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
use crate::queue::heap::{make_room_in, place_in_list, shared_piece, shrink_spacious};

/// An operation that is kept.
pub(super) struct Kept<Op> {
    pub(super) operation: Arc<Op>,
    pub(super) bytes: u64,
}

/// What an operation takes beside its weight.
pub(super) const fn overhead<Op>() -> u64 {
    let place = place_in_list(size_of::<Kept<Op>>());
    (shared_piece(size_of::<Op>()) - size_of::<Op>() + place) as u64
}

/// What an operation of this weight takes of the budget.
pub(super) const fn charge_of<Op>(bytes: u64) -> u64 {
    bytes.saturating_add(overhead::<Op>())
}

pub(super) struct Window<Op> {
    pub(super) kept: VecDeque<Kept<Op>>,
    /// How many left at the front, ever.
    pub(super) left: usize,
    /// What is kept weighs so much.
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
    /// What all that is kept takes of the budget.
    pub(super) fn held(&self) -> u64 {
        let operations = self.kept.len() as u64;
        self.bytes
            .saturating_add(operations.saturating_mul(overhead::<Op>()))
    }

    /// Keeps one more, in a window of `operations`.
    pub(super) fn push(&mut self, kept: Kept<Op>, operations: usize) {
        // One more, because the oldest goes after the newest came.
        make_room_in(&mut self.kept, operations.saturating_add(1));
        self.bytes = self.bytes.saturating_add(kept.bytes);
        self.kept.push_back(kept);
    }

    /// Takes the oldest out until `most` are left. To be dropped outside of
    /// the lock.
    pub(super) fn shrink_to(&mut self, most: usize) -> Vec<Kept<Op>> {
        let over = self.kept.len().saturating_sub(most);
        let gone: Vec<_> = self.kept.drain(..over).collect();
        shrink_spacious(&mut self.kept);
        self.left = self.left.wrapping_add(over);
        for kept in &gone {
            self.bytes = self.bytes.saturating_sub(kept.bytes);
        }
        gone
    }

    /// Takes out what is reserved far above what is kept.
    pub(super) fn excess(&mut self, quantum: u64) -> Option<Reservation<'static>> {
        let keep = self.held().saturating_add(quantum);
        (self.charge.size() > keep.saturating_add(quantum))
            .then(|| self.charge.take_above(keep))
            .flatten()
    }
}
