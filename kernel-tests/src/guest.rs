//! The tools that a case works with: files, waiting, `greyctl`, and the doors
//! to cgroups, memory hogs and zram swap.
//!
//! Every tool says on stderr what it does, so that the log of a failed case
//! reads as a story. Never judges: a case does.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::case::{Failure, GuestName};
use crate::cgroup::Cgroup;
use crate::hog::{Hog, HogOptions};
use crate::program::{log_stream, spawn};
use crate::tracer::{self, Order, Scope, Trace};
use crate::zram::ZramSwap;

pub use crate::program::{Run, Running, run};

/// Time one run of `greyctl` may take before it is killed.
pub const GREYCTL_DEADLINE: Duration = Duration::from_secs(90);

/// How often a state is looked at while it is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The machine that a case runs on.
#[derive(Debug)]
pub struct Guest {
    /// Which guest it is.
    pub name: GuestName,
    /// A directory of this case alone, on a tmpfs, empty at its start.
    pub directory: PathBuf,
    /// What `greyctl` is given as `--state-dir`. Missing at the start.
    pub state_dir: PathBuf,
}

impl Guest {
    /// The machine we are on, for a case called `case`.
    #[must_use]
    pub fn new(name: GuestName, directory: PathBuf) -> Self {
        let state_dir = directory.join("state");
        Self {
            name,
            directory,
            state_dir,
        }
    }

    /// Where the cgroup v2 tree is mounted.
    #[must_use]
    pub fn cgroup_root(&self) -> &Path {
        Path::new("/sys/fs/cgroup")
    }

    /// An ext4 file system on a disk, 480 MiB: a real file cache.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        Path::new("/scratch")
    }

    /// An ext4 file system on a disk of 8 MiB, quickly filled.
    #[must_use]
    pub fn tiny_disk(&self) -> &Path {
        Path::new("/tiny")
    }

    /// A new cgroup below the root, with the name given. It is removed when the
    /// value is dropped, and what runs in it is killed.
    ///
    /// # Errors
    /// When it exists already or cannot be made.
    pub fn cgroup(&self, name: &str) -> Result<Cgroup, Failure> {
        Cgroup::create(&self.cgroup_root().join(name))
    }

    /// A process that holds memory as `options` say; killed when dropped.
    /// Returns when all of it is touched.
    ///
    /// # Errors
    /// When it cannot be started, or is gone before it is ready.
    pub fn hog(&self, options: &HogOptions) -> Result<Hog, Failure> {
        Hog::start(options)
    }

    /// Swap on zram with lz4, of a disk size in MiB. Removed when dropped.
    ///
    /// # Errors
    /// When the device is missing, or in use.
    pub fn zram_swap(&self, mebibytes: u64) -> Result<ZramSwap, Failure> {
        ZramSwap::create(mebibytes)
    }

    /// Runs `greyctl --state-dir STATE_DIR ARGUMENTS...` to its end.
    ///
    /// # Errors
    /// When it cannot be started, or is not done after [`GREYCTL_DEADLINE`].
    pub fn greyctl<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Run, Failure> {
        let mut command = Command::new(greyctl_path());
        command.args(self.greyctl_arguments(arguments));
        run(command, GREYCTL_DEADLINE)
    }

    /// Starts `greyctl` as [`Guest::greyctl`] does and does not wait for it. Its
    /// output goes to the case's log.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn_greyctl<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Running, Failure> {
        let mut command = Command::new(greyctl_path());
        command
            .args(self.greyctl_arguments(arguments))
            .stdin(Stdio::null())
            .stdout(log_stream());
        spawn(command)
    }

    /// Runs `greyctl` as [`Guest::greyctl`] does, under the tracer, and kills it
    /// at the entry of step `kill_at`, if one is given.
    ///
    /// # Errors
    /// When it cannot be traced, or is not done after [`GREYCTL_DEADLINE`].
    pub fn trace_greyctl<S: AsRef<OsStr>>(
        &self,
        arguments: &[S],
        scope: Scope,
        kill_at: Option<usize>,
    ) -> Result<Trace, Failure> {
        let mut command = vec![greyctl_path()];
        command.extend(self.greyctl_arguments(arguments));
        let order = Order {
            command: &command,
            scope,
            kill_at,
            bound: GREYCTL_DEADLINE,
        };
        tracer::trace(&std::env::current_exe()?, &order)
    }

    fn greyctl_arguments<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Vec<OsString> {
        let mut all = vec![OsString::from("--state-dir"), self.state_dir.clone().into()];
        all.extend(
            arguments
                .iter()
                .map(|argument| argument.as_ref().to_owned()),
        );
        all
    }

    /// Runs any program to its end; `program` is looked for in `PATH`.
    ///
    /// # Errors
    /// When it cannot be started, or is not done after [`GREYCTL_DEADLINE`].
    pub fn run<S: AsRef<OsStr>>(&self, program: &str, arguments: &[S]) -> Result<Run, Failure> {
        let mut command = Command::new(program);
        command.args(arguments);
        run(command, GREYCTL_DEADLINE)
    }

    /// The text of a file, without the line break at its end.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<String, Failure> {
        read_text(path.as_ref())
    }

    /// Writes a text to a file that exists, in one write, as kernel files need.
    ///
    /// # Errors
    /// When the file is missing or the kernel refuses the text.
    pub fn write(&self, path: impl AsRef<Path>, text: &str) -> Result<(), Failure> {
        write_text(path.as_ref(), text)
    }

    /// Waits until a condition holds.
    ///
    /// # Errors
    /// When it does not hold after `bound`; `what` names it.
    pub fn wait_until(
        &self,
        what: &str,
        bound: Duration,
        condition: impl FnMut() -> bool,
    ) -> Result<(), Failure> {
        if wait_until(bound, condition) {
            return Ok(());
        }
        Err(Failure::new(format!(
            "waited {bound:?} in vain until {what}"
        )))
    }

    /// One value of `/proc/meminfo`, in KiB: `meminfo_kib("MemAvailable")`.
    ///
    /// # Errors
    /// When the key is missing.
    pub fn meminfo_kib(&self, key: &str) -> Result<u64, Failure> {
        keyed_number(Path::new("/proc/meminfo"), key)
    }

    /// One value of `/proc/vmstat`.
    ///
    /// # Errors
    /// When the key is missing.
    pub fn vmstat(&self, key: &str) -> Result<u64, Failure> {
        keyed_number(Path::new("/proc/vmstat"), key)
    }

    /// One value in KiB of `/proc/PID/status`: `status_kib(pid, "VmRSS")`.
    ///
    /// # Errors
    /// When the process is gone or the key is missing.
    pub fn status_kib(&self, pid: i32, key: &str) -> Result<u64, Failure> {
        keyed_number(Path::new(&format!("/proc/{pid}/status")), key)
    }

    /// Says something in the case's log.
    pub fn say(&self, text: &str) {
        say(text);
    }
}

/// Where `greyctl` is: as the environment says, or in `PATH`.
#[must_use]
pub fn greyctl_path() -> OsString {
    std::env::var_os("GREYCTL").unwrap_or_else(|| "greyctl".into())
}

/// Looks until the condition holds; false when `bound` passes first.
#[must_use]
pub fn wait_until(bound: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if start.elapsed() >= bound {
            return false;
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// Says something in the case's log, which is stderr.
pub fn say(text: &str) {
    // A log that cannot be written must not fail a case.
    let _ = writeln!(io::stderr(), "{text}");
}

/// The text of a file, without the line break at its end.
///
/// # Errors
/// When it cannot be read.
pub fn read_text(path: &Path) -> Result<String, Failure> {
    let bytes = fs::read(path)
        .map_err(|error| Failure::while_doing(format!("read `{}`", path.display()), &error))?;
    Ok(String::from_utf8_lossy(&bytes)
        .trim_end_matches('\n')
        .to_owned())
}

/// Writes a text in one write to a file that exists.
///
/// # Errors
/// When the file is missing or the kernel refuses the text.
pub fn write_text(path: &Path, text: &str) -> Result<(), Failure> {
    say(&format!("+ echo '{text}' > {}", path.display()));
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| {
            Failure::while_doing(format!("write `{text}` to `{}`", path.display()), &error)
        })
}

fn keyed_number(path: &Path, key: &str) -> Result<u64, Failure> {
    read_text(path)?
        .lines()
        .filter_map(|line| line.split_once([':', ' ']))
        .find(|(name, _)| *name == key)
        .and_then(|(_, rest)| rest.split_ascii_whitespace().next()?.parse().ok())
        .ok_or_else(|| Failure::new(format!("`{}` has no number called `{key}`", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_by_its_whole_key() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("meminfo");
        fs::write(&file, "MemTotal:  1000 kB\nMemFree:  20 kB\nMem: 3\n").unwrap();
        assert_eq!(keyed_number(&file, "MemFree").unwrap(), 20);
        assert_eq!(keyed_number(&file, "Mem").unwrap(), 3);
        assert!(keyed_number(&file, "MemAvail").is_err());
    }

    #[test]
    fn a_condition_that_never_holds_ends_the_wait_at_its_bound() {
        assert!(!wait_until(Duration::from_millis(30), || false));
        assert!(wait_until(Duration::ZERO, || true));
    }
}
