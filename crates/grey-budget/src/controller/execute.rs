//! Doing one action: whom to ask for what, what came of it, and whether it was
//! of any use.
//!
//! Never does two at once, and never a stale one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use grey_model::{Bytes, Level, Priority};

use super::action::{Action, ActionId, ActionKind, ActionResult, ActionStatus, CustomWork};
use super::busy::Who;
use super::call::Patience;
use super::history::Eviction;
use super::reclaim::{Outcome, PurgeAfter, Reclamation, Round, Stage};
use super::settings::ControllerSettings;
use super::state::{Futile, Inner, Pause, PurgedInVain, Taken, lock};
use crate::reclaimer::{ReclaimMode, Reclaimed};

/// How long one reclaimer may keep the others waiting in an emergency. It may go
/// on by itself after.
const EMERGENCY_DEADLINE: Duration = Duration::from_secs(1);

/// The most actions of the program's own that have not returned: reclaimers find
/// a place beside them.
pub(super) const MOST_WORKS: usize = 64;

/// The longest that a level waits for its next purge, however many were in vain.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);

/// Credit entries that are kept at once.
const MOST_CREDITS: usize = 64;

impl Inner {
    /// Does what is queued now, the most urgent first; what is queued meanwhile
    /// waits. After `time` it begins no other action. Nothing, when another thread
    /// does not end its own.
    pub(super) fn execute_queued(&self, time: Option<Duration>) -> Vec<ActionResult> {
        let start = Instant::now();
        let mut results = Vec::new();
        let Some(_one_by_one) = self.take_turn() else {
            return results;
        };
        for _ in 0..self.queue.len() {
            let Some((id, action)) = self.queue.pop() else {
                break;
            };
            results.push(self.execute(id, action));
            if time.is_some_and(|time| start.elapsed() >= time) {
                break;
            }
        }
        results
    }

    /// One action at a time. Waits half as long as a call may take: whom a call
    /// waits for must not use all of its time by waiting for that action.
    pub(super) fn take_turn(&self) -> Option<Taken<'_>> {
        let patience = lock(&self.settings).call_deadline / 2;
        self.doing.take(patience)
    }

    fn execute(&self, id: ActionId, action: Action) -> ActionResult {
        let start = Instant::now();
        let generation = lock(&self.state).levels.generation();
        let mut result = ActionResult {
            id,
            action_type: action.kind.clone(),
            description: action.description.clone(),
            status: ActionStatus::Stale,
            error: None,
            given_back: Bytes::ZERO,
            freed: None,
            took: Duration::ZERO,
        };
        let is_stale = action
            .decided
            .is_some_and(|(_, decided)| decided != generation);
        if !is_stale {
            match &action.kind {
                ActionKind::Custom(name, work) => self.custom(name, Arc::clone(work), &mut result),
                kind => self.reclaim(kind, &action, &mut result),
            }
        }
        result.took = start.elapsed();
        let mut state = lock(&self.state);
        state.statistics.actions += 1;
        if result.error.is_some() {
            state.statistics.failed_actions += 1;
        }
        result
    }

    fn custom(&self, name: &Arc<str>, work: CustomWork, result: &mut ActionResult) {
        let deadline = lock(&self.settings).call_deadline;
        let who = Who::Work(Arc::as_ptr(&work).addr());
        let called = if self.asker.busy.works() < MOST_WORKS {
            let gives_up = || self.is_emergency_unseen();
            let patience: Patience<'_> = (deadline, Some(&gives_up));
            // Kept until the call is known to be over: its address is its name.
            let kept = Arc::clone(&work);
            self.asker
                .call_unless((who, name), name, patience, kept, move || work())
        } else {
            Err(Outcome::NotCalled("too many actions have not returned"))
        };
        let (status, error) = match called {
            Ok(Ok(Bytes::ZERO)) => (ActionStatus::NothingToFree, None),
            Ok(Ok(freed)) => {
                result.given_back = freed;
                (ActionStatus::Completed, None)
            }
            Ok(Err(error)) => (ActionStatus::Failed, Some(error)),
            Err(Outcome::Late) => (ActionStatus::TimedOut, Outcome::Late.error(name)),
            Err(outcome) => (ActionStatus::Failed, outcome.error(name)),
        };
        result.status = status;
        result.error = error;
    }

    fn reclaim(&self, kind: &ActionKind, action: &Action, result: &mut ActionResult) {
        let settings = lock(&self.settings).clone();
        let level = action.decided.map(|(level, _)| level);
        let share = crate::thresholds::percent_to_free(level.unwrap_or(default_level(kind)));
        let reserved = self.budget.reserved();
        let progress = self.budget.progress();
        let round = Round {
            target: action
                .target
                .unwrap_or(self.budget.limit().scale(share, 100)),
            excluded_projects: Vec::new(),
            budget: self.budget.limit().max(reserved),
            call_deadline: if level == Some(Level::Emergency) {
                settings.call_deadline.min(EMERGENCY_DEADLINE)
            } else {
                settings.call_deadline
            },
            purge: self.purge_after(action),
        };
        let stages = stages_of(kind);
        let done = self.asker.ask(&round, stages);
        let returned = reserved.saturating_sub(self.budget.reserved());
        let threshold = stages
            .iter()
            .map(|stage| stage.to)
            .max()
            .unwrap_or_default();
        self.count(&done);
        // What gave nothing is no eviction: a level that lasts would fill the
        // history with it.
        if done.given != Reclaimed::default() {
            self.note(&done, threshold);
        }
        if let Some(freed) = done.freed {
            self.asker.believe(&done, freed.max(returned));
        }
        if level.is_some() {
            let through = Bytes(self.budget.progress().wrapping_sub(progress));
            self.credit(&done, (returned, through), &settings);
            self.back_off(&done, &settings);
        }
        result.given_back = done.given.freed;
        result.freed = done.freed;
        // Who hung before is no failure of this action: the others were asked.
        let errors = done.failures();
        let purged = matches!(kind, ActionKind::PurgeAllocator);
        result.status = if done.is_late() {
            ActionStatus::TimedOut
        } else if !errors.is_empty() {
            ActionStatus::Failed
        } else if done.given.freed > Bytes::ZERO || (purged && done.freed > Some(Bytes::ZERO)) {
            ActionStatus::Completed
        } else {
            ActionStatus::NothingToFree
        };
        result.error = (!errors.is_empty()).then(|| errors.join("; "));
    }

    fn purge_after(&self, action: &Action) -> PurgeAfter {
        if action.for_request {
            return PurgeAfter::Never;
        }
        let now = self.clock.now();
        let in_vain = lock(&self.state).purged_in_vain;
        match in_vain {
            Some(in_vain) if action.decided.is_some() && now < in_vain.until => {
                PurgeAfter::WhatWasGiven
            }
            _ => PurgeAfter::Always,
        }
    }

    /// A purge after which next to nothing was free, of a round in which nobody
    /// gave anything, is not repeated for a while, which doubles each time.
    fn back_off(&self, done: &Reclamation, settings: &ControllerSettings) {
        let now = self.clock.now();
        let mut state = lock(&self.state);
        let gained = done.given.freed.max(done.freed.unwrap_or_default());
        if done.given != Reclaimed::default() {
            state.purged_in_vain = None;
        } else if done.is_settled {
            let is_in_vain = gained < done.target.scale(1, 8);
            let last = state.purged_in_vain.filter(|_| is_in_vain);
            let wait = last.map_or(settings.repeat, |last| last.wait.saturating_mul(2));
            let wait = wait.min(LONGEST_BACK_OFF.max(settings.repeat));
            state.purged_in_vain = is_in_vain.then(|| PurgedInVain {
                wait,
                until: now.saturating_add(wait),
            });
        }
    }

    /// Remembers what was given back and does not show in the resident set, and
    /// whether evicting is of any use. Of what was given back, `returned` is
    /// known to be true: so much less is reserved. What came back `through` the
    /// budget and is reserved again already is in use.
    fn credit(
        &self,
        done: &Reclamation,
        (returned, through): (Bytes, Bytes),
        settings: &ControllerSettings,
    ) {
        let now = self.clock.now();
        let given = done.given.freed;
        let freed = done.freed.unwrap_or(given);
        let resident = self.asker.source.rss().unwrap_or_default();
        let mut state = lock(&self.state);
        let reserved = self.budget.reserved();
        let outside = given.saturating_sub(through);
        let unseen = given.min(returned).saturating_sub(freed);
        if unseen > Bytes::ZERO {
            state.unseen.add(unseen, reserved, resident);
        }
        let open = given
            .saturating_sub(freed)
            .saturating_sub(unseen)
            .min(outside);
        if open > Bytes::ZERO && state.credits.len() < MOST_CREDITS {
            state
                .credits
                .push((now.saturating_add(settings.settle), open));
        }
        // Less than an eighth of what was given back has reached the kernel. A
        // round in which nothing was given says nothing about that, and neither
        // does one whose share others took at once.
        let gone = given.min(returned.max(outside));
        state.has_helped = given > Bytes::ZERO && freed > Bytes::ZERO && freed >= given.scale(1, 8);
        if state.has_helped {
            state.futile = Futile::default();
        } else if gone > given.scale(1, 2) {
            state.futile.times += 1;
            state.futile.given = state.futile.given.saturating_add(gone);
        }
        if state.futile.times >= settings.futile_attempts.max(1) {
            state.paused = Some(Pause {
                until: now.saturating_add(settings.futility_pause),
                resident,
                given: std::mem::take(&mut state.futile).given,
            });
            state.statistics.futile_pauses += 1;
            tracing::warn!(
                %given, %freed,
                "evicting does not lower the resident set: the memory is elsewhere; paused"
            );
        }
    }

    /// Adds what a round did to the statistics, and logs what went wrong.
    pub(super) fn count(&self, done: &Reclamation) {
        {
            let statistics = &mut lock(&self.state).statistics;
            statistics.evicted = statistics.evicted.saturating_add(done.given.entries);
            statistics.given_back = statistics.given_back.saturating_add(done.given.freed);
            statistics.spills += u64::from(done.given.spilled > Bytes::ZERO);
            statistics.spilled = statistics.spilled.saturating_add(done.given.spilled);
            statistics.purged = (statistics.purged).saturating_add(done.freed.unwrap_or_default());
        }
        for error in done.news() {
            tracing::error!(error, "a part of the program did not give memory back");
        }
    }

    /// Writes a round into the history of evictions.
    pub(super) fn note(&self, done: &Reclamation, priority_threshold: Priority) {
        let level = lock(&self.state).levels.current();
        lock(&self.history).push(Eviction {
            timestamp: self.clock.wall(),
            level,
            target: done.target,
            evicted_count: done.given.entries,
            total_candidates: done.candidates,
            given_back: done.given.freed,
            freed: done.freed,
            projects: done.given.by_project.clone(),
            priority_threshold,
        });
    }
}

/// The level whose share an action frees when nobody says how much.
const fn default_level(kind: &ActionKind) -> Level {
    match kind {
        ActionKind::Cleanup | ActionKind::PurgeAllocator | ActionKind::Custom(..) => Level::Soft,
        ActionKind::SpillToDisk | ActionKind::UnloadFiles => Level::Hard,
        ActionKind::Evict => Level::Emergency,
    }
}

/// What is low goes before anything that is medium; high stays.
const CLEANUP: &[Stage] = &[
    Stage::up_to(ReclaimMode::Trim, Priority::High),
    Stage::at(ReclaimMode::Unload, Priority::Low),
    Stage::at(ReclaimMode::Spill, Priority::Low).instead_of(ReclaimMode::Evict),
    Stage::at(ReclaimMode::Evict, Priority::Low),
    Stage::at(ReclaimMode::Unload, Priority::Medium),
    Stage::at(ReclaimMode::Spill, Priority::Medium).instead_of(ReclaimMode::Evict),
    Stage::at(ReclaimMode::Evict, Priority::Medium),
];

/// Where nothing can be spilled the level must not do nothing.
const SPILL: &[Stage] = &[
    Stage::up_to(ReclaimMode::Trim, Priority::High),
    Stage::up_to(ReclaimMode::Spill, Priority::High),
    Stage::up_to(ReclaimMode::Unload, Priority::Medium),
    Stage::up_to(ReclaimMode::Evict, Priority::Medium),
];

const UNLOAD: &[Stage] = &[Stage::up_to(ReclaimMode::Unload, Priority::High)];

/// Nothing is spilled: memory must not wait for a disk.
const EVICT: &[Stage] = &[
    Stage::up_to(ReclaimMode::Trim, Priority::High),
    Stage::up_to(ReclaimMode::Evict, Priority::High),
];

/// Who is asked for what, one stage after the other until enough is free.
const fn stages_of(kind: &ActionKind) -> &'static [Stage] {
    match kind {
        ActionKind::Cleanup => CLEANUP,
        ActionKind::SpillToDisk => SPILL,
        ActionKind::UnloadFiles => UNLOAD,
        ActionKind::Evict => EVICT,
        ActionKind::PurgeAllocator | ActionKind::Custom(..) => &[],
    }
}
