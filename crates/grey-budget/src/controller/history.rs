//! What was evicted, when and from whom, as far back as the bound reaches.
//!
//! Never grows without end.

use std::collections::VecDeque;
use std::time::SystemTime;

use grey_model::{Bytes, Level, Priority};

/// How many evictions are remembered.
pub(super) const MOST_EVICTIONS: usize = 1000;

/// One eviction.
#[derive(Debug, Clone)]
pub struct Eviction {
    /// When.
    pub timestamp: SystemTime,
    /// At which level.
    pub level: Level,
    /// How much was wanted.
    pub target: Bytes,
    /// Things that were evicted or spilled.
    pub evicted_count: u64,
    /// Reclaimers that were there to be asked.
    pub total_candidates: usize,
    /// What they say they gave back.
    pub given_back: Bytes,
    /// What the kernel got back; `None` when it could not be measured.
    pub freed: Option<Bytes>,
    /// Bytes by project.
    pub projects: Vec<(String, Bytes)>,
    /// What could go at most.
    pub priority_threshold: Priority,
}

/// What an eviction that was asked for gave.
#[derive(Debug, Clone, Default)]
pub struct EvictionResult {
    /// What the parts of the program gave back.
    pub evicted: Bytes,
    /// How many things.
    pub evicted_count: u64,
    /// Whose, with the bytes of each, most first.
    pub evicted_projects: Vec<(String, Bytes)>,
    /// What the kernel got back; `None` when it could not be measured.
    pub freed: Option<Bytes>,
    /// What went wrong on the way.
    pub errors: Vec<String>,
}

/// The evictions, oldest first.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<Eviction>);

impl History {
    pub(super) fn push(&mut self, eviction: Eviction) {
        if self.0.len() >= MOST_EVICTIONS {
            self.0.pop_front();
        }
        self.0.push_back(eviction);
    }

    pub(super) fn all(&self) -> Vec<Eviction> {
        self.0.iter().cloned().collect()
    }
}
