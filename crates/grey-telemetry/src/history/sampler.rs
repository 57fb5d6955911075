//! Takes samples: the machine each time, the largest processes each time, the
//! largest cgroups now and then.
//!
//! Cheap enough for each second: RSS of all processes is read through kept
//! descriptors, and only of the largest more than that. What lies in swap shows
//! in no RSS: a few of the other processes are looked at each time in turn.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use grey_model::{
    BootId, Bytes, CgroupField, CgroupMemory, CgroupPath, CgroupSample, CgroupValues, Meminfo,
    MemoryLimit, PageSize, Pages, ProcessField, ProcessKey, ProcessMemory, ProcessSample,
    ProcessValues, Sample, SystemField, SystemValues, Vmstat,
};
use rustix::time::{ClockId, clock_gettime};

use crate::cgroup::{TreeBounds, read_tree};
use crate::proc::boot_id::read_boot_id;
use crate::proc::meminfo::read_meminfo;
use crate::proc::pressure::read_memory_pressure;
use crate::proc::vmstat::read_vmstat;
use crate::process::{Detail, RssTracker, Scratch, read_process};
use crate::read::ReadError;
use crate::roots::Kernel;
use crate::sys::zram::read_zram;
use crate::sys::zswap::read_zswap;

/// How much each sample holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SamplerOptions {
    /// The most processes; the largest by RSS and swap.
    pub processes: usize,
    /// The most cgroups; the largest by usage and swap.
    pub cgroups: usize,
    /// Cgroups are read each so many samples, the first time at once.
    pub cgroups_every: u32,
    /// So many of the smaller processes are looked at each time, in turn, for
    /// what they have in swap.
    pub looked_at: usize,
}

impl Default for SamplerOptions {
    /// 40 processes, 40 cgroups each 10 samples, 8 looked at.
    fn default() -> Self {
        Self {
            processes: 40,
            cgroups: 40,
            cgroups_every: 10,
            looked_at: 8,
        }
    }
}

/// What is remembered of a process between samples, by its serial number in the
/// tracker.
#[derive(Debug, Clone)]
struct Remembered {
    swap: u64,
    seen: u64,
}

/// Takes samples of one kernel.
#[derive(Debug)]
pub struct Sampler {
    options: SamplerOptions,
    boot: BootId,
    tracker: RssTracker,
    scratch: Scratch,
    buffer: Vec<u8>,
    remembered: HashMap<u64, Remembered>,
    taken: u64,
    turn: usize,
}

impl Sampler {
    /// A sampler of `kernel`.
    ///
    /// # Errors
    /// [`ReadError`] when the boot's id exists and cannot be read.
    pub fn new(kernel: &Kernel, options: SamplerOptions) -> Result<Self, ReadError> {
        let mut buffer = Vec::new();
        Ok(Self {
            // A container may hide it: then only the clock tells boots apart.
            boot: read_boot_id(kernel, &mut buffer)?.unwrap_or_else(|| BootId(String::new())),
            options,
            tracker: RssTracker::new(),
            scratch: Scratch::new(kernel),
            buffer,
            remembered: HashMap::new(),
            taken: 0,
            turn: 0,
        })
    }

    /// Takes a sample.
    ///
    /// # Errors
    /// [`ReadError`] when meminfo or the list of processes cannot be read.
    pub fn sample(&mut self, kernel: &Kernel) -> Result<Sample, ReadError> {
        let at_unix_ms = milliseconds(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
        );
        let boottime = clock_gettime(ClockId::Boottime);
        let since_boot = Duration::try_from(boottime).unwrap_or_default();
        let mut system = self.system(kernel)?;
        let processes = self.processes(kernel)?;
        let count = self.tracker.processes().len() as u64;
        system.set(SystemField::Processes, Some(count));
        let reads_cgroups = self
            .taken
            .is_multiple_of(u64::from(self.options.cgroups_every.max(1)));
        self.taken += 1;
        Ok(Sample {
            at_unix_ms,
            since_boot_ms: milliseconds(since_boot),
            boot: self.boot.clone(),
            system,
            processes,
            cgroups: reads_cgroups.then(|| self.cgroups(kernel)),
        })
    }

    fn system(&mut self, kernel: &Kernel) -> Result<SystemValues, ReadError> {
        let pressure = read_memory_pressure(kernel, &mut self.buffer)
            .ok()
            .flatten();
        let vmstat = read_vmstat(kernel, &mut self.buffer).unwrap_or_default();
        let meminfo = read_meminfo(kernel, &mut self.buffer)?;
        let zram = read_zram(kernel, &mut self.buffer).unwrap_or_default();
        let zswap = read_zswap(kernel, &meminfo, &mut self.buffer)
            .ok()
            .flatten();
        let some = pressure.map(|pressure| pressure.some.total_us);
        let full = pressure.and_then(|pressure| pressure.full);
        let in_zram: Bytes = zram.iter().map(|device| device.memory_used).sum();
        Ok(counters(&vmstat, of_meminfo(&meminfo))
            .with(SystemField::PressureSome, some)
            .with(SystemField::PressureFull, full.map(|full| full.total_us))
            .with(SystemField::Zram, Some(in_zram.0))
            .with(
                SystemField::Zswap,
                zswap.and_then(|zswap| zswap.memory_used).map(Bytes::get),
            ))
    }

    fn processes(&mut self, kernel: &Kernel) -> Result<Vec<ProcessSample>, ReadError> {
        self.tracker.tick(&kernel.proc)?;
        let page_size = kernel.page_size;
        let mut by_size: Vec<(u64, u32, u64)> = Vec::with_capacity(self.tracker.processes().len());
        for process in self.tracker.processes() {
            if !process.statm().has_memory() {
                continue;
            }
            let resident = resident(process.statm().resident, page_size);
            let swap = match self.remembered.get_mut(&process.serial()) {
                Some(remembered) => {
                    remembered.seen = self.taken;
                    remembered.swap
                }
                None => 0,
            };
            by_size.push((resident + swap, process.pid(), process.serial()));
        }
        self.remembered
            .retain(|_, remembered| remembered.seen == self.taken);
        by_size.sort_unstable_by_key(|&(size, pid, _)| (std::cmp::Reverse(size), pid));
        let largest = by_size.len().min(self.options.processes);
        let mut samples = Vec::with_capacity(largest);
        for &(_, pid, serial) in &by_size[..largest] {
            let memory = self.look_at(kernel, pid, serial);
            samples.extend(memory.map(sample_of));
        }
        let smaller = &by_size[largest..];
        for index in 0..self.options.looked_at.min(smaller.len()) {
            let (_, pid, serial) = smaller[(self.turn + index) % smaller.len()];
            self.look_at(kernel, pid, serial);
        }
        self.turn = self.turn.wrapping_add(self.options.looked_at);
        samples.sort_unstable_by_key(|sample| sample.key.id);
        Ok(samples)
    }

    /// Reads a process without its page tables, and remembers its swap.
    fn look_at(&mut self, kernel: &Kernel, pid: u32, serial: u64) -> Option<ProcessMemory> {
        let reading = read_process(kernel, pid, Detail::Basic, &mut self.scratch).ok()?;
        let swap = reading.memory.swap.map_or(0, Bytes::get);
        let seen = self.taken;
        self.remembered.insert(serial, Remembered { swap, seen });
        Some(reading.memory)
    }

    fn cgroups(&mut self, kernel: &Kernel) -> Vec<CgroupSample> {
        let root = CgroupPath::root();
        let tree = read_tree(kernel, &root, TreeBounds::default(), &mut self.buffer);
        let mut groups = tree.groups;
        let size = |group: &CgroupMemory| {
            let swap = group.swap_current.unwrap_or_default();
            group.current.unwrap_or_default().saturating_add(swap)
        };
        groups.sort_by_key(|group| std::cmp::Reverse(size(group)));
        groups.truncate(self.options.cgroups);
        groups.sort_by(|one, other| one.path.cmp(&other.path));
        groups.into_iter().map(sample_of_group).collect()
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn resident(pages: Pages, page_size: PageSize) -> u64 {
    pages.bytes(page_size).0
}

fn of_meminfo(meminfo: &Meminfo) -> SystemValues {
    let bytes = |value: Option<Bytes>| value.map(Bytes::get);
    let less = |whole: Option<Bytes>, part: Option<Bytes>| {
        whole
            .zip(part)
            .map(|(whole, part)| whole.saturating_sub(part).0)
    };
    let cache = meminfo
        .active_file
        .zip(meminfo.inactive_file)
        .map(|(active, inactive)| active.saturating_add(inactive).0);
    SystemValues::default()
        .with(SystemField::Total, bytes(meminfo.mem_total))
        .with(
            SystemField::Used,
            less(meminfo.mem_total, meminfo.mem_available),
        )
        .with(SystemField::Available, bytes(meminfo.mem_available))
        .with(SystemField::Free, bytes(meminfo.mem_free))
        .with(SystemField::Anonymous, bytes(meminfo.anon_pages))
        .with(SystemField::FileCache, cache)
        .with(SystemField::Shared, bytes(meminfo.shmem))
        .with(SystemField::SlabReclaimable, bytes(meminfo.s_reclaimable))
        .with(SystemField::SlabUnreclaimable, bytes(meminfo.s_unreclaim))
        .with(SystemField::PageTables, bytes(meminfo.page_tables))
        .with(SystemField::SwapTotal, bytes(meminfo.swap_total))
        .with(
            SystemField::SwapUsed,
            less(meminfo.swap_total, meminfo.swap_free),
        )
}

fn counters(vmstat: &Vmstat, values: SystemValues) -> SystemValues {
    values
        .with(SystemField::OomKills, vmstat.oom_kill)
        .with(SystemField::MajorFaults, vmstat.pgmajfault)
        .with(SystemField::SwapIn, vmstat.pswpin)
        .with(SystemField::SwapOut, vmstat.pswpout)
        .with(
            SystemField::RefaultAnonymous,
            vmstat.workingset_refault_anon,
        )
        .with(SystemField::RefaultFile, vmstat.workingset_refault_file)
}

fn sample_of(memory: ProcessMemory) -> ProcessSample {
    let bytes = |value: Option<Bytes>| value.map(Bytes::get);
    ProcessSample {
        values: ProcessValues::default()
            .with(ProcessField::Rss, bytes(memory.rss))
            .with(ProcessField::Anonymous, bytes(memory.rss_anon))
            .with(ProcessField::Shared, bytes(memory.rss_shmem))
            .with(ProcessField::Swap, bytes(memory.swap)),
        key: ProcessKey {
            id: memory.id,
            name: memory.name,
            cgroup: memory.cgroup,
        },
    }
}

fn sample_of_group(group: CgroupMemory) -> CgroupSample {
    let bytes = |value: Option<Bytes>| value.map(Bytes::get);
    let limit = match group.effective_limit {
        Some(MemoryLimit::Bytes(limit)) => Some(limit.0),
        Some(MemoryLimit::Max) | None => None,
    };
    let event =
        |of: fn(&grey_model::CgroupEvents) -> Option<u64>| group.events.as_ref().and_then(of);
    CgroupSample {
        values: CgroupValues::default()
            .with(CgroupField::Current, bytes(group.current))
            .with(CgroupField::Swap, bytes(group.swap_current))
            .with(CgroupField::Limit, limit)
            .with(CgroupField::HighEvents, event(|events| events.high))
            .with(CgroupField::MaxEvents, event(|events| events.max))
            .with(CgroupField::OomKills, event(|events| events.oom_kill)),
        path: group.path,
    }
}

#[cfg(test)]
#[path = "sampler_tests.rs"]
mod tests;
