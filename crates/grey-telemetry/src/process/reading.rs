//! Everything that is known of one process.
//!
//! Never mixes two processes: all files are read through one descriptor of the
//! process's directory, and the kernel binds that descriptor to the process,
//! so that every read fails once it is gone, even when its pid is used again.

use std::ffi::CStr;
use std::os::fd::AsFd;
use std::path::Path;

use grey_model::{CgroupPath, Owner, ProcessId, ProcessKsm, ProcessMemory, ProcessState};
use rustix::io::Errno;

use super::cgroup::parse_memory_cgroup;
use super::cmdline::{LONGEST, parse_cmdline};
use super::ksm_stat::parse_ksm_stat;
use super::oom_score::{parse_oom_score, parse_oom_score_adj};
use super::program::{Program, ProgramLayout};
use super::single_read::{is_denied, is_gone, read_once};
use super::smaps_rollup::{SmapsRollup, parse_smaps_rollup};
use super::stat::{Stat, parse_stat};
use super::status::{Status, parse_status};
use crate::cgroup::processes::open_process_cgroup;
use crate::read::{KernelDirectory, ReadError};
use crate::roots::Kernel;

/// How much is read of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Without PSS, USS, swap PSS and KSM: the price does not grow with the
    /// process.
    Basic,
    /// Everything: the kernel also walks the page tables, 25 to 35 ns a page.
    Full,
}

/// A process, and what could not be read of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessReading {
    /// What was read.
    pub memory: ProcessMemory,
    /// Where its program lies; `None` where we may not see that.
    pub layout: Option<ProgramLayout>,
    /// It has memory that we were not allowed to read: PSS, USS or more are
    /// absent for that reason.
    pub denied: bool,
}

impl ProcessReading {
    /// What it runs.
    #[must_use]
    pub fn program(&self) -> Program {
        Program {
            name: self.memory.name.clone(),
            layout: self.layout,
        }
    }
}

/// Buffers for reading processes one after another.
#[derive(Debug)]
pub struct Scratch {
    buffer: Vec<u8>,
    systemd: bool,
    /// The last cgroup and its owner: neighbours often share it.
    owner: Option<(CgroupPath, Owner)>,
}

impl Scratch {
    /// Buffers for the processes of `kernel`.
    #[must_use]
    pub fn new(kernel: &Kernel) -> Self {
        Self {
            buffer: vec![0; LONGEST],
            systemd: kernel.has_systemd(),
            owner: None,
        }
    }

    fn owner_of(&mut self, path: &CgroupPath) -> &Owner {
        let systemd = self.systemd;
        if self.owner.as_ref().is_none_or(|(known, _)| known != path) {
            self.owner = None;
        }
        let (_, owner) = self
            .owner
            .get_or_insert_with(|| (path.clone(), Owner::of(path, systemd)));
        owner
    }
}

/// Reads the process `pid`. The user's name is left empty: it is in no kernel
/// file.
///
/// RSS, PSS, USS and swap come from one reading of `smaps_rollup` where that
/// may be read, so that PSS is never above RSS; its RSS is exact, while the
/// counters of `status` may lag, and its swap counts shared memory, which
/// `status` leaves out. The parts of RSS (anonymous, file, shared) are in
/// `status` only: they are read an instant earlier and need not add up to it.
/// Without `smaps_rollup` RSS is their sum. Kernel threads and zombies have no
/// memory: every amount is `None`, and that is no failure.
///
/// # Errors
/// [`ReadError`]: [`ReadError::is_vanished`] when it is gone or ended
/// meanwhile, [`ReadError::is_denied`] when not even its name may be read
/// (`hidepid`).
pub fn read_process(
    kernel: &Kernel,
    pid: u32,
    detail: Detail,
    scratch: &mut Scratch,
) -> Result<ProcessReading, ReadError> {
    // A decimal number never needs more than this stack of digits.
    let directory = kernel.proc.open_directory(Path::new(&pid.to_string()))?;
    let mut files = ProcessFiles {
        kernel,
        directory: &directory,
        buffer: &mut scratch.buffer,
        doubtful: false,
        denied: false,
    };
    let (mut memory, start, layout) = files.read_identity()?;
    files.read_status(&mut memory)?;
    files.read_small_files(&mut memory)?;
    if detail == Detail::Full && !memory.kernel_thread && memory.state != ProcessState::Zombie {
        files.read_page_tables(&mut memory)?;
    }
    if files.doubtful {
        // A missing file may be this kernel's age or the process's end.
        memory.state = files.state_of_the_same(start)?;
    }
    let denied = files.denied;
    if let Some(path) = &memory.cgroup {
        let owner = scratch.owner_of(path);
        memory.unit = owner.unit().map(str::to_owned);
        memory.container = owner.container();
    }
    Ok(ProcessReading {
        memory,
        layout,
        denied,
    })
}

/// The files of one process, read through its directory.
struct ProcessFiles<'a> {
    kernel: &'a Kernel,
    directory: &'a KernelDirectory,
    buffer: &'a mut Vec<u8>,
    /// A file was not there: its absence has to be told from the end of the
    /// process.
    doubtful: bool,
    denied: bool,
}

impl ProcessFiles<'_> {
    fn error(&self, name: &str, errno: Errno) -> ReadError {
        ReadError::Read {
            path: self.directory.path().join(name),
            source: errno.into(),
        }
    }

    /// The process, its start time and where its program lies.
    fn read_identity(&mut self) -> Result<(ProcessMemory, u64, Option<ProgramLayout>), ReadError> {
        let path = || self.directory.path().join("stat");
        let text = self
            .directory
            .read_raw(c"stat", self.buffer)
            .map_err(|errno| ReadError::Read {
                path: path(),
                source: errno.into(),
            })?;
        let stat = parse_stat(text).ok_or_else(|| ReadError::Malformed {
            path: path(),
            missing: "name, state and start time",
        })?;
        Ok((blank(&stat), stat.start_time_ticks, stat.layout))
    }

    /// The state now of the process that began at `start`; it is vanished when
    /// another one has its pid.
    fn state_of_the_same(&mut self, start: u64) -> Result<ProcessState, ReadError> {
        let (now, start_now, _) = self.read_identity()?;
        if start_now != start {
            return Err(self.error("stat", Errno::SRCH));
        }
        Ok(now.state)
    }

    /// A file that some kernels lack or that we may not be allowed to read.
    /// Other failures are the caller's.
    fn optional<T>(
        &mut self,
        name: &CStr,
        parse: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, ReadError> {
        let failure = match self.directory.read_raw(name, self.buffer) {
            Ok(text) => return Ok(Some(parse(text))),
            Err(errno) => errno,
        };
        self.absent(name, failure).map(|()| None)
    }

    /// Whether a failed read only means that there is nothing to be read.
    fn absent(&mut self, name: &CStr, errno: Errno) -> Result<(), ReadError> {
        if is_gone(errno) {
            self.doubtful = true;
            Ok(())
        } else if is_denied(errno) {
            Ok(())
        } else {
            Err(self.error(&name.to_string_lossy(), errno))
        }
    }

    fn read_status(&mut self, memory: &mut ProcessMemory) -> Result<(), ReadError> {
        let Some(status) = self.optional(c"status", parse_status)? else {
            self.denied |= !self.doubtful;
            return Ok(());
        };
        memory.user_id = status.user_id;
        memory.rss = status.resident();
        let Status {
            locked,
            rss_anon,
            rss_file,
            rss_shmem,
            swap,
            ..
        } = status;
        memory.rss_anon = rss_anon;
        memory.rss_file = rss_file;
        memory.rss_shmem = rss_shmem;
        memory.swap = swap;
        memory.locked = locked;
        Ok(())
    }

    fn read_small_files(&mut self, memory: &mut ProcessMemory) -> Result<(), ReadError> {
        memory.cgroup = self
            .optional(c"cgroup", parse_memory_cgroup)?
            .flatten()
            .filter(|printed| !printed.perhaps_removed || self.exists(&printed.path))
            .map(|printed| printed.path);
        memory.oom_score = self.optional(c"oom_score", parse_oom_score)?.flatten();
        memory.oom_score_adj = self
            .optional(c"oom_score_adj", parse_oom_score_adj)?
            .flatten();
        // One read of a bounded length: a program's arguments can be megabytes.
        let buffer = &mut self.buffer[..LONGEST];
        match read_once(self.directory.as_fd(), c"cmdline", buffer) {
            Ok(text) => memory.command_line = Some(parse_cmdline(text)),
            Err(errno) => self.absent(c"cmdline", errno)?,
        }
        Ok(())
    }

    /// Whether a cgroup has exactly this name. Where the control groups cannot
    /// be seen, none does.
    fn exists(&mut self, path: &CgroupPath) -> bool {
        open_process_cgroup(self.kernel, path, self.buffer).is_ok()
    }

    fn read_page_tables(&mut self, memory: &mut ProcessMemory) -> Result<(), ReadError> {
        match self.directory.read_raw(c"smaps_rollup", self.buffer) {
            Ok(text) => add_rollup(memory, &parse_smaps_rollup(text)),
            Err(errno) => {
                self.denied |= is_denied(errno);
                self.absent(c"smaps_rollup", errno)?;
            }
        }
        memory.ksm = self
            .optional(c"ksm_stat", parse_ksm_stat)?
            .filter(|ksm| *ksm != ProcessKsm::default());
        Ok(())
    }
}

fn blank(stat: &Stat<'_>) -> ProcessMemory {
    ProcessMemory {
        id: ProcessId {
            pid: stat.pid,
            start_time_ticks: stat.start_time_ticks,
        },
        parent_pid: stat.parent_pid,
        name: stat.name.into(),
        state: stat.state,
        kernel_thread: stat.kernel_thread,
        user_id: None,
        user: None,
        command_line: None,
        cpu_time_ticks: Some(stat.cpu_time_ticks),
        threads: Some(stat.threads),
        rss: None,
        rss_anon: None,
        rss_file: None,
        rss_shmem: None,
        pss: None,
        pss_anon: None,
        pss_file: None,
        pss_shmem: None,
        uss: None,
        swap: None,
        swap_pss: None,
        locked: None,
        oom_score: None,
        oom_score_adj: None,
        cgroup: None,
        unit: None,
        container: None,
        ksm: None,
    }
}

fn add_rollup(memory: &mut ProcessMemory, rollup: &SmapsRollup) {
    memory.rss = rollup.rss.or(memory.rss);
    memory.pss = rollup.pss;
    memory.pss_anon = rollup.pss_anon;
    memory.pss_file = rollup.pss_file;
    memory.pss_shmem = rollup.pss_shmem;
    memory.uss = rollup.uss();
    memory.swap = rollup.swap.or(memory.swap);
    memory.swap_pss = rollup.swap_pss;
}

#[cfg(test)]
#[path = "reading_tests.rs"]
mod tests;
