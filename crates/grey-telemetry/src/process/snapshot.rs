//! All processes with everything that is known of them.
//!
//! Never leaves a process out silently: what is not in the list is counted.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use grey_model::{ProcessMemory, ProcessState};

use super::list::ProcessList;
use super::reading::{Detail, Scratch, read_process};
use super::share::{MOST_THREADS, share_among};
use crate::read::ReadError;
use crate::roots::Kernel;

/// All processes at about one instant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessSnapshot {
    /// By ascending pid.
    pub processes: Vec<ProcessMemory>,
    /// Processes whose memory we may not read: in the list with absent
    /// amounts, or not even listed (`hidepid`).
    pub unreadable: u64,
    /// Ended while they were read; not in the list.
    pub vanished: u64,
    /// Kernel threads in the list.
    pub kernel_threads: u64,
    /// Zombies in the list.
    pub zombies: u64,
}

/// Reads all processes on `threads` threads (at most [`MOST_THREADS`]).
/// `user_name` is asked once for each user id.
///
/// # Errors
/// [`ReadError`] when /proc cannot be listed; never because of one process.
pub fn full_snapshot(
    kernel: &Kernel,
    threads: NonZeroUsize,
    user_name: &dyn Fn(u32) -> Option<String>,
) -> Result<ProcessSnapshot, ReadError> {
    let mut list = ProcessList::new();
    let pids = list.refresh(&kernel.proc)?;
    let threads = threads.get().min(MOST_THREADS);
    let mut workers = Vec::new();
    workers.resize_with(threads, || Worker {
        scratch: Scratch::new(kernel),
        found: ProcessSnapshot::default(),
    });
    share_among(&mut workers, pids, |worker, pid| worker.visit(kernel, pid));
    let mut snapshot = ProcessSnapshot::default();
    for mut worker in workers {
        snapshot.processes.append(&mut worker.found.processes);
        snapshot.unreadable += worker.found.unreadable;
        snapshot.vanished += worker.found.vanished;
        snapshot.kernel_threads += worker.found.kernel_threads;
        snapshot.zombies += worker.found.zombies;
    }
    snapshot.processes.sort_unstable_by_key(|memory| memory.id);
    let mut names = BTreeMap::new();
    for memory in &mut snapshot.processes {
        memory.user = memory
            .user_id
            .and_then(|id| names.entry(id).or_insert_with(|| user_name(id)).clone());
    }
    Ok(snapshot)
}

struct Worker {
    scratch: Scratch,
    found: ProcessSnapshot,
}

impl Worker {
    fn visit(&mut self, kernel: &Kernel, pid: u32) {
        match read_process(kernel, pid, Detail::Full, &mut self.scratch) {
            Ok(reading) => {
                let zombie = reading.memory.state == ProcessState::Zombie;
                self.found.unreadable += u64::from(reading.denied);
                self.found.kernel_threads += u64::from(reading.memory.kernel_thread);
                self.found.zombies += u64::from(zombie);
                self.found.processes.push(reading.memory);
            }
            Err(error) if error.is_vanished() => self.found.vanished += 1,
            Err(_) => self.found.unreadable += 1,
        }
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
