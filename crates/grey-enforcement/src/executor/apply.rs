//! Applies a plan: check everything, then step by step, then observe.
//!
//! Never begins before the whole plan was checked and the journal has room.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use grey_model::{Bytes, Change, Effect, Plan, PlanStep, ResolvedTarget, Verdict};

use super::Enforcer;
use super::check::{Prepared, check_plan};
use super::errors::ApplyError;
use super::observe::Watched;
use super::rollback::{RollbackItem, RollbackOutcome};
use super::setting::StepEnd;
use crate::journal::{Journal, Loss};
use crate::lease::{boottime, keeper_request};

/// What a plan is applied for.
#[derive(Debug, Clone)]
pub struct ApplyContext {
    /// The target, whose memory is measured.
    pub target: Option<ResolvedTarget>,
    /// Why, for the journal.
    pub reason: String,
    /// Undo everything after this time.
    pub lease: Option<Duration>,
    /// How long to watch for what comes back at the end; zero for not at all.
    pub observe: Duration,
    /// Raised by whoever does not want to watch any longer.
    pub end_observation: Arc<AtomicBool>,
}

impl Default for ApplyContext {
    fn default() -> Self {
        Self {
            target: None,
            reason: String::new(),
            lease: None,
            observe: Duration::from_secs(10),
            end_observation: Arc::default(),
        }
    }
}

/// How far an apply is.
#[derive(Debug)]
pub enum Progress<'step> {
    /// A step begins.
    StepStarted {
        /// Its place, from 0.
        index: usize,
        /// How many there are.
        count: usize,
        /// The step.
        step: &'step PlanStep,
    },
    /// A step is under way.
    Step {
        /// Its place, from 0.
        index: usize,
        /// So much is done: bytes of a reclaim, processes of a page-out.
        done: u64,
        /// Of so much.
        total: u64,
    },
    /// A step has ended.
    StepDone {
        /// Its place, from 0.
        index: usize,
        /// What it did, before the observation.
        effect: &'step Effect,
    },
    /// Everything is done and refaults are counted.
    Observing {
        /// For so long already.
        elapsed: Duration,
        /// For so long in all.
        total: Duration,
    },
}

/// How an apply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every step did what was asked.
    Complete,
    /// Some steps did less, or nothing; or undoing after a failure left something.
    Partial,
    /// A guard stopped it; everything was taken back.
    Refused,
    /// A step ran into its deadline; settings were taken back.
    TimedOut,
    /// The permission for a setting was missing; everything was taken back.
    NotPermitted,
    /// A step failed; everything was taken back.
    Failed,
}

/// What applying a plan did.
#[derive(Debug)]
pub struct Applied {
    /// The plan's name in the journal.
    pub plan_id: String,
    /// One for each step that was begun.
    pub effects: Vec<Effect>,
    /// The records of settings that hold now.
    pub journal_ids: Vec<u64>,
    /// How it ended.
    pub outcome: Outcome,
    /// What was taken back after a failure.
    pub undone: Vec<RollbackItem>,
    /// What else people should know: damage in the journal.
    pub remarks: Vec<String>,
    /// What to do about the step that stopped it, where somebody has said so.
    pub hint: Option<String>,
}

/// What all steps share.
pub(super) struct Run<'plan> {
    pub(super) plan_id: String,
    pub(super) context: &'plan ApplyContext,
    pub(super) lease_until: Option<Duration>,
    pub(super) prepared: Prepared,
}

impl Enforcer {
    /// Asks what [`Self::apply`] asks before its first write, apart from what
    /// only a write can tell: room on the journal's disk, the lock, a keeper.
    /// Changes nothing.
    ///
    /// # Errors
    /// [`ApplyError`] when the plan would be refused.
    pub fn check(&self, plan: &Plan) -> Result<(), ApplyError> {
        Journal::check(&self.options.state_dir)?;
        check_plan(plan, &self.kernel, self.knobs.as_ref())
    }

    /// Applies `plan`.
    ///
    /// When a step fails, is refused by its guard or does not hold, the
    /// settings of the earlier steps are taken back, newest first.
    ///
    /// # Errors
    /// [`ApplyError`] when the plan was refused; nothing was changed then.
    pub fn apply(
        &mut self,
        plan: &Plan,
        context: &ApplyContext,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Applied, ApplyError> {
        let mut journal = self.open_journal()?;
        check_plan(plan, &self.kernel, self.knobs.as_ref())?;
        let settings = plan
            .steps
            .iter()
            .filter(|step| matches!(step.change, Change::Set { .. }))
            .count() as u64;
        let mut run = Run {
            plan_id: new_plan_id(),
            context,
            lease_until: context.lease.map(|lease| boottime().saturating_add(lease)),
            prepared: Prepared::default(),
        };
        journal.begin_plan(&run.plan_id, settings)?;
        // Before the first write, so that nothing we do can outlive the lease.
        if let (Some(until), true) = (run.lease_until, settings > 0) {
            let request = keeper_request(&self.options, &run.plan_id, until)?;
            self.keepers.start(&self.kernel, &self.options, &request)?;
        }
        let mut applied = Applied {
            plan_id: run.plan_id.clone(),
            effects: Vec::new(),
            journal_ids: Vec::new(),
            outcome: Outcome::Complete,
            undone: Vec::new(),
            remarks: journal.losses().iter().map(Loss::remark).collect(),
            hint: None,
        };
        let watched = self.run_steps(plan, &mut run, &mut journal, &mut applied, progress);
        // Others may work while we only watch.
        drop(journal);
        let effects = &mut applied.effects;
        let ended_early = self.observe(context, &watched, effects, progress);
        applied.remarks.extend(ended_early);
        if applied.outcome == Outcome::Complete {
            applied.outcome = outcome_of(&applied.effects);
        }
        Ok(applied)
    }

    fn run_steps(
        &self,
        plan: &Plan,
        run: &mut Run<'_>,
        journal: &mut Journal,
        applied: &mut Applied,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Vec<Watched> {
        let mut watched = Vec::new();
        for (index, step) in plan.steps.iter().enumerate() {
            progress(Progress::StepStarted {
                index,
                count: plan.steps.len(),
                step,
            });
            let end = self.run_step(index, step, run, journal, progress);
            if let Some(watch) = end.watch {
                watched.push(Watched {
                    effect: applied.effects.len(),
                    watch,
                });
            }
            let stop = end.stops;
            applied.effects.push(end.effect);
            if let Some(effect) = applied.effects.last() {
                progress(Progress::StepDone { index, effect });
            }
            if let Some(outcome) = stop {
                applied.hint = end.hint;
                self.take_back(run, journal, applied, outcome);
                return watched;
            }
        }
        applied.journal_ids = applied
            .effects
            .iter()
            .filter_map(|effect| effect.journal_id)
            .collect();
        watched
    }

    fn run_step(
        &self,
        index: usize,
        step: &PlanStep,
        run: &mut Run<'_>,
        journal: &mut Journal,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> StepEnd {
        if let Some(end) = self.check_guards(step) {
            return end;
        }
        let mut on_job = |done, total| progress(Progress::Step { index, done, total });
        match &step.change {
            Change::Set { knob, after, .. } => {
                let end = self.run_setting(step, run, journal);
                run.prepared.add(knob, after.as_ref());
                end
            }
            Change::Once { shot } => self.run_shot(step, shot, run, journal, &mut on_job),
        }
    }

    /// Takes back what this plan has set, and says so in the effects.
    fn take_back(
        &self,
        run: &Run<'_>,
        journal: &mut Journal,
        applied: &mut Applied,
        outcome: Outcome,
    ) {
        let ids: Vec<u64> = journal
            .ledger()
            .changes()
            .rev()
            .filter(|change| change.plan_id == run.plan_id && change.is_open())
            .map(|change| change.id)
            .collect();
        applied.outcome = outcome;
        applied.undone = self.roll_back_changes(journal, &ids, false);
        for item in &applied.undone {
            let back = matches!(
                item.outcome,
                RollbackOutcome::Restored
                    | RollbackOutcome::AlreadyRestored
                    | RollbackOutcome::Gone
            );
            let effect = applied
                .effects
                .iter_mut()
                .find(|effect| effect.journal_id == Some(item.id));
            if !back {
                applied.outcome = Outcome::Partial;
                applied.journal_ids.push(item.id);
            }
            let Some(effect) = effect else { continue };
            if !back {
                effect.detail = format!("{}; putting it back did not work", effect.detail);
            } else {
                if matches!(
                    effect.verdict,
                    Verdict::Worked | Verdict::PartlyWorked | Verdict::NoEffect
                ) {
                    effect.verdict = Verdict::Undone;
                }
                effect.detail = format!("{}; put back", effect.detail);
                effect.journal_id = None;
            }
        }
    }
}

fn outcome_of(effects: &[Effect]) -> Outcome {
    if effects
        .iter()
        .any(|effect| effect.verdict == Verdict::TimedOut)
    {
        return Outcome::TimedOut;
    }
    let all = effects.iter().all(|effect| {
        // A setting that was so already needs no change.
        matches!(effect.verdict, Verdict::Worked | Verdict::AlreadySo)
    });
    if all {
        Outcome::Complete
    } else {
        Outcome::Partial
    }
}

/// Unique on this machine: the time in nanoseconds and our pid.
fn new_plan_id() -> String {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    format!("{:x}-{:x}", since.as_nanos(), std::process::id())
}

/// The bytes of a fall; zero for a rise.
pub(super) fn fall(delta: i64) -> Bytes {
    if delta < 0 {
        Bytes(delta.unsigned_abs())
    } else {
        Bytes::ZERO
    }
}
