//! What each key does, and what it leaves alone.

use grey_model::{GroupBy, ProcessId};

use super::*;

fn key(pid: u32) -> Key {
    Key::Process(ProcessId {
        pid,
        start_time_ticks: 1,
    })
}

fn listed() -> Listed {
    let action = |id, is_open| ListedAction { id, is_open };
    Listed {
        keys: (0..30).map(key).collect(),
        actions: vec![action(7, true), action(6, false)],
    }
}

fn state() -> State {
    let mut state = State::new(View::Processes, GroupBy::Program);
    state.settle(&listed().keys, 10);
    state
}

fn type_all(state: &mut State, codes: &[KeyCode]) -> Effect {
    let mut effect = Effect::None;
    for code in codes {
        effect = press(state, KeyEvent::from(*code), &listed());
        state.settle(&listed().keys, 10);
    }
    effect
}

fn character(letter: char) -> KeyCode {
    KeyCode::Char(letter)
}

#[test]
fn every_way_out_ends_it() {
    for code in [character('q'), KeyCode::F(10)] {
        assert_eq!(type_all(&mut state(), &[code]), Effect::Quit);
    }
    let interrupt = KeyEvent::new(character('c'), KeyModifiers::CONTROL);
    assert_eq!(press(&mut state(), interrupt, &listed()), Effect::Quit);
    let mut typing = state();
    type_all(&mut typing, &[character('/')]);
    assert_eq!(press(&mut typing, interrupt, &listed()), Effect::Quit);
    let suspend = KeyEvent::new(character('z'), KeyModifiers::CONTROL);
    assert_eq!(press(&mut state(), suspend, &listed()), Effect::Suspend);
}

#[test]
fn a_key_that_is_let_go_does_nothing() {
    let mut event = KeyEvent::from(character('q'));
    event.kind = KeyEventKind::Release;
    assert_eq!(press(&mut state(), event, &listed()), Effect::None);
}

#[test]
fn arrows_and_pages_move_the_selection_within_the_list() {
    let mut state = state();
    type_all(&mut state, &[KeyCode::Down, KeyCode::Down, KeyCode::Up]);
    assert_eq!(state.place, 1);
    type_all(&mut state, &[KeyCode::PageDown]);
    assert_eq!(state.place, 11);
    type_all(&mut state, &[KeyCode::End, KeyCode::Down]);
    assert_eq!(state.place, 29);
    type_all(&mut state, &[KeyCode::PageUp]);
    assert_eq!(state.place, 19);
    type_all(&mut state, &[KeyCode::Home, KeyCode::Up]);
    assert_eq!(state.place, 0);
}

#[test]
fn what_is_typed_into_the_filter_does_nothing_else() {
    let mut state = state();
    let typed = ['/', 'q', 'M', ' ', '2'].map(character);
    assert_eq!(type_all(&mut state, &typed), Effect::None);
    assert_eq!(state.filter, "qM 2");
    type_all(&mut state, &[KeyCode::Backspace, KeyCode::Enter]);
    assert_eq!(
        (state.filter.as_str(), &state.overlay),
        ("qM ", &Overlay::None)
    );
    type_all(&mut state, &[KeyCode::Esc]);
    assert_eq!(state.filter, "");
}

#[test]
fn control_u_clears_the_filter_and_control_w_takes_its_last_word() {
    let mut state = state();
    let control = |letter| KeyEvent::new(character(letter), KeyModifiers::CONTROL);
    type_all(&mut state, &[character('/')]);
    state.filter = "my webß  shöp ".to_owned();
    for (letter, left) in [
        ('w', "my webß  "),
        ('h', "my webß "),
        ('w', "my "),
        ('x', "my "),
        ('w', ""),
        ('w', ""),
    ] {
        assert_eq!(press(&mut state, control(letter), &listed()), Effect::None);
        assert_eq!(state.filter, left, "{letter}");
    }
    state.filter = "my web".to_owned();
    press(&mut state, control('u'), &listed());
    assert_eq!(
        (state.filter.as_str(), &state.overlay),
        ("", &Overlay::Filter)
    );
    // They belong to the line that is typed.
    state.filter = "kept".to_owned();
    type_all(&mut state, &[KeyCode::Enter]);
    press(&mut state, control('u'), &listed());
    assert_eq!(state.filter, "kept");
}

#[test]
fn sorting_goes_round_both_ways_and_inverts() {
    let mut state = state();
    let first = state.order().by;
    type_all(&mut state, &[character('>')]);
    assert_ne!(state.order().by, first);
    type_all(&mut state, &[character('<')]);
    assert_eq!(state.order().by, first);
    for _ in 0..View::Processes.sorts().len() {
        type_all(&mut state, &[KeyCode::F(6)]);
    }
    assert_eq!(state.order().by, first);
    type_all(&mut state, &[character('P')]);
    assert_eq!(state.order().by, SortBy::Pid);
    type_all(&mut state, &[character('I')]);
    assert!(state.order().inverted);
    type_all(&mut state, &[character('M')]);
    let order = state.order();
    assert_eq!((order.by, order.inverted), (SortBy::Memory, false));
}

#[test]
fn history_is_sorted_by_what_it_has() {
    let mut state = state();
    state.past = true;
    let mut seen = Vec::new();
    for _ in 0..View::Processes.sorts().len() {
        type_all(&mut state, &[character('>')]);
        seen.push(state.order().by);
    }
    assert!(seen.contains(&SortBy::Swap) && seen.contains(&SortBy::Memory));
    assert!(!seen.contains(&SortBy::Uss) && !seen.contains(&SortBy::User));
}

#[test]
fn a_list_without_pids_says_so() {
    let mut state = state();
    type_all(&mut state, &[character('1'), character('P')]);
    assert_eq!(state.order().by, SortBy::Memory);
    assert!(state.notice.as_ref().unwrap().contains("no pid"));
}

#[test]
fn tab_goes_through_the_views_and_asks_for_a_look() {
    let mut state = state();
    assert_eq!(type_all(&mut state, &[KeyCode::Tab]), Effect::Look);
    assert_eq!(state.view, View::Cgroups);
    type_all(&mut state, &[KeyCode::Tab]);
    assert_eq!(state.view, View::Groups);
    type_all(&mut state, &[KeyCode::BackTab, KeyCode::BackTab]);
    assert_eq!(state.view, View::Processes);
}

#[test]
fn b_folds_by_the_next_thing() {
    let mut state = state();
    assert_eq!(type_all(&mut state, &[character('b')]), Effect::Look);
    assert_eq!((state.view, state.by), (View::Groups, GroupBy::Unit));
    type_all(&mut state, &[character('b'); 5]);
    assert_eq!(state.by, GroupBy::Program);
}

#[test]
fn space_and_z_freeze_and_go_on() {
    for code in [character(' '), character('Z')] {
        let mut state = state();
        type_all(&mut state, &[code]);
        assert!(state.frozen);
        // What is wanted by now may not have been read.
        assert_eq!(type_all(&mut state, &[code]), Effect::Look);
        assert!(!state.frozen);
    }
}

#[test]
fn enter_opens_what_is_selected_and_escape_closes_it() {
    let mut state = state();
    let effect = type_all(&mut state, &[KeyCode::Down, KeyCode::Enter]);
    assert_eq!(effect, Effect::Look);
    assert_eq!(state.overlay, Overlay::Detail(key(1)));
    type_all(&mut state, &[KeyCode::Esc]);
    assert_eq!(state.overlay, Overlay::None);
}

#[test]
fn an_undo_is_asked_for_twice_and_once_is_not_enough() {
    let mut state = state();
    let effect = type_all(&mut state, &[character('a')]);
    assert_eq!(effect, Effect::ReadActions);
    assert_eq!(type_all(&mut state, &[character('u')]), Effect::None);
    assert_eq!(state.overlay, Overlay::Confirm(7, 0));
    assert_eq!(type_all(&mut state, &[KeyCode::Enter]), Effect::None);
    assert_eq!(state.overlay, Overlay::Actions(0));
    let effect = type_all(&mut state, &[character('u'), character('y')]);
    assert_eq!(effect, Effect::Undo(7));
}

#[test]
fn what_is_over_is_not_undone() {
    let mut state = state();
    let typed = [character('a'), KeyCode::Down, character('u')];
    assert_eq!(type_all(&mut state, &typed), Effect::None);
    assert_eq!(state.overlay, Overlay::Actions(1));
    assert!(state.notice.as_ref().unwrap().contains("over already"));
}

#[test]
fn readonly_undoes_nothing_and_says_so() {
    let mut state = state();
    state.readonly = true;
    type_all(&mut state, &[character('a'), character('u')]);
    assert!(state.notice.as_ref().unwrap().contains("--readonly"));
    assert_eq!(type_all(&mut state, &[character('y')]), Effect::None);
}

#[test]
fn only_history_is_stepped_through() {
    let mut state = state();
    assert_eq!(type_all(&mut state, &[KeyCode::Left]), Effect::None);
    state.past = true;
    assert_eq!(type_all(&mut state, &[KeyCode::Left]), Effect::StepBack);
    assert_eq!(type_all(&mut state, &[KeyCode::Right]), Effect::StepForward);
    type_all(&mut state, &[character(' ')]);
    assert!(!state.frozen);
}

#[test]
fn help_opens_in_three_ways_and_closes() {
    for code in [character('h'), character('?'), KeyCode::F(1)] {
        let mut state = state();
        type_all(&mut state, &[code, KeyCode::Down]);
        assert_eq!(state.overlay, Overlay::Help(1));
        type_all(&mut state, &[KeyCode::Esc]);
        assert_eq!(state.overlay, Overlay::None);
    }
}

#[test]
fn the_command_of_what_is_opened_is_closed_back_to_it() {
    let mut state = state();
    type_all(&mut state, &[KeyCode::Down, KeyCode::Enter, character('c')]);
    assert_eq!(state.overlay, Overlay::Command(Some(key(1))));
    type_all(&mut state, &[KeyCode::Esc]);
    assert_eq!(state.overlay, Overlay::Detail(key(1)));
    type_all(&mut state, &[KeyCode::Esc, character('c'), KeyCode::Esc]);
    assert_eq!(state.overlay, Overlay::None);
}

#[test]
fn history_is_not_folded_by_what_it_does_not_keep_and_has_no_tree() {
    let mut state = state();
    state.past = true;
    let mut seen = Vec::new();
    for _ in 0..4 {
        type_all(&mut state, &[character('b')]);
        seen.push(state.by);
    }
    let kept = [GroupBy::Unit, GroupBy::Container, GroupBy::Cgroup];
    assert_eq!(seen, [&kept[..], &[GroupBy::Program]].concat());
    type_all(&mut state, &[character('2'), character('t')]);
    assert!(!state.order().tree);
    assert!(state.notice.unwrap().contains("does not keep parents"));
}
