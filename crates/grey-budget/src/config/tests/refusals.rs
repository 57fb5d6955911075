//! Defaults, and every way in which a file can be wrong.
//!
//! Never part of the product.

use super::*;

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
