//! Takes samples: the machine each time, the largest processes each time, the
//! largest cgroups and groups of processes now and then.
//!
//! Cheap enough for each second: see `process/largest.rs`. Never invents: what
//! could not be read is absent.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use grey_model::{BootId, Bytes, Meminfo, Sample, SystemField, SystemValues, Vmstat};
use rustix::time::{ClockId, clock_gettime};

use super::cgroups::largest_cgroups;
use crate::proc::boot_id::read_boot_id;
use crate::proc::meminfo::read_meminfo;
use crate::proc::pressure::read_memory_pressure;
use crate::proc::vmstat::read_vmstat;
use crate::proc::zoneinfo::read_per_cpu_free_lists;
use crate::process::{LargestOptions, LargestProcesses};
use crate::read::ReadError;
use crate::roots::Kernel;
use crate::sys::zram::read_zram;

/// zoneinfo has lines for each CPU of each zone. On a machine with so many that
/// it takes longer than this, it is read as often as cgroups are.
const DEAR: Duration = Duration::from_micros(250);

/// The most processes of a sample, whatever is asked for.
pub const MOST_PROCESSES: usize = 10_000;

/// How much each sample holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SamplerOptions {
    /// The most processes; the largest by RSS and swap.
    pub processes: usize,
    /// The most cgroups; the largest by usage and swap.
    pub cgroups: usize,
    /// The most groups of processes; the largest by anonymous memory and swap.
    pub groups: usize,
    /// Cgroups and groups are read each so many samples, the first time at once.
    pub cgroups_every: u32,
    /// So many of the smaller processes are looked at each time, in turn, for
    /// what they have in swap.
    pub looked_at: usize,
    /// CPU time for PSS in each sample, on average; zero for none.
    pub pss_time: Duration,
    /// Processes with more RSS than this have no PSS.
    pub pss_largest: Bytes,
}

impl Default for SamplerOptions {
    /// 40 processes, 40 cgroups and 40 groups each 10 samples, 8 looked at, 5 ms for PSS of
    /// processes up to 8 GiB.
    fn default() -> Self {
        Self {
            processes: 40,
            cgroups: 40,
            groups: 40,
            cgroups_every: 10,
            looked_at: 8,
            pss_time: Duration::from_millis(5),
            pss_largest: Bytes::from_mib(8 << 10),
        }
    }
}

/// Takes samples of one kernel.
#[derive(Debug)]
pub struct Sampler {
    options: SamplerOptions,
    boot: BootId,
    largest: LargestProcesses,
    buffer: Vec<u8>,
    /// What zram took when it was last read, and whether there is any.
    zram: (Bytes, bool),
    /// How long the lists of single CPUs took when they were last read.
    lists_took: Duration,
    taken: u64,
}

impl Sampler {
    /// A sampler of `kernel`.
    ///
    /// # Errors
    /// [`ReadError`] when the boot's id exists and cannot be read.
    pub fn new(kernel: &Kernel, options: SamplerOptions) -> Result<Self, ReadError> {
        let mut buffer = Vec::new();
        let largest = LargestOptions {
            count: options.processes.min(MOST_PROCESSES),
            looked_at: options.looked_at,
            pss_time: options.pss_time,
            pss_largest: options.pss_largest,
        };
        Ok(Self {
            // A container may hide it: then only the clock tells boots apart.
            boot: read_boot_id(kernel, &mut buffer)?.unwrap_or_else(|| BootId(String::new())),
            options,
            largest: LargestProcesses::new(kernel.page_size, largest),
            buffer,
            zram: (Bytes::ZERO, true),
            lists_took: Duration::ZERO,
            taken: 0,
        })
    }

    /// The boot that the samples are of.
    #[must_use]
    pub const fn boot(&self) -> &BootId {
        &self.boot
    }

    /// Takes a sample.
    ///
    /// # Errors
    /// [`ReadError`] when meminfo or the list of processes cannot be read.
    pub fn sample(&mut self, kernel: &Kernel) -> Result<Sample, ReadError> {
        let (at_unix_ms, since_boot_ms) = wall_ms();
        let reads_cgroups = self
            .taken
            .is_multiple_of(u64::from(self.options.cgroups_every.max(1)));
        // A device may be set up at any time, which is no reason to list all of
        // them each time where there is none.
        if self.zram.1 || reads_cgroups {
            let devices = read_zram(kernel, &mut self.buffer).unwrap_or_default();
            let memory = devices.iter().map(|device| device.memory_used).sum();
            self.zram = (memory, !devices.is_empty());
        }
        let mut system = self.system(kernel)?;
        if reads_cgroups || self.lists_took <= DEAR {
            let lists = self.lists_of_cpus(kernel);
            system.set(SystemField::FreePerCpuLists, lists);
        }
        let processes = self.largest.tick(kernel)?;
        let count = self.largest.count() as u64;
        system.set(SystemField::Processes, Some(count));
        self.taken += 1;
        Ok(Sample {
            at_unix_ms,
            since_boot_ms,
            boot: self.boot.clone(),
            system,
            processes,
            cgroups: reads_cgroups
                .then(|| largest_cgroups(kernel, self.options.cgroups, &mut self.buffer)),
            groups: reads_cgroups.then(|| self.largest.groups(kernel, self.options.groups)),
        })
    }

    /// Right after meminfo: pages move between these lists and what is free.
    fn lists_of_cpus(&mut self, kernel: &Kernel) -> Option<u64> {
        let began = Instant::now();
        let lists = read_per_cpu_free_lists(kernel, &mut self.buffer);
        self.lists_took = began.elapsed();
        lists.ok().flatten().map(Bytes::get)
    }

    fn system(&mut self, kernel: &Kernel) -> Result<SystemValues, ReadError> {
        let pressure = read_memory_pressure(kernel, &mut self.buffer)
            .ok()
            .flatten();
        let vmstat = read_vmstat(kernel, &mut self.buffer).unwrap_or_default();
        let meminfo = read_meminfo(kernel, &mut self.buffer)?;
        Ok(of_vmstat(&vmstat, of_meminfo(&meminfo))
            .with(
                SystemField::PressureSome,
                pressure.map(|pressure| pressure.some.total_us),
            )
            .with(
                SystemField::PressureFull,
                pressure.and_then(|pressure| pressure.full.map(|full| full.total_us)),
            )
            .with(SystemField::Zram, Some(self.zram.0.get())))
    }
}

/// Now in milliseconds since 1970, and since boot with suspended time.
pub(super) fn wall_ms() -> (u64, u64) {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH);
    let since_boot = Duration::try_from(clock_gettime(ClockId::Boottime));
    (
        milliseconds(wall.unwrap_or_default()),
        milliseconds(since_boot.unwrap_or_default()),
    )
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The machine's numbers that are in meminfo.
pub(super) fn of_meminfo(meminfo: &Meminfo) -> SystemValues {
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
        .with(SystemField::Zswap, bytes(meminfo.zswap))
}

/// The same with the counters of vmstat.
pub(super) fn of_vmstat(vmstat: &Vmstat, values: SystemValues) -> SystemValues {
    let reclaimed = vmstat
        .pgsteal_direct
        .zip(vmstat.pgsteal_kswapd)
        .map(|(direct, kswapd)| direct.saturating_add(kswapd));
    values
        .with(SystemField::ScannedDirect, vmstat.pgscan_direct)
        .with(SystemField::ScannedKswapd, vmstat.pgscan_kswapd)
        .with(SystemField::Reclaimed, reclaimed)
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

#[cfg(test)]
#[path = "sampler_tests.rs"]
mod tests;
