//! Resident memory of all processes, tick after tick, through descriptors that
//! stay open.
//!
//! Never takes a reused pid for the same process while it holds a descriptor:
//! the kernel binds that to the process. Never keeps more descriptors than its
//! bound; above it, files are opened in each tick.

use std::os::fd::{AsFd, OwnedFd};

use grey_model::Pages;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::list::ProcessList;
use super::scan::STATM_LENGTH;
use super::single_read::{ProcessPath, is_gone, open, read_again};
use super::statm::{Statm, parse_statm};
use crate::read::{KernelDirectory, ReadError};

/// The most descriptors that are kept, whatever RLIMIT_NOFILE allows: each
/// also holds a page of kernel memory.
pub const MOST_KEPT_DESCRIPTORS: usize = 4096;

/// A process that is followed.
#[derive(Debug)]
pub struct TrackedRss {
    pid: u32,
    serial: u64,
    statm: Statm,
    file: Option<OwnedFd>,
}

impl TrackedRss {
    /// Its pid.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Another number for another process, also under the same pid. A process
    /// without a kept descriptor is only told by its pid.
    #[must_use]
    pub const fn serial(&self) -> u64 {
        self.serial
    }

    /// Its memory at the last tick; zeros for kernel threads and zombies
    /// ([`Statm::has_memory`]).
    #[must_use]
    pub const fn statm(&self) -> Statm {
        self.statm
    }
}

/// What one tick found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RssTick {
    /// Processes that were not there before.
    pub appeared: u64,
    /// Processes that are there no more.
    pub vanished: u64,
    /// Processes that we may not look into.
    pub unreadable: u64,
}

/// Follows the resident memory of all processes.
#[derive(Debug)]
pub struct RssTracker {
    list: ProcessList,
    processes: Vec<TrackedRss>,
    previous: Vec<TrackedRss>,
    reader: Reader,
}

impl Default for RssTracker {
    fn default() -> Self {
        Self::new()
    }
}

impl RssTracker {
    /// Keeps at most half of the descriptors that RLIMIT_NOFILE allows, and at
    /// most [`MOST_KEPT_DESCRIPTORS`].
    #[must_use]
    pub fn new() -> Self {
        let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / 2;
        let allowed = usize::try_from(allowed).unwrap_or(usize::MAX);
        Self::with_bound(allowed.min(MOST_KEPT_DESCRIPTORS))
    }

    /// Keeps at most `bound` descriptors.
    #[must_use]
    pub fn with_bound(bound: usize) -> Self {
        Self {
            list: ProcessList::new(),
            processes: Vec::new(),
            previous: Vec::new(),
            reader: Reader {
                path: ProcessPath::new("/statm"),
                buffer: [0; STATM_LENGTH],
                kept: 0,
                bound,
                next_serial: 0,
                tick: RssTick::default(),
            },
        }
    }

    /// The processes of the last tick, by ascending pid.
    #[must_use]
    pub fn processes(&self) -> &[TrackedRss] {
        &self.processes
    }

    /// The sum of the resident pages; shared ones count for each process.
    #[must_use]
    pub fn resident(&self) -> Pages {
        let sum = self
            .processes
            .iter()
            .map(|process| process.statm.resident.0);
        Pages(sum.fold(0, u64::saturating_add))
    }

    /// Descriptors that are open now.
    #[must_use]
    pub const fn kept_descriptors(&self) -> usize {
        self.reader.kept
    }

    /// Lists the processes and reads each one's `statm` again.
    ///
    /// # Errors
    /// [`ReadError`] when `proc` cannot be listed; what was known stays.
    pub fn tick(&mut self, proc: &KernelDirectory) -> Result<RssTick, ReadError> {
        let pids = self.list.refresh(proc)?;
        std::mem::swap(&mut self.processes, &mut self.previous);
        self.reader.tick = RssTick::default();
        let mut known = self.previous.drain(..).peekable();
        for &pid in pids {
            while let Some(gone) = known.next_if(|process| process.pid < pid) {
                self.reader.forget(gone);
            }
            let process = match known.next_if(|process| process.pid == pid) {
                Some(process) => self.reader.read_known(proc, process),
                None => self.reader.read_new(proc, pid),
            };
            self.processes.extend(process);
        }
        for gone in known {
            self.reader.forget(gone);
        }
        Ok(self.reader.tick)
    }
}

/// Reads single processes and counts what it keeps.
#[derive(Debug)]
struct Reader {
    path: ProcessPath,
    buffer: [u8; STATM_LENGTH],
    kept: usize,
    bound: usize,
    next_serial: u64,
    tick: RssTick,
}

impl Reader {
    fn forget(&mut self, process: TrackedRss) {
        self.kept -= usize::from(process.file.is_some());
        self.tick.vanished += 1;
    }

    fn read_known(
        &mut self,
        proc: &KernelDirectory,
        mut process: TrackedRss,
    ) -> Option<TrackedRss> {
        let Some(file) = process.file.take() else {
            let Some((statm, file)) = self.open_and_read(proc, process.pid) else {
                self.tick.vanished += 1;
                return None;
            };
            process.statm = statm;
            process.file = file;
            return Some(process);
        };
        self.kept -= 1;
        match read_again(file.as_fd(), &mut self.buffer) {
            Ok(text) => {
                let length = text.len();
                process.statm = self.parsed(length)?;
                process.file = self.keep(file);
                Some(process)
            }
            // Gone, and yet listed: the pid belongs to another process now.
            Err(errno) if is_gone(errno) => {
                self.tick.vanished += 1;
                self.read_new(proc, process.pid)
            }
            Err(_) => {
                self.tick.unreadable += 1;
                None
            }
        }
    }

    fn read_new(&mut self, proc: &KernelDirectory, pid: u32) -> Option<TrackedRss> {
        let (statm, file) = self.open_and_read(proc, pid)?;
        self.tick.appeared += 1;
        self.next_serial += 1;
        Some(TrackedRss {
            pid,
            serial: self.next_serial,
            statm,
            file,
        })
    }

    /// Reads a process whose file is not open, and keeps the file open where
    /// the bound allows.
    fn open_and_read(
        &mut self,
        proc: &KernelDirectory,
        pid: u32,
    ) -> Option<(Statm, Option<OwnedFd>)> {
        let opened = open(proc.as_fd(), self.path.of(pid)).and_then(|file| {
            let length = read_again(file.as_fd(), &mut self.buffer)?.len();
            Ok((file, length))
        });
        let (file, length) = match opened {
            Ok(opened) => opened,
            Err(errno) => {
                self.note(errno);
                return None;
            }
        };
        let statm = self.parsed(length)?;
        Some((statm, self.keep(file)))
    }

    fn keep(&mut self, file: OwnedFd) -> Option<OwnedFd> {
        let keep = self.kept < self.bound;
        self.kept += usize::from(keep);
        keep.then_some(file)
    }

    fn note(&mut self, errno: Errno) {
        if is_gone(errno) {
            return;
        }
        if matches!(errno, Errno::MFILE | Errno::NFILE) {
            // Other parts of the program need descriptors: give half back.
            self.bound = self.bound.min(self.kept / 2);
        }
        self.tick.unreadable += 1;
    }

    fn parsed(&mut self, length: usize) -> Option<Statm> {
        let statm = parse_statm(&self.buffer[..length]);
        self.tick.unreadable += u64::from(statm.is_none());
        statm
    }
}

#[cfg(test)]
#[path = "rss_tracker_tests.rs"]
mod tests;
