//! The two ends of a queue as they are under their locks, and what an attempt
//! at one of them came to.
//!
//! Never locks.

use std::task::Waker;

use super::charge::Charge;
use super::row::Row;
use super::wait::WaitList;
use crate::budget::{Reservation, ReserveError};

/// An item and what it weighs.
#[derive(Debug)]
pub(crate) struct Slot<T> {
    pub(crate) item: T,
    pub(crate) bytes: u64,
}

/// Where items come in.
pub(super) struct Tail<T> {
    pub(super) inbox: Row<T>,
    /// All that ever came in; wraps.
    pub(super) pushed: u64,
    pub(super) pushed_bytes: u64,
    /// All that ever went out, as it was when last looked at; wraps.
    pub(super) popped: u64,
    pub(super) popped_bytes: u64,
    pub(super) consumers: WaitList,
    /// The place of a producer that was passed over too often.
    pub(super) favoured: Option<u64>,
    /// From how many items inside on it must be said that it is nearly full.
    pub(super) alarm_at: u64,
    pub(super) closed: bool,
    // Below the inbox: items go before their bytes do.
    pub(super) charge: Charge,
}

impl<T> Tail<T> {
    pub(super) const fn items(&self) -> u64 {
        self.pushed.wrapping_sub(self.popped)
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.pushed_bytes.wrapping_sub(self.popped_bytes)
    }
}

/// Where items go out.
pub(super) struct Head<T> {
    pub(super) outbox: Row<T>,
    pub(super) popped: u64,
    pub(super) popped_bytes: u64,
    pub(super) producers: WaitList,
}

/// What a push leaves to be done when the lock is given back.
#[must_use]
pub(crate) struct Pushed {
    pub(super) waker: Option<Waker>,
    /// So many items, which is more than it should be.
    pub(super) nearly_full: Option<u64>,
}

/// What a refill leaves to be done when the lock is given back.
#[must_use]
#[derive(Default)]
pub(super) struct Refilled {
    /// Why there is nothing.
    pub(super) nothing: Option<Nothing>,
    /// Not to be woken: somebody else waits in its place.
    pub(super) replaced: Option<Waker>,
    pub(super) excess: Option<Reservation<'static>>,
}

pub(super) enum Nothing {
    Empty,
    Closed,
}

/// What became of an offered item.
pub(crate) enum Offer<T> {
    /// It is inside.
    Taken(Pushed),
    /// There is no room.
    Full(Slot<T>),
    /// There is room, but so many bytes are not reserved.
    Short(Slot<T>, u64),
    /// Nothing is taken any more.
    Closed(Slot<T>),
}

/// How an attempt with reserving ended.
pub(crate) enum Insert<T> {
    Taken,
    Full(Slot<T>),
    Refused(Slot<T>, ReserveError),
    Closed(Slot<T>),
}

/// What became of an attempt to pop.
pub(crate) enum Take<T> {
    Item(T),
    Empty,
    Closed,
}

pub(super) enum Room {
    Fits,
    Full,
    Short(u64),
}
