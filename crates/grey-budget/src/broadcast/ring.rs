//! The events that are kept, by their numbers, and who waits for the next.
//!
//! Never locks, never looks at the time, and never drops what the program may
//! notice: that is handed over in a [`Gone`].

use std::collections::VecDeque;
use std::sync::Arc;

use super::event::{Block, Slot};
use super::gone::Gone;
use crate::queue::charge::Charge;
use crate::queue::wait::WaitList;

/// A block that nothing is added to any more.
struct Closed<T> {
    /// The number of its first event. Some may have left the ring.
    first: u64,
    /// What each of its events weighs.
    bytes_each: u64,
    block: Arc<Block<T>>,
}

/// The ring. Events are numbered in the order in which they are sent, from 0.
pub(super) struct Ring<T> {
    blocks: VecDeque<Closed<T>>,
    /// Events that follow those in blocks; nobody has looked at one yet. Stays
    /// empty where a block has one event.
    open: Vec<Slot<T>>,
    /// So many make a block.
    per_block: usize,
    /// What an event weighs where there is more than one in a block.
    own: u64,
    /// A block of plain events that went, to be used again.
    spare: Option<Arc<Block<T>>>,
    /// The number of the oldest event, and of the next.
    pub(super) first: u64,
    pub(super) next: u64,
    pub(super) bytes: u64,
    pub(super) waiting: WaitList,
    pub(super) closed: bool,
    // Below the events: they go before their bytes do.
    pub(super) charge: Charge,
}

impl<T> Ring<T> {
    pub(super) fn new(per_block: usize, own: u64, charge: Charge) -> Self {
        Self {
            blocks: VecDeque::new(),
            open: Vec::new(),
            per_block,
            own,
            spare: None,
            first: 0,
            next: 0,
            bytes: 0,
            waiting: WaitList::default(),
            closed: false,
            charge,
        }
    }

    /// How many events are kept.
    pub(super) fn len(&self) -> usize {
        usize::try_from(self.next - self.first).unwrap_or(usize::MAX)
    }

    /// The number of the first event that is in no block.
    fn open_first(&self) -> u64 {
        self.next - self.open.len() as u64
    }

    /// The oldest event.
    #[inline]
    pub(super) fn oldest(&self) -> Option<&Slot<T>> {
        match self.blocks.front() {
            Some(front) => front.block.slots().get(place(self.first, front.first)),
            None => self.open.get(place(self.first, self.open_first())),
        }
    }

    /// The events that are kept with their weights, the oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Slot<T>, u64)> {
        let closed = self.blocks.iter().flat_map(|closed| {
            let slots = closed.block.slots().iter();
            slots.map(|slot| (slot, closed.bytes_each))
        });
        let open = self.open.iter().map(|slot| (slot, self.own));
        let oldest_block = self.blocks.front().map(|front| front.first);
        let from = place(self.first, oldest_block.unwrap_or(self.open_first()));
        closed.chain(open).skip(from)
    }

    /// Adds an event of `bytes`.
    #[inline]
    pub(super) fn push(&mut self, slot: Slot<T>, bytes: u64, gone: &mut Gone<T>) {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.per_block == 1 {
            self.blocks.push_back(Closed {
                first: self.next,
                bytes_each: bytes,
                block: gone.place(slot),
            });
            self.next += 1;
            return;
        }
        if self.open.capacity() == 0 {
            self.open.reserve_exact(self.per_block);
        }
        self.open.push(slot);
        self.next += 1;
        if self.open.len() >= self.per_block {
            self.close_block();
        }
    }

    /// Makes a block of the events that are in none.
    fn close_block(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let first = self.open_first();
        let block = self.block_of_open();
        self.blocks.push_back(Closed {
            first,
            bytes_each: self.own,
            block,
        });
    }

    fn block_of_open(&mut self) -> Arc<Block<T>> {
        if let Some(mut spare) = self.spare.take()
            && let Some(block) = Arc::get_mut(&mut spare)
        {
            block.fill(&mut self.open, self.per_block);
            return spare;
        }
        Arc::new(Block::of(&mut self.open, self.per_block))
    }

    /// Removes the oldest event, if there is one.
    #[inline]
    pub(super) fn remove_oldest(&mut self, gone: &mut Gone<T>) -> bool {
        if self.first == self.next {
            return false;
        }
        self.first += 1;
        gone.events += 1;
        let Some(front) = self.blocks.front() else {
            self.bytes -= self.own;
            if self.first == self.next {
                self.open.clear();
            }
            return true;
        };
        self.bytes -= front.bytes_each;
        if self.first == front.first + front.block.slots().len() as u64
            && let Some(front) = self.blocks.pop_front()
        {
            if self.per_block > 1 && self.spare.is_none() {
                self.spare = Some(front.block);
            } else {
                gone.add(front.block);
            }
        }
        true
    }

    /// Gives back memory that no event needs.
    pub(super) fn shrink(&mut self) {
        self.spare = None;
        self.blocks.shrink_to_fit();
        self.open.shrink_to_fit();
    }

    /// Takes out all events, for the end.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Arc<Block<T>>> + use<T> {
        self.close_block();
        self.first = self.next;
        self.bytes = 0;
        std::mem::take(&mut self.blocks)
            .into_iter()
            .map(|closed| closed.block)
    }

    /// The blocks from the event with the number `position` on, which has not
    /// left the ring; and the place of that event in the first of them. At least
    /// `wanted` events, where there are as many.
    pub(super) fn from(
        &mut self,
        position: u64,
        wanted: usize,
    ) -> Option<(usize, impl Iterator<Item = &Arc<Block<T>>>)> {
        if position >= self.next {
            return None;
        }
        let end = position.saturating_add(wanted as u64);
        if end > self.open_first() {
            self.close_block();
        }
        let after = match self.blocks.back() {
            // Mostly it is the last.
            Some(back) if back.first <= position => self.blocks.len(),
            _ => self.blocks.partition_point(|block| block.first <= position),
        };
        let from = after.checked_sub(1)?;
        let first = self.blocks.get(from)?.first;
        let blocks = self.blocks.range(from..).map(|closed| &closed.block);
        Some((place(position, first), blocks))
    }
}

/// The place of the event with this number where that with the number `first`
/// is at 0.
fn place(position: u64, first: u64) -> usize {
    usize::try_from(position - first).unwrap_or(usize::MAX)
}
