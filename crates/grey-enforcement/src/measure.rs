//! What there is to measure around a step: memory available, the cgroup's
//! account, the processes' PSS, swap, compressed swap, refaults.
//!
//! Never turns something that could not be read into a number.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use grey_model::{Bytes, CgroupPath, Pages, ProcessId, SwapKind};
use grey_telemetry::Kernel;
use grey_telemetry::cgroup::stat::parse_memory_stat;
use grey_telemetry::proc::meminfo::read_meminfo;
use grey_telemetry::proc::swaps::read_swaps;
use grey_telemetry::proc::vmstat::read_vmstat;
use grey_telemetry::proc::zoneinfo::read_per_cpu_free_lists;
use grey_telemetry::process::smaps_rollup::parse_smaps_rollup;
use grey_telemetry::process::status::parse_status;
use grey_telemetry::sys::zram::read_zram;
use grey_telemetry::sys::zswap::read_zswap;
use grey_telemetry::system::available_now;

use crate::knob::{HeldCgroup, HeldProcess};

/// The most processes whose PSS is summed.
const MOST_PROCESSES: usize = 256;
/// How long one pass over the processes' PSS may take: the kernel walks their
/// page tables, and they wait for it.
const LONGEST_PASS: Duration = Duration::from_secs(3);

/// What is measured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Subject {
    /// The cgroup whose account counts.
    pub(crate) cgroup: Option<CgroupPath>,
    /// The processes whose PSS is summed.
    pub(crate) processes: Vec<ProcessId>,
}

/// One reading.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reading {
    available: Option<Bytes>,
    free: Option<Bytes>,
    current: Option<Bytes>,
    pss: BTreeMap<ProcessId, Bytes>,
    anonymous_of_cgroup: Option<Bytes>,
    anonymous_of_processes: Option<Bytes>,
    compressed: Compressed,
}

/// The memory that compressed swap takes.
#[derive(Debug, Clone, Copy, Default)]
struct Compressed {
    /// Of the zram devices that are swapped to; `None` without one.
    zram: Option<Bytes>,
    /// Of the zswap pool; `None` when off or not told (before 5.19).
    zswap: Option<Bytes>,
}

/// The difference of two readings: after less before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Delta {
    pub(crate) available: Option<i64>,
    pub(crate) free: Option<i64>,
    pub(crate) current: Option<i64>,
    pub(crate) pss: Option<i64>,
    /// The memory that zram swap takes.
    pub(crate) zram: Option<i64>,
    /// The memory that the zswap pool takes.
    pub(crate) zswap: Option<i64>,
}

impl Delta {
    /// The growth of compressed swap of either kind.
    pub(crate) fn compressed(&self) -> Option<i64> {
        match (self.zram, self.zswap) {
            (None, None) => None,
            (zram, zswap) => Some(zram.unwrap_or(0).saturating_add(zswap.unwrap_or(0))),
        }
    }

    /// What the machine gained by `freed`. The fall of `memory.current` (that
    /// is, `from_account`) has the zswap pool taken off already: the kernel
    /// charges it to the cgroup whose pages it holds. zram is charged to nobody.
    pub(crate) fn net(&self, freed: Bytes, from_account: bool) -> Option<i64> {
        let growth = if from_account {
            self.compressed().map(|_| self.zram.unwrap_or(0))
        } else {
            self.compressed()
        };
        let freed = freed.signed_difference(Bytes::ZERO);
        growth.map(|growth| freed.saturating_sub(growth))
    }
}

impl Subject {
    /// Reads everything once.
    pub(crate) fn read(&self, kernel: &Kernel) -> Reading {
        let mut buffer = Vec::new();
        Reading {
            available: available_now(kernel, &mut buffer).ok().flatten(),
            free: free_now(kernel, &mut buffer),
            current: self
                .cgroup
                .as_ref()
                .and_then(|cgroup| usage_of(kernel, cgroup)),
            anonymous_of_cgroup: self.read_anonymous_of_cgroup(kernel),
            anonymous_of_processes: self.read_anonymous_of_processes(kernel),
            pss: self.read_pss(kernel),
            compressed: compressed_now(kernel, &mut buffer),
        }
    }

    fn read_pss(&self, kernel: &Kernel) -> BTreeMap<ProcessId, Bytes> {
        let start = Instant::now();
        self.processes
            .iter()
            .take(MOST_PROCESSES)
            .take_while(|_| start.elapsed() < LONGEST_PASS)
            .filter_map(|process| {
                let text = HeldProcess::open(kernel, *process)
                    .and_then(|held| held.read("smaps_rollup"))
                    .ok()?;
                Some((*process, parse_smaps_rollup(&text).pss?))
            })
            .collect()
    }

    /// `None` where nothing could be read.
    fn read_anonymous_of_cgroup(&self, kernel: &Kernel) -> Option<Bytes> {
        let held = HeldCgroup::open(kernel, self.cgroup.as_ref()?, None).ok()?;
        let stat = parse_memory_stat(&held.read("memory.stat").ok()?);
        Some(stat.inactive_anon?.saturating_add(stat.active_anon?))
    }

    /// `None` where nothing could be read.
    fn read_anonymous_of_processes(&self, kernel: &Kernel) -> Option<Bytes> {
        let of_processes: Vec<Bytes> = self
            .processes
            .iter()
            .take(MOST_PROCESSES)
            .filter_map(|process| {
                let held = HeldProcess::open(kernel, *process).ok()?;
                parse_status(&held.read("status").ok()?).rss_anon
            })
            .collect();
        (!of_processes.is_empty()).then(|| of_processes.into_iter().sum())
    }
}

impl Reading {
    /// Whether the PSS of any process could be read.
    pub(crate) fn has_pss(&self) -> bool {
        !self.pss.is_empty()
    }

    /// The cgroup's `memory.current`; `None` without one.
    pub(crate) const fn usage(&self) -> Option<Bytes> {
        self.current
    }

    /// The cgroup's resident anonymous memory; `None` where unknown.
    pub(crate) const fn anonymous_of_cgroup(&self) -> Option<Bytes> {
        self.anonymous_of_cgroup
    }

    /// The processes' resident anonymous memory; `None` where unknown.
    pub(crate) const fn anonymous_of_processes(&self) -> Option<Bytes> {
        self.anonymous_of_processes
    }

    /// How it changed from `before` to this. PSS is compared for those
    /// processes only that are in both.
    pub(crate) fn since(&self, before: &Self) -> Delta {
        let difference =
            |after: Option<Bytes>, before: Option<Bytes>| Some(after?.signed_difference(before?));
        let both: Vec<(Bytes, Bytes)> = self
            .pss
            .iter()
            .filter_map(|(process, after)| Some((*after, *before.pss.get(process)?)))
            .collect();
        let after: Bytes = both.iter().map(|(after, _)| *after).sum();
        let earlier: Bytes = both.iter().map(|(_, before)| *before).sum();
        Delta {
            available: difference(self.available, before.available),
            free: difference(self.free, before.free),
            current: difference(self.current, before.current),
            pss: (!both.is_empty()).then(|| after.signed_difference(earlier)),
            zram: difference(self.compressed.zram, before.compressed.zram),
            zswap: difference(self.compressed.zswap, before.compressed.zswap),
        }
    }
}

/// Memory that is free, the per-CPU free lists included. MemAvailable counts
/// most of the page cache as if it were free already, so dropping it hardly
/// shows there.
fn free_now(kernel: &Kernel, buffer: &mut Vec<u8>) -> Option<Bytes> {
    let free = read_meminfo(kernel, buffer).ok()?.mem_free?;
    let listed = read_per_cpu_free_lists(kernel, buffer).ok().flatten();
    Some(free.saturating_add(listed.unwrap_or_default()))
}

/// What compressed swap takes now. A zram device that holds a file system is
/// none, and a zswap without swap behind it stores nothing.
fn compressed_now(kernel: &Kernel, buffer: &mut Vec<u8>) -> Compressed {
    let swaps = read_swaps(kernel, buffer).unwrap_or_default();
    let is_swap = |name: &str| {
        swaps.iter().any(|device| {
            device.kind == SwapKind::Zram
                && device
                    .path
                    .as_bytes()
                    .rsplit(|byte| *byte == b'/')
                    .next()
                    .is_some_and(|last| last == name.as_bytes())
        })
    };
    let devices: Vec<Bytes> = read_zram(kernel, buffer)
        .unwrap_or_default()
        .iter()
        .filter(|zram| is_swap(&zram.name))
        .map(|zram| zram.memory_used)
        .collect();
    let zswap = read_meminfo(kernel, buffer)
        .ok()
        .filter(|_| !swaps.is_empty())
        .and_then(|meminfo| read_zswap(kernel, &meminfo, buffer).ok().flatten())
        .filter(|zswap| zswap.enabled)
        .and_then(|zswap| zswap.memory_used);
    Compressed {
        zram: (!devices.is_empty()).then(|| devices.into_iter().sum()),
        zswap,
    }
}

/// `memory.current` of a cgroup.
pub(crate) fn usage_of(kernel: &Kernel, cgroup: &CgroupPath) -> Option<Bytes> {
    HeldCgroup::open(kernel, cgroup, None)
        .and_then(|held| held.read_number("memory.current"))
        .ok()
        .map(Bytes)
}

/// Pages that were faulted in again after they had been evicted, since boot:
/// of the cgroup, or of the machine without one.
///
/// # Kernel
/// `workingset_refault_anon` and `_file` of `memory.stat` or `/proc/vmstat`;
/// before 5.9 only their sum.
pub(crate) fn refaults(kernel: &Kernel, cgroup: Option<&CgroupPath>) -> Option<Pages> {
    let sum = |anon: Option<u64>, file: Option<u64>| match (anon, file) {
        (None, None) => None,
        _ => Some(anon.unwrap_or(0).saturating_add(file.unwrap_or(0))),
    };
    let pages = match cgroup {
        Some(cgroup) => {
            let held = HeldCgroup::open(kernel, cgroup, None).ok()?;
            let stat = parse_memory_stat(&held.read("memory.stat").ok()?);
            sum(stat.workingset_refault_anon, stat.workingset_refault_file)
        }
        None => {
            let stat = read_vmstat(kernel, &mut Vec::new()).ok()?;
            sum(stat.workingset_refault_anon, stat.workingset_refault_file)
                .or(stat.workingset_refault)
        }
    };
    pages.map(Pages)
}

/// Whether there is any swap at all.
pub(crate) fn has_swap(kernel: &Kernel) -> Option<bool> {
    read_meminfo(kernel, &mut Vec::new())
        .ok()?
        .swap_total
        .map(|total| total > Bytes::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32) -> ProcessId {
        ProcessId {
            pid,
            start_time_ticks: 1,
        }
    }

    fn reading(pss: &[(u32, u64)], current: Option<u64>) -> Reading {
        Reading {
            current: current.map(Bytes),
            pss: pss
                .iter()
                .map(|(pid, bytes)| (process(*pid), Bytes(*bytes)))
                .collect(),
            ..Reading::default()
        }
    }

    #[test]
    fn a_process_that_ended_is_no_memory_that_was_freed() {
        let before = reading(&[(1, 100), (2, 50)], Some(7));
        let after = reading(&[(1, 90)], None);
        let delta = after.since(&before);
        assert_eq!(delta.pss, Some(-10));
        assert_eq!(delta.current, None);
        assert_eq!(delta.available, None);
    }

    #[test]
    fn dropped_cache_shows_in_free_memory_and_not_in_available() {
        let of = |free| Reading {
            available: Some(Bytes(500)),
            free: Some(Bytes(free)),
            ..Reading::default()
        };
        let delta = of(300).since(&of(100));
        assert_eq!((delta.available, delta.free), (Some(0), Some(200)));
    }

    #[test]
    fn nothing_in_common_is_unknown() {
        let delta = reading(&[(1, 5)], Some(1)).since(&reading(&[(2, 5)], Some(3)));
        assert_eq!(delta.pss, None);
        assert_eq!(delta.current, Some(-2));
    }

    #[test]
    fn zram_is_charged_to_nobody_and_zswap_to_the_cgroup() {
        let of = |zram: Option<i64>, zswap| Delta {
            zram,
            zswap,
            ..Delta::default()
        };
        let freed = Bytes(100);
        assert_eq!(of(Some(98), None).net(freed, true), Some(2));
        assert_eq!(of(None, Some(30)).net(freed, true), Some(100));
        assert_eq!(of(None, Some(30)).net(freed, false), Some(70));
        assert_eq!(of(Some(110), None).net(freed, false), Some(-10));
        assert_eq!(of(None, None).net(freed, false), None);
        assert_eq!(of(Some(5), Some(-2)).compressed(), Some(3));
    }
}
