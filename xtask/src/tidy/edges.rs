//! Which crate may use which, as ARCHITECTURE.md says, against `cargo metadata`.
//!
//! The tools outside `crates/` may use what they need; no crate may use them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// A crate and the crates of ours that it may use.
pub(super) type Allowed = (&'static str, &'static [&'static str]);

/// The cut of the product. A crate that is not here does not exist.
pub(super) const ALLOWED: &[Allowed] = &[
    ("grey-model", &[]),
    ("grey-telemetry", &["grey-model"]),
    ("grey-policy", &["grey-model"]),
    ("grey-enforcement", &["grey-model", "grey-telemetry"]),
    ("grey-control", &["grey-model"]),
    ("grey-budget", &["grey-model", "grey-telemetry"]),
    (
        "greyd",
        &[
            "grey-model",
            "grey-telemetry",
            "grey-policy",
            "grey-enforcement",
            "grey-control",
        ],
    ),
    (
        "greyctl",
        &[
            "grey-model",
            "grey-telemetry",
            "grey-policy",
            "grey-enforcement",
            "grey-control",
        ],
    ),
    ("grey-fake-kernel", &["grey-model"]),
];

/// What the tests of any crate may use besides.
const FOR_TESTS: &str = "grey-fake-kernel";

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
    #[serde(default)]
    targets: Vec<BuildTarget>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

#[derive(Debug, Deserialize)]
struct BuildTarget {
    name: String,
    kind: Vec<String>,
}

/// Edges that nobody allowed, and crates that nobody named.
pub(super) fn check(metadata: &str, allowed: &[Allowed]) -> Vec<String> {
    let metadata: Metadata = match serde_json::from_str(metadata) {
        Ok(metadata) => metadata,
        Err(error) => return vec![format!("cargo metadata: {error}")],
    };
    let allowed: BTreeMap<&str, &[&str]> = allowed.iter().copied().collect();
    let ours: BTreeSet<&str> = metadata
        .packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let mut problems = Vec::new();
    for package in &metadata.packages {
        if !package.manifest_path.contains("/crates/") {
            continue;
        }
        let name = &package.name;
        let Some(may_use) = allowed.get(name.as_str()) else {
            problems.push(format!(
                "{name}: not in the table of crates (ARCHITECTURE.md, xtask/src/tidy/edges.rs)"
            ));
            continue;
        };
        for dependency in &package.dependencies {
            let used = dependency.name.as_str();
            let for_tests = dependency.kind.as_deref() == Some("dev") && used == FOR_TESTS;
            if ours.contains(used) && !may_use.contains(&used) && !for_tests {
                problems.push(format!("{name}: must not use {used}"));
            }
        }
    }
    problems
}

/// The names of the programs that the workspace builds, examples too.
pub(super) fn programs(metadata: &str) -> Vec<String> {
    let Ok(metadata) = serde_json::from_str::<Metadata>(metadata) else {
        return Vec::new();
    };
    metadata
        .packages
        .into_iter()
        .flat_map(|package| package.targets)
        .filter(|target| {
            target
                .kind
                .iter()
                .any(|kind| kind == "bin" || kind == "example")
        })
        .map(|target| target.name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(name: &str, folder: &str, used: &str, kind: &str) -> String {
        format!(
            r#"{{"packages": [
                {{"name": "{name}", "manifest_path": "/x/{folder}/{name}/Cargo.toml",
                  "dependencies": [{{"name": "{used}", "kind": {kind}}}, {{"name": "serde", "kind": null}}],
                  "targets": [{{"name": "{name}", "kind": ["bin"]}}]}},
                {{"name": "grey-enforcement", "manifest_path": "/x/crates/grey-enforcement/Cargo.toml", "dependencies": []}},
                {{"name": "grey-fake-kernel", "manifest_path": "/x/crates/grey-fake-kernel/Cargo.toml", "dependencies": []}}
            ]}}"#
        )
    }

    #[test]
    fn an_edge_that_is_not_in_the_table_is_a_problem() {
        let found = check(
            &metadata("grey-policy", "crates", "grey-enforcement", "null"),
            ALLOWED,
        );
        assert_eq!(found, ["grey-policy: must not use grey-enforcement"]);
        assert!(
            check(
                &metadata("greyctl", "crates", "grey-enforcement", "null"),
                ALLOWED
            )
            .is_empty()
        );
    }

    #[test]
    fn the_fake_kernel_is_for_tests_only() {
        assert!(
            check(
                &metadata("grey-policy", "crates", "grey-fake-kernel", "\"dev\""),
                ALLOWED
            )
            .is_empty()
        );
        assert_eq!(
            check(
                &metadata("grey-policy", "crates", "grey-fake-kernel", "null"),
                ALLOWED
            )
            .len(),
            1
        );
    }

    #[test]
    fn a_new_crate_must_be_named_and_a_tool_need_not() {
        assert_eq!(
            check(&metadata("grey-news", "crates", "serde", "null"), ALLOWED).len(),
            1
        );
        assert!(check(&metadata("bench", ".", "grey-enforcement", "null"), ALLOWED).is_empty());
    }

    #[test]
    fn the_programs_are_known_by_name() {
        assert_eq!(
            programs(&metadata("greyctl", "crates", "serde", "null")),
            ["greyctl"]
        );
    }
}
