//! How the control groups are mounted, and which hierarchy accounts memory.
//!
//! Never reads the mount table: it looks at what is there below the given
//! root, so that a container's view and a test tree are judged in one way.

use std::fmt;
use std::path::Path;

use grey_model::CgroupMode;
use rustix::fs::FsWord;

use crate::ascii;
use crate::read::{KernelDirectory, Wanted};
use crate::roots::Kernel;

/// CGROUP2_SUPER_MAGIC of `linux/magic.h`.
const CGROUP2_MAGIC: FsWord = 0x6367_7270;

/// Why there is no account of memory by version 2 cgroups here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoV2Memory {
    /// No control groups are mounted.
    NotMounted,
    /// Only version 1 is mounted.
    V1,
    /// Version 2 is mounted too, but the memory controller is on version 1.
    Hybrid,
    /// Version 2 without the memory controller at its root.
    NoController,
}

/// A clause for people: what is missing.
impl fmt::Display for NoV2Memory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NotMounted => "no control groups are mounted here",
            Self::V1 => "the memory controller is on cgroup version 1",
            Self::Hybrid => "the memory controller is on cgroup version 1 of a hybrid setup",
            Self::NoController => "the cgroup tree has no memory controller",
        })
    }
}

/// How control groups are mounted below the given root.
#[must_use]
pub fn find_cgroup_mode(kernel: &Kernel, buffer: &mut Vec<u8>) -> CgroupMode {
    let Some(root) = &kernel.cgroup else {
        return CgroupMode::None;
    };
    if is_v2(root) {
        return if has_memory_controller(root, buffer) {
            CgroupMode::V2
        } else {
            CgroupMode::V2WithoutMemory
        };
    }
    if root
        .open_directory(Path::new("unified"))
        .is_ok_and(|unified| is_v2(&unified))
    {
        return CgroupMode::Hybrid;
    }
    let has_v1 = root.names(Wanted::Directories).is_ok_and(|names| {
        names.iter().any(|name| {
            str::from_utf8(name).is_ok_and(|name| root.has(Path::new(name).join("cgroup.procs")))
        })
    });
    if has_v1 {
        CgroupMode::V1
    } else {
        CgroupMode::None
    }
}

/// The root of the version 2 tree that accounts memory, or why there is none.
///
/// # Errors
/// [`NoV2Memory`], the reason.
pub fn v2_memory<'kernel>(
    kernel: &'kernel Kernel,
    buffer: &mut Vec<u8>,
) -> Result<&'kernel KernelDirectory, NoV2Memory> {
    match (find_cgroup_mode(kernel, buffer), &kernel.cgroup) {
        (CgroupMode::V2, Some(root)) => Ok(root),
        (CgroupMode::V2WithoutMemory, _) => Err(NoV2Memory::NoController),
        (CgroupMode::Hybrid, _) => Err(NoV2Memory::Hybrid),
        (CgroupMode::V1, _) => Err(NoV2Memory::V1),
        (CgroupMode::None, _) | (_, None) => Err(NoV2Memory::NotMounted),
    }
}

/// The root of the hierarchy that the cgroup paths of processes refer to: the
/// version 2 tree, or version 1's memory hierarchy where that is the one that
/// accounts memory. `None` where neither is mounted.
#[must_use]
pub fn open_process_hierarchy(kernel: &Kernel, buffer: &mut Vec<u8>) -> Option<KernelDirectory> {
    let root = kernel.cgroup.as_ref()?;
    let name = match find_cgroup_mode(kernel, buffer) {
        CgroupMode::V2 | CgroupMode::V2WithoutMemory => ".",
        CgroupMode::Hybrid | CgroupMode::V1 => "memory",
        CgroupMode::None => return None,
    };
    root.open_directory(Path::new(name)).ok()
}

/// By the file system's magic; a copy of a tree has the file instead.
fn is_v2(directory: &KernelDirectory) -> bool {
    rustix::fs::fstatfs(directory).is_ok_and(|facts| facts.f_type == CGROUP2_MAGIC)
        || directory.has("cgroup.controllers")
}

fn has_memory_controller(directory: &KernelDirectory, buffer: &mut Vec<u8>) -> bool {
    directory
        .read("cgroup.controllers", buffer)
        .is_ok_and(lists_memory)
}

/// Whether `cgroup.controllers` or `cgroup.subtree_control` names the memory
/// controller.
#[must_use]
pub fn lists_memory(text: &[u8]) -> bool {
    ascii::words(text.trim_ascii()).any(|word| word == b"memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_controller_is_a_whole_word() {
        assert!(lists_memory(b"cpuset cpu io memory pids\n"));
        assert!(!lists_memory(b"cpu memoryless\n"));
        assert!(!lists_memory(b"\n"));
    }
}
