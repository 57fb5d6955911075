//! Giving memory back by compacting.
//!
//! Never drops an operation for memory.

use grey_model::{Bytes, Priority};

use super::log::RollingLog;
use crate::reclaimer::{ReclaimMode, ReclaimRequest, Reclaimed, Reclaimer, Stop};
use crate::sync::lock;

/// Trimming compacts. Operations are never dropped for memory.
impl<Op: Send + Sync> Reclaimer for RollingLog<Op> {
    fn name(&self) -> &str {
        &self.name
    }

    fn priority(&self) -> Priority {
        self.component.priority()
    }

    fn reclaimable(&self, mode: ReclaimMode) -> Bytes {
        let window = lock(&self.window);
        let slack = window.charge.size() - window.held().min(window.charge.size());
        Bytes(match mode {
            // What compaction leaves nobody knows: it may be next to nothing.
            ReclaimMode::Trim if self.compact.is_some() && window.fresh > 0 => window.charge.size(),
            ReclaimMode::Trim => slack,
            ReclaimMode::Unload | ReclaimMode::Spill | ReclaimMode::Evict => 0,
        })
    }

    fn reclaim(&self, request: &ReclaimRequest, _stop: &Stop) -> Reclaimed {
        if request.mode != ReclaimMode::Trim {
            return Reclaimed::default();
        }
        let before = self.sizes();
        if before.2 > 0 {
            self.compact_now();
        }
        let mut window = lock(&self.window);
        window.kept.shrink_to_fit();
        let held = window.held();
        let excess = window.charge.take_above(held);
        drop(window);
        drop(excess);
        let after = self.sizes();
        Reclaimed {
            freed: before.0.saturating_sub(after.0),
            entries: before.1.saturating_sub(after.1),
            ..Reclaimed::default()
        }
    }

    fn modes(&self) -> &[ReclaimMode] {
        &[ReclaimMode::Trim]
    }
}

impl<Op> RollingLog<Op> {
    /// Bytes reserved, operations kept, and how many of those are new.
    fn sizes(&self) -> (Bytes, u64, usize) {
        let window = lock(&self.window);
        let kept = u64::try_from(window.kept.len()).unwrap_or(u64::MAX);
        (Bytes(window.charge.size()), kept, window.fresh)
    }
}
