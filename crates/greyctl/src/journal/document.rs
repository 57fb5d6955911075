//! `grey.journal/v1`: the changes that the journal knows.
//!
//! Plain data; the journal's own file format is not published.

use grey_enforcement::{EntryState, JournalEntry};
use grey_model::Knob;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::error_document::Ending;
use crate::loss::LostRecord;

/// The name of this document's schema.
pub(crate) const SCHEMA: &str = "grey.journal/v1";

/// The journal's changes, oldest first.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "grey.journal/v1")]
pub(crate) struct JournalListing {
    /// Always `grey.journal/v1`.
    #[schemars(extend("const" = "grey.journal/v1"))]
    pub(crate) schema: &'static str,
    /// The changes.
    pub(crate) changes: Vec<JournaledChange>,
    /// What of the journal is lost and may still hold.
    pub(crate) lost: Vec<LostRecord>,
    /// How the run ended.
    #[serde(flatten)]
    pub(crate) ending: Ending,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ChangeState {
    /// It holds, and can be undone.
    Active,
    /// It was undone, or its process or cgroup is gone.
    Undone,
    /// It was made in another boot: the kernel has forgotten it.
    Void,
    /// It can be undone only by force: somebody has set another value since.
    Conflict,
    /// It was given up: what was found stays.
    GivenUp,
}

/// One change.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct JournaledChange {
    /// Its number, for `rollback`.
    pub(crate) id: u64,
    /// When (RFC 3339).
    pub(crate) time: String,
    /// In which boot.
    pub(crate) boot_id: String,
    /// What became of it.
    pub(crate) state: ChangeState,
    /// The setting, in words.
    pub(crate) knob: String,
    /// Exactly which setting.
    pub(crate) setting: Knob,
    /// What was there; `null`: nothing.
    pub(crate) before: Option<String>,
    /// What was put there; `null`: nothing.
    pub(crate) after: Option<String>,
    /// The user who did it.
    pub(crate) user: String,
    /// The program as it was called.
    pub(crate) program: String,
    /// The program's pid.
    pub(crate) pid: u32,
    /// Why.
    pub(crate) reason: String,
    /// The plan that it was a step of.
    pub(crate) plan_id: String,
    /// How much of its lease is left; 0 when it is over, `null` without one.
    pub(crate) lease_remaining_seconds: Option<u64>,
}

impl JournaledChange {
    /// A change as it is published.
    pub(crate) fn new(entry: JournalEntry) -> Self {
        Self {
            id: entry.id,
            time: time(entry.time_unix_ms).to_string(),
            boot_id: entry.boot_id.0,
            state: match entry.state {
                EntryState::Active => ChangeState::Active,
                EntryState::Undone => ChangeState::Undone,
                EntryState::Void => ChangeState::Void,
                EntryState::Conflict => ChangeState::Conflict,
                EntryState::GivenUp => ChangeState::GivenUp,
            },
            knob: entry.knob.to_string(),
            setting: entry.knob,
            before: entry.before.map(|value| value.0),
            after: entry.after.map(|value| value.0),
            user: entry.actor.user,
            program: entry.actor.program,
            pid: entry.actor.pid,
            reason: entry.reason,
            plan_id: entry.plan_id,
            lease_remaining_seconds: entry.lease_remaining,
        }
    }

    /// Whether it still holds, or waits for a decision.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, ChangeState::Active | ChangeState::Conflict)
    }
}

/// The instant; one beyond the calendar's end becomes the end.
fn time(unix_ms: u64) -> Timestamp {
    i64::try_from(unix_ms)
        .ok()
        .and_then(|milliseconds| Timestamp::from_millisecond(milliseconds).ok())
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_printed_as_rfc_3339_and_never_wraps() {
        assert_eq!(time(1_700_000_000_000).to_string(), "2023-11-14T22:13:20Z");
        assert_eq!(time(u64::MAX), Timestamp::MAX);
    }
}
