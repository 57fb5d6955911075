//! What we keep, on both sides of each line.

use grey_model::{Bytes, DoctorFacts, Reading};

use super::super::CheckState::{Note, Ok, Problem, Warning};
use super::super::Remedy;
use super::machine::{MIB, assert_sides, found, value};

#[test]
fn the_state_directory_must_be_ours_alone() {
    assert_sides(
        "state_directory",
        &[
            (|it| it.state.directory = Reading::Absent, Ok),
            (
                |it| value(&mut it.state.directory).is_directory = false,
                Problem,
            ),
            (|it| value(&mut it.state.directory).mode = 0o40720, Problem),
            (|it| value(&mut it.state.directory).mode = 0o40702, Problem),
            (|it| value(&mut it.state.directory).mode = 0o40755, Ok),
            (|it| value(&mut it.state.directory).owner = 1000, Problem),
            // Who is not root only looks at what root keeps.
            (|it| value(&mut it.state.directory).us = 1000, Note),
            (
                |it| {
                    let directory = value(&mut it.state.directory);
                    (directory.us, directory.mode) = (1000, 0o40777);
                },
                Warning,
            ),
        ],
    );
    let open = found("state_directory", |it| {
        value(&mut it.state.directory).mode = 0o40777
    });
    let expected = Remedy::Shell {
        command: "chmod go-w -- /state".to_owned(),
        undo: Some("chmod 777 -- /state".to_owned()),
    };
    assert_eq!(open.remedy, Some(expected));
}

#[test]
fn a_journal_that_lost_something_is_never_an_all_clear() {
    assert_sides(
        "journal",
        &[
            (|it| it.state.journal = Reading::Absent, Ok),
            (
                |it| {
                    value(&mut it.state.journal)
                        .lost
                        .push("line 3 is damaged".to_owned())
                },
                Problem,
            ),
            (
                |it| value(&mut it.state.journal).refused = Some("not safe".to_owned()),
                Problem,
            ),
            (|it| value(&mut it.state.journal).holding = 3, Ok),
        ],
    );
    assert_sides(
        "changes",
        &[
            (|it| value(&mut it.state.journal).holding = 1, Note),
            (|it| value(&mut it.state.journal).conflicts = 1, Warning),
            (|it| value(&mut it.state.journal).overdue = 1, Problem),
        ],
    );
    let overdue = found("changes", |it| value(&mut it.state.journal).overdue = 2);
    assert_eq!(overdue.found, "2 changes past their lease");
    assert_eq!(overdue.remedy, Some(Remedy::Ours("rollback")));
}

#[test]
fn history_that_others_may_write_to_is_a_problem_with_its_remedy() {
    let open = found("history", |it| {
        value(&mut it.state.history).open_to_others = Some(("/state/history".to_owned(), 0o40777))
    });
    assert_eq!(open.state, Problem);
    let expected = Remedy::Shell {
        command: "chmod go-w -- /state/history".to_owned(),
        undo: Some("chmod 777 -- /state/history".to_owned()),
    };
    assert_eq!(open.remedy, Some(expected));
}

#[test]
fn room_is_judged_by_what_is_kept_there() {
    fn room(facts: &mut DoctorFacts, bytes: u64) {
        value(&mut facts.state.disk).available = Bytes(bytes);
    }
    assert_sides(
        "state_room",
        &[
            (|it| room(it, 16 * MIB - 1), Problem),
            (
                |it| value(&mut it.state.disk).available_files = Some(0),
                Problem,
            ),
            (|it| value(&mut it.state.disk).available_files = None, Ok),
            // History has 1 MiB of the 512 that it may take.
            (|it| room(it, 511 * MIB - 1), Warning),
            (|it| room(it, 511 * MIB), Ok),
            (
                |it| {
                    it.state.history = Reading::Absent;
                    room(it, 16 * MIB);
                },
                Ok,
            ),
        ],
    );
}

/// A history of which nobody knows whether it is being recorded.
fn unasked(facts: &mut DoctorFacts, last_age_seconds: Option<i64>) {
    let history = value(&mut facts.state.history);
    history.is_being_recorded = None;
    history.last_age_seconds = last_age_seconds;
}

#[test]
fn history_is_judged_by_its_recorder_its_age_and_what_is_damaged() {
    assert_sides(
        "history",
        &[
            (|it| it.state.history = Reading::Absent, Note),
            (
                |it| value(&mut it.state.history).last_age_seconds = Some(60),
                Ok,
            ),
            (
                |it| value(&mut it.state.history).last_age_seconds = Some(61),
                Note,
            ),
            (
                |it| value(&mut it.state.history).is_being_recorded = Some(false),
                Note,
            ),
            (|it| unasked(it, Some(60)), Ok),
            (|it| unasked(it, Some(61)), Note),
            (|it| unasked(it, None), Note),
            (
                |it| value(&mut it.state.history).last_age_seconds = Some(-60),
                Ok,
            ),
            (
                |it| value(&mut it.state.history).last_age_seconds = Some(-61),
                Warning,
            ),
            (
                |it| {
                    value(&mut it.state.history)
                        .lost
                        .push("tail: cut".to_owned())
                },
                Warning,
            ),
            (
                |it| {
                    value(&mut it.state.history).newer.push("tail".to_owned());
                },
                Note,
            ),
            (
                |it| {
                    let history = value(&mut it.state.history);
                    history.repeated.push("a.shard: there".to_owned());
                },
                Note,
            ),
        ],
    );
    let newer = found("history", |it| {
        value(&mut it.state.history).newer.push("tail".to_owned());
    });
    assert!(
        newer.found.contains("tail of a newer version") && !newer.found.contains("damaged"),
        "{}",
        newer.found
    );
    let unreadable = |it: &mut DoctorFacts, samples| {
        let history = value(&mut it.state.history);
        history.unreadable.push("a.shard: no".to_owned());
        history.samples = samples;
    };
    let partly = found("history", |it| unreadable(it, Some(9)));
    let expected = "9 samples can be read, and its files take 1.0 MiB; cannot be read: a.shard: no";
    assert_eq!((partly.state, &partly.found[..]), (Warning, expected));
    let shut = found("history", |it| unreadable(it, None));
    assert_eq!(
        shut.found,
        "its files take 1.0 MiB; cannot be read: a.shard: no"
    );
    let old = found("history", |it| {
        value(&mut it.state.history).last_age_seconds = Some(7300)
    });
    assert!(old.found.contains("the last 2h 1m ago"), "{}", old.found);
    assert!(!old.found.contains("nothing records"), "{}", old.found);
    // A recorder that was just killed, one that has just begun, and one of which
    // nobody knows.
    let killed = found("history", |it| {
        value(&mut it.state.history).is_being_recorded = Some(false);
    });
    let said = &killed.found;
    assert!(
        said.ends_with("the last 1s ago: nothing records now"),
        "{said}"
    );
    let begun = found("history", |it| {
        value(&mut it.state.history).last_age_seconds = None;
    });
    assert_eq!(begun.state, Ok);
    let unknown = found("history", |it| unasked(it, Some(1))).found;
    assert!(unknown.ends_with("the last 1s ago"), "{unknown}");
    let partly = found("history", |it| {
        value(&mut it.state.history).looked_at_all = false
    });
    assert!(
        partly.found.contains("not all was looked at"),
        "{}",
        partly.found
    );
}
