//! Facts about a manager that is made from a configuration and follows it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use grey_model::{Bytes, Level, Priority, SystemLevel};

use super::*;
use crate::config::{Config, ConfigHandle, ConfigLoader};
use crate::limits::Machine;
use crate::queue::PushError;
use crate::shutdown::{Shutdown, ShutdownReason};
use crate::testkit::{FakeClock, FakeSource};

fn mib(count: u64) -> Bytes {
    Bytes::from_mib(count)
}

fn loader(path: &Path) -> ConfigLoader {
    ConfigLoader::from_file(path)
        .environment([("HOME", "/nowhere")])
        .machine(Machine::new(Some(mib(64 << 10))))
}

struct Place(tempfile::TempDir);

impl Place {
    /// A configuration with `text` for 1000 MB, which spills nowhere and does
    /// not watch by itself.
    fn new(text: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.write(text);
        place
    }

    fn write(&self, text: &str) {
        std::fs::write(self.0.path().join("config.yaml"), text).unwrap();
    }

    fn config(&self) -> Config {
        loader(&self.0.path().join("config.yaml")).load().unwrap()
    }

    fn handle(&self) -> ConfigHandle {
        ConfigHandle::load(loader(&self.0.path().join("config.yaml"))).unwrap()
    }
}

const QUIET: &str = "
memory:
  total_budget_mb: 1000
  spill: {enabled: false}
  monitoring: {enabled: false}
";

fn of(config: &Config, resident: u64) -> (MemoryManager, Arc<FakeSource>) {
    let source = Arc::new(FakeSource::new(mib(resident)));
    let manager = MemoryManager::configured(config)
        .source(Arc::<FakeSource>::clone(&source))
        .clock(Arc::new(FakeClock::new()))
        .build()
        .unwrap();
    (manager, source)
}

fn eventually(is_so: impl Fn() -> bool) -> bool {
    (0..30_000).any(|_| {
        std::thread::park_timeout(Duration::from_millis(1));
        is_so()
    })
}

#[test]
fn the_budget_and_its_levels_are_those_of_the_file() {
    let place = Place::new(
        "
memory:
  total_budget_mb: 1000
  soft_limit_percent: 0.50
  soft_exit_percent: 0.20
  hard_limit_percent: 0.60
  emergency_percent: 0.70
  spill: {enabled: false}
  monitoring: {enabled: false}
",
    );
    let (manager, source) = of(&place.config(), 500);
    assert_eq!(manager.budget().limit(), mib(1000));
    let limits = manager.limits();
    let lines = [limits.total, limits.soft, limits.hard, limits.emergency];
    assert_eq!(lines, [mib(1000), mib(500), mib(600), mib(700)]);
    assert_eq!(manager.controller().tick().level, Level::Soft);
    source.set_rss(mib(610));
    assert_eq!(manager.controller().tick().level, Level::Hard);
    // The end of a level is configured, too.
    let thresholds = manager.controller().settings().thresholds;
    assert_eq!(thresholds, place.config().memory.thresholds);
    assert!(!manager.is_monitoring());
}

#[test]
fn values_are_spilled_to_the_directory_of_the_file_or_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    let text = |enabled: bool| {
        format!(
            "
memory:
  total_budget_mb: 1000
  spill: {{enabled: {enabled}, directory: \"{}/deep/spill\", max_spill_size_mb: 3}}
  monitoring: {{enabled: false}}
",
            directory.path().display()
        )
    };
    let place = Place::new(&text(true));
    let (manager, _source) = of(&place.config(), 10);
    manager.spill_to_disk("key", &7_u64).unwrap();
    assert_eq!(manager.load_from_disk::<u64>("key").unwrap(), Some(7));
    assert!(directory.path().join("deep/spill").is_dir());
    let large: Vec<u64> = (0..1 << 20)
        .map(|n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15))
        .collect();
    let error = manager.spill_to_disk("large", &large).unwrap_err();
    assert!(matches!(error, ManagerError::Spill { .. }), "{error:?}");
    // One store at a time has a directory.
    let second = MemoryManager::configured(&place.config()).build();
    assert!(matches!(second, Err(ManagerError::OpenSpill(_))));
    place.write(&text(false));
    let (manager, _source) = of(&place.config(), 10);
    assert!(manager.spill_store().is_none());
}

#[test]
fn an_alert_that_is_off_is_not_given_and_a_reload_turns_it_on() {
    let place = Place::new(&QUIET.replace(
        "monitoring: {enabled: false",
        "monitoring: {enabled: false, alert_on_hard_limit: false",
    ));
    let handle = place.handle();
    let source = Arc::new(FakeSource::new(mib(940)));
    let clock = Arc::new(FakeClock::new());
    let manager = MemoryManager::configured(&handle.current())
        .source(Arc::<FakeSource>::clone(&source))
        .clock(Arc::<FakeClock>::clone(&clock))
        .build()
        .unwrap();
    manager.follow(&handle).unwrap();
    let (soft, hard) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    for (level, count) in [(Level::Soft, &soft), (Level::Hard, &hard)] {
        let count = Arc::clone(count);
        manager
            .register_limit_exceeded_callback(level, move |_| {
                count.fetch_add(1, Ordering::SeqCst);
            })
            .keep();
    }
    let counts = || (soft.load(Ordering::SeqCst), hard.load(Ordering::SeqCst));
    assert_eq!(manager.controller().tick().level, Level::Hard);
    assert_eq!(counts(), (1, 0));
    source.set_rss(mib(10));
    for _ in 0..5 {
        clock.advance(Duration::from_secs(600));
        manager.controller().tick();
    }
    place.write(QUIET);
    assert!(handle.reload().success);
    source.set_rss(mib(940));
    assert_eq!(manager.controller().tick().level, Level::Hard);
    assert_eq!(counts(), (2, 1));
}

#[test]
fn a_reload_moves_the_budget_and_its_levels_and_says_what_waits() {
    let place = Place::new(QUIET);
    let handle = place.handle();
    let (manager, _source) = of(&handle.current(), 700);
    manager.follow(&handle).unwrap();
    assert_eq!(manager.controller().tick().level, Level::Normal);
    let changed = QUIET.replace("1000", "800\n  emergency_percent: 0.99");
    place.write(&format!("{changed}resources:\n  work_queue_max: 5\n"));
    assert!(handle.reload().success);
    assert_eq!(manager.budget().limit(), mib(800));
    assert_eq!(manager.limits().emergency, mib(792));
    assert_eq!(manager.controller().tick().level, Level::Soft);
    // Held back, and said.
    let current = handle.current();
    assert_eq!(current.waiting_for_restart(), ["resources.work_queue_max"]);
    assert_eq!(current.resources.work_queue_max, 10_000);
    let applied = manager.apply(&current).unwrap();
    assert_eq!(applied.restart_required, ["resources.work_queue_max"]);
    // Read anew it has the value, and the manager was still started without.
    let applied = manager.apply(&place.config()).unwrap();
    assert_eq!(applied.restart_required, ["resources.work_queue_max"]);
    assert_eq!(applied.limits.new.total, mib(800));
}

#[test]
fn a_budget_below_what_is_promised_is_not_applied_and_neither_is_the_rest() {
    let place = Place::new(QUIET);
    let handle = place.handle();
    let (manager, _source) = of(&handle.current(), 10);
    manager.follow(&handle).unwrap();
    let component = manager.budget().component("index").floor(mib(600));
    let _index = component.register().unwrap();
    let small = QUIET.replace("1000", "500");
    place.write(&format!("{small}resources:\n  exit_when_critical: true\n"));
    let result = handle.reload();
    assert!(!result.success);
    let error = result.error.unwrap();
    let cause = std::error::Error::source(&*error).unwrap().to_string();
    assert!(cause.contains("600.0 MiB"), "{cause}");
    assert!(handle.last_error().is_some());
    assert_eq!(handle.current().memory.total_budget, mib(1000));
    assert_eq!(manager.budget().limit(), mib(1000));
    assert_eq!(manager.limits().total, mib(1000));
    assert!(!manager.degradation().settings().exit_when_critical);
    let refused = manager.apply(&place.handle().current());
    assert!(matches!(refused, Err(ManagerError::Budget(_))));
    // What was promised is given back with the manager.
    drop(manager);
    assert!(handle.reload().success);
}

#[test]
fn a_manager_that_is_gone_is_told_nothing() {
    let place = Place::new(QUIET);
    let handle = place.handle();
    let (manager, _source) = of(&handle.current(), 10);
    manager.follow(&handle).unwrap();
    let budget = manager.budget().clone();
    let gone = Arc::downgrade(&manager.inner);
    drop(manager);
    assert!(gone.upgrade().is_none());
    place.write(&QUIET.replace("1000", "500"));
    assert!(handle.reload().success);
    assert_eq!(budget.limit(), mib(1000));
}

const WATCHING: &str = "
memory:
  total_budget_mb: 1000
  spill: {enabled: false}
  monitoring: {enabled: true, interval_seconds: 3600}
resources:
  memory_moderate_pct: 10
  memory_high_pct: 20
  memory_critical_pct: 30
";

#[test]
fn the_levels_of_the_machine_and_the_end_of_the_program_are_configured() {
    let place = Place::new(WATCHING);
    let handle = place.handle();
    let source = Arc::new(FakeSource::new(mib(10)));
    source.change(|reading| {
        reading.machine_total = Some(mib(1000));
        reading.machine_available = Some(mib(750));
    });
    let shutdown = Shutdown::new();
    let manager = MemoryManager::configured(&handle.current())
        .source(Arc::<FakeSource>::clone(&source))
        .shutdown(&shutdown)
        .build()
        .unwrap();
    manager.follow(&handle).unwrap();
    assert!(manager.is_monitoring());
    let degradation = manager.degradation();
    assert!(eventually(|| degradation.level() == SystemLevel::High));
    // The next look would be in an hour; a reload is looked at now.
    let critical = WATCHING.replace("pct: 30", "pct: 22\n  exit_when_critical: true");
    place.write(&critical.replace("pct: 20", "pct: 15"));
    assert!(handle.reload().success);
    assert!(eventually(|| degradation.level() == SystemLevel::Critical));
    assert_eq!(shutdown.reason(), Some(ShutdownReason::MemoryCritical));
}

#[test]
fn a_reload_starts_and_stops_watching_only_if_it_says_so_anew() {
    let place = Place::new(WATCHING);
    let handle = place.handle();
    let (manager, _source) = of(&handle.current(), 10);
    manager.follow(&handle).unwrap();
    assert!(manager.is_monitoring());
    place.write(&WATCHING.replace("enabled: true", "enabled: false"));
    assert!(handle.reload().success);
    assert!(!manager.is_monitoring());
    place.write(WATCHING);
    assert!(handle.reload().success);
    assert!(manager.is_monitoring());
    // Who stopped it by hand is not overruled by a change of something else.
    manager.stop_monitoring();
    place.write(&WATCHING.replace("3600", "1800"));
    assert!(handle.reload().success);
    assert!(!manager.is_monitoring());
    assert_eq!(
        manager.inner.watching.lock().unwrap().interval,
        Duration::from_secs(1800)
    );
}

#[test]
fn more_files_than_configured_are_told_and_cleaned_up_once() {
    let place = Place::new(&WATCHING.replace("total", "max_loaded_files: 5\n  total"));
    let handle = place.handle();
    let (manager, _source) = of(&handle.current(), 10);
    manager.follow(&handle).unwrap();
    manager.stop_monitoring();
    let cleaned = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&cleaned);
    let _cleanup = manager.register_cleanup_callback(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Bytes::ZERO
    });
    manager.take_snapshot(5, 500).unwrap();
    let exceeded = || {
        let status = manager.get_status().unwrap();
        (status.loaded_files_exceeded, status.cached_queries_exceeded)
    };
    assert_eq!(exceeded(), (false, false));
    manager.take_snapshot(6, 501).unwrap();
    assert_eq!(exceeded(), (true, true));
    manager.start_monitoring(Duration::from_millis(1)).unwrap();
    assert!(eventually(|| cleaned.load(Ordering::SeqCst) == 1));
    assert!(eventually(|| manager.tracker().snapshots().len() > 5));
    assert_eq!(cleaned.load(Ordering::SeqCst), 1);
}

#[test]
fn a_builder_says_how_the_program_degrades_without_a_configuration() {
    let degradation = crate::degrade::DegradationSettings {
        throttle: Duration::from_secs(7),
        ..crate::degrade::DegradationSettings::default()
    };
    let thresholds = grey_model::Thresholds::entering::<SystemLevel>([0.1, 0.2, 0.9]).unwrap();
    let source = Arc::new(FakeSource::new(mib(10)));
    source.change(|reading| {
        reading.machine_total = Some(mib(1000));
        reading.machine_available = Some(mib(750));
    });
    let manager = MemoryManager::builder(MemoryLimits::of(mib(1000)))
        .source(source)
        .degradation(degradation)
        .system_thresholds(thresholds)
        .build()
        .unwrap();
    manager.start_monitoring(Duration::from_secs(3600)).unwrap();
    assert!(eventually(
        || manager.degradation().level() == SystemLevel::High
    ));
    assert_eq!(manager.degradation().throttle(), Duration::from_secs(7));
}

#[test]
fn what_the_program_makes_has_the_sizes_of_the_file() {
    let place = Place::new(&format!(
        "{QUIET}resources:
  work_queue_max: 2
  event_capacity: 3
  db_pool_size: 4
  embeddings_cache_size: 5
  history_max_ops: 6
projects:
  api: {{memory: {{priority: HIGH}}}}
"
    ));
    let config = place.config();
    let (manager, _source) = of(&config, 10);
    let part = |name: &str| manager.budget().component(name).register().unwrap();
    let queue = config.work_queue_builder::<u8>(part("queue")).build();
    queue.push(1).unwrap();
    queue.push(2).unwrap();
    assert!(matches!(queue.try_push(3), Err(PushError::Full { .. })));
    let broadcaster = config.broadcaster_builder::<u8>(part("events")).build();
    let mut subscriber = broadcaster.subscribe();
    (0..5).for_each(|event| drop(broadcaster.send(event)));
    // The first answer says how many are missed.
    let received: Vec<u8> = (0..6)
        .filter_map(|_| subscriber.try_recv().ok())
        .map(|event| *event)
        .collect();
    assert_eq!(received, [2, 3, 4]);
    let pool = config.pool_account_builder(part("pool")).build().unwrap();
    assert_eq!(pool.connections(), 4..=50);
    let open: Vec<_> = (0..9).map(|_| pool.open().unwrap()).collect();
    assert_eq!(pool.health(), crate::pool::PoolHealth::Leaking);
    drop(open);
    let embeddings = config
        .embeddings_builder(manager.budget(), "embeddings")
        .dimensions(4)
        .build::<u64>()
        .unwrap();
    (0..9).for_each(|key| embeddings.insert(key, &[0.5; 4]).unwrap());
    assert_eq!(embeddings.len(), 5);
    let log = config.rolling_log_builder::<u8>(part("history")).build();
    (0..9).for_each(|operation| drop(log.append(operation)));
    assert_eq!(log.len(), 6);
    let tenants = || manager.budget().tenants();
    let _api = config.tenant(manager.budget(), "api");
    let api = tenants().into_iter().find(|tenant| &*tenant.name == "api");
    assert_eq!(api.unwrap().priority, Priority::High);
}
