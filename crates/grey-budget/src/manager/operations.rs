//! What a manager does.
//!
//! Never holds a lock while it calls the program. Only the one that orders those
//! who configure is held while tasks that wait for room are woken.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use grey_model::{Bytes, Level, Thresholds};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::builder::{ManagerError, MemoryLimits, MemoryManagerBuilder};
use super::callbacks::{Callback, CallbackRegistration};
use super::configured::{Alerts, FitsBudget, Turn, Watching};
use super::monitoring::Monitoring;
use super::pressure::{Pressure, PressureFrom};
use super::providers::Provider;
use super::status::{Cleanup, LimitCheck, LimitsChanged, MemoryStatus};
use crate::budget::Budget;
use crate::config::{Config, ObserverGuard};
use crate::controller::{
    Action, ActionKind, ActionResult, Controller, EvictionRequest, EvictionResult, LevelEvent,
    Subscription,
};
use crate::degrade::Degradation;
use crate::limits::{Bounded, LimitError, LimitWarning, Machine, check_memory_limit};
use crate::load_back::LoadBackReport;
use crate::reclaimer::{ReclaimMode, Reclaimer};
use crate::shutdown::Shutdown;
use crate::source::SourceError;
use crate::spill::SpillStore;
use crate::tracker::{MemoryBreakdown, MemorySnapshot, MemoryTracker};
use crate::wake::wake_after;

pub(super) struct Inner {
    pub(super) limits: Mutex<MemoryLimits>,
    /// Held by who changes the budget, the thresholds and the limits, which are
    /// of one configuration.
    pub(super) configuring: Mutex<()>,
    pub(super) tracker: MemoryTracker,
    pub(super) controller: Controller,
    pub(super) degradation: Degradation,
    pub(super) spill: Option<SpillStore>,
    pub(super) state: Option<PathBuf>,
    pub(super) shutdown: Shutdown,
    /// Whether its steps were added to the shutdown.
    pub(super) takes_part_in_shutdown: Mutex<bool>,
    pub(super) running: Mutex<Option<Monitoring>>,
    pub(super) providers: Mutex<Vec<Provider>>,
    pub(super) watching: Mutex<Watching>,
    pub(super) alerts: Arc<Alerts>,
    /// Whether the latest configuration says that it watches.
    pub(super) enabled: Mutex<Option<bool>>,
    pub(super) following: Mutex<Option<(ObserverGuard, Arc<FitsBudget>)>>,
    pub(super) turn: Mutex<Turn>,
    pub(super) pressure_from: PressureFrom,
    pub(super) pressure: Mutex<Pressure>,
    pub(super) started_with: Option<Arc<Config>>,
    /// `None`: the one that we run on, as it is then.
    pub(super) machine: Option<Machine>,
}

/// Keeps a program inside its memory budget. Clones are handles to the same.
#[derive(Clone)]
pub struct MemoryManager {
    pub(super) inner: Arc<Inner>,
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

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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

    /// Where it spills to.
    #[must_use]
    pub fn spill_store(&self) -> Option<&SpillStore> {
        self.inner.spill.as_ref()
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
        self.set_limits(limits, thresholds)
    }

    pub(super) fn set_limits(
        &self,
        limits: MemoryLimits,
        thresholds: Thresholds,
    ) -> Result<LimitsChanged, ManagerError> {
        // Whom a larger budget serves may configure in turn.
        let previous = wake_after(|| {
            let _configuring = lock(&self.inner.configuring);
            self.budget()
                .set_limit(limits.total)
                .map_err(ManagerError::Budget)?;
            let mut settings = self.inner.controller.settings();
            settings.thresholds = thresholds;
            self.inner.controller.set_settings(settings);
            Ok(std::mem::replace(&mut *lock(&self.inner.limits), limits))
        })?;
        if previous.total != limits.total {
            self.warn_of_budget();
        }
        Ok(LimitsChanged {
            previous,
            new: limits,
        })
    }

    /// Does the budget fit this machine, its control group and the rlimits of the
    /// process, as they are now? It is kept either way: a budget beyond them never
    /// fills. A limit of the control group, and what an rlimit leaves, is what
    /// the controller judges by where it is nearer than the budget.
    ///
    /// # Errors
    /// [`LimitError::Exceeds`], when it is larger.
    pub fn check_budget(&self) -> Result<Option<LimitWarning>, LimitError> {
        let total = self.limits().total;
        let machine = match &self.inner.machine {
            Some(machine) => machine.clone(),
            None => Machine::read(),
        };
        let warning = check_memory_limit(&machine, total)?;
        match machine.rlimit() {
            Some((kind, limit)) if total > limit => Err(LimitError::Exceeds {
                limit: total,
                available: limit,
                bounded: Bounded::Rlimit(kind),
            }),
            _ => Ok(warning),
        }
    }

    pub(super) fn warn_of_budget(&self) {
        match self.check_budget() {
            Ok(None) => {}
            Ok(Some(warning)) => tracing::warn!("memory budget: {warning}"),
            Err(error) => tracing::warn!("memory budget: {error}"),
        }
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
        let watching = *lock(&self.inner.watching);
        let (files, queries) = watching.exceeded(&counts);
        Ok(MemoryStatus {
            current: reading.rss,
            peak: stats.peak,
            heap_size: reading.heap_allocated,
            loaded_files: counts.loaded_files,
            cached_queries: counts.cached_queries,
            soft_limit_exceeded: check.soft_limit_exceeded,
            hard_limit_exceeded: check.hard_limit_exceeded,
            emergency_exceeded: check.emergency_exceeded,
            loaded_files_exceeded: files,
            cached_queries_exceeded: queries,
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

    /// Loads back now what caches spilled, as far as there is room: see
    /// [`Controller::load_back_now`].
    pub fn load_back_now(&self) -> LoadBackReport {
        self.inner.controller.load_back_now()
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
                source: Box::new(source),
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
                source: Box::new(source),
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

    /// `callback` is called whenever `level` is entered from below, unless the
    /// configuration's `alert_on_soft_limit`, `alert_on_hard_limit` or
    /// `alert_on_emergency` says not to. The log has its line either way.
    pub fn register_limit_exceeded_callback(
        &self,
        level: Level,
        callback: impl Fn(&LevelEvent) + Send + Sync + 'static,
    ) -> Subscription {
        let alerts = Arc::clone(&self.inner.alerts);
        self.inner.controller.on_level(level, move |event| {
            if alerts.are_on(level) {
                callback(event);
            }
        })
    }
}
