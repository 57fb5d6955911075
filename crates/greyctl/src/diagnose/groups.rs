//! Processes folded into groups: by program, unit, container, user, cgroup or
//! tree, with those pointed out that hold much and do nothing.
//!
//! Idleness comes from history, where there is any: nothing else knows how long
//! a process has not been on a CPU.

use std::ops::ControlFlow;
use std::time::Duration;

use grey_model::{Bytes, GroupBy, KernelText, ProcessField, ProcessGroup, roughly};
use grey_policy::groups::{GroupFacts, Idleness, fold, idle_holders};
use rustix::time::{ClockId, clock_gettime};

use super::document::Diagnosis;
use super::report::Extent;
use crate::cli::GlobalOptions;
use crate::count::counted;
use crate::history::command::open_beside;
use crate::table::{Column, Table, Tone, Value, heading};

/// How much of history is read for idleness: a day.
const LOOKED_BACK: Duration = Duration::from_secs(24 * 3600);

/// The time since the machine was booted; `None` where nobody knows.
pub(super) fn since_boot() -> Option<Duration> {
    Duration::try_from(clock_gettime(ClockId::Boottime)).ok()
}

/// Folds the processes of `diagnosis`, which was taken so long after boot.
pub(super) fn groups(
    global: &GlobalOptions,
    diagnosis: &Diagnosis,
    by: GroupBy,
    since_boot: Option<Duration>,
) -> Vec<ProcessGroup> {
    let taken_at = Duration::try_from_secs_f64(diagnosis.taken_at_unix_seconds);
    let taken_at = taken_at.unwrap_or_default();
    let facts = GroupFacts {
        since_boot_seconds: since_boot.map(|since_boot| since_boot.as_secs()),
        ticks_per_second: rustix::param::clock_ticks_per_second(),
        idle_seconds: idleness(global, diagnosis, taken_at).seconds_at(taken_at.as_secs()),
    };
    fold(&diagnosis.processes, by, &facts)
}

/// What history says of the CPU time of the processes; nothing where there is no
/// history: to be idle must be known. What had the same pid before the machine was
/// booted is another.
fn idleness(global: &GlobalOptions, diagnosis: &Diagnosis, now: Duration) -> Idleness {
    let mut idleness = Idleness::default();
    let Ok(Some(mut history)) = open_beside(global) else {
        return idleness;
    };
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let until = milliseconds(now);
    let from = milliseconds(now.saturating_sub(LOOKED_BACK));
    let boot = diagnosis.host.boot_id.as_ref();
    let read = history.samples(from, until, |sample| {
        let of_then = sample.processes.iter();
        for process in of_then.filter(|_| boot.is_none_or(|boot| *boot == sample.boot)) {
            if let Some(ticks) = process.values.get(ProcessField::CpuTime) {
                idleness.take(process.key.id, sample.at_unix_ms / 1000, ticks);
            }
        }
        ControlFlow::Continue(())
    });
    if read.is_err() {
        return Idleness::default();
    }
    for process in &diagnosis.processes {
        if let Some(ticks) = process.cpu_time_ticks {
            idleness.take(process.id, now.as_secs(), ticks);
        }
    }
    idleness
}

/// What the groups are called in a heading.
pub(crate) const fn title(by: GroupBy) -> &'static str {
    match by {
        GroupBy::Program => "Programs",
        GroupBy::Unit => "Units",
        GroupBy::Container => "Containers",
        GroupBy::User => "Users",
        GroupBy::Cgroup => "Processes by cgroup",
        GroupBy::Tree => "Process trees",
    }
}

/// The table of groups, and who of them is idle.
pub(super) fn table(diagnosis: &Diagnosis, extent: Extent) -> String {
    let (Some(by), Some(groups)) = (diagnosis.grouped_by, &diagnosis.groups) else {
        return String::new();
    };
    let shown = match extent.verbose {
        true => groups.len(),
        false => groups.len().min(extent.top),
    };
    let mut remark = format!("{shown} of {}", groups.len());
    if diagnosis.recorded {
        remark.push_str(", of the processes that were kept");
    }
    let mut text = heading(title(by), &remark, extent.width);
    let mut table = Table::new(vec![
        Column::text("NAME", 0).gives_way(12),
        Column::number("COUNT", 0),
        Column::number("RSS", 1),
        Column::number("PSS", 0),
        Column::number("USS", 3),
        Column::number("SWAP", 2).optional(),
        Column::number("OLDEST", 2),
        Column::number("IDLE", 1).optional(),
    ]);
    for group in &groups[..shown] {
        table.row(row(group));
    }
    text.push_str(&table.render(extent.width));
    let incomplete = groups.iter().filter(|group| group.pss_unknown > 0).count();
    if incomplete > 0 {
        let groups = counted(incomplete as u64, "group", "groups");
        text.push_str(&format!("~ of {groups} some members could not be read\n"));
    }
    for group in idle_holders(groups, diagnosis.system.total).take(extent.top) {
        text.push_str(&idle_holder(group));
    }
    text
}

/// Name, count, RSS, PSS, USS, swap, the age of the oldest, idleness.
pub(crate) fn row(group: &ProcessGroup) -> Vec<Value> {
    let known = |sum: Bytes, unknown: u64| match unknown {
        0 => Value::new(sum),
        _ if unknown == group.count => Value::unknown(),
        _ => Value::new(format!("~{sum}")),
    };
    let time = |seconds: Option<u64>| Value::or_unknown(seconds.map(told));
    let name = match &group.name {
        Some(name) => Value::new(name.to_process_name()),
        None => Value::new("(none)").tone(Tone::Dim),
    };
    vec![
        name,
        Value::new(group.count),
        known(group.rss, group.rss_unknown),
        known(group.pss, group.pss_unknown),
        known(group.uss, group.uss_unknown),
        Value::or_unknown(Some(group.swap).filter(|swap| swap.0 > 0)),
        time(group.oldest_seconds),
        time(group.idle_seconds.filter(|seconds| *seconds >= 60)),
    ]
}

fn told(seconds: u64) -> String {
    roughly(Duration::from_secs(seconds))
}

fn idle_holder(group: &ProcessGroup) -> String {
    let name = group.name.as_ref().map_or_else(
        || "those without a name".to_owned(),
        KernelText::to_process_name,
    );
    let held = match group.pss_unknown {
        0 => group.pss,
        _ => group.rss,
    };
    let idle = told(group.idle_seconds.unwrap_or_default());
    let swap = match group.swap {
        Bytes(0) => String::new(),
        swap => format!(" and {swap} of swap"),
    };
    format!(
        "{name} x {} did nothing for {idle} and holds {held}{swap}: take memory from it first\n",
        group.count
    )
}
