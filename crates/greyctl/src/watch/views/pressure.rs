//! Stalls with their history, and where pages go when they leave memory.
//!
//! Pure. Where the kernel measures no pressure, that is said.

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr as _;

use grey_model::{Bytes, Percent};

use super::super::look::Look;
use super::super::shot::Shot;
use crate::diagnose::machine::{zram_sentence, zswap_sentence};
use crate::table::{Tone, cut};

/// The bar of a share is this wide.
const BAR: usize = 8;

/// A sparkline reaches up to this share, or to the largest value: in percent.
const TOP: f64 = 10.0;

/// What stands before the second line of something.
const INDENT: &str = "         ";

/// From this width on the kernel's longer averages are there, too.
const WIDE: usize = 110;

/// Both kinds of stalls in one line.
pub(super) fn stalls(shot: &Shot, width: usize, look: Look) -> Line<'static> {
    let Some(last) = shot.stalls.last() else {
        return Line::raw("stalled  not measured by this kernel");
    };
    let mut line = Line::raw("stalled  ");
    let each = width.saturating_sub(line.width() + 2) / 2;
    let averages = shot.pressure.filter(|_| width >= WIDE);
    let some: Vec<f64> = shot.stalls.iter().map(|stall| stall.some).collect();
    let full: Vec<f64> = shot.stalls.iter().map(|stall| stall.full).collect();
    let some_averages = averages.map(|pressure| pressure.some);
    let full_averages = averages.and_then(|pressure| pressure.full);
    for (name, now, values, averages) in [
        ("some", last.some, some, some_averages),
        ("full", last.full, full, full_averages),
    ] {
        let style = look.tone(tone(now));
        let text = format!("{name} {:>7} ", Percent(now).to_string());
        let bar = format!("{} ", look.fill(now / 100.0, BAR));
        let longer = averages.map_or_else(String::new, |line| {
            format!(" 60 s {}, 300 s {}", line.avg60, line.avg300)
        });
        let left = each.saturating_sub(text.width() + bar.width() + longer.width());
        let spark = look.spark(&values, top(&values), left);
        let padded = format!("{spark}{}", " ".repeat(left - spark.width()));
        line.push_span(Span::styled(text, style));
        line.push_span(Span::styled(bar, style));
        line.push_span(Span::styled(padded, look.tone(Tone::Dim)));
        line.push_span(Span::styled(longer, look.tone(Tone::Dim)));
        line.push_span(Span::raw("  "));
    }
    line
}

fn top(values: &[f64]) -> f64 {
    values.iter().copied().fold(TOP, f64::max)
}

const fn tone(share: f64) -> Tone {
    match share {
        share if share >= 20.0 => Tone::Alarm,
        share if share >= 5.0 => Tone::Warning,
        _ => Tone::Plain,
    }
}

/// How full swap is, and what is compressed.
pub(super) fn swap(shot: &Shot, width: usize, look: Look) -> Vec<Line<'static>> {
    let swap = &shot.swap;
    let (used, total) = (Bytes(swap.used_bytes), Bytes(swap.total_bytes));
    let mut compressed: Vec<String> = swap.zram.iter().map(zram_sentence).collect();
    compressed.extend(swap.zswap.as_ref().and_then(zswap_sentence));
    let first = match used.percent_of(total) {
        None => Line::raw("swap     none: anonymous memory cannot be taken back"),
        Some(share) => Line::from(vec![
            Span::raw("swap     "),
            Span::styled(look.fill(share.0 / 100.0, BAR), look.tone(full_tone(share))),
            Span::raw(format!(" {used} of {total} used ({share})")),
        ]),
    };
    let mut lines = vec![first];
    let joined = compressed.join("; ");
    if !compressed.is_empty() && INDENT.len() + joined.width() <= width {
        compressed = vec![joined];
    }
    for sentence in compressed {
        let text = cut(&format!("{INDENT}{sentence}"), width);
        lines.push(Line::styled(text, look.tone(Tone::Dim)));
    }
    lines
}

const fn full_tone(share: Percent) -> Tone {
    match share.0 {
        share if share >= 90.0 => Tone::Alarm,
        share if share >= 70.0 => Tone::Warning,
        _ => Tone::Plain,
    }
}
