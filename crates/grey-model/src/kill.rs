//! Processes that were killed: what a log says of it, and what it comes to.
//!
//! [`KillRecord`] is what one report of a log holds and nothing more; [`Kill`]
//! is the explained kill. What a log does not say is `None`, never 0.

use std::time::Duration;

use serde::Serialize;

use crate::growth::{Growth, LastMinute};
use crate::identity::CgroupPath;
use crate::limit::MemoryLimit;
use crate::moment::{CivilTime, Moment};
use crate::nobody_killed::NobodyKilledRecord;
use crate::text::KernelText;
use crate::unit_event::UnitRecord;
use crate::units::{Bytes, Pages, Percent};

/// Who ended a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Killer {
    /// The kernel, because a control group was at its limit.
    KernelCgroup,
    /// The kernel, and not because of a control group's limit: the machine was
    /// out of memory, or what `shortage` says.
    KernelGlobal,
    /// systemd-oomd, because of memory pressure or full swap.
    SystemdOomd,
    /// A signal of a person or of a program, such as earlyoom or nohang.
    Signal,
    /// The log does not say.
    Unknown,
}

/// When something was logged, as far as its line says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogTime {
    /// By the clock on the wall.
    pub wall: WallTime,
    /// Since boot, by the kernel's clock, which stands still in suspend.
    pub since_boot: Option<Duration>,
}

/// A time by the clock on the wall.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WallTime {
    /// The line has none.
    #[default]
    Unknown,
    /// With its zone.
    At(Moment),
    /// In the zone of the machine that wrote it.
    Local(CivilTime),
}

/// One thing that a log says of a kill.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedRecord {
    /// When.
    pub time: LogTime,
    /// On which machine, where the log names it.
    pub host: Option<KernelText>,
    /// What.
    pub record: KillRecord,
}

/// What a log says of a kill.
#[derive(Debug, Clone, PartialEq)]
pub enum KillRecord {
    /// The kernel's out-of-memory killer killed one process.
    Kernel(Box<KernelKill>),
    /// systemd-oomd killed what was in a cgroup.
    Oomd(OomdKill),
    /// systemd saw what became of a unit.
    Unit(UnitRecord),
    /// A program that watches memory sent a signal.
    Program(ProgramKill),
    /// The kernel's out-of-memory killer killed nobody.
    Nobody(Box<NobodyKilledRecord>),
}

/// Whose memory was out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Constraint {
    /// The machine's (`CONSTRAINT_NONE`).
    Machine,
    /// That of the nodes that a cpuset allows (`CONSTRAINT_CPUSET`).
    Cpuset,
    /// That of the nodes that a memory policy allows
    /// (`CONSTRAINT_MEMORY_POLICY`).
    MemoryPolicy,
    /// A control group's (`CONSTRAINT_MEMCG`).
    Cgroup,
}

/// What the kernel's out-of-memory killer was called for.
///
/// # Kernel
/// `gfp_mask` and `order` of a report's first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryRequest {
    /// For nothing: somebody asked with SysRq F.
    SysRq,
    /// For what a page fault needed, of which nothing more is known. Only until
    /// Linux 5.15.
    PageFault,
    /// For pages.
    Pages {
        /// 2 to the power of this many, in one piece.
        order: u8,
        /// The part of memory that they had to be of.
        zone: Option<DeviceZone>,
    },
}

/// A part of memory that is kept for devices which reach no other addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceZone {
    /// `GFP_DMA`.
    Dma,
    /// `GFP_DMA32`.
    Dma32,
}

/// What there was not enough of when the kernel killed although no control group
/// was at its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Shortage {
    /// Memory of the machine.
    Machine,
    /// Memory of the nodes that a cpuset allows.
    CpusetNodes,
    /// Memory of the nodes that a memory policy allows.
    PolicyNodes,
    /// Several pages in one piece.
    Contiguous,
    /// Memory that certain devices reach (`GFP_DMA`, `GFP_DMA32`).
    DeviceZone,
    /// What a page fault needed: of what, the kernel does not say.
    PageFault,
    /// Nothing: somebody asked for the kill with SysRq F.
    Nothing,
}

/// A counter of a control group as a report prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CounterUse {
    /// In use.
    #[serde(rename = "usage_bytes")]
    pub usage: Bytes,
    /// The most that it may be.
    #[serde(rename = "limit_bytes")]
    pub limit: MemoryLimit,
    /// How often it was at the limit.
    pub failures: u64,
}

/// One report of the kernel's out-of-memory killer.
///
/// # Kernel
/// `mm/oom_kill.c`, `mm/memcontrol.c`; what they print since Linux 5.4.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KernelKill {
    /// Who was killed.
    pub pid: Option<u32>,
    /// Its name.
    pub name: Option<KernelText>,
    /// Whose process it was.
    pub uid: Option<u32>,
    /// Whose memory was out.
    pub constraint: Option<Constraint>,
    /// Who asked for the memory that was not there.
    pub asked_by: Option<KernelText>,
    /// What was asked for.
    pub request: Option<MemoryRequest>,
    /// The memory nodes that it could be of, where not all are allowed.
    pub nodes: Option<KernelText>,
    /// Whether the one that asked was killed for it
    /// (`vm.oom_kill_allocating_task`).
    pub killed_who_asked: bool,
    /// The cgroup that was at its limit.
    pub limit_cgroup: Option<CgroupPath>,
    /// The cgroup that the victim was in.
    pub victim_cgroup: Option<CgroupPath>,
    /// The cgroup that was killed as one (`memory.oom.group`).
    pub killed_group: Option<CgroupPath>,
    /// Memory of the cgroup at its limit.
    pub memory: Option<CounterUse>,
    /// Its swap (version 2).
    pub swap: Option<CounterUse>,
    /// Its memory and swap together (version 1).
    pub memory_and_swap: Option<CounterUse>,
    /// The machine's swap that was free.
    pub swap_free: Option<Bytes>,
    /// The machine's swap.
    pub swap_total: Option<Bytes>,
    /// The victim's anonymous memory.
    pub anon: Option<Bytes>,
    /// Its mapped files.
    pub file: Option<Bytes>,
    /// Its shared memory.
    pub shmem: Option<Bytes>,
    /// Its OOM score's correction.
    pub oom_score_adj: Option<i16>,
    /// The largest of the processes that could have been killed.
    pub tasks: Vec<TaskRow>,
    /// How many more there were.
    pub tasks_left_out: u64,
    /// Whether the report's beginning and its end are both there.
    pub whole: bool,
    /// How often it was told that it was killed: the first victim of a group
    /// is killed again with its group, and counts twice in `memory.events`.
    pub told: u64,
}

/// A row of the report's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRow {
    /// Which process.
    pub pid: u32,
    /// Its name.
    pub name: KernelText,
    /// Its resident set.
    pub rss: Pages,
    /// Its pages in swap.
    pub swap: Pages,
    /// Its OOM score's correction.
    pub oom_score_adj: i16,
}

/// What systemd-oomd says of one kill.
#[derive(Debug, Clone, PartialEq)]
pub struct OomdKill {
    /// What was killed.
    pub cgroup: Option<CgroupPath>,
    /// Why.
    pub cause: OomdCause,
}

/// Why systemd-oomd killed.
#[derive(Debug, Clone, PartialEq)]
pub enum OomdCause {
    /// Memory pressure.
    Pressure {
        /// Of which cgroup.
        cgroup: Option<CgroupPath>,
        /// How much.
        pressure: Percent,
        /// How much is allowed.
        limit: Percent,
        /// For how long, in systemd's words.
        duration: KernelText,
    },
    /// Memory and swap were nearly full.
    Swap {
        /// Memory in use.
        memory_used: Option<Bytes>,
        /// Swap in use.
        swap_used: Option<Bytes>,
        /// Swap in all.
        swap_total: Option<Bytes>,
        /// How much of it may be used.
        limit: Option<Percent>,
    },
    /// In words that are not known here.
    Other(KernelText),
}

/// A signal that a program sent which watches memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramKill {
    /// Which program.
    pub program: KernelText,
    /// The signal's number.
    pub signal: u8,
    /// To whom.
    pub pid: Option<u32>,
    /// The victim's name.
    pub name: Option<KernelText>,
    /// Whose process it was.
    pub uid: Option<u32>,
    /// The cgroup that the victim was in, where that is known: few programs say
    /// it.
    pub cgroup: Option<CgroupPath>,
    /// The victim's resident set, to the MiB.
    pub rss: Option<Bytes>,
}

/// A process that was killed, explained.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Kill {
    /// When, in UTC; `null` when the log does not say.
    pub at: Option<Moment>,
    /// By how many seconds that may be too late: the machine was suspended
    /// that long since boot, and the kernel's clock stood still. 0 when it is
    /// exact, `null` with `at`.
    pub at_uncertain_by_seconds: Option<f64>,
    /// When, in seconds since boot; `null` when the log does not say.
    pub since_boot_seconds: Option<f64>,
    /// On which machine, where the log names it.
    pub host: Option<KernelText>,
    /// Who was killed; `null` when the log does not say, or when a whole
    /// cgroup was killed.
    pub pid: Option<u32>,
    /// Its name.
    pub name: Option<KernelText>,
    /// Whose process it was.
    pub uid: Option<u32>,
    /// Who killed it.
    pub killer: Killer,
    /// Who it was one of, where `killer` is `unknown` and that much is known: the
    /// kernel, for whichever reason, or systemd-oomd, too; `null` with every other
    /// killer, and where it can have been anybody.
    pub can_be: Option<Vec<Killer>>,
    /// What there was not enough of, where the killer is `kernel-global`; `null`
    /// with every other one.
    pub shortage: Option<Shortage>,
    /// The program that sent the signal, where the log names it: `earlyoom`,
    /// `nohang`, `systemd`.
    pub program: Option<KernelText>,
    /// The number of the signal: 9 of the kernel and of systemd-oomd.
    pub signal: Option<u8>,
    /// The cgroup that it was in.
    pub cgroup: Option<CgroupPath>,
    /// The systemd unit that it was in.
    pub unit: Option<KernelText>,
    /// The cgroup that was at its limit: that one or one above it; `null`
    /// where no cgroup's limit was the reason, or it is unknown.
    pub limit_cgroup: Option<CgroupPath>,
    /// The limit of that cgroup; `null` where there is none or it is unknown.
    pub limit_bytes: Option<Bytes>,
    /// What that cgroup used.
    pub usage_bytes: Option<Bytes>,
    /// The victim's resident set when it was killed.
    pub rss_bytes: Option<Bytes>,
    /// Whether its cgroup was killed as one (`memory.oom.group`, or by
    /// systemd-oomd).
    pub whole_group: bool,
    /// Who used the most when it was killed, of those that could have been,
    /// largest first; `null` when the log does not say.
    pub consumers: Option<Vec<Consumer>>,
    /// What had grown in the five minutes before it, largest growth first; where a
    /// cgroup was at its limit, what was in that cgroup before all else. `null`
    /// where there is no history of that time, or a saved log was searched, which
    /// may be another machine's.
    pub grew: Option<Vec<Growth>>,
    /// How much of these five minutes history has, from its first sample to its
    /// last; `null` with `grew`.
    pub grew_covers_seconds: Option<f64>,
    /// The minute before it, where a recorder has kept one (`history --dump`);
    /// `null` where none covers the kill's time, or a saved log was searched.
    pub last_minute: Option<LastMinute>,
    /// What happened, each a sentence.
    pub explanation: Vec<String>,
    /// What to do about it, each a sentence or a command.
    pub advice: Vec<String>,
}

/// A process that used memory when somebody was killed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Consumer {
    /// Which process.
    pub pid: u32,
    /// Its name.
    pub name: KernelText,
    /// Its resident set.
    pub rss_bytes: Bytes,
    /// Its memory in swap.
    pub swap_bytes: Bytes,
    /// Its OOM score's correction.
    pub oom_score_adj: i16,
    /// Whether it is the one that was killed.
    pub killed: bool,
}

/// What an exit code says of how a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ExitCodeExplanation {
    /// The code.
    pub code: u8,
    /// The signal that it stands for; `null` when it stands for none, or may be
    /// an exit status as well (1 to 31).
    pub signal: Option<u8>,
    /// Whether the kernel's out-of-memory killer can have caused it.
    pub can_be_oom_killer: bool,
    /// What it means, each a sentence.
    pub explanation: Vec<String>,
    /// What to do next, each a sentence or a command.
    pub advice: Vec<String>,
}

/// Kills that a cgroup's counter has and the log does not show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CountedKills {
    /// In which cgroup.
    pub cgroup: CgroupPath,
    /// How many processes the kernel killed in it since it was made.
    pub oom_kills: u64,
    /// How many of them the log shows.
    pub logged: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn killers_are_written_as_the_schema_names_them() {
        let written = |killer| serde_json::to_value(killer).unwrap();
        assert_eq!(written(Killer::KernelCgroup), "kernel-cgroup");
        assert_eq!(written(Killer::KernelGlobal), "kernel-global");
        assert_eq!(written(Killer::SystemdOomd), "systemd-oomd");
        assert_eq!(written(Killer::Signal), "signal");
        assert_eq!(written(Killer::Unknown), "unknown");
    }
}
