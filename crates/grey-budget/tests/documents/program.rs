//! A program as the documents describe it: its manager, and caches whose
//! entries weigh what the test says.
//!
//! Never allocates what its entries weigh.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use grey_budget::cache::{Cache, CacheBuilder, EntryOptions};
use grey_budget::reclaimer::Stop;
use grey_budget::testkit::{FakeClock, FakeSource};
use grey_budget::{
    Budget, Bytes, MemoryLimits, MemoryManager, MemorySource, Priority, ReclaimMode,
    ReclaimRequest, Reclaimed, Reclaimer,
};

/// The guide's total budget, in MB.
pub(crate) const BUDGET_MB: u64 = 3072;

/// The longest that a test waits for a state, in milliseconds.
const LONGEST_WAIT: u32 = 30_000;

pub(crate) fn mb(count: u64) -> Bytes {
    Bytes::from_mib(count)
}

/// A size as the guide writes it, in MB with one decimal.
pub(crate) fn tenths(count: u64) -> Bytes {
    mb(1).scale(count, 10)
}

/// The guide's `{:.1}`.
pub(crate) fn in_mb(bytes: Bytes) -> String {
    format!("{:.1}", bytes.get() as f64 / f64::from(1 << 20))
}

/// Waits until `state` is so, with a bound.
pub(crate) fn becomes(state: impl Fn() -> bool) -> bool {
    (0..LONGEST_WAIT).any(|_| {
        std::thread::sleep(Duration::from_millis(1));
        state()
    })
}

pub(crate) fn manager_of(limits: MemoryLimits, source: &FakeSource) -> MemoryManager {
    MemoryManager::builder(limits)
        .source(Arc::new(source.clone()))
        .clock(Arc::new(FakeClock::new()))
        .build()
        .unwrap()
}

/// The guide's budget, and a process of this size.
pub(crate) fn manager(resident: Bytes) -> (MemoryManager, FakeSource) {
    let source = FakeSource::new(resident);
    (manager_of(MemoryLimits::of(mb(BUDGET_MB)), &source), source)
}

pub(crate) type Entries = Cache<(String, u64), ()>;

/// A cache whose entries weigh 1 MB each.
pub(crate) fn cache(budget: &Budget, name: &str, capacity: Bytes) -> Arc<Entries> {
    let cache = CacheBuilder::new(budget, name, capacity)
        .build(|_: &(String, u64), (): &()| mb(1))
        .unwrap();
    Arc::new(cache)
}

/// Puts `count` MB of `project` into the cache.
pub(crate) fn fill(cache: &Entries, project: &str, priority: Priority, count: u64) {
    let options = EntryOptions::new()
        .priority(priority)
        .project(cache.project(project).unwrap());
    for number in 0..count {
        cache
            .insert_with((project.to_owned(), number), (), options)
            .unwrap();
    }
}

/// A part of the program, of one project and one priority, that gives `piece`
/// for each of its things, and whose process becomes that much smaller.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) priority: Priority,
    pub(crate) mode: ReclaimMode,
    pub(crate) piece: Bytes,
    pub(crate) left: Mutex<u64>,
    pub(crate) source: FakeSource,
}

impl Reclaimer for Part {
    fn name(&self) -> &str {
        self.name
    }

    fn priority(&self) -> Priority {
        self.priority
    }

    fn reclaimable(&self, mode: ReclaimMode) -> Bytes {
        if mode == self.mode {
            self.piece.scale(*self.left.lock().unwrap(), 1)
        } else {
            Bytes::ZERO
        }
    }

    fn modes(&self) -> &[ReclaimMode] {
        std::slice::from_ref(&self.mode)
    }

    fn reclaim(&self, request: &ReclaimRequest, _stop: &Stop) -> Reclaimed {
        if !request.may_take(self.priority, Some(self.name)) {
            return Reclaimed::default();
        }
        let mut left = self.left.lock().unwrap();
        let entries = request.target.get().div_ceil(self.piece.get()).min(*left);
        *left -= entries;
        let freed = self.piece.scale(entries, 1);
        let resident = self.source.rss().unwrap();
        self.source.set_rss(resident.saturating_sub(freed));
        Reclaimed {
            freed,
            entries,
            spilled: Bytes::ZERO,
            by_project: vec![(self.name.to_owned(), freed)],
        }
    }
}
