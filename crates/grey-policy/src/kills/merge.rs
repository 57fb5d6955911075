//! What several logs say of one kill becomes one kill.
//!
//! The kernel's report comes first; what systemd says of the unit is laid upon
//! it, or is a kill of its own where nothing else is known.

use std::cmp::Reverse;
use std::time::Duration;

use grey_model::{
    CgroupPath, Constraint, KernelKill, KernelText, Kill, KillRecord, Killer, Moment, UnitEvent,
    UnitRecord,
};

use super::advice::owner_of;
use super::{KillFacts, SIGKILL, SIGTERM, TimedRecord, by_kernel, by_others};

/// The same report in two logs differs by no more than this: the journal has
/// the kernel's own microseconds.
const SAME_REPORT: Duration = Duration::from_millis(1);

/// By how much the clock on the wall may have been set between the two readings
/// of one report: by a time zone, and less than a day.
const CLOCK_SET: Duration = Duration::from_secs(16 * 3600);

/// The same where a log only has seconds.
pub(super) const SAME_SECOND: Duration = Duration::from_secs(2);

/// The kernel keeps this much of a process's name.
const NAME_LENGTH: usize = 15;

/// systemd tells of a kill at the latest this much after it.
const UNIT_LAG: Duration = Duration::from_secs(30);

/// Explains every kill that the records tell of, in the order in which they
/// happened as far as that is known.
#[must_use]
pub fn explain_kills(records: &[TimedRecord], facts: &KillFacts<'_>) -> Vec<Kill> {
    let mut kills: Vec<Kill> = kernel_reports(records)
        .iter()
        .map(|(record, kill)| by_kernel::explain(record, kill, facts))
        .collect();
    for record in records {
        match &record.record {
            KillRecord::Oomd(oomd) => add_new(&mut kills, by_others::oomd(record, oomd, facts)),
            KillRecord::Program(program) => {
                add_program(&mut kills, by_others::program(record, program));
            }
            KillRecord::Kernel(_) | KillRecord::Unit(_) | KillRecord::Nobody(_) => {}
        }
    }
    // Who did it before that it was done.
    for wanted in [names_a_killer, names_a_result, names_an_end] {
        for record in records {
            if let KillRecord::Unit(unit) = &record.record
                && wanted(&unit.event)
            {
                add_unit(&mut kills, records, record, unit, facts);
            }
        }
    }
    for kill in &mut kills {
        name_unit(kill, facts);
    }
    if kills.iter().all(|kill| kill.at.is_some()) {
        kills.sort_by_key(|kill| kill.at);
    } else if kills.iter().all(|kill| kill.since_boot_seconds.is_some()) {
        let since_boot = |kill: &Kill| kill.since_boot_seconds.unwrap_or_default();
        kills.sort_by(|one, other| since_boot(one).total_cmp(&since_boot(other)));
    }
    kills
}

const fn names_a_killer(event: &UnitEvent) -> bool {
    !names_an_end(event) && !names_a_result(event)
}

const fn names_a_result(event: &UnitEvent) -> bool {
    matches!(event, UnitEvent::FailedByOom { .. })
}

const fn names_an_end(event: &UnitEvent) -> bool {
    matches!(
        event,
        UnitEvent::EndedBy { .. } | UnitEvent::PassedOn { .. }
    )
}

/// The kernel's reports, each once: `/dev/kmsg` and the journal have the same.
pub(super) fn kernel_reports(records: &[TimedRecord]) -> Vec<(TimedRecord, KernelKill)> {
    let mut reports: Vec<(TimedRecord, KernelKill)> = Vec::new();
    for record in records {
        let KillRecord::Kernel(kill) = &record.record else {
            continue;
        };
        let known = reports.iter_mut().find(|(before, known)| {
            let is_same = known.pid == kill.pid && known.name == kill.name;
            is_same && is_same_kind(known, kill) && is_same_report(before, record)
        });
        match known {
            None => reports.push((record.clone(), (**kill).clone())),
            Some((before, known)) => {
                if record.at.is_some()
                    && (before.at.is_none() || record.uncertain_by < before.uncertain_by)
                {
                    before.at = record.at;
                    before.uncertain_by = record.uncertain_by;
                }
                before.host = before.host.take().or_else(|| record.host.clone());
                if knows_more(kill, known) {
                    *known = (**kill).clone();
                }
            }
        }
    }
    reports
}

pub(super) fn is_same_report(one: &TimedRecord, other: &TimedRecord) -> bool {
    let same_host = match (&one.host, &other.host) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    };
    let same_time = match (one.since_boot, other.since_boot) {
        (Some(since), Some(other_since)) => {
            since.abs_diff(other_since) <= SAME_REPORT && !is_another_day(one, other)
        }
        _ => is_near((one.at, None), (other.at, None), SAME_SECOND) && one.at.is_some(),
    };
    same_host && same_time
}

/// Whether the clock on the wall tells the two apart: so long after their own
/// boots two kills may have been to the microsecond.
fn is_another_day(one: &TimedRecord, other: &TimedRecord) -> bool {
    let (Some(at), Some(other_at)) = (one.at, other.at) else {
        return false;
    };
    let doubt = one.uncertain_by.max(other.uncertain_by);
    at.distance(other_at) > doubt.saturating_add(CLOCK_SET)
}

/// Whether both may be for the same reason: a cgroup's limit or the machine.
fn is_same_kind(one: &KernelKill, other: &KernelKill) -> bool {
    match (one.constraint, other.constraint) {
        (Some(one), Some(other)) => (one == Constraint::Cgroup) == (other == Constraint::Cgroup),
        _ => true,
    }
}

/// Which of two readings of one report has more of it.
fn knows_more(kill: &KernelKill, than: &KernelKill) -> bool {
    let facts = |kill: &KernelKill| {
        [
            kill.whole,
            kill.memory.is_some(),
            kill.limit_cgroup.is_some(),
            kill.victim_cgroup.is_some(),
            kill.anon.is_some(),
            !kill.tasks.is_empty(),
        ]
        .into_iter()
        .filter(|is_known| *is_known)
        .count()
    };
    facts(kill) > facts(than)
}

/// When something was, by either clock.
pub(super) type When = (Option<Moment>, Option<f64>);

fn when(kill: &Kill) -> When {
    (kill.at, kill.since_boot_seconds)
}

pub(super) fn when_logged(record: &TimedRecord) -> When {
    (
        record.at,
        record.since_boot.map(|since| since.as_secs_f64()),
    )
}

/// Whether the two are no further apart, by a clock that both have. In a log
/// without any times everything is near.
pub(super) fn is_near(one: When, other: When, span: Duration) -> bool {
    match (one, other) {
        ((Some(one), _), (Some(other), _)) => one.distance(other) <= span,
        ((_, Some(one)), (_, Some(other))) => (one - other).abs() <= span.as_secs_f64(),
        ((None, None), (None, None)) => true,
        _ => false,
    }
}

/// Whether the one was before the other, by a clock that both have.
fn is_before(one: When, other: When) -> bool {
    match (one, other) {
        ((Some(one), _), (Some(other), _)) => one < other,
        ((_, Some(one)), (_, Some(other))) => one < other,
        _ => false,
    }
}

/// Adds a kill that systemd-oomd told of, unless another log told it already.
fn add_new(kills: &mut Vec<Kill>, kill: Kill) {
    let is_known = kills.iter().any(|known| {
        known.killer == kill.killer
            && known.cgroup == kill.cgroup
            && is_near(when(known), when(&kill), SAME_SECOND)
    });
    if !is_known {
        kills.push(kill);
    }
}

/// earlyoom and nohang send SIGTERM first and SIGKILL if that was not enough:
/// that is one kill.
fn add_program(kills: &mut Vec<Kill>, kill: Kill) {
    let known = kills.iter_mut().find(|known| {
        known.program == kill.program
            && known.pid.is_some()
            && known.pid == kill.pid
            && is_near(when(known), when(&kill), UNIT_LAG)
    });
    match known {
        None => kills.push(kill),
        Some(known) if known.signal == kill.signal => {}
        Some(known) => {
            known.signal = kill.signal;
            known.explanation = kill.explanation;
        }
    }
}

/// Lays what systemd says of a unit upon the kill that it is about.
fn add_unit(
    kills: &mut Vec<Kill>,
    records: &[TimedRecord],
    record: &TimedRecord,
    UnitRecord { unit, event }: &UnitRecord,
    facts: &KillFacts<'_>,
) {
    name_whom_systemd_names(kills, record, unit, event);
    let of_oom = names_an_end(event) || names_a_result(event);
    let run = of_oom
        .then(|| failed_by_oom(records, record, unit))
        .flatten();
    let is_oom_end = names_an_end(event) && run.is_some();
    let about = kills.iter_mut().filter(|kill| {
        let is_its = is_of_unit(kill, unit) || is_named_after(kill, unit);
        is_its
            && match &run {
                Some(run) => can_have_failed(kill) && is_in(run, kill, record),
                None => can_be(kill, event) && can_have_caused(kill, record),
            }
    });
    // Of several that programs killed, the last before the unit's end.
    let order = |kill: &&mut Kill| kill.program.is_some().then_some(Reverse(kill.at));
    if let Some(known) = about.min_by_key(order) {
        if known.unit.is_none() {
            known.unit = Some(unit.clone());
        }
        match event {
            UnitEvent::PassedOn { signal } => {
                known.explanation.push(by_others::passed_on(unit, *signal));
            }
            UnitEvent::EndedBy { signal: SIGTERM } if is_oom_end => {
                known.explanation.push(by_others::rest_of_it(unit));
            }
            _ => {}
        }
        return;
    }
    let Some(mut kill) = by_others::unit(records, record, unit, event, facts) else {
        return;
    };
    let at_that_time = kills.iter().filter(|known| {
        is_of_nobody(known) && can_be(known, event) && can_have_caused(known, record)
    });
    let told = at_that_time
        .filter_map(|known| Some(by_others::at_that_time(known.program.as_ref()?, known)));
    kill.explanation.extend(told);
    kills.push(kill);
}

/// A run of a unit that failed for memory.
struct Run {
    /// When it began at the earliest, where that is known.
    since: Option<When>,
}

/// The run of the unit in which this was, where systemd says of it, once the last
/// process of it has ended, that memory was why it failed. How long that takes is
/// the unit's own affair (`TimeoutStopSec=`).
fn failed_by_oom(records: &[TimedRecord], record: &TimedRecord, unit: &KernelText) -> Option<Run> {
    let mut later = records
        .iter()
        .skip_while(|other| !std::ptr::eq(*other, record))
        .filter(|other| other.host == record.host);
    let logged = when_logged(record);
    later.find_map(|other| {
        let KillRecord::Unit(of_unit) = &other.record else {
            return None;
        };
        let UnitEvent::FailedByOom { ran_for } = &of_unit.event else {
            return None;
        };
        let failed = when_logged(other);
        let since = ran_for.map(|ran_for| earlier_by(failed, ran_for));
        let is_its = of_unit.unit == *unit
            && is_near(failed, logged, Duration::MAX)
            && !is_before(failed, logged)
            && since.is_none_or(|since| !is_before(logged, since));
        is_its.then_some(Run { since })
    })
}

fn earlier_by((at, since_boot): When, duration: Duration) -> When {
    (
        at.and_then(|at| at.earlier_by(duration)),
        since_boot.map(|since_boot| since_boot - duration.as_secs_f64()),
    )
}

/// Whether the kill was in this run of its unit, before what systemd logged. One of
/// which only that result tells is a little later than the end.
fn is_in(run: &Run, kill: &Kill, record: &TimedRecord) -> bool {
    let (killed, logged) = (when(kill), when_logged(record));
    let is_before_it = is_near(killed, logged, UNIT_LAG)
        || (is_near(killed, logged, Duration::MAX) && !is_before(logged, killed));
    is_before_it && run.since.is_none_or(|since| !is_before(killed, since))
}

/// A process of which systemd says that it is the unit's is the unit's, whoever
/// sent it a signal just before.
fn name_whom_systemd_names(
    kills: &mut [Kill],
    record: &TimedRecord,
    unit: &KernelText,
    event: &UnitEvent,
) {
    let (UnitEvent::SignalRequested { pid, name, .. }
    | UnitEvent::KilledBySystemd { pid, name, .. }) = event
    else {
        return;
    };
    for kill in kills.iter_mut().filter(|kill| is_of_nobody(kill)) {
        let is_it = kill.pid == Some(*pid) && kill.name.as_ref().is_none_or(|own| own == name);
        if is_it && is_near(when(kill), when_logged(record), UNIT_LAG) {
            kill.unit = Some(unit.clone());
        }
    }
}

/// Whether a program killed it of which only a process is known, and not where
/// it was.
const fn is_of_nobody(kill: &Kill) -> bool {
    kill.program.is_some() && kill.unit.is_none() && kill.cgroup.is_none()
}

/// Whether a program killed a process that is called as the unit is: all that
/// ties the two where no cgroup is known.
fn is_named_after(kill: &Kill, unit: &KernelText) -> bool {
    let unit = unit.as_bytes();
    // What an instance of a template is called stands before its `@`.
    let end = unit.iter().position(|byte| b"@.".contains(byte));
    let stem = &unit[..end.unwrap_or(unit.len())];
    let stem = &stem[..stem.len().min(NAME_LENGTH)];
    is_of_nobody(kill)
        && kill
            .name
            .as_ref()
            .is_some_and(|name| name.as_bytes() == stem)
}

/// Whether what systemd logged may be the end of whom this kill hit: it came soon
/// after, and of a program's signal never before it.
fn can_have_caused(kill: &Kill, record: &TimedRecord) -> bool {
    let (sent, ended) = (when(kill), when_logged(record));
    is_near(sent, ended, UNIT_LAG) && !(kill.program.is_some() && is_before(ended, sent))
}

/// Whether a kill can be why a unit failed with the result `oom-kill`.
const fn can_have_failed(kill: &Kill) -> bool {
    !matches!(kill.killer, Killer::Signal)
}

/// Whether a kill can be what systemd saw of the unit.
fn can_be(kill: &Kill, event: &UnitEvent) -> bool {
    match event {
        UnitEvent::FailedByOom { .. } => can_have_failed(kill),
        UnitEvent::KernelKilled => can_have_failed(kill) && kill.killer != Killer::SystemdOomd,
        UnitEvent::OomdKilled(_) => kill.killer == Killer::SystemdOomd,
        UnitEvent::PassedOn { signal } => kill.signal == Some(*signal),
        UnitEvent::EndedBy { signal: SIGKILL } => kill.signal == Some(SIGKILL),
        UnitEvent::EndedBy { signal: SIGTERM } => kill.signal == Some(SIGTERM),
        UnitEvent::EndedBy { .. } | UnitEvent::WatchdogRanOut { .. } => false,
        UnitEvent::SignalRequested { signal, pid, .. }
        | UnitEvent::KilledBySystemd { signal, pid, .. } => {
            kill.signal == Some(*signal) && kill.pid == Some(*pid)
        }
    }
}

/// Names the unit, which its cgroup tells where nobody else does.
fn name_unit(kill: &mut Kill, facts: &KillFacts<'_>) {
    if kill.unit.is_none() {
        let owner = kill
            .cgroup
            .as_ref()
            .map(|path| owner_of(path, facts.has_systemd));
        let unit = owner.as_ref().and_then(grey_model::Owner::unit);
        kill.unit = unit.map(KernelText::from);
    }
    let Some(unit) = kill.unit.as_ref().map(ToString::to_string) else {
        return;
    };
    if !kill.explanation.iter().any(|line| line.contains(&unit)) {
        kill.explanation.push(format!("it was of the unit {unit}"));
    }
}

fn is_of_unit(kill: &Kill, unit: &KernelText) -> bool {
    let names_it = |path: &CgroupPath| path.components().any(|name| name == unit.as_bytes());
    kill.unit.as_ref() == Some(unit) || kill.cgroup.as_ref().is_some_and(names_it)
}
