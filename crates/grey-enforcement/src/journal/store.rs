//! The journal's file: opened, repaired, appended to, compacted.
//!
//! Never writes over a record, and returns from an append only when the
//! record is on disk.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use grey_model::{BootId, Knob, KnobValue};
use rustix::fs::{AtFlags, FallocateFlags, OFlags};
use rustix::io::Errno;

use super::JournalError;
use super::directory::{look_at_file, look_for_writing, open_existing, open_file, open_or_make};
use super::entry::{JournalEntry, Ledger};
use super::lock::Lock;
use super::loss::Loss;
use super::record::{Actor, Body, Ending, LONGEST_LINE, Line, Record, SCHEMA};
use super::replay::Replay;
use crate::knob::Saved;

const NAME: &str = "journal.jsonl";
const NEW_NAME: &str = "journal.jsonl.new";
/// The largest journal that is read, in bytes.
const LARGEST: u64 = 64 << 20;
/// A finished journal above this is compacted, in bytes.
const COMPACT_ABOVE: u64 = 1 << 20;
/// How many lines compaction keeps, for people to read.
const KEPT_LINES: usize = 256;
/// The room that is reserved for each setting of a plan, in bytes: its change,
/// its reading back, and its end.
const ROOM_FOR_ONE: u64 = 6 * 1024;

/// The journal, open for writing and locked, or read for a listing.
#[derive(Debug)]
pub struct Journal {
    directory: OwnedFd,
    path: PathBuf,
    file: OwnedFd,
    end: u64,
    ledger: Ledger,
    lines: Vec<Vec<u8>>,
    losses: Vec<Loss>,
    boot: BootId,
    actor: Actor,
    // Last, so that it is released after everything else.
    lock: Lock,
}

/// A change that is about to be made.
#[derive(Debug)]
pub(crate) struct ChangeToRecord<'plan> {
    pub(crate) plan_id: &'plan str,
    pub(crate) knob: &'plan Knob,
    pub(crate) before: Option<KnobValue>,
    pub(crate) after: Option<KnobValue>,
    pub(crate) saved: Saved,
    pub(crate) reason: &'plan str,
    pub(crate) lease_until: Option<Duration>,
}

impl Journal {
    /// All changes that the journal in `state_dir` holds, oldest first, and
    /// what of it is lost and may hold in this boot. Takes no lock and writes nothing; an absent
    /// journal is an empty one. `boot` is the present boot and `uptime` the
    /// time since, by CLOCK_BOOTTIME.
    ///
    /// # Errors
    /// [`JournalError`] when it is there and cannot be read.
    pub fn list(
        state_dir: &Path,
        boot: Option<&BootId>,
        uptime: Option<Duration>,
    ) -> Result<(Vec<JournalEntry>, Vec<Loss>), JournalError> {
        let replay = Self::read(state_dir)?;
        Ok((replay.ledger.entries(boot, uptime), replay.losses(boot)))
    }

    /// Whether `line`, without its newline, is a whole record of this version:
    /// for those who look at the file themselves.
    #[must_use]
    pub fn is_record(line: &[u8]) -> bool {
        matches!(Record::from_line(line), Line::Record(_))
    }

    /// Whether the journal in `state_dir` could be opened for writing now, apart
    /// from the room on its disk and from whoever has the lock. Makes nothing.
    ///
    /// # Errors
    /// [`JournalError`], the one that opening would end with.
    pub fn check(state_dir: &Path) -> Result<(), JournalError> {
        let Some(directory) = look_for_writing(state_dir)? else {
            return Ok(());
        };
        let path = state_dir.join("journal");
        super::lock::look(&directory, &path)?;
        let Some(file) = look_at_file(&directory, &path, NAME)? else {
            return Ok(());
        };
        let file_path = path.join(NAME);
        if Replay::of(&read_all(&file, &file_path)?).other_version {
            return Err(JournalError::OtherVersion { path: file_path });
        }
        Ok(())
    }

    /// Whether somebody is writing to the journal in `state_dir` right now, or
    /// it cannot be told.
    pub(crate) fn is_in_use(state_dir: &Path) -> bool {
        match open_existing(state_dir) {
            Ok(Some(directory)) => {
                Lock::take(&directory, &state_dir.join("journal"), Duration::ZERO).is_err()
            }
            Ok(None) => false,
            Err(_) => true,
        }
    }

    pub(crate) fn read_ledger(state_dir: &Path) -> Result<Ledger, JournalError> {
        Self::read(state_dir).map(|replay| replay.ledger)
    }

    fn read(state_dir: &Path) -> Result<Replay, JournalError> {
        let Some(directory) = open_existing(state_dir)? else {
            return Ok(Replay::of(&[]));
        };
        let path = state_dir.join("journal");
        let file = match open_file(&directory, &path, NAME, OFlags::RDONLY) {
            Err(JournalError::Open { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                return Ok(Replay::of(&[]));
            }
            other => other?,
        };
        let content = read_all(&file, &path.join(NAME))?;
        Ok(Replay::of(&content))
    }

    /// Opens the journal for writing: makes what is missing, takes the lock,
    /// cuts a torn last record off, and compacts when the file is large and
    /// nothing in it is open or lost.
    pub(crate) fn open(
        state_dir: &Path,
        actor: Actor,
        boot: BootId,
        wait: Duration,
    ) -> Result<Self, JournalError> {
        let directory = open_or_make(state_dir)?;
        let path = state_dir.join("journal");
        let lock = Lock::take(&directory, &path, wait)?;
        let file_path = path.join(NAME);
        let file = open_file(&directory, &path, NAME, OFlags::RDWR | OFlags::CREATE)?;
        // The file's name must survive a crash as well as its content.
        sync(&directory, &path)?;
        let content = read_all(&file, &file_path)?;
        let replay = Replay::of(&content);
        if replay.other_version {
            return Err(JournalError::OtherVersion { path: file_path });
        }
        let losses = replay.losses(Some(&boot));
        let mut journal = Self {
            directory,
            path: file_path,
            file,
            end: replay.good_end,
            ledger: replay.ledger,
            lines: replay.lines,
            losses,
            boot,
            actor,
            lock,
        };
        if replay.good_end < content.len() as u64 {
            journal.cut()?;
        }
        if replay.lacks_newline {
            journal.append_line(b"\n")?;
        }
        let finished = journal.losses.is_empty() && journal.ledger.is_finished(&journal.boot);
        if journal.end > COMPACT_ABOVE && finished {
            journal.compact()?;
        }
        journal.lines = Vec::new();
        Ok(journal)
    }

    /// What the records add up to.
    pub(crate) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What of it is lost and may hold in this boot.
    pub(crate) fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// The present boot.
    pub(crate) const fn boot(&self) -> &BootId {
        &self.boot
    }

    /// The lock's descriptor, for a process that must keep the lock.
    pub(crate) fn lock_descriptor(&self) -> BorrowedFd<'_> {
        self.lock.descriptor()
    }

    /// Begins a plan: reserves the room for all its records and writes the
    /// first. After this, the journal is known to be writable.
    pub(crate) fn begin_plan(&mut self, plan_id: &str, settings: u64) -> Result<(), JournalError> {
        let room = ROOM_FOR_ONE.saturating_mul(settings.saturating_add(1));
        match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, self.end, room) {
            // Not every file system can reserve; the write below still proves
            // that it takes records.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
            Err(errno) => return Err(self.write_error(errno)),
        }
        self.append(Body::Plan {
            plan_id: plan_id.to_owned(),
            settings,
        })
        .map(|_| ())
    }

    /// Records a change that is about to be made, and returns its number when
    /// the record is on disk.
    pub(crate) fn record_change(
        &mut self,
        change: ChangeToRecord<'_>,
    ) -> Result<u64, JournalError> {
        self.append(Body::Change {
            plan_id: change.plan_id.to_owned(),
            knob: change.knob.clone(),
            before: change.before,
            after: change.after,
            saved: change.saved,
            reason: clip(change.reason),
            lease_until_boottime_seconds: change.lease_until.map(|until| until.as_secs()),
        })
    }

    /// Records what was read back after the change.
    pub(crate) fn record_applied(
        &mut self,
        change: u64,
        found: Option<KnobValue>,
        saved: Saved,
    ) -> Result<(), JournalError> {
        self.append(Body::Applied {
            change,
            found,
            saved,
        })
        .map(|_| ())
    }

    /// Records the end of a change.
    pub(crate) fn record_end(&mut self, change: u64, ending: Ending) -> Result<(), JournalError> {
        self.append(Body::Undone { change, ending }).map(|_| ())
    }

    fn append(&mut self, body: Body) -> Result<u64, JournalError> {
        let what = match &body {
            Body::Change { knob, .. } => knob.to_string(),
            _ => "a plan".to_owned(),
        };
        let record = Record {
            schema: SCHEMA,
            id: self.ledger.last_id().saturating_add(1),
            time_unix_ms: now_unix_ms(),
            boot_id: self.boot.clone(),
            actor: self.actor.clone(),
            body,
        };
        let line = record
            .to_line()
            .map_err(|source| JournalError::Encode { what, source })?;
        self.append_line(line.as_bytes())?;
        let id = record.id;
        self.ledger.take(record);
        Ok(id)
    }

    fn append_line(&mut self, line: &[u8]) -> Result<(), JournalError> {
        let length = line.len() as u64;
        if line.len() > LONGEST_LINE || self.end.saturating_add(length) > LARGEST {
            return Err(self.write_error(Errno::FBIG));
        }
        let written = write_all_at(&self.file, line, self.end)
            .and_then(|()| rustix::fs::fdatasync(&self.file));
        if let Err(errno) = written {
            // Half a record must not stand before the next one.
            let _ = rustix::fs::ftruncate(&self.file, self.end);
            return Err(self.write_error(errno));
        }
        self.end += length;
        Ok(())
    }

    fn cut(&self) -> Result<(), JournalError> {
        rustix::fs::ftruncate(&self.file, self.end)
            .and_then(|()| rustix::fs::fsync(&self.file))
            .map_err(|errno| self.write_error(errno))
    }

    /// Keeps the last lines, in a new file that takes the old one's name.
    fn compact(&mut self) -> Result<(), JournalError> {
        let dropped = self.lines.len().saturating_sub(KEPT_LINES);
        let note = Record {
            schema: SCHEMA,
            id: self.ledger.last_id().saturating_add(1),
            time_unix_ms: now_unix_ms(),
            boot_id: self.boot.clone(),
            actor: self.actor.clone(),
            body: Body::Compacted {
                dropped: dropped as u64,
            },
        };
        let mut content = Vec::new();
        for line in &self.lines[dropped..] {
            content.extend_from_slice(line);
            content.push(b'\n');
        }
        let line = note.to_line().map_err(|source| JournalError::Encode {
            what: "a compaction".to_owned(),
            source,
        })?;
        content.extend_from_slice(line.as_bytes());
        let parent = self.path.parent().unwrap_or(&self.path).to_owned();
        let _ = rustix::fs::unlinkat(&self.directory, NEW_NAME, AtFlags::empty());
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let file = open_file(&self.directory, &parent, NEW_NAME, flags)?;
        write_all_at(&file, &content, 0)
            .and_then(|()| rustix::fs::fsync(&file))
            .and_then(|()| rustix::fs::renameat(&self.directory, NEW_NAME, &self.directory, NAME))
            .map_err(|errno| self.write_error(errno))?;
        sync(&self.directory, &parent)?;
        let replay = Replay::of(&content);
        self.file = file;
        self.end = replay.good_end;
        self.losses = replay.losses(Some(&self.boot));
        self.ledger = replay.ledger;
        Ok(())
    }

    fn write_error(&self, errno: Errno) -> JournalError {
        JournalError::Write {
            path: self.path.clone(),
            source: errno.into(),
        }
    }
}

fn read_all(file: &OwnedFd, path: &Path) -> Result<Vec<u8>, JournalError> {
    let error = |errno: Errno| JournalError::Read {
        path: path.to_owned(),
        source: errno.into(),
    };
    let size = rustix::fs::fstat(file).map_err(error)?.st_size;
    let size = u64::try_from(size).unwrap_or(u64::MAX);
    if size > LARGEST {
        return Err(JournalError::TooLarge {
            path: path.to_owned(),
            bytes: size,
            most: LARGEST,
        });
    }
    let mut content = vec![0; usize::try_from(size).unwrap_or(0)];
    let mut filled = 0;
    while filled < content.len() {
        match rustix::io::pread(file, &mut content[filled..], filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(error(errno)),
        }
    }
    content.truncate(filled);
    Ok(content)
}

fn write_all_at(file: &OwnedFd, bytes: &[u8], offset: u64) -> Result<(), Errno> {
    let mut written = 0;
    while written < bytes.len() {
        match rustix::io::pwrite(file, &bytes[written..], offset + written as u64) {
            Ok(0) => return Err(Errno::NOSPC),
            Ok(count) => written += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn sync(directory: &OwnedFd, path: &Path) -> Result<(), JournalError> {
    rustix::fs::fsync(directory).map_err(|errno| JournalError::Write {
        path: path.to_owned(),
        source: errno.into(),
    })
}

fn now_unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Reasons come from people: at most 512 characters of them are kept.
fn clip(text: &str) -> String {
    text.chars().take(512).collect()
}
