//! Which file and which variable counts: names, layers, projects, the home.
//!
//! Never part of the product.

use super::*;

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
    assert_eq!(
        directory("/home/ann").unwrap(),
        Path::new("/home/ann/spill")
    );
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
