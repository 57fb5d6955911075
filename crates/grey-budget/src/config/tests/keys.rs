//! Every key, from the file and from its variable; and any text in its place.
//!
//! Never part of the product.

use super::*;

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
