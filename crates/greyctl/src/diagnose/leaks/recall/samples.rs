//! Which samples of a time are judged: those of its last boot, evenly, and no
//! more than a judgement needs.
//!
//! Processes are in each sample, cgroups and groups now and then: each is thinned
//! out on its own.

use std::ops::ControlFlow;

use grey_model::{
    BootId, Bytes, CgroupSample, GroupSample, Meminfo, ProcessSample, Sample, SystemField,
    SystemValues,
};
use grey_telemetry::history::{History, HistoryError};
use jiff::Timestamp;

/// At most so many readings of each.
const MOST: usize = super::super::watch::MOST_READINGS as usize;

const HOUR_MS: u64 = 3_600_000;

/// What was recorded in a time, as far as it is judged. Times are in
/// milliseconds since boot, but for those that say otherwise.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    /// Of which boot.
    pub(super) boot: Option<BootId>,
    pub(super) processes: Vec<(u64, ProcessesThen)>,
    pub(super) cgroups: Vec<(u64, Vec<CgroupSample>)>,
    /// Of all processes, also of those that are not among the largest.
    pub(super) groups: Vec<(u64, Vec<GroupSample>)>,
    /// How many samples of earlier boots were left out, and when the last of
    /// them was taken, in milliseconds since 1970.
    pub(super) before_boot: Option<(u64, u64)>,
    /// How many samples have no processes.
    pub(super) without_processes: u64,
    /// When the last one was taken, in milliseconds since 1970.
    pub(super) until_unix_ms: u64,
}

/// The processes of a sample.
#[derive(Debug)]
pub(super) struct ProcessesThen {
    /// The largest, by pid.
    pub(super) largest: Vec<ProcessSample>,
    /// Whether these are all that there were.
    pub(super) are_all: bool,
    /// What of the machine can leak beside them.
    pub(super) machine: Meminfo,
}

impl Recorded {
    /// What `history` has from `from_unix_ms` to `until_unix_ms`.
    ///
    /// # Errors
    /// [`HistoryError`] when a file cannot be read.
    pub(crate) fn read(
        history: &mut History,
        from_unix_ms: u64,
        until_unix_ms: u64,
    ) -> Result<Self, HistoryError> {
        let mut gathered = Gathered::default();
        history.samples(from_unix_ms, until_unix_ms, |sample| {
            gathered.take(sample);
            ControlFlow::Continue(())
        })?;
        Ok(gathered.finish())
    }

    /// What `history` has of the last hour.
    ///
    /// # Errors
    /// As for [`Recorded::read`].
    pub(crate) fn read_last_hour(history: &mut History) -> Result<Self, HistoryError> {
        let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
        Self::read(history, now.saturating_sub(HOUR_MS), u64::MAX)
    }

    /// Whether there is nothing to judge.
    pub(crate) fn is_empty(&self) -> bool {
        self.processes.is_empty() && self.cgroups.is_empty()
    }
}

#[derive(Debug, Default)]
struct Gathered {
    recorded: Recorded,
    processes: Thinned<ProcessesThen>,
    cgroups: Thinned<Vec<CgroupSample>>,
    groups: Thinned<Vec<GroupSample>>,
    /// Of this boot so far, and the last of them on both clocks.
    taken: u64,
    last: Option<(u64, u64)>,
}

impl Gathered {
    fn take(&mut self, sample: Sample) {
        let at = sample.since_boot_ms;
        if let Some((last, last_unix_ms)) = self.last
            // Where the boot's id is hidden, the clock alone tells.
            && (self.recorded.boot.as_ref() != Some(&sample.boot) || at < last)
        {
            let before = self.recorded.before_boot.map_or(0, |(count, _)| count);
            let before_boot = Some((before + self.taken, last_unix_ms));
            *self = Self::default();
            self.recorded.before_boot = before_boot;
        }
        self.taken += 1;
        self.last = Some((at, sample.at_unix_ms));
        self.recorded.boot = Some(sample.boot);
        if sample.processes.is_empty() {
            // There is no machine without any: they were not recorded.
            self.recorded.without_processes += 1;
        } else {
            let count = u64::try_from(sample.processes.len()).ok();
            let then = ProcessesThen {
                are_all: sample.system.get(SystemField::Processes) == count,
                machine: machine(&sample.system),
                largest: sample.processes,
            };
            self.processes.take(at, then);
        }
        if let Some(cgroups) = sample.cgroups {
            self.cgroups.take(at, cgroups);
        }
        if let Some(groups) = sample.groups {
            self.groups.take(at, groups);
        }
    }

    fn finish(self) -> Recorded {
        Recorded {
            processes: self.processes.finish(),
            cgroups: self.cgroups.finish(),
            groups: self.groups.finish(),
            until_unix_ms: self.last.map_or(0, |(_, unix_ms)| unix_ms),
            ..self.recorded
        }
    }
}

/// What of the machine can leak and is no process's own.
fn machine(system: &SystemValues) -> Meminfo {
    let bytes = |field| system.get(field).map(Bytes);
    Meminfo {
        shmem: bytes(SystemField::Shared),
        s_reclaimable: bytes(SystemField::SlabReclaimable),
        s_unreclaim: bytes(SystemField::SlabUnreclaimable),
        page_tables: bytes(SystemField::PageTables),
        ..Meminfo::default()
    }
}

/// Readings at even distances, at most [`MOST`] of them, and the newest.
#[derive(Debug)]
struct Thinned<T> {
    kept: Vec<(u64, T)>,
    newest: Option<(u64, T)>,
    step: u64,
}

impl<T> Default for Thinned<T> {
    fn default() -> Self {
        Self {
            kept: Vec::new(),
            newest: None,
            step: 0,
        }
    }
}

impl<T> Thinned<T> {
    fn take(&mut self, at: u64, reading: T) {
        let due = self
            .kept
            .last()
            .map(|(last, _)| last.saturating_add(self.step));
        if due.is_some_and(|due| at < due) {
            self.newest = Some((at, reading));
            return;
        }
        self.newest = None;
        self.kept.push((at, reading));
        if self.kept.len() < MOST {
            return;
        }
        // Twice as far apart from now on.
        let span = at - self.kept.first().map_or(at, |(first, _)| *first);
        self.step = span / (MOST as u64 / 2);
        let (step, mut due) = (self.step, 0);
        self.kept.retain(|(at, _)| {
            let is_due = *at >= due;
            if is_due {
                due = at.saturating_add(step);
            }
            is_due
        });
    }

    fn finish(mut self) -> Vec<(u64, T)> {
        self.kept.extend(self.newest);
        self.kept
    }
}
