//! Facts about who gets how much of the cache: what fits is kept, and what
//! goes first goes first.

use std::collections::HashSet;
use std::pin::Pin;
use std::task::{Context, Waker};

use grey_model::{Bytes, Priority};
use proptest::prelude::*;

use super::at;
use super::kit::{OVERHEAD, Setup, build, setup};
use crate::budget::Budget;
use crate::cache::{Cache, CacheBuilder};
use crate::reclaimer::{ReclaimMode, ReclaimRequest, Reclaimer, Stop};

/// A cache of one piece, whatever the machine: without slack.
const CAPACITY: u64 = 40_000;

/// The priorities whose entries may be evicted.
const EVICTABLE: [Priority; 3] = [Priority::Low, Priority::Medium, Priority::High];

#[test]
fn a_cache_that_is_half_full_of_one_priority_has_evicted_nothing() {
    for priority in EVICTABLE {
        let budget = Budget::new(Bytes::from_mib(512)).unwrap();
        let cache: Cache<u64, u64> = CacheBuilder::new(&budget, "cache", Bytes::from_mib(128))
            .build(|_, value| Bytes(*value))
            .unwrap();
        for key in 0..640 {
            cache.insert_with(key, 100 << 10, at(priority)).unwrap();
        }
        assert_eq!(
            (cache.len(), cache.stats().evictions),
            (640, 0),
            "{priority}"
        );
    }
}

#[test]
fn two_priorities_in_turn_are_both_kept_while_there_is_room() {
    let budget = Budget::new(Bytes::from_mib(512)).unwrap();
    let cache: Cache<u64, u64> = CacheBuilder::new(&budget, "cache", Bytes::from_mib(150))
        .build(|_, value| Bytes(*value))
        .unwrap();
    let turns = [Priority::Low, Priority::High].into_iter().cycle();
    for (key, priority) in (0..10_000).zip(turns) {
        cache.insert_with(key, 10_000, at(priority)).unwrap();
    }
    assert_eq!(cache.len(), 10_000);
}

#[test]
fn what_was_given_back_is_filled_again_before_anything_is_evicted() {
    let Setup { cache, .. } = setup(CAPACITY);
    let mut key = 0..;
    for priority in [Priority::Medium, Priority::High, Priority::High] {
        for key in key.by_ref().take(400) {
            let _ = cache.insert_with(key, 0, at(priority));
        }
    }
    assert_eq!(cache.weight_of(Priority::Medium), Bytes::ZERO);
    let request = ReclaimRequest::new(Bytes(CAPACITY / 2), ReclaimMode::Evict);
    cache.reclaim(&request, &Stop::new());
    let evictions = cache.stats().evictions;
    let fits = (CAPACITY - cache.weight().get()) / OVERHEAD;
    for (turn, key) in key.take(fits as usize).enumerate() {
        cache.insert_with(key, 0, at(EVICTABLE[turn % 3])).unwrap();
    }
    assert_eq!(cache.stats().evictions, evictions);
}

#[test]
fn what_finds_only_what_goes_later_is_refused_and_evicts_nothing() {
    let Setup { cache, budget, .. } = setup(CAPACITY);
    for key in 0..1000 {
        cache.insert_with(key, 0, at(Priority::High)).unwrap();
    }
    for key in 1000..1003 {
        cache.insert_with(key, 0, at(Priority::Critical)).unwrap();
    }
    let (len, evictions) = (cache.len(), cache.stats().evictions);
    let refused = cache.insert_with(5000, CAPACITY / 2, at(Priority::Medium));
    assert_eq!(refused.unwrap_err().value, CAPACITY / 2);
    assert_eq!((cache.len(), cache.stats().evictions), (len, evictions));
    assert_eq!(budget.reserved(), cache.weight());
}

#[test]
fn a_cache_in_pieces_that_is_full_holds_nearly_all_it_may() {
    let setup = build(8_000_000, |builder, _| {
        builder.largest_value(Bytes(100_000))
    });
    let cache = &setup.cache;
    let turns = [Priority::Medium, Priority::High].into_iter().cycle();
    for (key, priority) in (0..200_000).zip(turns) {
        let _ = cache.insert_with(key, 0, at(priority));
        if key % 100 == 0 {
            assert!(cache.weight() <= cache.capacity());
        }
    }
    // In the room that is made beforehand.
    assert!(cache.weight_of(Priority::Medium) < Bytes(8_000_000 / 128));
    assert!(
        cache.weight() > Bytes(8_000_000 / 16 * 15),
        "{}",
        cache.weight()
    );
}

#[test]
fn a_cache_whose_size_changes_a_thousand_times_takes_what_it_took_before() {
    let Setup { cache, .. } = setup(CAPACITY);
    cache.insert(1, 0).unwrap();
    cache.insert_with(2, 0, at(Priority::High)).unwrap();
    let largest = CAPACITY / 100 * 95 - OVERHEAD;
    for size in 0..1000 {
        cache.set_capacity(Bytes(3 + size % 50));
    }
    cache.set_capacity(Bytes(CAPACITY));
    for (key, priority) in (10..).zip(EVICTABLE) {
        cache.insert_with(key, largest, at(priority)).unwrap();
        assert!(cache.contains(&key), "{priority}");
        cache.remove(&key);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_fits_together_is_kept_whatever_its_priorities(
        values in prop::collection::vec((0_u64..2000, prop::sample::select(Priority::ALL.to_vec())), 1..150),
    ) {
        let Setup { cache, .. } = setup(CAPACITY);
        let mut sum = 0;
        for (key, (value, priority)) in (0_u64..).zip(values) {
            sum += value + OVERHEAD;
            if sum > CAPACITY {
                break;
            }
            prop_assert!(cache.insert_with(key, value, at(priority)).is_ok());
            prop_assert_eq!(cache.len(), key + 1);
        }
        prop_assert_eq!(cache.stats().evictions, 0);
    }

    #[test]
    fn nothing_goes_for_a_value_while_something_that_goes_first_stays(
        values in prop::collection::vec((0_u64..2000, prop::sample::select(Priority::ALL.to_vec())), 1..400),
        drops in prop::collection::vec(0_u64..400, 0..40),
    ) {
        let Setup { cache, .. } = setup(CAPACITY);
        let mut held: [HashSet<u64>; 3] = Default::default();
        for (key, (value, priority)) in (0_u64..).zip(values) {
            if drops.contains(&key) {
                cache.remove(&(key / 2));
                held.iter_mut().for_each(|keys| { keys.remove(&(key / 2)); });
            }
            let taken = cache.insert_with(key, value, at(priority)).is_ok();
            prop_assert_eq!(cache.contains(&key), taken, "{} of {}", priority, value);
            for (class, keys) in held.iter_mut().enumerate() {
                let before = keys.len();
                keys.retain(|key| cache.contains(key));
                if keys.len() < before {
                    prop_assert!(class <= priority.index(), "{class} goes for {priority}");
                    for lower in 0..class {
                        let left = cache.weight_of(Priority::ALL[lower]);
                        prop_assert_eq!(left, Bytes::ZERO, "{} stays", lower);
                    }
                }
            }
            if taken && priority != Priority::Critical {
                held[priority.index()].insert(key);
            }
            prop_assert!(cache.weight() <= cache.capacity());
        }
    }
}

/// Fills a cache twice over that may hold 20 of its 160 kB.
fn fill_what_is_full(cache: &Cache<u64, u64>, budget: &Budget, priority: Priority) {
    for key in 0..2000 {
        let taken = cache.insert_with(key, 100, at(priority));
        assert!(taken.is_ok(), "{key}: {taken:?}");
        assert!(budget.reserved() <= budget.limit());
    }
    let newest = (1900..2000).filter(|key| cache.contains(key)).count();
    let oldest = (0..1000).filter(|key| cache.contains(key)).count();
    assert!(newest > 20 && newest >= oldest, "{newest} {oldest}");
}

#[test]
fn a_cache_in_a_full_budget_replaces_what_is_used_least() {
    let Setup { cache, budget, .. } = setup(160_000);
    let other = budget.component("other").register().unwrap();
    let all_but_20_kb = budget.limit().get() - 20_000;
    let held = other.reserve(Bytes(all_but_20_kb)).unwrap();
    for priority in EVICTABLE {
        fill_what_is_full(&cache, &budget, priority);
    }
    cache
        .insert_with(5000, 100, at(Priority::Critical))
        .unwrap();
    drop(held);
    for key in 6000..6400 {
        cache.insert_with(key, 100, at(Priority::High)).unwrap();
    }
    assert!(
        cache.weight() > Bytes(60_000),
        "it grows once there is room"
    );
}

#[test]
fn nothing_goes_for_a_value_that_only_those_who_wait_in_front_of_it_keep_out() {
    let Setup { cache, budget, .. } = setup(160_000);
    let other = budget.component("other").register().unwrap();
    let all_but_20_kb = budget.limit().get() - 20_000;
    let mut held = other.reserve(Bytes(all_but_20_kb)).unwrap();
    fill_what_is_full(&cache, &budget, Priority::Low);
    let mut waits = other.reserve_async(Bytes(10_000));
    let mut context = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut waits).poll(&mut context).is_pending());
    // Enough for each value, and not for who waits.
    drop(held.split(Bytes(5_000)));
    let (len, evictions) = (cache.len(), cache.stats().evictions);
    for key in 7000..7100 {
        cache.insert_with(key, 100, at(Priority::Low)).unwrap_err();
    }
    assert_eq!((cache.len(), cache.stats().evictions), (len, evictions));
    assert_eq!(budget.waiters().0, 1);
}

#[test]
fn in_a_full_budget_nothing_goes_for_what_goes_before_it_or_finds_no_room_even_so() {
    let Setup { cache, budget, .. } = setup(160_000);
    let other = budget.component("other").register().unwrap();
    let all_but_20_kb = budget.limit().get() - 20_000;
    let _held = other.reserve(Bytes(all_but_20_kb)).unwrap();
    fill_what_is_full(&cache, &budget, Priority::High);
    let (len, evictions) = (cache.len(), cache.stats().evictions);
    cache
        .insert_with(7000, 100, at(Priority::Medium))
        .unwrap_err();
    cache
        .insert_with(7001, 30_000, at(Priority::High))
        .unwrap_err();
    assert_eq!((cache.len(), cache.stats().evictions), (len, evictions));
}
