//! What of a cgroup can leak, read again and again: three files a cgroup
//! instead of its whole account.
//!
//! Never adds what is unknown: an amount with a missing part is `None`.

use grey_model::{Bytes, CgroupId, CgroupMemory, CgroupMemoryStat, CgroupPath, GrowthOf, Meminfo};

use crate::ascii;
use crate::cgroup::descendants::parse_dying_descendants;
use crate::cgroup::mount::v2_memory;
use crate::cgroup::processes::{open_cgroup, require_there};
use crate::cgroup::stat::parse_memory_stat;
use crate::cgroup::tree::{TreeBounds, visit};
use crate::read::KernelDirectory;
use crate::roots::Kernel;

/// What of a cgroup and everything below it can leak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupGrowth {
    /// Where it is.
    pub path: CgroupPath,
    /// The kernel's id for it: a cgroup that was made again has another.
    pub id: CgroupId,
    /// Anonymous memory and swap. The root's swap is not accounted: there it is
    /// anonymous memory alone.
    pub anonymous: Option<Bytes>,
    /// tmpfs and shared memory.
    pub shmem: Option<Bytes>,
    /// Slab that is in use.
    pub slab: Option<Bytes>,
    /// Slab that the kernel frees when memory is needed.
    pub slab_reclaimable: Option<Bytes>,
    /// Kernel memory other than slab, and the buffers of sockets. Before 5.18
    /// the sum of what of it the kernel tells: stacks, page tables (since 5.11),
    /// per-CPU memory (since 5.9), sockets.
    pub kernel: Option<Bytes>,
    /// Cgroups below that were removed and have not gone, a count.
    pub dying: Option<u64>,
}

impl CgroupGrowth {
    /// The same of a whole account that was read before; the cgroups that were
    /// removed below are not in it.
    #[must_use]
    pub fn of(memory: &CgroupMemory) -> Self {
        let stat = memory.stat.as_ref();
        let growth = stat.map(Growth::of).unwrap_or_default();
        Self::new(&memory.path, memory.id, growth, memory.swap_current, None)
    }

    /// The same of the whole machine, as its root cgroup: for machines that account
    /// cgroups by version 1 alone. Its anonymous memory is that of processes, which
    /// are followed one by one.
    #[must_use]
    pub fn of_machine(meminfo: &Meminfo) -> Self {
        let kernel = [meminfo.page_tables, meminfo.kernel_stack, meminfo.percpu];
        Self {
            path: CgroupPath::root(),
            id: CgroupId(0),
            anonymous: None,
            shmem: meminfo.shmem,
            slab: meminfo.s_unreclaim,
            slab_reclaimable: meminfo.s_reclaimable,
            kernel: kernel.into_iter().flatten().reduce(Bytes::saturating_add),
            dying: None,
        }
    }

    fn new(
        path: &CgroupPath,
        id: CgroupId,
        growth: Growth,
        swap: Option<Bytes>,
        dying: Option<u64>,
    ) -> Self {
        Self {
            path: path.clone(),
            id,
            // Without CONFIG_SWAP there is no file and no swap.
            anonymous: sum(growth.anonymous, Some(swap.unwrap_or_default())),
            shmem: growth.shmem,
            slab: growth.slab,
            slab_reclaimable: growth.slab_reclaimable,
            kernel: growth.kernel,
            dying,
        }
    }

    /// What is followed, each kind on its own; without what is unknown.
    pub fn amounts(&self) -> impl Iterator<Item = (GrowthOf, Bytes)> + use<> {
        [
            (GrowthOf::Anonymous, self.anonymous),
            (GrowthOf::Shmem, self.shmem),
            (GrowthOf::Slab, self.slab),
            (GrowthOf::SlabReclaimable, self.slab_reclaimable),
            (GrowthOf::Kernel, self.kernel),
        ]
        .into_iter()
        .filter_map(|(of, amount)| Some((of, amount?)))
    }
}

/// Reads `start` and everything below it, a parent before its children. Empty
/// where memory is not accounted by version 2, and where `start` is gone.
#[must_use]
pub fn read_growth_tree(
    kernel: &Kernel,
    start: &CgroupPath,
    bounds: TreeBounds,
    buffer: &mut Vec<u8>,
) -> Vec<CgroupGrowth> {
    let Ok(directory) = v2_memory(kernel, buffer)
        .map_err(drop)
        .and_then(|root| open_cgroup(root, start).map_err(drop))
    else {
        return Vec::new();
    };
    let mut groups = Vec::new();
    visit(&directory, start, bounds, &(), &mut |cgroup, path, ()| {
        let Ok(inode) = cgroup.inode() else { return };
        let growth = read_growth(cgroup, path, CgroupId(inode), buffer);
        // Its swap would be missing from the sum.
        if require_there(cgroup).is_ok() {
            groups.push(growth);
        }
    });
    groups
}

fn read_growth(
    cgroup: &KernelDirectory,
    path: &CgroupPath,
    id: CgroupId,
    buffer: &mut Vec<u8>,
) -> CgroupGrowth {
    let stat: CgroupMemoryStat = cgroup
        .read("memory.stat", buffer)
        .map(parse_memory_stat)
        .unwrap_or_default();
    let swap = cgroup
        .read("memory.swap.current", buffer)
        .ok()
        .and_then(ascii::single_u64);
    let dying = dying_in(cgroup, buffer);
    CgroupGrowth::new(path, id, Growth::of(&stat), swap.map(Bytes), dying)
}

/// How many cgroups below `path` were removed and have not gone; `None` where
/// memory is not accounted by version 2, and where `path` is gone.
#[must_use]
pub fn read_dying(kernel: &Kernel, path: &CgroupPath, buffer: &mut Vec<u8>) -> Option<u64> {
    let root = v2_memory(kernel, buffer).ok()?;
    dying_in(&open_cgroup(root, path).ok()?, buffer)
}

fn dying_in(cgroup: &KernelDirectory, buffer: &mut Vec<u8>) -> Option<u64> {
    let text = cgroup.read("cgroup.stat", buffer).ok()?;
    parse_dying_descendants(text)
}

/// What of `memory.stat` can leak.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Growth {
    /// Resident anonymous memory.
    pub(crate) anonymous: Option<Bytes>,
    /// tmpfs and shared memory.
    pub(crate) shmem: Option<Bytes>,
    /// Slab that is in use.
    pub(crate) slab: Option<Bytes>,
    /// Slab that the kernel frees when memory is needed.
    pub(crate) slab_reclaimable: Option<Bytes>,
    /// Kernel memory other than slab, and the buffers of sockets.
    pub(crate) kernel: Option<Bytes>,
}

impl Growth {
    pub(crate) fn of(stat: &CgroupMemoryStat) -> Self {
        let slab = sum(stat.slab_reclaimable, stat.slab_unreclaimable);
        Self {
            anonymous: stat.anon,
            shmem: stat.shmem,
            slab: stat.slab_unreclaimable,
            slab_reclaimable: stat.slab_reclaimable,
            kernel: match stat.kernel.zip(slab) {
                Some((kernel, slab)) => {
                    // The buffers of sockets are charged beside `kernel`.
                    let sock = stat.sock.unwrap_or_default();
                    Some(kernel.saturating_sub(slab).saturating_add(sock))
                }
                // The same parts at each reading, whichever this kernel tells.
                None => [stat.kernel_stack, stat.pagetables, stat.percpu, stat.sock]
                    .into_iter()
                    .flatten()
                    .reduce(Bytes::saturating_add),
            },
        }
    }
}

fn sum(one: Option<Bytes>, other: Option<Bytes>) -> Option<Bytes> {
    Some(one?.saturating_add(other?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_machine_there_is_what_is_no_processs_own() {
        let meminfo = Meminfo {
            anon_pages: Some(Bytes(1)),
            shmem: Some(Bytes(2)),
            s_unreclaim: Some(Bytes(3)),
            s_reclaimable: Some(Bytes(4)),
            page_tables: Some(Bytes(50)),
            kernel_stack: Some(Bytes(600)),
            percpu: None,
            ..Meminfo::default()
        };
        let amounts: Vec<(GrowthOf, u64)> = CgroupGrowth::of_machine(&meminfo)
            .amounts()
            .map(|(of, bytes)| (of, bytes.0))
            .collect();
        assert_eq!(
            amounts,
            [
                (GrowthOf::Shmem, 2),
                (GrowthOf::Slab, 3),
                (GrowthOf::SlabReclaimable, 4),
                (GrowthOf::Kernel, 650),
            ]
        );
    }

    #[test]
    fn before_there_was_a_line_for_it_kernel_memory_is_the_sum_of_its_parts() {
        let parts = "kernel_stack 100\npercpu 20\nsock 3\nslab_reclaimable 7000\n\
                     slab_unreclaimable 50000\n";
        let kernel = |text: String| Growth::of(&parse_memory_stat(text.as_bytes())).kernel;
        assert_eq!(kernel(parts.to_owned()), Some(Bytes(123)));
        let all = kernel(format!("{parts}kernel 57200\n"));
        assert_eq!(all, Some(Bytes(203)));
        assert_eq!(kernel("anon 5\n".to_owned()), None);
    }
}
