//! The generations of a cgroup and of everything below it, or why there are
//! none to be read.
//!
//! Never writes: the ages are those that the kernel's own aging left.

use grey_model::{CgroupPath, GenerationList, ResolvedTarget, TargetKind};

use super::lru_gen::parse_lru_gen;
use super::lru_gen_enabled::{Aging, parse_enabled};
use crate::cgroup::mount::v2_memory;
use crate::cgroup::read_subtree_processes;
use crate::read::{LARGEST_FILE, ReadError};
use crate::roots::Kernel;
use crate::sys::lru_gen::ENABLED;

/// Where the generations are, below sysfs.
pub const LRU_GEN: &str = "kernel/debug/lru_gen";

/// Why there are no generations to be read.
#[derive(Debug, thiserror::Error)]
pub enum NoGenerations {
    /// The kernel is older than 6.1 or was built without them.
    #[error("this kernel keeps no generations of pages (multi-generation LRU, Linux 6.1)")]
    NotInKernel,
    /// They are turned off.
    #[error("this kernel's generations of pages are turned off (/sys/kernel/mm/lru_gen/enabled)")]
    TurnedOff,
    /// The memory of cgroups is not accounted by version 2.
    #[error("the memory of control groups is not accounted by version 2 here")]
    NoAccounts,
    /// The paths would not be ours.
    #[error(
        "we see a part of the control groups, and the kernel names them by the paths of the whole"
    )]
    OtherNamespace,
    /// debugfs is not mounted.
    #[error("debugfs is not mounted, where the kernel tells them")]
    NoDebugfs,
    /// debugfs may be read by root alone.
    #[error("debugfs, where the kernel tells them, may not be read by us")]
    Denied {
        /// What the system said.
        #[source]
        source: ReadError,
    },
    /// The file could not be read.
    #[error("the generations could not be read")]
    Read {
        /// What the system said.
        #[source]
        source: ReadError,
    },
    /// The cgroup is not among them.
    #[error("the kernel lists no generations of this cgroup")]
    NotListed,
}

/// Reads the generations of `cgroup` and everything below it, and whether
/// aging finds every use.
///
/// # Errors
/// [`NoGenerations`] says why there are none.
pub fn read_generations(
    kernel: &Kernel,
    cgroup: &CgroupPath,
    buffer: &mut Vec<u8>,
) -> Result<(Vec<GenerationList>, Aging), NoGenerations> {
    let sys = kernel.sys.as_ref().ok_or(NoGenerations::NotInKernel)?;
    let enabled = sys
        .read_optional(ENABLED, buffer)
        .map_err(failed)?
        .ok_or(NoGenerations::NotInKernel)?;
    let aging = parse_enabled(enabled)
        .filter(|aging| aging.on)
        .ok_or(NoGenerations::TurnedOff)?;
    if v2_memory(kernel, buffer).is_err() {
        return Err(NoGenerations::NoAccounts);
    }
    if !names_are_ours(kernel) {
        return Err(NoGenerations::OtherNamespace);
    }
    let text = sys
        .read_optional(LRU_GEN, buffer)
        .map_err(failed)?
        .ok_or(NoGenerations::NoDebugfs)?;
    if text.len() >= LARGEST_FILE {
        // What is missing at its end may be ours.
        return Err(NoGenerations::NotListed);
    }
    let mut lists = parse_lru_gen(text, kernel.page_size);
    lists.retain(|list| cgroup.contains(&list.cgroup));
    if lists.is_empty() {
        return Err(NoGenerations::NotListed);
    }
    Ok((lists, aging))
}

/// Whether we see the control groups from their root on, as the kernel's own
/// list names them. A tree that does not tell is taken for the whole.
fn names_are_ours(kernel: &Kernel) -> bool {
    /// The inode number of the namespace that is made at boot
    /// (`include/linux/proc_ns.h`, PROC_CGROUP_INIT_INO).
    const FIRST: &[u8] = b"cgroup:[4026531835]";
    kernel
        .proc
        .link("self/ns/cgroup")
        .is_none_or(|name| name == FIRST)
}

fn failed(source: ReadError) -> NoGenerations {
    if source.is_denied() {
        NoGenerations::Denied { source }
    } else {
        NoGenerations::Read { source }
    }
}
/// How many processes beside `target` are in its cgroup and below: generations
/// are of all of them. None where a cgroup is the target.
///
/// # Errors
/// [`ReadError`] when the cgroup is gone or cannot be read.
pub fn count_others(kernel: &Kernel, target: &ResolvedTarget) -> Result<u64, ReadError> {
    let Some(path) = &target.cgroup else {
        return Ok(0);
    };
    if target.kind != TargetKind::Process {
        return Ok(0);
    }
    let all = read_subtree_processes(kernel, path, &mut Vec::new())?;
    Ok((all.len() as u64).saturating_sub(1).max(target.bystanders))
}
