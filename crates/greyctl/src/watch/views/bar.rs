//! The totals, the bar of the breakdown, and its legend.
//!
//! Pure. Each byte of the total is in the bar once.

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr as _;

use super::super::look::Look;
use super::super::model::Model;
use super::super::shot::{Class, Classes, Shot};
use crate::diagnose::machine::signed;
use crate::duration::short;
use crate::moment::shown;
use crate::table::Tone;

/// The first line: how much is used, and what is special about this screen.
pub(super) fn totals(model: &Model, width: usize, look: Look) -> Line<'static> {
    let Some(shot) = &model.shot else {
        return Line::raw("reading the machine");
    };
    let totals = &shot.totals;
    let share = totals.used.percent_of(totals.total).unwrap_or_default();
    let (used, total) = (totals.used, totals.total);
    let available = totals
        .available
        .map_or_else(String::new, |bytes| format!(", available {bytes}"));
    let forms = [
        format!("used {used} of {total} ({share}){available}"),
        format!("used {used} of {total} ({share})"),
        format!("{share} of {total}"),
        share.to_string(),
    ];
    let tone = match share.0 {
        share if share >= 90.0 => Tone::Alarm,
        share if share >= 80.0 => Tone::Warning,
        _ => Tone::Strong,
    };
    let right = situation(model, shot);
    let fits = |form: &&String| form.width() + 2 + right.width() <= width;
    if let Some(form) = forms.iter().find(fits) {
        let gap = " ".repeat(width - form.width() - right.width());
        return Line::from(vec![
            Span::styled(form.clone(), look.tone(tone)),
            Span::raw(gap),
            Span::styled(right, look.tone(Tone::Dim)),
        ]);
    }
    let form = forms.iter().find(|form| form.width() <= width);
    Line::styled(form.unwrap_or(&forms[3]).clone(), look.tone(tone))
}

/// When this was, and whether it stands still.
fn situation(model: &Model, shot: &Shot) -> String {
    let at = shown(shot.at_unix_ms, &model.zone);
    let clock = at.split(' ').next_back().unwrap_or_default();
    let state = &model.state;
    let mut text = match (state.past, state.frozen) {
        (true, _) => format!("HISTORY {at}"),
        (false, true) => format!("FROZEN {clock}"),
        (false, false) => format!("{clock} every {}", short(model.interval)),
    };
    if state.readonly {
        text.push_str(" readonly");
    }
    text
}

/// The bar: as many cells of each class as it has of the memory.
pub(super) fn bar(classes: &Classes, width: usize, look: Look) -> Line<'static> {
    let amounts: Vec<(Class, u64)> = classes
        .iter()
        .map(|(class, bytes)| (class, u64::try_from(bytes).unwrap_or(0)))
        .collect();
    let sum: u128 = amounts.iter().map(|(_, bytes)| u128::from(*bytes)).sum();
    if sum == 0 {
        return Line::default();
    }
    let mut spans = Vec::new();
    let (mut before, mut drawn) = (0_u128, 0_usize);
    for (class, bytes) in amounts {
        before += u128::from(bytes);
        // The end of the class, rounded: rounding errors never add up.
        let end = (before * width as u128 * 2 + sum) / (sum * 2);
        let end = usize::try_from(end).unwrap_or(width).min(width);
        let cell = look.class(class);
        spans.push(Span::styled(
            cell.content.repeat(end.saturating_sub(drawn)),
            cell.style,
        ));
        drawn = end.max(drawn);
    }
    Line::from(spans)
}

/// What the cells of the bar mean, in as many lines as it needs.
pub(super) fn legend(classes: &Classes, width: usize, look: Look) -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'static>> = vec![Line::default()];
    for (class, bytes) in classes.iter() {
        let text = format!(" {} {}", class.label(), signed(bytes));
        let needed = 1 + text.width();
        let taken = lines.last().map_or(0, Line::width);
        if taken > 0 && taken + 2 + needed > width {
            lines.push(Line::default());
        } else if taken > 0
            && let Some(line) = lines.last_mut()
        {
            line.push_span(Span::raw("  "));
        }
        if let Some(line) = lines.last_mut() {
            line.push_span(look.class(class));
            line.push_span(Span::raw(text));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Look = Look {
        color: false,
        unicode: false,
    };

    fn drawn(amounts: &[(Class, i64)], width: usize) -> String {
        let mut classes = Classes::default();
        for (class, bytes) in amounts {
            classes.add(*class, *bytes);
        }
        bar(&classes, width, LOOK).to_string()
    }

    #[test]
    fn the_bar_is_as_wide_as_the_screen_and_true_to_scale() {
        let halves = [(Class::Anonymous, 50), (Class::Free, 50)];
        assert_eq!(drawn(&halves, 10), "#####.....");
        let thirds = [(Class::Anonymous, 1), (Class::Cache, 1), (Class::Free, 1)];
        for width in 0..50 {
            assert_eq!(drawn(&thirds, width).len(), width);
        }
    }

    #[test]
    fn a_negative_residual_takes_no_cells() {
        let amounts = [(Class::Anonymous, 10), (Class::Residual, -5)];
        assert_eq!(drawn(&amounts, 4), "####");
        assert_eq!(drawn(&[], 4), "");
    }

    #[test]
    fn huge_amounts_do_not_overflow() {
        let amounts = [(Class::Anonymous, i64::MAX), (Class::Free, i64::MAX)];
        assert_eq!(drawn(&amounts, 4), "##..");
    }
}
