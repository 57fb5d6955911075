//! Facts about a manager that is told to watch no more from within its own
//! callbacks: it waits for nobody who waits for it.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use grey_model::{Bytes, Level};

use super::*;
use crate::config::{ConfigHandle, ConfigLoader, ConfigReloaded};
use crate::controller::{Action, ActionKind, ControllerSettings};
use crate::limits::Machine;
use crate::testkit::FakeSource;

/// A manager that watches, whose calls have an hour, and a source that says
/// how much it uses.
fn watching() -> (MemoryManager, Arc<FakeSource>) {
    let source = Arc::new(FakeSource::new(Bytes::from_mib(100)));
    let manager = MemoryManager::builder(MemoryLimits::of(Bytes::from_mib(1000)))
        .source(Arc::<FakeSource>::clone(&source))
        .settings(ControllerSettings {
            call_deadline: Duration::from_secs(3600),
            ..ControllerSettings::default()
        })
        .build()
        .unwrap();
    manager.start_monitoring(Duration::from_millis(10)).unwrap();
    (manager, source)
}

/// Stops `manager` when it is called, and tells that it came back.
fn stop(manager: &MemoryManager) -> (impl Fn() + Send + Sync + 'static, mpsc::Receiver<bool>) {
    let (told, heard) = mpsc::channel();
    // A handle of its own, so that the last one may go in here.
    let manager = Mutex::new(Some(manager.clone()));
    let stop = move || {
        let manager = manager.lock().unwrap().take();
        if let Some(manager) = manager {
            manager.stop_monitoring();
            told.send(manager.is_monitoring()).unwrap();
        }
    };
    (stop, heard)
}

fn has_stopped(heard: &mpsc::Receiver<bool>) {
    let is_monitoring = heard.recv_timeout(Duration::from_secs(60));
    assert_eq!(is_monitoring, Ok(false), "it came back and watches no more");
}

#[test]
fn a_callback_of_a_limit_may_stop_it() {
    let (manager, source) = watching();
    let (stop, heard) = stop(&manager);
    let _callback = manager.register_limit_exceeded_callback(Level::Soft, move |_| stop());
    source.set_rss(Bytes::from_mib(850));
    has_stopped(&heard);
}

#[test]
fn an_observer_of_the_level_may_stop_it_and_drop_the_last_handle() {
    let (manager, source) = watching();
    let (stop, heard) = stop(&manager);
    manager.controller().on_change(move |_| stop()).keep();
    drop(manager);
    source.set_rss(Bytes::from_mib(850));
    has_stopped(&heard);
}

#[test]
fn a_reclaimer_may_stop_it() {
    let (manager, source) = watching();
    let (stop, heard) = stop(&manager);
    let _cleanup = manager.register_cleanup_callback(move |_| {
        stop();
        Bytes::ZERO
    });
    source.set_rss(Bytes::from_mib(850));
    has_stopped(&heard);
}

#[test]
fn an_action_may_stop_it() {
    let (manager, _source) = watching();
    let (stop, heard) = stop(&manager);
    let kind = ActionKind::custom("stops", move || {
        stop();
        Ok(Bytes::ZERO)
    });
    let action = Action::new(kind, "stops", 1);
    manager.controller().enqueue_action(action).unwrap();
    has_stopped(&heard);
}

#[test]
fn an_observer_of_the_configuration_may_stop_it_also_within_a_callback() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.yaml");
    let write = |budget: u32| {
        let text = format!("memory: {{total_budget_mb: {budget}, spill: {{enabled: false}}}}\n");
        std::fs::write(&file, text).unwrap();
    };
    for is_within in [false, true] {
        write(1000);
        let loader = ConfigLoader::from_file(&file)
            .environment([("HOME", "/nowhere")])
            .machine(Machine::new(Some(Bytes::from_mib(64 << 10))));
        let handle = ConfigHandle::load(loader).unwrap();
        let (manager, source) = watching();
        let (stop, heard) = stop(&manager);
        let _observing = handle.observe(move |_: &ConfigReloaded| stop()).unwrap();
        manager.follow(&handle).unwrap();
        write(900);
        if is_within {
            let reloads = handle.clone();
            let callback = move |_: &crate::controller::LevelEvent| {
                reloads.reload();
            };
            manager.controller().on_level(Level::Soft, callback).keep();
            source.set_rss(Bytes::from_mib(850));
        } else {
            assert!(handle.reload().success);
        }
        has_stopped(&heard);
    }
}
