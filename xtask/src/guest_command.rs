//! `cargo xtask guest`: one guest, quickly, for the person who writes a case.
//!
//! Never counts as a test run: `cargo xtask test` does that.

use std::slice;

use crate::guests::{self, Guests, Report};
use crate::initramfs::Work;
use crate::kernel_cases::{built, built_examples, unknown};
use crate::packages::{self, Need};
use crate::talk;
use crate::verdicts::Outcome;
use crate::workspace::Workspace;
use crate::{BROKEN, FAILED, GuestArguments, PASSED, broken};

/// Boots the guest and prints what it found.
pub(crate) fn run(workspace: &Workspace, arguments: &GuestArguments) -> u8 {
    if let Err(error) = packages::ensure(Need::Guests) {
        return broken(&error);
    }
    let work = match &arguments.shell_command {
        Some(command) => Work::Command(command.clone()),
        None => Work::Cases(arguments.cases.clone()),
    };
    let Some(cases) = built(workspace, "kernel-tests", "kernel-cases") else {
        return FAILED;
    };
    let listed = match guests::listed_cases(&cases) {
        Ok(listed) => listed,
        Err(error) => return broken(&error),
    };
    if let Some(unknown) = unknown(
        &listed,
        slice::from_ref(&arguments.kernel),
        &arguments.cases,
    ) {
        talk::line(&format!("error: {unknown}"));
        return FAILED;
    }
    let mut programs = vec![cases];
    match built(workspace, "greyctl", "greyctl") {
        Some(greyctl) => programs.push(greyctl),
        None => talk::line("warning: greyctl does not compile, the guest goes without it"),
    }
    match built_examples(workspace) {
        Some(examples) => programs.extend(examples),
        None => talk::line("warning: an example does not compile, the guest goes without them"),
    }
    let report = Guests::prepare(workspace, programs)
        .and_then(|guests| guests.run(&arguments.kernel, &work));
    match report {
        Ok(report) => tell(&report, &work, arguments),
        Err(error) => broken(&error),
    }
}

fn tell(report: &Report, work: &Work, arguments: &GuestArguments) -> u8 {
    if arguments.keep_log || report.broken.is_some() {
        talk::line(&format!("--- console\n{}\n---", report.console_end()));
    }
    talk::step(&format!(
        "{}: off after {:.1} s",
        arguments.kernel,
        report.time.as_secs_f64()
    ));
    if matches!(work, Work::Command(_)) {
        let (printed, code) = command_result(&report.text);
        talk::result(printed.trim_end());
        return match code {
            Some(0) => PASSED,
            Some(_) => FAILED,
            None => {
                talk::line(&format!(
                    "error: the command gave no exit code\n{}",
                    report.console_end()
                ));
                BROKEN
            }
        };
    }
    if let Some(why) = &report.broken {
        talk::line(&format!("error: no verdict: {why}"));
        return BROKEN;
    }
    let all_passed = report
        .received
        .verdicts
        .iter()
        .all(|verdict| verdict.outcome != Outcome::Failed);
    if all_passed { PASSED } else { FAILED }
}

/// What a command printed, and its exit code, which the last line holds.
fn command_result(text: &str) -> (&str, Option<i32>) {
    match text.rsplit_once("grey-exit ") {
        Some((printed, code)) => (printed, code.trim().parse().ok()),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_of_a_command_is_its_last_line() {
        assert_eq!(command_result("a\nb\ngrey-exit 3\n"), ("a\nb\n", Some(3)));
        assert_eq!(command_result("a\n"), ("a\n", None));
    }
}
