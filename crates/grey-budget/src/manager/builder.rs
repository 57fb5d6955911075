//! How a manager is put together, and what it is limited to.
//!
//! Never starts anything.

use std::path::PathBuf;
use std::sync::Arc;

use grey_model::level::fraction;
use grey_model::{Bytes, Level, Step, ThresholdError, Thresholds};

use super::operations::MemoryManager;
use crate::budget::{Budget, BudgetError};
use crate::clock::{Clock, SystemClock};
use crate::controller::{Controller, ControllerSettings};
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
    spill: Option<SpillStore>,
    state: Option<PathBuf>,
    shutdown: Shutdown,
}

impl MemoryManagerBuilder {
    pub(super) fn new(limits: MemoryLimits) -> Self {
        Self {
            limits,
            budget: None,
            source: None,
            clock: Arc::new(SystemClock::new()),
            settings: ControllerSettings::default(),
            spill: None,
            state: None,
            shutdown: Shutdown::new(),
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

    /// How the controller behaves; its thresholds are those of the limits.
    pub fn settings(mut self, settings: ControllerSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Where values are spilled to.
    pub fn spill(mut self, store: SpillStore) -> Self {
        self.spill = Some(store);
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

    /// Makes it.
    ///
    /// # Errors
    /// [`ManagerError`], for limits that contradict and a process that cannot
    /// be read.
    pub fn build(self) -> Result<MemoryManager, ManagerError> {
        let mut settings = self.settings;
        settings.thresholds = self.limits.thresholds().map_err(ManagerError::Thresholds)?;
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
        let controller = Controller::with_clock(budget, source, settings, self.clock);
        Ok(MemoryManager::assemble(
            self.limits,
            tracker,
            controller,
            self.spill,
            self.state,
            self.shutdown,
        ))
    }
}
