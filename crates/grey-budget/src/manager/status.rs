//! What a manager answers.
//!
//! Never a 0 for what is unknown.

use std::time::Duration;

use grey_model::{Bytes, Level};

use super::builder::MemoryLimits;

/// How the memory is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryStatus {
    /// The resident set size.
    pub current: Bytes,
    /// The highest so far.
    pub peak: Bytes,
    /// What the program holds of its allocator.
    pub heap_size: Option<Bytes>,
    /// Files that the program says it has loaded.
    pub loaded_files: Option<u64>,
    /// Queries that the program says it has cached.
    pub cached_queries: Option<u64>,
    /// The resident set is at or above the soft limit.
    pub soft_limit_exceeded: bool,
    /// At or above the hard limit.
    pub hard_limit_exceeded: bool,
    /// At or above the emergency limit.
    pub emergency_exceeded: bool,
    /// More files are loaded than `max_loaded_files` of the configuration.
    pub loaded_files_exceeded: bool,
    /// More queries are cached than `max_cached_queries`.
    pub cached_queries_exceeded: bool,
    /// The controller's level, which is left later than it is entered.
    pub level: Level,
}

/// Which limits are crossed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitCheck {
    /// The soft limit.
    pub soft_limit_exceeded: bool,
    /// The hard limit.
    pub hard_limit_exceeded: bool,
    /// The emergency limit.
    pub emergency_exceeded: bool,
}

impl LimitCheck {
    pub(super) fn of(current: Bytes, limits: &MemoryLimits) -> Self {
        Self {
            soft_limit_exceeded: current >= limits.soft,
            hard_limit_exceeded: current >= limits.hard,
            emergency_exceeded: current >= limits.emergency,
        }
    }
}

/// What cleaning up gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleanup {
    /// Whether nothing went wrong.
    pub success: bool,
    /// What the kernel got back; `None` when it could not be measured.
    pub freed: Option<Bytes>,
    /// What the parts of the program gave back.
    pub given_back: Bytes,
    /// How long it took.
    pub duration: Duration,
    /// What went wrong.
    pub error: Option<String>,
}

/// Limits before and after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitsChanged {
    /// Before.
    pub previous: MemoryLimits,
    /// Now.
    pub new: MemoryLimits,
}
