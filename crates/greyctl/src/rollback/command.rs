//! Puts back all changes or one, and says what became of each.
//!
//! Never overrides what somebody else has set, unless it is told to.

use grey_enforcement::{RollbackError, RollbackSelection};

use super::document::{Outcome, Rollback, RolledBack, RolledBackState, SCHEMA, outcome_of};
use super::{expired, report};
use crate::cli::{GlobalOptions, RollbackOptions};
use crate::enforcer::{self, JournalUse, journal_failure, other_owner};
use crate::error_document::Ending;
use crate::exit_code::Exit;
use crate::failure::{Failure, chain};
use crate::loss::{self, LostRecord};
use crate::output::Output;
use crate::recommend;
use crate::roots::state_dir;

/// Runs `rollback`.
///
/// # Errors
/// A [`Failure`] when nothing was tried, or something was left as it is.
pub(crate) fn run(
    global: &GlobalOptions,
    options: &RollbackOptions,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let mut document = Rollback {
        schema: SCHEMA,
        outcome: Outcome::Failed,
        force: options.force,
        keep: options.keep,
        expired_leases: Vec::new(),
        changes: Vec::new(),
        lost: Vec::new(),
        ending: Ending::default(),
    };
    let tried = roll_back(global, options, &mut document, output);
    let was_tried = tried.is_ok();
    let ended = tried.and_then(|()| verdict(&document, global));
    if options.json {
        document.ending = Ending::of(&ended);
        output.json(&document)?;
    } else if was_tried {
        output.text(&text(&document, output.width()))?;
    }
    ended
}

fn roll_back(
    global: &GlobalOptions,
    options: &RollbackOptions,
    document: &mut Rollback,
    output: &mut Output,
) -> Result<(), Failure> {
    if options.id.is_none() && enforcer::nothing_was_changed(global)? {
        document.outcome = Outcome::NothingToDo;
        return Ok(());
    }
    let mut enforcer = enforcer::open(global, "rollback")?;
    enforcer::say_if_locked(global, output);
    let selection = options
        .id
        .map_or(RollbackSelection::All, RollbackSelection::Id);
    let report = if options.keep {
        enforcer.keep(options.id)
    } else {
        enforcer.rollback(&selection, options.force)
    }
    .map_err(|error| {
        if let RollbackError::ChangeUnreadable { losses, .. } = &error {
            document.lost = losses.iter().map(LostRecord::new).collect();
        }
        failure(global, &error)
    })?;
    document.expired_leases = report.expired.iter().map(RolledBack::new).collect();
    document.changes = report.items.iter().map(RolledBack::new).collect();
    let all = document.expired_leases.iter().chain(&document.changes);
    for change in all.filter(|change| change.lease_over) {
        expired::tell(change, global, output);
    }
    document.lost = report.losses.iter().map(LostRecord::new).collect();
    document.outcome = outcome_of(&document.changes, &document.lost);
    Ok(())
}

pub(super) fn failure(global: &GlobalOptions, error: &RollbackError) -> Failure {
    match error {
        RollbackError::NoSuchChange { .. } => {
            let list = recommend::command(global, "journal --all");
            Failure::from_error(Exit::Usage, error).hint(format!("list them: {list}"))
        }
        RollbackError::ChangeUnreadable { losses, .. } => {
            let mut failure = Failure::from_error(Exit::Failed, error);
            let lost: Vec<LostRecord> = losses.iter().map(LostRecord::new).collect();
            if let Ok(directory) = state_dir(global) {
                let of_journal = loss::failure(global, Exit::Failed, &lost, &directory, true);
                failure.others.push(of_journal);
            }
            failure
        }
        RollbackError::NoConflict => Failure::from_error(Exit::Usage, error)
            .hint(format!(
                "put everything back: {}",
                recommend::command(global, "rollback")
            ))
            .hint(format!(
                "one change is given up all the same when its number stands before --keep; the \
                 numbers: {}",
                recommend::command(global, "journal")
            )),
        RollbackError::Journal { source } => {
            let mut failure = journal_failure(source, JournalUse::PutBack);
            failure.message = chain(error);
            if let (Some(owner), Ok(directory)) = (other_owner(source), state_dir(global)) {
                // Named in full: sudo changes the home and clears the environment.
                failure.hints = vec![format!(
                    "let its owner do it: {}",
                    recommend::command_of(&owner, global, "rollback", &directory)
                )];
            }
            failure
        }
    }
}

fn text(document: &Rollback, width: Option<usize>) -> String {
    if document.outcome == Outcome::NothingToDo {
        return "Nothing to put back.\n".to_owned();
    }
    if document.changes.is_empty() {
        return String::new();
    }
    report::changes("Rollback", &document.changes, width)
}

/// "the change", "1 of 3 changes", "all 3 changes".
fn part_of(part: usize, all: usize) -> String {
    match (part, all) {
        (_, 1) => "the change".to_owned(),
        (part, all) if part == all => format!("all {all} changes"),
        _ => format!("{part} of {all} changes"),
    }
}

fn left_alone(part: usize, all: usize) -> String {
    let (was, them) = if part == 1 {
        ("was", "it")
    } else {
        ("were", "them")
    };
    let which = part_of(part, all);
    format!("{which} {was} left alone: somebody else has set {them} since")
}

fn covered_by_later(part: usize, all: usize) -> String {
    let (was, them) = if part == 1 {
        ("was", "it")
    } else {
        ("were", "them")
    };
    let which = part_of(part, all);
    format!("{which} {was} not put back: a later one covers {them}")
}

/// The exit code, and what to do about what was left.
fn verdict(document: &Rollback, global: &GlobalOptions) -> Result<Exit, Failure> {
    let lost = match document.lost.as_slice() {
        [] => None,
        lost => {
            let exit = match document.changes.as_slice() {
                [] => Exit::Failed,
                _ => Exit::PartlyDone,
            };
            Some(loss::failure(global, exit, lost, &state_dir(global)?, true))
        }
    };
    match (of_changes(document, global), lost) {
        (Ok(exit), None) => Ok(exit),
        (Ok(_), Some(lost)) => Err(lost),
        (Err(mut failure), lost) => {
            failure.others.extend(lost);
            Err(failure)
        }
    }
}

/// The same without what the journal has lost.
fn of_changes(document: &Rollback, global: &GlobalOptions) -> Result<Exit, Failure> {
    let count = |state| {
        document
            .changes
            .iter()
            .filter(|change| change.outcome == state)
            .count()
    };
    let conflicts = count(RolledBackState::Conflict);
    let failed = count(RolledBackState::Failed);
    let covered = count(RolledBackState::Merged);
    if conflicts + failed + covered == 0 {
        return Ok(Exit::Success);
    }
    let denied = document.changes.iter().all(|change| change.not_permitted);
    let exit = match document.outcome {
        Outcome::NothingToDo | Outcome::Done => return Ok(Exit::Success),
        Outcome::PartlyDone => Exit::PartlyDone,
        Outcome::Failed if denied => Exit::NotPermitted,
        Outcome::Failed => Exit::Failed,
    };
    let of = document.changes.len();
    let rollback = |words: &str| recommend::command(global, words);
    let mut failure = if conflicts > 0 {
        let mut message = left_alone(conflicts, of);
        if failed > 0 {
            message.push_str(&format!("; {failed} could not be put back"));
        }
        if covered > 0 {
            message.push_str(&format!(
                "; {covered} not put back, as a later one covers it"
            ));
        }
        Failure::new(exit, message)
            .hint(format!(
                "to override their values: {}",
                rollback("rollback --force")
            ))
            .hint(format!(
                "to keep theirs and forget ours: {}",
                rollback("rollback --keep")
            ))
    } else if failed == 0 {
        let mut failure = Failure::new(exit, covered_by_later(covered, of));
        for later in document
            .changes
            .iter()
            .filter_map(|change| change.covered_by)
        {
            failure = failure.hint(format!(
                "undo the later one: {}",
                rollback(&format!("rollback {later}"))
            ));
        }
        failure.hint(format!("or all: {}", rollback("rollback")))
    } else {
        Failure::new(
            exit,
            format!("{} could not be put back", part_of(failed, of)),
        )
    };
    if failed > 0 {
        failure = failure.hint(format!(
            "what could not be put back stays in the journal; try again: {}",
            rollback("rollback")
        ));
    }
    for change in &document.changes {
        if let Some(hint) = &change.hint
            && !failure.hints.contains(hint)
        {
            failure = failure.hint(hint);
        }
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use grey_enforcement::{RollbackItem, RollbackOutcome};
    use grey_model::{Knob, KsmFile};

    use super::*;
    use crate::cli::Cli;

    fn document(denied: &[bool]) -> Rollback {
        let change = |denied: &bool| {
            RolledBack::new(&RollbackItem {
                id: 1,
                knob: Knob::Ksm { file: KsmFile::Run },
                before: None,
                after: None,
                found: None,
                outcome: RollbackOutcome::Failed("no".to_owned()),
                overrode: false,
                note: None,
                lease_over: false,
                not_permitted: *denied,
                hint: denied.then(|| "run as root".to_owned()),
            })
        };
        let changes: Vec<RolledBack> = denied.iter().map(change).collect();
        Rollback {
            schema: SCHEMA,
            outcome: outcome_of(&changes, &[]),
            force: false,
            keep: false,
            expired_leases: Vec::new(),
            changes,
            lost: Vec::new(),
            ending: Ending::default(),
        }
    }

    #[test]
    fn a_rollback_that_lacked_nothing_but_the_permission_says_so_once() {
        let global = Cli::try_parse_from(["greyctl", "rollback"]).unwrap().global;
        let failure = of_changes(&document(&[true, true]), &global).unwrap_err();
        assert_eq!(failure.exit, Exit::NotPermitted);
        let hints = failure.hints.iter().filter(|hint| *hint == "run as root");
        assert_eq!(hints.count(), 1);
        let failure = of_changes(&document(&[true, false]), &global).unwrap_err();
        assert_eq!(failure.exit, Exit::Failed);
    }

    #[test]
    fn what_failed_is_counted_beside_what_was_left_alone() {
        let mut document = document(&[false, false, false]);
        document.changes[0].outcome = RolledBackState::Conflict;
        document.changes[0].detail = String::new();
        let global = Cli::try_parse_from(["greyctl", "rollback"]).unwrap().global;
        let failure = of_changes(&document, &global).unwrap_err();
        assert_eq!(
            failure.message,
            "1 of 3 changes was left alone: somebody else has set it since; \
             2 could not be put back"
        );
    }

    #[test]
    fn however_narrow_it_is_what_was_set_and_found_is_shown_in_full() {
        let mut document = document(&[false]);
        let change = &mut document.changes[0];
        change.before = Some("314572800".to_owned());
        change.after = Some("134217728".to_owned());
        change.found = Some("268435456".to_owned());
        for width in 30..120 {
            let text = report::changes("Rollback", &document.changes, Some(width));
            for value in ["WAS SET TO", "300.0 MiB", "FOUND", "128.0 MiB", "256.0 MiB"] {
                assert!(text.contains(value), "{width}: {text}");
            }
        }
    }

    #[test]
    fn one_change_is_told_in_the_singular() {
        let one = "the change was left alone: somebody else has set it since";
        assert_eq!(left_alone(1, 1), one);
        let one_of_many = "1 of 3 changes was left alone: somebody else has set it since";
        assert_eq!(left_alone(1, 3), one_of_many);
        assert!(left_alone(2, 3).starts_with("2 of 3 changes were left alone"));
        assert_eq!(part_of(3, 3), "all 3 changes");
        let covered = "the change was not put back: a later one covers it";
        assert_eq!(covered_by_later(1, 1), covered);
        assert!(covered_by_later(2, 3).ends_with("a later one covers them"));
    }
}
