//! Variables of the environment: prefixes, and those that are wrong.
//!
//! Never part of the product.

use super::*;

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
