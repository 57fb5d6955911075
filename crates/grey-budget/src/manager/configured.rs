//! A configuration decides what a manager does: at the start, and again at each
//! reload that it follows.
//!
//! Never applies a part of a configuration that the budget refuses, and never
//! pretends that a key applies which needs a restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use grey_model::{Level, SystemLevel, Thresholds};

use super::builder::{ManagerError, MemoryLimits, MemoryManagerBuilder};
use super::operations::{MemoryManager, lock};
use super::status::LimitsChanged;
use crate::budget::Budget;
use crate::config::{Config, ConfigHandle, ConfigReloaded, Fit, MonitoringConfig};
use crate::degrade::DegradationSettings;
use crate::tracker::ComponentCounts;

/// How often the machine is looked at, if nobody says otherwise.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);

/// What a configuration changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigApplied {
    /// The limits before and now.
    pub limits: LimitsChanged,
    /// The keys whose values differ from those that the manager was started
    /// with and that count after a restart only, sorted. Empty for a manager
    /// that was not made from a configuration.
    pub restart_required: Vec<String>,
}

/// What is watched for beside the budget.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watching {
    /// Where the levels of the machine begin and end.
    pub(super) system_thresholds: Thresholds,
    /// How often the machine is looked at.
    pub(super) interval: Duration,
    /// How often a line is logged; at each look if not said.
    pub(super) log_interval: Option<Duration>,
    /// From one more on something is cleaned up.
    pub(super) most_loaded_files: Option<u64>,
    /// The same.
    pub(super) most_cached_queries: Option<u64>,
}

impl Default for Watching {
    fn default() -> Self {
        Self {
            system_thresholds: Thresholds::of::<SystemLevel>(),
            interval: DEFAULT_INTERVAL,
            log_interval: None,
            most_loaded_files: None,
            most_cached_queries: None,
        }
    }
}

impl Watching {
    pub(super) fn by(config: &Config) -> Self {
        let count = |most: usize| u64::try_from(most).ok();
        Self {
            system_thresholds: config.resources.system_thresholds,
            interval: config.memory.monitoring.interval,
            log_interval: Some(config.resources.memory_log_interval),
            most_loaded_files: count(config.memory.max_loaded_files),
            most_cached_queries: count(config.memory.max_cached_queries),
        }
    }
}

impl Watching {
    /// Whether more files, and more queries, are held than may be.
    pub(super) fn exceeded(&self, counts: &ComponentCounts) -> (bool, bool) {
        let over = |count: Option<u64>, most: Option<u64>| {
            count.zip(most).is_some_and(|(count, most)| count > most)
        };
        (
            over(counts.loaded_files, self.most_loaded_files),
            over(counts.cached_queries, self.most_cached_queries),
        )
    }
}

/// Of which levels those who registered for them are told.
#[derive(Debug)]
pub(super) struct Alerts([AtomicBool; 3]);

impl Default for Alerts {
    fn default() -> Self {
        Self([const { AtomicBool::new(true) }; 3])
    }
}

impl Alerts {
    fn of(&self, level: Level) -> Option<&AtomicBool> {
        match level {
            Level::Normal => None,
            Level::Soft => Some(&self.0[0]),
            Level::Hard => Some(&self.0[1]),
            Level::Emergency => Some(&self.0[2]),
        }
    }

    /// Nobody is kept from hearing that all is well.
    pub(super) fn are_on(&self, level: Level) -> bool {
        self.of(level)
            .is_none_or(|alert| alert.load(Ordering::Acquire))
    }

    pub(super) fn set(&self, monitoring: &MonitoringConfig) {
        for level in [Level::Soft, Level::Hard, Level::Emergency] {
            if let Some(alert) = self.of(level) {
                alert.store(monitoring.alerts_on(level), Ordering::Release);
            }
        }
    }
}

/// Whether the budget may be as large as a configuration says.
#[derive(Debug)]
pub(super) struct FitsBudget(Budget);

impl Fit for FitsBudget {
    fn fits(&self, config: &Config) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.check_limit(config.memory.total_budget)?)
    }
}

/// Who applies a reload now, and whether there was another meanwhile.
#[derive(Debug, Default)]
pub(super) struct Turn {
    is_taken: bool,
    again: bool,
}

/// The turn is over when this is dropped, after a panic too.
struct Taken<'a>(&'a MemoryManager);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        lock(&self.0.inner.turn).is_taken = false;
    }
}

impl MemoryManager {
    /// A manager by a configuration, to be put together: budget, thresholds
    /// with their ends, spill store, levels of the machine, alerts, whether it
    /// watches from the start and how often, and when it ends the program.
    ///
    /// `max_loaded_files` and `max_cached_queries` bound what the program
    /// reports to [`MemoryManager::take_snapshot`]: more is told in
    /// [`MemoryStatus`](super::MemoryStatus) and cleaned up while it watches.
    /// What a project may have is the program's to keep: see
    /// [`Config::project`] and [`Config::tenant`]. The other keys of
    /// `resources` size what the program makes with [`Config::work_queue_builder`]
    /// and the like.
    pub fn configured(config: &Config) -> MemoryManagerBuilder {
        MemoryManagerBuilder::configured(config)
    }

    /// A manager of this process by a configuration.
    ///
    /// # Errors
    /// [`ManagerError`], when this process cannot be read, the spill store not
    /// opened, or no thread started.
    pub fn from_config(config: &Config) -> Result<Self, ManagerError> {
        Self::configured(config).build()
    }

    /// The same by a configuration that may be reloaded, which it then follows.
    ///
    /// # Errors
    /// [`ManagerError`]; also when the configuration has too many observers.
    pub fn from_config_handle(handle: &ConfigHandle) -> Result<Self, ManagerError> {
        let manager = Self::from_config(&handle.current())?;
        manager.follow(handle)?;
        Ok(manager)
    }

    /// Applies each reload of `handle` from now on, in place of any that it
    /// followed before, until the manager is gone. A reload to a budget below what
    /// its components were promised fails
    /// ([`ConfigError::NotApplicable`](crate::ConfigError::NotApplicable)) and
    /// changes nothing; keys that need a restart are named by the event of the
    /// reload and in the log.
    ///
    /// # Errors
    /// [`ManagerError::Follow`], when the configuration has too many observers.
    pub fn follow(&self, handle: &ConfigHandle) -> Result<(), ManagerError> {
        let manager = Arc::downgrade(&self.inner);
        let followed = handle.clone();
        let guard = handle
            .observe(move |_: &ConfigReloaded| {
                if let Some(inner) = manager.upgrade() {
                    Self { inner }.apply_current(&followed);
                }
            })
            .map_err(ManagerError::Follow)?;
        let fit = Arc::new(FitsBudget(self.budget().clone()));
        let asked: Arc<dyn Fit> = Arc::<FitsBudget>::clone(&fit);
        handle.ask(Arc::downgrade(&asked));
        let replaced = lock(&self.inner.following).replace((guard, fit));
        drop(replaced);
        // It may have been reloaded since the manager was made.
        self.apply_current(handle);
        Ok(())
    }

    /// Applies what holds now, one thread at a time; who comes meanwhile has
    /// the one that is at it do so once more.
    fn apply_current(&self, handle: &ConfigHandle) {
        loop {
            {
                let mut turn = lock(&self.inner.turn);
                if turn.is_taken {
                    turn.again = true;
                    return;
                }
                *turn = Turn {
                    is_taken: true,
                    again: false,
                };
            }
            let taken = Taken(self);
            if let Err(error) = self.apply(&handle.current()) {
                let source = std::error::Error::source(&error);
                let cause = source.map(|source| format!(": {source}"));
                let cause = cause.unwrap_or_default();
                tracing::error!("configuration not applied: {error}{cause}");
            }
            drop(taken);
            if !lock(&self.inner.turn).again {
                return;
            }
        }
    }

    /// Does from now on what `config` says, as far as a running manager can:
    /// budget, thresholds, alerts, counts, levels of the machine, intervals,
    /// whether it ends when critical, and, if that has changed, whether it
    /// watches. The spill store stays as it is. For one thread at a time.
    ///
    /// # Errors
    /// [`ManagerError::Budget`], when the budget cannot be so small; nothing
    /// has changed then. [`ManagerError::Start`], when all was applied but it
    /// cannot watch.
    pub fn apply(&self, config: &Config) -> Result<ConfigApplied, ManagerError> {
        let inner = &self.inner;
        let thresholds = config.memory.thresholds;
        let limits = MemoryLimits::at(config.memory.total_budget, &thresholds);
        let limits = self.set_limits(limits, thresholds)?;
        inner.alerts.set(&config.memory.monitoring);
        let mut degradation = inner.degradation.settings();
        degradation.exit_when_critical = config.resources.exit_when_critical;
        inner.degradation.set_settings(degradation);
        *lock(&inner.watching) = Watching::by(config);
        let enabled = config.memory.monitoring.enabled;
        let before = lock(&inner.enabled).replace(enabled);
        if before == Some(enabled) || inner.shutdown.is_requested() {
            self.wake_watch();
        } else if enabled {
            self.start_monitoring(config.memory.monitoring.interval)?;
        } else {
            self.stop_monitoring();
        }
        let started_with = inner.started_with.as_ref();
        Ok(ConfigApplied {
            limits,
            restart_required: started_with
                .map(|started| started.restart_required_for(config))
                .unwrap_or_default(),
        })
    }
}

/// How a program degrades by `config`.
pub(super) fn degradation_by(config: &Config) -> DegradationSettings {
    DegradationSettings {
        exit_when_critical: config.resources.exit_when_critical,
        ..DegradationSettings::default()
    }
}
