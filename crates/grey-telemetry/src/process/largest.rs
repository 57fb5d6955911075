//! The largest processes, tick after tick, at the price of what changes: RSS of
//! all through kept descriptors, names and cgroups once, swap when RSS moved,
//! PSS within a time that the caller gives.
//!
//! What lies in swap shows in no RSS: a few of the other processes are looked
//! at in turn. Never mixes two processes: what was read by pid counts only when
//! the process's own `stat` can be read after it, with the same start time.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use grey_model::{
    Bytes, CgroupPath, GroupKey, KernelText, PageSize, ProcessField, ProcessId, ProcessKey,
    ProcessSample, ProcessValues,
};
use rustix::time::{ClockId, clock_gettime};

use super::cgroup::parse_memory_cgroup;
use super::largest_groups::GroupNames;
use super::pss_tracker::PssTracker;
use super::rss_tracker::RssTracker;
use super::single_read::{ProcessPath, open, read_again, read_once};
use super::stat::parse_stat;
use super::statm::Statm;
use super::status::parse_status;
use super::tracked_pss::TrackedPss;
use crate::cgroup::processes::open_process_cgroup;
use crate::read::ReadError;
use crate::roots::Kernel;

/// The most descriptors of `stat` that are kept, beside those of the tracker.
const MOST_KEPT: usize = 256;

/// A process that was not among the largest for so many ticks is forgotten: one
/// that comes and goes at the edge is not read anew each time.
const FORGOTTEN_AFTER: u64 = 60;

/// A `status` file has about 1,500 bytes; only its first part is used.
const BUFFER: usize = 8192;

/// PSS that hardly changed is read again after this time.
const PSS_REREAD: Duration = Duration::from_secs(30);

/// How much is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LargestOptions {
    /// The most processes; the largest by RSS and swap.
    pub count: usize,
    /// So many of the others are looked at each tick, in turn, for what they
    /// have in swap; and one of the largest for everything.
    pub looked_at: usize,
    /// CPU time for PSS in a tick, on average; zero for none.
    pub pss_time: Duration,
    /// Processes with more RSS than this have no PSS: the kernel walks their
    /// page tables in one go.
    pub pss_largest: Bytes,
}

/// Follows the largest processes of one kernel.
#[derive(Debug)]
pub struct LargestProcesses {
    options: LargestOptions,
    pub(super) tracker: PssTracker,
    pub(super) remembered: HashMap<u64, Remembered>,
    pub(super) reader: Reader,
    pub(super) names: GroupNames,
    /// Size and pid of each process, in no order.
    by_size: Vec<(u64, u32)>,
    /// The largest, by pid.
    largest: Vec<u32>,
    ticks: u64,
    turn: usize,
}

/// What is remembered of a process, by its serial number in the tracker.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    pub(super) swap: u64,
    seen: u64,
    pub(super) known: Option<Known>,
}

/// What is remembered of one of the largest.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) key: ProcessKey,
    stat: Option<OwnedFd>,
    cpu_time_ticks: u64,
    /// The parts that only `status` tells, and `statm` when it was read.
    shared: Option<Bytes>,
    swap: Option<Bytes>,
    statm: Statm,
    /// When PSS was read, and that as milliseconds since boot.
    pss_at: Option<(Instant, u64)>,
    last_among: u64,
}

impl LargestProcesses {
    /// Follows processes on a machine with this page size.
    #[must_use]
    pub fn new(page_size: PageSize, options: LargestOptions) -> Self {
        Self {
            options,
            tracker: PssTracker::new(page_size, RssTracker::new()).rereads_after(PSS_REREAD),
            remembered: HashMap::new(),
            names: GroupNames::default(),
            reader: Reader {
                stat: ProcessPath::new("/stat"),
                status: ProcessPath::new("/status"),
                cgroup: ProcessPath::new("/cgroup"),
                buffer: vec![0; BUFFER],
                kept: 0,
            },
            by_size: Vec::new(),
            largest: Vec::new(),
            ticks: 0,
            turn: 0,
        }
    }

    /// How many processes there were at the last tick, those without memory
    /// included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.tracker.processes().len()
    }

    /// The largest now, by pid.
    ///
    /// # Errors
    /// [`ReadError`] when `/proc` cannot be listed.
    pub fn tick(&mut self, kernel: &Kernel) -> Result<Vec<ProcessSample>, ReadError> {
        self.ticks += 1;
        self.tracker.observe(&kernel.proc)?;
        self.choose(kernel.page_size);
        self.measure_pss(kernel);
        let samples = self.look_at_largest(kernel);
        self.look_at_some(kernel);
        let (ticks, reader) = (self.ticks, &mut self.reader);
        self.remembered.retain(|_, remembered| {
            let stays = remembered.seen == ticks;
            let is_known = remembered
                .known
                .as_ref()
                .is_some_and(|known| ticks - known.last_among <= FORGOTTEN_AFTER);
            if !(stays && is_known) {
                reader.forget(remembered.known.take());
            }
            stays
        });
        Ok(samples)
    }

    /// Finds the largest by RSS and by the swap that is known of them.
    fn choose(&mut self, page_size: PageSize) {
        self.by_size.clear();
        for process in self.tracker.processes() {
            if !process.statm().has_memory() {
                continue;
            }
            let resident = process.statm().resident.bytes(page_size).get();
            let swap = match self.remembered.get_mut(&process.serial()) {
                Some(remembered) => {
                    remembered.seen = self.ticks;
                    remembered.swap
                }
                None => 0,
            };
            self.by_size
                .push((resident.saturating_add(swap), process.pid));
        }
        let count = self.options.count;
        if count < self.by_size.len() {
            let key = |&(size, pid): &(u64, u32)| (std::cmp::Reverse(size), pid);
            self.by_size.select_nth_unstable_by_key(count, key);
        }
        self.largest.clear();
        let largest = self.by_size.iter().take(count);
        self.largest.extend(largest.map(|&(_, pid)| pid));
        self.largest.sort_unstable();
    }

    fn measure_pss(&mut self, kernel: &Kernel) {
        let time = self.options.pss_time;
        if time.is_zero() {
            return;
        }
        let (largest, most) = (&self.largest, self.options.pss_largest);
        let chosen = |process: &TrackedPss| {
            process.statm().resident.bytes(kernel.page_size) <= most
                && largest.binary_search(&process.pid).is_ok()
        };
        self.tracker.measure(&kernel.proc, time, &chosen);
    }

    fn look_at_largest(&mut self, kernel: &Kernel) -> Vec<ProcessSample> {
        let mut samples = Vec::with_capacity(self.largest.len());
        let (now, now_ms) = (Instant::now(), since_boot_ms());
        let length = u64::try_from(self.largest.len().max(1)).unwrap_or(u64::MAX);
        let mut place = 0;
        for process in self.tracker.processes() {
            if self.largest.get(place) != Some(&process.pid) {
                continue;
            }
            let is_due = self.ticks % length == place as u64;
            place += 1;
            let remembered = self.remembered.entry(process.serial()).or_default();
            remembered.seen = self.ticks;
            let known = match remembered.known.take() {
                Some(known) => self.reader.look_again(kernel, process, known, is_due),
                None => self.reader.look(kernel, process),
            };
            let Some(mut known) = known else { continue };
            known.last_among = self.ticks;
            known.note_pss(process, now, now_ms);
            remembered.swap = known.swap.map_or(0, Bytes::get);
            samples.push(known.sample(process, kernel.page_size));
            remembered.known = Some(known);
        }
        samples.sort_unstable_by_key(|sample| sample.key.id);
        samples
    }

    /// Asks some of the others for their swap.
    fn look_at_some(&mut self, kernel: &Kernel) {
        let all = self.tracker.processes();
        let mut left = self.options.looked_at;
        for step in 0..all.len() {
            if left == 0 {
                break;
            }
            let process = &all[(self.turn + step) % all.len()];
            let is_largest = self.largest.binary_search(&process.pid).is_ok();
            if is_largest || !process.statm().has_memory() {
                continue;
            }
            left -= 1;
            let swap = self.reader.swap(kernel, process.pid);
            let remembered = self.remembered.entry(process.serial()).or_default();
            remembered.swap = swap.map_or(0, Bytes::get);
            remembered.seen = self.ticks;
            if left == 0 {
                self.turn = (self.turn + step + 1) % all.len();
            }
        }
    }
}

impl Known {
    fn note_pss(&mut self, process: &TrackedPss, now: Instant, now_ms: u64) {
        let Some(at) = process.read_at() else { return };
        if self.pss_at.is_none_or(|(known, _)| known != at) {
            let ago = now.saturating_duration_since(at).as_millis();
            let ago = u64::try_from(ago).unwrap_or(u64::MAX);
            self.pss_at = Some((at, now_ms.saturating_sub(ago)));
        }
    }

    fn sample(&self, process: &TrackedPss, page_size: PageSize) -> ProcessSample {
        let statm = process.statm();
        let bytes = |value: Option<Bytes>| value.map(Bytes::get);
        let pss = bytes(process.pss(page_size));
        ProcessSample {
            key: self.key.clone(),
            values: ProcessValues::default()
                .with(
                    ProcessField::Rss,
                    bytes(Some(statm.resident.bytes(page_size))),
                )
                .with(
                    ProcessField::Anonymous,
                    bytes(Some(statm.anonymous().bytes(page_size))),
                )
                .with(ProcessField::Shared, bytes(self.shared))
                .with(ProcessField::Swap, bytes(self.swap))
                .with(ProcessField::CpuTime, Some(self.cpu_time_ticks))
                .with(ProcessField::Pss, pss)
                .with(
                    ProcessField::PssAt,
                    pss.and(self.pss_at).map(|(_, at_ms)| at_ms),
                ),
        }
    }
}

/// Reads single processes, and counts what it keeps open.
#[derive(Debug)]
pub(super) struct Reader {
    stat: ProcessPath,
    status: ProcessPath,
    cgroup: ProcessPath,
    buffer: Vec<u8>,
    kept: usize,
}

impl Reader {
    /// Reads a process that was not known.
    fn look(&mut self, kernel: &Kernel, process: &TrackedPss) -> Option<Known> {
        let stat = open(kernel.proc.as_fd(), self.stat.of(process.pid)).ok()?;
        let blank = Known {
            key: ProcessKey {
                id: ProcessId {
                    pid: process.pid,
                    start_time_ticks: 0,
                },
                name: KernelText(Vec::new()),
                cgroup: None,
            },
            stat: Some(stat),
            cpu_time_ticks: 0,
            shared: None,
            swap: None,
            statm: process.statm(),
            pss_at: None,
            last_among: 0,
        };
        self.kept += 1;
        self.look_again(kernel, process, blank, true)
    }

    /// Reads what changes of a known process, and where it `is_due` what hardly
    /// ever does. `None`: it is gone, or going.
    fn look_again(
        &mut self,
        kernel: &Kernel,
        process: &TrackedPss,
        mut known: Known,
        is_due: bool,
    ) -> Option<Known> {
        if is_due || known.statm != process.statm() {
            let path = self.status.of(process.pid);
            let text = read_once(kernel.proc.as_fd(), path, &mut self.buffer);
            let status = text.map(parse_status).unwrap_or_default();
            (known.shared, known.swap) = (status.rss_shmem, status.swap);
            known.statm = process.statm();
        }
        if is_due {
            known.key.cgroup = self.read_cgroup(kernel, process.pid);
        }
        // Last, so that what came before was of this process, too.
        let is_same = self.read_stat(kernel, &mut known);
        if !is_same {
            self.forget(Some(known));
            return None;
        }
        if self.kept > MOST_KEPT && known.stat.take().is_some() {
            self.kept -= 1;
        }
        Some(known)
    }

    /// Reads `stat` into `known`; whether it is the same process and is not ending:
    /// what it then still holds would be told as what it held.
    fn read_stat(&mut self, kernel: &Kernel, known: &mut Known) -> bool {
        let text = match &known.stat {
            Some(file) => read_again(file.as_fd(), &mut self.buffer),
            None => {
                let path = self.stat.of(known.key.id.pid);
                read_once(kernel.proc.as_fd(), path, &mut self.buffer)
            }
        };
        let Some(stat) = text.ok().and_then(parse_stat) else {
            return false;
        };
        let id = &mut known.key.id;
        if id.start_time_ticks == 0 {
            id.start_time_ticks = stat.start_time_ticks;
        }
        // It may have executed another program.
        if known.key.name.0 != stat.name {
            known.key.name = KernelText::from(stat.name);
        }
        known.cpu_time_ticks = stat.cpu_time_ticks;
        id.start_time_ticks == stat.start_time_ticks && id.pid == stat.pid && !stat.exiting
    }

    /// Name, start and cgroup of a process; `None` when it is gone, or going.
    pub(super) fn who(&mut self, kernel: &Kernel, pid: u32) -> Option<(GroupKey, u64)> {
        let path = self.stat.of(pid);
        let text = read_once(kernel.proc.as_fd(), path, &mut self.buffer).ok()?;
        let stat = parse_stat(text).filter(|stat| !stat.exiting)?;
        let (name, started) = (KernelText::from(stat.name), stat.start_time_ticks);
        let cgroup = self.read_cgroup(kernel, pid);
        Some((GroupKey { name, cgroup }, started))
    }

    fn read_cgroup(&mut self, kernel: &Kernel, pid: u32) -> Option<CgroupPath> {
        let path = self.cgroup.of(pid);
        let text = read_once(kernel.proc.as_fd(), path, &mut self.buffer).ok()?;
        let printed = parse_memory_cgroup(text)?;
        let exists = !printed.perhaps_removed
            || open_process_cgroup(kernel, &printed.path, &mut self.buffer).is_ok();
        exists.then_some(printed.path)
    }

    fn swap(&mut self, kernel: &Kernel, pid: u32) -> Option<Bytes> {
        let path = self.status.of(pid);
        let text = read_once(kernel.proc.as_fd(), path, &mut self.buffer).ok()?;
        parse_status(text).swap
    }

    fn forget(&mut self, known: Option<Known>) {
        let was_kept = known.is_some_and(|known| known.stat.is_some());
        self.kept -= usize::from(was_kept);
    }
}

/// Now, in milliseconds since boot.
pub(super) fn since_boot_ms() -> u64 {
    let now = Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "largest_tests.rs"]
mod tests;
