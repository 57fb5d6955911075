//! The table of processes, groups or control groups.
//!
//! Pure. Names are escaped by `table`, so that nothing in them is obeyed by a
//! terminal; what is unknown is a dash.

use std::time::Duration;

use grey_model::{Bytes, LeakVerdict, MemoryLimit, roughly};
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};

use super::super::look::Look;
use super::super::model::Model;
use super::super::rows::{Row, Subject};
use super::super::shot::{CgroupRow, GroupRow, ProcessRow, Trend};
use super::super::state::{Order, SortBy, State, View};
use crate::diagnose::machine::signed;
use crate::diagnose::{cgroups, groups, processes};
use crate::table::{Column, LaidOut, Table, Tone, Value};

/// PSS and USS are told with their age from here on.
const FRESH: Duration = Duration::from_secs(2);

/// Amounts are about this wide; a column that stays as wide does not jump.
const AMOUNT: usize = 9;

/// A column, and what sorts by it.
type Titled = (Column, Option<SortBy>);

/// The table with its rows from `top` on, as many as `page`.
pub(super) fn table(model: &Model, rows: &[Row<'_>], width: usize) -> LaidOut {
    let state = &model.state;
    let mut table = empty(state, Protections::of(rows), width);
    for row in rows.iter().skip(state.top).take(state.page) {
        table.row(values(row));
    }
    table.laid_out(width)
}

/// The same rows as lines, within `width` where there is one; without command
/// lines, which have no end.
pub(in super::super) fn printed(list: &State, rows: &[Row<'_>], width: Option<usize>) -> String {
    let mut table = empty(list, Protections::of(rows), width.unwrap_or(usize::MAX));
    for row in rows {
        let mut values = values(row);
        if let (View::Processes, Some(line)) = (list.view, values.last_mut()) {
            *line = Value::unknown();
        }
        table.row(values);
    }
    table.render(width)
}

/// Without rows. History has no USS, no users and no limits: what it does not have
/// takes no column.
fn empty(list: &State, set: Protections, width: usize) -> Table {
    let columns = columns(list.view, set, width).into_iter();
    let column = |(column, _): Titled| match list.past {
        true => column.optional(),
        false => column,
    };
    Table::new(columns.map(column).collect())
}

/// Which protections any control group has.
#[derive(Debug, Clone, Copy, Default)]
struct Protections {
    min: bool,
    low: bool,
}

impl Protections {
    fn of(rows: &[Row<'_>]) -> Self {
        let is_set = |limit: Option<MemoryLimit>| {
            limit.is_some_and(|limit| limit != MemoryLimit::Bytes(Bytes::ZERO))
        };
        let mut set = Self::default();
        for row in rows {
            if let Subject::Cgroup(cgroup) = row.subject {
                set.min |= is_set(cgroup.memory.min);
                set.low |= is_set(cgroup.memory.low);
            }
        }
        set
    }
}

fn values(row: &Row<'_>) -> Vec<Value> {
    match row.subject {
        Subject::Process(process) => of_process(process, row.depth),
        Subject::Group(group, _) => of_group(group),
        Subject::Cgroup(cgroup) => of_cgroup(cgroup, row.depth),
    }
}

/// Why a list that nothing filters is empty.
pub(in super::super) const fn none(view: View) -> &'static str {
    match view {
        View::Cgroups => "no control groups with a memory account of version 2",
        View::Processes | View::Groups => "none",
    }
}

/// Below this width names are cut further, so that there is an amount at all.
const NARROW: usize = 60;

fn columns(view: View, set: Protections, width: usize) -> Vec<Titled> {
    let least = |wide: usize| if width < NARROW { 6 } else { wide };
    let amount = |title, rank| Column::number(title, rank).at_least(AMOUNT);
    match view {
        View::Processes => vec![
            (Column::number("PID", 5).at_least(5), Some(SortBy::Pid)),
            (Column::text("USER", 7).gives_way(6), Some(SortBy::User)),
            (amount("RSS", 0), Some(SortBy::Rss)),
            (amount("PSS", 1), Some(SortBy::Memory)),
            (Column::number("AGE", 8).optional(), None),
            (amount("USS", 6), Some(SortBy::Uss)),
            (amount("SWAP", 3).optional(), Some(SortBy::Swap)),
            (
                Column::number("+/MIN", 4).at_least(AMOUNT),
                Some(SortBy::Change),
            ),
            (Column::text("LEAK", 2).optional(), None),
            (
                Column::text("NAME", 0).gives_way(least(9)),
                Some(SortBy::Name),
            ),
            (Column::text("COMMAND", 9).optional().gives_way(12), None),
        ],
        View::Groups => vec![
            (
                Column::text("NAME", 0).gives_way(least(12)),
                Some(SortBy::Name),
            ),
            (Column::number("COUNT", 5), Some(SortBy::Count)),
            (amount("RSS", 0), Some(SortBy::Rss)),
            (amount("PSS", 1), Some(SortBy::Memory)),
            (amount("USS", 6), Some(SortBy::Uss)),
            (amount("SWAP", 3).optional(), Some(SortBy::Swap)),
            (
                Column::number("+/MIN", 4).at_least(AMOUNT),
                Some(SortBy::Change),
            ),
            (Column::text("LEAK", 2).optional(), None),
            (Column::number("OLDEST", 7), None),
        ],
        View::Cgroups => vec![
            (
                Column::text("CGROUP", 0).gives_way(least(20)),
                Some(SortBy::Name),
            ),
            (amount("USAGE", 0), Some(SortBy::Memory)),
            // What nobody has set goes before what is in swap, which may be all.
            (Column::number("MIN", if set.min { 6 } else { 10 }), None),
            (Column::number("LOW", if set.low { 5 } else { 9 }), None),
            (Column::number("HIGH", 2), None),
            (Column::number("MAX", 1), None),
            (amount("SWAP", 7).optional(), Some(SortBy::Swap)),
            (
                Column::number("+/MIN", 8).at_least(AMOUNT),
                Some(SortBy::Change),
            ),
            (Column::text("LEAK", 3).optional(), None),
        ],
    }
}

fn of_process(row: &ProcessRow, depth: usize) -> Vec<Value> {
    let memory = &row.memory;
    let line = memory.command_line.as_ref();
    let line = line.filter(|line| !line.is_empty());
    let mut values = vec![
        Value::new(memory.id.pid),
        Value::or_unknown(processes::user(memory)),
        Value::or_unknown(memory.rss),
        carried(row, memory.pss),
        Value::or_unknown(carried_for(row).map(roughly)).tone(Tone::Dim),
        carried(row, memory.uss),
        processes::swapped(memory.swap),
    ];
    values.extend(of_trend(row.trend));
    values.push(Value::new(indented(&processes::name(memory), depth)));
    values.push(Value::or_unknown(line).tone(Tone::Dim));
    values
}

/// For how long PSS and USS were carried on since they were read, where that is
/// told.
pub(super) fn carried_for(row: &ProcessRow) -> Option<Duration> {
    row.pss_age.filter(|age| *age >= FRESH)
}

/// PSS or USS of `row`: a guess where it was carried on since it was read.
pub(super) fn carried(row: &ProcessRow, amount: Option<Bytes>) -> Value {
    Value::or_unknown(amount.map(|amount| match carried_for(row) {
        Some(_) => format!("~{amount}"),
        None => amount.to_string(),
    }))
}

fn of_group(row: &GroupRow) -> Vec<Value> {
    let mut values = groups::row(&row.group);
    // Idleness is history's, and not looked up each time.
    values.truncate(7);
    let oldest = values.pop().unwrap_or_default();
    values.extend(of_trend(row.trend));
    values.push(oldest);
    values
}

fn of_cgroup(row: &CgroupRow, depth: usize) -> Vec<Value> {
    let memory = &row.memory;
    let text = memory.path.to_string();
    let name = match (depth, memory.path.name()) {
        (0, _) | (_, None) => text,
        (_, Some(name)) => grey_model::KernelText::from(name).to_string(),
    };
    let mut values = vec![
        Value::new(indented(&name, depth)),
        Value::or_unknown(memory.current),
        cgroups::protection(memory.min),
        cgroups::protection(memory.low),
        cgroups::limit(memory.high),
        cgroups::limit(memory.max),
        processes::swapped(memory.swap_current),
    ];
    values.extend(of_trend(row.trend));
    values
}

/// The change and the mark.
fn of_trend(trend: Trend) -> [Value; 2] {
    let change = trend.per_minute.map(|bytes| match bytes {
        0 => "0".to_owned(),
        bytes if bytes > 0 => format!("+{}", signed(bytes)),
        bytes => signed(bytes),
    });
    let tone = match trend.per_minute {
        Some(0) => Tone::Dim,
        _ => Tone::Plain,
    };
    [Value::or_unknown(change).tone(tone), mark(trend)]
}

/// What deserves to be marked, with the kind where it is not anonymous memory;
/// other verdicts are no news.
fn mark(trend: Trend) -> Value {
    let (word, tone) = match trend.verdict {
        Some(LeakVerdict::Leak) => ("LEAK", Tone::Alarm),
        Some(LeakVerdict::Growing) => ("growing", Tone::Warning),
        _ => return Value::unknown(),
    };
    let words: Vec<&str> = [word].into_iter().chain(trend.of.word()).collect();
    Value::new(words.join(" ")).tone(tone)
}

fn indented(name: &str, depth: usize) -> String {
    format!("{}{name}", "  ".repeat(depth.min(16)))
}

/// The line of titles; the one that the list is sorted by stands out.
pub(super) fn titles(laid: &LaidOut, view: View, order: Order, look: Look) -> Line<'static> {
    // Which there are does not depend on the width.
    let columns = columns(view, Protections::default(), NARROW);
    let spans = laid.titles.iter().map(|(index, title)| {
        let sorted = columns[*index].1 == Some(order.by);
        let style = match sorted {
            true => look.title().add_modifier(Modifier::UNDERLINED),
            false => look.tone(Tone::Dim),
        };
        Span::styled(title.clone(), style)
    });
    Line::from(spans.collect::<Vec<_>>())
}

/// The rows of a table that is laid out; `selected` is a number among them.
pub(super) fn lines(laid: &LaidOut, selected: Option<usize>, look: Look) -> Vec<Line<'static>> {
    let paint = |(number, row): (usize, &Vec<(String, Tone)>)| {
        let is_selected = selected == Some(number);
        let spans = row.iter().map(|(text, tone)| {
            let style = match is_selected {
                true => look.selected(),
                false => look.tone(*tone),
            };
            Span::styled(text.clone(), style)
        });
        let line = Line::from(spans.collect::<Vec<_>>());
        match is_selected {
            true => line.style(look.selected()),
            false => line,
        }
    };
    laid.rows.iter().enumerate().map(paint).collect()
}

#[cfg(test)]
mod tests {
    use grey_model::GrowthOf;

    use super::super::super::shot::What;
    use super::*;

    #[test]
    fn a_name_is_seen_however_deep_it_stands_and_however_narrow_it_is() {
        let none = Protections::default();
        let columns = |width| columns(View::Processes, none, width).into_iter();
        for (width, depth) in [(80, 1), (80, 9), (80, 16), (120, 16)] {
            let mut table = Table::new(columns(width).map(|(column, _)| column).collect());
            for depth in [0, depth] {
                let amounts = (0..9).map(|_| Value::new("1023.9 MiB"));
                let name = Value::new(indented("postgres-worker", depth));
                table.row(amounts.chain([name, Value::unknown()]).collect());
            }
            let laid = table.laid_out(width);
            let wide: usize = laid.rows[1].iter().map(|cell| cell.0.len()).sum();
            let name = &laid.rows[1].last().unwrap().0;
            assert!(wide <= width + 2, "{wide}");
            assert!(name.starts_with(' '), "{name}");
            assert!(name.contains("postgre"), "{width} {depth}: {name}");
        }
    }

    #[test]
    fn what_is_in_swap_stays_when_protections_that_nobody_set_have_no_room() {
        let titles = |min, low| {
            let columns = columns(View::Cgroups, Protections { min, low }, 80).into_iter();
            let mut table = Table::new(columns.map(|(column, _)| column).collect());
            let mut row = vec![Value::new("/system.slice/a-long-name.service")];
            row.extend((0..7).map(|_| Value::new("99.9 MiB")));
            row.push(Value::unknown());
            table.row(row);
            let laid = table.laid_out(80);
            let titles = laid.titles.iter().map(|(_, title)| title.trim().to_owned());
            titles.collect::<Vec<String>>()
        };
        let least = ["CGROUP", "USAGE", "HIGH", "MAX", "SWAP"];
        assert!(
            least
                .iter()
                .all(|title| titles(false, false).contains(&(*title).to_owned()))
        );
        assert_eq!(
            titles(true, true),
            ["CGROUP", "USAGE", "MIN", "LOW", "HIGH", "MAX"]
        );
        assert_eq!(
            titles(false, true),
            ["CGROUP", "USAGE", "LOW", "HIGH", "MAX", "SWAP"]
        );
    }

    #[test]
    fn a_mark_names_the_kind_that_is_not_anonymous_memory() {
        let marked = |verdict, of| {
            let trend = Trend {
                verdict: Some(verdict),
                of: What::Kind(of),
                ..Trend::default()
            };
            let mut table = Table::new(vec![Column::text("", 0)]).without_header();
            table.row(vec![mark(trend)]);
            table.laid_out(80).rows[0][0].0.trim().to_owned()
        };
        for (verdict, of, expected) in [
            (LeakVerdict::Leak, GrowthOf::Anonymous, "LEAK"),
            (LeakVerdict::Leak, GrowthOf::Shmem, "LEAK tmpfs"),
            (LeakVerdict::Leak, GrowthOf::Slab, "LEAK slab"),
            (LeakVerdict::Growing, GrowthOf::Kernel, "growing kernel"),
            (LeakVerdict::Stable, GrowthOf::Shmem, "-"),
        ] {
            assert_eq!(marked(verdict, of), expected);
        }
    }
}
