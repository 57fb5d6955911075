//! Reading many values: in the order in which they lie on the disk, with reads
//! in flight.
//!
//! Never calls the program while a lock is held.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::error::SpillError;
use super::index::Location;
use super::key_hash::hash_key;
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
pub(super) const NEAR: u64 = 32 << 10;
const NEAR_AMONG_SOME: u64 = 4 << 10;

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
}

/// How much is worth reading at once from the first of these records on: up to
/// the last one that comes behind the one before it, and is `near` it.
pub(super) fn ahead<T>(records: &[T], near: u64, location: impl Fn(&T) -> Location) -> usize {
    let Some(first) = records.first().map(&location) else {
        return 0;
    };
    let mut end = first.offset() + u64::from(first.length);
    for record in &records[1..] {
        let next = location(record);
        let next_end = next.offset() + u64::from(next.length);
        if next.segment != first.segment
            || next.offset() < end
            || next.offset() > end + near
            || next_end > first.offset() + WINDOW as u64
        {
            break;
        }
        end = next_end;
    }
    usize::try_from(end - first.offset()).unwrap_or(0)
}
