//! A clock that stands still until it is moved.
//!
//! Never goes back, and never sleeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::clock::Clock;

/// The time of day at which a fake clock begins, after 1970: 2009-02-13
/// 23:31:30, the second 1234567890.
const WALL_ORIGIN: Duration = Duration::from_secs(1_234_567_890);

/// A clock that is moved by hand. Clones are handles to the same clock.
#[derive(Debug, Clone, Default)]
pub struct FakeClock {
    nanoseconds: Arc<AtomicU64>,
}

impl FakeClock {
    /// At 0, which is the second 1234567890 of the time of day.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves it forward. Stands still at the end of time, in the year 2554.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        let moved = |now: u64| Some(now.saturating_add(by));
        // The closure never gives `None`, so there is no error to see.
        let _ = self
            .nanoseconds
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, moved);
    }

    /// Moves it to `at`, unless it is later already.
    pub fn advance_to(&self, at: Duration) {
        let at = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_max(at, Ordering::AcqRel);
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Acquire))
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + WALL_ORIGIN + self.now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_moves_only_by_hand_and_only_forward() {
        let clock = FakeClock::new();
        let other = clock.clone();
        clock.advance(Duration::from_secs(3));
        assert_eq!(other.now(), Duration::from_secs(3));
        other.advance_to(Duration::from_secs(2));
        assert_eq!(clock.now(), Duration::from_secs(3));
        other.advance_to(Duration::from_secs(5));
        assert_eq!(clock.now(), Duration::from_secs(5));
    }

    #[test]
    fn the_time_of_day_moves_with_it() {
        let clock = FakeClock::new();
        let before = clock.wall();
        clock.advance(Duration::from_millis(1500));
        let passed = clock.wall().duration_since(before).unwrap();
        assert_eq!(passed, Duration::from_millis(1500));
    }

    #[test]
    fn it_stands_still_at_the_end_of_time() {
        let clock = FakeClock::new();
        clock.advance(Duration::MAX);
        clock.advance(Duration::MAX);
        assert_eq!(clock.now(), Duration::from_nanos(u64::MAX));
    }
}
