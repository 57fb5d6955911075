//! Facts about wakers, which are the program's code: one that panics costs nobody
//! an item.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null;
use std::sync::Arc;
use std::task::{Poll, RawWaker, RawWakerVTable, Wake, Waker};

use grey_model::Bytes;

use super::kit::{component, poll, poll_with, queue_of};
use crate::queue::{PushError, WorkQueue};

thread_local! {
    static CLONES_LEFT: Cell<u32> = const { Cell::new(0) };
}

/// A waker that wakes nobody, and panics when this thread cloned it `clones` times
/// and does so again.
#[expect(
    unsafe_code,
    reason = "a waker that is made by safe code runs nobody's code when it is cloned"
)]
fn cloned_at_most(clones: u32) -> Waker {
    const TABLE: RawWakerVTable = RawWakerVTable::new(clone, |_| {}, |_| {}, |_| {});
    fn clone(_: *const ()) -> RawWaker {
        let left = CLONES_LEFT.get().checked_sub(1);
        CLONES_LEFT.set(left.expect("the clone of the waker panics"));
        RawWaker::new(null(), &TABLE)
    }
    CLONES_LEFT.set(clones);
    // SAFETY: no function of the table looks at the pointer, and each may be
    // called in any thread.
    // WHY: the standard library's safe wakers are cloned by counting.
    unsafe { Waker::new(null(), &TABLE) }
}

#[test]
fn a_push_whose_waker_panics_when_it_is_cloned_has_its_item_still() {
    let (_budget, queue) = queue_of(1);
    queue.push(1).unwrap();
    let mut push = queue.push_async(2);
    let polling = || poll_with(&mut push, cloned_at_most(0));
    assert!(catch_unwind(AssertUnwindSafe(polling)).is_err());
    assert!(poll(&mut push, &Arc::default()).is_pending());
    assert_eq!(push.take_item(), Some(2));
}

#[test]
fn so_has_one_that_waits_for_the_budget() {
    let (budget, component) = component(Bytes::from_mib(1));
    let other = budget.component("other").register().unwrap();
    let held = other.reserve(Bytes::from_mib(1)).unwrap();
    let queue = WorkQueue::new(component);
    let mut push = queue.push_async(1);
    // Once for a place in the queue; then to be told of bytes.
    let polling = || poll_with(&mut push, cloned_at_most(1));
    assert!(catch_unwind(AssertUnwindSafe(polling)).is_err());
    assert_eq!(queue.waiting_for_room(), 1);
    drop(held);
    assert!(matches!(
        poll(&mut push, &Arc::default()),
        Poll::Ready(Ok(()))
    ));
    assert_eq!(queue.try_pop(), Ok(1));
    assert_eq!((queue.waiting_for_room(), budget.waiters().0), (0, 0));
}

struct PanicsWhenDropped;

impl Wake for PanicsWhenDropped {
    fn wake(self: Arc<Self>) {}
}

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("the waker of the test panics when it is dropped");
    }
}

#[test]
fn a_push_whose_waker_panics_when_another_takes_its_place_has_its_item_still() {
    let (_budget, queue) = queue_of(1);
    queue.push(1).unwrap();
    let mut push = queue.push_async(2);
    assert!(poll_with(&mut push, Arc::new(PanicsWhenDropped)).is_pending());
    assert!(poll(&mut push, &Arc::default()).is_pending());
    assert!(poll_with(&mut push, Arc::new(PanicsWhenDropped)).is_pending());
    assert_eq!(push.take_item(), Some(2));
    assert_eq!(queue.waiting_for_room(), 0);
}

#[test]
fn a_pop_whose_waker_panics_when_it_leaves_its_place_hands_its_item_out() {
    let (_budget, queue) = queue_of(1);
    let (mut first, mut second) = (queue.pop_async(), queue.pop_async());
    assert!(poll(&mut first, &Arc::default()).is_pending());
    assert!(poll_with(&mut second, Arc::new(PanicsWhenDropped)).is_pending());
    // Wakes the first, but the second is there before.
    queue.push(1).unwrap();
    assert_eq!(poll(&mut second, &Arc::default()), Poll::Ready(Ok(1)));
}

#[test]
fn a_push_whose_waker_panics_when_it_ceases_to_wait_for_the_budget_gives_its_item_back() {
    let (budget, component) = component(Bytes::from_mib(1));
    let other = budget.component("other").register().unwrap();
    let _held = other.reserve(Bytes::from_mib(1)).unwrap();
    let queue = WorkQueue::new(component);
    let mut push = queue.push_async(1);
    assert!(poll_with(&mut push, Arc::new(PanicsWhenDropped)).is_pending());
    assert_eq!(budget.waiters().0, 1);
    queue.close();
    let polled = poll(&mut push, &Arc::default());
    assert!(matches!(
        polled,
        Poll::Ready(Err(PushError::Closed { item: 1, .. }))
    ));
    assert_eq!(budget.waiters().0, 0);
}
