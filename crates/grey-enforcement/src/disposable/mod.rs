//! Writes that may block run in a process of their own, which can be thrown
//! away: our own program, started again with a hidden argument.
//!
//! The parent never waits longer than the deadline, whatever the kernel does
//! with the child. The child never outlives the parent's need: it is killed
//! with it.

mod child;
mod look_anew;
mod page_out;
mod parent;
mod reclaim;

pub use child::child_main;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use grey_model::{Bytes, CgroupPath, DropCaches, Knob, KnobValue, ProcessId};
use grey_telemetry::Roots;
use serde::{Deserialize, Serialize};

pub(crate) use parent::{JobEnd, JobRunner, ProcessRunner};

/// The program that is started for a write that may block: this one, with an
/// argument that makes it call [`child_main`].
#[derive(Debug, Clone)]
pub struct DisposableProgram {
    /// Its absolute path.
    pub executable: PathBuf,
    /// The hidden argument.
    pub argument: OsString,
}

/// What the child is told: one line of JSON on its standard input.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// Where the kernel's file systems are.
    pub(crate) roots: RootsText,
    /// Our pid: a child that has another parent does nothing.
    pub(crate) parent: u32,
    /// When it should stop by itself, in milliseconds from its start.
    pub(crate) deadline_milliseconds: u64,
    /// What to do.
    pub(crate) job: Job,
}

/// What a disposable process does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "snake_case")]
pub(crate) enum Job {
    /// Write a setting.
    SetKnob {
        knob: Knob,
        value: Option<KnobValue>,
    },
    /// `memory.reclaim` in slices.
    Reclaim {
        cgroup: CgroupPath,
        amount: Bytes,
        until: Option<Bytes>,
    },
    /// `process_madvise(MADV_PAGEOUT)`.
    PageOut { processes: Vec<ProcessId> },
    /// `sync`, then `drop_caches`.
    DropCaches { what: DropCaches },
    /// `clear_refs`: take marks of use away.
    ClearReferences { processes: Vec<ProcessId> },
    /// `lru_gen`: age generations of pages.
    Age { orders: Vec<AgingOrder> },
}

/// Which generation is to be aged; nothing happens when it is not the youngest
/// any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AgingOrder {
    /// The kernel's number of the cgroup.
    pub(crate) memcg: u64,
    /// The memory node.
    pub(crate) node: u32,
    /// The youngest generation.
    pub(crate) generation: u64,
}

/// What the child says: lines of JSON on its standard output, the last of
/// them `Done` or `Failed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case")]
pub(crate) enum Message {
    /// How far it is.
    Progress { done: u64, total: u64 },
    /// The end.
    Done { result: JobResult },
    /// The end, without success.
    Failed {
        text: String,
        errno: Option<i32>,
        gone: bool,
    },
}

/// What a job brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub(crate) enum JobResult {
    /// The setting was written.
    Written,
    /// Memory was asked for.
    Reclaimed {
        /// By how much `memory.current` fell over all slices.
        freed: Bytes,
        /// Why it ended.
        stopped: ReclaimStop,
    },
    /// Pages were advised to go.
    PagedOut {
        /// What the kernel was advised of, which is not what was freed.
        advised: Bytes,
        /// Processes that were paged out.
        processes: u64,
        /// Processes that were gone.
        gone: u64,
        /// Processes that we may not touch.
        denied: u64,
        /// Whether the deadline stopped it.
        timed_out: bool,
    },
    /// The caches were dropped.
    Dropped,
    /// The kernel looked anew which pages are in use.
    LookedAnew {
        /// Writes that were made.
        done: u64,
        /// Processes that were gone.
        gone: u64,
        /// Writes that the kernel refused.
        refused: u64,
        /// Whether the deadline stopped it.
        timed_out: bool,
        /// Time on a CPU, the kernel's for us included.
        cpu_microseconds: u64,
    },
}

/// Why a reclaim ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReclaimStop {
    /// The amount is reached.
    Amount,
    /// Usage is as low as was asked.
    Until,
    /// Three slices in a row freed less than a tenth of themselves.
    StoppedPaying,
    /// The deadline.
    Deadline,
}

/// [`Roots`] as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RootsText {
    procfs: PathBuf,
    sysfs: PathBuf,
    cgroupfs: PathBuf,
    systemd: PathBuf,
}

impl RootsText {
    pub(crate) fn of(roots: &Roots) -> Self {
        Self {
            procfs: roots.procfs.clone(),
            sysfs: roots.sysfs.clone(),
            cgroupfs: roots.cgroupfs.clone(),
            systemd: roots.systemd.clone(),
        }
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots {
            procfs: self.procfs.clone(),
            sysfs: self.sysfs.clone(),
            cgroupfs: self.cgroupfs.clone(),
            systemd: self.systemd.clone(),
        }
    }
}

pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
