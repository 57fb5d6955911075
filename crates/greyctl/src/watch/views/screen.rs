//! Puts the parts of the view where there is room for them.
//!
//! What matters most stays longest when the screen shrinks: the totals, a row,
//! the line of keys. Nothing is ever drawn outside of the area.

use std::borrow::Cow;

use grey_model::KernelText;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget as _;
use unicode_width::UnicodeWidthStr as _;

use super::super::commands::Told;
use super::super::look::Look;
use super::super::model::Model;
use super::super::rows::Row;
use super::super::shot::{Shot, Unmeasured};
use super::super::state::{Overlay, State, View};
use super::{actions, bar, command, detail, help, pressure, table};
use crate::count::counted;
use crate::diagnose::groups;
use crate::enforce::report::friendly;
use crate::journal::document::JournaledChange;
use crate::table::{Tone, cut, wrap};

/// What is opened says little in fewer lines than this; a screen of
/// `LEAST_SCREEN` has them.
const LEAST_DETAIL: usize = 6;
const LEAST_SCREEN: usize = 12;

/// In fewer columns its sentences take most of the lines.
const NARROWEST_DETAIL: usize = 32;

/// How many lines each part has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Plan {
    totals: usize,
    bar: usize,
    legend: usize,
    stalls: usize,
    swap: usize,
    list: usize,
    titles: usize,
    rows: usize,
    status: usize,
}

impl Plan {
    /// Shares out `height` lines, where the legend and swap want so many.
    fn new(height: usize, legend: usize, swap: usize) -> Self {
        let mut plan = Self::default();
        let mut left = height;
        let mut give = |part: &mut usize, lines: usize| {
            let given = lines.min(left);
            *part += given;
            left -= given;
        };
        give(&mut plan.totals, 1);
        give(&mut plan.rows, 1);
        give(&mut plan.status, 1);
        give(&mut plan.titles, 1);
        give(&mut plan.rows, 1);
        give(&mut plan.bar, 1);
        give(&mut plan.rows, 2);
        give(&mut plan.list, 1);
        give(&mut plan.stalls, 1);
        give(&mut plan.swap, swap);
        give(&mut plan.legend, legend);
        give(&mut plan.rows, usize::MAX);
        plan
    }

    /// The lines that something which lies on top takes.
    const fn body(self) -> usize {
        self.list + self.titles + self.rows
    }
}

/// Draws `model` into `area` of `buffer`, and settles its selection.
pub(in super::super) fn draw(model: &mut Model, look: Look, area: Rect, buffer: &mut Buffer) {
    let area = area.intersection(buffer.area);
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let mut lines = vec![bar::totals(model, width, look)];
    let plan = match &model.shot {
        Some(shot) => {
            let legend = bar::legend(&shot.classes, width, look);
            let swap = pressure::swap(shot, width, look);
            let plan = Plan::new(height, legend.len(), swap.len());
            lines.truncate(plan.totals);
            lines.extend((0..plan.bar).map(|_| bar::bar(&shot.classes, width, look)));
            lines.extend(legend.into_iter().take(plan.legend));
            lines.extend((0..plan.stalls).map(|_| pressure::stalls(shot, width, look)));
            lines.extend(swap.into_iter().take(plan.swap));
            plan
        }
        None => {
            let plan = Plan::new(height, 0, 0);
            lines.resize(plan.totals + plan.bar + plan.stalls, Line::default());
            lines.truncate(plan.totals + plan.bar + plan.stalls);
            plan
        }
    };
    let keys = model.keys();
    model.state.settle(&keys, plan.rows);
    let left = settle_help(model, plan, width, look);
    let above = lines.len();
    lines.extend(body(model, plan, width, look));
    lines.resize(above + plan.body(), Line::default());
    if plan.status > 0 {
        lines.push(status(model, left, width, look));
    }
    for (line, row) in lines.into_iter().zip(area.rows()) {
        line.render(row, buffer);
    }
    look.finish(buffer);
}

/// Keeps help from being scrolled beyond its end; how many lines of it are still
/// below.
fn settle_help(model: &mut Model, plan: Plan, width: usize, look: Look) -> usize {
    let Overlay::Help(from) = &mut model.state.overlay else {
        return 0;
    };
    let last = help::lines(width, look).len().saturating_sub(plan.body());
    *from = (*from).min(last);
    last - *from
}

/// The list, or what lies on top of it.
fn body(model: &Model, plan: Plan, width: usize, look: Look) -> Vec<Line<'static>> {
    let state = &model.state;
    let height = plan.body();
    let mut lines = match (&state.overlay, &model.shot) {
        (Overlay::Help(from), _) => help::lines(width, look).into_iter().skip(*from).collect(),
        (Overlay::Detail(key), Some(shot)) => {
            let mut lines = detail::lines(shot, key, width, look);
            if state.frozen && shot.opened(key).is_none() {
                lines.extend(not_opened(width, look));
            }
            let fits = lines.len() <= height || height >= LEAST_DETAIL && width >= NARROWEST_DETAIL;
            match fits {
                true => lines,
                false => too_small(lines, width, look),
            }
        }
        (Overlay::Actions(place) | Overlay::Confirm(_, place), _) => {
            let size = (width, height);
            actions::lines(&model.actions, *place, &model.zone, size, look)
        }
        (Overlay::Command(_), _) => told(&model.told, (width, height), look),
        (Overlay::None | Overlay::Filter, Some(shot)) => {
            list(model, shot, &model.rows(), plan, width, look)
        }
        (_, None) => Vec::new(),
    };
    lines.truncate(height);
    lines
}

/// Why what is opened has fewer parts than usual, and no trend.
fn not_opened(width: usize, look: Look) -> Vec<Line<'static>> {
    let sentence = "frozen before this was opened: what the list has of it; Z goes on";
    let wrapped = wrap(sentence, Some(width)).into_iter();
    let lines = wrapped.map(|line| Line::styled(line, look.tone(Tone::Dim)));
    lines.collect()
}

/// What is opened and has no room: which it is, and how much there must be.
fn too_small(mut lines: Vec<Line<'static>>, width: usize, look: Look) -> Vec<Line<'static>> {
    lines.truncate(1);
    let sentence = format!("needs more room: {NARROWEST_DETAIL} by {LEAST_SCREEN} at least");
    lines.extend(warning(&sentence, width, look));
    lines
}

/// The commands, each whole: a part of one does something else. Those that have
/// no room are left out.
fn told(told: &Told, (width, height): (usize, usize), look: Look) -> Vec<Line<'static>> {
    let least = command::NARROWEST;
    if width < least {
        return warning(
            &format!("needs more room: {least} columns at least"),
            width,
            look,
        );
    }
    let said = told.gone.iter().chain(&told.lack);
    let mut lines: Vec<_> = said.flat_map(|said| warning(said, width, look)).collect();
    let block = |(title, line): &(&str, String)| -> Vec<Line<'static>> {
        let titles = wrap(title, Some(width)).into_iter();
        let titles = titles.map(|title| Line::styled(title, look.title()));
        let line = match look.unicode {
            true => Cow::Borrowed(line),
            false => Cow::Owned(command::in_ascii(line)),
        };
        let parts = command::lines(&line, width).into_iter().map(Line::raw);
        titles.chain(parts).collect()
    };
    let blocks: Vec<_> = told.commands.iter().map(block).collect();
    let needed = lines.len() + blocks.iter().map(Vec::len).sum::<usize>();
    if needed <= height {
        lines.extend(blocks.into_iter().flatten());
        return lines;
    }
    let sentence = format!("needs more room: {needed} lines of this width");
    lines.extend(warning(&sentence, width, look));
    for block in blocks {
        if lines.len() + block.len() > height {
            break;
        }
        lines.extend(block);
    }
    lines
}

fn warning(sentence: &str, width: usize, look: Look) -> Vec<Line<'static>> {
    let wrapped = wrap(sentence, Some(width)).into_iter();
    let lines = wrapped.map(|line| Line::styled(line, look.tone(Tone::Warning)));
    lines.collect()
}

fn list(
    model: &Model,
    shot: &Shot,
    rows: &[Row<'_>],
    plan: Plan,
    width: usize,
    look: Look,
) -> Vec<Line<'static>> {
    let state = &model.state;
    let mut lines = Vec::new();
    if plan.list > 0 {
        lines.push(heading(model, shot, rows.len(), width, look));
    }
    let laid = table::table(model, rows, width);
    if plan.titles > 0 {
        lines.push(table::titles(&laid, state.view, state.order(), look));
    }
    let selected = state.place.checked_sub(state.top);
    if rows.is_empty() {
        lines.push(Line::styled(nothing(model), look.tone(Tone::Dim)));
    }
    lines.extend(table::lines(&laid, selected, look));
    lines
}

/// Why there are no rows.
fn nothing(model: &Model) -> &'static str {
    match model.state.view {
        _ if model.lacks_what_is_wanted() => match (model.state.past, model.state.frozen) {
            (true, _) => "history has none of this moment",
            (false, true) => "not read before this was frozen; Z goes on",
            (false, false) => "being read",
        },
        _ if !model.state.filter.is_empty() => "nothing passes the filter; Esc clears it",
        view => table::none(view),
    }
}

/// The lists there are, and how this one was made.
fn heading(model: &Model, shot: &Shot, shown: usize, width: usize, look: Look) -> Line<'static> {
    let state = &model.state;
    let name = |view| match view {
        View::Groups => groups::title(state.by),
        View::Processes => "Processes",
        View::Cgroups => "Control groups",
    };
    let mut line = Line::default();
    for view in View::ALL {
        let (text, style) = match view == state.view {
            true => (format!("[{}] ", name(view)), look.title()),
            false => (format!(" {}  ", name(view)), look.tone(Tone::Dim)),
        };
        line.push_span(Span::styled(text, style));
    }
    let left = width.saturating_sub(line.width());
    let made = made(state, shot, shown, left);
    line.push_span(Span::styled(made, look.tone(Tone::Dim)));
    line
}

/// How many rows there are, in which order, and who is missing; where there is
/// little room in few words, and those with numbers first.
fn made(state: &State, shot: &Shot, shown: usize, width: usize) -> String {
    let order = state.order();
    let mut chosen = vec![format!("by {}", order.by.label())];
    if order.inverted {
        chosen.push("inverted".to_owned());
    }
    if !state.filter.is_empty() {
        chosen.push(format!("filter {}", KernelText::from(&state.filter)));
    }
    let (unreadable, unmeasured) = match state.view {
        View::Cgroups => (0, Unmeasured::default()),
        View::Processes | View::Groups => (shot.unreadable, shot.unmeasured),
    };
    let of_unreadable = |who: String| (unreadable > 0).then(|| format!("{who} unreadable"));
    let shown = vec![shown.to_string()];
    let missing = of_unreadable(counted(unreadable, "process", "processes")).into_iter();
    let missing: Vec<String> = missing.chain(unmeasured.sentence()).collect();
    let whole = [&shown[..], &chosen, &missing].concat().join(", ");
    if whole.width() <= width {
        return whole;
    }
    let missing = of_unreadable(unreadable.to_string()).into_iter();
    let missing: Vec<String> = missing.chain(unmeasured.in_short()).collect();
    cut(&[shown, missing, chosen].concat().join(", "), width)
}

/// What is about to be undone. What it is comes last: the keys stay in sight.
fn question(changes: &[JournaledChange], id: u64) -> String {
    let mut text = format!("undo change {id}? y: yes, other keys: no");
    if let Some(change) = changes.iter().find(|change| change.id == id) {
        let before = change
            .before
            .as_deref()
            .map_or("nothing".to_owned(), friendly);
        text.push_str(&format!("; sets {} back to {before}", change.knob));
    }
    text
}

/// The last line: what is typed, asked or said, or which keys there are; `left`
/// lines of help are below the screen.
fn status(model: &Model, left: usize, width: usize, look: Look) -> Line<'static> {
    let state = &model.state;
    match &state.overlay {
        Overlay::Filter => {
            // The end of what is typed stays in sight.
            let room = width.saturating_sub("filter: _".len()).max(1);
            let typed: Vec<char> = KernelText::from(&state.filter)
                .to_string()
                .chars()
                .collect();
            let from = typed.len().saturating_sub(room);
            let end: String = typed[from..].iter().collect();
            let typed = Span::styled(format!("filter: {end}_"), look.tone(Tone::Strong));
            let mut line = Line::from(vec![typed, Span::raw("  ")]);
            push_hints(&mut line, help::IN_FILTER, width, look);
            return line;
        }
        Overlay::Confirm(id, _) => {
            let question = question(model.actions.changes(), *id);
            return Line::styled(question, look.tone(Tone::Warning));
        }
        _ => {}
    }
    if let Some(notice) = &state.notice {
        let notice = KernelText::from(notice).to_string();
        return Line::styled(notice, look.tone(Tone::Warning));
    }
    let mut line = Line::default();
    let hints: &[(&str, &str)] = match &state.overlay {
        Overlay::Actions(_) if state.readonly => &[("--readonly", "no undo"), ("Esc", "close")],
        Overlay::Actions(_) => &[("u", "undo"), ("Esc", "close")],
        Overlay::Detail(_) => &[("Esc", "close"), ("c", "command"), ("Z", "freeze")],
        Overlay::Help(_) if left > 0 => &[("PgDn", "more"), ("Esc", "close"), ("F10", "quit")],
        Overlay::Help(0) | Overlay::Command(_) => &[("Esc", "close"), ("F10", "quit")],
        Overlay::Help(_) => &[("PgUp", "back"), ("Esc", "close"), ("F10", "quit")],
        _ => help::HINTS,
    };
    let steps: &[(&str, &str)] = match state.past {
        true => &[("left right", "step")],
        false => &[],
    };
    push_hints(&mut line, &[hints, steps].concat(), width, look);
    line
}

/// Adds the keys that there is room for, and what they do.
fn push_hints(line: &mut Line<'static>, hints: &[(&str, &str)], width: usize, look: Look) {
    for (key, meaning) in hints {
        if line.width() + key.len() + meaning.len() + 2 > width {
            break;
        }
        line.push_span(Span::styled((*key).to_owned(), look.tone(Tone::Strong)));
        line.push_span(Span::raw(format!(" {meaning}  ")));
    }
}

#[cfg(test)]
#[path = "screen_tests.rs"]
mod tests;
