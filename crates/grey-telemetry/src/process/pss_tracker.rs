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
        let shared_then = then.shared.bytes(page_size);
        // Before 5.3 the kernel does not split PSS: then all of it moves alike.
        let shared_pss = match reading.rollup.pss_anon {
            Some(anon) => pss.saturating_sub(anon),
            None => pss,
        };
        let in_proportion = |bytes: Bytes| {
            if shared_then == Bytes::ZERO {
                Bytes::ZERO
            } else {
                bytes.scale(shared_pss.get().min(shared_then.get()), shared_then.get())
            }
        };
        let (anon_then, anon_now) = (then.anonymous(), now.anonymous());
        let grown = anon_now
            .bytes(page_size)
            .saturating_sub(anon_then.bytes(page_size))
            .saturating_add(in_proportion(
                now.shared.bytes(page_size).saturating_sub(shared_then),
            ));
        let shrunk = anon_then
            .bytes(page_size)
            .saturating_sub(anon_now.bytes(page_size))
            .saturating_add(in_proportion(
                shared_then.saturating_sub(now.shared.bytes(page_size)),
            ));
        Some(pss.saturating_add(grown).saturating_sub(shrunk))
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

    /// The processes of the last tick, by ascending pid.
    #[must_use]
    pub fn processes(&self) -> &[TrackedPss] {
        &self.processes
    }

    /// The sum of what is known: [`PssTick::never_read`] says how many are not
    /// in it.
    #[must_use]
    pub fn pss(&self) -> Bytes {
        let known = self.processes.iter();
        known
            .filter_map(|process| process.pss(self.page_size))
            .sum()
    }

    /// Reads every `statm`, then as many `smaps_rollup` as fit into `cap` of
    /// wall time (the `statm` not counted): first the processes that changed,
    /// by how much, then the oldest readings. [`Duration::MAX`] reads all.
    ///
    /// # Errors
    /// [`ReadError`] when `proc` cannot be listed.
    pub fn tick(&mut self, proc: &KernelDirectory, cap: Duration) -> Result<PssTick, ReadError> {
        let mut tick = PssTick {
            rss: self.rss.tick(proc)?,
            ..PssTick::default()
        };
        self.take_over();
        self.choose();
        // One clock reading serves as the end of one file and the start of the next.
        let mut budget = Budget::new(cap);
        let for_changed = if cap == Duration::MAX {
            cap
        } else {
            cap - cap / REFRESH_SHARE
        };
        for &index in &self.changed {
            let process = &mut self.processes[index];
            self.reader.visit(proc, process, &mut budget, for_changed);
        }
        for &index in &self.by_age {
            let process = &mut self.processes[index];
            if process.read_at() >= Some(budget.start) {
                continue;
            }
            if !self.reader.visit(proc, process, &mut budget, cap) {
                break;
            }
        }
        tick.read = budget.read;
        for process in &self.processes {
            tick.unreadable += u64::from(process.denied);
            let waiting = process.readable() && process.reading.is_none();
            tick.never_read += u64::from(waiting);
            let too_large = process.readable() && self.reader.expected(process) > cap;
            tick.too_large += u64::from(too_large);
        }
        Ok(tick)
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

    /// The processes that changed, the most changed first, and all that were
    /// read before, the oldest reading first: a process that changes a little
    /// all the time must get its turn too.
    fn choose(&mut self) {
        self.changed.clear();
        self.by_age.clear();
        for (index, process) in self.processes.iter().enumerate() {
            if !process.readable() {
                continue;
            }
            if process.reading.is_some() {
                self.by_age.push(index);
            }
            if process.pages_moved() != 0 {
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

/// How much of a tick's time is used.
#[derive(Debug)]
struct Budget {
    start: Instant,
    last: Instant,
    cap: Duration,
    read: u64,
}

impl Budget {
    fn new(cap: Duration) -> Self {
        let start = Instant::now();
        Self {
            start,
            last: start,
            cap,
            read: 0,
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
        let walk = pages.saturating_mul(per_page);
        Duration::from_nanos(walk.saturating_add(NANOSECONDS_PER_READING))
    }

    /// Reads the process when that fits into `limit` of the tick's time;
    /// whether it fitted.
    fn visit(
        &mut self,
        proc: &KernelDirectory,
        process: &mut TrackedPss,
        budget: &mut Budget,
        limit: Duration,
    ) -> bool {
        let used = budget.last.duration_since(budget.start);
        let expected = self.expected(process);
        if used.saturating_add(expected) > limit {
            // One that never fits must not hold up those behind it.
            return expected > budget.cap;
        }
        self.read(proc, process, budget);
        true
    }

    fn read(&mut self, proc: &KernelDirectory, process: &mut TrackedPss, budget: &mut Budget) {
        let outcome = read_once(proc.as_fd(), self.path.of(process.pid), &mut self.buffer)
            .map(parse_smaps_rollup);
        let now = Instant::now();
        budget.read += 1;
        match outcome {
            Ok(rollup) if rollup.pss.is_some() => {
                process.reading = Some(Reading {
                    at: now,
                    statm: process.now,
                    rollup,
                });
                self.pages = self.pages.saturating_add(process.now.resident.0);
                self.spent += now.duration_since(budget.last);
            }
            Err(errno) if is_denied(errno) => process.denied = true,
            // It ended after its `statm` was read: the next tick drops it.
            _ => process.reading = None,
        }
        budget.last = now;
    }
}

#[cfg(test)]
#[path = "pss_tracker_tests.rs"]
mod tests;
