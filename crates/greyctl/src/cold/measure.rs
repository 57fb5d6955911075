//! Looks for a while which pages of a target are used: marks of use are taken
//! away, or generations aged, at both ends of a window.
//!
//! Never done without having been asked for: it disturbs the kernel's own view
//! of what is in use, and says so. Ctrl-C ends the window, not the run.

use std::time::{Duration, Instant};

use grey_enforcement::{AnewLooker, LookAnewError, LookedAnew};
use grey_model::{
    Bytes, ColdCost, ColdMemory, ColdMethod, GenerationList, ProcessId, ResolvedTarget, TargetKind,
};
use grey_policy::cold::{Marks, by_aging, by_marks};
use grey_telemetry::Kernel;
use grey_telemetry::cold::probe_other_sources;
use grey_telemetry::proc::vmstat::read_vmstat;
use grey_telemetry::process::smaps_rollup::{SmapsRollup, parse_smaps_rollup};
use grey_telemetry::process::stat::parse_stat;

use super::candidates::{Reasons, candidates};
use super::reading::{generations, told_by, unknown};
use crate::count::counted;
use crate::diagnose::leaks::WindowBar;
use crate::exit_code::Exit;
use crate::failure::{Failure, chain};
use crate::interrupt::Interrupt;

/// Marks are taken away of at most this much resident memory: the processes
/// wait while the kernel walks it, 25 to 35 ns a page.
const MOST_WALKED: Bytes = Bytes::from_mib(64 << 10);

/// Ctrl-C is noticed within this time.
const ATTENTION: Duration = Duration::from_millis(100);

/// Ages are not read because something better was asked for.
const WINDOW_ASKED: &str = "a window was asked for, and the ages do not tell of one";

/// What measuring needs.
pub(crate) struct Measuring<'run> {
    pub(crate) kernel: &'run Kernel,
    pub(crate) looker: AnewLooker,
    /// How long to look.
    pub(crate) window: Duration,
    /// Whether somebody sees a progress bar.
    pub(crate) visible: bool,
}

impl Measuring<'_> {
    /// How much of `target` is not used in the window, by the first method that
    /// serves.
    ///
    /// # Errors
    /// A [`Failure`] when Ctrl-C cannot be watched for.
    pub(crate) fn measure(&self, target: &ResolvedTarget) -> Result<ColdMemory, Failure> {
        let others = probe_other_sources(self.kernel);
        let reasons = |aging, marks| Reasons {
            ages: Err(WINDOW_ASKED.to_owned()),
            aging,
            marks,
        };
        let aging = match self.by_aging(target)? {
            Ok(mut cold) => {
                let unneeded = Err("generation-aging serves, and sees page cache, too".to_owned());
                cold.candidates = candidates(reasons(Ok(()), unneeded), others);
                return Ok(cold);
            }
            Err(reason) => reason,
        };
        Ok(match self.by_marks(target)? {
            Ok(mut cold) => {
                cold.candidates = candidates(reasons(Err(aging), Ok(())), others);
                cold
            }
            Err(marks) => unknown(target, candidates(reasons(Err(aging), Err(marks)), others)),
        })
    }

    fn by_aging(&self, target: &ResolvedTarget) -> Result<Result<ColdMemory, String>, Failure> {
        if target.kind == TargetKind::Process {
            let reason = "it tells of control groups, and cleared-references of this process";
            return Ok(Err(reason.to_owned()));
        }
        let (before, aging) = match generations(self.kernel, target) {
            Ok(found) => found,
            Err(reason) => return Ok(Err(reason)),
        };
        if !aging.walks {
            let reason = "aging does not walk page tables here (/sys/kernel/mm/lru_gen/enabled)";
            return Ok(Err(reason.to_owned()));
        }
        let first = match aged(self.looker.age(&before)) {
            Ok(first) => first,
            Err(reason) => return Ok(Err(reason)),
        };
        let lasted = self.wait(target.processes.len())?;
        let halfway = match generations(self.kernel, target) {
            Ok((lists, _)) => lists,
            Err(reason) => return Ok(Err(reason)),
        };
        let second = match aged(self.looker.age(&halfway)) {
            Ok(second) => second,
            Err(reason) => return Ok(Err(reason)),
        };
        let after = match generations(self.kernel, target) {
            Ok((lists, _)) => lists,
            Err(reason) => return Ok(Err(reason)),
        };
        let estimate = by_aging(&before, &after, lasted);
        let walked = pages(self.kernel, estimate.counted.saturating_add(sum(&before)));
        let mut cold = told_by(target, ColdMethod::GenerationAging, estimate);
        cold.cost = cost(walked, &[first, second]);
        cold.disturbs = Some(
            "every page of the cgroup was put into another generation: until the kernel has aged \
             them again it knows only which pages were used in this window"
                .to_owned(),
        );
        cold.remarks.push(
            "a file that is read without being mapped leaves no trace of its use: of page cache, \
             nothing is cold for certain"
                .to_owned(),
        );
        Ok(Ok(cold))
    }

    fn by_marks(&self, target: &ResolvedTarget) -> Result<Result<ColdMemory, String>, Failure> {
        let resident: Vec<(ProcessId, SmapsRollup)> = target
            .processes
            .iter()
            .filter_map(|id| Some((*id, rollup(self.kernel, *id)?)))
            .filter(|(_, rollup)| rollup.rss.is_some())
            .collect();
        if resident.is_empty() {
            let reason = "none of its processes has memory that we may look into";
            return Ok(Err(reason.to_owned()));
        }
        let whole: Bytes = resident.iter().filter_map(|(_, rollup)| rollup.rss).sum();
        if whole > MOST_WALKED {
            return Ok(Err(format!(
                "its processes have {whole} in memory, more than is walked ({MOST_WALKED})"
            )));
        }
        let ids: Vec<ProcessId> = resident.iter().map(|(id, _)| *id).collect();
        let scans = scanned(self.kernel);
        let cleared = match self.looker.clear_references(&ids) {
            Ok(cleared) if cleared.done == 0 => {
                return Ok(Err(
                    "the marks of its processes may be cleared by their user and by root alone"
                        .to_owned(),
                ));
            }
            Ok(cleared) => cleared,
            Err(error) => return Ok(Err(chain(&error))),
        };
        let lasted = self.wait(ids.len())?;
        let readings: Vec<SmapsRollup> = ids
            .iter()
            .filter_map(|id| rollup(self.kernel, *id))
            .collect();
        let has_scanned = scanned(self.kernel) != scans;
        let marks: Vec<Marks> = readings.iter().filter_map(marks).collect();
        if marks.is_empty() {
            return Ok(Err("its processes ended meanwhile".to_owned()));
        }
        let cpus = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
        let estimate = by_marks(&marks, has_scanned, self.kernel.page_size, cpus, lasted);
        let walked = pages(self.kernel, estimate.counted.saturating_add(whole));
        let mut cold = told_by(target, ColdMethod::ClearedReferences, estimate);
        cold.cost = cost(walked, &[cleared]);
        cold.disturbs = Some(
            "the marks of use of its pages were taken away: a reclaim in this window may have taken \
             pages that are in use"
                .to_owned(),
        );
        cold.remarks = remarks(target, &cleared, has_scanned);
        Ok(Ok(cold))
    }

    /// Waits for the window, or until somebody presses Ctrl-C; how long it was.
    fn wait(&self, processes: usize) -> Result<Duration, Failure> {
        let mut interrupt = Interrupt::default();
        interrupt.watch().map_err(|error| {
            Failure::new(
                Exit::Failed,
                format!("failed to watch for the interrupt signal: {error}"),
            )
        })?;
        let bar = WindowBar::new(self.visible, self.window);
        let started = Instant::now();
        while started.elapsed() < self.window && !interrupt.is_raised() {
            bar.update(started.elapsed(), processes);
            let left = self.window.saturating_sub(started.elapsed());
            std::thread::sleep(left.min(ATTENTION));
        }
        bar.finish();
        interrupt.release();
        Ok(started.elapsed())
    }
}

/// A round of aging that reached something.
fn aged(round: Result<LookedAnew, LookAnewError>) -> Result<LookedAnew, String> {
    match round {
        Ok(looked) if looked.done > 0 => Ok(looked),
        Ok(_) => Err("the kernel refused to age its generations: only root may ask".to_owned()),
        Err(error) => Err(chain(&error)),
    }
}

fn sum(lists: &[GenerationList]) -> Bytes {
    lists
        .iter()
        .flat_map(|list| &list.generations)
        .map(grey_model::Generation::bytes)
        .sum()
}

/// The rollup of exactly this process; `None` when it is gone or closed to us.
fn rollup(kernel: &Kernel, id: ProcessId) -> Option<SmapsRollup> {
    let mut buffer = Vec::new();
    let directory = kernel
        .proc
        .open_directory(std::path::Path::new(&id.pid.to_string()))
        .ok()?;
    let start = parse_stat(directory.read("stat", &mut buffer).ok()?)?.start_time_ticks;
    if start != id.start_time_ticks {
        return None;
    }
    let text = directory.read("smaps_rollup", &mut buffer).ok()?;
    Some(parse_smaps_rollup(text))
}

fn marks(rollup: &SmapsRollup) -> Option<Marks> {
    Some(Marks {
        resident: rollup.rss?,
        referenced: rollup.referenced?,
        huge: rollup.anon_huge.unwrap_or_default(),
    })
}

/// Pages that the kernel has looked at to take them, since boot.
fn scanned(kernel: &Kernel) -> Option<u64> {
    let vmstat = read_vmstat(kernel, &mut Vec::new()).ok()?;
    [
        vmstat.pgscan_kswapd,
        vmstat.pgscan_direct,
        vmstat.pgscan_khugepaged,
        vmstat.pgscan_proactive,
    ]
    .into_iter()
    .flatten()
    .reduce(u64::saturating_add)
}

fn pages(kernel: &Kernel, bytes: Bytes) -> u64 {
    kernel.page_size.pages_in(bytes).0
}

fn cost(pages_walked: u64, rounds: &[LookedAnew]) -> ColdCost {
    let cpu: Duration = rounds.iter().map(|round| round.cpu).sum();
    ColdCost {
        pages_walked,
        cpu_seconds: Some(cpu.as_secs_f64()),
        writes: rounds.iter().map(|round| round.done).sum(),
    }
}

fn remarks(target: &ResolvedTarget, cleared: &LookedAnew, has_scanned: bool) -> Vec<String> {
    let mut remarks = Vec::new();
    if target.kind != TargetKind::Process {
        remarks.push(
            "page cache that no process maps is not in it, and what several map counts once for \
             each"
                .to_owned(),
        );
    }
    if has_scanned {
        remarks.push(
            "the kernel looked for memory to take in this window, which takes marks of use away, \
             too: nothing is cold for certain"
                .to_owned(),
        );
    }
    let left_out = cleared.refused + cleared.gone;
    if left_out > 0 {
        let who = counted(left_out, "process", "processes");
        remarks.push(format!("the marks of {who} could not be taken away"));
    }
    if cleared.timed_out {
        remarks.push("not all marks were taken away before the time was over".to_owned());
    }
    remarks
}
