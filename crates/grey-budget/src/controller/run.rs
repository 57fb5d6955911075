//! One tick: read, judge, act, tell; and the thread that ticks.
//!
//! Never runs on an async runtime, where a busy program would starve it just
//! when it is needed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use grey_model::{Bytes, Level, Levels, Transition};

use super::action::{Action, ActionId, ActionResult};
use super::busy::{Busy, LateCall};
use super::call::{Caller, is_inside_a_call};
use super::history::{Eviction, EvictionResult, History};
use super::load_back::Loading;
use super::queue::{ActionQueue, QueueFull};
use super::reclaim::{Asker, PurgeAfter, Round, Stage, is_inside_an_action};
use super::registry::{ReclaimerId, Registration, Registry};
use super::settings::{ControllerSettings, EvictionRequest};
use super::state::{Futile, Inner, State, Turn, Unseen, lock};
use super::subscribe::{LevelEvent, Subscribers, Subscription};
use crate::background::Background;
use crate::budget::{Alarm, Budget};
use crate::clock::{Clock, SystemClock};
use crate::reclaimer::{ReclaimMode, Reclaimer};
use crate::source::{MemorySource, Reading};

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
    /// Rounds in which something was written to disk.
    pub spills: u64,
    /// Bytes that were written to disk.
    pub spilled: Bytes,
    /// Rounds in which something was loaded back.
    pub load_backs: u64,
    /// Values that were loaded back before anybody asked for them.
    pub loaded_back: u64,
    /// What these weigh.
    pub loaded_back_bytes: Bytes,
    /// Values that could not be read or decoded when they were to come back.
    pub load_back_failures: u64,
    /// Bytes that the kernel got back, measured after the allocator was purged.
    pub purged: Bytes,
    /// Requests that waited in vain and were refused.
    pub stalls: u64,
    /// Times that evicting was paused because the kernel saw nothing of it.
    pub futile_pauses: u64,
    /// How late the latest tick was, at worst.
    pub latest: Duration,
    /// Calls into the program that have not returned.
    pub calls_out: u64,
    /// Calls that did not return in time so far. Who makes them now:
    /// [`Controller::late_calls`].
    pub late_calls: u64,
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

/// Keeps a budget: reads what the process weighs, judges it, and has memory
/// given back. Clones are handles to the same controller. The last of them opens
/// the budget if it was closed.
#[derive(Debug, Clone)]
pub struct Controller {
    pub(super) inner: Arc<Inner>,
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
                    busy: Busy::default(),
                    doubted: Arc::default(),
                },
                queue: ActionQueue::default(),
                subscribers: Subscribers::default(),
                state: Mutex::new(State {
                    levels,
                    full: Reading::default(),
                    full_at: None,
                    credits: Vec::new(),
                    unseen: Unseen::default(),
                    mapped: Default::default(),
                    keepers: 0,
                    admits_otherwise: false,
                    has_closed: false,
                    acted_at: None,
                    has_helped: false,
                    purged_in_vain: None,
                    futile: Futile::default(),
                    paused: None,
                    seen_shortages: 0,
                    stall: None,
                    statistics: ControllerStatistics::default(),
                }),
                doing: Turn::default(),
                history: Mutex::new(History::default()),
                loading: Loading::default(),
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
        {
            let mut state = lock(&self.inner.state);
            state.levels.set_thresholds(settings.thresholds);
            if settings.sheds {
                state.admits_otherwise = true;
            } else if lock(&self.inner.settings).sheds {
                self.inner.open(&mut state);
            }
        }
        *lock(&self.inner.settings) = settings;
        self.inner.budget.serve_waiters();
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
    /// the newest, and the generation shows it. It holds one event at least and
    /// 4096 at most.
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
        statistics.late_calls = self.inner.asker.busy.late();
        statistics
    }

    /// Reclaimers, actions of the program's own and callbacks that did not return
    /// in time and still have not, the longest first. They are not called before
    /// they return, and others are. At most 64 such actions are out at once; at most 256 calls are out at once, of which 32 are kept for who came
    /// back from every request so far; beyond that nobody is called.
    #[must_use]
    pub fn late_calls(&self) -> Vec<LateCall> {
        self.inner.asker.busy.late_calls()
    }

    /// What was evicted, oldest first: the last 1000 rounds that gave something,
    /// and calls of [`Self::emergency_eviction`] whatever they gave.
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
    /// From within a reclaimer or an action it does nothing, and neither while
    /// another thread's is being done for half as long as a call may take: what is
    /// queued stays so.
    pub fn execute_all_actions(&self) -> Vec<ActionResult> {
        if is_inside_an_action() {
            return Vec::new();
        }
        self.inner.execute_queued(None)
    }

    /// Evicts now, whatever the level is. While another action is being done it
    /// waits for that half as long as a call may take, and then says so in
    /// `errors`; from within a reclaimer or an action it says so at once.
    pub fn emergency_eviction(&self, request: &EvictionRequest) -> EvictionResult {
        if is_inside_an_action() {
            return not_evicted("asked for from within a reclaimer or an action");
        }
        let Some(_one_by_one) = self.inner.take_turn() else {
            return not_evicted("another action is being done and has not ended");
        };
        let round = Round {
            target: request.target,
            excluded_projects: request.excluded_projects.clone(),
            budget: self.budget().limit().max(self.budget().reserved()),
            call_deadline: self.settings().call_deadline,
            purge: PurgeAfter::Always,
        };
        let stages = [
            Stage::up_to(ReclaimMode::Trim, request.priority_threshold),
            Stage::up_to(ReclaimMode::Evict, request.priority_threshold),
        ];
        let done = self.inner.asker.ask(&round, &stages);
        self.inner.count(&done);
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
        self.mind_load_back(now, seen.level, &settings);
        if let Some(transition) = seen.transition {
            self.inner.announce(&seen, transition, &settings);
        }
        self.inner.look_after_waiters(now, &settings);
        // What is queued must not keep the next reading waiting.
        let results = if is_inside_an_action() {
            Vec::new()
        } else {
            self.inner.execute_queued(Some(settings.interval))
        };
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
            thread: Some(Background::new(thread)),
        })
    }

    fn tick_until(&self, stop: &AtomicBool) {
        let keeper = Arc::downgrade(&self.inner);
        self.inner.budget.set_alarm(Some(Alarm {
            thread: thread::current(),
            look: Arc::new(move || {
                if let Some(inner) = keeper.upgrade() {
                    // A source that panics must not end who only reserves.
                    let _ = catch_unwind(AssertUnwindSafe(|| inner.look()));
                }
            }),
        }));
        self.inner.begin();
        let mut due = Instant::now();
        while !stop.load(Ordering::Acquire) {
            let late = due.elapsed();
            if catch_unwind(AssertUnwindSafe(|| self.tick())).is_err() {
                lock(&self.inner.state).statistics.panics += 1;
                tracing::error!("a tick of the memory controller panicked; it goes on");
            }
            {
                // Not held while it sleeps: others ask for the level meanwhile.
                let mut state = lock(&self.inner.state);
                state.statistics.latest = state.statistics.latest.max(late);
            }
            let interval = lock(&self.inner.settings).interval;
            due = later(interval);
            // Unparked early when a request does not fit, or to stop.
            if !stop.load(Ordering::Acquire) {
                thread::park_timeout(interval);
            }
            due = due.min(Instant::now());
        }
        self.inner.budget.clear_alarm(thread::current().id());
        self.inner.end();
    }
}

fn not_evicted(why: &str) -> EvictionResult {
    EvictionResult {
        errors: vec![why.to_owned()],
        ..EvictionResult::default()
    }
}

/// That much from now, or as late as can be said.
pub(super) fn later(wait: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(1 << 30);
    let now = Instant::now();
    now.checked_add(wait).unwrap_or(now + FAR)
}

/// A controller that ticks. Stops when dropped.
#[derive(Debug)]
#[must_use = "the controller ticks as long as this lives"]
pub struct Running {
    stop: Arc<AtomicBool>,
    thread: Option<Background>,
}

impl Running {
    /// Stops it, and waits for the tick that is under way.
    pub fn stop(mut self) {
        self.end();
    }

    /// Ticks now, and not only when it is time.
    pub(crate) fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // From within a callback nobody may wait for himself.
            if !is_inside_a_call() {
                thread.join();
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}
