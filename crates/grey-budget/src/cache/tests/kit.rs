//! What the facts about the cache share: a cache whose values are their own
//! weight, a clock that is moved by hand, a spill target in memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use grey_model::{Bytes, Priority};

use crate::budget::Budget;
use crate::cache::{Cache, CacheBuilder, PostcardCodec, SpillError, SpillTarget};
use crate::clock::Clock;

pub(super) const OVERHEAD: u64 = Cache::<u64, u64>::ENTRY_OVERHEAD.0;

#[derive(Debug, Default)]
pub(super) struct HandClock(AtomicU64);

impl HandClock {
    pub(super) fn advance(&self, by: Duration) {
        let milliseconds = u64::try_from(by.as_millis()).unwrap();
        self.0.fetch_add(milliseconds, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }
    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000_000) + self.now()
    }
}

/// Keeps what is spilled in a map, and fails when told to.
#[derive(Debug, Default)]
pub(super) struct MapTarget {
    pub(super) map: Mutex<HashMap<Vec<u8>, Arc<[u8]>>>,
    pub(super) fails: AtomicBool,
    pub(super) panics: AtomicBool,
    /// Only storing fails.
    pub(super) is_full: AtomicBool,
}

impl MapTarget {
    pub(super) fn len(&self) -> usize {
        self.map.lock().unwrap().len()
    }

    fn check(&self) -> Result<(), SpillError> {
        assert!(
            !self.panics.load(Ordering::SeqCst),
            "the target of the test panics"
        );
        if self.fails.load(Ordering::SeqCst) {
            return Err(SpillError::Full { bytes: 1 });
        }
        Ok(())
    }
}

impl SpillTarget for MapTarget {
    fn store(
        &self,
        key: &[u8],
        _: Priority,
        _: Option<&str>,
        value: Arc<[u8]>,
    ) -> Result<(), SpillError> {
        self.check()?;
        if self.is_full.load(Ordering::SeqCst) {
            return Err(SpillError::Full { bytes: 1 });
        }
        self.map.lock().unwrap().insert(key.to_vec(), value);
        Ok(())
    }

    fn load(&self, key: &[u8]) -> Result<Option<Arc<[u8]>>, SpillError> {
        self.check()?;
        Ok(self.map.lock().unwrap().get(key).cloned())
    }

    fn remove(&self, key: &[u8]) -> Result<(), SpillError> {
        self.check()?;
        self.map.lock().unwrap().remove(key);
        Ok(())
    }
}

pub(super) struct Setup {
    pub(super) cache: Cache<u64, u64>,
    pub(super) budget: Budget,
    pub(super) clock: Arc<HandClock>,
    pub(super) target: Arc<MapTarget>,
}

/// A cache in a budget of ten times its capacity.
pub(super) fn setup(capacity: u64) -> Setup {
    build(capacity, |builder, _| builder)
}

/// The same, that spills what it evicts.
pub(super) fn setup_spilling(capacity: u64) -> Setup {
    build(capacity, |builder, target| {
        builder.spill(target, PostcardCodec)
    })
}

pub(super) fn build(
    capacity: u64,
    change: impl FnOnce(CacheBuilder<u64, u64>, Arc<MapTarget>) -> CacheBuilder<u64, u64>,
) -> Setup {
    let budget = Budget::new(Bytes(10 * capacity)).unwrap();
    let clock = Arc::new(HandClock::default());
    let target = Arc::new(MapTarget::default());
    let builder = CacheBuilder::new(&budget, "cache", Bytes(capacity))
        .clock(Arc::clone(&clock) as Arc<dyn Clock>)
        .expected_entries(capacity / OVERHEAD);
    let cache = change(builder, Arc::clone(&target))
        .build(|_, value| Bytes(*value))
        .unwrap();
    Setup {
        cache,
        budget,
        clock,
        target,
    }
}
