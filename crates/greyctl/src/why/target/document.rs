//! `grey.why/v1`: where a target's memory is, and why.
//!
//! Plain data. What could not be read is `null`, and `unseen` says why.

use grey_model::{
    Bytes, CgroupMemory, CgroupPath, ColdMemory, GrowthOf, KernelText, LeakJudgement, MappedMemory,
    Pressure, ProcessId, ResolvedTarget, SystemTotals,
};
use schemars::JsonSchema;
use serde::Serialize;

/// The name of this document's schema.
pub(crate) const SCHEMA: &str = "grey.why/v1";

/// Targets, explained.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "grey.why/v1")]
pub(crate) struct WhyDocument {
    /// Always `grey.why/v1`.
    #[schemars(extend("const" = "grey.why/v1"))]
    pub(crate) schema: &'static str,
    /// Each target that has the name.
    pub(crate) targets: Vec<Account>,
    /// The machine, to compare with.
    pub(crate) system: SystemTotals,
    /// Memory pressure of the machine; `null` where the kernel measures none.
    pub(crate) pressure: Option<Pressure>,
    /// What is missing on this machine or to us, each a sentence.
    pub(crate) notes: Vec<String>,
}

/// What kind of answer there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AccountKind {
    /// A process with memory.
    Process,
    /// A cgroup with an account.
    Cgroup,
    /// A cgroup of which there is no account: its processes alone.
    ProcessesAlone,
    /// The root cgroup: the whole machine.
    RootCgroup,
    /// A cgroup without processes.
    EmptyCgroup,
    /// A kernel thread: no memory of its own.
    KernelThread,
    /// It has ended and waits to be collected.
    Zombie,
    /// It ended, or was removed, while it was looked at.
    Vanished,
    /// It is there, and not even its amounts could be read.
    Unreadable,
}

/// One target, explained.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Account {
    /// What it is.
    pub(crate) target: ResolvedTarget,
    /// What kind of answer this is.
    pub(crate) kind: AccountKind,
    /// How much it holds in memory; `held_by` says by what account.
    #[serde(rename = "held_bytes")]
    pub(crate) held: Option<Bytes>,
    /// `memory.current`, `pss` or `rss`; `null` where nothing is held.
    pub(crate) held_by: Option<&'static str>,
    /// What it has in swap.
    #[serde(rename = "swap_bytes")]
    pub(crate) swap: Option<Bytes>,
    /// What it consists of, the largest first.
    pub(crate) parts: Vec<Part>,
    /// The process whose mappings were read: the target, or the largest of it.
    pub(crate) mappings_of: Option<ProcessId>,
    /// Its mappings by kind and name, the largest first; `null` when they were
    /// not read.
    pub(crate) mappings: Option<Vec<MappedMemory>>,
    /// What is shared, and with whom.
    pub(crate) sharing: Option<Sharing>,
    /// The processes, the largest first.
    pub(crate) processes: Vec<Member>,
    /// How many cgroups below the target's were removed and have not gone; `null`
    /// of a process, and where the kernel does not tell.
    pub(crate) dying_cgroups: Option<u64>,
    /// What of it is cold, as far as the kernel tells by itself.
    pub(crate) cold: Option<ColdMemory>,
    /// The target's cgroup, then each above it up to the root, with limits,
    /// events and pressure.
    pub(crate) cgroups: Vec<CgroupMemory>,
    /// Each limit that holds on it, the one that is nearest first.
    pub(crate) limits: Vec<HeldLimit>,
    /// How it grows; `null` where nothing is known over time.
    pub(crate) trend: Option<Trend>,
    /// The answer in sentences: what it holds first, then the causes by size,
    /// then limits, pressure and trend.
    pub(crate) findings: Vec<Finding>,
    /// What could not be seen, and why.
    pub(crate) unseen: Vec<String>,
    /// What would help, each a sentence, some with a command behind a colon.
    pub(crate) advice: Vec<String>,
}

/// A part of what a target holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Part {
    /// Of what.
    pub(crate) kind: PartKind,
    /// How much: of what a control group is charged, or of the RSS of processes,
    /// whose parts are together more than `held_bytes` where that is PSS.
    pub(crate) bytes: Bytes,
}

/// What a part is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PartKind {
    /// Private memory of programs.
    Anonymous,
    /// Files: mapped ones of a process, all page cache of a cgroup.
    File,
    /// tmpfs and shared memory.
    Shared,
    /// Kernel objects that can be freed when they are not used.
    SlabReclaimable,
    /// Kernel objects that cannot.
    SlabUnreclaimable,
    /// Other memory of the kernel: page tables, stacks, network buffers.
    Kernel,
    /// Compressed pages in memory.
    Zswap,
}

/// What a process shares with others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Sharing {
    /// Resident memory, shared pages counted whole.
    #[serde(rename = "rss_bytes")]
    pub(crate) rss: Option<Bytes>,
    /// Shared pages divided by their users.
    #[serde(rename = "pss_bytes")]
    pub(crate) pss: Option<Bytes>,
    /// Mapped by nobody else.
    #[serde(rename = "uss_bytes")]
    pub(crate) uss: Option<Bytes>,
    /// The largest files whose pages others map, too; `null` when the mappings
    /// were not read.
    pub(crate) files: Option<Vec<SharedWith>>,
    /// Processes that could not be looked into for it.
    pub(crate) unseen_processes: u64,
}

/// A file that others map, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct SharedWith {
    /// Its name.
    pub(crate) name: KernelText,
    /// Resident pages of it that others map.
    #[serde(rename = "shared_bytes")]
    pub(crate) shared: Bytes,
    /// Who maps it.
    pub(crate) processes: Vec<Other>,
}

/// Another process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Other {
    /// Its pid.
    pub(crate) pid: u32,
    /// The kernel's name for it.
    pub(crate) name: KernelText,
}

/// A process of the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Member {
    /// Which.
    #[serde(flatten)]
    pub(crate) id: ProcessId,
    /// The kernel's name for it.
    pub(crate) name: KernelText,
    /// Resident memory.
    #[serde(rename = "rss_bytes")]
    pub(crate) rss: Option<Bytes>,
    /// Its fair share of it.
    #[serde(rename = "pss_bytes")]
    pub(crate) pss: Option<Bytes>,
    /// In swap.
    #[serde(rename = "swap_bytes")]
    pub(crate) swap: Option<Bytes>,
}

/// A limit of a cgroup that the target is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct HeldLimit {
    /// Whose limit it is.
    pub(crate) cgroup: CgroupPath,
    /// `memory.high` or `memory.max`.
    pub(crate) file: &'static str,
    /// The limit.
    #[serde(rename = "limit_bytes")]
    pub(crate) limit: Bytes,
    /// What is charged to that cgroup and all below it.
    #[serde(rename = "used_bytes")]
    pub(crate) used: Option<Bytes>,
    /// What is left; 0 when it is over it.
    #[serde(rename = "left_bytes")]
    pub(crate) left: Option<Bytes>,
}

/// Where a trend comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TrendSource {
    /// What was recorded.
    History,
    /// A look of the length that was asked for.
    Look,
}

/// How a target grows.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Trend {
    /// Where it comes from.
    pub(crate) source: TrendSource,
    /// What was followed.
    pub(crate) of: GrowthOf,
    /// Of which process; `null` for the cgroup as a whole.
    pub(crate) process: Option<ProcessId>,
    /// That process's name.
    pub(crate) name: Option<KernelText>,
    /// The judgement.
    #[serde(flatten)]
    pub(crate) judgement: LeakJudgement,
}

/// What a sentence is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Topic {
    /// How much it holds at all.
    Total,
    /// A part of that.
    Part,
    /// Its processes.
    Processes,
    /// Cgroups below it that were removed and have not gone.
    Removed,
    /// Its mappings.
    Mappings,
    /// What it shares.
    Sharing,
    /// What is cold.
    Cold,
    /// What it has in swap.
    Swap,
    /// A limit, or that there is none.
    Limit,
    /// What happened at limits.
    Events,
    /// Waiting for memory.
    Pressure,
    /// Growth.
    Trend,
}

/// A sentence, and the size of what it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Finding {
    /// What it is about.
    pub(crate) topic: Topic,
    /// How much memory it explains; `null` when it explains none by itself.
    pub(crate) bytes: Option<Bytes>,
    /// The sentence.
    pub(crate) text: String,
}
