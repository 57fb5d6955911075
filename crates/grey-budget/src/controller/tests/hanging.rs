//! Facts about reclaimers and callbacks that do not come back.

use std::sync::{Condvar, mpsc};

use super::super::call::{MOST_CALLS, RESERVED_CALLS};
use super::super::execute::MOST_WORKS;
use super::*;
use crate::wait_until::wait_until;

/// Keeps whoever enters until it is opened.
#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
    entered: AtomicUsize,
}

impl Gate {
    fn enter(&self) {
        self.entered.fetch_add(1, Ordering::SeqCst);
        let mut is_open = self.is_open.lock().unwrap();
        while !*is_open {
            is_open = self.opened.wait(is_open).unwrap();
        }
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

fn settings(call_deadline: Duration) -> ControllerSettings {
    ControllerSettings {
        call_deadline,
        ..ControllerSettings::default()
    }
}

fn hanging(rig: &mut Rig, count: usize) -> Arc<Gate> {
    let gate = Arc::new(Gate::default());
    for _ in 0..count {
        let entered = Arc::clone(&gate);
        rig.register(&Rogue::new("hanging", move |_| {
            entered.enter();
            Reclaimed::default()
        }));
    }
    gate
}

#[test]
fn twenty_that_hang_keep_nobody_else_from_being_asked_and_are_named() {
    let mut rig = rig_with(settings(Duration::from_millis(20)));
    let gate = hanging(&mut rig, 20);
    let request = EvictionRequest::new(mib(10)).up_to(Priority::Medium);
    // On a busy machine a question may be late, too: it is asked again.
    while gate.entered.load(Ordering::SeqCst) < 20 {
        rig.controller.emergency_eviction(&request);
    }
    wait_until(|| rig.controller.statistics().calls_out == 20);
    let late = rig.controller.late_calls();
    assert_eq!(late.len(), 20);
    assert!(late.iter().all(|call| call.name == "hanging"), "{late:?}");
    let so_far = rig.controller.statistics().late_calls;
    assert!(so_far >= 20, "{so_far}");
    // One that comes now is asked for all of it.
    rig.controller
        .set_settings(settings(Duration::from_secs(60)));
    let cache = rig.pieces("cache", Priority::Medium, 600);
    for turn in 1..=3 {
        rig.controller.emergency_eviction(&request);
        assert_eq!(cache.held(), 600 - 10 * turn);
    }
    assert_eq!(gate.entered.load(Ordering::SeqCst), 20, "none twice");
    assert_eq!(rig.controller.statistics().late_calls, so_far);
    gate.open();
    wait_until(|| rig.controller.late_calls().is_empty());
    assert_eq!(rig.controller.statistics().calls_out, 0);
    rig.controller.emergency_eviction(&request);
    // At the threshold of each priority.
    assert_eq!(gate.entered.load(Ordering::SeqCst), 60, "each again");
}

#[test]
fn an_action_whose_target_was_given_by_others_is_done_though_one_hangs() {
    let mut rig = rig_with(settings(Duration::from_millis(20)));
    let gate = hanging(&mut rig, 1);
    let action = || Action::new(ActionKind::Evict, "evict", 1).target(mib(10));
    while gate.entered.load(Ordering::SeqCst) == 0 {
        rig.controller.enqueue_action(action()).unwrap();
        rig.controller.execute_all_actions();
    }
    wait_until(|| !rig.controller.late_calls().is_empty());
    rig.controller
        .set_settings(settings(Duration::from_secs(60)));
    rig.pieces("cache", Priority::Medium, 600);
    rig.controller.enqueue_action(action()).unwrap();
    let results = rig.controller.execute_all_actions();
    assert_eq!(results[0].status, ActionStatus::Completed);
    assert_eq!(results[0].error, None);
    gate.open();
}

#[test]
fn who_came_back_is_called_however_many_hang_and_the_threads_are_bounded() {
    let mut rig = rig_with(settings(Duration::from_secs(60)));
    let cache = rig.pieces("cache", Priority::Medium, 600);
    let request = EvictionRequest::new(mib(10)).up_to(Priority::Medium);
    rig.controller.emergency_eviction(&request);
    assert_eq!(cache.held(), 590);
    let most = MOST_CALLS - RESERVED_CALLS;
    let gate = hanging(&mut rig, most + 50);
    // Nobody asks the cache while these are left behind.
    let low = EvictionRequest::new(mib(10)).up_to(Priority::Low);
    while gate.entered.load(Ordering::SeqCst) < most {
        rig.controller
            .set_settings(settings(Duration::from_millis(10)));
        rig.controller.emergency_eviction(&low);
        rig.controller
            .set_settings(settings(Duration::from_secs(60)));
    }
    wait_until(|| rig.controller.statistics().calls_out == most as u64);
    rig.controller.emergency_eviction(&request);
    assert_eq!(cache.held(), 580);
    assert_eq!(rig.controller.statistics().calls_out, most as u64);
    let unasked = rig.controller.emergency_eviction(&request).errors;
    let refused = unasked.iter().filter(|error| error.contains("too many"));
    assert_eq!(refused.count(), 50);
    gate.open();
}

#[test]
fn many_that_hang_are_not_waited_for_each_for_the_whole_deadline() {
    let round = super::super::reclaim::Round {
        target: mib(1),
        excluded_projects: Vec::new(),
        budget: mib(1000),
        call_deadline: Duration::from_secs(10),
        purge: super::super::reclaim::PurgeAfter::Never,
    };
    let mut done = super::super::reclaim::Reclamation::default();
    let mut waited = Duration::ZERO;
    for _ in 0..40 {
        waited += round.patience(&done);
        let late = ("hanging".to_owned(), ReclaimMode::Evict, Outcome::Late);
        done.calls.push(late);
    }
    assert_eq!(round.patience(&done), Duration::from_millis(100));
    assert!(waited < Duration::from_secs(24), "{waited:?}");
}

#[test]
fn a_callback_that_hangs_is_left_behind_and_not_called_before_it_returns() {
    let hurried = ControllerSettings {
        cooldown: Duration::ZERO,
        ..settings(Duration::from_millis(20))
    };
    let rig = rig_with(hurried);
    let gate = Arc::new(Gate::default());
    let entered = Arc::clone(&gate);
    rig.controller.on_change(move |_| entered.enter()).keep();
    let change = |used: u64| {
        rig.process.used.store(used * MIB, Ordering::SeqCst);
        rig.clock.advance(10_000);
        rig.controller.tick();
    };
    // It is left behind as soon as it was called, however busy the machine is.
    change(850);
    wait_until(|| gate.entered.load(Ordering::SeqCst) == 1);
    assert_eq!(rig.controller.late_calls()[0].name, "callback of a level");
    // Others are called all the while, and have all the time they need.
    let patient = ControllerSettings {
        cooldown: Duration::ZERO,
        ..settings(Duration::from_secs(60))
    };
    rig.controller.set_settings(patient);
    let (told, heard) = mpsc::channel();
    rig.controller
        .on_change(move |event| told.send(event.to).unwrap())
        .keep();
    for used in [100, 850, 100] {
        change(used);
    }
    assert_eq!(
        heard.try_iter().collect::<Vec<_>>(),
        [Level::Normal, Level::Soft, Level::Normal]
    );
    assert_eq!(gate.entered.load(Ordering::SeqCst), 1);
    gate.open();
    wait_until(|| rig.controller.late_calls().is_empty());
}

/// What is called back and asks the controller to end waits for nobody.
fn ends_from_within(call: impl FnOnce(&mut Rig, Box<dyn Fn() + Send + Sync>)) {
    let mut rig = rig_with(settings(Duration::from_secs(3600)));
    let running = Arc::new(Mutex::new(Some(rig.controller.start().unwrap())));
    let (told, heard) = mpsc::channel();
    call(
        &mut rig,
        Box::new(move || {
            let running = running.lock().unwrap().take();
            if let Some(running) = running {
                running.stop();
                told.send(()).unwrap();
            }
        }),
    );
    heard.recv_timeout(Duration::from_secs(60)).expect("ends");
    // The thread that ticks is gone, too.
    wait_until(|| crate::controller::state::lock(&rig.controller.inner.state).keepers == 0);
}

#[test]
fn a_controller_may_be_stopped_from_a_callback_of_a_level() {
    ends_from_within(|rig, stop| {
        rig.controller.on_level(Level::Soft, move |_| stop()).keep();
        rig.fill(850);
    });
}

#[test]
fn a_controller_may_be_stopped_from_a_reclaimer() {
    ends_from_within(|rig, stop| {
        rig.register(&Rogue::new("stops", move |_| {
            stop();
            Reclaimed::default()
        }));
        rig.fill(850);
    });
}

#[test]
fn a_controller_may_be_stopped_from_an_action() {
    ends_from_within(|rig, stop| {
        let work = move || {
            stop();
            Ok(Bytes::ZERO)
        };
        let kind = ActionKind::custom("stops", work);
        rig.controller
            .enqueue_action(Action::new(kind, "stops", 1))
            .unwrap();
    });
}

fn enqueue(
    rig: &Rig,
    name: &str,
    work: impl Fn() -> Result<Bytes, String> + Send + Sync + 'static,
) {
    let kind = ActionKind::custom(name, work);
    rig.controller
        .enqueue_action(Action::new(kind, name, 1))
        .unwrap();
}

#[test]
fn an_action_that_asks_for_another_is_told_and_waits_for_nobody() {
    let rig = rig_with(settings(Duration::from_secs(3600)));
    let (told, heard) = mpsc::channel();
    let controller = rig.controller.clone();
    enqueue(&rig, "evicts", move || {
        let request = EvictionRequest::new(mib(10));
        told.send(controller.emergency_eviction(&request)).unwrap();
        assert!(controller.execute_all_actions().is_empty());
        Ok(mib(1))
    });
    let results = rig.controller.execute_all_actions();
    assert_eq!(results[0].status, ActionStatus::Completed);
    assert_eq!(
        heard.try_recv().unwrap().errors,
        ["asked for from within a reclaimer or an action"]
    );
}

#[test]
fn an_action_that_hangs_is_named_and_not_done_again_before_it_returns() {
    let rig = rig_with(settings(Duration::from_millis(20)));
    let gate = Arc::new(Gate::default());
    let entered = Arc::clone(&gate);
    let kind = ActionKind::custom("compact", move || {
        entered.enter();
        Ok(Bytes::ZERO)
    });
    let done = || {
        let action = Action::new(kind.clone(), "again", 1);
        rig.controller.enqueue_action(action).unwrap();
        rig.controller.execute_all_actions().remove(0)
    };
    assert_eq!(done().status, ActionStatus::TimedOut);
    let again = done();
    assert_eq!(again.status, ActionStatus::Failed);
    assert_eq!(
        again.error.as_deref(),
        Some("`compact` has not returned from an earlier call")
    );
    assert_eq!(rig.controller.late_calls()[0].name, "compact");
    assert_eq!(rig.controller.statistics().late_calls, 1);
    gate.open();
    wait_until(|| rig.controller.late_calls().is_empty());
    assert_eq!(gate.entered.load(Ordering::SeqCst), 1);
}

#[test]
fn actions_that_hang_leave_room_for_reclaimers() {
    let mut rig = rig_with(settings(Duration::from_millis(2)));
    let gate = Arc::new(Gate::default());
    for _ in 0..300 {
        let entered = Arc::clone(&gate);
        enqueue(&rig, "stuck", move || {
            entered.enter();
            Ok(Bytes::ZERO)
        });
    }
    let results = rig.controller.execute_all_actions();
    let out = rig.controller.statistics().calls_out;
    assert_eq!(out, u64::try_from(MOST_WORKS).unwrap());
    assert!(
        results[299]
            .error
            .as_ref()
            .unwrap()
            .contains("too many actions")
    );
    rig.controller
        .set_settings(settings(Duration::from_secs(60)));
    let cache = rig.pieces("cache", Priority::Low, 100);
    rig.controller
        .emergency_eviction(&EvictionRequest::new(mib(10)));
    assert_eq!(cache.held(), 90);
    gate.open();
}

#[test]
fn an_action_that_hangs_does_not_hide_an_emergency() {
    let rig = rig_with(settings(Duration::from_secs(3600)));
    let gate = Arc::new(Gate::default());
    let (entered, process) = (Arc::clone(&gate), Arc::clone(&rig.process));
    enqueue(&rig, "stuck", move || {
        process.used.store(990 * MIB, Ordering::SeqCst);
        entered.enter();
        Ok(Bytes::ZERO)
    });
    let tick = rig.controller.tick();
    assert_eq!(tick.level, Level::Normal);
    assert_eq!(tick.results[0].status, ActionStatus::TimedOut);
    assert_eq!(rig.controller.tick().level, Level::Emergency);
    gate.open();
}

#[test]
fn a_reclaimer_that_joins_a_thread_which_evicts_keeps_half_of_its_time() {
    let mut rig = rig_with(settings(Duration::from_secs(10)));
    let (told, heard) = mpsc::channel();
    let controller = rig.controller.clone();
    rig.register(&Rogue::new("joins", move |_| {
        let controller = controller.clone();
        let evicts = move || controller.emergency_eviction(&EvictionRequest::new(mib(10)));
        told.send(std::thread::spawn(evicts).join().unwrap())
            .unwrap();
        Reclaimed {
            freed: mib(10),
            ..Reclaimed::default()
        }
    }));
    let done = rig
        .controller
        .emergency_eviction(&EvictionRequest::new(mib(10)));
    assert_eq!(done.evicted, mib(10));
    assert!(done.errors.is_empty(), "{:?}", done.errors);
    assert_eq!(
        heard.try_recv().unwrap().errors,
        ["another action is being done and has not ended"]
    );
}
