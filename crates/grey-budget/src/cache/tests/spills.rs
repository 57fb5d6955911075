//! Facts about what leaves memory for the disk.

use std::ops::Range;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use grey_model::{Bytes, Priority};

use super::at;
use super::kit::{MapTarget, OVERHEAD, Setup, build, setup_spilling};
use crate::budget::Admission;
use crate::cache::away::Begin;
use crate::cache::{Cache, EntryOptions, PersistLimit, PostcardCodec, SpillError, SpillTarget};
use crate::controller::{Controller, ControllerSettings};
use crate::reclaimer::{ReclaimMode, ReclaimRequest, Reclaimer, Stop};
use crate::testkit::FakeSource;

/// Entries that a cache of 10,000 bytes does not hold at once.
const MANY: u64 = 300;

fn fill(setup: &Setup) {
    for key in 0..MANY {
        setup.cache.insert(key, key % 7).unwrap();
    }
    assert!(setup.cache.len() < MANY / 2);
}

fn spill_all(setup: &Setup) {
    let all = ReclaimRequest::new(Bytes(u64::MAX), ReclaimMode::Spill);
    setup.cache.reclaim(&all, &Stop::new());
}

#[test]
fn what_makes_room_is_written_and_read_back() {
    let setup = setup_spilling(10_000);
    fill(&setup);
    let stats = setup.cache.stats();
    assert!(stats.spills > 100);
    assert_eq!(stats.spilled_keys, setup.target.len() as u64);
    for key in 0..MANY {
        assert_eq!(setup.cache.get(&key), Some(key % 7), "{key}");
    }
    assert!(setup.cache.stats().read_backs > 100);
    assert_eq!(setup.cache.stats().misses, 0);
    assert!(setup.cache.weight() <= setup.cache.capacity());
}

#[test]
fn a_newer_value_and_a_removal_make_what_is_on_disk_untrue() {
    let setup = setup_spilling(1_000_000);
    for key in 0..10 {
        setup.cache.insert(key, 1).unwrap();
    }
    spill_all(&setup);
    assert_eq!(setup.target.len(), 10);
    setup.cache.insert(1, 2).unwrap();
    setup.cache.remove(&2);
    assert_eq!(setup.target.len(), 8);
    let evict = ReclaimRequest::new(Bytes(u64::MAX), ReclaimMode::Evict);
    setup.cache.reclaim(&evict, &Stop::new());
    assert_eq!(setup.cache.get(&1), None);
    assert_eq!(setup.cache.get(&2), None);
    assert_eq!(setup.cache.get(&3), Some(1));
}

#[test]
fn while_memory_is_freed_a_spilled_value_is_read_and_stays_on_disk() {
    let setup = setup_spilling(1_000_000);
    setup.cache.insert(1, 5).unwrap();
    spill_all(&setup);
    setup.budget.set_admission(Admission::NoRefill);
    assert_eq!(setup.cache.get(&1), Some(5));
    assert_eq!(setup.cache.get(&1), Some(5));
    assert!(setup.cache.is_empty());
    assert_eq!(setup.target.len(), 1);
    setup.budget.set_admission(Admission::Open);
    assert_eq!(setup.cache.get(&1), Some(5));
    assert_eq!(setup.target.len(), 0);
}

#[test]
fn priority_project_cost_and_time_to_live_come_back_from_disk() {
    let setup = setup_spilling(1_000_000);
    let docs = setup.cache.project("docs").unwrap();
    let options = at(Priority::High)
        .project(docs)
        .cost(3.0)
        .ttl(Duration::from_secs(10));
    setup.cache.insert_with(1, 5, options).unwrap();
    setup.cache.insert_with(2, 6, options).unwrap();
    spill_all(&setup);
    setup.clock.advance(Duration::from_secs(4));
    assert_eq!(setup.cache.get(&1), Some(5));
    let all = PersistLimit {
        bytes: Bytes(u64::MAX),
        time: Duration::from_secs(1),
    };
    let entry = setup.cache.entries_for_persistence(all).next().unwrap();
    assert_eq!(entry.priority, Priority::High);
    assert_eq!(entry.project.as_deref(), Some("docs"));
    assert_eq!(entry.cost.to_bits(), 3.0_f32.to_bits());
    assert_eq!(entry.ttl, Some(Duration::from_secs(6)));
    setup.clock.advance(Duration::from_secs(7));
    assert_eq!(setup.cache.get(&1), None, "expired in memory");
    assert_eq!(setup.cache.get(&2), None, "expired on disk");
    assert_eq!(setup.target.len(), 0);
}

#[test]
fn what_was_persisted_is_read_by_the_next_run_when_asked_for() {
    let first = setup_spilling(1_000_000);
    for key in 0..20 {
        first.cache.insert(key, key).unwrap();
    }
    let half = PersistLimit {
        bytes: Bytes(first.cache.weight().get() / 2),
        time: Duration::from_secs(1),
    };
    let persisted = first.cache.persist(half);
    assert!(persisted.entries >= 8 && persisted.bytes <= half.bytes);
    assert_eq!(first.cache.len(), 20, "it stays in memory");
    let second = build(1_000_000, |builder, _| {
        builder.spill(first.target.clone(), PostcardCodec)
    });
    for key in 0..20 {
        second.cache.insert_spilled(&key);
    }
    assert!(
        second.cache.is_empty(),
        "nothing is loaded before it is asked for"
    );
    let found = (0..20).filter(|key| second.cache.get(key) == Some(*key));
    assert_eq!(found.count() as u64, persisted.entries);
}

#[test]
fn damaged_bytes_are_no_value() {
    let setup = setup_spilling(1_000_000);
    setup.cache.insert(1, 5).unwrap();
    spill_all(&setup);
    for value in setup.target.map.lock().unwrap().values_mut() {
        *value = b"\x09".as_slice().into();
    }
    assert_eq!(setup.cache.get(&1), None);
    assert_eq!(setup.cache.stats().spill_failures, 1);
    assert_eq!(
        setup
            .cache
            .get_or_insert_with(&1, EntryOptions::new(), || 8),
        8
    );
    assert_eq!(setup.cache.get(&1), Some(8));
}

#[test]
fn a_target_that_fails_or_panics_loses_values_and_nothing_else() {
    let setup = setup_spilling(10_000);
    setup.target.fails.store(true, Ordering::SeqCst);
    fill(&setup);
    setup.target.fails.store(false, Ordering::SeqCst);
    setup.target.panics.store(true, Ordering::SeqCst);
    fill(&setup);
    setup.target.panics.store(false, Ordering::SeqCst);
    let found = (0..MANY).filter(|key| setup.cache.get(key) == Some(key % 7));
    assert!(found.count() > 10);
    assert_eq!(setup.cache.stats().spilled_keys, 0);
    assert_eq!(setup.budget.reserved(), setup.cache.weight());
}

#[test]
fn on_request_only_what_is_evicted_is_dropped() {
    let setup = build(10_000, |builder, target| {
        builder.spill_on_request(target, PostcardCodec)
    });
    fill(&setup);
    assert_eq!(setup.target.len(), 0);
    spill_all(&setup);
    assert!(setup.target.len() > 10);
}

#[test]
fn nothing_is_reserved_when_a_cache_that_spilled_is_gone() {
    let setup = setup_spilling(10_000);
    fill(&setup);
    let component = setup.cache.component().clone();
    assert!(
        component.reserved() > setup.cache.weight(),
        "rows are charged"
    );
    drop(setup.cache);
    assert_eq!(component.reserved(), Bytes::ZERO);
}

#[test]
fn what_could_not_be_written_leaves_no_older_value_on_disk() {
    let setup = setup_spilling(1_000_000);
    setup.cache.insert(1, 5).unwrap();
    let all = PersistLimit {
        bytes: Bytes(u64::MAX),
        time: Duration::from_secs(60),
    };
    assert_eq!(setup.cache.persist(all).entries, 1);
    assert_eq!(setup.target.len(), 1);
    setup.target.is_full.store(true, Ordering::SeqCst);
    assert_eq!(setup.cache.persist(all).failed, 1);
    assert_eq!(setup.target.len(), 0);
    assert_eq!(setup.cache.get(&1), Some(5));
}

/// Keeps whoever stores first until it is told to go on.
struct Held {
    kept: MapTarget,
    entered: Mutex<mpsc::Sender<()>>,
    goes_on: Mutex<Option<mpsc::Receiver<()>>>,
}

impl SpillTarget for Held {
    fn store(
        &self,
        key: &[u8],
        priority: Priority,
        project: Option<&str>,
        value: Arc<[u8]>,
    ) -> Result<(), SpillError> {
        let first = self.goes_on.lock().unwrap().take();
        if let Some(goes_on) = first {
            self.entered.lock().unwrap().send(()).unwrap();
            goes_on.recv().unwrap();
        }
        self.kept.store(key, priority, project, value)
    }

    fn load(&self, key: &[u8]) -> Result<Option<Arc<[u8]>>, SpillError> {
        self.kept.load(key)
    }

    fn remove(&self, key: &[u8]) -> Result<(), SpillError> {
        self.kept.remove(key)
    }
}

#[test]
fn an_older_value_that_is_still_being_written_takes_no_newer_ones_place() {
    let (entered, has_entered) = mpsc::channel();
    let (go_on, goes_on) = mpsc::channel();
    let held = Arc::new(Held {
        kept: MapTarget::default(),
        entered: Mutex::new(entered),
        goes_on: Mutex::new(Some(goes_on)),
    });
    let target = Arc::clone(&held);
    let setup = build(10_000, |builder, _| builder.spill(target, PostcardCodec));
    setup.cache.insert(1, 10).unwrap();
    let cache = setup.cache.clone();
    let all = PersistLimit {
        bytes: Bytes(u64::MAX),
        time: Duration::from_secs(60),
    };
    let writer = std::thread::spawn(move || cache.persist(all));
    has_entered.recv().unwrap();
    setup.cache.insert(1, 20).unwrap();
    spill_all(&setup);
    go_on.send(()).unwrap();
    writer.join().unwrap();
    assert_eq!(setup.cache.get(&1), Some(20));
    assert_eq!(setup.cache.stats().spilled_keys, held.kept.len() as u64);
    // Once nobody is at it any more, it can be written again.
    spill_all(&setup);
    assert_eq!(held.kept.len(), 1);
    assert_eq!(setup.cache.get(&1), Some(20));
}

#[test]
fn a_loaded_value_that_is_not_kept_is_not_followed_by_an_older_one() {
    let setup = setup_spilling(10_000);
    let (inner, key) = (&setup.cache.inner, 1);
    let hash = inner.account.hash(&key);
    // As if another thread had evicted an older value, and were about to write it.
    inner.account.away.leave(hash, 7);
    setup.budget.set_admission(Admission::NoRefill);
    let load = || 20;
    let loaded = setup
        .cache
        .get_or_insert_with(&key, EntryOptions::new(), load);
    assert_eq!(loaded, 20);
    assert_eq!(inner.account.away.begin(hash, 7), Begin::Remove);
}

#[test]
fn what_came_back_between_two_looks_is_found() {
    let Setup { cache, target, .. } = setup_spilling(100_000);
    cache.insert(1, 10).unwrap();
    // It was not in memory when it was looked for there, and is not away now.
    assert_eq!(cache.get_away(&1), Some(10));
    assert_eq!(cache.get_away(&2), None);
    assert_eq!((cache.stats().hits, cache.stats().misses), (1, 1));
    assert_eq!(target.len(), 0);
}

/// When woken for the first time, does this.
struct Does(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Wake for Does {
    fn wake(self: Arc<Self>) {
        let work = self.0.lock().unwrap().take();
        work.into_iter().for_each(|work| work());
    }
}

#[test]
fn who_is_served_by_what_the_table_of_spilled_keys_gave_back_may_ask_the_cache() {
    let Setup { cache, budget, .. } = setup_spilling(200 * (OVERHEAD + 100));
    for key in 0..1_000 {
        cache.insert(key, 100).unwrap();
    }
    assert!(cache.stats().spilled_keys >= 700);
    let (done, told) = mpsc::channel();
    std::thread::spawn(move || {
        let work = budget.component("work").register().unwrap();
        let free = budget.limit().saturating_sub(budget.reserved());
        let _all = work.reserve(free).unwrap();
        let asked = cache.clone();
        let remove = |cache: &Cache<u64, u64>, keys: Range<u64>| {
            for key in keys {
                let _ = cache.remove(&key);
            }
        };
        let asks = move || remove(&asked, 0..300);
        let waker = Waker::from(Arc::new(Does(Mutex::new(Some(Box::new(asks))))));
        // More than an entry takes, so that a step of the table serves it.
        let mut waits = pin!(work.reserve_async(Bytes(4_000)));
        let context = &mut Context::from_waker(&waker);
        assert!(waits.as_mut().poll(context).is_pending());
        remove(&cache, 300..800);
        assert!(waits.as_mut().poll(context).is_ready());
        done.send(()).unwrap();
    });
    assert_eq!(told.recv_timeout(Duration::from_secs(20)), Ok(()));
}

/// A hundred entries of low and as many of medium priority, 4 % of the budget
/// each, in a process at the soft level.
fn at_the_soft_level(setup: &Setup) -> Controller {
    for key in 0..100 {
        let value = 400 - OVERHEAD;
        let low = at(Priority::Low);
        setup.cache.insert_with(key, value, low).unwrap();
        setup.cache.insert(100 + key, value).unwrap();
    }
    let source = FakeSource::new(setup.budget.limit().scale(80, 100));
    let settings = ControllerSettings::default();
    let clock = Arc::clone(&setup.clock) as Arc<dyn crate::clock::Clock>;
    Controller::with_clock(setup.budget.clone(), Arc::new(source), settings, clock)
}

#[test]
fn the_soft_level_loses_no_value_of_a_cache_that_spills() {
    let setup = setup_spilling(100_000);
    let controller = at_the_soft_level(&setup);
    let cache = Arc::new(setup.cache.clone());
    let _registration = controller.register(cache);
    assert_eq!(controller.tick().level, grey_model::Level::Soft);
    let stats = setup.cache.stats();
    assert!(stats.spills > 100, "the low ones, and more: {stats:?}");
    assert_eq!(stats.evictions, 0);
    assert_eq!(setup.target.len() as u64, stats.spills);
    assert_eq!(controller.statistics().spills, 1);
    assert!((0..200).all(|key| setup.cache.get(&key) == Some(400 - OVERHEAD)));
}

#[test]
fn the_soft_level_drops_and_counts_what_the_target_does_not_take() {
    let setup = setup_spilling(100_000);
    setup.target.is_full.store(true, Ordering::SeqCst);
    let controller = at_the_soft_level(&setup);
    let cache = Arc::new(setup.cache.clone());
    let _registration = controller.register(cache);
    let given = controller.tick().results[0].given_back;
    assert!(given >= setup.budget.limit().scale(1, 20), "{given}");
    let stats = setup.cache.stats();
    assert!(stats.evictions > 100 && stats.spill_failures > 0);
    assert!((0..100).all(|key| !setup.cache.contains(&key)));
}
