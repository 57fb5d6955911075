//! One cgroup's memory account: the files `memory.*` of version 2 put together.
//!
//! Never fails for a single file: what is missing or unreadable is `None`,
//! as at the root, which has no `memory.current` and no limits.

use grey_model::{Bytes, CgroupId, CgroupMemory, CgroupPath, MemoryLimit};

use crate::ascii;
use crate::cgroup::events::{parse_memory_events, parse_populated};
use crate::cgroup::limit::{read_limit, strictest};
use crate::cgroup::mount::v2_memory;
use crate::cgroup::processes::{open_cgroup, parse_pids, require_there};
use crate::cgroup::stat::parse_memory_stat;
use crate::proc::pressure::parse_pressure;
use crate::read::{KernelDirectory, ReadError};
use crate::roots::Kernel;

/// Reads the account of the cgroup at `path`. On a machine whose memory
/// controller is not on version 2, this is an error that
/// [`ReadError::is_vanished`]; ask [`v2_memory`] for the reason.
///
/// # Errors
/// [`ReadError`] when the cgroup is gone or cannot be opened.
pub fn read_cgroup(
    kernel: &Kernel,
    path: &CgroupPath,
    buffer: &mut Vec<u8>,
) -> Result<CgroupMemory, ReadError> {
    let root = v2_memory(kernel, buffer).map_err(|_| ReadError::Open {
        path: kernel.roots().cgroupfs.clone(),
        source: rustix::io::Errno::NOENT.into(),
    })?;
    let directory = open_cgroup(root, path)?;
    let inherited = inherited_limit(root, path, buffer);
    read_account(&directory, path, inherited, buffer)
}

/// Reads the account in an open cgroup. `inherited` is the strictest limit of
/// its ancestors. Of one that is removed meanwhile there is no part of it.
pub(crate) fn read_account(
    cgroup: &KernelDirectory,
    path: &CgroupPath,
    inherited: Option<MemoryLimit>,
    buffer: &mut Vec<u8>,
) -> Result<CgroupMemory, ReadError> {
    let id = CgroupId(cgroup.inode()?);
    let high = read_limit(cgroup, "memory.high", buffer);
    let max = read_limit(cgroup, "memory.max", buffer);
    let account = CgroupMemory {
        path: path.clone(),
        id,
        current: read_bytes(cgroup, "memory.current", buffer),
        peak: read_bytes(cgroup, "memory.peak", buffer),
        min: read_limit(cgroup, "memory.min", buffer),
        low: read_limit(cgroup, "memory.low", buffer),
        high,
        max,
        effective_limit: strictest([inherited, high, max]),
        swap_current: read_bytes(cgroup, "memory.swap.current", buffer),
        swap_max: read_limit(cgroup, "memory.swap.max", buffer),
        zswap_current: read_bytes(cgroup, "memory.zswap.current", buffer),
        oom_group: read_number(cgroup, "memory.oom.group", buffer).map(|flag| flag != 0),
        can_reclaim: cgroup.has("memory.reclaim"),
        events: cgroup
            .read("memory.events", buffer)
            .ok()
            .map(parse_memory_events),
        pressure: cgroup
            .read("memory.pressure", buffer)
            .ok()
            .and_then(parse_pressure),
        stat: cgroup
            .read("memory.stat", buffer)
            .ok()
            .map(parse_memory_stat),
        process_count: cgroup
            .read("cgroup.procs", buffer)
            .ok()
            .map(|text| parse_pids(text).len() as u64),
        populated: cgroup
            .read("cgroup.events", buffer)
            .ok()
            .and_then(parse_populated),
    };
    require_there(cgroup).map(|()| account)
}

/// The strictest `memory.high` or `memory.max` of the ancestors of `path`.
/// Ancestors outside our cgroup namespace cannot be seen.
pub(crate) fn inherited_limit(
    root: &KernelDirectory,
    path: &CgroupPath,
    buffer: &mut Vec<u8>,
) -> Option<MemoryLimit> {
    let mut limit = None;
    for ancestor in ancestors(path) {
        let Ok(directory) = open_cgroup(root, &ancestor) else {
            continue;
        };
        let high = read_limit(&directory, "memory.high", buffer);
        let max = read_limit(&directory, "memory.max", buffer);
        limit = strictest([limit, high, max]);
    }
    limit
}

/// The cgroups above `path`, nearest first, the root last.
pub(crate) fn ancestors(path: &CgroupPath) -> impl Iterator<Item = CgroupPath> {
    std::iter::successors(path.parent(), CgroupPath::parent)
}

fn read_number(cgroup: &KernelDirectory, name: &str, buffer: &mut Vec<u8>) -> Option<u64> {
    cgroup.read(name, buffer).ok().and_then(ascii::single_u64)
}

fn read_bytes(cgroup: &KernelDirectory, name: &str, buffer: &mut Vec<u8>) -> Option<Bytes> {
    read_number(cgroup, name, buffer).map(Bytes)
}

#[cfg(test)]
mod tests {
    use grey_fake_kernel::FakeKernel;

    use super::*;
    use crate::roots::Roots;

    /// Opens `/build/web`, lets `meanwhile` happen and reads its account.
    fn read_while(meanwhile: impl FnOnce(&FakeKernel)) -> Result<CgroupMemory, ReadError> {
        let fake = FakeKernel::full();
        let roots = Roots {
            procfs: fake.procfs(),
            sysfs: fake.sysfs(),
            cgroupfs: fake.cgroupfs(),
            systemd: fake.systemd(),
        };
        let kernel = Kernel::open(&roots).unwrap();
        let mut buffer = Vec::new();
        let path = CgroupPath::new(b"/build/web").unwrap();
        let directory = open_cgroup(v2_memory(&kernel, &mut buffer).unwrap(), &path).unwrap();
        meanwhile(&fake);
        read_account(&directory, &path, None, &mut buffer)
    }

    #[test]
    fn a_cgroup_that_is_removed_after_it_was_opened_has_no_account() {
        let account = read_while(|_| {}).unwrap();
        assert!(account.current.is_some() && account.process_count.is_some());
        let gone = read_while(|fake| fake.remove("cgroup/build/web"));
        assert!(gone.unwrap_err().is_vanished());
    }

    #[test]
    fn a_file_that_is_missing_alone_costs_only_itself() {
        let account = read_while(|fake| fake.remove("cgroup/build/web/memory.max")).unwrap();
        assert!(account.max.is_none() && account.current.is_some());
    }
}
