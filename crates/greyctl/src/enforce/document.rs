//! `grey.enforcement/v1`: what was asked for, planned, refused and done.
//!
//! Plain data. A plan that was only simulated has no effects, and an effect
//! that was not measured is `null`.

use grey_model::{Change, Effect, PlanStep, Refusal, ResolvedTarget, Risk};
use schemars::JsonSchema;
use serde::Serialize;

use crate::error_document::Ending;
use crate::rollback::document::RolledBack;

/// The name of this document's schema.
pub(crate) const SCHEMA: &str = "grey.enforcement/v1";

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// Planned and checked; nothing was changed.
    Simulated,
    /// Nothing was changed, for the reasons in `refusals`.
    Refused,
    /// Everything is so already; nothing was changed.
    NothingToDo,
    /// Every step did what it should.
    Done,
    /// Some steps did, or one did less than was asked.
    PartlyDone,
    /// Everything was done, and nothing came of it.
    NoEffect,
    /// A step ran into its deadline.
    TimedOut,
    /// No step did.
    Failed,
}

/// One run of `memory-enforce`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "grey.enforcement/v1")]
pub(crate) struct Enforcement {
    /// Always `grey.enforcement/v1`.
    #[schemars(extend("const" = "grey.enforcement/v1"))]
    pub(crate) schema: &'static str,
    /// Whether nothing was to be changed.
    pub(crate) simulation: bool,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// What was acted on; `null` for the whole machine.
    pub(crate) target: Option<ResolvedTarget>,
    /// Changes of earlier runs that still held although their lease was over:
    /// before this run was planned, they were put back, or left for the reason
    /// in `detail`. A simulation only names them in `warnings`.
    pub(crate) expired_leases: Vec<RolledBack>,
    /// The steps, in order.
    pub(crate) plan: Vec<PlannedStep>,
    /// What each step really did, in the order of the plan.
    pub(crate) effects: Vec<Effect>,
    /// Settings that were put back because a later step failed.
    pub(crate) undone: Vec<RolledBack>,
    /// Why nothing, or not everything, was done.
    pub(crate) refusals: Vec<Refusal>,
    /// What people should know and what did not stop the plan.
    pub(crate) warnings: Vec<String>,
    /// The journal's records of this run, which `rollback` takes.
    pub(crate) journal_ids: Vec<u64>,
    /// The name of the plan in the journal; `null` when nothing was written there.
    pub(crate) plan_id: Option<String>,
    /// When it will be undone by itself (RFC 3339); `null` when it will not.
    pub(crate) lease_until: Option<String>,
    /// How the run ended, beside `outcome`.
    #[serde(flatten)]
    pub(crate) ending: Ending,
}

/// A step of the plan.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct PlannedStep {
    /// The action that it serves.
    pub(crate) action: String,
    /// What it changes, in words.
    pub(crate) knob: String,
    /// The value before; `null` when there was none, and for a write that
    /// keeps no value.
    pub(crate) before: Option<String>,
    /// The value after; `null` when it goes away, and for a write that keeps
    /// no value.
    pub(crate) after: Option<String>,
    /// What it should free at least; `null` when nothing can be said.
    pub(crate) predicted_bytes: Option<u64>,
    /// How bad it can get.
    pub(crate) risk: Risk,
    /// How it is undone.
    pub(crate) undo: String,
    /// Why this step, and what the prediction rests on.
    pub(crate) reason: String,
    /// Exactly what it changes.
    pub(crate) change: Change,
}

impl PlannedStep {
    /// A step as it is published.
    pub(crate) fn new(step: &PlanStep) -> Self {
        let (knob, before, after) = match &step.change {
            Change::Set {
                knob,
                before,
                after,
            } => (knob.to_string(), before.clone(), after.clone()),
            Change::Once { shot } => (shot.to_string(), None, None),
        };
        Self {
            action: step.action.clone(),
            knob,
            before: before.map(|value| value.0),
            after: after.map(|value| value.0),
            predicted_bytes: step.predicted.map(|bytes| bytes.get()),
            risk: step.risk,
            undo: step.undo.clone(),
            reason: step.reason.clone(),
            change: step.change.clone(),
        }
    }
}
