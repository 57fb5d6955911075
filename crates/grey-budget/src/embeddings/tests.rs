//! Facts about the cache of embeddings.

use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use super::block::BLOCK;
use super::*;
use crate::budget::Budget;
use crate::reclaimer::{ReclaimMode, ReclaimRequest, Reclaimed, Reclaimer, Stop};
use grey_model::{Bytes, Priority};
use proptest::prelude::*;

fn budget() -> Budget {
    Budget::new(Bytes::from_mib(256)).unwrap()
}

fn cache(entries: usize, dimensions: usize, precision: Precision) -> EmbeddingsCache<u64> {
    EmbeddingsCache::<u64>::builder(&budget(), "embeddings")
        .entries(entries)
        .dimensions(dimensions)
        .precision(precision)
        .build()
        .unwrap()
}

/// The reservation is counted exactly once threads' slack is called back.
fn reserved(cache: &EmbeddingsCache<u64>) -> Bytes {
    cache.component().reserved()
}

#[test]
fn by_default_ten_thousand_vectors_of_768_take_about_30_mb() {
    let cache = EmbeddingsCache::<u64>::builder(&budget(), "embeddings")
        .build()
        .unwrap();
    let vector = vec![0.5; 768];
    for key in 0..10_000 {
        cache.insert(key, &vector).unwrap();
    }
    let megabytes = reserved(&cache).get() as f64 / 1e6;
    assert!((30.0..33.0).contains(&megabytes), "{megabytes}");
    assert_eq!(cache.stats().bytes, reserved(&cache));
}

#[test]
fn the_10_001st_evicts_the_least_recently_used() {
    let cache = cache(10_000, 2, Precision::F32);
    for key in 0..10_000 {
        cache.insert(key, &[1.0, 2.0]).unwrap();
    }
    assert!(cache.get(&0).is_some(), "0 is used now, so 1 is the oldest");
    cache.insert(10_000, &[3.0, 4.0]).unwrap();
    assert_eq!(cache.len(), 10_000);
    assert!(!cache.contains(&1));
    assert!(cache.contains(&0));
    assert!(cache.contains(&2));
    assert_eq!(cache.get(&10_000).unwrap(), [3.0, 4.0]);
}

#[test]
fn a_vector_under_the_same_key_is_replaced_and_nothing_evicted() {
    let cache = cache(2, 1, Precision::F32);
    cache.insert(1, &[1.0]).unwrap();
    cache.insert(2, &[2.0]).unwrap();
    cache.insert(1, &[3.0]).unwrap();
    assert_eq!(cache.get(&1).unwrap(), [3.0]);
    assert_eq!(cache.get(&2).unwrap(), [2.0]);
    assert_eq!(cache.stats().evictions, 0);
}

#[test]
fn what_is_not_finite_or_of_another_length_is_refused() {
    for precision in [Precision::F32, Precision::F16, Precision::Int8] {
        let cache = cache(2, 2, precision);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let refused = cache.insert(1, &[0.0, bad]);
            assert!(
                matches!(refused, Err(EmbeddingError::Value { index: 1, .. })),
                "{precision:?} {bad}"
            );
        }
        assert!(matches!(
            cache.insert(1, &[0.0]),
            Err(EmbeddingError::Length {
                expected: 2,
                given: 1,
                ..
            })
        ));
        assert!(cache.get_into(&1, &mut [0.0; 3]).is_err());
        assert!(cache.is_empty());
    }
    assert!(cache(2, 1, Precision::F16).insert(1, &[70_000.0]).is_err());
    assert!(cache(2, 1, Precision::Int8).insert(1, &[70_000.0]).is_ok());
}

#[test]
fn what_is_not_there_needs_no_memory_however_long_it_is() {
    let cache = cache(1, 1 << 50, Precision::F32);
    assert_eq!(cache.get(&1), None);
    assert!(!cache.remove(&1));
    assert_eq!(cache.stats().misses, 1);
}

#[test]
fn a_cache_of_nothing_or_of_what_nobody_can_hold_is_refused() {
    let odd = [
        (0, 768),
        (10, 0),
        (usize::MAX, 1),
        (10, usize::MAX),
        (1, usize::MAX / 256 - 1),
        (1, usize::MAX / 256),
        (1, isize::MAX.unsigned_abs() / 256),
    ];
    for (entries, dimensions) in odd {
        let built = EmbeddingsCache::<u64>::builder(&budget(), "embeddings")
            .entries(entries)
            .dimensions(dimensions)
            .build::<u64>();
        assert!(
            matches!(built, Err(EmbeddingsError::Size { .. })),
            "{entries} {dimensions}"
        );
    }
}

#[test]
fn while_the_budget_refuses_the_oldest_makes_room() {
    let budget = budget();
    let cache: EmbeddingsCache<u64> = EmbeddingsCache::<u64>::builder(&budget, "embeddings")
        .dimensions(8)
        .build()
        .unwrap();
    budget.set_admission(crate::Admission::NoRefill);
    assert!(matches!(
        cache.insert(0, &[0.0; 8]),
        Err(EmbeddingError::Budget { .. })
    ));
    budget.set_admission(crate::Admission::Open);
    for key in 0..64 {
        cache.insert(key, &[0.0; 8]).unwrap();
    }
    budget.set_admission(crate::Admission::NoRefill);
    let before = reserved(&cache);
    cache.insert(64, &[1.0; 8]).unwrap();
    assert_eq!(reserved(&cache), before);
    assert!(cache.contains(&64) && !cache.contains(&0));
}

#[test]
fn reclaiming_frees_as_few_blocks_as_hold_the_target_oldest_first() {
    let cache = cache(1000, 16, Precision::F16);
    for key in 0..1000 {
        cache.insert(key, &[1.0; 16]).unwrap();
    }
    let before = reserved(&cache);
    let target = Bytes(2 * cache.block_bytes + 1);
    let done = cache.reclaim(
        &ReclaimRequest::new(target, ReclaimMode::Evict),
        &Stop::new(),
    );
    assert_eq!(done.freed, Bytes(3 * cache.block_bytes));
    assert_eq!(reserved(&cache), before.saturating_sub(done.freed));
    // 16 blocks were in use, the last by 40 vectors.
    assert_eq!(done.entries, 1000 - 13 * 64);
    assert!(!cache.contains(&(done.entries - 1)));
    assert!(cache.contains(&done.entries));
}

#[test]
fn a_critical_cache_gives_nothing_back() {
    let cache: EmbeddingsCache<u64> = EmbeddingsCache::<u64>::builder(&budget(), "embeddings")
        .priority(Priority::Critical)
        .dimensions(1)
        .build()
        .unwrap();
    cache.insert(1, &[1.0]).unwrap();
    let request = ReclaimRequest::new(Bytes(u64::MAX), ReclaimMode::Evict);
    assert_eq!(cache.reclaim(&request, &Stop::new()), Reclaimed::default());
    assert!(cache.contains(&1));
}

#[test]
fn nothing_is_reserved_when_the_cache_is_gone() {
    let budget = budget();
    let cache: EmbeddingsCache<u64> = EmbeddingsCache::<u64>::builder(&budget, "embeddings")
        .dimensions(4)
        .build()
        .unwrap();
    for key in 0..200 {
        cache.insert(key, &[0.25; 4]).unwrap();
    }
    for key in 0..50 {
        assert!(cache.remove(&key));
    }
    let component = cache.component().clone();
    assert!(component.reserved() > Bytes::ZERO);
    drop(cache);
    assert_eq!(component.reserved(), Bytes::ZERO);
}

#[test]
fn many_threads_keep_the_charge_and_the_order_sound() {
    let cache = cache(300, 4, Precision::Int8);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let cache = &cache;
            scope.spawn(move || {
                for round in 0..2000_u64 {
                    let key = (round * 7 + thread * 13) % 500;
                    let number = (key % 100) as f32;
                    match round % 5 {
                        0 => drop(cache.remove(&key)),
                        1 | 2 => cache.insert(key, &[number; 4]).unwrap(),
                        3 if round % 50 == 3 => drop(cache.reclaim(
                            &ReclaimRequest::new(Bytes(1), ReclaimMode::Evict),
                            &Stop::new(),
                        )),
                        _ => {
                            if let Some(vector) = cache.get(&key) {
                                assert!((vector[3] - number).abs() < 0.01, "{vector:?}");
                            }
                        }
                    }
                }
            });
        }
    });
    let state = cache.state();
    assert_eq!(state.index.len(), state.seats.len());
    assert_eq!(state.blocks.len(), state.seats.len().div_ceil(BLOCK));
    drop(state);
    assert_eq!(cache.stats().bytes, reserved(&cache));
}

proptest! {
    #[test]
    fn f16_is_within_its_error(vector in prop::collection::vec(-60_000.0_f32..60_000.0, 16)) {
        let cache = cache(1, 16, Precision::F16);
        cache.insert(0, &vector).unwrap();
        for (read, number) in cache.get(&0).unwrap().iter().zip(&vector) {
            let most = (number.abs() / 2048.0).max(2.0_f32.powi(-25));
            prop_assert!((read - number).abs() <= most, "{read} {number}");
        }
    }

    #[test]
    fn int8_is_within_its_error(
        vector in prop::collection::vec(-1.0_f32..1.0, 16),
        exponent in -120..120,
    ) {
        let vector: Vec<f32> = vector.iter().map(|number| number * 2.0_f32.powi(exponent)).collect();
        let largest = vector.iter().fold(0.0_f32, |most, number| most.max(number.abs()));
        let cache = cache(1, 16, Precision::Int8);
        cache.insert(0, &vector).unwrap();
        for (read, number) in cache.get(&0).unwrap().iter().zip(&vector) {
            // One part in a hundred thousand for the rounding to f32.
            let most = f64::from(largest) / 254.0 * 1.00001 + f64::from(f32::MIN_POSITIVE);
            prop_assert!((f64::from(*read) - f64::from(*number)).abs() <= most, "{read} {number}");
        }
    }

    #[test]
    fn it_does_what_a_list_of_the_recently_used_does(
        steps in prop::collection::vec((0_u64..90, 0_u8..4), 1..400),
        precision in prop::sample::select(vec![Precision::F32, Precision::F16, Precision::Int8]),
    ) {
        const MOST: usize = 70;
        let cache = cache(MOST, 2, precision);
        let mut model: Vec<(u64, f32)> = Vec::new();
        for (step, (key, what)) in steps.into_iter().enumerate() {
            let known = model.iter().position(|(other, _)| *other == key);
            match what {
                0 => {
                    prop_assert_eq!(cache.remove(&key), known.is_some());
                    known.map(|place| model.remove(place));
                }
                1 => {
                    let vector = cache.get(&key);
                    prop_assert_eq!(vector.is_some(), known.is_some());
                    if let Some(place) = known {
                        let entry = model.remove(place);
                        prop_assert!((vector.unwrap()[1] - entry.1).abs() <= 0.5);
                        model.push(entry);
                    }
                }
                _ => {
                    let number = (step % 50) as f32;
                    cache.insert(key, &[0.0, number]).unwrap();
                    match known {
                        Some(place) => drop(model.remove(place)),
                        None if model.len() == MOST => drop(model.remove(0)),
                        None => {}
                    }
                    model.push((key, number));
                }
            }
            prop_assert_eq!(cache.len(), model.len());
            let blocks = u64::try_from(model.len().div_ceil(BLOCK)).unwrap();
            prop_assert_eq!(reserved(&cache), Bytes(blocks * cache.block_bytes));
        }
        for (key, _) in &model {
            prop_assert!(cache.contains(key));
        }
    }
}

/// A key that panics when the last of its uses that go well is over.
#[derive(Debug)]
struct Touchy<'a>(u64, &'a AtomicU64);

impl Touchy<'_> {
    fn burn(&self) {
        let left = self.1.load(Ordering::SeqCst);
        self.1.store(left.saturating_sub(1), Ordering::SeqCst);
        assert!(left != 1, "a key of the test panics");
    }
}

impl Clone for Touchy<'_> {
    fn clone(&self) -> Self {
        self.burn();
        Self(self.0, self.1)
    }
}

impl PartialEq for Touchy<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.burn();
        self.0 == other.0
    }
}

impl Eq for Touchy<'_> {}

impl Hash for Touchy<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.burn();
        self.0.hash(state);
    }
}

/// Has a key panic at each of its uses in `operation` in turn, in a full cache of
/// 8, and tells how often it did. Each key that is there has its own vector then.
fn each_use_panics<'a>(
    fuse: &'a AtomicU64,
    operation: impl Fn(&EmbeddingsCache<Touchy<'a>>),
) -> u64 {
    for uses in 1_u64.. {
        let cache = EmbeddingsCache::<Touchy>::builder(&budget(), "embeddings")
            .entries(8)
            .dimensions(4)
            .build()
            .unwrap();
        let insert = |number: u64| {
            cache
                .insert(Touchy(number, fuse), &[number as f32; 4])
                .unwrap();
        };
        (0..8).for_each(insert);
        fuse.store(uses, Ordering::SeqCst);
        let _ = catch_unwind(AssertUnwindSafe(|| operation(&cache)));
        let left = fuse.swap(0, Ordering::SeqCst);
        let check = || {
            let found = (0..200).filter(|number| {
                let vector = cache.get(&Touchy(*number, fuse));
                let own = vec![*number as f32; 4];
                assert_eq!(vector.as_ref().unwrap_or(&own), &own, "after {uses}");
                vector.is_some()
            });
            assert_eq!(found.count(), cache.len(), "after {uses}");
        };
        check();
        for number in 100..120 {
            insert(number);
            check();
        }
        assert_eq!(cache.len(), 8);
        if left > 0 {
            return uses - 1;
        }
    }
    unreachable!("it ends")
}

#[test]
fn a_key_that_panics_gives_no_key_the_vector_of_another() {
    let fuse = AtomicU64::new(0);
    let removed = each_use_panics(&fuse, |cache| {
        cache.remove(&Touchy(3, &fuse));
    });
    let replaced = each_use_panics(&fuse, |cache| {
        cache.insert(Touchy(150, &fuse), &[150.0; 4]).unwrap();
    });
    assert!(removed > 4 && replaced > 4, "{removed}, {replaced}");
}
