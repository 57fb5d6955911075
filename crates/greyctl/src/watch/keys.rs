//! What a key does: as in htop, where htop has it.
//!
//! Pure: changes the state, and says what else is to be done.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::shot::Key;
use super::state::{Order, Overlay, SortBy, State, View};

/// The longest filter, in characters.
const LONGEST_FILTER: usize = 100;

/// What is on the screen when a key is pressed.
#[derive(Debug, Clone, Default)]
pub(super) struct Listed {
    /// The rows of the table.
    pub(super) keys: Vec<Key>,
    /// The changes of ours, as they are listed.
    pub(super) actions: Vec<ListedAction>,
}

/// A change of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ListedAction {
    /// Its number.
    pub(super) id: u64,
    /// Whether it can be undone.
    pub(super) is_open: bool,
}

/// What is to be done beside drawing anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// End.
    Quit,
    /// Let the shell have the terminal.
    Suspend,
    /// Look now: something else is wanted.
    Look,
    /// Find the commands for what is shown.
    Tell,
    /// Read the journal.
    ReadActions,
    /// Undo this change.
    Undo(u64),
    /// Show the sample before, or after.
    StepBack,
    /// Show the sample after.
    StepForward,
}

/// Does what `event` asks for.
pub(super) fn press(state: &mut State, event: KeyEvent, listed: &Listed) -> Effect {
    if event.kind == KeyEventKind::Release {
        return Effect::None;
    }
    state.notice = None;
    if event.modifiers.contains(KeyModifiers::CONTROL) {
        return match event.code {
            KeyCode::Char('c' | 'd') => Effect::Quit,
            KeyCode::Char('z') => Effect::Suspend,
            KeyCode::Char(letter) if state.overlay == Overlay::Filter => {
                shorten(&mut state.filter, letter);
                Effect::None
            }
            _ => Effect::None,
        };
    }
    match state.overlay.clone() {
        Overlay::None => in_table(state, event.code, listed),
        Overlay::Filter => in_filter(state, event.code),
        Overlay::Help(line) => in_help(state, event.code, line),
        Overlay::Detail(key) => in_detail(state, event.code, key),
        Overlay::Command(below) => in_command(state, event.code, below),
        Overlay::Actions(place) => in_actions(state, event.code, place, listed),
        Overlay::Confirm(id, place) => in_question(state, event.code, id, place),
    }
}

fn in_table(state: &mut State, code: KeyCode, listed: &Listed) -> Effect {
    let keys = &listed.keys;
    match code {
        KeyCode::Up | KeyCode::Char('k') => state.select(state.place.saturating_sub(1), keys),
        KeyCode::Down | KeyCode::Char('j') => state.select(state.place.saturating_add(1), keys),
        KeyCode::PageUp => state.select(state.place.saturating_sub(state.page), keys),
        KeyCode::PageDown => state.select(state.place.saturating_add(state.page), keys),
        KeyCode::Home => state.select(0, keys),
        KeyCode::End => state.select(usize::MAX, keys),
        KeyCode::Left if state.past => return Effect::StepBack,
        KeyCode::Right if state.past => return Effect::StepForward,
        KeyCode::Enter => return open(state, keys),
        KeyCode::Esc => state.filter.clear(),
        _ => return choose(state, code),
    }
    Effect::None
}

/// Keys that choose what the table shows, and those that quit or lay something
/// on top.
fn choose(state: &mut State, code: KeyCode) -> Effect {
    let order = state.order();
    match code {
        KeyCode::Char('q') | KeyCode::F(10) => return Effect::Quit,
        KeyCode::Char('h' | '?') | KeyCode::F(1) => state.overlay = Overlay::Help(0),
        KeyCode::Char('/') | KeyCode::F(3 | 4) => state.overlay = Overlay::Filter,
        KeyCode::Char('c') => {
            state.overlay = Overlay::Command(None);
            return Effect::Tell;
        }
        KeyCode::Char('a') => {
            state.overlay = Overlay::Actions(0);
            return Effect::ReadActions;
        }
        KeyCode::Char('u') => {
            state.notice = Some("a lists the changes of ours; u undoes the selected one".into());
        }
        KeyCode::Tab => return show(state, next_in(&View::ALL, state.view, 1)),
        KeyCode::BackTab => return show(state, next_in(&View::ALL, state.view, -1)),
        KeyCode::Char('1') => return show(state, View::Groups),
        KeyCode::Char('2') => return show(state, View::Processes),
        KeyCode::Char('3') => return show(state, View::Cgroups),
        KeyCode::Char('b') => {
            state.by = next_in(&state.folds(), state.by, 1);
            return show(state, View::Groups);
        }
        KeyCode::Char('>' | '.') | KeyCode::F(6) => sort_by(state, next_sort(state, 1)),
        KeyCode::Char('<' | ',') => sort_by(state, next_sort(state, -1)),
        KeyCode::Char('M') => sort_by(state, SortBy::Memory),
        KeyCode::Char('P' | 'N') => sort_by(state, SortBy::Pid),
        KeyCode::Char('I') => state.set_order(Order {
            inverted: !order.inverted,
            ..order
        }),
        KeyCode::Char('t') | KeyCode::F(5) => toggle_tree(state),
        KeyCode::Char('K') => state.kernel_threads = !state.kernel_threads,
        KeyCode::Char('Z' | ' ') => return freeze(state),
        _ => {}
    }
    Effect::None
}

fn show(state: &mut State, view: View) -> Effect {
    state.show(view);
    Effect::Look
}

fn open(state: &mut State, keys: &[Key]) -> Effect {
    let Some(key) = keys.get(state.place) else {
        return Effect::None;
    };
    state.selected = Some(key.clone());
    state.overlay = Overlay::Detail(key.clone());
    Effect::Look
}

/// What goes on may have been without what is wanted by now, and what is frozen
/// may be about to get it.
fn freeze(state: &mut State) -> Effect {
    if state.past {
        state.notice = Some("history stands still by itself".into());
        return Effect::None;
    }
    state.frozen = !state.frozen;
    Effect::Look
}

fn toggle_tree(state: &mut State) {
    if state.view == View::Groups {
        state.notice = Some("groups are no tree; b folds by tree".into());
        return;
    }
    if state.past && state.view == View::Processes {
        state.notice = Some("history does not keep parents: there is no tree of processes".into());
        return;
    }
    let order = state.order();
    state.set_order(Order {
        tree: !order.tree,
        ..order
    });
}

/// Another order; the same again inverts nothing.
fn sort_by(state: &mut State, by: SortBy) {
    if !state.sorts().contains(&by) {
        state.notice = Some(format!("this list has no {}", by.label()));
        return;
    }
    let order = state.order();
    state.set_order(Order {
        by,
        inverted: false,
        // Sorted by something, a tree of processes would still be a tree.
        ..order
    });
}

fn next_sort(state: &State, step: isize) -> SortBy {
    next_in(&state.sorts(), state.order().by, step)
}

/// The one `step` after `present`, round and round.
fn next_in<T: Copy + PartialEq>(all: &[T], present: T, step: isize) -> T {
    let place = all.iter().position(|one| *one == present).unwrap_or(0);
    let next = match step {
        step if step < 0 => (place + all.len() - 1) % all.len(),
        _ => (place + 1) % all.len(),
    };
    all[next]
}

fn in_filter(state: &mut State, code: KeyCode) -> Effect {
    match code {
        KeyCode::Char(letter)
            if !letter.is_control() && state.filter.chars().count() < LONGEST_FILTER =>
        {
            state.filter.push(letter);
        }
        KeyCode::Backspace => _ = state.filter.pop(),
        KeyCode::Enter => state.overlay = Overlay::None,
        KeyCode::Esc => {
            state.filter.clear();
            state.overlay = Overlay::None;
        }
        KeyCode::F(10) => return Effect::Quit,
        _ => {}
    }
    Effect::None
}

/// What Control and a letter take away in a line, as in shells.
fn shorten(filter: &mut String, letter: char) {
    match letter {
        'u' => filter.clear(),
        'w' => {
            let words = filter.trim_end();
            let kept = words.trim_end_matches(|letter: char| !letter.is_whitespace());
            filter.truncate(kept.len());
        }
        // What Backspace sends on some terminals.
        'h' => _ = filter.pop(),
        _ => {}
    }
}

fn in_help(state: &mut State, code: KeyCode, line: usize) -> Effect {
    let page = state.page.max(1);
    state.overlay = match code {
        KeyCode::Up | KeyCode::Char('k') => Overlay::Help(line.saturating_sub(1)),
        KeyCode::Down | KeyCode::Char('j') => Overlay::Help(line.saturating_add(1)),
        KeyCode::PageUp => Overlay::Help(line.saturating_sub(page)),
        KeyCode::PageDown | KeyCode::Char(' ') => Overlay::Help(line.saturating_add(page)),
        KeyCode::Home => Overlay::Help(0),
        // Drawing it brings it back to the last page.
        KeyCode::End => Overlay::Help(usize::MAX),
        KeyCode::F(10) => return Effect::Quit,
        _ => Overlay::None,
    };
    Effect::None
}

fn in_detail(state: &mut State, code: KeyCode, key: Key) -> Effect {
    match code {
        KeyCode::Char('q') | KeyCode::F(10) => return Effect::Quit,
        KeyCode::Char('c') => {
            state.overlay = Overlay::Command(Some(key));
            return Effect::Tell;
        }
        KeyCode::Left if state.past => return Effect::StepBack,
        KeyCode::Right if state.past => return Effect::StepForward,
        KeyCode::Char('Z' | ' ') => return freeze(state),
        _ => state.overlay = Overlay::None,
    }
    Effect::None
}

/// Closed, it leaves what it lay on.
fn in_command(state: &mut State, code: KeyCode, below: Option<Key>) -> Effect {
    match code {
        KeyCode::Char('q') | KeyCode::F(10) => return Effect::Quit,
        _ => state.overlay = below.map_or(Overlay::None, Overlay::Detail),
    }
    Effect::None
}

fn in_actions(state: &mut State, code: KeyCode, place: usize, listed: &Listed) -> Effect {
    let last = listed.actions.len().saturating_sub(1);
    let place = place.min(last);
    match code {
        KeyCode::Up | KeyCode::Char('k') => {
            state.overlay = Overlay::Actions(place.saturating_sub(1));
        }
        KeyCode::Down | KeyCode::Char('j') => {
            state.overlay = Overlay::Actions((place + 1).min(last))
        }
        KeyCode::Home => state.overlay = Overlay::Actions(0),
        KeyCode::End => state.overlay = Overlay::Actions(last),
        KeyCode::Char('u') => ask(state, place, listed),
        KeyCode::Char('q') | KeyCode::F(10) => return Effect::Quit,
        _ => state.overlay = Overlay::None,
    }
    Effect::None
}

/// Asks before something is undone, or says why it is not.
fn ask(state: &mut State, place: usize, listed: &Listed) {
    let refusal = match listed.actions.get(place) {
        _ if state.readonly => "nothing is undone here: --readonly was given",
        _ if state.past => "nothing is undone while history is shown",
        None => "there is nothing to undo",
        Some(action) if !action.is_open => "this change is over already",
        Some(action) => {
            state.overlay = Overlay::Confirm(action.id, place);
            return;
        }
    };
    state.notice = Some(refusal.to_owned());
}

fn in_question(state: &mut State, code: KeyCode, id: u64, place: usize) -> Effect {
    state.overlay = Overlay::Actions(place);
    match code {
        KeyCode::Char('y' | 'Y') => Effect::Undo(id),
        _ => {
            state.notice = Some("nothing was undone".to_owned());
            Effect::None
        }
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
