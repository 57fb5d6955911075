//! Room that is free: what is loaded back takes that, and nobody else's.
//!
//! Never evicts.

use std::hash::Hash;
use std::sync::atomic::Ordering;

use super::capacity::CLASSES;
use super::core::{Inner, KEPT};
use super::room::Taking;

/// What is kept takes room from all pieces of the cache at once, of which some
/// are fuller than others: this part of the whole stays free then.
const FREE_PARTS: u64 = 16;

impl<K, V> Inner<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// How much more a class may hold before something is dropped for it.
    pub(super) fn free_room(&self, class: usize) -> u64 {
        let taking = self.taking.load(Ordering::SeqCst);
        let held = (0..CLASSES).map(|class| self.weight_of(class));
        let held = held.fold(taking, u64::saturating_add);
        let own = self.weight_of(class);
        let grants = self.grants();
        let free = grants.evictable().saturating_sub(held);
        if class >= CLASSES {
            return free.saturating_sub(grants.total() / FREE_PARTS);
        }
        free.min(grants.given(class).saturating_sub(own))
    }

    /// A class that made room for others may fill all again, if there is plenty.
    pub(super) fn loosen_if_roomy(&self, class: usize) {
        if class >= CLASSES || self.tight.load(Ordering::Relaxed) & 1 << class == 0 {
            return;
        }
        let taking = self.taking.load(Ordering::SeqCst);
        let held = (0..CLASSES).map(|class| self.weight_of(class));
        let held = held.fold(taking, u64::saturating_add);
        let is_roomy = {
            let grants = self.grants();
            grants.is_roomy(grants.evictable().saturating_sub(held))
        };
        if is_roomy {
            self.loosen(class);
        }
    }

    /// Takes free room for a value, which is put in while what is returned
    /// lives. `None` when something would have to be dropped for it.
    pub(super) fn take_free_room(&self, class: usize, weight: u64) -> Option<Taking<'_>> {
        if class == KEPT {
            let fits = self.free_room(class) >= weight && self.keep(weight);
            return fits.then(Taking::default);
        }
        if self.free_room(class) < weight {
            return None;
        }
        if !self.is_shared() {
            return Some(Taking::default());
        }
        // Counted first, so that two that come at once do not both fit.
        let taking = Taking::of(&self.taking, weight);
        let coming = self.taking.load(Ordering::SeqCst);
        let held = (0..CLASSES).map(|class| self.weight_of(class));
        let held = held.fold(coming, u64::saturating_add);
        if held > self.grants().evictable() {
            return None;
        }
        let signed = i64::try_from(weight).unwrap_or(i64::MAX);
        self.spare.fetch_sub(signed, Ordering::SeqCst);
        Some(taking)
    }

    /// What each piece of a class holds.
    pub(super) fn pieces_of(&self, class: usize) -> Vec<u64> {
        let opened = self.open(class);
        let mut pieces = vec![0_u64; opened.num_shards()];
        self.visit(class, |key, slot| {
            if let Some(piece) = pieces.get_mut(opened.shard_index(key)) {
                *piece = piece.saturating_add(slot.weight());
            }
        });
        pieces
    }
}
