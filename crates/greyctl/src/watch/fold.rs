//! Folds the processes of a look into groups.
//!
//! Pure: of what the look has, whenever it was taken. Idleness is history's, and
//! not looked up each time.

use std::collections::HashMap;

use grey_model::{GroupBy, ProcessMemory};
use grey_policy::groups::{GroupFacts, fold};

use super::shot::{GroupRow, ProcessRow, Trend};

/// The groups of `processes`, read so many seconds after boot; nothing is known
/// of how they change.
pub(super) fn rows(
    processes: &[ProcessRow],
    by: GroupBy,
    since_boot_seconds: Option<u64>,
) -> Vec<GroupRow> {
    let processes: Vec<ProcessMemory> = processes.iter().map(|row| row.memory.clone()).collect();
    let facts = GroupFacts {
        since_boot_seconds,
        ticks_per_second: rustix::param::clock_ticks_per_second(),
        idle_seconds: HashMap::new(),
    };
    let row = |group| GroupRow {
        group,
        trend: Trend::default(),
    };
    fold(&processes, by, &facts).into_iter().map(row).collect()
}
