//! `cargo xtask bench budget [PART]...`: the benchmarks of the budget library
//! beside their peers, one program a part.
//!
//! Never judges a number: it prints what the programs print.

use crate::workspace::Workspace;
use crate::{FAILED, PASSED, broken, talk};

/// A part, and the features of `bench/budget` that it is built with.
const PARTS: &[(&str, &str, &str)] = &[
    ("reserve", "reserve", "reserve"),
    ("cache", "cache", "cache"),
    ("spill", "spill", "spill"),
    ("queue", "queue", "queue"),
    ("monitor", "monitor", ""),
    ("held", "held", ""),
    ("held-jemalloc", "held", "jemalloc"),
    ("held-mimalloc", "held", "mimalloc"),
];

/// Runs the parts that are named, or all.
pub(crate) fn run(workspace: &Workspace, wanted: &[String]) -> u8 {
    let known: Vec<&str> = PARTS.iter().map(|(name, ..)| *name).collect();
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(&name.as_str())) {
        talk::line(&format!(
            "error: no part `{unknown}`; there are: {}",
            known.join(", ")
        ));
        return FAILED;
    }
    let mut code = PASSED;
    for (name, program, features) in PARTS {
        if !wanted.is_empty() && !wanted.iter().any(|part| part == name) {
            continue;
        }
        talk::step(name);
        let mut command = workspace.cargo(["run", "--quiet", "--release", "--bin", program]);
        command
            .args(["--features", features])
            .current_dir(workspace.root().join("bench/budget"))
            .env("CARGO_TARGET_DIR", workspace.built_for_peers());
        match command.status() {
            Ok(status) if status.success() => {}
            Ok(_) => code = FAILED,
            Err(error) => return broken(&error),
        }
    }
    code
}
