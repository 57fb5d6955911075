//! What had grown in the minutes before a kill, from history.
//!
//! Best effort: where there is no history of that time, it stays unknown. Never
//! lets somebody else's growth come before that of whoever filled the cgroup that
//! was at its limit.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use grey_model::{
    Bytes, CgroupPath, Growth, Kill, Moment, ProcessField, ProcessKey, ProcessSample, Sample,
};
use grey_telemetry::history::History;

use super::last_minute::Minutes;
use crate::cli::GlobalOptions;
use crate::history::command::{folder, missing, open_beside};

/// How long before a kill is looked at, in milliseconds: 5 minutes.
pub(super) const BEFORE: u64 = 300_000;

/// Fills in `grew` of each kill whose time is known; what of history could not be
/// read, in sentences.
pub(super) fn fill(global: &GlobalOptions, kills: &mut [Kill]) -> Vec<String> {
    let (mut history, folder) = match (open_beside(global), folder(global)) {
        (Ok(Some(history)), Ok(folder)) => (history, folder),
        (Err(why_not), _) => return vec![why_not],
        (Ok(_), _) => return Vec::new(),
    };
    let minutes = Minutes::open(folder);
    for kill in kills {
        let Some(at) = kill.at.and_then(unix_milliseconds) else {
            continue;
        };
        let limited = Limited::of(kill);
        let before = grown(&mut history, at.saturating_sub(BEFORE)..=at, &limited);
        (kill.grew, kill.grew_covers_seconds) = before.map(Grown::parts).unzip();
        kill.last_minute = minutes.before(at, |from| grown(&mut history, from..=at, &limited));
    }
    missing(&history)
}

/// A moment as history has it; `None` before 1970.
pub(super) fn unix_milliseconds(at: Moment) -> Option<u64> {
    u64::try_from(at.unix_microseconds() / 1000).ok()
}

/// A time of history, in milliseconds since 1970.
type Span = std::ops::RangeInclusive<u64>;

/// Who grew, and in how much of the time.
#[derive(Debug)]
pub(super) struct Grown {
    grew: Vec<Growth>,
    covers: Duration,
}

impl Grown {
    /// As documents have it.
    pub(super) fn parts(self) -> (Vec<Growth>, f64) {
        (self.grew, self.covers.as_secs_f64())
    }
}

/// Who grew in `span` and was still there then; `None` where nothing was
/// recorded then.
fn grown(history: &mut History, span: Span, limited: &Limited) -> Option<Grown> {
    let mut tally = Tally::since(*span.start());
    let read = history.samples(*span.start(), *span.end(), |sample| {
        tally.add(sample);
        ControlFlow::Continue(())
    });
    read.ok()?;
    tally.grown(limited)
}

/// The cgroup that was at its limit, where one was, and who is known to have
/// been in it.
#[derive(Debug, Default)]
struct Limited {
    cgroup: Option<CgroupPath>,
    /// By the kernel's own table: all who could have been killed for it.
    members: Vec<u32>,
}

impl Limited {
    fn of(kill: &Kill) -> Self {
        let consumers = kill.consumers.iter().flatten();
        Self {
            cgroup: kill.limit_cgroup.clone(),
            members: consumers
                .map(|consumer| consumer.pid)
                .chain(kill.pid)
                .collect(),
        }
    }

    /// Whether `key` was in it; `None` where none was at its limit, or the
    /// process's cgroup is not known.
    fn holds(&self, key: &ProcessKey) -> Option<bool> {
        let limited = self.cgroup.as_ref()?;
        match &key.cgroup {
            Some(own) => Some(limited.contains(own)),
            None => self.members.contains(&key.id.pid).then_some(true),
        }
    }
}

/// In so many of the last samples before a kill something must be to have grown
/// until then: who was killed may be gone from the last ones.
const LAST: u64 = 3;

/// What a process held.
#[derive(Debug)]
struct Held {
    first: u64,
    last: u64,
    /// In which sample it was seen last.
    seen: u64,
    is_new: bool,
}

/// What each process held first and last.
#[derive(Debug)]
struct Tally {
    /// When the time begins, in milliseconds since 1970.
    from_unix_ms: u64,
    ticks_per_second: u64,
    known: BTreeMap<ProcessKey, Held>,
    samples: u64,
    /// When the first sample and the last were taken.
    taken: Option<(u64, u64)>,
}

impl Tally {
    /// What is held from this moment on.
    fn since(from_unix_ms: u64) -> Self {
        Self {
            from_unix_ms,
            ticks_per_second: rustix::param::clock_ticks_per_second(),
            known: BTreeMap::new(),
            samples: 0,
            taken: None,
        }
    }

    /// Counts the processes of the next sample. Who started in this time held
    /// nothing when it began.
    fn add(&mut self, sample: Sample) {
        self.samples += 1;
        let (first, _) = self.taken.unwrap_or((sample.at_unix_ms, 0));
        self.taken = Some((first, sample.at_unix_ms));
        let gone_by = sample.at_unix_ms.saturating_sub(self.from_unix_ms);
        // Before a boot nobody ran: a time that began then began with none.
        let begin_ms = sample.since_boot_ms.checked_sub(gone_by);
        for process in sample.processes {
            let Some(held) = held(&process) else { continue };
            let started = process.key.id.started_by_ms(self.ticks_per_second);
            let is_new = match (begin_ms, started) {
                (None, _) => true,
                (Some(begin_ms), Some(started)) => started > begin_ms,
                (Some(_), None) => false,
            };
            let entry = self.known.entry(process.key).or_insert(Held {
                first: if is_new { 0 } else { held },
                last: held,
                seen: self.samples,
                is_new,
            });
            (entry.last, entry.seen) = (held, self.samples);
        }
    }

    /// Who grew and was still there at the end: those of the cgroup at its limit,
    /// then those of whom nobody knows, then the others, each by growth. `None`
    /// with fewer than two samples: of one moment alone nobody can tell what grew.
    fn grown(self, limited: &Limited) -> Option<Grown> {
        let samples = self.samples;
        if samples < 2 {
            return None;
        }
        let mut grew: Vec<Growth> = self
            .known
            .into_iter()
            .filter(|(_, held)| held.last > held.first && held.seen + LAST > samples)
            .map(|(key, held)| Growth {
                in_limited_cgroup: limited.holds(&key),
                pid: key.id.pid,
                name: key.name,
                growth_bytes: Bytes(held.last - held.first),
                is_new: held.is_new,
            })
            .collect();
        grew.sort_by_key(|growth| {
            let rank = match growth.in_limited_cgroup {
                Some(true) => 0,
                None => 1,
                Some(false) => 2,
            };
            (rank, Reverse(growth.growth_bytes), growth.pid)
        });
        let (first, last) = self.taken?;
        Some(Grown {
            grew,
            covers: Duration::from_millis(last.saturating_sub(first)),
        })
    }
}

/// Anonymous memory and swap.
fn held(process: &ProcessSample) -> Option<u64> {
    let swap = process.values.get(ProcessField::Swap).unwrap_or_default();
    Some(process.values.get(ProcessField::Anonymous)? + swap)
}

#[cfg(test)]
mod tests {
    use grey_model::{BootId, KernelText, ProcessId, ProcessValues, SystemValues};

    use super::*;

    /// Process `pid` of `cgroup`, with `mib` of anonymous memory.
    fn process(pid: u32, cgroup: Option<&str>, mib: u64) -> ProcessSample {
        ProcessSample {
            key: ProcessKey {
                id: ProcessId {
                    pid,
                    start_time_ticks: 1,
                },
                name: KernelText::from("p"),
                cgroup: cgroup.and_then(|path| CgroupPath::new(path.as_bytes())),
            },
            values: ProcessValues::default().with(ProcessField::Anonymous, Some(mib << 20)),
        }
    }

    fn limited(path: &str, members: &[u32]) -> Limited {
        Limited {
            cgroup: CgroupPath::new(path.as_bytes()),
            members: members.to_vec(),
        }
    }

    /// When the time begins, and how long the machine runs by then.
    const BEGIN: u64 = 1_000_000_000;
    const UPTIME: u64 = 900_000;

    /// These processes, so many seconds after that.
    fn sample(later: u64, uptime: u64, processes: Vec<ProcessSample>) -> Sample {
        Sample {
            at_unix_ms: BEGIN + later * 1000,
            since_boot_ms: uptime + later * 1000,
            boot: BootId("one".to_owned()),
            system: SystemValues::default(),
            processes,
            cgroups: None,
            groups: None,
        }
    }

    /// Who grew, in their order, on a machine that ran so long when it began.
    fn grew(uptime: u64, samples: Vec<Vec<ProcessSample>>, limited: &Limited) -> Vec<Growth> {
        let mut tally = Tally::since(BEGIN);
        for (later, processes) in (0..).zip(samples) {
            tally.add(sample(later, uptime, processes));
        }
        tally.grown(limited).unwrap().grew
    }

    /// The pids of who grew, in their order.
    fn order(samples: Vec<Vec<ProcessSample>>, limited: &Limited) -> Vec<u32> {
        let grew = grew(UPTIME, samples, limited);
        grew.iter().map(|growth| growth.pid).collect()
    }

    #[test]
    fn who_started_in_that_time_grew_by_all_that_it_holds() {
        let started_at = |ms: u64, mib| {
            let mut process = process(7, None, mib);
            let ticks = rustix::param::clock_ticks_per_second();
            process.key.id.start_time_ticks = ms * ticks / 1000;
            process
        };
        let growth = |uptime, started| {
            let samples = vec![
                vec![process(1, None, 10)],
                vec![process(1, None, 10), started_at(started, 24)],
                vec![process(1, None, 10), started_at(started, 60)],
            ];
            let grew = grew(uptime, samples, &Limited::default());
            let of_it = grew.iter().find(|growth| growth.pid == 7);
            of_it.map(|growth| (growth.growth_bytes, growth.is_new))
        };
        let (whole, since) = (Bytes::from_mib(60), Bytes::from_mib(36));
        assert_eq!(growth(UPTIME, UPTIME + 500), Some((whole, true)));
        assert_eq!(growth(UPTIME, UPTIME - 500), Some((since, false)));
        // Also where it stays as it was when it was first seen.
        let stays = vec![
            vec![process(1, None, 10)],
            vec![started_at(UPTIME + 500, 60)],
        ];
        assert_eq!(order(stays, &Limited::default()), [7]);
    }

    #[test]
    fn who_started_after_a_boot_in_that_time_grew_by_all_that_it_holds() {
        let mut tally = Tally::since(BEGIN);
        for (later, mib) in [(200, 24), (201, 60)] {
            let mut sample = sample(later, 0, vec![process(7, None, mib)]);
            sample.since_boot_ms = later * 10;
            tally.add(sample);
        }
        let grown = tally.grown(&Limited::default()).unwrap();
        assert_eq!(grown.covers, Duration::from_secs(1));
        let grew = grown.grew;
        assert!(grew[0].is_new);
        assert_eq!(grew[0].growth_bytes, Bytes::from_mib(60));
    }

    #[test]
    fn who_was_in_the_cgroup_at_its_limit_comes_before_who_grew_more_elsewhere() {
        let of = |factor: u64| {
            vec![
                process(1, Some("/other"), 900 * factor),
                process(2, Some("/web"), 10 * factor),
                process(3, Some("/web/inner"), 20 * factor),
                process(4, Some("/website"), 800 * factor),
                // The kernel's table has it: it was there, too.
                process(5, None, 5 * factor),
                process(6, None, 700 * factor),
            ]
        };
        let samples = || vec![of(1), of(2)];
        let inside = limited("/web", &[2, 5]);
        assert_eq!(order(samples(), &inside), [3, 2, 5, 6, 1, 4]);
        assert_eq!(order(samples(), &Limited::default()), [1, 4, 6, 3, 2, 5]);
    }

    #[test]
    fn who_left_before_the_last_samples_has_not_grown_until_the_kill() {
        // Seen last in the sample before the last ones, and in the first of them.
        let of = |number: u64| {
            let mut all = vec![process(1, None, 10 + number)];
            if number < 7 {
                all.push(process(2, None, 10 + number));
            }
            if number < 8 {
                all.push(process(3, None, 10 + number));
            }
            all
        };
        let samples = (0..10).map(of).collect();
        assert_eq!(order(samples, &Limited::default()), [1, 3]);
    }

    #[test]
    fn who_stayed_or_shrank_has_not_grown() {
        let samples = vec![
            vec![
                process(1, None, 10),
                process(2, None, 10),
                process(3, None, 10),
            ],
            vec![
                process(1, None, 10),
                process(2, None, 9),
                process(3, None, 11),
            ],
        ];
        assert_eq!(order(samples, &Limited::default()), [3]);
    }

    #[test]
    fn of_one_moment_nothing_has_grown_and_nothing_is_known() {
        let mut tally = Tally::since(BEGIN);
        tally.add(sample(0, UPTIME, vec![process(1, None, 10)]));
        assert!(tally.grown(&Limited::default()).is_none());
    }
}
