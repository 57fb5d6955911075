//! A clock that is read in a few nanoseconds and is right to some milliseconds.
//!
//! Never used where milliseconds count.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

use crate::clock::Clock;

/// The machine's coarse monotonic clock: as of its last timer tick, 1 to 10 ms
/// ago. Machines whose precise clock is slow need 50 ns and more to read that.
///
/// # Kernel
/// `CLOCK_MONOTONIC_COARSE`, clock_gettime(2).
#[derive(Debug, Clone, Copy, Default)]
pub struct CoarseClock;

impl Clock for CoarseClock {
    fn now(&self) -> Duration {
        let time = clock_gettime(ClockId::MonotonicCoarse);
        Duration::new(
            u64::try_from(time.tv_sec).unwrap_or(0),
            u32::try_from(time.tv_nsec).unwrap_or(0),
        )
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}
