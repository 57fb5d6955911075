//! Tables for people: columns are chosen by the width there is, one column
//! gives way, numbers stand at the right; where even that is too wide, values
//! stand below one another.
//!
//! Knows nothing of memory, and lets nothing through that a terminal obeys.

use anstyle::{AnsiColor, Style};
use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement};
use grey_model::KernelText;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// The title of a section.
pub(crate) const HEADING: Style = AnsiColor::Cyan.on_default().bold();
/// What matters less.
pub(crate) const DIM: Style = Style::new().dimmed();
/// What stands out.
pub(crate) const BOLD: Style = Style::new().bold();

/// Shown where a value is unknown.
pub(crate) const UNKNOWN: &str = "-";

/// The spaces between two columns.
const GAP: usize = 2;

/// How a value looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Tone {
    /// As it is.
    #[default]
    Plain,
    /// Unimportant.
    Dim,
    /// Important.
    Strong,
    /// Fine.
    Good,
    /// To be watched.
    Warning,
    /// Bad.
    Alarm,
}

/// One value.
#[derive(Debug, Clone, Default)]
pub(crate) struct Value {
    text: String,
    tone: Tone,
}

impl Value {
    /// A value that is known.
    pub(crate) fn new(text: impl ToString) -> Self {
        Self {
            text: KernelText::from(&text.to_string()).to_string(),
            tone: Tone::Plain,
        }
    }

    /// A dash where it is not.
    pub(crate) fn or_unknown(value: Option<impl ToString>) -> Self {
        value.map_or_else(Self::unknown, Self::new)
    }

    /// The dash.
    pub(crate) fn unknown() -> Self {
        Self::new(UNKNOWN).tone(Tone::Dim)
    }

    /// With another look.
    #[must_use]
    pub(crate) fn tone(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }
}

/// One column.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    title: &'static str,
    right: bool,
    /// Columns with a higher rank go first when the width is short; those of
    /// rank 0 stay.
    rank: u8,
    /// The column that is cut when it still does not fit, and to what at least.
    gives_way: Option<usize>,
    /// Whether it goes when no row has anything in it.
    optional: bool,
    /// How wide it is, whatever is in it.
    least: usize,
}

impl Column {
    /// A column of numbers.
    pub(crate) const fn number(title: &'static str, rank: u8) -> Self {
        Self {
            title,
            right: true,
            rank,
            gives_way: None,
            optional: false,
            least: 0,
        }
    }

    /// A column of words.
    pub(crate) const fn text(title: &'static str, rank: u8) -> Self {
        Self {
            title,
            right: false,
            rank,
            gives_way: None,
            optional: false,
            least: 0,
        }
    }

    /// Cut to `least` characters when the width is short.
    #[must_use]
    pub(crate) const fn gives_way(mut self, least: usize) -> Self {
        self.gives_way = Some(least);
        self
    }

    /// Never narrower than `least` characters, so that it stays where it is
    /// when its values change.
    #[must_use]
    pub(crate) const fn at_least(mut self, least: usize) -> Self {
        self.least = least;
        self
    }

    /// Left out when all its values are unknown.
    #[must_use]
    pub(crate) const fn optional(mut self) -> Self {
        self.optional = true;
        self
    }
}

/// A table as cells, in the columns that there is room for.
#[derive(Debug, Clone, Default)]
pub(crate) struct LaidOut {
    /// The titles, each with the number of its column.
    pub(crate) titles: Vec<(usize, String)>,
    /// The rows.
    pub(crate) rows: Vec<Vec<(String, Tone)>>,
}

/// A table in the making.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Value>>,
    header: bool,
}

impl Table {
    /// An empty table.
    pub(crate) fn new(columns: Vec<Column>) -> Self {
        Self {
            columns,
            rows: Vec::new(),
            header: true,
        }
    }

    /// Without its line of titles.
    #[must_use]
    pub(crate) fn without_header(mut self) -> Self {
        self.header = false;
        self
    }

    /// Adds a row; it has as many values as there are columns.
    pub(crate) fn row(&mut self, values: Vec<Value>) {
        debug_assert_eq!(values.len(), self.columns.len());
        self.rows.push(values);
    }

    /// The lines of the table, indented by two, within `width` if it can be.
    pub(crate) fn render(&self, width: Option<usize>) -> String {
        let chosen = self.choose(width);
        if let Some(width) = width.filter(|width| needed(&chosen) > *width) {
            return self.stacked(&chosen, width);
        }
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Disabled);
        // Whether styles reach the reader is decided where they are written.
        table.enforce_styling();
        table.style_text_only();
        if self.header {
            let titles = chosen.iter().map(|(index, most)| {
                paint(Cell::new(cut(self.columns[*index].title, *most)), Tone::Dim)
            });
            table.set_header(titles);
        }
        for row in &self.rows {
            let cells = chosen.iter().map(|(index, most)| {
                let value = &row[*index];
                paint(Cell::new(cut_in_tree(&value.text, *most)), value.tone)
            });
            table.add_row(cells);
        }
        for (place, (index, _)) in chosen.iter().enumerate() {
            if let Some(column) = table.column_mut(place) {
                column.set_padding((if place == 0 { 2 } else { 0 }, 2));
                if self.columns[*index].right {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        let mut text = String::new();
        for line in table.lines() {
            // Padding at the end of a line helps nobody.
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// The same columns for whoever paints cell by cell: each cell is as wide
    /// as its column, the gap to the next one included.
    pub(crate) fn laid_out(&self, width: usize) -> LaidOut {
        let chosen = self.choose(Some(width));
        let padded = |text: &str, index: usize, most: usize| {
            let text = cut_in_tree(text, most);
            let pad = " ".repeat(most.saturating_sub(text.width()));
            let gap = " ".repeat(GAP);
            match self.columns[index].right {
                true => format!("{pad}{text}{gap}"),
                false => format!("{text}{pad}{gap}"),
            }
        };
        let title = |&(index, most): &(usize, usize)| {
            (index, padded(self.columns[index].title, index, most))
        };
        let line = |row: &Vec<Value>| {
            let cells = chosen.iter().map(|&(index, most)| {
                let value = &row[index];
                (padded(&value.text, index, most), value.tone)
            });
            cells.collect()
        };
        LaidOut {
            titles: chosen.iter().map(title).collect(),
            rows: self.rows.iter().map(line).collect(),
        }
    }

    /// One value a line, each with its title: for a width that no table of
    /// these columns fits.
    fn stacked(&self, chosen: &[(usize, usize)], width: usize) -> String {
        let mut text = String::new();
        for row in &self.rows {
            let mut indent = GAP;
            for (index, _) in chosen {
                let (column, value) = (&self.columns[*index], &row[*index].text);
                if value.is_empty() {
                    continue;
                }
                let title = match column.title {
                    title if self.header && !title.is_empty() => format!("{title} "),
                    _ => String::new(),
                };
                let most = width.saturating_sub(indent + title.width()).max(1);
                let mut lines = wrap(value, Some(most));
                let fits = lines.iter().all(|line| line.width() <= most);
                // The place in a tree is at the beginning of its line.
                if column.gives_way.is_some() && (!fits || value.starts_with(' ')) {
                    lines = vec![cut_in_tree(value, most)];
                }
                for (number, line) in lines.iter().enumerate() {
                    let title = if number == 0 { &title } else { "" };
                    text.push_str(&format!("{:indent$}{DIM}{title}{DIM:#}{line}\n", ""));
                    indent = 2 * GAP;
                }
            }
        }
        text
    }

    /// The columns to show and how wide each may be.
    fn choose(&self, width: Option<usize>) -> Vec<(usize, usize)> {
        let mut chosen: Vec<(usize, usize)> = (0..self.columns.len())
            .filter(|index| !(self.columns[*index].optional && self.is_empty_column(*index)))
            .map(|index| (index, self.natural_width(index)))
            .collect();
        let Some(width) = width else { return chosen };
        loop {
            let needed: usize = chosen
                .iter()
                .map(|(index, natural)| match self.columns[*index].gives_way {
                    Some(least) => least.min(*natural) + GAP,
                    None => natural + GAP,
                })
                .sum();
            let worst = chosen
                .iter()
                .map(|(index, _)| self.columns[*index].rank)
                .max()
                .unwrap_or(0);
            if needed <= width || worst == 0 {
                break;
            }
            // The rightmost of the least important ones goes.
            if let Some(place) = chosen
                .iter()
                .rposition(|(index, _)| self.columns[*index].rank == worst)
            {
                chosen.remove(place);
            }
        }
        self.shrink(&mut chosen, width);
        chosen
    }

    /// Cuts the columns that give way, the widest first, until the rest fits.
    fn shrink(&self, chosen: &mut [(usize, usize)], width: usize) {
        loop {
            let Some(excess) = needed(chosen).checked_sub(width).filter(|more| *more > 0) else {
                return;
            };
            let widest = chosen
                .iter_mut()
                .filter_map(|(index, wide)| {
                    let least = self.columns[*index].gives_way?;
                    (*wide > least).then_some((wide, least))
                })
                .max_by_key(|(wide, _)| **wide);
            let Some((wide, least)) = widest else { return };
            // A little at a time, so that two wide columns share the loss.
            *wide = wide.saturating_sub(excess.min(4)).max(least);
        }
    }

    fn is_empty_column(&self, index: usize) -> bool {
        self.rows.iter().all(|row| row[index].text == UNKNOWN)
    }

    fn natural_width(&self, index: usize) -> usize {
        let title = if self.header {
            self.columns[index].title.width()
        } else {
            0
        };
        self.rows
            .iter()
            .map(|row| row[index].text.width())
            .max()
            .unwrap_or(0)
            .max(title)
            .max(self.columns[index].least)
    }
}

/// How wide columns of these widths are together.
fn needed(chosen: &[(usize, usize)]) -> usize {
    chosen.iter().map(|(_, wide)| wide + GAP).sum()
}

/// So much of a name is seen, however deep in a tree it stands.
const LEAST_OF_NAME: usize = 8;

/// The same as [`cut`], where spaces before a name tell its depth: these give way
/// first, as far as the name needs it.
fn cut_in_tree(text: &str, most: usize) -> String {
    let name = text.trim_start_matches(' ');
    let depth = text.len() - name.len();
    if depth == 0 || text.width() <= most {
        return cut(text, most);
    }
    let room = most.saturating_sub(LEAST_OF_NAME.min(name.width()));
    cut(&format!("{}{name}", " ".repeat(depth.min(room))), most)
}

/// Cuts `text` to `most` columns; an ellipsis shows that something is missing.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.width() <= most {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 1;
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used > most {
            break;
        }
        kept.push(character);
    }
    kept.push('…');
    kept
}

/// Breaks a sentence into lines of at most `most` columns, between words; a
/// word that is longer stands alone.
pub(crate) fn wrap(text: &str, most: Option<usize>) -> Vec<String> {
    let most = most.unwrap_or(usize::MAX);
    let text = KernelText::from(text).to_string();
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        if let Some(line) = lines.last_mut() {
            if line.is_empty() {
                line.push_str(word);
                continue;
            }
            if line.width() + 1 + word.width() <= most {
                line.push(' ');
                line.push_str(word);
                continue;
            }
        }
        lines.push(word.to_owned());
    }
    lines
}

/// What to keep in mind when reading, in lines.
pub(crate) fn noted(note: &str, width: Option<usize>) -> String {
    let lines = wrap(&format!("note: {note}"), width).into_iter();
    lines.map(|line| format!("{DIM}{line}{DIM:#}\n")).collect()
}

/// A bar of `width` characters for a share of 0 to 1, in eighths.
pub(crate) fn bar(share: f64, width: u32) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let share = if share.is_finite() {
        share.clamp(0.0, 1.0)
    } else {
        0.0
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and eight times a small width"
    )]
    let eighths = (share * f64::from(width) * 8.0).round() as usize;
    let mut text = "█".repeat(eighths / 8);
    text.push_str(EIGHTHS[eighths % 8]);
    text
}

/// The heading of a section, with a remark that explains it: beside the title,
/// or below it where `width` has no room for both.
pub(crate) fn heading(title: &str, remark: &str, width: Option<usize>) -> String {
    if remark.is_empty() {
        return format!("\n{HEADING}{title}{HEADING:#}\n");
    }
    if width.is_none_or(|width| title.width() + GAP + remark.width() <= width) {
        return format!("\n{HEADING}{title}{HEADING:#}  {DIM}{remark}{DIM:#}\n");
    }
    let mut text = format!("\n{HEADING}{title}{HEADING:#}\n");
    for line in wrap(remark, width.map(|width| width.saturating_sub(GAP))) {
        text.push_str(&format!("  {DIM}{line}{DIM:#}\n"));
    }
    text
}

fn paint(cell: Cell, tone: Tone) -> Cell {
    // A style around nothing would keep the padding before it.
    if cell.content().is_empty() {
        return cell;
    }
    match tone {
        Tone::Plain => cell,
        Tone::Dim => cell.add_attribute(Attribute::Dim),
        Tone::Strong => cell.add_attribute(Attribute::Bold),
        Tone::Good => cell.fg(Color::Green),
        Tone::Warning => cell.fg(Color::Yellow),
        Tone::Alarm => cell.fg(Color::Red).add_attribute(Attribute::Bold),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    fn table() -> Table {
        let mut table = Table::new(vec![
            Column::number("PID", 0),
            Column::number("RSS", 0),
            Column::number("SWAP", 5).optional(),
            Column::text("UNIT", 4),
            Column::text("THE NAME OF IT", 0).gives_way(8),
        ]);
        for name in ["short", "a-very-long-process-name-that-cannot-fit"] {
            table.row(vec![
                Value::new(12),
                Value::new("1.5 MiB"),
                Value::unknown(),
                Value::new("web.service"),
                Value::new(name),
            ]);
        }
        table
    }

    #[test]
    fn no_line_is_wider_than_the_width() {
        for width in [20, 21, 24, 27, 28, 29, 30, 40, 60, 80] {
            for line in plain(&table().render(Some(width))).lines() {
                assert!(line.width() <= width, "{width}: `{line}`");
            }
        }
    }

    #[test]
    fn where_no_table_fits_values_stand_below_one_another() {
        let mut table = Table::new(vec![
            Column::text("", 0),
            Column::text("WHAT", 0).gives_way(12),
            Column::number("BEFORE", 0),
        ]);
        table.row(vec![
            Value::new(1),
            Value::new("memory.max of /a/path"),
            Value::new("300.0 MiB"),
        ]);
        table.row(vec![
            Value::new(2),
            Value::new("/a/path/that/is/too/long"),
            Value::new("max"),
        ]);
        let expected = "  1\n    WHAT memory.max of\n    /a/path\n    BEFORE 300.0 MiB\n\
                        \x20 2\n    WHAT /a/path/that/i…\n    BEFORE max\n";
        assert_eq!(plain(&table.render(Some(24))), expected);
        assert_eq!(plain(&table.render(Some(33))).lines().count(), 3);
    }

    #[test]
    fn nothing_in_a_value_or_a_sentence_drives_the_terminal() {
        let mut table = Table::new(vec![Column::text("NAME", 0)]);
        table.row(vec![Value::new("a\x1b[2Jb\nc")]);
        assert!(plain(&table.render(None)).contains("a\\x1b[2Jb\\x0ac"));
        assert_eq!(wrap("a\x1b[2J b", None), ["a\\x1b[2J b"]);
    }

    #[test]
    fn the_least_important_column_goes_first() {
        let narrow = plain(&table().render(Some(30)));
        assert!(!narrow.contains("UNIT"), "{narrow}");
        assert!(narrow.contains("a-very-"), "{narrow}");
        assert!(plain(&table().render(Some(60))).contains("UNIT"));
    }

    #[test]
    fn a_column_without_any_value_is_left_out() {
        assert!(!plain(&table().render(None)).contains("SWAP"));
    }

    #[test]
    fn without_a_width_nothing_is_cut() {
        assert!(plain(&table().render(None)).contains("that-cannot-fit"));
    }

    #[test]
    fn cutting_counts_columns_and_not_bytes() {
        assert_eq!(cut("漢字漢字", 5), "漢字…");
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
    }

    #[test]
    fn sentences_break_between_words() {
        assert_eq!(wrap("one two three", Some(7)), ["one two", "three"]);
        assert_eq!(wrap("unbreakable", Some(3)), ["unbreakable"]);
        assert_eq!(wrap("one two", None), ["one two"]);
    }

    #[test]
    fn a_remark_stands_below_its_title_where_both_do_not_fit() {
        let at = |width| plain(&heading("Title", "a remark", width));
        assert_eq!(at(None), "\nTitle  a remark\n");
        assert_eq!(at(Some(15)), "\nTitle  a remark\n");
        assert_eq!(at(Some(14)), "\nTitle\n  a remark\n");
        assert_eq!(at(Some(9)), "\nTitle\n  a\n  remark\n");
    }

    #[test]
    fn a_bar_grows_in_eighths_and_never_beyond_its_width() {
        assert_eq!(bar(0.0, 4), "");
        assert_eq!(bar(0.5, 4), "██");
        assert_eq!(bar(0.53, 4), "██▏");
        assert_eq!(bar(7.0, 4), "████");
        assert_eq!(bar(f64::NAN, 4), "");
    }
}
