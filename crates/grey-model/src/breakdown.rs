//! Where every byte of MemTotal is: each attributed once, the rest shown as
//! the residual.
//!
//! Pure arithmetic on what was read. Never hides a mismatch: the counters are
//! read one after the other while the machine runs, so the residual may even
//! be negative by a few pages, and then it is shown so.

use serde::{Deserialize, Serialize};

use crate::meminfo::Meminfo;
use crate::units::Bytes;

/// What a row of the breakdown stands for. Ordered as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RowName {
    /// In the buddy allocator.
    Free,
    /// Free, but on a CPU's own list, where MemFree does not count it.
    FreePerCpuLists,
    /// Anonymous pages that are mapped.
    Anonymous,
    /// Page cache on both lists, where they are not told apart: in history.
    FileCache,
    /// Page cache on the active list.
    FileActive,
    /// Page cache on the inactive list.
    FileInactive,
    /// Page cache that is on neither: mlocked, ramfs, or on its way.
    FileOther,
    /// tmpfs, System V shared memory, shared anonymous memory.
    Shared,
    /// Pages in swap and still in memory that nobody maps.
    SwapCache,
    /// Slab that can be reclaimed.
    SlabReclaimable,
    /// Other kernel memory that can be reclaimed.
    KernelReclaimable,
    /// Slab that cannot be reclaimed.
    SlabUnreclaimable,
    /// Page tables of processes.
    PageTables,
    /// Page tables of KVM and the IOMMU.
    SecondaryPageTables,
    /// Stacks of tasks in the kernel.
    KernelStacks,
    /// vmalloc without the kernel stacks: modules, buffers, tables.
    Vmalloc,
    /// The per-CPU allocator. Its first chunk, some hundred KiB for each CPU,
    /// comes from boot memory that MemTotal does not count: this row is that
    /// much too large, and the residual that much too small.
    PerCpu,
    /// Huge page pools, used or not.
    Hugetlb,
    /// Given back to the hypervisor, where MemTotal still counts it.
    Balloon,
    /// Compressed pages of zswap.
    ZswapPool,
    /// Compressed pages of zram.
    ZramPool,
    /// Memory of graphics drivers.
    Graphics,
    /// Page descriptors of memory that was added at run time.
    PageDescriptors,
    /// Bounce buffers of block devices.
    Bounce,
    /// Copies of page cache that FUSE is writing back. They are pages of its
    /// own, on no list and in no cache, so that no other row has them. Since
    /// 6.16 FUSE makes none, and the kernel prints 0.
    WritebackCopies,
    /// Pages with hardware errors.
    HardwareCorrupted,
    /// What no counter explains: pages that drivers and the network took
    /// directly, and the drift between counters.
    Residual,
}

impl RowName {
    /// The name for people.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::FreePerCpuLists => "free, on CPU lists",
            Self::Anonymous => "anonymous",
            Self::FileCache => "file cache",
            Self::FileActive => "file cache, active",
            Self::FileInactive => "file cache, inactive",
            Self::FileOther => "file cache, other",
            Self::Shared => "tmpfs and shared",
            Self::SwapCache => "swap cache",
            Self::SlabReclaimable => "slab, reclaimable",
            Self::KernelReclaimable => "kernel, reclaimable",
            Self::SlabUnreclaimable => "slab, unreclaimable",
            Self::PageTables => "page tables",
            Self::SecondaryPageTables => "secondary page tables",
            Self::KernelStacks => "kernel stacks",
            Self::Vmalloc => "vmalloc",
            Self::PerCpu => "per-CPU",
            Self::Hugetlb => "huge page pools",
            Self::Balloon => "balloon",
            Self::ZswapPool => "zswap pool",
            Self::ZramPool => "zram pool",
            Self::Graphics => "graphics",
            Self::PageDescriptors => "page descriptors",
            Self::Bounce => "bounce buffers",
            Self::WritebackCopies => "FUSE writeback copies",
            Self::HardwareCorrupted => "hardware corrupted",
            Self::Residual => "residual",
        }
    }
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BreakdownRow {
    /// What it stands for.
    pub name: RowName,
    /// How much; only the residual can be negative.
    pub bytes: i64,
}

/// The rows; their sum is exactly MemTotal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Breakdown(pub Vec<BreakdownRow>);

/// What the breakdown needs beside meminfo. `None` leaves the row out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BreakdownInputs {
    /// Pages on the per-CPU free lists: the pagesets of `/proc/zoneinfo`.
    pub per_cpu_free_lists: Option<Bytes>,
    /// Memory that all zram devices take.
    pub zram_pool: Option<Bytes>,
    /// Page descriptors of hot-added memory.
    pub page_descriptors: Option<Bytes>,
    /// The balloon's pages, when MemTotal still counts them: the device has
    /// the feature "deflate on OOM". Otherwise the driver takes them off
    /// MemTotal and they are not ours to attribute.
    pub balloon_in_total: Option<Bytes>,
    /// Whether kernel stacks are mapped by vmalloc (`VMAP_STACK`), and so are
    /// part of `VmallocUsed`.
    pub kernel_stacks_in_vmalloc: bool,
}

impl Breakdown {
    /// Attributes every byte of MemTotal once. `None` when meminfo lacks
    /// MemTotal.
    ///
    /// Overlaps that are resolved: pages of swap cache that are mapped count
    /// as anonymous; pages given up with `MADV_FREE` sit on the inactive file
    /// list but count as anonymous; kernel stacks are part of vmalloc.
    #[must_use]
    pub fn attribute(meminfo: &Meminfo, inputs: &BreakdownInputs) -> Option<Self> {
        let total = meminfo.mem_total?;
        let mut rows = Vec::with_capacity(24);
        let mut row = |name, bytes: Option<Bytes>| {
            if let Some(bytes) = bytes {
                rows.push(BreakdownRow {
                    name,
                    bytes: to_signed(bytes),
                });
            }
        };
        row(RowName::Free, meminfo.mem_free);
        row(RowName::FreePerCpuLists, inputs.per_cpu_free_lists);
        row(RowName::Anonymous, meminfo.anon_pages);
        let file = FileCache::split(meminfo);
        row(RowName::FileActive, file.active);
        row(RowName::FileInactive, file.inactive);
        row(RowName::FileOther, file.other);
        row(RowName::Shared, meminfo.shmem);
        row(RowName::SwapCache, unmapped_swap_cache(meminfo, &file));
        row(RowName::SlabReclaimable, meminfo.s_reclaimable);
        let misc = meminfo.k_reclaimable.zip(meminfo.s_reclaimable);
        row(
            RowName::KernelReclaimable,
            misc.map(|(all, slab)| all.saturating_sub(slab)),
        );
        row(RowName::SlabUnreclaimable, meminfo.s_unreclaim);
        row(RowName::PageTables, meminfo.page_tables);
        row(RowName::SecondaryPageTables, meminfo.sec_page_tables);
        row(RowName::KernelStacks, meminfo.kernel_stack);
        row(RowName::Vmalloc, vmalloc_without_stacks(meminfo, inputs));
        row(RowName::PerCpu, meminfo.percpu);
        row(RowName::Hugetlb, hugetlb(meminfo));
        row(RowName::Balloon, inputs.balloon_in_total);
        row(RowName::ZswapPool, meminfo.zswap);
        row(RowName::ZramPool, inputs.zram_pool);
        row(RowName::Graphics, graphics(meminfo));
        row(RowName::PageDescriptors, inputs.page_descriptors);
        row(RowName::Bounce, meminfo.bounce);
        row(RowName::WritebackCopies, meminfo.writeback_tmp);
        row(RowName::HardwareCorrupted, meminfo.hardware_corrupted);
        let attributed: i64 = rows
            .iter()
            .fold(0, |sum, row| row.bytes.saturating_add(sum));
        let residual = to_signed(total).saturating_sub(attributed);
        rows.push(BreakdownRow {
            name: RowName::Residual,
            bytes: residual,
        });
        Some(Self(rows))
    }

    /// The bytes of one row; `None` where the kernel does not tell.
    #[must_use]
    pub fn bytes(&self, name: RowName) -> Option<i64> {
        self.0
            .iter()
            .find(|row| row.name == name)
            .map(|row| row.bytes)
    }

    /// The sum of all rows.
    #[must_use]
    pub fn sum(&self) -> i64 {
        self.0
            .iter()
            .fold(0, |sum, row| row.bytes.saturating_add(sum))
    }
}

/// The page cache, split so that its parts sum to it.
struct FileCache {
    active: Option<Bytes>,
    inactive: Option<Bytes>,
    other: Option<Bytes>,
    /// Anonymous pages that sit on the file lists (`MADV_FREE`).
    lazily_freed: Bytes,
}

impl FileCache {
    fn split(meminfo: &Meminfo) -> Self {
        let cache = meminfo.cached.map(|cached| {
            let all = cached.saturating_add(meminfo.buffers.unwrap_or_default());
            all.saturating_sub(meminfo.shmem.unwrap_or_default())
        });
        let (Some(cache), Some(active), Some(inactive)) =
            (cache, meminfo.active_file, meminfo.inactive_file)
        else {
            return Self {
                active: None,
                inactive: None,
                other: cache,
                lazily_freed: Bytes::ZERO,
            };
        };
        let listed = active.saturating_add(inactive);
        let active = active.min(cache);
        let inactive = inactive.min(cache.saturating_sub(active));
        let other = cache.saturating_sub(active).saturating_sub(inactive);
        Self {
            active: Some(active),
            inactive: Some(inactive),
            other: Some(other),
            lazily_freed: listed.saturating_sub(cache),
        }
    }
}

/// Anonymous lists hold mapped pages, tmpfs, and unmapped swap cache: what the
/// first two do not explain is the third, and never more than SwapCached.
fn unmapped_swap_cache(meminfo: &Meminfo, file: &FileCache) -> Option<Bytes> {
    let swap_cached = meminfo.swap_cached?;
    let unevictable = meminfo.unevictable.unwrap_or_default();
    let listed = meminfo
        .active_anon?
        .saturating_add(meminfo.inactive_anon?)
        .saturating_add(unevictable.saturating_sub(file.other.unwrap_or_default()))
        .saturating_add(file.lazily_freed);
    let explained = meminfo.anon_pages?.saturating_add(meminfo.shmem?);
    Some(listed.saturating_sub(explained).min(swap_cached))
}

fn vmalloc_without_stacks(meminfo: &Meminfo, inputs: &BreakdownInputs) -> Option<Bytes> {
    let used = meminfo.vmalloc_used?;
    if !inputs.kernel_stacks_in_vmalloc {
        return Some(used);
    }
    Some(used.saturating_sub(meminfo.kernel_stack.unwrap_or_default()))
}

/// `Hugetlb` covers pools of every size; before 4.16 only the default size is known.
fn hugetlb(meminfo: &Meminfo) -> Option<Bytes> {
    meminfo.hugetlb.or_else(|| {
        let (count, size) = meminfo.huge_pages_total.zip(meminfo.hugepagesize)?;
        Some(Bytes(size.0.saturating_mul(count)))
    })
}

fn graphics(meminfo: &Meminfo) -> Option<Bytes> {
    let active = meminfo.gpu_active?;
    Some(active.saturating_add(meminfo.gpu_reclaim.unwrap_or_default()))
}

fn to_signed(bytes: Bytes) -> i64 {
    bytes.signed_difference(Bytes::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn machine() -> Meminfo {
        Meminfo {
            mem_total: Some(Bytes::from_mib(1000)),
            mem_free: Some(Bytes::from_mib(300)),
            cached: Some(Bytes::from_mib(250)),
            buffers: Some(Bytes::from_mib(10)),
            shmem: Some(Bytes::from_mib(60)),
            active_file: Some(Bytes::from_mib(120)),
            inactive_file: Some(Bytes::from_mib(70)),
            active_anon: Some(Bytes::from_mib(100)),
            inactive_anon: Some(Bytes::from_mib(165)),
            unevictable: Some(Bytes::from_mib(10)),
            anon_pages: Some(Bytes::from_mib(200)),
            swap_cached: Some(Bytes::from_mib(20)),
            vmalloc_used: Some(Bytes::from_mib(30)),
            kernel_stack: Some(Bytes::from_mib(8)),
            ..Meminfo::default()
        }
    }

    fn mib(breakdown: &Breakdown, name: RowName) -> i64 {
        breakdown.bytes(name).unwrap() / (1024 * 1024)
    }

    #[test]
    fn the_rows_sum_to_the_total() {
        let breakdown = Breakdown::attribute(&machine(), &BreakdownInputs::default()).unwrap();
        assert_eq!(breakdown.sum(), 1000 * 1024 * 1024);
    }

    #[test]
    fn shared_memory_is_not_counted_as_file_cache_too() {
        let breakdown = Breakdown::attribute(&machine(), &BreakdownInputs::default()).unwrap();
        assert_eq!(mib(&breakdown, RowName::Shared), 60);
        assert_eq!(mib(&breakdown, RowName::FileActive), 120);
        assert_eq!(mib(&breakdown, RowName::FileInactive), 70);
        assert_eq!(mib(&breakdown, RowName::FileOther), 10);
    }

    #[test]
    fn swap_cache_counts_only_what_nobody_maps() {
        // Lists: 100 + 165, and 10 unevictable that the file cache explains;
        // mapped 200 and shared 60 leave 5 of the 20 in swap cache.
        let breakdown = Breakdown::attribute(&machine(), &BreakdownInputs::default()).unwrap();
        assert_eq!(mib(&breakdown, RowName::SwapCache), 5);
    }

    #[test]
    fn kernel_stacks_are_taken_out_of_vmalloc_where_they_are_mapped() {
        let inputs = BreakdownInputs {
            kernel_stacks_in_vmalloc: true,
            ..Default::default()
        };
        let breakdown = Breakdown::attribute(&machine(), &inputs).unwrap();
        assert_eq!(mib(&breakdown, RowName::Vmalloc), 22);
        assert_eq!(mib(&breakdown, RowName::KernelStacks), 8);
    }

    #[test]
    fn pages_given_up_with_madv_free_are_counted_once() {
        let mut meminfo = machine();
        // 40 MiB of the anonymous pages moved to the inactive file list.
        meminfo.inactive_file = Some(Bytes::from_mib(120));
        meminfo.inactive_anon = Some(Bytes::from_mib(125));
        let breakdown = Breakdown::attribute(&meminfo, &BreakdownInputs::default()).unwrap();
        assert_eq!(mib(&breakdown, RowName::FileInactive), 80);
        assert_eq!(mib(&breakdown, RowName::FileOther), 0);
        assert_eq!(mib(&breakdown, RowName::Anonymous), 200);
    }

    #[test]
    fn a_row_that_the_kernel_does_not_print_is_left_out() {
        let breakdown = Breakdown::attribute(&machine(), &BreakdownInputs::default()).unwrap();
        assert_eq!(breakdown.bytes(RowName::ZramPool), None);
        assert_eq!(breakdown.bytes(RowName::PerCpu), None);
    }

    #[test]
    fn copies_that_fuse_writes_back_come_out_of_the_residual() {
        let mut meminfo = machine();
        let inputs = BreakdownInputs::default();
        let without = Breakdown::attribute(&meminfo, &inputs).unwrap();
        meminfo.writeback_tmp = Some(Bytes::from_mib(3));
        let with = Breakdown::attribute(&meminfo, &inputs).unwrap();
        assert_eq!(without.bytes(RowName::WritebackCopies), None);
        assert_eq!(mib(&with, RowName::WritebackCopies), 3);
        let residual = |breakdown| mib(breakdown, RowName::Residual);
        assert_eq!(residual(&with), residual(&without) - 3);
        assert_eq!(with.sum(), without.sum());
    }

    proptest! {
        #[test]
        fn any_counters_sum_to_the_total(values in proptest::collection::vec(0u64..1 << 50, 62)) {
            let mut meminfo = Meminfo::default();
            for ((key, _), value) in crate::meminfo::MEMINFO_KEYS.iter().zip(values) {
                *meminfo.amount_mut(key.as_bytes()).unwrap() = Some(Bytes(value));
            }
            let total = meminfo.mem_total.unwrap();
            let breakdown = Breakdown::attribute(&meminfo, &BreakdownInputs::default()).unwrap();
            prop_assert_eq!(i128::from(breakdown.sum()), i128::from(total.0));
        }
    }
}
