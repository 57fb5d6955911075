//! What a manager does.
//!
//! Never holds a lock while it calls the program.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use grey_model::{Bytes, Level, SystemLevel, Thresholds};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::builder::{ManagerError, MemoryLimits, MemoryManagerBuilder};
use super::callbacks::{Callback, CallbackRegistration};
use super::status::{Cleanup, LimitCheck, LimitsChanged, MemoryStatus};
use crate::budget::Budget;
use crate::controller::{
    Action, ActionKind, ActionResult, Controller, EvictionRequest, EvictionResult, LevelEvent,
    Running, Subscription,
};
use crate::degrade::{Degradation, DegradationSettings};
use crate::metrics::{PublishedMetrics, Totals, publish};
use crate::reclaimer::{ReclaimMode, Reclaimer};
use crate::saved_state::{Restored, SavedProject, SavedState};
use crate::shutdown::{Shutdown, ShutdownReport, ShutdownSettings, ShutdownStep};
use crate::source::SourceError;
use crate::spill::SpillStore;
use crate::system_level::SystemLevelWatch;
use crate::tracker::{MemoryBreakdown, MemorySnapshot, MemoryTracker};

/// Tells what a project has, when the state is saved.
type Provider = Arc<dyn Fn() -> BTreeMap<String, SavedProject> + Send + Sync>;

struct Inner {
    limits: Mutex<MemoryLimits>,
    tracker: MemoryTracker,
    controller: Controller,
    degradation: Degradation,
    spill: Option<SpillStore>,
    state: Option<PathBuf>,
    shutdown: Shutdown,
    running: Mutex<Option<Monitoring>>,
    providers: Mutex<Vec<Provider>>,
}

/// What runs while monitoring is on.
struct Monitoring {
    controller: Running,
    watch: Watch,
}

/// The thread that looks at the machine, publishes and logs; the controller
/// has one of its own.
struct Watch {
    stop: std::sync::mpsc::SyncSender<()>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.stop.try_send(());
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

/// Keeps a program inside its memory budget. Clones are handles to the same.
#[derive(Clone)]
pub struct MemoryManager {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for MemoryManager {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("MemoryManager")
            .field("limits", &self.limits())
            .field("level", &self.inner.controller.level())
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryManager {
    /// A manager with these limits, to be put together.
    pub fn builder(limits: MemoryLimits) -> MemoryManagerBuilder {
        MemoryManagerBuilder::new(limits)
    }

    /// A manager of this process with these limits and nowhere to spill to.
    ///
    /// # Errors
    /// [`ManagerError`], for limits that contradict and a process that cannot
    /// be read.
    pub fn new(limits: MemoryLimits) -> Result<Self, ManagerError> {
        Self::builder(limits).build()
    }

    pub(super) fn assemble(
        limits: MemoryLimits,
        tracker: MemoryTracker,
        controller: Controller,
        spill: Option<SpillStore>,
        state: Option<PathBuf>,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                limits: Mutex::new(limits),
                tracker,
                controller,
                degradation: Degradation::new(DegradationSettings::default(), shutdown.clone()),
                spill,
                state,
                shutdown,
                running: Mutex::new(None),
                providers: Mutex::default(),
            }),
        }
    }

    /// The budget.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        self.inner.controller.budget()
    }

    /// The controller.
    #[must_use]
    pub fn controller(&self) -> &Controller {
        &self.inner.controller
    }

    /// The tracker.
    #[must_use]
    pub fn tracker(&self) -> &MemoryTracker {
        &self.inner.tracker
    }

    /// What may still be done, by the level of the machine.
    #[must_use]
    pub fn degradation(&self) -> &Degradation {
        &self.inner.degradation
    }

    /// The limits now.
    #[must_use]
    pub fn limits(&self) -> MemoryLimits {
        *lock(&self.inner.limits)
    }

    /// Other limits, from now on.
    ///
    /// # Errors
    /// [`ManagerError`], when they contradict; nothing has changed then.
    pub fn configure(&self, limits: MemoryLimits) -> Result<LimitsChanged, ManagerError> {
        let thresholds = limits.thresholds().map_err(ManagerError::Thresholds)?;
        self.budget()
            .set_limit(limits.total)
            .map_err(ManagerError::Budget)?;
        let mut settings = self.inner.controller.settings();
        settings.thresholds = thresholds;
        self.inner.controller.set_settings(settings);
        let previous = std::mem::replace(&mut *lock(&self.inner.limits), limits);
        Ok(LimitsChanged {
            previous,
            new: limits,
        })
    }

    /// Takes a snapshot, which is kept for the growth between two.
    ///
    /// # Errors
    /// [`SourceError`], when the process cannot be read.
    pub fn take_snapshot(
        &self,
        loaded_files: u64,
        cached_queries: u64,
    ) -> Result<MemorySnapshot, SourceError> {
        let counters = self.inner.tracker.counters();
        counters.set_loaded_files(loaded_files);
        counters.set_cached_queries(cached_queries);
        self.inner.tracker.take_snapshot()
    }

    /// How the memory is now.
    ///
    /// # Errors
    /// [`SourceError`], when the process cannot be read.
    pub fn get_status(&self) -> Result<MemoryStatus, SourceError> {
        let reading = self.inner.tracker.read()?;
        let stats = self.inner.tracker.get_stats()?;
        let counts = self.inner.tracker.counters().counts();
        let check = LimitCheck::of(reading.rss, &self.limits());
        Ok(MemoryStatus {
            current: reading.rss,
            peak: stats.peak,
            heap_size: reading.heap_allocated,
            loaded_files: counts.loaded_files,
            cached_queries: counts.cached_queries,
            soft_limit_exceeded: check.soft_limit_exceeded,
            hard_limit_exceeded: check.hard_limit_exceeded,
            emergency_exceeded: check.emergency_exceeded,
            level: self.inner.controller.level(),
        })
    }

    /// Where the memory is.
    ///
    /// # Errors
    /// [`SourceError`], when the process cannot be read.
    pub fn get_breakdown(&self) -> Result<MemoryBreakdown, SourceError> {
        self.inner.tracker.get_breakdown()
    }

    /// Which limits `snapshot`, or the process now, has crossed.
    ///
    /// # Errors
    /// [`SourceError`], when the process cannot be read.
    pub fn check_limits(
        &self,
        snapshot: Option<&MemorySnapshot>,
    ) -> Result<LimitCheck, SourceError> {
        let current = match snapshot {
            Some(snapshot) => snapshot.process_memory,
            None => self.inner.tracker.get_current_usage()?,
        };
        Ok(LimitCheck::of(current, &self.limits()))
    }

    /// Judges the process now and does what its level asks for.
    pub fn enforce_limits(&self) -> Vec<ActionResult> {
        self.inner.controller.tick().results
    }

    /// Drops what is stale, and gives what is free back to the kernel.
    pub fn cleanup(&self) -> Cleanup {
        let start = Instant::now();
        let action = Action::new(ActionKind::Cleanup, "asked for", 5);
        let queued = self.inner.controller.enqueue_action(action);
        let results = self.inner.controller.execute_all_actions();
        let result = match &queued {
            Ok(id) => results.iter().find(|result| result.id == *id),
            Err(_) => None,
        };
        let error = match (&queued, result) {
            (Err(full), _) => Some(full.to_string()),
            (Ok(_), Some(result)) => result.error.clone(),
            (Ok(_), None) => Some("another thread does it".to_owned()),
        };
        Cleanup {
            success: error.is_none(),
            freed: result.and_then(|result| result.freed),
            given_back: result.map(|result| result.given_back).unwrap_or_default(),
            duration: start.elapsed(),
            error,
        }
    }

    /// Evicts now, whatever the level is.
    pub fn emergency_eviction(&self, request: &EvictionRequest) -> EvictionResult {
        self.inner.controller.emergency_eviction(request)
    }

    fn store(&self, what: &'static str) -> Result<&SpillStore, ManagerError> {
        self.inner.spill.as_ref().ok_or(ManagerError::Without {
            what,
            without: "a spill store",
        })
    }

    /// Writes `data` to disk under `key`.
    ///
    /// # Errors
    /// [`ManagerError`], without a store, and when it cannot be written.
    pub fn spill_to_disk(&self, key: &str, data: &impl Serialize) -> Result<(), ManagerError> {
        let store = self.store("spill to disk")?;
        store
            .spill_to_disk(key, data)
            .map_err(|source| ManagerError::Spill {
                what: "spill",
                key: key.to_owned(),
                source,
            })
    }

    /// Reads what was spilled under `key`; `None` when nothing was.
    ///
    /// # Errors
    /// [`ManagerError`], without a store, and when it cannot be read.
    pub fn load_from_disk<T: DeserializeOwned>(
        &self,
        key: &str,
    ) -> Result<Option<T>, ManagerError> {
        let store = self.store("load from disk")?;
        store
            .load_from_disk(key)
            .map_err(|source| ManagerError::Spill {
                what: "load",
                key: key.to_owned(),
                source,
            })
    }

    /// `work` drops what is stale when memory is short; it is told how much is
    /// wanted and tells how much it freed.
    pub fn register_cleanup_callback(
        &self,
        work: impl Fn(Bytes) -> Bytes + Send + Sync + 'static,
    ) -> CallbackRegistration {
        self.register("cleanup callback", &[ReclaimMode::Trim], work)
    }

    /// `work` spills when memory is short; it is told how much is wanted and
    /// tells how much it freed.
    pub fn register_spill_callback(
        &self,
        work: impl Fn(Bytes) -> Bytes + Send + Sync + 'static,
    ) -> CallbackRegistration {
        self.register("spill callback", &[ReclaimMode::Spill], work)
    }

    fn register(
        &self,
        name: &'static str,
        modes: &'static [ReclaimMode],
        work: impl Fn(Bytes) -> Bytes + Send + Sync + 'static,
    ) -> CallbackRegistration {
        let callback: Arc<dyn Reclaimer> = Arc::new(Callback {
            name,
            modes,
            work: Box::new(work),
        });
        self.inner.controller.register(callback)
    }

    /// `callback` is called whenever `level` is entered from below.
    pub fn register_limit_exceeded_callback(
        &self,
        level: Level,
        callback: impl Fn(&LevelEvent) + Send + Sync + 'static,
    ) -> Subscription {
        self.inner.controller.on_level(level, callback)
    }

    /// Watches from now on: the controller at its own interval, and every
    /// `interval` the machine, the metrics and a line in the log.
    ///
    /// # Errors
    /// [`ManagerError::Start`], when no thread can be started.
    pub fn start_monitoring(&self, interval: Duration) -> Result<(), ManagerError> {
        self.stop_monitoring();
        let controller = self.inner.controller.start().map_err(ManagerError::Start)?;
        let (stop, stopped) = std::sync::mpsc::sync_channel(1);
        let weak = Arc::downgrade(&self.inner);
        let thread = std::thread::Builder::new()
            .name("grey-monitor".to_owned())
            .spawn(move || {
                let mut level = SystemLevelWatch::new(
                    Thresholds::of::<SystemLevel>(),
                    grey_model::level::DEFAULT_COOLDOWN,
                );
                let origin = Instant::now();
                loop {
                    let Some(inner) = weak.upgrade() else { return };
                    inner.watch(origin.elapsed(), &mut level);
                    drop(inner);
                    match stopped.recv_timeout(interval) {
                        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                        Ok(()) | Err(_) => return,
                    }
                }
            })
            .map_err(ManagerError::Start)?;
        let watch = Watch {
            stop,
            thread: Some(thread),
        };
        let replaced = lock(&self.inner.running).replace(Monitoring { controller, watch });
        drop(replaced);
        Ok(())
    }

    /// Watches no more.
    pub fn stop_monitoring(&self) {
        let running = lock(&self.inner.running).take();
        if let Some(Monitoring { controller, watch }) = running {
            controller.stop();
            drop(watch);
        }
    }

    /// Whether it watches.
    #[must_use]
    pub fn is_monitoring(&self) -> bool {
        lock(&self.inner.running).is_some()
    }

    /// `provider` tells what each project has, when the state is saved.
    pub fn register_state_provider(
        &self,
        provider: impl Fn() -> BTreeMap<String, SavedProject> + Send + Sync + 'static,
    ) {
        lock(&self.inner.providers).push(Arc::new(provider));
    }

    /// What was saved before; whoever has caches fills them from it.
    ///
    /// # Errors
    /// [`ManagerError::Without`] a file to read.
    pub fn restore_cache_state(&self) -> Result<Restored, ManagerError> {
        let path = self.inner.state.as_ref().ok_or(ManagerError::Without {
            what: "restore the cache state",
            without: "a file for it",
        })?;
        Ok(SavedState::restore(path))
    }

    /// Stops watching, lets what is in flight end, saves the state, and closes
    /// the store.
    pub fn graceful_shutdown(&self, settings: &ShutdownSettings) -> ShutdownReport {
        let shutdown = &self.inner.shutdown;
        let manager = self.clone();
        shutdown.at(ShutdownStep::StopMonitoring, "monitoring", move |_| {
            manager.stop_monitoring();
            Ok(())
        });
        let degradation = self.inner.degradation.clone();
        shutdown.at(ShutdownStep::Drain, "work in flight", move |until| {
            let left = until.saturating_duration_since(Instant::now());
            match degradation.drain(left) {
                true => Ok(()),
                false => Err(format!(
                    "{} pieces of work have not ended",
                    degradation.in_flight()
                )),
            }
        });
        let manager = self.clone();
        shutdown.at(ShutdownStep::Persist, "cache state", move |_| {
            manager.save_state()
        });
        let store = self.inner.spill.clone();
        shutdown.at(ShutdownStep::Close, "spill store", move |_| match store {
            Some(store) => store.flush().map_err(|error| error.to_string()),
            None => Ok(()),
        });
        shutdown.run(settings)
    }

    fn save_state(&self) -> Result<(), String> {
        let Some(path) = &self.inner.state else {
            return Ok(());
        };
        let providers = lock(&self.inner.providers).clone();
        let mut projects = BTreeMap::new();
        for provider in providers {
            projects.extend(provider());
        }
        SavedState::new(SystemTime::now(), projects)
            .save(path)
            .map_err(|error| error.to_string())
    }
}

impl Inner {
    /// One look at the machine, one line in the log, one round of metrics.
    fn watch(&self, now: Duration, level: &mut SystemLevelWatch) {
        let (reading, snapshot) = match (self.tracker.read(), self.tracker.take_snapshot()) {
            (Ok(reading), Ok(snapshot)) => (reading, snapshot),
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(%error, "the memory of this process is not seen");
                return;
            }
        };
        if let Some(transition) = level.observe(now, &reading) {
            self.degradation.set_level(transition.to);
        }
        tracing::info!(
            current = %reading.rss, peak = %snapshot.peak, level = %self.controller.level(),
            "memory"
        );
        let statistics = self.controller.statistics();
        let breakdown = self.tracker.breakdown_of(&reading);
        publish(&PublishedMetrics {
            breakdown: &breakdown,
            peak: snapshot.peak,
            limit: Some(self.controller.budget().limit()),
            threads: reading.threads,
            level: self.controller.level(),
            system_level: level.current(),
            counts: self.tracker.counters().counts(),
            allocation_rate_per_second: self.tracker.allocation_rate_per_second(),
            totals: Totals {
                allocated: self.tracker.counters().allocated(),
                evictions: statistics.evicted,
                evicted: statistics.given_back,
                spills: statistics.spills,
                spilled: statistics.spilled,
                rejections: self.controller.budget().shortage().0 + self.degradation.rejected(),
                purged: statistics.purged,
            },
        });
    }
}
