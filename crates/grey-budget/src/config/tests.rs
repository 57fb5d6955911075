//! Loading: every key, every variable, every way to be wrong.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use grey_model::{Bytes, Level, MemoryLimit, Priority};
use proptest::prelude::*;

use super::*;
use crate::limits::{LimitKind, Machine};

const MACHINE_MB: u64 = 64 * 1024;

struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let files_of = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            files_of.write(name, text);
        }
        files_of
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn loader(&self) -> ConfigLoader {
        ConfigLoader::from_file(self.path("config.yaml"))
            .environment([("HOME", "/home/user")])
            .machine(Machine::new(Some(Bytes::from_mib(MACHINE_MB))))
    }
}

fn load(text: &str) -> Result<Config, ConfigError> {
    Files::new(&[("config.yaml", text)]).loader().load()
}

fn load_with(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    ConfigLoader::without_file()
        .environment(variables.iter().copied())
        .machine(Machine::new(Some(Bytes::from_mib(MACHINE_MB))))
        .load()
}

/// The message and all that it carries, without the directory.
fn told(error: &ConfigError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    let place = text.find("/config.yaml").and_then(|end| {
        let start = text[..end].rfind([' ', '(', '`'])? + 1;
        Some((start, end + 1))
    });
    match place {
        Some((start, end)) => format!("{}{}", &text[..start], &text[end..]),
        None => text,
    }
}

fn refused(text: &str) -> String {
    told(&load(text).expect_err(text))
}

#[test]
fn an_empty_file_gives_the_defaults() {
    for text in [
        "",
        "\n",
        "# memory:\n#   x: 1\n",
        "memory:\n",
        "{}",
        "~",
        "---\n",
    ] {
        let config = load(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(config.memory.total_budget, Bytes::from_mib(3072));
        assert_eq!(config.memory.thresholds.level::<Level>(0.93), Level::Hard);
        assert_eq!(config.resources.work_queue_max, 10_000);
        assert!(
            config
                .entries()
                .all(|(_, entry)| entry.origin == Origin::Default)
        );
    }
}

#[test]
fn the_default_budget_is_a_quarter_of_a_small_machine() {
    let config = |machine: Machine| {
        let loader = ConfigLoader::without_file().environment([("HOME", "/h")]);
        loader.machine(machine).load().unwrap().memory.total_budget
    };
    let machine = |mib| Machine::new(Some(Bytes::from_mib(mib)));
    assert_eq!(config(machine(4096)), Bytes::from_mib(1024));
    assert_eq!(config(machine(16_384)), Bytes::from_mib(3072));
    let contained = machine(16_384).with_cgroup_limit(MemoryLimit::Bytes(Bytes::from_mib(512)));
    assert_eq!(config(contained), Bytes::from_mib(128));
    assert_eq!(config(Machine::new(None)), Bytes::from_mib(3072));
    let limited = machine(16_384).with_rlimit(LimitKind::Data, Bytes::from_mib(400));
    assert_eq!(config(limited), Bytes::from_mib(100));
}

#[test]
fn a_key_that_nothing_reads_is_refused_with_its_line_and_the_nearest_key() {
    assert_eq!(
        refused("memory:\n  total_budget_mb: 5\n  soft_limit_percnt: 0.5\n"),
        "unknown key `memory.soft_limit_percnt` (config.yaml:3); \
         did you mean `memory.soft_limit_percent`?"
    );
    assert_eq!(refused("zebra: 1\n"), "unknown key `zebra` (config.yaml:1)");
    assert!(refused("zebra:\n").starts_with("unknown key `zebra`"));
    assert!(
        refused("projects:\n  a:\n    priority: LOW\n")
            .starts_with("unknown key `projects.a.priority`")
    );
    assert!(
        refused("memory:\n  total_budget_mb:\n    x: 5\n")
            .starts_with("unknown key `memory.total_budget_mb.x`")
    );
}

#[test]
fn a_value_where_a_section_belongs_is_refused() {
    assert_eq!(
        refused("\nmemory: 5\n"),
        "`memory` (config.yaml:2) is a section and takes no value"
    );
    assert!(refused("projects: all\n").contains("is a section"));
    assert!(
        refused("projects:\n  a: HIGH\n").contains("`projects.a` (config.yaml:2) is a section")
    );
}

#[test]
fn a_bad_value_is_refused_with_file_line_key_and_reason() {
    for (text, message) in [
        (
            "memory:\n  total_budget_mb: -5\n",
            "failed to take `-5` for `memory.total_budget_mb` (config.yaml:2): it must be above 0",
        ),
        (
            "memory:\n  total_budget_mb: 0\n",
            "failed to take `0` for `memory.total_budget_mb` (config.yaml:2): it must be above 0",
        ),
        (
            "memory:\n  total_budget_mb: 18446744073709551615\n",
            "failed to take `18446744073709551615` for `memory.total_budget_mb` (config.yaml:2): \
             it must be at most 17592186044415",
        ),
        (
            "memory:\n  total_budget_mb: 1.5\n",
            "failed to take `1.5` for `memory.total_budget_mb` (config.yaml:2): \
             it must be a whole number",
        ),
        (
            "memory:\n  soft_limit_percent: many\n",
            "failed to take `many` for `memory.soft_limit_percent` (config.yaml:2): \
             it must be a number",
        ),
        (
            "memory:\n  emergency_percent: .nan\n",
            "failed to take `.nan` for `memory.emergency_percent` (config.yaml:2): \
             it must be a number",
        ),
        (
            "memory:\n  emergency_percent: 1e999\n",
            "failed to take `.inf` for `memory.emergency_percent` (config.yaml:2): \
             it must be a number",
        ),
        (
            "memory:\n  spill:\n    enabled: maybe\n",
            "failed to take `maybe` for `memory.spill.enabled` (config.yaml:3): \
             it must be true or false",
        ),
        (
            "memory:\n  spill:\n    directory: spill\n",
            "failed to take `spill` for `memory.spill.directory` (config.yaml:3): \
             it must be an absolute path, or begin with `~/`",
        ),
        (
            "projects:\n  a:\n    memory:\n      priority: URGENT\n",
            "failed to take `URGENT` for `projects.a.memory.priority` (config.yaml:4): \
             it must be a priority: `URGENT` is no priority: LOW, MEDIUM, HIGH or CRITICAL",
        ),
        (
            "memory:\n  monitoring:\n    interval_seconds: 31536001\n",
            "failed to take `31536001` for `memory.monitoring.interval_seconds` (config.yaml:3): \
             it must be at most 31536000",
        ),
    ] {
        assert_eq!(refused(text), message);
    }
}

#[test]
fn thresholds_that_contradict_name_the_key_that_was_written() {
    for (text, message) in [
        (
            "memory:\n  soft_limit_percent: 0\n",
            "`memory.soft_limit_percent` (config.yaml:2) does not fit: \
             the enter of SOFT is 0, and must be above 0 and at most 1",
        ),
        (
            "memory:\n  soft_limit_percent: 80\n",
            "`memory.soft_limit_percent` (config.yaml:2) does not fit: \
             the enter of SOFT is 80, and must be above 0 and at most 1",
        ),
        (
            "memory:\n  hard_limit_percent: -0.5\n",
            "`memory.hard_limit_percent` (config.yaml:2) does not fit: \
             the enter of HARD is -0.5, and must be above 0 and at most 1",
        ),
        (
            "memory:\n  soft_limit_percent: 0.95\n",
            "`memory.soft_limit_percent` (config.yaml:2) does not fit: \
             HARD begins at 0.93, and must begin above SOFT (0.95)",
        ),
        (
            "memory:\n  soft_exit_percent: 0.9\n",
            "`memory.soft_exit_percent` (config.yaml:2) does not fit: \
             the exit of SOFT (0.9) must be below its enter (0.8)",
        ),
        (
            "resources:\n  memory_critical_pct: 50\n",
            "`resources.memory_critical_pct` (config.yaml:2) does not fit: \
             CRITICAL begins at 0.5, and must begin above HIGH (0.6)",
        ),
    ] {
        let told = refused(text);
        let tail = told.strip_prefix("failed to take the thresholds; ");
        assert_eq!(tail, Some(message));
    }
}

#[test]
fn a_budget_over_the_machine_is_refused_with_the_reason_and_a_large_one_is_told() {
    assert_eq!(
        refused("memory:\n  total_budget_mb: 65537\n"),
        "failed to take a budget of `65537` MB for `memory.total_budget_mb` (config.yaml:2): \
         Requested limit 64.00 GB exceeds total system memory 64.00 GB"
    );
    let config = load("memory:\n  total_budget_mb: 65536\n").unwrap();
    assert_eq!(
        config.warnings()[0].to_string(),
        "memory.total_budget_mb: Requested limit 64.00 GB is 100.0% of total system memory 64.00 GB"
    );
    let files = Files::new(&[("config.yaml", "memory:\n  total_budget_mb: 3072\n")]);
    let contained = Machine::new(Some(Bytes::from_mib(MACHINE_MB)))
        .with_cgroup_limit(MemoryLimit::Bytes(Bytes::from_mib(2048)));
    let error = files.loader().machine(contained).load().unwrap_err();
    assert!(told(&error).ends_with("exceeds the control group's effective limit of 2.00 GB"));
}

#[test]
fn a_budget_over_the_processs_own_limit_is_told() {
    let files = Files::new(&[("config.yaml", "memory:\n  total_budget_mb: 2048\n")]);
    let machine = |mib| {
        Machine::new(Some(Bytes::from_mib(MACHINE_MB)))
            .with_rlimit(LimitKind::AddressSpace, Bytes::from_mib(mib))
    };
    let config = files.loader().machine(machine(1024)).load().unwrap();
    assert_eq!(
        config.warnings()[0].to_string(),
        "memory.total_budget_mb: 2.0 GiB is above RLIMIT_AS of this process, 1.0 GiB"
    );
    let config = files.loader().machine(machine(2048)).load().unwrap();
    assert!(config.warnings().is_empty());
}

#[test]
fn what_is_no_yaml_is_refused_with_its_line() {
    for text in [
        "memory:\n  total_budget_mb: 1\n  total_budget_mb: 2\n",
        "memory:\n  total_budget_mb: [1, 2]\n",
        "memory:\n\ttotal_budget_mb: 1\n",
        "memory: {\n",
        "- 1\n- 2\n",
        "just a text\n",
        "a: 1\n---\nb: 2\n",
        "memory: *nothing\n",
    ] {
        match load(text) {
            Err(ConfigError::Syntax { line, .. }) => assert!(line > 0, "{text:?}"),
            other => panic!("{text:?}: {other:?}"),
        }
    }
}

#[test]
fn bytes_that_are_no_text_are_refused_with_their_line() {
    let files = Files::new(&[]);
    files.write("config.yaml", b"memory:\n  \xff\n");
    assert!(matches!(
        files.loader().load(),
        Err(ConfigError::NotUtf8 { line: 2, .. })
    ));
}

#[test]
fn repeating_by_aliases_is_bounded() {
    let mut text = "a0: &a0 {x: 1}\n".to_owned();
    for level in 1..30 {
        let below = level - 1;
        text += &format!("a{level}: &a{level} {{x: *a{below}, y: *a{below}}}\n");
    }
    assert!(load(&text).is_err());
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let files = Files::new(&[]);
    assert!(matches!(
        files.loader().load(),
        Err(ConfigError::Read { .. })
    ));
    std::fs::create_dir(files.path("config.yaml")).unwrap();
    assert!(matches!(
        files.loader().load(),
        Err(ConfigError::NotAFile { .. })
    ));
    std::fs::remove_dir(files.path("config.yaml")).unwrap();
    let large = "#".repeat(1024 * 1024 + 1);
    files.write("config.yaml", large);
    assert!(matches!(
        files.loader().load(),
        Err(ConfigError::TooLarge { .. })
    ));
    std::fs::remove_file(files.path("config.yaml")).unwrap();
    // Reading a pipe would wait for ever for somebody who writes.
    rustix::fs::mknodat(
        rustix::fs::CWD,
        files.path("config.yaml"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    assert!(matches!(
        files.loader().load(),
        Err(ConfigError::NotAFile { .. })
    ));
}

#[test]
fn two_names_of_one_key_are_one_key() {
    let config = load("resources:\n  crdt_history_max_ops: 7\n").unwrap();
    assert_eq!(config.resources.history_max_ops, 7);
    assert_eq!(
        refused("resources:\n  history_max_ops: 7\n  crdt_history_max_ops: 8\n"),
        "`resources.history_max_ops` (config.yaml:3) is given twice: \
         `resources.crdt_history_max_ops` means the same"
    );
}

#[test]
fn the_environment_is_over_the_projects_file_and_that_over_the_global_one() {
    let files = Files::new(&[
        (
            "config.yaml",
            "memory:\n  project_defaults:\n    max_loaded_files: 1\nprojects:\n  a-b:\n    memory:\n      \
             max_loaded_files: 2\n      max_cached_queries: 3\n",
        ),
        ("projects/a-b.yaml", "memory:\n  max_cached_queries: 4\n"),
        ("projects/c.yml", "memory:\n  priority: low\n"),
        ("projects/.hidden.yaml", "nonsense: 1\n"),
        ("projects/notes.txt", "nonsense: 1\n"),
    ]);
    let config = files.loader().load().unwrap();
    let project = config.project("a-b");
    assert_eq!(
        (project.max_loaded_files, project.max_cached_queries),
        (2, 4)
    );
    let other = config.project("c");
    assert_eq!((other.max_loaded_files, other.priority), (1, Priority::Low));
    assert_eq!(config.project("unknown"), config.memory.project_defaults);
    assert_eq!(config.projects().count(), 2);

    let variables = [("GREY_PROJECTS_A_B_MEMORY_MAX_CACHED_QUERIES", "5")];
    let config = files.loader().environment(variables).load().unwrap();
    assert_eq!(config.project("a-b").max_cached_queries, 5);
    let origin = |key: &str| config.origin(key).unwrap().to_string();
    assert_eq!(
        origin("projects.a-b.memory.max_cached_queries"),
        "environment: GREY_PROJECTS_A_B_MEMORY_MAX_CACHED_QUERIES"
    );
    assert!(origin("projects.a-b.memory.max_loaded_files").ends_with("config.yaml:7"));
    assert!(origin("projects.c.memory.max_loaded_files").ends_with("config.yaml:3"));
    assert!(origin("projects.c.memory.priority").ends_with("c.yml:2"));
    assert_eq!(origin("projects.c.memory.max_cached_queries"), "default");
    assert_eq!(config.origin("nothing"), None);
}

#[test]
fn saying_nothing_hides_nothing() {
    let files = Files::new(&[
        (
            "config.yaml",
            "projects:\n  a:\n    memory:\n      priority: HIGH\n",
        ),
        ("projects/a.yaml", "memory:\n  priority:\n"),
    ]);
    let config = files.loader().load().unwrap();
    assert_eq!(config.project("a").priority, Priority::High);
    let variables = [("GREY_PROJECTS_A_MEMORY_PRIORITY", "")];
    let config = files.loader().environment(variables).load().unwrap();
    assert_eq!(config.project("a").priority, Priority::High);
}

#[test]
fn a_project_has_one_file_and_a_name() {
    let files = Files::new(&[
        ("config.yaml", ""),
        ("projects/a.yaml", ""),
        ("projects/a.yml", ""),
    ]);
    assert!(matches!(
        files.loader().load(),
        Err(ConfigError::ProjectTwice { .. })
    ));
    assert!(
        refused("projects:\n  \"\":\n    memory:\n      priority: LOW\n")
            .contains("is no name for a project")
    );
    let long = "x".repeat(129);
    let text = format!("projects:\n  {long}:\n    memory:\n      priority: LOW\n");
    assert!(matches!(load(&text), Err(ConfigError::ProjectName { .. })));
}

#[test]
fn the_home_is_where_the_environment_says() {
    let files = Files::new(&[("config.yaml", "memory:\n  spill:\n    directory: ~/spill\n")]);
    let directory = |home: &'static str| {
        let config = files.loader().environment([("HOME", home)]).load();
        config.map(|config| config.memory.spill.directory)
    };
    assert_eq!(directory("/root").unwrap(), Path::new("/root/spill"));
    let error = directory("").unwrap_err();
    assert!(told(&error).contains("HOME is not set"), "{error}");
    assert!(directory("relative").is_err());
    let nobody: [(&str, &str); 0] = [];
    let config = ConfigLoader::without_file()
        .environment(nobody)
        .load()
        .unwrap();
    assert_eq!(
        config.memory.spill.directory,
        Path::new("/var/tmp/grey-spill")
    );
}

/// Every key, a value other than the default, and its variable.
const KEYS: &[(&str, &str, &str)] = &[
    ("memory.total_budget_mb", "4096", "MEMORY_TOTAL_BUDGET_MB"),
    (
        "memory.soft_limit_percent",
        "0.75",
        "MEMORY_SOFT_LIMIT_PERCENT",
    ),
    (
        "memory.hard_limit_percent",
        "0.9",
        "MEMORY_HARD_LIMIT_PERCENT",
    ),
    (
        "memory.emergency_percent",
        "0.97",
        "MEMORY_EMERGENCY_PERCENT",
    ),
    (
        "memory.soft_exit_percent",
        "0.7",
        "MEMORY_SOFT_EXIT_PERCENT",
    ),
    (
        "memory.hard_exit_percent",
        "0.85",
        "MEMORY_HARD_EXIT_PERCENT",
    ),
    (
        "memory.emergency_exit_percent",
        "0.91",
        "MEMORY_EMERGENCY_EXIT_PERCENT",
    ),
    ("memory.max_loaded_files", "11", "MEMORY_MAX_LOADED_FILES"),
    (
        "memory.max_cached_queries",
        "12",
        "MEMORY_MAX_CACHED_QUERIES",
    ),
    ("memory.spill.enabled", "false", "MEMORY_SPILL_ENABLED"),
    (
        "memory.spill.directory",
        "/srv/spill",
        "MEMORY_SPILL_DIRECTORY",
    ),
    (
        "memory.spill.max_spill_size_mb",
        "13",
        "MEMORY_SPILL_MAX_SPILL_SIZE_MB",
    ),
    (
        "memory.monitoring.enabled",
        "false",
        "MEMORY_MONITORING_ENABLED",
    ),
    (
        "memory.monitoring.interval_seconds",
        "60",
        "MEMORY_MONITORING_INTERVAL_SECONDS",
    ),
    (
        "memory.monitoring.alert_on_soft_limit",
        "false",
        "MEMORY_MONITORING_ALERT_ON_SOFT_LIMIT",
    ),
    (
        "memory.monitoring.alert_on_hard_limit",
        "false",
        "MEMORY_MONITORING_ALERT_ON_HARD_LIMIT",
    ),
    (
        "memory.monitoring.alert_on_emergency",
        "false",
        "MEMORY_MONITORING_ALERT_ON_EMERGENCY",
    ),
    (
        "memory.project_defaults.max_loaded_files",
        "14",
        "MEMORY_PROJECT_DEFAULTS_MAX_LOADED_FILES",
    ),
    (
        "memory.project_defaults.max_cached_queries",
        "15",
        "MEMORY_PROJECT_DEFAULTS_MAX_CACHED_QUERIES",
    ),
    (
        "memory.project_defaults.priority",
        "LOW",
        "MEMORY_PROJECT_DEFAULTS_PRIORITY",
    ),
    (
        "resources.memory_log_interval_secs",
        "31",
        "MEMORY_LOG_INTERVAL",
    ),
    ("resources.memory_moderate_pct", "45", "MEMORY_MODERATE_PCT"),
    ("resources.memory_high_pct", "65", "MEMORY_HIGH_PCT"),
    ("resources.memory_critical_pct", "85", "MEMORY_CRITICAL_PCT"),
    ("resources.exit_when_critical", "true", "EXIT_WHEN_CRITICAL"),
    ("resources.event_capacity", "16", "EVENT_CAPACITY"),
    ("resources.event_ttl_secs", "61", "EVENT_TTL"),
    ("resources.work_queue_max", "17", "WORK_QUEUE_MAX"),
    ("resources.db_pool_size", "18", "DB_POOL_SIZE"),
    (
        "resources.embeddings_cache_size",
        "19",
        "EMBEDDINGS_CACHE_SIZE",
    ),
    ("resources.history_max_ops", "20", "HISTORY_MAX_OPS"),
    (
        "resources.history_compaction_interval_secs",
        "601",
        "HISTORY_COMPACTION_INTERVAL",
    ),
];

fn as_yaml(key: &str, value: &str) -> String {
    let mut text = String::new();
    for (depth, part) in key.split('.').enumerate() {
        text += &format!("\n{}{part}:", "  ".repeat(depth));
    }
    format!("{text} {value}\n")
}

/// Alone, some values contradict the defaults of others.
fn with_company(key: &str) -> Vec<(&'static str, &'static str, &'static str)> {
    let family = |key: &str| key.ends_with("_percent") || key.ends_with("_pct");
    KEYS.iter()
        .copied()
        .filter(|(other, _, _)| *other == key || family(key) && family(other))
        .collect()
}

#[test]
fn every_key_is_in_the_table_of_these_tests() {
    let config = load("").unwrap();
    let known: BTreeSet<&str> = config.entries().map(|(key, _)| key).collect();
    let tested: BTreeSet<&str> = KEYS.iter().map(|(key, _, _)| *key).collect();
    assert_eq!(known, tested);
}

#[test]
fn every_key_is_read_from_the_file_and_from_its_variable_to_the_same_effect() {
    let base = load_with(&[("HOME", "/h")]).unwrap();
    for (key, value, variable) in KEYS {
        let company = with_company(key);
        let variables: Vec<(String, &str)> = company
            .iter()
            .map(|(_, value, variable)| (format!("GREY_{variable}"), *value))
            .chain([("HOME".to_owned(), "/h")])
            .collect();
        let loader = ConfigLoader::without_file().environment(variables);
        let machine = Machine::new(Some(Bytes::from_mib(MACHINE_MB)));
        let by_variable = loader.machine(machine).load().unwrap();
        assert_eq!(
            by_variable.origin(key).unwrap().to_string(),
            format!("environment: GREY_{variable}")
        );
        let (_, entry) = by_variable.entries().find(|(name, _)| name == key).unwrap();
        assert_eq!(entry.text, *value);
        assert!(
            by_variable.memory != base.memory || by_variable.resources != base.resources,
            "nothing reads {key}"
        );
        if company.len() == 1 {
            let by_file = load(&as_yaml(key, value)).unwrap();
            assert_eq!(
                by_file.memory.spill.enabled,
                by_variable.memory.spill.enabled
            );
            assert_eq!(by_file.memory.monitoring, by_variable.memory.monitoring);
            assert_eq!(
                by_file.memory.project_defaults,
                by_variable.memory.project_defaults
            );
            assert_eq!(by_file.memory.total_budget, by_variable.memory.total_budget);
            assert_eq!(by_file.resources, by_variable.resources);
        }
    }
}

#[test]
fn a_prefix_is_the_programs_own() {
    let config = ConfigLoader::without_file()
        .prefix("LEINDEX_")
        .environment([
            ("LEINDEX_MEMORY_TOTAL_BUDGET_MB", "100"),
            ("GREY_MEMORY_TOTAL_BUDGET_MB", "200"),
        ])
        .load()
        .unwrap();
    assert_eq!(config.memory.total_budget, Bytes::from_mib(100));
}

#[test]
fn a_variable_that_nothing_reads_is_told() {
    let config = load_with(&[
        ("GREY_MEMORY_TOTAL_BUDGET", "5"),
        ("GREY_PROJECTS_NOBODY_MEMORY_PRIORITY", "LOW"),
        ("GREY_PROCFS", "/proc"),
        ("HOME", "/h"),
    ])
    .unwrap();
    let told: Vec<String> = config.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "nothing reads the environment variable `GREY_MEMORY_TOTAL_BUDGET`",
            "nothing reads the environment variable `GREY_PROJECTS_NOBODY_MEMORY_PRIORITY`",
        ]
    );
}

#[test]
fn a_threshold_that_is_no_number_is_refused_from_the_environment_too() {
    for value in ["NaN", "inf", "-inf", "1e999"] {
        let error = load_with(&[("GREY_MEMORY_SOFT_LIMIT_PERCENT", value)]).unwrap_err();
        assert!(
            matches!(error, ConfigError::Thresholds { .. }),
            "{value}: {error}"
        );
    }
}

#[test]
fn a_bad_variable_is_named() {
    let error = load_with(&[("GREY_DB_POOL_SIZE", "lots")]).unwrap_err();
    assert_eq!(
        told(&error),
        "failed to take `lots` for `resources.db_pool_size` (environment: GREY_DB_POOL_SIZE): \
         it must be a whole number"
    );
    use std::os::unix::ffi::OsStringExt as _;
    let loader = ConfigLoader::without_file().environment([(
        "GREY_DB_POOL_SIZE",
        std::ffi::OsString::from_vec(vec![0xff]),
    )]);
    assert!(matches!(
        loader.load(),
        Err(ConfigError::Value {
            source: ValueError::NotUtf8,
            ..
        })
    ));
}

#[test]
fn only_files_of_the_configuration_are_a_change() {
    let files = Files::new(&[("config.yaml", ""), ("projects/a.yaml", "")]);
    let config = ConfigHandle::load(files.loader()).unwrap();
    assert!(!config.files_changed());
    files.write("other.yaml", "x: 1");
    files.write("projects/.a.yaml.swp", "x: 1");
    assert!(!config.files_changed());
    for name in ["config.yaml", "projects/a.yaml", "projects/b.yaml"] {
        files.write(name, "memory:\n");
        assert!(config.files_changed(), "{name}");
        config.reload();
        assert!(!config.files_changed(), "{name}");
    }
    files.write("config.yaml", "wrong: 1\n");
    assert!(!config.reload().success);
    assert!(
        !config.files_changed(),
        "a wrong file is not read again and again"
    );
}

#[test]
fn an_alert_belongs_to_its_level() {
    let config = load("memory:\n  monitoring:\n    alert_on_hard_limit: off\n").unwrap();
    let monitoring = &config.memory.monitoring;
    let alerts = [Level::Normal, Level::Soft, Level::Hard, Level::Emergency]
        .map(|level| monitoring.alerts_on(level));
    assert_eq!(alerts, [false, true, false, true]);
    assert_eq!(monitoring.interval, Duration::from_secs(30));
}

proptest! {
    #[test]
    fn any_bytes_are_a_configuration_or_an_error(
        bytes in proptest::collection::vec(any::<u8>(), 0..400)
    ) {
        let path: Arc<Path> = Path::new("config.yaml").into();
        let _ = super::yaml::parse(&path, &bytes);
    }

    #[test]
    fn any_text_in_the_way_of_yaml_is_a_configuration_or_an_error(
        text in "([ a-z_]{0,6}(: |:\n|- |&a|\\*a|\\{|\\}|\\[|\\]|,|\"|'|#|<<: |\\||>|!|%|~|0|9|\\.|-|\t|\n)){0,60}"
    ) {
        let path: Arc<Path> = Path::new("config.yaml").into();
        let _ = super::yaml::parse(&path, text.as_bytes());
    }

    #[test]
    fn a_document_cut_anywhere_never_panics(cut in 0_usize..600) {
        let text = KEYS.iter().map(|(key, value, _)| as_yaml(key, value)).collect::<String>();
        let end = cut.min(text.len());
        let path: Arc<Path> = Path::new("config.yaml").into();
        let _ = super::yaml::parse(&path, &text.as_bytes()[..end]);
    }

    #[test]
    fn any_value_of_any_key_is_taken_or_refused(place in 0..KEYS.len(), value in ".{0,30}") {
        let (_, _, variable) = KEYS[place];
        let loader = ConfigLoader::without_file()
            .environment([(format!("GREY_{variable}"), value)])
            .machine(Machine::new(None));
        if let Ok(config) = loader.load() {
            prop_assert!(config.memory.total_budget > Bytes::ZERO);
        }
    }
}

#[test]
fn two_projects_that_would_share_a_variable_are_refused() {
    let text = "projects:\n  core-api: {memory: {priority: HIGH}}\n  core_api: {memory: {priority: LOW}}\n";
    let error = load(text).unwrap_err();
    let ConfigError::ProjectVariable { first, second, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!((first.as_str(), second.as_str()), ("core-api", "core_api"));
    assert!(error.to_string().contains("PROJECTS_CORE_API_MEMORY_"));
}
