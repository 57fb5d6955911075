//! Giving the classes their room, and moving entries between them.
//!
//! Never resizes under the lock of the grants: what falls out is the program's.

use std::hash::Hash;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use grey_model::Bytes;
use quick_cache::OptionsBuilder;

use super::builder::LARGEST_PERCENT;
use super::capacity::{CLASSES, Grants};
use super::core::{Class, Inner, KEPT};
use super::options::Rejection;
use super::slot::{Evicted, Leave, Slot, SlotWeight};

/// How often a class's capacity is set again because it changed meanwhile.
const MOST_RESIZES: usize = 8;

impl<K, V> Inner<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(super) fn grants(&self) -> MutexGuard<'_, Grants> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves an entry from one class to another, if it is still the same.
    /// Readers find it all the time.
    pub(super) fn transfer(&self, key: K, slot: Slot<V>, from: usize, to: usize) -> bool {
        let (id, weight) = (slot.id, slot.weight);
        let mut evicted = Evicted::default();
        let opened = self.open(to);
        let stripe = self.flights.lock(self.account.hash(&key));
        let same = self
            .class(from)
            .is_some_and(|class| class.peek(&key).is_some_and(|found| found.id == id));
        if same {
            // Twice in memory for a moment, so twice charged.
            std::mem::forget(self.account.component.overdraw(Bytes(weight)));
            opened.insert_with_lifecycle(key.clone(), slot, &mut evicted);
            let taken = self.class(from).and_then(|class| class.remove(&key));
            if let Some((key, slot)) = taken {
                // Who calls accounts for what is kept.
                evicted.push(key, slot);
            }
        }
        drop(stripe);
        self.settle(&mut evicted);
        same
    }

    /// The class, made when it is first needed.
    pub(super) fn open(&self, class: usize) -> &Class<K, V> {
        let opened = self.classes[class].get_or_init(|| self.make_class(class));
        self.used.fetch_or(1 << class, Ordering::SeqCst);
        if class < CLASSES {
            self.note_largest(class, opened);
        }
        opened
    }

    pub(super) fn make_class(&self, class: usize) -> Class<K, V> {
        let (given, total) = {
            let grants = self.grants();
            let given = if class == KEPT {
                // Bounded by what `keep` admits.
                u64::MAX / 4
            } else {
                grants.given(class)
            };
            (given, grants.total().max(1))
        };
        let part = given.min(total);
        let entries = u128::from(self.settings.entries) * u128::from(part) / u128::from(total);
        let entries = usize::try_from(entries).unwrap_or(usize::MAX).max(1);
        let options = OptionsBuilder::new()
            .weight_capacity(given)
            // It would lower the number of shards for few entries.
            .estimated_items_capacity(entries.max(32 * self.settings.shards))
            .shards(self.settings.shards)
            .build()
            .expect("both capacities are set");
        let leave = Leave {
            account: Arc::clone(&self.account),
            keeps: class == KEPT,
        };
        Class::with_options(options, SlotWeight, self.account.hasher.clone(), leave)
    }

    pub(super) fn note_largest(&self, class: usize, opened: &Class<K, V>) {
        let largest = opened.shard_capacity() / 100 * LARGEST_PERCENT;
        self.largest[class].store(largest, Ordering::Relaxed);
    }

    /// The only class that may be evicted and is in use.
    pub(super) fn sole(&self) -> Option<usize> {
        let evictable = self.used.load(Ordering::SeqCst) & !(1 << KEPT);
        (evictable.count_ones() == 1).then(|| evictable.trailing_zeros() as usize)
    }

    pub(super) fn weight_of(&self, class: usize) -> u64 {
        self.class(class).map_or(0, Class::weight)
    }

    /// Room for a value that the class is too small for.
    #[cold]
    pub(super) fn find_room(&self, class: usize, weight: u64) -> Result<(), Rejection> {
        let whole = self.grants().total() / self.settings.shards as u64;
        let largest = whole / 100 * LARGEST_PERCENT;
        if weight > largest {
            return Err(Rejection::TooLarge {
                weight: Bytes(weight),
                largest: Bytes(largest),
            });
        }
        if self.make_way(class, weight) {
            Ok(())
        } else {
            Err(Rejection::NoRoom {
                weight: Bytes(weight),
            })
        }
    }

    /// Gives a class room until it takes `weight`. Each move is a part of the
    /// whole, so there are few.
    pub(super) fn make_way(&self, class: usize, weight: u64) -> bool {
        let shards = self.settings.shards as u64;
        let need = weight
            .saturating_mul(shards)
            .saturating_mul(100)
            .div_ceil(LARGEST_PERCENT)
            .saturating_add(100 * shards);
        loop {
            let given = self.grants().given(class);
            if given > 0 {
                self.open(class);
                if weight <= self.largest[class].load(Ordering::Relaxed) {
                    return true;
                }
            }
            if !self.move_room(class, need.saturating_sub(given)) {
                return false;
            }
        }
    }

    /// Others may have room that this class needs.
    #[cold]
    pub(super) fn balance(&self, class: usize) {
        let others = self.used.load(Ordering::Relaxed) & !(1 << class);
        if class < KEPT && others != 0 {
            self.move_room(class, 1);
        }
    }

    pub(super) fn move_room(&self, class: usize, need: u64) -> bool {
        let used = std::array::from_fn(|class| self.weight_of(class));
        let (from, bytes) = {
            let mut grants = self.grants();
            let Some(plan) = grants.plan(class, need, used) else {
                return false;
            };
            (plan.from, grants.take(plan))
        };
        if let Some(from) = from {
            self.resize(from);
        }
        self.grants().give(class, bytes);
        self.resize(class);
        bytes > 0
    }

    /// Makes room for what is kept. `false` when there is none.
    pub(super) fn keep(&self, weight: u64) -> bool {
        let kept = self.grants().keep(weight);
        if kept {
            self.resize_all();
        }
        kept
    }

    #[inline]
    pub(super) fn unkeep(&self, weight: u64) {
        if weight > 0 {
            let sole = self.sole();
            self.grants().unkeep(weight, sole);
            self.resize_all();
        }
    }

    pub(super) fn resize_all(&self) {
        for class in 0..CLASSES {
            self.resize(class);
        }
    }

    /// Makes a class as large as it was given; what falls out is settled.
    pub(super) fn resize(&self, class: usize) {
        let Some(opened) = self.class(class) else {
            return;
        };
        let shards = opened.num_shards() as u64;
        for _ in 0..MOST_RESIZES {
            let given = self.grants().given(class);
            // Every shard gets as much, and together not more.
            let each = given / shards * shards;
            if opened.capacity() != each {
                let _settled = self.account.resizing();
                opened.set_capacity(each);
            }
            self.note_largest(class, opened);
            if self.grants().given(class) == given {
                return;
            }
        }
    }
}
