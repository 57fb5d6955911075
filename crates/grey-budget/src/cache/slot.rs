//! What lies in the cache beside a value, and what happens when `quick_cache`
//! takes it out.
//!
//! A read costs as many lines of the processor's cache as it touches, so what
//! is known of a value is packed into 24 bytes, and what a read needs lies next
//! to the value.
//!
//! Never calls the program: the weight was computed before.

use std::cell::Cell;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use grey_model::Priority;
use quick_cache::{Lifecycle, Weighter};

use super::account::Account;

/// A tick is ten milliseconds of the cache's clock.
pub(super) const TICK_MS: u64 = 10;

/// The tick at which nothing expires.
pub(super) const NEVER: u32 = u32::MAX;

/// How many bits of a tag name the project; the rest is the priority.
const PROJECT_BITS: u32 = 30;

/// The most projects that a tag can tell apart; number 0 is none.
pub(super) const MOST_PROJECTS: u32 = (1 << PROJECT_BITS) - 1;

/// How many bits of an entry's number are kept: enough for eight years of a
/// million insertions a second. The rest of the word is the cost.
const ID_BITS: u32 = 48;

/// The most entry numbers that are told apart.
pub(super) const MOST_IDS: u64 = 1 << ID_BITS;

/// How many bits of a packed weight are its digits; the rest tells by how many
/// places they are shifted.
const DIGITS: u32 = 26;

/// The largest packed weight: of numbers that need 64 bits, the last one whose
/// rounding up has 64 bits too.
const HEAVIEST: u64 = ((1 << DIGITS) - 1) << (u64::BITS - DIGITS);

thread_local! {
    /// With which tick a clone marks the original as used, and takes no more of
    /// it than a reader needs; 0 leaves no mark and takes all.
    static TOUCH: Cell<u32> = const { Cell::new(0) };
}

/// While it lives, this thread's clones are those of a reader at its tick.
pub(super) struct Reading(());

impl Reading {
    #[inline]
    pub(super) fn at(tick: u32) -> Self {
        TOUCH.set(tick);
        Self(())
    }
}

impl Drop for Reading {
    #[inline]
    fn drop(&mut self) {
        TOUCH.set(0);
    }
}

/// A weight as an entry can keep it: exact below 64 MiB, above that rounded up
/// by less than a 33-millionth.
#[inline]
pub(super) const fn round_weight(weight: u64) -> u64 {
    if weight < 1 << DIGITS {
        weight
    } else {
        unpack_weight(pack_weight(weight))
    }
}

/// A weight in four bytes.
#[inline]
const fn pack_weight(weight: u64) -> u32 {
    if weight < 1 << DIGITS {
        return low_half(weight);
    }
    pack_heavy(weight)
}

#[cold]
const fn pack_heavy(weight: u64) -> u32 {
    let weight = if weight > HEAVIEST { HEAVIEST } else { weight };
    let mut shift = u64::BITS - weight.leading_zeros() - DIGITS;
    let mut digits = weight.div_ceil(1 << shift);
    if digits == 1 << DIGITS {
        digits >>= 1;
        shift += 1;
    }
    shift << DIGITS | low_half(digits)
}

#[inline]
const fn unpack_weight(packed: u32) -> u64 {
    ((packed & ((1 << DIGITS) - 1)) as u64) << (packed >> DIGITS)
}

/// The lower 32 bits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the upper ones are cut off, or are none"
)]
const fn low_half(number: u64) -> u32 {
    number as u32
}

/// A value and what is known of it. In this order: what few need, what makes
/// room, what a read needs.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Slot<V> {
    /// Its number above, the upper half of its cost below.
    number: u64,
    tag: u32,
    /// A packed weight. Never 0, so that the compiler puts the key behind the
    /// value, and not before all this.
    weight: NonZeroU32,
    /// Tick of the last use, or of the insertion.
    touched: AtomicU32,
    /// Tick from which it is expired.
    pub(super) expires: u32,
    pub(super) value: V,
}

impl<V> Slot<V> {
    /// `weight` is one that [`round_weight`] gives, `id` below [`MOST_IDS`].
    pub(super) fn new(value: V, weight: u64, id: u64, tick: u32, meta: Meta) -> Self {
        let priority = u32::try_from(meta.priority.index()).unwrap_or_default();
        // To the nearest: what is cut off is half at most.
        let cost = u64::from(meta.cost.to_bits().saturating_add(0x8000) >> 16);
        Self {
            number: id << (u64::BITS - ID_BITS) | cost,
            tag: priority << PROJECT_BITS | (meta.project & MOST_PROJECTS),
            weight: NonZeroU32::new(pack_weight(weight)).unwrap_or(NonZeroU32::MIN),
            touched: AtomicU32::new(tick),
            expires: meta.expires,
            value,
        }
    }

    /// Bytes that it is charged.
    #[inline]
    pub(super) const fn weight(&self) -> u64 {
        unpack_weight(self.weight.get())
    }

    /// Told apart from every other entry of this cache, ever.
    #[inline]
    pub(super) const fn id(&self) -> u64 {
        self.number >> (u64::BITS - ID_BITS)
    }

    /// What it costs to make again, in the program's unit; to a part in 256.
    pub(super) const fn cost(&self) -> f32 {
        f32::from_bits(low_half(self.number) << 16)
    }

    /// Its project's number; 0 is none.
    pub(super) const fn project(&self) -> u32 {
        self.tag & MOST_PROJECTS
    }

    /// The priority that it was put in with.
    pub(super) fn priority(&self) -> Priority {
        let index = usize::try_from(self.tag >> PROJECT_BITS).unwrap_or_default();
        Priority::ALL[index % Priority::ALL.len()]
    }

    pub(super) fn touched(&self) -> u32 {
        self.touched.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) const fn is_expired(&self, tick: u32) -> bool {
        self.expires <= tick
    }
}

/// What an entry was put in with, in the cache's own numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meta {
    pub(super) priority: Priority,
    pub(super) project: u32,
    pub(super) expires: u32,
    pub(super) cost: f32,
}

/// `quick_cache` clones what is read, in place: so a clone is a use. A reader
/// needs the value and when it expires: the rest lies in another line.
impl<V: Clone> Clone for Slot<V> {
    #[inline]
    fn clone(&self) -> Self {
        // The program's clone may read and move other entries: those clones are
        // not of this reader.
        let tick = TOUCH.replace(0);
        if tick == 0 {
            return Self {
                number: self.number,
                tag: self.tag,
                weight: self.weight,
                touched: AtomicU32::new(self.touched()),
                expires: self.expires,
                value: self.value.clone(),
            };
        }
        // Read first: the line of a hot entry stays shared between the cores.
        if self.touched() < tick {
            self.touched.store(tick, Ordering::Relaxed);
        }
        let value = self.value.clone();
        TOUCH.set(tick);
        Self {
            number: 0,
            tag: 0,
            weight: NonZeroU32::MIN,
            touched: AtomicU32::new(tick),
            expires: self.expires,
            value,
        }
    }
}

/// Weighs by what the slot says.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlotWeight;

impl<K, V> Weighter<K, Slot<V>> for SlotWeight {
    #[inline]
    fn weight(&self, _: &K, slot: &Slot<V>) -> u64 {
        slot.weight()
    }
}

/// What one operation took out of the cache, to be settled under no lock. Of
/// entries that nobody has to write or drop only the weight is here.
pub(super) struct Evicted<K, V> {
    first: Option<(K, Slot<V>)>,
    more: Vec<(K, Slot<V>)>,
    pub(super) weight: u64,
    /// How much of the weight was kept: critical or pinned.
    pub(super) kept: u64,
    /// How many were evicted, and not replaced.
    pub(super) evictions: u64,
    evicting: bool,
    /// Whether what the operation brings is in, or was handed on.
    pub(super) has_entered: bool,
    /// Who settles it when the operation itself does not.
    owner: Option<Arc<Account<K, V>>>,
}

impl<K, V> Default for Evicted<K, V> {
    #[inline]
    fn default() -> Self {
        Self {
            first: None,
            more: Vec::new(),
            weight: 0,
            kept: 0,
            evictions: 0,
            evicting: false,
            has_entered: false,
            owner: None,
        }
    }
}

impl<K, V> Evicted<K, V> {
    /// Adds what was taken out by hand.
    #[inline]
    pub(super) fn push(&mut self, key: K, slot: Slot<V>) {
        self.weight += slot.weight();
        self.hold(key, slot);
    }

    #[inline]
    fn hold(&mut self, key: K, slot: Slot<V>) {
        if self.first.is_none() {
            self.first = Some((key, slot));
        } else {
            self.more.push((key, slot));
        }
    }

    /// Every entry weighs something.
    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.weight == 0
    }

    /// One after the other, so that each is gone before the next is handled.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<(K, Slot<V>)> {
        self.more.pop().or_else(|| self.first.take())
    }
}

impl<K, V> Drop for Evicted<K, V> {
    #[inline]
    fn drop(&mut self) {
        if let Some(owner) = self.owner.take() {
            owner.settle(self);
        }
    }
}

/// Hands what `quick_cache` takes out to [`Evicted`].
pub(super) struct Leave<K, V> {
    pub(super) account: Arc<Account<K, V>>,
    /// Whether the class keeps everything.
    pub(super) keeps: bool,
}

impl<K, V> Clone for Leave<K, V> {
    fn clone(&self) -> Self {
        Self {
            account: Arc::clone(&self.account),
            keeps: self.keeps,
        }
    }
}

impl<K: Hash + Eq, V> Lifecycle<K, Slot<V>> for Leave<K, V> {
    type RequestState = Evicted<K, V>;

    #[inline]
    fn is_pinned(&self, _: &K, _: &Slot<V>) -> bool {
        self.keeps
    }

    #[inline]
    fn before_evict(&self, evicted: &mut Evicted<K, V>, key: &K, slot: &mut Slot<V>) {
        evicted.evicting = true;
        // Under the shard's lock, so that it is never neither here nor there.
        self.account.leaves(key, slot.id());
    }

    #[inline]
    fn on_evict(&self, evicted: &mut Evicted<K, V>, key: K, slot: Slot<V>) {
        let weight = slot.weight();
        evicted.weight += weight;
        if std::mem::take(&mut evicted.evicting) {
            evicted.evictions += 1;
        }
        if self.keeps {
            evicted.kept += weight;
        }
        if self.account.is_resizing() && evicted.owner.is_none() {
            evicted.owner = Some(Arc::clone(&self.account));
        }
        if self.account.is_handed_over() {
            evicted.hold(key, slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slot(cost: f32) -> Slot<u64> {
        let meta = Meta {
            priority: Priority::High,
            project: 7,
            expires: 900,
            cost,
        };
        Slot::new(42, round_weight(1000), MOST_IDS - 1, 5, meta)
    }

    #[test]
    fn what_is_known_of_a_value_takes_24_bytes() {
        assert_eq!(size_of::<Slot<u64>>(), 24 + 8);
        // A weight that is never 0: see there.
        assert_eq!(size_of::<Option<Slot<u64>>>(), size_of::<Slot<u64>>());
    }

    #[test]
    fn a_slot_tells_what_it_was_made_of() {
        let slot = slot(2.5);
        assert_eq!((slot.value, slot.weight()), (42, 1000));
        assert_eq!((slot.id(), slot.touched()), (MOST_IDS - 1, 5));
        assert_eq!((slot.project(), slot.priority()), (7, Priority::High));
        assert_eq!(slot.cost().to_bits(), 2.5_f32.to_bits());
        assert!(slot.is_expired(900) && !slot.is_expired(899));
    }

    #[test]
    fn a_reader_leaves_a_mark_and_others_take_all() {
        let slot = slot(1.0);
        let reading = Reading::at(8);
        let read = slot.clone();
        drop(reading);
        assert_eq!((read.value, read.expires), (42, 900));
        assert_eq!(slot.touched(), 8);
        let reading = Reading::at(6);
        assert_eq!(slot.clone().value, 42);
        drop(reading);
        assert_eq!(slot.touched(), 8, "a use that is older");
        let whole = slot.clone();
        assert_eq!((whole.id(), whole.weight()), (MOST_IDS - 1, 1000));
        assert_eq!((whole.touched(), whole.project()), (8, 7));
        assert_eq!(whole.priority(), Priority::High);
    }

    /// A value of a program that looks at another cache when it is cloned.
    struct Nested(Slot<u64>, std::sync::Mutex<Option<Slot<u64>>>);

    impl Clone for Nested {
        fn clone(&self) -> Self {
            *self.1.lock().unwrap() = Some(self.0.clone());
            Self(slot(0.0), std::sync::Mutex::default())
        }
    }

    #[test]
    fn what_the_programs_clone_clones_is_whole_and_not_marked() {
        let meta = Meta {
            priority: Priority::Low,
            project: 0,
            expires: NEVER,
            cost: 0.0,
        };
        let nested = Nested(slot(2.5), std::sync::Mutex::default());
        let outer = Slot::new(nested, 1, 1, 5, meta);
        let reading = Reading::at(8);
        drop(outer.clone());
        let other = slot(1.0);
        let read = other.clone();
        drop(reading);
        assert_eq!((outer.touched(), outer.value.0.touched()), (8, 5));
        let inner = outer.value.1.lock().unwrap().take().unwrap();
        assert_eq!((inner.id(), inner.weight()), (MOST_IDS - 1, 1000));
        assert_eq!(inner.priority(), Priority::High);
        // The reader goes on as one.
        assert_eq!((read.touched(), other.touched()), (8, 8));
    }

    proptest! {
        #[test]
        fn a_weight_is_exact_below_64_mib_and_never_too_low(weight in 1_u64..=HEAVIEST, cut in 0_u32..63) {
            let weight = (weight >> cut).max(1);
            let packed = pack_weight(weight);
            let rounded = unpack_weight(packed);
            prop_assert_eq!(rounded, round_weight(weight));
            prop_assert_eq!(round_weight(rounded), rounded);
            prop_assert!(packed != 0 && rounded >= weight);
            prop_assert!(weight >= 1 << DIGITS || rounded == weight);
            prop_assert!(rounded - weight <= weight >> (DIGITS - 1));
        }

        #[test]
        fn a_cost_is_kept_to_a_part_in_256(cost in 0.0_f32..1e30) {
            let kept = slot(cost).cost();
            prop_assert!((kept - cost).abs() <= cost / 256.0 + 1e-38);
        }
    }

    #[test]
    fn the_largest_weight_of_all_is_kept_as_the_largest_that_can_be() {
        assert_eq!(round_weight(u64::MAX), HEAVIEST);
        assert_eq!(round_weight(HEAVIEST), HEAVIEST);
    }
}
