//! What `/proc/meminfo` says, field by field.
//!
//! Never shows a field that this kernel does not print as 0: it is `None`.

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::text::KernelText;
use crate::units::Bytes;

macro_rules! meminfo {
    ($($(#[$doc:meta])* $field:ident = $key:literal, $json:literal;)*) => {
        /// One reading of `/proc/meminfo`. Amounts are bytes.
        ///
        /// # Kernel
        /// `Documentation/filesystems/proc.rst`, `fs/proc/meminfo.c`.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Meminfo {
            $($(#[$doc])* pub $field: Option<Bytes>,)*
            /// `HugePages_Total`: huge pages of the default size, a count.
            pub huge_pages_total: Option<u64>,
            /// `HugePages_Free`: of these, not in use, a count.
            pub huge_pages_free: Option<u64>,
            /// `HugePages_Rsvd`: promised but not yet taken, a count.
            pub huge_pages_reserved: Option<u64>,
            /// `HugePages_Surp`: above the configured number, a count.
            pub huge_pages_surplus: Option<u64>,
            /// Fields that this version does not know: the key as printed, and
            /// the number (bytes where the line ended in kB).
            pub unknown: Vec<(KernelText, u64)>,
        }

        impl Meminfo {
            /// The place for the value of `key`, when it is an amount in kB
            /// that this version knows.
            pub fn amount_mut(&mut self, key: &[u8]) -> Option<&mut Option<Bytes>> {
                $(if key == $key.as_bytes() { return Some(&mut self.$field); })*
                None
            }

            /// Every amount that was printed: its name in JSON, and its bytes.
            pub fn amounts(&self) -> impl Iterator<Item = (&'static str, Bytes)> {
                [$(($json, self.$field)),*]
                    .into_iter()
                    .filter_map(|(name, bytes)| bytes.map(|bytes| (name, bytes)))
            }
        }

        /// Each kernel key and its name in JSON, for schemas and documents.
        pub const MEMINFO_KEYS: &[(&str, &str)] = &[$(($key, $json)),*];
    };
}

meminfo! {
    /// Usable RAM: all of it without what the firmware and the kernel image took at boot.
    mem_total = "MemTotal", "mem_total_bytes";
    /// Pages in the buddy allocator; without the per-CPU free lists.
    mem_free = "MemFree", "mem_free_bytes";
    /// The kernel's estimate of what can be had without swapping. Since 3.14.
    mem_available = "MemAvailable", "mem_available_bytes";
    /// Cache of block devices; part of the file LRU lists.
    buffers = "Buffers", "buffers_bytes";
    /// Page cache and tmpfs, without swap cache and buffers.
    cached = "Cached", "cached_bytes";
    /// Pages that are in swap and in memory at once; mapped ones also count as anonymous.
    swap_cached = "SwapCached", "swap_cached_bytes";
    /// Active LRU lists, anonymous and file.
    active = "Active", "active_bytes";
    /// Inactive LRU lists, anonymous and file.
    inactive = "Inactive", "inactive_bytes";
    /// Active anonymous LRU, tmpfs included.
    active_anon = "Active(anon)", "active_anon_bytes";
    /// Inactive anonymous LRU, tmpfs included.
    inactive_anon = "Inactive(anon)", "inactive_anon_bytes";
    /// Active file LRU.
    active_file = "Active(file)", "active_file_bytes";
    /// Inactive file LRU.
    inactive_file = "Inactive(file)", "inactive_file_bytes";
    /// Pages that reclaim cannot take: mlocked, ramfs, locked shared memory.
    unevictable = "Unevictable", "unevictable_bytes";
    /// Of these, mlocked.
    mlocked = "Mlocked", "mlocked_bytes";
    /// High memory on 32-bit machines.
    high_total = "HighTotal", "high_total_bytes";
    /// Free high memory on 32-bit machines.
    high_free = "HighFree", "high_free_bytes";
    /// Low memory on 32-bit machines.
    low_total = "LowTotal", "low_total_bytes";
    /// Free low memory on 32-bit machines.
    low_free = "LowFree", "low_free_bytes";
    /// Swap space.
    swap_total = "SwapTotal", "swap_total_bytes";
    /// Unused swap space.
    swap_free = "SwapFree", "swap_free_bytes";
    /// Memory that the zswap pool takes (compressed). Since 5.19.
    zswap = "Zswap", "zswap_bytes";
    /// What is stored in zswap (uncompressed). Since 5.19.
    zswapped = "Zswapped", "zswapped_bytes";
    /// Waiting to be written to disk.
    dirty = "Dirty", "dirty_bytes";
    /// Being written to disk.
    writeback = "Writeback", "writeback_bytes";
    /// Anonymous pages that are mapped.
    anon_pages = "AnonPages", "anon_pages_bytes";
    /// File and tmpfs pages that are mapped.
    mapped = "Mapped", "mapped_bytes";
    /// tmpfs, shared anonymous memory, System V shared memory.
    shmem = "Shmem", "shmem_bytes";
    /// Slab and other kernel memory that can be reclaimed. Since 4.20.
    k_reclaimable = "KReclaimable", "k_reclaimable_bytes";
    /// Slab in all.
    slab = "Slab", "slab_bytes";
    /// Slab that can be reclaimed.
    s_reclaimable = "SReclaimable", "s_reclaimable_bytes";
    /// Slab that cannot be reclaimed.
    s_unreclaim = "SUnreclaim", "s_unreclaim_bytes";
    /// Stacks of all tasks.
    kernel_stack = "KernelStack", "kernel_stack_bytes";
    /// Shadow call stacks, where built in.
    shadow_call_stack = "ShadowCallStack", "shadow_call_stack_bytes";
    /// Page tables of processes.
    page_tables = "PageTables", "page_tables_bytes";
    /// Secondary page tables (KVM, IOMMU). Since 6.0.
    sec_page_tables = "SecPageTables", "sec_page_tables_bytes";
    /// Always 0 since 5.8.
    nfs_unstable = "NFS_Unstable", "nfs_unstable_bytes";
    /// Bounce buffers of block devices.
    bounce = "Bounce", "bounce_bytes";
    /// FUSE pages under writeback.
    writeback_tmp = "WritebackTmp", "writeback_tmp_bytes";
    /// Memory that may be committed under strict overcommit.
    commit_limit = "CommitLimit", "commit_limit_bytes";
    /// Memory promised to processes.
    committed_as = "Committed_AS", "committed_as_bytes";
    /// Size of the vmalloc address space.
    vmalloc_total = "VmallocTotal", "vmalloc_total_bytes";
    /// Pages behind vmalloc, kernel stacks included where they are mapped.
    vmalloc_used = "VmallocUsed", "vmalloc_used_bytes";
    /// Always 0 since 4.4.
    vmalloc_chunk = "VmallocChunk", "vmalloc_chunk_bytes";
    /// Per-CPU allocator. Since 4.20.
    percpu = "Percpu", "percpu_bytes";
    /// Pages that the boot-time memory test found bad.
    early_memtest_bad = "EarlyMemtestBad", "early_memtest_bad_bytes";
    /// Pages with hardware errors.
    hardware_corrupted = "HardwareCorrupted", "hardware_corrupted_bytes";
    /// Anonymous memory in transparent huge pages.
    anon_huge_pages = "AnonHugePages", "anon_huge_pages_bytes";
    /// tmpfs in huge pages.
    shmem_huge_pages = "ShmemHugePages", "shmem_huge_pages_bytes";
    /// tmpfs mapped by huge page table entries.
    shmem_pmd_mapped = "ShmemPmdMapped", "shmem_pmd_mapped_bytes";
    /// Page cache in huge pages. Since 5.4.
    file_huge_pages = "FileHugePages", "file_huge_pages_bytes";
    /// Page cache mapped by huge page table entries. Since 5.4.
    file_pmd_mapped = "FilePmdMapped", "file_pmd_mapped_bytes";
    /// Memory for the contiguous memory allocator.
    cma_total = "CmaTotal", "cma_total_bytes";
    /// Of it, free; part of `MemFree`.
    cma_free = "CmaFree", "cma_free_bytes";
    /// Memory that a confidential guest has not yet accepted; counted as free. Since 6.5.
    unaccepted = "Unaccepted", "unaccepted_bytes";
    /// Pages given back to the hypervisor by the balloon driver. Since 6.16.
    balloon = "Balloon", "balloon_bytes";
    /// Memory that graphics drivers use. Since 6.18 where built in.
    gpu_active = "GPUActive", "gpu_active_bytes";
    /// Memory that graphics drivers can give back. Since 6.18 where built in.
    gpu_reclaim = "GPUReclaim", "gpu_reclaim_bytes";
    /// Size of one default huge page.
    hugepagesize = "Hugepagesize", "hugepagesize_bytes";
    /// Memory in huge page pools of all sizes, used or not. Since 4.16.
    hugetlb = "Hugetlb", "hugetlb_bytes";
    /// Kernel mapping in 4 KiB pages (x86).
    direct_map_4k = "DirectMap4k", "direct_map_4k_bytes";
    /// Kernel mapping in 2 MiB pages (x86).
    direct_map_2m = "DirectMap2M", "direct_map_2m_bytes";
    /// Kernel mapping in 4 MiB pages (x86 without PAE).
    direct_map_4m = "DirectMap4M", "direct_map_4m_bytes";
    /// Kernel mapping in 1 GiB pages (x86).
    direct_map_1g = "DirectMap1G", "direct_map_1g_bytes";
}

/// Every amount under its JSON name, the four huge page counts, and the fields
/// that this version does not know under `unknown`.
impl Serialize for Meminfo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, bytes) in self.amounts() {
            map.serialize_entry(name, &bytes)?;
        }
        for (name, count) in [
            ("huge_pages_total", self.huge_pages_total),
            ("huge_pages_free", self.huge_pages_free),
            ("huge_pages_reserved", self.huge_pages_reserved),
            ("huge_pages_surplus", self.huge_pages_surplus),
        ] {
            if let Some(count) = count {
                map.serialize_entry(name, &count)?;
            }
        }
        if !self.unknown.is_empty() {
            let unknown: std::collections::BTreeMap<String, u64> = self
                .unknown
                .iter()
                .map(|(key, value)| (key.to_utf8(), *value))
                .collect();
            map.serialize_entry("unknown", &unknown)?;
        }
        map.end()
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Meminfo {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Meminfo".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let mut schema = schemars::json_schema!({
            "description": "Every field that this kernel prints in /proc/meminfo, in bytes; counts of huge pages; fields that this version does not know under `unknown`.",
            "type": "object",
            "properties": {},
            "additionalProperties": true
        });
        let properties = schema.ensure_object().get_mut("properties");
        if let Some(properties) = properties.and_then(|value| value.as_object_mut()) {
            for (_, name) in MEMINFO_KEYS {
                let amount = schemars::json_schema!({ "type": "integer", "minimum": 0 });
                properties.insert((*name).to_owned(), amount.to_value());
            }
        }
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_was_not_printed_is_absent_from_json() {
        let mut meminfo = Meminfo::default();
        *meminfo.amount_mut(b"MemTotal").unwrap() = Some(Bytes(4096));
        assert_eq!(
            serde_json::to_string(&meminfo).unwrap(),
            r#"{"mem_total_bytes":4096}"#
        );
    }

    #[test]
    fn every_key_has_one_place() {
        let mut meminfo = Meminfo::default();
        for (index, (key, _)) in (0u64..).zip(MEMINFO_KEYS) {
            let place = meminfo.amount_mut(key.as_bytes()).unwrap();
            assert_eq!(*place, None, "{key} shares its place with another key");
            *place = Some(Bytes(index));
        }
        assert_eq!(meminfo.amounts().count(), MEMINFO_KEYS.len());
        assert!(meminfo.amount_mut(b"HugePages_Total").is_none());
    }
}
