//! A channel that is bounded by what its messages weigh: a work queue whose
//! ends know when the other end is gone.
//!
//! Never bounded by a count: a message weighs its own size at least, so bytes
//! bound how many there are.

use std::fmt;
use std::time::Duration;

use grey_model::Bytes;

use crate::budget::Component;
use crate::queue::charge::discard;
use crate::queue::core::Core;
use crate::queue::pop::{PopFuture, pop_now, pop_waiting};
use crate::queue::push::{PushFuture, push_now, push_waiting, weigh};
use crate::queue::settings::Limits;
use crate::queue::{PopError, PushError};
use crate::sync::{Arc, AtomicUsize, Ordering};

/// A channel of messages that weigh at most `limit` together, charged to
/// `component`. `weigh` tells what a message weighs in all; one weighs its own
/// size (`size_of`) at least. What their places take beside that,
/// [`WorkQueue::WEIGHED_ITEM_OVERHEAD`](crate::WorkQueue::WEIGHED_ITEM_OVERHEAD)
/// for each, is charged to the component and does not count for the limit.
pub fn bounded_bytes<T>(
    component: Component,
    limit: Bytes,
    weigh: impl Fn(&T) -> Bytes + Send + Sync + 'static,
) -> (ByteSender<T>, ByteReceiver<T>) {
    let limits = Limits {
        items: u64::MAX,
        bytes: limit.get(),
    };
    let shared = Arc::new(Shared {
        core: Core::new(component, limits, Some(Box::new(weigh))),
        senders: AtomicUsize::new(1),
        receivers: AtomicUsize::new(1),
    });
    let sender = ByteSender {
        shared: Arc::clone(&shared),
    };
    (sender, ByteReceiver { shared })
}

#[derive(Debug)]
struct Shared<T> {
    core: Core<T>,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

/// Where messages go in. Clones send into the same channel; it closes with the
/// last of them, and what is inside is still received.
pub struct ByteSender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> fmt::Debug for ByteSender<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("ByteSender")
            .field(&self.shared.core)
            .finish()
    }
}

impl<T> Clone for ByteSender<T> {
    fn clone(&self) -> Self {
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T> Drop for ByteSender<T> {
    fn drop(&mut self) {
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.core.close();
        }
    }
}

impl<T> ByteSender<T> {
    /// Sends; waits in this thread until there is room.
    ///
    /// # Errors
    /// [`PushError`], with the message in it: closed when no receiver is left.
    pub fn send(&self, message: T) -> Result<(), PushError<T>> {
        let core = &self.shared.core;
        push_waiting(core, weigh(core, message)?, None)
    }

    /// Sends at once or not at all.
    ///
    /// # Errors
    /// [`PushError`], with the message in it.
    pub fn try_send(&self, message: T) -> Result<(), PushError<T>> {
        let core = &self.shared.core;
        push_now(core, weigh(core, message)?)
    }

    /// Sends; waits in this thread for at most `timeout`.
    ///
    /// # Errors
    /// [`PushError`], with the message in it.
    pub fn send_timeout(&self, message: T, timeout: Duration) -> Result<(), PushError<T>> {
        let core = &self.shared.core;
        push_waiting(core, weigh(core, message)?, Some(timeout))
    }

    /// Sends as a task, once there is room.
    pub fn send_async(&self, message: T) -> PushFuture<'_, T> {
        PushFuture::new(&self.shared.core, message, true)
    }

    /// What is inside weighs so much, which is what the limit bounds. While
    /// others receive, nearly.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.shared.core.bytes()
    }
}

/// Where messages come out. Clones share the messages: each is received once.
/// With the last of them the channel closes, and what is inside is dropped.
pub struct ByteReceiver<T> {
    shared: Arc<Shared<T>>,
}

impl<T> fmt::Debug for ByteReceiver<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("ByteReceiver")
            .field(&self.shared.core)
            .finish()
    }
}

impl<T> Clone for ByteReceiver<T> {
    fn clone(&self) -> Self {
        self.shared.receivers.fetch_add(1, Ordering::Relaxed);
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T> Drop for ByteReceiver<T> {
    fn drop(&mut self) {
        if self.shared.receivers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.core.close();
            let mut left = Vec::new();
            while self.shared.core.take_many(&mut left, usize::MAX) > 0 {}
            discard(left);
            // Found empty, it gives back what it had reserved.
            self.shared.core.trim();
        }
    }
}

impl<T> ByteReceiver<T> {
    /// Receives the oldest; waits in this thread until there is one.
    ///
    /// # Errors
    /// [`PopError::Closed`], once no sender is left and all was received.
    pub fn recv(&self) -> Result<T, PopError> {
        pop_waiting(&self.shared.core, None)
    }

    /// Receives the oldest, if there is one.
    ///
    /// # Errors
    /// [`PopError::Empty`] or [`PopError::Closed`].
    pub fn try_recv(&self) -> Result<T, PopError> {
        pop_now(&self.shared.core)
    }

    /// Receives the oldest; waits in this thread for at most `timeout`.
    ///
    /// # Errors
    /// [`PopError::TimedOut`] or [`PopError::Closed`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, PopError> {
        pop_waiting(&self.shared.core, Some(timeout))
    }

    /// Receives the oldest as a task. Dropping the future loses nothing.
    pub fn recv_async(&self) -> PopFuture<'_, T> {
        PopFuture::new(&self.shared.core)
    }

    /// What is inside weighs so much, which is what the limit bounds. While
    /// others receive, nearly.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.shared.core.bytes()
    }
}

#[cfg(test)]
#[cfg(not(grey_loom))]
mod tests;
