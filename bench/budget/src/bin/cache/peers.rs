//! The caches that are compared, each with the same weight for each entry.
//!
//! Never measures.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use grey_budget::cache::{Cache, CacheBuilder};
use grey_budget::{Budget, Bytes};

/// What every entry weighs, in every cache.
pub const WEIGHT: u64 = 512;

/// What is measured of a cache.
pub trait Peer: Sync {
    /// Whether it has the key.
    fn get(&self, key: u64) -> bool;
    /// Puts the key in.
    fn insert(&self, key: u64);
}

/// The peer of this name for so many entries of [`WEIGHT`]; `None` for a name
/// that is unknown.
pub fn make(name: &str, entries: u64) -> Option<Box<dyn Peer>> {
    Some(match name {
        "grey-budget" => Box::new(Ours::new(entries)),
        "quick_cache" => Box::new(Quick::new(entries)),
        "moka" => Box::new(Moka::new(entries)),
        "foyer" => Box::new(Foyer::new(entries)),
        "LRU" => Box::new(Lru::new(entries)),
        _ => return None,
    })
}

struct Ours(Cache<u64, u64>);

impl Ours {
    fn new(entries: u64) -> Self {
        let capacity = Bytes(entries * WEIGHT);
        // A cache is a part of a program's budget: a GiB here.
        let limit = Bytes::from_mib(1024).max(Bytes(2 * entries * WEIGHT));
        let budget = Budget::new(limit).expect("more than nothing");
        let heap = WEIGHT - Cache::<u64, u64>::ENTRY_OVERHEAD.get();
        let cache = CacheBuilder::new(&budget, "bench", capacity)
            .expected_entries(entries)
            .largest_value(Bytes(WEIGHT))
            .build(move |_, _| Bytes(heap))
            .expect("the name is free");
        Self(cache)
    }
}

impl Peer for Ours {
    fn get(&self, key: u64) -> bool {
        self.0.get(&key).is_some()
    }
    fn insert(&self, key: u64) {
        let _taken = self.0.insert(key, key);
    }
}

#[derive(Clone)]
struct Weight(u64);

impl quick_cache::Weighter<u64, u64> for Weight {
    fn weight(&self, _: &u64, _: &u64) -> u64 {
        self.0
    }
}

struct Quick(quick_cache::sync::Cache<u64, u64, Weight>);

impl Quick {
    fn new(entries: u64) -> Self {
        let items = usize::try_from(entries).expect("64 bits");
        Self(quick_cache::sync::Cache::with_weighter(
            items,
            entries * WEIGHT,
            Weight(WEIGHT),
        ))
    }
}

impl Peer for Quick {
    fn get(&self, key: u64) -> bool {
        self.0.get(&key).is_some()
    }
    fn insert(&self, key: u64) {
        self.0.insert(key, key);
    }
}

struct Moka(moka::sync::Cache<u64, u64>);

impl Moka {
    fn new(entries: u64) -> Self {
        let each = u32::try_from(WEIGHT).expect("a small weight");
        Self(
            moka::sync::Cache::builder()
                .max_capacity(entries * WEIGHT)
                .weigher(move |_, _| each)
                .build(),
        )
    }
}

impl Peer for Moka {
    fn get(&self, key: u64) -> bool {
        self.0.get(&key).is_some()
    }
    fn insert(&self, key: u64) {
        self.0.insert(key, key);
    }
}

struct Foyer(foyer::Cache<u64, u64>);

impl Foyer {
    fn new(entries: u64) -> Self {
        let capacity = usize::try_from(entries * WEIGHT).expect("64 bits");
        let each = usize::try_from(WEIGHT).expect("64 bits");
        Self(
            foyer::CacheBuilder::new(capacity)
                .with_weighter(move |_: &u64, _: &u64| each)
                .build(),
        )
    }
}

impl Peer for Foyer {
    fn get(&self, key: u64) -> bool {
        self.0.get(&key).is_some()
    }
    fn insert(&self, key: u64) {
        self.0.insert(key, key);
    }
}

/// The plainest: least recently used, one lock. For its ratio alone.
struct Lru {
    entries: usize,
    state: Mutex<LruState>,
}

#[derive(Default)]
struct LruState {
    tick: u64,
    used: HashMap<u64, u64>,
    order: BTreeMap<u64, u64>,
}

impl Lru {
    fn new(entries: u64) -> Self {
        Self {
            entries: usize::try_from(entries).expect("64 bits"),
            state: Mutex::default(),
        }
    }
}

impl Peer for Lru {
    fn get(&self, key: u64) -> bool {
        let state = &mut *self.state.lock().expect("nobody panics");
        state.tick += 1;
        let Some(used) = state.used.get_mut(&key) else {
            return false;
        };
        state.order.remove(used);
        *used = state.tick;
        state.order.insert(state.tick, key);
        true
    }
    fn insert(&self, key: u64) {
        let state = &mut *self.state.lock().expect("nobody panics");
        state.tick += 1;
        if state.used.len() >= self.entries
            && let Some((_, oldest)) = state.order.pop_first()
        {
            state.used.remove(&oldest);
        }
        state.used.insert(key, state.tick);
        state.order.insert(state.tick, key);
    }
}
