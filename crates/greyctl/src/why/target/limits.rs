//! The limits that hold on a target: its cgroup's own, and each one above it.
//!
//! Pure. Never forgets an ancestor: the nearest limit may be any of them.

use grey_model::{Bytes, CgroupMemory, MemoryLimit};

use super::document::HeldLimit;

/// Every limit in `lineage`, the one with the least left first; those of which
/// nobody knows how much is left come last.
pub(super) fn held(lineage: &[CgroupMemory]) -> Vec<HeldLimit> {
    let mut limits: Vec<HeldLimit> = lineage
        .iter()
        .flat_map(|group| {
            [("memory.high", group.high), ("memory.max", group.max)]
                .into_iter()
                .filter_map(|(file, limit)| one(group, file, limit))
        })
        .collect();
    limits.sort_by_key(|limit| (limit.left.is_none(), limit.left, limit.limit));
    limits
}

fn one(group: &CgroupMemory, file: &'static str, limit: Option<MemoryLimit>) -> Option<HeldLimit> {
    let limit = limit.and_then(MemoryLimit::bytes)?;
    Some(HeldLimit {
        cgroup: group.path.clone(),
        file,
        limit,
        used: group.current,
        left: group.current.map(|used: Bytes| limit.saturating_sub(used)),
    })
}
