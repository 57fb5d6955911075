//! The passes that run in this process: ours, and those of the Rust peers.
//!
//! Never gives a peer more work than its task: sysinfo is asked for memory
//! alone, without threads, users or command lines.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::Duration;

use grey_model::Bytes;
use grey_telemetry::Kernel;
use grey_telemetry::process::{ProcessScan, PssTracker, RssTracker};
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};

use crate::error::BenchError;
use crate::measure::{Sample, timed};

fn counted(mut sample: Sample, processes: usize) -> Sample {
    sample.processes = u64::try_from(processes).ok();
    sample
}

/// Our RSS pass, one-shot: nothing is kept from pass to pass.
pub(crate) fn rss_once(kernel: &Kernel) -> Result<Sample, BenchError> {
    let (sample, count) = timed(|| -> Result<usize, BenchError> {
        let mut scan = ProcessScan::new();
        Ok(scan.rss_pass(&kernel.proc)?.processes.len())
    });
    Ok(counted(sample, count?))
}

/// Our RSS of every tick.
pub(crate) fn rss_again(kernel: &Kernel, tracker: &mut RssTracker) -> Result<Sample, BenchError> {
    let (sample, tick) = timed(|| tracker.tick(&kernel.proc));
    tick?;
    let with_memory = tracker.processes().iter();
    let count = with_memory.filter(|process| process.statm().has_memory());
    Ok(counted(sample, count.count()))
}

/// Our pass over PSS and USS, one-shot.
pub(crate) fn memory_once(kernel: &Kernel, threads: NonZeroUsize) -> Result<Sample, BenchError> {
    let (sample, count) = timed(|| -> Result<usize, BenchError> {
        let mut scan = ProcessScan::new();
        Ok(scan.memory_pass(&kernel.proc, threads)?.processes.len())
    });
    Ok(counted(sample, count?))
}

/// Our PSS of every tick, and its error beside a full pass made at once, over
/// the processes `pids`: others on the machine move between the two.
pub(crate) fn pss_again(
    kernel: &Kernel,
    tracker: &mut PssTracker,
    cap: Duration,
    pids: &BTreeSet<u32>,
) -> Result<Sample, BenchError> {
    let (sample, tick) = timed(|| tracker.tick(&kernel.proc, cap));
    let tick = tick?;
    let mut scan = ProcessScan::new();
    let full = scan.memory_pass(&kernel.proc, NonZeroUsize::MIN)?;
    let mut truth = Bytes::ZERO;
    let mut worst: f64 = 0.0;
    for (pid, rollup) in full.processes.iter().filter(|(pid, _)| pids.contains(pid)) {
        let pss = rollup.pss.unwrap_or_default();
        truth = truth.saturating_add(pss);
        let tracked = tracker
            .processes()
            .binary_search_by_key(pid, |process| process.pid);
        let known = tracked
            .ok()
            .and_then(|index| tracker.processes()[index].pss(kernel.page_size));
        worst = worst.max(known.and_then(|known| off_by(known, pss)).unwrap_or(0.0));
    }
    let estimate = tracker.estimated_pss_of(|pid| pids.contains(&pid));
    Ok(Sample {
        processes: Some(tick.read),
        error_percent: off_by(estimate, truth),
        worst_error_percent: Some(worst),
        ..sample
    })
}

fn off_by(estimate: Bytes, truth: Bytes) -> Option<f64> {
    let difference = Bytes(estimate.signed_difference(truth).unsigned_abs());
    difference.percent_of(truth).map(|percent| percent.0)
}

/// The procfs crate: `statm` of all processes.
pub(crate) fn procfs_crate() -> Result<Sample, BenchError> {
    let (sample, count) = timed(|| -> Result<usize, BenchError> {
        let processes = procfs::process::all_processes()?.flatten();
        let resident = processes.filter_map(|process| process.statm().ok());
        Ok(resident.filter(|statm| statm.size != 0).count())
    });
    Ok(counted(sample, count?))
}

/// The sysinfo crate: the memory of all processes.
pub(crate) fn sysinfo_crate(system: &mut System) -> Sample {
    let (sample, count) = timed(|| {
        let what = ProcessRefreshKind::nothing().with_memory().without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
        let processes = system.processes().values();
        processes.filter(|process| process.memory() != 0).count()
    });
    counted(sample, count)
}
