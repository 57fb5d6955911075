//! Findings as people read them: the worst first, what is well in a line each.
//!
//! Pure: a document becomes text. A command stands on a line of its own that is
//! never broken, to be copied.

use anstyle::Style;

use super::document::{Checked, Counts, DoctorDocument, State};
use super::mend::Mend;
use crate::count::counted;
use crate::output::{ERROR, HINT, WARNING};
use crate::table::{BOLD, DIM, wrap};

/// The width of the longest state and the gap behind it.
const INDENT: usize = 9;

/// The whole report; `verbose` tells also why what is well matters.
pub(super) fn render(document: &DoctorDocument, verbose: bool, width: Option<usize>) -> String {
    let mut text = String::new();
    for line in wrap(&summary(&document.counts), width) {
        text.push_str(&format!("{BOLD}{line}{BOLD:#}\n"));
    }
    let mut was_well = false;
    for check in &document.checks {
        let is_well = check.state == State::Ok;
        // What is well stands together, everything else by itself.
        if verbose || !is_well || !was_well {
            text.push('\n');
        }
        was_well = is_well;
        text.push_str(&one(check, verbose, width));
    }
    text
}

/// `1 problem, 2 warnings, 4 notes, 1 unknown, 28 well`, without what there is
/// none of.
fn summary(counts: &Counts) -> String {
    let parts = [
        (counts.problem, "problem", "problems"),
        (counts.warning, "warning", "warnings"),
        (counts.note, "note", "notes"),
        (counts.unknown, "unknown", "unknown"),
        (counts.ok, "ok", "ok"),
    ];
    let told: Vec<String> = parts
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, many)| counted(count, one, many))
        .collect();
    told.join(", ")
}

fn one(check: &Checked, verbose: bool, width: Option<usize>) -> String {
    let (state, style) = shown(check.state);
    let room = width.map(|width| width.saturating_sub(INDENT));
    let mut text = String::new();
    let found = format!("{}: {}", check.subject, check.found);
    for (number, line) in wrap(&found, room).iter().enumerate() {
        let label = if number == 0 { state } else { "" };
        let gap = INDENT - label.len();
        text.push_str(&format!("{style}{label}{style:#}{:gap$}{line}\n", ""));
    }
    if check.state == State::Ok && !verbose {
        return text;
    }
    let mut below = |sentence: &str, style: Style| {
        for line in wrap(sentence, room) {
            text.push_str(&format!("{:INDENT$}{style}{line}{style:#}\n", ""));
        }
    };
    below(check.why, DIM);
    if let Some(advice) = &check.advice {
        below(&format!("-> {advice}"), Style::new());
    }
    // Advice may say of itself that nothing has to be done.
    let is_told = |reason: &str| check.advice.as_ref().is_some_and(|it| it.contains(reason));
    if let Some(reason) = check.no_command.filter(|reason| !is_told(reason)) {
        below(&format!("no command: {reason}"), DIM);
    }
    text.push_str(&check.mend.as_ref().map(commands).unwrap_or_default());
    text
}

/// Each command on its line, whatever the width.
fn commands(mend: &Mend) -> String {
    let all = [
        ("run: ", Some(&mend.command)),
        ("keep:", mend.lasting.as_ref()),
        ("undo:", mend.undo.as_ref()),
    ];
    let mut text = String::new();
    for (label, command) in all {
        if let Some(command) = command {
            text.push_str(&format!("{:INDENT$}{HINT}{label}{HINT:#} {command}\n", ""));
        }
    }
    text
}

const fn shown(state: State) -> (&'static str, Style) {
    match state {
        State::Problem => ("problem", ERROR),
        State::Warning => ("warning", WARNING),
        State::Note => ("note", BOLD),
        State::Unknown => ("unknown", DIM),
        State::Ok => ("ok", DIM),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_that_nothing_has_are_not_counted() {
        let counts = Counts {
            problem: 1,
            warning: 2,
            ok: 30,
            ..Counts::default()
        };
        assert_eq!(summary(&counts), "1 problem, 2 warnings, 30 ok");
    }

    #[test]
    fn a_command_is_never_broken() {
        let check = Checked {
            check: "x",
            subject: "a setting",
            state: State::Warning,
            found: "a value that is longer than this narrow terminal".to_owned(),
            why: "a sentence",
            advice: None,
            mend: Some(Mend {
                command: "sudo a command that is longer than this narrow terminal".to_owned(),
                lasting: None,
                undo: None,
            }),
            no_command: None,
        };
        let text = anstream::adapter::strip_str(&one(&check, false, Some(30))).to_string();
        let (commands, others): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| line.contains("run: "));
        assert!(others.iter().all(|line| line.len() <= 30), "{text}");
        assert_eq!(
            commands,
            ["         run:  sudo a command that is longer than this narrow terminal"]
        );
    }
}
