//! One pass over all processes: RSS of each, or PSS and USS of each.
//!
//! Never allocates for a process once its buffers have grown to the machine's
//! size, and never reads a file twice.

use std::num::NonZeroUsize;
use std::os::fd::AsFd;

use super::list::ProcessList;
use super::share::{MOST_THREADS, share_among};
use super::single_read::{ProcessPath, is_gone, read_once};
use super::smaps_rollup::{SmapsRollup, parse_smaps_rollup};
use super::statm::{Statm, parse_statm};
use crate::read::{KernelDirectory, ReadError};

/// Seven numbers of at most 20 digits with their separators.
pub(super) const STATM_LENGTH: usize = 256;

/// A `smaps_rollup` file has about 700 bytes, and grows by a line in some years.
pub(super) const ROLLUP_LENGTH: usize = 4096;

/// What a pass did not return, and why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// Kernel threads, zombies, and processes that ended during the pass.
    pub without_memory: u64,
    /// Processes that we may not look into.
    pub unreadable: u64,
}

impl Passed {
    fn add(&mut self, other: Self) {
        self.without_memory += other.without_memory;
        self.unreadable += other.unreadable;
    }
}

/// Passes over all processes with buffers that are kept between them.
#[derive(Debug)]
pub struct ProcessScan {
    list: ProcessList,
    statm_path: ProcessPath,
    resident: Vec<(u32, Statm)>,
    workers: Vec<Worker>,
    rollups: Vec<(u32, SmapsRollup)>,
}

/// What [`ProcessScan::rss_pass`] found.
#[derive(Debug, Clone, Copy)]
pub struct RssPass<'scan> {
    /// The processes that have memory, by ascending pid.
    pub processes: &'scan [(u32, Statm)],
    /// The others.
    pub passed: Passed,
}

/// What [`ProcessScan::memory_pass`] found.
#[derive(Debug, Clone, Copy)]
pub struct MemoryPass<'scan> {
    /// The processes that have memory, by ascending pid.
    pub processes: &'scan [(u32, SmapsRollup)],
    /// The others.
    pub passed: Passed,
}

impl Default for ProcessScan {
    fn default() -> Self {
        Self::new()
    }
}

impl ProcessScan {
    /// A scan that has read nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            list: ProcessList::new(),
            statm_path: ProcessPath::new("/statm"),
            resident: Vec::new(),
            workers: Vec::new(),
            rollups: Vec::new(),
        }
    }

    /// Resident memory of every process, in pages: one open, read and close of
    /// `statm` for each.
    ///
    /// # Errors
    /// [`ReadError`] when `proc` cannot be listed.
    pub fn rss_pass(&mut self, proc: &KernelDirectory) -> Result<RssPass<'_>, ReadError> {
        self.resident.clear();
        let mut passed = Passed::default();
        let mut buffer = [0; STATM_LENGTH];
        for &pid in self.list.refresh(proc)? {
            match read_once(proc.as_fd(), self.statm_path.of(pid), &mut buffer) {
                Ok(text) => match parse_statm(text) {
                    Some(statm) if statm.has_memory() => self.resident.push((pid, statm)),
                    Some(_) => passed.without_memory += 1,
                    None => passed.unreadable += 1,
                },
                Err(errno) if is_gone(errno) => passed.without_memory += 1,
                Err(_) => passed.unreadable += 1,
            }
        }
        Ok(RssPass {
            processes: &self.resident,
            passed,
        })
    }

    /// PSS, USS and swap of every process, on `threads` threads (at most
    /// [`MOST_THREADS`]). The kernel walks each process's page tables: 25 to
    /// 35 ns a resident page, while that process cannot map memory.
    ///
    /// # Errors
    /// [`ReadError`] when `proc` cannot be listed.
    pub fn memory_pass(
        &mut self,
        proc: &KernelDirectory,
        threads: NonZeroUsize,
    ) -> Result<MemoryPass<'_>, ReadError> {
        let threads = threads.get().min(MOST_THREADS);
        self.workers.resize_with(threads, Worker::new);
        let pids = self.list.refresh(proc)?;
        share_among(&mut self.workers, pids, |worker, pid| {
            worker.visit(proc, pid);
        });
        self.rollups.clear();
        let mut passed = Passed::default();
        for worker in &mut self.workers {
            self.rollups.append(&mut worker.rollups);
            passed.add(std::mem::take(&mut worker.passed));
        }
        self.rollups.sort_unstable_by_key(|&(pid, _)| pid);
        Ok(MemoryPass {
            processes: &self.rollups,
            passed,
        })
    }
}

/// One thread's buffers and findings.
#[derive(Debug)]
struct Worker {
    path: ProcessPath,
    buffer: [u8; ROLLUP_LENGTH],
    rollups: Vec<(u32, SmapsRollup)>,
    passed: Passed,
}

impl Worker {
    fn new() -> Self {
        Self {
            path: ProcessPath::new("/smaps_rollup"),
            buffer: [0; ROLLUP_LENGTH],
            rollups: Vec::new(),
            passed: Passed::default(),
        }
    }

    fn visit(&mut self, proc: &KernelDirectory, pid: u32) {
        match read_once(proc.as_fd(), self.path.of(pid), &mut self.buffer) {
            Ok(text) => {
                let rollup = parse_smaps_rollup(text);
                if rollup.pss.is_some() {
                    self.rollups.push((pid, rollup));
                } else {
                    // Some kernels give kernel threads an empty file.
                    self.passed.without_memory += 1;
                }
            }
            Err(errno) if is_gone(errno) => self.passed.without_memory += 1,
            Err(_) => self.passed.unreadable += 1,
        }
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
