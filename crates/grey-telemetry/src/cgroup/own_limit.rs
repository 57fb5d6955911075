//! The strictest limit above our own process: `memory.max`, or version 1's
//! `memory.limit_in_bytes`.
//!
//! Never looks outside the tree that is mounted here; limits above it exist and
//! are not seen.

use grey_model::{Bytes, CgroupPath, MemoryLimit, OwnMemoryLimit, Reading};

use super::limit::read_limit;
use super::memory::ancestors;
use super::mount::open_process_hierarchy;
use super::processes::open_cgroup;
use crate::process::cgroup::parse_memory_cgroup;
use crate::read::KernelDirectory;
use crate::roots::Kernel;

/// Reads it. Absent: no cgroup above us that we see has a limit.
///
/// # Kernel
/// In a container without a cgroup namespace, `/proc/self/cgroup` names a path
/// of the machine that is not mounted: what is mounted is the container's own
/// group, at the root of the tree.
#[must_use]
pub fn read_own_limit(kernel: &Kernel, buffer: &mut Vec<u8>) -> Reading<OwnMemoryLimit> {
    let Some(root) = open_process_hierarchy(kernel, buffer) else {
        return Reading::Unknown("no control groups are mounted here".to_owned());
    };
    let own = match kernel.proc.look("self/cgroup", buffer, |text| {
        parse_memory_cgroup(text).map(|printed| printed.path)
    }) {
        Reading::Known(path) => path,
        Reading::Absent => CgroupPath::root(),
        Reading::Unknown(reason) => return Reading::Unknown(reason),
    };
    let lineage = std::iter::once(own.clone()).chain(ancestors(&own));
    let strictest = lineage
        .filter_map(|path| {
            let directory = open_cgroup(&root, &path).ok()?;
            let limit = limit_of(&directory, buffer)?;
            Some((limit, path))
        })
        .min_by_key(|(limit, _)| *limit);
    match strictest {
        Some((limit, path)) => Reading::Known(OwnMemoryLimit {
            cgroup: path.to_string(),
            limit,
        }),
        None => Reading::Absent,
    }
}

fn limit_of(directory: &KernelDirectory, buffer: &mut Vec<u8>) -> Option<Bytes> {
    read_limit(directory, "memory.max", buffer)
        .or_else(|| read_limit(directory, "memory.limit_in_bytes", buffer))
        .and_then(MemoryLimit::bytes)
}
