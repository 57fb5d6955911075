//! Why nothing was pushed or popped. A refused item is in the error.
//!
//! Never drops an item.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use grey_model::Bytes;

use crate::budget::ReserveError;

/// An item was not pushed.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum PushError<T> {
    /// The queue is at its limit.
    #[error("failed to push to `{queue}`: it is full with {items} items, {bytes}")]
    Full {
        /// Which queue.
        queue: Arc<str>,
        /// How many items it held.
        items: u64,
        /// What they weighed.
        bytes: Bytes,
        /// The item.
        item: T,
    },
    /// The queue stayed full.
    #[error("failed to push to `{queue}`: it was full for {}", Seconds(*waited))]
    TimedOut {
        /// Which queue.
        queue: Arc<str>,
        /// How long it was waited for.
        waited: Duration,
        /// The item.
        item: T,
    },
    /// The item is larger than the whole queue may be.
    #[error("failed to push to `{queue}`: the item weighs {weight}, the queue may hold {limit}")]
    TooLarge {
        /// Which queue.
        queue: Arc<str>,
        /// What it weighs.
        weight: Bytes,
        /// What the queue may hold.
        limit: Bytes,
        /// The item.
        item: T,
    },
    /// The queue was closed.
    #[error("failed to push to `{queue}`: it is closed")]
    Closed {
        /// Which queue.
        queue: Arc<str>,
        /// The item.
        item: T,
    },
    /// The budget has no bytes for it.
    #[error("failed to push to `{queue}`: no memory for the item")]
    Refused {
        /// Which queue.
        queue: Arc<str>,
        /// Why.
        #[source]
        source: Box<ReserveError>,
        /// The item.
        item: T,
    },
}

impl<T> PushError<T> {
    /// The item.
    pub fn into_item(self) -> T {
        self.split().0
    }

    /// Whether the same push may succeed later.
    #[must_use]
    pub const fn may_retry(&self) -> bool {
        match self {
            Self::Full { .. } | Self::TimedOut { .. } => true,
            Self::TooLarge { .. } | Self::Closed { .. } => false,
            Self::Refused { source, .. } => source.may_retry(),
        }
    }

    /// The item, and the error without it.
    pub(super) fn split(self) -> (T, PushManyError) {
        match self {
            Self::Full {
                queue,
                items,
                bytes,
                item,
            } => (
                item,
                PushManyError::Full {
                    queue,
                    items,
                    bytes,
                },
            ),
            Self::TimedOut {
                queue,
                waited,
                item,
            } => (item, PushManyError::TimedOut { queue, waited }),
            Self::TooLarge {
                queue,
                weight,
                limit,
                item,
            } => (
                item,
                PushManyError::TooLarge {
                    queue,
                    weight,
                    limit,
                },
            ),
            Self::Closed { queue, item } => (item, PushManyError::Closed { queue }),
            Self::Refused {
                queue,
                source,
                item,
            } => (item, PushManyError::Refused { queue, source }),
        }
    }
}

/// Without the item, which need not know how to print itself.
impl<T> fmt::Debug for PushError<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Full { .. } => "Full",
            Self::TimedOut { .. } => "TimedOut",
            Self::TooLarge { .. } => "TooLarge",
            Self::Closed { .. } => "Closed",
            Self::Refused { .. } => "Refused",
        };
        write!(formatter, "PushError::{name}({self})")
    }
}

/// Not all of a batch was pushed; what was not is left with the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushManyError {
    /// The queue is at its limit.
    #[error("failed to push a batch to `{queue}`: it is full with {items} items, {bytes}")]
    Full {
        /// Which queue.
        queue: Arc<str>,
        /// How many items it held.
        items: u64,
        /// What they weighed.
        bytes: Bytes,
    },
    /// The queue stayed full.
    #[error("failed to push a batch to `{queue}`: it was full for {}", Seconds(*waited))]
    TimedOut {
        /// Which queue.
        queue: Arc<str>,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The first item that is left is larger than the whole queue may be.
    #[error(
        "failed to push a batch to `{queue}`: an item weighs {weight}, the queue may hold {limit}"
    )]
    TooLarge {
        /// Which queue.
        queue: Arc<str>,
        /// What it weighs.
        weight: Bytes,
        /// What the queue may hold.
        limit: Bytes,
    },
    /// The queue was closed.
    #[error("failed to push a batch to `{queue}`: it is closed")]
    Closed {
        /// Which queue.
        queue: Arc<str>,
    },
    /// The budget has no bytes for the first item that is left.
    #[error("failed to push a batch to `{queue}`: no memory for an item")]
    Refused {
        /// Which queue.
        queue: Arc<str>,
        /// Why.
        #[source]
        source: Box<ReserveError>,
    },
}

/// Nothing was popped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PopError {
    /// There is nothing now.
    #[error("failed to pop: the queue is empty")]
    Empty,
    /// There was nothing for all this time.
    #[error("failed to pop: the queue was empty for {}", Seconds(*waited))]
    TimedOut {
        /// How long it was waited for.
        waited: Duration,
    },
    /// There is nothing, and nothing will come.
    #[error("failed to pop: the queue is closed and empty")]
    Closed,
}

/// A duration for people.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:.3} s", self.0.as_secs_f64())
    }
}
