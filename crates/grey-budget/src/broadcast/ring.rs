//! The events that are kept, by their numbers, and who waits for the next.
//!
//! Never locks, never looks at the time, and never drops what the program may
//! notice: that is handed over in a [`Gone`]. Never takes more of the budget when
//! a block is made than its events took before: who receives makes blocks, too,
//! and has nothing to reserve.

use std::collections::VecDeque;
use std::sync::Arc;

use super::event::{Block, Slot};
use super::gone::Gone;
use crate::queue::charge::Charge;
use crate::queue::heap::{make_room_in, place_in_list, shrink_spacious};
use crate::queue::wait::WaitList;

/// A block that nothing is added to any more.
struct Closed<T> {
    /// The number of its first event. Some may have left the ring.
    first: u64,
    /// What each of its events weighs.
    bytes_each: u64,
    block: Arc<Block<T>>,
}

/// What a block with so many events takes, with its place in the ring.
const fn block_takes<T>(events: usize) -> u64 {
    (Block::<T>::size_of(events) + place_in_list(size_of::<Closed<T>>())) as u64
}

/// What an event that is alone in its block takes beside its weight.
const fn overhead_alone<T>() -> u64 {
    block_takes::<T>(1) - size_of::<T>() as u64
}

/// What an event takes beside its weight whoever comes after it, where
/// `per_block` make a block: in a block of one, or of two, which take most for
/// each.
pub(super) const fn overhead<T>(per_block: usize) -> u64 {
    let of_two = block_takes::<T>(2).div_ceil(2);
    if per_block > 1 && of_two > block_takes::<T>(1) {
        of_two - size_of::<T>() as u64
    } else {
        overhead_alone::<T>()
    }
}

impl<T> Closed<T> {
    /// What the block takes, with all events that were ever in it.
    fn held(&self) -> u64 {
        match self.block.slots().len() {
            1 => self.bytes_each.saturating_add(overhead_alone::<T>()),
            events => block_takes::<T>(events),
        }
    }
}

/// The ring. Events are numbered in the order in which they are sent, from 0.
pub(super) struct Ring<T> {
    blocks: VecDeque<Closed<T>>,
    /// No more events than this are kept.
    most: usize,
    /// Events that follow those in blocks; nobody has looked at one yet. Stays
    /// empty where a block has one event.
    open: Vec<Slot<T>>,
    /// So many make a block.
    per_block: usize,
    /// What an event weighs where there is more than one in a block.
    own: u64,
    /// What an event takes beside its weight, until its block is made.
    overhead: u64,
    /// A block of plain events that went, to be used again.
    spare: Option<Arc<Block<T>>>,
    /// The number of the oldest event, and of the next.
    pub(super) first: u64,
    pub(super) next: u64,
    /// What the events that are kept weigh.
    pub(super) bytes: u64,
    /// What all blocks take, and events that are in none.
    pub(super) held: u64,
    pub(super) waiting: WaitList,
    pub(super) closed: bool,
    // Below the events: they go before their bytes do.
    pub(super) charge: Charge,
}

impl<T> Ring<T> {
    pub(super) fn new(most: usize, per_block: usize, own: u64, charge: Charge) -> Self {
        let overhead = overhead::<T>(per_block);
        Self {
            blocks: VecDeque::new(),
            most,
            open: Vec::new(),
            per_block,
            own,
            overhead,
            spare: None,
            first: 0,
            next: 0,
            bytes: 0,
            held: 0,
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

    /// The events that are kept, the oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot<T>> {
        let closed = self.blocks.iter();
        let closed = closed.flat_map(|closed| closed.block.slots());
        let oldest_block = self.blocks.front().map(|front| front.first);
        let from = place(self.first, oldest_block.unwrap_or(self.open_first()));
        closed.chain(&self.open).skip(from)
    }

    /// Adds an event of `bytes`.
    #[inline]
    pub(super) fn push(&mut self, slot: Slot<T>, bytes: u64, gone: &mut Gone<T>) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.held = self.held.saturating_add(self.charge_of(bytes));
        if self.per_block == 1 {
            make_room_in(&mut self.blocks, self.most);
            self.blocks.push_back(Closed {
                first: self.next,
                bytes_each: bytes,
                block: gone.place(slot),
            });
            self.next += 1;
            return;
        }
        // For a block and no more: a list that is used again, or was shrunk, may
        // have less room, and would double it.
        if self.open.capacity() < self.per_block {
            self.open.reserve_exact(self.per_block - self.open.len());
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
        let took = self.held_by_open();
        let closed = Closed {
            first,
            bytes_each: self.own,
            block: self.block_of_open(),
        };
        self.held = self.held.saturating_sub(took) + closed.held();
        make_room_in(&mut self.blocks, self.most);
        self.blocks.push_back(closed);
    }

    fn held_by_open(&self) -> u64 {
        self.charge_of(self.own)
            .saturating_mul(self.open.len() as u64)
    }

    /// What an event of this weight takes at first.
    #[inline]
    pub(super) const fn charge_of(&self, bytes: u64) -> u64 {
        bytes.saturating_add(self.overhead)
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
                self.held -= self.held_by_open();
                self.open.clear();
            }
            return true;
        };
        self.bytes -= front.bytes_each;
        if self.first == front.first + front.block.slots().len() as u64
            && let Some(front) = self.blocks.pop_front()
        {
            self.held -= front.held();
            if self.per_block > 1 && self.spare.is_none() {
                self.spare = Some(front.block);
            } else {
                gone.add(front.block);
            }
        }
        true
    }

    /// What would be free without the oldest `events`: what they take in blocks
    /// that have no others.
    pub(super) fn held_by_oldest(&self, events: usize) -> u64 {
        let end = self.first + events as u64;
        let end_of = |closed: &Closed<T>| closed.first + closed.block.slots().len() as u64;
        let whole = self
            .blocks
            .iter()
            .take_while(|closed| end_of(closed) <= end);
        let open = if end == self.next {
            self.held_by_open()
        } else {
            0
        };
        whole.map(Closed::held).fold(open, u64::saturating_add)
    }

    /// Gives back most of the room for blocks, if there are far fewer now.
    pub(super) fn shrink_spacious(&mut self) {
        shrink_spacious(&mut self.blocks);
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
        self.held = 0;
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
