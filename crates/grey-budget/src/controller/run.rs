//! One tick: read, judge, act, tell; and the thread that ticks.
//!
//! Never runs on an async runtime, where a busy program would starve it just
//! when it is needed.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use grey_model::{Bytes, Level, Levels, MemoryLimit, Priority, Transition};

use super::action::{Action, ActionId, ActionKind, ActionResult, ActionStatus};
use super::call::{Called, Caller};
use super::history::{Eviction, EvictionResult, History};
use super::queue::{ActionQueue, QueueFull};
use super::reclaim::{Asker, Reclamation, Round, Stage, is_inside_a_reclaimer};
use super::registry::{ReclaimerId, Registration, Registry};
use super::settings::{ControllerSettings, EvictionRequest};
use super::subscribe::{LevelEvent, Subscribers, Subscription};
use crate::budget::{Admission, Budget};
use crate::clock::{Clock, SystemClock};
use crate::reclaimer::{ReclaimMode, Reclaimer};
use crate::source::{MemorySource, Reading};
use crate::thresholds::amount_to_free;

/// How often everything is read, not only the resident set: cgroup limits may
/// change while the program runs.
const FULL_READING: Duration = Duration::from_secs(1);

/// Credit entries that are kept at once.
const MOST_CREDITS: usize = 64;

/// What a controller counted so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ControllerStatistics {
    /// Ticks.
    pub ticks: u64,
    /// Readings that failed.
    pub failed_readings: u64,
    /// Actions that were done, whatever came of them.
    pub actions: u64,
    /// Of these, how many ended with an error.
    pub failed_actions: u64,
    /// Things that were evicted or spilled.
    pub evicted: u64,
    /// Bytes that were given back by parts of the program.
    pub given_back: Bytes,
    /// Bytes that were written to disk.
    pub spilled: Bytes,
    /// Requests that waited in vain and were refused.
    pub stalls: u64,
    /// Times that evicting was paused because the kernel saw nothing of it.
    pub futile_pauses: u64,
    /// How late the latest tick was, at worst.
    pub latest: Duration,
    /// Calls into the program that have not returned.
    pub calls_out: u64,
    /// Ticks that panicked.
    pub panics: u64,
}

/// What one tick saw and did.
#[derive(Debug, Clone)]
pub struct Tick {
    /// The level after it.
    pub level: Level,
    /// Whether the level changed.
    pub transition: Option<Transition<Level>>,
    /// Bytes in use, as they were judged.
    pub used: Bytes,
    /// What they were judged against.
    pub budget: Bytes,
    /// What was done.
    pub results: Vec<ActionResult>,
}

#[derive(Debug)]
struct State {
    levels: Levels<Level>,
    full: Reading,
    full_at: Option<Duration>,
    /// What was given back and may not show in the resident set yet.
    credits: Vec<(Duration, Bytes)>,
    acted_at: Option<Duration>,
    futile: u32,
    /// Until when nothing is evicted, and the resident set at that time.
    paused: Option<(Duration, Bytes)>,
    seen_shortages: u64,
    stall: Option<(u64, Duration)>,
    statistics: ControllerStatistics,
}

#[derive(Debug)]
struct Inner {
    budget: Budget,
    clock: Arc<dyn Clock>,
    settings: Mutex<ControllerSettings>,
    asker: Asker,
    queue: ActionQueue,
    subscribers: Subscribers,
    state: Mutex<State>,
    /// Held while actions are done, so that they are done one by one.
    doing: Mutex<()>,
    history: Mutex<History>,
}

/// Keeps a budget: reads what the process weighs, judges it, and has memory
/// given back. Clones are handles to the same controller.
#[derive(Debug, Clone)]
pub struct Controller {
    inner: Arc<Inner>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Controller {
    /// A controller that does nothing until it is started or ticked.
    #[must_use]
    pub fn new(
        budget: Budget,
        source: Arc<dyn MemorySource>,
        settings: ControllerSettings,
    ) -> Self {
        Self::with_clock(budget, source, settings, Arc::new(SystemClock::new()))
    }

    /// The same, on another clock.
    #[must_use]
    pub fn with_clock(
        budget: Budget,
        source: Arc<dyn MemorySource>,
        settings: ControllerSettings,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let levels = Levels::new(settings.thresholds, settings.cooldown);
        Self {
            inner: Arc::new(Inner {
                budget,
                clock,
                settings: Mutex::new(settings),
                asker: Asker {
                    registry: Registry::default(),
                    caller: Caller::default(),
                    source,
                    busy: Arc::new(Mutex::new(BTreeSet::new())),
                },
                queue: ActionQueue::default(),
                subscribers: Subscribers::default(),
                state: Mutex::new(State {
                    levels,
                    full: Reading::default(),
                    full_at: None,
                    credits: Vec::new(),
                    acted_at: None,
                    futile: 0,
                    paused: None,
                    seen_shortages: 0,
                    stall: None,
                    statistics: ControllerStatistics::default(),
                }),
                doing: Mutex::new(()),
                history: Mutex::new(History::default()),
            }),
        }
    }

    /// The budget that is kept.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.inner.budget
    }

    /// How it behaves now.
    #[must_use]
    pub fn settings(&self) -> ControllerSettings {
        lock(&self.inner.settings).clone()
    }

    /// Behaves otherwise from the next tick on.
    pub fn set_settings(&self, settings: ControllerSettings) {
        lock(&self.inner.state)
            .levels
            .set_thresholds(settings.thresholds);
        *lock(&self.inner.settings) = settings;
    }

    /// Somebody who can give memory back, asked until the registration ends.
    pub fn register(&self, reclaimer: Arc<dyn Reclaimer>) -> Registration {
        self.inner.asker.registry.register(reclaimer)
    }

    /// Ends a registration by its name; a reclaimer may do so from within.
    pub fn unregister(&self, id: ReclaimerId) -> bool {
        self.inner.asker.registry.unregister(id)
    }

    /// Calls `callback` whenever `level` is entered from below.
    pub fn on_level(
        &self,
        level: Level,
        callback: impl Fn(&LevelEvent) + Send + Sync + 'static,
    ) -> Subscription {
        self.inner.subscribers.call(Some(level), Arc::new(callback))
    }

    /// Calls `callback` at every change of the level.
    pub fn on_change(
        &self,
        callback: impl Fn(&LevelEvent) + Send + Sync + 'static,
    ) -> Subscription {
        self.inner.subscribers.call(None, Arc::new(callback))
    }

    /// Every change of the level, for who reads in time: a full channel misses
    /// the newest, and the generation shows it.
    pub fn subscribe(&self, capacity: usize) -> (Subscription, Receiver<LevelEvent>) {
        self.inner.subscribers.channel(capacity)
    }

    /// The level now.
    #[must_use]
    pub fn level(&self) -> Level {
        lock(&self.inner.state).levels.current()
    }

    /// Counts the changes of the level.
    #[must_use]
    pub fn generation(&self) -> u64 {
        lock(&self.inner.state).levels.generation()
    }

    /// What it counted so far.
    #[must_use]
    pub fn statistics(&self) -> ControllerStatistics {
        let mut statistics = lock(&self.inner.state).statistics;
        statistics.calls_out = u64::try_from(self.inner.asker.caller.out()).unwrap_or(u64::MAX);
        statistics
    }

    /// What was evicted, oldest first.
    #[must_use]
    pub fn history(&self) -> Vec<Eviction> {
        lock(&self.inner.history).all()
    }

    /// Queues an action; [`Self::execute_all_actions`] or the next tick does it.
    ///
    /// # Errors
    /// [`QueueFull`], when too many wait already.
    pub fn enqueue_action(&self, action: Action) -> Result<ActionId, QueueFull> {
        self.inner.queue.push(action)
    }

    /// How many actions wait.
    #[must_use]
    pub fn queued_actions(&self) -> usize {
        self.inner.queue.len()
    }

    /// Does what is queued, the most urgent first, and tells how each ended.
    /// From within a reclaimer it does nothing: that action is being done.
    pub fn execute_all_actions(&self) -> Vec<ActionResult> {
        if is_inside_a_reclaimer() {
            return Vec::new();
        }
        let _one_by_one = lock(&self.inner.doing);
        let mut results = Vec::new();
        // Actions may queue actions: those beyond the bound wait for the next time.
        while let Some((id, action)) = self.inner.queue.pop() {
            results.push(self.inner.execute(id, action));
            if results.len() >= super::queue::MOST_ACTIONS {
                break;
            }
        }
        results
    }

    /// Evicts now, whatever the level is.
    pub fn emergency_eviction(&self, request: &EvictionRequest) -> EvictionResult {
        if is_inside_a_reclaimer() {
            return EvictionResult {
                errors: vec!["asked for from within a reclaimer".to_owned()],
                ..EvictionResult::default()
            };
        }
        let _one_by_one = lock(&self.inner.doing);
        let round = Round {
            target: request.target,
            excluded_projects: request.excluded_projects.clone(),
            call_deadline: self.settings().call_deadline,
            purges: true,
        };
        let stages = [
            (ReclaimMode::Trim, request.priority_threshold),
            (ReclaimMode::Evict, request.priority_threshold),
        ];
        let done = self.inner.asker.ask(&round, &stages);
        self.inner.note(&done, request.priority_threshold);
        let mut projects = done.given.by_project.clone();
        projects.sort_by(|(name, bytes), (other, more)| more.cmp(bytes).then(name.cmp(other)));
        EvictionResult {
            evicted: done.given.freed,
            evicted_count: done.given.entries,
            evicted_projects: projects,
            freed: done.freed,
            errors: done.errors(),
        }
    }

    /// Reads, judges, acts and tells, once.
    pub fn tick(&self) -> Tick {
        let settings = self.settings();
        let now = self.inner.clock.now();
        let seen = self.inner.judge(now, &settings);
        if let Some(transition) = seen.transition {
            self.inner.announce(&seen, transition, &settings);
        }
        self.inner.look_after_waiters(now, &settings);
        let results = self.execute_all_actions();
        Tick { results, ..seen }
    }

    /// Ticks on a thread of its own until the handle is stopped or dropped.
    ///
    /// # Errors
    /// The system's, when no thread can be started.
    pub fn start(&self) -> Result<Running, std::io::Error> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let controller = self.clone();
        let thread = thread::Builder::new()
            .name("grey-budget".to_owned())
            .spawn(move || controller.tick_until(&stopped))?;
        Ok(Running {
            stop,
            thread: Some(thread),
        })
    }

    fn tick_until(&self, stop: &AtomicBool) {
        self.inner.budget.set_alarm(Some(thread::current()));
        let mut due = Instant::now();
        while !stop.load(Ordering::Acquire) {
            let late = due.elapsed();
            if catch_unwind(AssertUnwindSafe(|| self.tick())).is_err() {
                lock(&self.inner.state).statistics.panics += 1;
                tracing::error!("a tick of the memory controller panicked; it goes on");
            }
            let statistics = &mut lock(&self.inner.state).statistics;
            statistics.latest = statistics.latest.max(late);
            let interval = lock(&self.inner.settings).interval;
            due = Instant::now() + interval;
            // Unparked early when a request does not fit, or to stop.
            if !stop.load(Ordering::Acquire) {
                thread::park_timeout(interval);
            }
            due = due.min(Instant::now());
        }
        self.inner.budget.set_alarm(None);
    }
}

/// A controller that ticks. Stops when dropped.
#[derive(Debug)]
#[must_use = "the controller ticks as long as this lives"]
pub struct Running {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Stops it, and waits for the tick that is under way.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // From within a callback nobody may wait for himself.
            if thread.thread().id() != thread::current().id() && !is_inside_a_reclaimer() {
                let _ = thread.join();
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

impl Inner {
    /// Reads what the process weighs and finds the level; queues what is to be
    /// done at it.
    fn judge(&self, now: Duration, settings: &ControllerSettings) -> Tick {
        let rss = self.asker.source.rss();
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
        state.credits.retain(|(until, _)| now < *until);
        let credit: Bytes = state.credits.iter().map(|(_, bytes)| *bytes).sum();
        // What was given back a moment ago is not asked for again.
        let resident = rss.ok().map(|rss| rss.saturating_sub(credit));
        let mut used = reserved.max(resident.unwrap_or_default());
        let mut whole = limit;
        // A limit of the cgroup that is nearer than the budget is what counts.
        if let (Some(resident), Some(MemoryLimit::Bytes(outer))) =
            (resident, state.full.cgroup_limit)
            && grey_model::level::fraction(resident, outer)
                > grey_model::level::fraction(used, whole)
        {
            (used, whole) = (resident, outer);
        }
        let transition = state.levels.observe(now, used, whole);
        let level = state.levels.current();
        let rose = transition.is_some_and(|transition| transition.to > transition.from);
        let due = state
            .acted_at
            .is_none_or(|at| now.saturating_sub(at) >= settings.repeat);
        // A pause holds as long as the process does not grow further.
        let raw = resident.unwrap_or_default().saturating_add(credit);
        let paused = state
            .paused
            .is_some_and(|(until, at)| now < until && raw <= at.saturating_add(whole.scale(1, 64)));
        // Below its exit a level only waits for its cooldown: enough is free.
        let fraction = grey_model::level::fraction(used, whole);
        let lasts = settings.thresholds.next(level, fraction) == level;
        if level > Level::Normal && !paused && (rose || (due && lasts)) {
            state.acted_at = Some(now);
            let action = action_at(level, state.levels.generation()).target(amount_to_free(
                level,
                used,
                whole,
                &settings.thresholds,
            ));
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

    /// Closes or opens the budget, logs, and tells who wants to know.
    fn announce(&self, seen: &Tick, transition: Transition<Level>, settings: &ControllerSettings) {
        if settings.sheds {
            self.budget.set_admission(Admission::at(transition.to));
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
        for callback in self.subscribers.tell(&event) {
            let called = self.asker.caller.call(
                "callback",
                settings.call_deadline,
                move || callback(&event),
                || {},
            );
            match called {
                Called::Returned(()) => {}
                Called::Panicked(message) => {
                    tracing::error!(message, "a callback of a memory level panicked");
                }
                Called::Late => tracing::error!("a callback of a memory level does not return"),
                Called::NotMade(why) => {
                    tracing::error!(why, "a callback of a memory level was not called");
                }
            }
        }
    }

    /// Makes room for requests that did not fit, and ends a standstill.
    fn look_after_waiters(&self, now: Duration, settings: &ControllerSettings) {
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

    fn custom(&self, name: &str, work: super::action::CustomWork, result: &mut ActionResult) {
        let deadline = lock(&self.settings).call_deadline;
        let called = self
            .asker
            .caller
            .call(name, deadline, move || work(), || {});
        let (status, error) = match called {
            Called::Returned(Ok(freed)) => {
                result.given_back = freed;
                let none = freed == Bytes::ZERO;
                (
                    if none {
                        ActionStatus::NothingToFree
                    } else {
                        ActionStatus::Completed
                    },
                    None,
                )
            }
            Called::Returned(Err(error)) => (ActionStatus::Failed, Some(error)),
            Called::Panicked(message) => (
                ActionStatus::Failed,
                Some(format!("`{name}` panicked: {message}")),
            ),
            Called::Late => (
                ActionStatus::TimedOut,
                Some(format!("`{name}` did not return in time")),
            ),
            Called::NotMade(why) => (ActionStatus::Failed, Some(why.to_owned())),
        };
        result.status = status;
        result.error = error;
    }

    fn reclaim(&self, kind: &ActionKind, action: &Action, result: &mut ActionResult) {
        let settings = lock(&self.settings).clone();
        let level = action.decided.map(|(level, _)| level);
        let share = crate::thresholds::percent_to_free(level.unwrap_or(default_level(kind)));
        let round = Round {
            target: action
                .target
                .unwrap_or(self.budget.limit().scale(share, 100)),
            excluded_projects: Vec::new(),
            call_deadline: settings.call_deadline,
            purges: !action.for_request,
        };
        let stages = stages_of(kind);
        let done = self.asker.ask(&round, stages);
        let threshold = stages
            .iter()
            .map(|(_, most)| *most)
            .max()
            .unwrap_or_default();
        self.note(&done, threshold);
        if level.is_some() {
            self.credit(&done, &settings);
        }
        result.given_back = done.given.freed;
        result.freed = done.freed;
        let errors = done.errors();
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

    /// Remembers what was given back and does not show in the resident set
    /// yet, and whether evicting is of any use.
    fn credit(&self, done: &Reclamation, settings: &ControllerSettings) {
        let now = self.clock.now();
        let given = done.given.freed;
        let freed = done.freed.unwrap_or(given);
        let resident = self.asker.source.rss().unwrap_or_default();
        let mut state = lock(&self.state);
        let open = given.saturating_sub(freed);
        if open > Bytes::ZERO && state.credits.len() < MOST_CREDITS {
            state.credits.push((now + settings.settle, open));
        }
        // Less than an eighth of what was given back has reached the kernel.
        if given > Bytes::ZERO && freed < given.scale(1, 8) {
            state.futile += 1;
        } else {
            state.futile = 0;
        }
        if state.futile >= settings.futile_attempts.max(1) {
            state.futile = 0;
            state.paused = Some((now + settings.futility_pause, resident));
            state.statistics.futile_pauses += 1;
            tracing::warn!(
                %given, %freed,
                "evicting does not lower the resident set: the memory is elsewhere; paused"
            );
        }
    }

    fn note(&self, done: &Reclamation, priority_threshold: Priority) {
        let level = {
            let mut state = lock(&self.state);
            state.statistics.evicted += done.given.entries;
            state.statistics.given_back =
                state.statistics.given_back.saturating_add(done.given.freed);
            state.statistics.spilled = state.statistics.spilled.saturating_add(done.given.spilled);
            state.levels.current()
        };
        for error in done.errors() {
            tracing::error!(error, "a part of the program did not give memory back");
        }
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

/// The level whose share an action frees when nobody says how much.
const fn default_level(kind: &ActionKind) -> Level {
    match kind {
        ActionKind::Cleanup | ActionKind::PurgeAllocator | ActionKind::Custom(..) => Level::Soft,
        ActionKind::SpillToDisk | ActionKind::UnloadFiles => Level::Hard,
        ActionKind::Evict => Level::Emergency,
    }
}

/// Who is asked for what, one stage after the other until enough is free.
const fn stages_of(kind: &ActionKind) -> &'static [Stage] {
    match kind {
        ActionKind::Cleanup => &[
            (ReclaimMode::Trim, Priority::High),
            (ReclaimMode::Unload, Priority::Low),
            (ReclaimMode::Evict, Priority::Low),
        ],
        ActionKind::SpillToDisk => &[
            (ReclaimMode::Trim, Priority::High),
            (ReclaimMode::Spill, Priority::High),
            // Where nothing can be spilled the level must not do nothing.
            (ReclaimMode::Unload, Priority::Medium),
            (ReclaimMode::Evict, Priority::Medium),
        ],
        ActionKind::UnloadFiles => &[(ReclaimMode::Unload, Priority::High)],
        ActionKind::Evict => &[
            (ReclaimMode::Trim, Priority::High),
            (ReclaimMode::Evict, Priority::High),
        ],
        ActionKind::PurgeAllocator | ActionKind::Custom(..) => &[],
    }
}
