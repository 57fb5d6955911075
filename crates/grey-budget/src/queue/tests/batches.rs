//! Facts about pushing and popping many at once.
//!
//! Never one by one.

use std::sync::Arc;
use std::task::Wake;
use std::thread;

use grey_model::Bytes;

use super::kit::{component, poll, poll_with, queue_of};
use crate::queue::{FullPolicy, PushManyError, WorkQueue};

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
fn a_batch_behind_others_comes_after_them_and_leaves_the_caller_its_buffer() {
    let (_budget, queue) = queue_of(16);
    let mut items = Vec::with_capacity(64);
    for (single, batch) in [(0, 1..4), (4, 5..7), (7, 8..8)] {
        queue.push(single).unwrap();
        items.extend(batch);
        queue.push_many(&mut items).unwrap();
        assert!(items.is_empty() && items.capacity() >= 64);
    }
    assert_eq!(queue.len(), 8);
    assert_eq!(queue.close_and_drain(), (0..8).collect::<Vec<_>>());
}

/// Closes the queue when it is woken.
struct Closes(WorkQueue<u64>);

impl Wake for Closes {
    fn wake(self: Arc<Self>) {
        self.0.close();
    }
}

#[test]
fn what_was_reserved_for_a_batch_is_given_back_if_the_queue_closed_meanwhile() {
    let (budget, component) = component(Bytes::from_mib(64));
    let queue = WorkQueue::builder(component)
        .weigher(|weight: &u64| Bytes(*weight))
        .build();
    let (mut first, mut second) = (queue.pop_async(), queue.pop_async());
    assert!(poll(&mut first, &Arc::default()).is_pending());
    assert!(poll_with(&mut second, Arc::new(Closes(queue.clone()))).is_pending());
    queue.push(8).unwrap();
    let before = budget.reserved();
    // There are bytes for one, whose consumer closes the queue before there are
    // bytes for the other.
    let mut items = vec![8, 1_000_000];
    let pushed = queue.push_many(&mut items);
    assert!(matches!(pushed, Err(PushManyError::Closed { .. })));
    assert_eq!(items, [1_000_000]);
    assert_eq!(budget.reserved(), before);
}
