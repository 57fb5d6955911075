//! Facts about the manager, in the order of the document that describes it.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use grey_model::{Bytes, Level, MemoryLimit, SystemLevel};

use super::*;
use crate::budget::Budget;
use crate::controller::ControllerSettings;
use crate::limits::{Bounded, LimitError, LimitKind, LimitWarning, Machine};
use crate::saved_state::{Restored, SavedProject};
use crate::shutdown::{Shutdown, ShutdownSettings, ShutdownStep, StepOutcome};
use crate::spill::{SpillOptions, SpillStore};
use crate::testkit::{FakeClock, FakeSource};

fn mib(count: u64) -> Bytes {
    Bytes::from_mib(count)
}

/// The document's budget, and a process of this size.
fn manager(resident: u64) -> (MemoryManager, Arc<FakeSource>) {
    let source = Arc::new(FakeSource::new(mib(resident)));
    let clock = Arc::new(FakeClock::new());
    let settings = ControllerSettings {
        call_deadline: Duration::from_secs(30),
        ..ControllerSettings::default()
    };
    let watched: Arc<dyn crate::source::MemorySource> = Arc::<FakeSource>::clone(&source);
    let manager = MemoryManager::builder(MemoryLimits::of(mib(3072)))
        .source(watched)
        .clock(clock)
        .settings(settings)
        .build()
        .unwrap();
    (manager, source)
}

#[test]
fn the_limits_are_those_of_the_document() {
    let limits = MemoryLimits::of(mib(3072));
    // 2457, 2857 and 3010 MB, as the document rounds them.
    let whole = |bytes: Bytes| bytes.get() / (1 << 20);
    assert_eq!(whole(limits.soft), 2457);
    assert_eq!(whole(limits.hard), 2856);
    assert_eq!(whole(limits.emergency), 3010);
}

#[test]
fn status_says_which_limits_are_exceeded() {
    let (manager, source) = manager(2500);
    let status = manager.get_status().unwrap();
    assert_eq!(status.current, mib(2500));
    assert!(status.soft_limit_exceeded && !status.hard_limit_exceeded);
    assert_eq!((status.loaded_files, status.cached_queries), (None, None));
    let snapshot = manager.take_snapshot(850, 320).unwrap();
    let status = manager.get_status().unwrap();
    assert_eq!(
        (status.loaded_files, status.cached_queries),
        (Some(850), Some(320))
    );
    source.set_rss(mib(3020));
    assert!(manager.check_limits(None).unwrap().emergency_exceeded);
    assert!(
        !manager
            .check_limits(Some(&snapshot))
            .unwrap()
            .hard_limit_exceeded
    );
}

#[test]
fn enforcing_calls_what_was_registered_for_the_level() {
    let (manager, source) = manager(2900);
    let calls: Arc<Mutex<Vec<&str>>> = Arc::default();
    let note = |name: &'static str| {
        let calls = Arc::clone(&calls);
        let source = Arc::clone(&source);
        move |wanted: Bytes| {
            calls.lock().unwrap().push(name);
            let before = crate::source::MemorySource::rss(&*source).unwrap();
            source.set_rss(before.saturating_sub(wanted));
            wanted
        }
    };
    let _cleanup = manager.register_cleanup_callback({
        let calls = Arc::clone(&calls);
        move |_| {
            calls.lock().unwrap().push("cleanup");
            Bytes::ZERO
        }
    });
    let _spill = manager.register_spill_callback(note("spill"));
    let told = Arc::clone(&calls);
    manager
        .register_limit_exceeded_callback(Level::Hard, move |_| told.lock().unwrap().push("hard"))
        .keep();
    let results = manager.enforce_limits();
    assert_eq!(*calls.lock().unwrap(), ["hard", "cleanup", "spill"]);
    // A tenth of 3072 MiB.
    assert_eq!(results[0].freed, Some(mib(3072).scale(10, 100)));
}

#[test]
fn cleaning_up_says_what_the_kernel_got_back() {
    let (manager, source) = manager(2000);
    let freed = Arc::clone(&source);
    let _cleanup = manager.register_cleanup_callback(move |_| {
        freed.set_rss(mib(1875));
        mib(125)
    });
    let cleanup = manager.cleanup();
    assert!(cleanup.success, "{cleanup:?}");
    assert_eq!(
        (cleanup.freed, cleanup.given_back),
        (Some(mib(125)), mib(125))
    );
}

#[test]
fn configuring_tells_the_limits_before_and_after() {
    let (manager, _source) = manager(2500);
    let mut limits = manager.limits();
    limits.soft = mib(2600);
    let changed = manager.configure(limits).unwrap();
    assert_eq!(
        (changed.previous.soft, changed.new.soft),
        (mib(3072).scale(80, 100), mib(2600))
    );
    assert!(!manager.get_status().unwrap().soft_limit_exceeded);
    limits.soft = mib(3071);
    assert!(matches!(
        manager.configure(limits),
        Err(ManagerError::Thresholds(_))
    ));
    assert_eq!(manager.limits().soft, mib(2600));
    assert!(MemoryManager::new(MemoryLimits::of(Bytes::ZERO)).is_err());
}

#[test]
fn two_that_configure_at_once_leave_the_limits_of_one() {
    let manager = MemoryManager::builder(MemoryLimits::of(mib(2000)))
        .source(Arc::new(FakeSource::new(mib(10))))
        .machine(Machine::new(Some(mib(100_000))))
        .build()
        .unwrap();
    let mut other = MemoryLimits::of(mib(500));
    other.soft = mib(100);
    let both = [MemoryLimits::of(mib(1000)), other];
    for round in 0..2000 {
        let begin = std::sync::Barrier::new(both.len());
        std::thread::scope(|scope| {
            for limits in both {
                let (manager, begin) = (&manager, &begin);
                scope.spawn(move || {
                    begin.wait();
                    manager.configure(limits).unwrap();
                });
            }
        });
        let now = manager.limits();
        let thresholds = manager.controller().settings().thresholds;
        assert!(both.contains(&now));
        assert_eq!(manager.budget().limit(), now.total, "{round}");
        assert_eq!(thresholds, now.thresholds().unwrap(), "{round}");
    }
}

/// Configures when it is woken.
struct Configures(MemoryManager, MemoryLimits);

impl std::task::Wake for Configures {
    fn wake(self: Arc<Self>) {
        self.0.configure(self.1).unwrap();
    }
}

#[test]
fn who_is_woken_because_of_a_configuration_may_configure() {
    let manager = MemoryManager::builder(MemoryLimits::of(mib(100)))
        .source(Arc::new(FakeSource::new(mib(10))))
        .machine(Machine::new(Some(mib(100_000))))
        .build()
        .unwrap();
    let component = manager.budget().component("part").register().unwrap();
    let _held = component.reserve(mib(60)).unwrap();
    let mut waits = component.reserve_async(mib(60));
    let woken = Arc::new(Configures(manager.clone(), MemoryLimits::of(mib(300))));
    let waker = std::task::Waker::from(woken);
    let mut context = std::task::Context::from_waker(&waker);
    assert!(Pin::new(&mut waits).poll(&mut context).is_pending());
    let (told, hears) = std::sync::mpsc::channel();
    let configures = manager.clone();
    std::thread::spawn(move || {
        let configured = configures.configure(MemoryLimits::of(mib(200)));
        told.send(configured.map(|changed| changed.new.total)).ok();
    });
    let configured = hears.recv_timeout(Duration::from_secs(60));
    let configured = configured.expect("it hangs");
    assert_eq!(configured.unwrap(), mib(200));
    assert_eq!(manager.limits(), MemoryLimits::of(mib(300)));
    assert_eq!(manager.budget().limit(), mib(300));
}

#[test]
fn a_budget_beyond_the_machine_or_its_cgroup_is_kept_and_said() {
    let of = |machine: Machine| {
        MemoryManager::builder(MemoryLimits::of(mib(1000)))
            .source(Arc::new(FakeSource::new(mib(10))))
            .machine(machine)
            .build()
            .unwrap()
    };
    let machine = |total| Machine::new(Some(mib(total)));
    let exceeds = |manager: &MemoryManager| match manager.check_budget() {
        Err(LimitError::Exceeds { bounded, .. }) => Some(bounded),
        _ => None,
    };
    assert_eq!(exceeds(&of(machine(500))), Some(Bounded::System));
    let group = machine(4000).with_cgroup_limit(MemoryLimit::Bytes(mib(900)));
    let manager = of(group);
    assert_eq!(exceeds(&manager), Some(Bounded::Cgroup));
    assert_eq!(manager.budget().limit(), mib(1000));
    manager.configure(MemoryLimits::of(mib(850))).unwrap();
    assert!(matches!(
        manager.check_budget(),
        Ok(Some(LimitWarning::NearlyAll { .. }))
    ));
    manager.configure(MemoryLimits::of(mib(100))).unwrap();
    assert_eq!(manager.check_budget().unwrap(), None);
}

#[test]
fn what_is_spilled_is_loaded_and_without_a_store_it_is_said() {
    let (manager, _source) = manager(100);
    let error = manager.spill_to_disk("large_object", &1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to spill to disk: the manager was made without a spill store"
    );
    let directory = tempfile::tempdir().unwrap();
    let budget = Budget::new(mib(64)).unwrap();
    let component = budget.component("spill").register().unwrap();
    let options = SpillOptions::new(directory.path(), component).free_floor(Bytes::ZERO);
    let manager = MemoryManager::builder(MemoryLimits::of(mib(64)))
        .budget(&budget)
        .spill(SpillStore::open(options).unwrap())
        .build()
        .unwrap();
    let data: Vec<(String, u64)> = (0..1000)
        .map(|number| (number.to_string(), number))
        .collect();
    manager.spill_to_disk("large_object", &data).unwrap();
    assert_eq!(manager.load_from_disk("large_object").unwrap(), Some(data));
    assert_eq!(manager.load_from_disk::<u64>("nothing").unwrap(), None);
}

#[test]
fn monitoring_acts_by_itself_until_it_is_stopped() {
    let (manager, source) = manager(3060);
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    let _spill = manager.register_cleanup_callback(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        source.set_rss(mib(1000));
        mib(2060)
    });
    manager.start_monitoring(Duration::from_millis(5)).unwrap();
    let acted = (0..30_000).any(|_| {
        std::thread::sleep(Duration::from_millis(1));
        asked.load(Ordering::SeqCst) > 0 && !manager.tracker().snapshots().is_empty()
    });
    assert!(acted && manager.is_monitoring());
    manager.stop_monitoring();
    assert!(!manager.is_monitoring());
    let ticks = manager.controller().statistics().ticks;
    std::thread::yield_now();
    assert_eq!(manager.controller().statistics().ticks, ticks);
}

#[test]
fn a_graceful_shutdown_saves_what_the_next_start_restores() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache_state.json");
    let shutdown = Shutdown::new();
    let make = || {
        MemoryManager::builder(MemoryLimits::of(mib(64)))
            .source(Arc::new(FakeSource::new(mib(10))))
            .saved_state(&path)
            .shutdown(&shutdown)
            .build()
            .unwrap()
    };
    let manager = make();
    manager.start_monitoring(Duration::from_secs(30)).unwrap();
    manager.register_state_provider(|| {
        let project = SavedProject {
            loaded_files: vec!["file1.py".to_owned()],
            ..SavedProject::default()
        };
        BTreeMap::from([("/path/to/project".to_owned(), project)])
    });
    let work = manager.degradation().admit().unwrap();
    let ends = std::thread::spawn(move || drop(work));
    let report = manager.graceful_shutdown(&ShutdownSettings::default());
    ends.join().unwrap();
    assert!(report.is_complete(), "{report:?}");
    assert!(!manager.is_monitoring());
    assert!(manager.degradation().admit().is_err());
    let Restored::State(state) = make().restore_cache_state().unwrap() else {
        panic!("nothing was saved");
    };
    assert_eq!(
        state.projects["/path/to/project"].loaded_files,
        ["file1.py"]
    );
}

/// Two managers that end by one shutdown, and the files that they save to.
fn two_that_share(
    shutdown: &Shutdown,
    directory: &std::path::Path,
) -> [(MemoryManager, std::path::PathBuf); 2] {
    ["one", "other"].map(|name| {
        let path = directory.join(name);
        let manager = MemoryManager::builder(MemoryLimits::of(mib(64)))
            .source(Arc::new(FakeSource::new(mib(10))))
            .saved_state(&path)
            .shutdown(shutdown)
            .build()
            .unwrap();
        manager.start_monitoring(Duration::from_secs(30)).unwrap();
        (manager, path)
    })
}

#[test]
fn two_managers_of_one_shutdown_are_both_ended() {
    let directory = tempfile::tempdir().unwrap();
    for end_the_shutdown_first in [false, true] {
        let shutdown = Shutdown::new();
        let managers = two_that_share(&shutdown, directory.path());
        if end_the_shutdown_first {
            assert!(shutdown.run(&ShutdownSettings::default()).is_complete());
        }
        for (place, (manager, path)) in managers.iter().enumerate() {
            let report = manager.graceful_shutdown(&ShutdownSettings::default());
            assert!(report.is_complete(), "{report:?}");
            assert_eq!(report.steps.len(), 4 * (place + 1));
            assert!(!manager.is_monitoring());
            assert!(std::fs::remove_file(path).is_ok(), "saved");
            let again = manager.graceful_shutdown(&ShutdownSettings::default());
            assert_eq!(again, report);
            assert!(!path.exists(), "once is enough");
        }
    }
}

#[test]
fn work_that_does_not_end_in_time_is_counted_in_the_report() {
    let manager = manager(100).0;
    let _work = manager.degradation().admit().unwrap();
    let settings = ShutdownSettings {
        drain: Duration::from_millis(20),
        ..ShutdownSettings::default()
    };
    let report = manager.graceful_shutdown(&settings);
    let drained = report
        .steps
        .iter()
        .find(|step| step.0 == ShutdownStep::Drain);
    assert_eq!(
        drained.map(|step| step.2.clone()),
        Some(StepOutcome::Failed(
            "pieces of work that have not ended: 1".to_owned()
        ))
    );
}

#[test]
fn a_machine_that_is_full_degrades_the_program() {
    let (manager, source) = manager(100);
    source.change(|reading| {
        reading.machine_total = Some(mib(1000));
        reading.machine_available = Some(mib(100));
    });
    manager.start_monitoring(Duration::from_millis(5)).unwrap();
    let degraded = (0..30_000).any(|_| {
        std::thread::sleep(Duration::from_millis(1));
        manager.degradation().level() == SystemLevel::Critical
    });
    assert!(degraded);
    assert!(manager.degradation().admit().is_err());
}

#[test]
fn a_budget_beyond_an_rlimit_is_told() {
    let machine = Machine::new(Some(mib(16_384)));
    let with = |rlimit: u64| {
        let machine = machine
            .clone()
            .with_rlimit(LimitKind::AddressSpace, mib(rlimit));
        MemoryManager::builder(MemoryLimits::of(mib(512)))
            .source(Arc::new(FakeSource::new(mib(10))))
            .machine(machine)
            .build()
            .unwrap()
            .check_budget()
    };
    assert!(matches!(with(512), Ok(None)));
    let refused = with(300).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "Requested limit 0.50 GB exceeds RLIMIT_AS of 0.29 GB"
    );
}

#[test]
fn a_state_provider_that_panics_is_in_the_report_and_the_others_are_saved() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache_state.json");
    let manager = MemoryManager::builder(MemoryLimits::of(mib(1000)))
        .source(Arc::new(FakeSource::new(mib(10))))
        .saved_state(&path)
        .build()
        .unwrap();
    manager.register_state_provider(|| panic!("it cannot tell"));
    manager.register_state_provider(|| {
        BTreeMap::from([("/path/to/project".to_owned(), SavedProject::default())])
    });
    let report = manager.graceful_shutdown(&ShutdownSettings::default());
    let failed = report.steps.iter().find_map(|(step, _, outcome)| {
        let StepOutcome::Failed(why) = outcome else {
            return None;
        };
        Some((*step, why.clone()))
    });
    let (step, why) = failed.unwrap();
    assert_eq!(step, ShutdownStep::Persist);
    assert!(why.contains("manager/tests.rs:"), "{why}");
    let restored = manager.restore_cache_state().unwrap();
    let Restored::State(state) = restored else {
        panic!("nothing was saved: {restored:?}");
    };
    assert_eq!(state.projects.len(), 1);
}
