//! What a store knows, behind one lock: the index, the segments, what waits to
//! be written, and what went wrong.
//!
//! Opens, reads and writes no file while the lock is held.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

use grey_model::Bytes;

use super::error::SpillError;
use super::index::{Entry, Index, Location, Place, Staged};
use super::key_hash::{KeyHash, Salt};
use super::options::{MOST_PROJECTS, READERS, SpillOptions, WRITE_BUFFER};
use super::reading::{Scratch, Segment};
use super::statistics::{Collected, Recovery, SpillStatistics};
use crate::budget::Reservation;
use crate::disk::DiskLock;
use crate::process_id::process_id;

/// So much of values is written at once; half of what the buffer holds.
const GATHERED: u64 = WRITE_BUFFER as u64 / 2;

/// One segment's numbers.
#[derive(Debug)]
pub(super) struct Numbers {
    pub(super) segment: Arc<Segment>,
    pub(super) length: u64,
    /// What the list of its keys takes.
    pub(super) roster: u64,
    /// Bytes of records that nobody can reach any more, tombstones among them.
    pub(super) dead: u64,
    pub(super) tombstones: u64,
    /// Set aside, not removed, when nothing in it is needed any more.
    pub(super) is_damaged: bool,
}

impl Numbers {
    /// Whether no value in it can be reached.
    pub(super) const fn is_all_dead(&self) -> bool {
        self.dead + super::format::HEADER as u64 >= self.length
    }
}

/// What the thread that writes is to do.
#[derive(Debug)]
pub(super) enum Work {
    Value(Arc<Staged>),
    Remove(KeyHash),
}

impl Work {
    /// The key that was removed, if one was.
    pub(super) const fn removed(&self) -> Option<KeyHash> {
        match self {
            Self::Remove(hash) => Some(*hash),
            Self::Value(_) => None,
        }
    }
}

/// What the thread that writes does now, for whoever brings it something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thread {
    /// It will look at the queue by itself.
    Works,
    /// It waits a little for more, so that it writes much in one piece.
    Gathers,
    /// It waits until it is woken.
    Sleeps,
}

/// Something that callers ask the thread for, and wait for.
#[derive(Debug)]
pub(super) struct Request<T> {
    pub(super) asked: u64,
    pub(super) done: u64,
    pub(super) outcome: Result<T, SpillError>,
}

impl<T> Request<T> {
    const fn new(outcome: T) -> Self {
        Self {
            asked: 0,
            done: 0,
            outcome: Ok(outcome),
        }
    }

    pub(super) const fn is_open(&self) -> bool {
        self.asked > self.done
    }
}

/// The names of projects, by number; 0 is nobody's.
#[derive(Debug, Default)]
pub(super) struct Projects {
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u16>,
}

impl Projects {
    /// Its number; a new one if need be.
    pub(super) fn number(&mut self, name: Option<&str>) -> Result<u16, SpillError> {
        let Some(name) = name else {
            return Ok(0);
        };
        if let Some(number) = self.numbers.get(name) {
            return Ok(*number);
        }
        let too_many = || SpillError::TooManyProjects {
            most: MOST_PROJECTS,
        };
        if self.names.len() >= MOST_PROJECTS {
            return Err(too_many());
        }
        let number = u16::try_from(self.names.len() + 1).map_err(|_| too_many())?;
        let name: Arc<str> = name.into();
        self.names.push(Arc::clone(&name));
        self.numbers.insert(name, number);
        Ok(number)
    }

    pub(super) fn name(&self, number: u16) -> Option<Arc<str>> {
        let place = usize::from(number).checked_sub(1)?;
        self.names.get(place).cloned()
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) index: Index,
    pub(super) segments: BTreeMap<NonZeroU32, Numbers>,
    /// The one that is being written.
    pub(super) active: Option<NonZeroU32>,
    /// Of all segments together.
    pub(super) on_disk: u64,
    pub(super) projects: Projects,
    pub(super) queue: VecDeque<Work>,
    pub(super) thread: Thread,
    /// Somebody waits for room: what is there is to be written.
    pub(super) is_short: bool,
    /// What could not be written, in order.
    pub(super) held: VecDeque<Work>,
    /// What values that are not on the disk take of the staging buffer.
    pub(super) pending: u64,
    /// Why writing fails, and since when.
    pub(super) failure: Option<(SpillError, Instant)>,
    pub(super) flush: Request<()>,
    pub(super) garbage: Request<Collected>,
    pub(super) garbage_budget: Bytes,
    pub(super) is_closing: bool,
    pub(super) has_ended: bool,
    pub(super) totals: SpillStatistics,
}

impl State {
    pub(super) fn new(index: Index) -> Self {
        Self {
            index,
            segments: BTreeMap::new(),
            active: None,
            on_disk: 0,
            projects: Projects::default(),
            queue: VecDeque::new(),
            thread: Thread::Works,
            is_short: false,
            held: VecDeque::new(),
            pending: 0,
            failure: None,
            flush: Request::new(()),
            garbage: Request::new(Collected::default()),
            garbage_budget: Bytes::ZERO,
            is_closing: false,
            has_ended: false,
            totals: SpillStatistics::default(),
        }
    }

    /// A record that nobody can reach any more.
    pub(super) fn bury(&mut self, segment: NonZeroU32, length: u64) {
        if let Some(numbers) = self.segments.get_mut(&segment) {
            numbers.dead += length;
        }
    }

    /// What an entry held on the disk is dead.
    pub(super) fn bury_entry(&mut self, entry: Option<Entry>) {
        if let Some(Entry {
            place: Place::Disk(location),
            ..
        }) = entry
        {
            self.bury(location.segment, u64::from(location.length));
        }
    }

    /// Whether this very value is still the one of its key.
    pub(super) fn is_current(&self, staged: &Arc<Staged>) -> bool {
        matches!(
            self.index.get(staged.hash),
            Some(Entry { place: Place::Staged(now), .. }) if Arc::ptr_eq(now, staged)
        )
    }

    /// Whether a key's value is in this very record.
    pub(super) fn is_at(&self, hash: KeyHash, location: Location) -> bool {
        matches!(
            self.index.get(hash),
            Some(Entry { place: Place::Disk(now), .. }) if *now == location
        )
    }

    /// Another attempt for what could not be written, before all else.
    pub(super) fn retry_held(&mut self) {
        self.failure = None;
        while let Some(work) = self.held.pop_back() {
            if let Work::Value(staged) = &work {
                staged.is_held.store(false, Ordering::Relaxed);
            }
            self.queue.push_front(work);
        }
    }

    /// Whether what waits is worth writing at once.
    pub(super) const fn is_enough(&self) -> bool {
        self.pending >= GATHERED || self.is_short
    }

    pub(super) fn dead(&self) -> u64 {
        self.segments.values().map(|numbers| numbers.dead).sum()
    }
}

/// What all handles and the thread share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: SpillOptions,
    pub(super) salt: Salt,
    pub(super) owner: u32,
    state: Mutex<State>,
    /// Wakes the thread.
    pub(super) work: Condvar,
    /// Wakes whoever waits for it.
    pub(super) done: Condvar,
    scratches: Mutex<Vec<Scratch>>,
    pub(super) recovery: Recovery,
    pub(super) reads: AtomicU64,
    pub(super) damaged_reads: AtomicU64,
    pub(super) is_in_memory: bool,
    _staging: Reservation<'static>,
    pub(super) lock: Box<dyn DiskLock>,
}

impl Shared {
    pub(super) fn new(
        options: SpillOptions,
        salt: Salt,
        state: State,
        recovery: Recovery,
        is_in_memory: bool,
        staging: Reservation<'static>,
        lock: Box<dyn DiskLock>,
    ) -> Self {
        Self {
            options,
            salt,
            owner: process_id(),
            state: Mutex::new(state),
            work: Condvar::new(),
            done: Condvar::new(),
            scratches: Mutex::new(Vec::with_capacity(READERS)),
            recovery,
            reads: AtomicU64::new(0),
            damaged_reads: AtomicU64::new(0),
            is_in_memory,
            _staging: staging,
            lock,
        }
    }

    /// The state, whether or not a thread panicked while it had it: every
    /// change under the lock is complete, or of numbers alone.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Wakes the thread for what was just queued, if it would not see it, or is
    /// waiting for more than it has now. Waking costs a system call.
    pub(super) fn wake(&self, state: &mut State) {
        if state.thread == Thread::Sleeps || state.thread == Thread::Gathers && state.is_enough() {
            state.thread = Thread::Works;
            self.work.notify_one();
        }
    }

    /// Refuses in a process that was forked: its copy of the lock may be held
    /// for ever, and the files are its parent's.
    pub(super) fn check_process(&self) -> Result<(), SpillError> {
        if process_id() == self.owner {
            return Ok(());
        }
        Err(SpillError::Forked { owner: self.owner })
    }

    /// What a reader needs; one that was used, or a new one.
    pub(super) fn take_scratch(&self) -> Result<Scratch, SpillError> {
        let kept = self
            .scratches
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .pop();
        match kept {
            Some(scratch) => Ok(scratch),
            None => Scratch::new().map_err(|error| {
                SpillError::of_io("make a buffer to read", &self.options.directory, error)
            }),
        }
    }

    /// Keeps it for the next reader, unless there are enough.
    pub(super) fn put_scratch(&self, mut scratch: Scratch) {
        scratch.window.clear();
        let mut kept = self
            .scratches
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if kept.len() < READERS {
            kept.push(scratch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;

    #[test]
    fn a_little_gathers_until_it_is_much_or_somebody_is_short_of_room() {
        let budget = Budget::new(Bytes::from_mib(64)).unwrap();
        let component = budget.component("spill").register().unwrap();
        let mut state = State::new(Index::new(component, 1));
        state.pending = GATHERED - 1;
        assert!(!state.is_enough());
        state.is_short = true;
        assert!(state.is_enough());
        state.is_short = false;
        state.pending += 1;
        assert!(state.is_enough());
    }
}
