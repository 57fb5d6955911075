//! The time, as something that a test can replace.
//!
//! Never the time of day where a duration is meant.

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

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
