//! PSS and USS of all processes, tick after tick, within a time that the caller
//! gives.
//!
//! Never reads what did not change before what did: `statm` tells which
//! processes moved. Never hides its guesses: each value has the instant at
//! which it was read, and between two readings it is carried on by what
//! `statm` says.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use grey_model::{Bytes, PageSize};

use super::pss_budget::{Budget, own_cpu_time};
use super::rss_tracker::{RssTick, RssTracker, TrackedRss};
use super::scan::ROLLUP_LENGTH;
use super::single_read::{ProcessPath, is_denied, read_once};
use super::smaps_rollup::{SmapsRollup, parse_smaps_rollup};
use super::statm::Statm;
use crate::read::{KernelDirectory, ReadError};

/// Before anything was measured: the dearest walk that was seen, per page.
const FIRST_NANOSECONDS_PER_PAGE: u64 = 35;

/// What a reading costs before the first page.
const NANOSECONDS_PER_READING: u64 = 5_000;

/// The part of the time that changed processes leave to unchanged ones, whose
/// PSS moves too: when others stop sharing their pages.
const REFRESH_SHARE: u32 = 4;

/// A tracker that saves ([`PssTracker::rereads_after`]) takes a process for
/// changed when it moved by more than its resident pages through this: what
/// `statm` shows of less is carried on well enough.
const MOVED_PART: u64 = 64;

/// A process whose PSS is followed.
#[derive(Debug, Clone)]
pub struct TrackedPss {
    /// Its pid.
    pub pid: u32,
    serial: u64,
    now: Statm,
    reading: Option<Reading>,
    denied: bool,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    at: Instant,
    statm: Statm,
    rollup: SmapsRollup,
}

impl Reading {
    /// The part of PSS that is not anonymous; before 5.3 the kernel does not
    /// tell, and then all of it counts.
    fn shared_pss(&self) -> Option<Bytes> {
        let pss = self.rollup.pss?;
        Some(match self.rollup.pss_anon {
            Some(anon) => pss.saturating_sub(anon),
            None => pss,
        })
    }
}

impl TrackedPss {
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
    /// proportion that the process had when it was read. `None` until the
    /// first reading.
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
        Some(pss.saturating_add(grown).saturating_sub(shrunk))
    }

    /// USS now: the last reading, moved by the anonymous pages that came or went
    /// since, nearly all of which are nobody else's; never more than is
    /// resident. `None` until the first reading.
    #[must_use]
    pub fn uss(&self, page_size: PageSize) -> Option<Bytes> {
        let reading = self.reading.as_ref()?;
        let uss = reading.rollup.uss()?;
        let then = reading.statm.anonymous().bytes(page_size);
        let now = self.now.anonymous().bytes(page_size);
        let moved = uss
            .saturating_add(now.saturating_sub(then))
            .saturating_sub(then.saturating_sub(now));
        Some(moved.min(self.now.resident.bytes(page_size).max(uss)))
    }

    /// Pages by which it differs from its last reading.
    fn pages_moved(&self) -> u64 {
        self.reading.as_ref().map_or(u64::MAX, |reading| {
            let (then, now) = (reading.statm, self.now);
            let anonymous = now.anonymous().0.abs_diff(then.anonymous().0);
            anonymous.saturating_add(now.shared.0.abs_diff(then.shared.0))
        })
    }

    fn readable(&self) -> bool {
        self.now.has_memory() && !self.denied
    }
}

/// What one tick did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PssTick {
    /// What was seen of `statm`.
    pub rss: RssTick,
    /// `smaps_rollup` files that were read.
    pub read: u64,
    /// Processes with memory that were never read yet.
    pub never_read: u64,
    /// Processes that would take longer than the whole cap, and so were not
    /// read; only a tick with a larger cap reads them.
    pub too_large: u64,
    /// Processes that we may not look into.
    pub unreadable: u64,
}

/// Follows the PSS of all processes.
#[derive(Debug)]
pub struct PssTracker {
    page_size: PageSize,
    rss: RssTracker,
    rereads_after: Duration,
    processes: Vec<TrackedPss>,
    previous: Vec<TrackedPss>,
    changed: Vec<usize>,
    by_age: Vec<usize>,
    reader: RollupReader,
}

impl PssTracker {
    /// Follows processes on a machine with this page size; descriptors are
    /// kept as `rss` keeps them.
    #[must_use]
    pub fn new(page_size: PageSize, rss: RssTracker) -> Self {
        Self {
            page_size,
            rss,
            rereads_after: Duration::ZERO,
            processes: Vec::new(),
            previous: Vec::new(),
            changed: Vec::new(),
            by_age: Vec::new(),
            reader: RollupReader {
                path: ProcessPath::new("/smaps_rollup"),
                buffer: [0; ROLLUP_LENGTH],
                pages: 0,
                spent: Duration::ZERO,
            },
        }
    }

    /// Saves time: what hardly changed is read again only when its reading is
    /// older than `age`. Without this every tick uses up its cap.
    #[must_use]
    pub fn rereads_after(mut self, age: Duration) -> Self {
        self.rereads_after = age;
        self
    }

    /// The processes of the last tick, by ascending pid.
    #[must_use]
    pub fn processes(&self) -> &[TrackedPss] {
        &self.processes
    }

    /// The sum over all processes that we may read. Those that were never
    /// read ([`PssTick::never_read`]) count with their anonymous pages in
    /// full, and with their shared ones as those of the others do on average.
    #[must_use]
    pub fn estimated_pss(&self) -> Bytes {
        self.estimated_pss_of(|_| true)
    }

    /// The same over the processes whose pid is `chosen`.
    #[must_use]
    pub fn estimated_pss_of(&self, chosen: impl Fn(u32) -> bool) -> Bytes {
        let (mut known, mut shared_pss, mut shared) = (Bytes::ZERO, Bytes::ZERO, Bytes::ZERO);
        let (mut anon_unread, mut shared_unread) = (Bytes::ZERO, Bytes::ZERO);
        let readable = self.processes.iter().filter(|process| process.readable());
        for process in readable.filter(|process| chosen(process.pid)) {
            if let (Some(pss), Some(reading)) = (process.pss(self.page_size), &process.reading) {
                known = known.saturating_add(pss);
                let resident = reading.statm.shared.bytes(self.page_size);
                shared = shared.saturating_add(resident);
                let part = reading.shared_pss().unwrap_or_default();
                shared_pss = shared_pss.saturating_add(part.min(resident));
            } else {
                let now = process.now;
                anon_unread = anon_unread.saturating_add(now.anonymous().bytes(self.page_size));
                shared_unread = shared_unread.saturating_add(now.shared.bytes(self.page_size));
            }
        }
        if shared != Bytes::ZERO {
            shared_unread = shared_unread.scale(shared_pss.get(), shared.get());
        }
        known
            .saturating_add(anon_unread)
            .saturating_add(shared_unread)
    }

    /// Reads every `statm`, then as many `smaps_rollup` as fit into what is
    /// left of `cap`, the CPU time of the whole tick: first the processes that
    /// changed, by how much, then the oldest readings, of which one is made in
    /// any case. [`Duration::MAX`] reads all, [`Duration::ZERO`] none.
    ///
    /// # Errors
    /// [`ReadError`] when `proc` cannot be listed.
    pub fn tick(&mut self, proc: &KernelDirectory, cap: Duration) -> Result<PssTick, ReadError> {
        let budget = Budget::start(cap);
        let rss = self.observe(proc)?;
        Ok(self.read(proc, budget, rss, &|_| true))
    }

    /// The first half of a tick: reads every `statm`, and no `smaps_rollup`.
    ///
    /// # Errors
    /// As [`Self::tick`].
    pub fn observe(&mut self, proc: &KernelDirectory) -> Result<RssTick, ReadError> {
        let rss = self.rss.tick(proc)?;
        self.take_over();
        Ok(rss)
    }

    /// The second half, for those who choose: reads `smaps_rollup` of the
    /// processes that are `chosen` within `cap` of CPU time, as [`Self::tick`]
    /// does. Its time is returned, too.
    pub fn measure(
        &mut self,
        proc: &KernelDirectory,
        cap: Duration,
        chosen: &dyn Fn(&TrackedPss) -> bool,
    ) -> (PssTick, Duration) {
        let begun = own_cpu_time();
        let tick = self.read(proc, Budget::start(cap), RssTick::default(), chosen);
        (tick, own_cpu_time().saturating_sub(begun))
    }

    fn read(
        &mut self,
        proc: &KernelDirectory,
        mut budget: Budget,
        rss: RssTick,
        chosen: &dyn Fn(&TrackedPss) -> bool,
    ) -> PssTick {
        let cap = budget.cap;
        let mut tick = PssTick {
            rss,
            ..PssTick::default()
        };
        self.choose(cap, chosen);
        budget.measure();
        let for_changed = cap.saturating_sub(budget.left() / REFRESH_SHARE);
        for &index in &self.changed {
            let process = &mut self.processes[index];
            self.reader.visit(proc, process, &mut budget, for_changed);
        }
        let mut refreshed = false;
        for &index in &self.by_age {
            let process = &mut self.processes[index];
            if process.read_at() >= Some(budget.start) {
                continue;
            }
            // However dear the `statm` were, the oldest reading gets its turn:
            // without that, a cap that is too small would let all of them age.
            let first = !refreshed && cap != Duration::ZERO;
            let limit = if first { Duration::MAX } else { cap };
            if !self.reader.visit(proc, process, &mut budget, limit) {
                break;
            }
            refreshed = true;
        }
        tick.read = budget.read;
        for process in self.processes.iter().filter(|process| chosen(process)) {
            tick.unreadable += u64::from(process.denied);
            let waiting = process.readable() && process.reading.is_none();
            tick.never_read += u64::from(waiting);
            let too_large = process.readable() && self.reader.expected(process) > cap;
            tick.too_large += u64::from(too_large);
        }
        tick
    }

    /// Carries what was read over to the present processes.
    fn take_over(&mut self) {
        std::mem::swap(&mut self.processes, &mut self.previous);
        let mut known = self.previous.drain(..).peekable();
        for present in self.rss.processes() {
            while known.next_if(|old| old.pid < present.pid()).is_some() {}
            let old = known.next_if(|old| old.pid == present.pid());
            let process = match old {
                Some(old) if old.serial == present.serial() => TrackedPss {
                    now: present.statm(),
                    ..old
                },
                _ => TrackedPss::new(present),
            };
            self.processes.push(process);
        }
    }

    /// The processes that changed, the most changed first, and all of them,
    /// those that were never read and then the oldest readings first: a process
    /// that changes a little all the time must get its turn too.
    /// One that takes longer than the whole cap is in neither list, and so
    /// holds up nobody.
    fn choose(&mut self, cap: Duration, chosen: &dyn Fn(&TrackedPss) -> bool) {
        self.changed.clear();
        self.by_age.clear();
        let saves = !self.rereads_after.is_zero();
        for (index, process) in self.processes.iter().enumerate() {
            if !process.readable() || !chosen(process) || self.reader.expected(process) > cap {
                continue;
            }
            let is_young = process
                .read_at()
                .is_some_and(|at| at.elapsed() < self.rereads_after);
            if !is_young {
                self.by_age.push(index);
            }
            let least = if saves {
                process.now.resident.0 / MOVED_PART
            } else {
                0
            };
            if process.pages_moved() > least {
                self.changed.push(index);
            }
        }
        let processes = &self.processes;
        self.changed
            .sort_unstable_by_key(|&index| std::cmp::Reverse(processes[index].pages_moved()));
        self.by_age
            .sort_unstable_by_key(|&index| processes[index].read_at());
    }
}

impl TrackedPss {
    fn new(present: &TrackedRss) -> Self {
        Self {
            pid: present.pid(),
            serial: present.serial(),
            now: present.statm(),
            reading: None,
            denied: false,
        }
    }
}

/// Reads `smaps_rollup`, and learns what that costs.
#[derive(Debug)]
struct RollupReader {
    path: ProcessPath,
    buffer: [u8; ROLLUP_LENGTH],
    pages: u64,
    spent: Duration,
}

impl RollupReader {
    /// What reading the process will probably take.
    fn expected(&self, process: &TrackedPss) -> Duration {
        let pages = process.now.resident.0;
        let measured = u64::try_from(self.spent.as_nanos()).unwrap_or(u64::MAX);
        let per_page = measured
            .checked_div(self.pages)
            .map_or(FIRST_NANOSECONDS_PER_PAGE, |nanoseconds| nanoseconds.max(1));
        // Pages of one process cost up to a quarter more than the average.
        let walk = pages.saturating_mul(per_page).saturating_mul(5) / 4;
        Duration::from_nanos(walk.saturating_add(NANOSECONDS_PER_READING))
    }

    /// Reads the process when that fits into the tick's time up to `limit`;
    /// whether it did.
    fn visit(
        &mut self,
        proc: &KernelDirectory,
        process: &mut TrackedPss,
        budget: &mut Budget,
        limit: Duration,
    ) -> bool {
        if budget.used.saturating_add(self.expected(process)) > limit {
            return false;
        }
        let outcome = read_once(proc.as_fd(), self.path.of(process.pid), &mut self.buffer)
            .map(parse_smaps_rollup);
        let now = Instant::now();
        let took = budget.measure();
        budget.read += 1;
        match outcome {
            Ok(rollup) if rollup.pss.is_some() => {
                process.reading = Some(Reading {
                    at: now,
                    statm: process.now,
                    rollup,
                });
                self.pages = self.pages.saturating_add(process.now.resident.0);
                self.spent += took;
            }
            Err(errno) if is_denied(errno) => process.denied = true,
            // It ended after its `statm` was read: the next tick drops it.
            _ => process.reading = None,
        }
        if budget.waited_too_long(now) {
            budget.used = budget.cap;
        }
        true
    }
}

#[cfg(test)]
#[path = "pss_tracker_tests.rs"]
mod tests;
