//! Events that left the ring, or whose place another takes.
//!
//! Never drops one while the ring is locked: what an event does when it is
//! dropped is its own affair.

use std::sync::Arc;

use super::event::{Block, Slot};
use crate::budget::Reservation;
use crate::queue::charge::discard;

/// What left the ring, to be dropped outside of the lock: mostly one or none.
pub(super) struct Gone<T> {
    /// How many events left the ring.
    pub(super) events: u64,
    one: Option<Arc<Block<T>>>,
    /// In whose place a new one is.
    replaced: Option<Block<T>>,
    more: Vec<Arc<Block<T>>>,
    pub(super) excess: Option<Reservation<'static>>,
}

impl<T> Default for Gone<T> {
    fn default() -> Self {
        Self {
            events: 0,
            one: None,
            replaced: None,
            more: Vec::new(),
            excess: None,
        }
    }
}

impl<T> Gone<T> {
    pub(super) fn add(&mut self, block: Arc<Block<T>>) {
        if self.one.is_none() {
            self.one = Some(block);
        } else {
            self.more.push(block);
        }
    }

    /// Puts the event of `slot` where one was that went, if nobody has that any
    /// more: to free its memory only to allocate as much takes longer than to
    /// send.
    pub(super) fn place(&mut self, slot: Slot<T>) -> Arc<Block<T>> {
        let event = Block::One(slot);
        let Some(mut block) = self.one.take() else {
            return Arc::new(event);
        };
        if let Some(place) = Arc::get_mut(&mut block) {
            self.replaced = Some(std::mem::replace(place, event));
            return block;
        }
        self.one = Some(block);
        Arc::new(event)
    }

    /// Drops all.
    #[inline]
    pub(super) fn discard(&mut self) {
        if let Some(block) = self.one.take() {
            discard(Some(block));
        }
        if let Some(replaced) = self.replaced.take() {
            discard(Some(replaced));
        }
        if !self.more.is_empty() || self.excess.is_some() {
            self.discard_more();
        }
    }

    #[cold]
    fn discard_more(&mut self) {
        discard(std::mem::take(&mut self.more));
        self.excess = None;
    }
}
