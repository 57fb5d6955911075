//! The command that shows the same as a screen.
//!
//! Comes from `recommend` like every command that people are given; a name that
//! would have to be quoted is not in it.

use grey_model::{CgroupPath, GroupBy, shell_word};
use jiff::Timestamp;

use super::shot::Key;
use super::state::{Overlay, State, View};
use crate::cli::GlobalOptions;
use crate::recommend;

/// What `c` tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// That what is opened is gone, in a sentence.
    pub(super) gone: Option<String>,
    /// Commands, each with what it shows.
    pub(super) commands: Vec<(&'static str, String)>,
}

/// What to tell of what `state` shows.
pub(super) fn told(global: &GlobalOptions, state: &State, at_unix_ms: Option<u64>) -> Told {
    let same = same(global, state, at_unix_ms);
    Told {
        gone: None,
        commands: vec![("The same, printed:", same)],
    }
}

/// The command for what `state` shows; `at_unix_ms` is when it was taken.
fn same(global: &GlobalOptions, state: &State, at_unix_ms: Option<u64>) -> String {
    let words = words(state, at_unix_ms);
    match is_filtered(state) {
        true => recommend::command_with(global, &words, "--filter", &state.filter),
        false => recommend::command(global, &words),
    }
}

/// Whether what is shown is a list that a filter has shortened.
fn is_filtered(state: &State) -> bool {
    let is_list = matches!(
        state.overlay,
        Overlay::None | Overlay::Filter | Overlay::Command(None)
    );
    is_list && !state.filter.is_empty()
}

fn words(state: &State, at_unix_ms: Option<u64>) -> String {
    let moment = at_unix_ms.filter(|_| state.past).and_then(exact);
    if is_filtered(state) {
        return listed(state, moment);
    }
    if let Some(at) = moment {
        return format!("history --at {at}");
    }
    let opened = match &state.overlay {
        Overlay::Actions(_) | Overlay::Confirm(..) => return "journal --all".to_owned(),
        Overlay::Help(_) => return "man memory-watch".to_owned(),
        Overlay::Detail(key) | Overlay::Command(Some(key)) => Some(key),
        Overlay::None | Overlay::Filter | Overlay::Command(None) => None,
    };
    match (state.view, opened) {
        (View::Processes, Some(Key::Process(id))) => {
            format!("memory-diagnose --target pid:{}", id.pid)
        }
        (View::Cgroups, Some(Key::Cgroup(path))) => of_cgroup(path),
        (View::Groups, _) => format!("memory-diagnose --by {}", fold(state.by)),
        (View::Processes | View::Cgroups, _) => "memory-diagnose --verbose".to_owned(),
    }
}

/// Only this command takes a filter.
fn listed(state: &State, moment: Option<String>) -> String {
    let list = match state.view {
        View::Groups => format!("--by {}", fold(state.by)),
        View::Processes => "--show-processes".to_owned(),
        View::Cgroups => "--show-cgroups".to_owned(),
    };
    let when = moment.map_or("--count 1".to_owned(), |at| format!("--at {at}"));
    format!("memory-watch --no-clear {list} {when}")
}

fn of_cgroup(path: &CgroupPath) -> String {
    let text = path.to_string();
    let plain = text.as_bytes() == path.as_bytes() && shell_word(path.as_bytes()) == text;
    match plain && !path.is_root() {
        true => format!("memory-diagnose --target cgroup:{text}"),
        false => "memory-diagnose --verbose".to_owned(),
    }
}

const fn fold(by: GroupBy) -> &'static str {
    match by {
        GroupBy::Program => "program",
        GroupBy::Unit => "unit",
        GroupBy::Container => "container",
        GroupBy::User => "user",
        GroupBy::Cgroup => "cgroup",
        GroupBy::Tree => "tree",
    }
}

/// A moment as it is typed.
pub(super) fn exact(unix_ms: u64) -> Option<String> {
    let at = Timestamp::from_millisecond(i64::try_from(unix_ms).ok()?).ok()?;
    Some(at.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use grey_model::ProcessId;

    use super::*;
    use crate::cli::Cli;
    use crate::watch::testkit::NOON;

    fn assert_command(words: &str) {
        let all = std::iter::once("greyctl").chain(words.split_whitespace());
        assert!(Cli::try_parse_from(all).is_ok(), "greyctl has no `{words}`");
    }

    #[test]
    fn every_screen_has_a_command_that_is_one() {
        let process = Key::Process(ProcessId {
            pid: 7,
            start_time_ticks: 1,
        });
        for view in View::ALL {
            for by in [GroupBy::Program, GroupBy::Tree, GroupBy::Cgroup] {
                for overlay in [
                    Overlay::None,
                    Overlay::Command(None),
                    Overlay::Command(Some(process.clone())),
                    Overlay::Help(0),
                    Overlay::Actions(0),
                    Overlay::Confirm(1, 0),
                    Overlay::Detail(process.clone()),
                ] {
                    let mut state = State::new(view, by);
                    state.selected = Some(process.clone());
                    state.overlay = overlay;
                    assert_command(&words(&state, Some(NOON)));
                    state.past = true;
                    assert_command(&words(&state, Some(NOON)));
                }
            }
        }
    }

    #[test]
    fn the_command_of_a_filtered_list_has_its_filter() {
        let global = Cli::try_parse_from(["greyctl", "journal"]).unwrap().global;
        for (view, list) in [
            (View::Groups, "--by program"),
            (View::Processes, "--show-processes"),
            (View::Cgroups, "--show-cgroups"),
        ] {
            let mut state = State::new(view, GroupBy::Program);
            state.overlay = Overlay::Command(None);
            state.filter = "my web".to_owned();
            assert_eq!(
                same(&global, &state, Some(NOON)),
                format!("greyctl memory-watch --no-clear {list} --count 1 --filter 'my web'")
            );
            state.past = true;
            state.filter = "-x".to_owned();
            assert_eq!(
                same(&global, &state, Some(NOON)),
                format!(
                    "greyctl memory-watch --no-clear {list} --at 2026-11-21T12:00:00Z --filter=-x"
                )
            );
        }
    }

    #[test]
    fn what_is_opened_is_shown_whole_whatever_the_filter() {
        let mut state = State::new(View::Processes, GroupBy::Program);
        state.filter = "web".to_owned();
        state.overlay = Overlay::Command(Some(Key::Process(ProcessId {
            pid: 7,
            start_time_ticks: 1,
        })));
        assert_eq!(words(&state, Some(NOON)), "memory-diagnose --target pid:7");
        assert!(!is_filtered(&state));
    }

    #[test]
    fn a_control_group_is_named_when_its_name_needs_no_quotes() {
        let named = |path: &str| of_cgroup(&CgroupPath::new(path.as_bytes()).unwrap());
        assert_eq!(
            named("/build/web"),
            "memory-diagnose --target cgroup:/build/web"
        );
        for odd in ["/a b", "/a\x1b[2J", "/", "/a'b"] {
            assert_eq!(named(odd), "memory-diagnose --verbose", "{odd:?}");
        }
    }

    #[test]
    fn history_is_named_by_its_moment() {
        let mut state = State::new(View::Processes, GroupBy::Program);
        state.past = true;
        assert_eq!(
            words(&state, Some(NOON)),
            "history --at 2026-11-21T12:00:00Z"
        );
    }
}
