//! A cgroup's memory account, version 2.
//!
//! `None` always means that the file is missing or unreadable here; "no limit"
//! is [`MemoryLimit::Max`].

use serde::{Deserialize, Serialize};

use crate::identity::{CgroupId, CgroupPath};
use crate::limit::MemoryLimit;
use crate::pressure::Pressure;
use crate::units::Bytes;

/// `memory.events` or `memory.events.local`: counters since the cgroup was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CgroupEvents {
    /// Reclaimed although below its `low`.
    pub low: Option<u64>,
    /// Throttled because above `high`.
    pub high: Option<u64>,
    /// Went over `max`.
    pub max: Option<u64>,
    /// Out of memory within its limit.
    pub oom: Option<u64>,
    /// Processes that the kernel killed here.
    pub oom_kill: Option<u64>,
    /// Whole-group kills. Since 5.17.
    pub oom_group_kill: Option<u64>,
}

macro_rules! cgroup_stat {
    ($($(#[$doc:meta])* $field:ident = $key:literal, $json:literal;)*
     @ $($(#[$cdoc:meta])* $counter:ident;)*) => {
        /// The lines of `memory.stat` that matter here.
        ///
        /// # Kernel
        /// `memory.stat`, `Documentation/admin-guide/cgroup-v2.rst`.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        pub struct CgroupMemoryStat {
            $($(#[$doc])* #[serde(rename = $json)] pub $field: Option<Bytes>,)*
            $($(#[$cdoc])* pub $counter: Option<u64>,)*
        }

        impl CgroupMemoryStat {
            /// Stores the value of `key` when this version keeps it.
            pub fn set(&mut self, key: &[u8], value: u64) -> bool {
                $(if key == $key.as_bytes() { self.$field = Some(Bytes(value)); return true; })*
                $(if key == stringify!($counter).as_bytes() { self.$counter = Some(value); return true; })*
                false
            }
        }
    };
}

cgroup_stat! {
    /// Anonymous memory.
    anon = "anon", "anon_bytes";
    /// Page cache, tmpfs included.
    file = "file", "file_bytes";
    /// Kernel memory in all. Since 5.18.
    kernel = "kernel", "kernel_bytes";
    /// Kernel stacks.
    kernel_stack = "kernel_stack", "kernel_stack_bytes";
    /// Page tables. Since 5.11.
    pagetables = "pagetables", "pagetables_bytes";
    /// Page tables of virtual machines and devices. Since 6.1.
    sec_pagetables = "sec_pagetables", "sec_pagetables_bytes";
    /// Per-CPU memory.
    percpu = "percpu", "percpu_bytes";
    /// Network buffers.
    sock = "sock", "sock_bytes";
    /// vmalloc. Since 5.18.
    vmalloc = "vmalloc", "vmalloc_bytes";
    /// tmpfs and shared memory; part of `file`.
    shmem = "shmem", "shmem_bytes";
    /// The zswap pool's memory. Since 5.19.
    zswap = "zswap", "zswap_bytes";
    /// What is stored in zswap. Since 5.19.
    zswapped = "zswapped", "zswapped_bytes";
    /// Mapped file pages.
    file_mapped = "file_mapped", "file_mapped_bytes";
    /// Waiting to be written.
    file_dirty = "file_dirty", "file_dirty_bytes";
    /// Being written.
    file_writeback = "file_writeback", "file_writeback_bytes";
    /// In swap and in memory at once. Since 5.13.
    swapcached = "swapcached", "swapcached_bytes";
    /// Anonymous memory in huge pages.
    anon_thp = "anon_thp", "anon_thp_bytes";
    /// Inactive anonymous list, tmpfs included.
    inactive_anon = "inactive_anon", "inactive_anon_bytes";
    /// Active anonymous list, tmpfs included.
    active_anon = "active_anon", "active_anon_bytes";
    /// Inactive file list.
    inactive_file = "inactive_file", "inactive_file_bytes";
    /// Active file list.
    active_file = "active_file", "active_file_bytes";
    /// Cannot be reclaimed.
    unevictable = "unevictable", "unevictable_bytes";
    /// Slab that can be reclaimed.
    slab_reclaimable = "slab_reclaimable", "slab_reclaimable_bytes";
    /// Slab that cannot.
    slab_unreclaimable = "slab_unreclaimable", "slab_unreclaimable_bytes";
    @
    /// Evicted anonymous pages that came back. Since 5.9.
    workingset_refault_anon;
    /// Evicted file pages that came back. Since 5.9.
    workingset_refault_file;
    /// Page faults.
    pgfault;
    /// Page faults that needed a read.
    pgmajfault;
    /// Pages looked at by reclaim. Since 5.18 at the top level of the file.
    pgscan;
    /// Pages taken by reclaim.
    pgsteal;
}

/// One cgroup's account.
///
/// # Kernel
/// `memory.*` of cgroup v2. The root has no `current`, limits or events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CgroupMemory {
    /// Where it is.
    pub path: CgroupPath,
    /// The kernel's id for it.
    pub id: CgroupId,
    /// What is charged to it and everything below it.
    #[serde(rename = "current_bytes")]
    pub current: Option<Bytes>,
    /// The most that was ever charged. Since 5.19.
    #[serde(rename = "peak_bytes")]
    pub peak: Option<Bytes>,
    /// Hard protection.
    #[serde(rename = "min_bytes")]
    pub min: Option<MemoryLimit>,
    /// Best-effort protection.
    #[serde(rename = "low_bytes")]
    pub low: Option<MemoryLimit>,
    /// Throttling limit.
    #[serde(rename = "high_bytes")]
    pub high: Option<MemoryLimit>,
    /// Hard limit.
    #[serde(rename = "max_bytes")]
    pub max: Option<MemoryLimit>,
    /// The strictest `high` or `max` of it and every ancestor: what really
    /// holds. `None` where no file in the chain could be read.
    #[serde(rename = "effective_limit_bytes")]
    pub effective_limit: Option<MemoryLimit>,
    /// Its pages in swap.
    #[serde(rename = "swap_current_bytes")]
    pub swap_current: Option<Bytes>,
    /// How much of it may go to swap.
    #[serde(rename = "swap_max_bytes")]
    pub swap_max: Option<MemoryLimit>,
    /// Its part of the zswap pool. Since 5.19.
    #[serde(rename = "zswap_current_bytes")]
    pub zswap_current: Option<Bytes>,
    /// Whether an OOM kill takes the whole group. Since 4.19.
    pub oom_group: Option<bool>,
    /// Whether `memory.reclaim` is there. Since 5.19.
    pub can_reclaim: bool,
    /// Counters of it and everything below.
    pub events: Option<CgroupEvents>,
    /// Its memory pressure.
    pub pressure: Option<Pressure>,
    /// What it consists of.
    pub stat: Option<CgroupMemoryStat>,
    /// Processes in it, not below it; `None` when it was not read.
    pub process_count: Option<u64>,
    /// Whether it or a cgroup below it has processes.
    pub populated: Option<bool>,
}
