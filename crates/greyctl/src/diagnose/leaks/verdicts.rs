//! Has every trace judged, and puts the verdicts into the document's order.
//!
//! Decides nothing itself: the rule is `grey_policy::leak`.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use grey_model::{
    Bytes, CgroupMemory, CgroupPath, GrowthOf, LeakJudgement, LeakVerdict, SwapDevice, Trace, Zram,
    roughly,
};
use grey_policy::leak::{
    LeakRule, judge as judge_trace, judge_ended, machine_headroom, shortest_window,
    tightest_headroom,
};
use grey_policy::reclaimable::free_swap;

use super::super::document::Diagnosis;
use super::document::{
    CgroupLeak, DyingCgroups, GroupLeak, LeakDetection, LeakWindow, ProcessLeak,
};
use super::follow::{MOST_PROCESSES, Subject};
use super::shared;
use super::watch::Watched;
use crate::count::counted;
use crate::duration::short;

/// What to know before a window that is too short; `None` when it is not.
pub(in super::super) fn warn_of_short_window(
    window: Duration,
    interval: Duration,
) -> Option<String> {
    // Readings are whole intervals apart.
    let last = interval.saturating_mul(
        u32::try_from(window.as_nanos() / interval.as_nanos().max(1)).unwrap_or(u32::MAX),
    );
    (last < shortest_window(interval)).then(|| {
        format!(
            "a window of {} with a reading each {} is too short for a verdict: it takes {}",
            roughly(window),
            short(interval),
            roughly(enough(interval)),
        )
    })
}

/// How long it takes for a verdict, in whole seconds: a little less is too short.
pub(in super::super) fn enough(interval: Duration) -> Duration {
    Duration::from_secs_f64(shortest_window(interval).as_secs_f64().ceil())
}

/// The same of what was read, whatever was asked for.
fn too_few_readings(watched: &Watched) -> Option<String> {
    (watched.lasted < shortest_window(watched.interval)).then(|| {
        let readings = match watched.readings {
            0 | 1 => "a single reading tells no change, and there is no verdict".to_owned(),
            readings => format!(
                "{readings} readings in {} are too few for a verdict",
                roughly(watched.lasted)
            ),
        };
        // A single sample of history is no time apart from another one.
        let each = match watched.interval {
            Duration::ZERO => String::new(),
            interval => format!("with one each {} ", short(interval)),
        };
        let long = roughly(enough(watched.interval));
        format!("leaks: {readings}: {each}it takes {long}")
    })
}

/// The verdicts on everything that was watched. The room that is left is that
/// of the `diagnosis`, which was made after it.
pub(in super::super) fn judge(watched: &Watched, diagnosis: &mut Diagnosis) -> LeakDetection {
    let rooms = Rooms::of(diagnosis, watched.is_now);
    let rule = LeakRule::default();
    let mut leaks: Vec<ProcessLeak> = watched
        .followed
        .subjects
        .iter()
        .flat_map(|subject| process(subject, &rule, &rooms))
        .collect();
    let subjects = &watched.followed.subjects;
    let shared = subjects.iter().map(|subject| &subject.shared);
    let doubted = shared::doubt(&mut leaks, shared);
    leaks.sort_by_key(|leak| (order(&leak.judgement), leak.id, leak.of));
    let mut groups: Vec<GroupLeak> = watched
        .followed
        .groups
        .iter()
        .map(|((kind, name), group)| GroupLeak {
            kind: *kind,
            ended: is_over(&group.trace, watched.lasted_of_groups),
            group: name.clone(),
            processes: group.processes,
            judgement: verdict(
                &group.trace,
                &rule,
                rooms.machine(),
                watched.lasted_of_groups,
            ),
        })
        .collect();
    let unknown = match watched.groups_are_whole {
        true => None,
        false => leave_out_unknown(&mut groups),
    };
    groups.sort_by_key(|leak| (order(&leak.judgement), leak.group.clone()));
    let (mut cgroups, mut dying) = (Vec::new(), Vec::new());
    for ((path, of), trace) in &watched.followed.cgroups {
        if of.is_bytes() {
            let lasted = watched.lasted_of_cgroups;
            cgroups.push(CgroupLeak {
                cgroup: path.clone(),
                of: *of,
                ended: is_over(trace, lasted),
                judgement: if of.is_taken_back() {
                    judge_ended(trace, &rule)
                } else {
                    verdict(trace, &rule, rooms.of_cgroup(path), lasted)
                },
            });
        } else {
            debug_assert_eq!(*of, GrowthOf::DyingCgroups);
            dying.push(dying_cgroups(path, trace));
        }
    }
    cgroups.sort_by_key(|leak| (order(&leak.judgement), leak.cgroup.clone(), leak.of));
    dying.sort_by_key(|entry| (entry.verdict, Reverse(entry.growth), entry.cgroup.clone()));
    remark(watched, &mut diagnosis.notes);
    diagnosis.notes.extend(unknown.into_iter().chain(doubted));
    LeakDetection {
        leak_window: Some(window(watched)),
        leaks: Some(leaks),
        leak_groups: Some(groups),
        leak_cgroups: Some(cgroups),
        dying_cgroups: Some(dying),
    }
}

/// Of a group of which not all processes are known, what is known may show that it
/// grows, and never that it does not.
fn leave_out_unknown(groups: &mut Vec<GroupLeak>) -> Option<String> {
    let all = groups.len();
    groups.retain(|leak| leak.judgement.verdict.grows());
    let left_out = all - groups.len();
    (left_out > 0).then(|| {
        let groups = counted(left_out as u64, "group is", "groups are");
        format!(
            "leaks: {groups} not judged: what was recorded does not grow, and not all of their \
             processes were recorded"
        )
    })
}

fn process(
    subject: &Subject,
    rule: &LeakRule,
    rooms: &Rooms<'_>,
) -> impl Iterator<Item = ProcessLeak> {
    let path = subject.facts.cgroup.as_ref();
    let room = path.map_or(rooms.machine(), |path| rooms.of_cgroup(path));
    let own = Some((GrowthOf::Anonymous, &subject.trace));
    let shared = subject.shared.judged();
    let shared = shared.map(|trace| (GrowthOf::Shmem, trace));
    [own, shared]
        .into_iter()
        .flatten()
        .map(move |(of, trace)| ProcessLeak {
            id: subject.id,
            group: subject.facts.group.1.clone(),
            cgroup: subject.facts.cgroup.clone(),
            name: subject.facts.name.clone(),
            ended: subject.ended,
            out_of_sight: subject.is_out_of_sight,
            of,
            judgement: if subject.ended || subject.is_out_of_sight {
                judge_ended(trace, rule)
            } else {
                judge_trace(trace, rule, room)
            },
        })
}

fn dying_cgroups(path: &CgroupPath, trace: &Trace) -> DyingCgroups {
    let judgement = judge_trace(trace, &LeakRule::for_counts(), None);
    let count = trace.points().last().map_or(0, |point| point.amount.0);
    // A fitted line may begin below none.
    let most = i64::try_from(count).unwrap_or(i64::MAX);
    DyingCgroups {
        cgroup: path.clone(),
        count,
        growth: judgement.growth_bytes.map(|growth| growth.min(most)),
        confidence: judgement.confidence,
        verdict: judgement.verdict,
    }
}

/// What was not there at the last reading is over.
fn is_over(trace: &Trace, lasted: Duration) -> bool {
    trace.points().last().is_none_or(|last| last.at < lasted)
}

fn verdict(trace: &Trace, rule: &LeakRule, room: Option<Bytes>, lasted: Duration) -> LeakJudgement {
    if is_over(trace, lasted) {
        judge_ended(trace, rule)
    } else {
        judge_trace(trace, rule, room)
    }
}

/// The worst verdict first, then the most growth.
fn order(judgement: &LeakJudgement) -> (LeakVerdict, Reverse<i64>) {
    let growth = judgement.growth_bytes.unwrap_or_default();
    (judgement.verdict, Reverse(growth))
}

fn window(watched: &Watched) -> LeakWindow {
    LeakWindow {
        asked_seconds: watched.asked.as_secs_f64(),
        seconds: watched.lasted.as_secs_f64(),
        interval_seconds: watched.interval.as_secs_f64(),
        readings: watched.readings,
        ended_early: watched.ended_early,
        needs_seconds: shortest_window(watched.interval).as_secs_f64(),
    }
}

fn remark(watched: &Watched, notes: &mut Vec<String>) {
    notes.extend(too_few_readings(watched));
    notes.extend(watched.remarks.iter().cloned());
    if watched.unreadable > 0 {
        notes.push(format!(
            "leaks: {} processes may not be read and were not judged",
            watched.unreadable
        ));
    }
    if watched.followed.cut {
        notes.push(format!(
            "leaks: only {MOST_PROCESSES} processes were followed; there were more"
        ));
    }
}

/// How much may still be taken, everywhere.
struct Rooms<'diagnosis> {
    /// Whether what was watched is of now: the room of now is no room of then.
    is_now: bool,
    machine: Option<Bytes>,
    swap_free: Bytes,
    cgroups: HashMap<&'diagnosis CgroupPath, &'diagnosis CgroupMemory>,
}

impl<'diagnosis> Rooms<'diagnosis> {
    fn of(diagnosis: &'diagnosis Diagnosis, is_now: bool) -> Self {
        let devices: &[SwapDevice] = &diagnosis.swap.devices;
        let zram: Vec<Zram> = diagnosis
            .swap
            .zram
            .iter()
            .map(|zram| zram.device.clone())
            .collect();
        let swap_free = free_swap(devices, &zram);
        Self {
            is_now,
            machine: machine_headroom(&diagnosis.meminfo, swap_free),
            swap_free,
            cgroups: diagnosis
                .cgroups
                .iter()
                .map(|cgroup| (&cgroup.path, cgroup))
                .collect(),
        }
    }

    fn machine(&self) -> Option<Bytes> {
        self.machine.filter(|_| self.is_now)
    }

    fn of_cgroup(&self, path: &CgroupPath) -> Option<Bytes> {
        if !self.is_now {
            return None;
        }
        let chain = std::iter::successors(Some(path.clone()), CgroupPath::parent);
        let known: Vec<&CgroupMemory> = chain
            .filter_map(|path| self.cgroups.get(&path).copied())
            .collect();
        tightest_headroom(self.machine, self.swap_free, known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::leaks::document::GroupKind;
    use crate::diagnose::leaks::follow::Facts;

    #[test]
    fn no_more_cgroups_pile_up_than_there_are() {
        let mut trace = Trace::new();
        trace.extend((0..40).map(|second| grey_model::TracePoint {
            at: Duration::from_secs(second),
            amount: Bytes(if second < 39 { second * 100 } else { 1000 }),
            life: 0,
        }));
        let dying = dying_cgroups(&CgroupPath::root(), &trace);
        assert_eq!((dying.count, dying.growth), (1000, Some(1000)));
    }

    #[test]
    fn who_leaks_does_so_until_it_ends_or_is_out_of_sight() {
        let id = grey_model::ProcessId {
            pid: 7,
            start_time_ticks: 1,
        };
        let facts = Facts {
            name: "leaker".into(),
            cgroup: None,
            command_line: None,
            group: (GroupKind::Program, "leaker".into()),
            wanted: true,
        };
        let program = grey_telemetry::process::Program {
            name: "leaker".into(),
            layout: None,
        };
        let rooms = Rooms {
            is_now: true,
            machine: Some(Bytes::from_mib(1000)),
            swap_free: Bytes::ZERO,
            cgroups: HashMap::new(),
        };
        let of = |ended, is_out_of_sight| {
            let mut subject = Subject::new(id, facts.clone(), program.clone());
            for second in 0..60 {
                let held = Bytes::from_mib(100 + second);
                subject.take(Duration::from_secs(second), held);
            }
            (subject.ended, subject.is_out_of_sight) = (ended, is_out_of_sight);
            let rule = LeakRule::default();
            let leak = process(&subject, &rule, &rooms);
            let leak = leak.map(|leak| (leak.judgement.verdict, leak.out_of_sight));
            leak.collect::<Vec<_>>()
        };
        let (leak, growing) = (LeakVerdict::Leak, LeakVerdict::Growing);
        assert_eq!(of(false, false), [(leak, false)]);
        assert_eq!(of(true, false), [(growing, false)]);
        assert_eq!(of(false, true), [(growing, true)]);
    }

    #[test]
    fn what_was_measured_is_told_and_not_what_was_asked_for() {
        let watched = |readings, seconds| Watched {
            followed: crate::diagnose::leaks::follow::Followed::default(),
            asked: Duration::from_secs(600),
            lasted: Duration::from_secs(seconds),
            interval: Duration::from_secs(6),
            readings,
            ended_early: true,
            unreadable: 0,
            lasted_of_cgroups: Duration::from_secs(seconds),
            lasted_of_groups: Duration::from_secs(seconds),
            is_now: true,
            groups_are_whole: true,
            remarks: Vec::new(),
        };
        let told = |readings, seconds| too_few_readings(&watched(readings, seconds));
        assert_eq!(
            told(1, 0).as_deref(),
            Some(
                "leaks: a single reading tells no change, and there is no verdict: with one each \
                 6s it takes 42s"
            )
        );
        assert_eq!(
            told(2, 6).as_deref(),
            Some(
                "leaks: 2 readings in 6s are too few for a verdict: with one each 6s it takes 42s"
            )
        );
        assert_eq!(told(8, 42), None);
        let alone = Watched {
            interval: Duration::ZERO,
            ..watched(1, 0)
        };
        let told = too_few_readings(&alone).unwrap();
        assert!(
            told.ends_with("there is no verdict: it takes 30s"),
            "{told}"
        );
    }
}
