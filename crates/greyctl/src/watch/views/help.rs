//! What the keys do and what the numbers mean.
//!
//! Text only.

use ratatui::text::{Line, Span};

use super::super::look::Look;
use crate::table::{Tone, wrap};

/// Keys and what they do.
const KEYS: &[(&str, &str)] = &[
    ("Tab 1 2 3", "groups, processes, control groups"),
    (
        "b",
        "fold by the next: program, unit, container, user, cgroup, tree",
    ),
    ("arrows", "select; PgUp PgDn Home End, too"),
    ("Enter", "open what is selected; Esc closes it"),
    (
        "/ F4",
        "filter: name, unit, command, user, pid; Esc C-u clear it, C-w a word",
    ),
    ("< > F6", "sort by another column"),
    ("M P I", "sort by memory, by pid; invert the order"),
    ("t F5", "tree, or not"),
    ("K", "kernel threads, or not"),
    ("space Z", "freeze, and go on"),
    ("a", "what we have changed; u undoes it, after a question"),
    ("c", "the command that shows the same"),
    ("left right", "with --at: the sample before, or after"),
    ("q F10", "quit; Ctrl-Z gives the shell the terminal"),
];

/// What the columns mean.
const MEANINGS: &[&str] = &[
    "RSS counts shared pages for each process, PSS divides them, USS is what would be free if \
     it ended. PSS and USS are read a few processes at a time: ~ and AGE tell how long ago, and that \
     they were carried on since. Of a group, ~ says that of some members it is unknown.",
    "+/MIN is the change of anonymous memory and swap, of a control group of tmpfs and kernel \
     memory, too, by the last minute; extrapolated where that is less, from 30 s on. LEAK and growing \
     are verdicts of the rule of memory-diagnose --detect-leaks, on what was seen since this \
     view began.",
    "stalled: the share of the time in which some task, or all of them, waited for memory.",
];

/// The keys at the bottom of the screen.
pub(super) const HINTS: &[(&str, &str)] = &[
    ("F1", "help"),
    ("F4", "filter"),
    ("F5", "tree"),
    ("F6", "sort"),
    ("Tab", "view"),
    ("Enter", "open"),
    ("a", "actions"),
    ("Z", "freeze"),
    ("F10", "quit"),
];

/// The keys while a filter is typed.
pub(super) const IN_FILTER: &[(&str, &str)] = &[
    ("Enter", "keep"),
    ("Esc", "no filter"),
    ("C-u", "clear"),
    ("C-w", "word"),
];

/// On a screen that is narrower than this, what keys do stands below them.
const NARROWEST_BESIDE: usize = 40;

/// So wide are the keys where there is room beside them.
const KEYS_WIDTH: usize = 12;

/// All of it, in lines of a width. Nothing is cut off.
pub(super) fn lines(width: usize, look: Look) -> Vec<Line<'static>> {
    let mut lines = titled("Keys", width, look);
    for (keys, meaning) in KEYS {
        if width < NARROWEST_BESIDE {
            let keys = broken(keys, width).into_iter();
            lines.extend(keys.map(|part| Line::styled(part, look.tone(Tone::Strong))));
            lines.extend(broken(meaning, width).into_iter().map(Line::raw));
            continue;
        }
        let parts = broken(meaning, width - KEYS_WIDTH).into_iter();
        for (number, part) in parts.enumerate() {
            let keys = if number == 0 { *keys } else { "" };
            lines.push(Line::from(vec![
                Span::styled(format!("{keys:<KEYS_WIDTH$}"), look.tone(Tone::Strong)),
                Span::raw(part),
            ]));
        }
    }
    lines.extend(titled("Columns", width, look));
    for meaning in MEANINGS {
        lines.extend(broken(meaning, width).into_iter().map(Line::raw));
    }
    lines
}

fn titled(title: &str, width: usize, look: Look) -> Vec<Line<'static>> {
    let parts = broken(title, width).into_iter();
    parts.map(|part| Line::styled(part, look.title())).collect()
}

/// `text`, which is ASCII, in lines of a width; a word that is wider is broken.
fn broken(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let letters = |word: &str| -> Vec<char> { word.chars().collect() };
    let words: Vec<String> = text
        .split(' ')
        .flat_map(|word| {
            let letters = letters(word);
            let parts = letters.chunks(width);
            parts.map(String::from_iter).collect::<Vec<_>>()
        })
        .collect();
    wrap(&words.join(" "), Some(width))
}

/// All of it, as it is written here.
#[cfg(test)]
pub(super) fn text() -> String {
    let keys = KEYS
        .iter()
        .map(|(keys, meaning)| format!("{keys} {meaning} "));
    format!(
        "Keys {}Columns {}",
        keys.collect::<String>(),
        MEANINGS.join(" ")
    )
}
