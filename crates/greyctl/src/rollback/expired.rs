//! Changes that outlived their lease: whoever was to undo them was killed or
//! gave up. The next run that changes something puts them back first.
//!
//! Never overrides what somebody else has set, and never stops a run: what
//! could not be put back is told, and stays in the journal.

use std::time::Duration;

use grey_enforcement::{EntryState, RollbackSelection};
use grey_telemetry::Kernel;

use super::document::{RolledBack, RolledBackState};
use crate::cli::GlobalOptions;
use crate::enforcer;
use crate::journal::over_since;
use crate::output::Output;
use crate::recommend;

/// What was put back before the run began.
#[derive(Debug, Default)]
pub(crate) struct Undone {
    /// Each change, and what became of it.
    pub(crate) changes: Vec<RolledBack>,
    /// Why nothing could be tried, and damage in the journal.
    pub(crate) warnings: Vec<String>,
}

/// Puts back what outlived its lease, and says one line about each. `command`
/// is what the journal calls this program. Without such a change, the journal
/// is only looked at.
pub(crate) fn undo(
    global: &GlobalOptions,
    kernel: &Kernel,
    command: &str,
    output: &mut Output,
) -> Undone {
    let mut undone = Undone::default();
    let count = over_since(global, kernel, Duration::ZERO).len();
    if count == 0 {
        return undone;
    }
    let tried = enforcer::open(global, command).and_then(|mut enforcer| {
        enforcer::say_if_locked(global, output);
        enforcer
            .rollback(&RollbackSelection::ExpiredLeases, false)
            .map_err(|error| super::command::failure(global, &error))
    });
    match tried {
        Ok(report) => {
            undone.changes = report.items.iter().map(RolledBack::new).collect();
            let lost = report.losses.iter();
            undone.warnings = lost
                .map(|loss| format!("{}: what that changed is not known", loss.what))
                .collect();
        }
        Err(failure) => undone.warnings.push(format!(
            "what outlived its lease could not be put back: {}",
            failure.message
        )),
    }
    for change in &undone.changes {
        tell(change, global, output);
    }
    undone
}

/// What [`undo`] would put back, a sentence for each change.
pub(crate) fn would_undo(global: &GlobalOptions, kernel: &Kernel) -> Vec<String> {
    over_since(global, kernel, Duration::ZERO)
        .iter()
        .filter(|entry| entry.state == EntryState::Active)
        .map(|entry| {
            format!(
                "change {} ({}) still holds although its lease is over: without --simulation it \
                 would be put back first",
                entry.id, entry.knob
            )
        })
        .collect()
}

/// One line about a change whose lease was over.
pub(crate) fn tell(change: &RolledBack, global: &GlobalOptions, output: &mut Output) {
    let (id, knob, detail) = (change.id, &change.knob, &change.detail);
    match change.outcome {
        RolledBackState::Restored => {
            output.talk(&format!(
                "put back {knob} (change {id}): its lease was over"
            ));
        }
        RolledBackState::AlreadyRestored | RolledBackState::Void => output.talk(&format!(
            "the lease of change {id} ({knob}) was over, and it was put back already"
        )),
        // Nothing is given up here.
        RolledBackState::Kept => {}
        RolledBackState::Gone => output.talk(&format!(
            "the lease of change {id} ({knob}) was over, and what it was of is gone"
        )),
        RolledBackState::Merged => output.talk(&format!(
            "the lease of change {id} ({knob}) was over: {detail}"
        )),
        RolledBackState::Conflict => output.warn(&format!(
            "the lease of change {id} ({knob}) is over: {detail}; to override it: {}",
            recommend::command(global, &format!("rollback --force {id}"))
        )),
        RolledBackState::Failed => output.warn(&format!(
            "the lease of change {id} ({knob}) is over, and it could not be put back: {detail}"
        )),
    }
}
