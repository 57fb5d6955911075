//! The account as people read it: short, the largest cause first.
//!
//! Pure: a document becomes text.

use grey_model::ResolvedTarget;

use super::document::{Account, WhyDocument};
use crate::table::{DIM, heading, noted, wrap};
use crate::target::describe;
use crate::why::report::{advice, item};

/// The whole report.
pub(super) fn render(document: &WhyDocument, width: Option<usize>) -> String {
    let mut text = String::new();
    for account in &document.targets {
        text.push_str(&one(account, width));
    }
    for note in &document.notes {
        text.push_str(&noted(note, width));
    }
    text.trim_start_matches('\n').to_owned()
}

fn one(account: &Account, width: Option<usize>) -> String {
    let held = account
        .held
        .map_or_else(String::new, |held| held.to_string());
    let mut text = heading(&title(&account.target), &held, width);
    for line in wrap(
        &describe(&account.target),
        width.map(|width| width.saturating_sub(4)),
    ) {
        text.push_str(&format!("  {DIM}{line}{DIM:#}\n"));
    }
    for finding in &account.findings {
        text.push_str(&item("", &sentence(&finding.text), width));
    }
    if !account.unseen.is_empty() {
        text.push_str(&heading("Not seen", "", width));
        for line in &account.unseen {
            text.push_str(&item("", &sentence(line), width));
        }
    }
    if !account.advice.is_empty() {
        text.push_str(&heading("What would help", "", width));
        for line in &account.advice {
            text.push_str(&advice(line, width));
        }
    }
    text
}

fn title(target: &ResolvedTarget) -> String {
    match target.process {
        Some(process) => format!("Why {} ({process})", target.name.to_process_name()),
        None => format!("Why {}", target.typed),
    }
}

/// With a capital at its beginning and a full stop at its end.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    let rest = characters.as_str();
    first.map_or_else(String::new, |first| format!("{first}{rest}."))
}
