//! Facts about requests that wait as tasks.

use super::*;

#[test]
fn a_task_is_woken_once_and_finds_its_bytes() {
    let budget = budget(10);
    let cache = component(&budget, "cache");
    let held = cache.reserve(mib(8)).unwrap();
    let woken = Arc::new(Woken::default());
    let mut future = cache.reserve_async(mib(5));
    assert!(poll(&mut future, &woken).is_pending());
    drop(held);
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    let Poll::Ready(Ok(reservation)) = poll(&mut future, &woken) else {
        panic!("not served");
    };
    assert_eq!(reservation.size(), mib(5));
}

#[test]
fn a_task_that_is_dropped_loses_nothing_whenever_it_goes() {
    let budget = budget(10);
    let cache = component(&budget, "cache");
    let woken = Arc::new(Woken::default());
    // Still in the queue.
    let held = cache.reserve(mib(8)).unwrap();
    let mut future = cache.reserve_async(mib(5));
    assert!(poll(&mut future, &woken).is_pending());
    drop(future);
    assert_eq!(budget.waiters().0, 0);
    // Served, and never polled again.
    let mut future = cache.reserve_async(mib(5));
    assert!(poll(&mut future, &woken).is_pending());
    drop(held);
    assert_eq!(budget.reserved(), mib(5));
    drop(future);
    assert_eq!(budget.reserved(), Bytes::ZERO);
}
