//! Facts about limits that are nearer than the budget (an rlimit, a cgroup with
//! others in it), and about memory that is not the budget's own.

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

/// A cgroup of 500 MiB, half of the budget.
fn rig_with_cgroup() -> Rig {
    let rig = rig();
    rig.process.cgroup_limit.store(500 * MIB, Ordering::SeqCst);
    rig
}

#[test]
fn what_others_of_the_cgroup_hold_counts() {
    let mut rig = rig_with_cgroup();
    let cache = rig.pieces("cache", Priority::Low, 60);
    let others = &rig.process.others;
    others.store(340 * MIB, Ordering::SeqCst);
    let tick = rig.controller.tick();
    assert_eq!((tick.level, tick.budget), (Level::Soft, mib(500)));
    assert_eq!((tick.used, cache.held()), (mib(400), 35));
}

#[test]
fn file_cache_of_the_cgroup_does_not_count() {
    let rig = rig_with_cgroup();
    rig.process.others.store(480 * MIB, Ordering::SeqCst);
    rig.process.file_cache.store(300 * MIB, Ordering::SeqCst);
    assert_eq!(rig.controller.tick().level, Level::Normal);
}

#[test]
fn the_part_of_this_process_in_the_cgroup_is_as_new_as_its_resident_set() {
    let rig = rig_with_cgroup();
    rig.process.others.store(300 * MIB, Ordering::SeqCst);
    assert_eq!(rig.controller.tick().level, Level::Normal);
    // Before the cgroup is read again.
    rig.fill(195);
    rig.clock.advance(100);
    assert_eq!(rig.controller.tick().level, Level::Emergency);
    rig.controller.inner.begin();
    rig.controller.budget().set_admission(Admission::Open);
    rig.controller.inner.look();
    assert_eq!(rig.controller.budget().admission(), Admission::CriticalOnly);
}

#[test]
fn what_is_promised_beyond_the_cgroup_closes_the_budget() {
    let rig = rig_with_cgroup();
    let work = rig.controller.budget().component("work");
    let work = work.register().unwrap();
    let _held = work.reserve(mib(495)).unwrap();
    assert_eq!(rig.controller.tick().level, Level::Emergency);
    assert!(work.reserve(mib(100)).is_err());
}

#[test]
fn a_controller_that_is_dropped_leaves_the_budget_open() {
    let rig = rig();
    rig.fill(990);
    let budget = rig.controller.budget().clone();
    rig.controller.tick();
    assert_eq!(budget.admission(), Admission::CriticalOnly);
    drop(rig);
    assert_eq!(budget.admission(), Admission::Open);
    // What the program itself has closed stays so.
    let rig = rig_with(ControllerSettings::default());
    let other = rig.controller.budget().clone();
    other.set_admission(Admission::NoRefill);
    drop(rig);
    assert_eq!(other.admission(), Admission::NoRefill);
}

#[test]
fn caches_make_room_for_memory_that_nobody_charges() {
    let mut rig = rig();
    let cache = rig.pieces("cache", Priority::Low, 300);
    let critical = rig.pieces("critical", Priority::Critical, 50);
    // 940 MiB that nobody reserved come to it, and stay.
    rig.fill(1290);
    for _ in 0..10 {
        rig.clock.advance(10_000);
        rig.controller.tick();
    }
    assert_eq!((cache.held(), critical.held()), (0, 50));
    assert_eq!(rig.controller.level(), Level::Emergency);
    assert_eq!(rig.controller.budget().admission(), Admission::CriticalOnly);
    rig.process.used.fetch_sub(500 * MIB, Ordering::SeqCst);
    rig.clock.advance(10_000);
    rig.controller.tick();
    assert_eq!(rig.controller.budget().admission(), Admission::Open);
}

#[test]
fn two_budgets_of_one_program_each_count_the_whole_resident_set() {
    let rig = rig();
    let source: Arc<dyn MemorySource> = Arc::<Process>::clone(&rig.process);
    let second = Controller::new(
        Budget::new(mib(1000)).unwrap(),
        source,
        ControllerSettings::default(),
    );
    let hold = |controller: &Controller| {
        let component = controller.budget().component("half").register().unwrap();
        rig.process.used.fetch_add(475 * MIB, Ordering::SeqCst);
        component.reserve_owned(mib(475)).unwrap()
    };
    let _held = (hold(&rig.controller), hold(&second));
    for controller in [&rig.controller, &second] {
        let tick = controller.tick();
        assert_eq!((tick.used, tick.level), (mib(950), Level::Hard));
    }
}
