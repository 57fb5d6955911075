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

#[test]
fn who_is_passed_over_for_its_own_limit_is_not_once_the_budget_is_what_it_waits_for() {
    let budget = budget(10);
    let narrow = budget.component("narrow").limit(mib(2)).register().unwrap();
    let other = component(&budget, "other");
    let _narrow = narrow.reserve(mib(1)).unwrap();
    let mut held = other.reserve(mib(9)).unwrap();
    let woken = Arc::new(Woken::default());
    let asked = [(&narrow, 2), (&other, 4), (&narrow, 2), (&other, 1)];
    let mut waiting = asked.map(|(component, size)| component.reserve_async(mib(size)));
    for future in &mut waiting {
        assert!(poll(future, &woken).is_pending());
    }
    // One MiB is left after the second: as much as the limit of the third
    // leaves, so that the third waits for the budget, and before the fourth.
    held.shrink(mib(5));
    let polled = waiting.each_mut().map(|future| poll(future, &woken));
    let served = polled.each_ref().map(Poll::is_ready);
    assert_eq!(served, [false, true, false, false]);
}
