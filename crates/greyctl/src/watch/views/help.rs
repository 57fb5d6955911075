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
     it ended. PSS is read a few processes at a time: ~ and AGE tell how long ago, and that it \
     was carried on since. Of a group, ~ says that of some members it is unknown.",
    "+/MIN is the change of anonymous memory and swap, by the last minute; extrapolated where that is less, from 30 s on. LEAK and growing \
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

/// All of it, in lines of a width.
pub(super) fn lines(width: usize, look: Look) -> Vec<Line<'static>> {
    let mut lines = vec![Line::styled("Keys", look.title())];
    for (keys, meaning) in KEYS {
        let left = width.saturating_sub(12).max(8);
        for (number, part) in wrap(meaning, Some(left)).into_iter().enumerate() {
            let keys = if number == 0 { *keys } else { "" };
            lines.push(Line::from(vec![
                Span::styled(format!("{keys:<12}"), look.tone(Tone::Strong)),
                Span::raw(part),
            ]));
        }
    }
    lines.push(Line::styled("Columns", look.title()));
    for meaning in MEANINGS {
        lines.extend(wrap(meaning, Some(width)).into_iter().map(Line::raw));
    }
    lines
}
