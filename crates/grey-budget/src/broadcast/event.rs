//! Events as they are kept: plain small ones some dozen in a block, which share
//! one count of holders; all others each in a block of its own.
//!
//! Never puts two events into one block that have something to drop, or whose
//! weight somebody told: those end, and are given back, one by one.

use std::fmt;
use std::mem::needs_drop;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::queue::heap::{piece, shared_piece};

/// The most events in one block, and the most bytes.
const MOST_EVENTS: usize = 32;
const MOST_BYTES: usize = 4 << 10;

/// Of this many blocks at least the capacity of a broadcaster is made.
const FEWEST_BLOCKS: usize = 8;

/// How many events of this kind are in one block when it is full.
pub(super) fn events_in_block<T>(capacity: usize, weighed: bool) -> usize {
    if weighed || needs_drop::<T>() {
        return 1;
    }
    (MOST_BYTES / size_of::<Slot<T>>())
        .min(capacity / FEWEST_BLOCKS)
        .clamp(1, MOST_EVENTS)
}

/// An event and since when it is there.
pub(super) struct Slot<T> {
    pub(super) event: T,
    since: u64,
}

impl<T> Slot<T> {
    /// `since` is in nanoseconds of the broadcaster's clock.
    pub(super) const fn new(event: T, since: u64) -> Self {
        Self { event, since }
    }

    /// Whether at `now` it is younger than `ttl`, both in nanoseconds.
    #[inline]
    pub(super) const fn is_fresh(&self, now: u64, ttl: u64) -> bool {
        now.saturating_sub(self.since) < ttl
    }
}

/// As many nanoseconds as can be counted: 584 years.
#[inline]
pub(super) fn nanoseconds(time: Duration) -> u64 {
    time.as_secs()
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::from(time.subsec_nanos()))
}

/// Events that are kept and let go together.
pub(super) enum Block<T> {
    /// Without memory of its own beside that of the count.
    One(Slot<T>),
    Some(Vec<Slot<T>>),
}

impl<T> Block<T> {
    /// Takes the place of what it held: `events`, of which a full block has
    /// `full`. Never holds more memory than its events need.
    pub(super) fn fill(&mut self, events: &mut Vec<Slot<T>>, full: usize) {
        match self {
            Self::Some(slots) if events.len() == full => {
                slots.clear();
                std::mem::swap(slots, events);
            }
            _ => *self = Self::of(events, full),
        }
    }

    /// A block of `events`, which are taken out.
    pub(super) fn of(events: &mut Vec<Slot<T>>, full: usize) -> Self {
        if events.len() == full {
            return Self::Some(std::mem::take(events));
        }
        match events.pop() {
            Some(only) if events.is_empty() => Self::One(only),
            last => Self::Some(events.drain(..).chain(last).collect()),
        }
    }

    /// What a block of one event takes.
    pub(super) const ALONE: usize = shared_piece(size_of::<Self>());

    /// What a block of so many events takes.
    pub(super) const fn size_of(events: usize) -> usize {
        match events {
            1 => Self::ALONE,
            _ => Self::ALONE + piece(events * size_of::<Slot<T>>()),
        }
    }

    #[inline]
    pub(super) fn slots(&self) -> &[Slot<T>] {
        match self {
            Self::One(slot) => std::slice::from_ref(slot),
            Self::Some(slots) => slots,
        }
    }
}

/// An event that was received. It is shared, not copied: a clone is the same one.
///
/// Whoever keeps one keeps its memory. Plain small events, without anything to
/// drop, lie some dozen in a block of 4 KiB at most, and one of them keeps its
/// block; all others are alone.
pub struct Event<T> {
    block: Arc<Block<T>>,
    index: usize,
}

impl<T> Event<T> {
    pub(super) const fn new(block: Arc<Block<T>>, index: usize) -> Self {
        Self { block, index }
    }

    #[inline]
    pub(super) fn slot(&self) -> &Slot<T> {
        // An event is made only where there is one.
        &self.block.slots()[self.index]
    }

    /// How many bytes the slots of its block take.
    #[cfg(test)]
    #[cfg(not(grey_loom))]
    pub(super) fn block_bytes(&self) -> usize {
        match &*self.block {
            Block::One(slot) => size_of_val(slot),
            Block::Some(slots) => slots.capacity() * size_of::<Slot<T>>(),
        }
    }

    /// The next of the same block.
    #[inline]
    pub(super) fn following(&self) -> Option<Self> {
        let index = self.index + 1;
        (index < self.block.slots().len()).then(|| Self::new(Arc::clone(&self.block), index))
    }
}

impl<T> Deref for Event<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.slot().event
    }
}

impl<T> AsRef<T> for Event<T> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T> Clone for Event<T> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.block), self.index)
    }
}

impl<T: fmt::Debug> fmt::Debug for Event<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, formatter)
    }
}

impl<T: fmt::Display> fmt::Display for Event<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, formatter)
    }
}

impl<T: PartialEq> PartialEq for Event<T> {
    fn eq(&self, other: &Self) -> bool {
        T::eq(self, other)
    }
}

impl<T: Eq> Eq for Event<T> {}
