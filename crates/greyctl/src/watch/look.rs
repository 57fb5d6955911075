//! How things are drawn: with or without colours, in Unicode or in ASCII.
//!
//! The one place that knows colours and characters of bars. Without colours
//! nothing is told by colour alone; in ASCII nothing else reaches the screen.

use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;

use super::shot::Class;
use crate::table::Tone;

/// What the terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// Colours.
    pub(super) color: bool,
    /// More than ASCII.
    pub(super) unicode: bool,
}

/// Levels of a sparkline, the lowest first.
const SPARKS: [&str; 8] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
const ASCII_SPARKS: [&str; 8] = ["_", ".", ":", "-", "=", "+", "*", "#"];

impl Look {
    /// The style of a value.
    pub(super) fn tone(self, tone: Tone) -> Style {
        let style = Style::new();
        let colored = |color| match self.color {
            true => style.fg(color),
            false => style,
        };
        match tone {
            Tone::Plain => style,
            Tone::Dim => style.add_modifier(Modifier::DIM),
            Tone::Strong => style.add_modifier(Modifier::BOLD),
            Tone::Good => colored(Color::Green),
            Tone::Warning => colored(Color::Yellow),
            Tone::Alarm => colored(Color::Red).add_modifier(Modifier::BOLD),
        }
    }

    /// The style of a title.
    pub(super) fn title(self) -> Style {
        let style = Style::new().add_modifier(Modifier::BOLD);
        match self.color {
            true => style.fg(Color::Cyan),
            false => style,
        }
    }

    /// The style of the row that is selected.
    pub(super) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// One cell of the bar.
    pub(super) fn class(self, class: Class) -> Span<'static> {
        let (color, unicode, ascii) = match class {
            Class::Anonymous => (Color::Green, "█", "#"),
            Class::Shared => (Color::Magenta, "▓", "="),
            Class::Kernel => (Color::Red, "▒", "%"),
            Class::Cache => (Color::Yellow, "░", "-"),
            Class::Residual => (Color::Cyan, "?", "?"),
            Class::Free => (Color::DarkGray, "·", "."),
        };
        let style = match self.color {
            true => Style::new().fg(color),
            false => Style::new(),
        };
        Span::styled(if self.unicode { unicode } else { ascii }, style)
    }

    /// A bar of `width` cells, filled to `share` of 0 to 1.
    pub(super) fn fill(self, share: f64, width: usize) -> String {
        let full = cells(share, width);
        let (on, off) = if self.unicode {
            ("█", "░")
        } else {
            ("#", ".")
        };
        format!("{}{}", on.repeat(full), off.repeat(width - full))
    }

    /// The last `width` of `values` as a line whose top is `most`.
    pub(super) fn spark(self, values: &[f64], most: f64, width: usize) -> String {
        let from = values.len().saturating_sub(width);
        let glyphs = self.sparks();
        let drawn = values[from..].iter().map(|value| {
            let share = if most > 0.0 { value / most } else { 0.0 };
            glyphs[cells(share, glyphs.len() - 1)]
        });
        drawn.collect()
    }

    /// Shares of 0 to 1 as a line, each at the level that is nearest.
    pub(super) fn levels(self, shares: impl Iterator<Item = f64>) -> String {
        let glyphs = self.sparks();
        let top = glyphs.len() - 1;
        shares.map(|share| glyphs[nearest(share, top)]).collect()
    }

    const fn sparks(self) -> [&'static str; 8] {
        if self.unicode { SPARKS } else { ASCII_SPARKS }
    }

    /// Takes out of `buffer` what is not ASCII, where that must be; and what
    /// terminals do not agree about how wide it is.
    pub(super) fn finish(self, buffer: &mut Buffer) {
        for cell in &mut buffer.content {
            let symbol = cell.symbol();
            let is_joined = symbol.contains(['\u{200d}', '\u{fe0e}', '\u{fe0f}']);
            if is_joined || (!self.unicode && !symbol.is_ascii()) {
                let stand_in = if cell.symbol() == "…" { "~" } else { "?" };
                cell.set_symbol(stand_in);
            }
        }
    }
}

/// How many of `width` cells `share` fills; what is not nothing fills one.
pub(super) fn cells(share: f64, width: usize) -> usize {
    if share.is_nan() || share <= 0.0 || width == 0 {
        return 0;
    }
    nearest(share, width).clamp(1, width)
}

/// The same, rounded.
fn nearest(share: f64, width: usize) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "between 0 and a small width"
    )]
    let full = (share.clamp(0.0, 1.0) * width as f64).round() as usize;
    full
}

#[cfg(test)]
mod tests {
    use ratatui::layout::Rect;

    use super::*;

    const PLAIN: Look = Look {
        color: false,
        unicode: false,
    };

    #[test]
    fn a_bar_is_as_wide_as_it_is_asked_to_be_whatever_is_in_it() {
        for share in [-1.0, 0.0, 0.001, 0.5, 1.0, 7.0, f64::NAN, f64::INFINITY] {
            assert_eq!(PLAIN.fill(share, 10).len(), 10, "{share}");
        }
        assert_eq!(PLAIN.fill(0.001, 10), "#.........");
        assert_eq!(PLAIN.fill(0.5, 10), "#####.....");
    }

    #[test]
    fn a_sparkline_shows_the_latest_values_and_nothing_is_its_lowest() {
        assert_eq!(PLAIN.spark(&[9.0, 0.0, 10.0], 10.0, 2), "_#");
        assert_eq!(PLAIN.spark(&[0.0, 0.0], 0.0, 5), "__");
        assert_eq!(PLAIN.spark(&[], 1.0, 5), "");
    }

    #[test]
    fn in_ascii_nothing_else_is_left_and_the_width_stays() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 12, 1));
        buffer.set_string(0, 0, "é日本…x", Style::new());
        PLAIN.finish(&mut buffer);
        let text: String = buffer.content.iter().map(|cell| cell.symbol()).collect();
        assert_eq!(text, "?? ? ~x     ");
    }

    #[test]
    fn without_colours_no_cell_has_one() {
        let tones = [Tone::Good, Tone::Warning, Tone::Alarm, Tone::Dim];
        assert!(tones.iter().all(|tone| PLAIN.tone(*tone).fg.is_none()));
        assert!(
            Class::ALL
                .iter()
                .all(|class| PLAIN.class(*class).style.fg.is_none())
        );
        assert!(PLAIN.title().fg.is_none());
    }
}
