//! The two ends of a queue, each behind a lock of its own: who pushes fills the
//! inbox, who pops empties the outbox, and when the outbox is empty the two are
//! exchanged. So both ends meet once for many items.
//!
//! Whoever takes both locks takes the head's first. Under a lock nothing of the
//! program's runs: items are weighed before and dropped after, wakers are
//! called after.

use std::fmt;
use std::task::Waker;

use crossbeam_utils::CachePadded;
use grey_model::Bytes;

use super::alarm::{calm, nearly_full};
use super::charge::{Charge, discard, quantum_of, reserve_quantum};
use super::ends::{Head, Insert, Nothing, Offer, Pushed, Refilled, Room, Slot, Tail, Take};
use super::gather::gather;
use super::row::Row;
use super::settings::{Limits, Weigher};
use super::wait::WaitList;
use crate::budget::{Component, Reservation};
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering, lock};
use crate::wake::{wake, wake_all};

/// After waking so often in vain, whoever waits goes before all others.
const MOST_PASSED_OVER: u32 = 4;

/// So many items make it worth while for both ends to meet.
const GATHERED: u64 = 1024;

/// What an item weighs itself.
fn own_weight<T>() -> u64 {
    u64::try_from(size_of::<T>()).unwrap_or(u64::MAX).max(1)
}

/// A queue, without handles.
pub(crate) struct Core<T> {
    pub(super) name: std::sync::Arc<str>,
    pub(super) component: Component,
    pub(super) limits: Limits,
    pub(super) quantum: u64,
    /// What an item takes of the budget beside its weight.
    pub(super) overhead: u64,
    pub(super) weigher: Option<Weigher<T>>,
    pub(super) head: CachePadded<Mutex<Head<T>>>,
    /// Copies of the head's and the tail's counts, for whoever has no lock.
    pub(super) popped: CachePadded<[AtomicU64; 2]>,
    pub(super) pushed: CachePadded<AtomicU64>,
    pub(super) tail: CachePadded<Mutex<Tail<T>>>,
}

impl<T> fmt::Debug for Core<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Core")
            .field("name", &self.name)
            .field("limits", &self.limits)
            .field("items", &self.items())
            .finish_non_exhaustive()
    }
}

impl<T> Core<T> {
    pub(crate) fn new(component: Component, limits: Limits, weigher: Option<Weigher<T>>) -> Self {
        let same = weigher.is_none().then(own_weight::<T>);
        Self {
            name: component.name().into(),
            limits,
            quantum: quantum_of(limits.bytes),
            overhead: match weigher {
                Some(_) => Row::<T>::WEIGHED_OVERHEAD,
                None => Row::<T>::ITEM_OVERHEAD,
            },
            weigher,
            head: CachePadded::new(Mutex::new(Head {
                outbox: Row::new(same),
                popped: 0,
                popped_bytes: 0,
                producers: WaitList::default(),
            })),
            popped: CachePadded::new([AtomicU64::new(0), AtomicU64::new(0)]),
            pushed: CachePadded::new(AtomicU64::new(0)),
            tail: CachePadded::new(Mutex::new(Tail {
                inbox: Row::new(same),
                pushed: 0,
                pushed_bytes: 0,
                popped: 0,
                popped_bytes: 0,
                consumers: WaitList::default(),
                favoured: None,
                alarm_at: nearly_full(limits.items),
                closed: false,
                charge: Charge::new(&component),
            })),
            component,
        }
    }

    pub(crate) fn name(&self) -> &std::sync::Arc<str> {
        &self.name
    }

    pub(crate) const fn component(&self) -> &Component {
        &self.component
    }

    pub(crate) const fn limits(&self) -> Limits {
        self.limits
    }

    /// What `item` weighs: its own size at least. Calls the program.
    #[inline]
    pub(crate) fn weigh(&self, item: &T) -> u64 {
        let own = own_weight::<T>();
        match &self.weigher {
            None => own,
            Some(weigh) => weigh(item).get().max(own),
        }
    }

    /// What an item of this weight takes of the budget.
    #[inline]
    pub(crate) const fn charge_of(&self, weight: u64) -> u64 {
        weight.saturating_add(self.overhead)
    }

    /// What all that is inside takes of the budget.
    #[inline]
    pub(super) const fn charge_inside(&self, tail: &Tail<T>) -> u64 {
        let overhead = tail.items().saturating_mul(self.overhead);
        tail.bytes().saturating_add(overhead)
    }

    /// What all items weigh, if that is the same for all.
    pub(crate) fn same_weight(&self) -> Option<u64> {
        self.weigher.is_none().then(own_weight::<T>)
    }

    /// How many items are inside. While others push and pop, nearly.
    pub(crate) fn items(&self) -> u64 {
        let popped = self.popped[0].load(Ordering::Acquire);
        let pushed = self.pushed.load(Ordering::Acquire);
        pushed.wrapping_sub(popped).min(self.limits.items)
    }

    /// What is inside weighs so much. While others pop, nearly.
    pub(crate) fn bytes(&self) -> Bytes {
        let mut tail = lock(&self.tail);
        self.look_at_pops(&mut tail);
        Bytes(tail.bytes())
    }

    /// How many wait for room, and how many for an item.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let head = lock(&self.head);
        let tail = lock(&self.tail);
        (head.producers.len(), tail.consumers.len())
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.tail).closed
    }

    /// Offers `slot`, with bytes reserved for it. `place` is where the pusher
    /// waited, if it did.
    #[inline]
    fn offer(
        &self,
        slot: Slot<T>,
        credit: Option<Reservation<'static>>,
        place: Option<u64>,
    ) -> Offer<T> {
        let mut tail = lock(&self.tail);
        if tail.closed {
            // What was reserved meanwhile is given back outside of the lock.
            drop(tail);
            drop(credit);
            return Offer::Closed(slot);
        }
        tail.charge.put(credit);
        self.put(&mut tail, slot, place)
    }

    #[inline]
    fn put(&self, tail: &mut Tail<T>, slot: Slot<T>, place: Option<u64>) -> Offer<T> {
        if tail.closed {
            return Offer::Closed(slot);
        }
        if tail.favoured.is_some() && tail.favoured != place {
            return Offer::Full(slot);
        }
        match self.room(tail, slot.bytes) {
            Room::Full => return Offer::Full(slot),
            Room::Short(missing) => return Offer::Short(slot, missing),
            Room::Fits => {}
        }
        tail.pushed = tail.pushed.wrapping_add(1);
        tail.pushed_bytes = tail.pushed_bytes.wrapping_add(slot.bytes);
        tail.inbox.push(slot);
        self.pushed.store(tail.pushed, Ordering::Release);
        Offer::Taken(Pushed {
            waker: tail.consumers.next(),
            nearly_full: self.look_at_alarm(tail),
        })
    }

    /// Looks at what was popped only when it would not fit without.
    #[inline]
    fn room(&self, tail: &mut Tail<T>, bytes: u64) -> Room {
        match self.room_as_seen(tail, bytes) {
            Room::Fits => Room::Fits,
            Room::Full | Room::Short(_) => {
                self.look_at_pops(tail);
                self.room_as_seen(tail, bytes)
            }
        }
    }

    #[inline]
    fn room_as_seen(&self, tail: &Tail<T>, bytes: u64) -> Room {
        let after = tail.bytes().saturating_add(bytes);
        if tail.items() >= self.limits.items || after > self.limits.bytes {
            return Room::Full;
        }
        let charge = self
            .charge_inside(tail)
            .saturating_add(self.charge_of(bytes));
        match charge.saturating_sub(tail.charge.size()) {
            0 => Room::Fits,
            missing => Room::Short(missing),
        }
    }

    pub(super) fn look_at_pops(&self, tail: &mut Tail<T>) {
        tail.popped_bytes = self.popped[1].load(Ordering::Acquire);
        tail.popped = self.popped[0].load(Ordering::Acquire);
    }

    /// Pushes `slot`, reserving for it if need be. Waits for nothing.
    #[inline]
    pub(crate) fn insert(
        &self,
        slot: Slot<T>,
        credit: Option<Reservation<'static>>,
        place: Option<u64>,
    ) -> Insert<T> {
        match self.offer(slot, credit, place) {
            Offer::Taken(pushed) => {
                self.tell(pushed);
                Insert::Taken
            }
            Offer::Full(slot) => Insert::Full(slot),
            Offer::Closed(slot) => Insert::Closed(slot),
            Offer::Short(slot, missing) => self.insert_with_quantum(slot, missing, place),
        }
    }

    #[cold]
    fn insert_with_quantum(&self, slot: Slot<T>, missing: u64, place: Option<u64>) -> Insert<T> {
        let reserved = {
            let bytes = self.charge_of(slot.bytes);
            reserve_quantum(&self.component, self.quantum, bytes, missing)
        };
        let credit = match reserved {
            Ok(credit) => credit,
            Err(error) => return Insert::Refused(slot, error),
        };
        match self.offer(slot, Some(credit), place) {
            Offer::Taken(pushed) => {
                self.tell(pushed);
                Insert::Taken
            }
            // Somebody else used what we had counted on: there is no room for both.
            Offer::Full(slot) | Offer::Short(slot, _) => Insert::Full(slot),
            Offer::Closed(slot) => Insert::Closed(slot),
        }
    }

    /// Waits at the head, unless it fits after all. Nothing comes in or goes
    /// out meanwhile, so no waking is missed.
    pub(crate) fn wait_for_room(
        &self,
        slot: Slot<T>,
        place: &mut Option<u64>,
        passed_over: u32,
        waker: Waker,
    ) -> Offer<T> {
        let mut head = lock(&self.head);
        let mut tail = lock(&self.tail);
        let offer = self.put(&mut tail, slot, *place);
        let mut replaced = None;
        if matches!(offer, Offer::Full(_) | Offer::Short(..)) {
            let was_favoured = tail.favoured.is_some() && tail.favoured == *place;
            replaced = head.producers.enter(place, waker, passed_over > 0);
            if was_favoured || (passed_over >= MOST_PASSED_OVER && tail.favoured.is_none()) {
                tail.favoured = *place;
            }
        }
        drop(tail);
        drop(head);
        discard(replaced);
        offer
    }

    /// Whether `place` still waits at the head.
    pub(crate) fn waits_for_room(&self, place: u64) -> bool {
        lock(&self.head).producers.holds(place)
    }

    /// Leaves the head. Whoever was woken, or stood in the way, wakes the next.
    pub(crate) fn leave_head(&self, place: u64) {
        let mut head = lock(&self.head);
        let mut tail = lock(&self.tail);
        let left = head.producers.leave(place);
        let favoured = tail.favoured == Some(place);
        if favoured {
            tail.favoured = None;
        }
        let has_room = head.popped.wrapping_add(self.limits.items) != tail.pushed;
        let next = ((left.is_none() || favoured) && has_room)
            .then(|| head.producers.next())
            .flatten();
        drop(tail);
        drop(head);
        discard(left);
        next.into_iter().for_each(wake);
    }

    /// Pops one. With a waker, waits at the tail when there is none.
    #[inline]
    pub(crate) fn take(&self, waiter: Option<(&mut Option<u64>, Waker)>) -> Take<T> {
        let mut head = lock(&self.head);
        if head.outbox.is_empty() {
            self.gather(&head);
            let refilled = self.refill(&mut head, waiter);
            if refilled.nothing.is_some() || refilled.excess.is_some() {
                return self.take_slowly(head, refilled);
            }
        }
        let Some(slot) = head.outbox.pop() else {
            return Take::Empty;
        };
        self.count_out(&mut head, 1, slot.bytes);
        let waker = head.producers.next();
        drop(head);
        if let Some(waker) = waker {
            wake(waker);
        }
        Take::Item(slot.item)
    }

    /// Lets the inbox fill while somebody fills it quickly.
    #[inline]
    pub(super) fn gather(&self, head: &Head<T>) {
        gather(GATHERED.min(self.limits.items), || {
            self.pushed
                .load(Ordering::Acquire)
                .wrapping_sub(head.popped)
        });
    }

    #[cold]
    fn take_slowly(&self, mut head: MutexGuard<'_, Head<T>>, refilled: Refilled) -> Take<T> {
        let slot = head.outbox.pop();
        if let Some(slot) = &slot {
            self.count_out(&mut head, 1, slot.bytes);
        }
        let waker = slot.is_some().then(|| head.producers.next()).flatten();
        drop(head);
        waker.into_iter().for_each(wake);
        match (slot, refilled.nothing) {
            (Some(slot), _) => Take::Item(slot.item),
            (None, Some(Nothing::Closed)) => Take::Closed,
            (None, _) => Take::Empty,
        }
    }

    #[inline]
    pub(super) fn count_out(&self, head: &mut Head<T>, items: u64, bytes: u64) {
        head.popped = head.popped.wrapping_add(items);
        head.popped_bytes = head.popped_bytes.wrapping_add(bytes);
        self.popped[1].store(head.popped_bytes, Ordering::Release);
        self.popped[0].store(head.popped, Ordering::Release);
    }

    /// Exchanges the boxes. Gives back what is reserved far above what is
    /// inside. When there is nothing, says so, and lets `waiter` wait.
    pub(super) fn refill(
        &self,
        head: &mut Head<T>,
        waiter: Option<(&mut Option<u64>, Waker)>,
    ) -> Refilled {
        let mut refilled = Refilled::default();
        let mut tail = lock(&self.tail);
        std::mem::swap(&mut head.outbox, &mut tail.inbox);
        tail.popped = head.popped;
        tail.popped_bytes = head.popped_bytes;
        let inside = self.charge_inside(&tail);
        if tail.items() < calm(self.limits.items) {
            tail.alarm_at = nearly_full(self.limits.items);
        }
        if !head.outbox.is_empty() {
            if tail.charge.size() > inside.saturating_add(2 * self.quantum) {
                refilled.excess = tail.charge.take_above(inside.saturating_add(self.quantum));
            }
            return refilled;
        }
        refilled.excess = tail.charge.take_above(0);
        if tail.closed {
            refilled.nothing = Some(Nothing::Closed);
            return refilled;
        }
        refilled.nothing = Some(Nothing::Empty);
        if let Some((place, waker)) = waiter {
            refilled.replaced = tail.consumers.enter(place, waker, false);
        }
        refilled
    }

    /// Leaves the tail. Whoever was woken and does not `use` it wakes the next.
    pub(crate) fn leave_tail(&self, place: u64, is_served: bool) {
        let mut tail = lock(&self.tail);
        let left = tail.consumers.leave(place);
        let next = (left.is_none() && !is_served)
            .then(|| tail.consumers.next())
            .flatten();
        drop(tail);
        discard(left);
        next.into_iter().for_each(wake);
    }

    /// Takes nothing more; what is inside can still be popped.
    pub(crate) fn close(&self) {
        let mut head = lock(&self.head);
        let mut tail = lock(&self.tail);
        tail.closed = true;
        let producers = head.producers.take(usize::MAX);
        let consumers = tail.consumers.take(usize::MAX);
        drop(tail);
        drop(head);
        wake_all(producers);
        wake_all(consumers);
    }

    /// Gives back memory that is held for nothing: unused room of the boxes,
    /// and what is reserved above what is inside. Tells how many bytes were
    /// reserved in vain.
    pub(crate) fn trim(&self) -> Bytes {
        let mut head = lock(&self.head);
        let mut tail = lock(&self.tail);
        tail.popped = head.popped;
        tail.popped_bytes = head.popped_bytes;
        head.outbox.shrink_to_fit();
        tail.inbox.shrink_to_fit();
        let inside = self.charge_inside(&tail);
        let excess = tail.charge.take_above(inside);
        drop(tail);
        drop(head);
        excess.map_or(Bytes::ZERO, |excess| excess.size())
    }

    /// What is reserved above what is inside.
    pub(crate) fn slack(&self) -> Bytes {
        let mut tail = lock(&self.tail);
        self.look_at_pops(&mut tail);
        let inside = self.charge_inside(&tail);
        Bytes(tail.charge.size().saturating_sub(inside))
    }
}

/// Items are dropped one by one, so that one that panics does not end the
/// program; their bytes are given back after.
impl<T> Drop for Core<T> {
    fn drop(&mut self) {
        let outbox = lock(&self.head).outbox.take_items();
        let inbox = lock(&self.tail).inbox.take_items();
        discard(outbox.into_iter().chain(inbox));
    }
}
