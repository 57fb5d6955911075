//! What changed between two snapshots of a machine.
//!
//! Deltas are signed bytes, later minus earlier. What was unknown in either
//! snapshot is `None` in the delta, never a change from 0.

use serde::Serialize;

use crate::identity::{CgroupPath, ProcessId};
use crate::text::KernelText;
use crate::units::Bytes;

/// The difference of two snapshots.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Comparison {
    /// Seconds from the earlier to the later; `null` when either does not say
    /// when it was taken.
    pub elapsed_seconds: Option<f64>,
    /// Whether both are of one boot. If not, no process can be in both, and
    /// only programs and cgroups are matched, by name. `null`: a snapshot does
    /// not say its boot.
    pub same_boot: Option<bool>,
    /// The machine.
    pub system: SystemDelta,
    /// Each row of the breakdown that either has.
    pub breakdown: Vec<RowDelta>,
    /// Processes that appeared, grew, shrank or went, largest change first;
    /// what did not change is left out.
    pub processes: Vec<ProcessDelta>,
    /// The same folded by program name, largest change first.
    pub programs: Vec<ProgramDelta>,
    /// Control groups whose usage or swap changed, largest change first.
    pub cgroups: Vec<CgroupDelta>,
}

/// What changed of the machine as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SystemDelta {
    /// Memory in use, without the free pages on the lists of single CPUs where
    /// both snapshots know these (`used_bytes` of a snapshot has them).
    pub used_delta_bytes: i64,
    /// Memory that can be had without swapping, with those pages (`MemAvailable`
    /// leaves them out); `null` where unknown.
    pub available_delta_bytes: Option<i64>,
    /// Free memory, with those pages (`MemFree` leaves them out).
    pub free_delta_bytes: i64,
    /// The free pages on the lists of single CPUs; `null` where a snapshot does
    /// not know them: then memory in use counts them, and the two changes above
    /// leave them out.
    pub per_cpu_free_lists_delta_bytes: Option<i64>,
    /// Swap in use.
    pub swap_used_delta_bytes: i64,
    /// The file cache, on the active list, the inactive list or neither; `null` where a snapshot has no row
    /// for it.
    pub cache_delta_bytes: Option<i64>,
    /// The sum of RSS over the processes of each snapshot: shared pages count
    /// for each of their users.
    pub rss_delta_bytes: i64,
    /// The sum of PSS over the processes that it is known of; `null` when it
    /// is known of none.
    pub pss_delta_bytes: Option<i64>,
    /// How many processes are left out of that: their PSS could not be read in
    /// a snapshot that has them.
    pub pss_unknown_processes: u64,
    /// By how many percent of the earlier memory in use, as above, the later is
    /// smaller; negative when it grew, `null` when nothing was in use.
    pub reduction_percent: Option<f64>,
}

/// One row of the breakdown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RowDelta {
    /// The row's name.
    pub name: String,
    /// Earlier; `null` when that snapshot has no such row.
    pub before_bytes: Option<i64>,
    /// Later.
    pub after_bytes: Option<i64>,
    /// Later minus earlier; `null` when a row is missing.
    pub delta_bytes: Option<i64>,
}

/// What became of something between two snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Only the later snapshot has it.
    Appeared,
    /// It has more.
    Grew,
    /// Its memory and swap moved, and their sum is the same.
    Moved,
    /// It has less.
    Shrank,
    /// Only the earlier snapshot has it.
    Went,
    /// Only the later one has it, and the earlier is a sample of the largest: it
    /// appeared, or was too small to be kept.
    Entered,
    /// Only the earlier one has it, and the later is a sample of the largest: it
    /// went, or is too small to be kept.
    Left,
    /// It is in both, and an amount in either is unknown.
    Unknown,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProcessDelta {
    /// Which process.
    #[serde(flatten)]
    pub id: ProcessId,
    /// Its name, the later one where it changed.
    pub name: KernelText,
    /// What became of it.
    pub fate: Fate,
    /// RSS, earlier; `null` where it was not there or unknown, as below.
    #[serde(rename = "rss_before_bytes")]
    pub rss_before: Option<Bytes>,
    /// RSS, later.
    #[serde(rename = "rss_after_bytes")]
    pub rss_after: Option<Bytes>,
    /// PSS, earlier.
    #[serde(rename = "pss_before_bytes")]
    pub pss_before: Option<Bytes>,
    /// PSS, later.
    #[serde(rename = "pss_after_bytes")]
    pub pss_after: Option<Bytes>,
    /// Swap, earlier.
    #[serde(rename = "swap_before_bytes")]
    pub swap_before: Option<Bytes>,
    /// Swap, later.
    #[serde(rename = "swap_after_bytes")]
    pub swap_after: Option<Bytes>,
    /// Memory plus swap, later minus earlier: by PSS where both snapshots have
    /// it, else by RSS. What appeared or went counts in full. `null` where
    /// unknown. What grew and has no earlier RSS was too small for that sample
    /// of history: then this is the least that it grew. Of what left it is the
    /// least by which its RSS fell.
    pub delta_bytes: Option<i64>,
}

/// All processes of one program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProgramDelta {
    /// The kernel's name for its processes.
    pub name: KernelText,
    /// How many, earlier.
    pub count_before: u64,
    /// How many, later; of samples of history those that they kept.
    pub count_after: u64,
    /// Their memory plus swap, later minus earlier: by PSS where every one of
    /// them has it, else by RSS; `null` where one has neither.
    pub delta_bytes: Option<i64>,
}

/// One control group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CgroupDelta {
    /// Its path.
    pub path: CgroupPath,
    /// What became of it. One that was removed and made again under its path
    /// both went and appeared.
    pub fate: Fate,
    /// Usage, earlier.
    #[serde(rename = "current_before_bytes")]
    pub current_before: Option<Bytes>,
    /// Usage, later.
    #[serde(rename = "current_after_bytes")]
    pub current_after: Option<Bytes>,
    /// Swap, earlier.
    #[serde(rename = "swap_before_bytes")]
    pub swap_before: Option<Bytes>,
    /// Swap, later.
    #[serde(rename = "swap_after_bytes")]
    pub swap_after: Option<Bytes>,
    /// Usage plus swap, later minus earlier; swap that is unknown in both
    /// counts as none. `null` where unknown.
    pub delta_bytes: Option<i64>,
}
