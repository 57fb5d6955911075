//! Facts about loading: one loader for a key.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::kit::{Setup, setup};
use crate::budget::Admission;
use crate::cache::EntryOptions;
use crate::cache::late::Late as _;

const PLAIN: EntryOptions = EntryOptions::new();

#[test]
fn one_of_many_threads_loads_and_all_get_the_value() {
    let Setup { cache, budget, .. } = setup(100_000);
    for round in 0..50_u64 {
        // Even while nothing is taken, those who wait get the one value.
        budget.set_admission(if round % 2 == 0 {
            Admission::Open
        } else {
            Admission::NoRefill
        });
        let (loads, barrier) = (AtomicU64::new(0), Barrier::new(4));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    barrier.wait();
                    let value = cache.get_or_insert_with(&round, PLAIN, || {
                        loads.fetch_add(1, Ordering::SeqCst);
                        while round % 2 == 0 && cache.inner.flights.is_idle() {}
                        round + 1
                    });
                    assert_eq!(value, round + 1);
                });
            }
        });
        if round % 2 == 0 {
            assert_eq!(loads.into_inner(), 1);
        }
    }
    assert!(cache.inner.flights.is_idle());
}

#[test]
fn a_loader_that_fails_or_panics_lets_the_next_one_try() {
    let Setup { cache, .. } = setup(100_000);
    let failed = cache.get_or_try_insert_with(&1, PLAIN, || Err::<u64, _>("no"));
    assert_eq!(failed, Err("no"));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        cache.get_or_insert_with(&1, PLAIN, || panic!("the loader of the test panics"))
    }));
    assert!(panicked.is_err());
    assert!(cache.inner.flights.is_idle());
    assert_eq!(cache.get_or_insert_with(&1, PLAIN, || 5), 5);
    assert_eq!(cache.get(&1), Some(5));
}

#[test]
fn who_waits_for_a_loader_that_fails_loads() {
    let Setup { cache, .. } = setup(100_000);
    let loads = AtomicU64::new(0);
    let barrier = Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                barrier.wait();
                let _ = cache.get_or_try_insert_with(&1, PLAIN, || {
                    match loads.fetch_add(1, Ordering::SeqCst) {
                        0 => Err("the first fails"),
                        _ => Ok(9),
                    }
                });
            });
        }
    });
    assert_eq!(loads.into_inner(), 2);
    assert_eq!(cache.get(&1), Some(9));
}

#[test]
fn a_loader_may_load_other_keys_and_its_own() {
    let Setup { cache, .. } = setup(100_000);
    let value = cache.get_or_insert_with(&1, PLAIN, || {
        let other = cache.get_or_insert_with(&2, PLAIN, || 20);
        let own = cache.get_or_insert_with(&1, PLAIN, || 300);
        assert_eq!(cache.get(&1), None);
        other + own
    });
    assert_eq!(value, 320);
    assert_eq!(cache.get(&1), Some(320));
    assert_eq!(cache.get(&2), Some(20));
}

#[test]
fn a_value_put_in_while_another_loads_is_not_overwritten() {
    let Setup { cache, budget, .. } = setup(100_000);
    let loaded = cache.get_or_insert_with(&1, PLAIN, || {
        cache.insert(1, 7).unwrap();
        5
    });
    assert_eq!(loaded, 5);
    assert_eq!(cache.get(&1), Some(7));
    let loaded = cache.get_or_insert_with(&2, PLAIN, || {
        cache.remove(&2);
        5
    });
    assert_eq!(loaded, 5);
    assert_eq!(cache.get(&2), None, "it was removed while it was loaded");
    assert_eq!(budget.reserved(), cache.weight());
}

#[test]
fn who_asks_after_a_removal_does_not_get_what_was_being_loaded_before() {
    let Setup { cache, .. } = setup(100_000);
    let (answer, answers) = mpsc::channel();
    let loaded = cache.get_or_insert_with(&1, PLAIN, || {
        cache.remove(&1);
        let cache = cache.clone();
        std::thread::spawn(move || answer.send(cache.get_or_insert_with(&1, PLAIN, || 9)));
        assert_eq!(answers.recv_timeout(Duration::from_secs(10)), Ok(9));
        5
    });
    assert_eq!(loaded, 5);
    assert_eq!(cache.get(&1), Some(9));
    assert!(cache.inner.flights.is_idle());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_tasks_loads_and_all_get_the_value() {
    let Setup { cache, .. } = setup(100_000);
    let loads = std::sync::Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let (cache, loads) = (cache.clone(), loads.clone());
            tokio::spawn(async move {
                let load = async {
                    loads.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    Ok::<u64, ()>(4)
                };
                cache.get_or_insert_async(&1, PLAIN, load).await
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), Ok(4));
    }
    assert_eq!(loads.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_cancelled_loader_lets_the_next_one_try() {
    let Setup { cache, .. } = setup(100_000);
    let stuck = {
        let cache = cache.clone();
        tokio::spawn(async move {
            cache
                .get_or_insert_async(&1, PLAIN, std::future::pending::<Result<u64, ()>>())
                .await
        })
    };
    while cache.inner.flights.is_idle() {
        tokio::task::yield_now().await;
    }
    let waiting = {
        let cache = cache.clone();
        tokio::spawn(async move {
            cache
                .get_or_insert_async(&1, PLAIN, async { Ok::<u64, ()>(6) })
                .await
        })
    };
    tokio::task::yield_now().await;
    stuck.abort();
    assert!(stuck.await.unwrap_err().is_cancelled());
    assert_eq!(waiting.await.unwrap(), Ok(6));
    assert_eq!(cache.get(&1), Some(6));
}

#[tokio::test]
async fn a_task_does_not_wait_for_a_load_that_was_forgotten() {
    let Setup { cache, .. } = setup(100_000);
    let forgotten = cache.clone();
    let mut stuck = Box::pin(async move {
        let never = std::future::pending::<Result<u64, ()>>();
        forgotten.get_or_insert_async(&1, PLAIN, never).await
    });
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(stuck.as_mut().poll(&mut context).is_pending());
    std::mem::forget(stuck);
    let mut waits = Box::pin(cache.get_or_insert_async(&1, PLAIN, async { Ok::<u64, ()>(6) }));
    assert!(waits.as_mut().poll(&mut context).is_pending());
    let hash = cache.inner.hash_of(&1_u64);
    let flight = cache.inner.flights.lock(hash).get(&1).cloned();
    flight.unwrap().give_up();
    assert_eq!(
        waits.as_mut().poll(&mut context),
        std::task::Poll::Ready(Ok(6))
    );
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("the waker of the test panics");
    }
}

#[derive(Default)]
struct Woken(AtomicU64);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

type Load<'a> = Pin<&'a mut dyn Future<Output = Result<u64, ()>>>;

/// One loads, and two wait for it, the first of them with a waker that panics.
fn wait_for_one(context: &mut Context<'_>, loads: Load<'_>, [first, second]: [Load<'_>; 2]) {
    let panics = Waker::from(Arc::new(Panics));
    assert!(loads.poll(context).is_pending());
    assert!(first.poll(&mut Context::from_waker(&panics)).is_pending());
    assert!(second.poll(context).is_pending());
}

#[test]
fn a_waker_that_panics_takes_the_value_neither_from_who_loads_nor_from_who_waits() {
    let Setup { cache, .. } = setup(100_000);
    let (done, woken) = (AtomicU64::new(0), Arc::new(Woken::default()));
    let load = std::future::poll_fn(|_| match done.load(Ordering::SeqCst) {
        0 => Poll::Pending,
        value => Poll::Ready(Ok::<u64, ()>(value)),
    });
    let other = || std::future::ready(Ok::<u64, ()>(9));
    let mut loads = Box::pin(cache.get_or_insert_async(&1, PLAIN, load));
    let mut first = Box::pin(cache.get_or_insert_async(&1, PLAIN, other()));
    let mut second = Box::pin(cache.get_or_insert_async(&1, PLAIN, other()));
    let counts = Waker::from(Arc::<Woken>::clone(&woken));
    let mut context = Context::from_waker(&counts);
    wait_for_one(
        &mut context,
        loads.as_mut(),
        [first.as_mut(), second.as_mut()],
    );
    done.store(6, Ordering::SeqCst);
    let loaded = catch_unwind(AssertUnwindSafe(|| loads.as_mut().poll(&mut context)));
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert_eq!(loaded.unwrap(), Poll::Ready(Ok(6)));
    assert_eq!(second.as_mut().poll(&mut context), Poll::Ready(Ok(6)));
}

#[test]
fn a_waker_that_panics_keeps_no_other_waiting_for_a_load_that_is_given_up() {
    let Setup { cache, .. } = setup(100_000);
    let woken = Arc::new(Woken::default());
    let never = std::future::pending::<Result<u64, ()>>;
    let mut loads = Box::pin(cache.get_or_insert_async(&1, PLAIN, never()));
    let mut first = Box::pin(cache.get_or_insert_async(&1, PLAIN, never()));
    let mut second = Box::pin(cache.get_or_insert_async(&1, PLAIN, never()));
    let counts = Waker::from(Arc::<Woken>::clone(&woken));
    let mut context = Context::from_waker(&counts);
    wait_for_one(
        &mut context,
        loads.as_mut(),
        [first.as_mut(), second.as_mut()],
    );
    let hash = cache.inner.hash_of(&1_u64);
    let flight = cache.inner.flights.lock(hash).get(&1).cloned().unwrap();
    let given_up = catch_unwind(AssertUnwindSafe(|| flight.give_up()));
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert!(given_up.is_ok());
}
