//! Facts about the work queue: bounds, order, waiting, closing, charging.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use grey_model::Bytes;
use proptest::prelude::*;

use super::*;
use crate::budget::{Admission, Budget, Component};
use crate::reclaimer::{ReclaimMode, ReclaimRequest, Reclaimer, Stop};

const PATIENCE: Duration = Duration::from_secs(20);

fn component(limit: Bytes) -> (Budget, Component) {
    let budget = Budget::new(limit).unwrap();
    let component = budget.component("work").register().unwrap();
    (budget, component)
}

fn queue_of(items: u64) -> (Budget, WorkQueue<u64>) {
    let (budget, component) = component(Bytes::from_mib(64));
    (
        budget,
        WorkQueue::builder(component).max_items(items).build(),
    )
}

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "waited in vain until {what}");
        thread::yield_now();
    }
}

/// Counts how often it is woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Bell {
    fn rings(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

fn poll<F: Future + Unpin>(future: &mut F, bell: &Arc<Bell>) -> Poll<F::Output> {
    let waker = Waker::from(Arc::clone(bell));
    Pin::new(future).poll(&mut Context::from_waker(&waker))
}

#[test]
fn a_queue_holds_10_000_items_and_no_more() {
    let (_budget, component) = component(Bytes::from_mib(64));
    let queue = WorkQueue::new(component);
    for item in 0..10_000_u64 {
        queue.try_push(item).unwrap();
    }
    assert_eq!(queue.len(), 10_000);
    match queue.try_push(7) {
        Err(PushError::Full { items, item, .. }) => assert_eq!((items, item), (10_000, 7)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_queue_of_no_items_takes_none_and_lets_nobody_wait() {
    let (_budget, queue) = queue_of(0);
    assert_eq!(queue.max_items(), 0);
    for outcome in [
        queue.try_push(7),
        queue.push(7),
        queue.push_timeout(7, PATIENCE),
    ] {
        assert!(matches!(outcome, Err(PushError::TooLarge { item: 7, .. })));
    }
    assert!(queue.is_empty());
}

#[test]
fn limits_hold_for_what_is_inside_and_not_for_what_went_through() {
    let (_budget, component) = component(Bytes::from_mib(1));
    let queue = WorkQueue::builder(component)
        .max_items(10)
        .max_bytes(Bytes(100))
        .build();
    for item in 0..100_000_u64 {
        queue.try_push(item).unwrap();
        assert_eq!(queue.try_pop(), Ok(item));
    }
    for item in 0..10 {
        queue.try_push(item).unwrap();
    }
    assert!(queue.try_push(10).is_err());
}

#[test]
fn bytes_bound_a_queue_too() {
    let (_budget, component) = component(Bytes::from_mib(1));
    let queue = WorkQueue::builder(component)
        .max_bytes(Bytes(100))
        .weigher(|text: &String| Bytes(u64::try_from(text.len()).unwrap()))
        .build();
    queue.try_push("x".repeat(60)).unwrap();
    assert!(matches!(
        queue.try_push("x".repeat(41)),
        Err(PushError::Full { .. })
    ));
    queue.try_push("x".repeat(40)).unwrap();
    assert_eq!(queue.bytes(), Bytes(100));
}

#[test]
fn an_item_that_never_fits_is_told_so_and_does_not_wait() {
    let (_budget, component) = component(Bytes::from_mib(1));
    let queue = WorkQueue::builder(component)
        .max_bytes(Bytes(100))
        .weigher(|_: &u64| Bytes(101))
        .build();
    match queue.push(5) {
        Err(error @ PushError::TooLarge { .. }) => {
            assert!(!error.may_retry());
            assert_eq!(error.into_item(), 5);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_full_queue_rejects_at_once_when_it_is_to() {
    let (_budget, component) = component(Bytes::from_mib(1));
    let queue = WorkQueue::builder(component)
        .max_items(1)
        .when_full(FullPolicy::Reject)
        .build();
    queue.push("first").unwrap();
    let refused = queue.push("second").unwrap_err();
    assert!(refused.may_retry());
    assert_eq!(refused.into_item(), "second");
}

#[test]
fn a_full_queue_blocks_until_its_time_is_over() {
    let (_budget, component) = component(Bytes::from_mib(1));
    let timeout = Duration::from_millis(20);
    let queue = WorkQueue::builder(component)
        .max_items(1)
        .when_full(FullPolicy::Timeout(timeout))
        .build();
    queue.push(1).unwrap();
    match queue.push(2) {
        Err(PushError::TimedOut { waited, item, .. }) => {
            assert!(waited >= timeout);
            assert_eq!(item, 2);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(queue.try_pop(), Ok(1));
    assert_eq!(queue.try_pop(), Err(PopError::Empty));
}

#[test]
fn a_full_queue_blocks_until_there_is_room() {
    let (_budget, queue) = queue_of(1);
    queue.push(1).unwrap();
    thread::scope(|scope| {
        let pushing = scope.spawn(|| queue.push(2));
        wait_for("somebody waits", || queue.waiting_for_room() == 1);
        assert_eq!(queue.pop(), Ok(1));
        pushing.join().unwrap().unwrap();
    });
    assert_eq!(queue.pop(), Ok(2));
}

#[test]
fn an_empty_queue_blocks_until_something_comes() {
    let (_budget, queue) = queue_of(4);
    thread::scope(|scope| {
        let popping = scope.spawn(|| queue.pop());
        wait_for("somebody waits", || queue.waiting_for_items() == 1);
        queue.push(9).unwrap();
        assert_eq!(popping.join().unwrap(), Ok(9));
    });
    let waited = queue.pop_timeout(Duration::from_millis(5));
    assert!(matches!(waited, Err(PopError::TimedOut { .. })));
}

#[test]
fn closing_wakes_all_who_wait_and_gives_their_items_back() {
    let (_budget, queue) = queue_of(1);
    queue.push(1).unwrap();
    thread::scope(|scope| {
        let pushing = scope.spawn(|| queue.push(2));
        wait_for("somebody waits", || queue.waiting_for_room() == 1);
        queue.close();
        match pushing.join().unwrap() {
            Err(PushError::Closed { item, .. }) => assert_eq!(item, 2),
            other => panic!("{other:?}"),
        }
    });
    let (_budget, empty) = queue_of(1);
    thread::scope(|scope| {
        let popping = scope.spawn(|| empty.pop());
        wait_for("somebody waits", || empty.waiting_for_items() == 1);
        empty.close();
        assert_eq!(popping.join().unwrap(), Err(PopError::Closed));
    });
}

#[test]
fn a_closed_queue_is_drained_and_then_tells_that_it_is_closed() {
    let (_budget, queue) = queue_of(10);
    for item in 0..3 {
        queue.push(item).unwrap();
    }
    assert_eq!(queue.pop(), Ok(0));
    queue.push(3).unwrap();
    queue.close();
    assert!(queue.push(4).is_err());
    assert_eq!(queue.pop(), Ok(1));
    assert_eq!(queue.close_and_drain(), vec![2, 3]);
    assert_eq!(queue.pop(), Err(PopError::Closed));
    assert_eq!(queue.try_pop(), Err(PopError::Closed));
}

#[test]
fn a_batch_goes_in_whole_and_keeps_its_order() {
    let (_budget, queue) = queue_of(16);
    let mut items: Vec<u64> = (0..1000).collect();
    thread::scope(|scope| {
        let popping = scope.spawn(|| {
            let mut popped = Vec::new();
            while popped.len() < 1000 {
                queue.pop_many(&mut popped, 7).unwrap();
            }
            popped
        });
        assert_eq!(queue.push_many(&mut items), Ok(1000));
        assert!(items.is_empty());
        assert!(popping.join().unwrap().into_iter().eq(0..1000));
    });
}

#[test]
fn what_does_not_fit_of_a_batch_stays_with_the_caller_in_its_order() {
    let (_budget, component) = component(Bytes::from_mib(1));
    let queue = WorkQueue::builder(component)
        .max_bytes(Bytes(100))
        .weigher(|weight: &u64| Bytes(*weight))
        .when_full(FullPolicy::Reject)
        .build();
    let mut items = vec![30, 30, 50, 10, 60];
    assert!(matches!(
        queue.push_many(&mut items),
        Err(PushManyError::Full { items: 2, .. })
    ));
    assert_eq!(items, [50, 10, 60]);
    let mut large = vec![10, 101, 1];
    assert!(matches!(
        queue.push_many(&mut large),
        Err(PushManyError::TooLarge { .. })
    ));
    assert_eq!(large, [101, 1]);
    let mut popped = Vec::new();
    assert_eq!(queue.try_pop_many(&mut popped, 10), 3);
    assert_eq!(popped, [30, 30, 10]);
}

#[test]
fn what_is_inside_is_charged_and_nothing_once_it_is_empty() {
    let (budget, component) = component(Bytes::from_mib(64));
    let queue = WorkQueue::builder(component)
        .max_bytes(Bytes::from_mib(32))
        .weigher(|_: &u64| Bytes::from_kib(100))
        .build();
    for item in 0..100 {
        queue.push(item).unwrap();
        let (inside, reserved) = (queue.bytes(), budget.reserved());
        assert!(reserved >= inside, "{reserved} for {inside}");
        assert!(reserved <= Bytes(inside.get() + 2 * 64 * 1024));
    }
    for _ in 0..100 {
        queue.pop().unwrap();
    }
    assert_eq!(queue.try_pop(), Err(PopError::Empty));
    assert_eq!(budget.reserved(), Bytes::ZERO);
}

#[test]
fn an_item_that_the_budget_has_no_bytes_for_is_refused() {
    let (budget, component) = component(Bytes::from_mib(1));
    let other = budget.component("other").register().unwrap();
    let held = other.reserve(Bytes(1024 * 1024 - 1000)).unwrap();
    let queue = WorkQueue::builder(component)
        .weigher(|_: &u64| Bytes(600))
        .when_full(FullPolicy::Reject)
        .build();
    queue.push(1).unwrap();
    match queue.push(2) {
        Err(PushError::Refused { source, item, .. }) => {
            assert!(source.may_retry());
            assert_eq!(item, 2);
        }
        other => panic!("{other:?}"),
    }
    drop(held);
    queue.push(2).unwrap();
}

#[test]
fn who_waits_for_the_budget_goes_on_when_another_part_gives_back() {
    let (budget, component) = component(Bytes::from_mib(1));
    let other = budget.component("other").register().unwrap();
    let held = other.reserve(Bytes(1024 * 1024 - 1000)).unwrap();
    let queue = WorkQueue::builder(component)
        .weigher(|_: &u64| Bytes(600))
        .build();
    queue.push(1).unwrap();
    thread::scope(|scope| {
        let pushing = scope.spawn(|| queue.push(2));
        wait_for("somebody waits", || budget.waiters().0 == 1);
        drop(held);
        pushing.join().unwrap().unwrap();
    });
    assert_eq!(queue.len(), 2);
}

#[test]
fn who_waits_for_the_budget_goes_on_when_its_own_queue_empties() {
    let (budget, component) = component(Bytes::from_mib(1));
    let other = budget.component("other").register().unwrap();
    let _held = other.reserve(Bytes(1024 * 1024 - 1000)).unwrap();
    let queue = WorkQueue::builder(component)
        .weigher(|_: &u64| Bytes(600))
        .build();
    queue.push(1).unwrap();
    thread::scope(|scope| {
        let pushing = scope.spawn(|| queue.push(2));
        wait_for("somebody waits", || budget.waiters().0 == 1);
        assert_eq!(queue.pop(), Ok(1));
        pushing.join().unwrap().unwrap();
    });
    assert_eq!(budget.waiters().0, 0);
}

#[test]
fn nothing_is_pushed_while_load_is_shed_and_nobody_waits_for_it() {
    let (budget, component) = component(Bytes::from_mib(1));
    let queue = WorkQueue::new(component);
    budget.set_admission(Admission::CriticalOnly);
    match queue.push(1) {
        Err(error @ PushError::Refused { .. }) => assert!(error.may_retry()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn trimming_gives_back_what_is_reserved_for_nothing() {
    let (budget, component) = component(Bytes::from_mib(64));
    let queue = WorkQueue::new(component);
    for item in 0..10_u64 {
        queue.push(item).unwrap();
    }
    let slack = queue.reclaimable(ReclaimMode::Trim);
    assert!(slack > Bytes::ZERO);
    let request = ReclaimRequest::new(Bytes::from_mib(1), ReclaimMode::Trim);
    assert_eq!(queue.reclaim(&request, &Stop::new()).freed, slack);
    assert_eq!(budget.reserved(), Bytes(80));
    assert_eq!(queue.len(), 10);
}

#[test]
fn a_weigher_that_panics_leaves_the_queue_as_it_was() {
    let (budget, component) = component(Bytes::from_mib(1));
    let queue = WorkQueue::builder(component)
        .weigher(|item: &u64| {
            if *item == 13 {
                panic!("bad item")
            } else {
                Bytes(8)
            }
        })
        .build();
    queue.push(1).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| queue.push(13))).is_err());
    let mut batch = vec![2, 13, 3];
    assert!(catch_unwind(AssertUnwindSafe(|| queue.push_many(&mut batch))).is_err());
    assert_eq!(batch, [2, 13, 3]);
    assert_eq!(queue.pop(), Ok(1));
    assert_eq!(queue.try_pop(), Err(PopError::Empty));
    assert_eq!(budget.reserved(), Bytes::ZERO);
}

struct Fragile(Arc<AtomicUsize>);

impl Drop for Fragile {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        panic!("dropped");
    }
}

#[test]
fn items_that_panic_when_dropped_end_neither_the_program_nor_the_account() {
    let (budget, component) = component(Bytes::from_mib(1));
    let dropped = Arc::new(AtomicUsize::new(0));
    let queue = WorkQueue::new(component);
    for _ in 0..5 {
        queue.push(Fragile(Arc::clone(&dropped))).unwrap();
    }
    drop(queue);
    assert_eq!(dropped.load(Ordering::SeqCst), 5);
    assert_eq!(budget.reserved(), Bytes::ZERO);
}

#[test]
fn a_pop_that_is_given_up_after_it_was_woken_wakes_the_next() {
    let (_budget, queue) = queue_of(4);
    let bells = [Arc::new(Bell::default()), Arc::new(Bell::default())];
    let mut first = queue.pop_async();
    let mut second = queue.pop_async();
    assert!(poll(&mut first, &bells[0]).is_pending());
    assert!(poll(&mut second, &bells[1]).is_pending());
    queue.push(1).unwrap();
    assert_eq!((bells[0].rings(), bells[1].rings()), (1, 0));
    drop(first);
    assert_eq!(bells[1].rings(), 1);
    assert_eq!(poll(&mut second, &bells[1]), Poll::Ready(Ok(1)));
}

#[test]
fn a_push_that_is_given_up_after_it_was_woken_wakes_the_next() {
    let (_budget, queue) = queue_of(1);
    queue.push(0).unwrap();
    let bells = [Arc::new(Bell::default()), Arc::new(Bell::default())];
    let mut first = queue.push_async(1);
    let mut second = queue.push_async(2);
    assert!(poll(&mut first, &bells[0]).is_pending());
    assert!(poll(&mut second, &bells[1]).is_pending());
    assert_eq!(queue.pop(), Ok(0));
    assert_eq!((bells[0].rings(), bells[1].rings()), (1, 0));
    assert_eq!(first.take_item(), Some(1));
    assert_eq!(bells[1].rings(), 1);
    assert!(matches!(poll(&mut second, &bells[1]), Poll::Ready(Ok(()))));
    assert_eq!(queue.pop(), Ok(2));
}

#[test]
fn who_was_passed_over_too_often_goes_first() {
    let (_budget, queue) = queue_of(1);
    queue.push(0).unwrap();
    let bell = Arc::new(Bell::default());
    let mut patient = queue.push_async(100);
    assert!(poll(&mut patient, &bell).is_pending());
    let mut passed = 0;
    // Each time it is woken, somebody else is quicker.
    for item in 1..100 {
        queue.pop().unwrap();
        if queue.try_push(item).is_err() {
            break;
        }
        passed += 1;
        assert!(poll(&mut patient, &bell).is_pending());
    }
    assert!((1..=10).contains(&passed), "{passed}");
    assert!(matches!(poll(&mut patient, &bell), Poll::Ready(Ok(()))));
    assert_eq!(queue.pop(), Ok(100));
    queue.try_push(1).unwrap();
}

#[test]
fn a_large_item_gets_in_though_small_ones_never_cease() {
    let (_budget, component) = component(Bytes::from_mib(1));
    let queue = WorkQueue::builder(component)
        .max_bytes(Bytes(100))
        .weigher(|weight: &u64| Bytes(*weight))
        .build();
    let done = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while done.load(Ordering::SeqCst) == 0 {
                    let _ = queue.push_timeout(10, Duration::from_millis(1));
                }
            });
        }
        scope.spawn(|| {
            while done.load(Ordering::SeqCst) == 0 {
                let _ = queue.pop_timeout(Duration::from_millis(1));
            }
        });
        let pushed = queue.push_timeout(100, PATIENCE);
        done.store(1, Ordering::SeqCst);
        pushed.unwrap();
    });
}

#[test]
fn a_queue_is_nearly_full_above_9_000_of_10_000() {
    let (_budget, queue) = queue_of(10_000);
    for item in 0..9_000 {
        queue.push(item).unwrap();
    }
    assert!(!queue.is_nearly_full());
    queue.push(9_000).unwrap();
    assert!(queue.is_nearly_full());
    let mut popped = Vec::new();
    queue.try_pop_many(&mut popped, 2_000);
    assert!(!queue.is_nearly_full());
}

fn stress(producers: u64, consumers: u64, items: u64, queue: &WorkQueue<u64>) {
    let seen: Vec<AtomicUsize> = (0..producers * items)
        .map(|_| AtomicUsize::new(0))
        .collect();
    let left = AtomicU64::new(producers);
    thread::scope(|scope| {
        for producer in 0..producers {
            let left = &left;
            scope.spawn(move || {
                let mut batch = Vec::new();
                for item in producer * items..(producer + 1) * items {
                    match item % 3 {
                        0 => queue.push(item).unwrap(),
                        1 => queue.push_timeout(item, PATIENCE).unwrap(),
                        _ => batch.push(item),
                    }
                    if batch.len() == 50 {
                        queue.push_many(&mut batch).unwrap();
                    }
                }
                queue.push_many(&mut batch).unwrap();
                if left.fetch_sub(1, Ordering::SeqCst) == 1 {
                    queue.close();
                }
            });
        }
        for consumer in 0..consumers {
            let seen = &seen;
            scope.spawn(move || {
                let mut batch = Vec::new();
                loop {
                    let popped = if consumer % 2 == 0 {
                        queue.pop().map(|item| batch.push(item))
                    } else {
                        queue.pop_many(&mut batch, 20).map(|_| ())
                    };
                    for item in batch.drain(..) {
                        let index = usize::try_from(item).unwrap();
                        seen[index].fetch_add(1, Ordering::SeqCst);
                    }
                    assert!(queue.len() <= queue.max_items());
                    if popped == Err(PopError::Closed) {
                        return;
                    }
                }
            });
        }
    });
    assert!(seen.iter().all(|seen| seen.load(Ordering::SeqCst) == 1));
}

#[test]
fn every_item_is_delivered_once_whoever_pushes_and_pops() {
    for (producers, consumers, limit) in
        [(1, 1, 1), (2, 2, 3), (4, 1, 100), (1, 4, 100), (4, 4, 16)]
    {
        let (budget, queue) = queue_of(limit);
        stress(producers, consumers, 3_000, &queue);
        assert_eq!(queue.len(), 0);
        drop(queue);
        assert_eq!(budget.reserved(), Bytes::ZERO);
    }
}

#[test]
fn every_item_is_delivered_once_though_memory_is_short() {
    let (budget, component) = component(Bytes::from_kib(64));
    let other = budget.component("other").register().unwrap();
    let queue = WorkQueue::builder(component)
        .weigher(|_: &u64| Bytes(2_000))
        .build();
    let done = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while done.load(Ordering::SeqCst) == 0 {
                let _held = other.reserve(Bytes(50_000));
                thread::yield_now();
            }
        });
        stress(2, 2, 1_500, &queue);
        done.store(1, Ordering::SeqCst);
    });
    drop(queue);
    assert_eq!(budget.reserved(), Bytes::ZERO);
}

#[test]
fn tasks_push_and_pop_and_lose_nothing_when_they_are_cancelled() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let (budget, queue) = queue_of(3);
    let total = 3_000_u64;
    let sum = runtime.block_on(async {
        let producer = queue.clone();
        let pushing = tokio::spawn(async move {
            for item in 0..total {
                let mut item = Some(item);
                while let Some(again) = item.take() {
                    let mut push = producer.push_async(again);
                    if tokio::time::timeout(Duration::from_micros(1), &mut push)
                        .await
                        .is_err()
                    {
                        item = push.take_item();
                    }
                }
            }
            producer.close();
        });
        let mut popping = Vec::new();
        for _ in 0..3 {
            let consumer = queue.clone();
            popping.push(tokio::spawn(async move {
                let mut sum = 0;
                loop {
                    let pop = consumer.pop_async();
                    match tokio::time::timeout(Duration::from_micros(1), pop).await {
                        Ok(Ok(item)) => sum += item + 1,
                        Ok(Err(_)) => return sum,
                        Err(_) => {}
                    }
                }
            }));
        }
        pushing.await.unwrap();
        let mut sum = 0;
        for popping in popping {
            sum += popping.await.unwrap();
        }
        sum
    });
    assert_eq!(sum, total * (total + 1) / 2);
    drop(queue);
    assert_eq!(budget.reserved(), Bytes::ZERO);
}

#[derive(Debug, Clone)]
enum Step {
    Push(u64),
    PushMany(Vec<u64>),
    Pop,
    PopMany(usize),
    Trim,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1_u64..60).prop_map(Step::Push),
        prop::collection::vec(1_u64..60, 0..8).prop_map(Step::PushMany),
        Just(Step::Pop),
        (0_usize..6).prop_map(Step::PopMany),
        Just(Step::Trim),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_queue_is_a_list_that_refuses_above_its_limits(
        steps in prop::collection::vec(step(), 0..120)
    ) {
        let (budget, component) = component(Bytes::from_mib(1));
        let queue = WorkQueue::builder(component)
            .max_items(8)
            .max_bytes(Bytes(150))
            .weigher(|weight: &u64| Bytes(*weight))
            .when_full(FullPolicy::Reject)
            .build();
        let mut model: VecDeque<u64> = VecDeque::new();
        // An item weighs its own size at least.
        let weigh = |weight: &u64| (*weight).max(8);
        let fits = |model: &VecDeque<u64>, item: u64| {
            model.len() < 8 && model.iter().map(weigh).sum::<u64>() + weigh(&item) <= 150
        };
        for step in steps {
            match step {
                Step::Push(item) => {
                    let fits = fits(&model, item);
                    prop_assert_eq!(queue.push(item).is_ok(), fits);
                    if fits {
                        model.push_back(item);
                    }
                }
                Step::PushMany(items) => {
                    let mut left = items.clone();
                    let all = queue.push_many(&mut left).is_ok();
                    let mut expected = VecDeque::from(items);
                    while expected.front().is_some_and(|item| fits(&model, *item)) {
                        model.extend(expected.pop_front());
                    }
                    prop_assert_eq!(all, expected.is_empty());
                    prop_assert_eq!(VecDeque::from(left), expected);
                }
                Step::Pop => {
                    prop_assert_eq!(queue.try_pop().ok(), model.pop_front());
                }
                Step::PopMany(most) => {
                    let mut popped = Vec::new();
                    while popped.len() < most {
                        let left = most - popped.len();
                        if queue.try_pop_many(&mut popped, left) == 0 {
                            break;
                        }
                    }
                    let most = most.min(model.len());
                    prop_assert_eq!(popped, model.drain(..most).collect::<Vec<_>>());
                }
                Step::Trim => {
                    let request = ReclaimRequest::new(Bytes(1), ReclaimMode::Trim);
                    queue.reclaim(&request, &Stop::new());
                    prop_assert_eq!(budget.reserved(), queue.bytes());
                }
            }
            prop_assert_eq!(queue.len(), u64::try_from(model.len()).unwrap());
            prop_assert_eq!(queue.bytes(), Bytes(model.iter().map(weigh).sum()));
            prop_assert!(budget.reserved() >= queue.bytes());
        }
        drop(queue);
        prop_assert_eq!(budget.reserved(), Bytes::ZERO);
    }
}

#[test]
fn each_producer_finds_its_items_in_its_own_order() {
    let (_budget, queue) = queue_of(32);
    thread::scope(|scope| {
        for producer in 0..3_u64 {
            let queue = &queue;
            scope.spawn(move || {
                for number in 0..2_000 {
                    queue.push(producer * 1_000_000 + number).unwrap();
                }
            });
        }
        let mut last: BTreeMap<u64, u64> = BTreeMap::new();
        for _ in 0..6_000 {
            let item = queue.pop_timeout(PATIENCE).unwrap();
            let before = last.insert(item / 1_000_000, item);
            assert!(before.is_none_or(|before| before < item));
        }
    });
}

#[test]
fn a_refused_item_event_and_operation_are_counted_once_each_and_one_that_waited_is_not() {
    let budget = Budget::new(Bytes::from_mib(1)).unwrap();
    let part = |name: &str| budget.component(name).register().unwrap();
    let all = part("all").reserve_owned(Bytes::from_mib(1)).unwrap();
    let queue: WorkQueue<u64> = WorkQueue::new(part("queue"));
    queue.try_push(1).unwrap_err();
    assert_eq!(budget.refusals(), 1);
    let events: crate::Broadcaster<u64> = crate::Broadcaster::new(part("events"));
    events.send(1).unwrap_err();
    assert_eq!(budget.refusals(), 2);
    let log = crate::RollingLog::<u64>::builder(part("log")).build();
    log.append(1).unwrap_err();
    assert_eq!(budget.refusals(), 3);
    let before = budget.shortage().0;
    let waits = {
        let queue = queue.clone();
        std::thread::spawn(move || queue.push_timeout(2, Duration::from_secs(60)).is_ok())
    };
    while budget.shortage().0 == before {
        std::thread::yield_now();
    }
    drop(all);
    // Room in the budget wakes nobody who waits for the queue: somebody else does.
    while !waits.is_finished() {
        let _ = queue.try_push(3);
        let _ = queue.try_pop();
    }
    assert!(waits.join().unwrap());
    assert_eq!(budget.refusals(), 3);
}
