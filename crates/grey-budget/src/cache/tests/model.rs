//! The cache against what must hold whatever is done to it, by one thread and
//! by many.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use grey_model::{Bytes, Priority};
use proptest::prelude::*;

use super::at;
use super::kit::{OVERHEAD, Setup, build, setup};
use crate::budget::Admission;
use crate::cache::{EntryOptions, PostcardCodec};
use crate::reclaimer::{ReclaimMode, ReclaimRequest, Reclaimer, Stop};

const CAPACITY: u64 = 12_000;

#[derive(Debug, Clone)]
enum Step {
    Insert(u64, u64, Priority, bool),
    Load(u64, u64),
    Get(u64),
    Remove(u64),
    Pin(u64),
    Unpin(u64),
    Reclaim(u64, ReclaimMode),
    Resize(u64),
    Bound(Priority, u64),
    Admit(bool),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0_u64..60;
    let priority = || prop::sample::select(Priority::ALL.to_vec());
    let mode = prop::sample::select(vec![
        ReclaimMode::Trim,
        ReclaimMode::Spill,
        ReclaimMode::Evict,
    ]);
    prop_oneof![
        8 => (key.clone(), 0_u64..900, priority(), prop::bool::weighted(0.2))
            .prop_map(|(key, value, priority, ttl)| Step::Insert(key, value, priority, ttl)),
        3 => (key.clone(), 0_u64..900).prop_map(|(key, value)| Step::Load(key, value)),
        6 => key.clone().prop_map(Step::Get),
        2 => key.clone().prop_map(Step::Remove),
        1 => key.clone().prop_map(Step::Pin),
        1 => key.prop_map(Step::Unpin),
        1 => (0_u64..6000, mode).prop_map(|(bytes, mode)| Step::Reclaim(bytes, mode)),
        1 => (1_u64..2 * CAPACITY).prop_map(Step::Resize),
        1 => (priority(), 0..CAPACITY).prop_map(|(priority, bytes)| Step::Bound(priority, bytes)),
        1 => prop::bool::weighted(0.7).prop_map(Step::Admit),
        1 => (0_u64..70).prop_map(|ticks| Step::Wait(10 * ticks)),
    ]
}

/// What is known of the values: the newest of each key, which may be gone.
#[derive(Default)]
struct Model {
    newest: HashMap<u64, u64>,
    /// Critical ones and the pinned, which may not be gone.
    kept: HashSet<u64>,
    clock_ms: u64,
    expires: HashMap<u64, u64>,
}

impl Model {
    fn forget(&mut self, key: u64) {
        self.newest.remove(&key);
        self.kept.remove(&key);
        self.expires.remove(&key);
    }

    fn is_expired(&self, key: u64) -> bool {
        self.expires
            .get(&key)
            .is_some_and(|at| *at <= self.clock_ms)
    }
}

fn apply(setup: &Setup, model: &mut Model, step: Step) -> Result<(), TestCaseError> {
    let cache = &setup.cache;
    match step {
        Step::Insert(key, value, priority, ttl) => {
            let mut options = at(priority);
            if ttl {
                options = options.ttl(Duration::from_millis(500));
            }
            let taken = cache.insert_with(key, value, options);
            model.forget(key);
            if taken.is_ok() {
                model.newest.insert(key, value);
                if priority == Priority::Critical {
                    model.kept.insert(key);
                }
                if ttl {
                    model.expires.insert(key, model.clock_ms + 500);
                }
            }
        }
        Step::Load(key, value) => {
            let mut called = false;
            let got = cache.get_or_insert_with(&key, EntryOptions::new(), || {
                called = true;
                value
            });
            if called {
                prop_assert!(!model.kept.contains(&key) || model.is_expired(key));
                prop_assert_eq!(got, value);
                model.forget(key);
                model.newest.insert(key, value);
            } else {
                prop_assert_eq!(Some(&got), model.newest.get(&key));
            }
        }
        Step::Get(key) => {
            let got = cache.get(&key);
            if model.is_expired(key) {
                prop_assert_eq!(got, None);
                model.forget(key);
            } else if got.is_some() {
                prop_assert_eq!(got.as_ref(), model.newest.get(&key));
            } else {
                prop_assert!(!model.kept.contains(&key), "{key} is kept");
            }
        }
        Step::Remove(key) => {
            cache.remove(&key);
            model.forget(key);
        }
        Step::Pin(key) => {
            if cache.pin(&key) {
                model.kept.insert(key);
            }
        }
        Step::Unpin(key) => {
            if cache.unpin(&key) {
                model.kept.remove(&key);
            }
        }
        Step::Reclaim(bytes, mode) => {
            let request = ReclaimRequest::new(Bytes(bytes), mode);
            let before = cache.weight();
            let done = cache.reclaim(&request, &Stop::new());
            prop_assert_eq!(cache.weight(), before.saturating_sub(done.freed));
        }
        Step::Resize(bytes) => cache.set_capacity(Bytes(bytes)),
        Step::Bound(priority, bytes) => cache.set_priority_capacity(priority, Bytes(bytes)),
        Step::Admit(open) => setup.budget.set_admission(if open {
            Admission::Open
        } else {
            Admission::NoRefill
        }),
        Step::Wait(ms) => {
            model.clock_ms += ms;
            setup.clock.advance(Duration::from_millis(ms));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_is_done_the_charge_is_the_weight_and_no_value_is_wrong(
        steps in prop::collection::vec(step(), 1..250),
        spills: bool,
    ) {
        let setup = build(CAPACITY, |builder, target| {
            if spills { builder.spill(target, PostcardCodec) } else { builder }
        });
        let component = setup.cache.component().clone();
        let mut model = Model::default();
        for step in steps {
            apply(&setup, &mut model, step)?;
            let weight = setup.cache.weight();
            let kept = setup.cache.weight_of(Priority::Critical);
            prop_assert!(weight <= setup.cache.capacity().max(kept), "{weight}");
            let rows = setup.cache.stats().spilled_keys * 48;
            let rows = rows.div_ceil(4096) * 4096;
            let reserved = component.reserved();
            prop_assert!(
                reserved.get().abs_diff(weight.get() + rows) <= if spills { 4096 } else { 0 },
                "{reserved} for {weight} and {rows}"
            );
        }
        for key in model.kept.iter().filter(|key| !model.is_expired(**key)) {
            let got = setup.cache.get(key);
            prop_assert_eq!(got.as_ref(), model.newest.get(key));
        }
        drop(setup.cache);
        prop_assert_eq!(component.reserved(), Bytes::ZERO);
    }
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Everything at once. A value tells its key, so that a wrong one is seen.
fn storm(setup: &Setup, seed: u64, over: &AtomicU64) {
    let Setup { cache, budget, .. } = setup;
    let mut state = seed | 1;
    for _ in 0..4000 {
        let number = random(&mut state);
        let key = number >> 8 & 127;
        let value = key + 128 * (number >> 20 & 3);
        let priority = Priority::ALL[(number >> 40 & 3) as usize];
        match number & 31 {
            0..=9 => drop(cache.insert_with(key, value, at(priority))),
            10..=13 => {
                let got = cache.get_or_insert_with(&key, at(priority), || value);
                assert_eq!(got % 128, key);
            }
            14 => drop(cache.remove(&key)),
            15 => drop(cache.pin(&key)),
            16 => drop(cache.unpin(&key)),
            17 => {
                let mode = if number >> 50 & 1 == 0 {
                    ReclaimMode::Evict
                } else {
                    ReclaimMode::Spill
                };
                let request = ReclaimRequest::new(Bytes(2000), mode);
                cache.reclaim(&request, &Stop::new());
            }
            18 if number >> 50 & 7 == 0 => {
                cache.set_capacity(Bytes(CAPACITY / 2 + (number >> 30 & 4095)));
            }
            19 if number >> 50 & 15 == 0 => cache.clear(),
            20 => budget.set_admission(if number >> 50 & 3 == 0 {
                Admission::NoRefill
            } else {
                Admission::Open
            }),
            _ => {
                if let Some(got) = cache.get(&key) {
                    assert_eq!(got % 128, key);
                }
            }
        }
        // One value in flight for each of four threads, and while an entry is
        // pinned or unpinned it is charged twice.
        let most = 2 * CAPACITY + 8 * (OVERHEAD + 512) + 3 * 4096;
        if budget.reserved() > Bytes(most) {
            over.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[test]
fn many_threads_leave_the_charge_right_and_nothing_reserved() {
    for spills in [false, true] {
        let setup = build(CAPACITY, |builder, target| {
            if spills {
                builder.spill(target, PostcardCodec)
            } else {
                builder
            }
        });
        let over = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for thread in 1..5_u64 {
                let (setup, over) = (&setup, &over);
                scope.spawn(move || storm(setup, thread.wrapping_mul(0x9e37_79b9_7f4a_7c15), over));
            }
        });
        assert_eq!(over.into_inner(), 0, "spills: {spills}");
        let cache = &setup.cache;
        assert!(cache.inner.flights.is_idle());
        setup.budget.settle();
        setup.budget.set_admission(Admission::Open);
        let rows = cache.component().reserved().saturating_sub(cache.weight());
        assert_eq!(rows.get() % 4096, 0, "only rows are charged beside weight");
        // No key lies twice, so each can be removed once.
        let entries = cache.len();
        let removed = (0..128).filter(|key| {
            let found = cache.inner.peek(key).is_some();
            cache.remove(key);
            found
        });
        assert_eq!(removed.count() as u64, entries);
        assert!(cache.is_empty());
        let component = cache.component().clone();
        drop(setup.cache);
        assert_eq!(component.reserved(), Bytes::ZERO);
    }
}

#[test]
fn critical_entries_outlive_every_storm_around_them() {
    let Setup { cache, .. } = setup(CAPACITY);
    for key in 0..10 {
        cache.insert_with(key, key, at(Priority::Critical)).unwrap();
    }
    std::thread::scope(|scope| {
        for thread in 1..4_u64 {
            let cache = &cache;
            scope.spawn(move || {
                let mut state = thread;
                for _ in 0..3000 {
                    let number = random(&mut state);
                    let priority = Priority::ALL[(number >> 40) as usize % 3];
                    let _ = cache.insert_with(100 + number % 500, 0, at(priority));
                    if number.is_multiple_of(97) {
                        let request = ReclaimRequest::new(Bytes(9000), ReclaimMode::Evict);
                        cache.reclaim(&request, &Stop::new());
                    }
                    assert_eq!(cache.get(&(number % 10)), Some(number % 10));
                }
            });
        }
    });
}
