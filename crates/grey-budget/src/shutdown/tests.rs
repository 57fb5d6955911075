//! Facts about ending in good order.

use super::*;

#[test]
fn the_steps_run_in_order_and_one_that_fails_keeps_none_from_running() {
    let shutdown = Shutdown::new();
    let done: Arc<Mutex<Vec<&str>>> = Arc::default();
    let note = |name: &'static str| {
        let done = Arc::clone(&done);
        move || done.lock().unwrap().push(name)
    };
    let (close, persist, other, stop) =
        (note("close"), note("persist"), note("other"), note("stop"));
    shutdown.at(ShutdownStep::Close, "files", move |_| {
        close();
        Ok(())
    });
    shutdown.at(ShutdownStep::Persist, "cache", move |_| {
        persist();
        Err("the disk is full".to_owned())
    });
    shutdown.at(ShutdownStep::Persist, "other", move |_| {
        other();
        panic!("oh no")
    });
    shutdown.at(ShutdownStep::StopMonitoring, "controller", move |_| {
        stop();
        Ok(())
    });
    let report = shutdown.run(&ShutdownSettings::default());
    assert_eq!(*done.lock().unwrap(), ["stop", "persist", "other", "close"]);
    let outcomes: Vec<_> = report
        .steps
        .iter()
        .map(|(_, _, outcome)| outcome.clone())
        .collect();
    assert_eq!(
        outcomes,
        [
            StepOutcome::Done,
            StepOutcome::Failed("the disk is full".to_owned()),
            StepOutcome::Panicked,
            StepOutcome::Done
        ]
    );
    assert!(!report.is_complete());
    // Once is enough.
    assert_eq!(shutdown.run(&ShutdownSettings::default()), report);
    assert_eq!(done.lock().unwrap().len(), 4);
}

#[test]
fn one_that_hangs_loses_its_time_and_not_that_of_the_next_step() {
    let shutdown = Shutdown::new();
    let (_open, gate) = std::sync::mpsc::channel::<()>();
    shutdown.at(ShutdownStep::Drain, "stuck", move |_| {
        gate.recv().map_err(|error| error.to_string())
    });
    shutdown.at(ShutdownStep::Persist, "cache", |until| {
        assert!(until > Instant::now());
        Ok(())
    });
    let settings = ShutdownSettings {
        drain: Duration::from_millis(10),
        ..ShutdownSettings::default()
    };
    let report = shutdown.run(&settings);
    assert_eq!(report.steps[0].2, StepOutcome::TimedOut);
    assert_eq!(report.steps[1].2, StepOutcome::Done);
}

#[test]
fn one_that_hangs_leaves_time_to_the_others_of_its_step() {
    let shutdown = Shutdown::new();
    let (_open, gate) = std::sync::mpsc::channel::<()>();
    shutdown.at(ShutdownStep::Persist, "stuck", move |_| {
        gate.recv().map_err(|error| error.to_string())
    });
    let (saved, was_saved) = std::sync::mpsc::channel();
    shutdown.at(ShutdownStep::Persist, "cache", move |until| {
        assert!(until > Instant::now(), "there is time left");
        saved.send(()).map_err(|error| error.to_string())
    });
    let settings = ShutdownSettings {
        persist: Duration::from_secs(4),
        ..ShutdownSettings::default()
    };
    let report = shutdown.run(&settings);
    assert_eq!(report.steps[0].2, StepOutcome::TimedOut);
    assert_eq!(report.steps[1].2, StepOutcome::Done);
    assert!(was_saved.try_recv().is_ok());
}

#[test]
fn one_that_takes_more_than_its_share_and_ends_in_time_is_done() {
    let shutdown = Shutdown::new();
    let (open, gate) = std::sync::mpsc::channel::<()>();
    shutdown.at(ShutdownStep::Persist, "slow", move |_| {
        gate.recv().map_err(|error| error.to_string())
    });
    shutdown.at(ShutdownStep::Persist, "next", move |_| {
        open.send(()).map_err(|error| error.to_string())
    });
    let settings = ShutdownSettings {
        persist: Duration::from_secs(2),
        ..ShutdownSettings::default()
    };
    let report = shutdown.run(&settings);
    assert!(report.is_complete(), "{report:?}");
}

#[test]
fn what_is_added_during_a_run_or_after_it_is_not_lost() {
    let shutdown = Shutdown::new();
    let during = shutdown.clone();
    shutdown.at(ShutdownStep::Close, "first", move |_| {
        during.at(ShutdownStep::Persist, "during", |_| Ok(()));
        Ok(())
    });
    let names = |report: &ShutdownReport| -> Vec<String> {
        report.steps.iter().map(|step| step.1.clone()).collect()
    };
    let report = shutdown.run(&ShutdownSettings::default());
    assert_eq!(names(&report), ["first", "during"]);
    shutdown.at(ShutdownStep::Drain, "after", |_| Err("full".to_owned()));
    let report = shutdown.run(&ShutdownSettings::default());
    assert_eq!(names(&report), ["first", "during", "after"]);
    assert!(!report.is_complete());
}

#[test]
fn who_sleeps_elsewhere_is_woken_as_long_as_it_lives() {
    #[derive(Default)]
    struct Count(std::sync::atomic::AtomicU64);
    impl Sleeper for Count {
        fn wake(&self) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }
    let shutdown = Shutdown::new();
    let count = Arc::new(Count::default());
    for _ in 0..3 {
        let gone: Arc<dyn Sleeper> = Arc::new(Count::default());
        shutdown.wakes(Arc::downgrade(&gone));
    }
    let sleeper: Arc<dyn Sleeper> = Arc::<Count>::clone(&count);
    shutdown.wakes(Arc::downgrade(&sleeper));
    assert_eq!(shutdown.state().sleepers.len(), 1);
    shutdown.request(ShutdownReason::Requested);
    assert_eq!(count.0.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[test]
fn the_longest_times_are_as_good_as_no_end() {
    let shutdown = Shutdown::new();
    shutdown.at(ShutdownStep::Drain, "work", |_| Ok(()));
    let settings = ShutdownSettings {
        drain: Duration::MAX,
        ..ShutdownSettings::default()
    };
    assert!(shutdown.run(&settings).is_complete());
    let reason = shutdown.wait(Duration::MAX);
    assert_eq!(reason, Some(ShutdownReason::Requested));
}

#[test]
fn the_first_reason_stays_and_gives_the_exit_code() {
    let shutdown = Shutdown::new();
    assert_eq!(shutdown.wait(Duration::from_millis(1)), None);
    shutdown.request(ShutdownReason::Signal(SIGTERM));
    shutdown.request(ShutdownReason::MemoryCritical);
    assert_eq!(
        shutdown.wait(Duration::ZERO),
        Some(ShutdownReason::Signal(15))
    );
    assert_eq!(shutdown.exit_code(), 143);
    let critical = Shutdown::new();
    critical.request(ShutdownReason::MemoryCritical);
    assert_eq!(critical.exit_code(), EXIT_MEMORY_CRITICAL);
}
