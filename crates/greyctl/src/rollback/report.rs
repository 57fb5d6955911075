//! A rollback as people read it.
//!
//! Pure: changes become text.

use super::document::{RolledBack, RolledBackState};
use crate::enforce::report::friendly;
use crate::table::{Column, Table, Tone, Value, heading, wrap};

/// The table of changes, with what became of each.
pub(crate) fn changes(title: &str, changes: &[RolledBack], width: Option<usize>) -> String {
    let mut table = Table::new(vec![
        Column::number("ID", 0),
        Column::text("WHAT", 0).gives_way(16),
        // What was set, and to what it goes back, is never hidden, nor cut.
        Column::text("WAS SET TO", 0),
        Column::text("FOUND", 0),
        Column::text("BEFORE", 0),
        Column::text("OUTCOME", 0),
    ]);
    for change in changes {
        table.row(vec![
            Value::new(change.id).tone(Tone::Dim),
            Value::new(&change.knob),
            value(change.after.as_deref()),
            value(change.found.as_deref()),
            value(change.before.as_deref()),
            outcome(change),
        ]);
    }
    let mut text = heading(title, "", width);
    text.push_str(&table.render(width));
    let most = width.map(|width| width.saturating_sub(4));
    for change in changes.iter().filter(|change| !change.detail.is_empty()) {
        let sentence = format!("{}: {}", change.id, change.detail);
        for (index, line) in wrap(&sentence, most).iter().enumerate() {
            text.push_str(if index == 0 { "  " } else { "    " });
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

fn value(value: Option<&str>) -> Value {
    match value {
        Some(value) => Value::new(friendly(value)),
        None => Value::unknown(),
    }
}

fn outcome(change: &RolledBack) -> Value {
    match change.outcome {
        RolledBackState::Restored if change.overrode => {
            Value::new("restored by force").tone(Tone::Warning)
        }
        RolledBackState::Restored => Value::new("restored").tone(Tone::Good),
        RolledBackState::AlreadyRestored => Value::new("was so already").tone(Tone::Good),
        RolledBackState::Merged => Value::new("covered, not restored").tone(Tone::Warning),
        RolledBackState::Conflict => Value::new("conflict").tone(Tone::Alarm),
        RolledBackState::Kept => Value::new("given up").tone(Tone::Dim),
        RolledBackState::Gone => Value::new("gone").tone(Tone::Dim),
        RolledBackState::Void => Value::new("other boot").tone(Tone::Dim),
        RolledBackState::Failed => Value::new("failed").tone(Tone::Alarm),
    }
}
