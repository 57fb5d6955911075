//! What a log tells about itself.
//!
//! Never counts: the log does.

/// The numbers of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LogStatistics {
    /// Operations that were appended so far.
    pub appended: u64,
    /// Operations that fell out of the window without being compacted.
    pub dropped: u64,
    /// Compactions that were done so far.
    pub compactions: u64,
    /// Compactions that panicked; what they were to merge was kept.
    pub failed_compactions: u64,
}
