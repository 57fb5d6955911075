//! The work queue, as the program uses it.
//!
//! Never waits where its function does not say so.

use std::time::{Duration, Instant};

use grey_model::{Bytes, Priority};

use super::core::Core;
use super::ends::Slot;
use super::error::{PopError, PushError, PushManyError};
use super::pop::{PopFuture, pop_now, pop_waiting};
use super::push::{PushFuture, push_now, push_waiting, weigh, within_limits};
use super::row::Row;
use super::settings::{FullPolicy, WorkQueueBuilder};
use crate::budget::Component;
use crate::reclaimer::{ReclaimMode, ReclaimRequest, Reclaimed, Reclaimer, Stop};
use crate::sync::Arc;

/// A queue of work for any number of producers and consumers, bounded in items
/// and in bytes, and charged to a component. Clones are handles to the same
/// queue. The limits are for what is inside now, however much went through.
///
/// Of the budget an item takes what it weighs, and what its place takes:
/// [`Self::ITEM_OVERHEAD`], or [`Self::WEIGHED_ITEM_OVERHEAD`] in a queue with a
/// weigher. Bytes are reserved in quanta of up to 64 KiB: the queue takes what is
/// inside and up to two quanta more, and nothing once it is found empty. Up to
/// four empty blocks of 4 KiB, or of one item if that is larger, stay for what
/// comes next until it is trimmed, and as many for weights; nobody is charged
/// for these.
///
/// A forked child must not use a queue of its parent before `exec`: a lock that
/// another thread of the parent held is never opened there.
#[derive(Debug)]
pub struct WorkQueue<T> {
    core: Arc<Core<T>>,
    policy: FullPolicy,
}

impl<T> Clone for WorkQueue<T> {
    fn clone(&self) -> Self {
        Self {
            core: Arc::clone(&self.core),
            policy: self.policy,
        }
    }
}

impl<T> WorkQueue<T> {
    /// What an item takes of the budget beside its weight, where no weigher tells
    /// that: its part of what a block of items takes, rounded.
    pub const ITEM_OVERHEAD: Bytes = Bytes(Row::<T>::ITEM_OVERHEAD);

    /// What an item takes of the budget beside what the weigher tells: the same,
    /// and its weight, which is kept.
    pub const WEIGHED_ITEM_OVERHEAD: Bytes = Bytes(Row::<T>::WEIGHED_OVERHEAD);

    /// 10,000 items, 10 MiB; who comes when it is full waits.
    #[must_use]
    pub fn new(component: Component) -> Self {
        Self::builder(component).build()
    }

    /// A queue with limits of its own.
    pub fn builder(component: Component) -> WorkQueueBuilder<T> {
        WorkQueueBuilder::new(component)
    }

    pub(super) fn of(core: Core<T>, policy: FullPolicy) -> Self {
        Self {
            core: Arc::new(core),
            policy,
        }
    }

    /// Pushes; when it is full, does what the queue was made with.
    ///
    /// # Errors
    /// [`PushError`], with the item in it.
    #[inline]
    pub fn push(&self, item: T) -> Result<(), PushError<T>> {
        let slot = weigh(&self.core, item)?;
        match self.policy {
            FullPolicy::Block => push_waiting(&self.core, slot, None),
            FullPolicy::Timeout(timeout) => push_waiting(&self.core, slot, Some(timeout)),
            FullPolicy::Reject => push_now(&self.core, slot),
        }
    }

    /// Pushes at once or not at all.
    ///
    /// # Errors
    /// [`PushError`], with the item in it.
    #[inline]
    pub fn try_push(&self, item: T) -> Result<(), PushError<T>> {
        push_now(&self.core, weigh(&self.core, item)?)
    }

    /// Pushes; when it is full, waits in this thread for at most `timeout`.
    ///
    /// # Errors
    /// [`PushError`], with the item in it.
    pub fn push_timeout(&self, item: T, timeout: Duration) -> Result<(), PushError<T>> {
        push_waiting(&self.core, weigh(&self.core, item)?, Some(timeout))
    }

    /// Pushes as a task. Under [`FullPolicy::Reject`] it does not wait, else it
    /// waits without an end: only the runtime has a timer.
    pub fn push_async(&self, item: T) -> PushFuture<'_, T> {
        PushFuture::new(&self.core, item, self.policy != FullPolicy::Reject)
    }

    /// Pushes all `items` in their order, many at once, and tells how many; when
    /// it is full, does what the queue was made with.
    ///
    /// # Errors
    /// [`PushManyError`]; what was not pushed is left in `items`. What stood
    /// before it is inside.
    pub fn push_many(&self, items: &mut Vec<T>) -> Result<usize, PushManyError> {
        let mut left = self.core.weigh_all(items);
        let count = left.len();
        let result = self.push_left(&mut left);
        items.extend(left.take_items());
        result.map(|()| count)
    }

    fn push_left(&self, left: &mut Row<T>) -> Result<(), PushManyError> {
        let mut until = None;
        loop {
            self.core.insert_many(left);
            let Some(slot) = left.pop() else {
                return Ok(());
            };
            let bytes = slot.bytes;
            // The first that does not fit waits, and brings the others along.
            let pushed = within_limits(&self.core, slot).and_then(|slot| match self.policy {
                FullPolicy::Timeout(timeout) => {
                    let now = Instant::now();
                    let end = *until.get_or_insert_with(|| now.checked_add(timeout));
                    let rest = end.map_or(timeout, |end| end.saturating_duration_since(now));
                    push_waiting(&self.core, slot, Some(rest))
                }
                FullPolicy::Block => push_waiting(&self.core, slot, None),
                FullPolicy::Reject => push_now(&self.core, slot),
            });
            if let Err(error) = pushed {
                let (item, error) = error.split();
                left.put_back(Slot { item, bytes });
                return Err(error);
            }
        }
    }

    /// Pops the oldest; waits in this thread until there is one.
    ///
    /// # Errors
    /// [`PopError::Closed`], once the queue is closed and empty.
    #[inline]
    pub fn pop(&self) -> Result<T, PopError> {
        pop_waiting(&self.core, None)
    }

    /// Pops the oldest, if there is one.
    ///
    /// # Errors
    /// [`PopError::Empty`] or [`PopError::Closed`].
    #[inline]
    pub fn try_pop(&self) -> Result<T, PopError> {
        pop_now(&self.core)
    }

    /// Pops the oldest; waits in this thread for at most `timeout`.
    ///
    /// # Errors
    /// [`PopError::TimedOut`] or [`PopError::Closed`].
    pub fn pop_timeout(&self, timeout: Duration) -> Result<T, PopError> {
        pop_waiting(&self.core, Some(timeout))
    }

    /// Pops the oldest as a task. Dropping the future loses nothing.
    pub fn pop_async(&self) -> PopFuture<'_, T> {
        PopFuture::new(&self.core)
    }

    /// Pops up to `most` of the oldest to the end of `into`, and tells how many;
    /// waits in this thread until there is one.
    ///
    /// # Errors
    /// [`PopError::Closed`], once the queue is closed and empty.
    pub fn pop_many(&self, into: &mut Vec<T>, most: usize) -> Result<usize, PopError> {
        if most == 0 {
            return Ok(0);
        }
        let count = self.core.take_many(into, most);
        if count > 0 {
            return Ok(count);
        }
        into.push(self.pop()?);
        Ok(1 + self.core.take_many(into, most - 1))
    }

    /// Pops up to `most` of the oldest to the end of `into`, and tells how many:
    /// 0 if there is nothing now.
    pub fn try_pop_many(&self, into: &mut Vec<T>, most: usize) -> usize {
        self.core.take_many(into, most)
    }

    /// Takes nothing more. Who waits to push gets the item back; what is inside
    /// can still be popped, and after that popping tells that it is closed.
    pub fn close(&self) {
        self.core.close();
    }

    /// Closes it and takes out what is inside.
    pub fn close_and_drain(&self) -> Vec<T> {
        self.core.close();
        let mut items = Vec::new();
        // The outbox first, then the inbox; nothing comes in any more.
        while self.core.take_many(&mut items, usize::MAX) > 0 {}
        items
    }

    /// Whether it takes nothing more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.core.is_closed()
    }

    /// How many items are inside. While others push and pop, nearly.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.core.items()
    }

    /// Whether nothing is inside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is inside weighs so much, which is what [`Self::max_bytes`] bounds.
    /// While others pop, nearly.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.core.bytes()
    }

    /// Whether more than 90 % of its items are inside: time to send less.
    #[must_use]
    pub fn is_nearly_full(&self) -> bool {
        self.len() > self.core.nearly_full_above()
    }

    /// How many threads and tasks wait for room in it.
    #[must_use]
    pub fn waiting_for_room(&self) -> usize {
        self.core.waiting().0
    }

    /// How many threads and tasks wait for an item.
    #[must_use]
    pub fn waiting_for_items(&self) -> usize {
        self.core.waiting().1
    }

    /// The most items inside at once.
    #[must_use]
    pub fn max_items(&self) -> u64 {
        self.core.limits().items
    }

    /// The most bytes inside at once.
    #[must_use]
    pub fn max_bytes(&self) -> Bytes {
        Bytes(self.core.limits().bytes)
    }

    /// Whom it is charged to.
    #[must_use]
    pub fn component(&self) -> &Component {
        self.core.component()
    }
}

/// Work is never dropped; what can be given back is room that nothing is in.
impl<T: Send> Reclaimer for WorkQueue<T> {
    fn name(&self) -> &str {
        self.core.name()
    }

    fn priority(&self) -> Priority {
        self.core.component().priority()
    }

    fn reclaimable(&self, mode: ReclaimMode) -> Bytes {
        match mode {
            ReclaimMode::Trim => self.core.slack(),
            ReclaimMode::Unload | ReclaimMode::Spill | ReclaimMode::Evict => Bytes::ZERO,
        }
    }

    fn reclaim(&self, request: &ReclaimRequest, _stop: &Stop) -> Reclaimed {
        let freed = match request.mode {
            ReclaimMode::Trim => self.core.trim(),
            ReclaimMode::Unload | ReclaimMode::Spill | ReclaimMode::Evict => Bytes::ZERO,
        };
        Reclaimed {
            freed,
            ..Reclaimed::default()
        }
    }

    fn modes(&self) -> &[ReclaimMode] {
        &[ReclaimMode::Trim]
    }
}
