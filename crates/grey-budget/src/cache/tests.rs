//! Facts about the cache.

mod kit;
mod loads;
mod loads_back;
mod model;
mod panics;
mod reclaims;
mod room;
mod spills;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use grey_model::{Bytes, Priority};

use super::*;
use crate::budget::{Admission, Budget, ReserveError};
use crate::reclaimer::{ReclaimMode, ReclaimRequest, Reclaimer as _, Stop};
use kit::{HandClock, OVERHEAD, Setup, setup};

fn at(priority: Priority) -> EntryOptions {
    EntryOptions::new().priority(priority)
}

#[test]
fn what_was_put_in_is_read_and_counted() {
    let Setup { cache, .. } = setup(100_000);
    cache.insert(1, 10).unwrap();
    assert_eq!(cache.get(&1), Some(10));
    assert_eq!(cache.get(&2), None);
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.insertions), (1, 1, 1));
    assert_eq!((stats.entries, stats.bytes), (1, Bytes(OVERHEAD + 10)));
}

#[test]
fn keys_are_read_in_their_borrowed_form() {
    let budget = Budget::new(Bytes::from_mib(1)).unwrap();
    let cache: Cache<String, u64> = CacheBuilder::new(&budget, "texts", Bytes(100_000))
        .build(|key: &String, _| Bytes(key.capacity() as u64))
        .unwrap();
    cache.insert("one".to_owned(), 1).unwrap();
    assert_eq!(cache.get("one"), Some(1));
    assert_eq!(cache.remove("one"), Some(1));
    assert!(!cache.contains("one"));
}

#[test]
fn the_charge_is_the_weight_and_ends_at_nothing() {
    let Setup { cache, budget, .. } = setup(50_000);
    for key in 0..5000 {
        let _ = cache.insert(key, key % 300);
    }
    assert!(cache.weight() <= cache.capacity());
    assert!(cache.weight() > Bytes(30_000), "{}", cache.weight());
    assert_eq!(budget.reserved(), cache.weight());
    let component = cache.component().clone();
    drop(cache);
    assert_eq!(component.reserved(), Bytes::ZERO);
}

#[test]
fn replacing_and_removing_give_the_charge_back() {
    let Setup { cache, budget, .. } = setup(50_000);
    cache.insert(1, 500).unwrap();
    cache.insert(1, 20).unwrap();
    assert_eq!(budget.reserved(), Bytes(OVERHEAD + 20));
    assert_eq!(cache.stats().evictions, 0, "replaced is not evicted");
    assert_eq!(cache.remove(&1), Some(20));
    assert_eq!(budget.reserved(), Bytes::ZERO);
    assert_eq!(cache.remove(&1), None);
}

#[test]
fn a_value_larger_than_the_capacity_is_given_back_and_evicts_nothing() {
    let Setup { cache, .. } = setup(10_000);
    for key in 0..20 {
        cache.insert(key, 0).unwrap();
    }
    let before = cache.len();
    let rejected = cache.insert(99, 20_000).unwrap_err();
    assert_eq!(rejected.value, 20_000);
    assert!(matches!(rejected.rejection, Rejection::TooLarge { .. }));
    assert_eq!(cache.len(), before);
    assert_eq!(cache.stats().rejected, 1);
}

#[test]
fn a_refused_value_leaves_no_older_one_behind() {
    let Setup { cache, budget, .. } = setup(10_000);
    cache.insert(1, 5).unwrap();
    cache.insert(1, 20_000).unwrap_err();
    assert_eq!(cache.get(&1), None);
    assert_eq!(budget.reserved(), Bytes::ZERO);
}

#[test]
fn while_memory_is_freed_nothing_is_taken_and_everything_is_read() {
    let Setup { cache, budget, .. } = setup(10_000);
    cache.insert(1, 5).unwrap();
    budget.set_admission(Admission::NoRefill);
    let rejected = cache.insert(2, 6).unwrap_err();
    assert_eq!(rejected.value, 6);
    let Rejection::Budget(error) = rejected.rejection else {
        panic!("{rejected:?}");
    };
    assert!(matches!(*error, ReserveError::Shedding { .. }));
    assert_eq!(cache.get(&1), Some(5));
    assert_eq!(cache.get_or_insert_with(&3, EntryOptions::new(), || 7), 7);
    assert!(!cache.contains(&3));
    budget.set_admission(Admission::Open);
    cache.insert(2, 6).unwrap();
}

#[test]
fn an_exhausted_budget_gives_the_value_back() {
    let Setup { cache, budget, .. } = setup(100_000);
    let other = budget.component("other").register().unwrap();
    let _held = other.reserve(budget.limit()).unwrap();
    let rejected = cache.insert(1, 5).unwrap_err();
    assert!(matches!(rejected.rejection, Rejection::Budget(_)));
    assert_eq!(cache.get_or_insert_with(&1, EntryOptions::new(), || 5), 5);
}

#[test]
fn high_pushes_low_out_before_medium_and_critical_stays() {
    let Setup { cache, .. } = setup(64_000);
    for key in 0..40 {
        cache.insert_with(key, 0, at(Priority::Critical)).unwrap();
    }
    for key in 100..200 {
        cache.insert_with(key, 0, at(Priority::Low)).unwrap();
    }
    for key in 200..300 {
        cache.insert_with(key, 0, at(Priority::Medium)).unwrap();
    }
    let medium = cache.weight_of(Priority::Medium);
    let low = cache.weight_of(Priority::Low);
    let mut key = 1000;
    while cache.weight_of(Priority::Low) > Bytes(2_000) {
        cache.insert_with(key, 0, at(Priority::High)).unwrap();
        key += 1;
        assert!(key < 5000, "low never goes: {low}");
    }
    assert_eq!(cache.weight_of(Priority::Medium), medium);
    for key in 1000..6000 {
        let _ = cache.insert_with(key, 0, at(Priority::High));
    }
    assert!(cache.weight_of(Priority::Medium) < medium);
    assert!((0..40).all(|key| cache.contains(&key)));
    assert!(cache.weight() <= cache.capacity());
}

#[test]
fn low_does_not_push_medium_out() {
    let Setup { cache, .. } = setup(64_000);
    for key in 0..2000 {
        cache.insert(key, 0).unwrap();
    }
    let medium = cache.len();
    for key in 10_000..12_000 {
        let _ = cache.insert_with(key, 0, at(Priority::Low));
    }
    assert_eq!(cache.weight_of(Priority::Low), Bytes::ZERO);
    assert_eq!(cache.len(), medium);
}

#[test]
fn critical_is_refused_and_not_evicted_when_nothing_else_is_left() {
    let Setup { cache, budget, .. } = setup(10_000);
    let mut kept = 0;
    while cache.insert_with(kept, 0, at(Priority::Critical)).is_ok() {
        kept += 1;
        assert!(kept < 1000);
    }
    let refused = cache.insert_with(5000, 0, at(Priority::Critical));
    assert!(matches!(
        refused.unwrap_err().rejection,
        Rejection::NoRoom { .. }
    ));
    for key in 0..500 {
        let _ = cache.insert(9000 + key, 0);
    }
    assert!((0..kept).all(|key| cache.get(&key) == Some(0)));
    assert!(cache.weight() <= cache.capacity());
    assert_eq!(budget.reserved(), cache.weight());
}

#[test]
fn a_key_lies_in_one_priority_alone() {
    let Setup { cache, budget, .. } = setup(64_000);
    for (value, priority) in (1..).zip(Priority::ALL.into_iter().chain(Priority::ALL)) {
        cache.insert_with(7, value, at(priority)).unwrap();
        assert_eq!(cache.get(&7), Some(value));
        assert_eq!(cache.len(), 1, "{priority}");
        assert_eq!(budget.reserved(), cache.weight());
    }
}

#[test]
fn what_is_pinned_stays_until_it_is_let_go() {
    let Setup { cache, budget, .. } = setup(20_000);
    cache.insert(1, 11).unwrap();
    assert!(cache.pin(&1));
    assert!(cache.pin(&1), "twice is once");
    assert!(!cache.pin(&2));
    for key in 100..3000 {
        let _ = cache.insert(key, 0);
    }
    assert_eq!(cache.get(&1), Some(11));
    assert!(cache.unpin(&1));
    assert!(!cache.unpin(&1));
    assert_eq!(budget.reserved(), cache.weight());
    cache.set_capacity(Bytes(OVERHEAD * 2));
    for key in 100..3000 {
        let _ = cache.insert(key, 0);
    }
    assert!(!cache.contains(&1));
    assert_eq!(budget.reserved(), cache.weight());
}

#[test]
fn a_project_of_another_cache_is_refused_and_never_taken_for_one_of_this() {
    let (here, there) = (setup(20_000), setup(20_000));
    let mine = here.cache.project("mine").unwrap();
    let foreign = there.cache.project("theirs").unwrap();
    assert_ne!(mine, foreign);
    here.cache.insert(1, 11).unwrap();
    let options = EntryOptions::new().project(foreign);
    let rejected = here.cache.insert_with(1, 12, options).unwrap_err();
    assert_eq!(
        (rejected.value, rejected.rejection),
        (12, Rejection::ForeignProject)
    );
    assert!(!here.cache.contains(&1), "11 is not true any more");
    let loaded = here.cache.get_or_insert_with(&2, options, || 13);
    assert_eq!((loaded, here.cache.contains(&2)), (13, false));
    assert_eq!(here.cache.stats().rejected, 2);
    let options = EntryOptions::new().project(mine);
    here.cache.insert_with(1, 12, options).unwrap();
    // A handle to the same cache is the same cache.
    here.cache.clone().insert_with(2, 12, options).unwrap();
    assert_eq!(here.budget.reserved(), here.cache.weight());
}

#[test]
fn an_expired_value_is_not_read_and_gives_its_charge_back() {
    let Setup {
        cache,
        budget,
        clock,
        ..
    } = setup(10_000);
    let short = EntryOptions::new().ttl(Duration::from_secs(5));
    cache.insert_with(1, 5, short).unwrap();
    cache.insert(2, 6).unwrap();
    clock.advance(Duration::from_millis(4900));
    assert_eq!(cache.get(&1), Some(5));
    clock.advance(Duration::from_millis(200));
    assert!(!cache.contains(&1));
    assert_eq!(cache.get(&1), None);
    assert_eq!(cache.get(&2), Some(6));
    assert_eq!(cache.stats().expired, 1);
    assert_eq!(budget.reserved(), Bytes(OVERHEAD + 6));
}

#[test]
fn a_smaller_capacity_evicts_at_once_and_low_first() {
    let Setup { cache, budget, .. } = setup(64_000);
    for key in 0..100 {
        cache.insert_with(key, 0, at(Priority::High)).unwrap();
        let _ = cache.insert_with(1000 + key, 0, at(Priority::Low));
    }
    let high = cache.weight_of(Priority::High);
    assert!(cache.weight_of(Priority::Low) > Bytes::ZERO);
    cache.set_capacity(high.saturating_add(high));
    cache.set_capacity(high.saturating_add(Bytes(1000)));
    assert!(cache.weight() <= cache.capacity());
    assert_eq!(budget.reserved(), cache.weight());
    cache.set_capacity(Bytes(1));
    assert!(cache.is_empty());
    assert_eq!(budget.reserved(), Bytes::ZERO);
    cache.set_capacity(Bytes(64_000));
    cache.insert(1, 1).unwrap();
}

#[test]
fn a_priority_is_bounded_by_its_own_capacity() {
    let Setup { cache, .. } = setup(64_000);
    cache.set_priority_capacity(Priority::Medium, Bytes(8_000));
    for key in 0..1000 {
        let _ = cache.insert(key, 0);
    }
    assert!(cache.weight_of(Priority::Medium) <= Bytes(8_000));
    assert!(cache.weight_of(Priority::Medium) > Bytes(6_000));
}

#[test]
fn a_weigher_that_panics_changes_nothing() {
    let budget = Budget::new(Bytes::from_mib(1)).unwrap();
    let cache: Cache<u64, u64> = CacheBuilder::new(&budget, "cache", Bytes(10_000))
        .build(|key, _| {
            assert!(*key != 13, "the weigher of the test panics");
            Bytes(1)
        })
        .unwrap();
    cache.insert(1, 1).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| cache.insert(13, 1)));
    assert!(panicked.is_err());
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        cache.get_or_insert_with(&13, EntryOptions::new(), || 1)
    }));
    assert!(panicked.is_err());
    assert_eq!(budget.reserved(), cache.weight());
    assert_eq!(cache.get(&1), Some(1));
    cache.insert(2, 2).unwrap();
}

/// Calls `on_drop` when the last clone goes.
#[derive(Clone)]
struct Dropped {
    _last: Arc<OnDrop>,
}
struct OnDrop(Box<dyn Fn() + Send + Sync>);
impl Drop for OnDrop {
    fn drop(&mut self) {
        (self.0)();
    }
}
fn dropped(call: impl Fn() + Send + Sync + 'static) -> Dropped {
    Dropped {
        _last: Arc::new(OnDrop(Box::new(call))),
    }
}

#[test]
fn a_value_that_panics_when_dropped_ends_nothing() {
    let budget = Budget::new(Bytes::from_mib(1)).unwrap();
    let cache: Cache<u64, Dropped> = CacheBuilder::new(&budget, "cache", Bytes(4_000))
        .build(|_, _| Bytes(100))
        .unwrap();
    for key in 0..200 {
        let value = dropped(move || assert!(key % 3 != 0, "the value of the test panics"));
        assert!(cache.insert(key, value).is_ok());
    }
    assert!(cache.stats().evictions > 100);
    assert_eq!(budget.reserved(), cache.weight());
    let component = cache.component().clone();
    drop(cache);
    assert_eq!(component.reserved(), Bytes::ZERO);
}

#[test]
fn a_value_may_call_the_cache_when_it_is_dropped() {
    let budget = Budget::new(Bytes::from_mib(1)).unwrap();
    let cache: Cache<u64, Dropped> = CacheBuilder::new(&budget, "cache", Bytes(4_000))
        .build(|_, _| Bytes(100))
        .unwrap();
    let calls = Arc::new(AtomicU64::new(0));
    for key in 0..200 {
        let (weak, calls) = (Arc::downgrade(&cache.inner), Arc::clone(&calls));
        let value = dropped(move || {
            if let Some(inner) = weak.upgrade() {
                let cache = Cache { inner };
                for other in 0..200 {
                    let _ = cache.get(&other);
                }
                let _ = cache.remove(&(key + 1));
                calls.fetch_add(1, Ordering::Relaxed);
            }
        });
        assert!(cache.insert(key, value).is_ok());
    }
    cache.set_capacity(Bytes(1000));
    cache.clear();
    assert!(calls.load(Ordering::Relaxed) > 150);
    assert_eq!(budget.reserved(), Bytes::ZERO);
}

#[test]
fn an_empty_cache_and_a_taken_name_are_refused() {
    let Setup { cache, budget, .. } = setup(1000);
    let name = cache.component().name().to_owned();
    let build = |name: &str, capacity| {
        CacheBuilder::<u64, u64>::new(&budget, name, capacity).build(|_, _| Bytes::ZERO)
    };
    assert!(matches!(
        build("new", Bytes::ZERO),
        Err(CacheError::Empty { .. })
    ));
    assert!(matches!(
        build(&name, Bytes(1000)),
        Err(CacheError::Budget { .. })
    ));
}

#[test]
fn what_is_kept_for_the_next_run_is_the_dearest_within_the_limit() {
    let Setup { cache, clock, .. } = setup(64_000);
    for (key, priority) in (0..).zip(Priority::ALL) {
        cache.insert_with(key, 1, at(priority)).unwrap();
    }
    cache
        .insert_with(10, 1, at(Priority::Medium).cost(5.0))
        .unwrap();
    let all = PersistLimit {
        bytes: Bytes(u64::MAX),
        time: Duration::from_secs(1),
    };
    let keys = |limit| -> Vec<u64> {
        let entries = cache.entries_for_persistence(limit);
        entries.map(|entry| entry.key).collect()
    };
    assert_eq!(keys(all), [3, 2, 10, 1, 0]);
    let two = PersistLimit {
        bytes: Bytes(2 * (OVERHEAD + 1)),
        ..all
    };
    assert_eq!(keys(two), [3, 2]);
    let mut entries = cache.entries_for_persistence(all);
    assert!(entries.next().is_some());
    clock.advance(Duration::from_secs(2));
    assert!(entries.next().is_none(), "the time is over");
}

#[test]
fn a_critical_value_may_be_replaced_without_end() {
    let Setup { cache, budget, .. } = setup(10_000);
    for value in 0..500 {
        cache.insert_with(1, value, at(Priority::Critical)).unwrap();
    }
    cache.clear();
    cache.insert(2, 4_000).unwrap();
    assert_eq!(budget.reserved(), cache.weight());
}

#[test]
fn a_full_cache_goes_on_while_the_budget_is_closed_and_holds_no_more() {
    let Setup { cache, budget, .. } = setup(100_000);
    for key in 0..400 {
        cache.insert(key, key).unwrap();
    }
    let held = budget.reserved();
    budget.set_admission(Admission::NoRefill);
    // Which ones stay is the policy's: those that come again.
    for key in (1000..1100).cycle().take(1000) {
        cache.insert(key, key).unwrap();
        assert!(budget.reserved() < held.saturating_add(Bytes(32)), "{key}");
    }
    assert!((1000..1100).filter(|key| cache.contains(key)).count() > 50);
    assert_eq!(cache.capacity(), Bytes(100_000));
    budget.set_admission(Admission::Open);
    for key in 2000..2900 {
        cache.insert(key, key).unwrap();
    }
    assert!(
        cache.weight() > Bytes(75_000),
        "it grows again: {}",
        cache.weight()
    );
}

#[test]
fn what_was_given_back_to_a_closed_budget_is_not_taken_again() {
    let Setup { cache, budget, .. } = setup(100_000);
    for key in 0..400 {
        cache.insert(key, key).unwrap();
    }
    budget.set_admission(Admission::NoRefill);
    cache.insert(500, 0).unwrap();
    let held = budget.reserved();
    let request = ReclaimRequest::new(held.scale(1, 2), ReclaimMode::Evict);
    cache.reclaim(&request, &Stop::new());
    let left = budget.reserved();
    assert!(left <= held.scale(1, 2));
    for key in 1000..1400 {
        let _ = cache.insert(key, key);
        assert!(budget.reserved() < left.saturating_add(Bytes(32)), "{key}");
    }
    assert!(cache.len() > 100);
}

#[test]
fn in_an_emergency_nothing_comes_in() {
    let Setup { cache, budget, .. } = setup(100_000);
    for key in 0..400 {
        cache.insert(key, key).unwrap();
    }
    budget.set_admission(Admission::CriticalOnly);
    let rejected = cache.insert(1000, 0).unwrap_err();
    assert!(matches!(rejected.rejection, Rejection::Budget(_)));
    assert_eq!(cache.get(&0), Some(0));
}

/// A cache that gave back all but `left` entries to a closed budget, and knows it.
fn frozen(left: u64) -> Setup {
    let setup = setup(OVERHEAD * 3200);
    let Setup { cache, budget, .. } = &setup;
    for key in 0..200 {
        cache.insert(key, 0).unwrap();
    }
    budget.set_admission(Admission::NoRefill);
    cache.insert(0, 0).unwrap();
    let request = ReclaimRequest::new(Bytes(OVERHEAD * (200 - left)), ReclaimMode::Evict);
    cache.reclaim(&request, &Stop::new());
    assert_eq!(cache.len(), left);
    cache
        .insert_with(999, 1 << 20, at(Priority::High))
        .unwrap_err();
    setup
}

#[test]
fn critical_values_come_in_again_when_the_budget_is_open_again() {
    let Setup { cache, budget, .. } = frozen(0);
    let critical = at(Priority::Critical);
    let refused = cache.insert_with(1, 0, critical).unwrap_err();
    assert!(matches!(refused.rejection, Rejection::Budget(_)));
    budget.set_admission(Admission::Open);
    cache.insert_with(1, 0, critical).unwrap();
    assert_eq!(cache.weight_of(Priority::Critical), Bytes(OVERHEAD));
    assert_eq!(budget.reserved(), cache.weight());
}

#[test]
fn a_critical_value_pushes_nothing_out_of_a_cache_that_may_grow_again() {
    let Setup { cache, budget, .. } = frozen(100);
    budget.set_admission(Admission::Open);
    cache.insert_with(1000, 0, at(Priority::Critical)).unwrap();
    assert_eq!(cache.len(), 101);
}

#[test]
fn what_is_held_is_pinned_while_the_budget_is_closed_and_when_it_opens() {
    for opened in [false, true] {
        let Setup { cache, budget, .. } = frozen(1);
        if opened {
            budget.set_admission(Admission::Open);
        }
        let key = (0..200).find(|key| cache.contains(key)).unwrap();
        assert!(cache.pin(&key), "opened: {opened}");
        assert_eq!(cache.weight_of(Priority::Critical), Bytes(OVERHEAD));
        assert_eq!(budget.reserved(), cache.weight());
    }
}

/// Counts its clones.
#[derive(Debug, Default)]
struct Cloned(Arc<AtomicU64>);

impl Clone for Cloned {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(&self.0))
    }
}

#[test]
fn asking_whether_a_value_is_there_clones_nothing() {
    let budget = Budget::new(Bytes::from_mib(1)).unwrap();
    let clock = Arc::new(HandClock::default());
    let cache = CacheBuilder::new(&budget, "cache", Bytes::from_mib(1))
        .clock(Arc::<HandClock>::clone(&clock))
        .build(|_: &u64, _: &Cloned| Bytes::ZERO)
        .unwrap();
    let value = Cloned::default();
    cache.insert(1, Cloned(Arc::clone(&value.0))).unwrap();
    assert!(cache.contains(&1) && !cache.contains(&2));
    // Also once something has a time to live.
    let short = EntryOptions::new().ttl(Duration::from_secs(5));
    cache
        .insert_with(2, Cloned(Arc::clone(&value.0)), short)
        .unwrap();
    assert!(cache.contains(&1) && cache.contains(&2));
    clock.advance(Duration::from_secs(10));
    assert!(cache.contains(&1) && !cache.contains(&2));
    assert_eq!(value.0.load(Ordering::SeqCst), 0);
    assert!(cache.pin(&1));
    let moved = value.0.load(Ordering::SeqCst);
    assert!(cache.pin(&1), "it is pinned already");
    let again = value.0.load(Ordering::SeqCst);
    assert_eq!(again, moved);
}
