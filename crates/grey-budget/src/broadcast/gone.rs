//! Events that left the ring, or whose place another takes.
//!
//! Never drops one while the ring is locked: what an event does when it is
//! dropped is its own affair.

use std::time::Duration;

use crate::budget::Reservation;
use crate::queue::charge::discard;

/// An event that is kept.
pub(super) struct Kept<T> {
    pub(super) event: std::sync::Arc<T>,
    pub(super) since: Duration,
    pub(super) bytes: u64,
}

/// What left the ring, to be dropped outside of the lock: mostly one or none.
pub(super) struct Gone<T> {
    pub(super) one: Option<Kept<T>>,
    /// In whose place a new one is.
    pub(super) replaced: Option<T>,
    pub(super) more: Vec<Kept<T>>,
    pub(super) excess: Option<Reservation<'static>>,
}

impl<T> Default for Gone<T> {
    fn default() -> Self {
        Self {
            one: None,
            replaced: None,
            more: Vec::new(),
            excess: None,
        }
    }
}

impl<T> Gone<T> {
    pub(super) fn add(&mut self, kept: Kept<T>) {
        if self.one.is_none() {
            self.one = Some(kept);
        } else {
            self.more.push(kept);
        }
    }

    /// Puts `event` where one was that went, if nobody has that any more: to
    /// free its memory only to allocate as much takes longer than to send.
    pub(super) fn share(&mut self, event: T) -> std::sync::Arc<T> {
        let Some(mut kept) = self.one.take() else {
            return std::sync::Arc::new(event);
        };
        if let Some(place) = std::sync::Arc::get_mut(&mut kept.event) {
            self.replaced = Some(std::mem::replace(place, event));
            return kept.event;
        }
        self.one = Some(kept);
        std::sync::Arc::new(event)
    }

    /// Drops all, and tells how many left the ring and were not replaced.
    #[inline]
    pub(super) fn discard(&mut self) -> u64 {
        let mut count = 0;
        if let Some(kept) = self.one.take() {
            count = 1;
            discard(Some(kept.event));
        }
        if let Some(replaced) = self.replaced.take() {
            discard(Some(replaced));
        }
        if !self.more.is_empty() || self.excess.is_some() {
            count += self.discard_more();
        }
        count
    }

    #[cold]
    fn discard_more(&mut self) -> u64 {
        let more = std::mem::take(&mut self.more);
        let count = u64::try_from(more.len()).unwrap_or(u64::MAX);
        discard(more.into_iter().map(|kept| kept.event));
        self.excess = None;
        count
    }
}
