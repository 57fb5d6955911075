//! Facts about limits that are nearer than the budget: an rlimit, a cgroup with
//! others in it.

use super::*;

/// An `RLIMIT_AS` of 300 MiB, and 60 MiB that are mapped beside what is used.
fn rig_with_rlimit() -> Rig {
    let rig = rig();
    rig.process.rlimit.store(300 * MIB, Ordering::SeqCst);
    rig.process.mapped.store(60 * MIB, Ordering::SeqCst);
    rig.controller.tick();
    rig
}

fn map(rig: &Rig, mapped: u64) {
    rig.process.mapped.store(mapped * MIB, Ordering::SeqCst);
}

#[test]
fn what_an_rlimit_leaves_is_what_counts_when_it_is_nearer() {
    let mut rig = rig_with_rlimit();
    let cache = rig.pieces("cache", Priority::Low, 238);
    map(&rig, 298);
    let tick = rig.controller.tick();
    assert_eq!((tick.level, tick.budget), (Level::Emergency, mib(240)));
    assert_eq!(rig.controller.budget().admission(), Admission::CriticalOnly);
    assert!(cache.held() < 220, "{}", cache.held());
}

#[test]
fn caches_are_not_emptied_until_addresses_come_back() {
    let mut rig = rig_with_rlimit();
    let cache = rig.pieces("cache", Priority::Low, 238);
    map(&rig, 298);
    rig.controller.tick();
    let held = cache.held();
    // All stays mapped, and can be used again.
    for _ in 0..10 {
        rig.clock.advance(10_000);
        rig.controller.tick();
    }
    assert_eq!(rig.controller.level(), Level::Normal);
    assert!(cache.held() + 40 > held, "{} of {held}", cache.held());
}

#[test]
fn a_look_minds_an_rlimit_that_is_nearer() {
    let rig = rig_with_rlimit();
    rig.controller.inner.begin();
    rig.fill(238);
    map(&rig, 298);
    rig.controller.inner.look();
    assert_eq!(rig.controller.budget().admission(), Admission::CriticalOnly);
}

