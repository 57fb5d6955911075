//! `cargo xtask test`: sets up what is missing, runs every check and every test,
//! and ends with one line that counts them.
//!
//! Never stops at the first failure: a person wants to see all of them.

use std::process::Command;

use crate::kernel_cases;
use crate::packages::{self, Need};
use crate::program;
use crate::talk;
use crate::tally::Tally;
use crate::tidy;
use crate::workspace::Workspace;
use crate::{BROKEN, FAILED, PASSED, TestArguments};

/// Runs all of it; the last line on stdout is `N passed, N failed, N skipped`.
pub(crate) fn run(workspace: &Workspace, arguments: &TestArguments) -> u8 {
    let need = if arguments.fast {
        Need::Machine
    } else {
        Need::Guests
    };
    if let Err(error) = packages::ensure(need) {
        return crate::broken(&error);
    }
    let mut summary = Summary::default();
    if !arguments.only_kernels {
        summary.checks(workspace);
        summary.tests(workspace);
    }
    if !arguments.fast {
        summary.kernels(workspace, arguments);
    }
    summary.tell()
}

/// What is off unless a program asks for it, and is tested all the same.
const FEATURES: &str =
    "grey-budget/jemalloc,grey-budget/mimalloc,grey-budget/tower,grey-budget/testkit";

#[derive(Debug, Default)]
struct Summary {
    tally: Tally,
    failed: Vec<String>,
    broken: Vec<String>,
}

impl Summary {
    fn checks(&mut self, workspace: &Workspace) {
        self.cargo(workspace, "format", &["fmt", "--all", "--check"]);
        let clippy = [
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--features",
            FEATURES,
            "--",
            "-D",
            "warnings",
        ];
        self.cargo(workspace, "clippy", &clippy);
        talk::step("tidy");
        let problems = tidy::problems(workspace);
        for problem in &problems {
            talk::line(&format!("tidy: {problem}"));
        }
        self.one("tidy", problems.is_empty());
    }

    fn tests(&mut self, workspace: &Workspace) {
        talk::step("tests of the workspace");
        let every = [
            "test",
            "--workspace",
            "--no-fail-fast",
            "--features",
            FEATURES,
        ];
        self.tested(&mut workspace.cargo(every));
        talk::step("every order of steps of the budget's core");
        let mut models = workspace.cargo([
            "test",
            "--package",
            "grey-budget",
            "--lib",
            "--release",
            "loom_tests",
        ]);
        // Built apart: everything is compiled anew for another `--cfg`.
        models
            .env("RUSTFLAGS", "--cfg grey_loom")
            .env("CARGO_TARGET_DIR", workspace.built_for_loom());
        self.tested(&mut models);
    }

    fn tested(&mut self, cargo: &mut Command) {
        match program::watched(cargo) {
            Ok((status, output)) => {
                let tally = Tally::of_cargo_test(&output, status.success());
                if tally.failed > 0 {
                    self.failed.extend(failed_tests(&output));
                }
                self.tally.add(tally);
            }
            Err(error) => self.broken.push(talk::chain(&error)),
        }
    }

    fn kernels(&mut self, workspace: &Workspace, arguments: &TestArguments) {
        talk::step("kernel cases");
        match kernel_cases::run(workspace, &arguments.kernels, &arguments.cases) {
            Ok(found) => {
                self.tally.add(found.tally);
                self.failed.extend(found.failed);
                self.broken.extend(found.broken);
            }
            Err(error) => self.broken.push(talk::chain(&error)),
        }
    }

    fn cargo(&mut self, workspace: &Workspace, name: &str, arguments: &[&str]) {
        talk::step(name);
        match program::watched(&mut workspace.cargo(arguments.iter().copied())) {
            Ok((status, _)) => self.one(name, status.success()),
            Err(error) => self.broken.push(talk::chain(&error)),
        }
    }

    fn one(&mut self, name: &str, passed: bool) {
        self.tally.add(Tally::one(passed));
        if !passed {
            self.failed.push(name.to_owned());
        }
    }

    fn tell(&self) -> u8 {
        for name in &self.failed {
            talk::line(&format!("failed: {name}"));
        }
        for why in &self.broken {
            talk::line(&format!("infrastructure failure: {why}"));
        }
        talk::step("done");
        talk::result(&self.tally.to_string());
        // A failure that was seen weighs more than one that was not.
        if !self.failed.is_empty() {
            FAILED
        } else if !self.broken.is_empty() {
            BROKEN
        } else if self.tally.failed > 0 {
            FAILED
        } else {
            PASSED
        }
    }
}

/// The tests that failed, as cargo names them.
fn failed_tests(output: &str) -> Vec<String> {
    let named: Vec<String> = output
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"))
        .map(ToOwned::to_owned)
        .collect();
    if named.is_empty() {
        return vec!["cargo test (it did not compile, or a test program crashed)".to_owned()];
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_tests_are_named_and_a_crash_is_told() {
        let output = "test a::b ... ok\ntest a::c ... FAILED\n";
        assert_eq!(failed_tests(output), ["a::c"]);
        assert!(failed_tests("nothing")[0].contains("did not compile"));
    }

    #[test]
    fn a_broken_tool_is_told_apart_from_a_failed_test() {
        let mut summary = Summary::default();
        summary.one("format", true);
        assert_eq!(summary.tell(), PASSED);
        summary.broken.push("6.1: hang".to_owned());
        assert_eq!(summary.tell(), BROKEN);
        summary.one("tidy", false);
        assert_eq!(summary.tell(), FAILED);
    }
}
