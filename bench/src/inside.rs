//! The passes that run in this process: ours, and those of the Rust peers.
//!
//! Never gives a peer more work than its task: sysinfo is asked for memory
//! alone, without threads, users or command lines.

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

/// Our PSS of every tick, and its error beside a full pass made at once.
pub(crate) fn pss_again(
    kernel: &Kernel,
    tracker: &mut PssTracker,
    cap: Duration,
) -> Result<Sample, BenchError> {
    let (sample, tick) = timed(|| tracker.tick(&kernel.proc, cap));
    let tick = tick?;
    let mut scan = ProcessScan::new();
    let full = scan.memory_pass(&kernel.proc, NonZeroUsize::MIN)?;
    let truth: Bytes = full
        .processes
        .iter()
        .filter_map(|(_, rollup)| rollup.pss)
        .sum();
    let difference = tracker.pss().signed_difference(truth).unsigned_abs();
    let error = Bytes(difference).percent_of(truth).map(|percent| percent.0);
    let mut sample = sample;
    sample.processes = Some(tick.read);
    sample.error_percent = error;
    Ok(sample)
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
