//! Every order of steps of a few threads on one small budget, tried by loom:
//! `RUSTFLAGS="--cfg grey_loom" cargo test -p grey-budget --lib --release loom_tests`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use grey_model::Bytes;
use loom::thread;

use super::{Admission, Budget, Component, ReserveError};

/// Small, so that the quantum is 256 bytes.
const LIMIT: Bytes = Bytes(1000);

/// Threads of all models share the counter that hands out cells.
static ONE_BY_ONE: Mutex<()> = Mutex::new(());

/// Fewer orders than this prove nothing.
const FEWEST_ORDERS: usize = 10;

fn model(limit_preemptions: Option<usize>, work: impl Fn() + Sync + Send + 'static) {
    let _one_by_one = ONE_BY_ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let orders = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&orders);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = limit_preemptions;
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        work();
    });
    let orders = orders.load(Ordering::Relaxed);
    println!("{orders} orders");
    assert!(orders >= FEWEST_ORDERS, "{orders}");
}

fn budget() -> (Budget, Component) {
    let budget = Budget::new(LIMIT).expect("not empty");
    let component = budget.component("loom").register().expect("the first");
    (budget, component)
}

fn is_whole(budget: &Budget) {
    assert_eq!(budget.reserved(), Bytes::ZERO);
    budget.settle();
    assert_eq!(budget.committed(), Bytes::ZERO);
    assert_eq!(budget.waiters().0, 0);
}

#[test]
fn two_threads_never_hold_more_than_there_is() {
    model(None, || {
        let (budget, component) = budget();
        let other = component.clone();
        let second = thread::spawn(move || {
            let held = other.reserve(Bytes(600));
            held.is_ok()
        });
        let held = component.reserve(Bytes(600));
        // Both may be served only one after the other.
        assert!(budget.reserved() <= LIMIT);
        drop(held);
        second.join().expect("no panic");
        is_whole(&budget);
    });
}

#[test]
fn what_goes_into_a_cell_is_found_by_who_begins_to_wait() {
    model(None, || {
        let (budget, component) = budget();
        let held = component.reserve_owned(Bytes(100)).expect("fits");
        let giver = thread::spawn(move || drop(held));
        // Waits for ever if the bytes lie in a cell that nobody empties.
        let served = component.reserve_timeout(LIMIT, Duration::from_secs(3600));
        assert_eq!(served.map(|served| served.size()), Ok(LIMIT));
        giver.join().expect("no panic");
        is_whole(&budget);
    });
}

#[test]
fn who_leaves_the_queue_while_being_served_gives_back() {
    model(None, || {
        let (budget, component) = budget();
        let held = component.reserve_owned(Bytes(900)).expect("fits");
        let giver = thread::spawn(move || drop(held));
        let mut future = component.reserve_async(Bytes(500));
        let waker = std::task::Waker::noop().clone();
        let mut context = std::task::Context::from_waker(&waker);
        let _ = std::future::Future::poll(std::pin::Pin::new(&mut future), &mut context);
        drop(future);
        giver.join().expect("no panic");
        is_whole(&budget);
    });
}

#[test]
fn who_waits_before_a_closed_door_is_served_when_it_opens() {
    model(Some(2), || {
        let (budget, component) = budget();
        let held = component.reserve_owned(Bytes(600)).expect("fits");
        let door = budget.clone();
        let keeper = thread::spawn(move || {
            door.set_admission(Admission::CriticalOnly);
            drop(held);
            door.set_admission(Admission::Open);
        });
        // Waits for ever if the opening overlooks one who just gets in line.
        match component.reserve_timeout(LIMIT, Duration::from_secs(3600)) {
            Ok(served) => assert_eq!(served.size(), LIMIT),
            Err(error) => assert!(matches!(error, ReserveError::Shedding { .. }), "{error}"),
        }
        keeper.join().expect("no panic");
        is_whole(&budget);
    });
}
