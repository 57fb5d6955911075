//! Reading many values: in the order in which they lie on the disk, with reads
//! in flight; and back into memory, the dearest first.
//!
//! Never calls the program while a lock is held.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use grey_model::{Bytes, Priority};

use super::error::SpillError;
use super::index::{Location, Place, Staged};
use super::key_hash::{KeyHash, hash_key};
use super::lookup::Found;
use super::options::READERS;
use super::reading::{Scratch, Segment, WINDOW};
use super::store::SpillStore;

/// Records that the kernel is asked for, by each thread, before the first of
/// them is read.
const IN_FLIGHT: usize = 16;

/// Keys for which a thread of their own is worth it, and the most threads: each
/// takes a reader's part of the staging buffer.
const KEYS_PER_THREAD: usize = 64;
const MOST_THREADS: usize = READERS;

/// Records this close to each other are read in one piece when all of a segment
/// is read, and when only some are: then what is between them is not wanted,
/// and a disk reads several places at once.
const NEAR: u64 = 32 << 10;
const NEAR_AMONG_SOME: u64 = 4 << 10;

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

/// A record to read.
struct Wanted {
    place: usize,
    segment: Arc<Segment>,
    location: Location,
}

type Outcome = Result<Option<Arc<[u8]>>, SpillError>;

impl SpillStore {
    /// The values of several keys, in their order, with several reads in
    /// flight. One that cannot be read does not keep the others away.
    ///
    /// # Errors
    /// [`SpillError::Forked`].
    pub fn read_many(&self, keys: &[&[u8]]) -> Result<Vec<Outcome>, SpillError> {
        self.shared.check_process()?;
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(keys.len());
        let mut wanted = Vec::new();
        for (place, key) in keys.iter().enumerate() {
            let outcome = match self.place_of(hash_key(self.shared.salt, key), key) {
                Found::Nothing => None,
                Found::Value(value) => Some(value),
                Found::Record(segment, location) => {
                    wanted.push(Wanted {
                        place,
                        segment,
                        location,
                    });
                    None
                }
            };
            outcomes.push(Ok(outcome));
        }
        wanted.sort_unstable_by_key(|wanted| (wanted.location.segment, wanted.location.slot));
        let threads = (wanted.len() / KEYS_PER_THREAD).clamp(1, MOST_THREADS);
        let part = wanted.len().div_ceil(threads).max(1);
        if threads == 1 {
            for (place, outcome) in self.read_part(&wanted, keys) {
                outcomes[place] = outcome;
            }
            return Ok(outcomes);
        }
        let read = std::thread::scope(|scope| {
            let running: Vec<_> = wanted
                .chunks(part)
                .map(|part| scope.spawn(|| self.read_part(part, keys)))
                .collect();
            running
                .into_iter()
                .map(std::thread::ScopedJoinHandle::join)
                .collect::<Vec<_>>()
        });
        for part in read {
            match part {
                Ok(part) => part
                    .into_iter()
                    .for_each(|(place, outcome)| outcomes[place] = outcome),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(outcomes)
    }

    /// Reads records that are sorted by their places.
    fn read_part(&self, wanted: &[Wanted], keys: &[&[u8]]) -> Vec<(usize, Outcome)> {
        let mut scratch = None;
        let mut asked = 0;
        let mut outcomes = Vec::with_capacity(wanted.len());
        for (turn, record) in wanted.iter().enumerate() {
            while asked < wanted.len() && asked < turn + IN_FLIGHT {
                let Wanted {
                    segment, location, ..
                } = &wanted[asked];
                let length = u64::from(location.length);
                segment.file.will_need(location.offset(), length);
                asked += 1;
            }
            let key = keys[record.place];
            let ahead = ahead(&wanted[turn..], NEAR_AMONG_SOME, |wanted| wanted.location);
            let outcome = self
                .read_one(&mut scratch, record, key, ahead)
                // It may have been moved since: once more, by itself.
                .or_else(|_| self.read(key));
            outcomes.push((record.place, outcome));
        }
        if let Some(scratch) = scratch {
            self.shared.put_scratch(scratch);
        }
        outcomes
    }

    fn read_one(
        &self,
        kept: &mut Option<Scratch>,
        record: &Wanted,
        key: &[u8],
        ahead: usize,
    ) -> Outcome {
        let mut scratch = match kept.take() {
            Some(scratch) => scratch,
            None => self.shared.take_scratch()?,
        };
        let found = scratch.read(
            &record.segment,
            self.shared.salt,
            record.location,
            ahead,
            |_, found| found == key,
        );
        *kept = Some(scratch);
        let found = found?;
        self.shared.reads.fetch_add(1, Ordering::Relaxed);
        Ok(found.map(|found| found.value))
    }

    /// Offers values to `take`, the dearest first, within one priority in the
    /// order in which they were spilled, until `limit` bytes were taken. A
    /// value that does not fit any more is left, and then none that is less
    /// dear is offered.
    ///
    /// # Errors
    /// [`SpillError`], when the store cannot forget what was taken.
    pub fn load_back(
        &self,
        limit: Bytes,
        mut take: impl FnMut(Spilled<'_>) -> Take,
    ) -> Result<LoadedBack, SpillError> {
        self.shared.check_process()?;
        let mut done = LoadedBack::default();
        let mut kept = None;
        for priority in Priority::ALL.into_iter().rev() {
            let (staged, on_disk) = self.values_of(priority);
            let goes_on = self.load_staged(staged, limit, &mut done, &mut take)?
                && self.load_disk(priority, on_disk, limit, &mut done, &mut kept, &mut take)?;
            if !goes_on {
                break;
            }
        }
        if let Some(scratch) = kept {
            self.shared.put_scratch(scratch);
        }
        done.is_unfinished = !self.is_empty();
        Ok(done)
    }

    /// What did not reach the disk; whether to go on.
    fn load_staged(
        &self,
        staged: Vec<(Arc<Staged>, u32)>,
        limit: Bytes,
        done: &mut LoadedBack,
        take: &mut impl FnMut(Spilled<'_>) -> Take,
    ) -> Result<bool, SpillError> {
        let mut is_all = true;
        for (staged, stamp) in staged {
            let length = Bytes(staged.value.len() as u64);
            if done.bytes.saturating_add(length) > limit {
                is_all = false;
                continue;
            }
            let spilled = Spilled {
                key: &staged.key,
                priority: staged.priority,
                project: staged.project_name.as_deref(),
                value: Arc::clone(&staged.value),
            };
            match take(spilled) {
                Take::Taken => {
                    self.forget(staged.hash, stamp)?;
                    done.values += 1;
                    done.bytes = done.bytes.saturating_add(length);
                }
                Take::Left => {}
                Take::Stop => return Ok(false),
            }
        }
        Ok(is_all)
    }

    fn load_disk(
        &self,
        priority: Priority,
        wanted: Vec<(KeyHash, Location, u32)>,
        limit: Bytes,
        done: &mut LoadedBack,
        kept: &mut Option<Scratch>,
        take: &mut impl FnMut(Spilled<'_>) -> Take,
    ) -> Result<bool, SpillError> {
        let mut is_all = true;
        let mut key = Vec::new();
        let mut name = String::new();
        for (turn, (hash, location, stamp)) in wanted.iter().enumerate() {
            let length = Bytes(u64::from(location.value_length));
            if done.bytes.saturating_add(length) > limit {
                is_all = false;
                continue;
            }
            // It may have been moved, replaced or removed since.
            let Some((segment, location)) = self.now_at(*hash, *stamp) else {
                continue;
            };
            let mut scratch = match kept.take() {
                Some(scratch) => scratch,
                None => self.shared.take_scratch()?,
            };
            let ahead = ahead(&wanted[turn..], NEAR, |wanted| wanted.1);
            let salt = self.shared.salt;
            let found = scratch.read(&segment, salt, location, ahead, |project, found| {
                key.clear();
                key.extend_from_slice(found);
                name.clear();
                name.push_str(std::str::from_utf8(project).unwrap_or_default());
                true
            });
            *kept = Some(scratch);
            let found = match found {
                Ok(Some(found)) if found.header.hash == *hash => found,
                Ok(_) => continue,
                Err(error) => {
                    self.count_damage(&error);
                    done.damaged += 1;
                    continue;
                }
            };
            self.shared.reads.fetch_add(1, Ordering::Relaxed);
            let spilled = Spilled {
                key: &key,
                priority,
                project: Some(name.as_str()).filter(|name| !name.is_empty()),
                value: found.value,
            };
            match take(spilled) {
                Take::Taken => {
                    self.forget(*hash, *stamp)?;
                    done.values += 1;
                    done.bytes = done.bytes.saturating_add(length);
                }
                Take::Left => {}
                Take::Stop => return Ok(false),
            }
        }
        Ok(is_all)
    }

    /// Where the very value is now, if it is on the disk.
    fn now_at(&self, hash: KeyHash, stamp: u32) -> Option<(Arc<Segment>, Location)> {
        let state = self.shared.state();
        let entry = state.index.get(hash).filter(|entry| entry.stamp == stamp)?;
        let Place::Disk(location) = entry.place else {
            return None;
        };
        let numbers = state.segments.get(&location.segment)?;
        Some((Arc::clone(&numbers.segment), location))
    }

    /// All values of a priority, seen at once, so that none is offered twice:
    /// those that are not on the disk yet, and those that are, in its order.
    fn values_of(&self, priority: Priority) -> Values {
        let (mut staged, mut on_disk) = (Vec::new(), Vec::new());
        {
            let state = self.shared.state();
            let entries = state.index.iter();
            for (hash, entry) in entries.filter(|(_, entry)| entry.priority == priority) {
                match &entry.place {
                    Place::Staged(value) => staged.push((Arc::clone(value), entry.stamp)),
                    Place::Disk(location) => on_disk.push((*hash, *location, entry.stamp)),
                }
            }
        }
        on_disk.sort_unstable_by_key(|(_, location, _)| (location.segment, location.slot));
        (staged, on_disk)
    }
}

/// What waits, and what is on the disk.
type Values = (Vec<(Arc<Staged>, u32)>, Vec<(KeyHash, Location, u32)>);

/// How much is worth reading at once from the first of these records on: up to
/// the last one that is `near` the one before it.
fn ahead<T>(records: &[T], near: u64, location: impl Fn(&T) -> Location) -> usize {
    let Some(first) = records.first().map(&location) else {
        return 0;
    };
    let mut end = first.offset() + u64::from(first.length);
    for record in &records[1..] {
        let next = location(record);
        let next_end = next.offset() + u64::from(next.length);
        if next.segment != first.segment
            || next.offset() > end + near
            || next_end > first.offset() + WINDOW as u64
        {
            break;
        }
        end = next_end;
    }
    usize::try_from(end - first.offset()).unwrap_or(0)
}
