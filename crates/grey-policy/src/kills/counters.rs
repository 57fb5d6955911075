//! Kills that `memory.events` has counted and no log shows.
//!
//! The counters are of a cgroup and all below it, since it was made. Never
//! counts one kill in two groups. A log does not say whether a cgroup was removed
//! and made again: kills in an earlier one of the same path count as logged, and
//! may hide as many of the present one.

use std::collections::HashMap;

use grey_model::{CgroupMemory, CgroupPath, CountedKills};

use super::TimedRecord;
use super::merge::kernel_reports;

/// The groups whose counter is higher than what `records` of this boot tell,
/// the lowest of a branch that has the difference. `groups` come parents first.
#[must_use]
pub fn unlogged_kills(groups: &[CgroupMemory], records: &[TimedRecord]) -> Vec<CountedKills> {
    let logged = logged_below(records);
    let mut missing: HashMap<&CgroupPath, u64> = HashMap::new();
    for group in groups {
        let Some(counted) = group.events.and_then(|events| events.oom_kill) else {
            continue;
        };
        let shown = logged.get(&group.path).copied().unwrap_or(0);
        let above = group
            .path
            .parent()
            .and_then(|parent| missing.get(&parent).copied());
        // What a group above has logged of it, this one has not lost.
        let most = above.unwrap_or(u64::MAX);
        missing.insert(&group.path, counted.saturating_sub(shown).min(most));
    }
    let mut own = missing.clone();
    for (path, count) in &missing {
        if let Some(parent) = path.parent()
            && let Some(above) = own.get_mut(&parent)
        {
            *above = above.saturating_sub(*count);
        }
    }
    groups
        .iter()
        .filter(|group| own.get(&group.path).is_some_and(|count| *count > 0))
        .map(|group| CountedKills {
            cgroup: group.path.clone(),
            oom_kills: group
                .events
                .and_then(|events| events.oom_kill)
                .unwrap_or_default(),
            logged: logged.get(&group.path).copied().unwrap_or(0),
        })
        .collect()
}

/// How many kills the log tells of, for each cgroup with all below it.
fn logged_below(records: &[TimedRecord]) -> HashMap<CgroupPath, u64> {
    let mut logged: HashMap<CgroupPath, u64> = HashMap::new();
    for (_, kill) in kernel_reports(records) {
        let mut next = kill.victim_cgroup.clone();
        while let Some(path) = next {
            next = path.parent();
            *logged.entry(path).or_default() += kill.told;
        }
    }
    logged
}
