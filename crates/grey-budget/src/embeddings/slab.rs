//! Which key has which slot, where its vector lies, and which was used last.
//!
//! Never leaves a gap: when a slot is emptied, the last vector moves into it.
//! Never drops a key: who calls does, when the lock is free. A key that panics when
//! it is looked for leaves every other key its own vector.

use std::collections::HashMap;
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::block::{BLOCK, Block};
use super::precision::Precision;

/// No slot.
pub(super) const NONE: u32 = u32::MAX;

/// What belongs to one slot, beside its vector.
#[derive(Debug)]
pub(super) struct Seat<K> {
    pub(super) key: K,
    pub(super) newer: u32,
    pub(super) older: u32,
}

/// A key that was taken out of its seat, and out of the index; to be dropped later.
pub(super) type Removed<K> = (K, Option<K>);

/// Slots `0..seats.len()` are taken; the list goes from new to old.
#[derive(Debug)]
pub(super) struct State<K> {
    pub(super) index: HashMap<K, u32>,
    pub(super) seats: Vec<Seat<K>>,
    pub(super) blocks: Vec<Block>,
    pub(super) newest: u32,
    pub(super) oldest: u32,
    pub(super) entries: usize,
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) evictions: u64,
}

pub(super) fn place(slot: u32) -> usize {
    usize::try_from(slot).unwrap_or(usize::MAX)
}

impl<K: Hash + Eq + Clone> State<K> {
    fn unlink(&mut self, slot: u32) {
        let Seat { newer, older, .. } = self.seats[place(slot)];
        match newer {
            NONE => self.newest = older,
            newer => self.seats[place(newer)].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.seats[place(older)].newer = newer,
        }
    }

    fn link_newest(&mut self, slot: u32) {
        let before = std::mem::replace(&mut self.newest, slot);
        let seat = &mut self.seats[place(slot)];
        (seat.newer, seat.older) = (NONE, before);
        match before {
            NONE => self.oldest = slot,
            before => self.seats[place(before)].newer = slot,
        }
    }

    pub(super) fn use_slot(&mut self, slot: u32) {
        if self.newest != slot {
            self.unlink(slot);
            self.link_newest(slot);
        }
    }

    pub(super) fn has_free_slot(&self) -> bool {
        self.seats.len() < self.entries.min(self.blocks.len() * BLOCK)
    }

    /// A slot for a new key, which is given to it.
    pub(super) fn add(&mut self, key: K) -> u32 {
        let slot = u32::try_from(self.seats.len()).unwrap_or(NONE);
        self.index.insert(key.clone(), slot);
        self.seats.push(Seat {
            key,
            newer: NONE,
            older: NONE,
        });
        self.link_newest(slot);
        slot
    }

    /// Gives the oldest slot to a new key.
    pub(super) fn replace_oldest(
        &mut self,
        key: K,
        dimensions: usize,
    ) -> Option<(u32, Removed<K>)> {
        let slot = self.oldest;
        if slot == NONE {
            return None;
        }
        let seated = key.clone();
        let indexed = self.take_from_index(slot);
        let index = &mut self.index;
        let inserted = catch_unwind(AssertUnwindSafe(|| index.insert(key, slot)));
        self.evictions += 1;
        if let Err(panic) = inserted {
            // The oldest is out by now.
            self.vacate(slot, dimensions, &mut vec![0.0; dimensions]);
            resume_unwind(panic);
        }
        let old = std::mem::replace(&mut self.seats[place(slot)].key, seated);
        self.use_slot(slot);
        Some((slot, (old, indexed)))
    }

    /// Empties a slot; the last vector moves into it.
    pub(super) fn remove(
        &mut self,
        slot: u32,
        dimensions: usize,
        buffer: &mut [f32],
    ) -> Removed<K> {
        let indexed = self.take_from_index(slot);
        (self.vacate(slot, dimensions, buffer), indexed)
    }

    /// Before anything else is changed: its key may panic.
    fn take_from_index(&mut self, slot: u32) -> Option<K> {
        let removed = self.index.remove_entry(&self.seats[place(slot)].key);
        removed.map(|(key, _)| key)
    }

    /// Empties a slot that is in the index no more. Never panics.
    fn vacate(&mut self, slot: u32, dimensions: usize, buffer: &mut [f32]) -> K {
        self.unlink(slot);
        let last = u32::try_from(self.seats.len().saturating_sub(1)).unwrap_or(NONE);
        let removed = self.seats.swap_remove(place(slot));
        if slot != last {
            self.move_vector(last, slot, dimensions, buffer);
            let Seat { newer, older, .. } = self.seats[place(slot)];
            match newer {
                NONE => self.newest = slot,
                newer => self.seats[place(newer)].older = slot,
            }
            match older {
                NONE => self.oldest = slot,
                older => self.seats[place(older)].newer = slot,
            }
            self.note_moved(last, slot);
        }
        removed.key
    }

    /// What lay in one slot lies in another now. If its key panics, it is found
    /// by the slot.
    fn note_moved(&mut self, from: u32, to: u32) {
        let key = &self.seats[place(to)].key;
        let index = &mut self.index;
        let is_from = |slot: &&mut u32| **slot == from;
        let looked = catch_unwind(AssertUnwindSafe(|| {
            let moved = index.get_mut(key).filter(is_from);
            moved.map(|slot| *slot = to).is_some()
        }));
        if looked.is_err()
            && let Some(slot) = self.index.values_mut().find(is_from)
        {
            *slot = to;
        }
    }

    fn move_vector(&mut self, from: u32, to: u32, dimensions: usize, buffer: &mut [f32]) {
        let (from, to) = (place(from), place(to));
        let buffer = &mut buffer[..dimensions];
        // Exact: what was rounded once is rounded to itself.
        self.blocks[from / BLOCK].read(from % BLOCK, buffer);
        self.blocks[to / BLOCK].write(to % BLOCK, buffer);
    }

    /// Takes out the blocks that hold nothing.
    pub(super) fn take_empty_blocks(&mut self) -> Vec<Block> {
        self.blocks.split_off(self.seats.len().div_ceil(BLOCK))
    }
}

/// What a block is charged: its numbers, and seats and index of its vectors,
/// which grow by doubling.
/// `None` where nobody could count or hold that.
pub(super) fn block_bytes<K>(precision: Precision, dimensions: usize) -> Option<u64> {
    let number = match precision {
        Precision::F32 => 4,
        Precision::F16 => 2,
        Precision::Int8 => 1,
    };
    let seat = 2 * size_of::<Seat<K>>();
    let index = 2 * (size_of::<(K, u32)>() + 1);
    let beside = size_of::<f32>() + seat + index;
    let block = dimensions
        .checked_mul(number)?
        .checked_add(beside)?
        .checked_mul(BLOCK)?;
    // No allocation is larger.
    isize::try_from(block).ok()?;
    u64::try_from(block).ok()
}
