//! PSS and USS of all processes, tick after tick, within a time that the caller
//! gives.
//!
//! Never reads what did not change before what did: `statm` tells which
//! processes moved. Never hides its guesses: each value has the instant at
//! which it was read, and between two readings it is carried on by what
//! `statm` says since that instant. Never spends more than it was given in the long run: what alone
//! takes longer than a tick's time waits until that much was left over.

use std::os::fd::AsFd;
use std::time::Duration;

use grey_model::{Bytes, PageSize};

use super::pss_budget::{Budget, Clocks, Savings};
use super::rss_tracker::{RssTick, RssTracker};
use super::scan::{ROLLUP_LENGTH, STATM_LENGTH};
use super::single_read::{ProcessPath, is_denied, read_once};
use super::smaps_rollup::{SmapsRollup, parse_smaps_rollup};
use super::statm::parse_statm;
use super::tracked_pss::{Reading, TrackedPss};
use crate::read::{KernelDirectory, ReadError};

/// Before anything was measured: the dearest walk that was seen, per page.
const FIRST_NANOSECONDS_PER_PAGE: u64 = 35;

/// From so many pages on, 16 MiB, pages are what a reading costs; of smaller
/// processes, mappings cost more, and say nothing of large ones.
const LARGE_PAGES: u64 = 4096;

/// What a reading costs before the first page.
const NANOSECONDS_PER_READING: u64 = 5_000;

/// The part of the time that changed processes leave to unchanged ones, whose
/// PSS moves too: when others stop sharing their pages.
const REFRESH_SHARE: u32 = 4;

/// While one that is dear waits, this part of what `statm` leaves of a tick's
/// time is saved for it; the others have the rest.
const SAVED_SHARE: u32 = 2;

/// What one tick did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PssTick {
    /// What was seen of `statm`.
    pub rss: RssTick,
    /// `smaps_rollup` files that were read.
    pub read: u64,
    /// Processes with memory that were never read yet.
    pub never_read: u64,
    /// Processes that would take longer than all that can be saved, and so are
    /// not read; only ticks with a larger cap read them.
    pub too_large: u64,
    /// Of those that were never read yet, the ones that are too large: their
    /// PSS stays unknown.
    pub out_of_reach: u64,
    /// Of those that were never read yet, the ones that a later tick reads.
    pub waiting: u64,
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
    /// The one of those that take longer than a tick whose turn it is.
    dear: Option<usize>,
    savings: Savings,
    clocks: Clocks,
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
            dear: None,
            savings: Savings::default(),
            clocks: Clocks::default(),
            reader: RollupReader {
                path: ProcessPath::new("/smaps_rollup"),
                buffer: [0; ROLLUP_LENGTH],
                statm: ProcessPath::new("/statm"),
                page_size,
                small: Cost::default(),
                large: Cost::default(),
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
    /// any case. One that takes longer than `cap` is read as soon as earlier
    /// ticks left enough of theirs; at most 20 ticks' time is saved, but not
    /// less than 100 ms. [`Duration::MAX`] reads all, [`Duration::ZERO`] none.
    ///
    /// # Errors
    /// [`ReadError`] when `proc` cannot be listed.
    pub fn tick(&mut self, proc: &KernelDirectory, cap: Duration) -> Result<PssTick, ReadError> {
        let budget = Budget::start(cap, self.clocks);
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
    /// does.
    pub fn measure(
        &mut self,
        proc: &KernelDirectory,
        cap: Duration,
        chosen: &dyn Fn(&TrackedPss) -> bool,
    ) -> PssTick {
        let budget = Budget::start(cap, self.clocks);
        self.read(proc, budget, RssTick::default(), chosen)
    }

    fn read(
        &mut self,
        proc: &KernelDirectory,
        mut budget: Budget,
        rss: RssTick,
        chosen: &dyn Fn(&TrackedPss) -> bool,
    ) -> PssTick {
        let cap = budget.cap;
        self.savings.keep_at_most(Savings::most(cap));
        self.choose(cap, chosen);
        budget.measure();
        let own = cap.saturating_sub(self.to_save(&budget));
        let for_changed = own.saturating_sub(own.saturating_sub(budget.used) / REFRESH_SHARE);
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
            let limit = if first { Duration::MAX } else { own };
            if !self.reader.visit(proc, process, &mut budget, limit) {
                break;
            }
            refreshed = true;
        }
        // What was really used: waiting costs nothing.
        budget.measure();
        self.savings.settle(cap, budget.used);
        self.read_dear(proc, &mut budget);
        let mut tick = PssTick {
            rss,
            read: budget.read,
            ..PssTick::default()
        };
        self.count(&mut tick, cap, chosen);
        tick
    }

    /// What of this tick is saved for the one that is dear.
    fn to_save(&self, budget: &Budget) -> Duration {
        match self.dear {
            Some(index) if !self.can_afford(index) => budget.left() / SAVED_SHARE,
            _ => Duration::ZERO,
        }
    }

    fn can_afford(&self, index: usize) -> bool {
        self.savings.saved() >= self.reader.expected(&self.processes[index])
    }

    /// Reads the one that is dear when enough was saved for it.
    fn read_dear(&mut self, proc: &KernelDirectory, budget: &mut Budget) {
        let Some(index) = self.dear.filter(|&index| self.can_afford(index)) else {
            return;
        };
        let process = &mut self.processes[index];
        let took = self.reader.read(proc, process, budget);
        self.savings.spend(took);
        if process.reading.is_none() {
            // The others do not wait for one that cannot be read.
            process.waits_since = budget.now();
        }
    }

    fn count(&self, tick: &mut PssTick, cap: Duration, chosen: &dyn Fn(&TrackedPss) -> bool) {
        let most = Savings::most(cap).max(cap);
        for process in self.processes.iter().filter(|process| chosen(process)) {
            tick.unreadable += u64::from(process.denied);
            if !process.readable() {
                continue;
            }
            let is_unread = process.reading.is_none();
            let is_too_large = self.reader.expected(process) > most;
            tick.never_read += u64::from(is_unread);
            tick.too_large += u64::from(is_too_large);
            tick.out_of_reach += u64::from(is_unread && is_too_large);
            tick.waiting += u64::from(is_unread && !is_too_large && !process.failed);
        }
    }

    /// Carries what was read over to the present processes.
    fn take_over(&mut self) {
        std::mem::swap(&mut self.processes, &mut self.previous);
        let mut known = self.previous.drain(..).peekable();
        let now = (self.clocks.wall)();
        for present in self.rss.processes() {
            while known.next_if(|old| old.pid < present.pid()).is_some() {}
            let old = known.next_if(|old| old.pid == present.pid());
            let process = match old {
                Some(old) if old.serial == present.serial() => TrackedPss {
                    now: present.statm(),
                    ..old
                },
                _ => TrackedPss::new(present, now),
            };
            self.processes.push(process);
        }
    }

    /// The processes that changed, the most changed first, and all of them,
    /// those that were never read and then the oldest readings first: a process
    /// that changes a little all the time must get its turn too.
    /// One that takes longer than the whole cap is in neither list, and so
    /// holds up nobody; of those, the one that is due for longest has its turn,
    /// and of several the cheapest.
    fn choose(&mut self, cap: Duration, chosen: &dyn Fn(&TrackedPss) -> bool) {
        self.changed.clear();
        self.by_age.clear();
        self.dear = None;
        let saves = !self.rereads_after.is_zero();
        let (now, most) = ((self.clocks.wall)(), Savings::most(cap));
        let mut longest_due = None;
        for (index, process) in self.processes.iter().enumerate() {
            if !process.readable() || !chosen(process) {
                continue;
            }
            let expected = self.reader.expected(process);
            if expected > cap {
                let due = (process.due_at(), expected);
                let is_first = longest_due.is_none_or(|other| due < other);
                if due.0 <= now && expected <= most && is_first {
                    (longest_due, self.dear) = (Some(due), Some(index));
                }
                continue;
            }
            let is_young = process
                .read_at()
                .is_some_and(|at| now.duration_since(at) < self.rereads_after);
            if !is_young {
                self.by_age.push(index);
            }
            let least = if saves { process.hardly_moved() } else { 0 };
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

/// Reads `smaps_rollup`, and learns what that costs.
#[derive(Debug)]
struct RollupReader {
    path: ProcessPath,
    buffer: [u8; ROLLUP_LENGTH],
    statm: ProcessPath,
    page_size: PageSize,
    small: Cost,
    large: Cost,
}

/// What readings took together.
#[derive(Debug, Default)]
struct Cost {
    pages: u64,
    spent: Duration,
}

impl Cost {
    fn nanoseconds_per_page(&self) -> u64 {
        nanoseconds(self.spent)
            .checked_div(self.pages)
            .map_or(FIRST_NANOSECONDS_PER_PAGE, |nanoseconds| nanoseconds.max(1))
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl RollupReader {
    /// What reading the process will probably take: by what such readings took
    /// and by what its own last one did, the less of the two. Pages of one
    /// process can cost much less (huge ones), and one reading that was held up
    /// says little.
    fn expected(&self, process: &TrackedPss) -> Duration {
        let pages = process.now.resident.0;
        let cost = match pages < LARGE_PAGES {
            true => &self.small,
            false => &self.large,
        };
        let by_all = pages.saturating_mul(cost.nanoseconds_per_page());
        let by_own = process.reading.as_ref().map_or(u64::MAX, |reading| {
            let took = u128::from(nanoseconds(reading.took)) * u128::from(pages);
            let walk = took.checked_div(reading.statm.resident.0.into());
            walk.and_then(|walk| u64::try_from(walk).ok())
                .unwrap_or(u64::MAX)
        });
        // Pages of one process cost up to a quarter more than the average.
        let walk = by_all.min(by_own).saturating_mul(5) / 4;
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
        self.read(proc, process, budget);
        if budget.waited_too_long() {
            budget.used = budget.cap;
        }
        true
    }

    /// Reads `statm` again where the process has moved since: what is carried on
    /// must begin at what both files say of the same moment.
    fn rebase(&mut self, proc: &KernelDirectory, process: &mut TrackedPss, rollup: &SmapsRollup) {
        if rollup.rss == Some(process.now.resident.bytes(self.page_size)) {
            return;
        }
        let mut buffer = [0; STATM_LENGTH];
        let read = read_once(proc.as_fd(), self.statm.of(process.pid), &mut buffer);
        // Without memory it is ending: the next tick drops it.
        let again = read.ok().and_then(parse_statm);
        if let Some(statm) = again.filter(|statm| statm.has_memory()) {
            process.now = statm;
        }
    }

    /// Reads the process; what that took.
    fn read(
        &mut self,
        proc: &KernelDirectory,
        process: &mut TrackedPss,
        budget: &mut Budget,
    ) -> Duration {
        let outcome = read_once(proc.as_fd(), self.path.of(process.pid), &mut self.buffer)
            .map(parse_smaps_rollup);
        let now = budget.now();
        if let Ok(rollup) = &outcome {
            self.rebase(proc, process, rollup);
        }
        let took = budget.measure();
        budget.read += 1;
        match outcome {
            Ok(rollup) if rollup.pss.is_some() => {
                process.failed = false;
                process.reading = Some(Reading {
                    at: now,
                    statm: process.now,
                    rollup,
                    took,
                });
                let pages = process.now.resident.0;
                let cost = match pages < LARGE_PAGES {
                    true => &mut self.small,
                    false => &mut self.large,
                };
                cost.pages = cost.pages.saturating_add(pages);
                cost.spent += took;
            }
            Err(errno) if is_denied(errno) => process.denied = true,
            // It ended after its `statm` was read: the next tick drops it.
            _ => (process.reading, process.failed) = (None, true),
        }
        took
    }
}

#[cfg(test)]
#[path = "pss_tracker_tests.rs"]
mod tests;
