//! The command that shows the same as a screen.
//!
//! Comes from `recommend` like every command that people are given. Never one
//! that shows something else without saying so.

use grey_model::{CgroupPath, GroupBy, KernelText, Target};

use super::group_target;
use super::shot::{Key, Shot};
use super::state::{Overlay, State, View};
use crate::cli::GlobalOptions;
use crate::moment::typed;
use crate::recommend;

/// What `c` tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// That what is opened is gone, in a sentence.
    pub(super) gone: Option<String>,
    /// That no command shows the same, and why.
    pub(super) lack: Option<String>,
    /// Commands, each with what it shows.
    pub(super) commands: Vec<(&'static str, String)>,
}

/// What to tell of what `state` shows of `shot`.
pub(super) fn told(global: &GlobalOptions, state: &State, shot: Option<&Shot>) -> Told {
    let at_unix_ms = shot.map(|shot| shot.at_unix_ms);
    let diagnosis = diagnosis(state, at_unix_ms);
    let alone = match opened(state) {
        Some(Key::Group(by, name)) => Some(of_group(global, &diagnosis, shot, *by, name.as_ref())),
        Some(Key::Cgroup(path)) => Some(of_cgroup(global, &diagnosis, path)),
        _ => None,
    };
    let (title, command, lack) = match alone {
        Some(Ok(command)) => ("The same, printed:", command, None),
        Some(Err(lack)) => {
            let list = list(global, state, at_unix_ms);
            ("The list that it is in:", list, Some(lack))
        }
        None => ("The same, printed:", same(global, state, at_unix_ms), None),
    };
    Told {
        gone: None,
        lack,
        commands: vec![(title, command)],
    }
}

/// What is opened, or was when the command was asked for.
const fn opened(state: &State) -> Option<&Key> {
    match &state.overlay {
        Overlay::Detail(key) | Overlay::Command(Some(key)) => Some(key),
        _ => None,
    }
}

/// A look at now, or at the moment of history that is shown.
fn diagnosis(state: &State, at_unix_ms: Option<u64>) -> String {
    match at_unix_ms.filter(|_| state.past).and_then(typed) {
        Some(at) => format!("memory-diagnose --at {at}"),
        None => "memory-diagnose".to_owned(),
    }
}

/// The command for a group that is opened, or why there is none.
fn of_group(
    global: &GlobalOptions,
    diagnosis: &str,
    shot: Option<&Shot>,
    by: GroupBy,
    name: Option<&KernelText>,
) -> Result<String, String> {
    let alone = shot.and_then(|shot| {
        let row = shot.group(by, name)?;
        let target = group_target::target(shot, by, &row.group)?;
        recommend::command_on(global, diagnosis, &target)
    });
    alone.ok_or_else(|| "no target selects these processes and no others".to_owned())
}

/// The command for a control group that is opened, or why there is none.
fn of_cgroup(global: &GlobalOptions, diagnosis: &str, path: &CgroupPath) -> Result<String, String> {
    let target = Target::Cgroup(path.clone());
    recommend::command_on(global, diagnosis, &target)
        .ok_or_else(|| "no target selects it: its name is not UTF-8".to_owned())
}

/// The command for the list in which there is what is opened.
fn list(global: &GlobalOptions, state: &State, at_unix_ms: Option<u64>) -> String {
    let moment = at_unix_ms.filter(|_| state.past).and_then(typed);
    let words = match (state.view, moment) {
        (View::Groups, None) => format!("memory-diagnose --by {}", fold(state.by)),
        (_, None) => "memory-diagnose --verbose".to_owned(),
        (_, moment) => listed(state, moment),
    };
    recommend::command(global, &words)
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
    let moment = at_unix_ms.filter(|_| state.past).and_then(typed);
    if is_filtered(state) {
        return listed(state, moment);
    }
    let diagnosis = diagnosis(state, at_unix_ms);
    let opened = match &state.overlay {
        Overlay::Actions(_) | Overlay::Confirm(..) => return "journal --all".to_owned(),
        Overlay::Help(_) => return "man memory-watch".to_owned(),
        _ => opened(state),
    };
    match (state.view, opened) {
        (View::Processes, Some(Key::Process(id))) => {
            format!("{diagnosis} --target pid:{}", id.pid)
        }
        (View::Groups, _) => format!("{diagnosis} --by {}", fold(state.by)),
        (View::Processes | View::Cgroups, _) => format!("{diagnosis} --verbose"),
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use grey_fake_kernel::FakeKernel;
    use grey_model::ProcessId;

    use super::*;
    use crate::cli::Cli;
    use crate::watch::testkit::{NOON, shot};

    fn global() -> GlobalOptions {
        Cli::try_parse_from(["greyctl", "journal"]).unwrap().global
    }

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
        let global = global();
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

    /// What is told of `key`, opened in `view`.
    fn told_of(view: View, by: GroupBy, key: Key, past: bool) -> Told {
        let mut shot = shot(&FakeKernel::full());
        shot.refold(by);
        let mut state = State::new(view, by);
        state.overlay = Overlay::Command(Some(key));
        state.past = past;
        told(&global(), &state, Some(&shot))
    }

    #[test]
    fn a_control_group_is_a_target_whatever_its_name_or_it_is_said_that_it_is_none() {
        let told = |path: &[u8]| {
            let key = Key::Cgroup(CgroupPath::new(path).unwrap());
            told_of(View::Cgroups, GroupBy::Program, key, false)
        };
        for (path, target) in [
            ("/build/web", "/build/web"),
            ("/a b", "'/a b'"),
            ("/", "/"),
            ("/a\x1b", "$'/a\\033'"),
        ] {
            let told = told(path.as_bytes());
            let expected = format!("greyctl memory-diagnose --target {target}");
            assert_eq!(told.commands, [("The same, printed:", expected)]);
            assert_eq!(told.lack, None);
        }
        let told = told(b"/a\xff");
        assert!(told.lack.unwrap().contains("not UTF-8"));
        let list = "greyctl memory-diagnose --verbose".to_owned();
        assert_eq!(told.commands, [("The list that it is in:", list)]);
    }

    #[test]
    fn the_command_of_an_opened_group_shows_it_alone_or_says_that_it_does_not() {
        let group = |by, name: &str, past| {
            let key = Key::Group(by, Some(KernelText::from(name)));
            told_of(View::Groups, by, key, past)
        };
        let told = group(GroupBy::Program, "builder", false);
        let alone = "greyctl memory-diagnose --target name:builder".to_owned();
        assert_eq!(told.commands, [("The same, printed:", alone)]);
        assert_eq!(told.lack, None);
        let told = group(GroupBy::User, "1000", false);
        let list = "greyctl memory-diagnose --by user".to_owned();
        assert_eq!(told.commands, [("The list that it is in:", list)]);
        let lack = "no target selects these processes and no others";
        assert_eq!(told.lack.as_deref(), Some(lack));
        let told = group(GroupBy::Program, "builder", true);
        let (title, alone) = &told.commands[0];
        assert_eq!((*title, &told.lack), ("The same, printed:", &None));
        assert!(alone.contains("memory-diagnose --at 20"), "{alone}");
        assert!(alone.ends_with(" --target name:builder"), "{alone}");
    }

    #[test]
    fn history_is_named_by_its_moment() {
        let mut state = State::new(View::Processes, GroupBy::Program);
        state.past = true;
        let at = "memory-diagnose --at 2026-11-21T12:00:00Z";
        assert_eq!(words(&state, Some(NOON)), format!("{at} --verbose"));
        state.view = View::Groups;
        assert_eq!(words(&state, Some(NOON)), format!("{at} --by program"));
    }
}
