//! The real processes that are measured.
//!
//! Never leaves one behind: each is killed by its pid when the fleet is
//! dropped, and the kernel kills them all when this program ends in any other
//! way (`PR_SET_PDEATHSIG`). Never writes a file that stays: what they map has
//! no name.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

use crate::error::BenchError;

/// What every process maps.
const SHARED_FILE_KIB: usize = 6 << 10;
/// What the processes of one group map.
const GROUP_FILE_KIB: usize = 512;
/// Processes in a group.
const GROUP: usize = 8;
/// Private memory: the least, and seven sizes above it.
const LEAST_PRIVATE_KIB: usize = 512;
const PRIVATE_STEP_KIB: usize = 192;
/// What a process takes at most with its page tables and stacks, for the
/// question whether all fit.
const MOST_MIB_EACH: u64 = 3;
/// How long all of them may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Of a thousand processes, how many change their memory between two ticks.
const CHANGING_PER_MILLE: usize = 20;
/// Of a thousand, how many end and are replaced.
const REPLACED_PER_MILLE: usize = 3;

/// Many processes that wait.
pub(crate) struct Fleet {
    children: Vec<Child>,
    reports: PipeReader,
    reporter: PipeWriter,
    shared: File,
    groups: Vec<File>,
    next_to_change: usize,
}

impl Fleet {
    /// Starts `count` processes and waits until all of them are set up.
    pub(crate) fn start(count: u32) -> Result<Self, BenchError> {
        require_room(count)?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let prepare = |doing: &'static str| move |source| BenchError::Prepare { doing, source };
        let (reports, reporter) = pipe().map_err(prepare("open a pipe"))?;
        let shared = unnamed_file(SHARED_FILE_KIB)?;
        let groups = (0..count.div_ceil(GROUP))
            .map(|_| unnamed_file(GROUP_FILE_KIB))
            .collect::<Result<Vec<_>, _>>()?;
        let mut fleet = Self {
            children: Vec::with_capacity(count),
            reports,
            reporter,
            shared,
            groups,
            next_to_change: 0,
        };
        for index in 0..count {
            let child = fleet.spawn(index)?;
            fleet.children.push(child);
        }
        fleet.await_reports(count)?;
        Ok(fleet)
    }

    /// Their pids.
    pub(crate) fn pids(&self) -> impl Iterator<Item = u32> {
        self.children.iter().map(Child::id)
    }

    /// Lets some processes take or give back memory, some map or unmap what
    /// their neighbours map too, and replaces a few.
    pub(crate) fn change_some(&mut self) -> Result<(), BenchError> {
        let count = self.children.len();
        let changing = (count * CHANGING_PER_MILLE / 1000).max(1);
        let replaced = (count * REPLACED_PER_MILLE / 1000).max(1);
        for _ in 0..changing {
            let index = self.next();
            let pid = i32::try_from(self.children[index].id()).ok();
            let Some(pid) = pid.and_then(Pid::from_raw) else {
                continue;
            };
            kill_process(pid, Signal::USR1).map_err(|errno| BenchError::Prepare {
                doing: "signal a process to be measured",
                source: errno.into(),
            })?;
        }
        for _ in 0..replaced {
            let index = self.next();
            end(&mut self.children[index]);
            self.children[index] = self.spawn(index)?;
        }
        self.await_reports(changing + replaced)
    }

    /// A stride that is prime to the size visits all of them in a mixed order.
    fn next(&mut self) -> usize {
        self.next_to_change = self.next_to_change.wrapping_add(617);
        self.next_to_change % self.children.len()
    }

    fn spawn(&self, index: usize) -> Result<Child, BenchError> {
        let us = std::process::id();
        let path = |file: &File| format!("/proc/{us}/fd/{}", file.as_raw_fd());
        let private = LEAST_PRIVATE_KIB + index % GROUP * PRIVATE_STEP_KIB;
        let start = |source| BenchError::Start {
            program: "worker".to_owned(),
            source,
        };
        Command::new(env!("BENCH_WORKER"))
            .arg(us.to_string())
            .arg(private.to_string())
            .arg(path(&self.shared))
            .arg(path(&self.groups[index / GROUP]))
            .arg(if index.is_multiple_of(2) {
                "private"
            } else {
                "group"
            })
            .stdin(Stdio::null())
            .stdout(self.reporter.try_clone().map_err(start)?)
            .spawn()
            .map_err(start)
    }

    /// Waits until `expected` processes have reported.
    fn await_reports(&mut self, expected: usize) -> Result<(), BenchError> {
        let deadline = Instant::now() + PATIENCE;
        let mut missing = expected;
        let mut buffer = [0; 4096];
        while missing > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).ok();
            let mut waiting = [PollFd::new(&self.reports, PollFlags::IN)];
            match poll(&mut waiting, timeout.as_ref()) {
                Ok(0) => {
                    return Err(BenchError::NoAnswer {
                        missing,
                        waited: PATIENCE,
                    });
                }
                Ok(_) => {
                    let most = missing.min(buffer.len());
                    let read = self.reports.read(&mut buffer[..most]);
                    missing -= read.map_err(|source| BenchError::Prepare {
                        doing: "read the reports of the processes to be measured",
                        source,
                    })?;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => {
                    return Err(BenchError::Prepare {
                        doing: "wait for the processes to be measured",
                        source: errno.into(),
                    });
                }
            }
        }
        Ok(())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
        }
        for child in &mut self.children {
            let _ = child.wait();
        }
    }
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn require_room(count: u32) -> Result<(), BenchError> {
    let needed_mib = u64::from(count) * MOST_MIB_EACH;
    let available = procfs::Current::current()
        .ok()
        .and_then(|memory: procfs::Meminfo| memory.mem_available);
    match available.map(|bytes| bytes >> 20) {
        Some(available_mib) if available_mib < needed_mib => Err(BenchError::NoRoom {
            count,
            needed_mib,
            available_mib,
        }),
        _ => Ok(()),
    }
}

/// A file without a name, which no exit of ours can leave behind.
fn unnamed_file(kib: usize) -> Result<File, BenchError> {
    let write = || {
        let mut file = tempfile::tempfile()?;
        file.write_all(&vec![b'g'; kib << 10])?;
        Ok(file)
    };
    write().map_err(|source| BenchError::Prepare {
        doing: "write a file for the processes to map",
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn exists(pid: u32) -> bool {
        PathBuf::from(format!("/proc/{pid}/stat")).exists()
    }

    #[test]
    fn no_process_outlives_its_fleet() {
        let mut fleet = Fleet::start(9).unwrap();
        let mut pids: Vec<u32> = fleet.pids().collect();
        assert!(pids.iter().all(|&pid| exists(pid)));
        fleet.change_some().unwrap();
        assert_ne!(fleet.pids().collect::<Vec<_>>(), pids, "one is replaced");
        pids.extend(fleet.pids());
        drop(fleet);
        assert!(!pids.into_iter().any(exists));
    }

    #[test]
    fn what_would_not_fit_is_not_started() {
        let error = Fleet::start(u32::MAX).err().unwrap();
        assert!(matches!(error, BenchError::NoRoom { .. }), "{error}");
    }
}
