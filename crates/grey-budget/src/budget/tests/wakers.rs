//! Facts about wakers, which are the program's code: they may panic, and do
//! anything.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::mpsc;

use super::*;

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("the waker of the test panics");
    }
}

/// When woken, drops a request that waits.
struct Drops(Mutex<Option<ReserveFuture<'static>>>);

impl Wake for Drops {
    fn wake(self: Arc<Self>) {
        let dropped = self.0.lock().unwrap().take();
        drop(dropped);
    }
}

/// Holds bytes, and gives them back when it is dropped.
struct Holds {
    _bytes: Reservation<'static>,
}

impl Wake for Holds {
    fn wake(self: Arc<Self>) {}
}

fn poll_with<'c>(
    future: &mut ReserveFuture<'c>,
    waker: impl Into<Waker>,
) -> Poll<Result<Reservation<'c>, ReserveError>> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(&waker.into()))
}

#[test]
fn a_waker_that_panics_keeps_nobody_else_from_being_told() {
    let budget = budget(10);
    let cache = component(&budget, "cache");
    let held = cache.reserve(mib(10)).unwrap();
    let (mut first, mut second) = (cache.reserve_async(mib(5)), cache.reserve_async(mib(1)));
    let woken = Arc::new(Woken::default());
    assert!(poll_with(&mut first, Arc::new(Panics)).is_pending());
    assert!(poll(&mut second, &woken).is_pending());
    std::thread::scope(|scope| {
        let sleeping = scope.spawn(|| {
            let served = cache.reserve_timeout(mib(2), Duration::from_secs(20));
            served.map(|served| served.size())
        });
        wait_until(|| budget.waiters().0 == 3);
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(held)));
        assert!(dropped.is_ok(), "it panicked out of a destructor");
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert_eq!(sleeping.join().unwrap(), Ok(mib(2)));
    });
    assert!(matches!(poll(&mut first, &woken), Poll::Ready(Ok(_))));
    assert!(matches!(poll(&mut second, &woken), Poll::Ready(Ok(_))));
    drop((first, second));
    assert_eq!(budget.reserved(), Bytes::ZERO);
}

#[test]
fn a_reservation_is_given_back_while_a_panic_unwinds_whatever_a_waker_does() {
    let budget = budget(10);
    let cache = component(&budget, "cache");
    let held = cache.reserve(mib(10)).unwrap();
    let mut waits = cache.reserve_async(mib(5));
    assert!(poll_with(&mut waits, Arc::new(Panics)).is_pending());
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _held = held;
        panic!("while it is held");
    }));
    assert!(unwound.is_err());
    assert_eq!(budget.reserved(), mib(5), "served");
    drop(waits);
    assert_eq!(budget.reserved(), Bytes::ZERO);
}

#[test]
fn a_refused_one_whose_waker_panics_does_not_hold_up_those_behind_it() {
    let budget = budget(10);
    let cache = component(&budget, "cache");
    let _held = cache.reserve(mib(8)).unwrap();
    let (mut large, mut small) = (cache.reserve_async(mib(9)), cache.reserve_async(mib(1)));
    let woken = Arc::new(Woken::default());
    assert!(poll_with(&mut large, Arc::new(Panics)).is_pending());
    assert!(poll(&mut small, &woken).is_pending());
    let refused = catch_unwind(AssertUnwindSafe(|| budget.fail_largest_waiter()));
    assert_eq!(refused.unwrap().map(|(_, bytes)| bytes), Some(mib(9)));
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert!(matches!(poll(&mut large, &woken), Poll::Ready(Err(_))));
    assert!(matches!(poll(&mut small, &woken), Poll::Ready(Ok(_))));
}

/// Whether `work` ends; on a thread of its own, which is left behind if not.
fn ends(work: impl FnOnce() + Send + 'static) -> bool {
    let (told, heard) = mpsc::channel();
    std::thread::spawn(move || {
        work();
        told.send(())
    });
    heard.recv_timeout(Duration::from_secs(10)).is_ok()
}

#[test]
fn a_waker_may_drop_a_request_that_is_served_in_the_same_step() {
    let budget = budget(10);
    // A waker borrows nothing.
    let cache: &'static Component = Box::leak(Box::new(component(&budget, "cache")));
    let held = cache.reserve(mib(10)).unwrap();
    let (mut first, mut second) = (cache.reserve_async(mib(5)), cache.reserve_async(mib(1)));
    let drops = Arc::new(Drops(Mutex::new(None)));
    assert!(poll_with(&mut first, Arc::<Drops>::clone(&drops)).is_pending());
    assert!(poll(&mut second, &Arc::new(Woken::default())).is_pending());
    *drops.0.lock().unwrap() = Some(second);
    assert!(ends(move || drop(held)), "it waits for itself");
    assert_eq!(budget.reserved(), mib(5));
    drop(first);
    assert_eq!(budget.reserved(), Bytes::ZERO);
}

#[test]
fn a_waker_that_is_replaced_may_give_back_what_its_task_waits_for() {
    let budget = budget(10);
    let cache: &'static Component = Box::leak(Box::new(component(&budget, "cache")));
    let holds = Arc::new(Holds {
        _bytes: cache.reserve(mib(10)).unwrap(),
    });
    let woken = Arc::new(Woken::default());
    let counts = Arc::clone(&woken);
    let polls_again = move || {
        let mut waits = cache.reserve_async(mib(5));
        assert!(poll_with(&mut waits, holds).is_pending());
        assert!(matches!(poll(&mut waits, &counts), Poll::Ready(Ok(_))));
    };
    assert!(ends(polls_again), "dropped under the lock");
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
}
