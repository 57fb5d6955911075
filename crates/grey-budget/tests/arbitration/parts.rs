//! The parts beside the bare reservations: a cache that spills, a spill store
//! with a small quota, and a configuration that is rewritten and reloaded.
//!
//! Each thread has keys of its own, so that it knows what it must read.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use grey_budget::cache::{Cache, CacheBuilder, EntryOptions, PostcardCodec};
use grey_budget::config::{ConfigHandle, ConfigLoader, ConfigReloaded};
use grey_budget::limits::Machine;
use grey_budget::reclaimer::Reclaimer;
use grey_budget::spill::Take;
use grey_budget::{Budget, Bytes, Priority, SpillError, SpillOptions, SpillStore, SpillTags};

use super::{MIB, Random};

/// Keys of a thread in the cache and in the store.
const KEYS: u64 = 40;

/// Critical entries of the cache, which nobody may take.
const CRITICAL: u64 = 8;

/// Everything about a value follows from its key and its version.
fn value(key: u64, version: u64) -> Vec<u8> {
    let mut random = Random(key.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (version << 17) | 1);
    let length = usize::try_from(random.next() % 16_000).unwrap();
    let byte = random.next().to_le_bytes()[0];
    let mut bytes = key.to_le_bytes().to_vec();
    bytes.extend(version.to_le_bytes());
    bytes.resize(16 + length, byte);
    bytes
}

fn name(key: u64) -> Vec<u8> {
    format!("stress/{key}").into_bytes()
}

pub(super) struct Parts {
    pub(super) cache: Arc<Cache<u64, Vec<u8>>>,
    pub(super) store: SpillStore,
    pub(super) config: ConfigHandle,
    directory: tempfile::TempDir,
    pub(super) reloads: AtomicU64,
    pub(super) spilled: AtomicU64,
}

/// A configuration for so many MiB.
fn text(total: u64, soft: f64, watches: bool) -> String {
    format!(
        "memory:\n  total_budget_mb: {total}\n  soft_limit_percent: {soft:.2}\n  \
         hard_limit_percent: 0.93\n  emergency_percent: 0.98\n  \
         spill: {{enabled: false}}\n  monitoring: {{enabled: {watches}}}\n"
    )
}

impl Parts {
    pub(super) fn new(budget: &Budget) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.yaml");
        std::fs::write(&file, text(64, 0.8, true)).unwrap();
        let loader = ConfigLoader::from_file(&file)
            .environment([("HOME", "/nowhere")])
            .machine(Machine::new(Some(Bytes::from_mib(64 << 10))));
        let config = ConfigHandle::load(loader).unwrap();
        let component = budget.component("spill").register().unwrap();
        let options = SpillOptions::new(directory.path().join("spill"), component)
            .quota(Bytes::from_mib(4))
            .segment(Bytes::from_kib(256))
            .staging(Bytes::from_mib(6))
            .free_floor(Bytes::ZERO);
        let store = SpillStore::open(options).unwrap();
        let cache = CacheBuilder::new(budget, "cache", Bytes::from_mib(4))
            .largest_value(Bytes::from_kib(64))
            .spill(Arc::new(store.clone()), PostcardCodec)
            .build(|_: &u64, value: &Vec<u8>| Bytes(value.capacity() as u64))
            .unwrap();
        for key in 0..CRITICAL {
            let options = EntryOptions::new().priority(Priority::Critical);
            cache.insert_with(key, value(key, 0), options).unwrap();
        }
        Self {
            cache: Arc::new(cache),
            store,
            config,
            directory,
            reloads: AtomicU64::new(0),
            spilled: AtomicU64::new(0),
        }
    }

    pub(super) fn reclaimer(&self) -> Arc<dyn Reclaimer> {
        Arc::<Cache<u64, Vec<u8>>>::clone(&self.cache)
    }

    /// Reloads from within an observer, and panics now and then.
    pub(super) fn observe(&self) -> grey_budget::config::ObserverGuard {
        let handle = self.config.clone();
        let told = AtomicU64::new(0);
        self.config
            .observe(move |_: &ConfigReloaded| {
                let told = told.fetch_add(1, Ordering::SeqCst);
                if told.is_multiple_of(7) {
                    let _ = handle.reload();
                }
                assert!(!told.is_multiple_of(11), "a panic while told of a reload");
            })
            .unwrap()
    }

    /// Other sizes, or a file that is of no use; then a reload.
    fn reload(&self, seed: u64, random: &mut Random) {
        let file: PathBuf = self.directory.path().join("config.yaml");
        let draft = self.directory.path().join(format!("draft-{seed}"));
        let soft = [0.5, 0.7, 0.8][usize::try_from(random.next() % 3).unwrap()];
        let mut text = text(40 + random.next() % 60, soft, !random.one_in(3));
        if random.one_in(4) {
            text.truncate(usize::try_from(random.next()).unwrap_or(0) % text.len());
        }
        std::fs::write(&draft, text).unwrap();
        std::fs::rename(&draft, &file).unwrap();
        if self.config.reload().success {
            self.reloads.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// What is critical is still there.
    pub(super) fn check(&self) {
        for key in 0..CRITICAL {
            assert!(self.cache.contains(&key), "critical {key} was evicted");
            assert_eq!(self.cache.get(&key), Some(value(key, 0)));
        }
    }
}

/// What one thread knows of its own keys.
pub(super) struct Mine {
    seed: u64,
    pinned: HashSet<u64>,
    stored: HashMap<u64, u64>,
    /// Which version of a key the cache may give, if it gives one.
    cached: HashMap<u64, u64>,
    version: u64,
}

impl Mine {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            pinned: HashSet::new(),
            stored: HashMap::new(),
            cached: HashMap::new(),
            version: 0,
        }
    }

    fn key(&self, random: &mut Random) -> u64 {
        self.seed * 1000 + random.next() % KEYS
    }

    /// One operation on one of the parts.
    pub(super) fn step(&mut self, parts: &Parts, random: &mut Random) {
        if random.one_in(200) {
            parts.reload(self.seed, random);
        } else if random.one_in(2) {
            self.use_cache(&parts.cache, random);
        } else {
            self.use_store(parts, random);
        }
    }

    fn use_cache(&mut self, cache: &Cache<u64, Vec<u8>>, random: &mut Random) {
        let key = self.key(random);
        let known = self.cached.get(&key).copied();
        let right = |read: Vec<u8>| {
            let version = u64::from_le_bytes(read[8..16].try_into().unwrap());
            assert_eq!(Some(version), known, "version of {key}");
            assert!(read == value(key, version), "the bytes of {key}");
        };
        self.version += 1;
        let version = self.version;
        let priority = Priority::ALL[usize::try_from(random.next() % 3).unwrap()];
        let options = EntryOptions::new().priority(priority);
        match random.next() % 12 {
            0..=3 => {
                // Another value takes the place of what was pinned.
                self.pinned.remove(&key);
                if cache.insert_with(key, value(key, version), options).is_ok() {
                    self.cached.insert(key, version);
                } else {
                    // What was there is older than what was refused.
                    self.cached.remove(&key);
                }
            }
            4..=6 => drop(cache.get(&key).map(right)),
            7 | 8 => {
                let panics = random.one_in(20);
                let read = catch_unwind(AssertUnwindSafe(|| {
                    cache.get_or_insert_with(&key, options, || {
                        assert!(!panics, "a panic while loading");
                        value(key, version)
                    })
                }));
                match read {
                    Ok(read) if read == value(key, version) => {
                        self.cached.insert(key, version);
                    }
                    Ok(read) => right(read),
                    Err(_) => {}
                }
            }
            9 => {
                if cache.pin(&key) {
                    self.pinned.insert(key);
                }
            }
            10 => {
                cache.unpin(&key);
                self.pinned.remove(&key);
            }
            _ => {
                if random.one_in(10) {
                    cache.set_capacity(Bytes(MIB + random.next() % (6 * MIB)));
                } else {
                    cache.remove(&key).map(right);
                    self.cached.remove(&key);
                    self.pinned.remove(&key);
                }
            }
        }
        if self.pinned.len() > 5 {
            for key in self.pinned.drain() {
                assert!(cache.contains(&key), "what was pinned is gone: {key}");
                cache.unpin(&key);
            }
        }
    }

    fn use_store(&mut self, parts: &Parts, random: &mut Random) {
        let store = &parts.store;
        let key = self.key(random);
        match random.next() % 10 {
            0..=4 => {
                self.version += 1;
                let bytes = value(key, self.version);
                match store.write(&name(key), SpillTags::default(), bytes.into()) {
                    Ok(()) => {
                        self.stored.insert(key, self.version);
                        parts.spilled.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(SpillError::QuotaExceeded { .. }) => self.remove_some(store),
                    Err(error) => panic!("{error}"),
                }
            }
            5 | 6 => self.read(store, key),
            7 => {
                let was_there = store.remove(&name(key)).unwrap();
                assert_eq!(was_there, self.stored.remove(&key).is_some(), "{key}");
            }
            8 => self.load_back(store),
            _ => {
                if random.one_in(10) {
                    store.flush().unwrap();
                } else if random.one_in(5) {
                    store.collect_garbage(Bytes::from_kib(64)).unwrap();
                }
            }
        }
    }

    fn read(&self, store: &SpillStore, key: u64) {
        let expected = self.stored.get(&key).map(|version| value(key, *version));
        let read = store.read(&name(key)).unwrap();
        assert_eq!(read.as_deref(), expected.as_deref(), "{key}");
    }

    /// Makes room.
    fn remove_some(&mut self, store: &SpillStore) {
        let keys: Vec<u64> = self.stored.keys().copied().take(10).collect();
        for key in keys {
            self.stored.remove(&key);
            assert!(store.remove(&name(key)).unwrap(), "{key}");
        }
    }

    /// Takes back some of its own; what is others' it leaves.
    fn load_back(&mut self, store: &SpillStore) {
        let mut offered = 0;
        store
            .load_back(Bytes::from_mib(1), |spilled| {
                offered += 1;
                if offered > 50 {
                    return Take::Stop;
                }
                let text = std::str::from_utf8(spilled.key).unwrap_or("");
                let key = text
                    .strip_prefix("stress/")
                    .and_then(|key| key.parse().ok());
                let Some(key) = key.filter(|key: &u64| key / 1000 == self.seed) else {
                    return Take::Left;
                };
                let version = self.stored.remove(&key);
                let version = version.expect("it was removed, and is offered");
                assert_eq!(*spilled.value, value(key, version));
                Take::Taken
            })
            .unwrap();
    }

    /// Each of its values is what it was, or gone if it may be.
    pub(super) fn end(&self, parts: &Parts) {
        for n in 0..KEYS {
            self.read(&parts.store, self.seed * 1000 + n);
        }
        for key in &self.pinned {
            assert!(parts.cache.contains(key), "what was pinned is gone: {key}");
        }
    }
}
