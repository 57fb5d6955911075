//! What a broadcaster is made with, and why it does not send.
//!
//! Never changes once the broadcaster is made.

use std::fmt;
use std::time::Duration;

use crossbeam_utils::CachePadded;
use grey_model::Bytes;

use super::event::{events_in_block, nanoseconds};
use super::{Broadcaster, CoarseClock, Ring, Shared, own_weight};
use crate::budget::{Component, ReserveError};
use crate::clock::Clock;
use crate::queue::charge::{Charge, quantum_of};
use crate::queue::settings::Weigher;
use crate::sync::{AtomicU64, Mutex};

/// Most events that are kept, unless said otherwise.
const DEFAULT_EVENTS: usize = 1_000;

/// Most bytes that are kept, unless said otherwise: about 10 KiB an event.
const DEFAULT_BYTES: Bytes = Bytes::from_mib(10);

/// How long an event is kept, unless said otherwise.
const DEFAULT_TTL: Duration = Duration::from_secs(60);

/// An event was not sent.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum BroadcastError<T> {
    /// The broadcaster is closed.
    #[error("failed to broadcast on `{broadcaster}`: it is closed")]
    Closed {
        /// Which broadcaster.
        broadcaster: std::sync::Arc<str>,
        /// The event.
        event: std::sync::Arc<T>,
    },
    /// The event is larger than all that may be kept.
    #[error(
        "failed to broadcast on `{broadcaster}`: the event weighs {weight}, {limit} may be kept"
    )]
    TooLarge {
        /// Which broadcaster.
        broadcaster: std::sync::Arc<str>,
        /// What it weighs.
        weight: Bytes,
        /// What may be kept.
        limit: Bytes,
        /// The event.
        event: std::sync::Arc<T>,
    },
    /// The budget has no bytes for it, even without all older events.
    #[error("failed to broadcast on `{broadcaster}`: no memory for the event")]
    Refused {
        /// Which broadcaster.
        broadcaster: std::sync::Arc<str>,
        /// Why.
        #[source]
        source: ReserveError,
        /// The event.
        event: std::sync::Arc<T>,
    },
}

/// Without the event, which need not know how to print itself.
impl<T> fmt::Debug for BroadcastError<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "BroadcastError({self})")
    }
}

/// A broadcaster before it is made.
#[must_use = "a broadcaster exists once it is built"]
pub struct BroadcasterBuilder<T> {
    pub(super) component: Component,
    pub(super) events: usize,
    pub(super) bytes: Bytes,
    pub(super) ttl: Duration,
    pub(super) weigher: Option<Weigher<T>>,
    pub(super) clock: std::sync::Arc<dyn Clock>,
}

impl<T> fmt::Debug for BroadcasterBuilder<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("BroadcasterBuilder")
            .field("component", &self.component.name())
            .field("events", &self.events)
            .field("bytes", &self.bytes)
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

impl<T> BroadcasterBuilder<T> {
    pub(super) fn new(component: Component) -> Self {
        Self {
            component,
            events: DEFAULT_EVENTS,
            bytes: DEFAULT_BYTES,
            ttl: DEFAULT_TTL,
            weigher: None,
            clock: std::sync::Arc::new(CoarseClock),
        }
    }

    /// The most events that are kept; at least 1. 1,000 if not said.
    pub fn capacity(mut self, events: usize) -> Self {
        self.events = events.max(1);
        self
    }

    /// The most bytes that are kept: what all events weigh together. What each
    /// takes beside that, [`Broadcaster::EVENT_OVERHEAD`] at most, is charged to
    /// the budget and does not count here. 10 MiB if not said.
    pub fn max_bytes(mut self, bytes: Bytes) -> Self {
        self.bytes = bytes;
        self
    }

    /// How long an event is kept. 60 seconds if not said. No subscriber gets
    /// it later; its bytes are given back when something is sent, received or
    /// counted next, or when the broadcaster is trimmed.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Tells what an event weighs in all; it weighs its own size (`size_of`) at
    /// least, and just that if not said. Called by whoever sends.
    pub fn weigher(mut self, weigh: impl Fn(&T) -> Bytes + Send + Sync + 'static) -> Self {
        self.weigher = Some(Box::new(weigh));
        self
    }

    /// Tells the time; a [`CoarseClock`] if not said, because reading the
    /// precise one can cost more than sending.
    pub fn clock(mut self, clock: std::sync::Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Makes it.
    pub fn build(self) -> Broadcaster<T> {
        let per_block = events_in_block::<T>(self.events, self.weigher.is_some());
        let charge = Charge::new(&self.component);
        let ring = Ring::new(self.events, per_block, own_weight::<T>(), charge);
        Broadcaster {
            shared: std::sync::Arc::new(Shared {
                name: self.component.name().into(),
                quantum: quantum_of(self.bytes.get()),
                events: self.events,
                bytes: self.bytes.get(),
                ttl: nanoseconds(self.ttl),
                per_block,
                weigher: self.weigher,
                clock: self.clock,
                senders: AtomicU64::new(1),
                next: CachePadded::new(AtomicU64::new(0)),
                ring: CachePadded::new(Mutex::new(ring)),
                component: self.component,
            }),
        }
    }
}
