//! Each screen at each size and look, and that nothing makes it fail.

use std::time::Duration;

use grey_fake_kernel::{FakeCgroup, FakeKernel, FakeProcess};
use grey_model::{Bytes, GroupBy, LeakVerdict, Trace, TracePoint};
use jiff::tz::TimeZone;
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;

use super::*;
use crate::journal::document::{ChangeState, JournaledChange};
use crate::watch::keys::{Effect, Listed, press};
use crate::watch::model::Actions;
use crate::watch::sampler::Wish;
use crate::watch::shot::{Key, Stall, Trend};
use crate::watch::state::State;
use crate::watch::testkit::{at_noon, everything, sampler};

const COLORED: Look = Look {
    color: true,
    unicode: true,
};
const COLORLESS: Look = Look {
    color: false,
    unicode: true,
};
const ASCII: Look = Look {
    color: false,
    unicode: false,
};

fn model(view: View) -> Model {
    model_of(&FakeKernel::full(), view)
}

fn model_of(kernel: &FakeKernel, view: View) -> Model {
    let mut shot = at_noon(sampler(kernel).look(&everything()).unwrap());
    // As if it had been watched for a while.
    shot.stalls = (0..40)
        .map(|step| Stall {
            some: f64::from(step % 9) * 2.0,
            full: f64::from(step % 4),
        })
        .collect();
    for row in &mut shot.processes {
        row.trend = match row.memory.id.pid {
            101 => Trend {
                per_minute: Some(3 << 20),
                verdict: Some(LeakVerdict::Leak),
                ..Trend::default()
            },
            300 => Trend {
                per_minute: Some(-(512 << 10)),
                ..Trend::default()
            },
            _ => Trend::default(),
        };
        if row.memory.id.pid == 310 {
            row.pss_age = Some(Duration::from_secs(95));
        }
    }
    Model {
        shot: Some(shot),
        state: State::new(view, GroupBy::Program),
        actions: Actions::Read(vec![change(3, true), change(2, false)], 0),
        seen: None,
        told: told("greyctl memory-diagnose --verbose"),
        interval: Duration::from_secs(1),
        zone: TimeZone::UTC,
    }
}

fn told(command: &str) -> Told {
    Told {
        gone: None,
        lack: None,
        commands: vec![("The same, printed:", command.to_owned())],
    }
}

fn change(id: u64, is_open: bool) -> JournaledChange {
    JournaledChange {
        id,
        time: "2026-11-21T11:58:00Z".to_owned(),
        boot_id: String::new(),
        state: if is_open {
            ChangeState::Active
        } else {
            ChangeState::Undone
        },
        knob: "memory.high of /build/web".to_owned(),
        setting: grey_model::Knob::OomScoreAdj {
            process: grey_model::ProcessId {
                pid: 310,
                start_time_ticks: 1,
            },
        },
        before: Some("max".to_owned()),
        after: Some("104857600".to_owned()),
        user: "ana".to_owned(),
        program: "greyctl memory-enforce".to_owned(),
        pid: 4000,
        reason: String::new(),
        plan_id: "p".to_owned(),
        lease_remaining_seconds: None,
    }
}

fn terminal(model: &mut Model, look: Look, size: (u16, u16)) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
    terminal
        .draw(|frame| {
            let area = frame.area();
            draw(model, look, area, frame.buffer_mut());
        })
        .unwrap();
    terminal
}

/// The screen as text, without what stands at the end of lines.
fn text(model: &mut Model, look: Look, size: (u16, u16)) -> String {
    let terminal = terminal(model, look, size);
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for line in buffer.content.chunks(usize::from(size.0).max(1)) {
        let line: String = line.iter().map(ratatui::buffer::Cell::symbol).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn keys(model: &mut Model, typed: &[KeyCode]) -> Effect {
    let mut effect = Effect::None;
    for code in typed {
        let listed = Listed {
            keys: model.keys(),
            actions: model.actions.listed(),
        };
        effect = press(&mut model.state, KeyEvent::from(*code), &listed);
    }
    effect
}

#[test]
fn every_line_of_help_can_be_read_at_80_by_24() {
    let mut model = model(View::Processes);
    model.state.overlay = Overlay::Help(0);
    let mut seen = text(&mut model, COLORLESS, (80, 24));
    assert!(seen.contains("PgDn more"), "{seen}");
    for _ in 0..3 {
        keys(&mut model, &[KeyCode::PageDown]);
        seen.push_str(&text(&mut model, COLORLESS, (80, 24)));
    }
    for line in help::lines(80, COLORLESS) {
        let text = line.to_string();
        assert!(seen.contains(text.trim_end()), "{text}");
    }
    // From the end, one key up is one line up.
    let Overlay::Help(end) = model.state.overlay else {
        panic!("help is closed");
    };
    keys(&mut model, &[KeyCode::Up]);
    text(&mut model, COLORLESS, (80, 24));
    assert_eq!(model.state.overlay, Overlay::Help(end - 1));
}

#[test]
fn every_word_of_help_can_be_read_on_any_screen() {
    let without_space = |text: &str| -> String { text.split_whitespace().collect() };
    let expected = without_space(&help::text());
    let mut model = model(View::Processes);
    for size in [(20, 5), (11, 4), (39, 5), (40, 5), (80, 24)] {
        model.state.overlay = Overlay::None;
        let list = text(&mut model, COLORLESS, size);
        model.state.overlay = Overlay::Help(0);
        let (mut seen, mut last) = (String::new(), None);
        loop {
            let drawn = text(&mut model, COLORLESS, size);
            if last.as_ref() == Some(&model.state.overlay) {
                break;
            }
            last = Some(model.state.overlay.clone());
            let lines: Vec<&str> = drawn.lines().collect();
            let above = list.lines().zip(&lines);
            let above = above.take_while(|(list, help)| list == *help).count();
            let body = &lines[above..lines.len() - 1];
            // One line further, only the last one is new.
            let new = if seen.is_empty() { 0 } else { body.len() - 1 };
            seen.push_str(&without_space(&body[new..].join(" ")));
            keys(&mut model, &[KeyCode::Down]);
        }
        assert_eq!(seen, expected, "{size:?}");
    }
}

#[test]
fn the_screens_at_80_by_24() {
    insta::assert_snapshot!(
        "processes",
        text(&mut model(View::Processes), COLORLESS, (80, 24))
    );
    insta::assert_snapshot!(
        "groups",
        text(&mut model(View::Groups), COLORLESS, (80, 24))
    );
    insta::assert_snapshot!(
        "cgroups",
        text(&mut model(View::Cgroups), COLORLESS, (80, 24))
    );
}

#[test]
fn what_lies_on_top_at_80_by_24() {
    let on_top = |typed: &[KeyCode]| {
        let mut model = model(View::Processes);
        text(&mut model, COLORLESS, (80, 24));
        keys(&mut model, typed);
        text(&mut model, COLORLESS, (80, 24))
    };
    insta::assert_snapshot!("help", on_top(&[KeyCode::F(1)]));
    insta::assert_snapshot!("actions", on_top(&[KeyCode::Char('a')]));
    let question = [KeyCode::Char('a'), KeyCode::Char('u')];
    insta::assert_snapshot!("confirm", on_top(&question));
    insta::assert_snapshot!("command", on_top(&[KeyCode::Char('c')]));
    let filter = ['/', 'n', 'g', 'i'].map(KeyCode::Char);
    insta::assert_snapshot!("filter", on_top(&filter));
}

#[test]
fn a_detail_of_each_kind() {
    let kernel = FakeKernel::full();
    for (view, name, place) in [
        (View::Processes, "detail_process", 0),
        (View::Groups, "detail_group", 0),
        (View::Cgroups, "detail_cgroup", 2),
    ] {
        let mut model = model_of(&kernel, view);
        text(&mut model, COLORLESS, (80, 24));
        for _ in 0..place {
            keys(&mut model, &[KeyCode::Down]);
        }
        keys(&mut model, &[KeyCode::Enter]);
        let wish = Wish {
            detail: model.opened().cloned(),
            ..everything()
        };
        let mut shot = at_noon(sampler(&kernel).look(&wish).unwrap());
        let detail = shot.detail.as_mut().unwrap();
        let mut readings = Trace::new();
        readings.extend((0..60).map(|step| TracePoint {
            at: Duration::from_secs(step),
            amount: Bytes::from_mib(100 + step),
            life: 1,
        }));
        detail.moved.trace = readings;
        model.shot = Some(shot);
        insta::assert_snapshot!(name, text(&mut model, COLORLESS, (80, 24)));
    }
}

#[test]
fn what_was_carried_on_since_it_was_read_is_told_where_it_is_opened() {
    for (view, told) in [
        (
            View::Processes,
            "PSS and USS of 1m 35s ago, carried on since",
        ),
        (View::Groups, "~9.0 MiB"),
    ] {
        let opened = |pss_age| {
            let mut model = model(view);
            model.state.filter = "builder".to_owned();
            for row in &mut model.shot.as_mut().unwrap().processes {
                row.pss_age = row.pss_age.and(pss_age);
            }
            text(&mut model, COLORLESS, (80, 30));
            keys(&mut model, &[KeyCode::Enter]);
            text(&mut model, COLORLESS, (80, 30))
        };
        let carried = opened(Some(Duration::from_secs(95)));
        assert!(carried.contains(told), "{carried}");
        let fresh = opened(Some(Duration::from_millis(500)));
        assert!(
            fresh.contains("builder") && !fresh.contains(told),
            "{fresh}"
        );
    }
}

#[test]
fn however_little_room_a_heading_has_its_numbers_are_in_it() {
    let mut model = model(View::Processes);
    model.state.by = GroupBy::Container;
    let shot = model.shot.as_mut().unwrap();
    shot.unreadable = 30;
    shot.unmeasured = Unmeasured {
        waiting: 12,
        too_large: 3,
    };
    let mut heading = |columns| {
        let text = text(&mut model, COLORLESS, (columns, 24));
        let heading = text.lines().find(|line| line.contains("[Processes]"));
        heading.unwrap().to_owned()
    };
    let narrow = heading(80);
    assert!(narrow.contains("30 unreadable, 15 without PSS"), "{narrow}");
    let wide = heading(200);
    let whole =
        "by memory, 30 processes unreadable, PSS of 12 still to be read, of 3 too dear to read";
    assert!(wide.ends_with(whole), "{wide}");
}

#[test]
fn a_wide_screen_has_more_columns() {
    let wide = |view| text(&mut model(view), COLORLESS, (120, 40));
    insta::assert_snapshot!("processes_120", wide(View::Processes));
    insta::assert_snapshot!("cgroups_120", wide(View::Cgroups));
}

#[test]
fn a_tiny_screen_shows_what_fits() {
    let tiny = |view| text(&mut model(view), COLORLESS, (20, 5));
    let all = View::ALL.map(tiny).join("--\n");
    insta::assert_snapshot!("tiny", all);
}

#[test]
fn a_detail_without_room_says_what_it_is_of_and_how_much_it_needs() {
    for view in View::ALL {
        let mut model = model(view);
        keys(&mut model, &[KeyCode::Enter]);
        let name = text(&mut model, COLORLESS, (80, 24));
        let drawn = text(&mut model, COLORLESS, (20, 5));
        assert!(drawn.contains("needs more room: 32"), "{drawn}");
        assert!(drawn.contains("by 12 at least"), "{drawn}");
        let title = drawn.lines().nth(1).unwrap().trim();
        assert!(!title.is_empty() && name.contains(title), "{title}: {name}");
        // What it asks for is enough.
        let enough = text(&mut model, COLORLESS, (32, 12));
        assert!(!enough.contains("needs more room"), "{enough}");
    }
}

#[test]
fn a_command_that_has_no_room_is_not_shown_in_part() {
    let mut model = model(View::Processes);
    model.told = told("greyctl memory-watch --no-clear --show-processes --filter web");
    keys(&mut model, &[KeyCode::Char('c')]);
    let narrow = text(&mut model, COLORLESS, (40, 12));
    let lines: Vec<&str> = narrow.lines().collect();
    let begin = lines.iter().position(|line| line.starts_with("greyctl"));
    let begin = begin.unwrap();
    assert!(
        lines[begin].ends_with(" \\") && lines[begin].len() == 40,
        "{narrow}"
    );
    assert_eq!(
        lines[begin + 1],
        "--show-processes --filter web",
        "{narrow}"
    );
    let tiny = text(&mut model, COLORLESS, (20, 5));
    assert!(tiny.contains("needs more room: 6"), "{tiny}");
    assert!(!tiny.contains("greyctl"), "{tiny}");
}

#[test]
fn in_ascii_everything_is_ascii() {
    for view in View::ALL {
        let drawn = text(&mut model(view), ASCII, (120, 40));
        assert!(drawn.is_ascii(), "{drawn}");
    }
    insta::assert_snapshot!("ascii", text(&mut model(View::Processes), ASCII, (80, 24)));
}

#[test]
fn a_command_in_ascii_has_the_bytes_of_a_name_and_no_stand_ins() {
    let mut model = model(View::Processes);
    model.told = told("greyctl why name:café");
    keys(&mut model, &[KeyCode::Char('c')]);
    let drawn = text(&mut model, ASCII, (80, 24));
    assert!(
        drawn.contains(r"greyctl why name:caf$'\303\251'"),
        "{drawn}"
    );
    let drawn = text(&mut model, COLORLESS, (80, 24));
    assert!(drawn.contains("greyctl why name:café"), "{drawn}");
}

#[test]
fn without_colours_no_cell_has_one_and_with_them_the_text_is_the_same() {
    for view in View::ALL {
        let plain = terminal(&mut model(view), COLORLESS, (80, 24));
        let cells = &plain.backend().buffer().content;
        let has_color =
            |cell: &ratatui::buffer::Cell| cell.fg != Color::Reset || cell.bg != Color::Reset;
        assert!(!cells.iter().any(has_color));
        let colored = terminal(&mut model(view), COLORED, (80, 24));
        assert!(colored.backend().buffer().content.iter().any(has_color));
        assert_eq!(
            text(&mut model(view), COLORLESS, (80, 24)),
            text(&mut model(view), COLORED, (80, 24))
        );
    }
}

#[test]
fn before_the_first_look_it_says_so() {
    let mut model = model(View::Processes);
    model.shot = None;
    assert!(text(&mut model, COLORLESS, (80, 24)).starts_with("reading the machine\n"));
}

#[test]
fn a_poor_host_has_its_screens_too() {
    let kernel = FakeKernel::full()
        .without("proc/pressure")
        .without("proc/swaps")
        .without("sys")
        .without("cgroup");
    let mut shot = at_noon(sampler(&kernel).look(&everything()).unwrap());
    shot.swap.total_bytes = 0;
    let mut model = model(View::Cgroups);
    model.shot = Some(shot);
    insta::assert_snapshot!("poor", text(&mut model, COLORLESS, (80, 24)));
}

/// A host whose names want to drive the terminal.
fn hostile() -> FakeKernel {
    let process = |pid, name: &[u8]| FakeProcess {
        name: name.to_vec(),
        command_line: [name, b"\0--flag"].concat(),
        anon_kib: 200_000,
        ..FakeProcess::new(pid, 1, "x", "/build/web")
    };
    FakeKernel::full()
        .with_process(&process(601, b"\x1b[2J\x1b[31mred"))
        .with_process(&process(602, b"two\nlines"))
        .with_process(&process(603, "日本語日本語".as_bytes()))
        .with_process(&process(604, b"\xff\xfe\x00"))
        .with_process(&process(605, "\u{202e}drawkcab".as_bytes()))
        .with_process(&process(606, "e\u{301}\u{200d}👩‍👩‍👧".as_bytes()))
        .with_process(&process(607, "ngi\u{200b}nx".as_bytes()))
        .with_cgroup(&FakeCgroup::new("build/\x1b]0;title\x07", 1 << 28, &[]))
}

#[test]
fn names_that_would_drive_a_terminal_are_escaped_and_break_no_line() {
    let kernel = hostile();
    let mut model = model_of(&kernel, View::Processes);
    let drawn = text(&mut model, COLORLESS, (120, 40));
    assert!(!drawn.contains('\x1b'));
    assert!(drawn.contains("\\x1b[2J"), "{drawn}");
    assert!(drawn.contains("two\\x0alines"), "{drawn}");
    assert_eq!(drawn.lines().count(), 40);
    assert!(!drawn.contains(['\u{200b}', '\u{200d}']), "{drawn}");
    assert!(drawn.contains("ngi\\xe2\\x80\\x8bnx"), "{drawn}");
    // Whatever a name is made of, the next column begins where its title does.
    let terminal = terminal(&mut model, COLORLESS, (120, 40));
    let cells = &terminal.backend().buffer().content;
    let lines: Vec<Vec<&str>> = cells
        .chunks(120)
        .map(|line| line.iter().map(ratatui::buffer::Cell::symbol).collect())
        .collect();
    let titles = lines.iter().find(|line| line.concat().contains("COMMAND"));
    let place = titles.unwrap().concat().find("COMMAND").unwrap();
    let hostile: Vec<_> = lines
        .iter()
        .filter(|line| line.concat().contains("293.0 MiB"))
        .collect();
    assert_eq!(hostile.len(), 7, "{drawn}");
    for line in hostile {
        assert_eq!(line[place - 1], " ", "{drawn}");
        assert_ne!(line[place], " ", "{drawn}");
    }
    for view in View::ALL {
        let drawn = text(&mut model_of(&kernel, view), COLORLESS, (80, 60));
        assert!(!drawn.contains(['\x1b', '\x07', '\u{202e}']), "{drawn}");
    }
}

#[test]
fn what_is_gone_while_it_is_open_is_said_to_be_gone() {
    let mut model = model(View::Processes);
    text(&mut model, COLORLESS, (80, 24));
    keys(&mut model, &[KeyCode::Enter]);
    if let Some(shot) = &mut model.shot {
        shot.processes.clear();
    }
    assert!(text(&mut model, COLORLESS, (80, 24)).contains("process 101 is gone"));
}

#[test]
fn a_failing_journal_is_told_in_the_pane() {
    let mut model = model(View::Processes);
    model.actions = Actions::Failed("permission denied".to_owned());
    keys(&mut model, &[KeyCode::Char('a')]);
    let drawn = text(&mut model, COLORLESS, (80, 24));
    assert!(drawn.contains("the journal cannot be read: permission denied"));
}

fn any_key() -> impl Strategy<Value = KeyCode> {
    prop_oneof![
        8 => proptest::sample::select(vec![
            KeyCode::Up, KeyCode::Down, KeyCode::PageUp, KeyCode::PageDown, KeyCode::Home,
            KeyCode::End, KeyCode::Enter, KeyCode::Esc, KeyCode::Tab, KeyCode::BackTab,
            KeyCode::Left, KeyCode::Right, KeyCode::Backspace,
        ]),
        8 => proptest::sample::select("hau/ctKZ123bMPNI<>?uyqn".chars().collect::<Vec<_>>())
            .prop_map(KeyCode::Char),
        2 => any::<char>().prop_map(KeyCode::Char),
        2 => (1_u8..13).prop_map(KeyCode::F),
    ]
}

fn any_step() -> impl Strategy<Value = (KeyCode, bool, (u16, u16))> {
    let size = prop_oneof![
        (1_u16..30, 1_u16..12),
        Just((80, 24)),
        Just((1, 1)),
        Just((20, 5)),
        (0_u16..300, 0_u16..80),
    ];
    (any_key(), any::<bool>(), size)
}

#[test]
fn no_keys_and_no_size_make_it_fail() {
    let kernel = hostile();
    let whole = model_of(&kernel, View::Processes);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let steps = (proptest::collection::vec(any_step(), 1..40), any::<bool>());
    runner
        .run(&steps, |(steps, past)| {
            let mut model = whole.clone();
            model.state.past = past;
            for (code, control, size) in steps {
                let listed = Listed {
                    keys: model.keys(),
                    actions: model.actions.listed(),
                };
                let modifiers = match control {
                    true if code != KeyCode::Char('q') => KeyModifiers::SHIFT,
                    _ => KeyModifiers::NONE,
                };
                press(&mut model.state, KeyEvent::new(code, modifiers), &listed);
                let drawn = text(&mut model, ASCII, size);
                prop_assert!(drawn.is_ascii());
                // Rows come and go.
                if let (KeyCode::F(number), Some(shot)) = (code, &mut model.shot) {
                    let left = shot.processes.len().saturating_sub(usize::from(number));
                    shot.processes.truncate(left);
                }
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn what_is_selected_is_always_on_the_screen() {
    let mut model = model(View::Processes);
    for size in [(80, 24), (20, 5), (80, 3), (40, 2)] {
        text(&mut model, COLORLESS, size);
        keys(&mut model, &[KeyCode::End]);
        text(&mut model, COLORLESS, size);
        let state = &model.state;
        assert!((state.top..state.top + state.page).contains(&state.place));
        let last = model.keys().pop();
        assert_eq!(model.state.selected, last);
        keys(&mut model, &[KeyCode::Home]);
        text(&mut model, COLORLESS, size);
        assert_eq!(model.state.top, 0);
        assert!(matches!(model.state.selected, Some(Key::Process(_))));
    }
}
