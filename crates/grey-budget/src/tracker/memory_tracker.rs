//! The tracker: readings with their peak and average, snapshots, the program's
//! own counts.
//!
//! Never reads by itself: whoever asks, reads. Holds no lock while it does.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use grey_model::{Bytes, Level, Thresholds};

use super::breakdown::MemoryBreakdown;
use super::counters::Counters;
use super::diagnostics::{Diagnostics, SCHEMA};
use super::snapshot::{Growth, MemorySnapshot};
use crate::budget::Budget;
use crate::clock::{Clock, SystemClock};
use crate::process_source::ProcessSource;
use crate::source::{AllocatorKind, MemorySource, Purge, Reading, SourceError};
use crate::system_level::SystemStatus;

/// Snapshots that are kept, if nobody says otherwise; the oldest goes first.
pub const MOST_SNAPSHOTS: usize = 1024;

/// The readings so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryStats {
    /// The resident set size now.
    pub current: Bytes,
    /// The highest so far: the kernel's account, or our readings' where there
    /// is none.
    pub peak: Bytes,
    /// The mean of all readings.
    pub average: Bytes,
    /// How many readings there were.
    pub readings: u64,
    /// Threads of the process.
    pub threads: Option<u64>,
}

/// Sums over the readings.
#[derive(Debug, Clone, Copy, Default)]
struct Readings {
    count: u64,
    sum: u128,
    peak: Bytes,
}

impl Readings {
    fn add(&mut self, rss: Bytes, peak: Option<Bytes>) {
        self.count += 1;
        self.sum = self.sum.saturating_add(u128::from(rss.get()));
        self.peak = self.peak.max(rss).max(peak.unwrap_or(Bytes::ZERO));
    }

    fn average(&self) -> Bytes {
        let average = self.sum.checked_div(u128::from(self.count)).unwrap_or(0);
        Bytes(u64::try_from(average).unwrap_or(u64::MAX))
    }
}

/// A tracker before it begins.
#[derive(Debug)]
#[must_use = "a tracker exists once it is built"]
pub struct MemoryTrackerBuilder {
    source: Arc<dyn MemorySource>,
    clock: Arc<dyn Clock>,
    budget: Option<Budget>,
    thresholds: Thresholds,
    most_snapshots: usize,
    baseline: Option<Bytes>,
}

impl MemoryTrackerBuilder {
    /// Another clock than the machine's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The budget whose components the breakdown shows.
    pub fn budget(mut self, budget: &Budget) -> Self {
        self.budget = Some(budget.clone());
        self
    }

    /// Where the levels of the budget begin; 80, 93 and 98 % if not said.
    pub const fn thresholds(mut self, thresholds: Thresholds) -> Self {
        self.thresholds = thresholds;
        self
    }

    /// How many snapshots are kept, at least 1.
    pub const fn most_snapshots(mut self, most: usize) -> Self {
        self.most_snapshots = if most == 0 { 1 } else { most };
        self
    }

    /// The resident set that counts as the program's own, instead of the one
    /// at the time of building.
    pub const fn baseline(mut self, baseline: Bytes) -> Self {
        self.baseline = Some(baseline);
        self
    }

    /// Reads the baseline and begins. A baseline that cannot be read is 0:
    /// then everything that no component is charged for is unaccounted.
    #[must_use]
    pub fn build(self) -> MemoryTracker {
        let baseline = self
            .baseline
            .or_else(|| self.source.rss().ok())
            .unwrap_or(Bytes::ZERO);
        MemoryTracker {
            source: self.source,
            clock: self.clock,
            budget: self.budget,
            thresholds: self.thresholds,
            most_snapshots: self.most_snapshots,
            baseline,
            counters: Counters::default(),
            readings: Mutex::new(Readings::default()),
            snapshots: Mutex::new(VecDeque::new()),
        }
    }
}

/// What the program holds, now and over time.
#[derive(Debug)]
pub struct MemoryTracker {
    source: Arc<dyn MemorySource>,
    clock: Arc<dyn Clock>,
    budget: Option<Budget>,
    thresholds: Thresholds,
    most_snapshots: usize,
    baseline: Bytes,
    counters: Counters,
    readings: Mutex<Readings>,
    snapshots: Mutex<VecDeque<MemorySnapshot>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryTracker {
    /// A tracker of what `source` reads.
    pub fn builder(source: Arc<dyn MemorySource>) -> MemoryTrackerBuilder {
        MemoryTrackerBuilder {
            source,
            clock: Arc::new(SystemClock::new()),
            budget: None,
            thresholds: Thresholds::of::<Level>(),
            most_snapshots: MOST_SNAPSHOTS,
            baseline: None,
        }
    }

    /// What the program records itself.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The resident set when the tracker began.
    #[must_use]
    pub const fn baseline(&self) -> Bytes {
        self.baseline
    }

    /// The resident set size now; one reading more for peak and average.
    ///
    /// # Errors
    /// [`SourceError`], when it cannot be read.
    pub fn get_current_usage(&self) -> Result<Bytes, SourceError> {
        let rss = self.source.rss()?;
        lock(&self.readings).add(rss, None);
        Ok(rss)
    }

    /// Whether the resident set is at most `max`.
    ///
    /// # Errors
    /// [`SourceError`], when it cannot be read.
    pub fn check_memory_budget(&self, max: Bytes) -> Result<bool, SourceError> {
        Ok(self.get_current_usage()? <= max)
    }

    /// Everything that the source knows, counted as one reading.
    ///
    /// # Errors
    /// [`SourceError`], when not even the resident set size can be read.
    pub fn read(&self) -> Result<Reading, SourceError> {
        let reading = self.source.read()?;
        lock(&self.readings).add(reading.rss, reading.rss_peak);
        Ok(reading)
    }

    /// The readings so far, with a new one.
    ///
    /// # Errors
    /// [`SourceError`], when it cannot be read.
    pub fn get_stats(&self) -> Result<MemoryStats, SourceError> {
        let reading = self.read()?;
        let readings = *lock(&self.readings);
        Ok(MemoryStats {
            current: reading.rss,
            peak: readings.peak,
            average: readings.average(),
            readings: readings.count,
            threads: reading.threads,
        })
    }

    /// Where the memory is.
    ///
    /// # Errors
    /// [`SourceError`], when it cannot be read.
    pub fn get_breakdown(&self) -> Result<MemoryBreakdown, SourceError> {
        let reading = self.read()?;
        Ok(self.breakdown_of(&reading))
    }

    /// Where the memory of `reading` is, by the charges of now.
    #[must_use]
    pub fn breakdown_of(&self, reading: &Reading) -> MemoryBreakdown {
        let usage = self
            .budget
            .as_ref()
            .map_or_else(Vec::new, Budget::components);
        MemoryBreakdown::new(reading, self.baseline, usage)
    }

    /// One moment; it is not kept.
    ///
    /// # Errors
    /// [`SourceError`], when it cannot be read.
    pub fn snapshot(&self) -> Result<MemorySnapshot, SourceError> {
        let reading = self.read()?;
        Ok(MemorySnapshot {
            at: self.clock.now(),
            wall: self.clock.wall(),
            process_memory: reading.rss,
            peak: lock(&self.readings).peak,
            heap: reading.heap_allocated,
            threads: reading.threads,
            accounted: self.budget.as_ref().map_or(Bytes::ZERO, Budget::reserved),
            allocated: self.counters.allocated(),
            freed: self.counters.freed(),
            counts: self.counters.counts(),
        })
    }

    /// One moment, kept in the ring.
    ///
    /// # Errors
    /// [`SourceError`], when it cannot be read.
    pub fn take_snapshot(&self) -> Result<MemorySnapshot, SourceError> {
        let snapshot = self.snapshot()?;
        let mut snapshots = lock(&self.snapshots);
        while snapshots.len() >= self.most_snapshots {
            snapshots.pop_front();
        }
        snapshots.push_back(snapshot);
        Ok(snapshot)
    }

    /// The snapshots that are kept, oldest first.
    #[must_use]
    pub fn snapshots(&self) -> Vec<MemorySnapshot> {
        lock(&self.snapshots).iter().copied().collect()
    }

    /// The growth from each kept snapshot to the next.
    #[must_use]
    pub fn growths(&self) -> Vec<Growth> {
        let snapshots = self.snapshots();
        let pairs = snapshots.windows(2);
        pairs
            .map(|pair| Growth::between(&pair[0], &pair[1]))
            .collect()
    }

    /// The growth over all kept snapshots; `None` with fewer than two.
    #[must_use]
    pub fn growth(&self) -> Option<Growth> {
        let snapshots = lock(&self.snapshots);
        let (first, last) = (snapshots.front()?, snapshots.back()?);
        (snapshots.len() > 1).then(|| Growth::between(first, last))
    }

    /// Bytes recorded as taken a second, between the last two kept snapshots.
    #[must_use]
    pub fn allocation_rate_per_second(&self) -> Option<Bytes> {
        let snapshots = lock(&self.snapshots);
        let last = snapshots.back()?;
        let before = snapshots.get(snapshots.len().checked_sub(2)?)?;
        Growth::between(before, last).allocation_rate_per_second()
    }

    /// How full the machine and the cgroup are, and what that calls for.
    ///
    /// # Errors
    /// [`SourceError`], when nothing can be read.
    pub fn check_thresholds(&self) -> Result<SystemStatus, SourceError> {
        let reading = self.read()?;
        Ok(SystemStatus::of(
            &reading,
            &Thresholds::of::<grey_model::SystemLevel>(),
        ))
    }

    /// The whole as one document.
    ///
    /// # Errors
    /// [`SourceError`], when it cannot be read.
    pub fn get_diagnostics(&self) -> Result<Diagnostics, SourceError> {
        let reading = self.read()?;
        let readings = *lock(&self.readings);
        let counts = self.counters.counts();
        let budget = self.budget.as_ref().map(Budget::limit);
        let level = budget.map(|budget| {
            let fraction = grey_model::level::fraction(reading.rss, budget);
            self.thresholds.level::<Level>(fraction)
        });
        Ok(Diagnostics {
            schema: SCHEMA,
            timestamp: self.clock.wall(),
            process_memory: reading.rss,
            peak_memory: readings.peak,
            average_memory: readings.average(),
            heap_size: reading.heap_allocated,
            gc_objects: None,
            active_threads: reading.threads,
            loaded_files: counts.loaded_files,
            cached_queries: counts.cached_queries,
            work_queue_size: counts.work_queue_size,
            event_queue_size: counts.event_queue_size,
            db_connections: counts.db_connections,
            spawned_tasks: counts.spawned_tasks,
            budget,
            soft_limit_exceeded: level.map(|level| level >= Level::Soft),
            hard_limit_exceeded: level.map(|level| level >= Level::Hard),
            allocator: self.source.allocator().name(),
            memory_breakdown: self.breakdown_of(&reading),
        })
    }

    /// The program took `bytes`. See [`Counters`] for the other counts.
    #[inline]
    pub fn record_allocation(&self, bytes: Bytes) {
        self.counters.record_allocation(bytes);
    }

    /// The program gave `bytes` back.
    #[inline]
    pub fn record_deallocation(&self, bytes: Bytes) {
        self.counters.record_deallocation(bytes);
    }

    /// Items in the work queue now.
    pub fn set_work_queue_size(&self, count: u64) {
        self.counters.set_work_queue_size(count);
    }

    /// Events in the broadcaster now.
    pub fn set_event_queue_size(&self, count: u64) {
        self.counters.set_event_queue_size(count);
    }

    /// A connection to a database was opened.
    #[inline]
    pub fn increment_db_connections(&self) {
        self.counters.increment_db_connections();
    }

    /// A connection to a database was closed.
    #[inline]
    pub fn decrement_db_connections(&self) {
        self.counters.decrement_db_connections();
    }

    /// A task was spawned.
    #[inline]
    pub fn increment_spawned_tasks(&self) {
        self.counters.increment_spawned_tasks();
    }

    /// A task ended.
    #[inline]
    pub fn decrement_spawned_tasks(&self) {
        self.counters.decrement_spawned_tasks();
    }
}

/// The tracker of this process, for programs that want one without passing it
/// around. It begins when it is first asked for, without a budget. Where the
/// process cannot be read, it counts all the same, and each reading fails.
pub fn global_memory_tracker() -> &'static MemoryTracker {
    static GLOBAL: OnceLock<MemoryTracker> = OnceLock::new();
    GLOBAL.get_or_init(|| {
        let source: Arc<dyn MemorySource> = match ProcessSource::new() {
            Ok(source) => Arc::new(source),
            Err(error) => Arc::new(Unreadable(error.source.to_string())),
        };
        MemoryTracker::builder(source).build()
    })
}

/// Stands for a process that cannot be read, and says why.
#[derive(Debug)]
struct Unreadable(String);

impl Unreadable {
    fn error(&self) -> SourceError {
        SourceError {
            what: "the memory",
            source: io::Error::other(self.0.clone()),
        }
    }
}

impl MemorySource for Unreadable {
    fn rss(&self) -> Result<Bytes, SourceError> {
        Err(self.error())
    }

    fn read(&self) -> Result<Reading, SourceError> {
        Err(self.error())
    }

    fn allocator(&self) -> AllocatorKind {
        AllocatorKind::Unknown
    }

    fn purge(&self) -> Result<Purge, SourceError> {
        Err(self.error())
    }
}
