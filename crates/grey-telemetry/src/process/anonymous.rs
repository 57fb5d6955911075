//! A process's anonymous memory and swap, read again and again: two files, and
//! the price does not grow with the process.
//!
//! Never mixes two processes: both files are read through one descriptor of
//! the process's directory.

use std::path::Path;

use grey_model::{Bytes, KernelText, ProcessId, ProcessState};

use super::program::Program;
use super::stat::parse_stat;
use super::status::parse_status;
use crate::read::ReadError;
use crate::roots::Kernel;

/// What a program holds that nobody else can give back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnonymousMemory {
    /// Which process.
    pub id: ProcessId,
    /// What it runs.
    pub program: Program,
    /// Anonymous memory in memory and in swap. Pages that it shares with its
    /// parent since a fork are counted for both.
    pub anonymous: Bytes,
    /// Resident shared memory and tmpfs that it maps, which others may map, too.
    pub shared: Option<Bytes>,
}

/// Reads the process `pid`; `None` when it has no memory of its own (a kernel
/// thread, a zombie, one that is ending), and before Linux 4.5, which does not tell its parts.
///
/// # Kernel
/// `RssAnon`, `VmSwap` and `RssShmem` of `/proc/PID/status`. The counters may lag by a few
/// dozen pages a thread.
///
/// # Errors
/// [`ReadError`]: [`ReadError::is_vanished`] when it is gone,
/// [`ReadError::is_denied`] when it may not be read.
pub fn read_anonymous(
    kernel: &Kernel,
    pid: u32,
    buffer: &mut Vec<u8>,
) -> Result<Option<AnonymousMemory>, ReadError> {
    let directory = kernel.proc.open_directory(Path::new(&pid.to_string()))?;
    let malformed = || ReadError::Malformed {
        path: directory.path().join("stat"),
        missing: "name, state and start time",
    };
    let stat = parse_stat(directory.read("stat", buffer)?).ok_or_else(malformed)?;
    if stat.kernel_thread || stat.exiting || stat.state == ProcessState::Zombie {
        return Ok(None);
    }
    let id = ProcessId {
        pid,
        start_time_ticks: stat.start_time_ticks,
    };
    let program = Program {
        name: KernelText(stat.name.to_vec()),
        layout: stat.layout,
    };
    let status = parse_status(directory.read("status", buffer)?);
    Ok(status.rss_anon.map(|resident| AnonymousMemory {
        id,
        program,
        anonymous: resident.saturating_add(status.swap.unwrap_or_default()),
        shared: status.rss_shmem,
    }))
}
