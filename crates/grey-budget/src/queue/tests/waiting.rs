//! Facts about waiting for room and for items, giving up, and closing.
//!
//! Never sleeps to wait: it waits for a state.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use grey_model::Bytes;

use super::kit::{Bell, PATIENCE, component, poll, queue_of};
use crate::queue::{PopError, PushError, WorkQueue};
use crate::wait_until::wait_until;

#[test]
fn a_full_queue_blocks_until_there_is_room() {
    let (_budget, queue) = queue_of(1);
    queue.push(1).unwrap();
    thread::scope(|scope| {
        let pushing = scope.spawn(|| queue.push(2));
        wait_until(|| queue.waiting_for_room() == 1);
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
        wait_until(|| queue.waiting_for_items() == 1);
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
        wait_until(|| queue.waiting_for_room() == 1);
        queue.close();
        match pushing.join().unwrap() {
            Err(PushError::Closed { item, .. }) => assert_eq!(item, 2),
            other => panic!("{other:?}"),
        }
    });
    let (_budget, empty) = queue_of(1);
    thread::scope(|scope| {
        let popping = scope.spawn(|| empty.pop());
        wait_until(|| empty.waiting_for_items() == 1);
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
