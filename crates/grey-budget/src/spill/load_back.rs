//! Values back into memory: the dearest first, and of one priority those that
//! were spilled last, in pieces that are read in the order of the disk.
//!
//! Never calls the program while a lock is held, and never keeps more than a
//! bounded part of the index in a list.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use grey_model::{Bytes, Priority};

use super::error::SpillError;
use super::index::{Location, PARTS, Place};
use super::key_hash::KeyHash;
use super::load::{NEAR, ahead};
use super::reading::{Scratch, Segment};
use super::store::SpillStore;
use crate::load_back::LOAD_BACK_SLICE;

/// The most values that are listed at once; one takes some 50 bytes there.
const MOST_LISTED: usize = 1 << 16;

/// What was spilled after a pass began is older than this by its stamp, which
/// wraps, and is not offered by it.
const LATER: u32 = 1 << 31;

/// A value that comes back.
#[derive(Debug)]
pub struct Spilled<'a> {
    /// Its key.
    pub key: &'a [u8],
    /// Its priority.
    pub priority: Priority,
    /// Whose it is.
    pub project: Option<&'a str>,
    /// Itself.
    pub value: Arc<[u8]>,
    origin: Origin<'a>,
}

/// Which value of a key it is.
#[derive(Debug, Clone, Copy)]
struct Origin<'a> {
    store: &'a SpillStore,
    hash: KeyHash,
    stamp: u32,
}

impl Spilled<'_> {
    /// Whether it is still what its key has: it may be replaced or removed while
    /// it is offered.
    #[must_use]
    pub fn is_current(&self) -> bool {
        let Origin { store, hash, stamp } = self.origin;
        let state = store.shared.state();
        state
            .index
            .get(hash)
            .is_some_and(|entry| entry.stamp == stamp)
    }
}

/// What became of a value that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// It is in memory again: the store forgets it.
    Taken,
    /// It stays where it is.
    Left,
    /// It stays where it is, and no other is wanted.
    Stop,
}

/// What was loaded back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadedBack {
    /// Values that were taken.
    pub values: u64,
    /// Their bytes.
    pub bytes: Bytes,
    /// Values that could not be read. They stay, and are reported when read.
    pub damaged: u64,
    /// Whether values are left, for whatever reason.
    pub is_unfinished: bool,
}

/// Whom values are offered to.
pub(crate) trait Taker {
    /// How many bytes may come now. Asked before each piece; none to end it.
    fn room(&mut self) -> Bytes;

    /// What a value takes in memory beside its length.
    fn overhead(&self) -> Bytes {
        Bytes::ZERO
    }

    /// A value is larger than the room, and is not read.
    fn is_too_large(&mut self);

    /// What becomes of this one.
    fn take(&mut self, spilled: Spilled<'_>) -> Take;
}

/// Takes up to a limit.
struct UpTo<T> {
    left: Bytes,
    take: T,
}

impl<T: FnMut(Spilled<'_>) -> Take> Taker for UpTo<T> {
    fn room(&mut self) -> Bytes {
        self.left
    }

    fn is_too_large(&mut self) {}

    fn take(&mut self, spilled: Spilled<'_>) -> Take {
        let length = Bytes(spilled.value.len() as u64);
        if length > self.left {
            return Take::Left;
        }
        let taken = (self.take)(spilled);
        if taken == Take::Taken {
            self.left = self.left.saturating_sub(length);
        }
        taken
    }
}

/// A value to offer.
#[derive(Debug, Clone)]
struct Item {
    hash: KeyHash,
    stamp: u32,
    /// How many were spilled after it.
    age: u32,
    place: Place,
}

impl Item {
    fn length(&self) -> Bytes {
        Bytes(match &self.place {
            Place::Disk(location) => u64::from(location.value_length),
            Place::Staged(staged) => staged.value.len() as u64,
        })
    }

    /// What is not on the disk yet comes first.
    fn order(&self) -> Option<(std::num::NonZeroU32, u32)> {
        match &self.place {
            Place::Disk(location) => Some((location.segment, location.slot)),
            Place::Staged(_) => None,
        }
    }

    /// Where it is on the disk; an empty place for what is not.
    fn location(&self) -> Location {
        match &self.place {
            Place::Disk(location) => *location,
            Place::Staged(_) => Location {
                segment: std::num::NonZeroU32::MAX,
                slot: 0,
                length: 0,
                value_length: 0,
            },
        }
    }
}

/// What is needed while values are offered.
#[derive(Default)]
struct Work {
    done: LoadedBack,
    kept: Option<Scratch>,
    key: Vec<u8>,
    name: String,
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goes {
    /// Everything was offered.
    On,
    /// Something did not fit: what is less dear is not offered.
    NoLower,
    /// No other is wanted.
    Stop,
}

impl SpillStore {
    /// Offers values to `take`, the dearest first, and within one priority those
    /// first that were spilled last (in pieces of some MiB, each in the order of
    /// the disk), until `limit` bytes were taken. A value that does not fit any
    /// more is left, and then none that is less dear is offered.
    ///
    /// # Errors
    /// [`SpillError`], when the store cannot forget what was taken.
    pub fn load_back(
        &self,
        limit: Bytes,
        take: impl FnMut(Spilled<'_>) -> Take,
    ) -> Result<LoadedBack, SpillError> {
        let mut taker = UpTo { left: limit, take };
        let mut work = Work::default();
        self.shared.check_process()?;
        for priority in Priority::ALL.into_iter().rev() {
            if self.offer_all_of(priority, &mut taker, &mut work)? != Goes::On {
                break;
            }
        }
        Ok(self.end_of(work))
    }

    /// The same for one priority, to one who says how much may come now and
    /// again.
    ///
    /// # Errors
    /// As [`Self::load_back`].
    pub(crate) fn load_back_of(
        &self,
        priority: Priority,
        taker: &mut dyn Taker,
    ) -> Result<LoadedBack, SpillError> {
        self.shared.check_process()?;
        let mut work = Work::default();
        self.offer_all_of(priority, taker, &mut work)?;
        Ok(self.end_of(work))
    }

    fn end_of(&self, work: Work) -> LoadedBack {
        if let Some(scratch) = work.kept {
            self.shared.put_scratch(scratch);
        }
        LoadedBack {
            is_unfinished: !self.is_empty(),
            ..work.done
        }
    }

    fn offer_all_of(
        &self,
        priority: Priority,
        taker: &mut dyn Taker,
        work: &mut Work,
    ) -> Result<Goes, SpillError> {
        let (mut newest, mut after, mut goes) = (None, None, Goes::On);
        loop {
            if self.shared.state().index.len_of(priority) == 0 {
                return Ok(goes);
            }
            // Looking through the index is worth it where something fits alone.
            let room = taker.room();
            if room == Bytes::ZERO {
                return Ok(Goes::Stop);
            }
            let newest = *newest.get_or_insert_with(|| self.shared.state().index.latest_stamp());
            let items = self.newest_of(priority, newest, after);
            let Some(oldest) = items.last() else {
                return Ok(goes);
            };
            after = Some(oldest.age);
            match self.offer(&items, priority, room, taker, work)? {
                Goes::On => {}
                Goes::NoLower => goes = Goes::NoLower,
                Goes::Stop => return Ok(Goes::Stop),
            }
            if items.len() < MOST_LISTED {
                return Ok(goes);
            }
        }
    }

    /// The values of a priority that were spilled last before the one of age
    /// `after`, the newest first: as many as are listed at once. The lock is held
    /// for one part of the index at a time; what comes in meanwhile is younger
    /// than `newest`, and what goes is found gone when its turn comes.
    fn newest_of(&self, priority: Priority, newest: u32, after: Option<u32>) -> Vec<Item> {
        let mut items: Vec<Item> = Vec::new();
        for part in 0..PARTS {
            let state = self.shared.state();
            for (hash, entry) in state.index.in_part(part) {
                let age = newest.wrapping_sub(entry.stamp);
                let is_wanted = entry.priority == priority && age < LATER;
                if !is_wanted || after.is_some_and(|after| age <= after) {
                    continue;
                }
                items.push(Item {
                    hash: *hash,
                    stamp: entry.stamp,
                    age,
                    place: entry.place.clone(),
                });
                if items.len() >= 2 * MOST_LISTED {
                    items.select_nth_unstable_by_key(MOST_LISTED, |item| item.age);
                    items.truncate(MOST_LISTED);
                }
            }
        }
        items.sort_unstable_by_key(|item| item.age);
        items.truncate(MOST_LISTED);
        items
    }

    /// Offers a list, piece by piece; for the first there is this much room.
    fn offer(
        &self,
        items: &[Item],
        priority: Priority,
        room: Bytes,
        taker: &mut dyn Taker,
        work: &mut Work,
    ) -> Result<Goes, SpillError> {
        let (mut rest, mut goes) = (items, Goes::On);
        let (mut first, overhead) = (Some(room), taker.overhead());
        while !rest.is_empty() {
            let room = first.take().unwrap_or_else(|| taker.room());
            if room == Bytes::ZERO {
                return Ok(Goes::Stop);
            }
            let mut piece = Vec::new();
            let mut sum = Bytes::ZERO;
            while let Some((first, others)) = rest.split_first() {
                let length = first.length().saturating_add(overhead);
                let with = sum.saturating_add(length);
                if length > room {
                    goes = Goes::NoLower;
                    taker.is_too_large();
                } else if piece.is_empty() || with <= room.min(LOAD_BACK_SLICE) {
                    piece.push(first.clone());
                    sum = with;
                } else {
                    break;
                }
                rest = others;
            }
            // Where room is short, what was spilled last comes first to the end.
            if room >= LOAD_BACK_SLICE.scale(2, 1) {
                piece.sort_unstable_by_key(Item::order);
            }
            if !self.offer_piece(&piece, priority, taker, work)? {
                return Ok(Goes::Stop);
            }
        }
        Ok(goes)
    }

    /// Whether another is wanted.
    fn offer_piece(
        &self,
        piece: &[Item],
        priority: Priority,
        taker: &mut dyn Taker,
        work: &mut Work,
    ) -> Result<bool, SpillError> {
        for (turn, item) in piece.iter().enumerate() {
            let ahead = ahead(&piece[turn..], NEAR, Item::location);
            let Some((project, value)) = self.value_of(item, ahead, work)? else {
                continue;
            };
            let spilled = Spilled {
                key: &work.key,
                priority,
                project: Some(project.as_str()).filter(|name| !name.is_empty()),
                value,
                origin: Origin {
                    store: self,
                    hash: item.hash,
                    stamp: item.stamp,
                },
            };
            let taken = taker.take(spilled);
            work.name = project;
            match taken {
                Take::Taken => {
                    self.forget(item.hash, item.stamp)?;
                    work.done.values += 1;
                    work.done.bytes = work.done.bytes.saturating_add(item.length());
                }
                Take::Left => {}
                Take::Stop => return Ok(false),
            }
        }
        Ok(true)
    }

    /// The project and the value of an item, and its key in `work`; `None` when
    /// it is gone or damaged.
    fn value_of(
        &self,
        item: &Item,
        ahead: usize,
        work: &mut Work,
    ) -> Result<Option<Named>, SpillError> {
        work.key.clear();
        let mut name = std::mem::take(&mut work.name);
        name.clear();
        let (segment, location) = match (self.now_at(item.hash, item.stamp), &item.place) {
            (None, _) => return Ok(None),
            (Some(Now::Memory), Place::Staged(staged)) => {
                work.key.extend_from_slice(&staged.key);
                name.push_str(staged.project_name.as_deref().unwrap_or_default());
                return Ok(Some((name, Arc::clone(&staged.value))));
            }
            (Some(Now::Memory), Place::Disk(_)) => return Ok(None),
            (Some(Now::Disk(segment, location)), _) => (segment, location),
        };
        let mut scratch = match work.kept.take() {
            Some(scratch) => scratch,
            None => self.shared.take_scratch()?,
        };
        let (salt, key) = (self.shared.salt, &mut work.key);
        let found = scratch.read(&segment, salt, location, ahead, |project, found| {
            key.extend_from_slice(found);
            name.push_str(std::str::from_utf8(project).unwrap_or_default());
            true
        });
        work.kept = Some(scratch);
        match found {
            Ok(Some(found)) if found.header.hash == item.hash => {
                self.shared.reads.fetch_add(1, Ordering::Relaxed);
                Ok(Some((name, found.value)))
            }
            Ok(_) => Ok(None),
            // It may have been moved, with its segment, since it was looked up.
            Err(_) if !self.shared.state().is_at(item.hash, location) => Ok(None),
            Err(error) => {
                self.count_damage(&error);
                work.done.damaged += 1;
                Ok(None)
            }
        }
    }

    /// Where the very value is now: it may have been moved, replaced or removed.
    fn now_at(&self, hash: KeyHash, stamp: u32) -> Option<Now> {
        let state = self.shared.state();
        let entry = state.index.get(hash).filter(|entry| entry.stamp == stamp)?;
        match &entry.place {
            Place::Staged(_) => Some(Now::Memory),
            Place::Disk(location) => {
                let numbers = state.segments.get(&location.segment)?;
                Some(Now::Disk(Arc::clone(&numbers.segment), *location))
            }
        }
    }
}

/// The project of a value, and the value.
type Named = (String, Arc<[u8]>);

/// Where a value is when its turn comes.
enum Now {
    Memory,
    Disk(Arc<Segment>, Location),
}
