//! What was read of a machine at one instant, as far as two instants can be
//! compared.
//!
//! Read back from a published diagnosis (`grey.diagnosis/v1`), which has more:
//! what is not compared is passed over, and so is what a newer version added.

use serde::Deserialize;

use crate::cgroup::CgroupMemory;
use crate::host::{HostFacts, SystemTotals};
use crate::process::ProcessMemory;
use crate::target::ResolvedTarget;

/// A machine's memory at one instant.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Snapshot {
    /// When it was taken, in seconds since 1970 (UTC); `None` in a document of
    /// a version that did not say.
    #[serde(rename = "taken_at_unix_seconds")]
    pub taken_at: Option<f64>,
    /// The machine.
    pub host: HostFacts,
    /// The machine's totals.
    pub system: SystemTotals,
    /// Where every byte of the total was.
    pub breakdown: Vec<SnapshotRow>,
    /// Swap in use.
    pub swap: SnapshotSwap,
    /// What it was limited to; `None` for the whole machine.
    pub targets: Option<Vec<ResolvedTarget>>,
    /// The processes.
    pub processes: Vec<ProcessMemory>,
    /// The control groups with a memory account of version 2.
    pub cgroups: Vec<CgroupMemory>,
    /// Processes whose memory could not be read in full; `None` when procfs
    /// hid processes.
    pub unreadable_processes: Option<u64>,
}

/// One row of the breakdown. Its name is text, so that a row that this version
/// does not know is compared all the same.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SnapshotRow {
    /// What it stands for.
    pub name: String,
    /// How much; only the residual can be negative.
    pub bytes: i64,
}

/// Swap in use, of all devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct SnapshotSwap {
    /// In bytes.
    pub used_bytes: u64,
}
