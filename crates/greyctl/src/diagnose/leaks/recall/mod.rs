//! The same from history: what was recorded takes the place of watching now.
//!
//! History has the largest processes of each moment and the largest cgroups and
//! groups of some, by name and path: what was too small is not judged.
//! [`samples`] are chosen, [`lives`] of processes are kept apart, [`groups`] are
//! taken as they were recorded, or summed.

mod groups;
mod lives;
mod samples;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use grey_model::{
    BootId, Bytes, CgroupField, CgroupId, CgroupPath, CgroupSample, GroupKey, GroupSample,
    KernelText, Owner, ProcessId, ProcessKey, TracePoint, roughly,
};
use grey_policy::leak::is_enough;
use grey_telemetry::Kernel;
use grey_telemetry::cgroup::CgroupGrowth;
use grey_telemetry::proc::boot_id::read_boot_id;
use grey_telemetry::process::{ProcessList, hides_processes, read_anonymous};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use self::groups::{Part, groups};
use self::lives::{Life, Seen, follow, seen, without_its_end};
pub(crate) use self::samples::Recorded;
use super::document::GroupKind;
use super::follow::{Facts, Followed, Group};
use super::shared::SharedMemory;
use super::verdicts::enough;
use super::watch::Watched;
use crate::count::counted;
use crate::moment::shown;
use crate::scope::Scope;

/// A last sample that is older than this is not of now, in milliseconds.
const NOW_MS: u64 = 120_000;

/// What was recorded, of everything or of what was asked for.
pub(crate) fn recall(kernel: &Kernel, scope: &Scope, recorded: &Recorded) -> Watched {
    let origin = recorded.origin();
    let since = |ms: u64| Duration::from_millis(ms.saturating_sub(origin));
    let times: Vec<Duration> = recorded
        .processes
        .iter()
        .map(|(ms, _)| since(*ms))
        .collect();
    let lasted = times.last().copied().unwrap_or_default();
    let readings = u32::try_from(times.len()).unwrap_or(u32::MAX);
    let interval = lasted / readings.saturating_sub(1).max(1);
    let mut followed = Followed::default();
    let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
    let all = seen(&recorded.processes);
    let chosen = Chosen {
        kernel,
        scope,
        recorded,
        times: &times,
        ticks_per_second: rustix::param::clock_ticks_per_second(),
        running: running(kernel, recorded),
        is_now: now.saturating_sub(recorded.until_unix_ms) <= NOW_MS,
    };
    follow(
        all.iter().map(|seen| chosen.life(seen)).collect(),
        &mut followed,
    );
    // Of single processes that were asked for, there are no sums.
    let has_groups = scope.tells_by_name() && !recorded.groups.is_empty();
    followed.groups = if has_groups {
        chosen.recorded_groups(&since)
    } else {
        let parts: Vec<Part<'_>> = all.iter().filter_map(|seen| chosen.part(seen)).collect();
        groups(&parts, &times)
    };
    for (ms, cgroups) in &recorded.cgroups {
        let growths: Vec<CgroupGrowth> = cgroups
            .iter()
            .filter(|group| scope.has_cgroup(&group.path))
            .map(growth)
            .collect();
        followed.take_cgroups(since(*ms), &growths);
    }
    let has_cgroups = recorded.has_cgroups();
    if !has_cgroups && scope.has_cgroup(&CgroupPath::root()) {
        for (at, (_, then)) in times.iter().zip(&recorded.processes) {
            followed.take_cgroups(*at, &[CgroupGrowth::of_machine(&then.machine)]);
        }
    }
    Watched {
        followed,
        asked: lasted,
        lasted,
        interval,
        readings: readings.into(),
        ended_early: false,
        unreadable: 0,
        lasted_of_cgroups: match recorded.cgroups.last() {
            Some((ms, _)) if has_cgroups => since(*ms),
            _ => lasted,
        },
        lasted_of_groups: match recorded.groups.last() {
            Some((ms, _)) if has_groups => since(*ms),
            _ => lasted,
        },
        is_now: chosen.is_now,
        groups_are_whole: has_groups || recorded.has_all_processes(),
        remarks: remarks(recorded, now),
    }
}

impl Recorded {
    /// From when on times are told, in milliseconds since boot.
    fn origin(&self) -> u64 {
        let processes = self.processes.first().map(|(ms, _)| *ms);
        let cgroups = self.cgroups.first().map(|(ms, _)| *ms);
        processes
            .into_iter()
            .chain(cgroups)
            .min()
            .unwrap_or_default()
    }

    /// Whether any sample has a cgroup.
    fn has_cgroups(&self) -> bool {
        self.cgroups.iter().any(|(_, groups)| !groups.is_empty())
    }

    /// Whether each sample has every process that there was.
    fn has_all_processes(&self) -> bool {
        self.processes.iter().all(|(_, then)| then.are_all)
    }

    /// Whether something in it fits one of the words of `scope`.
    pub(crate) fn has(&self, scope: &Scope) -> bool {
        let mut processes = self.processes.iter().flat_map(|(_, then)| &then.largest);
        let mut cgroups = self.cgroups.iter().flat_map(|(_, cgroups)| cgroups);
        processes.any(|process| is_wanted(scope, &process.key))
            || cgroups.any(|group| scope.has_cgroup(&group.path))
    }
}

fn is_wanted(scope: &Scope, key: &ProcessKey) -> bool {
    scope.has(key.id, &key.name, key.cgroup.as_ref())
}

/// What everything is judged by.
struct Chosen<'all> {
    kernel: &'all Kernel,
    scope: &'all Scope,
    recorded: &'all Recorded,
    times: &'all [Duration],
    ticks_per_second: u64,
    /// Who runs now, and what each holds; `None` where that cannot be known, or
    /// where the samples are of another boot.
    running: Option<HashMap<ProcessId, Bytes>>,
    /// Whether the last sample is of now.
    is_now: bool,
}

impl Chosen<'_> {
    fn life(&self, seen: &Seen<'_>) -> Life {
        let readings = &self.recorded.processes;
        let enough = |run: &[(usize, Bytes)]| {
            let points: Vec<TracePoint> = run
                .iter()
                .map(|&(index, amount)| TracePoint {
                    at: self.times[index],
                    amount,
                    life: 0,
                })
                .collect();
            is_enough(&points)
        };
        let run = seen.unbroken(enough);
        let is_in_last = seen.last_index() + 1 == readings.len();
        let has_ended = match &self.running {
            Some(running) => !running.contains_key(&seen.id),
            None => seen.was_seen_to_end(readings),
        };
        let ended = !is_in_last && has_ended;
        let run = if ended { without_its_end(run) } else { run };
        Life {
            id: seen.id,
            facts: self.facts(seen),
            held: run
                .iter()
                .map(|&(index, held)| (self.times[index], held))
                .collect(),
            shared: self.shared(seen, run),
            is_enough: enough(run),
            started_ms: self.started_ms(seen),
            last_ms: readings[seen.last_index()].0,
            ended,
            is_out_of_sight: !ended && !self.goes_on(seen, run),
            is_asked_for: self.scope.has_pid(seen.id.pid),
        }
    }

    /// Whether at the end it still holds about what it held at the end of `run`.
    /// Who is not in the last sample is smaller than those that are, and may have
    /// been so throughout.
    fn goes_on(&self, seen: &Seen<'_>, run: &[(usize, Bytes)]) -> bool {
        let (Some(&(index, held)), Some(&end)) = (run.last(), self.times.last()) else {
            return false;
        };
        if index + 1 == self.times.len() {
            return true;
        }
        let still = |holds: Bytes| holds >= held.scale(9, 10);
        let now = self.running.as_ref().filter(|_| self.is_now);
        if let Some(&holds) = now.and_then(|running| running.get(&seen.id)) {
            return still(holds);
        }
        let last = seen.last_index();
        let since = end.saturating_sub(self.times[last]);
        since <= end / 10 && seen.held.last().is_some_and(|&(_, holds)| still(holds))
    }

    /// What shared memory it mapped in the same samples.
    fn shared(&self, seen: &Seen<'_>, run: &[(usize, Bytes)]) -> Vec<(Duration, SharedMemory)> {
        let ([(first, _), ..], [.., (last, _)]) = (run, run) else {
            return Vec::new();
        };
        let is_in_run = |index: &usize| (first..=last).contains(&index);
        let shared = seen.shared.iter().filter(|(index, _)| is_in_run(index));
        shared
            .map(|&(index, shared)| (self.times[index], shared))
            .collect()
    }

    fn recorded_groups(
        &self,
        since: &impl Fn(u64) -> Duration,
    ) -> BTreeMap<(GroupKind, KernelText), Group> {
        let is_wanted = |key: &GroupKey| self.scope.has_group(&key.name, key.cgroup.as_ref());
        let readings: Vec<(Duration, Vec<&GroupSample>)> = (self.recorded.groups.iter())
            .map(|(ms, groups)| {
                let wanted = groups.iter().filter(|group| is_wanted(&group.key));
                (since(*ms), wanted.collect())
            })
            .collect();
        let group = |key: &GroupKey| self.group_of(&key.name, key.cgroup.as_ref());
        groups::recorded(&readings, group, |start_time_ticks| {
            let id = ProcessId {
                pid: 0,
                start_time_ticks,
            };
            since(id.started_by_ms(self.ticks_per_second).unwrap_or_default())
        })
    }

    /// The unit of a process, else its container, else its program.
    fn group_of(&self, name: &KernelText, cgroup: Option<&CgroupPath>) -> (GroupKind, KernelText) {
        group_of(name, cgroup, self.kernel.has_systemd())
    }

    /// As a part of its group; `None` when it was not asked for.
    fn part<'seen>(&self, seen: &'seen Seen<'seen>) -> Option<Part<'seen>> {
        let facts = self.facts(seen);
        let started_ms = self.started_ms(seen);
        let readings = &self.recorded.processes;
        facts.wanted.then(|| Part {
            seen,
            group: facts.group,
            from: readings.partition_point(|(ms, _)| *ms < started_ms),
        })
    }

    fn started_ms(&self, seen: &Seen<'_>) -> u64 {
        seen.id
            .started_by_ms(self.ticks_per_second)
            .unwrap_or_default()
    }

    fn facts(&self, seen: &Seen<'_>) -> Facts {
        let key = &seen.last.key;
        Facts {
            wanted: is_wanted(self.scope, key),
            name: key.name.clone(),
            cgroup: key.cgroup.clone(),
            command_line: None,
            group: self.group_of(&key.name, key.cgroup.as_ref()),
        }
    }
}

fn group_of(
    name: &KernelText,
    cgroup: Option<&CgroupPath>,
    has_systemd: bool,
) -> (GroupKind, KernelText) {
    let owner = cgroup.map(|path| Owner::of(path, has_systemd));
    let unit = owner.as_ref().and_then(Owner::unit);
    let container = owner.as_ref().and_then(Owner::container);
    match (unit, container) {
        (Some(unit), _) => (GroupKind::Unit, KernelText::from(unit)),
        (None, Some(container)) => (GroupKind::Container, KernelText::from(&container)),
        (None, None) => (GroupKind::Program, name.clone()),
    }
}

/// Who of the recorded boot runs now; `None` where that cannot be known.
fn running(kernel: &Kernel, recorded: &Recorded) -> Option<HashMap<ProcessId, Bytes>> {
    let mut buffer = Vec::new();
    let boot = read_boot_id(kernel, &mut buffer).ok().flatten();
    let is_this_boot = boot.is_some_and(|boot: BootId| Some(boot) == recorded.boot);
    if !is_this_boot || hides_processes(kernel) {
        return None;
    }
    let mut list = ProcessList::new();
    let pids = list.refresh(&kernel.proc).ok()?;
    let running = pids.iter().filter_map(|&pid| {
        let read = read_anonymous(kernel, pid, &mut buffer).ok().flatten();
        read.map(|memory| (memory.id, memory.anonymous))
    });
    Some(running.collect())
}

/// What of a cgroup can leak; nothing of one that an earlier version recorded,
/// which knew its whole usage alone.
pub(crate) fn growth(group: &CgroupSample) -> CgroupGrowth {
    let value = |field| group.values.get(field);
    let bytes = |field| value(field).map(Bytes);
    CgroupGrowth {
        path: group.path.clone(),
        id: CgroupId(value(CgroupField::Id).unwrap_or_default()),
        // Without CONFIG_SWAP there is no swap.
        anonymous: bytes(CgroupField::Anonymous)
            .map(|resident| resident.saturating_add(bytes(CgroupField::Swap).unwrap_or_default())),
        shmem: bytes(CgroupField::Shared),
        slab: bytes(CgroupField::SlabUnreclaimable),
        slab_reclaimable: bytes(CgroupField::SlabReclaimable),
        kernel: bytes(CgroupField::KernelOther),
        dying: value(CgroupField::Dying),
    }
}

/// What was not judged, and why.
fn remarks(recorded: &Recorded, now_unix_ms: u64) -> Vec<String> {
    let zone = TimeZone::system();
    let mut remarks = vec![
        "leaks: from history, which has the largest processes and cgroups of each moment: \
         what was smaller is not judged, and who was whose restart is told by name and cgroup \
         alone"
            .to_owned(),
    ];
    if let Some((count, until)) = recorded.before_boot {
        let (samples, until) = (counted(count, "sample", "samples"), shown(until, &zone));
        remarks.push(format!(
            "leaks: {samples} of before the last boot, until {until}, are not judged: with \
             --until that moment they are"
        ));
    }
    if recorded.without_processes > 0 {
        let samples = counted(recorded.without_processes, "sample has", "samples have");
        remarks.push(format!("leaks: {samples} no processes"));
    }
    if recorded.has_cgroups() {
        remarks.extend(how_often("cgroups", &recorded.cgroups));
    }
    remarks.extend(how_often("groups", &recorded.groups));
    let mut groups = recorded.cgroups.iter().flat_map(|(_, groups)| groups);
    if !recorded.has_cgroups() {
        remarks.push(
            "leaks: no cgroups were recorded in this time: only those of version 2 are; of the \
             machine as a whole its tmpfs, slab and page tables are judged, as `/`"
                .to_owned(),
        );
    } else if groups.any(|group| group.values.get(CgroupField::Anonymous).is_none()) {
        remarks.push(
            "leaks: some cgroups were recorded with their whole usage alone, in which cache \
             looks like a leak: they are not judged"
                .to_owned(),
        );
    }
    if now_unix_ms.saturating_sub(recorded.until_unix_ms) > NOW_MS {
        remarks.push(format!(
            "leaks: the last sample is of {}: when something is full is not told",
            shown(recorded.until_unix_ms, &zone)
        ));
    }
    remarks
}

/// How often these were read, who are not in each sample.
fn how_often<T>(what: &str, readings: &[(u64, T)]) -> Option<String> {
    let [(first, _), .., (last, _)] = readings else {
        return None;
    };
    let count = u64::try_from(readings.len()).unwrap_or(u64::MAX);
    let apart = Duration::from_millis((last - first) / (count - 1).max(1));
    Some(format!(
        "leaks: {what} were read {count} times, {} apart: a verdict on one takes {}",
        roughly(apart),
        roughly(enough(apart)),
    ))
}
