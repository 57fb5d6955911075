//! The CPU time that one tick of PSS may take.
//!
//! Never stops anybody: it only tells what is used and what is left.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A tick ends when its wall time is this many times its cap of CPU time: a
/// process that holds its own lock makes us wait, which costs no CPU time.
const MOST_WALL_PER_CAP: u32 = 8;

/// How much of a tick's CPU time is used.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) start: Instant,
    cpu_at_start: Duration,
    pub(super) used: Duration,
    pub(super) cap: Duration,
    pub(super) read: u64,
}

impl Budget {
    pub(super) fn start(cap: Duration) -> Self {
        Self {
            start: Instant::now(),
            cpu_at_start: own_cpu_time(),
            used: Duration::ZERO,
            cap,
            read: 0,
        }
    }

    /// Looks at the clock; what was used since the last look.
    pub(super) fn measure(&mut self) -> Duration {
        let before = self.used;
        self.used = own_cpu_time().saturating_sub(self.cpu_at_start);
        self.used.saturating_sub(before)
    }

    pub(super) fn left(&self) -> Duration {
        self.cap.saturating_sub(self.used)
    }

    pub(super) fn waited_too_long(&self, now: Instant) -> bool {
        now.duration_since(self.start) > self.cap.saturating_mul(MOST_WALL_PER_CAP)
    }
}

pub(super) fn own_cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}
