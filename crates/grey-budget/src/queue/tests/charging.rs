//! Facts about what a queue takes of the budget, gives back, and is refused.
//!
//! Never about time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use grey_model::Bytes;

use super::kit::component;
use crate::budget::{Admission, Budget, Reservation};
use crate::queue::core::Core;
use crate::queue::ends::{Insert, Slot};
use crate::queue::settings::Limits;
use crate::queue::{FullPolicy, PopError, PushError, WorkQueue};
use crate::reclaimer::{ReclaimMode, ReclaimRequest, Reclaimer, Stop};
use crate::wait_until::wait_until;

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

/// A queue whose second item waits for the budget, of which another part holds
/// all but 1000 bytes, until `gives` did what is tried.
fn goes_on_when(gives: impl FnOnce(&WorkQueue<u64>, Reservation<'_>)) {
    let (budget, component) = component(Bytes::from_mib(1));
    let other = budget.component("other").register().unwrap();
    let held = other.reserve(Bytes(1024 * 1024 - 1000)).unwrap();
    let queue = WorkQueue::builder(component)
        .weigher(|_: &u64| Bytes(600))
        .build();
    queue.push(1).unwrap();
    thread::scope(|scope| {
        let pushing = scope.spawn(|| queue.push(2));
        wait_until(|| budget.waiters().0 == 1);
        gives(&queue, held);
        pushing.join().unwrap().unwrap();
    });
    assert_eq!(budget.waiters().0, 0);
}

#[test]
fn who_waits_for_the_budget_goes_on_when_another_part_gives_back() {
    goes_on_when(|queue, held| {
        drop(held);
        wait_until(|| queue.len() == 2);
    });
}

#[test]
fn who_waits_for_the_budget_goes_on_when_its_own_queue_empties() {
    goes_on_when(|queue, held| {
        assert_eq!(queue.pop(), Ok(1));
        wait_until(|| queue.len() == 1);
        drop(held);
    });
}

#[test]
fn each_item_of_a_batch_is_weighed_once_and_counts_as_what_it_weighed_then() {
    for policy in [
        FullPolicy::Reject,
        FullPolicy::Block,
        FullPolicy::Timeout(Duration::from_secs(60)),
    ] {
        let (_budget, component) = component(Bytes::from_mib(1));
        let weighed = Arc::new(AtomicUsize::new(0));
        let weighing = Arc::clone(&weighed);
        let queue = WorkQueue::builder(component)
            .max_items(4)
            .weigher(move |_: &u64| {
                // Not the same twice: heavier each time.
                Bytes(100 + weighing.fetch_add(1, Ordering::SeqCst) as u64)
            })
            .when_full(policy)
            .build();
        let mut items: Vec<u64> = (0..8).collect();
        thread::scope(|scope| {
            let pushing = scope.spawn(|| {
                let pushed = queue.push_many(&mut items);
                assert_eq!(pushed.is_err(), policy == FullPolicy::Reject);
            });
            wait_until(|| queue.len() == 4);
            assert_eq!(queue.bytes(), Bytes(100 + 101 + 102 + 103));
            let rest = if policy == FullPolicy::Reject { 4 } else { 8 };
            for _ in 0..rest {
                queue.pop().unwrap();
            }
            pushing.join().unwrap();
        });
        assert_eq!(weighed.load(Ordering::SeqCst), 8, "{policy:?}");
    }
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
    let each = 8 + WorkQueue::<u64>::ITEM_OVERHEAD.get();
    assert_eq!(budget.reserved(), Bytes(10 * each));
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

#[test]
fn what_was_reserved_for_an_item_is_given_back_if_the_queue_closed_meanwhile() {
    let (budget, component) = component(Bytes::from_mib(1));
    let credit = component.reserve_owned(Bytes(64 << 10)).unwrap();
    let limits = Limits {
        items: 10,
        bytes: 1 << 20,
    };
    let core = Core::new(component, limits, None);
    core.close();
    let slot = Slot { item: 7, bytes: 8 };
    match core.insert(slot, Some(credit), None) {
        Insert::Closed(slot) => assert_eq!(slot.item, 7),
        _ => panic!("it is closed"),
    }
    assert_eq!(budget.reserved(), Bytes::ZERO);
}
