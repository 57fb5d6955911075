//! The lock that lets one writer at a time into the journal.
//!
//! Never waits without a bound, and says who holds it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use super::JournalError;
use super::directory::{look_at_file, open_file};

const NAME: &str = "lock";
/// How often the lock is tried.
const PAUSE: Duration = Duration::from_millis(20);

/// The lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else had it for the whole time that we waited.
    #[error(
        "the journal is in use by {}, waited {} s", holder(*pid), waited.as_secs()
    )]
    Busy {
        /// The holder's pid, where the lock file says it.
        pid: Option<u32>,
        /// How long we waited.
        waited: Duration,
    },
    /// Locking itself failed.
    #[error("failed to lock `{}`", path.display())]
    Failed {
        /// The lock file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(
        || "another program".to_owned(),
        |pid| format!("process {pid}"),
    )
}

/// The lock, held. A process that we start may inherit the descriptor: then
/// the lock lasts until that process ends, too, even if we are killed.
#[derive(Debug)]
pub(super) struct Lock {
    file: OwnedFd,
}

impl Lock {
    /// Takes the lock, or gives up after `bound`.
    pub(super) fn take(
        directory: &OwnedFd,
        directory_path: &Path,
        bound: Duration,
    ) -> Result<Self, JournalError> {
        let file = open_file(
            directory,
            directory_path,
            NAME,
            OFlags::RDWR | OFlags::CREATE,
        )?;
        let failed = |errno: Errno| LockError::Failed {
            path: directory_path.join(NAME),
            source: errno.into(),
        };
        let start = Instant::now();
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                Err(errno) => return Err(failed(errno).into()),
            }
            if start.elapsed() >= bound {
                return Err(LockError::Busy {
                    pid: read_holder(file.as_fd()),
                    waited: bound,
                }
                .into());
            }
            std::thread::sleep(PAUSE.min(bound));
        }
        // Only for the message of whoever waits: failing to write it, on a
        // full disk, must not stop a rollback.
        let text = format!("{:<10}\n", std::process::id());
        let _ = rustix::io::pwrite(&file, text.as_bytes(), 0);
        Ok(Self { file })
    }

    /// The descriptor, for a process that is to keep the lock.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Releases it for those who inherited it, too: closing alone would not.
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

/// Whether the lock could be opened. Neither makes nor takes it.
pub(super) fn look(directory: &OwnedFd, directory_path: &Path) -> Result<(), JournalError> {
    look_at_file(directory, directory_path, NAME).map(|_| ())
}

fn read_holder(file: BorrowedFd<'_>) -> Option<u32> {
    let mut buffer = [0; 16];
    let count = rustix::io::pread(file, &mut buffer, 0).ok()?;
    std::str::from_utf8(&buffer[..count])
        .ok()?
        .trim()
        .parse()
        .ok()
}
