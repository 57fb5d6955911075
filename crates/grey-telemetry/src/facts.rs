//! Gathers everything that preflight looks at, once.
//!
//! Never judges, and never asks systemd: `unit` stays empty here.

use std::path::Path;

use grey_model::{
    Bytes, CgroupMemory, CgroupPath, Features, MemoryLimit, PreflightFacts, ProcessId,
    ProcessMemory, ProcessState, ResolvedTarget, TargetKind, TargetProcesses,
};

use crate::cgroup::limit::read_limit;
use crate::cgroup::memory::{ancestors, read_cgroup};
use crate::cgroup::mount::{lists_memory, v2_memory};
use crate::cgroup::processes::open_cgroup;
use crate::cgroup::tree::{TreeBounds, visit};
use crate::cold::{count_others, read_generations};
use crate::data_limit::read_data_limit;
use crate::host::read_host;
use crate::privileges::read_privileges;
use crate::proc::meminfo::read_meminfo;
use crate::proc::swaps::read_swaps;
use crate::proc::zoneinfo::read_per_cpu_free_lists;
use crate::process::status::parse_status;
use crate::process::{Detail, Scratch, read_process};
use crate::read::{KernelDirectory, ReadError};
use crate::roots::Kernel;
use crate::sys::ksm::{KSM_DIRECTORY, read_ksm};
use crate::sys::zram::read_zram;
use crate::syscall::has_process_madvise;

/// The cgroup directory in which everything is ours.
const OUR_SUBTREE: &str = grey_model::owner::OUR_SUBTREE;

/// PSS is read of at most this many processes of the target,
const MOST_FULL_READINGS: usize = 256;

/// and only while those read so far have less resident memory than this: the
/// target stalls on page faults while the kernel walks its page tables.
const MOST_WALKED: Bytes = Bytes::from_mib(16 << 10);

/// Facts could not be gathered.
#[derive(Debug, thiserror::Error)]
pub enum GatherFactsError {
    /// Its memory could not be read.
    #[error("failed to read the machine's memory")]
    Memory {
        /// Why.
        #[source]
        source: ReadError,
    },
}

/// Gathers the facts for actions on `target`, or on the machine as a whole.
/// Processes that have ended since the target was resolved are left out.
///
/// # Errors
/// [`GatherFactsError`] when the machine itself cannot be read.
pub fn gather_facts(
    kernel: &Kernel,
    target: Option<ResolvedTarget>,
) -> Result<PreflightFacts, GatherFactsError> {
    let mut buffer = Vec::new();
    let buffer = &mut buffer;
    let host = read_host(kernel, buffer);
    let meminfo =
        read_meminfo(kernel, buffer).map_err(|source| GatherFactsError::Memory { source })?;
    let per_cpu_free_lists = read_per_cpu_free_lists(kernel, buffer).ok().flatten();
    let path = target.as_ref().and_then(|target| target.cgroup.clone());
    let (cgroup, above) = match &path {
        Some(path) => read_lineage(kernel, path, buffer),
        None => (None, Vec::new()),
    };
    let threaded_domain = path
        .as_ref()
        .and_then(|path| read_threaded_domain(kernel, path, buffer));
    let protected = path
        .as_ref()
        .and_then(|path| read_protected(kernel, path, buffer));
    let generations = path
        .as_ref()
        .filter(|path| !path.is_root())
        .filter(|_| {
            // Not those of its children, either.
            let others = target.as_ref().map(|target| count_others(kernel, target));
            others.is_none_or(|others| others.is_ok_and(|others| others == 0))
        })
        .and_then(|path| read_generations(kernel, path, buffer).ok())
        .map(|(lists, _)| lists);
    let processes = target
        .as_ref()
        .map(|target| read_processes(kernel, &target.processes))
        .unwrap_or_default();
    let process = target
        .as_ref()
        .filter(|target| target.kind == TargetKind::Process)
        .and_then(|target| target.process);
    let subtree = read_our_subtree(kernel, buffer);
    Ok(PreflightFacts {
        page_size: kernel.page_size,
        privileges: read_privileges(kernel, buffer).unwrap_or_default(),
        features: probe_features(kernel, buffer),
        per_cpu_free_lists,
        swap_devices: read_swaps(kernel, buffer).unwrap_or_default(),
        zram: read_zram(kernel, buffer).unwrap_or_default(),
        ksm: read_ksm(kernel, buffer).ok().flatten(),
        cgroup,
        ancestors: above,
        threaded_domain,
        protected,
        generations,
        process_summary: summarise(&processes),
        processes,
        unit: None,
        rlimit_data: process.and_then(|id| read_data_limit(kernel, id.pid, buffer).ok()?),
        vm_data: process.and_then(|id| read_vm_data(kernel, id.pid, buffer)),
        root_has_memory_controller: subtree.root_has_controller,
        own_pid: std::process::id(),
        our_subtree: subtree.ours_has_controller,
        host,
        meminfo,
        target,
    })
}

/// What this kernel can do here, each probed without a side effect.
#[must_use]
pub fn probe_features(kernel: &Kernel, buffer: &mut Vec<u8>) -> Features {
    let root = v2_memory(kernel, buffer).ok();
    let ksm = kernel
        .sys
        .as_ref()
        .and_then(|sys| sys.open_directory(Path::new(KSM_DIRECTORY)).ok());
    let sysfs = ksm.as_ref().or(kernel.sys.as_ref());
    Features {
        memory_reclaim: root.is_some_and(has_memory_reclaim),
        process_madvise: has_process_madvise(),
        ksm: ksm.as_ref().is_some_and(|ksm| ksm.has("run")),
        sysfs_writable: sysfs.is_some_and(KernelDirectory::is_writable),
        cgroupfs_writable: kernel
            .cgroup
            .as_ref()
            .is_some_and(KernelDirectory::is_writable),
    }
}

/// What reclaim on `path` may not take: of each cgroup right below it the
/// larger of `memory.min` and `memory.low`, but no more than it uses. `None`
/// where the cgroup could not be read.
///
/// # Kernel
/// `mem_cgroup_calculate_protection`: reclaim on a cgroup passes over that
/// cgroup's own protection, and further down nothing is protected beyond what
/// the child above it is.
#[must_use]
pub fn read_protected(kernel: &Kernel, path: &CgroupPath, buffer: &mut Vec<u8>) -> Option<Bytes> {
    let root = v2_memory(kernel, buffer).ok()?;
    let start = open_cgroup(root, path).ok()?;
    let mut sum = Bytes::ZERO;
    let bounds = TreeBounds {
        depth: 1,
        ..TreeBounds::default()
    };
    visit(&start, path, bounds, &(), &mut |cgroup, visited, ()| {
        if visited == path {
            return;
        }
        let min = read_limit(cgroup, "memory.min", buffer);
        let low = read_limit(cgroup, "memory.low", buffer);
        let used = read_limit(cgroup, "memory.current", buffer).and_then(MemoryLimit::bytes);
        let protection = match min.max(low) {
            Some(MemoryLimit::Bytes(bytes)) => used.map_or(bytes, |used| bytes.min(used)),
            Some(MemoryLimit::Max) => used.unwrap_or_default(),
            None => Bytes::ZERO,
        };
        sum = sum.saturating_add(protection);
    });
    Some(sum)
}

/// The root has the file too, but a container's root may hide it.
fn has_memory_reclaim(root: &KernelDirectory) -> bool {
    root.has("memory.reclaim")
        || root
            .names(crate::read::Wanted::Directories)
            .is_ok_and(|names| {
                names.iter().any(|name| {
                    str::from_utf8(name)
                        .is_ok_and(|name| root.has(Path::new(name).join("memory.reclaim")))
                })
            })
}

/// The account of `path` and those of its ancestors, parent first, without
/// the root.
fn read_lineage(
    kernel: &Kernel,
    path: &CgroupPath,
    buffer: &mut Vec<u8>,
) -> (Option<CgroupMemory>, Vec<CgroupMemory>) {
    let own = read_cgroup(kernel, path, buffer).ok();
    let above = ancestors(path)
        .filter(|ancestor| !ancestor.is_root())
        .filter_map(|ancestor| read_cgroup(kernel, &ancestor, buffer).ok())
        .collect();
    (own, above)
}

/// The cgroup that a threaded one's memory is charged to; `None` for one that
/// has its own account.
fn read_threaded_domain(
    kernel: &Kernel,
    path: &CgroupPath,
    buffer: &mut Vec<u8>,
) -> Option<CgroupPath> {
    let root = v2_memory(kernel, buffer).ok()?;
    let mut is_threaded = |path: &CgroupPath| {
        open_cgroup(root, path).is_ok_and(|cgroup| {
            cgroup
                .read("cgroup.type", buffer)
                .is_ok_and(|kind| kind.trim_ascii() == b"threaded")
        })
    };
    if !is_threaded(path) {
        return None;
    }
    ancestors(path).find(|above| !is_threaded(above))
}

/// Everything cheap of each process; PSS of the first ones, within bounds.
fn read_processes(kernel: &Kernel, ids: &[ProcessId]) -> Vec<ProcessMemory> {
    let mut scratch = Scratch::new(kernel);
    let mut processes: Vec<ProcessMemory> = ids
        .iter()
        .filter_map(|id| {
            let reading = read_process(kernel, id.pid, Detail::Basic, &mut scratch).ok()?;
            (reading.memory.id == *id).then_some(reading.memory)
        })
        .collect();
    let mut walked = Bytes::ZERO;
    for process in processes.iter_mut().take(MOST_FULL_READINGS) {
        walked = walked.saturating_add(process.rss.unwrap_or_default());
        if walked > MOST_WALKED {
            break;
        }
        if let Ok(full) = read_process(kernel, process.id.pid, Detail::Full, &mut scratch)
            && full.memory.id == process.id
        {
            *process = full.memory;
        }
    }
    processes
}

fn summarise(processes: &[ProcessMemory]) -> TargetProcesses {
    let count = |is: &dyn Fn(&ProcessMemory) -> bool| {
        processes.iter().filter(|process| is(process)).count() as u64
    };
    TargetProcesses {
        count: count(&|_| true),
        uninterruptible: count(&|process| process.state == ProcessState::Uninterruptible),
        unkillable: count(&|process| process.oom_score_adj == Some(-1000)),
        kernel_threads: count(&|process| process.kernel_thread),
    }
}

fn read_vm_data(kernel: &Kernel, pid: u32, buffer: &mut Vec<u8>) -> Option<Bytes> {
    let status = kernel.proc.read(format!("{pid}/status"), buffer).ok()?;
    parse_status(status).data
}

struct OurSubtree {
    root_has_controller: Option<bool>,
    /// `None` when our directory does not exist.
    ours_has_controller: Option<bool>,
}

fn read_our_subtree(kernel: &Kernel, buffer: &mut Vec<u8>) -> OurSubtree {
    let Ok(root) = v2_memory(kernel, buffer) else {
        return OurSubtree {
            root_has_controller: None,
            ours_has_controller: None,
        };
    };
    let mut gives = |directory: &KernelDirectory| {
        directory
            .read("cgroup.subtree_control", buffer)
            .ok()
            .map(lists_memory)
    };
    OurSubtree {
        root_has_controller: gives(root),
        ours_has_controller: root
            .open_directory(Path::new(OUR_SUBTREE))
            .ok()
            .and_then(|ours| gives(&ours)),
    }
}
