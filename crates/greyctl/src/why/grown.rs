//! What had grown in the minutes before a kill, from history.
//!
//! Best effort: where there is no history of that time, it stays unknown.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use grey_model::{Bytes, Growth, Kill, ProcessField, ProcessKey, ProcessSample};
use grey_telemetry::history::History;

use super::last_minute::Minutes;
use crate::cli::GlobalOptions;
use crate::history::record::FOLDER;
use crate::roots::state_dir;

/// How long before a kill is looked at, in milliseconds: 5 minutes.
const BEFORE: u64 = 300_000;

/// Fills in `grew` of each kill whose time is known.
pub(super) fn fill(global: &GlobalOptions, kills: &mut [Kill]) {
    let Ok(path) = state_dir(global) else { return };
    let Ok(mut history) = History::open(&path.join(FOLDER)) else {
        return;
    };
    let minutes = Minutes::open(path.join(FOLDER));
    for kill in kills {
        let at = kill
            .at
            .and_then(|at| u64::try_from(at.unix_microseconds() / 1000).ok());
        let Some(at) = at else { continue };
        kill.grew = grown(&mut history, at.saturating_sub(BEFORE), at);
        kill.last_minute = minutes.before(at, |from| grown(&mut history, from, at));
    }
}

/// In so many of the last samples before a kill something must be to have grown
/// until then: who was killed may be gone from the last ones.
const LAST: u64 = 3;

/// Who grew from `from` until `at` and was still there then, largest growth
/// first; `None` where nothing was recorded then.
fn grown(history: &mut History, from: u64, at: u64) -> Option<Vec<Growth>> {
    // What each held first and last, and in which sample that was.
    let mut known: BTreeMap<ProcessKey, (u64, u64, u64)> = BTreeMap::new();
    let mut samples = 0_u64;
    let read = history.samples(from, at, |sample| {
        samples += 1;
        for process in sample.processes {
            if let Some(held) = held(&process) {
                let entry = known.entry(process.key).or_insert((held, held, samples));
                (entry.1, entry.2) = (held, samples);
            }
        }
        ControlFlow::Continue(())
    });
    // Of one moment alone nobody can tell what grew.
    if read.is_err() || samples < 2 {
        return None;
    }
    let mut grew: Vec<Growth> = known
        .into_iter()
        .filter(|(_, (first, last, seen))| last > first && seen + LAST > samples)
        .map(|(key, (first, last, _))| Growth {
            pid: key.id.pid,
            name: key.name,
            growth_bytes: Bytes(last - first),
        })
        .collect();
    grew.sort_by_key(|growth| (std::cmp::Reverse(growth.growth_bytes), growth.pid));
    Some(grew)
}

/// Anonymous memory and swap.
fn held(process: &ProcessSample) -> Option<u64> {
    let swap = process.values.get(ProcessField::Swap).unwrap_or_default();
    Some(process.values.get(ProcessField::Anonymous)? + swap)
}
