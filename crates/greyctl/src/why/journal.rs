//! systemd's journal, read through `journalctl`.
//!
//! Never waits longer than its deadline, and never reads more than its bound;
//! what came until then counts.

use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use grey_telemetry::kill_log::KillLog;
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long `journalctl` may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// The most that is read: some hundred thousand entries.
const LARGEST: usize = 256 << 20;

const PIECE: usize = 64 << 10;

/// Who says something of kills. Several of one field are alternatives, `+`
/// joins alternatives of different fields.
const MATCHES: [&str; 7] = [
    "_TRANSPORT=kernel",
    "+",
    "SYSLOG_IDENTIFIER=systemd",
    "SYSLOG_IDENTIFIER=systemd-oomd",
    "SYSLOG_IDENTIFIER=earlyoom",
    "SYSLOG_IDENTIFIER=nohang",
    "SYSLOG_IDENTIFIER=nohang-desktop",
];

/// What reading came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JournalReading {
    /// It was read to its end.
    Whole,
    /// The deadline or the bound ended it.
    Cut,
}

/// Why there is no journal to read.
#[derive(Debug, thiserror::Error)]
pub(super) enum JournalError {
    /// `journalctl` is not installed.
    #[error("journalctl is not installed")]
    Missing,
    /// It could not be run or read.
    #[error("failed to run journalctl")]
    Run(#[source] io::Error),
    /// It failed.
    #[error("journalctl ended with {status}")]
    Failed {
        /// Its exit code in words.
        status: String,
    },
}

/// Reads what the journal has since `since`, or of this boot, into `log`.
///
/// # Errors
/// [`JournalError`] when there is no journal, or nothing came of it.
pub(super) fn read_journal(
    since: Option<Timestamp>,
    log: &mut KillLog,
) -> Result<JournalReading, JournalError> {
    let mut command = Command::new("journalctl");
    command
        .args(["--no-pager", "--quiet", "--output=json"])
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    match since {
        Some(since) => command.arg(format!("--since=@{}", since.as_second().max(0))),
        None => command.arg("--boot"),
    };
    let mut child = command.args(MATCHES).spawn().map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            JournalError::Missing
        } else {
            JournalError::Run(error)
        }
    })?;
    let read = read_all(&mut child, Instant::now() + DEADLINE, log);
    if !matches!(read, Ok((JournalReading::Whole, _))) {
        // It is of no use any more, and may have ended already.
        let _ = child.kill();
    }
    let status = child.wait().map_err(JournalError::Run)?;
    let (reading, bytes) = read.map_err(JournalError::Run)?;
    if reading == JournalReading::Whole && !status.success() && bytes == 0 {
        return Err(JournalError::Failed {
            status: status.to_string(),
        });
    }
    Ok(reading)
}

fn read_all(
    child: &mut Child,
    deadline: Instant,
    log: &mut KillLog,
) -> io::Result<(JournalReading, usize)> {
    let Some(mut stdout) = child.stdout.take() else {
        return Err(io::Error::other("it has no standard output"));
    };
    let mut buffer = vec![0; PIECE];
    let mut bytes = 0usize;
    while bytes < LARGEST {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut descriptors = [PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::IN)];
        match poll(&mut descriptors, Some(&timeout)) {
            Ok(0) => return Ok((JournalReading::Cut, bytes)),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        match stdout.read(&mut buffer) {
            Ok(0) => return Ok((JournalReading::Whole, bytes)),
            Ok(count) => {
                log.push(&buffer[..count]);
                bytes += count;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((JournalReading::Cut, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(script: &str) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped());
        command.spawn().unwrap()
    }

    #[test]
    fn nobody_waits_for_a_journal_longer_than_its_deadline() {
        let mut child = print("echo '{\"MESSAGE\":\"x\"}'; exec sleep 600");
        let mut log = KillLog::default();
        let deadline = Instant::now() + Duration::from_millis(500);
        let read = read_all(&mut child, deadline, &mut log);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(matches!(read, Ok((JournalReading::Cut, _))), "{read:?}");
    }

    #[test]
    fn a_journal_is_read_to_its_end() {
        let mut child = print("echo '{\"MESSAGE\":\"x\"}'; echo '{\"MESSAGE\":\"y\"}'");
        let mut log = KillLog::default();
        let read = read_all(&mut child, Instant::now() + DEADLINE, &mut log);
        child.wait().unwrap();
        assert!(matches!(read, Ok((JournalReading::Whole, 32))), "{read:?}");
        assert_eq!(log.finish().lines, 2);
    }
}
