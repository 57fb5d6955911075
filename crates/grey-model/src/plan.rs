//! The plan: a checked list of changes, each with what was there before, what
//! it should bring, and how it is undone.
//!
//! Data only. Policy makes plans, enforcement carries them out.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::action::DropCaches;
use crate::identity::{CgroupId, CgroupPath, ProcessId};
use crate::units::Bytes;

/// A file of a cgroup that can be set and restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum CgroupFile {
    /// `memory.high`: throttles.
    #[serde(rename = "memory.high")]
    MemoryHigh,
    /// `memory.max`: kills.
    #[serde(rename = "memory.max")]
    MemoryMax,
}

impl CgroupFile {
    /// The file's name.
    #[must_use]
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::MemoryHigh => "memory.high",
            Self::MemoryMax => "memory.max",
        }
    }
}

/// A file of KSM that can be set and restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum KsmFile {
    /// `run`.
    Run,
    /// `pages_to_scan`; not writable while an advisor runs.
    PagesToScan,
    /// `sleep_millisecs`.
    SleepMillisecs,
    /// `advisor_mode`, since 6.8.
    AdvisorMode,
}

impl KsmFile {
    /// The file's name below `/sys/kernel/mm/ksm`.
    #[must_use]
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::PagesToScan => "pages_to_scan",
            Self::SleepMillisecs => "sleep_millisecs",
            Self::AdvisorMode => "advisor_mode",
        }
    }
}

/// A unit's property that can be set and restored through systemd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum UnitMemoryProperty {
    /// `MemoryHigh=`
    MemoryHigh,
    /// `MemoryMax=`
    MemoryMax,
}

impl UnitMemoryProperty {
    /// The property's name on the bus.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MemoryHigh => "MemoryHigh",
            Self::MemoryMax => "MemoryMax",
        }
    }

    /// The cgroup file that systemd writes for it.
    #[must_use]
    pub const fn cgroup_file(self) -> CgroupFile {
        match self {
            Self::MemoryHigh => CgroupFile::MemoryHigh,
            Self::MemoryMax => CgroupFile::MemoryMax,
        }
    }
}

/// One setting of the kernel, or of systemd, that can be restored.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Knob {
    /// A file of a cgroup that may be written directly. The value is the
    /// file's content without the newline.
    CgroupFile {
        /// Which cgroup.
        cgroup: CgroupPath,
        /// Its id; `None` until it exists.
        id: Option<CgroupId>,
        /// Which file.
        file: CgroupFile,
    },
    /// The memory controller in `cgroup.subtree_control`. The value is
    /// `+memory` or `-memory`.
    MemoryController {
        /// The cgroup whose children get it.
        cgroup: CgroupPath,
    },
    /// A cgroup that we make. The value is `present` or absent.
    CgroupDirectory {
        /// Which.
        cgroup: CgroupPath,
        /// Where processes that are still in it go before it is removed.
        refuge: CgroupPath,
    },
    /// The cgroup that a process is in. The value is the path.
    ProcessCgroup {
        /// Which process.
        process: ProcessId,
    },
    /// A property of a unit, set at run time through systemd. The value is a
    /// number of bytes or `infinity`.
    UnitProperty {
        /// `nginx.service`.
        unit: String,
        /// Which property.
        property: UnitMemoryProperty,
    },
    /// A scope that we ask systemd to put around a process. The value is
    /// `present` or absent.
    TransientScope {
        /// `grey-optimizer-1234.scope`.
        scope: String,
        /// The process.
        process: ProcessId,
        /// The cgroup that it came from and goes back to.
        origin: CgroupPath,
    },
    /// A file of KSM. The value is the file's content without the newline; of
    /// `advisor_mode`, the chosen word.
    Ksm {
        /// Which.
        file: KsmFile,
    },
    /// A process's `oom_score_adj`.
    OomScoreAdj {
        /// Which process.
        process: ProcessId,
    },
    /// A process's RLIMIT_DATA. The value is `soft:hard`, bytes or `unlimited`.
    RlimitData {
        /// Which process.
        process: ProcessId,
    },
}

impl fmt::Display for Knob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CgroupFile { cgroup, file, .. } => {
                write!(formatter, "{} of {cgroup}", file.file_name())
            }
            Self::MemoryController { cgroup } => {
                write!(formatter, "cgroup.subtree_control of {cgroup}")
            }
            Self::CgroupDirectory { cgroup, .. } => write!(formatter, "cgroup {cgroup}"),
            Self::ProcessCgroup { process } => write!(formatter, "cgroup of process {process}"),
            Self::UnitProperty { unit, property } => {
                write!(formatter, "{} of {unit}", property.name())
            }
            Self::TransientScope { scope, .. } => write!(formatter, "scope {scope}"),
            Self::Ksm { file } => write!(formatter, "ksm/{}", file.file_name()),
            Self::OomScoreAdj { process } => {
                write!(formatter, "oom_score_adj of process {process}")
            }
            Self::RlimitData { process } => write!(formatter, "RLIMIT_DATA of process {process}"),
        }
    }
}

/// A knob's value, exactly as it is read and written, without the newline.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct KnobValue(pub String);

impl KnobValue {
    /// For people: numbers from 1 MiB on are taken for bytes and shown as such.
    #[must_use]
    pub fn readable(&self) -> String {
        /// Below this a number is read as easily as its unit, and may be a count.
        const FIRST_LARGE: u64 = 1 << 20;
        let amount = |word: &str| match word.parse::<u64>() {
            Ok(bytes) if bytes >= FIRST_LARGE => Bytes(bytes).to_string(),
            _ => word.to_owned(),
        };
        match self.0.split_once(':') {
            Some((soft, hard)) => format!("{}:{}", amount(soft), amount(hard)),
            None => amount(&self.0),
        }
    }

    /// The value of things that exist or do not: a directory, a scope.
    #[must_use]
    pub fn present() -> Self {
        Self("present".to_owned())
    }
}

impl fmt::Display for KnobValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

/// A write that cannot be undone and is bounded instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum OneShot {
    /// `memory.reclaim`, in slices.
    Reclaim {
        /// Of which cgroup.
        cgroup: CgroupPath,
        /// How much in all.
        amount: Bytes,
        /// Stop as soon as `memory.current` is at or below this.
        until: Option<Bytes>,
    },
    /// `process_madvise(MADV_PAGEOUT)` on each process.
    PageOut {
        /// Which processes.
        processes: Vec<ProcessId>,
    },
    /// `sync`, then `drop_caches`.
    DropCaches {
        /// What.
        what: DropCaches,
    },
}

impl fmt::Display for OneShot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reclaim { cgroup, .. } => write!(formatter, "memory.reclaim of {cgroup}"),
            Self::PageOut { processes } if processes.len() == 1 => {
                write!(formatter, "process_madvise of process {}", processes[0])
            }
            Self::PageOut { processes } => {
                write!(
                    formatter,
                    "process_madvise of {} processes",
                    processes.len()
                )
            }
            Self::DropCaches { .. } => formatter.write_str("vm/drop_caches"),
        }
    }
}

/// What a step changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A setting, which is journaled and can be restored.
    Set {
        /// Which.
        knob: Knob,
        /// What it was when the plan was made; `None`: it did not exist.
        before: Option<KnobValue>,
        /// What it is to become; `None`: it is to go away.
        after: Option<KnobValue>,
    },
    /// A write without memory.
    Once {
        /// Which.
        shot: OneShot,
    },
}

/// How bad it can get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Risk {
    /// Nothing notices.
    Low,
    /// The target may be slower for a while.
    Medium,
    /// The target may stall, or be killed if it grows.
    High,
}

/// What must still be true right before a step's write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Guard {
    /// `memory.current` of the cgroup is at most this.
    UsageAtMost {
        /// Which cgroup.
        cgroup: CgroupPath,
        /// The ceiling.
        ceiling: Bytes,
    },
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlanStep {
    /// The action that it serves: [`crate::Action::name`].
    pub action: String,
    /// What it changes.
    pub change: Change,
    /// What it should free at least; `None` when nothing can be said.
    #[serde(rename = "predicted_bytes")]
    pub predicted: Option<Bytes>,
    /// How bad it can get.
    pub risk: Risk,
    /// Why this step, and what the prediction rests on; one sentence.
    pub reason: String,
    /// How it is undone, in words.
    pub undo: String,
    /// What must hold right before the write.
    pub guards: Vec<Guard>,
    /// Whether the write may block for long, and so runs in a process of its
    /// own with a deadline.
    pub may_block: bool,
}

/// A whole plan, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The steps, in order.
    pub steps: Vec<PlanStep>,
    /// What people should know and what does not stop the plan.
    pub warnings: Vec<String>,
}

/// Why something is refused; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// The request makes no sense.
    Usage,
    /// We lack the permission.
    NotPermitted,
    /// It would do harm, or somebody else owns it.
    Unsafe,
    /// This kernel or machine cannot do it.
    NotSupported,
}

/// A refusal: what is in the way, and the next step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Refusal {
    /// What kind.
    pub kind: RefusalKind,
    /// What is in the way.
    pub reason: String,
    /// What to do next.
    pub hint: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_values_are_shown_as_sizes_and_small_ones_as_they_are() {
        let readable = |text: &str| KnobValue(text.to_owned()).readable();
        assert_eq!(readable("314572800"), "300.0 MiB");
        assert_eq!(readable("1000"), "1000");
        assert_eq!(readable("max"), "max");
        assert_eq!(readable("unlimited:4294967296"), "unlimited:4.0 GiB");
    }
}
