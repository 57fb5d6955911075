//! Facts about the limits of items and bytes, and who comes when it is full.
//!
//! Never waits longer than a limit says.

use std::time::Duration;

use grey_model::Bytes;

use super::kit::{PATIENCE, component, queue_of};
use crate::queue::{FullPolicy, PopError, PushError, WorkQueue};

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
