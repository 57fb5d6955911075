//! What is known of the machine at one instant, as the view shows it.
//!
//! Plain data: from the kernel or from history, the views need not know. What
//! is not known is `None`, and becomes a dash.

use std::time::Duration;

use grey_model::{
    Breakdown, Bytes, CgroupMemory, CgroupPath, GroupBy, GrowthOf, KernelText, LeakVerdict,
    Pressure, ProcessGroup, ProcessId, ProcessMemory, RowName, SystemTotals, Trace,
};

use super::fold;
use crate::diagnose::document::Swap;

/// What can be selected and opened.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Key {
    /// A process.
    Process(ProcessId),
    /// A group of processes.
    Group(GroupBy, Option<KernelText>),
    /// A control group.
    Cgroup(CgroupPath),
}

/// The kinds of memory that the bar tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Of programs.
    Anonymous,
    /// Files in memory, and memory that programs share.
    Shared,
    /// The kernel's own, with pools, page tables and slab.
    Kernel,
    /// What comes from files and can go.
    Cache,
    /// Free.
    Free,
    /// What no counter explains.
    Residual,
}

impl Class {
    /// All of them, as the bar shows them.
    pub(super) const ALL: [Self; 6] = [
        Self::Anonymous,
        Self::Shared,
        Self::Kernel,
        Self::Cache,
        Self::Residual,
        Self::Free,
    ];

    /// What the legend calls it.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Shared => "tmpfs+shared",
            Self::Kernel => "kernel",
            Self::Cache => "file cache",
            Self::Free => "free",
            Self::Residual => "residual",
        }
    }

    /// Where a row of the breakdown belongs.
    pub(super) const fn of(row: RowName) -> Self {
        match row {
            RowName::Anonymous => Self::Anonymous,
            RowName::Shared => Self::Shared,
            RowName::FileCache
            | RowName::FileActive
            | RowName::FileInactive
            | RowName::FileOther
            | RowName::SwapCache => Self::Cache,
            RowName::Free | RowName::FreePerCpuLists => Self::Free,
            RowName::Residual => Self::Residual,
            RowName::SlabReclaimable
            | RowName::KernelReclaimable
            | RowName::SlabUnreclaimable
            | RowName::PageTables
            | RowName::SecondaryPageTables
            | RowName::KernelStacks
            | RowName::Vmalloc
            | RowName::PerCpu
            | RowName::Hugetlb
            | RowName::Balloon
            | RowName::ZswapPool
            | RowName::ZramPool
            | RowName::Graphics
            | RowName::PageDescriptors
            | RowName::Bounce
            | RowName::WritebackCopies
            | RowName::HardwareCorrupted => Self::Kernel,
        }
    }
}

/// The sum of each class, in the order of [`Class::ALL`]. Only the residual can
/// be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Classes([i64; Class::ALL.len()]);

impl Classes {
    /// The rows of a breakdown, by class.
    pub(super) fn of(breakdown: &Breakdown) -> Self {
        let mut classes = Self::default();
        for row in &breakdown.0 {
            classes.add(Class::of(row.name), row.bytes);
        }
        classes
    }

    /// Adds `bytes` to `class`.
    pub(super) fn add(&mut self, class: Class, bytes: i64) {
        for (place, sum) in Class::ALL.iter().zip(&mut self.0) {
            if *place == class {
                *sum = sum.saturating_add(bytes);
            }
        }
    }

    /// Each class with its sum.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Class, i64)> {
        Class::ALL.into_iter().zip(self.0)
    }
}

/// What of something is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A kind of memory that can leak.
    Kind(GrowthOf),
    /// All that a control group uses, where no more is known.
    Usage,
}

impl Default for What {
    fn default() -> Self {
        Self::Kind(GrowthOf::Anonymous)
    }
}

impl What {
    /// What a sentence calls it.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Kind(GrowthOf::Anonymous) => "anonymous and swap",
            Self::Kind(of) => of.label(),
            Self::Usage => "whole usage and swap",
        }
    }

    /// What a mark calls it; `None` for what is meant where nothing is said.
    pub(super) const fn word(self) -> Option<&'static str> {
        match self {
            Self::Kind(GrowthOf::Anonymous) | Self::Usage => None,
            Self::Kind(GrowthOf::Shmem) => Some("tmpfs"),
            Self::Kind(of) => Some(of.label()),
        }
    }
}

/// How something changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Trend {
    /// Of all that is followed of it, in bytes per minute.
    pub(super) per_minute: Option<i64>,
    /// What the leak rule says, where it grows enough to be asked: the worst of
    /// what is said of each kind.
    pub(super) verdict: Option<LeakVerdict>,
    /// Of which kind it says that.
    pub(super) of: What,
}

/// A process.
#[derive(Debug, Clone)]
pub(super) struct ProcessRow {
    /// What is known of it; RSS is of now, PSS and USS of `pss_age` ago.
    pub(super) memory: ProcessMemory,
    /// How long ago PSS and USS were read; both were carried on since.
    pub(super) pss_age: Option<Duration>,
    /// Marks one life of the process: an exec begins another.
    pub(super) life: u64,
    /// How it changes.
    pub(super) trend: Trend,
}

/// A group of processes.
#[derive(Debug, Clone)]
pub(super) struct GroupRow {
    /// The group.
    pub(super) group: ProcessGroup,
    /// How it changes.
    pub(super) trend: Trend,
}

/// A control group.
#[derive(Debug, Clone)]
pub(super) struct CgroupRow {
    /// Its account.
    pub(super) memory: CgroupMemory,
    /// How it changes.
    pub(super) trend: Trend,
}

/// Processes whose PSS is unknown because of what its reading takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Unmeasured {
    /// Those that will have their turn.
    pub(super) waiting: u64,
    /// Those that take longer than can be saved for one.
    pub(super) too_large: u64,
}

impl Unmeasured {
    /// `PSS of 2 still to be read, of 1 too dear to read`; `None` where there
    /// is nothing to say.
    pub(super) fn sentence(self) -> Option<String> {
        match (self.waiting, self.too_large) {
            (0, 0) => None,
            (waiting, 0) => Some(format!("PSS of {waiting} still to be read")),
            (0, too_large) => Some(format!("PSS of {too_large} too dear to read")),
            (waiting, too_large) => Some(format!(
                "PSS of {waiting} still to be read, of {too_large} too dear to read"
            )),
        }
    }

    /// `3 without PSS`, whatever the reason.
    pub(super) fn in_short(self) -> Option<String> {
        let count = self.waiting.saturating_add(self.too_large);
        (count > 0).then(|| format!("{count} without PSS"))
    }
}

/// The share of the time that was lost to stalls between two looks, in percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stall {
    /// Some task stalled.
    pub(super) some: f64,
    /// All tasks did.
    pub(super) full: f64,
}

/// What was opened.
#[derive(Debug, Clone)]
pub(super) struct Detail {
    /// Which.
    pub(super) key: Key,
    /// A process with its page tables read now; `None` for others, and where
    /// it is gone.
    pub(super) process: Option<ProcessMemory>,
    /// What of it moved most.
    pub(super) moved: Moved,
}

/// One kind of memory over time.
#[derive(Debug, Clone, Default)]
pub(super) struct Moved {
    /// The readings.
    pub(super) trace: Trace,
    /// Which kind, and how it changes.
    pub(super) trend: Trend,
}

/// One instant.
#[derive(Debug, Clone)]
pub(super) struct Shot {
    /// When, in milliseconds since 1970.
    pub(super) at_unix_ms: u64,
    /// The same in seconds since boot, where that is known.
    pub(super) since_boot_seconds: Option<u64>,
    /// The four numbers.
    pub(super) totals: SystemTotals,
    /// Where every byte is.
    pub(super) classes: Classes,
    /// The kernel's averages; `None` where it has none, and in history.
    pub(super) pressure: Option<Pressure>,
    /// Stalls over time, the oldest first.
    pub(super) stalls: Vec<Stall>,
    /// Where pages go.
    pub(super) swap: Swap,
    /// The processes.
    pub(super) processes: Vec<ProcessRow>,
    /// Processes that may not be looked into.
    pub(super) unreadable: u64,
    /// Processes whose PSS is dear, and so not known yet or not at all.
    pub(super) unmeasured: Unmeasured,
    /// The groups, and by what they are folded.
    pub(super) groups: Option<(GroupBy, Vec<GroupRow>)>,
    /// The same folded by something else before, of the same look.
    pub(super) other_folds: Vec<(GroupBy, Vec<GroupRow>)>,
    /// The control groups, parents first; `None` where they were not read.
    pub(super) cgroups: Option<Vec<CgroupRow>>,
    /// What was opened.
    pub(super) detail: Option<Detail>,
}

impl Shot {
    /// Folds its processes by something else, without another look.
    pub(super) fn refold(&mut self, by: GroupBy) {
        if self.groups.as_ref().is_some_and(|(fold, _)| *fold == by) {
            return;
        }
        let mut folds = self.other_folds.iter();
        let folded = match folds.position(|(fold, _)| *fold == by) {
            Some(place) => self.other_folds.swap_remove(place),
            None => (by, fold::rows(&self.processes, by, self.since_boot_seconds)),
        };
        self.other_folds.extend(self.groups.replace(folded));
    }

    /// What was read of `key` because it is opened.
    pub(super) fn opened(&self, key: &Key) -> Option<&Detail> {
        self.detail.as_ref().filter(|detail| detail.key == *key)
    }

    /// A process.
    pub(super) fn process(&self, id: ProcessId) -> Option<&ProcessRow> {
        self.processes.iter().find(|row| row.memory.id == id)
    }

    /// A group.
    pub(super) fn group(&self, by: GroupBy, name: Option<&KernelText>) -> Option<&GroupRow> {
        let (folded, groups) = self.groups.as_ref()?;
        let mut found = groups.iter();
        found.find(|row| *folded == by && row.group.name.as_ref() == name)
    }

    /// A control group.
    pub(super) fn cgroup(&self, path: &CgroupPath) -> Option<&CgroupRow> {
        let mut groups = self.cgroups.iter().flatten();
        groups.find(|row| row.memory.path == *path)
    }
}

/// Anonymous memory and swap of a process; `None` where it is unknown.
pub(super) fn held(memory: &ProcessMemory) -> Option<Bytes> {
    let swap = memory.swap.unwrap_or_default();
    Some(memory.rss_anon?.saturating_add(swap))
}

#[cfg(test)]
mod tests {
    use grey_model::BreakdownRow;

    use super::*;

    #[test]
    fn the_classes_hold_every_byte_once() {
        let rows = [
            (RowName::Anonymous, 5),
            (RowName::Free, 7),
            (RowName::Residual, -2),
        ];
        let rows = rows.map(|(name, bytes)| BreakdownRow { name, bytes });
        let breakdown = Breakdown(rows.to_vec());
        let classes = Classes::of(&breakdown);
        let sum: i64 = classes.iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(sum, breakdown.sum());
        let free = classes.iter().find(|(class, _)| *class == Class::Free);
        assert_eq!(free, Some((Class::Free, 7)));
    }
}
