//! Facts about when what was spilled comes back, and how much of it.

use std::sync::mpsc::{self, Receiver, Sender};

use super::*;
use crate::load_back::{LoadBackEnd, LoadBackRation, LoadBackReport};
use crate::scripted_loader::ScriptedLoader;
use crate::wait_until::wait_until;

/// Loads back as it is told to, and frees what it is asked for.
fn loader(
    work: impl Fn(Priority, &LoadBackRation) -> LoadBackReport + Send + Sync + 'static,
) -> Arc<ScriptedLoader> {
    ScriptedLoader::new(mib(1), work)
}

/// Says of which priority it was asked, and how much room there was.
fn told(rig: &mut Rig) -> Receiver<(Priority, Bytes)> {
    let (tell, heard) = mpsc::channel();
    rig.register(&loader(move |priority, ration| {
        let _ = tell.send((priority, ration.next_slice()));
        LoadBackReport::default()
    }));
    heard
}

/// Takes a mebibyte of each slice until it is over, and tells when it began.
fn endless(tell: Sender<()>) -> Arc<ScriptedLoader> {
    loader(move |priority, ration| {
        let mut report = LoadBackReport::default();
        while ration.next_slice() > Bytes::ZERO {
            if ration.take(mib(1)) {
                report.count(priority, mib(1));
                let _ = tell.send(());
            }
            std::thread::yield_now();
        }
        report
    })
}

const DEAREST_FIRST: [Priority; 4] = [
    Priority::Critical,
    Priority::High,
    Priority::Medium,
    Priority::Low,
];

/// Pressure that is over, the level having fallen just now.
fn after_pressure(rig: &Rig) {
    rig.fill(850);
    rig.controller.tick();
    assert_eq!(rig.controller.level(), Level::Soft);
    rig.process.used.store(500 * MIB, Ordering::SeqCst);
    rig.process.kept.store(0, Ordering::SeqCst);
    rig.clock.advance(6_000);
    rig.controller.tick();
    assert_eq!(rig.controller.level(), Level::Normal);
}

/// Lets the level be normal for the cooldown.
fn calm(rig: &Rig) {
    rig.clock.advance(6_000);
    rig.controller.tick();
}

/// A round that goes on until it is ended, and what it tells.
fn while_it_loads() -> (Rig, Receiver<()>) {
    let mut rig = rig();
    let (tell, began) = mpsc::channel();
    rig.register(&endless(tell));
    after_pressure(&rig);
    calm(&rig);
    began.recv_timeout(Duration::from_secs(60)).unwrap();
    (rig, began)
}

#[test]
fn what_was_spilled_comes_back_once_the_level_was_normal_for_the_cooldown() {
    let mut rig = rig();
    let heard = told(&mut rig);
    // Nothing was under pressure yet.
    calm(&rig);
    calm(&rig);
    after_pressure(&rig);
    rig.clock.advance(4_900);
    rig.controller.tick();
    assert!(!rig.controller.inner.loading.is_running());
    assert!(heard.try_recv().is_err(), "too early");
    calm(&rig);
    let asked = DEAREST_FIRST.map(|_| heard.recv_timeout(Duration::from_secs(60)).unwrap());
    assert_eq!(asked.map(|(priority, _)| priority), DEAREST_FIRST);
    // 5 % below the end of the soft level, which is at 77 %; 500 MiB are used.
    assert_eq!(asked[0].1, mib(220));
    wait_until(|| !rig.controller.inner.loading.is_running());
    calm(&rig);
    assert!(!rig.controller.inner.loading.is_running(), "it is all back");
}

#[test]
fn loading_back_ends_with_the_pressure_that_returns() {
    let (rig, _began) = while_it_loads();
    rig.fill(850);
    rig.controller.tick();
    wait_until(|| !rig.controller.inner.loading.is_running());
    let so_far = rig.controller.statistics().loaded_back;
    assert!(so_far > 0);
    let now = rig.controller.load_back_now();
    assert_eq!((now.end, now.values()), (LoadBackEnd::Pressure, 0));
    // Once more it waits for calm.
    rig.controller.tick();
    assert!(!rig.controller.inner.loading.is_running());
}

#[test]
fn a_level_that_nobody_judged_yet_leaves_no_room() {
    let mut rig = rig();
    let heard = told(&mut rig);
    rig.fill(710);
    assert_eq!(rig.controller.load_back_now().end, LoadBackEnd::Done);
    assert_eq!(heard.try_recv().unwrap().1, mib(10));
    rig.fill(721);
    assert_eq!(rig.controller.load_back_now().end, LoadBackEnd::NoRoom);
}

#[test]
fn what_is_reserved_counts_and_so_do_the_cgroup_and_an_rlimit() {
    let mut rig = rig();
    let heard = told(&mut rig);
    rig.process.used.store(100 * MIB, Ordering::SeqCst);
    let component = rig
        .controller
        .budget()
        .component("held")
        .register()
        .unwrap();
    let held = component.reserve(mib(700)).unwrap();
    rig.controller.tick();
    rig.controller.load_back_now();
    assert_eq!(heard.try_iter().last().unwrap().1, mib(20));
    drop(held);
    rig.process.cgroup_limit.store(200 * MIB, Ordering::SeqCst);
    rig.clock.advance(2_000);
    rig.controller.tick();
    rig.controller.load_back_now();
    assert_eq!(heard.try_iter().last().unwrap().1, mib(44));
}

#[test]
fn what_is_less_dear_does_not_take_the_place_of_what_did_not_fit() {
    let mut rig = rig();
    let (tell, heard) = mpsc::channel();
    rig.register(&loader(move |priority, ration| {
        tell.send(priority).unwrap();
        let room = ration.next_slice();
        if priority == Priority::High {
            assert!(!ration.take(room.saturating_add(Bytes(1))));
        }
        LoadBackReport::default()
    }));
    let done = rig.controller.load_back_now();
    assert_eq!(done.end, LoadBackEnd::NoRoom);
    let asked: Vec<_> = heard.try_iter().collect();
    assert_eq!(asked, [Priority::Critical, Priority::High]);
}

#[test]
fn a_loader_that_panics_is_counted_and_the_others_load() {
    let mut rig = rig();
    rig.register(&loader(|_, _| panic!("a loader of the test")));
    let heard = told(&mut rig);
    let done = rig.controller.load_back_now();
    assert_eq!(done.end, LoadBackEnd::Failed);
    assert_eq!(heard.try_iter().count(), 4);
    assert_eq!(rig.controller.statistics().load_back_failures, 4);
}

#[test]
fn a_loader_that_hangs_is_left_behind_and_is_still_asked_for_memory() {
    let mut rig = rig_with(ControllerSettings {
        call_deadline: Duration::from_millis(20),
        ..ControllerSettings::default()
    });
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    rig.register(&loader(move |_, _| {
        let _ = released.lock().unwrap().recv();
        LoadBackReport::default()
    }));
    let done = rig.controller.load_back_now();
    assert_eq!(done.end, LoadBackEnd::Failed);
    assert_eq!(rig.controller.late_calls()[0].name, "loader");
    rig.controller.set_settings(ControllerSettings {
        call_deadline: Duration::from_secs(60),
        ..ControllerSettings::default()
    });
    let heard = told(&mut rig);
    rig.controller.load_back_now();
    assert_eq!(heard.try_iter().count(), 4, "the other one loads");
    let evicted = rig
        .controller
        .emergency_eviction(&EvictionRequest::new(mib(2)));
    assert_eq!((evicted.evicted, evicted.errors), (mib(2), Vec::new()));
    drop(release);
    wait_until(|| rig.controller.late_calls().is_empty());
}

#[test]
fn one_round_at_a_time_and_a_held_one_not_at_all() {
    let (rig, began) = while_it_loads();
    assert_eq!(rig.controller.load_back_now().end, LoadBackEnd::Busy);
    rig.controller.hold_load_back(Hold::Machine);
    wait_until(|| !rig.controller.inner.loading.is_running());
    assert_eq!(rig.controller.load_back_now().end, LoadBackEnd::Stopped);
    calm(&rig);
    calm(&rig);
    assert!(!rig.controller.inner.loading.is_running());
    rig.controller.release_load_back(Hold::Machine);
    while began.try_recv().is_ok() {}
    calm(&rig);
    calm(&rig);
    began.recv_timeout(Duration::from_secs(60)).unwrap();
    rig.controller.end_load_back();
    assert!(!rig.controller.inner.loading.is_running());
}

/// Lets the level be normal for so long; whether a round began by itself.
fn begins_after(rig: &Rig, milliseconds: u64, heard: &Receiver<()>) -> bool {
    rig.clock.advance(milliseconds);
    rig.controller.tick();
    wait_until(|| !rig.controller.inner.loading.is_running());
    heard.try_iter().count() > 0
}

#[test]
fn a_loader_that_failed_is_asked_again_after_twice_as_long_each_time() {
    let mut rig = rig();
    let (tell, heard) = mpsc::channel();
    let fails = Arc::new(AtomicBool::new(true));
    let failing = Arc::clone(&fails);
    rig.register(&loader(move |_, _| {
        tell.send(()).unwrap();
        assert!(!failing.load(Ordering::SeqCst), "a loader of the test");
        LoadBackReport::default()
    }));
    after_pressure(&rig);
    assert!(begins_after(&rig, 6_000, &heard));
    assert!(!begins_after(&rig, 29_000, &heard), "not at once");
    assert!(begins_after(&rig, 2_000, &heard));
    assert!(!begins_after(&rig, 59_000, &heard));
    fails.store(false, Ordering::SeqCst);
    assert!(begins_after(&rig, 2_000, &heard));
    assert!(!begins_after(&rig, 3_600_000, &heard), "it is all back");
}

#[test]
fn a_loader_whose_time_was_over_before_it_loaded_anything_is_asked_again() {
    let mut rig = rig_with(ControllerSettings {
        call_deadline: Duration::from_secs(2),
        ..ControllerSettings::default()
    });
    let (tell, heard) = mpsc::channel();
    rig.register(&loader(move |priority, ration| {
        if priority == Priority::Critical {
            tell.send(()).unwrap();
            assert!(ration.next_slice() > Bytes::ZERO);
            wait_until(|| ration.is_over());
        }
        LoadBackReport::default()
    }));
    assert_eq!(rig.controller.load_back_now().end, LoadBackEnd::Failed);
    assert_eq!(heard.try_iter().count(), 1);
    rig.controller.tick();
    assert!(begins_after(&rig, 31_000, &heard));
}

#[test]
fn it_is_not_loaded_back_where_the_settings_say_so_but_may_be_asked_for() {
    let mut rig = rig_with(ControllerSettings {
        loads_back: false,
        ..ControllerSettings::default()
    });
    let heard = told(&mut rig);
    after_pressure(&rig);
    calm(&rig);
    calm(&rig);
    assert!(!rig.controller.inner.loading.is_running());
    rig.controller.load_back_now();
    assert_eq!(heard.try_iter().count(), 4);
}

#[test]
fn a_controller_that_is_stopped_or_gone_loads_nothing_more() {
    let (rig, began) = while_it_loads();
    let loaded = rig.controller.statistics().loaded_back;
    rig.controller.start().unwrap().stop();
    assert!(!rig.controller.inner.loading.is_running());
    assert!(rig.controller.statistics().loaded_back > loaded);
    // Gone in the middle of another round.
    calm(&rig);
    calm(&rig);
    while began.try_recv().is_ok() {}
    began.recv_timeout(Duration::from_secs(60)).unwrap();
    drop(rig);
    let ended = || matches!(began.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    wait_until(|| {
        while began.try_recv().is_ok() {}
        ended()
    });
}
