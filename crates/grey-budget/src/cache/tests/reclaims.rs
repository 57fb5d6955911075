//! Facts about giving memory back.

use std::time::Duration;

use grey_model::{Bytes, Priority};

use super::at;
use super::kit::{OVERHEAD, Setup, setup, setup_spilling};
use crate::cache::EntryOptions;
use crate::reclaimer::{ReclaimMode, ReclaimRequest, Reclaimed, Reclaimer, Stop};

fn evict(bytes: u64) -> ReclaimRequest {
    ReclaimRequest::new(Bytes(bytes), ReclaimMode::Evict)
}

#[test]
fn as_much_is_evicted_as_is_asked_and_less_than_one_entry_more() {
    let Setup { cache, budget, .. } = setup(1_000_000);
    for key in 0..2000 {
        cache.insert(key, key % 50).unwrap();
    }
    let before = cache.weight();
    let done = cache.reclaim(&evict(50_000), &Stop::new());
    assert!(done.freed >= Bytes(50_000));
    assert!(done.freed < Bytes(50_000 + OVERHEAD + 50), "{}", done.freed);
    assert_eq!(cache.weight(), before.saturating_sub(done.freed));
    assert_eq!(budget.reserved(), cache.weight());
}

#[test]
fn low_goes_before_medium_before_high_and_critical_never() {
    let Setup { cache, .. } = setup(1_000_000);
    for (key, priority) in (0..).zip(Priority::ALL) {
        cache.insert_with(key, 0, at(priority)).unwrap();
    }
    for gone in 0..3 {
        let done = cache.reclaim(&evict(1), &Stop::new());
        assert_eq!(done.entries, 1);
        assert!(!cache.contains(&gone), "{gone}");
        assert!((gone + 1..4).all(|key| cache.contains(&key)));
    }
    let done = cache.reclaim(&evict(u64::MAX), &Stop::new());
    assert_eq!(done, Reclaimed::default());
    assert_eq!(cache.get(&3), Some(0));
}

#[test]
fn above_the_threshold_and_in_excluded_projects_all_stays() {
    let Setup { cache, .. } = setup(1_000_000);
    let core = cache.project("core").unwrap();
    let docs = cache.project("docs").unwrap();
    cache
        .insert_with(1, 0, at(Priority::Low).project(core))
        .unwrap();
    cache
        .insert_with(2, 7, at(Priority::Low).project(docs))
        .unwrap();
    cache
        .insert_with(3, 0, at(Priority::Medium).project(docs))
        .unwrap();
    let mut request = evict(u64::MAX);
    request.threshold = Priority::Low;
    request.excluded_projects = vec!["core".to_owned(), "unknown".to_owned()];
    let done = cache.reclaim(&request, &Stop::new());
    assert_eq!(done.by_project, [("docs".to_owned(), Bytes(OVERHEAD + 7))]);
    assert!(cache.contains(&1) && !cache.contains(&2) && cache.contains(&3));
}

#[test]
fn what_was_not_used_for_long_goes_before_what_was() {
    let Setup { cache, clock, .. } = setup(1_000_000);
    for key in 0..10 {
        cache.insert(key, 0).unwrap();
    }
    clock.advance(Duration::from_secs(60));
    let _ = cache.reclaimable(ReclaimMode::Evict);
    for key in 0..5 {
        assert!(cache.get(&key).is_some());
    }
    clock.advance(Duration::from_secs(1));
    cache.reclaim(&evict(5 * OVERHEAD), &Stop::new());
    assert!((0..5).all(|key| cache.contains(&key)));
    assert!((5..10).all(|key| !cache.contains(&key)));
}

#[test]
fn of_what_is_as_old_the_cheapest_for_each_byte_goes() {
    let Setup { cache, .. } = setup(1_000_000);
    cache
        .insert_with(1, 0, EntryOptions::new().cost(100.0))
        .unwrap();
    // Costs more, but takes ten times as much.
    cache
        .insert_with(2, 9 * OVERHEAD, EntryOptions::new().cost(200.0))
        .unwrap();
    cache.reclaim(&evict(1), &Stop::new());
    assert!(cache.contains(&1) && !cache.contains(&2));
}

#[test]
fn trimming_takes_what_is_expired_and_what_is_stale_alone() {
    let Setup { cache, clock, .. } = setup(1_000_000);
    let short = at(Priority::Critical).ttl(Duration::from_secs(1));
    cache.insert_with(1, 0, short).unwrap();
    cache.insert(2, 0).unwrap();
    clock.advance(Duration::from_secs(299));
    // As the controller does all the time; the cache looks at its clock then.
    assert!(cache.reclaimable(ReclaimMode::Trim) > Bytes::ZERO);
    cache.insert(3, 0).unwrap();
    let trim = ReclaimRequest::new(Bytes(u64::MAX), ReclaimMode::Trim);
    assert!(cache.reclaimable(ReclaimMode::Trim) > Bytes::ZERO);
    assert_eq!(cache.reclaim(&trim, &Stop::new()).entries, 1);
    assert!(!cache.contains(&1) && cache.contains(&2));
    clock.advance(Duration::from_secs(2));
    assert_eq!(cache.reclaim(&trim, &Stop::new()).entries, 1);
    assert!(!cache.contains(&2) && cache.contains(&3));
}

#[test]
fn spilled_values_are_written_before_they_go_and_can_be_read_again() {
    let Setup {
        cache,
        target,
        budget,
        ..
    } = setup_spilling(1_000_000);
    for key in 0..100 {
        cache.insert(key, key).unwrap();
    }
    let request = ReclaimRequest::new(Bytes(20 * OVERHEAD), ReclaimMode::Spill);
    let done = cache.reclaim(&request, &Stop::new());
    assert_eq!(done.spilled, done.freed);
    assert_eq!(target.len() as u64, done.entries);
    assert_eq!(cache.len(), 100 - done.entries);
    assert!((0..100).all(|key| cache.get(&key) == Some(key)));
    assert_eq!(cache.stats().read_backs, done.entries);
    assert_eq!(target.len(), 0, "what is back in memory is not on disk");
    assert_eq!(budget.reserved(), cache.weight());
}

#[test]
fn what_is_stale_is_written_where_what_leaves_memory_is() {
    let Setup {
        cache,
        target,
        clock,
        ..
    } = setup_spilling(1_000_000);
    let trim = ReclaimRequest::new(Bytes(u64::MAX), ReclaimMode::Trim);
    let stale = |keys: std::ops::Range<u64>| {
        for key in keys {
            cache.insert(key, key).unwrap();
        }
        clock.advance(Duration::from_secs(301));
        cache.reclaim(&trim, &Stop::new())
    };
    let done = stale(0..20);
    assert_eq!((done.entries, done.spilled), (20, done.freed));
    assert_eq!((target.len(), cache.stats().evictions), (20, 0));
    assert!((0..20).all(|key| cache.get(&key) == Some(key)));
    // What a full target does not take goes all the same.
    target
        .is_full
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let done = stale(20..40);
    assert_eq!((done.entries, done.spilled), (40, Bytes::ZERO));
    assert_eq!(cache.stats().evictions, 40);
    assert!(cache.stats().spill_failures > 0 && cache.is_empty());
}

#[test]
fn what_cannot_be_written_stays_when_it_was_to_be_spilled() {
    let Setup { cache, target, .. } = setup_spilling(1_000_000);
    for key in 0..100 {
        cache.insert(key, 0).unwrap();
    }
    let request = ReclaimRequest::new(Bytes(u64::MAX), ReclaimMode::Spill);
    target
        .fails
        .store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(cache.reclaim(&request, &Stop::new()), Reclaimed::default());
    assert_eq!(cache.len(), 100);
    assert!(cache.stats().spill_failures < 20, "it gives up");
    target
        .fails
        .store(false, std::sync::atomic::Ordering::SeqCst);
    target
        .panics
        .store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(cache.reclaim(&request, &Stop::new()), Reclaimed::default());
    assert_eq!(cache.len(), 100);
}

#[test]
fn without_a_target_nothing_is_spilled() {
    let Setup { cache, .. } = setup(1_000_000);
    cache.insert(1, 1).unwrap();
    assert!(!cache.modes().contains(&ReclaimMode::Spill));
    assert_eq!(cache.reclaimable(ReclaimMode::Spill), Bytes::ZERO);
    let request = ReclaimRequest::new(Bytes(1), ReclaimMode::Spill);
    assert_eq!(cache.reclaim(&request, &Stop::new()), Reclaimed::default());
}

#[test]
fn bytes_that_another_call_is_freeing_are_not_freed_twice() {
    use std::sync::atomic::Ordering;
    let Setup { cache, .. } = setup(1_000_000);
    for key in 0..100 {
        cache.insert(key, 0).unwrap();
    }
    let inner = &cache.inner;
    inner.reclaiming.fetch_add(10 * OVERHEAD, Ordering::SeqCst);
    let done = cache.reclaim(&evict(15 * OVERHEAD), &Stop::new());
    assert_eq!(done.entries, 5);
    let done = cache.reclaim(&evict(10 * OVERHEAD), &Stop::new());
    assert_eq!(done.entries, 0);
    assert_eq!(inner.reclaiming.load(Ordering::SeqCst), 10 * OVERHEAD);
}

#[test]
fn who_is_asked_to_stop_stops() {
    let Setup { cache, .. } = setup(1_000_000);
    for key in 0..1000 {
        cache.insert(key, 0).unwrap();
    }
    let stop = Stop::new();
    stop.ask();
    let done = cache.reclaim(&evict(u64::MAX), &stop);
    assert!(done.entries < 100, "{}", done.entries);
}
