//! Saving what the next start can use, and ending in good order.
//!
//! Never ends the process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::builder::ManagerError;
use super::operations::{Inner, MemoryManager, lock};
use super::providers::{self, Provider};
use crate::controller::Hold;
use crate::saved_state::{Restored, SavedProject, SavedState};
use crate::shutdown::{ShutdownReport, ShutdownSettings, ShutdownStep, Sleeper};

/// Nothing is loaded back once the end is asked for.
impl Sleeper for Inner {
    fn wake(&self) {
        self.controller.hold_load_back(Hold::Shutdown);
    }
}

impl MemoryManager {
    /// From now on the manager hears when the end is asked for.
    pub(super) fn mind_shutdown(&self) {
        let sleeper: Arc<dyn Sleeper> = Arc::<Inner>::clone(&self.inner);
        self.inner.shutdown.wakes(Arc::downgrade(&sleeper));
        if self.inner.shutdown.is_requested() {
            sleeper.wake();
        }
    }

    /// `provider` tells what each project has, when the state is saved: each on
    /// a thread of its own, all at once. What several say of one project is put
    /// together. One that panics, or takes more than three quarters of the time
    /// that is left for saving, is missing in what is saved; the report of the
    /// shutdown says which one, by where it was registered.
    #[track_caller]
    pub fn register_state_provider(
        &self,
        provider: impl Fn() -> BTreeMap<String, SavedProject> + Send + Sync + 'static,
    ) {
        lock(&self.inner.providers).push(Provider::new(provider));
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
    /// the store; with it all that was added to its [`Shutdown`](crate::Shutdown)
    /// and is not done yet. Of several managers that share one, each ends by its
    /// own call, in any order and after a run of the shutdown itself, too; the
    /// report has the steps of all so far. A second call does nothing again.
    pub fn graceful_shutdown(&self, settings: &ShutdownSettings) -> ShutdownReport {
        {
            // Held while the steps are added, so that who comes second runs them.
            let mut takes_part = lock(&self.inner.takes_part_in_shutdown);
            if !std::mem::replace(&mut *takes_part, true) {
                self.take_part();
            }
        }
        self.inner.shutdown.run(settings)
    }

    /// Adds its steps to the shutdown.
    fn take_part(&self) {
        let shutdown = &self.inner.shutdown;
        let manager = self.clone();
        shutdown.at(ShutdownStep::StopMonitoring, "monitoring", move |_| {
            manager.stop_monitoring();
            manager.inner.controller.end_load_back();
            Ok(())
        });
        let degradation = self.inner.degradation.clone();
        shutdown.at(ShutdownStep::Drain, "work in flight", move |until| {
            let left = until.saturating_duration_since(Instant::now());
            match degradation.drain(left) {
                true => Ok(()),
                false => Err(format!(
                    "pieces of work that have not ended: {}",
                    degradation.in_flight()
                )),
            }
        });
        let manager = self.clone();
        shutdown.at(ShutdownStep::Persist, "cache state", move |until| {
            manager.save_state(until)
        });
        let store = self.inner.spill.clone();
        shutdown.at(ShutdownStep::Close, "spill store", move |_| match store {
            Some(store) => store.flush().map_err(|error| with_causes(&error)),
            None => Ok(()),
        });
    }

    fn save_state(&self, until: Instant) -> Result<(), String> {
        let Some(path) = &self.inner.state else {
            return Ok(());
        };
        let providers = lock(&self.inner.providers).clone();
        let told = providers::ask(&providers, until);
        let saved = SavedState::new(SystemTime::now(), told.projects).save(path);
        let mut failures = told.failures;
        failures.extend(saved.err().map(|error| with_causes(&error)));
        match failures.is_empty() {
            true => Ok(()),
            false => Err(failures.join("; ")),
        }
    }
}

/// An error and why, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |cause| cause.source())
        .fold(error.to_string(), |told, cause| format!("{told}: {cause}"))
}
