//! The directory of history: which shards there are, what they are called, and
//! the lock of who writes.
//!
//! Never deletes; the writer does, by age and size. Who only asks whether somebody
//! writes never keeps a writer from beginning.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};

use super::error::HistoryError;

/// What the names of shards end in.
const SUFFIX: &str = ".shard";

/// The newest samples.
pub(super) const TAIL: &str = "tail";

/// A new tail before it takes its name.
pub(super) const NEW_TAIL: &str = "tail.new";

/// Who writes.
const LOCK: &str = "lock";

/// Who only asks holds the lock for a moment, and so does a process that is just
/// being made: whoever wants to write waits for so long.
const MOMENT: Duration = Duration::from_millis(100);

/// A shard: the day (UTC) of its first sample, and which of that day's it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shard {
    pub(super) day: Date,
    pub(super) part: u32,
}

impl Shard {
    /// The first shard of the day of `unix_ms`.
    pub(super) fn of(unix_ms: u64) -> Self {
        let moment = i64::try_from(unix_ms)
            .ok()
            .and_then(|ms| Timestamp::from_millisecond(ms).ok())
            .unwrap_or(Timestamp::MAX);
        Self {
            day: moment.to_zoned(TimeZone::UTC).date(),
            part: 0,
        }
    }

    /// Its file's name.
    pub(super) fn name(self) -> String {
        format!("{}-{:02}{SUFFIX}", self.day, self.part)
    }

    fn parse(name: &str) -> Option<Self> {
        let (day, part) = name.strip_suffix(SUFFIX)?.rsplit_once('-')?;
        let shard = Self {
            day: day.parse().ok()?,
            part: part.parse().ok()?,
        };
        // One way to write it: another file is not ours.
        (shard.name() == name).then_some(shard)
    }
}

/// The shards in `directory`, oldest first.
///
/// # Errors
/// [`HistoryError::File`] when it cannot be listed.
pub(super) fn shards(directory: &Path) -> Result<Vec<Shard>, HistoryError> {
    let failed = || HistoryError::file("list", directory);
    let mut shards = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed())? {
        let name = entry.map_err(failed())?.file_name();
        shards.extend(name.to_str().and_then(Shard::parse));
    }
    shards.sort_unstable();
    Ok(shards)
}

/// Opens a file to read, never waiting for a pipe.
pub(super) fn open_to_read(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::other("it is no regular file"))
}

/// Whether somebody records into the history in `directory` now: a recorder holds
/// its lock until it ends, however it ends.
///
/// # Errors
/// The system's, where the lock is there and cannot be asked.
pub fn is_being_recorded(directory: &Path) -> io::Result<bool> {
    let lock = match open_to_read(&directory.join(LOCK)) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    // Given back at once, with the file.
    match flock(&lock, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(errno) => Err(errno.into()),
    }
}

fn is_locked_in_a_moment(lock: &File) -> bool {
    let begun = Instant::now();
    loop {
        if flock(lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return true;
        }
        if begun.elapsed() > MOMENT {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The directory with its lock, held until this is dropped.
#[derive(Debug)]
pub(super) struct Locked {
    path: PathBuf,
    directory: File,
    _lock: File,
    #[cfg(test)]
    syncs: std::cell::Cell<u32>,
}

impl Locked {
    /// Makes the directory where there is none, and locks it.
    ///
    /// # Errors
    /// [`HistoryError`] when it cannot be made, is not safe, or somebody else
    /// writes there.
    pub(super) fn new(path: &Path) -> Result<Self, HistoryError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(HistoryError::file("make the directory", path))?;
        check_safe(path)?;
        // Its own name, too, in case that it is new; where the parent cannot be
        // opened, somebody else has made it.
        if let Some(parent) = path.parent().and_then(|parent| File::open(parent).ok()) {
            let _ = parent.sync_all();
        }
        let name = path.join(LOCK);
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let lock = rustix::fs::open(&name, flags, Mode::from_raw_mode(0o600))
            .map(File::from)
            .map_err(|errno| HistoryError::file("open", &name)(errno.into()))?;
        if !is_locked_in_a_moment(&lock) {
            let text = fs::read_to_string(&name).unwrap_or_default();
            return Err(HistoryError::Busy {
                path: path.to_owned(),
                holder: text.trim().parse().ok(),
            });
        }
        // For whoever finds it locked; of no use to us.
        let _ = lock.set_len(0).and_then(|()| {
            use std::os::unix::fs::FileExt as _;
            lock.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0)
        });
        let directory = File::open(path).map_err(HistoryError::file("open", path))?;
        Ok(Self {
            path: path.to_owned(),
            directory,
            _lock: lock,
            #[cfg(test)]
            syncs: std::cell::Cell::new(0),
        })
    }

    /// Writes the directory's names through to the disk: a power cut then loses
    /// no file that was made or renamed before.
    ///
    /// # Errors
    /// The system's. A file system that does not do this for directories
    /// (EINVAL) is none.
    pub(super) fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        self.syncs.set(self.syncs.get() + 1);
        match rustix::fs::fsync(&self.directory) {
            Ok(()) | Err(rustix::io::Errno::INVAL) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    #[cfg(test)]
    pub(super) fn syncs(&self) -> u32 {
        self.syncs.get()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Others must not be able to put their files where ours should be.
fn check_safe(path: &Path) -> Result<(), HistoryError> {
    let facts = fs::symlink_metadata(path).map_err(HistoryError::file("look at", path))?;
    let us = rustix::process::geteuid().as_raw();
    let reason = if !facts.is_dir() {
        "it is no directory".to_owned()
    } else if facts.uid() != us {
        format!("it belongs to user {} and we are user {us}", facts.uid())
    } else if facts.mode() & 0o022 != 0 {
        format!("others may write to it (mode {:o})", facts.mode() & 0o7777)
    } else {
        return Ok(());
    };
    Err(HistoryError::Unsafe {
        path: path.to_owned(),
        reason,
    })
}
