//! The journal as people read it.
//!
//! Pure: a listing becomes text.

use std::time::Duration;

use grey_model::KernelText;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::document::{ChangeState, JournalListing, JournaledChange};
use crate::count::counted;
use crate::duration::short;
use crate::enforce::report::friendly;
use crate::table::{Column, Table, Tone, Value, heading};

/// The table of changes; `known` is how many the journal has in all.
pub(crate) fn render(
    listing: &JournalListing,
    known: usize,
    zone: &TimeZone,
    width: Option<usize>,
) -> String {
    let hidden = known - listing.changes.len();
    if listing.changes.is_empty() {
        return match hidden {
            // What is lost is told apart, and may hold.
            0 if !listing.lost.is_empty() => "No change can be read.\n".to_owned(),
            _ if !listing.lost.is_empty() => {
                let earlier = counted(hidden as u64, "earlier change", "earlier changes");
                format!("No change that can be read holds now; {earlier}.\n")
            }
            0 => "Nothing was changed.\n".to_owned(),
            1 => "Nothing is changed now; 1 earlier change: --all lists it.\n".to_owned(),
            _ => format!("Nothing is changed now; {hidden} earlier changes: --all lists them.\n"),
        };
    }
    let remark = remark(listing.changes.len(), hidden);
    let mut text = heading("Journal", &remark, width);
    text.push_str(&table(&listing.changes, zone).render(width));
    text
}

/// One row for each change.
pub(crate) fn table<'change>(
    changes: impl IntoIterator<Item = &'change JournaledChange>,
    zone: &TimeZone,
) -> Table {
    let mut table = Table::new(vec![
        Column::number("ID", 0),
        Column::text("WHEN", 2),
        Column::text("STATE", 0),
        Column::text("WHAT", 0).gives_way(16),
        Column::text("BEFORE", 0).gives_way(8),
        Column::text("AFTER", 0).gives_way(8),
        Column::text("LEASE", 1).optional(),
        Column::text("WHO", 4),
        Column::text("WHY", 3).optional().gives_way(12),
    ]);
    for change in changes {
        table.row(row(change, zone));
    }
    table
}

/// How many changes are listed, and how many are not.
fn remark(listed: usize, hidden: usize) -> String {
    match hidden {
        0 => counted(listed as u64, "change", "changes"),
        _ => format!(
            "{}; {}: --all lists {}",
            counted(listed as u64, "change holds", "changes hold"),
            counted(hidden as u64, "earlier one", "earlier ones"),
            if hidden == 1 { "it, too" } else { "them, too" }
        ),
    }
}

fn row(change: &JournaledChange, zone: &TimeZone) -> Vec<Value> {
    let state = match change.state {
        ChangeState::Active => Value::new("active").tone(Tone::Strong),
        ChangeState::Undone => Value::new("undone").tone(Tone::Dim),
        ChangeState::Void => Value::new("other boot").tone(Tone::Dim),
        ChangeState::Conflict => Value::new("conflict").tone(Tone::Alarm),
        ChangeState::GivenUp => Value::new("given up").tone(Tone::Dim),
    };
    let lease = change.lease_remaining_seconds.map(|seconds| match seconds {
        0 => "over".to_owned(),
        seconds => format!("{} left", short(Duration::from_secs(seconds))),
    });
    // What a person typed is as foreign as what the kernel says.
    let safe = |text: &str| KernelText::from(text).to_string();
    let reason = Some(&change.reason).filter(|reason| !reason.is_empty());
    vec![
        Value::new(change.id),
        Value::new(when(&change.time, zone)).tone(Tone::Dim),
        state,
        Value::new(&change.knob),
        value(change.before.as_deref()),
        value(change.after.as_deref()),
        Value::or_unknown(lease),
        Value::new(safe(&change.user)),
        Value::or_unknown(reason.map(|reason| safe(reason))),
    ]
}

fn value(value: Option<&str>) -> Value {
    match value {
        Some(value) => Value::new(friendly(value)),
        None => Value::new("nothing").tone(Tone::Dim),
    }
}

fn when(time: &str, zone: &TimeZone) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => time
            .to_zoned(zone.clone())
            .strftime("%Y-%m-%d %H:%M:%S")
            .to_string(),
        Err(_) => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_agree_with_their_words() {
        assert_eq!(remark(2, 0), "2 changes");
        let one_each = "1 change holds; 1 earlier one: --all lists it, too";
        assert_eq!(remark(1, 1), one_each);
        let two_each = "2 changes hold; 2 earlier ones: --all lists them, too";
        assert_eq!(remark(2, 2), two_each);
    }
}
