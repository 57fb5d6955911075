//! How a manager is put together, and what it is limited to.
//!
//! Never starts anything, but for watching when a configuration says so.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use grey_model::level::fraction;
use grey_model::{Bytes, Level, Step, ThresholdError, Thresholds};

use super::configured::{Alerts, Watching, degradation_by};
use super::operations::{Inner, MemoryManager};
use super::pressure::PressureFrom;
use crate::budget::{Budget, BudgetError};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, TooManyObservers};
use crate::controller::{Controller, ControllerSettings};
use crate::degrade::{Degradation, DegradationSettings};
use crate::limits::Machine;
use crate::process_source::ProcessSource;
use crate::shutdown::Shutdown;
use crate::source::{MemorySource, SourceError};
use crate::spill::SpillStore;
use crate::tracker::MemoryTracker;

/// What a program is limited to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimits {
    /// All that it may hold.
    pub total: Bytes,
    /// From here on it cleans up.
    pub soft: Bytes,
    /// From here on it spills.
    pub hard: Bytes,
    /// From here on it evicts at once.
    pub emergency: Bytes,
}

impl MemoryLimits {
    /// 80, 93 and 98 % of `total`.
    #[must_use]
    pub fn of(total: Bytes) -> Self {
        let [soft, hard, emergency] = Level::ENTER.map(|enter| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a fraction of the documents is between 0 and 1"
            )]
            let percent = (enter * 100.0).round() as u64;
            total.scale(percent, 100)
        });
        Self {
            total,
            soft,
            hard,
            emergency,
        }
    }

    /// The lines of `thresholds` in `total`, to a hundredth of a percent.
    #[must_use]
    pub fn at(total: Bytes, thresholds: &Thresholds) -> Self {
        let [soft, hard, emergency] = thresholds.steps().map(|threshold| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a checked threshold lies between 0 and 1"
            )]
            let hundredths = (threshold.enter * 10_000.0).round() as u64;
            total.scale(hundredths, 10_000)
        });
        Self {
            total,
            soft,
            hard,
            emergency,
        }
    }

    /// The lines as fractions of the whole.
    pub(super) fn thresholds(&self) -> Result<Thresholds, ThresholdError> {
        let line = |line| fraction(line, self.total);
        Thresholds::entering::<Level>([line(self.soft), line(self.hard), line(self.emergency)])
    }
}

/// A manager could not be made, or not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManagerError {
    /// The lines contradict each other.
    #[error("failed to set memory limits")]
    Thresholds(#[source] ThresholdError),
    /// The budget cannot be so.
    #[error("failed to set the memory budget")]
    Budget(#[source] BudgetError),
    /// This process cannot be read.
    #[error("failed to watch this process")]
    Source(#[source] SourceError),
    /// No thread could be started.
    #[error("failed to start monitoring")]
    Start(#[source] std::io::Error),
    /// The spill store of the configuration could not be opened.
    #[error("failed to open the spill store of the configuration")]
    OpenSpill(#[source] Box<crate::spill::SpillError>),
    /// The configuration has too many observers.
    #[error("failed to follow the configuration")]
    Follow(#[source] TooManyObservers),
    /// There is nowhere to spill to, or to save to.
    #[error("failed to {what}: the manager was made without {without}")]
    Without {
        /// What was to be done.
        what: &'static str,
        /// What is missing.
        without: &'static str,
    },
    /// Spilling or loading failed.
    #[error("failed to {what} `{key}`")]
    Spill {
        /// `spill` or `load`.
        what: &'static str,
        /// Which value.
        key: String,
        /// Why.
        #[source]
        source: Box<crate::spill::SpillError>,
    },
}

/// A manager before it is made.
#[must_use = "a manager exists once it is built"]
#[derive(Debug)]
pub struct MemoryManagerBuilder {
    limits: MemoryLimits,
    budget: Option<Budget>,
    source: Option<Arc<dyn MemorySource>>,
    clock: Arc<dyn Clock>,
    settings: ControllerSettings,
    degradation: DegradationSettings,
    watching: Watching,
    spill: Option<SpillStore>,
    loads_back: bool,
    state: Option<PathBuf>,
    shutdown: Shutdown,
    config: Option<Arc<Config>>,
    machine: Option<Machine>,
    pressure: PressureFrom,
}

impl MemoryManagerBuilder {
    pub(super) fn new(limits: MemoryLimits) -> Self {
        Self {
            limits,
            budget: None,
            source: None,
            clock: Arc::new(SystemClock::new()),
            settings: ControllerSettings::default(),
            degradation: DegradationSettings::default(),
            watching: Watching::default(),
            spill: None,
            loads_back: true,
            state: None,
            shutdown: Shutdown::new(),
            config: None,
            machine: None,
            pressure: PressureFrom::Environment,
        }
    }

    pub(super) fn configured(config: &Config) -> Self {
        let limits = MemoryLimits::at(config.memory.total_budget, &config.memory.thresholds);
        Self {
            degradation: degradation_by(config),
            watching: Watching::by(config),
            config: Some(Arc::new(config.clone())),
            ..Self::new(limits)
        }
    }

    /// A budget that exists already; its limit becomes the manager's.
    pub fn budget(mut self, budget: &Budget) -> Self {
        self.budget = Some(budget.clone());
        self
    }

    /// What to watch instead of this process.
    pub fn source(mut self, source: Arc<dyn MemorySource>) -> Self {
        self.source = Some(source);
        self
    }

    /// Tells the time.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// How the controller behaves; its thresholds are those of the limits, or
    /// of the configuration.
    pub fn settings(mut self, settings: ControllerSettings) -> Self {
        self.settings = settings;
        self
    }

    /// How the program degrades when the machine is full.
    pub fn degradation(mut self, settings: DegradationSettings) -> Self {
        self.degradation = settings;
        self
    }

    /// Where the levels of the machine begin and end. 40, 60 and 80 % if not
    /// said.
    pub fn system_thresholds(mut self, thresholds: Thresholds) -> Self {
        self.watching.system_thresholds = thresholds;
        self
    }

    /// Where values are spilled to, in place of what a configuration says.
    pub fn spill(mut self, store: SpillStore) -> Self {
        self.spill = Some(store);
        self
    }

    /// What caches spilled comes back only when somebody asks for it, or by
    /// [`MemoryManager::load_back_now`]; otherwise once memory has been normal for
    /// a while. One cache alone: [`CacheBuilder::without_load_back`](crate::CacheBuilder::without_load_back).
    pub fn without_load_back(mut self) -> Self {
        self.loads_back = false;
        self
    }

    /// The file that the state of the caches is saved to.
    pub fn saved_state(mut self, path: impl Into<PathBuf>) -> Self {
        self.state = Some(path.into());
        self
    }

    /// The shutdown to take part in.
    pub fn shutdown(mut self, shutdown: &Shutdown) -> Self {
        self.shutdown = shutdown.clone();
        self
    }

    /// This machine instead of the one that we run on, to compare the budget
    /// with.
    pub fn machine(mut self, machine: Machine) -> Self {
        self.machine = Some(machine);
        self
    }

    /// Watches `path` for memory pressure in place of what the environment
    /// names, by the same protocol: a pressure file of the kernel, a FIFO or a
    /// socket, into which `trigger` is written first. See [`crate::PressureWatch`].
    /// A pressure file without a trigger is not watched, and the log says so.
    pub fn pressure_watch(mut self, path: impl Into<PathBuf>, trigger: &[u8]) -> Self {
        self.pressure = PressureFrom::At {
            path: path.into(),
            trigger: trigger.to_vec(),
        };
        self
    }

    /// Does not follow `$MEMORY_PRESSURE_WATCH`, which a manager does otherwise
    /// while it watches.
    pub fn without_pressure_watch(mut self) -> Self {
        self.pressure = PressureFrom::Nobody;
        self
    }

    /// Makes it. A budget beyond the machine or its control group is warned of
    /// in the log, and [`MemoryManager::check_budget`] says it.
    ///
    /// # Errors
    /// [`ManagerError`], for limits that contradict and a process that cannot
    /// be read; by a configuration, when its spill store cannot be opened or no
    /// thread be started.
    pub fn build(self) -> Result<MemoryManager, ManagerError> {
        let mut settings = self.settings;
        let config = self.config;
        settings.loads_back &= self.loads_back;
        settings.thresholds = match &config {
            Some(config) => config.memory.thresholds,
            None => self.limits.thresholds().map_err(ManagerError::Thresholds)?,
        };
        let budget = match self.budget {
            Some(budget) => {
                budget
                    .set_limit(self.limits.total)
                    .map_err(ManagerError::Budget)?;
                budget
            }
            None => Budget::new(self.limits.total).map_err(ManagerError::Budget)?,
        };
        let source = match self.source {
            Some(source) => source,
            None => Arc::new(ProcessSource::new().map_err(ManagerError::Source)?),
        };
        let tracker = MemoryTracker::builder(Arc::clone(&source))
            .clock(Arc::clone(&self.clock))
            .budget(&budget)
            .thresholds(settings.thresholds)
            .build();
        let spill = match (self.spill, &config) {
            (None, Some(config)) if config.memory.spill.enabled => {
                Some(open_spill(&budget, config)?)
            }
            (given, _) => given,
        };
        let monitoring = config.as_ref().map(|config| &config.memory.monitoring);
        let alerts = Alerts::default();
        if let Some(monitoring) = monitoring {
            alerts.set(monitoring);
        }
        let starts = monitoring.filter(|monitoring| monitoring.enabled);
        let starts = starts.map(|monitoring| monitoring.interval);
        let manager = MemoryManager {
            inner: Arc::new(Inner {
                limits: Mutex::new(self.limits),
                tracker,
                controller: Controller::with_clock(budget, source, settings, self.clock),
                degradation: Degradation::new(self.degradation, self.shutdown.clone()),
                spill,
                state: self.state,
                shutdown: self.shutdown,
                takes_part_in_shutdown: Mutex::default(),
                running: Mutex::new(None),
                providers: Mutex::default(),
                watching: Mutex::new(self.watching),
                alerts: Arc::new(alerts),
                enabled: Mutex::new(monitoring.map(|monitoring| monitoring.enabled)),
                following: Mutex::new(None),
                configuring: Mutex::default(),
                turn: Mutex::default(),
                pressure_from: self.pressure,
                pressure: Mutex::default(),
                started_with: config,
                machine: self.machine,
            }),
        };
        manager.warn_of_budget();
        manager.mind_shutdown();
        if let Some(interval) = starts {
            manager.start_monitoring(interval)?;
        }
        Ok(manager)
    }
}

/// The store of `config`, charged to a component `spill`.
fn open_spill(budget: &Budget, config: &Config) -> Result<SpillStore, ManagerError> {
    let component = budget.component("spill").register();
    let component = component.map_err(ManagerError::Budget)?;
    SpillStore::open(config.spill_options(component))
        .map_err(|source| ManagerError::OpenSpill(Box::new(source)))
}
