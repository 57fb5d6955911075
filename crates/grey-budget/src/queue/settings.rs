//! What a queue is made with.
//!
//! Never changes once the queue is made.

use std::fmt;
use std::time::Duration;

use grey_model::Bytes;

use super::core::Core;
use super::handle::WorkQueue;
use crate::budget::Component;

/// Most items in a queue, unless said otherwise.
pub(crate) const DEFAULT_ITEMS: u64 = 10_000;

/// Most bytes in a queue, unless said otherwise: about 1 KiB an item.
const DEFAULT_BYTES: Bytes = Bytes::from_mib(10);

/// What happens to an item that comes when the queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FullPolicy {
    /// It waits until there is room.
    #[default]
    Block,
    /// It waits for this long at most. A task that pushes waits as with
    /// [`Self::Block`], because only its runtime has a timer.
    Timeout(Duration),
    /// It is given back at once.
    Reject,
}

/// Tells what an item weighs.
pub(crate) type Weigher<T> = Box<dyn Fn(&T) -> Bytes + Send + Sync>;

/// The limits of one queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) items: u64,
    pub(crate) bytes: u64,
}

/// A work queue before it is made.
#[must_use = "a queue exists once it is built"]
pub struct WorkQueueBuilder<T> {
    component: Component,
    limits: Limits,
    policy: FullPolicy,
    weigher: Option<Weigher<T>>,
}

impl<T> fmt::Debug for WorkQueueBuilder<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WorkQueueBuilder")
            .field("component", &self.component.name())
            .field("limits", &self.limits)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl<T> WorkQueueBuilder<T> {
    pub(super) fn new(component: Component) -> Self {
        Self {
            component,
            limits: Limits {
                items: DEFAULT_ITEMS,
                bytes: DEFAULT_BYTES.get(),
            },
            policy: FullPolicy::default(),
            weigher: None,
        }
    }

    /// The most items inside at once; of 0, every item is refused as too large.
    /// 10,000 if not said.
    pub fn max_items(mut self, items: u64) -> Self {
        self.limits.items = items;
        self
    }

    /// The most bytes inside at once: what all items weigh together. What their
    /// places take beside that, [`WorkQueue::ITEM_OVERHEAD`] or
    /// [`WorkQueue::WEIGHED_ITEM_OVERHEAD`] for each, is charged to the budget and
    /// does not count here. 10 MiB if not said.
    pub fn max_bytes(mut self, bytes: Bytes) -> Self {
        self.limits.bytes = bytes.get();
        self
    }

    /// What happens to an item that comes when it is full; waits if not said.
    pub fn when_full(mut self, policy: FullPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Tells what an item weighs in all, what it points to included. An item
    /// weighs its own size (`size_of`) at least, and just that if not said.
    /// Called by whoever pushes, under no lock; a panic is the pusher's.
    pub fn weigher(mut self, weigh: impl Fn(&T) -> Bytes + Send + Sync + 'static) -> Self {
        self.weigher = Some(Box::new(weigh));
        self
    }

    /// Makes it.
    pub fn build(mut self) -> WorkQueue<T> {
        if self.limits.items == 0 {
            // So that nobody waits for room that never comes.
            self.limits.bytes = 0;
        }
        let core = Core::new(self.component, self.limits, self.weigher);
        WorkQueue::of(core, self.policy)
    }
}
