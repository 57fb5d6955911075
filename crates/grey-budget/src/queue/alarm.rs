//! Says once that a queue is nearly full, and anew when it fills up again.
//!
//! Never says so under a lock.

use super::core::Core;
use super::ends::{Pushed, Tail};
use crate::wake::wake;

/// Above this share of its items a queue is nearly full: 9,000 of 10,000.
const NEARLY_FULL_PERCENT: u64 = 90;

/// Below this share it is said anew when it fills up.
const CALM_PERCENT: u64 = 80;

/// With more items than this, of `limit`, it is nearly full.
pub(super) const fn nearly_full(limit: u64) -> u64 {
    share(limit, NEARLY_FULL_PERCENT)
}

/// With fewer items than this, of `limit`, it is not nearly full any more.
pub(super) const fn calm(limit: u64) -> u64 {
    share(limit, CALM_PERCENT)
}

/// This share of `whole`, without overflow.
const fn share(whole: u64, percent: u64) -> u64 {
    match whole.checked_mul(percent) {
        Some(product) => product / 100,
        None => whole / 100 * percent,
    }
}

impl<T> Core<T> {
    /// With more items than this it is nearly full.
    pub(crate) const fn nearly_full_above(&self) -> u64 {
        nearly_full(self.limits.items)
    }

    /// Once it is nearly full, with how many items.
    #[inline]
    pub(super) fn look_at_alarm(&self, tail: &mut Tail<T>) -> Option<u64> {
        if tail.items() <= tail.alarm_at {
            return None;
        }
        self.look_at_pops(tail);
        let items = tail.items();
        (items > tail.alarm_at).then(|| {
            tail.alarm_at = u64::MAX;
            items
        })
    }

    /// Wakes and warns, as a push left it to be done.
    #[inline]
    pub(crate) fn tell(&self, pushed: Pushed) {
        if let Some(waker) = pushed.waker {
            wake(waker);
        }
        if let Some(items) = pushed.nearly_full {
            self.say_nearly_full(items);
        }
    }

    #[cold]
    fn say_nearly_full(&self, items: u64) {
        tracing::warn!(
            alert = "WorkQueueFull",
            queue = %self.name,
            items,
            limit = self.limits.items,
            "work queue is nearly full: throttle requests"
        );
    }
}
