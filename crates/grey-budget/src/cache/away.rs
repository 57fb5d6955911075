//! Which keys are not in memory but may be on disk: by hash, so that a miss of
//! what was never spilled costs no look at the disk.
//!
//! Never holds keys or values. Two keys of one 64-bit hash share a row: a value
//! may be lost by that, and is never taken for another's, since the spill
//! target compares whole keys.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Rows of the table are spread over so many locks.
const STRIPES: usize = 16;

/// What a row is charged: the row itself, and the table's free room.
pub(super) const ROW_BYTES: u64 = 48;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    /// It left memory and is being written. `stale` once a newer value came.
    Leaving { id: u64, stale: bool },
    /// It was written.
    Spilled,
}

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It may be read back.
    Kept,
    /// A newer value came meanwhile: what was written must go.
    Stale,
}

#[derive(Debug, Default)]
pub(super) struct Away {
    stripes: [Mutex<HashMap<u64, Where>>; STRIPES],
    rows: AtomicU64,
}

impl Away {
    fn stripe(&self, hash: u64) -> MutexGuard<'_, HashMap<u64, Where>> {
        let stripe = usize::try_from(hash % 16).unwrap_or_default();
        self.stripes[stripe]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// How many keys may be on disk.
    pub(super) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Acquire)
    }

    /// It is leaving memory. An older value that is still being written is
    /// stale from now on.
    pub(super) fn leave(&self, hash: u64, id: u64) {
        let before = self
            .stripe(hash)
            .insert(hash, Where::Leaving { id, stale: false });
        if before.is_none() {
            self.rows.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Whether this very value is to be written.
    pub(super) fn is_leaving(&self, hash: u64, id: u64) -> bool {
        self.rows() > 0
            && self.stripe(hash).get(&hash) == Some(&Where::Leaving { id, stale: false })
    }

    /// It was written.
    pub(super) fn arrive(&self, hash: u64, id: u64) -> Arrival {
        let mut stripe = self.stripe(hash);
        match stripe.get_mut(&hash) {
            Some(place) if *place == (Where::Leaving { id, stale: false }) => {
                *place = Where::Spilled;
                Arrival::Kept
            }
            Some(Where::Leaving { id: other, .. }) if *other == id => {
                stripe.remove(&hash);
                self.rows.fetch_sub(1, Ordering::AcqRel);
                Arrival::Stale
            }
            _ => Arrival::Stale,
        }
    }

    /// It was not written.
    pub(super) fn abandon(&self, hash: u64, id: u64) {
        let mut stripe = self.stripe(hash);
        if matches!(stripe.get(&hash), Some(Where::Leaving { id: other, .. }) if *other == id) {
            stripe.remove(&hash);
            self.rows.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// It is on disk from an earlier run.
    pub(super) fn restore(&self, hash: u64) {
        let mut stripe = self.stripe(hash);
        if stripe.insert(hash, Where::Spilled).is_none() {
            self.rows.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Whether it is worth looking on disk.
    pub(super) fn may_be_read(&self, hash: u64) -> bool {
        self.rows() > 0
            && matches!(
                self.stripe(hash).get(&hash),
                Some(Where::Spilled | Where::Leaving { stale: false, .. })
            )
    }

    /// Whether it was written, and nothing newer is known.
    pub(super) fn is_spilled(&self, hash: u64) -> bool {
        self.rows() > 0 && self.stripe(hash).get(&hash) == Some(&Where::Spilled)
    }

    /// A newer value (number `newer`) is in memory, or none shall be: what is
    /// on disk is not true any more. Tells whether something is there.
    pub(super) fn outdate(&self, hash: u64, newer: Option<u64>) -> bool {
        if self.rows() == 0 {
            return false;
        }
        let mut stripe = self.stripe(hash);
        match stripe.get_mut(&hash) {
            Some(Where::Leaving { id, stale }) => {
                if Some(*id) != newer {
                    *stale = true;
                }
                false
            }
            Some(Where::Spilled) => {
                stripe.remove(&hash);
                self.rows.fetch_sub(1, Ordering::AcqRel);
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_newer_value_overtook_on_its_way_is_not_read() {
        let away = Away::default();
        away.leave(7, 1);
        assert!(away.may_be_read(7));
        away.outdate(7, Some(2));
        assert!(!away.may_be_read(7));
        assert_eq!(away.arrive(7, 1), Arrival::Stale);
        assert_eq!(away.rows(), 0);
    }

    #[test]
    fn a_value_does_not_outdate_itself() {
        let away = Away::default();
        away.leave(7, 2);
        away.outdate(7, Some(2));
        assert_eq!(away.arrive(7, 2), Arrival::Kept);
        assert!(away.may_be_read(7));
        assert!(away.outdate(7, None), "it lies on disk");
        assert!(!away.may_be_read(7));
    }

    #[test]
    fn the_older_of_two_that_leave_is_stale() {
        let away = Away::default();
        away.leave(7, 1);
        away.leave(7, 2);
        assert_eq!(away.arrive(7, 1), Arrival::Stale);
        assert_eq!(away.arrive(7, 2), Arrival::Kept);
        assert_eq!(away.rows(), 1);
    }

    #[test]
    fn what_could_not_be_written_is_not_looked_for() {
        let away = Away::default();
        away.leave(7, 1);
        away.abandon(7, 1);
        assert!(!away.may_be_read(7));
        away.restore(7);
        away.abandon(7, 1);
        assert!(away.may_be_read(7), "another's row stays");
    }
}
