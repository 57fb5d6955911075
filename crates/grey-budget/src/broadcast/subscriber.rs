//! One who receives events, with a position of its own.
//!
//! Never moves past an event without saying so.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::event::{Block, Event, nanoseconds};
use super::{Gone, Shared};
use crate::queue::gather::gather;
use crate::queue::wait::{block, spin};
use crate::sync::Ordering;

/// How many blocks of events are looked up at once. They are not held: until the
/// first event of one is received they may go.
const LOOKED_UP: usize = 128;

/// And of how many bytes at most: the place of a block stays allocated as long
/// as somebody looks at it, and nobody is charged for it.
const LOOKED_UP_BYTES: usize = 64 << 10;

/// So many events make it worth while to look: fewer than are kept, so that none
/// is missed for it.
const GATHERED: u64 = 256;

/// How many blocks are looked up at once that hold `events` of this kind.
fn looked_up<T>(events: usize) -> usize {
    let size = events.saturating_mul(size_of::<T>()).max(1);
    (LOOKED_UP_BYTES / size).min(LOOKED_UP)
}

/// Nothing was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// So many events went before they were received. The next call receives
    /// the oldest that is left.
    #[error("failed to receive: {0} events were missed")]
    Lagged(u64),
    /// There is nothing new now.
    #[error("failed to receive: no new event")]
    Empty,
    /// There was nothing new for all this time.
    #[error("failed to receive: no new event for {:.3} s", waited.as_secs_f64())]
    TimedOut {
        /// How long it was waited for.
        waited: Duration,
    },
    /// All was received, and nothing more will be sent.
    #[error("failed to receive: the broadcaster is closed")]
    Closed,
}

/// Receives events from its position on.
///
/// What left the broadcaster is missed, and counted. Only plain small events
/// that lie in the block of the last one received are received all the same:
/// see [`Event`]. No event is received once it has expired.
pub struct Subscriber<T> {
    shared: Arc<Shared<T>>,
    /// The number of the next event to receive.
    position: u64,
    missed: u64,
    /// The next event, where it was looked up already, in a block with others.
    at_hand: Option<Event<T>>,
    /// The blocks that follow.
    ahead: VecDeque<Weak<Block<T>>>,
}

/// The clone has its own position, which is the same at first.
impl<T> Clone for Subscriber<T> {
    fn clone(&self) -> Self {
        Self::at(Arc::clone(&self.shared), self.position)
    }
}

impl<T> fmt::Debug for Subscriber<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Subscriber")
            .field("broadcaster", &self.shared.name)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl<T> Subscriber<T> {
    pub(super) fn at(shared: Arc<Shared<T>>, position: u64) -> Self {
        Self {
            shared,
            position,
            missed: 0,
            at_hand: None,
            ahead: VecDeque::new(),
        }
    }

    /// Receives the next event, if there is one.
    ///
    /// # Errors
    /// [`RecvError::Lagged`], [`RecvError::Empty`] or [`RecvError::Closed`].
    pub fn try_recv(&mut self) -> Result<Event<T>, RecvError> {
        self.next(None)
    }

    /// Receives up to `most` events to the end of `into`, and tells how many.
    ///
    /// # Errors
    /// Those of [`Self::try_recv`], when there is not one.
    pub fn try_recv_many(
        &mut self,
        into: &mut Vec<Event<T>>,
        most: usize,
    ) -> Result<usize, RecvError> {
        if most == 0 {
            return Ok(0);
        }
        into.push(self.next(None)?);
        self.forget();
        let mut ring = self.shared.ring();
        // Older ones went meanwhile: the next call tells.
        if self.position < ring.first {
            return Ok(1);
        }
        let before = into.len();
        if let Some((from, blocks)) = ring.from(self.position, most - 1) {
            let events = blocks.flat_map(|block| {
                let indexes = 0..block.slots().len();
                indexes.map(|index| Event::new(Arc::clone(block), index))
            });
            into.extend(events.skip(from).take(most - 1));
        }
        drop(ring);
        let more = into.len() - before;
        self.position += more as u64;
        Ok(1 + more)
    }

    /// Receives the next event; waits in this thread until there is one.
    ///
    /// # Errors
    /// [`RecvError::Lagged`] or [`RecvError::Closed`].
    pub fn recv(&mut self) -> Result<Event<T>, RecvError> {
        self.recv_until(None)
    }

    /// Receives the next event; waits in this thread for at most `timeout`.
    ///
    /// # Errors
    /// [`RecvError::Lagged`], [`RecvError::TimedOut`] or [`RecvError::Closed`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Event<T>, RecvError> {
        self.recv_until(Some(timeout))
    }

    fn recv_until(&mut self, timeout: Option<Duration>) -> Result<Event<T>, RecvError> {
        match self.next(None) {
            Err(RecvError::Empty) => {}
            done => return done,
        }
        let start = Instant::now();
        let until = timeout.and_then(|timeout| start.checked_add(timeout));
        if spin(|| self.shared.next.load(Ordering::Acquire) != self.position) {
            match self.next(None) {
                Err(RecvError::Empty) => {}
                done => return done,
            }
        }
        let mut receiving = self.recv_async();
        block(until, |context| receiving.poll_next(context)).unwrap_or_else(|| {
            Err(RecvError::TimedOut {
                waited: start.elapsed(),
            })
        })
    }

    /// Receives the next event as a task. Dropping the future loses nothing.
    pub fn recv_async(&mut self) -> RecvFuture<'_, T> {
        RecvFuture {
            subscriber: self,
            place: None,
        }
    }

    /// How many events it missed so far.
    #[must_use]
    pub const fn missed(&self) -> u64 {
        self.missed
    }

    /// How many events are sent and not received, those that went included.
    #[must_use]
    pub fn behind(&self) -> u64 {
        self.shared
            .next
            .load(Ordering::Acquire)
            .saturating_sub(self.position)
    }

    /// The next event; with a waker, waits for one.
    #[inline]
    fn next(&mut self, waiter: Option<(&mut Option<u64>, Waker)>) -> Result<Event<T>, RecvError> {
        if let Some(event) = self.next_ahead() {
            self.position += 1;
            return Ok(event);
        }
        self.forget();
        gather(GATHERED, || self.behind());
        self.look_up(waiter)
    }

    /// Forgets what was looked up.
    fn forget(&mut self) {
        self.at_hand = None;
        self.ahead.clear();
    }

    /// The next event, if it was looked up already and is still there.
    #[inline]
    fn next_ahead(&mut self) -> Option<Event<T>> {
        let next = match self.at_hand.take() {
            Some(next) => next,
            None => Event::new(self.ahead.pop_front()?.upgrade()?, 0),
        };
        let now = nanoseconds(self.shared.clock.now());
        if !next.slot().is_fresh(now, self.shared.ttl) {
            return None;
        }
        self.at_hand = next.following();
        Some(next)
    }

    fn look_up(
        &mut self,
        waiter: Option<(&mut Option<u64>, Waker)>,
    ) -> Result<Event<T>, RecvError> {
        let shared = &*self.shared;
        let now = nanoseconds(shared.clock.now());
        let mut gone = Gone::default();
        let mut replaced = None;
        let mut ring = shared.ring();
        shared.expire(&mut ring, now, &mut gone);
        let result = if self.position < ring.first {
            let missed = ring.first - self.position;
            self.position = ring.first;
            self.missed = self.missed.saturating_add(missed);
            Err(RecvError::Lagged(missed))
        } else if let Some((index, mut blocks)) = ring.from(self.position, 1)
            && let Some(block) = blocks.next()
        {
            let event = Event::new(Arc::clone(block), index);
            let ahead = blocks.take(looked_up::<T>(shared.per_block));
            self.ahead.extend(ahead.map(Arc::downgrade));
            self.at_hand = event.following();
            self.position += 1;
            Ok(event)
        } else if ring.closed {
            Err(RecvError::Closed)
        } else {
            if let Some((place, waker)) = waiter {
                replaced = ring.waiting.enter(place, waker, false);
            }
            Err(RecvError::Empty)
        };
        drop(ring);
        drop(replaced);
        gone.discard();
        result
    }
}

/// The next event, once there is one. Dropping it moves nothing.
#[must_use = "a future does nothing until it is awaited"]
pub struct RecvFuture<'s, T> {
    subscriber: &'s mut Subscriber<T>,
    place: Option<u64>,
}

impl<T> fmt::Debug for RecvFuture<'_, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("RecvFuture")
            .field(&self.subscriber)
            .finish()
    }
}

impl<T> RecvFuture<'_, T> {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Event<T>, RecvError>> {
        let waker = context.waker().clone();
        match self.subscriber.next(Some((&mut self.place, waker))) {
            Err(RecvError::Empty) => Poll::Pending,
            done => Poll::Ready(done),
        }
    }
}

impl<T> Future for RecvFuture<'_, T> {
    type Output = Result<Event<T>, RecvError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_next(context)
    }
}

impl<T> Drop for RecvFuture<'_, T> {
    fn drop(&mut self) {
        // All who wait are woken by each event, so nobody depends on us.
        if let Some(place) = self.place.take() {
            let left = self.subscriber.shared.ring().waiting.leave(place);
            drop(left);
        }
    }
}
