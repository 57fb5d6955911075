//! Reloading for real: a signal to this process, files that are written,
//! replaced, cut and forbidden, observers that misbehave.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its functions too"
)]

#[path = "../src/wait_until.rs"]
mod wait_until;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use grey_budget::Bytes;
use grey_budget::config::{
    ConfigError, ConfigHandle, ConfigLoader, ConfigObserver, ConfigReloaded, ObserverGuard,
    ReloadFailed,
};
use grey_budget::limits::Machine;
use wait_until::wait_until;

fn budget_of(mb: u64) -> String {
    format!("memory:\n  total_budget_mb: {mb}\n")
}

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        place.write(&budget_of(100));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Over the old content, in the same file.
    fn write(&self, text: &str) {
        std::fs::write(self.path("config.yaml"), text).unwrap();
    }

    /// As editors do: a new file, renamed over the old one.
    fn replace(&self, text: &str) {
        std::fs::write(self.path("config.yaml.new"), text).unwrap();
        std::fs::rename(self.path("config.yaml.new"), self.path("config.yaml")).unwrap();
    }

    fn loader(&self) -> ConfigLoader {
        ConfigLoader::from_file(self.path("config.yaml"))
            .environment([("HOME", "/home/user")])
            .machine(Machine::new(Some(Bytes::from_mib(64 * 1024))))
    }

    fn handle(&self) -> ConfigHandle {
        ConfigHandle::load(self.loader()).unwrap()
    }
}

fn budget_mb(config: &ConfigHandle) -> u64 {
    config.current().memory.total_budget.get() >> 20
}

#[derive(Clone, Default)]
struct Recorder {
    events: Arc<Mutex<Vec<ConfigReloaded>>>,
    failures: Arc<AtomicU64>,
}

impl ConfigObserver for Recorder {
    fn on_config_reloaded(&self, event: &ConfigReloaded) {
        self.events.lock().unwrap().push(event.clone());
    }

    fn on_reload_failed(&self, _: &ReloadFailed) {
        self.failures.fetch_add(1, Ordering::SeqCst);
    }
}

impl Recorder {
    fn budgets(&self) -> Vec<(u64, u64)> {
        let mb = |bytes: Bytes| bytes.get() >> 20;
        let events = self.events.lock().unwrap();
        events
            .iter()
            .map(|event| {
                (
                    mb(event.old_config.memory.total_budget),
                    mb(event.new_config.memory.total_budget),
                )
            })
            .collect()
    }
}

/// The signal is the whole process's: one test at a time sends it.
fn hang_up() {
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP).unwrap();
}

#[test]
fn a_hang_up_reloads_and_a_bad_file_keeps_what_was_good() {
    let place = Place::new();
    let config = place.handle();
    let recorder = Recorder::default();
    let _guard = config.observe(recorder.clone()).unwrap();
    let watch = config.reload_on_sighup().unwrap();

    place.write(&budget_of(200));
    assert_eq!(budget_mb(&config), 100, "nobody asked yet");
    hang_up();
    wait_until(|| budget_mb(&config) == 200);

    place.write("memory:\n  total_budget_mb: [\n");
    hang_up();
    wait_until(|| recorder.failures.load(Ordering::SeqCst) == 1);
    assert_eq!(budget_mb(&config), 200);
    assert!(config.last_error().is_some());

    place.write(&budget_of(300));
    hang_up();
    wait_until(|| budget_mb(&config) == 300);
    wait_until(|| recorder.budgets() == [(100, 200), (200, 300)]);
    assert!(config.last_error().is_none());

    drop(watch);
    place.write(&budget_of(400));
    // Survived, and served by nobody: what is dropped has been joined.
    hang_up();
    assert_eq!(budget_mb(&config), 300);
}

#[test]
fn a_file_written_in_place_is_reloaded() {
    let place = Place::new();
    let config = place.handle();
    let _watch = config.reload_on_change().unwrap();
    for mb in [200, 300, 400] {
        place.write(&budget_of(mb));
        wait_until(|| budget_mb(&config) == mb);
    }
}

#[test]
fn a_file_renamed_over_is_reloaded_each_time() {
    let place = Place::new();
    let config = place.handle();
    let _watch = config.reload_on_change().unwrap();
    for mb in [200, 300, 400] {
        place.replace(&budget_of(mb));
        wait_until(|| budget_mb(&config) == mb);
    }
}

#[test]
fn a_file_removed_and_written_again_is_reloaded() {
    let place = Place::new();
    let config = place.handle();
    let _watch = config.reload_on_change().unwrap();
    std::fs::remove_file(place.path("config.yaml")).unwrap();
    wait_until(|| config.last_error().is_some());
    assert_eq!(budget_mb(&config), 100);
    place.write(&budget_of(200));
    wait_until(|| budget_mb(&config) == 200);
}

#[test]
fn a_half_written_file_changes_nothing_until_it_is_whole() {
    let place = Place::new();
    let config = place.handle();
    let recorder = Recorder::default();
    let _guard = config.observe(recorder.clone()).unwrap();
    let _watch = config.reload_on_change().unwrap();
    place.write("memory:\n  total_budget_mb: 200\n  spill: {enabled: fal");
    wait_until(|| config.last_error().is_some());
    assert_eq!(budget_mb(&config), 100);
    place.write("memory:\n  total_budget_mb: 200\n  spill: {enabled: false}\n");
    wait_until(|| budget_mb(&config) == 200);
    // A store is opened once: that part waits.
    let waiting = config.current().waiting_for_restart().to_vec();
    assert_eq!(waiting, ["memory.spill.enabled"]);
    wait_until(|| recorder.budgets() == [(100, 200)]);
}

/// As Kubernetes mounts a ConfigMap: the file is a link through a link to a
/// directory, and the inner link is swapped.
#[test]
fn a_swapped_link_is_reloaded_each_time() {
    let place = Place::new();
    let publish = |generation: &str, mb: u64| {
        let directory = place.path(generation);
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("config.yaml"), budget_of(mb)).unwrap();
        std::os::unix::fs::symlink(generation, place.path("..data_tmp")).unwrap();
        std::fs::rename(place.path("..data_tmp"), place.path("..data")).unwrap();
    };
    std::fs::remove_file(place.path("config.yaml")).unwrap();
    publish("..1", 100);
    std::os::unix::fs::symlink("..data/config.yaml", place.path("config.yaml")).unwrap();
    let config = place.handle();
    let _watch = config.reload_on_change().unwrap();
    publish("..2", 200);
    wait_until(|| budget_mb(&config) == 200);
    std::fs::remove_dir_all(place.path("..1")).unwrap();
    publish("..3", 300);
    wait_until(|| budget_mb(&config) == 300);
    std::fs::write(place.path("..3/config.yaml"), budget_of(400)).unwrap();
    wait_until(|| budget_mb(&config) == 400);
}

#[test]
fn a_projects_file_is_seen_even_in_a_directory_made_later() {
    let place = Place::new();
    let config = place.handle();
    let _watch = config.reload_on_change().unwrap();
    let files = || config.current().project("late").max_loaded_files;
    assert_eq!(files(), 100);
    std::fs::create_dir(place.path("projects")).unwrap();
    std::fs::write(
        place.path("projects/late.yaml"),
        "memory:\n  max_loaded_files: 7\n",
    )
    .unwrap();
    wait_until(|| files() == 7);
    std::fs::write(
        place.path("projects/late.yaml"),
        "memory:\n  max_loaded_files: 8\n",
    )
    .unwrap();
    wait_until(|| files() == 8);
    std::fs::remove_file(place.path("projects/late.yaml")).unwrap();
    wait_until(|| files() == 100);
}

#[test]
fn what_is_watched_can_be_dropped_by_what_it_calls() {
    let place = Place::new();
    let config = place.handle();
    let watch = Arc::new(Mutex::new(Some(config.reload_on_change().unwrap())));
    let held = Arc::clone(&watch);
    let _guard = config
        .observe(move |_: &ConfigReloaded| drop(held.lock().unwrap().take()))
        .unwrap();
    place.write(&budget_of(200));
    wait_until(|| watch.lock().is_ok_and(|watch| watch.is_none()));
    wait_until(|| budget_mb(&config) == 200);
}

#[test]
fn a_configuration_without_a_file_cannot_be_watched() {
    let nobody: [(&str, &str); 0] = [];
    let config = ConfigHandle::load(ConfigLoader::without_file().environment(nobody)).unwrap();
    assert!(config.reload_on_change().is_err());
    assert!(config.reload().success);
}

#[test]
fn every_wrong_file_keeps_the_last_good_configuration() {
    let place = Place::new();
    let config = place.handle();
    let recorder = Recorder::default();
    let _guard = config.observe(recorder.clone()).unwrap();
    for wrong in [
        "memory:\n  total_budget: 5\n",
        "memory:\n  total_budget_mb: 0\n",
        "memory:\n  total_budget_mb: 50\n  soft_limit_percent: 0.99\n",
        "memory:\n  total_budget_mb: 99999999\n",
        "memory: [\n",
        "\u{0}",
    ] {
        place.write(wrong);
        let result = config.reload();
        assert!(!result.success, "{wrong}");
        assert!(result.error.is_some());
        assert_eq!(budget_mb(&config), 100, "{wrong}");
    }
    assert_eq!(recorder.failures.load(Ordering::SeqCst), 6);
    assert!(recorder.budgets().is_empty());
}

/// Runs `work` in a thread that may not read what its user may not. Root may
/// read everything by CAP_DAC_OVERRIDE, which is the thread's own to drop.
fn without_privileges<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut sets = capabilities(None).unwrap();
            sets.effective = CapabilitySet::empty();
            set_capabilities(None, sets).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

#[test]
fn a_file_that_may_not_be_read_keeps_the_last_good_configuration() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let config = place.handle();
    place.write(&budget_of(200));
    let path = place.path("config.yaml");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    let result = without_privileges(|| config.reload());
    let error = result.error.expect("denied");
    match error.as_ref() {
        ConfigError::Read {
            path: denied,
            source,
        } => {
            assert_eq!(*denied, path);
            assert_eq!(source.kind(), std::io::ErrorKind::PermissionDenied);
        }
        other => panic!("{other}"),
    }
    assert_eq!(budget_mb(&config), 100);
}

#[test]
fn an_observer_that_panics_stops_nobody_else() {
    let place = Place::new();
    let config = place.handle();
    let _first = config
        .observe(|_: &ConfigReloaded| panic!("of an observer, as the test wants"))
        .unwrap();
    let recorder = Recorder::default();
    let _second = config.observe(recorder.clone()).unwrap();
    for mb in [200, 300] {
        place.write(&budget_of(mb));
        assert!(config.reload().success);
    }
    assert_eq!(recorder.budgets(), [(100, 200), (200, 300)]);
}

#[test]
fn observers_are_told_in_the_order_in_which_they_came() {
    let place = Place::new();
    let config = place.handle();
    let order = Arc::new(Mutex::new(Vec::new()));
    let _guards: Vec<ObserverGuard> = (0..10)
        .map(|index| {
            let order = Arc::clone(&order);
            config
                .observe(move |_: &ConfigReloaded| order.lock().unwrap().push(index))
                .unwrap()
        })
        .collect();
    place.write(&budget_of(200));
    assert!(config.reload().success);
    assert_eq!(*order.lock().unwrap(), (0..10).collect::<Vec<_>>());
}

#[test]
fn an_observer_may_reload_and_everybody_sees_both_in_order() {
    let place = Place::new();
    let config = place.handle();
    let path = place.path("config.yaml");
    let within = config.clone();
    let _first = config
        .observe(move |event: &ConfigReloaded| {
            if event.new_config.memory.total_budget == Bytes::from_mib(200) {
                std::fs::write(&path, budget_of(300)).unwrap();
                assert!(within.reload().success);
                assert_eq!(budget_mb(&within), 300);
            }
            // Nothing changed: nobody is told, and so this ends.
            assert!(within.reload().success);
        })
        .unwrap();
    let recorder = Recorder::default();
    let _second = config.observe(recorder.clone()).unwrap();
    place.write(&budget_of(200));
    assert!(config.reload().success);
    assert_eq!(recorder.budgets(), [(100, 200), (200, 300)]);
}

#[test]
fn an_observer_may_remove_itself_and_the_one_behind_it() {
    let place = Place::new();
    let config = place.handle();
    let guards: Arc<Mutex<Vec<ObserverGuard>>> = Arc::default();
    let calls = Arc::new(AtomicU64::new(0));
    let (held, counted) = (Arc::clone(&guards), Arc::clone(&calls));
    let first = config
        .observe(move |_: &ConfigReloaded| {
            counted.fetch_add(1, Ordering::SeqCst);
            let removed = std::mem::take(&mut *held.lock().unwrap());
            drop(removed);
        })
        .unwrap();
    let recorder = Recorder::default();
    let second = config.observe(recorder.clone()).unwrap();
    guards.lock().unwrap().extend([first, second]);
    for mb in [200, 300] {
        place.write(&budget_of(mb));
        assert!(config.reload().success);
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert!(
        recorder.budgets().is_empty(),
        "removed before it was its turn"
    );
}

#[test]
fn an_observer_ends_with_its_guard() {
    let config = Place::new().handle();
    let held = Arc::new(());
    let within = Arc::clone(&held);
    let guard = config
        .observe(move |_: &ConfigReloaded| assert!(Arc::strong_count(&within) > 0))
        .unwrap();
    assert_eq!(Arc::strong_count(&held), 2);
    drop(guard);
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn observers_are_bounded() {
    let place = Place::new();
    let config = place.handle();
    let mut guards = Vec::new();
    let error = loop {
        match config.observe(|_: &ConfigReloaded| {}) {
            Ok(guard) => guards.push(guard),
            Err(error) => break error,
        }
    };
    assert_eq!(error.most, guards.len());
    guards.pop();
    assert!(config.observe(|_: &ConfigReloaded| {}).is_ok());
}

#[test]
fn a_reload_of_the_same_tells_nobody() {
    let place = Place::new();
    let config = place.handle();
    let recorder = Recorder::default();
    let _guard = config.observe(recorder.clone()).unwrap();
    place.replace(&format!("# a comment\n{}", budget_of(100)));
    assert!(config.reload().success);
    assert!(recorder.budgets().is_empty());
    let origin = config.current().origin("memory.total_budget_mb").cloned();
    assert!(
        origin.unwrap().to_string().ends_with(":3"),
        "but it is the new one"
    );
}

#[test]
fn a_key_that_needs_a_restart_keeps_its_value_and_is_listed() {
    let place = Place::new();
    let config = place.handle();
    let recorder = Recorder::default();
    let _guard = config.observe(recorder.clone()).unwrap();
    let before = config.current().memory.spill.directory.clone();
    let text = "memory:\n  total_budget_mb: 200\n  spill:\n    directory: /elsewhere\n";
    place.write(text);
    assert!(config.reload().success);
    let current = config.current();
    assert_eq!(current.memory.spill.directory, before);
    assert_eq!(current.waiting_for_restart(), ["memory.spill.directory"]);
    assert_eq!(budget_mb(&config), 200);
    {
        let events = recorder.events.lock().unwrap();
        assert_eq!(events[0].restart_required, ["memory.spill.directory"]);
        assert_eq!(events[0].changed, ["memory.total_budget_mb"]);
    }
    // It still waits, which is no news.
    assert!(config.reload().success);
    assert_eq!(recorder.events.lock().unwrap().len(), 1);
    let started_again = place.handle();
    assert_eq!(
        started_again.current().memory.spill.directory,
        Path::new("/elsewhere")
    );
    // And what it waits for must be right, too.
    place.write(&text.replace("/elsewhere", "elsewhere"));
    assert!(!config.reload().success);
}

#[test]
fn readers_never_see_half_of_a_configuration() {
    let place = Place::new();
    let pair = |number: u64| {
        format!("memory:\n  total_budget_mb: {number}\n  max_loaded_files: {number}\n")
    };
    place.write(&pair(1));
    let config = place.handle();
    let is_over = OnceLock::new();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while is_over.get().is_none() {
                    let current = config.current();
                    let budget = current.memory.total_budget.get() >> 20;
                    assert_eq!(budget, current.memory.max_loaded_files as u64);
                }
            });
        }
        for number in 2..200 {
            place.replace(&pair(number));
            assert!(config.reload().success);
        }
        is_over.set(()).unwrap();
    });
    assert_eq!(budget_mb(&config), 199);
}

#[test]
fn reloads_of_several_threads_are_told_without_a_gap() {
    let place = Place::new();
    let config = place.handle();
    let recorder = Recorder::default();
    let _guard = config.observe(recorder.clone()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (place, config) = (&place, &config);
            scope.spawn(move || {
                for round in 0..25 {
                    let own = place.path(&format!("{thread}.new"));
                    std::fs::write(&own, budget_of(1000 + thread * 100 + round)).unwrap();
                    std::fs::rename(own, place.path("config.yaml")).unwrap();
                    assert!(config.reload().success);
                }
            });
        }
    });
    let last = budget_mb(&config);
    wait_until(|| {
        recorder
            .budgets()
            .last()
            .is_some_and(|(_, new)| *new == last)
    });
    let budgets = recorder.budgets();
    assert_eq!(budgets[0].0, 100);
    for pair in budgets.windows(2) {
        assert_eq!(pair[0].1, pair[1].0, "{budgets:?}");
    }
}

#[test]
fn a_file_that_says_nothing_any_more_keeps_the_last_good_configuration() {
    let place = Place::new();
    let handle = ConfigHandle::load(place.loader()).unwrap();
    for emptied in ["", "\n", "# nothing yet\n", "memory:\n"] {
        place.write(emptied);
        let result = handle.reload();
        assert!(!result.success, "{emptied:?}");
        assert!(matches!(
            result.error.as_deref(),
            Some(ConfigError::Emptied { .. })
        ));
        assert!(handle.last_error().is_some());
        assert_eq!(handle.current().memory.total_budget, Bytes::from_mib(100));
    }
    place.write(&budget_of(200));
    assert!(handle.reload().success);
    assert_eq!(handle.current().memory.total_budget, Bytes::from_mib(200));
}

#[test]
fn a_file_that_never_said_anything_may_go_on_so() {
    let place = Place::new();
    place.write("");
    let handle = ConfigHandle::load(place.loader()).unwrap();
    assert!(handle.reload().success);
}
