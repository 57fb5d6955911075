//! What a store tells about itself.
//!
//! Never changes anything, and never waits for the disk.

use std::path::Path;
use std::sync::atomic::Ordering;

use grey_model::Bytes;

use super::state::Work;
use super::statistics::{Recovery, SpillStatistics};
use super::store::SpillStore;

impl SpillStore {
    /// How many values there are; 0 in a process that was forked.
    #[must_use]
    pub fn len(&self) -> usize {
        if self.shared.check_process().is_err() {
            return 0;
        }
        self.shared.state().index.len()
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What all its segments take; 0 in a process that was forked.
    #[must_use]
    pub fn bytes_on_disk(&self) -> Bytes {
        if self.shared.check_process().is_err() {
            return Bytes::ZERO;
        }
        Bytes(self.shared.state().on_disk)
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.shared.options.directory
    }

    /// What was found when it was opened.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.shared.recovery
    }

    /// What it holds and did; nothing in a process that was forked.
    #[must_use]
    pub fn statistics(&self) -> SpillStatistics {
        let shared = &self.shared;
        if shared.check_process().is_err() {
            return SpillStatistics::default();
        }
        let state = shared.state();
        let values = |works: &std::collections::VecDeque<Work>| {
            works
                .iter()
                .filter(|work| matches!(work, Work::Value(staged) if state.is_current(staged)))
                .count() as u64
        };
        SpillStatistics {
            entries: state.index.len() as u64,
            staged: state.index.staged() as u64,
            held: values(&state.held),
            pending: Bytes(state.pending),
            on_disk: Bytes(state.on_disk),
            dead: Bytes(state.dead()),
            segments: state.segments.len() as u64,
            index: state.index.charged(),
            reads: shared.reads.load(Ordering::Relaxed),
            damaged: state.totals.damaged + shared.damaged_reads.load(Ordering::Relaxed),
            is_in_memory: shared.is_in_memory,
            ..state.totals.clone()
        }
    }
}
