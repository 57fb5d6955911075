//! The thread that writes: it lets a little gather, takes what waits, encodes
//! it into one buffer, writes that in one piece behind the last segment, and
//! only then lets the values go.
//!
//! Needs no memory while it works. What cannot be written stays in memory and
//! readable; nothing is dropped.

use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use grey_model::Bytes;

use super::choice::{Means, Staying, pick};
use super::codec::Encoder;
use super::commit::{Commit, apply};
use super::error::SpillError;
use super::garbage::Compaction;
use super::index::Staged;
use super::options::WRITE_BUFFER;
use super::reading::{Scratch, Segment};
use super::recovery::Tail;
use super::roster::{ROSTER_BUFFER, Roster};
use super::state::{Shared, State, Thread, Work};

/// What the thread moves on its own between two looks at the queue.
const OWN_STEP: Bytes = Bytes::from_mib(4);

/// How long the first of what waits is kept for more to come. Each write costs
/// as much as many small values; nobody waits for them meanwhile.
const GATHERING: Duration = Duration::from_millis(1);

/// What somebody waits for, by ticket.
struct Asked {
    flush: Option<u64>,
    garbage: Option<(u64, Bytes)>,
}

/// The segment that is written.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) segment: Arc<Segment>,
    pub(super) end: u64,
    pub(super) roster: Arc<Roster>,
    pub(super) roster_end: u64,
    /// Where its last mark ends.
    pub(super) marked: u64,
}

/// What was written and is not synced yet.
#[derive(Debug)]
pub(super) struct Unsynced {
    pub(super) segment: Arc<Segment>,
    pub(super) roster: Arc<Roster>,
}

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) active: Option<Active>,
    pub(super) buffer: Box<[u8]>,
    pub(super) filled: usize,
    roster_buffer: Box<[u8]>,
    pub(super) commits: Vec<Commit>,
    /// With what is in the buffer.
    pub(super) tail: Tail,
    /// Without.
    pub(super) written: Tail,
    pub(super) next: u32,
    pub(super) encoder: Encoder,
    pub(super) scratch: Scratch,
    /// What was written since it was last synced.
    pub(super) unsynced: Vec<Unsynced>,
    pub(super) has_new_names: bool,
    /// Somebody flushed: what is flushed must not be lost by what follows.
    pub(super) is_durable: bool,
    pub(super) compaction: Option<Compaction>,
    pub(super) garbage_failed: bool,
    /// That it failed was told, and it has not succeeded since.
    garbage_told: bool,
    /// That the store is closing, and what was held is tried a last time.
    has_tried_last: bool,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        tail: Tail,
        next: u32,
        encoder: Encoder,
        scratch: Scratch,
    ) -> Self {
        let active = resume(&shared, tail);
        Self {
            shared,
            active,
            buffer: vec![0; WRITE_BUFFER].into_boxed_slice(),
            filled: 0,
            roster_buffer: vec![0; ROSTER_BUFFER].into_boxed_slice(),
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
            garbage_told: false,
            has_tried_last: false,
        }
    }

    /// Works until the store is closed and nothing waits.
    pub(super) fn run(mut self) {
        // However this ends, nobody may go on waiting.
        let _end = End(Arc::clone(&self.shared));
        let mut batch = VecDeque::new();
        while let Some(asked) = self.wait_for_work(&mut batch) {
            let written = self.write_batch(&mut batch);
            if let Some(ticket) = asked.flush {
                self.flush(ticket, written);
            }
            self.tend_garbage(asked.garbage);
        }
        self.leave_no_older_value();
        self.mark();
    }

    /// Notes that all that was written is there for good, so that it is known
    /// to be lost if it is not there later. Without it, it would be taken for
    /// what was still being written: a mark that fails is tried again later.
    pub(super) fn mark(&mut self) {
        let Some(active) = &mut self.active else {
            return;
        };
        if active.marked == active.roster_end {
            return;
        }
        let Ok(length) = active.roster.mark(active.roster_end, active.end) else {
            return;
        };
        active.roster_end += length;
        active.marked = active.roster_end;
        let mut state = self.shared.state();
        state.on_disk += length;
        if let Some(numbers) = state.segments.get_mut(&active.segment.id) {
            numbers.roster += length;
        }
    }

    /// Waits for something to do, and takes what is to be written into `batch`.
    /// Nothing, once the store is closed and nothing waits.
    fn wait_for_work(&mut self, batch: &mut VecDeque<Work>) -> Option<Asked> {
        let mut state = self.shared.state();
        while state.queue.is_empty()
            && !is_asked(&state)
            && !state.is_closing
            && !self.has_own_garbage(&state)
        {
            state.thread = Thread::Sleeps;
            state = self
                .shared
                .work
                .wait(state)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        state = self.gather(state);
        state.thread = Thread::Works;
        // Here and not where it is asked for: a batch that was being written
        // then may have failed since.
        let is_last = state.is_closing && !std::mem::replace(&mut self.has_tried_last, true);
        if state.flush.is_open() || is_last {
            state.retry_held();
        }
        if state.is_closing && state.queue.is_empty() && !is_asked(&state) {
            return None;
        }
        std::mem::swap(&mut state.queue, batch);
        state.is_short = false;
        let asked = Asked {
            flush: state.flush.is_open().then_some(state.flush.asked),
            garbage: state
                .garbage
                .is_open()
                .then_some((state.garbage.asked, state.garbage_budget)),
        };
        let replaced = leave_out_replaced(&mut state, batch);
        drop(state);
        if !replaced.is_empty() {
            self.shared.done.notify_all();
        }
        Some(asked)
    }

    /// Waits a little for more, unless there is enough or somebody waits.
    fn gather<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        if state.queue.is_empty() {
            return state;
        }
        let until = Instant::now() + GATHERING;
        while !state.is_enough() && !is_asked(&state) && !state.is_closing {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state.thread = Thread::Gathers;
            state = self
                .shared
                .work
                .wait_timeout(state, left)
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .0;
        }
        state
    }

    /// Syncs what was `written`, and answers whoever flushed.
    fn flush(&mut self, ticket: u64, written: Result<(), SpillError>) {
        let outcome = written
            .and_then(|()| self.check_directory("flush to"))
            .and_then(|()| self.sync());
        let mut state = self.shared.state();
        state.flush.done = ticket;
        state.flush.outcome = outcome;
        drop(state);
        self.shared.done.notify_all();
    }

    /// Collects garbage: what somebody asked for, or else a little.
    fn tend_garbage(&mut self, asked: Option<(u64, Bytes)>) {
        if let Some((ticket, budget)) = asked {
            let outcome = self.collect(budget, true);
            let mut state = self.shared.state();
            state.garbage.done = ticket;
            state.garbage.outcome = outcome;
            drop(state);
            self.shared.done.notify_all();
        } else if !self.garbage_failed {
            let failed = self.collect(OWN_STEP, false).err();
            self.garbage_failed = failed.is_some();
            let was_told = std::mem::replace(&mut self.garbage_told, self.garbage_failed);
            if let Some(error) = failed.filter(|_| !was_told) {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "failed to collect spilled garbage"
                );
            }
        }
    }

    fn has_own_garbage(&self, state: &State) -> bool {
        !self.garbage_failed
            && !state.is_closing
            && (self.compaction.is_some()
                || pick(state, Means::Moving, &Staying::default()).is_some())
    }

    pub(super) fn append(&mut self, work: &Work) -> Result<(), SpillError> {
        match work {
            Work::Value(staged) => self.append_value(staged),
            Work::Remove(hash) => self.append_tombstone(*hash, true),
        }
    }

    /// Writes what is in the buffer, and lets go of what is on the disk then.
    pub(super) fn write_out(&mut self) -> Result<(), SpillError> {
        if self.filled == 0 {
            return Ok(());
        }
        if !self.commits.iter().all(Commit::is_tombstone) {
            self.check_floor(self.filled as u64)?;
        }
        let filled = self.filled;
        let Some(active) = &self.active else {
            return Err(SpillError::Closed);
        };
        let segment = Arc::clone(&active.segment);
        let end = active.end;
        let named = self.name_records()?;
        segment
            .file
            .write_at(&self.buffer[..filled], end)
            .map_err(|error| SpillError::of_io("write to", &segment.path, error))?;
        self.filled = 0;
        self.wrote(filled as u64, named);
        Ok(())
    }

    /// Writes into the roster what is about to be in the segment; how many
    /// bytes that took.
    pub(super) fn name_records(&mut self) -> Result<u64, SpillError> {
        let Some(active) = &self.active else {
            return Err(SpillError::Closed);
        };
        active.roster.name(
            active.roster_end,
            active.end,
            self.commits.iter().map(Commit::link),
            &mut self.roster_buffer,
        )
    }

    /// So many bytes more are in the active segment, and in its roster.
    pub(super) fn wrote(&mut self, length: u64, named: u64) {
        let Some(active) = &mut self.active else {
            return;
        };
        active.end += length;
        active.roster_end += named;
        self.written = self.tail;
        let id = active.segment.id;
        if self
            .unsynced
            .last()
            .is_none_or(|last| last.segment.id != id)
        {
            self.unsynced.push(Unsynced {
                segment: Arc::clone(&active.segment),
                roster: Arc::clone(&active.roster),
            });
        }
        let mut state = self.shared.state();
        state.on_disk += length + named;
        if let Some(numbers) = state.segments.get_mut(&id) {
            numbers.length += length;
            numbers.roster += named;
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
}

/// Whether somebody waits for a flush or for garbage.
fn is_asked(state: &State) -> bool {
    state.flush.is_open() || state.garbage.is_open()
}

/// Takes what was replaced or removed since out of a batch: what did so comes
/// later. Gives it back, to be dropped outside of the lock.
fn leave_out_replaced(state: &mut State, batch: &mut VecDeque<Work>) -> Vec<Arc<Staged>> {
    let mut replaced = Vec::new();
    batch.retain(|work| match work {
        Work::Value(staged) if !state.is_current(staged) => {
            replaced.push(Arc::clone(staged));
            false
        }
        Work::Value(_) | Work::Remove(_) => true,
    });
    for staged in &replaced {
        state.pending = state.pending.saturating_sub(staged.cost());
    }
    replaced
}

/// The segment that an earlier store ended in, if it can be written on.
fn resume(shared: &Shared, tail: Tail) -> Option<Active> {
    let (id, segment) = {
        let state = shared.state();
        let id = state.active?;
        (id, Arc::clone(&state.segments.get(&id)?.segment))
    };
    let disk = &*shared.options.disk;
    let resumed = Roster::resume(disk, &segment.path, id, shared.salt, tail.end);
    let mut state = shared.state();
    let Some((roster, roster_end)) = resumed else {
        state.active = None;
        return None;
    };
    let before = state.segments.get_mut(&id).map_or(0, |numbers| {
        std::mem::replace(&mut numbers.roster, roster_end)
    });
    state.on_disk = state.on_disk.saturating_sub(before) + roster_end;
    drop(state);
    Some(Active {
        segment,
        end: tail.end,
        roster,
        roster_end,
        marked: roster_end,
    })
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
