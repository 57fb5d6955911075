//! The cgroup that this process is charged to: its usage, and the lowest limit
//! of it and of everything above it, on version 2, version 1 and hybrid setups.
//!
//! Never remembers where the process was: it may be moved at any time.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use grey_model::{Bytes, CgroupMode, CgroupPath, MemoryLimit};
use grey_telemetry::cgroup::limit::parse_limit;
use grey_telemetry::cgroup::{find_cgroup_mode, open_process_hierarchy};
use grey_telemetry::process::cgroup::parse_memory_cgroup;
use grey_telemetry::{Kernel, KernelDirectory, ascii};

/// From here on a limit of version 1 is none: the kernel prints the largest
/// number of pages that it counts.
const V1_UNLIMITED: u64 = 1 << 62;

/// How deep a tree is looked at.
const DEEPEST: usize = 64;

/// What the cgroup says. All unknown where there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CgroupReading {
    pub(super) usage: Option<Bytes>,
    pub(super) reclaimable: Option<Bytes>,
    pub(super) limit: Option<MemoryLimit>,
}

/// The names of one version's files.
struct Files {
    usage: &'static str,
    limits: &'static [&'static str],
    /// The key of `memory.stat`, with everything below included.
    inactive_file: &'static [u8],
    is_v1: bool,
}

const V2: Files = Files {
    usage: "memory.current",
    limits: &["memory.max", "memory.high"],
    inactive_file: b"inactive_file",
    is_v1: false,
};

const V1: Files = Files {
    usage: "memory.usage_in_bytes",
    limits: &["memory.limit_in_bytes"],
    inactive_file: b"total_inactive_file",
    is_v1: true,
};

impl Files {
    fn limit(&self, text: &[u8]) -> Option<MemoryLimit> {
        if !self.is_v1 {
            return parse_limit(text);
        }
        ascii::single_u64(text).map(|bytes| {
            if bytes >= V1_UNLIMITED {
                MemoryLimit::Max
            } else {
                MemoryLimit::Bytes(Bytes(bytes))
            }
        })
    }
}

/// Reads the cgroup of the calling process.
///
/// # Kernel
/// `memory.current`, `memory.max`, `memory.high` of version 2;
/// `memory.usage_in_bytes`, `memory.limit_in_bytes` of version 1;
/// `memory.stat` of both. Ancestors outside of our cgroup namespace cannot be
/// seen, and bind all the same.
pub(super) fn read_own_cgroup(kernel: &Kernel, buffer: &mut Vec<u8>) -> CgroupReading {
    let files = match find_cgroup_mode(kernel, buffer) {
        CgroupMode::V2 => &V2,
        CgroupMode::V1 | CgroupMode::Hybrid => &V1,
        CgroupMode::V2WithoutMemory | CgroupMode::None => return CgroupReading::default(),
    };
    let Some(root) = open_process_hierarchy(kernel, buffer) else {
        return CgroupReading::default();
    };
    let path = kernel.proc.read("self/cgroup", buffer).ok();
    let Some(printed) = path.and_then(parse_memory_cgroup) else {
        return CgroupReading::default();
    };
    let path = printed.path;
    // A container without a cgroup namespace is told the machine's path, and
    // sees its own cgroup where the root would be.
    let path = match open(&root, &path) {
        Some(_) => path,
        None => CgroupPath::root(),
    };
    read_chain(&root, &path, files, buffer)
}

fn read_chain(
    root: &KernelDirectory,
    path: &CgroupPath,
    files: &Files,
    buffer: &mut Vec<u8>,
) -> CgroupReading {
    let mut reading = CgroupReading::default();
    let chain = std::iter::successors(Some(path.clone()), CgroupPath::parent);
    for (above, cgroup) in chain.take(DEEPEST).enumerate() {
        let Some(directory) = open(root, &cgroup) else {
            continue;
        };
        if above == 0 {
            reading.usage = directory
                .read(files.usage, buffer)
                .ok()
                .and_then(ascii::single_u64)
                .map(Bytes);
            reading.reclaimable = directory
                .read("memory.stat", buffer)
                .ok()
                .and_then(|text| {
                    ascii::key_values(text).find(|(key, _)| *key == files.inactive_file)
                })
                .map(|(_, bytes)| Bytes(bytes));
        }
        for name in files.limits {
            let limit = directory.read(name, buffer).ok();
            let limit = limit.and_then(|text| files.limit(text));
            reading.limit = reading.limit.into_iter().chain(limit).min();
        }
    }
    reading
}

fn open(root: &KernelDirectory, path: &CgroupPath) -> Option<KernelDirectory> {
    let relative = match path.relative() {
        b"" => OsStr::new("."),
        relative => OsStr::from_bytes(relative),
    };
    root.open_directory(Path::new(relative)).ok()
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
