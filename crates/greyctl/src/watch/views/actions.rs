//! What we have changed, the newest first.
//!
//! Pure. The rows are those of the `journal` command.

use jiff::tz::TimeZone;
use ratatui::text::Line;

use super::super::look::Look;
use super::super::model::Actions;
use super::table::lines as paint;
use crate::count::counted;
use crate::journal::report::table;
use crate::table::Tone;

/// The list in `height` lines, around the one at `place`.
pub(super) fn lines(
    actions: &Actions,
    place: usize,
    zone: &TimeZone,
    (width, height): (usize, usize),
    look: Look,
) -> Vec<Line<'static>> {
    let (changes, lost) = match actions {
        Actions::NotRead => return vec![Line::raw("reading the journal")],
        Actions::Failed(reason) => {
            return vec![Line::styled(
                format!("the journal cannot be read: {reason}"),
                look.tone(Tone::Alarm),
            )];
        }
        Actions::Read(changes, lost) => (changes, *lost),
    };
    let mut lines = Vec::new();
    if lost > 0 {
        let records = counted(lost as u64, "record is", "records are");
        lines.push(Line::styled(
            format!("{records} lost: see the journal command"),
            look.tone(Tone::Alarm),
        ));
    }
    if changes.is_empty() {
        lines.push(Line::raw("nothing was changed"));
        return lines;
    }
    let page = height.saturating_sub(lines.len() + 1).max(1);
    let top = place.saturating_sub(page - 1).min(changes.len());
    let shown = changes.iter().skip(top).take(page);
    let laid = table(shown, zone).laid_out(width);
    let titles: String = laid
        .titles
        .iter()
        .map(|(_, title)| title.as_str())
        .collect();
    lines.push(Line::styled(titles, look.tone(Tone::Dim)));
    lines.extend(paint(&laid, Some(place.saturating_sub(top)), look));
    lines
}
