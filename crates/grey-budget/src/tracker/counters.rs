//! What the program records itself: bytes that it took and freed, and how many
//! things of a kind there are.
//!
//! Never takes a lock; recording bytes touches one cell of the thread's own.

use std::sync::atomic::{AtomicU64, Ordering};

use grey_model::Bytes;

use crate::sharded::ShardedCounter;

/// How many things of each kind the program has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ComponentCounts {
    /// Items in the work queue; `None` until the program said so.
    pub work_queue_size: Option<u64>,
    /// Events in the broadcaster; `None` until the program said so.
    pub event_queue_size: Option<u64>,
    /// Files in memory; `None` until the program said so.
    pub loaded_files: Option<u64>,
    /// Queries in the cache; `None` until the program said so.
    pub cached_queries: Option<u64>,
    /// Open connections to databases.
    pub db_connections: u64,
    /// Tasks that were spawned and have not ended.
    pub spawned_tasks: u64,
}

/// The program's own counts.
#[derive(Debug, Default)]
pub struct Counters {
    allocated: ShardedCounter,
    freed: ShardedCounter,
    work_queue_size: Gauge,
    event_queue_size: Gauge,
    loaded_files: Gauge,
    cached_queries: Gauge,
    db_connections: Balance,
    spawned_tasks: Balance,
}

/// A number that is set as a whole: one more than it, 0 while it is unknown.
#[derive(Debug, Default)]
struct Gauge(AtomicU64);

impl Gauge {
    fn set(&self, count: u64) {
        self.0.store(count.saturating_add(1), Ordering::Relaxed);
    }

    fn get(&self) -> Option<u64> {
        self.0.load(Ordering::Relaxed).checked_sub(1)
    }
}

/// How many began and have not ended. One number, not one for each thread: only
/// so can an end without a begin be nothing from the start.
#[derive(Debug, Default)]
struct Balance(AtomicU64);

impl Balance {
    fn begin(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn end(&self) {
        // Refused at 0 alone, and then nothing is to be done.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                count.checked_sub(1)
            });
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    /// The program took `bytes`.
    #[inline]
    pub fn record_allocation(&self, bytes: Bytes) {
        self.allocated.add(bytes.get().cast_signed());
    }

    /// The program gave `bytes` back.
    #[inline]
    pub fn record_deallocation(&self, bytes: Bytes) {
        self.freed.add(bytes.get().cast_signed());
    }

    /// Items in the work queue now.
    pub fn set_work_queue_size(&self, count: u64) {
        self.work_queue_size.set(count);
    }

    /// Events in the broadcaster now.
    pub fn set_event_queue_size(&self, count: u64) {
        self.event_queue_size.set(count);
    }

    /// Files in memory now.
    pub fn set_loaded_files(&self, count: u64) {
        self.loaded_files.set(count);
    }

    /// Queries in the cache now.
    pub fn set_cached_queries(&self, count: u64) {
        self.cached_queries.set(count);
    }

    /// A connection to a database was opened.
    #[inline]
    pub fn increment_db_connections(&self) {
        self.db_connections.begin();
    }

    /// A connection to a database was closed. Nothing when none is open.
    #[inline]
    pub fn decrement_db_connections(&self) {
        self.db_connections.end();
    }

    /// A task was spawned.
    #[inline]
    pub fn increment_spawned_tasks(&self) {
        self.spawned_tasks.begin();
    }

    /// A task ended. Nothing when none runs.
    #[inline]
    pub fn decrement_spawned_tasks(&self) {
        self.spawned_tasks.end();
    }

    /// All bytes that were ever recorded as taken.
    #[must_use]
    pub fn allocated(&self) -> Bytes {
        Bytes(self.allocated.sum().cast_unsigned())
    }

    /// All bytes that were ever recorded as given back.
    #[must_use]
    pub fn freed(&self) -> Bytes {
        Bytes(self.freed.sum().cast_unsigned())
    }

    /// What is recorded as taken and not given back; 0 where more was given
    /// back than taken.
    #[must_use]
    pub fn in_use(&self) -> Bytes {
        // What was freed first: a pair that is recorded between the two sums
        // then counts too much, and never below nothing.
        let freed = self.freed();
        self.allocated().saturating_sub(freed)
    }

    /// The counts now.
    #[must_use]
    pub fn counts(&self) -> ComponentCounts {
        ComponentCounts {
            work_queue_size: self.work_queue_size.get(),
            event_queue_size: self.event_queue_size.get(),
            loaded_files: self.loaded_files.get(),
            cached_queries: self.cached_queries.get(),
            db_connections: self.db_connections.get(),
            spawned_tasks: self.spawned_tasks.get(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_nobody_set_is_unknown_and_one_of_nothing_is_0() {
        let counters = Counters::default();
        assert_eq!(counters.counts().work_queue_size, None);
        counters.set_work_queue_size(0);
        assert_eq!(counters.counts().work_queue_size, Some(0));
    }

    #[test]
    fn more_ends_than_begins_are_nothing() {
        let counters = Counters::default();
        counters.increment_spawned_tasks();
        counters.decrement_spawned_tasks();
        counters.decrement_spawned_tasks();
        counters.record_deallocation(Bytes(5));
        assert_eq!(counters.counts().spawned_tasks, 0);
        assert_eq!(counters.in_use(), Bytes::ZERO);
        counters.increment_spawned_tasks();
        assert_eq!(counters.counts().spawned_tasks, 1);
        counters.decrement_db_connections();
        counters.increment_db_connections();
        assert_eq!(counters.counts().db_connections, 1);
    }

    #[test]
    fn what_all_threads_record_adds_up() {
        let counters = Counters::default();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        counters.record_allocation(Bytes(100));
                        counters.record_deallocation(Bytes(60));
                        counters.increment_db_connections();
                    }
                });
            }
        });
        assert_eq!(counters.allocated(), Bytes(800_000));
        assert_eq!(counters.in_use(), Bytes(320_000));
        assert_eq!(counters.counts().db_connections, 8000);
    }
}
