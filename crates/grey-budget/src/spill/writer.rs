//! The thread that writes: it takes what waits, encodes it into one buffer,
//! writes that in one piece behind the last segment, and only then lets the
//! values go.
//!
//! Needs no memory while it works. What cannot be written stays in memory and
//! readable; nothing is dropped.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use grey_model::Bytes;

use super::codec::Encoder;
use super::error::SpillError;
use super::format::{FileHeader, HEADER, Link};
use super::garbage::Compaction;
use super::index::{Location, Place, Staged};
use super::key_hash::KeyHash;
use super::options::WRITE_BUFFER;
use super::reading::{Scratch, Segment};
use super::recovery::{Tail, segment_path};
use super::state::{Numbers, Shared, State, Work};

/// What the thread moves on its own between two looks at the queue.
const OWN_STEP: Bytes = Bytes::from_mib(4);

/// What becomes true when the buffer is written.
#[derive(Debug)]
pub(super) enum Commit {
    Value {
        staged: Arc<Staged>,
        location: Location,
        stored: u32,
        is_raw: bool,
    },
    Moved {
        hash: KeyHash,
        from: Location,
        to: Location,
    },
    Removed {
        hash: KeyHash,
        length: u64,
        /// Asked for by somebody, and not only kept from an older segment.
        is_asked: bool,
    },
}

/// The segment that is written.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) segment: Arc<Segment>,
    pub(super) end: u64,
}

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) active: Option<Active>,
    pub(super) buffer: Box<[u8]>,
    pub(super) filled: usize,
    pub(super) commits: Vec<Commit>,
    /// With what is in the buffer.
    pub(super) tail: Tail,
    /// Without.
    pub(super) written: Tail,
    pub(super) next: u32,
    pub(super) encoder: Encoder,
    pub(super) scratch: Scratch,
    /// What was written since it was last synced.
    unsynced: Vec<Arc<Segment>>,
    has_new_names: bool,
    /// Somebody flushed: what is flushed must not be lost by what follows.
    pub(super) is_durable: bool,
    pub(super) compaction: Option<Compaction>,
    garbage_failed: bool,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        tail: Tail,
        next: u32,
        encoder: Encoder,
        scratch: Scratch,
    ) -> Self {
        let active = {
            let state = shared.state();
            state
                .active
                .and_then(|id| state.segments.get(&id))
                .map(|numbers| Active {
                    segment: Arc::clone(&numbers.segment),
                    end: tail.end,
                })
        };
        Self {
            shared,
            active,
            buffer: vec![0; WRITE_BUFFER].into_boxed_slice(),
            filled: 0,
            commits: Vec::new(),
            tail,
            written: tail,
            next,
            encoder,
            scratch,
            unsynced: Vec::new(),
            has_new_names: false,
            is_durable: false,
            compaction: None,
            garbage_failed: false,
        }
    }

    /// Works until the store is closed and nothing waits.
    pub(super) fn run(mut self) {
        // However this ends, nobody may go on waiting.
        let _end = End(Arc::clone(&self.shared));
        let mut batch = VecDeque::new();
        loop {
            let (flush, garbage) = {
                let mut state = self.shared.state();
                while state.queue.is_empty()
                    && !state.flush.is_open()
                    && !state.garbage.is_open()
                    && !state.is_closing
                    && !self.has_own_garbage(&state)
                {
                    state = self
                        .shared
                        .work
                        .wait(state)
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                }
                let nothing_waits =
                    state.queue.is_empty() && !state.flush.is_open() && !state.garbage.is_open();
                if state.is_closing && nothing_waits {
                    return;
                }
                std::mem::swap(&mut state.queue, &mut batch);
                let flush = state.flush.is_open().then_some(state.flush.asked);
                let garbage = state
                    .garbage
                    .is_open()
                    .then_some((state.garbage.asked, state.garbage_budget));
                (flush, garbage)
            };
            let written = self.write_batch(&mut batch);
            if let Some(asked) = flush {
                let outcome = written.and_then(|()| self.sync());
                let mut state = self.shared.state();
                state.flush.done = asked;
                // An earlier batch may have failed since the flush was asked.
                state.flush.outcome = match (outcome, &state.failure) {
                    (Ok(()), Some((failure, _))) if !state.held.is_empty() => Err(failure.clone()),
                    (outcome, _) => outcome,
                };
                drop(state);
                self.shared.done.notify_all();
            }
            if let Some((asked, budget)) = garbage {
                let outcome = self.collect(budget, true);
                let mut state = self.shared.state();
                state.garbage.done = asked;
                state.garbage.outcome = outcome;
                drop(state);
                self.shared.done.notify_all();
            } else if !self.garbage_failed
                && let Err(error) = self.collect(OWN_STEP, false)
            {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "failed to collect spilled garbage"
                );
                self.garbage_failed = true;
            }
        }
    }

    fn has_own_garbage(&self, state: &State) -> bool {
        !self.garbage_failed
            && !state.is_closing
            && (self.compaction.is_some() || super::garbage::pick(state).is_some())
    }

    /// Writes all of a batch, or holds it all in memory.
    fn write_batch(&mut self, batch: &mut VecDeque<Work>) -> Result<(), SpillError> {
        if batch.is_empty() {
            return Ok(());
        }
        while let Some(work) = batch.pop_front() {
            if let Err(error) = self.append(&work) {
                self.hold(Some(work), batch, &error);
                return Err(error);
            }
        }
        match self.write_out() {
            Ok(()) => {
                self.garbage_failed = false;
                Ok(())
            }
            Err(error) => {
                self.hold(None, batch, &error);
                Err(error)
            }
        }
    }

    fn append(&mut self, work: &Work) -> Result<(), SpillError> {
        match work {
            Work::Value(staged) => {
                let mut state = self.shared.state();
                if !state.is_current(staged) {
                    // Replaced or removed since; what did so comes later.
                    state.pending = state.pending.saturating_sub(staged.cost());
                    drop(state);
                    self.shared.done.notify_all();
                    return Ok(());
                }
                drop(state);
                self.append_value(staged)
            }
            Work::Remove(hash) => self.append_tombstone(*hash, true),
        }
    }

    /// Makes sure that `length` more bytes belong into the active segment.
    pub(super) fn make_room(&mut self, length: u64) -> Result<(), SpillError> {
        let most = self.segment_length();
        let fits = self.active.as_ref().is_some_and(|active| {
            let end = active.end + self.filled as u64;
            end + length <= most || end == HEADER as u64
        });
        if fits {
            return Ok(());
        }
        self.write_out()?;
        self.begin_segment()
    }

    /// Several segments must fit into the quota, or none could be collected.
    fn segment_length(&self) -> u64 {
        let options = &self.shared.options;
        options
            .segment
            .get()
            .min((options.quota.get() / 8).max(64 << 10))
    }

    /// Ends the active segment, if there is one, and begins the next.
    pub(super) fn begin_segment(&mut self) -> Result<(), SpillError> {
        debug_assert_eq!(self.filled, 0, "the buffer belongs to the old segment");
        if self.is_durable {
            self.sync()?;
        }
        let directory = &self.shared.options.directory;
        let id = NonZeroU32::new(self.next).unwrap_or(NonZeroU32::MAX);
        let path = segment_path(directory, id);
        let failed = |error| SpillError::of_io("begin the spill segment", &path, error);
        let disk = &self.shared.options.disk;
        let file = disk.create(&path).map_err(failed)?;
        self.next = self.next.saturating_add(1);
        let header = FileHeader {
            salt: self.shared.salt,
            segment: id.get(),
            previous_segment: self.written.segment,
            previous_end: self.written.end,
            previous: self.written.previous,
        };
        if let Err(error) = file.write_at(&header.encode(), 0) {
            // No record is in it; if it cannot be removed, it is at the next
            // opening.
            if let Err(error) = disk.remove(&path) {
                tracing::warn!(%error, path = %path.display(), "failed to remove an empty spill segment");
            }
            return Err(failed(error));
        }
        let segment = Arc::new(Segment { id, path, file });
        self.has_new_names = true;
        self.unsynced.push(Arc::clone(&segment));
        self.written = Tail {
            segment: id.get(),
            end: HEADER as u64,
            previous: Link::default(),
            sequence: self.written.sequence,
        };
        self.tail = self.written;
        let mut state = self.shared.state();
        state.on_disk += HEADER as u64;
        state.active = Some(id);
        state.segments.insert(
            id,
            Numbers {
                segment: Arc::clone(&segment),
                length: HEADER as u64,
                dead: 0,
                tombstones: 0,
                is_damaged: false,
            },
        );
        drop(state);
        self.active = Some(Active {
            segment,
            end: HEADER as u64,
        });
        Ok(())
    }

    /// Refuses when the disk would have too little left.
    pub(super) fn check_floor(&self, more: u64) -> Result<(), SpillError> {
        let options = &self.shared.options;
        let floor = options.free_floor;
        if floor == Bytes::ZERO {
            return Ok(());
        }
        let free = options
            .disk
            .free_space(&options.directory)
            .map_err(|error| {
                SpillError::of_io("ask for the free space of", &options.directory, error)
            })?;
        if free.saturating_sub(Bytes(more)) < floor {
            return Err(SpillError::TooLittleFree {
                directory: options.directory.clone(),
                free,
                floor,
            });
        }
        Ok(())
    }

    /// Writes what is in the buffer, and lets go of what is on the disk then.
    pub(super) fn write_out(&mut self) -> Result<(), SpillError> {
        if self.filled == 0 {
            return Ok(());
        }
        self.check_floor(self.filled as u64)?;
        let filled = self.filled;
        let Some(active) = &self.active else {
            return Err(SpillError::Closed);
        };
        let segment = &active.segment;
        segment
            .file
            .write_at(&self.buffer[..filled], active.end)
            .map_err(|error| SpillError::of_io("write to", &segment.path, error))?;
        self.filled = 0;
        self.wrote(filled as u64);
        Ok(())
    }

    /// So many bytes more are in the active segment.
    pub(super) fn wrote(&mut self, length: u64) {
        let Some(active) = &mut self.active else {
            return;
        };
        active.end += length;
        self.written = self.tail;
        let id = active.segment.id;
        if self.unsynced.last().is_none_or(|last| last.id != id) {
            self.unsynced.push(Arc::clone(&active.segment));
        }
        let mut state = self.shared.state();
        state.on_disk += length;
        if let Some(numbers) = state.segments.get_mut(&id) {
            numbers.length += length;
        }
        let mut let_go = Vec::new();
        for commit in self.commits.drain(..) {
            apply(&mut state, id, &commit);
            let_go.push(commit);
        }
        drop(state);
        self.shared.done.notify_all();
        // Values are dropped outside of the lock.
        self.commits = let_go;
        self.commits.clear();
    }

    /// Keeps what could not be written, in its order, and makes the end of the
    /// active segment what it was.
    fn hold(&mut self, work: Option<Work>, batch: &mut VecDeque<Work>, error: &SpillError) {
        tracing::warn!(
            error = error as &dyn std::error::Error,
            "failed to spill; the values stay in memory"
        );
        self.take_back();
        let mut held = VecDeque::new();
        for commit in self.commits.drain(..) {
            match commit {
                Commit::Value { staged, .. } => held.push_back(Work::Value(staged)),
                Commit::Removed {
                    hash,
                    is_asked: true,
                    ..
                } => held.push_back(Work::Remove(hash)),
                Commit::Moved { .. } | Commit::Removed { .. } => {}
            }
        }
        held.extend(work);
        held.append(batch);
        let mut state = self.shared.state();
        held.append(&mut state.queue);
        for work in &held {
            if let Work::Value(staged) = work {
                staged.is_held.store(true, Ordering::Relaxed);
            }
        }
        state.held.append(&mut held);
        state.failure = Some((error.clone(), Instant::now()));
        state.totals.write_failures += 1;
        drop(state);
        self.shared.done.notify_all();
    }

    /// Forgets what is in the buffer, and cuts off what was written of it. If
    /// that cannot be, another segment is begun: its header says where this
    /// one ends.
    pub(super) fn take_back(&mut self) {
        self.filled = 0;
        self.tail = self.written;
        let Some(active) = &self.active else {
            return;
        };
        let cut = match active.segment.file.length() {
            Ok(length) if length <= active.end => Ok(()),
            Ok(_) => active.segment.file.truncate(active.end),
            Err(error) => Err(error),
        };
        if cut.is_err() {
            self.leave_segment();
        }
    }

    /// The next record goes into a new segment.
    fn leave_segment(&mut self) {
        self.active = None;
        self.shared.state().active = None;
    }

    /// Waits until everything that was written is on the disk.
    pub(super) fn sync(&mut self) -> Result<(), SpillError> {
        self.is_durable = true;
        while let Some(segment) = self.unsynced.first() {
            if let Err(error) = segment.file.sync() {
                let error = SpillError::of_io("sync", &segment.path, error);
                // The kernel may have dropped what it could not write: nothing
                // is put behind it.
                self.unsynced.remove(0);
                self.leave_segment();
                self.shared.state().totals.write_failures += 1;
                return Err(error);
            }
            self.unsynced.remove(0);
        }
        if self.has_new_names {
            let options = &self.shared.options;
            options
                .disk
                .sync_directory(&options.directory)
                .map_err(|error| SpillError::of_io("sync", &options.directory, error))?;
            self.has_new_names = false;
        }
        Ok(())
    }
}

fn apply(state: &mut State, segment: NonZeroU32, commit: &Commit) {
    match commit {
        Commit::Value {
            staged,
            location,
            stored,
            is_raw,
        } => {
            state.pending = state.pending.saturating_sub(staged.cost());
            state.totals.written += 1;
            let raw = Bytes(u64::from(location.value_length));
            state.totals.written_raw = state.totals.written_raw.saturating_add(raw);
            let stored = Bytes(u64::from(*stored));
            state.totals.written_stored = state.totals.written_stored.saturating_add(stored);
            state.totals.written_uncompressed += u64::from(*is_raw);
            settle(
                state,
                staged.hash,
                *location,
                |place| matches!(place, Place::Staged(now) if Arc::ptr_eq(now, staged)),
            );
        }
        Commit::Moved { hash, from, to } => {
            state.bury(from.segment, u64::from(from.length));
            let moved = Bytes(u64::from(to.length));
            state.totals.moved = state.totals.moved.saturating_add(moved);
            let was_there = settle(
                state,
                *hash,
                *to,
                |place| matches!(place, Place::Disk(now) if now == from),
            );
            if !was_there {
                // Whoever replaced it has buried the old record already.
                if let Some(numbers) = state.segments.get_mut(&from.segment) {
                    numbers.dead = numbers.dead.saturating_sub(u64::from(from.length));
                }
            }
        }
        Commit::Removed { length, .. } => {
            state.bury(segment, *length);
            if let Some(numbers) = state.segments.get_mut(&segment) {
                numbers.tombstones += 1;
            }
        }
    }
}

/// The record at `location` is the value of its key, if what the key had is
/// still what it was; else it is dead.
fn settle(
    state: &mut State,
    hash: KeyHash,
    location: Location,
    is_expected: impl FnOnce(&Place) -> bool,
) -> bool {
    let is_settled = state.index.settle(hash, location, is_expected);
    if !is_settled {
        state.bury(location.segment, u64::from(location.length));
    }
    is_settled
}

/// Says that the thread has ended, even by a panic.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.has_ended = true;
        drop(state);
        self.0.done.notify_all();
    }
}
