//! A batch of what waits is written, or kept in memory, in its order.
//!
//! Drops nothing that was accepted, and lets no older value come after a newer
//! one of its key.

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
        let written = removes
            .iter()
            .try_for_each(|hash| self.append_tombstone(*hash, true))
            .and_then(|()| self.write_out());
        if written.is_ok() {
            self.garbage_failed = false;
            return;
        }
        self.commits.clear();
        self.take_back();
        if self.overwrite_removed(&removes).is_ok() {
            self.garbage_failed = false;
            return;
        }
        // Before the values, which may be newer ones of these keys.
        let mut state = self.shared.state();
        for hash in removes.into_iter().rev() {
            state.held.push_front(Work::Remove(hash));
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
