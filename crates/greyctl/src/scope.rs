//! What was asked for: everything, what was found running, or whatever fits the
//! words that were typed.
//!
//! Pure. What is gone cannot be found; the words still tell which it was.

use std::collections::BTreeSet;

use grey_model::{CgroupPath, KernelText, ProcessId, ResolvedTarget, Target, TargetKind};
use grey_telemetry::target::COMMAND_NAME_BYTES;

/// What was asked for; everything when no target was named.
pub(crate) struct Scope {
    everything: bool,
    processes: BTreeSet<ProcessId>,
    cgroups: Vec<CgroupPath>,
    typed: Vec<Target>,
}

impl Scope {
    /// What was found.
    pub(crate) fn of(targets: &[ResolvedTarget]) -> Self {
        let trees = targets
            .iter()
            .filter(|target| target.kind != TargetKind::Process)
            .filter_map(|target| target.cgroup.clone());
        let processes = targets.iter().flat_map(|target| &target.processes);
        Self {
            everything: targets.is_empty(),
            processes: processes.copied().collect(),
            cgroups: match targets {
                [] => vec![CgroupPath::root()],
                _ => trees.collect(),
            },
            typed: Vec::new(),
        }
    }

    /// Whatever fits one of the words, also what is gone.
    pub(crate) fn typed(targets: &[Target]) -> Self {
        if targets.is_empty() {
            return Self::of(&[]);
        }
        Self {
            everything: false,
            processes: BTreeSet::new(),
            cgroups: Vec::new(),
            typed: targets.to_vec(),
        }
    }

    /// The trees of cgroups that were found.
    pub(crate) fn trees(&self) -> &[CgroupPath] {
        &self.cgroups
    }

    /// Whether what was asked for can be told by names and cgroups alone: nothing
    /// that was found, and no pid.
    pub(crate) fn tells_by_name(&self) -> bool {
        let is_pid = |target: &Target| matches!(target, Target::Pid(_));
        self.everything || (!self.typed.is_empty() && !self.typed.iter().any(is_pid))
    }

    /// Whether this pid was asked for.
    pub(crate) fn has_pid(&self, pid: u32) -> bool {
        self.typed.contains(&Target::Pid(pid))
    }

    /// Whether this process was asked for.
    pub(crate) fn has(
        &self,
        id: ProcessId,
        name: &KernelText,
        cgroup: Option<&CgroupPath>,
    ) -> bool {
        self.everything
            || self.processes.contains(&id)
            || cgroup.is_some_and(|path| self.has_cgroup(path))
            || self.typed.iter().any(|target| match target {
                Target::Pid(pid) => *pid == id.pid,
                Target::Name(typed) | Target::Word(typed) => is_called(name, typed),
                Target::Unit(_) | Target::Cgroup(_) => false,
            })
    }

    /// Whether the processes of this name in this cgroup were.
    pub(crate) fn has_group(&self, name: &KernelText, cgroup: Option<&CgroupPath>) -> bool {
        // No process has it.
        let nobody = ProcessId {
            pid: 0,
            start_time_ticks: 0,
        };
        self.has(nobody, name, cgroup)
    }

    /// Whether this cgroup was asked for, itself or a cgroup above it.
    pub(crate) fn has_cgroup(&self, path: &CgroupPath) -> bool {
        let is_below = |tree: &CgroupPath| tree.contains(path);
        self.cgroups.iter().any(is_below)
            || self.typed.iter().any(|target| match target {
                Target::Cgroup(tree) => tree.contains(path),
                Target::Unit(unit) => path.components().any(|name| name == unit.as_bytes()),
                Target::Word(word) => {
                    CgroupPath::new(word.as_bytes()).is_some_and(|tree| tree.contains(path))
                }
                Target::Pid(_) | Target::Name(_) => false,
            })
    }
}

fn is_called(name: &KernelText, typed: &str) -> bool {
    let kept = typed.as_bytes();
    let kept = kept.get(..COMMAND_NAME_BYTES).unwrap_or(kept);
    name.as_bytes() == kept
}
