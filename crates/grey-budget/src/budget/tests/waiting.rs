//! Facts about requests that wait, in threads.

use super::*;

#[test]
fn who_waits_is_served_when_another_gives_back() {
    let budget = budget(10);
    let cache = component(&budget, "cache");
    let held = cache.reserve(mib(8)).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let served = cache.reserve_timeout(mib(5), Duration::from_secs(60));
            served.map(|served| served.size())
        });
        wait_until(|| budget.waiters() == (1, Some(mib(5))));
        drop(held);
        assert_eq!(waiting.join().unwrap(), Ok(mib(5)));
    });
    assert_eq!(budget.waiters().0, 0);
    assert_eq!(budget.reserved(), Bytes::ZERO);
}

#[test]
fn small_pieces_that_come_back_serve_who_waits_too() {
    let budget = budget(1);
    let cache = component(&budget, "cache");
    // Smaller than what a cell keeps.
    let mut pieces: Vec<_> = (0..10_000)
        .map(|_| cache.reserve(Bytes(100)).unwrap())
        .collect();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            cache
                .reserve_timeout(mib(1), Duration::from_secs(60))
                .map(|served| served.size())
        });
        wait_until(|| budget.waiters().0 == 1);
        pieces.clear();
        assert_eq!(waiting.join().unwrap(), Ok(mib(1)));
    });
}

#[test]
fn waiting_ends_with_its_time_and_leaves_nothing() {
    let budget = budget(10);
    let cache = component(&budget, "cache");
    let held = cache.reserve(mib(8)).unwrap();
    let error = cache
        .reserve_timeout(mib(5), Duration::from_millis(1))
        .unwrap_err();
    assert!(error.may_retry(), "{error}");
    assert_eq!(budget.waiters().0, 0);
    drop(held);
    assert_eq!(budget.reserved(), Bytes::ZERO);
}

#[test]
fn a_large_request_is_not_overtaken_for_ever_by_small_ones() {
    let budget = budget(10);
    let cache = component(&budget, "cache");
    let held = cache.reserve(mib(8)).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            cache
                .reserve_timeout(mib(9), Duration::from_secs(60))
                .map(|served| served.size())
        });
        wait_until(|| budget.waiters().0 == 1);
        assert!(cache.reserve(mib(1)).is_err());
        drop(held);
        assert_eq!(waiting.join().unwrap(), Ok(mib(9)));
    });
}

#[test]
fn who_waits_for_its_own_limit_holds_up_nobody() {
    let budget = budget(10);
    let narrow = budget.component("narrow").limit(mib(2)).register().unwrap();
    let wide = component(&budget, "wide");
    let held = narrow.reserve(mib(2)).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            narrow
                .reserve_timeout(mib(1), Duration::from_secs(60))
                .map(|served| served.size())
        });
        wait_until(|| budget.waiters().0 == 1);
        drop(wide.reserve(mib(4)).unwrap());
        drop(held);
        assert_eq!(waiting.join().unwrap(), Ok(mib(1)));
    });
}

#[test]
fn the_largest_that_waits_is_refused_when_nobody_moves() {
    let budget = budget(10);
    let cache = component(&budget, "cache");
    let held = cache.reserve(mib(9)).unwrap();
    std::thread::scope(|scope| {
        let large = scope.spawn(|| {
            cache
                .reserve_timeout(mib(8), Duration::from_secs(60))
                .map(|served| served.size())
        });
        wait_until(|| budget.waiters().0 == 1);
        let small = scope.spawn(|| {
            cache
                .reserve_timeout(mib(2), Duration::from_secs(60))
                .map(|served| served.size())
        });
        wait_until(|| budget.waiters().0 == 2);
        assert_eq!(
            budget.fail_largest_waiter().map(|(_, bytes)| bytes),
            Some(mib(8))
        );
        let error = large.join().unwrap().unwrap_err();
        assert!(
            !error.may_retry() && error.to_string().contains("nobody gave"),
            "{error}"
        );
        drop(held);
        assert_eq!(small.join().unwrap(), Ok(mib(2)));
    });
}

#[test]
fn who_waits_for_what_can_never_be_again_is_told() {
    let budget = budget(10);
    let cache = component(&budget, "cache");
    let held = cache.reserve(mib(5)).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            cache
                .reserve_timeout(mib(8), Duration::from_secs(60))
                .map(|served| served.size())
        });
        wait_until(|| budget.waiters().0 == 1);
        budget.set_limit(mib(6)).unwrap();
        let error = waiting.join().unwrap().unwrap_err();
        assert!(matches!(error, ReserveError::Exceeds { .. }), "{error}");
    });
    drop(held);
}

/// One waits for 9 MiB of 10, of which 3 are held, and one behind it for 4. Then
/// `shrinks` makes the first hopeless.
fn who_waits_behind(shrinks: impl FnOnce(&Budget)) {
    let budget = budget(10);
    let parts = ["holder", "large", "small"].map(|name| component(&budget, name));
    let _held = parts[0].reserve(mib(3)).unwrap();
    std::thread::scope(|scope| {
        let waits = |part: &'static str, bytes, count| {
            let component = parts.iter().find(|it| it.name() == part).unwrap();
            let waits = move || {
                let served = component.reserve_timeout(bytes, Duration::from_secs(20));
                served.map(|served| served.size())
            };
            let waiting = scope.spawn(waits);
            wait_until(|| budget.waiters().0 == count);
            waiting
        };
        let large = waits("large", mib(9), 1);
        let small = waits("small", mib(4), 2);
        shrinks(&budget);
        assert!(large.join().unwrap().is_err());
        assert_eq!(small.join().unwrap(), Ok(mib(4)));
    });
}

#[test]
fn who_waits_behind_one_that_a_lower_limit_makes_hopeless_is_served() {
    who_waits_behind(|budget| budget.set_limit(mib(8)).unwrap());
}

#[test]
fn who_waits_behind_one_that_a_new_floor_makes_hopeless_is_served() {
    who_waits_behind(|budget| {
        let floor = budget.component("floor").floor(mib(2)).register();
        std::mem::forget(floor.unwrap());
    });
}
