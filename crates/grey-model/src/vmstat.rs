//! The counters of `/proc/vmstat` that tell how hard memory is fought for.
//!
//! Never converts: counts of pages stay counts, events stay events.

use serde::{Deserialize, Serialize};

macro_rules! vmstat {
    ($($(#[$doc:meta])* $field:ident,)*) => {
        /// One reading of `/proc/vmstat`: counters since boot unless said
        /// otherwise. `None` where this kernel does not print the field.
        ///
        /// # Kernel
        /// `mm/vmstat.c`.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        pub struct Vmstat {
            $($(#[$doc])* pub $field: Option<u64>,)*
        }

        impl Vmstat {
            /// The place for the value of `key`, when this version keeps it.
            pub fn counter_mut(&mut self, key: &[u8]) -> Option<&mut Option<u64>> {
                $(if key == stringify!($field).as_bytes() { return Some(&mut self.$field); })*
                None
            }
        }
    };
}

vmstat! {
    /// Pages of zsmalloc pools (zram, and zswap where it uses zsmalloc), now.
    nr_zspages,
    /// Pages that the balloon holds, now. Since 6.16.
    nr_balloon_pages,
    /// Pages that hold page descriptors of hot-added memory, now. Since 6.10.
    nr_memmap_pages,
    /// Pages that the IOMMU code holds, now; page tables among them. Since 6.11.
    nr_iommu_pages,
    /// Pages isolated for reclaim or migration from the anonymous lists, now.
    nr_isolated_anon,
    /// The same from the file lists.
    nr_isolated_file,
    /// Pages given to the balloon.
    balloon_inflate,
    /// Pages taken back from the balloon.
    balloon_deflate,
    /// KiB read from block devices.
    pgpgin,
    /// KiB written to block devices.
    pgpgout,
    /// Pages read from swap.
    pswpin,
    /// Pages written to swap.
    pswpout,
    /// Page faults.
    pgfault,
    /// Page faults that needed a read.
    pgmajfault,
    /// Evicted anonymous pages that came back. Since 5.9.
    workingset_refault_anon,
    /// Evicted file pages that came back. Since 5.9.
    workingset_refault_file,
    /// Evicted file pages that came back, before 5.9.
    workingset_refault,
    /// Pages that kswapd looked at.
    pgscan_kswapd,
    /// Pages that allocating tasks looked at.
    pgscan_direct,
    /// Pages that khugepaged looked at. Since 6.3.
    pgscan_khugepaged,
    /// Pages that proactive reclaim (`memory.reclaim`) looked at. Since 6.15.
    pgscan_proactive,
    /// Pages that kswapd took.
    pgsteal_kswapd,
    /// Pages that allocating tasks took.
    pgsteal_direct,
    /// Pages that khugepaged took. Since 6.3.
    pgsteal_khugepaged,
    /// Pages that proactive reclaim took. Since 6.15.
    pgsteal_proactive,
    /// Processes that the kernel's OOM killer ended. Since 4.13.
    oom_kill,
    /// Calls of `drop_caches` for the page cache.
    drop_pagecache,
    /// Calls of `drop_caches` for slab.
    drop_slab,
    /// Pages that KSM copied when they were written to. Since 4.20.
    cow_ksm,
    /// Pages loaded from zswap. Since 4.19.
    zswpin,
    /// Pages stored to zswap. Since 4.19.
    zswpout,
}
