//! One pop that may have to wait for an item.
//!
//! Never takes an item before it can hand it out: a pop that is given up has
//! none.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::core::Core;
use super::ends::Take;
use super::error::PopError;
use super::wait::{block, spin};

/// An item, once there is one. Dropping it takes nothing.
#[must_use = "a future does nothing until it is awaited"]
pub struct PopFuture<'q, T> {
    core: &'q Core<T>,
    place: Option<u64>,
}

impl<T> fmt::Debug for PopFuture<'_, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PopFuture").finish_non_exhaustive()
    }
}

impl<'q, T> PopFuture<'q, T> {
    pub(crate) const fn new(core: &'q Core<T>) -> Self {
        Self { core, place: None }
    }

    fn poll_pop(&mut self, context: &mut Context<'_>) -> Poll<Result<T, PopError>> {
        let waker = context.waker().clone();
        match self.core.take(Some((&mut self.place, waker))) {
            Take::Item(item) => {
                self.leave(true);
                Poll::Ready(Ok(item))
            }
            Take::Closed => {
                self.leave(true);
                Poll::Ready(Err(PopError::Closed))
            }
            Take::Empty => Poll::Pending,
        }
    }

    fn leave(&mut self, is_served: bool) {
        if let Some(place) = self.place.take() {
            self.core.leave_tail(place, is_served);
        }
    }
}

impl<T> Drop for PopFuture<'_, T> {
    fn drop(&mut self) {
        self.leave(false);
    }
}

impl<T> Future for PopFuture<'_, T> {
    type Output = Result<T, PopError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_pop(context)
    }
}

/// Pops at once or not at all.
#[inline]
pub(crate) fn pop_now<T>(core: &Core<T>) -> Result<T, PopError> {
    match core.take(None) {
        Take::Item(item) => Ok(item),
        Take::Empty => Err(PopError::Empty),
        Take::Closed => Err(PopError::Closed),
    }
}

/// Pops, and waits in this thread if need be; at most for `timeout`.
#[inline]
pub(crate) fn pop_waiting<T>(core: &Core<T>, timeout: Option<Duration>) -> Result<T, PopError> {
    match core.take(None) {
        Take::Item(item) => Ok(item),
        Take::Closed => Err(PopError::Closed),
        Take::Empty => wait(core, timeout),
    }
}

#[cold]
fn wait<T>(core: &Core<T>, timeout: Option<Duration>) -> Result<T, PopError> {
    let start = Instant::now();
    let until = timeout.and_then(|timeout| start.checked_add(timeout));
    spin(|| core.items() > 0);
    let mut pop = PopFuture::new(core);
    block(until, |context| pop.poll_pop(context)).unwrap_or_else(|| {
        Err(PopError::TimedOut {
            waited: start.elapsed(),
        })
    })
}
