//! The largest cgroups of a sample: their usage, their limit, and what of them can
//! leak, each kind on its own.
//!
//! Of version 2 alone. Never adds what is unknown.

use std::cmp::Reverse;

use grey_model::{
    Bytes, CgroupEvents, CgroupField, CgroupMemory, CgroupPath, CgroupSample, CgroupValues,
    MemoryLimit,
};

use crate::cgroup::growth::Growth;
use crate::cgroup::{TreeBounds, read_dying, read_tree};
use crate::roots::Kernel;

/// The `most` largest cgroups by usage and swap, by path.
pub(super) fn largest_cgroups(
    kernel: &Kernel,
    most: usize,
    buffer: &mut Vec<u8>,
) -> Vec<CgroupSample> {
    let mut groups = read_tree(kernel, &CgroupPath::root(), TreeBounds::default(), buffer).groups;
    let size = |group: &CgroupMemory| {
        let swap = group.swap_current.unwrap_or_default();
        group.current.unwrap_or_default().saturating_add(swap)
    };
    groups.sort_by_key(|group| Reverse(size(group)));
    groups.truncate(most);
    groups.sort_by(|one, other| one.path.cmp(&other.path));
    groups
        .into_iter()
        .map(|group| {
            let dying = read_dying(kernel, &group.path, buffer);
            sample_of(group, dying)
        })
        .collect()
}

fn sample_of(group: CgroupMemory, dying: Option<u64>) -> CgroupSample {
    let bytes = |value: Option<Bytes>| value.map(Bytes::get);
    let limit = match group.effective_limit {
        Some(MemoryLimit::Bytes(limit)) => Some(limit.0),
        Some(MemoryLimit::Max) | None => None,
    };
    let event = |of: fn(&CgroupEvents) -> Option<u64>| group.events.as_ref().and_then(of);
    let growth = group.stat.as_ref().map(Growth::of).unwrap_or_default();
    CgroupSample {
        values: CgroupValues::default()
            .with(CgroupField::Current, bytes(group.current))
            .with(CgroupField::Swap, bytes(group.swap_current))
            .with(CgroupField::Limit, limit)
            .with(CgroupField::HighEvents, event(|events| events.high))
            .with(CgroupField::MaxEvents, event(|events| events.max))
            .with(CgroupField::OomKills, event(|events| events.oom_kill))
            .with(CgroupField::Anonymous, bytes(growth.anonymous))
            .with(CgroupField::Shared, bytes(growth.shmem))
            .with(CgroupField::SlabUnreclaimable, bytes(growth.slab))
            .with(CgroupField::SlabReclaimable, bytes(growth.slab_reclaimable))
            .with(CgroupField::KernelOther, bytes(growth.kernel))
            .with(CgroupField::Dying, dying)
            .with(CgroupField::Id, Some(group.id.0)),
        path: group.path,
    }
}
