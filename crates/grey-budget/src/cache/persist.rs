//! What is worth writing before the program ends, the dearest first, within a
//! time and an amount.
//!
//! Never writes: the caller does, or [`Cache::persist`] through the spill
//! target.

use std::cmp::Reverse;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use grey_model::{Bytes, Priority};

use super::core::{Cache, KEPT};
use super::reclaim::Rank;
use super::slot::{NEVER, TICK_MS};

/// The most entries that are looked at for one priority.
const MOST_ENTRIES: usize = 1 << 22;

/// How much may be written, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PersistLimit {
    /// At most so much, by weight.
    pub bytes: Bytes,
    /// At most for so long.
    pub time: Duration,
}

/// An entry that is worth keeping.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KeptEntry<K, V> {
    /// Its key.
    pub key: K,
    /// Its value.
    pub value: V,
    /// Its priority.
    pub priority: Priority,
    /// For whom it is kept.
    pub project: Option<Arc<str>>,
    /// What it costs to make it again.
    pub cost: f32,
    /// How long it may still be read; `None` for ever.
    pub ttl: Option<Duration>,
    /// What it weighs.
    pub weight: Bytes,
}

/// What was persisted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Persisted {
    /// Entries that were written.
    pub entries: u64,
    /// What these weigh in memory.
    pub bytes: Bytes,
    /// Entries that could not be written.
    pub failed: u64,
}

/// See [`Cache::entries_for_persistence`].
#[derive(Debug)]
pub struct KeptEntries<K: Hash + Eq, V: Clone> {
    cache: Cache<K, V>,
    /// The next one is last.
    keys: Vec<(K, u64)>,
    until: Duration,
}

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// The entries in memory that are worth the most, up to `limit`: critical
    /// and pinned, high, medium, low, and in each what would be evicted last
    /// first. A value is cloned when its turn comes.
    #[must_use]
    pub fn entries_for_persistence(&self, limit: PersistLimit) -> KeptEntries<K, V> {
        let inner = &*self.inner;
        let tick = inner.account.look_at_clock();
        let mut left = limit.bytes.get();
        let mut keys = Vec::new();
        for class in [KEPT, 2, 1, 0] {
            let mut ranked = Vec::new();
            inner.visit(class, |key, slot| {
                if !slot.is_expired(tick) && ranked.len() < MOST_ENTRIES {
                    ranked.push((Rank::of(slot, tick), slot.weight(), key.clone(), slot.id()));
                }
            });
            ranked.sort_unstable_by_key(|ranked| Reverse(ranked.0));
            for (_, weight, key, id) in ranked {
                if weight <= left {
                    left -= weight;
                    keys.push((key, id));
                }
            }
        }
        keys.reverse();
        KeptEntries {
            cache: self.clone(),
            keys,
            until: inner.account.clock.now().saturating_add(limit.time),
        }
    }

    /// Writes what is worth the most to the spill target, up to `limit`, and
    /// leaves it in memory. The next run tells the keys that the target has to
    /// [`Self::insert_spilled`]. Nothing is written without a target.
    pub fn persist(&self, limit: PersistLimit) -> Persisted {
        let inner = &*self.inner;
        let mut persisted = Persisted::default();
        let Some(spill) = &inner.account.spill else {
            return persisted;
        };
        let mut entries = self.entries_for_persistence(limit);
        while let Some((key, id)) = entries.next_key() {
            let Some((_, slot)) = inner.peek(&key).filter(|(_, slot)| slot.id() == id) else {
                continue;
            };
            let hash = inner.account.hash(&key);
            if !inner.leaves_unchanged(hash, &key, id) {
                continue;
            }
            if inner.account.write(spill, hash, &key, &slot).is_some() {
                persisted.entries += 1;
                persisted.bytes = persisted.bytes.saturating_add(Bytes(slot.weight()));
            } else {
                persisted.failed += 1;
            }
        }
        persisted
    }
}

impl<K, V> KeptEntries<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// The next key while there is time.
    fn next_key(&mut self) -> Option<(K, u64)> {
        let now = self.cache.inner.account.clock.now();
        if now >= self.until {
            None
        } else {
            self.keys.pop()
        }
    }
}

impl<K, V> Iterator for KeptEntries<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    type Item = KeptEntry<K, V>;

    fn next(&mut self) -> Option<KeptEntry<K, V>> {
        while let Some((key, id)) = self.next_key() {
            let inner = &*self.cache.inner;
            let tick = inner.account.look_at_clock();
            let Some((_, slot)) = inner
                .peek(&key)
                .filter(|(_, slot)| slot.id() == id && !slot.is_expired(tick))
            else {
                continue;
            };
            let ttl = (slot.expires != NEVER)
                .then(|| Duration::from_millis(u64::from(slot.expires - tick) * TICK_MS));
            return Some(KeptEntry {
                project: inner.account.project_name(slot.project()),
                priority: slot.priority(),
                cost: slot.cost(),
                ttl,
                weight: Bytes(slot.weight()),
                value: slot.value,
                key,
            });
        }
        None
    }
}
