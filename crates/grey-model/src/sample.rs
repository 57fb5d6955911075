//! A sample: what is remembered of a machine's memory at one instant.
//!
//! Far less than a snapshot: the machine's numbers, the largest processes, groups
//! of processes and cgroups. What was not read is `None`, never 0.

use crate::identity::{BootId, CgroupPath, ProcessId};
use crate::text::KernelText;

macro_rules! fields {
    ($(#[$type_doc:meta])* $name:ident, $values:ident, $($(#[$doc:meta])* $variant:ident = $json:literal,)*) => {
        $(#[$type_doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $name {
            /// All of them, in the order in which they are stored. New ones are
            /// only ever added at the end: what was stored stays readable.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its name in JSON and CSV, with the unit.
            #[must_use]
            pub const fn key(self) -> &'static str {
                match self { $(Self::$variant => $json),* }
            }
        }

        /// A value for each field; `None` where it was not read.
        #[derive(Debug, Clone, PartialEq, Eq, Default)]
        pub struct $values(Vec<Option<u64>>);

        impl $values {
            /// The value of `field`.
            #[must_use]
            pub fn get(&self, field: $name) -> Option<u64> {
                self.0.get(field as usize).copied().flatten()
            }

            /// Sets the value of `field`.
            pub fn set(&mut self, field: $name, value: Option<u64>) {
                self.0.resize($name::ALL.len(), None);
                if let Some(place) = self.0.get_mut(field as usize) {
                    *place = value;
                }
            }

            /// The same, for building in one expression.
            #[must_use]
            pub fn with(mut self, field: $name, value: Option<u64>) -> Self {
                self.set(field, value);
                self
            }

            /// The values in the order of `ALL`; a shorter list lacks the last.
            #[must_use]
            pub fn from_values(mut values: Vec<Option<u64>>) -> Self {
                values.resize($name::ALL.len(), None);
                Self(values)
            }

            /// The values in the order of `ALL`.
            pub fn iter(&self) -> impl Iterator<Item = Option<u64>> {
                $name::ALL.iter().map(|&field| self.get(field))
            }
        }
    };
}

fields! {
    /// A number of the whole machine.
    SystemField, SystemValues,
    /// MemTotal.
    Total = "total_bytes",
    /// In use: MemTotal less MemAvailable, where that is known.
    Used = "used_bytes",
    /// MemAvailable.
    Available = "available_bytes",
    /// MemFree.
    Free = "free_bytes",
    /// Anonymous pages.
    Anonymous = "anonymous_bytes",
    /// Page cache on both LRU lists.
    FileCache = "file_cache_bytes",
    /// tmpfs and shared memory.
    Shared = "shared_bytes",
    /// Slab that can be reclaimed.
    SlabReclaimable = "slab_reclaimable_bytes",
    /// Slab that cannot.
    SlabUnreclaimable = "slab_unreclaimable_bytes",
    /// Page tables.
    PageTables = "page_tables_bytes",
    /// Swap space.
    SwapTotal = "swap_total_bytes",
    /// Swap in use.
    SwapUsed = "swap_used_bytes",
    /// What zram devices take.
    Zram = "zram_bytes",
    /// What the zswap pool takes.
    Zswap = "zswap_bytes",
    /// Time in which some task stalled for memory, since boot.
    PressureSome = "pressure_some_total_us",
    /// Time in which all tasks did, since boot.
    PressureFull = "pressure_full_total_us",
    /// OOM kills since boot.
    OomKills = "oom_kills",
    /// Major faults since boot.
    MajorFaults = "major_faults",
    /// Pages read from swap since boot.
    SwapIn = "swap_in_pages",
    /// Pages written to swap since boot.
    SwapOut = "swap_out_pages",
    /// Anonymous pages that came back after they were evicted, since boot.
    RefaultAnonymous = "refault_anonymous_pages",
    /// File pages that did.
    RefaultFile = "refault_file_pages",
    /// Processes.
    Processes = "processes",
    /// Pages that allocating tasks had to look at themselves, since boot.
    ScannedDirect = "scanned_direct_pages",
    /// Pages that kswapd looked at, since boot.
    ScannedKswapd = "scanned_kswapd_pages",
    /// Pages that allocating tasks and kswapd took, since boot.
    Reclaimed = "reclaimed_pages",
    /// Free pages on the lists of single CPUs, which `Free` and `Available` lack.
    FreePerCpuLists = "free_per_cpu_lists_bytes",
}

fields! {
    /// A number of one process.
    ProcessField, ProcessValues,
    /// Resident memory.
    Rss = "rss_bytes",
    /// Resident anonymous memory.
    Anonymous = "anonymous_bytes",
    /// Resident shared memory and tmpfs.
    Shared = "shared_bytes",
    /// In swap.
    Swap = "swap_bytes",
    /// Time on a CPU since it started, in clock ticks.
    CpuTime = "cpu_time_ticks",
    /// PSS: as it was read at `PssAt`, moved by what RSS did since.
    Pss = "pss_bytes",
    /// When PSS was read, on the clock of `Sample::since_boot_ms`.
    PssAt = "pss_read_at_since_boot_ms",
}

fields! {
    /// A number of one cgroup.
    CgroupField, CgroupValues,
    /// Usage.
    Current = "current_bytes",
    /// In swap.
    Swap = "swap_bytes",
    /// The strictest limit of it and its ancestors; unknown where there is none.
    Limit = "effective_limit_bytes",
    /// How often it was throttled at `memory.high`.
    HighEvents = "high_events",
    /// How often it reached `memory.max`.
    MaxEvents = "max_events",
    /// OOM kills in it and below.
    OomKills = "oom_kills",
    /// Resident anonymous memory of it and everything below.
    Anonymous = "anonymous_bytes",
    /// tmpfs and shared memory of it and everything below.
    Shared = "shared_bytes",
    /// Slab of it and everything below that cannot be reclaimed.
    SlabUnreclaimable = "slab_unreclaimable_bytes",
    /// Slab that can.
    SlabReclaimable = "slab_reclaimable_bytes",
    /// Kernel memory other than slab of it and everything below, with the buffers
    /// of sockets; before 5.18 the parts of it that the kernel tells.
    KernelOther = "kernel_other_bytes",
    /// Cgroups below that were removed and have not gone.
    Dying = "dying_cgroups",
    /// The kernel's id for it: a cgroup that was made again has another.
    Id = "id",
}

fields! {
    /// A number of a group of processes.
    GroupField, GroupValues,
    /// How many they are.
    Processes = "processes",
    /// Their resident anonymous memory.
    Anonymous = "anonymous_bytes",
    /// What of them is in swap, as far as it was read.
    Swap = "swap_bytes",
    /// When the oldest of them started, in clock ticks since boot.
    OldestStart = "oldest_start_time_ticks",
}

/// A machine's memory at one instant, as history keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// When, in milliseconds since 1970 (UTC), by the machine's clock.
    pub at_unix_ms: u64,
    /// The same on the clock that nobody sets: milliseconds since boot,
    /// suspended time included.
    pub since_boot_ms: u64,
    /// Of which boot.
    pub boot: BootId,
    /// The machine.
    pub system: SystemValues,
    /// The largest processes, by pid.
    pub processes: Vec<ProcessSample>,
    /// The largest cgroups, by path; `None` where they were not read, as they
    /// are not every time.
    pub cgroups: Option<Vec<CgroupSample>>,
    /// The largest groups, by key; `None` where they were not read, as they are
    /// not every time.
    pub groups: Option<Vec<GroupSample>>,
}

/// One process in a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSample {
    /// Which process.
    pub key: ProcessKey,
    /// Its numbers.
    pub values: ProcessValues,
}

impl ProcessSample {
    /// By what a sample keeps the largest: resident memory and swap, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        let value = |field| self.values.get(field).unwrap_or_default();
        value(ProcessField::Rss).saturating_add(value(ProcessField::Swap))
    }
}

/// What a process is known by in history.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessKey {
    /// Which process.
    pub id: ProcessId,
    /// The kernel's name for it.
    pub name: KernelText,
    /// Its cgroup, where known.
    pub cgroup: Option<CgroupPath>,
}

/// One cgroup in a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupSample {
    /// Which cgroup.
    pub path: CgroupPath,
    /// Its numbers.
    pub values: CgroupValues,
}

/// All processes of one name in one cgroup, in a sample: what they hold together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSample {
    /// Which group.
    pub key: GroupKey,
    /// Its numbers.
    pub values: GroupValues,
}

/// What a group is known by in history.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey {
    /// The kernel's name for each of its processes.
    pub name: KernelText,
    /// Their cgroup, where known.
    pub cgroup: Option<CgroupPath>,
}
