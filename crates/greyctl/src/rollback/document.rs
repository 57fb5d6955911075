//! `grey.rollback/v1`: what was put back, and what was left alone and why.
//!
//! Plain data.

use grey_enforcement::{RollbackItem, RollbackOutcome};
use grey_model::Knob;
use schemars::JsonSchema;
use serde::Serialize;

use crate::error_document::Ending;
use crate::loss::LostRecord;

/// The name of this document's schema.
pub(crate) const SCHEMA: &str = "grey.rollback/v1";

/// How a rollback ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// There was nothing to put back.
    NothingToDo,
    /// Everything is as it was.
    Done,
    /// Something was left as it is.
    PartlyDone,
    /// Nothing could be put back.
    Failed,
}

/// One run of `rollback`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "grey.rollback/v1")]
pub(crate) struct Rollback {
    /// Always `grey.rollback/v1`.
    #[schemars(extend("const" = "grey.rollback/v1"))]
    pub(crate) schema: &'static str,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// Whether values of others were to be overridden.
    pub(crate) force: bool,
    /// Whether values of others were to stay, and ours to be given up.
    pub(crate) keep: bool,
    /// Changes that were not asked for and went back first: they still held
    /// although their lease was over. Empty when everything was asked for;
    /// `changes` has them then.
    pub(crate) expired_leases: Vec<RolledBack>,
    /// The changes, in the order in which they were put back.
    pub(crate) changes: Vec<RolledBack>,
    /// What of the journal is lost and may still hold: it was not put back.
    pub(crate) lost: Vec<LostRecord>,
    /// How the run ended.
    #[serde(flatten)]
    pub(crate) ending: Ending,
}

/// What became of one change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RolledBackState {
    /// The earlier value was written and read back.
    Restored,
    /// The earlier value was there already.
    AlreadyRestored,
    /// A later change of the same setting, which stays, will restore the value
    /// from before this one.
    Merged,
    /// Somebody else has set another value; it was left alone.
    Conflict,
    /// It was given up: what was found stays.
    Kept,
    /// The process, cgroup or unit is gone.
    Gone,
    /// It was made in another boot; the kernel has forgotten it.
    Void,
    /// It could not be put back.
    Failed,
}

/// One change, and what became of it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct RolledBack {
    /// Its number in the journal.
    pub(crate) id: u64,
    /// The setting, in words.
    pub(crate) knob: String,
    /// Exactly which setting.
    pub(crate) setting: Knob,
    /// What was there before the change; `null`: nothing.
    pub(crate) before: Option<String>,
    /// What the change put there; `null`: nothing.
    pub(crate) after: Option<String>,
    /// What was there when it was to be put back; `null`: nothing, or it could
    /// not be read.
    pub(crate) found: Option<String>,
    /// What became of it.
    pub(crate) outcome: RolledBackState,
    /// Whether force overrode `found`.
    pub(crate) overrode: bool,
    /// Whether it still held although its lease was over.
    pub(crate) lease_over: bool,
    /// What explains it; empty when there is nothing to explain.
    pub(crate) detail: String,
    /// What to do next about a failure; `null` when nothing is known.
    pub(crate) hint: Option<String>,
    /// The later change that covers it.
    #[serde(skip)]
    pub(crate) covered_by: Option<u64>,
    /// Whether it failed for lack of permission: that is the exit code.
    #[serde(skip)]
    pub(crate) not_permitted: bool,
}

impl RolledBack {
    /// A change as it is published.
    pub(crate) fn new(item: &RollbackItem) -> Self {
        let text =
            |value: &Option<grey_model::KnobValue>| value.as_ref().map(|value| value.0.clone());
        let (outcome, explanation) = match &item.outcome {
            RollbackOutcome::Restored => (RolledBackState::Restored, None),
            RollbackOutcome::AlreadyRestored => (RolledBackState::AlreadyRestored, None),
            RollbackOutcome::MergedInto(later) => (
                RolledBackState::Merged,
                Some(format!(
                    "nothing was put back: change {later} was made on top of it and covers it; \
                     that one puts this value back"
                )),
            ),
            RollbackOutcome::Conflict => (
                RolledBackState::Conflict,
                Some("somebody else has set another value since, and it was left alone".to_owned()),
            ),
            RollbackOutcome::Kept => (RolledBackState::Kept, None),
            RollbackOutcome::Gone => (RolledBackState::Gone, None),
            RollbackOutcome::VoidOtherBoot => (RolledBackState::Void, None),
            RollbackOutcome::Failed(why) => (RolledBackState::Failed, Some(why.clone())),
        };
        let parts: Vec<String> = explanation.into_iter().chain(item.note.clone()).collect();
        Self {
            id: item.id,
            knob: item.knob.to_string(),
            setting: item.knob.clone(),
            before: text(&item.before),
            after: text(&item.after),
            found: text(&item.found),
            outcome,
            overrode: item.overrode,
            lease_over: item.lease_over,
            detail: parts.join("; "),
            hint: item.hint.clone(),
            covered_by: match item.outcome {
                RollbackOutcome::MergedInto(later) => Some(later),
                _ => None,
            },
            not_permitted: item.not_permitted,
        }
    }

    /// Whether the change still holds after all.
    const fn stays(&self) -> bool {
        matches!(
            self.outcome,
            RolledBackState::Conflict | RolledBackState::Failed | RolledBackState::Merged
        )
    }
}

/// How a rollback of these changes ended, where the journal has `lost` this.
pub(crate) fn outcome_of(changes: &[RolledBack], lost: &[LostRecord]) -> Outcome {
    let stay = changes.iter().filter(|change| change.stays()).count();
    let failed = changes
        .iter()
        .filter(|change| change.outcome == RolledBackState::Failed)
        .count();
    match stay {
        _ if changes.is_empty() && lost.is_empty() => Outcome::NothingToDo,
        0 if lost.is_empty() => Outcome::Done,
        _ if failed == changes.len() => Outcome::Failed,
        _ => Outcome::PartlyDone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grey_model::KsmFile;

    fn changes(outcomes: &[RollbackOutcome]) -> Vec<RolledBack> {
        (1..)
            .zip(outcomes)
            .map(|(id, outcome)| {
                RolledBack::new(&RollbackItem {
                    id,
                    knob: Knob::Ksm { file: KsmFile::Run },
                    before: None,
                    after: None,
                    found: None,
                    outcome: outcome.clone(),
                    overrode: false,
                    note: None,
                    lease_over: false,
                    not_permitted: false,
                    hint: None,
                })
            })
            .collect()
    }

    #[test]
    fn one_conflict_makes_it_partly_done_and_only_failures_make_it_failed() {
        let failed = RollbackOutcome::Failed("no".to_owned());
        for (outcomes, expected) in [
            (&[][..], Outcome::NothingToDo),
            (
                &[RollbackOutcome::Restored, RollbackOutcome::Gone],
                Outcome::Done,
            ),
            (&[RollbackOutcome::Conflict], Outcome::PartlyDone),
            (
                &[RollbackOutcome::Restored, failed.clone()],
                Outcome::PartlyDone,
            ),
            (&[failed.clone(), failed], Outcome::Failed),
            (&[RollbackOutcome::MergedInto(7)], Outcome::PartlyDone),
            (&[RollbackOutcome::Kept], Outcome::Done),
        ] {
            let ended = outcome_of(&changes(outcomes), &[]);
            assert_eq!(ended, expected, "{outcomes:?}");
        }
    }

    #[test]
    fn where_the_journal_has_lost_something_nothing_is_done_or_nothing_to_do() {
        let lost = [LostRecord {
            line: Some(2),
            change: None,
            what: "line 2 of the journal is damaged".to_owned(),
            remains: None,
        }];
        assert_eq!(outcome_of(&[], &lost), Outcome::Failed);
        let restored = changes(&[RollbackOutcome::Restored]);
        assert_eq!(outcome_of(&restored, &lost), Outcome::PartlyDone);
    }
}
