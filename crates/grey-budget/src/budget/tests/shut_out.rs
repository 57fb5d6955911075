//! Facts about requests that wait while the budget is closed to them.

use super::*;

/// A budget of 10 MiB, wholly held, for which `work` waits in a line; the door
/// is closed to it. What it holds, and the one who waits.
struct ShutOut<'c> {
    held: Reservation<'c>,
    woken: Arc<Woken>,
    future: ReserveFuture<'c>,
}

fn shut_out<'c>(budget: &Budget, holder: &'c Component, work: &'c Component) -> ShutOut<'c> {
    let held = holder.reserve(mib(10)).unwrap();
    let woken = Arc::new(Woken::default());
    let mut future = work.reserve_async(mib(6));
    assert!(poll(&mut future, &woken).is_pending());
    budget.set_admission(Admission::CriticalOnly);
    ShutOut {
        held,
        woken,
        future,
    }
}

fn critical(budget: &Budget) -> Component {
    let builder = budget.component("vital").priority(Priority::Critical);
    builder.register().unwrap()
}

#[test]
fn what_an_emergency_frees_is_not_given_to_whom_it_shuts_out() {
    let budget = budget(10);
    let (holder, work) = (component(&budget, "holder"), component(&budget, "work"));
    let mut shut = shut_out(&budget, &holder, &work);
    drop(shut.held);
    budget.settle();
    assert_eq!(budget.reserved(), Bytes::ZERO);
    assert_eq!(budget.waiters(), (1, Some(mib(6))), "it keeps its place");
    budget.set_admission(Admission::NoRefill);
    assert_eq!(shut.woken.0.load(Ordering::SeqCst), 1);
    let Poll::Ready(Ok(served)) = poll(&mut shut.future, &shut.woken) else {
        panic!("not served when the door opened");
    };
    assert_eq!(budget.reserved(), served.size());
}

#[test]
fn the_critical_pass_those_who_are_shut_out() {
    let budget = budget(10);
    let (holder, work) = (component(&budget, "holder"), component(&budget, "work"));
    let vital = critical(&budget);
    let shut = shut_out(&budget, &holder, &work);
    let mut in_line = vital.reserve_async(mib(7));
    assert!(poll(&mut in_line, &shut.woken).is_pending());
    drop(shut.held);
    let Poll::Ready(Ok(served)) = poll(&mut in_line, &shut.woken) else {
        panic!("held up by one who is not admitted");
    };
    assert_eq!(vital.reserve(mib(2)).unwrap().size(), mib(2));
    drop(served);
    assert_eq!(budget.waiters().0, 1);
}

#[test]
fn closing_the_door_lets_the_critical_through_that_stood_behind_others() {
    let budget = budget(10);
    let work = component(&budget, "work");
    let vital = critical(&budget);
    let held = work.reserve(mib(6)).unwrap();
    let woken = Arc::new(Woken::default());
    let (mut first, mut second) = (work.reserve_async(mib(8)), vital.reserve_async(mib(3)));
    assert!(poll(&mut first, &woken).is_pending());
    assert!(poll(&mut second, &woken).is_pending());
    budget.set_admission(Admission::CriticalOnly);
    assert!(matches!(poll(&mut second, &woken), Poll::Ready(Ok(_))));
    drop(held);
}

#[test]
fn who_is_shut_out_times_out_and_is_told_why() {
    let budget = budget(10);
    let (holder, work) = (component(&budget, "holder"), component(&budget, "work"));
    let held = holder.reserve(mib(10)).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let served = work.reserve_timeout(mib(5), Duration::from_millis(200));
            served.map(|served| served.size())
        });
        wait_until(|| budget.waiters().0 == 1 || waiting.is_finished());
        budget.set_admission(Admission::CriticalOnly);
        drop(held);
        let error = waiting.join().unwrap().unwrap_err();
        assert!(error.may_retry(), "{error}");
    });
    assert_eq!((budget.waiters().0, budget.reserved()), (0, Bytes::ZERO));
}

#[test]
fn one_who_may_be_served_is_refused_before_one_who_is_shut_out() {
    let budget = budget(10);
    let (holder, work) = (component(&budget, "holder"), component(&budget, "work"));
    let vital = critical(&budget);
    let mut shut = shut_out(&budget, &holder, &work);
    let mut in_line = vital.reserve_async(mib(1));
    assert!(poll(&mut in_line, &shut.woken).is_pending());
    let refused = || budget.fail_largest_waiter().map(|(_, bytes)| bytes);
    assert_eq!(refused(), Some(mib(1)));
    drop(shut.held);
    assert_eq!(refused(), Some(mib(6)));
    let Poll::Ready(Err(error)) = poll(&mut shut.future, &shut.woken) else {
        panic!("waits for ever");
    };
    assert!(matches!(error, ReserveError::Shedding { .. }), "{error}");
    assert_eq!(refused(), None);
}
