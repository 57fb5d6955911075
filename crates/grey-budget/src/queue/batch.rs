//! Pushing and popping many items under one lock.
//!
//! Never waits: what does not fit stays with the caller.

use std::collections::VecDeque;

use grey_model::Bytes;

use super::core::Core;
use super::ends::{Pushed, Refilled, Slot, Tail};
use super::wait::wake_all;
use crate::sync::{Ordering, lock};

/// What the items of a batch weigh.
pub(crate) enum Weights {
    /// All the same, and at least 1.
    Same(u64),
    /// One each.
    Each(Vec<u64>),
}

impl Weights {
    #[inline]
    fn get(&self, index: usize) -> u64 {
        match self {
            Self::Same(weight) => *weight,
            Self::Each(weights) => weights.get(index).copied().unwrap_or(u64::MAX),
        }
    }

    /// How many of `most` items, from the one at `from` on, weigh no more than
    /// `free` together, and how much that is.
    fn fitting(&self, from: usize, most: usize, free: u64) -> (usize, u64) {
        match self {
            Self::Same(weight) => {
                let count = (free / weight).min(as_u64(most));
                (usize::try_from(count).unwrap_or(most), count * weight)
            }
            Self::Each(weights) => {
                let mut bytes: u64 = 0;
                let mut count = 0;
                for weight in weights.iter().skip(from).take(most) {
                    match bytes.checked_add(*weight).filter(|sum| *sum <= free) {
                        Some(sum) => bytes = sum,
                        None => break,
                    }
                    count += 1;
                }
                (count, bytes)
            }
        }
    }
}

impl<T> Core<T> {
    /// `items`, each with what it weighs; taken out when all are weighed, so that
    /// a weigher that panics leaves them where they are.
    pub(crate) fn weigh_all(&self, items: &mut Vec<T>) -> (VecDeque<Slot<T>>, Weights) {
        let weights = match self.same_weight() {
            Some(weight) => Weights::Same(weight),
            None => Weights::Each(items.iter().map(|item| self.weigh(item)).collect()),
        };
        let weighed = items.drain(..).enumerate().map(|(index, item)| Slot {
            item,
            bytes: weights.get(index),
        });
        (weighed.collect(), weights)
    }

    /// Pushes as many from the front of `items` as there is room for, and tells
    /// how many are done then. `done` items of the batch are inside already.
    pub(crate) fn insert_many(
        &self,
        items: &mut VecDeque<Slot<T>>,
        weights: &Weights,
        mut done: usize,
    ) -> usize {
        let mut credit = None;
        loop {
            let mut tail = lock(&self.tail);
            tail.charge.put(credit.take());
            if tail.closed || tail.favoured.is_some() {
                return done;
            }
            self.look_at_pops(&mut tail);
            let (count, bytes, missing) = self.room_for_many(&tail, items.len(), weights, done);
            move_front(items, count, &mut tail.inbox);
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
            done += count;
            if items.is_empty() || missing == 0 {
                return done;
            }
            // What cannot be had for many may still be had for one.
            match self
                .component
                .reserve_spare(Bytes(missing.max(self.quantum)))
            {
                Ok(more) => credit = Some(more),
                Err(_) => return done,
            }
        }
    }

    /// How many of the next `left` items fit, what they weigh, and how many
    /// bytes must be reserved before more fit: 0 if that would not help.
    fn room_for_many(
        &self,
        tail: &Tail<T>,
        left: usize,
        weights: &Weights,
        from: usize,
    ) -> (usize, u64, u64) {
        let room = self.limits.items.saturating_sub(tail.items());
        let most = usize::try_from(room).unwrap_or(usize::MAX).min(left);
        let charged = tail.charge.size().min(self.limits.bytes);
        let free = charged.saturating_sub(tail.bytes());
        let unbounded = self.limits.bytes.saturating_sub(tail.bytes());
        let (count, bytes) = weights.fitting(from, most, free);
        let (could, wanted) = weights.fitting(from + count, most - count, unbounded - bytes);
        let missing = if could == 0 { 0 } else { wanted };
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
        let mut bytes: u64 = 0;
        into.extend(head.outbox.drain(..count).map(|slot| {
            bytes = bytes.wrapping_add(slot.bytes);
            slot.item
        }));
        self.count_out(&mut head, as_u64(count), bytes);
        let wakers = head.producers.take(count);
        drop(head);
        drop(refilled);
        wake_all(wakers);
        count
    }
}

/// Moves the first `count` of `from` to the end of `to`; all of them at once,
/// without a look at each, when `to` is empty.
fn move_front<S>(from: &mut VecDeque<S>, count: usize, to: &mut VecDeque<S>) {
    if count < from.len() {
        to.extend(from.drain(..count));
    } else if to.is_empty() {
        std::mem::swap(from, to);
    } else {
        to.append(from);
    }
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
