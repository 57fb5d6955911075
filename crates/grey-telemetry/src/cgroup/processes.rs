//! `cgroup.procs`: the processes of a cgroup.
//!
//! Never lists a process of another pid namespace: the kernel prints 0 for it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use grey_model::CgroupPath;

use crate::ascii;
use crate::cgroup::mount::open_process_hierarchy;
use crate::cgroup::tree::{TreeBounds, visit};
use crate::read::{KernelDirectory, ReadError};
use crate::roots::Kernel;

/// The pids of the processes in `path`, not below it; sorted, each once.
///
/// On machines whose memory controller is on version 1 the path is looked for
/// in that hierarchy.
///
/// # Errors
/// [`ReadError`] when the cgroup is gone or cannot be read. A threaded cgroup
/// has no list of processes: [`ReadError::is_unsupported`].
pub fn read_processes_of(
    kernel: &Kernel,
    path: &CgroupPath,
    buffer: &mut Vec<u8>,
) -> Result<Vec<u32>, ReadError> {
    let cgroup = open_process_cgroup(kernel, path, buffer)?;
    cgroup.read("cgroup.procs", buffer).map(parse_pids)
}

/// The pids of the processes in `path` and below it; sorted, each once. A
/// cgroup that vanishes meanwhile is passed over, and so is a threaded one:
/// its processes are listed by the cgroup above that is not threaded.
///
/// # Errors
/// [`ReadError`] when `path` itself is gone or cannot be read.
pub fn read_subtree_processes(
    kernel: &Kernel,
    path: &CgroupPath,
    buffer: &mut Vec<u8>,
) -> Result<Vec<u32>, ReadError> {
    let start = open_process_cgroup(kernel, path, buffer)?;
    let mut pids = Vec::new();
    let bounds = TreeBounds::default();
    visit(&start, path, bounds, &(), &mut |cgroup, _, ()| {
        if let Ok(text) = cgroup.read("cgroup.procs", buffer) {
            pids.extend(parse_pids(text));
        }
    });
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// One pid a line. The kernel's order is arbitrary and may repeat itself.
#[must_use]
pub fn parse_pids(text: &[u8]) -> Vec<u32> {
    let mut pids: Vec<u32> = ascii::lines(text)
        .filter_map(|line| u32::try_from(ascii::single_u64(line)?).ok())
        .filter(|&pid| pid != 0)
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// Opens the cgroup `path` of a process.
pub(crate) fn open_process_cgroup(
    kernel: &Kernel,
    path: &CgroupPath,
    buffer: &mut Vec<u8>,
) -> Result<KernelDirectory, ReadError> {
    let Some(root) = open_process_hierarchy(kernel, buffer) else {
        return Err(ReadError::Open {
            path: kernel.roots().cgroupfs.clone(),
            source: rustix::io::Errno::NOENT.into(),
        });
    };
    open_cgroup(&root, path)
}

/// Fails when an open cgroup has been removed meanwhile. It is asked for when
/// everything was read: whatever is still there then was there all the time.
///
/// # Kernel
/// A cgroup that is removed has no files any more, though its directory can
/// still be listed and looks as before. Every cgroup has `cgroup.procs`.
pub(crate) fn require_there(cgroup: &KernelDirectory) -> Result<(), ReadError> {
    match cgroup.has("cgroup.procs") {
        true => Ok(()),
        false => Err(ReadError::Open {
            path: cgroup.path().join("cgroup.procs"),
            source: rustix::io::Errno::NOENT.into(),
        }),
    }
}

/// Opens the cgroup `path` below the hierarchy's root.
pub(crate) fn open_cgroup(
    root: &KernelDirectory,
    path: &CgroupPath,
) -> Result<KernelDirectory, ReadError> {
    let relative = if path.is_root() {
        b"."
    } else {
        path.relative()
    };
    root.open_directory(Path::new(OsStr::from_bytes(relative)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pids_are_sorted_and_listed_once_and_foreign_ones_are_left_out() {
        assert_eq!(parse_pids(b"30\n0\n7\n30\n99999999999\nx\n"), [7, 30]);
        assert_eq!(parse_pids(b""), [] as [u32; 0]);
    }
}
