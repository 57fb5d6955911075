//! The memory of this very process, as the kernel and the allocator tell it.
//!
//! Never reads `smaps`: what is asked for ten times a second must cost less
//! than a microsecond.

use std::io;
use std::time::{Duration, Instant};

use grey_model::{Bytes, PageSize};
use grey_telemetry::proc::meminfo::parse_meminfo;
use grey_telemetry::{Kernel, Roots};

use crate::allocator::{self, Heap};
use crate::limits::{LimitCalls as _, LimitKind, LinuxCalls};
use crate::source::{AllocatorKind, MemorySource, Purge, Reading, RlimitUse, SourceError};

mod bounds;
mod cgroup;
mod statm;
mod status;

pub use bounds::{BoundKind, ProcessBounds};

use cgroup::read_own_cgroup;
use statm::Statm;
use status::parse_peak_and_threads;

/// Between two looks at whether the resident set size still falls.
const SETTLE_STEP: Duration = Duration::from_millis(1);

/// Looks at most; then the last one counts.
const SETTLE_LOOKS: u32 = 25;

/// A fall by less than this between two looks is none. The kernel's counters
/// are kept for each CPU and differ by a few pages from one look to the next.
const SETTLED: Bytes = Bytes(256 << 10);

/// The process that asks. One can be kept across a fork: the child reads
/// itself.
#[derive(Debug)]
pub struct ProcessSource {
    statm: Statm,
    kernel: Kernel,
    allocator: AllocatorKind,
}

impl ProcessSource {
    /// Opens what is read often, and finds out which allocator serves the
    /// program.
    ///
    /// # Errors
    /// [`SourceError`], where there is no `/proc`.
    pub fn new() -> Result<Self, SourceError> {
        let kernel = Kernel::open(&Roots::default()).map_err(|source| SourceError {
            what: "the kernel's files",
            source: io::Error::other(source),
        })?;
        Ok(Self {
            statm: Statm::open(kernel.page_size)?,
            kernel,
            allocator: allocator::in_use(),
        })
    }

    /// What bounds the process from outside.
    ///
    /// # Errors
    /// [`SourceError`], when not even the resident set size can be read.
    pub fn bounds(&self) -> Result<ProcessBounds, SourceError> {
        Ok(ProcessBounds::of(&self.read()?))
    }

    /// The size of a page here.
    #[must_use]
    pub const fn page_size(&self) -> PageSize {
        self.kernel.page_size
    }

    /// Looks until the resident set size does not fall any more, at most
    /// [`SETTLE_LOOKS`] times.
    fn settled(&self) -> Result<Bytes, SourceError> {
        let mut last = self.statm.resident()?;
        for _ in 0..SETTLE_LOOKS {
            std::thread::sleep(SETTLE_STEP);
            let now = self.statm.resident()?;
            let fell = last.saturating_sub(now);
            last = now;
            if fell < SETTLED {
                break;
            }
        }
        Ok(last)
    }
}

impl MemorySource for ProcessSource {
    fn rss(&self) -> Result<Bytes, SourceError> {
        self.statm.resident()
    }

    fn read(&self) -> Result<Reading, SourceError> {
        let mut reading = Reading::of_rss(self.statm.resident()?);
        let mut buffer = Vec::with_capacity(4096);
        let Heap {
            allocated,
            resident,
        } = allocator::heap(self.allocator);
        reading.heap_allocated = allocated;
        reading.heap_resident = resident;
        if let Ok(text) = self.kernel.proc.read("self/status", &mut buffer) {
            let found = parse_peak_and_threads(text);
            reading.rss_peak = found.peak;
            reading.threads = found.threads;
        }
        if let Ok(text) = self.kernel.proc.read("meminfo", &mut buffer) {
            let meminfo = parse_meminfo(text);
            reading.machine_total = meminfo.mem_total;
            reading.machine_available = meminfo.mem_available;
        }
        let cgroup = read_own_cgroup(&self.kernel, &mut buffer);
        reading.cgroup_usage = cgroup.usage;
        reading.cgroup_reclaimable = cgroup.reclaimable;
        reading.cgroup_limit = cgroup.limit;
        Ok(reading)
    }

    fn rlimits(&self) -> Vec<RlimitUse> {
        // Nothing is allocated or read where there is no limit.
        [LimitKind::AddressSpace, LimitKind::Data]
            .into_iter()
            .filter_map(|kind| {
                let limit = LinuxCalls.get(kind).soft?;
                let used = LinuxCalls.used(kind).ok()?;
                Some(RlimitUse { kind, used, limit })
            })
            .collect()
    }

    fn allocator(&self) -> AllocatorKind {
        self.allocator
    }

    fn purge(&self) -> Result<Purge, SourceError> {
        let start = Instant::now();
        let before = self.statm.resident()?;
        let after = if allocator::give_back(self.allocator) {
            self.settled()?
        } else {
            before
        };
        Ok(Purge {
            allocator: self.allocator,
            before,
            after,
            took: start.elapsed(),
        })
    }
}

#[cfg(test)]
#[path = "process_source/tests.rs"]
mod tests;
