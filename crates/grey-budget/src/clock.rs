//! The time, as something that a test can replace.
//!
//! Never the time of day where a duration is meant.

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

/// What stands for "never" where an instant is needed: a hundred years.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The instant that is `wait` from now; a hundred years for what no instant
/// can say, as [`Duration::MAX`].
pub(crate) fn instant_after(wait: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(wait.min(NEVER)).unwrap_or(now)
}

/// Tells the time. A test gives its own, and moves it by hand.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Time since some fixed instant; never goes back.
    fn now(&self) -> Duration;

    /// The time of day, for people and for files.
    fn wall(&self) -> SystemTime;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// Counts from now on.
    #[must_use]
    pub fn new() -> Self {
        Self {
            origin: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}
