//! Where each value is: on its way to the disk, or at a place in a segment.
//!
//! Keeps 40 bytes for each value, in parts that grow one by one, and charges
//! them to the component. Never holds a key that is on the disk.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use grey_model::{Bytes, Priority};

use super::format::ALIGNMENT;
use super::key_hash::{AsItIs, KeyHash};
use crate::budget::{Component, Reservation};

/// The parts of an index. While one grows it is twice in memory.
pub(super) const PARTS: usize = 64;

/// A record on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) segment: NonZeroU32,
    /// The offset divided by [`ALIGNMENT`].
    pub(super) slot: u32,
    /// Of the whole record, in bytes.
    pub(super) length: u32,
    /// Of the value, in bytes, as it was given.
    pub(super) value_length: u32,
}

impl Location {
    pub(super) const fn offset(&self) -> u64 {
        self.slot as u64 * ALIGNMENT
    }
}

/// A value that is not on the disk yet.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) hash: KeyHash,
    pub(super) key: Box<[u8]>,
    pub(super) project: u16,
    pub(super) project_name: Option<Arc<str>>,
    pub(super) priority: Priority,
    pub(super) value: Arc<[u8]>,
    /// It could not be written, and waits for another attempt.
    pub(super) is_held: AtomicBool,
    /// The segment of the last record that the disk has of its key; 0 for none.
    /// Changed under the store's lock alone.
    pub(super) replaced: AtomicU32,
    /// What it needs beyond the staging buffer.
    pub(super) _beyond: Option<Reservation<'static>>,
}

/// What the bookkeeping of one staged value takes beside key and value.
const STAGED_OVERHEAD: u64 = 192;

impl Staged {
    /// What it takes of the staging buffer.
    pub(super) fn cost(&self) -> u64 {
        cost(self.key.len(), self.value.len())
    }

    /// The segment of what it replaces on the disk.
    pub(super) fn replaces(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.replaced.load(Ordering::Relaxed))
    }

    /// Notes the last record that the disk has of its key.
    pub(super) fn note_replaced(&self, segment: Option<NonZeroU32>) {
        let segment = segment.map_or(0, NonZeroU32::get);
        self.replaced.store(segment, Ordering::Relaxed);
    }
}

/// What a value takes of the staging buffer.
pub(super) const fn cost(key: usize, value: usize) -> u64 {
    key as u64 + value as u64 + STAGED_OVERHEAD
}

/// Where a value is.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Disk(Location),
    Staged(Arc<Staged>),
}

/// One value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) place: Place,
    pub(super) priority: Priority,
    /// Tells this value from another one of its key, wherever it moves. The
    /// index gives it.
    pub(super) stamp: u32,
}

impl Entry {
    const fn is_staged(&self) -> bool {
        matches!(self.place, Place::Staged(_))
    }

    /// The segment of the last record that the disk has of its key.
    pub(super) fn on_disk(&self) -> Option<NonZeroU32> {
        match &self.place {
            Place::Disk(location) => Some(location.segment),
            Place::Staged(staged) => staged.replaces(),
        }
    }
}

type Part = HashMap<KeyHash, Entry, BuildHasherDefault<AsItIs>>;

/// All values.
#[derive(Debug)]
pub(super) struct Index {
    parts: Vec<Part>,
    length: usize,
    /// The same for each priority.
    by_priority: [usize; Priority::ALL.len()],
    /// Of these, values that are not on the disk yet.
    staged: usize,
    stamp: u32,
    component: Component,
    charge: Option<Reservation<'static>>,
}

/// How many entries each part is made for. A little more than an equal part:
/// hashes do not spread evenly.
const fn each_of(expected: usize) -> usize {
    let each = expected.div_ceil(PARTS);
    if each == 0 { 0 } else { each + each / 8 + 8 }
}

impl Index {
    /// What an index for so many entries takes at most: a table may have nearly
    /// twice the buckets that are needed.
    pub(super) fn most_bytes(expected: usize) -> Bytes {
        let entries = (each_of(expected) as u64).saturating_mul(PARTS as u64);
        let entry = 1 + size_of::<(KeyHash, Entry)>() as u64;
        Bytes(entries.saturating_mul(2).saturating_mul(entry)).scale(8, 7)
    }

    pub(super) fn new(component: Component, expected: usize) -> Self {
        let each = each_of(expected);
        let parts = (0..PARTS)
            .map(|_| Part::with_capacity_and_hasher(each, BuildHasherDefault::default()))
            .collect();
        let mut index = Self {
            parts,
            length: 0,
            by_priority: [0; Priority::ALL.len()],
            staged: 0,
            stamp: 0,
            component,
            charge: None,
        };
        index.charge_for(index.parts.iter().map(held_by).sum());
        index
    }

    fn part(&self, hash: KeyHash) -> &Part {
        &self.parts[part_of(hash)]
    }

    pub(super) const fn len(&self) -> usize {
        self.length
    }

    pub(super) fn get(&self, hash: KeyHash) -> Option<&Entry> {
        self.part(hash).get(&hash)
    }

    /// The stamp that was given last; they count up, and wrap.
    pub(super) const fn latest_stamp(&self) -> u32 {
        self.stamp
    }

    /// How many values are not on the disk yet.
    pub(super) const fn staged(&self) -> usize {
        self.staged
    }

    /// The value of a key is at `location` now, if its place is the expected
    /// one; whether it was.
    pub(super) fn settle(
        &mut self,
        hash: KeyHash,
        location: Location,
        is_expected: impl FnOnce(&Place) -> bool,
    ) -> bool {
        match self.parts[part_of(hash)].get_mut(&hash) {
            Some(entry) if is_expected(&entry.place) => {
                self.staged -= usize::from(entry.is_staged());
                entry.place = Place::Disk(location);
                true
            }
            _ => false,
        }
    }

    /// Puts an entry in; what was in its place.
    pub(super) fn insert(&mut self, hash: KeyHash, mut entry: Entry) -> Option<Entry> {
        self.stamp = self.stamp.wrapping_add(1);
        entry.stamp = self.stamp;
        let part = &mut self.parts[part_of(hash)];
        let before = held_by(part);
        self.staged += usize::from(entry.is_staged());
        self.length += 1;
        self.by_priority[entry.priority.index()] += 1;
        let old = part.insert(hash, entry);
        let after = held_by(part);
        if let Some(old) = &old {
            self.count_out(old);
        }
        if after > before {
            let held = self.charged().get() + (after - before);
            self.charge_for(held);
        }
        old
    }

    pub(super) fn remove(&mut self, hash: KeyHash) -> Option<Entry> {
        let old = self.parts[part_of(hash)].remove(&hash);
        if let Some(old) = &old {
            self.count_out(old);
        }
        old
    }

    fn count_out(&mut self, old: &Entry) {
        self.length -= 1;
        self.by_priority[old.priority.index()] -= 1;
        self.staged -= usize::from(old.is_staged());
    }

    /// Forgets everything; the memory goes back, too.
    pub(super) fn clear(&mut self) {
        self.parts
            .iter_mut()
            .for_each(|part| *part = Part::default());
        (self.length, self.staged) = (0, 0);
        self.by_priority = [0; Priority::ALL.len()];
        self.charge_for(0);
    }

    /// Gives back what it does not need when few entries are left.
    pub(super) fn shrink(&mut self) {
        for part in &mut self.parts {
            if part.len() < part.capacity() / 4 {
                part.shrink_to(part.len() * 2);
            }
        }
        self.charge_for(self.parts.iter().map(held_by).sum());
    }

    /// What is in one of the [`PARTS`].
    pub(super) fn in_part(&self, part: usize) -> impl Iterator<Item = (&KeyHash, &Entry)> {
        self.parts.get(part).into_iter().flatten()
    }

    /// How many values there are of a priority.
    pub(super) const fn len_of(&self, priority: Priority) -> usize {
        self.by_priority[priority.index()]
    }

    /// What it is charged with.
    pub(super) fn charged(&self) -> Bytes {
        self.charge.as_ref().map_or(Bytes::ZERO, Reservation::size)
    }

    /// The index grows where memory is short: what it holds is charged whatever
    /// the limits say, for the values that it makes room for are far larger.
    fn charge_for(&mut self, held: u64) {
        let now = self.charged().get();
        if held > now {
            let more = self.component.overdraw(Bytes(held - now)).into_owned();
            match &mut self.charge {
                Some(charge) => {
                    let merged = charge.merge(more);
                    debug_assert!(merged.is_ok(), "both are of the store's component");
                }
                None => self.charge = Some(more),
            }
        } else if let Some(charge) = &mut self.charge {
            charge.shrink(Bytes(now - held));
        }
    }
}

fn part_of(hash: KeyHash) -> usize {
    usize::from(hash.0[1].to_le_bytes()[0]) % PARTS
}

/// What a part holds of the heap: one byte of control and the entry for each
/// bucket, of which seven in eight may be used.
fn held_by(part: &Part) -> u64 {
    let buckets = (part.capacity() as u64 * 8).div_ceil(7);
    buckets * (1 + size_of::<(KeyHash, Entry)>() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;

    fn location(slot: u32) -> Entry {
        Entry {
            place: Place::Disk(Location {
                segment: NonZeroU32::MIN,
                slot,
                length: 88,
                value_length: 1,
            }),
            priority: Priority::Low,
            stamp: 0,
        }
    }

    #[test]
    fn an_entry_takes_40_bytes() {
        assert_eq!(size_of::<(KeyHash, Entry)>(), 40);
    }

    #[test]
    fn what_the_index_holds_is_charged_and_given_back() {
        let budget = Budget::new(Bytes::from_mib(1)).unwrap();
        let component = budget.component("spill").register().unwrap();
        let mut index = Index::new(component.clone(), 0);
        for key in 0..10_000_u64 {
            index.insert(
                KeyHash([key.wrapping_mul(0x9e37_79b9_7f4a_7c15), key]),
                location(1),
            );
        }
        assert!(component.reserved() >= Bytes(10_000 * 41));
        assert_eq!(component.reserved(), index.charged());
        for key in 0..10_000_u64 {
            index.remove(KeyHash([key.wrapping_mul(0x9e37_79b9_7f4a_7c15), key]));
        }
        index.shrink();
        assert!(component.reserved() < Bytes(10_000));
        drop(index);
        assert_eq!(component.reserved(), Bytes::ZERO);
    }

    #[test]
    fn an_index_that_expects_its_entries_does_not_grow() {
        let budget = Budget::new(Bytes::from_mib(8)).unwrap();
        let component = budget.component("spill").register().unwrap();
        let mut index = Index::new(component.clone(), 50_000);
        let before = component.reserved();
        let salt = super::super::key_hash::Salt([1, 2]);
        for key in 0..50_000_u32 {
            let hash = super::super::key_hash::hash_key(salt, &key.to_le_bytes());
            index.insert(hash, location(key));
        }
        assert_eq!(index.len(), 50_000);
        assert_eq!(component.reserved(), before);
    }
}
