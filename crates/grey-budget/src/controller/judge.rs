//! From a reading to a level: what is to be done, who is told, and who has
//! waited in vain.
//!
//! Never frees anything: it queues actions.

use std::sync::Arc;
use std::time::Duration;

use grey_model::level::fraction;
use grey_model::{Bytes, Level, Thresholds, Transition};

use super::action::{Action, ActionKind};
use super::busy::Who;
use super::reclaim::Outcome;
use super::run::Tick;
use super::settings::ControllerSettings;
use super::state::{Inner, State, lock};
use super::subscribe::LevelEvent;
use crate::budget::Admission;
use crate::load_back::LoadBackEnd;
use crate::source::RlimitUse;
use crate::thresholds::amount_to_free;

/// How often everything is read, not only the resident set: cgroup limits may
/// change while the program runs.
const FULL_READING: Duration = Duration::from_secs(1);

/// A thread that takes much looks once in a 64th of the budget; the allocator
/// may take as much again.
const LOOK_AHEAD: u64 = 32;

impl Inner {
    /// Reads what the process weighs and finds the level; queues what is to be
    /// done at it.
    pub(super) fn judge(&self, now: Duration, settings: &ControllerSettings) -> Tick {
        let rss = self.asker.source.rss();
        let rlimits = self.asker.source.rlimits();
        let full = {
            let state = lock(&self.state);
            state
                .full_at
                .is_none_or(|at| now.saturating_sub(at) >= FULL_READING)
        }
        .then(|| self.asker.source.read());
        let reserved = self.budget.reserved();
        let limit = self.budget.limit();
        let mut state = lock(&self.state);
        state.statistics.ticks += 1;
        if let Some(full) = full {
            state.full_at = Some(now);
            match full {
                Ok(full) => state.full = full,
                Err(_) => state.statistics.failed_readings += 1,
            }
        }
        if rss.is_err() {
            state.statistics.failed_readings += 1;
        }
        let rss = rss.ok();
        state.credits.retain(|(until, _)| now < *until);
        let credit: Bytes = state.credits.iter().map(|(_, bytes)| *bytes).sum();
        let (used, whole) = rss.map_or((reserved, limit), |rss| {
            let uses = state.uses((reserved, limit), (rss, &rlimits), credit);
            nearest(&uses)
        });
        let transition = state.levels.observe(now, used, whole);
        let level = state.levels.current();
        let rose = transition.is_some_and(|transition| transition.to > transition.from);
        if rose {
            state.purged_in_vain = None;
        }
        // What helps in an emergency is done again at once; what does not, later,
        // unless the limit itself is passed.
        let urges = (state.has_helped || used > whole)
            && settings.thresholds.level::<Level>(fraction(used, whole)) == Level::Emergency;
        let due = state
            .acted_at
            .is_none_or(|at| urges || now.saturating_sub(at) >= settings.repeat);
        // A pause holds as long as the process does not grow further.
        let raw = rss.unwrap_or_default();
        state.paused = state
            .paused
            .filter(|pause| now < pause.until && (rss.is_none() || !pause.was_wrong(raw)));
        let paused = state
            .paused
            .is_some_and(|pause| raw <= pause.resident.saturating_add(whole.scale(1, 64)));
        // Below its exit a level only waits for its cooldown: enough is free.
        let lasts = settings.thresholds.next(level, fraction(used, whole)) == level;
        let eases = level == Level::Emergency && !lasts;
        if settings.sheds && (eases || state.admits_otherwise) {
            // What comes in may take the place of what is held again as soon as
            // only the cooldown keeps the level.
            state.admits_otherwise = eases;
            let at = if eases { Level::Hard } else { level };
            self.budget.set_exchange(true);
            // Who waits is told once nothing is locked any more.
            self.admit(&mut state, Admission::at(at));
        }
        if level > Level::Normal && (rose || (due && lasts)) {
            state.acted_at = Some(now);
            let mut action = action_at(level, state.levels.generation());
            if paused {
                // What the allocator keeps may have become whole pages since.
                action.kind = ActionKind::PurgeAllocator;
            }
            let to_free = amount_to_free(level, used, whole, &settings.thresholds);
            let action = action.target(to_free);
            if let Err(error) = self.queue.push(action) {
                tracing::error!(%error, "the level's action is not done");
            }
        }
        Tick {
            level,
            transition,
            used,
            budget: whole,
            results: Vec::new(),
        }
    }

    /// What is cheap to ask the source, which may be the program's: never under
    /// a lock.
    pub(super) fn said(&self) -> Option<(Bytes, Vec<RlimitUse>)> {
        let rss = self.asker.source.rss().ok()?;
        Some((rss, self.asker.source.rlimits()))
    }

    /// The level by what the source says now, if `more` came to it.
    fn level_with(
        &self,
        state: &mut State,
        (rss, rlimits): &(Bytes, Vec<RlimitUse>),
        thresholds: &Thresholds,
        more: Bytes,
    ) -> Level {
        let budget = (self.budget.reserved(), self.budget.limit());
        let uses = state.uses(budget, (*rss, rlimits), Bytes::ZERO);
        let of = |(used, whole): (Bytes, Bytes)| fraction(used.saturating_add(more), whole);
        thresholds.level(uses.into_iter().map(of).fold(0.0, f64::max))
    }

    /// Whether there is an emergency that no tick has seen yet.
    pub(super) fn is_emergency_unseen(&self) -> bool {
        let Some(said) = self.said() else {
            return false;
        };
        let thresholds = lock(&self.settings).thresholds;
        let mut state = lock(&self.state);
        state.levels.current() < Level::Emergency
            && self.level_with(&mut state, &said, &thresholds, Bytes::ZERO) == Level::Emergency
    }

    /// A look by a thread that takes much: closes the budget at once when an
    /// emergency is near, and leaves the rest to the next tick.
    pub(super) fn look(&self) {
        let Some(said) = self.said() else {
            return;
        };
        let (thresholds, sheds) = {
            let settings = lock(&self.settings);
            (settings.thresholds, settings.sheds)
        };
        let near = Bytes(self.budget.limit().get() / LOOK_AHEAD);
        let mut state = lock(&self.state);
        if !sheds || state.keepers == 0 {
            return;
        }
        let mut with = |more| self.level_with(&mut state, &said, &thresholds, more);
        let (now, soon) = (with(Bytes::ZERO), with(near));
        if now == Level::Emergency {
            self.admit(&mut state, Admission::CriticalOnly);
        } else if soon == Level::Emergency {
            // Work goes on; only caches wait for the tick.
            if self.budget.admission() == Admission::Open {
                self.admit(&mut state, Admission::NoRefill);
            }
            self.budget.set_exchange(false);
        } else {
            return;
        }
        state.admits_otherwise = true;
        drop(state);
        self.budget.serve_waiters();
    }

    /// A thread begins to tick.
    pub(super) fn begin(&self) {
        lock(&self.state).keepers += 1;
    }

    /// A thread ticks no more. After the last one nobody would open the budget.
    pub(super) fn end(&self) {
        let sheds = lock(&self.settings).sheds;
        let mut state = lock(&self.state);
        state.keepers -= 1;
        if state.keepers == 0 && sheds {
            self.open(&mut state);
        }
        let is_last = state.keepers == 0;
        drop(state);
        if is_last {
            self.loading.stop_and_wait(LoadBackEnd::Stopped);
        }
        self.budget.serve_waiters();
    }

    /// Closes the budget, or opens it. Who waits is served by the caller, once
    /// nothing is locked any more.
    fn admit(&self, state: &mut State, admission: Admission) {
        state.has_closed = admission != Admission::Open;
        self.budget.change_admission(admission);
    }

    /// Opens the budget; the next tick closes it again if it has to. Who waits
    /// is served by the caller, once nothing is locked any more.
    pub(super) fn open(&self, state: &mut State) {
        state.admits_otherwise = true;
        self.budget.set_exchange(true);
        self.admit(state, Admission::Open);
    }

    /// Closes or opens the budget, logs, and tells who wants to know.
    pub(super) fn announce(
        &self,
        seen: &Tick,
        transition: Transition<Level>,
        settings: &ControllerSettings,
    ) {
        if settings.sheds {
            self.admit(&mut lock(&self.state), Admission::at(transition.to));
            self.budget.serve_waiters();
        }
        let (used, budget) = (seen.used, seen.budget);
        match transition.to {
            Level::Normal => tracing::info!(%used, %budget, "memory is back to normal"),
            Level::Soft => tracing::warn!(%used, %budget, "soft memory limit crossed"),
            Level::Hard => tracing::warn!(%used, %budget, "hard memory limit crossed"),
            Level::Emergency => tracing::error!(%used, %budget, "memory emergency"),
        }
        let event = LevelEvent {
            from: transition.from,
            to: transition.to,
            generation: transition.generation,
            used,
            budget,
        };
        let name: Arc<str> = "callback of a level".into();
        for (id, callback) in self.subscribers.tell(&event) {
            let outcome = self.asker.call(
                (Who::Callback(id), &name),
                "callback",
                settings.call_deadline,
                move || callback(&event),
            );
            match outcome {
                // Whoever is late was told of when its time was over.
                Ok(()) | Err(Outcome::Gave(_) | Outcome::Late | Outcome::Busy) => {}
                Err(Outcome::Panicked(message)) => {
                    tracing::error!(message, "a callback of a memory level panicked");
                }
                Err(Outcome::NotCalled(why)) => {
                    tracing::error!(why, "a callback of a memory level was not called");
                }
            }
        }
    }

    /// Makes room for requests that did not fit, and ends a standstill.
    pub(super) fn look_after_waiters(&self, now: Duration, settings: &ControllerSettings) {
        // What is admitted may have changed.
        self.budget.serve_waiters();
        let (shortages, missing) = self.budget.shortage();
        let (waiting, _) = self.budget.waiters();
        let progress = self.budget.progress();
        let mut state = lock(&self.state);
        if shortages != state.seen_shortages {
            state.seen_shortages = shortages;
            let mut action = Action::new(ActionKind::Evict, "make room for a request", 8);
            action.for_request = true;
            if missing > Bytes::ZERO && self.queue.push(action.target(missing)).is_err() {
                tracing::warn!("no room is made for a request: too many actions wait");
            }
        }
        state.stall = match state.stall {
            _ if waiting == 0 => None,
            Some((seen, since)) if seen == progress => Some((seen, since)),
            _ => Some((progress, now)),
        };
        let stands_still = state
            .stall
            .is_some_and(|(_, since)| now.saturating_sub(since) >= settings.stall);
        if !stands_still {
            return;
        }
        state.stall = None;
        state.statistics.stalls += 1;
        drop(state);
        if let Some((component, bytes)) = self.budget.fail_largest_waiter() {
            tracing::warn!(
                component = &*component,
                %bytes,
                "nobody gives memory back: the largest request that waits is refused"
            );
        }
    }
}

/// The limit that is nearest, and what is used of it.
fn nearest(uses: &[(Bytes, Bytes)]) -> (Bytes, Bytes) {
    let nearer = |one: (Bytes, Bytes), other: &(Bytes, Bytes)| {
        if fraction(other.0, other.1) > fraction(one.0, one.1) {
            *other
        } else {
            one
        }
    };
    uses.iter().skip(1).fold(uses[0], nearer)
}

/// What is done at a level.
fn action_at(level: Level, generation: u64) -> Action {
    let mut action = match level {
        Level::Normal | Level::Soft => Action::new(ActionKind::Cleanup, "soft limit crossed", 5),
        Level::Hard => Action::new(ActionKind::SpillToDisk, "hard limit crossed", 7),
        Level::Emergency => Action::new(ActionKind::Evict, "memory emergency", 10),
    };
    action.decided = Some((level, generation));
    action
}
