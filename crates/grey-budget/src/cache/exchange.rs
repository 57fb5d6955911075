//! While the budget takes nothing new, or has no more for this cache, it goes
//! on: what comes in takes the place of what it holds. While it is closed, the
//! cache holds no more than when it closed.
//!
//! Without it a cache would keep for as long what it happened to hold, and
//! every read of something else would be a miss, just when all is slow. In an
//! emergency nothing comes in: what is dropped may not be back with the kernel
//! when what comes in already is.

use std::hash::Hash;
use std::sync::atomic::Ordering;

use grey_model::Bytes;

use super::capacity::{CLASSES, victims};
use super::core::{Inner, KEPT};
use super::options::Rejection;
use crate::budget::{Admission, Reservation, ReserveError};

/// It may hold its whole capacity.
pub(super) const THAWED: u8 = 0;

/// In a full budget this part of what a cache holds goes at once, so that not
/// each value that comes in has to resize it.
const STEPS: u64 = 256;

/// It may hold what it held when the budget closed.
const FROZEN: u8 = 1;

/// It holds less than that by now; the next value finds out how much.
const STALE: u8 = 2;

impl<K, V> Inner<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Takes the charge of a value that the budget `refused`, if it can take
    /// the place of others of this cache: a cache that the budget lets grow no
    /// more still replaces what is used least.
    #[cold]
    pub(super) fn exchange(
        &self,
        class: usize,
        weight: u64,
        refused: ReserveError,
    ) -> Result<Reservation<'_>, Rejection> {
        match refused {
            ReserveError::Shedding {
                admission: Admission::NoRefill,
                ..
            } => self.exchange_while_closed(class, weight, refused),
            ReserveError::Exhausted { available, .. } => {
                self.exchange_while_full(class, weight, available.get(), refused)
            }
            _ => Err(Rejection::Budget(Box::new(refused))),
        }
    }

    /// While the level admits nothing new, the others give theirs back when the
    /// value is put in.
    fn exchange_while_closed(
        &self,
        class: usize,
        weight: u64,
        refused: ReserveError,
    ) -> Result<Reservation<'_>, Rejection> {
        if class == KEPT || !self.account.component.may_exchange() {
            return Err(Rejection::Budget(Box::new(refused)));
        }
        self.freeze_if_due();
        let fits = || weight <= self.largest[class].load(Ordering::Relaxed);
        if !fits() && self.find_room(class, weight).is_err() {
            return Err(Rejection::Budget(Box::new(refused)));
        }
        let reserved = self.account.component.reserve_in_exchange(Bytes(weight));
        reserved.map_err(|error| Rejection::Budget(Box::new(error)))
    }

    /// While the budget, the component or the tenant has no more than
    /// `available`, the others go first: what goes first of this cache, and
    /// nothing that goes later than `class`. Nothing goes when that is not
    /// enough, or when nothing is missing and it is refused only because others
    /// wait in front of it. Whoever waits for the budget may have it before us;
    /// then the value is refused, and finds what others gave the next time.
    fn exchange_while_full(
        &self,
        class: usize,
        weight: u64,
        available: u64,
        refused: ReserveError,
    ) -> Result<Reservation<'_>, Rejection> {
        let used: [u64; CLASSES] = std::array::from_fn(|class| self.weight_of(class));
        let held = used.iter().copied().fold(0, u64::saturating_add);
        let missing = weight.saturating_sub(available);
        let gives = victims(class.saturating_add(1), missing, held / STEPS, used);
        let Some(gives) = gives.filter(|_| missing > 0) else {
            return Err(Rejection::Budget(Box::new(refused)));
        };
        for victim in (0..CLASSES).filter(|victim| gives[*victim] > 0) {
            self.shrink(victim, used[victim] - gives[victim], 0);
            // It is the budget that is full, and not this cache.
            self.loosen(victim);
        }
        let reserved = self.account.component.reserve(Bytes(weight));
        reserved.map_err(|error| Rejection::Budget(Box::new(error)))
    }

    /// Thaws when the budget is open again.
    pub(super) fn thaw_if_open(&self) -> bool {
        let is_open = !self.account.component.is_closed();
        if is_open {
            self.thaw();
        }
        is_open
    }

    /// Thaws when the budget is open again. While it is not, a value that is too
    /// large for what is held now is refused for that reason, and not for ever.
    /// What would be kept is left to the budget, which refuses it.
    #[cold]
    pub(super) fn thaw_or_refuse(&self, class: usize, weight: u64) -> Result<(), Rejection> {
        if self.thaw_if_open() || class == KEPT {
            return Ok(());
        }
        let component = &self.account.component;
        self.freeze_if_due();
        if weight <= self.largest[class].load(Ordering::Relaxed)
            || self.find_room(class, weight).is_ok()
        {
            return Ok(());
        }
        match component.reserve(Bytes(weight)) {
            Err(error) => Err(Rejection::Budget(Box::new(error))),
            // It opened just now.
            Ok(charge) => {
                drop(charge);
                self.thaw();
                Ok(())
            }
        }
    }

    /// From now on it holds no more than it holds now; of a piece, less than 32
    /// bytes more.
    fn freeze_if_due(&self) {
        if self.frozen.load(Ordering::SeqCst) == FROZEN {
            return;
        }
        let held = (0..=KEPT).map(|class| self.weight_of(class)).sum();
        {
            let mut grants = self.grants();
            grants.freeze(held);
            self.frozen.store(FROZEN, Ordering::SeqCst);
        }
        self.fit();
    }

    /// Something was given back to a closed budget: it is not taken again
    /// before the budget opens.
    pub(super) fn freeze_lower(&self) {
        if self.account.component.is_closed() {
            self.frozen.store(STALE, Ordering::SeqCst);
        }
    }

    /// The budget takes again: so does the cache, up to its capacity.
    fn thaw(&self) {
        {
            let mut grants = self.grants();
            if self.frozen.swap(THAWED, Ordering::SeqCst) == THAWED {
                return;
            }
            grants.thaw();
        }
        self.fit();
    }
}
