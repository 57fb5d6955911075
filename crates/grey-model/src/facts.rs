//! What policy must know before it may plan: gathered once, judged purely.
//!
//! `None` always means "could not be read"; policy treats it as the worse case.

use crate::cgroup::CgroupMemory;
use crate::cold::GenerationList;
use crate::host::HostFacts;
use crate::identity::CgroupPath;
use crate::ksm::KsmState;
use crate::limit::MemoryLimit;
use crate::meminfo::Meminfo;
use crate::process::ProcessMemory;
use crate::swap::{SwapDevice, Zram};
use crate::target::ResolvedTarget;
use crate::units::{Bytes, PageSize};

/// What we are allowed to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Privileges {
    /// Effective user id 0.
    pub root: bool,
    /// CAP_SYS_ADMIN in the effective set.
    pub sys_admin: bool,
    /// CAP_SYS_NICE: needed by `process_madvise` on others.
    pub sys_nice: bool,
    /// CAP_SYS_PTRACE: needed to look into others' memory.
    pub sys_ptrace: bool,
    /// CAP_SYS_RESOURCE: needed to lower `oom_score_adj` and to raise hard limits.
    pub sys_resource: bool,
}

/// What this kernel can do; probed, not derived from its version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Features {
    /// `memory.reclaim` (5.19).
    pub memory_reclaim: bool,
    /// `process_madvise` with `MADV_PAGEOUT` (5.10).
    pub process_madvise: bool,
    /// `/sys/kernel/mm/ksm`.
    pub ksm: bool,
    /// `/sys/kernel/mm` and the cgroup tree can be written: not mounted read-only.
    pub sysfs_writable: bool,
    /// The cgroup tree can be written.
    pub cgroupfs_writable: bool,
}

/// What systemd says of the target's unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitFacts {
    /// `MemoryHigh`.
    pub memory_high: Option<MemoryLimit>,
    /// `MemoryMax`.
    pub memory_max: Option<MemoryLimit>,
    /// `ManagedOOMMemoryPressure=kill`.
    pub oomd_kills_on_pressure: bool,
    /// `ManagedOOMSwap=kill`.
    pub oomd_kills_on_swap: bool,
    /// `OOMPolicy`: `continue`, `stop`, `kill`.
    pub oom_policy: Option<String>,
}

/// A process of the target that limits what can be done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TargetProcesses {
    /// How many there are.
    pub count: u64,
    /// In uninterruptible sleep.
    pub uninterruptible: u64,
    /// With `oom_score_adj` -1000: the kernel will never kill them.
    pub unkillable: u64,
    /// Kernel threads: nothing can be done to them.
    pub kernel_threads: u64,
}

/// Everything that preflight looks at.
#[derive(Debug, Clone)]
pub struct PreflightFacts {
    /// The machine.
    pub host: HostFacts,
    /// Its page size.
    pub page_size: PageSize,
    /// What we may do.
    pub privileges: Privileges,
    /// What the kernel can do.
    pub features: Features,
    /// The machine's memory.
    pub meminfo: Meminfo,
    /// Free pages on per-CPU lists.
    pub per_cpu_free_lists: Option<Bytes>,
    /// Where pages can be swapped to.
    pub swap_devices: Vec<SwapDevice>,
    /// zram devices, for their ratio.
    pub zram: Vec<Zram>,
    /// KSM now.
    pub ksm: Option<KsmState>,
    /// The target.
    pub target: Option<ResolvedTarget>,
    /// The target's cgroup.
    pub cgroup: Option<CgroupMemory>,
    /// Its ancestors, parent first, without the root.
    pub ancestors: Vec<CgroupMemory>,
    /// Where the target's cgroup is threaded: the nearest cgroup above it that is
    /// not, which the memory of its processes is charged to.
    pub threaded_domain: Option<CgroupPath>,
    /// What `memory.min` and `memory.low` of the cgroups right below the target
    /// keep from reclaim on it, together; the target's own do not count.
    pub protected: Option<Bytes>,
    /// The generations of the pages of the target's cgroup and of those below
    /// it; `None` where the kernel does not tell them to us.
    pub generations: Option<Vec<GenerationList>>,
    /// The target's processes.
    pub processes: Vec<ProcessMemory>,
    /// Their summary.
    pub process_summary: TargetProcesses,
    /// What systemd says of the unit, where it was asked.
    pub unit: Option<UnitFacts>,
    /// RLIMIT_DATA of the target process, `soft:hard` as in
    /// [`crate::Knob::RlimitData`], and its `VmData`.
    pub rlimit_data: Option<String>,
    /// Data segment and private writable mappings of the process now.
    pub vm_data: Option<Bytes>,
    /// Whether the root cgroup already gives its children the memory controller.
    pub root_has_memory_controller: Option<bool>,
    /// Our own pid, which may be inside the target.
    pub own_pid: u32,
    /// Whether `/grey-optimizer` exists, and gives its children the controller.
    pub our_subtree: Option<bool>,
}
