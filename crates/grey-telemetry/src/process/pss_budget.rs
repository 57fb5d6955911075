//! The CPU time that one tick of PSS may take, and what ticks before it left.
//!
//! Never stops anybody: it only tells what is used and what is left.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A tick ends when its wall time is this many times its cap of CPU time: a
/// process that holds its own lock makes us wait, which costs no CPU time.
const MOST_WALL_PER_CAP: u32 = 8;

/// So many ticks' time is saved at most: walking 1 GiB takes 7 to 9 ms.
const MOST_SAVED_TICKS: u32 = 20;

/// At least this much may be saved, however short a tick is: else what 2 GiB
/// take would never be.
const LEAST_BOUND: Duration = Duration::from_millis(100);

/// Where it is looked what time it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clocks {
    /// The CPU time of this thread.
    pub(super) cpu: fn() -> Duration,
    /// The time on the wall.
    pub(super) wall: fn() -> Instant,
}

impl Default for Clocks {
    fn default() -> Self {
        Self {
            cpu: own_cpu_time,
            wall: Instant::now,
        }
    }
}

/// How much of a tick's CPU time is used.
#[derive(Debug)]
pub(super) struct Budget {
    clocks: Clocks,
    pub(super) start: Instant,
    cpu_at_start: Duration,
    pub(super) used: Duration,
    pub(super) cap: Duration,
    pub(super) read: u64,
}

impl Budget {
    pub(super) fn start(cap: Duration, clocks: Clocks) -> Self {
        Self {
            clocks,
            start: (clocks.wall)(),
            cpu_at_start: (clocks.cpu)(),
            used: Duration::ZERO,
            cap,
            read: 0,
        }
    }

    /// Looks at the clock; what was used since the last look.
    pub(super) fn measure(&mut self) -> Duration {
        let before = self.used;
        self.used = (self.clocks.cpu)().saturating_sub(self.cpu_at_start);
        self.used.saturating_sub(before)
    }

    pub(super) fn left(&self) -> Duration {
        self.cap.saturating_sub(self.used)
    }

    pub(super) fn now(&self) -> Instant {
        (self.clocks.wall)()
    }

    pub(super) fn waited_too_long(&self) -> bool {
        self.now().duration_since(self.start) > self.cap.saturating_mul(MOST_WALL_PER_CAP)
    }
}

/// CPU time that ticks left, saved for what alone takes longer than one.
#[derive(Debug, Default)]
pub(super) struct Savings {
    saved: Duration,
    /// What ticks took beyond their time: paid back before anything is saved.
    owed: Duration,
}

impl Savings {
    /// What can be saved at most where a tick has `cap`.
    pub(super) fn most(cap: Duration) -> Duration {
        match cap {
            Duration::ZERO => Duration::ZERO,
            _ => cap.saturating_mul(MOST_SAVED_TICKS).max(LEAST_BOUND),
        }
    }

    /// What is saved now.
    pub(super) const fn saved(&self) -> Duration {
        self.saved
    }

    /// Gives up what is saved, and forgives what is owed, beyond `most`.
    pub(super) fn keep_at_most(&mut self, most: Duration) {
        self.saved = self.saved.min(most);
        self.owed = self.owed.min(most);
    }

    /// A tick that had `cap` has `used` so much. One that had all the time
    /// there is leaves nothing.
    pub(super) fn settle(&mut self, cap: Duration, used: Duration) {
        if cap == Duration::MAX {
            return;
        }
        let left = cap.saturating_sub(used);
        self.saved = self.saved.saturating_add(left.saturating_sub(self.owed));
        self.owed = self.owed.saturating_sub(left);
        self.keep_at_most(Self::most(cap));
        self.spend(used.saturating_sub(cap));
    }

    /// So much was spent of what is saved, or beyond it.
    pub(super) fn spend(&mut self, took: Duration) {
        self.owed = self.owed.saturating_add(took.saturating_sub(self.saved));
        self.saved = self.saved.saturating_sub(took);
    }
}

fn own_cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn what_ticks_leave_is_saved_up_to_a_bound() {
        let mut savings = Savings::default();
        savings.settle(ms(10), ms(4));
        assert_eq!(savings.saved(), ms(6));
        for _ in 0..100 {
            savings.settle(ms(10), ms(4));
        }
        assert_eq!(savings.saved(), ms(200));
        // Ticks became shorter.
        savings.keep_at_most(Savings::most(ms(1)));
        assert_eq!(savings.saved(), ms(100));
    }

    #[test]
    fn what_was_overspent_is_paid_back_before_anything_is_saved() {
        let mut savings = Savings::default();
        savings.settle(ms(10), ms(25));
        savings.settle(ms(10), ms(0));
        assert_eq!(savings.saved(), ms(0));
        savings.settle(ms(10), ms(0));
        assert_eq!(savings.saved(), ms(5));
        savings.spend(ms(12));
        savings.settle(ms(10), ms(0));
        assert_eq!(savings.saved(), ms(3));
    }

    #[test]
    fn a_tick_without_a_cap_or_without_time_saves_nothing() {
        let mut savings = Savings::default();
        savings.settle(Duration::MAX, ms(3));
        savings.settle(Duration::ZERO, ms(0));
        assert_eq!(savings.saved(), Duration::ZERO);
        assert_eq!(Savings::most(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn in_the_long_run_no_more_is_spent_than_given() {
        let (mut savings, mut spent) = (Savings::default(), Duration::ZERO);
        for tick in 0..1000 {
            let used = ms(tick % 7);
            savings.settle(ms(5), used);
            spent += used;
            // What is dear takes a half more than was thought.
            if savings.saved() >= ms(16) {
                savings.spend(ms(24));
                spent += ms(24);
            }
        }
        assert!(spent <= ms(5 * 1000 + 24), "{spent:?}");
        assert!(spent >= ms(5 * 1000 - 124), "{spent:?}");
    }
}
