//! Pressure stall information.
//!
//! Never invents a reading: where PSI is off, the whole value is `None` at
//! its owner.

use serde::{Deserialize, Serialize};

use crate::units::Percent;

/// One line of a pressure file.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PressureLine {
    /// Share of the last 10 s that was lost to stalls, in percent.
    #[serde(rename = "avg10_percent")]
    pub avg10: Percent,
    /// The same over 60 s.
    #[serde(rename = "avg60_percent")]
    pub avg60: Percent,
    /// The same over 300 s.
    #[serde(rename = "avg300_percent")]
    pub avg300: Percent,
    /// All stall time since boot or since the cgroup was made, in microseconds.
    pub total_us: u64,
}

/// A pressure file: `some` task stalled, or all of them (`full`).
///
/// # Kernel
/// `/proc/pressure/memory`, `memory.pressure`; since 4.20, may be off.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Pressure {
    /// At least one task stalled.
    pub some: PressureLine,
    /// All tasks that could run stalled. Absent for the system's `cpu` file before 5.13.
    pub full: Option<PressureLine>,
}
