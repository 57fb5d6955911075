//! Which keys are not in memory but on disk: by hash, so that a miss of what was
//! never spilled costs no look at the disk. And who writes or removes what there,
//! so that of one key nobody does both, or one of them twice, at once.
//!
//! Never holds keys or values, and never a lock while anybody writes: who comes
//! while another is at the same key goes without. A value may be lost by that,
//! and an older one never takes its place. Two keys of one 64-bit hash share a
//! row: a value may be lost by that, too, and is never taken for another's, since
//! the spill target compares whole keys.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Rows of the table are spread over so many locks.
const STRIPES: usize = 16;

/// What a row is charged: the row itself, and the table's free room.
pub(super) const ROW_BYTES: u64 = 48;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    /// It left memory and is to be written. `stale` once a newer value came.
    Leaving { id: u64, stale: bool },
    /// It was written.
    Spilled,
}

/// What somebody does on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Writing { id: u64 },
    Removing,
}

/// What is to be done with a value that was noted as leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    /// To write it, and then [`Away::arrive`], or [`Away::abandon`] and
    /// [`Away::end`].
    Write,
    /// It is stale: to remove what is on disk, and then [`Away::end`].
    Remove,
    Nothing,
}

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It may be read back.
    Kept,
    /// A newer value came meanwhile: what was written must go, and then
    /// [`Away::end`].
    Stale,
}

#[derive(Debug, Default)]
struct Stripe {
    rows: HashMap<u64, Where>,
    busy: HashMap<u64, Doing>,
}

#[derive(Debug, Default)]
pub(super) struct Away {
    stripes: [Mutex<Stripe>; STRIPES],
    rows: AtomicU64,
}

impl Away {
    fn stripe(&self, hash: u64) -> MutexGuard<'_, Stripe> {
        let stripe = usize::try_from(hash % 16).unwrap_or_default();
        self.stripes[stripe]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn remove_row(&self, stripe: &mut Stripe, hash: u64) {
        if stripe.rows.remove(&hash).is_some() {
            self.rows.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn put_row(&self, hash: u64, place: Where) {
        if self.stripe(hash).rows.insert(hash, place).is_none() {
            self.rows.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// How many keys may be on disk.
    pub(super) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Acquire)
    }

    /// It is leaving memory. An older value that is still being written is
    /// stale from now on.
    pub(super) fn leave(&self, hash: u64, id: u64) {
        self.put_row(hash, Where::Leaving { id, stale: false });
    }

    /// Whether this very value was noted as leaving, and nobody wrote it yet.
    pub(super) fn is_leaving(&self, hash: u64, id: u64) -> bool {
        self.rows() > 0
            && matches!(self.stripe(hash).rows.get(&hash),
                Some(Where::Leaving { id: other, .. }) if *other == id)
    }

    /// Begins to write a value that was noted as leaving.
    pub(super) fn begin(&self, hash: u64, id: u64) -> Begin {
        let mut stripe = self.stripe(hash);
        let Some(&Where::Leaving { id: other, stale }) = stripe.rows.get(&hash) else {
            return Begin::Nothing;
        };
        if other != id {
            return Begin::Nothing;
        }
        match stripe.busy.get(&hash) {
            // Another thread writes this very value, and knows what becomes of it.
            Some(Doing::Writing { id: writing }) if *writing == id => Begin::Nothing,
            Some(_) => {
                self.remove_row(&mut stripe, hash);
                Begin::Nothing
            }
            None if stale => {
                self.remove_row(&mut stripe, hash);
                stripe.busy.insert(hash, Doing::Removing);
                Begin::Remove
            }
            None => {
                stripe.busy.insert(hash, Doing::Writing { id });
                Begin::Write
            }
        }
    }

    /// It was written.
    pub(super) fn arrive(&self, hash: u64, id: u64) -> Arrival {
        let mut stripe = self.stripe(hash);
        match stripe.rows.get(&hash) {
            Some(Where::Leaving { id: other, stale }) if *other == id => {
                if *stale {
                    self.remove_row(&mut stripe, hash);
                    return Arrival::Stale;
                }
                stripe.rows.insert(hash, Where::Spilled);
                stripe.busy.remove(&hash);
                Arrival::Kept
            }
            _ => Arrival::Stale,
        }
    }

    /// It is not written.
    pub(super) fn abandon(&self, hash: u64, id: u64) {
        let mut stripe = self.stripe(hash);
        if matches!(stripe.rows.get(&hash), Some(Where::Leaving { id: other, .. }) if *other == id)
        {
            self.remove_row(&mut stripe, hash);
        }
    }

    /// Whoever was at the key on the disk is done.
    pub(super) fn end(&self, hash: u64) {
        self.stripe(hash).busy.remove(&hash);
    }

    /// It is on disk from an earlier run.
    pub(super) fn restore(&self, hash: u64) {
        self.put_row(hash, Where::Spilled);
    }

    /// Whether it was written, and nothing newer is known: then the disk has
    /// this value. While it is being written the disk may still have an older
    /// one.
    pub(super) fn is_spilled(&self, hash: u64) -> bool {
        self.rows() > 0 && self.stripe(hash).rows.get(&hash) == Some(&Where::Spilled)
    }

    /// A newer value is known, or none any more. Whether what is on disk is now
    /// to be removed, and then [`Self::end`]; `newer` is the number of the newer
    /// value.
    pub(super) fn outdate(&self, hash: u64, newer: Option<u64>) -> bool {
        if self.rows() == 0 {
            return false;
        }
        let mut stripe = self.stripe(hash);
        match stripe.rows.get_mut(&hash) {
            Some(Where::Leaving { id, stale }) => {
                if Some(*id) != newer {
                    *stale = true;
                }
                false
            }
            Some(Where::Spilled) => {
                self.remove_row(&mut stripe, hash);
                // Whoever is at it finds its row gone, and removes it.
                let is_free = !stripe.busy.contains_key(&hash);
                stripe.busy.entry(hash).or_insert(Doing::Removing);
                is_free
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
        assert_eq!(away.begin(7, 1), Begin::Write);
        assert!(!away.is_spilled(7), "the disk may still have an older one");
        away.outdate(7, Some(2));
        assert_eq!(away.arrive(7, 1), Arrival::Stale);
        assert!(!away.is_spilled(7));
        assert_eq!(away.rows(), 0);
    }

    #[test]
    fn a_value_does_not_outdate_itself() {
        let away = Away::default();
        away.leave(7, 2);
        away.outdate(7, Some(2));
        assert_eq!(away.begin(7, 2), Begin::Write);
        assert_eq!(away.arrive(7, 2), Arrival::Kept);
        assert!(away.is_spilled(7));
        assert!(away.outdate(7, None), "it lies on disk");
        assert!(!away.is_spilled(7));
    }

    #[test]
    fn of_two_that_leave_the_newer_is_written_after_the_older_or_not_at_all() {
        let away = Away::default();
        away.leave(7, 1);
        assert_eq!(away.begin(7, 1), Begin::Write);
        away.leave(7, 2);
        // Who comes while the older is at it goes without.
        assert_eq!(away.begin(7, 2), Begin::Nothing);
        assert_eq!(away.arrive(7, 1), Arrival::Stale);
        away.end(7);
        assert_eq!(away.rows(), 0);
        away.leave(7, 3);
        away.leave(7, 4);
        assert_eq!(away.begin(7, 3), Begin::Nothing, "it is not the newest");
        assert_eq!(away.begin(7, 4), Begin::Write);
        assert_eq!(away.arrive(7, 4), Arrival::Kept);
        assert_eq!(away.rows(), 1);
    }

    #[test]
    fn nothing_is_written_while_an_older_one_is_removed() {
        let away = Away::default();
        away.restore(7);
        assert!(away.outdate(7, Some(1)));
        away.leave(7, 1);
        assert_eq!(away.begin(7, 1), Begin::Nothing);
        away.end(7);
        away.leave(7, 2);
        assert_eq!(away.begin(7, 2), Begin::Write);
    }

    #[test]
    fn two_do_not_remove_at_once() {
        let away = Away::default();
        away.restore(7);
        assert!(away.outdate(7, None));
        away.restore(7);
        assert!(!away.outdate(7, None), "another is at it");
        assert_eq!(away.rows(), 0);
        away.end(7);
        away.restore(7);
        assert!(away.outdate(7, None));
    }

    #[test]
    fn two_that_write_the_same_value_are_one() {
        let away = Away::default();
        away.leave(7, 1);
        assert_eq!(away.begin(7, 1), Begin::Write);
        away.leave(7, 1);
        assert_eq!(away.begin(7, 1), Begin::Nothing);
        assert_eq!(away.arrive(7, 1), Arrival::Kept);
    }

    #[test]
    fn what_was_overtaken_before_it_was_written_goes_from_the_disk() {
        let away = Away::default();
        away.restore(7);
        away.leave(7, 1);
        away.outdate(7, Some(2));
        assert_eq!(away.begin(7, 1), Begin::Remove);
        assert_eq!(away.rows(), 0);
    }

    #[test]
    fn what_could_not_be_written_is_not_looked_for() {
        let away = Away::default();
        away.leave(7, 1);
        away.abandon(7, 1);
        assert_eq!(away.begin(7, 1), Begin::Nothing);
        away.restore(7);
        away.abandon(7, 1);
        assert!(away.is_spilled(7), "another's row stays");
    }
}
