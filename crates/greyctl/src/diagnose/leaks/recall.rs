//! The same from history: what was recorded takes the place of watching now.
//!
//! Of processes alone: history has the largest of them, and of cgroups only
//! their whole usage, in which cache looks like a leak. A process is judged
//! from when it was last missing on: what it held meanwhile nobody knows.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::time::Duration;

use grey_model::{
    Bytes, KernelText, Owner, ProcessField, ProcessId, ProcessSample, ResolvedTarget, Sample,
};
use grey_telemetry::Kernel;
use grey_telemetry::history::{History, HistoryError};
use grey_telemetry::process::{AnonymousMemory, Program};

use super::document::GroupKind;
use super::follow::{Facts, Followed};
use super::watch::{MOST_READINGS, Scope, Watched};

/// What was recorded from `from_unix_ms` to now, of everything or of the
/// targets.
///
/// # Errors
/// [`HistoryError`] when a file cannot be read.
pub(crate) fn recall(
    kernel: &Kernel,
    targets: &[ResolvedTarget],
    history: &mut History,
    from_unix_ms: u64,
) -> Result<Watched, HistoryError> {
    let samples = samples(history, from_unix_ms)?;
    let first = samples.first().map_or(0, |sample| sample.since_boot_ms);
    let last = samples.last().map_or(0, |sample| sample.since_boot_ms);
    let lasted = Duration::from_millis(last.saturating_sub(first));
    let readings = u32::try_from(samples.len()).unwrap_or(u32::MAX);
    let mut watched = Watched {
        followed: Followed::default(),
        asked: lasted,
        lasted,
        interval: lasted / readings.saturating_sub(1).max(1),
        readings: readings.into(),
        ended_early: false,
        unreadable: 0,
    };
    let scope = Scope::of(targets);
    let since = since_when(&samples);
    for (index, sample) in samples.iter().enumerate() {
        let known: HashMap<ProcessId, &ProcessSample> = sample
            .processes
            .iter()
            .filter(|process| {
                since
                    .get(&process.key.id)
                    .is_some_and(|since| *since <= index)
            })
            .map(|process| (process.key.id, process))
            .collect();
        let mut held: Vec<AnonymousMemory> =
            known.values().filter_map(|process| held(process)).collect();
        held.sort_unstable_by_key(|memory| memory.id);
        let at = Duration::from_millis(sample.since_boot_ms.saturating_sub(first));
        watched
            .followed
            .take_processes(at, &held, |id| Some(facts(kernel, known.get(&id)?, &scope)));
    }
    // A member that only now is among the largest would be growth of its group.
    watched.followed.groups.clear();
    Ok(watched)
}

/// The samples of the present boot, at most [`MOST_READINGS`], evenly.
fn samples(history: &mut History, from_unix_ms: u64) -> Result<Vec<Sample>, HistoryError> {
    let length = history.span().map_or(0, |span| {
        let from = span.from_unix_ms.max(from_unix_ms);
        span.until_unix_ms.saturating_sub(from)
    });
    let step = length / u64::from(MOST_READINGS);
    let mut kept: Vec<Sample> = Vec::new();
    history.samples(from_unix_ms, u64::MAX, |sample| {
        if kept.last().is_some_and(|last| last.boot != sample.boot) {
            kept.clear();
        }
        let is_due = kept
            .last()
            .is_none_or(|last| sample.at_unix_ms >= last.at_unix_ms.saturating_add(step));
        if is_due {
            kept.push(sample);
        }
        ControlFlow::Continue(())
    })?;
    Ok(kept)
}

/// From which sample on each process of the last one was in all of them.
fn since_when(samples: &[Sample]) -> HashMap<ProcessId, usize> {
    let mut since = HashMap::new();
    let ids = |sample: &Sample| -> HashSet<ProcessId> {
        sample
            .processes
            .iter()
            .map(|process| process.key.id)
            .collect()
    };
    let mut there = samples.last().map(ids).unwrap_or_default();
    for (index, sample) in samples.iter().enumerate().rev() {
        let here = ids(sample);
        there.retain(|id| here.contains(id));
        since.extend(there.iter().map(|id| (*id, index)));
    }
    since
}

fn held(process: &ProcessSample) -> Option<AnonymousMemory> {
    let anonymous = process.values.get(ProcessField::Anonymous)?;
    let swap = process.values.get(ProcessField::Swap).unwrap_or_default();
    Some(AnonymousMemory {
        id: process.key.id,
        // History has names alone.
        program: Program {
            name: process.key.name.clone(),
            layout: None,
        },
        anonymous: Bytes(anonymous).saturating_add(Bytes(swap)),
    })
}

fn facts(kernel: &Kernel, process: &ProcessSample, scope: &Scope) -> Facts {
    let key = &process.key;
    let owner = key
        .cgroup
        .as_ref()
        .map(|path| Owner::of(path, kernel.has_systemd()));
    let unit = owner.as_ref().and_then(Owner::unit).map(str::to_owned);
    let container = owner.as_ref().and_then(Owner::container);
    Facts {
        wanted: scope.has(key.id, key.cgroup.as_ref()),
        name: key.name.clone(),
        cgroup: key.cgroup.clone(),
        command_line: None,
        group: match (unit, container) {
            (Some(unit), _) => (GroupKind::Unit, KernelText::from(&unit)),
            (None, Some(container)) => (GroupKind::Container, KernelText::from(&container)),
            (None, None) => (GroupKind::Program, key.name.clone()),
        },
    }
}

#[cfg(test)]
mod tests {
    use grey_model::{BootId, KernelText, ProcessKey, ProcessValues, SystemValues};

    use super::*;

    fn sample(pids: &[u32]) -> Sample {
        let process = |&pid: &u32| ProcessSample {
            key: ProcessKey {
                id: ProcessId {
                    pid,
                    start_time_ticks: 1,
                },
                name: KernelText::from("p"),
                cgroup: None,
            },
            values: ProcessValues::default(),
        };
        Sample {
            at_unix_ms: 0,
            since_boot_ms: 0,
            boot: BootId("one".to_owned()),
            system: SystemValues::default(),
            processes: pids.iter().map(process).collect(),
            cgroups: None,
        }
    }

    #[test]
    fn a_process_counts_from_when_it_was_last_missing() {
        let samples = [
            sample(&[1, 2, 3]),
            sample(&[1, 3]),
            sample(&[1, 2]),
            sample(&[1, 2, 4]),
        ];
        let since = since_when(&samples);
        let mut found: Vec<(u32, usize)> = since.iter().map(|(id, at)| (id.pid, *at)).collect();
        found.sort_unstable();
        assert_eq!(found, [(1, 0), (2, 2), (4, 3)]);
    }

    #[test]
    fn two_names_that_are_printed_alike_are_two_groups() {
        let fake = grey_fake_kernel::FakeKernel::full();
        let kernel = Kernel::open(&grey_telemetry::Roots {
            procfs: fake.procfs(),
            sysfs: fake.sysfs(),
            cgroupfs: fake.cgroupfs(),
            systemd: fake.systemd(),
        });
        let (kernel, scope) = (kernel.unwrap(), Scope::of(&[]));
        let group = |name: &[u8]| {
            let mut process = sample(&[1]).processes.remove(0);
            process.key.name = KernelText::from(name);
            facts(&kernel, &process, &scope).group
        };
        let (byte, text) = (group(b"\xff"), group(b"\\xff"));
        assert_eq!(byte.1.to_string(), text.1.to_string());
        assert_ne!(byte, text);
    }
}
