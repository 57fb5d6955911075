//! Pushing and popping many items under one lock.
//!
//! Never waits: what does not fit stays with the caller.

use grey_model::Bytes;

use super::core::Core;
use super::ends::{Pushed, Refilled, Tail};
use super::row::{Row, Space, as_u64};
use crate::sync::{Ordering, lock};
use crate::wake::wake_all;

impl<T> Core<T> {
    /// `items`, each with what it weighs; taken out when all are weighed, so that
    /// a weigher that panics leaves them where they are.
    pub(crate) fn weigh_all(&self, items: &mut Vec<T>) -> Row<T> {
        Row::of(items, self.same_weight(), |item| self.weigh(item))
    }

    /// Pushes as many from the front of `items` as there is room for.
    pub(crate) fn insert_many(&self, items: &mut Row<T>) {
        let mut credit = None;
        loop {
            let mut tail = lock(&self.tail);
            if tail.closed {
                // The credit is given back outside of the lock.
                drop(tail);
                return;
            }
            tail.charge.put(credit.take());
            if tail.favoured.is_some() {
                return;
            }
            self.look_at_pops(&mut tail);
            let (count, bytes, missing) = self.room_for_many(&tail, items);
            items.move_front(count, &mut tail.inbox);
            tail.pushed = tail.pushed.wrapping_add(as_u64(count));
            tail.pushed_bytes = tail.pushed_bytes.wrapping_add(bytes);
            self.pushed.store(tail.pushed, Ordering::Release);
            let wakers = tail.consumers.take(count);
            let nearly_full = self.look_at_alarm(&mut tail);
            drop(tail);
            wake_all(wakers);
            self.tell(Pushed {
                waker: None,
                nearly_full,
            });
            if items.is_empty() || missing == 0 {
                return;
            }
            // What cannot be had for many may still be had for one.
            match self
                .component
                .reserve_spare(Bytes(missing.max(self.quantum)))
            {
                Ok(more) => credit = Some(more),
                Err(_) => return,
            }
        }
    }

    /// How many of `items` fit, what they weigh, and how many bytes must be
    /// reserved before more fit: 0 if that would not help.
    fn room_for_many(&self, tail: &Tail<T>, items: &Row<T>) -> (usize, u64, u64) {
        let room = self.limits.items.saturating_sub(tail.items());
        let most = usize::try_from(room).unwrap_or(usize::MAX).min(items.len());
        let mut room = Space {
            bytes: self.limits.bytes.saturating_sub(tail.bytes()),
            charged: tail.charge.size().saturating_sub(self.charge_inside(tail)),
            overhead: self.overhead,
        };
        let (count, bytes) = items.fitting(0, most, &room);
        room.bytes -= bytes;
        room.charged = u64::MAX;
        let (could, wanted) = items.fitting(count, most - count, &room);
        let missing = match could {
            0 => 0,
            _ => wanted.saturating_add(as_u64(could).saturating_mul(self.overhead)),
        };
        (count, bytes, missing)
    }

    /// Pops up to `most` of what the outbox has, or of what came in if it has
    /// nothing, to the end of `into`, and tells how many.
    pub(crate) fn take_many(&self, into: &mut Vec<T>, most: usize) -> usize {
        let mut head = lock(&self.head);
        let mut refilled = Refilled::default();
        if head.outbox.is_empty() {
            self.gather(&head);
            refilled = self.refill(&mut head, None);
        }
        let count = head.outbox.len().min(most);
        let bytes = head.outbox.drain_front(count, into);
        self.count_out(&mut head, as_u64(count), bytes);
        let wakers = head.producers.take(count);
        drop(head);
        drop(refilled);
        wake_all(wakers);
        count
    }
}
