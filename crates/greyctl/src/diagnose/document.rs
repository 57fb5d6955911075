//! `grey.diagnosis/v1`: everything that a diagnosis found, as it is published.
//!
//! Plain data. A value that is not known is `null`, never 0; lists are
//! complete, whatever the tables for people leave out.

use grey_model::{
    Breakdown, CgroupMemory, ColdMemory, GroupBy, HostFacts, KsmState, Meminfo, Pressure,
    ProcessGroup, ProcessMemory, ResolvedTarget, SwapDevice, SystemTotals, Vmstat, Zram, Zswap,
};
use schemars::JsonSchema;
use serde::Serialize;

use super::leaks::document::LeakDetection;

/// The name of this document's schema.
pub(crate) const SCHEMA: &str = "grey.diagnosis/v1";

/// A diagnosis of one machine at one instant.
///
/// In names, command lines and paths a byte that is not UTF-8 is written as
/// `\xNN`. A backslash stays a backslash, so that such a byte and the same
/// four characters look alike: tell processes apart by pid and start time.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "grey.diagnosis/v1")]
pub(crate) struct Diagnosis {
    /// Always `grey.diagnosis/v1`.
    #[schemars(extend("const" = "grey.diagnosis/v1"))]
    pub(crate) schema: &'static str,
    /// The machine.
    pub(crate) host: HostFacts,
    /// The four numbers that people ask for first.
    pub(crate) system: SystemTotals,
    /// Every byte of `system.total_bytes`, attributed once; the rows sum to it.
    pub(crate) breakdown: Breakdown,
    /// All of `/proc/meminfo`.
    pub(crate) meminfo: Meminfo,
    /// Memory pressure; `null` where the kernel does not measure it.
    pub(crate) pressure: Option<Pressure>,
    /// Where pages go when they leave memory.
    pub(crate) swap: Swap,
    /// Kernel same-page merging; `null` where the kernel has none.
    pub(crate) ksm: Option<Ksm>,
    /// The counters of `/proc/vmstat` that tell how hard memory is fought for.
    pub(crate) vmstat: Vmstat,
    /// The targets that the lists below are limited to; `null` for everything.
    pub(crate) targets: Option<Vec<ResolvedTarget>>,
    /// The processes.
    pub(crate) processes: Vec<ProcessMemory>,
    /// By what `groups` folds the processes; `null` when that was not asked for.
    pub(crate) grouped_by: Option<GroupBy>,
    /// The processes folded, largest group first; `null` when that was not
    /// asked for.
    pub(crate) groups: Option<Vec<ProcessGroup>>,
    /// The control groups with a memory account of version 2.
    pub(crate) cgroups: Vec<CgroupMemory>,
    /// Processes that exist and whose memory could not be read in full; `null`
    /// when procfs hides processes from us: then nobody knows how many.
    pub(crate) unreadable_processes: Option<u64>,
    /// Whether it is of history (`--at`) and was not read now: what history does
    /// not keep is `null` or not in the lists, whatever the machine had.
    pub(crate) recorded: bool,
    /// When reading began, in seconds since 1970 (UTC), by the machine's clock.
    pub(crate) taken_at_unix_seconds: f64,
    /// How long reading took, in seconds.
    pub(crate) taken_in_seconds: f64,
    /// Which of the processes is the greyctl that read all this; `null` in
    /// history, and where procfs does not say.
    pub(crate) taken_by_pid: Option<u32>,
    /// What grows, where it was looked for.
    #[serde(flatten)]
    pub(crate) leak_detection: LeakDetection,
    /// What of each target was not used for a while; `null` when that was not
    /// asked for.
    pub(crate) cold: Option<Vec<ColdMemory>>,
    /// What is missing on this machine or to us, each a sentence.
    pub(crate) notes: Vec<String>,
}

/// Where pages go when they leave memory.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Swap {
    /// Swap space of all devices.
    pub(crate) total_bytes: u64,
    /// What of it is in use.
    pub(crate) used_bytes: u64,
    /// The devices.
    pub(crate) devices: Vec<SwapDevice>,
    /// Compressed block devices in memory, swap or not.
    pub(crate) zram: Vec<ZramDevice>,
    /// The compressed cache before swap; `null` where the kernel has none.
    pub(crate) zswap: Option<ZswapCache>,
}

/// A zram device.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ZramDevice {
    /// What the kernel says.
    #[serde(flatten)]
    pub(crate) device: Zram,
    /// Bytes of pages that one byte of memory holds; `null` when empty.
    pub(crate) compression_ratio: Option<f64>,
}

/// The zswap pool.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ZswapCache {
    /// What the kernel says.
    #[serde(flatten)]
    pub(crate) pool: Zswap,
    /// Bytes of pages that one byte of the pool holds; `null` when empty.
    pub(crate) compression_ratio: Option<f64>,
}

/// Kernel same-page merging.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Ksm {
    /// What the kernel says.
    #[serde(flatten)]
    pub(crate) state: KsmState,
    /// What it saves: further uses of merged pages, zero pages included.
    pub(crate) saved_bytes: Option<u64>,
}

impl Swap {
    /// The account of swap. Totals come from meminfo, which also counts
    /// devices that a container does not show.
    pub(crate) fn new(
        meminfo: &Meminfo,
        devices: Vec<SwapDevice>,
        zram: Vec<Zram>,
        zswap: Option<Zswap>,
    ) -> Self {
        let total = meminfo
            .swap_total
            .unwrap_or_else(|| devices.iter().map(|device| device.total).sum());
        let used = meminfo.swap_free.map_or_else(
            || devices.iter().map(|device| device.used).sum(),
            |free| total.saturating_sub(free),
        );
        Self {
            total_bytes: total.get(),
            used_bytes: used.get(),
            devices,
            zram: zram
                .into_iter()
                .map(|device| ZramDevice {
                    compression_ratio: device.ratio(),
                    device,
                })
                .collect(),
            zswap: zswap.map(|pool| ZswapCache {
                compression_ratio: pool.ratio(),
                pool,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grey_model::{Bytes, SwapKind};

    #[test]
    fn swap_totals_come_from_meminfo_and_else_from_the_devices() {
        let device = SwapDevice {
            path: grey_model::KernelText::from("/swapfile"),
            kind: SwapKind::File,
            total: Bytes(100),
            used: Bytes(30),
            priority: -2,
        };
        let without = Swap::new(&Meminfo::default(), vec![device.clone()], vec![], None);
        assert_eq!((without.total_bytes, without.used_bytes), (100, 30));
        let meminfo = Meminfo {
            swap_total: Some(Bytes(500)),
            swap_free: Some(Bytes(450)),
            ..Meminfo::default()
        };
        let with = Swap::new(&meminfo, vec![device], vec![], None);
        assert_eq!((with.total_bytes, with.used_bytes), (500, 50));
    }
}
