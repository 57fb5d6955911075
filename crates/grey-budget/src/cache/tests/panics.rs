//! Facts about keys whose hash, equality or clone panics.
//!
//! Never about values, loaders or codecs, which run under no lock.

use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use grey_model::{Bytes, Priority};

use super::at;
use super::kit::{MapTarget, OVERHEAD};
use crate::budget::Budget;
use crate::cache::core::KEPT;
use crate::cache::flight::LONGEST_WAIT;
use crate::cache::{Cache, CacheBuilder, Codec, SpillError};

/// How many more uses of keys go well; nothing panics if it is 0.
#[derive(Default)]
struct Fuse(AtomicU64);

impl Fuse {
    fn burn(&self) {
        let left = self.0.load(Ordering::SeqCst);
        if left > 0 {
            self.0.store(left - 1, Ordering::SeqCst);
            assert!(left > 1, "a key of the test panics");
        }
    }
}

struct Key(u64, Arc<Fuse>);

impl Clone for Key {
    fn clone(&self) -> Self {
        self.1.burn();
        Self(self.0, Arc::clone(&self.1))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.1.burn();
        self.0 == other.0
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.1.burn();
        self.0.hash(state);
    }
}

type Touchy = Cache<Key, u64>;

struct Rig {
    budget: Budget,
    cache: Touchy,
    fuse: Arc<Fuse>,
}

impl Rig {
    /// With 40 entries, in one class or in two, of which the second is a key of
    /// the first again.
    fn new(priorities: &[Priority]) -> Self {
        let budget = Budget::new(Bytes::from_mib(64)).unwrap();
        let cache = CacheBuilder::new(&budget, "cache", Bytes::from_mib(1))
            .expected_entries(1_000)
            .build(|_: &Key, value: &u64| Bytes(*value))
            .unwrap();
        let rig = Self {
            budget,
            cache,
            fuse: Arc::default(),
        };
        for number in 0..40 {
            for priority in priorities {
                let key = rig.key(number);
                rig.cache.insert_with(key, 100, at(*priority)).unwrap();
            }
        }
        rig
    }

    fn key(&self, number: u64) -> Key {
        Key(number, Arc::clone(&self.fuse))
    }

    /// Has the key panic at its first use in `operation`, then at the second,
    /// and so on until it ends without one, and tells how often it did.
    fn each_use_panics(&self, operation: impl Fn(&Touchy, &dyn Fn(u64) -> Key)) -> u64 {
        for uses in 1_u64.. {
            self.fuse.0.store(uses, Ordering::SeqCst);
            let key = |number| self.key(number);
            let _ = catch_unwind(AssertUnwindSafe(|| operation(&self.cache, &key)));
            let left = self.fuse.0.swap(0, Ordering::SeqCst);
            let (reserved, weight) = (self.budget.reserved(), self.cache.weight());
            assert_eq!(reserved, weight, "after the use {uses}");
            if left > 0 {
                return uses - 1;
            }
        }
        unreachable!("it ends")
    }

    fn works(self) {
        for number in 0..40 {
            self.cache.insert(self.key(number), number).unwrap();
            assert_eq!(self.cache.get(&self.key(number)), Some(number));
        }
        assert_eq!(self.cache.len(), 40);
        let evictable = self.cache.inner.grants().evictable();
        assert_eq!(evictable, self.cache.inner.grants().total());
        for number in 0..40 {
            assert_eq!(self.cache.remove(&self.key(number)), Some(number));
        }
        assert_eq!(self.budget.reserved(), Bytes::ZERO);
        drop(self.cache);
        assert_eq!(self.budget.reserved(), Bytes::ZERO);
    }
}

/// Fails, and has the next use of a key panic.
struct Breaks(Arc<Fuse>);

impl Codec<Key, u64> for Breaks {
    fn encode_key(&self, _: &Key) -> Result<Vec<u8>, SpillError> {
        self.0.0.store(1, Ordering::SeqCst);
        Err(SpillError::Damaged {
            reason: "of the test",
        })
    }

    fn encode(&self, _: &u64, _: &mut Vec<u8>) -> Result<(), SpillError> {
        Ok(())
    }

    fn decode(&self, _: &[u8]) -> Result<u64, SpillError> {
        Ok(7)
    }
}

/// A cache with room for 20 entries that spills, and has a key panic each time.
fn breaking(fuse: &Arc<Fuse>) -> (Budget, Touchy) {
    let budget = Budget::new(Bytes::from_mib(64)).unwrap();
    let cache = CacheBuilder::new(&budget, "cache", Bytes(20 * (OVERHEAD + 100)))
        .expected_entries(1_000)
        .spill(Arc::<MapTarget>::default(), Breaks(Arc::clone(fuse)))
        .build(|_: &Key, _: &u64| Bytes(100))
        .unwrap();
    (budget, cache)
}

#[test]
fn a_key_that_panics_while_others_are_written_for_it_costs_nobody_a_byte() {
    let fuse = Arc::<Fuse>::default();
    let (budget, cache) = breaking(&fuse);
    let mut panics = 0;
    for number in 0..200 {
        let insert = || cache.insert(Key(number, Arc::clone(&fuse)), number);
        panics += u64::from(catch_unwind(AssertUnwindSafe(insert)).is_err());
        fuse.0.store(0, Ordering::SeqCst);
    }
    assert!(panics > 100, "{panics}");
    let (reserved, weight) = (budget.reserved().get(), cache.weight().get());
    // The list of what was spilled is charged in steps of 4 KiB.
    assert_eq!((reserved - weight) % 4_096, 0, "{reserved} for {weight}");
    drop(cache);
    assert_eq!(budget.reserved(), Bytes::ZERO);
}

/// What is kept has its room, and nothing else has.
fn assert_kept(cache: &Touchy, when: u64) {
    let kept = {
        let grants = cache.inner.grants();
        grants.total() - grants.evictable()
    };
    assert_eq!(kept, cache.inner.weight_of(KEPT), "after {when}");
}

#[test]
fn a_key_that_panics_while_others_are_written_leaves_no_room_taken() {
    let fuse = Arc::<Fuse>::default();
    let (_budget, cache) = breaking(&fuse);
    let mut panics = [0; 12];
    // Others are written for what is to be kept (its second try finds room), and
    // for what was kept until then.
    for number in 0..400 {
        let turn = usize::try_from(number % 12).unwrap();
        let (key, priority) = match turn {
            0 | 1 => (0, Priority::Critical),
            7 => (0, Priority::Medium),
            _ => (number, Priority::Medium),
        };
        let key = Key(key, Arc::clone(&fuse));
        let insert = || cache.insert_with(key, number, at(priority));
        let is_err = catch_unwind(AssertUnwindSafe(insert)).is_err();
        panics[turn] += u64::from(is_err);
        fuse.0.store(0, Ordering::SeqCst);
        assert_kept(&cache, number);
    }
    assert!(panics[0] > 0 && panics[7] > 0, "{panics:?}");
}

const ONE: &[Priority] = &[Priority::Medium];
const TWO: &[Priority] = &[Priority::Low, Priority::Medium];

#[test]
fn a_key_that_panics_while_it_is_put_in_costs_nobody_a_byte() {
    for priorities in [ONE, TWO] {
        let rig = Rig::new(priorities);
        // A new one, one that is there, and one that comes into another class.
        let putting = [
            (100, Priority::Medium),
            (7, Priority::Medium),
            (8, Priority::High),
        ];
        for (number, priority) in putting {
            let panics = rig.each_use_panics(|cache, key| {
                cache.insert_with(key(number), 200, at(priority)).unwrap();
            });
            assert!(panics > 0, "{number}");
        }
        rig.cache.remove(&rig.key(100));
        rig.works();
    }
}

#[test]
fn a_key_that_panics_while_it_is_loaded_moved_or_removed_costs_nobody_a_byte() {
    for priorities in [ONE, TWO] {
        let rig = Rig::new(priorities);
        let panics = [
            rig.each_use_panics(|cache, key| {
                cache.get_or_insert_with(&key(200), at(Priority::Low), || 300);
            }),
            rig.each_use_panics(|cache, key| {
                cache.pin(&key(3));
            }),
            rig.each_use_panics(|cache, key| {
                cache.unpin(&key(3));
            }),
            rig.each_use_panics(|cache, key| {
                cache.remove(&key(4));
            }),
        ];
        assert!(panics.iter().all(|panics| *panics > 0), "{panics:?}");
        rig.cache.remove(&rig.key(200));
        rig.works();
    }
}

#[test]
fn a_key_that_panics_while_it_is_put_in_for_good_takes_no_room() {
    for priorities in [ONE, TWO] {
        let rig = Rig::new(priorities);
        for number in [9, 100] {
            let panics = rig.each_use_panics(|cache, key| {
                let critical = at(Priority::Critical);
                cache.insert_with(key(number), 200, critical).unwrap();
            });
            assert!(panics > 0, "{number}");
            rig.cache.remove(&rig.key(number));
            assert_kept(&rig.cache, number);
        }
        rig.works();
    }
}

/// Nobody loads `number`: another thread does at once.
fn is_not_blocked(rig: &Rig, number: u64) {
    let key = rig.key(number);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            rig.cache
                .get_or_insert_with(&key, at(Priority::Low), || 300)
        });
    });
    assert!(begun.elapsed() < LONGEST_WAIT / 2, "{:?}", begun.elapsed());
    assert!(rig.cache.inner.flights.is_idle());
    assert_eq!(rig.cache.remove(&key), Some(300));
}

#[test]
fn a_key_that_panics_when_its_load_ends_blocks_nobody() {
    for loaded in [Ok(300), Err(())] {
        let rig = Rig::new(ONE);
        let mut panics = 0;
        for uses in 1_u64.. {
            rig.fuse.0.store(uses, Ordering::SeqCst);
            let key = rig.key(200);
            let load = || {
                let low = at(Priority::Low);
                rig.cache.get_or_try_insert_with(&key, low, || loaded)
            };
            let _ = catch_unwind(AssertUnwindSafe(load));
            let left = rig.fuse.0.swap(0, Ordering::SeqCst);
            is_not_blocked(&rig, 200);
            if left > 0 {
                break;
            }
            panics += 1;
        }
        assert!(panics > 4, "{panics}");
        rig.works();
    }
}

#[test]
fn a_key_and_a_loader_that_both_panic_end_one_call_and_not_the_process() {
    let rig = Rig::new(ONE);
    for uses in 1..5 {
        let key = rig.key(200);
        let load = || -> u64 {
            rig.fuse.0.store(uses, Ordering::SeqCst);
            panic!("a loader of the test panics");
        };
        let loading = || rig.cache.get_or_insert_with(&key, at(Priority::Low), load);
        assert!(catch_unwind(AssertUnwindSafe(loading)).is_err());
        assert_eq!(rig.fuse.0.swap(0, Ordering::SeqCst), 0);
        is_not_blocked(&rig, 200);
    }
    rig.works();
}
