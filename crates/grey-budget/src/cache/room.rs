//! Giving the classes their room, and moving entries between them.
//!
//! Every class may fill the whole. With more than one in use, a value that
//! comes in takes its weight of what is known to be free (`spare`); when that
//! is used up, what is held is counted, and if it is too much the lowest class
//! that holds anything shrinks, by a little more than is needed.
//!
//! Never resizes under the lock of the grants: what falls out is the program's.

use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};

use grey_model::Bytes;
use quick_cache::OptionsBuilder;

use super::builder::LARGEST_PERCENT;
use super::capacity::{CLASSES, Grants, victims};
use super::core::{Class, Inner, KEPT};
use super::leaving::{Leaving, Unkeeps};
use super::options::Rejection;
use super::slot::{Evicted, Leave, Slot, SlotWeight};

/// How often a class's capacity is set again because it changed meanwhile.
const MOST_RESIZES: usize = 8;

/// Of a class, what was used more than once may fill this part: it can be told
/// exactly, and so can what it is of any multiple of [`EVEN`]. `quick_cache`
/// multiplies it by the change at each resize and cuts it to whole bytes: of
/// other sizes a little would be lost each time.
const HOT_PART: f64 = 31.0 / 32.0;

/// The pieces of classes are multiples of this.
const EVEN: u64 = 32;

/// So much for every shard. Never nothing: of that `quick_cache` could not tell
/// the part any more. No entry fits the least.
fn even_down(given: u64, shards: u64) -> u64 {
    (given / (shards * EVEN)).max(1) * (shards * EVEN)
}

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
        let (id, weight) = (slot.id(), slot.weight());
        let mut evicted = Evicted::default();
        let leaving = Leaving::of(self, &mut evicted);
        let opened = self.open(to);
        let stripe = self.flights.lock(self.account.hash(&key));
        let same = self
            .class(from)
            .is_some_and(|class| class.peek(&key).is_some_and(|found| found.id() == id));
        if same {
            // Twice in memory for a moment, so twice charged.
            let charge = self.account.component.overdraw(Bytes(weight));
            opened.insert_with_lifecycle(key.clone(), slot, leaving.evicted);
            // The entry gives it back when it leaves.
            std::mem::forget(charge);
            let taken = self.class(from).and_then(|class| class.remove(&key));
            if let Some((key, slot)) = taken {
                // Who calls accounts for what is kept.
                leaving.evicted.push(key, slot);
            }
        }
        drop(stripe);
        drop(leaving);
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
            .weight_capacity(even_down(given, self.settings.shards as u64))
            // It would lower the number of shards for few entries.
            .estimated_items_capacity(entries.max(32 * self.settings.shards))
            .shards(self.settings.shards)
            .hot_allocation(HOT_PART)
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

    /// Whether more than one class that may be evicted is in use: one alone is
    /// bounded by its own capacity.
    #[inline]
    pub(super) fn is_shared(&self) -> bool {
        let evictable = self.used.load(Ordering::SeqCst) & !(1 << KEPT);
        evictable & evictable.wrapping_sub(1) != 0
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
        self.loosen(class);
        self.open(class);
        if weight <= self.largest[class].load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err(Rejection::NoRoom {
                weight: Bytes(weight),
            })
        }
    }

    /// Lets a class grow up to the whole.
    pub(super) fn loosen(&self, class: usize) {
        {
            let mut grants = self.grants();
            grants.loosen(class);
            self.tight.store(grants.tight(), Ordering::SeqCst);
        }
        self.resize(class);
    }

    /// Takes room of the whole for a value of `class`, which is put in while
    /// what is returned lives. What is known to be free is one number; it is
    /// counted anew when it is used up. `None` when all is held by what goes
    /// later.
    #[inline]
    pub(super) fn take_room(&self, class: usize, weight: u64) -> Option<Taking<'_>> {
        if !self.is_shared() {
            return Some(Taking::default());
        }
        let taking = Taking::of(&self.taking, weight);
        let signed = i64::try_from(weight).unwrap_or(i64::MAX);
        let spare = self.spare.fetch_sub(signed, Ordering::SeqCst);
        // What goes later than this one pushes this one out, not its own.
        let tight_above = self.tight.load(Ordering::Relaxed) >> (class + 1) != 0;
        if spare >= signed && !tight_above {
            return Some(taking);
        }
        self.make_room(class, weight).then_some(taking)
    }

    /// Somebody gave room back other than for a value that comes in.
    #[inline]
    pub(super) fn note_room(&self) {
        if self.tight.load(Ordering::Relaxed) != 0 {
            self.spare.fetch_min(0, Ordering::SeqCst);
        }
    }

    /// Counts what is held, and evicts what is too much for a value of `class`:
    /// what goes first, and nothing that goes later than `class`. `false`, and
    /// nothing is evicted, when that is not enough.
    #[cold]
    pub(super) fn make_room(&self, class: usize, weight: u64) -> bool {
        for above in class + 1..CLASSES {
            if self.tight.load(Ordering::Relaxed) & 1 << above != 0 {
                self.loosen(above);
            }
        }
        for _ in 0..MOST_RESIZES {
            // In this order, so that what others take meanwhile is counted
            // twice rather than not at all.
            let before = self.spare.load(Ordering::SeqCst);
            let taking = self.taking.load(Ordering::SeqCst);
            let used: [u64; CLASSES] = std::array::from_fn(|class| self.weight_of(class));
            let held = used.iter().copied().fold(taking, u64::saturating_add);
            let (room, step, is_roomy) = {
                let grants = self.grants();
                let room = grants.evictable();
                let free = room.saturating_sub(held);
                (room, grants.step(), grants.is_roomy(free))
            };
            if held <= room {
                if class < CLASSES && is_roomy && self.is_tight(class) {
                    self.loosen(class);
                }
                let spare = i64::try_from(room - held).unwrap_or(i64::MAX);
                self.spare
                    .fetch_add(spare.saturating_sub(before), Ordering::SeqCst);
                return true;
            }
            let Some(gives) = victims(class.saturating_add(1), held - room, step, used) else {
                return false;
            };
            for victim in (0..CLASSES).filter(|victim| gives[*victim] > 0) {
                let least = if victim == class {
                    self.need(weight)
                } else {
                    0
                };
                self.shrink(victim, used[victim] - gives[victim], least);
            }
        }
        false
    }

    fn is_tight(&self, class: usize) -> bool {
        self.tight.load(Ordering::Relaxed) & 1 << class != 0
    }

    /// How large a class must be to take a value of `weight`.
    fn need(&self, weight: u64) -> u64 {
        let shards = self.settings.shards as u64;
        weight
            .saturating_mul(shards)
            .saturating_mul(100)
            .div_ceil(LARGEST_PERCENT)
            .saturating_add(100 * shards)
    }

    /// Evicts from a class until no more than `left` is in it, and lets it grow
    /// again if it would be smaller than `least`. Its pieces are not equally full, so it is made smaller
    /// by halves of the way: else the fullest would lose far more than is asked.
    pub(super) fn shrink(&self, class: usize, left: u64, least: u64) {
        let mut size = self.grants().given(class);
        if self.settings.shards == 1 {
            size = left;
        }
        loop {
            let way = size.saturating_sub(left) / 2;
            size = if way <= left / 128 { left } else { left + way };
            self.tighten(class, size);
            if size == left || self.weight_of(class) <= left {
                break;
            }
        }
        if size < least {
            self.loosen(class);
        }
    }

    fn tighten(&self, class: usize, left: u64) {
        {
            let mut grants = self.grants();
            grants.tighten(class, left);
            self.tight.store(grants.tight(), Ordering::SeqCst);
        }
        self.resize(class);
    }

    /// Makes what is held fit the whole: low goes first.
    pub(super) fn fit(&self) {
        if self.is_shared() {
            let used: [u64; CLASSES] = std::array::from_fn(|class| self.weight_of(class));
            let held = used.iter().copied().fold(0, u64::saturating_add);
            let over = held.saturating_sub(self.grants().evictable());
            let gives = victims(CLASSES, over, 0, used).unwrap_or_default();
            for victim in (0..CLASSES).filter(|victim| gives[*victim] > 0) {
                self.shrink(victim, used[victim] - gives[victim], 0);
            }
            self.spare.fetch_min(0, Ordering::SeqCst);
        }
        self.resize_all();
    }

    /// Makes room for what is kept. `false` when there is none.
    pub(super) fn keep(&self, weight: u64) -> bool {
        if !self.grants().keep(weight) {
            return false;
        }
        let kept = Unkeeps::of(self, weight);
        if self.is_shared() && !self.make_room(KEPT, 0) {
            return false;
        }
        self.resize_all();
        // The entry gives it back when it leaves.
        std::mem::forget(kept);
        true
    }

    /// What was kept is not any more.
    pub(super) fn unkeep(&self, weight: u64) {
        if weight > 0 {
            self.grants().unkeep(weight);
            self.note_room();
            self.resize_all();
        }
    }

    pub(super) fn resize_all(&self) {
        for class in 0..CLASSES {
            self.resize(class);
        }
    }

    /// Makes a class as large as it was given; what falls out is settled.
    fn resize(&self, class: usize) {
        let Some(opened) = self.class(class) else {
            return;
        };
        let shards = opened.num_shards() as u64;
        for _ in 0..MOST_RESIZES {
            let given = self.grants().given(class);
            let bounds_itself =
                !self.is_shared() || self.is_tight(class) || given < self.grants().evictable();
            // The whole is looked after by `make_room`; and what is held and may
            // be does not go for a few bytes.
            let is_held = (even_down(given, shards)..=given).contains(&opened.weight());
            let each = if bounds_itself && !is_held {
                even_down(given, shards)
            } else {
                given.next_multiple_of(shards * EVEN)
            };
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

/// A value that has room and is not in yet.
#[derive(Default)]
pub(super) struct Taking<'a>(Option<(&'a AtomicU64, u64)>);

impl<'a> Taking<'a> {
    /// Counts `weight` among what is coming in, as long as it lives.
    pub(super) fn of(taking: &'a AtomicU64, weight: u64) -> Self {
        taking.fetch_add(weight, Ordering::SeqCst);
        Self(Some((taking, weight)))
    }
}

impl Drop for Taking<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some((taking, weight)) = self.0 {
            taking.fetch_sub(weight, Ordering::SeqCst);
        }
    }
}
