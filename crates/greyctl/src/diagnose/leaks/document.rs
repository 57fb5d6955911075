//! What the search for leaks adds to `grey.diagnosis/v1`.
//!
//! Plain data. Every list is complete: what is stable and what is too short to
//! judge is in it, too.

use std::fmt;

use grey_model::{CgroupPath, GrowthOf, KernelText, LeakJudgement, LeakVerdict, ProcessId};
use schemars::JsonSchema;
use serde::Serialize;

/// All of it; everything is `null` when nobody looked for leaks.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub(crate) struct LeakDetection {
    /// How long and how often it was looked.
    pub(crate) leak_window: Option<LeakWindow>,
    /// Every process that was seen, the worst verdict first; one that maps much
    /// shared memory twice.
    pub(crate) leaks: Option<Vec<ProcessLeak>>,
    /// The same processes folded by unit, else container, else program.
    pub(crate) leak_groups: Option<Vec<GroupLeak>>,
    /// Every cgroup of version 2, one entry for each kind of memory; where there is
    /// none, the machine's tmpfs, slab and other kernel memory as `/`.
    pub(crate) leak_cgroups: Option<Vec<CgroupLeak>>,
    /// Cgroups below which removed cgroups pile up.
    pub(crate) dying_cgroups: Option<Vec<DyingCgroups>>,
}

impl LeakDetection {
    /// Whether anything was called a leak.
    pub(crate) fn found_leak(&self) -> bool {
        let mut verdicts = (self.leaks.iter().flatten())
            .map(|leak| leak.judgement.verdict)
            .chain((self.leak_groups.iter().flatten()).map(|leak| leak.judgement.verdict))
            .chain((self.leak_cgroups.iter().flatten()).map(|leak| leak.judgement.verdict))
            .chain((self.dying_cgroups.iter().flatten()).map(|dying| dying.verdict));
        verdicts.any(|verdict| verdict == LeakVerdict::Leak)
    }
}

/// How long and how often it was looked.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub(crate) struct LeakWindow {
    /// How long it was asked for.
    pub(crate) asked_seconds: f64,
    /// From the first reading to the last.
    pub(crate) seconds: f64,
    /// Between two readings.
    pub(crate) interval_seconds: f64,
    /// How many readings there were.
    pub(crate) readings: u64,
    /// Whether somebody ended it before its time.
    pub(crate) ended_early: bool,
    /// The shortest window that gives a verdict at this interval.
    pub(crate) needs_seconds: f64,
}

/// A process, judged by its anonymous memory and swap, and where it maps shared
/// memory worth speaking of, once more by that.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ProcessLeak {
    /// Which process; after a restart the latest one.
    #[serde(flatten)]
    pub(crate) id: ProcessId,
    /// Its unit, else its container, else its program's name.
    pub(crate) group: KernelText,
    /// Its cgroup.
    pub(crate) cgroup: Option<CgroupPath>,
    /// The kernel's name for it.
    pub(crate) name: KernelText,
    /// Whether it ended before the last reading.
    pub(crate) ended: bool,
    /// Whether it still ran and was too small to be recorded at the end: what it
    /// held then is not known.
    pub(crate) out_of_sight: bool,
    /// What was followed: `anonymous` for every process; `shmem` is shared memory
    /// that it maps, as far as the machine has more of that, too.
    pub(crate) of: GrowthOf,
    /// The judgement.
    #[serde(flatten)]
    pub(crate) judgement: LeakJudgement,
}

/// What processes are folded by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum GroupKind {
    /// A systemd unit.
    Unit,
    /// A container.
    Container,
    /// Programs of one name.
    Program,
}

impl fmt::Display for GroupKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Unit => "unit",
            Self::Container => "container",
            Self::Program => "program",
        })
    }
}

/// A group of processes, judged by the sum of their anonymous memory and swap.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct GroupLeak {
    /// What it is folded by.
    pub(crate) kind: GroupKind,
    /// Its name.
    pub(crate) group: KernelText,
    /// The most processes that it had at once.
    pub(crate) processes: u64,
    /// Whether it had none at the last reading; over history, none that is among
    /// the largest.
    pub(crate) ended: bool,
    /// The judgement.
    #[serde(flatten)]
    pub(crate) judgement: LeakJudgement,
}

/// One kind of memory of a cgroup and everything below it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct CgroupLeak {
    /// Where it is.
    pub(crate) cgroup: CgroupPath,
    /// What was followed.
    pub(crate) of: GrowthOf,
    /// Whether it was not there at the last reading: it was removed, or over
    /// history is among the largest no more.
    pub(crate) ended: bool,
    /// The judgement.
    #[serde(flatten)]
    pub(crate) judgement: LeakJudgement,
}

/// Removed cgroups below a cgroup that something still keeps.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct DyingCgroups {
    /// Below which one.
    pub(crate) cgroup: CgroupPath,
    /// How many there were at the last reading.
    pub(crate) count: u64,
    /// How many came in the window; negative when they went.
    pub(crate) growth: Option<i64>,
    /// How sure it is that they become more, 0 to 1.
    pub(crate) confidence: Option<f64>,
    /// The verdict, with thresholds of 100 and 10 %.
    pub(crate) verdict: LeakVerdict,
}
