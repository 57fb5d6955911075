//! The configuration of a running program: read without waiting, reloaded
//! whole.
//!
//! A reload builds and checks everything before it swaps; if anything is wrong
//! the last good configuration stays. Keys that need a restart keep the value
//! that the program was started with, and are listed. Nothing of the program is
//! called while a lock is held.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use std::time::SystemTime;

use arc_swap::ArcSwap;

use super::error::ConfigError;
use super::fingerprint::Fingerprint;
use super::loader::ConfigLoader;
use super::observer::{
    ConfigObserver, ConfigReloaded, Event, ObserverGuard, Observers, ReloadFailed,
    TooManyObservers, locked,
};
use super::origin::Entry;
use super::schema::Config;

/// Says whether what runs could do what a configuration says.
pub(crate) trait Fit: Send + Sync + std::fmt::Debug {
    /// # Errors
    /// Why it could not. Called while no other reload goes on; calls nothing of
    /// the program.
    fn fits(&self, config: &Config) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

/// What a reload gave.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReloadResult {
    /// Whether what the files say was taken.
    pub success: bool,
    /// When.
    pub reloaded_at: SystemTime,
    /// Why it was not taken.
    pub error: Option<Arc<ConfigError>>,
}

/// The configuration of a running program. Clones are the same.
#[derive(Debug, Clone)]
pub struct ConfigHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    loader: ConfigLoader,
    current: ArcSwap<Config>,
    /// Held while a configuration is built and swapped.
    reloading: Mutex<()>,
    last_error: Mutex<Option<Arc<ConfigError>>>,
    /// What the files were just before they were last read.
    read_from: Mutex<Fingerprint>,
    observers: Arc<Observers>,
    /// Who is asked before a configuration is swapped in, as long as they live.
    fits: Mutex<Vec<Weak<dyn Fit>>>,
}

impl ConfigHandle {
    /// Loads for the first time.
    ///
    /// # Errors
    /// [`ConfigError`]: there is no last good configuration yet.
    pub fn load(loader: ConfigLoader) -> Result<Self, ConfigError> {
        let files = Fingerprint::of(&loader);
        let config = loader.load()?;
        for warning in config.warnings() {
            tracing::warn!("{warning}");
        }
        Ok(Self {
            shared: Arc::new(Shared {
                loader,
                current: ArcSwap::from_pointee(config),
                reloading: Mutex::new(()),
                last_error: Mutex::new(None),
                read_from: Mutex::new(files),
                observers: Arc::default(),
                fits: Mutex::default(),
            }),
        })
    }

    /// The configuration that holds now. Keep it as long as values must fit
    /// together.
    #[must_use]
    pub fn current(&self) -> Arc<Config> {
        self.shared.current.load_full()
    }

    /// Why the last reload failed; `None` when it did not.
    #[must_use]
    pub fn last_error(&self) -> Option<Arc<ConfigError>> {
        locked(&self.shared.last_error).clone()
    }

    /// Registers an observer, behind those that are registered already.
    ///
    /// # Errors
    /// [`TooManyObservers`].
    pub fn observe(
        &self,
        observer: impl ConfigObserver + 'static,
    ) -> Result<ObserverGuard, TooManyObservers> {
        self.shared.observers.register(Arc::new(observer))
    }

    /// `fit` is asked from now on whether a configuration can be applied.
    pub(crate) fn ask(&self, fit: Weak<dyn Fit>) {
        let mut fits = locked(&self.shared.fits);
        fits.retain(|fit| fit.strong_count() > 0);
        fits.push(fit);
    }

    /// Reads and checks everything again, swaps, and tells the observers if
    /// anything changed. When another thread is telling them already (or an
    /// observer calls this), that thread tells them of this reload, too, and
    /// this call does not wait for it.
    pub fn reload(&self) -> ReloadResult {
        let shared = &self.shared;
        let outcome = {
            let _reloading = locked(&shared.reloading);
            let outcome = shared.rebuild();
            if let Some(event) = outcome.event() {
                // In here, so that events are in the order of the swaps.
                shared.observers.enqueue(event);
            }
            outcome
        };
        outcome.log();
        shared.observers.deliver();
        outcome.result()
    }

    /// Whether the files are others than those that were last read, rightly or
    /// not.
    pub(super) fn files_changed(&self) -> bool {
        let now = Fingerprint::of(&self.shared.loader);
        *locked(&self.shared.read_from) != now
    }

    /// The files and directories that the configuration comes from.
    pub(super) fn loader(&self) -> &ConfigLoader {
        &self.shared.loader
    }

    /// The file that is watched, if there is one.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        self.shared.loader.file().map(ToOwned::to_owned)
    }
}

enum Outcome {
    Failed(ReloadFailed),
    Reloaded(ConfigReloaded, bool),
}

impl Shared {
    fn check_fits(&self, config: Config) -> Result<Config, ConfigError> {
        let fits = locked(&self.fits).clone();
        for fit in fits.iter().filter_map(Weak::upgrade) {
            fit.fits(&config)
                .map_err(|source| ConfigError::NotApplicable { source })?;
        }
        Ok(config)
    }

    fn rebuild(&self) -> Outcome {
        let old = self.current.load_full();
        // Before they are read, so that a change meanwhile is one more change.
        *locked(&self.read_from) = Fingerprint::of(&self.loader);
        let loaded = self.loader.load_over(Some(&old.entries));
        let loaded = loaded.and_then(|config| self.check_fits(config));
        let timestamp = SystemTime::now();
        match loaded {
            Err(error) => {
                let error = Arc::new(error);
                *locked(&self.last_error) = Some(Arc::clone(&error));
                Outcome::Failed(ReloadFailed { error, timestamp })
            }
            Ok(config) => {
                *locked(&self.last_error) = None;
                let new = Arc::new(config);
                self.current.store(Arc::clone(&new));
                let changed = changed(&old.entries, &new.entries);
                let is_news = !changed.is_empty() || old.waiting != new.waiting;
                let event = ConfigReloaded {
                    restart_required: new.waiting.clone(),
                    old_config: old,
                    new_config: new,
                    timestamp,
                    changed,
                };
                Outcome::Reloaded(event, is_news)
            }
        }
    }
}

impl Outcome {
    fn event(&self) -> Option<Event> {
        match self {
            Self::Failed(failure) => Some(Event::Failed(failure.clone())),
            Self::Reloaded(event, true) => Some(Event::Reloaded(event.clone())),
            Self::Reloaded(_, false) => None,
        }
    }

    fn result(self) -> ReloadResult {
        match self {
            Self::Failed(failure) => ReloadResult {
                success: false,
                reloaded_at: failure.timestamp,
                error: Some(failure.error),
            },
            Self::Reloaded(event, _) => ReloadResult {
                success: true,
                reloaded_at: event.timestamp,
                error: None,
            },
        }
    }

    fn log(&self) {
        match self {
            Self::Failed(failure) => {
                let source = std::error::Error::source(failure.error.as_ref());
                let cause = source
                    .map(|source| format!(": {source}"))
                    .unwrap_or_default();
                let error = &failure.error;
                tracing::error!(
                    "configuration not reloaded, the last good one stays: {error}{cause}"
                );
            }
            Self::Reloaded(event, _) => {
                tracing::info!(
                    "configuration reloaded, {} keys changed",
                    event.changed.len()
                );
                for warning in event.new_config.warnings() {
                    tracing::warn!("{warning}");
                }
                for key in &event.restart_required {
                    tracing::warn!("`{key}` changes with the next start only");
                }
            }
        }
    }
}

/// Keys whose values differ, or that one of the two lacks. The maps are sorted,
/// and so is the result.
fn changed(old: &BTreeMap<String, Entry>, new: &BTreeMap<String, Entry>) -> Vec<String> {
    let text = |entries: &BTreeMap<String, Entry>, key: &String| {
        entries.get(key).map(|entry| entry.text.clone())
    };
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter()
        .filter(|key| text(old, key) != text(new, key))
        .cloned()
        .collect()
}
