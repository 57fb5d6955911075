//! What lies in the cache beside a value, and what happens when `quick_cache`
//! takes it out.
//!
//! Never calls the program: the weight was computed before.

use std::cell::Cell;
use std::hash::Hash;
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

thread_local! {
    /// With which tick a clone marks the original as used; 0 leaves no mark.
    static TOUCH: Cell<u32> = const { Cell::new(0) };
}

/// Sets the tick with which this thread's next reads mark what they read.
#[inline]
pub(super) fn touch_with(tick: u32) {
    TOUCH.set(tick);
}

/// A value and what is known of it.
#[derive(Debug)]
pub(super) struct Slot<V> {
    pub(super) value: V,
    /// Bytes that it is charged.
    pub(super) weight: u64,
    /// Told apart from every other entry of this cache, ever.
    pub(super) id: u64,
    /// Tick of the last use, or of the insertion.
    touched: AtomicU32,
    /// Tick from which it is expired.
    pub(super) expires: u32,
    /// What it costs to make again, in the program's unit.
    pub(super) cost: f32,
    tag: u32,
}

impl<V> Slot<V> {
    pub(super) fn new(value: V, weight: u64, id: u64, tick: u32, meta: Meta) -> Self {
        let priority = u32::try_from(meta.priority.index()).unwrap_or_default();
        Self {
            value,
            weight,
            id,
            touched: AtomicU32::new(tick),
            expires: meta.expires,
            cost: meta.cost,
            tag: priority << PROJECT_BITS | (meta.project & MOST_PROJECTS),
        }
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

/// `quick_cache` clones what is read, in place: so a clone is a use.
impl<V: Clone> Clone for Slot<V> {
    #[inline]
    fn clone(&self) -> Self {
        let tick = TOUCH.get();
        let touched = self.touched();
        // Read first: the line of a hot entry stays shared between the cores.
        if touched < tick {
            self.touched.store(tick, Ordering::Relaxed);
        }
        Self {
            value: self.value.clone(),
            weight: self.weight,
            id: self.id,
            touched: AtomicU32::new(touched.max(tick)),
            expires: self.expires,
            cost: self.cost,
            tag: self.tag,
        }
    }
}

/// Weighs by what the slot says.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlotWeight;

impl<K, V> Weighter<K, Slot<V>> for SlotWeight {
    #[inline]
    fn weight(&self, _: &K, slot: &Slot<V>) -> u64 {
        slot.weight
    }
}

/// What one operation took out of the cache, to be settled under no lock.
pub(super) struct Evicted<K, V> {
    first: Option<(K, Slot<V>)>,
    more: Vec<(K, Slot<V>)>,
    pub(super) weight: u64,
    /// How much of the weight was kept: critical or pinned.
    pub(super) kept: u64,
    /// How many were evicted, and not replaced.
    pub(super) evictions: u64,
    evicting: bool,
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
            owner: None,
        }
    }
}

impl<K, V> Evicted<K, V> {
    /// Adds what was taken out by hand.
    #[inline]
    pub(super) fn push(&mut self, key: K, slot: Slot<V>) {
        self.weight += slot.weight;
        if self.first.is_none() {
            self.first = Some((key, slot));
        } else {
            self.more.push((key, slot));
        }
    }

    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.first.is_none()
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
        self.account.leaves(key, slot.id);
    }

    #[inline]
    fn on_evict(&self, evicted: &mut Evicted<K, V>, key: K, slot: Slot<V>) {
        if std::mem::take(&mut evicted.evicting) {
            evicted.evictions += 1;
        }
        if self.keeps {
            evicted.kept += slot.weight;
        }
        if self.account.is_resizing() && evicted.owner.is_none() {
            evicted.owner = Some(Arc::clone(&self.account));
        }
        evicted.push(key, slot);
    }
}
