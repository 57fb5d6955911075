//! One process whose PSS is followed, and its PSS between two readings.
//!
//! Pure: opens nothing. Never hides that a value is carried on: the instant of
//! its reading stands beside it.

use std::time::{Duration, Instant};

use grey_model::{Bytes, PageSize};

use super::rss_tracker::TrackedRss;
use super::smaps_rollup::SmapsRollup;
use super::statm::Statm;

/// A process has changed by much when it moved by more than its resident pages
/// through this: what `statm` shows of less is carried on well enough.
const MOVED_PART: u64 = 64;

/// What is dear to read and hardly changed is read again after this many
/// milliseconds.
const DEAR_REREAD_MS: u64 = 30_000;

/// A process whose PSS is followed.
#[derive(Debug, Clone)]
pub struct TrackedPss {
    /// Its pid.
    pub pid: u32,
    pub(super) serial: u64,
    pub(super) now: Statm,
    pub(super) reading: Option<Reading>,
    pub(super) denied: bool,
    /// Whether the last attempt to read it failed.
    pub(super) failed: bool,
    /// Since when it waits for its first reading.
    pub(super) waits_since: Instant,
}

/// What was read of it, and what that took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub(super) at: Instant,
    pub(super) statm: Statm,
    pub(super) rollup: SmapsRollup,
    pub(super) took: Duration,
}

impl Reading {
    /// The part of PSS that is not anonymous; before 5.3 the kernel does not
    /// tell, and then all of it counts.
    pub(super) fn shared_pss(&self) -> Option<Bytes> {
        let pss = self.rollup.pss?;
        Some(match self.rollup.pss_anon {
            Some(anon) => pss.saturating_sub(anon),
            None => pss,
        })
    }
}

impl TrackedPss {
    /// One that was not there before `now`.
    pub(super) fn new(present: &TrackedRss, now: Instant) -> Self {
        Self {
            pid: present.pid(),
            serial: present.serial(),
            now: present.statm(),
            reading: None,
            denied: false,
            failed: false,
            waits_since: now,
        }
    }

    /// What `smaps_rollup` said when it was last read.
    #[must_use]
    pub fn rollup(&self) -> Option<&SmapsRollup> {
        self.reading.as_ref().map(|reading| &reading.rollup)
    }

    /// When that was.
    #[must_use]
    pub fn read_at(&self) -> Option<Instant> {
        self.reading.as_ref().map(|reading| reading.at)
    }

    /// Another number for another process, as [`TrackedRss::serial`].
    #[must_use]
    pub const fn serial(&self) -> u64 {
        self.serial
    }

    /// Its memory at the last tick.
    #[must_use]
    pub const fn statm(&self) -> Statm {
        self.now
    }

    /// Whether its memory may not be read.
    #[must_use]
    pub const fn denied(&self) -> bool {
        self.denied
    }

    /// PSS now: the last reading, moved by what `statm` shows since. New
    /// anonymous pages count in full, new file and shared pages in the
    /// proportion that the process had when it was read; never more than is
    /// resident. `None` until the first reading.
    #[must_use]
    pub fn pss(&self, page_size: PageSize) -> Option<Bytes> {
        let reading = self.reading.as_ref()?;
        let pss = reading.rollup.pss?;
        let (then, now) = (reading.statm, self.now);
        let (shared_then, shared_now) = (then.shared.bytes(page_size), now.shared.bytes(page_size));
        let shared_pss = reading.shared_pss()?.min(shared_then);
        let in_proportion = |bytes: Bytes| {
            if shared_then == Bytes::ZERO {
                Bytes::ZERO
            } else {
                bytes.scale(shared_pss.get(), shared_then.get())
            }
        };
        let anon_then = then.anonymous().bytes(page_size);
        let anon_now = now.anonymous().bytes(page_size);
        let grown = anon_now
            .saturating_sub(anon_then)
            .saturating_add(in_proportion(shared_now.saturating_sub(shared_then)));
        let shrunk = anon_then
            .saturating_sub(anon_now)
            .saturating_add(in_proportion(shared_then.saturating_sub(shared_now)));
        let moved = pss.saturating_add(grown).saturating_sub(shrunk);
        Some(moved.min(now.resident.bytes(page_size)))
    }

    /// USS now: the last reading, moved by the anonymous pages that came or went
    /// since, nearly all of which are nobody else's; never more than is
    /// resident, and the huge pages that `statm` does not count. `None` until
    /// the first reading.
    #[must_use]
    pub fn uss(&self, page_size: PageSize) -> Option<Bytes> {
        let reading = self.reading.as_ref()?;
        let uss = reading.rollup.uss()?;
        let then = reading.statm.anonymous().bytes(page_size);
        let now = self.now.anonymous().bytes(page_size);
        let moved = uss
            .saturating_add(now.saturating_sub(then))
            .saturating_sub(then.saturating_sub(now));
        let resident = self.now.resident.bytes(page_size);
        let huge = reading.rollup.private_hugetlb.unwrap_or_default();
        Some(moved.min(resident.saturating_add(huge)))
    }

    /// Pages by which it differs from its last reading.
    pub(super) fn pages_moved(&self) -> u64 {
        self.reading.as_ref().map_or(u64::MAX, |reading| {
            let (then, now) = (reading.statm, self.now);
            let anonymous = now.anonymous().0.abs_diff(then.anonymous().0);
            anonymous.saturating_add(now.shared.0.abs_diff(then.shared.0))
        })
    }

    pub(super) fn readable(&self) -> bool {
        self.now.has_memory() && !self.denied
    }

    /// Pages by which it may move before that is much.
    pub(super) const fn hardly_moved(&self) -> u64 {
        self.now.resident.0 / MOVED_PART
    }

    /// When it is due although its reading is dear: one that was never read
    /// since it was seen, one that hardly changed long after its reading, and
    /// the more it changed, the earlier. As nothing that happens to others
    /// moves this, whoever is due first has its turn at some time.
    pub(super) fn due_at(&self) -> Instant {
        let Some(reading) = &self.reading else {
            return self.waits_since;
        };
        let least = self.hardly_moved().max(1);
        let moved = self.pages_moved().max(least);
        let wait = DEAR_REREAD_MS.saturating_mul(least) / moved;
        reading.at + Duration::from_millis(wait)
    }
}
