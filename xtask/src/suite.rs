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
    summary.tell();
    summary.code()
}

/// What is off unless a program asks for it, and is tested all the same.
const FEATURES: &str =
    "grey-budget/jemalloc,grey-budget/mimalloc,grey-budget/tower,grey-budget/testkit";

#[derive(Debug, Default)]
struct Summary {
    tally: Tally,
    failed: Vec<String>,
    broken: Vec<String>,
    /// What the failed tests said, told again at the end.
    said: Vec<String>,
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
                    self.said.extend(said_by_failed_tests(&output));
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

    /// What failed goes to stdout, too: whoever keeps only that, or only the end
    /// of it, still knows what to look at.
    fn tell(&self) {
        talk::step("done");
        for said in &self.said {
            talk::line(said);
        }
        for line in self.lines() {
            talk::result(&line);
        }
    }

    fn lines(&self) -> Vec<String> {
        let failed = self.failed.iter().map(|name| format!("failed: {name}"));
        let broken = self
            .broken
            .iter()
            .map(|why| format!("infrastructure failure: {why}"));
        let mut lines: Vec<String> = failed.chain(broken).collect();
        lines.push(self.tally.to_string());
        lines
    }

    fn code(&self) -> u8 {
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

/// How much of what one failed test said is told again: its end.
const LINES_TOLD_AGAIN: usize = 40;

/// What libtest kept of the failed tests: from `---- NAME stdout ----` to the
/// next one or to the list of names.
fn said_by_failed_tests(output: &str) -> Vec<String> {
    let mut said: Vec<Vec<&str>> = Vec::new();
    let mut is_within = false;
    for line in output.lines() {
        if line.starts_with("---- ") && line.ends_with(" stdout ----") {
            said.push(Vec::new());
            is_within = true;
        } else if line == "failures:" {
            is_within = false;
        }
        if let Some(last) = said.last_mut().filter(|_| is_within) {
            last.push(line);
        }
    }
    said.into_iter().map(|lines| end_of(&lines)).collect()
}

/// The heading and the last lines.
fn end_of(lines: &[&str]) -> String {
    let Some((heading, rest)) = lines.split_first() else {
        return String::new();
    };
    let from = rest.len().saturating_sub(LINES_TOLD_AGAIN);
    let mut kept = vec![*heading];
    kept.extend(&rest[from..]);
    kept.join("\n")
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
        assert_eq!(summary.code(), PASSED);
        summary.broken.push("6.1: hang".to_owned());
        assert_eq!(summary.code(), BROKEN);
        summary.one("tidy", false);
        assert_eq!(summary.code(), FAILED);
        assert_eq!(
            summary.lines(),
            [
                "failed: tidy",
                "infrastructure failure: 6.1: hang",
                "1 passed, 1 failed, 0 skipped"
            ]
        );
    }

    #[test]
    fn what_a_failed_test_said_is_kept_to_its_end() {
        let long: String = (0..60).map(|line| format!("line {line}\n")).collect();
        let output = format!(
            "test a::c ... FAILED\n\nfailures:\n\n---- a::c stdout ----\n{long}\
             ---- a::d stdout ----\nshort\n\nfailures:\n    a::c\n    a::d\n"
        );
        let said = said_by_failed_tests(&output);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].starts_with("---- a::c stdout ----\nline 20\n"));
        assert!(said[0].ends_with("line 59"));
        assert_eq!(said[1].trim_end(), "---- a::d stdout ----\nshort");
    }
}
