//! Where those were whom earlyoom or nohang killed: such a program names a
//! process and seldom its cgroup, and history has both.
//!
//! Best effort: where there is no history of that time, it stays unknown. Never
//! takes another process for the victim: pid and name must be the same.

use std::ops::ControlFlow;

use grey_model::{CgroupPath, KillRecord, ProgramKill};
use grey_policy::TimedRecord;
use grey_telemetry::history::History;

use super::grown::unix_milliseconds;
use crate::cli::GlobalOptions;
use crate::history::command::open_beside;

/// How long before a kill the victim is looked for, in milliseconds: a sample is
/// taken each second, and a pid is not used again so soon.
const BEFORE: u64 = 60_000;

/// Fills in the cgroup of each victim that history knows.
pub(super) fn fill(global: &GlobalOptions, records: &mut [TimedRecord]) {
    let mut history = None;
    for record in records {
        let at = record.at.and_then(unix_milliseconds);
        let (Some(at), KillRecord::Program(kill)) = (at, &mut record.record) else {
            continue;
        };
        if kill.cgroup.is_some() {
            continue;
        }
        // Most logs tell of no such kill: then history need not be opened.
        let opened = history.get_or_insert_with(|| open_beside(global).ok().flatten());
        let Some(history) = opened else { return };
        kill.cgroup = cgroup_of(history, kill, at);
    }
}

/// Where the victim was in the last sample before `at` that has it.
fn cgroup_of(history: &mut History, kill: &ProgramKill, at: u64) -> Option<CgroupPath> {
    let (pid, name) = (kill.pid?, kill.name.as_ref()?);
    let mut found = None;
    let read = history.samples(at.saturating_sub(BEFORE), at, |sample| {
        let mut keys = sample.processes.into_iter().map(|process| process.key);
        if let Some(key) = keys.find(|key| key.id.pid == pid && key.name == *name) {
            found = key.cgroup;
        }
        ControlFlow::Continue(())
    });
    read.ok().and(found)
}
