//! One push that may have to wait, for room or for bytes of the budget.
//!
//! Never loses the item: it is inside, or with whoever pushed it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use grey_model::Bytes;

use super::charge::discard;
use super::core::Core;
use super::ends::{Insert, Offer, Slot};
use super::error::PushError;
use super::wait::{block, spin};
use crate::budget::{Reservation, ReserveFuture};

/// A push that is under way.
pub(crate) struct PushTask<'q, T> {
    core: &'q Core<T>,
    slot: Option<Slot<T>>,
    place: Option<u64>,
    /// How often it was woken and found no room.
    passed_over: u32,
    reserving: Option<ReserveFuture<'q>>,
}

impl<'q, T> PushTask<'q, T> {
    pub(crate) const fn new(core: &'q Core<T>, slot: Slot<T>) -> Self {
        Self {
            core,
            slot: Some(slot),
            place: None,
            passed_over: 0,
            reserving: None,
        }
    }

    /// Takes the item out, if it is not inside.
    pub(crate) fn take_item(&mut self) -> Option<T> {
        self.leave();
        self.slot.take().map(|slot| slot.item)
    }

    fn leave(&mut self) {
        // With it goes a waker.
        discard(self.reserving.take());
        if let Some(place) = self.place.take() {
            self.core.leave_head(place);
        }
    }

    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), PushError<T>>> {
        let mut credit = None;
        loop {
            let Some(slot) = self.slot.take() else {
                return Poll::Pending;
            };
            if self
                .place
                .is_some_and(|place| !self.core.waits_for_room(place))
            {
                // Woken. The room may have gone to somebody else meanwhile.
                self.passed_over = self.passed_over.saturating_add(1);
            }
            let slot = match self.core.insert(slot, credit.take(), self.place) {
                Insert::Taken => {
                    self.leave();
                    return Poll::Ready(Ok(()));
                }
                Insert::Closed(slot) => return self.fail(closed(self.core, slot)),
                Insert::Refused(slot, error) if !error.waiting_helps() => {
                    return self.fail(refused(self.core, slot, error));
                }
                Insert::Full(slot) | Insert::Refused(slot, _) => slot,
            };
            // Stays here while the waker is cloned, which may panic.
            self.slot = Some(slot);
            let waker = context.waker().clone();
            let Some(slot) = self.slot.take() else {
                return Poll::Pending;
            };
            let (core, passed_over) = (self.core, self.passed_over);
            match core.wait_for_room(slot, &mut self.place, passed_over, waker) {
                Offer::Taken(pushed) => {
                    core.tell(pushed);
                    self.leave();
                    return Poll::Ready(Ok(()));
                }
                Offer::Closed(slot) => return self.fail(closed(core, slot)),
                Offer::Full(slot) => {
                    self.slot = Some(slot);
                    self.reserving = None;
                    return Poll::Pending;
                }
                Offer::Short(slot, _) => {
                    let bytes = core.charge_of(slot.bytes);
                    // And while it is cloned for the budget.
                    self.slot = Some(slot);
                    match self.poll_bytes(bytes, context) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Ok(reservation)) => credit = Some(reservation),
                        Poll::Ready(Err(error)) => {
                            let Some(slot) = self.slot.take() else {
                                return Poll::Pending;
                            };
                            return self.fail(refused(core, slot, error));
                        }
                    }
                }
            }
        }
    }

    /// Waits for the budget; the place at the head is kept meanwhile.
    fn poll_bytes(
        &mut self,
        bytes: u64,
        context: &mut Context<'_>,
    ) -> Poll<Result<Reservation<'static>, crate::budget::ReserveError>> {
        let core = self.core;
        let reserving = self
            .reserving
            .get_or_insert_with(|| core.component().reserve_async(Bytes(bytes)));
        let polled = Pin::new(reserving).poll(context);
        if polled.is_ready() {
            self.reserving = None;
        }
        polled.map(|result| result.map(Reservation::into_owned))
    }

    fn fail(&mut self, error: PushError<T>) -> Poll<Result<(), PushError<T>>> {
        self.leave();
        Poll::Ready(Err(error))
    }
}

impl<T> Drop for PushTask<'_, T> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// An item that is pushed once there is room.
///
/// Dropping it leaves the queue as it is, and drops the item if it is not
/// inside; [`Self::take_item`] saves it.
#[must_use = "a future does nothing until it is awaited"]
pub struct PushFuture<'q, T> {
    task: PushTask<'q, T>,
    waits: bool,
    refusal: Option<PushError<T>>,
}

impl<T> fmt::Debug for PushFuture<'_, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PushFuture").finish_non_exhaustive()
    }
}

impl<'q, T> PushFuture<'q, T> {
    pub(crate) fn new(core: &'q Core<T>, item: T, waits: bool) -> Self {
        let (slot, refusal) = match weigh(core, item) {
            Ok(slot) => (Some(slot), None),
            Err(error) => (None, Some(error)),
        };
        Self {
            task: PushTask {
                core,
                slot,
                place: None,
                passed_over: 0,
                reserving: None,
            },
            waits,
            refusal,
        }
    }

    /// Gives up; the item, unless it is inside or was given back.
    pub fn take_item(&mut self) -> Option<T> {
        let refused = self.refusal.take().map(PushError::into_item);
        refused.or_else(|| self.task.take_item())
    }
}

// An item is moved, never pinned.
impl<T> Unpin for PushFuture<'_, T> {}

impl<T> Future for PushFuture<'_, T> {
    type Output = Result<(), PushError<T>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(refusal) = this.refusal.take() {
            return Poll::Ready(Err(refusal));
        }
        if this.waits {
            return this.task.poll(context);
        }
        match this.task.slot.take() {
            Some(slot) => Poll::Ready(push_now(this.task.core, slot)),
            None => Poll::Pending,
        }
    }
}

/// Weighs; an item that can never be inside is given back.
#[inline]
pub(crate) fn weigh<T>(core: &Core<T>, item: T) -> Result<Slot<T>, PushError<T>> {
    let bytes = core.weigh(&item);
    within_limits(core, Slot { item, bytes })
}

/// Gives an item back that can never be inside.
#[inline]
pub(crate) fn within_limits<T>(core: &Core<T>, slot: Slot<T>) -> Result<Slot<T>, PushError<T>> {
    if slot.bytes > core.limits().bytes {
        return Err(PushError::TooLarge {
            queue: std::sync::Arc::clone(core.name()),
            weight: Bytes(slot.bytes),
            limit: Bytes(core.limits().bytes),
            item: slot.item,
        });
    }
    Ok(slot)
}

/// Pushes at once or not at all.
#[inline]
pub(crate) fn push_now<T>(core: &Core<T>, slot: Slot<T>) -> Result<(), PushError<T>> {
    match core.insert(slot, None, None) {
        Insert::Taken => Ok(()),
        Insert::Full(slot) => Err(full(core, slot)),
        Insert::Closed(slot) => Err(closed(core, slot)),
        Insert::Refused(slot, error) => Err(refused(core, slot, error)),
    }
}

/// Pushes, and waits in this thread if need be; at most for `timeout`.
#[inline]
pub(crate) fn push_waiting<T>(
    core: &Core<T>,
    slot: Slot<T>,
    timeout: Option<Duration>,
) -> Result<(), PushError<T>> {
    match core.insert(slot, None, None) {
        Insert::Taken => Ok(()),
        Insert::Closed(slot) => Err(closed(core, slot)),
        Insert::Refused(slot, error) if !error.waiting_helps() => Err(refused(core, slot, error)),
        Insert::Full(slot) | Insert::Refused(slot, _) => wait(core, slot, timeout),
    }
}

#[cold]
fn wait<T>(core: &Core<T>, slot: Slot<T>, timeout: Option<Duration>) -> Result<(), PushError<T>> {
    let start = Instant::now();
    let until = timeout.and_then(|timeout| start.checked_add(timeout));
    let seen = core.items();
    spin(|| core.items() < seen);
    let mut task = PushTask::new(core, slot);
    if let Some(result) = block(until, |context| task.poll(context)) {
        return result;
    }
    match task.take_item() {
        Some(item) => Err(PushError::TimedOut {
            queue: std::sync::Arc::clone(core.name()),
            waited: start.elapsed(),
            item,
        }),
        None => Ok(()),
    }
}

fn full<T>(core: &Core<T>, slot: Slot<T>) -> PushError<T> {
    PushError::Full {
        queue: std::sync::Arc::clone(core.name()),
        items: core.items(),
        bytes: core.bytes(),
        item: slot.item,
    }
}

fn closed<T>(core: &Core<T>, slot: Slot<T>) -> PushError<T> {
    PushError::Closed {
        queue: std::sync::Arc::clone(core.name()),
        item: slot.item,
    }
}

fn refused<T>(core: &Core<T>, slot: Slot<T>, source: crate::budget::ReserveError) -> PushError<T> {
    PushError::Refused {
        queue: std::sync::Arc::clone(core.name()),
        source: Box::new(core.component().refused(source)),
        item: slot.item,
    }
}
