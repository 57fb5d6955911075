//! A batch of what waits is written, or kept in memory, in its order.
//!
//! Drops nothing that was accepted, and lets no older value come after a newer
//! one of its key: not after an end with that in memory either.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::commit::Commit;
use super::error::SpillError;
use super::key_hash::KeyHash;
use super::state::Work;
use super::writer::Writer;

impl Writer {
    /// Writes all of a batch, or holds it all in memory. What only says that a
    /// value is gone is small, and is written where values have no room.
    pub(super) fn write_batch(&mut self, batch: &mut VecDeque<Work>) -> Result<(), SpillError> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut failed = None;
        while let Some(work) = batch.pop_front() {
            if let Err(error) = self.append(&work) {
                failed = Some((Some(work), error));
                break;
            }
        }
        let failed = failed.or_else(|| self.write_out().err().map(|error| (None, error)));
        let Some((work, error)) = failed else {
            self.garbage_failed = false;
            return Ok(());
        };
        self.hold(work, batch, &error);
        if error.is_for_space() {
            self.write_held_removes();
            let mut state = self.shared.state();
            if state.held.is_empty() {
                // There was nothing but removes, and they are on the disk.
                state.failure = None;
                return Ok(());
            }
        }
        Err(error)
    }

    /// Writes what was removed, of all that could not be written. It may come
    /// before the values that wait with it: one that was removed or replaced
    /// after it was accepted is left out when its turn comes.
    fn write_held_removes(&mut self) {
        let removes: Vec<KeyHash> = {
            let mut state = self.shared.state();
            let hashes = state.held.iter().filter_map(Work::removed).collect();
            state.held.retain(|work| work.removed().is_none());
            hashes
        };
        if self.forget_on_disk(&removes).is_ok() {
            self.garbage_failed = false;
            return;
        }
        // Before the values, which may be newer ones of these keys.
        let mut state = self.shared.state();
        for hash in removes.into_iter().rev() {
            state.held.push_front(Work::Remove(hash));
        }
    }

    /// Makes the disk have no value of these keys: behind all records, or in
    /// their place where there is no room.
    fn forget_on_disk(&mut self, keys: &[KeyHash]) -> Result<(), SpillError> {
        let written = keys
            .iter()
            .try_for_each(|hash| self.append_tombstone(*hash, true))
            .and_then(|()| self.write_out());
        written.or_else(|_| {
            self.commits.clear();
            self.take_back();
            self.overwrite_removed(keys)
        })
    }

    /// At the end: of each key whose last value or remove could not be written,
    /// no older value may come back when the store is opened again.
    pub(super) fn leave_no_older_value(&mut self) {
        let keys: Vec<KeyHash> = {
            let state = self.shared.state();
            let key_of = |work: &Work| match work {
                Work::Remove(hash) => Some(*hash),
                Work::Value(staged) => {
                    (state.is_current(staged) && staged.replaces().is_some()).then_some(staged.hash)
                }
            };
            state.held.iter().filter_map(key_of).collect()
        };
        if keys.is_empty() {
            return;
        }
        if let Err(error) = self.forget_on_disk(&keys) {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                keys = keys.len(),
                "older spilled values may be read again once the store is opened again"
            );
        }
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
        }
        .and_then(|()| active.roster.cut(active.roster_end));
        if cut.is_err() {
            self.leave_segment();
        }
    }
}
