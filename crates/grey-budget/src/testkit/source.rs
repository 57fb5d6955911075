//! A memory source that says what it is told, with an allocator that keeps
//! what is freed until it is purged, as real ones do.
//!
//! Never reads the process.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use grey_model::Bytes;

use crate::source::{AllocatorKind, MemorySource, Purge, Reading, RlimitUse, SourceError};

#[derive(Debug)]
struct State {
    /// What is not in `rss` yet: it is kept plus the reading's own.
    reading: Reading,
    /// What the allocator keeps of what was freed; a part of the resident set.
    kept: Bytes,
    /// Readings that fail from now on.
    failures: u64,
    rlimits: Vec<RlimitUse>,
    allocator: AllocatorKind,
    purge_takes: Duration,
    readings: u64,
    purges: u64,
}

/// A scripted memory source. Clones are handles to the same one.
#[derive(Debug, Clone)]
pub struct FakeSource {
    state: Arc<Mutex<State>>,
}

impl FakeSource {
    /// A process of this resident set size. Everything else is unknown until
    /// it is set.
    #[must_use]
    pub fn new(rss: Bytes) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                reading: Reading::of_rss(rss),
                kept: Bytes::ZERO,
                failures: 0,
                rlimits: Vec::new(),
                allocator: AllocatorKind::Glibc,
                purge_takes: Duration::ZERO,
                readings: 0,
                purges: 0,
            })),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the resident set size is this; nothing of it is kept by the
    /// allocator.
    pub fn set_rss(&self, rss: Bytes) {
        let mut state = self.state();
        state.reading.rss = rss;
        state.kept = Bytes::ZERO;
    }

    /// Changes the reading in any way.
    pub fn change(&self, change: impl FnOnce(&mut Reading)) {
        // Not under the lock: the closure is the caller's.
        let mut reading = self.state().reading;
        change(&mut reading);
        self.state().reading = reading;
    }

    /// The rlimits on its memory.
    pub fn set_rlimits(&self, rlimits: impl IntoIterator<Item = RlimitUse>) {
        self.state().rlimits = rlimits.into_iter().collect();
    }

    /// The program takes memory: first what the allocator has kept, then more
    /// of the kernel's.
    pub fn allocate(&self, bytes: Bytes) {
        let mut state = self.state();
        let fresh = bytes.saturating_sub(state.kept);
        state.kept = state.kept.saturating_sub(bytes);
        state.reading.rss = state.reading.rss.saturating_add(fresh);
        if let Some(heap) = &mut state.reading.heap_allocated {
            *heap = heap.saturating_add(bytes);
        }
    }

    /// The program frees memory. The allocator keeps it: the resident set does
    /// not fall before [`MemorySource::purge`].
    pub fn free(&self, bytes: Bytes) {
        let mut state = self.state();
        let rss = state.reading.rss;
        state.kept = state.kept.saturating_add(bytes).min(rss);
        if let Some(heap) = &mut state.reading.heap_allocated {
            *heap = heap.saturating_sub(bytes);
        }
    }

    /// What the allocator keeps.
    #[must_use]
    pub fn kept(&self) -> Bytes {
        self.state().kept
    }

    /// The next `count` readings fail; a purge is two of them.
    pub fn fail_next(&self, count: u64) {
        self.state().failures = count;
    }

    /// Which allocator it claims. One that is [`AllocatorKind::Unknown`] gives
    /// nothing back.
    pub fn set_allocator(&self, allocator: AllocatorKind) {
        self.state().allocator = allocator;
    }

    /// How long a purge says that it took.
    pub fn set_purge_duration(&self, takes: Duration) {
        self.state().purge_takes = takes;
    }

    /// How many readings there were, failed ones too.
    #[must_use]
    pub fn readings(&self) -> u64 {
        self.state().readings
    }

    /// How many purges there were.
    #[must_use]
    pub fn purges(&self) -> u64 {
        self.state().purges
    }
}

impl State {
    fn read(&mut self) -> Result<Reading, SourceError> {
        self.readings += 1;
        if self.failures > 0 {
            self.failures -= 1;
            return Err(SourceError {
                what: "the resident set size",
                source: io::Error::other("the script says so"),
            });
        }
        Ok(self.reading)
    }
}

impl MemorySource for FakeSource {
    fn rss(&self) -> Result<Bytes, SourceError> {
        Ok(self.state().read()?.rss)
    }

    fn read(&self) -> Result<Reading, SourceError> {
        self.state().read()
    }

    fn rlimits(&self) -> Vec<RlimitUse> {
        self.state().rlimits.clone()
    }

    fn allocator(&self) -> AllocatorKind {
        self.state().allocator
    }

    fn purge(&self) -> Result<Purge, SourceError> {
        let mut state = self.state();
        state.purges += 1;
        let before = state.read()?.rss;
        if state.allocator != AllocatorKind::Unknown {
            state.reading.rss = before.saturating_sub(state.kept);
            state.kept = Bytes::ZERO;
        }
        let after = state.read()?.rss;
        Ok(Purge {
            allocator: state.allocator,
            before,
            after,
            took: state.purge_takes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: Bytes = Bytes(1 << 30);

    #[test]
    fn what_is_freed_stays_resident_until_it_is_purged() {
        let source = FakeSource::new(GIB);
        source.free(GIB.scale(99, 100));
        assert_eq!(source.rss().unwrap(), GIB);
        let purge = source.purge().unwrap();
        assert_eq!(purge.freed(), GIB.scale(99, 100));
        assert_eq!(source.rss().unwrap(), purge.after);
    }

    #[test]
    fn what_the_allocator_keeps_is_used_first() {
        let source = FakeSource::new(Bytes(100));
        source.free(Bytes(30));
        source.allocate(Bytes(50));
        assert_eq!(source.rss().unwrap(), Bytes(120));
        assert_eq!(source.kept(), Bytes::ZERO);
    }

    #[test]
    fn more_than_is_there_cannot_be_freed() {
        let source = FakeSource::new(Bytes(10));
        source.free(Bytes(u64::MAX));
        source.purge().unwrap();
        assert_eq!(source.rss().unwrap(), Bytes::ZERO);
    }

    #[test]
    fn readings_fail_as_often_as_they_are_told() {
        let source = FakeSource::new(GIB);
        source.fail_next(2);
        assert!(source.rss().is_err());
        assert!(source.purge().is_err());
        assert_eq!(source.read().unwrap().rss, GIB);
        assert_eq!((source.readings(), source.purges()), (3, 1));
    }

    #[test]
    fn an_unknown_allocator_gives_nothing_back() {
        let source = FakeSource::new(GIB);
        source.set_allocator(AllocatorKind::Unknown);
        source.free(GIB);
        assert_eq!(source.purge().unwrap().freed(), Bytes::ZERO);
    }
}
