//! What history has of a moment, as the view shows it.
//!
//! What a sample does not have stays unknown. What changes are told by comes
//! from the ten minutes before.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::Duration;

use grey_model::{
    Bytes, CgroupField, CgroupSample, KernelText, Meminfo, ProcessField, ProcessId, ProcessMemory,
    ProcessSample, Sample, SystemField, TracePoint,
};
use grey_telemetry::history::History;

use super::fold;
use super::follow::Follow;
use super::sampler::{Wish, add_trends, stalled};
use super::shot::{
    CgroupRow, Class, Classes, Detail, Key, ProcessRow, Shot, Stall, Trend, Unmeasured, What,
};
use crate::cli::GlobalOptions;
use crate::diagnose::document::Swap;
use crate::diagnose::leaks::growth;
use crate::failure::Failure;
use crate::history::command::{open, sample_at};
use crate::history::past::{complete, snapshot};
use crate::history::record::history_failure;
use crate::moment::Moment;

/// What changes are told by: the time before.
const BEFORE: u64 = 10 * 60 * 1000;

/// Cgroups are not in every sample: those of this long ago are shown.
const CGROUPS_WITHIN: u64 = 60 * 1000;

/// One moment of history, and where to go from there.
#[derive(Debug)]
pub(super) struct Past {
    history: History,
    current: Sample,
}

impl Past {
    /// Opens history at `moment`.
    ///
    /// # Errors
    /// A [`Failure`] when there is no history, or it has nothing so early.
    pub(super) fn open(global: &GlobalOptions, moment: &Moment) -> Result<Self, Failure> {
        let mut history = open(global)?;
        let current = sample_at(global, &mut history, moment, "memory-watch --at")?;
        Ok(Self { history, current })
    }

    /// Goes to the sample before, or after; whether there is one.
    ///
    /// # Errors
    /// A [`Failure`] when a file cannot be read.
    pub(super) fn step(&mut self, forward: bool) -> Result<bool, Failure> {
        let at = self.current.at_unix_ms;
        let failed = |error| history_failure(&error);
        let next = if forward {
            let mut next = None;
            let first = |sample: Sample| {
                next = Some(sample);
                ControlFlow::Break(())
            };
            let after = at.saturating_add(1);
            self.history
                .samples(after, u64::MAX, first)
                .map_err(failed)?;
            next
        } else if let Some(before) = at.checked_sub(1) {
            self.history.at(before).map_err(failed)?
        } else {
            None
        };
        let found = next.is_some();
        if let Some(sample) = next {
            self.current = sample;
        }
        Ok(found)
    }

    /// What is shown.
    ///
    /// # Errors
    /// A [`Failure`] when a file cannot be read, or the sample lacks what every
    /// machine has.
    pub(super) fn look(&mut self, wish: &Wish) -> Result<Shot, Failure> {
        let mut known = snapshot(&self.current)?;
        complete(&mut known.processes, &self.current);
        let before = self.before()?;
        let (follow, stalls) = follow_all(&before);
        let at = self.current.since_boot_ms;
        let processes: Vec<ProcessRow> = known
            .processes
            .into_iter()
            .zip(&self.current.processes)
            .map(|(memory, kept)| row(memory, kept, at))
            .collect();
        let since_boot_seconds = Some(at / 1000);
        let groups = wish
            .by
            .map(|by| (by, fold::rows(&processes, by, since_boot_seconds)));
        let mut shot = Shot {
            at_unix_ms: self.current.at_unix_ms,
            since_boot_seconds,
            totals: known.system,
            classes: classes(&self.current),
            pressure: None,
            stalls,
            swap: swap(&self.current),
            processes,
            unreadable: 0,
            unmeasured: Unmeasured::default(),
            groups,
            other_folds: Vec::new(),
            cgroups: cgroups(&before)?,
            detail: None,
        };
        add_trends(&follow, &mut shot);
        shot.detail = wish.detail.as_ref().map(|key| Detail {
            key: key.clone(),
            process: None,
            moved: follow.moved(key),
        });
        Ok(shot)
    }

    /// The samples of the same boot up to this one.
    fn before(&mut self) -> Result<Vec<Sample>, Failure> {
        let until = self.current.at_unix_ms;
        let mut samples = Vec::new();
        let boot = self.current.boot.clone();
        let each = |sample: Sample| {
            if sample.boot == boot {
                samples.push(sample);
            }
            ControlFlow::Continue(())
        };
        let from = until.saturating_sub(BEFORE);
        self.history
            .samples(from, until, each)
            .map_err(|error| history_failure(&error))?;
        Ok(samples)
    }
}

/// What of the machine a sample tells, by class; the rest is the residual.
fn classes(sample: &Sample) -> Classes {
    let mut classes = Classes::default();
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let mut rest = sample.system.get(SystemField::Total).map_or(0, signed);
    for (class, field) in [
        (Class::Anonymous, SystemField::Anonymous),
        (Class::Shared, SystemField::Shared),
        (Class::Cache, SystemField::FileCache),
        (Class::Kernel, SystemField::SlabReclaimable),
        (Class::Kernel, SystemField::SlabUnreclaimable),
        (Class::Kernel, SystemField::PageTables),
        (Class::Kernel, SystemField::Zram),
        (Class::Kernel, SystemField::Zswap),
        (Class::Free, SystemField::Free),
        (Class::Free, SystemField::FreePerCpuLists),
    ] {
        let bytes = sample.system.get(field).map_or(0, signed);
        classes.add(class, bytes);
        rest = rest.saturating_sub(bytes);
    }
    classes.add(Class::Residual, rest);
    classes
}

/// A sample knows the sums of swap, and no devices.
fn swap(sample: &Sample) -> Swap {
    let value = |field| sample.system.get(field).map(Bytes);
    let total = value(SystemField::SwapTotal);
    let used = value(SystemField::SwapUsed);
    let meminfo = Meminfo {
        swap_total: total,
        swap_free: total
            .zip(used)
            .map(|(total, used)| total.saturating_sub(used)),
        ..Meminfo::default()
    };
    Swap::new(&meminfo, Vec::new(), Vec::new(), None)
}

/// A process of a sample taken `at` so many milliseconds after boot.
fn row(memory: ProcessMemory, kept: &ProcessSample, at: u64) -> ProcessRow {
    let read_at = memory
        .pss
        .and_then(|_| kept.values.get(ProcessField::PssAt));
    ProcessRow {
        life: memory.id.start_time_ticks,
        memory,
        pss_age: read_at.map(|read_at| Duration::from_millis(at.saturating_sub(read_at))),
        trend: Trend::default(),
    }
}

/// The control groups of the last sample that has any, when it is not too old.
fn cgroups(samples: &[Sample]) -> Result<Option<Vec<CgroupRow>>, Failure> {
    let Some(last) = samples.last() else {
        return Ok(None);
    };
    let oldest = last.at_unix_ms.saturating_sub(CGROUPS_WITHIN);
    let recent = samples
        .iter()
        .rev()
        .take_while(|sample| sample.at_unix_ms >= oldest);
    let Some(found) = recent.into_iter().find(|sample| sample.cgroups.is_some()) else {
        return Ok(None);
    };
    let row = |memory| CgroupRow {
        memory,
        trend: Trend::default(),
    };
    Ok(Some(
        snapshot(found)?.cgroups.into_iter().map(row).collect(),
    ))
}

/// Follows everything through `samples`; and how much time was lost between
/// each two.
fn follow_all(samples: &[Sample]) -> (Follow, Vec<Stall>) {
    let mut follow = Follow::default();
    follow.begin(true);
    let mut programs = Programs::default();
    let origin = samples.first().map_or(0, |sample| sample.since_boot_ms);
    for sample in samples {
        let at = Duration::from_millis(sample.since_boot_ms.saturating_sub(origin));
        follow_processes(&mut follow, &mut programs, sample, at);
        for group in sample.cgroups.iter().flatten() {
            follow_cgroup(&mut follow, group, at);
        }
    }
    // Groups are not followed: a member that only now is among the largest would
    // be growth of its group.
    follow.judge(usize::MAX);
    let stalls = samples
        .windows(2)
        .filter_map(|pair| stall(&pair[0], &pair[1]));
    (follow, stalls.collect())
}

/// The name of each process, and how often it changed: a sample knows no other
/// sign of an exec.
type Programs = HashMap<ProcessId, (KernelText, u64)>;

fn follow_processes(follow: &mut Follow, programs: &mut Programs, sample: &Sample, at: Duration) {
    for process in &sample.processes {
        let Some(anonymous) = process.values.get(ProcessField::Anonymous) else {
            continue;
        };
        let swap = process.values.get(ProcessField::Swap).unwrap_or_default();
        let key = &process.key;
        let program = programs.entry(key.id);
        let (name, life) = program.or_insert_with(|| (key.name.clone(), 0));
        if *name != key.name {
            name.clone_from(&key.name);
            *life += 1;
        }
        let point = TracePoint {
            at,
            amount: Bytes(anonymous).saturating_add(Bytes(swap)),
            life: *life,
        };
        follow.take(Key::Process(key.id), point);
    }
}

/// What an earlier version recorded has the whole usage of a control group alone,
/// in which cache looks like growth: then the change is told, and no verdict.
fn follow_cgroup(follow: &mut Follow, group: &CgroupSample, at: Duration) {
    let growth = growth(group);
    let value = |field| group.values.get(field).map(Bytes);
    match value(CgroupField::Current) {
        Some(current) if growth.anonymous.is_none() => {
            let swap = value(CgroupField::Swap).unwrap_or_default();
            let point = TracePoint {
                at,
                amount: current.saturating_add(swap),
                life: growth.id.0,
            };
            follow.take_kinds(Key::Cgroup(growth.path), [(What::Usage, point)]);
        }
        _ => follow.take_cgroup(at, growth),
    }
}

fn stall(one: &Sample, other: &Sample) -> Option<Stall> {
    let elapsed = other.since_boot_ms.checked_sub(one.since_boot_ms)?;
    let elapsed = Duration::from_millis(elapsed).max(Duration::from_millis(1));
    let share = |field| {
        let (then, now) = (one.system.get(field)?, other.system.get(field)?);
        Some(stalled(now.checked_sub(then)?, elapsed))
    };
    Some(Stall {
        some: share(SystemField::PressureSome)?,
        full: share(SystemField::PressureFull).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use grey_model::{
        BootId, CgroupPath, CgroupValues, GrowthOf, LeakVerdict, ProcessKey, ProcessValues,
        SystemValues,
    };

    use super::*;

    fn sample(second: u64, stalled_us: u64) -> Sample {
        Sample {
            at_unix_ms: second * 1000,
            since_boot_ms: second * 1000,
            boot: BootId("one".to_owned()),
            system: SystemValues::default()
                .with(SystemField::Total, Some(1000))
                .with(SystemField::Free, Some(300))
                .with(SystemField::Anonymous, Some(500))
                .with(SystemField::Zram, Some(50))
                .with(SystemField::PressureSome, Some(stalled_us)),
            processes: Vec::new(),
            cgroups: None,
            groups: None,
        }
    }

    fn with_cgroup(sample: Sample, current: u64) -> Sample {
        let group = CgroupSample {
            path: CgroupPath::new(b"/web").unwrap(),
            values: CgroupValues::default().with(CgroupField::Current, Some(current)),
        };
        Sample {
            cgroups: Some(vec![group]),
            ..sample
        }
    }

    #[test]
    fn what_a_sample_does_not_explain_is_the_residual() {
        let found: Vec<(Class, i64)> = classes(&sample(0, 0)).iter().collect();
        let of = |class| found.iter().find(|(one, _)| *one == class).unwrap().1;
        assert_eq!((of(Class::Anonymous), of(Class::Kernel)), (500, 50));
        assert_eq!(of(Class::Residual), 150);
        assert_eq!(found.iter().map(|(_, bytes)| bytes).sum::<i64>(), 1000);
    }

    #[test]
    fn stalls_are_the_share_of_the_time_between_two_samples() {
        let share = stall(&sample(10, 0), &sample(12, 500_000)).unwrap();
        assert_eq!(format!("{:.1}", share.some), "25.0");
        // The counter began anew: there is no telling.
        assert!(stall(&sample(10, 500), &sample(12, 0)).is_none());
    }

    #[test]
    fn control_groups_of_shortly_before_are_shown_and_older_ones_are_not() {
        let old = with_cgroup(sample(0, 0), 7);
        let recent = cgroups(&[old.clone(), sample(30, 0)]).unwrap();
        assert_eq!(recent.unwrap()[0].memory.current, Some(Bytes(7)));
        assert!(cgroups(&[old, sample(90, 0)]).unwrap().is_none());
        assert!(cgroups(&[]).unwrap().is_none());
    }

    fn process(name: &str, held: u64) -> ProcessSample {
        ProcessSample {
            key: ProcessKey {
                id: ProcessId {
                    pid: 7,
                    start_time_ticks: 1,
                },
                name: KernelText::from(name),
                cgroup: None,
            },
            values: ProcessValues::default().with(ProcessField::Anonymous, Some(held)),
        }
    }

    #[test]
    fn units_and_containers_of_history_are_those_of_the_cgroups_path() {
        let found = |paths: &[&str]| {
            let inside = |path: &&str| {
                let mut process = process("it", 1);
                process.key.cgroup = CgroupPath::new(path.as_bytes());
                process
            };
            let mut sample = sample(0, 0);
            sample.processes = paths.iter().map(inside).collect();
            let mut known = snapshot(&sample).unwrap().processes;
            complete(&mut known, &sample);
            let process = known.remove(0);
            (process.unit, process.container)
        };
        let unit = "/system.slice/web.service";
        assert_eq!(found(&[unit]), (Some("web.service".to_owned()), None));
        let container = "/docker/3f4e5d6c7b8a90123f4e5d6c7b8a90123f4e5d6c7b8a90123f4e5d6c7b8a9012";
        let (_, id) = found(&[container]);
        assert!(id.unwrap().starts_with("docker:3f4e5d6c7b8a"));
        // Without systemd such a name means nothing; with it, it does.
        assert_eq!(found(&["/own/a.service"]), (None, None));
        let (of_systemd, _) = found(&["/own/a.service", "/init.scope"]);
        assert_eq!(of_systemd.as_deref(), Some("a.service"));
    }

    #[test]
    fn an_exec_in_history_is_no_growth() {
        let samples: Vec<Sample> = [("sh", 1), ("indexer", 500 << 20)]
            .into_iter()
            .zip([0, 30])
            .map(|((name, held), second)| Sample {
                processes: vec![process(name, held)],
                ..sample(second, 0)
            })
            .collect();
        let (follow, _) = follow_all(&samples);
        let key = Key::Process(samples[0].processes[0].key.id);
        assert_eq!(follow.trend(&key).per_minute, None);
    }

    #[test]
    fn a_control_group_of_history_is_judged_by_what_of_it_can_leak() {
        let samples: Vec<Sample> = (0..120)
            .map(|second| with_cgroup(sample(second, 0), (100 + second) << 20))
            .collect();
        let (follow, _) = follow_all(&samples);
        let key = Key::Cgroup(CgroupPath::new(b"/web").unwrap());
        let trend = follow.trend(&key);
        assert_eq!((trend.per_minute, trend.verdict), (Some(60 << 20), None));
        // What of it is anonymous tells: cache that grew is none of it.
        let anonymous = |samples: &[Sample], held: fn(u64) -> u64| {
            let mut samples = samples.to_vec();
            for (second, sample) in (0..).zip(&mut samples) {
                for group in sample.cgroups.iter_mut().flatten() {
                    group
                        .values
                        .set(CgroupField::Anonymous, Some(held(second) << 20));
                }
            }
            follow_all(&samples).0.trend(&key).verdict
        };
        let growing = anonymous(&samples, |second| 50 + second);
        assert_eq!(growing, Some(LeakVerdict::Leak));
        assert_eq!(anonymous(&samples, |_| 50), None);
        // And so do the other kinds that can leak, each by its name.
        for (field, of) in [
            (CgroupField::Shared, GrowthOf::Shmem),
            (CgroupField::KernelOther, GrowthOf::Kernel),
        ] {
            let mut samples = samples.clone();
            for (second, sample) in (0..).zip(&mut samples) {
                for group in sample.cgroups.iter_mut().flatten() {
                    group.values.set(CgroupField::Anonymous, Some(50 << 20));
                    group.values.set(field, Some((50 + second) << 20));
                }
            }
            let trend = follow_all(&samples).0.trend(&key);
            let told = (trend.verdict, trend.of, trend.per_minute);
            let expected = (Some(LeakVerdict::Leak), What::Kind(of), Some(60 << 20));
            assert_eq!(told, expected);
        }
    }
}
