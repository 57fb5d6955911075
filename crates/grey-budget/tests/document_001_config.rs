//! Every configuration example of the document on memory management: the
//! files, the variables, the reload, the observers, with its numbers.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its functions too"
)]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use grey_budget::config::{Config, ConfigHandle, ConfigLoader, ConfigObserver, ConfigReloaded};
use grey_budget::limits::Machine;
use grey_budget::{Bytes, Level, Priority};

const GLOBAL: &str = r#"
memory:
  # Total memory budget (in MB)
  total_budget_mb: 3072  # 3 GB

  # Threshold percentages (of total budget)
  soft_limit_percent: 0.80    # 80% = 2457 MB
  hard_limit_percent: 0.93    # 93% = 2857 MB
  emergency_percent: 0.98     # 98% = 3010 MB

  # Maximum loaded files (across all projects)
  max_loaded_files: 1000
  max_cached_queries: 500

  # Spill-to-disk configuration
  spill:
    enabled: true
    directory: "~/.leindex/spill"
    max_spill_size_mb: 1000

  # Monitoring configuration
  monitoring:
    enabled: true
    interval_seconds: 30  # Check every 30 seconds
    alert_on_soft_limit: true
    alert_on_hard_limit: true
    alert_on_emergency: true

  # Project defaults
  project_defaults:
    max_loaded_files: 100
    max_cached_queries: 50
    priority: "MEDIUM"
"#;

const LARGE_PROJECT: &str = r#"
memory:
  # Override defaults for large project
  max_loaded_files: 500  # Allow more files
  max_cached_queries: 200
  priority: "HIGH"  # Higher eviction priority
"#;

const TEMPORARY_PROJECT: &str = r#"
memory:
  # Lower priority for temporary project
  max_loaded_files: 50
  max_cached_queries: 25
  priority: "LOW"  # Evict first
"#;

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir_all(home.path("projects")).unwrap();
        home.write("config.yaml", GLOBAL);
        home.write("projects/my-large-project.yaml", LARGE_PROJECT);
        home.write("projects/temp-analysis.yaml", TEMPORARY_PROJECT);
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(".leindex").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn loader(&self, variables: &[(&str, &str)]) -> ConfigLoader {
        let home = self.0.path().to_str().unwrap();
        let variables = variables.iter().copied().chain([("HOME", home)]);
        ConfigLoader::from_file(self.path("config.yaml"))
            .prefix("LEINDEX_")
            .environment(variables)
            .machine(gigabytes(16))
    }
}

fn gigabytes(count: u64) -> Machine {
    Machine::new(Some(Bytes::from_mib(count * 1024)))
}

fn load(text: &str, machine: Machine) -> Config {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.yaml");
    std::fs::write(&path, text).unwrap();
    ConfigLoader::from_file(path)
        .environment([("HOME", "/home/user")])
        .machine(machine)
        .load()
        .unwrap()
}

/// The thresholds of a budget in whole MB, rounded down. The document's comments
/// say 2457, 2857 and 3010: the second was rounded up from 2856.96.
fn thresholds_mb(config: &Config) -> [u64; 3] {
    let budget = config.memory.total_budget;
    let steps = config.memory.thresholds.steps();
    steps.map(|step| {
        let per_mille = (1..=1000_u16)
            .find(|&part| f64::from(part) >= step.enter * 1000.0)
            .unwrap();
        budget.scale(u64::from(per_mille), 1000).get() >> 20
    })
}

#[test]
fn the_global_configuration_is_read_as_documented() {
    let home = Home::new();
    let config = home.loader(&[]).load().unwrap();
    let memory = &config.memory;
    assert_eq!(memory.total_budget, Bytes::from_mib(3072));
    assert_eq!(thresholds_mb(&config), [2457, 2856, 3010]);
    for (used_mb, level) in [
        (1995, Level::Normal),
        (2457, Level::Normal),
        (2458, Level::Soft),
        (2857, Level::Hard),
        (3011, Level::Emergency),
    ] {
        let fraction = grey_model::level::fraction(Bytes::from_mib(used_mb), memory.total_budget);
        assert_eq!(
            memory.thresholds.level::<Level>(fraction),
            level,
            "{used_mb} MB"
        );
    }
    assert_eq!(
        (memory.max_loaded_files, memory.max_cached_queries),
        (1000, 500)
    );
    assert!(memory.spill.enabled);
    assert_eq!(memory.spill.directory, home.path("spill"));
    assert_eq!(memory.spill.max_size, Bytes::from_mib(1000));
    assert!(memory.monitoring.enabled);
    assert_eq!(memory.monitoring.interval, Duration::from_secs(30));
    for level in [Level::Soft, Level::Hard, Level::Emergency] {
        assert!(memory.monitoring.alerts_on(level));
    }
    let defaults = memory.project_defaults;
    assert_eq!(
        (defaults.max_loaded_files, defaults.max_cached_queries),
        (100, 50)
    );
    assert_eq!(defaults.priority, Priority::Medium);
}

#[test]
fn projects_override_the_defaults_as_documented() {
    let config = Home::new().loader(&[]).load().unwrap();
    for (name, files, queries, priority) in [
        ("my-large-project", 500, 200, Priority::High),
        ("temp-analysis", 50, 25, Priority::Low),
        ("another", 100, 50, Priority::Medium),
    ] {
        let project = config.project(name);
        assert_eq!(
            (
                project.max_loaded_files,
                project.max_cached_queries,
                project.priority
            ),
            (files, queries, priority),
            "{name}"
        );
    }
    assert_eq!(config.memory.max_loaded_files, 1000, "across all projects");
}

#[test]
fn variables_override_the_files_as_documented() {
    let home = Home::new();
    let config = home
        .loader(&[
            ("LEINDEX_MEMORY_TOTAL_BUDGET_MB", "4096"),
            ("LEINDEX_MEMORY_SOFT_LIMIT_PERCENT", "0.75"),
            ("LEINDEX_MEMORY_HARD_LIMIT_PERCENT", "0.90"),
            ("LEINDEX_MEMORY_MONITORING_INTERVAL_SECONDS", "60"),
        ])
        .load()
        .unwrap();
    assert_eq!(config.memory.total_budget, Bytes::from_mib(4096));
    assert_eq!(thresholds_mb(&config), [3072, 3686, 4014]);
    assert_eq!(config.memory.monitoring.interval, Duration::from_secs(60));
}

#[test]
fn the_environment_wins_over_the_project_and_that_over_the_global_file() {
    let home = Home::new();
    let name = "my-large-project";
    let variable = "LEINDEX_PROJECTS_MY_LARGE_PROJECT_MEMORY_PRIORITY";
    home.write(
        "config.yaml",
        "projects:\n  my-large-project:\n    memory:\n      priority: LOW\n",
    );
    let priority = |variables: &[(&str, &str)]| {
        home.loader(variables)
            .load()
            .unwrap()
            .project(name)
            .priority
    };
    assert_eq!(priority(&[(variable, "CRITICAL")]), Priority::Critical);
    assert_eq!(priority(&[]), Priority::High);
    std::fs::remove_file(home.path("projects/my-large-project.yaml")).unwrap();
    assert_eq!(priority(&[]), Priority::Low);
}

// "Best Practices"

#[test]
fn appropriate_budgets_fit_their_machines() {
    for (machine_gb, budget_mb) in [(16, 3072), (64, 16_384), (4, 1024)] {
        let text = format!("memory:\n  total_budget_mb: {budget_mb}\n");
        let config = load(&text, gigabytes(machine_gb));
        assert_eq!(config.memory.total_budget, Bytes::from_mib(budget_mb));
        assert!(config.warnings().is_empty());
    }
}

#[test]
fn projects_have_priorities_in_the_global_file() {
    let text = r#"
# High-priority project (active development)
projects:
  core-api:
    memory:
      priority: "HIGH"
      max_loaded_files: 500

# Low-priority project (reference only)
  legacy-code:
    memory:
      priority: "LOW"
      max_loaded_files: 50
"#;
    let config = load(text, gigabytes(16));
    let core = config.project("core-api");
    assert_eq!(
        (core.priority, core.max_loaded_files),
        (Priority::High, 500)
    );
    let legacy = config.project("legacy-code");
    assert_eq!(
        (legacy.priority, legacy.max_loaded_files),
        (Priority::Low, 50)
    );
}

#[test]
fn spilling_of_large_projects_is_bounded() {
    let text = r#"
memory:
  spill:
    enabled: true
    directory: "~/.leindex/spill"
    max_spill_size_mb: 2000  # Allow up to 2GB spill
"#;
    let spill = load(text, gigabytes(16)).memory.spill;
    assert!(spill.enabled);
    assert_eq!(spill.directory, Path::new("/home/user/.leindex/spill"));
    assert_eq!(spill.max_size, Bytes::from_mib(2000));
}

// "Programmatic Reload"

#[test]
fn a_reload_by_call_says_whether_and_when() {
    let home = Home::new();
    let config = ConfigHandle::load(home.loader(&[])).unwrap();
    let before = SystemTime::now();
    let result = config.reload();
    assert!(result.success);
    assert!(result.reloaded_at >= before);
    assert!(result.error.is_none());

    home.write("config.yaml", "memory:\n  total_budget_mb: none\n");
    let result = config.reload();
    assert!(!result.success);
    let error = result.error.unwrap().to_string();
    assert!(
        error.contains("`memory.total_budget_mb`"),
        "Reload failed: {error}"
    );
    assert_eq!(config.current().memory.total_budget, Bytes::from_mib(3072));
}

// "Configuration Observers"

struct MemoryConfigObserver {
    lines: Arc<Mutex<Vec<String>>>,
}

impl ConfigObserver for MemoryConfigObserver {
    fn on_config_reloaded(&self, event: &ConfigReloaded) {
        assert!(event.timestamp <= SystemTime::now());
        let megabytes = |config: &Config| config.memory.total_budget.get() >> 20;
        self.lines.lock().unwrap().push(format!(
            "Memory budget: {} MB, was {} MB",
            megabytes(&event.new_config),
            megabytes(&event.old_config)
        ));
    }
}

#[test]
fn an_observer_is_given_the_old_and_the_new_configuration() {
    let home = Home::new();
    let config = ConfigHandle::load(home.loader(&[])).unwrap();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let guard = config
        .observe(MemoryConfigObserver {
            lines: Arc::clone(&lines),
        })
        .unwrap();
    home.write("config.yaml", &GLOBAL.replace("3072", "4096"));
    assert!(config.reload().success);
    assert_eq!(
        *lines.lock().unwrap(),
        ["Memory budget: 4096 MB, was 3072 MB"]
    );
    drop(guard);
    home.write("config.yaml", GLOBAL);
    assert!(config.reload().success);
    assert_eq!(lines.lock().unwrap().len(), 1);
}

// The other document's section `resources`, in this file's format.

#[test]
fn resource_limits_are_read_as_documented() {
    let text = r#"
resources:
  # Memory monitoring
  memory_log_interval_secs: 30
  memory_critical_pct: 80

  # Component limits
  event_capacity: 1000
  event_ttl_secs: 60
  work_queue_max: 10000
  db_pool_size: 20
  embeddings_cache_size: 10000

  # CRDT history
  crdt_history_max_ops: 1000
  crdt_compaction_interval_secs: 600
"#;
    let written = load(text, gigabytes(16));
    assert_eq!(written.resources, load("", gigabytes(16)).resources);
    let resources = &written.resources;
    assert_eq!(resources.memory_log_interval, Duration::from_secs(30));
    assert_eq!(
        resources.system_thresholds,
        grey_budget::Thresholds::of::<grey_budget::SystemLevel>()
    );
    assert_eq!(
        (resources.event_capacity, resources.event_ttl),
        (1000, Duration::from_secs(60))
    );
    assert_eq!(
        (resources.work_queue_max, resources.db_pool_size),
        (10_000, 20)
    );
    assert_eq!(
        (resources.embeddings_cache_size, resources.history_max_ops),
        (10_000, 1000)
    );
    assert_eq!(
        resources.history_compaction_interval,
        Duration::from_secs(600)
    );
}

#[test]
fn resource_variables_are_read_as_documented() {
    let config = ConfigLoader::without_file()
        .prefix("MNEMOSYNE_")
        .environment([
            ("MNEMOSYNE_MEMORY_LOG_INTERVAL", "31"),
            ("MNEMOSYNE_MEMORY_CRITICAL_PCT", "81"),
            ("MNEMOSYNE_EVENT_CAPACITY", "1001"),
            ("MNEMOSYNE_WORK_QUEUE_MAX", "10001"),
            ("MNEMOSYNE_DB_POOL_SIZE", "21"),
            ("MNEMOSYNE_EMBEDDINGS_CACHE_SIZE", "10002"),
        ])
        .machine(gigabytes(16))
        .load()
        .unwrap();
    let resources = &config.resources;
    assert_eq!(resources.memory_log_interval, Duration::from_secs(31));
    assert!((resources.system_thresholds.steps()[2].enter - 0.81).abs() < 1e-9);
    assert_eq!(
        (resources.event_capacity, resources.work_queue_max),
        (1001, 10_001)
    );
    assert_eq!(
        (resources.db_pool_size, resources.embeddings_cache_size),
        (21, 10_002)
    );
}
