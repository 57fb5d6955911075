//! The vocabulary that every part of Grey Optimizer shares: units, identities,
//! what was read from the kernel, and what is to be changed.
//!
//! This crate is pure. It never opens a file, never reads a clock, and knows no
//! other crate of the project.

pub mod action;
pub mod breakdown;
pub mod cgroup;
pub mod cold;
pub mod comparison;
pub mod doctor;
pub mod effect;
pub mod facts;
pub mod group;
pub mod growth;
pub mod host;
pub mod identity;
pub mod kill;
pub mod ksm;
pub mod leak;
pub mod level;
pub mod limit;
pub mod mapping;
pub mod meminfo;
pub mod moment;
pub mod nobody_killed;
pub mod owner;
pub mod plan;
pub mod pressure;
pub mod priority;
pub mod process;
pub mod roughly;
pub mod sample;
pub mod shell;
pub mod snapshot;
pub mod swap;
pub mod target;
pub mod text;
mod unit_event;
pub mod units;
pub mod vmstat;

pub use action::{Action, DropCaches, EnforcementRequest, KsmSpeed};
pub use breakdown::{Breakdown, BreakdownInputs, BreakdownRow, RowName};
pub use cgroup::{CgroupEvents, CgroupMemory, CgroupMemoryStat};
pub use cold::{
    ColdCandidate, ColdCost, ColdMemory, ColdMethod, ColdUncertainty, ColdWindow, Generation,
    GenerationList,
};
pub use comparison::{
    CgroupDelta, Comparison, Fate, ProcessDelta, ProgramDelta, RowDelta, SystemDelta,
};
pub use doctor::{
    Capabilities, Capability, DirectoryFacts, DiskFacts, DoctorFacts, HistoryFacts,
    HugePageSettings, JournalFacts, OomDaemon, OwnMemoryLimit, ProcessListing, Reading,
    ResourceLimit, ResourceLimits, SetupFacts, StateFacts, VmSettings,
};
pub use effect::{Effect, Verdict};
pub use facts::{Features, PreflightFacts, Privileges, TargetProcesses, UnitFacts};
pub use group::{GroupBy, ProcessGroup};
pub use growth::{Growth, LastMinute};
pub use host::{CgroupMode, HostFacts, SystemTotals};
pub use identity::{BootId, CgroupId, CgroupPath, ProcessId};
pub use kill::{
    Constraint, Consumer, CountedKills, CounterUse, DeviceZone, ExitCodeExplanation, KernelKill,
    Kill, KillRecord, Killer, LogTime, LoggedRecord, MemoryRequest, OomdCause, OomdKill,
    ProgramKill, Shortage, TaskRow, WallTime,
};
pub use ksm::{KsmState, ProcessKsm};
pub use leak::{GrowthOf, LeakJudgement, LeakVerdict, Trace, TracePoint};
pub use level::{
    Level, Levels, Step, SystemLevel, Threshold, ThresholdError, Thresholds, Transition,
};
pub use limit::MemoryLimit;
pub use mapping::{MappedMemory, MappingKind};
pub use meminfo::Meminfo;
pub use moment::{CivilTime, Moment};
pub use nobody_killed::{NobodyKilled, NobodyKilledRecord, NobodyReason};
pub use owner::{Owner, is_unit_name};
pub use plan::{
    CgroupFile, Change, Guard, Knob, KnobValue, KsmFile, OneShot, Plan, PlanStep, Refusal,
    RefusalKind, Risk, UnitMemoryProperty,
};
pub use pressure::{Pressure, PressureLine};
pub use priority::{ParsePriorityError, Priority};
pub use process::{ProcessMemory, ProcessState};
pub use roughly::roughly;
pub use sample::{
    CgroupField, CgroupSample, CgroupValues, GroupField, GroupKey, GroupSample, GroupValues,
    ProcessField, ProcessKey, ProcessSample, ProcessValues, Sample, SystemField, SystemValues,
};
pub use shell::shell_word;
pub use snapshot::{Snapshot, SnapshotRow, SnapshotSwap};
pub use swap::{SwapDevice, SwapKind, Zram, Zswap};
pub use target::{ResolvedTarget, Target, TargetKind};
pub use text::KernelText;
pub use unit_event::{UnitEvent, UnitRecord};
pub use units::{Bytes, PageSize, Pages, ParseSizeError, Percent};
pub use vmstat::Vmstat;
