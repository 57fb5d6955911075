//! Functions of the program that clean up or spill, as reclaimers.
//!
//! Never calls them itself: the controller does, with a deadline and with
//! panics caught.

use grey_model::{Bytes, Priority};

use crate::controller::Registration;
use crate::reclaimer::{ReclaimMode, ReclaimRequest, Reclaimed, Reclaimer, Stop};

/// A function is called for as long as this lives.
pub type CallbackRegistration = Registration;

/// A function that frees something and tells how much.
pub(super) struct Callback {
    pub(super) name: &'static str,
    pub(super) modes: &'static [ReclaimMode],
    pub(super) work: Box<dyn Fn(Bytes) -> Bytes + Send + Sync>,
}

impl Reclaimer for Callback {
    fn name(&self) -> &str {
        self.name
    }

    fn priority(&self) -> Priority {
        Priority::Low
    }

    /// Nobody knows before it was called.
    fn reclaimable(&self, _mode: ReclaimMode) -> Bytes {
        Bytes(u64::MAX)
    }

    fn modes(&self) -> &[ReclaimMode] {
        self.modes
    }

    fn reclaim(&self, request: &ReclaimRequest, _stop: &Stop) -> Reclaimed {
        // Asked once: functions know nothing of priorities.
        if request.threshold != Priority::Low {
            return Reclaimed::default();
        }
        let freed = (self.work)(request.target);
        let spilled = if request.mode == ReclaimMode::Spill {
            freed
        } else {
            Bytes::ZERO
        };
        Reclaimed {
            freed,
            entries: u64::from(freed > Bytes::ZERO),
            spilled,
            by_project: Vec::new(),
        }
    }
}
