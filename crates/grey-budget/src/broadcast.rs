//! Events for many: each subscriber sees every event from its own position on,
//! as long as the event is kept. 1,000 are, for 60 seconds; the oldest go first.
//!
//! Never waits for a slow subscriber: it is told how many it missed. Never looks
//! at the time by itself: what is expired goes, and gives its charge back, when
//! something is sent, received or counted, or when it is trimmed. One that is
//! left quite alone, and not registered with a controller, keeps it.

mod coarse;
mod event;
mod gone;
mod ring;
mod settings;
mod subscriber;

use std::fmt;

use crossbeam_utils::CachePadded;
use grey_model::{Bytes, Priority};

pub use self::coarse::CoarseClock;
pub use self::event::Event;
use self::event::{Slot, nanoseconds};
use self::gone::Gone;
use self::ring::{Ring, overhead};
pub use self::settings::{BroadcastError, BroadcasterBuilder};
pub use self::subscriber::{RecvError, RecvFuture, Subscriber};
use crate::budget::{Component, Reservation};
use crate::clock::Clock;
use crate::queue::charge::{discard, reserve_quantum};
use crate::queue::settings::Weigher;
use crate::reclaimer::{ReclaimMode, ReclaimRequest, Reclaimed, Reclaimer, Stop};
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering, lock_soon};
use crate::wake::wake_all;

struct Shared<T> {
    name: std::sync::Arc<str>,
    component: Component,
    quantum: u64,
    events: usize,
    bytes: u64,
    /// Nanoseconds.
    ttl: u64,
    /// How many events make a block.
    per_block: usize,
    weigher: Option<Weigher<T>>,
    clock: std::sync::Arc<dyn Clock>,
    /// How many broadcasters there are; with the last one it is closed.
    senders: AtomicU64,
    /// A copy of the ring's, for whoever has no lock.
    next: CachePadded<AtomicU64>,
    ring: CachePadded<Mutex<Ring<T>>>,
}

impl<T> Shared<T> {
    fn ring(&self) -> MutexGuard<'_, Ring<T>> {
        lock_soon(&self.ring)
    }

    /// Removes what is older than it may be at `now`, and then gives back what
    /// is reserved far above what is left.
    #[inline]
    fn expire(&self, ring: &mut Ring<T>, now: u64, gone: &mut Gone<T>) {
        let before = ring.first;
        self.remove_expired(ring, now, gone);
        let keep = ring.held.saturating_add(self.quantum);
        if ring.first > before && ring.charge.size() > keep.saturating_add(self.quantum) {
            ring.shrink_spacious();
            gone.excess = ring.charge.take_above(keep);
        }
    }

    #[inline]
    fn remove_expired(&self, ring: &mut Ring<T>, now: u64, gone: &mut Gone<T>) {
        while ring
            .oldest()
            .is_some_and(|oldest| !oldest.is_fresh(now, self.ttl))
        {
            ring.remove_oldest(gone);
        }
    }

    /// Removes the oldest until there is room for one more of `bytes`, which may
    /// take `charged` with all others, or nothing is left.
    #[inline]
    fn make_room(&self, ring: &mut Ring<T>, bytes: u64, charged: u64, gone: &mut Gone<T>) {
        while ring.len() >= self.events
            || exceeds(ring.bytes, bytes, self.bytes)
            || exceeds(ring.held, ring.charge_of(bytes), charged)
        {
            if !ring.remove_oldest(gone) {
                break;
            }
        }
    }

    fn weigh(&self, event: &T) -> u64 {
        let own = own_weight::<T>();
        match &self.weigher {
            None => own,
            Some(weigh) => weigh(event).get().max(own),
        }
    }

    /// Trims what is expired and what is reserved for nothing.
    fn trim(&self) -> Reclaimed {
        let now = nanoseconds(self.clock.now());
        let mut gone = Gone::default();
        let mut ring = self.ring();
        self.remove_expired(&mut ring, now, &mut gone);
        ring.shrink();
        let held = ring.held;
        gone.excess = ring.charge.take_above(held);
        drop(ring);
        reclaimed(gone)
    }

    /// What `read` tells of the ring, without what is expired.
    fn read<R>(&self, read: impl FnOnce(&Ring<T>) -> R) -> R {
        let now = nanoseconds(self.clock.now());
        let mut gone = Gone::default();
        let mut ring = self.ring();
        self.expire(&mut ring, now, &mut gone);
        let result = read(&ring);
        drop(ring);
        gone.discard();
        result
    }

    /// Removes the oldest until `target` bytes are free, whatever their age.
    fn evict(&self, target: u64) -> Reclaimed {
        let mut gone = Gone::default();
        let mut ring = self.ring();
        let keep = ring.charge.size().saturating_sub(target);
        while ring.held > keep && ring.remove_oldest(&mut gone) {}
        let held = ring.held;
        gone.excess = ring.charge.take_above(held);
        drop(ring);
        reclaimed(gone)
    }
}

fn reclaimed<T>(mut gone: Gone<T>) -> Reclaimed {
    let freed = gone.excess.as_ref().map_or(Bytes::ZERO, Reservation::size);
    gone.discard();
    Reclaimed {
        freed,
        entries: gone.events,
        ..Reclaimed::default()
    }
}

/// Events are dropped one by one, so that one that panics does not end the
/// program; their bytes are given back after.
impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let blocks = self.ring().take();
        discard(blocks);
    }
}

/// Sends events to any number of subscribers. Clones send on the same; when the
/// last one is dropped, it is closed: see [`Self::close`].
///
/// Events are shared, not copied: a subscriber that keeps one keeps its memory,
/// which is then its own matter and no longer charged here. See [`Event`].
///
/// Of the budget an event takes what it weighs and [`Self::EVENT_OVERHEAD`];
/// plain small ones take less once they lie in a block with others, and give
/// that back with the last of the block. Bytes are reserved in quanta of up to
/// 64 KiB, so up to two quanta more are taken. Room of a few KiB, for one block
/// and 64 places, stays until it is trimmed; nobody is charged for that.
pub struct Broadcaster<T> {
    shared: std::sync::Arc<Shared<T>>,
}

impl<T> Clone for Broadcaster<T> {
    fn clone(&self) -> Self {
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Self {
            shared: std::sync::Arc::clone(&self.shared),
        }
    }
}

/// Nobody may wait for what nobody can send.
impl<T> Drop for Broadcaster<T> {
    fn drop(&mut self) {
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.close();
        }
    }
}

impl<T> fmt::Debug for Broadcaster<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Broadcaster")
            .field("name", &self.shared.name)
            .field("events", &self.shared.ring().len())
            .finish_non_exhaustive()
    }
}

impl<T> Broadcaster<T> {
    /// What an event takes of the budget at most beside its weight: its place in
    /// the ring, when it was sent, and a count of who holds it.
    pub const EVENT_OVERHEAD: Bytes = Bytes(overhead::<T>(2));

    /// Keeps 1,000 events for 60 seconds.
    #[must_use]
    pub fn new(component: Component) -> Self {
        Self::builder(component).build()
    }

    /// A broadcaster with limits of its own.
    pub fn builder(component: Component) -> BroadcasterBuilder<T> {
        BroadcasterBuilder::new(component)
    }

    /// Sends `event` to all, and keeps it. The oldest make room for it.
    ///
    /// # Errors
    /// [`BroadcastError`], with the event in it.
    pub fn send(&self, event: T) -> Result<(), BroadcastError<T>> {
        let shared = &*self.shared;
        let bytes = shared.weigh(&event);
        if bytes > shared.bytes {
            return Err(self.too_large(event, bytes));
        }
        let mut gone = Gone::default();
        let now = nanoseconds(shared.clock.now());
        let mut ring = shared.ring();
        shared.expire(&mut ring, now, &mut gone);
        if ring.closed {
            drop(ring);
            gone.discard();
            return Err(self.closed(event));
        }
        shared.make_room(&mut ring, bytes, u64::MAX, &mut gone);
        if exceeds(ring.held, ring.charge_of(bytes), ring.charge.size()) {
            drop(ring);
            self.send_with_quantum(event, bytes, &mut gone)?;
        } else {
            self.keep(ring, event, now, bytes, &mut gone);
        }
        gone.discard();
        Ok(())
    }

    /// Puts `event` into a ring that is not closed and has room for it.
    #[inline]
    fn keep(
        &self,
        mut ring: MutexGuard<'_, Ring<T>>,
        event: T,
        now: u64,
        bytes: u64,
        gone: &mut Gone<T>,
    ) {
        ring.push(Slot::new(event, now), bytes, gone);
        self.shared.next.store(ring.next, Ordering::Release);
        let waiting = ring.waiting.take(usize::MAX);
        drop(ring);
        wake_all(waiting);
    }

    /// Reserves what is missing; if there is nothing to be had, older events
    /// make room.
    #[cold]
    fn send_with_quantum(
        &self,
        event: T,
        bytes: u64,
        gone: &mut Gone<T>,
    ) -> Result<(), BroadcastError<T>> {
        let shared = &*self.shared;
        // What it gives back may be what is missing.
        gone.discard();
        // Whole, so that nobody can use it up before us.
        let charge = bytes.saturating_add(overhead::<T>(shared.per_block));
        let reserved = reserve_quantum(&shared.component, shared.quantum, charge, charge);
        let (credit, refusal) = match reserved {
            Ok(credit) => (Some(credit), None),
            Err(refusal) => (None, Some(refusal)),
        };
        let now = nanoseconds(shared.clock.now());
        let mut ring = shared.ring();
        if ring.closed {
            // What was reserved meanwhile is given back outside of the lock.
            drop(ring);
            drop(credit);
            return Err(self.closed(event));
        }
        ring.charge.put(credit);
        let room = ring.charge.size();
        // Nothing goes for what finds no room even so.
        if charge <= room {
            shared.make_room(&mut ring, bytes, room, gone);
        }
        match refusal.filter(|_| exceeds(ring.held, charge, room)) {
            None => {
                self.keep(ring, event, now, bytes, gone);
                Ok(())
            }
            Some(source) => {
                drop(ring);
                gone.discard();
                Err(BroadcastError::Refused {
                    broadcaster: std::sync::Arc::clone(&shared.name),
                    source: shared.component.refused(source),
                    event: std::sync::Arc::new(event),
                })
            }
        }
    }

    #[cold]
    fn too_large(&self, event: T, bytes: u64) -> BroadcastError<T> {
        BroadcastError::TooLarge {
            broadcaster: std::sync::Arc::clone(&self.shared.name),
            weight: Bytes(bytes),
            limit: Bytes(self.shared.bytes),
            event: std::sync::Arc::new(event),
        }
    }

    #[cold]
    fn closed(&self, event: T) -> BroadcastError<T> {
        BroadcastError::Closed {
            broadcaster: std::sync::Arc::clone(&self.shared.name),
            event: std::sync::Arc::new(event),
        }
    }

    /// A subscriber that sees what is sent from now on.
    #[must_use]
    pub fn subscribe(&self) -> Subscriber<T> {
        let next = self.shared.ring().next;
        Subscriber::at(std::sync::Arc::clone(&self.shared), next)
    }

    /// A subscriber that sees what is kept, too.
    #[must_use]
    pub fn subscribe_from_oldest(&self) -> Subscriber<T> {
        let first = self.shared.read(|ring| ring.first);
        Subscriber::at(std::sync::Arc::clone(&self.shared), first)
    }

    /// Sends nothing more. Subscribers still receive what is kept.
    pub fn close(&self) {
        let mut ring = self.shared.ring();
        ring.closed = true;
        let waiting = ring.waiting.take(usize::MAX);
        drop(ring);
        wake_all(waiting);
    }

    /// How many events are kept. Those that are expired go now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.read(Ring::len)
    }

    /// Whether no event is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is kept weighs so much, which is what
    /// [`BroadcasterBuilder::max_bytes`] bounds. What is expired goes now.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.shared.read(|ring| Bytes(ring.bytes))
    }
}

/// What an event of this kind weighs at least.
fn own_weight<T>() -> u64 {
    u64::try_from(size_of::<T>()).unwrap_or(u64::MAX).max(1)
}

/// Whether `held` and `more` are above `room`, also where nobody can count them.
fn exceeds(held: u64, more: u64, room: u64) -> bool {
    held.checked_add(more).is_none_or(|sum| sum > room)
}

/// Trimming removes what is expired; evicting, the oldest.
impl<T: Send + Sync> Reclaimer for Broadcaster<T> {
    fn name(&self) -> &str {
        &self.shared.name
    }

    fn priority(&self) -> Priority {
        self.shared.component.priority()
    }

    fn reclaimable(&self, mode: ReclaimMode) -> Bytes {
        let now = nanoseconds(self.shared.clock.now());
        let ring = self.shared.ring();
        let charged = ring.charge.size();
        Bytes(match mode {
            ReclaimMode::Trim => {
                let is_expired = |slot: &&Slot<T>| !slot.is_fresh(now, self.shared.ttl);
                let expired = ring.iter().take_while(is_expired).count();
                charged - ring.held.min(charged) + ring.held_by_oldest(expired)
            }
            ReclaimMode::Evict => charged,
            ReclaimMode::Unload | ReclaimMode::Spill => 0,
        })
    }

    fn reclaim(&self, request: &ReclaimRequest, _stop: &Stop) -> Reclaimed {
        match request.mode {
            ReclaimMode::Trim => self.shared.trim(),
            ReclaimMode::Evict if request.may_take(self.priority(), None) => {
                self.shared.evict(request.target.get())
            }
            ReclaimMode::Evict | ReclaimMode::Unload | ReclaimMode::Spill => Reclaimed::default(),
        }
    }

    fn modes(&self) -> &[ReclaimMode] {
        &[ReclaimMode::Trim, ReclaimMode::Evict]
    }
}

#[cfg(test)]
#[cfg(not(grey_loom))]
mod tests;
