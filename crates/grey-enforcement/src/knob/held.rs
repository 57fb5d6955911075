//! Holds the directory of a process or of a cgroup open, after checking that
//! it is the one that is meant: what is read and written through it cannot
//! land in another.
//!
//! Never looks a thing up a second time by its name.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use grey_model::{CgroupId, CgroupMode, CgroupPath, KnobValue, ProcessId};
use grey_telemetry::cgroup::find_cgroup_mode;
use grey_telemetry::process::stat::parse_stat;
use grey_telemetry::process::status::parse_status;
use grey_telemetry::{Kernel, KernelDirectory, ReadError, ascii};
use rustix::fs::{Access, AtFlags};
use rustix::io::Errno;

use super::{KnobError, clipped};
use crate::kernel_file::write_kernel_file;

/// A process, kept by its directory in procfs: when the process ends, every
/// read and write through it fails, even if the pid is used again.
#[derive(Debug)]
pub(crate) struct HeldProcess {
    directory: KernelDirectory,
    process: ProcessId,
}

impl HeldProcess {
    /// Opens the directory of `process` and checks the start time through it,
    /// and that it is no thread of another process, which has a directory, too.
    pub(crate) fn open(kernel: &Kernel, process: ProcessId) -> Result<Self, KnobError> {
        let gone = || KnobError::ProcessGone { process };
        let directory = kernel
            .proc
            .open_directory(Path::new(&process.pid.to_string()))
            .map_err(|source| vanished_or(source, gone, process))?;
        let held = Self { directory, process };
        if held.start_time()? == process.start_time_ticks && !held.is_thread() {
            Ok(held)
        } else {
            Err(gone())
        }
    }

    fn is_thread(&self) -> bool {
        self.read("status").is_ok_and(|text| {
            let group = parse_status(&text).thread_group;
            group.is_some_and(|group| group != self.process.pid)
        })
    }

    /// Whether the process still lives.
    pub(crate) fn check(&self) -> Result<(), KnobError> {
        self.start_time().map(|_| ())
    }

    /// The process's file `name`, whole.
    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>, KnobError> {
        let mut buffer = Vec::new();
        match self.directory.read(name, &mut buffer) {
            Ok(bytes) => Ok(bytes.to_vec()),
            Err(source) => {
                let process = self.process;
                Err(vanished_or(
                    source,
                    || KnobError::ProcessGone { process },
                    process,
                ))
            }
        }
    }

    /// Writes the process's file `name`.
    pub(crate) fn write(&self, name: &str, value: &str) -> Result<(), KnobError> {
        write_kernel_file(self.directory.as_fd(), Path::new(name), value.as_bytes()).map_err(
            |source| match source.raw_os_error() {
                Some(number) if number == rustix::io::Errno::SRCH.raw_os_error() => {
                    KnobError::ProcessGone {
                        process: self.process,
                    }
                }
                _ => KnobError::Write {
                    path: self.directory.path().join(name),
                    value: value.to_owned(),
                    source,
                },
            },
        )
    }

    /// Whether we may set what the process has. The kernel is asked about its
    /// `oom_score_adj`, which belongs to the process's user; `name` and `value`
    /// are for the error alone. A tree without that file lets everybody.
    pub(crate) fn check_permitted(&self, name: &str, value: &str) -> Result<(), KnobError> {
        const FILE: &str = "oom_score_adj";
        let (access, flags) = (Access::WRITE_OK, AtFlags::EACCESS);
        match rustix::fs::accessat(&self.directory, FILE, access, flags) {
            Err(errno @ (Errno::ACCESS | Errno::PERM)) => Err(KnobError::Write {
                path: self.directory.path().join(name),
                value: value.to_owned(),
                source: errno.into(),
            }),
            _ => Ok(()),
        }
    }

    /// The path in the unified hierarchy. The kernel adds ` (deleted)` when the
    /// cgroup was removed under a dying process: then the process is gone. A
    /// cgroup may also be named so; then it has the process in its list.
    pub(crate) fn cgroup(&self, kernel: &Kernel) -> Result<CgroupPath, KnobError> {
        let text = self.read("cgroup")?;
        let line = ascii::lines(&text).find_map(|line| line.strip_prefix(b"0::"));
        let Some(path) = line else {
            return Err(KnobError::Missing {
                what: "unified cgroup hierarchy".to_owned(),
            });
        };
        let found = CgroupPath::new(path).ok_or_else(|| KnobError::Malformed {
            what: format!("the cgroup of process {}", self.process),
            found: clipped(path),
        })?;
        if path.ends_with(b" (deleted)") && !self.is_listed_in(kernel, &found)? {
            return Err(KnobError::ProcessGone {
                process: self.process,
            });
        }
        Ok(found)
    }

    fn is_listed_in(&self, kernel: &Kernel, cgroup: &CgroupPath) -> Result<bool, KnobError> {
        let list = HeldCgroup::open(kernel, cgroup, None).and_then(|held| {
            // A threaded cgroup lists its threads only, and the first of them
            // has the process's pid.
            held.read("cgroup.procs")
                .or_else(|_| held.read("cgroup.threads"))
        });
        match list {
            Ok(list) => {
                let pid = u64::from(self.process.pid);
                Ok(ascii::lines(&list).any(|line| ascii::parse_u64(line) == Some(pid)))
            }
            Err(error) if error.is_gone() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn start_time(&self) -> Result<u64, KnobError> {
        let stat = self.read("stat")?;
        parse_stat(&stat)
            .map(|stat| stat.start_time_ticks)
            .ok_or_else(|| KnobError::Malformed {
                what: format!("/proc/{}/stat", self.process),
                found: clipped(&stat),
            })
    }
}

fn vanished_or(source: ReadError, gone: impl Fn() -> KnobError, process: ProcessId) -> KnobError {
    if source.is_vanished() {
        return gone();
    }
    KnobError::Read {
        what: format!("process {process}"),
        source,
    }
}

/// A cgroup, kept by its directory.
#[derive(Debug)]
pub(crate) struct HeldCgroup {
    directory: KernelDirectory,
    path: CgroupPath,
    id: CgroupId,
}

impl HeldCgroup {
    /// Opens the directory at `path`; with an `id`, only the cgroup of that id.
    pub(crate) fn open(
        kernel: &Kernel,
        path: &CgroupPath,
        id: Option<CgroupId>,
    ) -> Result<Self, KnobError> {
        let gone = || KnobError::CgroupGone {
            cgroup: path.clone(),
        };
        let root = kernel.cgroup.as_ref().ok_or_else(|| KnobError::Missing {
            what: "cgroup file system".to_owned(),
        })?;
        // Version 1 is never written, and reads of it would mean other things.
        if !matches!(
            find_cgroup_mode(kernel, &mut Vec::new()),
            CgroupMode::V2 | CgroupMode::V2WithoutMemory
        ) {
            return Err(KnobError::Missing {
                what: "unified cgroup hierarchy".to_owned(),
            });
        }
        let directory =
            root.open_directory(&relative(path))
                .map_err(|source| match source.errno() {
                    Some(rustix::io::Errno::NOTDIR) => gone(),
                    _ if source.is_vanished() => gone(),
                    _ => KnobError::Read {
                        what: format!("cgroup {path}"),
                        source,
                    },
                })?;
        let status = rustix::fs::fstat(&directory).map_err(|errno| KnobError::Read {
            what: format!("cgroup {path}"),
            source: ReadError::Read {
                path: directory.path().to_owned(),
                source: errno.into(),
            },
        })?;
        let found = CgroupId(status.st_ino);
        if id.is_some_and(|id| id != found) {
            return Err(gone());
        }
        Ok(Self {
            directory,
            path: path.clone(),
            id: found,
        })
    }

    /// The kernel's id of it.
    pub(crate) const fn id(&self) -> CgroupId {
        self.id
    }

    /// Its directory.
    pub(crate) const fn directory(&self) -> &KernelDirectory {
        &self.directory
    }

    /// Whether it has the file `name`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.directory.has(name)
    }

    /// The file `name`, whole.
    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>, KnobError> {
        let mut buffer = Vec::new();
        match self.directory.read(name, &mut buffer) {
            Ok(bytes) => Ok(bytes.to_vec()),
            // ENODEV: the directory is held, and the cgroup was removed.
            Err(source) if source.errno() == Some(rustix::io::Errno::NODEV) => {
                Err(KnobError::CgroupGone {
                    cgroup: self.path.clone(),
                })
            }
            Err(source) if source.is_vanished() => Err(KnobError::Missing {
                what: format!("{name} in cgroup {}", self.path),
            }),
            Err(source) => Err(KnobError::Read {
                what: format!("{name} of cgroup {}", self.path),
                source,
            }),
        }
    }

    /// The file `name` as a number, such as `memory.current`.
    pub(crate) fn read_number(&self, name: &str) -> Result<u64, KnobError> {
        let text = self.read(name)?;
        ascii::parse_u64(text.trim_ascii()).ok_or_else(|| KnobError::Malformed {
            what: format!("{name} of cgroup {}", self.path),
            found: clipped(&text),
        })
    }

    /// Writes the file `name`.
    pub(crate) fn write(&self, name: &str, value: &str) -> Result<(), KnobError> {
        write_kernel_file(self.directory.as_fd(), Path::new(name), value.as_bytes()).map_err(
            |source| KnobError::Write {
                path: self.directory.path().join(name),
                value: value.to_owned(),
                source,
            },
        )
    }
}

/// The path below the mount point; `.` for the root.
pub(crate) fn relative(path: &CgroupPath) -> PathBuf {
    if path.is_root() {
        return PathBuf::from(".");
    }
    PathBuf::from(OsStr::from_bytes(path.relative()))
}

/// The path as text, for values and the journal.
pub(crate) fn text_of(path: &CgroupPath) -> Result<&str, KnobError> {
    std::str::from_utf8(path.as_bytes()).map_err(|_| KnobError::NotUtf8 {
        cgroup: path.clone(),
    })
}

/// The first line of a file as a value.
pub(crate) fn first_line(what: &str, text: &[u8]) -> Result<KnobValue, KnobError> {
    let line = ascii::lines(text).next().unwrap_or_default().trim_ascii();
    match std::str::from_utf8(line) {
        Ok(line) if !line.is_empty() => Ok(KnobValue(line.to_owned())),
        _ => Err(KnobError::Malformed {
            what: what.to_owned(),
            found: clipped(text),
        }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_line_panics(text: Vec<u8>) {
            let _ = first_line("x", &text);
        }
    }

    #[test]
    fn a_thread_is_no_process() {
        let (send, receive) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let id = rustix::thread::gettid().as_raw_nonzero().get();
            send.send(u32::try_from(id).unwrap()).unwrap();
            let _ = ended.recv();
        });
        let kernel = Kernel::open(&grey_telemetry::Roots::default()).unwrap();
        let started = |pid: u32| {
            let text = std::fs::read(format!("/proc/{pid}/stat")).unwrap();
            ProcessId {
                pid,
                start_time_ticks: parse_stat(&text).unwrap().start_time_ticks,
            }
        };
        let own = started(std::process::id());
        assert!(HeldProcess::open(&kernel, own).is_ok());
        let of_thread = started(receive.recv().unwrap());
        let refused = HeldProcess::open(&kernel, of_thread);
        assert!(matches!(refused, Err(KnobError::ProcessGone { .. })));
        drop(end);
        thread.join().unwrap();
    }
}
