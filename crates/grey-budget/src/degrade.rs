//! Doing less when memory runs out, before anything breaks: slow down and put
//! off what can wait when it is high, take nothing new when it is critical, and
//! let what is in flight end.
//!
//! Never ends the process: it asks for a [`Shutdown`].

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use grey_model::{Step, SystemLevel};

use crate::clock::instant_after;
use crate::shutdown::{Shutdown, ShutdownReason, Sleeper};

/// How a program degrades.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DegradationSettings {
    /// How long each new piece of work is held back while memory is high.
    pub throttle: Duration,
    /// Whether a program that is critical shuts down in good order, so that
    /// whoever runs it can start it anew.
    pub exit_when_critical: bool,
}

impl Default for DegradationSettings {
    fn default() -> Self {
        Self {
            throttle: Duration::from_millis(50),
            exit_when_critical: false,
        }
    }
}

/// New work is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Overloaded {
    /// Memory is critical.
    #[error("failed to take new work: memory is critical; try again later")]
    Critical,
    /// The program shuts down.
    #[error("failed to take new work: the program is shutting down")]
    ShuttingDown,
}

#[derive(Debug, Default)]
struct Counts {
    in_flight: u64,
}

#[derive(Debug)]
struct Inner {
    settings: Mutex<DegradationSettings>,
    level: AtomicU8,
    rejected: AtomicU64,
    shutdown: Shutdown,
    counts: Mutex<Counts>,
    changed: Condvar,
}

/// What may still be done. Clones are handles to the same.
#[derive(Debug, Clone)]
pub struct Degradation {
    inner: Arc<Inner>,
}

/// A piece of work that was taken; it ends when this is dropped.
#[derive(Debug)]
#[must_use = "the work is over when this is dropped"]
pub struct InFlight {
    inner: Arc<Inner>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.inner.counts().in_flight -= 1;
        self.inner.changed.notify_all();
    }
}

impl Sleeper for Inner {
    fn wake(&self) {
        // Under the lock, so that nobody begins to wait between the two.
        drop(self.counts());
        self.changed.notify_all();
    }
}

impl Inner {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settings(&self) -> MutexGuard<'_, DegradationSettings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for the end if it is critical and the settings say so.
    fn exit_if_told(&self) {
        let exits = self.settings().exit_when_critical;
        if exits && self.level() == SystemLevel::Critical {
            self.shutdown.request(ShutdownReason::MemoryCritical);
        }
    }

    fn level(&self) -> SystemLevel {
        SystemLevel::ALL[usize::from(self.level.load(Ordering::Acquire).min(3))]
    }

    /// Waits until `done`, at most for `timeout`.
    fn wait(&self, timeout: Duration, done: impl Fn(&Counts) -> bool) -> bool {
        let until = instant_after(timeout);
        let mut counts = self.counts();
        while !done(&counts) {
            let Some(left) = until.checked_duration_since(Instant::now()) else {
                return false;
            };
            counts = self
                .changed
                .wait_timeout(counts, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }
}

impl Degradation {
    /// Nothing is degraded yet. A critical level asks `shutdown`, if the
    /// settings say so.
    #[must_use]
    pub fn new(settings: DegradationSettings, shutdown: Shutdown) -> Self {
        let inner = Arc::new(Inner {
            settings: Mutex::new(settings),
            level: AtomicU8::new(0),
            rejected: AtomicU64::new(0),
            shutdown,
            counts: Mutex::default(),
            changed: Condvar::new(),
        });
        let sleeper: Arc<dyn Sleeper> = Arc::<Inner>::clone(&inner);
        inner.shutdown.wakes(Arc::downgrade(&sleeper));
        Self { inner }
    }

    /// How it degrades now.
    #[must_use]
    pub fn settings(&self) -> DegradationSettings {
        self.inner.settings().clone()
    }

    /// Degrades otherwise from now on. A program that is critical already and
    /// that is now to end then, is asked to.
    pub fn set_settings(&self, settings: DegradationSettings) {
        *self.inner.settings() = settings;
        self.inner.exit_if_told();
    }

    /// The level now.
    #[must_use]
    pub fn level(&self) -> SystemLevel {
        self.inner.level()
    }

    /// From now on this level counts.
    pub fn set_level(&self, level: SystemLevel) {
        let code = SystemLevel::ALL.iter().position(|step| *step == level);
        let code = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(3);
        let before = {
            // Under the lock, so that nobody begins to wait between the two.
            let _counts = self.inner.counts();
            self.inner.level.swap(code, Ordering::AcqRel)
        };
        self.inner.changed.notify_all();
        if before == code {
            return;
        }
        match level {
            SystemLevel::Normal => tracing::info!("memory is normal: nothing is held back"),
            SystemLevel::Moderate => tracing::warn!("memory is moderate: going on as before"),
            SystemLevel::High => {
                tracing::warn!("memory is high: new work is slowed down, background work waits");
            }
            SystemLevel::Critical => {
                tracing::error!("memory is critical: no new work is taken; restart is recommended");
                self.inner.exit_if_told();
            }
        }
    }

    /// Takes a piece of work, and counts it until it is dropped.
    ///
    /// # Errors
    /// [`Overloaded`], when memory is critical or the program shuts down.
    pub fn admit(&self) -> Result<InFlight, Overloaded> {
        // Under the lock, so that nothing is taken behind the back of a drain.
        let mut counts = self.inner.counts();
        let refused = if self.inner.shutdown.is_requested() {
            Some(Overloaded::ShuttingDown)
        } else if self.level() == SystemLevel::Critical {
            Some(Overloaded::Critical)
        } else {
            None
        };
        if let Some(refused) = refused {
            self.inner.rejected.fetch_add(1, Ordering::Relaxed);
            return Err(refused);
        }
        counts.in_flight += 1;
        drop(counts);
        Ok(InFlight {
            inner: Arc::clone(&self.inner),
        })
    }

    /// How long a new piece of work should be held back now.
    #[must_use]
    pub fn throttle(&self) -> Duration {
        if self.level() >= SystemLevel::High {
            self.inner.settings().throttle
        } else {
            Duration::ZERO
        }
    }

    /// Whether work that can wait may run.
    #[must_use]
    pub fn may_run_background_work(&self) -> bool {
        self.level() < SystemLevel::High
    }

    /// Waits until background work may run again; `false` when it still may not
    /// after `timeout`, or the program shuts down.
    #[must_use]
    pub fn wait_for_background_work(&self, timeout: Duration) -> bool {
        let inner = &self.inner;
        let ends = || inner.shutdown.is_requested();
        inner.wait(timeout, |_| ends() || inner.level() < SystemLevel::High) && !ends()
    }

    /// Pieces of work that were taken and have not ended.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.inner.counts().in_flight
    }

    /// Pieces of work that were refused so far.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.inner.rejected.load(Ordering::Relaxed)
    }

    /// Waits until nothing is in flight; `false` when something still is after
    /// `timeout`.
    #[must_use]
    pub fn drain(&self, timeout: Duration) -> bool {
        self.inner.wait(timeout, |counts| counts.in_flight == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn degradation(exit_when_critical: bool) -> (Degradation, Shutdown) {
        let shutdown = Shutdown::new();
        let settings = DegradationSettings {
            exit_when_critical,
            ..DegradationSettings::default()
        };
        (Degradation::new(settings, shutdown.clone()), shutdown)
    }

    #[test]
    fn high_slows_down_and_puts_off_and_refuses_nothing() {
        let (degradation, _shutdown) = degradation(false);
        for (level, throttled) in [
            (SystemLevel::Normal, false),
            (SystemLevel::Moderate, false),
            (SystemLevel::High, true),
        ] {
            degradation.set_level(level);
            assert_eq!(degradation.throttle() > Duration::ZERO, throttled);
            assert_eq!(degradation.may_run_background_work(), !throttled);
            assert!(degradation.admit().is_ok());
        }
        assert!(!degradation.wait_for_background_work(Duration::from_millis(1)));
    }

    #[test]
    fn critical_takes_nothing_new_and_lets_what_is_in_flight_end() {
        let (degradation, shutdown) = degradation(false);
        let work = degradation.admit().unwrap();
        degradation.set_level(SystemLevel::Critical);
        assert_eq!(degradation.admit().unwrap_err(), Overloaded::Critical);
        assert_eq!((degradation.in_flight(), degradation.rejected()), (1, 1));
        assert!(!degradation.drain(Duration::from_millis(1)));
        drop(work);
        assert!(degradation.drain(Duration::MAX));
        assert!(!shutdown.is_requested());
    }

    #[test]
    fn background_work_goes_on_when_the_level_falls() {
        let (degradation, _shutdown) = degradation(false);
        degradation.set_level(SystemLevel::High);
        std::thread::scope(|scope| {
            let waiting =
                scope.spawn(|| degradation.wait_for_background_work(Duration::from_secs(60)));
            degradation.set_level(SystemLevel::Moderate);
            assert!(waiting.join().unwrap());
        });
    }

    #[test]
    fn who_waits_for_background_work_is_woken_when_the_program_ends() {
        let (degradation, shutdown) = degradation(false);
        degradation.set_level(SystemLevel::High);
        let (told, ended) = std::sync::mpsc::channel();
        let waiting = std::thread::spawn(move || {
            let may = degradation.wait_for_background_work(Duration::from_secs(3600));
            told.send(may).unwrap();
        });
        shutdown.request(ShutdownReason::Requested);
        assert_eq!(ended.recv_timeout(Duration::from_secs(60)), Ok(false));
        waiting.join().unwrap();
    }

    #[test]
    fn other_settings_count_at_once_also_for_what_is_critical_already() {
        let (degradation, shutdown) = degradation(false);
        degradation.set_level(SystemLevel::Critical);
        let mut settings = degradation.settings();
        settings.throttle = Duration::from_millis(7);
        degradation.set_settings(settings.clone());
        assert_eq!(degradation.throttle(), Duration::from_millis(7));
        assert!(!shutdown.is_requested());
        settings.exit_when_critical = true;
        degradation.set_settings(settings);
        assert_eq!(shutdown.reason(), Some(ShutdownReason::MemoryCritical));
    }

    #[test]
    fn critical_asks_for_a_shutdown_if_it_was_told_to() {
        let (degradation, shutdown) = degradation(true);
        degradation.set_level(SystemLevel::Critical);
        assert_eq!(shutdown.reason(), Some(ShutdownReason::MemoryCritical));
        assert_eq!(shutdown.exit_code(), 75);
        degradation.set_level(SystemLevel::Normal);
        assert_eq!(degradation.admit().unwrap_err(), Overloaded::ShuttingDown);
    }
}
