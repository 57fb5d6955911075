//! Get, insert, remove, pin: what a cache does all day.
//!
//! Never calls weigher, codec, target or loader, and drops nothing of the
//! program's, while it holds a lock.

use std::borrow::Borrow;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use grey_model::{Bytes, Priority};
use quick_cache::DefaultHashBuilder;

use super::account::{Account, CacheStats, count};
use super::builder::CacheError;
use super::capacity::{CLASSES, Grants};
use super::exchange::THAWED;
use super::flight::Flights;
use super::leaving::Moving;
use super::options::{EntryOptions, Project, Rejected};
use super::slot::{Leave, MOST_PROJECTS, Slot, SlotWeight};
use crate::budget::Component;

/// The class of what is critical or pinned.
pub(super) const KEPT: usize = CLASSES;

/// The classes in the order in which `contains` looks at them.
const LOOKUP: [usize; KEPT + 1] = [1, 2, KEPT, 0];

/// Links, state and hash table of an entry under `quick_cache`, in bytes.
const ENTRY_LINKS: usize = 24;

pub(super) type Class<K, V> =
    quick_cache::sync::Cache<K, Slot<V>, SlotWeight, DefaultHashBuilder, Leave<K, V>>;

type Weigher<K, V> = Box<dyn Fn(&K, &V) -> Bytes + Send + Sync>;

/// What the builder says.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) name: String,
    pub(super) priority: Priority,
    pub(super) reloadable: bool,
    /// What was spilled is loaded back by itself.
    pub(super) loads_back: bool,
    pub(super) entries: u64,
    pub(super) shards: usize,
    pub(super) ttl: Option<Duration>,
    pub(super) stale_after: Duration,
}

pub(super) struct Inner<K: Hash + Eq, V: Clone> {
    pub(super) account: Arc<Account<K, V>>,
    pub(super) classes: [OnceLock<Class<K, V>>; CLASSES + 1],
    /// One bit for each class in use.
    pub(super) used: AtomicU8,
    /// The largest weight that each class takes.
    pub(super) largest: [AtomicU64; CLASSES],
    pub(super) grants: Mutex<Grants>,
    /// One bit for each class that made room and is bounded by what it was left.
    pub(super) tight: AtomicU8,
    /// At least so much is free; looked at while more than one class is in use.
    pub(super) spare: AtomicI64,
    /// What has room and is not in yet.
    pub(super) taking: AtomicU64,
    pub(super) flights: Flights<K, V>,
    pub(super) heap: Weigher<K, V>,
    pub(super) settings: Settings,
    /// Whether anything ever had a time to live.
    pub(super) has_ttl: AtomicBool,
    /// What reclaims that are under way will free.
    pub(super) reclaiming: AtomicU64,
    /// Whether it may hold no more than when the budget closed.
    pub(super) frozen: AtomicU8,
}

/// A cache within a budget. Clones are handles to the same cache; it ends, and
/// gives its charge back, with the last one.
///
/// Values are cloned when they are read: make large ones an `Arc`.
///
/// A forked child must not use a cache of its parent before `exec`, nor drop it:
/// a lock that another thread of the parent held is never opened there.
pub struct Cache<K: Hash + Eq, V: Clone> {
    pub(super) inner: Arc<Inner<K, V>>,
}

impl<K: Hash + Eq, V: Clone> Clone for Cache<K, V> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<K: Hash + Eq, V: Clone> std::fmt::Debug for Cache<K, V> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Cache")
            .field("name", &self.inner.settings.name)
            .finish_non_exhaustive()
    }
}

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// What every entry takes beside the heap of its key and value: its place
    /// in the table, and its part of the places of keys that were dropped.
    pub const ENTRY_OVERHEAD: Bytes =
        Bytes(((size_of::<(K, Slot<V>)>() + ENTRY_LINKS) * 3 / 2) as u64);

    pub(super) fn new(
        account: Arc<Account<K, V>>,
        settings: Settings,
        capacity: u64,
        heap: Weigher<K, V>,
    ) -> Self {
        let inner = Inner {
            account,
            classes: [const { OnceLock::new() }; CLASSES + 1],
            used: AtomicU8::new(0),
            largest: [const { AtomicU64::new(0) }; CLASSES],
            grants: Mutex::new(Grants::new(capacity)),
            tight: AtomicU8::new(0),
            spare: AtomicI64::new(0),
            taking: AtomicU64::new(0),
            flights: Flights::new(),
            heap,
            settings,
            has_ttl: AtomicBool::new(false),
            reclaiming: AtomicU64::new(0),
            frozen: AtomicU8::new(THAWED),
        };
        inner.open(Priority::Medium.index());
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Reads a value; from disk when it was spilled. Never refused, whatever
    /// the budget says.
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let inner = &*self.inner;
        match inner.lookup(key) {
            Some(value) => {
                count(&inner.account.counters().hits);
                Some(value)
            }
            None => self.get_away(key),
        }
    }

    /// Whether a value is in memory now. No use is noted, and nothing is cloned.
    pub fn contains<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let inner = &*self.inner;
        // In the order in which a read looks: where most are comes first.
        let mut classes = LOOKUP.into_iter().filter_map(|class| inner.class(class));
        if !inner.has_ttl.load(Ordering::Relaxed) {
            return classes.any(|class| class.contains_key(key));
        }
        let tick = inner.account.look_at_clock();
        let is_expired = classes.find_map(|class| {
            let mut is_expired = None;
            // The one way to look at a value in its place; nothing is removed.
            class.remove_if(key, |slot| {
                is_expired = Some(slot.is_expired(tick));
                false
            });
            is_expired
        });
        is_expired == Some(false)
    }

    /// Puts a value in by default: medium, of no project, for ever.
    ///
    /// # Errors
    /// See [`Self::insert_with`].
    pub fn insert(&self, key: K, value: V) -> Result<(), Rejected<V>> {
        self.insert_with(key, value, EntryOptions::new())
    }

    /// Puts a value in, in the place of an older one.
    ///
    /// # Errors
    /// [`Rejected`] gives the value back: it is too large, all else goes later
    /// than it, its project is of another cache, or the budget takes nothing now
    /// and it cannot take the place of what is held. An older value under this
    /// key is then dropped, since it is not true any more.
    #[inline]
    pub fn insert_with(&self, key: K, value: V, options: EntryOptions) -> Result<(), Rejected<V>> {
        match self.inner.meta(options) {
            Ok(meta) => self.inner.put(key, value, meta, None),
            Err(rejection) => Err(self.inner.reject(&key, value, rejection, false)),
        }
    }

    /// Takes a value out, from memory and from disk. Gives what was in memory.
    pub fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let key = key.to_owned();
        let mut evicted = self.inner.remove(&key);
        let weight = std::mem::take(&mut evicted.weight);
        let kept = std::mem::take(&mut evicted.kept);
        let (_, slot) = evicted.pop()?;
        let value = slot.value;
        while let Some((key, slot)) = evicted.pop() {
            self.inner.account.drop_entry(key, slot);
        }
        self.inner.unkeep(kept);
        self.inner.account.component.release(weight);
        self.inner.note_room();
        Some(value)
    }

    /// Drops everything that is in memory, critical and pinned included. What was
    /// spilled stays on disk, and is read when it is asked for or loaded back, also
    /// by a load back that is under way now; [`Self::remove`] takes a value out of
    /// both. What others put in meanwhile may stay.
    pub fn clear(&self) {
        self.inner.drain();
    }

    /// Keeps the entry of `key` in memory until [`Self::unpin`], or until
    /// another value is put in its place. `false` when it is not in memory or
    /// the capacity is already held by what is kept. The value is cloned to be
    /// moved to what is kept, for that long outside of the budget.
    pub fn pin<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let inner = &*self.inner;
        if inner.class(KEPT).is_some_and(|kept| kept.contains_key(key)) {
            return true;
        }
        match inner.peek(key) {
            Some((KEPT, _)) => true,
            Some((class, slot)) => {
                let weight = slot.weight();
                inner.thaw_if_open();
                // Room is made once it has left its class, which would otherwise
                // drop the very entry that is to stay.
                if !inner.grants().keep(weight) {
                    return false;
                }
                let moving = Moving {
                    inner,
                    id: slot.id(),
                    weight,
                    has_room: true,
                };
                let moved = inner.transfer(key.to_owned(), slot, class, KEPT);
                drop(moving);
                if moved {
                    inner.resize_all();
                } else {
                    inner.unkeep(weight);
                }
                moved
            }
            None => false,
        }
    }

    /// Lets the entry of `key` go again. `false` when it was not pinned.
    pub fn unpin<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let inner = &*self.inner;
        match inner.peek(key) {
            Some((KEPT, slot)) if slot.priority().is_evictable() => {
                let class = slot.priority().index();
                let weight = slot.weight();
                // Its room goes with it.
                let moving = Moving {
                    inner,
                    id: slot.id(),
                    weight,
                    has_room: false,
                };
                inner.unkeep(weight);
                inner.loosen(class);
                let moved = inner.transfer(key.to_owned(), slot, KEPT, class);
                drop(moving);
                if !moved {
                    // Whoever took it out gave its room back too.
                    inner.grants().keep_anyway(weight);
                }
                inner.fit();
                moved
            }
            _ => false,
        }
    }

    /// A project by its name, the same for the same name.
    ///
    /// # Errors
    /// [`CacheError::TooManyProjects`].
    pub fn project(&self, name: &str) -> Result<Project, CacheError> {
        let mut projects = self
            .inner
            .account
            .projects
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let place = projects
            .iter()
            .position(|other| **other == *name)
            .unwrap_or(projects.len());
        let number = NonZeroU32::MIN.saturating_add(u32::try_from(place).unwrap_or(u32::MAX));
        if number.get() > MOST_PROJECTS {
            return Err(CacheError::TooManyProjects {
                name: self.inner.settings.name.clone(),
                most: MOST_PROJECTS,
            });
        }
        if place == projects.len() {
            projects.push(name.into());
        }
        Ok(Project {
            cache: self.inner.account.identity,
            number,
        })
    }

    /// Makes the whole larger or smaller, now. Low goes first, then medium,
    /// then high; what is kept stays.
    pub fn set_capacity(&self, capacity: Bytes) {
        self.inner.grants().set_total(capacity.get());
        self.inner.fit();
    }

    /// Bounds what `priority` may hold of the whole, now. Nothing happens for
    /// [`Priority::Critical`], which the budget alone bounds.
    pub fn set_priority_capacity(&self, priority: Priority, capacity: Bytes) {
        let class = priority.index();
        if class < CLASSES {
            self.inner.grants().set_limit(class, capacity.get());
            self.inner.fit();
        }
    }

    /// How much the whole may hold, when the budget is open.
    #[must_use]
    pub fn capacity(&self) -> Bytes {
        Bytes(self.inner.grants().wanted())
    }

    /// What the entries in memory weigh.
    #[must_use]
    pub fn weight(&self) -> Bytes {
        Bytes((0..=KEPT).map(|class| self.inner.weight_of(class)).sum())
    }

    /// What the entries of `priority` in memory weigh; for
    /// [`Priority::Critical`], with all that is pinned.
    #[must_use]
    pub fn weight_of(&self, priority: Priority) -> Bytes {
        Bytes(self.inner.weight_of(priority.index()))
    }

    /// How many entries are in memory.
    #[must_use]
    pub fn len(&self) -> u64 {
        let entries: usize = (0..=KEPT)
            .filter_map(|class| self.inner.class(class))
            .map(Class::len)
            .sum();
        u64::try_from(entries).unwrap_or(u64::MAX)
    }

    /// Whether nothing is in memory.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it did and what it holds.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        CacheStats {
            entries: self.len(),
            bytes: self.weight(),
            ..self.inner.account.stats()
        }
    }

    /// The component that is charged.
    #[must_use]
    pub fn component(&self) -> &Component {
        &self.inner.account.component
    }
}
