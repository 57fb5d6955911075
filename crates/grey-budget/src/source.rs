//! What the process weighs, as something that a test can replace.
//!
//! A source reads and purges; it never decides.

use std::fmt;
use std::time::Duration;

use grey_model::{Bytes, MemoryLimit};

use crate::limits::LimitKind;

/// One reading of the process and of what bounds it. What could not be read is
/// `None`, never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Reading {
    /// Resident set size: anonymous, file and shared pages that are in memory.
    pub rss: Bytes,
    /// What the program holds of its allocator.
    pub heap_allocated: Option<Bytes>,
    /// What the allocator holds of the kernel.
    pub heap_resident: Option<Bytes>,
    /// Highest resident set size so far.
    pub rss_peak: Option<Bytes>,
    /// Threads of the process.
    pub threads: Option<u64>,
    /// Usage of the process's cgroup, all its processes and caches together.
    pub cgroup_usage: Option<Bytes>,
    /// Of that, the file cache that the kernel takes back first
    /// (`inactive_file`).
    pub cgroup_reclaimable: Option<Bytes>,
    /// The lowest of the limits (`memory.max`, `memory.high`) of the cgroup and
    /// all above it.
    pub cgroup_limit: Option<MemoryLimit>,
    /// `MemTotal` of the machine.
    pub machine_total: Option<Bytes>,
    /// `MemAvailable` of the machine.
    pub machine_available: Option<Bytes>,
}

impl Reading {
    /// A reading that knows the resident set size alone.
    #[must_use]
    pub fn of_rss(rss: Bytes) -> Self {
        Self {
            rss,
            ..Self::default()
        }
    }
}

/// How much of what an rlimit bounds is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RlimitUse {
    /// Which rlimit.
    pub kind: LimitKind,
    /// What the kernel counts against it.
    pub used: Bytes,
    /// The soft limit.
    pub limit: Bytes,
}

/// Which allocator serves the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AllocatorKind {
    /// The C library's.
    Glibc,
    /// jemalloc, with the feature `jemalloc`.
    Jemalloc,
    /// mimalloc, with the feature `mimalloc`.
    Mimalloc,
    /// One that can neither be read nor purged.
    Unknown,
}

impl AllocatorKind {
    /// The name, as its users write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Glibc => "glibc",
            Self::Jemalloc => "jemalloc",
            Self::Mimalloc => "mimalloc",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for AllocatorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// What purging the allocator gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purge {
    /// Which allocator was purged.
    pub allocator: AllocatorKind,
    /// Resident set size before.
    pub before: Bytes,
    /// Resident set size when it had settled.
    pub after: Bytes,
    /// How long it took.
    pub took: Duration,
}

impl Purge {
    /// What the kernel got back.
    #[must_use]
    pub const fn freed(&self) -> Bytes {
        self.before.saturating_sub(self.after)
    }
}

/// A source could not be read.
#[derive(Debug, thiserror::Error)]
#[error("failed to read {what} of this process")]
pub struct SourceError {
    /// What was to be read.
    pub what: &'static str,
    /// Why it could not.
    #[source]
    pub source: std::io::Error,
}

/// Where the controller learns what the process weighs.
pub trait MemorySource: Send + Sync + fmt::Debug {
    /// Resident set size. Cheap: it is asked for ten times a second and more.
    ///
    /// # Errors
    /// [`SourceError`], when the kernel does not answer.
    fn rss(&self) -> Result<Bytes, SourceError>;

    /// Everything that the source knows.
    ///
    /// # Errors
    /// [`SourceError`], when not even the resident set size can be read.
    fn read(&self) -> Result<Reading, SourceError>;

    /// The rlimits on the memory of the process, one of a kind; none if not
    /// said. Asked for as often as the resident set size.
    fn rlimits(&self) -> Vec<RlimitUse> {
        Vec::new()
    }

    /// Which allocator serves the program.
    fn allocator(&self) -> AllocatorKind;

    /// Makes the allocator give free memory back to the kernel, lets it settle,
    /// and measures what that gave. May take tens of milliseconds.
    ///
    /// # Errors
    /// [`SourceError`], when it cannot be measured.
    fn purge(&self) -> Result<Purge, SourceError>;
}
