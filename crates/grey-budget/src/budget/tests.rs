//! Facts about budgets, components, reservations and waiting.

mod invariants;
mod shut_out;
mod tasks;
mod waiting;
mod wakers;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use grey_model::{Bytes, Priority};
use proptest::prelude::*;

use super::*;
use crate::wait_until::wait_until;

const MIB: u64 = 1 << 20;

fn budget(mib: u64) -> Budget {
    Budget::new(Bytes(mib * MIB)).unwrap()
}

fn component(budget: &Budget, name: &str) -> Component {
    budget.component(name).register().unwrap()
}

fn mib(count: u64) -> Bytes {
    Bytes(count * MIB)
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll<'c>(
    future: &mut ReserveFuture<'c>,
    woken: &Arc<Woken>,
) -> Poll<Result<Reservation<'c>, ReserveError>> {
    let waker = Waker::from(Arc::clone(woken));
    std::pin::Pin::new(future).poll(&mut Context::from_waker(&waker))
}

#[test]
fn what_is_dropped_comes_back_to_the_last_byte() {
    let budget = budget(64);
    let cache = component(&budget, "cache");
    let small = cache.reserve(Bytes(100)).unwrap();
    let large = cache.reserve(mib(10)).unwrap();
    assert_eq!(budget.reserved(), Bytes(10 * MIB + 100));
    assert_eq!(cache.reserved(), budget.reserved());
    drop(small);
    assert_eq!(cache.reserved(), mib(10));
    drop(large);
    assert_eq!(budget.reserved(), Bytes::ZERO);
    budget.settle();
    assert_eq!(budget.committed(), Bytes::ZERO);
}

#[test]
fn siblings_together_never_pass_the_limit_of_their_component() {
    let budget = budget(1000);
    let pool = budget.component("pool").limit(mib(200)).register().unwrap();
    let mut held = Vec::new();
    let error = loop {
        match pool.reserve(mib(10)) {
            Ok(reservation) => held.push(reservation),
            Err(error) => break error,
        }
    };
    assert_eq!(held.len(), 20);
    assert!(
        matches!(
            error,
            ReserveError::Exhausted {
                bound: Bound::Component,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn an_error_says_whether_waiting_helps_and_who_holds_the_most() {
    let budget = budget(10);
    let (cache, index) = (component(&budget, "cache"), component(&budget, "index"));
    let _held = (
        cache.reserve(mib(2)).unwrap(),
        index.reserve(mib(7)).unwrap(),
    );
    let exhausted = cache.reserve(mib(2)).unwrap_err();
    assert!(exhausted.may_retry());
    assert_eq!(
        exhausted.to_string(),
        "failed to reserve 2.0 MiB for `cache`: 1.0 MiB of the budget of 10.0 MiB are free; \
         most is held by `index` (7.0 MiB), `cache` (2.0 MiB)"
    );
    let never = cache.reserve(mib(11)).unwrap_err();
    assert!(!never.may_retry());
    assert!(
        matches!(
            never,
            ReserveError::Exceeds {
                bound: Bound::Budget,
                ..
            }
        ),
        "{never}"
    );
}

#[test]
fn a_reservation_grows_shrinks_splits_and_merges() {
    let budget = budget(10);
    let cache = component(&budget, "cache");
    let other = component(&budget, "other");
    let mut held = cache.reserve(mib(4)).unwrap();
    held.grow(mib(5)).unwrap();
    assert!(held.grow(mib(2)).is_err());
    assert_eq!((held.size(), budget.reserved()), (mib(9), mib(9)));
    let mut part = held.split(mib(6));
    assert_eq!(
        (held.size(), part.size(), budget.reserved()),
        (mib(3), mib(6), mib(9))
    );
    part.shrink(mib(1));
    assert_eq!(budget.reserved(), mib(8));
    held.merge(part).unwrap();
    held.resize(mib(2)).unwrap();
    assert_eq!((held.size(), budget.reserved()), (mib(2), mib(2)));
    let foreign = other.reserve(mib(1)).unwrap();
    assert_eq!(held.merge(foreign).unwrap_err().size(), mib(1));
    held.shrink(mib(100));
    assert_eq!(budget.reserved(), Bytes::ZERO);
}

#[test]
fn an_owned_reservation_outlives_its_handle() {
    let budget = budget(10);
    let cache = component(&budget, "cache");
    let held = cache.reserve_owned(mib(3)).unwrap();
    drop(cache);
    assert_eq!(budget.reserved(), mib(3));
    std::thread::spawn(move || drop(held)).join().unwrap();
    assert_eq!(budget.reserved(), Bytes::ZERO);
    assert!(budget.components().is_empty());
}

#[test]
fn what_one_thread_keeps_is_called_back_before_another_is_refused() {
    let budget = budget(8);
    let cache = component(&budget, "cache");
    let other = component(&budget, "other");
    // Leaves something in the cells of several threads.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| drop(cache.reserve(Bytes(1))));
        }
    });
    assert!(budget.committed() > Bytes::ZERO);
    assert_eq!(budget.reserved(), Bytes::ZERO);
    drop(other.reserve(mib(8)).unwrap());
}

#[test]
fn a_floor_is_kept_for_its_component() {
    let budget = budget(10);
    let floored = budget.component("index").floor(mib(4)).register().unwrap();
    let other = component(&budget, "other");
    assert!(other.reserve(mib(7)).is_err());
    let _held = other.reserve(mib(6)).unwrap();
    let own = floored.reserve(mib(4)).unwrap();
    assert!(floored.reserve(Bytes(1)).is_err());
    drop(own);
    assert!(other.reserve(Bytes(1)).is_err());
    drop(floored);
    drop(other.reserve(mib(4)).unwrap());
}

#[test]
fn floors_that_no_number_of_bytes_can_say_are_refused() {
    let budget = Budget::new(Bytes(u64::MAX)).unwrap();
    let whole = Bytes(u64::MAX);
    let _whole = budget.component("whole").floor(whole).register().unwrap();
    for more in [Bytes(1), whole] {
        assert_eq!(
            budget.component("more").floor(more).register().map(drop),
            Err(BudgetError::FloorsExceedLimit {
                floors: whole,
                limit: whole,
            })
        );
    }
}

#[test]
fn floors_that_do_not_fit_are_refused() {
    let budget = budget(10);
    let _index = budget.component("index").floor(mib(6)).register().unwrap();
    assert!(matches!(
        budget.component("more").floor(mib(5)).register(),
        Err(BudgetError::FloorsExceedLimit { .. })
    ));
    assert!(matches!(
        budget.set_limit(mib(5)),
        Err(BudgetError::FloorsExceedLimit { .. })
    ));
    assert!(matches!(
        budget
            .component("odd")
            .floor(mib(2))
            .limit(mib(1))
            .register(),
        Err(BudgetError::FloorAboveLimit { .. })
    ));
    assert!(matches!(
        budget.component("index").register(),
        Err(BudgetError::NameTaken { .. })
    ));
    assert_eq!(Budget::new(Bytes::ZERO).unwrap_err(), BudgetError::Empty);
    assert_eq!(budget.set_limit(Bytes::ZERO), Err(BudgetError::Empty));
}

#[test]
fn fair_components_share_what_the_others_leave() {
    let budget = budget(90);
    let fixed = component(&budget, "fixed");
    let _held = fixed.reserve(mib(30)).unwrap();
    let first = budget.component("first").fair().register().unwrap();
    let second = budget.component("second").fair().register().unwrap();
    let mut alone = first.reserve(mib(60)).unwrap();
    alone.shrink(mib(35));
    let half = second.reserve(mib(30)).unwrap();
    let error = second.reserve(mib(1)).unwrap_err();
    assert!(
        matches!(
            error,
            ReserveError::Exhausted {
                bound: Bound::FairShare,
                ..
            }
        ),
        "{error}"
    );
    drop(half);
}

#[test]
fn a_tenant_bounds_its_components_together() {
    let budget = budget(100);
    let tenant = budget.tenant("core-api", Priority::High, Some(mib(10)));
    let files = budget
        .component("files")
        .tenant(&tenant)
        .register()
        .unwrap();
    let queries = budget
        .component("queries")
        .tenant(&tenant)
        .register()
        .unwrap();
    assert_eq!(files.priority(), Priority::High);
    let _held = files.reserve(mib(6)).unwrap();
    let error = queries.reserve(mib(5)).unwrap_err();
    assert!(
        error.to_string().contains("the limit of `core-api`"),
        "{error}"
    );
    let _rest = queries.reserve(mib(4)).unwrap();
    assert_eq!(tenant.reserved(), mib(10));
    let foreign = Budget::new(mib(1)).unwrap();
    assert!(matches!(
        foreign.component("files").tenant(&tenant).register(),
        Err(BudgetError::ForeignTenant { .. })
    ));
}

#[test]
fn a_closed_door_sheds_caches_first_and_then_all_but_the_critical() {
    let budget = budget(10);
    let cache = budget.component("cache").refillable().register().unwrap();
    let work = component(&budget, "work");
    let vital = budget
        .component("vital")
        .priority(Priority::Critical)
        .register()
        .unwrap();
    let admitted = || [&cache, &work, &vital].map(|component| component.reserve(Bytes(1)).is_ok());
    assert_eq!(admitted(), [true, true, true]);
    budget.set_admission(Admission::NoRefill);
    assert_eq!(admitted(), [false, true, true]);
    budget.set_admission(Admission::CriticalOnly);
    assert_eq!(admitted(), [false, false, true]);
    let shed = work.reserve(Bytes(1)).unwrap_err();
    assert!(shed.may_retry() && !shed.waiting_helps(), "{shed}");
    budget.set_admission(Admission::Open);
    assert_eq!(admitted(), [true, true, true]);
}

#[test]
fn two_budgets_know_nothing_of_each_other() {
    let (first, second) = (budget(10), budget(10));
    let one = component(&first, "cache");
    let two = component(&second, "cache");
    let _held = one.reserve(mib(10)).unwrap();
    assert_eq!(second.reserved(), Bytes::ZERO);
    drop(two.reserve(mib(10)).unwrap());
}

#[test]
fn an_overdraft_is_counted_and_nothing_more_is_given() {
    let budget = budget(10);
    let cache = component(&budget, "cache");
    let held = cache.overdraw(mib(12));
    assert_eq!(budget.reserved(), mib(12));
    assert!(cache.reserve(Bytes(1)).is_err());
    drop(held);
    drop(cache.reserve(mib(10)).unwrap());
}

#[test]
fn overflowing_requests_are_refused_and_change_nothing() {
    let budget = budget(10);
    let cache = component(&budget, "cache");
    let mut held = cache.reserve(mib(1)).unwrap();
    assert!(matches!(
        cache.reserve(Bytes(u64::MAX)),
        Err(ReserveError::Exceeds { .. })
    ));
    assert!(held.grow(Bytes(u64::MAX)).is_err());
    assert_eq!((held.size(), budget.reserved()), (mib(1), mib(1)));
}

#[test]
fn a_request_is_counted_once_when_it_is_refused_and_not_when_it_had_to_wait() {
    let budget = Budget::new(Bytes::from_mib(10)).unwrap();
    let component = budget.component("part").register().unwrap();
    budget.set_admission(Admission::CriticalOnly);
    for _ in 0..100 {
        component.reserve(Bytes::from_mib(1)).unwrap_err();
    }
    assert_eq!(budget.refusals(), 100, "shed");
    budget.set_admission(Admission::Open);
    for _ in 0..100 {
        component.reserve(Bytes::from_mib(11)).unwrap_err();
    }
    assert_eq!(budget.refusals(), 200, "never fits");
    let mut all = component.reserve_owned(Bytes::from_mib(10)).unwrap();
    component.reserve(Bytes::from_mib(1)).unwrap_err();
    let wait = Duration::from_millis(1);
    component
        .reserve_timeout(Bytes::from_mib(1), wait)
        .unwrap_err();
    assert_eq!(budget.refusals(), 202, "does not fit, and not in time");
    let never = component.reserve_timeout(Bytes::from_mib(11), wait);
    never.unwrap_err();
    all.grow(Bytes(1)).unwrap_err();
    all.grow(Bytes(u64::MAX)).unwrap_err();
    assert_eq!(budget.refusals(), 205, "not even by waiting, or growing");
    std::thread::scope(|scope| {
        let late = scope.spawn(|| {
            let wait = Duration::from_secs(60);
            component.reserve_timeout(Bytes::from_mib(1), wait).is_ok()
        });
        while budget.waiters().0 == 0 {
            std::thread::yield_now();
        }
        all.shrink(Bytes::from_mib(1));
        assert!(late.join().unwrap());
    });
    assert_eq!(budget.refusals(), 205, "it was given in time");
    let mut context = Context::from_waker(std::task::Waker::noop());
    let mut future = std::pin::pin!(component.reserve_async(Bytes::from_mib(11)));
    assert!(future.as_mut().poll(&mut context).is_ready());
    assert_eq!(budget.refusals(), 206, "a task");
}

#[test]
fn a_request_that_was_leaked_ends_with_its_component() {
    let budget = budget(10);
    let holder = component(&budget, "holder");
    let held = holder.reserve(mib(10)).unwrap();
    let leaking = component(&budget, "leaking");
    let mut future = leaking.reserve_async(mib(8));
    assert!(poll(&mut future, &Arc::new(Woken::default())).is_pending());
    std::mem::forget(future);
    drop(leaking);
    assert_eq!(budget.waiters(), (0, None));
    // Who comes next has its place, and is not charged for what it never asked.
    let next = component(&budget, "next");
    drop(held);
    assert_eq!(next.reserved(), Bytes::ZERO);
    assert_eq!(budget.committed(), Bytes::ZERO);
    assert_eq!(next.reserve(mib(10)).unwrap().size(), mib(10));
}

#[test]
fn the_largest_overdrafts_leave_the_account_of_the_others_true() {
    let budget = budget(100);
    let cache = component(&budget, "cache");
    let held = cache.reserve(mib(50)).unwrap();
    let (one, other) = (component(&budget, "one"), component(&budget, "other"));
    let tenant = budget.tenant("tenant", Priority::High, Some(mib(10)));
    let bounded = budget.component("bounded").tenant(&tenant);
    let bounded = bounded.register().unwrap();
    for _ in 0..2 {
        let mut first = one.overdraw(Bytes(u64::MAX));
        let second = one.overdraw(Bytes(u64::MAX));
        assert_eq!(
            (first.size(), second.size()),
            (Bytes(u64::MAX), Bytes::ZERO)
        );
        first.merge(second).unwrap();
        let third = other.overdraw(Bytes(u64::MAX));
        let fourth = bounded.overdraw(Bytes(u64::MAX));
        assert!(cache.reserve(Bytes(1)).is_err());
        assert_eq!(budget.committed(), Bytes(u64::MAX));
        drop((first, third, fourth));
        assert_eq!(budget.committed(), mib(50));
    }
    let refused = cache.reserve(mib(80)).unwrap_err();
    assert!(refused.waiting_helps(), "{refused}");
    drop(bounded.reserve(mib(10)).unwrap());
    drop(cache.reserve(mib(50)).unwrap());
    drop(held);
}
