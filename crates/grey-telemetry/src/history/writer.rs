//! Writes history: each sample at once into the tail, and a long tail into a
//! block of a shard.
//!
//! Never changes what was written: a shard is only appended to, and behind
//! something damaged a new one begins. The oldest shards go when they are too
//! old or all together too large: see `prune.rs`.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use grey_model::Sample;
use rustix::fs::{Mode, OFlags};

use super::directory::{Locked, NEW_TAIL, Shard, TAIL};
use super::dump::DumpFolder;
use super::error::{HistoryError, Loss};
use super::open_tail::{Need, OpenTail};
use super::prune::{Bounds, prune};
use super::reader::{History, all_shards};
use super::recover::{block_of, recover};
use super::tail;

/// How history is kept.
#[derive(Debug, Clone)]
pub struct HistoryOptions {
    /// The most bytes of all shards, dumps and damaged tails together, as they lie
    /// on the disk; the oldest go first. The shard that is being written, the
    /// newest dump, and the tail, which is a few MiB at most, stay.
    pub max_bytes: u64,
    /// Shards whose day, dumps whose end and damaged tails whose last write is
    /// longer ago than this go: before the sample that is
    /// being written or the one before it, whichever is earlier. A clock that is
    /// wrong for a moment, or when the history is opened, makes nothing too old.
    pub max_age: Duration,
    /// After so many samples the tail becomes a block.
    pub samples_per_block: u32,
    /// After so many bytes of encoded samples it does, too.
    pub bytes_per_block: usize,
    /// After so many samples the tail is written through to the disk: what a
    /// power cut can cost. A killed recorder loses nothing.
    pub samples_per_sync: u32,
    /// After so many samples one in the tail is whole in itself: what a damaged
    /// byte in it can cost.
    pub samples_per_stretch: u32,
}

impl Default for HistoryOptions {
    /// 512 MiB, 30 days, blocks of 1,800 samples or 1 MiB, synced each 30,
    /// stretches of 60.
    fn default() -> Self {
        Self {
            max_bytes: 512 << 20,
            max_age: Duration::from_secs(30 * 24 * 3600),
            samples_per_block: 1800,
            bytes_per_block: 1 << 20,
            samples_per_sync: 30,
            samples_per_stretch: 60,
        }
    }
}

/// A shard that is longer than this gets no more blocks.
pub(super) const LONGEST_SHARD: u64 = 64 << 20;

/// Writes history into a directory that nobody else writes to.
#[derive(Debug)]
pub struct HistoryWriter {
    directory: Locked,
    options: HistoryOptions,
    /// The shard that blocks are appended to, once there is one.
    shard: Option<(Shard, File)>,
    tail: Option<OpenTail>,
    next: u64,
    recovered: u64,
    set_aside: Option<PathBuf>,
    losses: Vec<Loss>,
    trouble: Option<HistoryError>,
}

impl HistoryWriter {
    /// Opens the history in `path`, which is made where there is none, and puts
    /// what an earlier recorder left in the tail into a block.
    ///
    /// # Errors
    /// [`HistoryError`] when the directory cannot be used, somebody else writes
    /// there, or a newer version has.
    pub fn open(path: &Path, options: HistoryOptions) -> Result<Self, HistoryError> {
        let mut writer = Self {
            directory: Locked::new(path)?,
            options,
            shard: None,
            tail: None,
            next: 0,
            recovered: 0,
            set_aside: None,
            losses: Vec::new(),
            trouble: None,
        };
        let history = History::open_whole(path)?;
        if let Some(newer) = history.newer().first() {
            return Err(HistoryError::Newer {
                path: newer.path.clone(),
                version: newer.format,
            });
        }
        writer.next = history.end();
        writer.losses = history.losses().to_vec();
        recover(&mut writer, &history)?;
        // No sample tells the time yet, and the clock may not be set.
        writer.prune(None)?;
        Ok(writer)
    }

    /// How many samples of an earlier recorder's tail were kept at the opening.
    #[must_use]
    pub const fn recovered(&self) -> u64 {
        self.recovered
    }

    /// Where the tail of an earlier recorder was put that could not be read
    /// whole; what was good in it counts as [`recovered`](Self::recovered).
    #[must_use]
    pub fn damaged_tail(&self) -> Option<&Path> {
        self.set_aside.as_deref()
    }

    /// What of the history that was there at the opening cannot be read.
    #[must_use]
    pub fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// Where dumps go: for as long as this writer holds the lock.
    #[must_use]
    pub fn dump_folder(&self) -> DumpFolder {
        DumpFolder::new(self.directory.path())
    }

    /// What failed since the last call without costing a sample: a long tail
    /// that could not become a block yet, an old shard that could not be
    /// deleted.
    pub const fn take_trouble(&mut self) -> Option<HistoryError> {
        self.trouble.take()
    }

    /// Keeps a run of samples of an earlier recorder's tail.
    pub(super) fn add_recovered(&mut self, run: &[&(u64, Sample)]) -> Result<(), HistoryError> {
        let Some((_, first)) = run.first() else {
            return Ok(());
        };
        self.append_block(first.at_unix_ms, block_of(run))?;
        self.skip_to(run.last().map_or(0, |(number, _)| number + 1));
        self.recovered += run.len() as u64;
        Ok(())
    }

    /// No sample gets a number below this.
    pub(super) fn skip_to(&mut self, number: u64) {
        self.next = self.next.max(number);
    }

    /// Remembers where the damaged tail is now.
    pub(super) fn set_aside(&mut self, path: PathBuf) -> Result<(), HistoryError> {
        let synced = self.directory.sync();
        let synced = synced.map_err(HistoryError::file("set aside", &path));
        self.set_aside = Some(path);
        synced
    }

    /// Lets the next record find room for its first half alone, for tests.
    #[cfg(test)]
    pub(super) fn leave_little_room(&mut self) {
        if let Some(tail) = &mut self.tail {
            tail.leave_little_room();
        }
    }

    /// Gives the tail a file that has no room, for tests.
    #[cfg(test)]
    pub(super) fn break_tail(&mut self) {
        let full = fs::OpenOptions::new().write(true).open("/dev/full");
        if let (Some(tail), Ok(file)) = (&mut self.tail, full) {
            tail.break_file(file);
        }
    }

    /// Gives the shard a file that has no room, for tests. A new shard is begun
    /// after the next block has failed.
    #[cfg(test)]
    pub(super) fn break_shard(&mut self) {
        let full = fs::OpenOptions::new().write(true).open("/dev/full");
        if let (Some((_, shard)), Ok(file)) = (&mut self.shard, full) {
            *shard = file;
        }
    }

    /// How often the directory itself was written through to the disk.
    #[cfg(test)]
    pub(super) fn directory_syncs(&self) -> u32 {
        self.directory.syncs()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Keeps `sample`: when this returns, a kill loses nothing of it.
    ///
    /// A tail that has grown long, or is of another day, becomes a block first.
    /// Where that fails, as on a full disk, the sample goes into the tail all
    /// the same, and it is tried again later.
    ///
    /// # Errors
    /// [`HistoryError`] when it could not be written, as when the disk is full,
    /// or when it needs a new tail (another boot, a damaged or overlong tail)
    /// and the old one could not become a block; what was written before stays,
    /// and the next may be tried.
    pub fn append(&mut self, sample: &Sample) -> Result<(), HistoryError> {
        let needs = self
            .tail
            .as_ref()
            .map_or(Need::None, |tail| tail.needs(&self.options, sample));
        if needs != Need::None {
            // A clock that has just jumped ahead makes nothing too old.
            let before = self.tail.as_ref().map(OpenTail::last_unix_ms);
            let now = sample.at_unix_ms.min(before.unwrap_or(u64::MAX));
            match self.seal_tail() {
                Ok(()) => self.trouble = self.prune(Some(now)).err().or(self.trouble.take()),
                Err(error) if needs == Need::Must => return Err(error),
                // The tail goes on.
                Err(error) => self.trouble = Some(error),
            }
        }
        let number = self.next;
        let path = self.path(TAIL);
        let mut tail = match self.tail.take() {
            Some(tail) => tail,
            None => self.new_tail(sample)?,
        };
        let written = tail.append(number, sample, &self.options);
        // One that was written counts, although it may not be on the disk.
        self.next = tail.end();
        self.tail = Some(tail);
        written.map_err(HistoryError::file("write", &path))
    }

    fn new_tail(&self, sample: &Sample) -> Result<OpenTail, HistoryError> {
        let (new, path) = (self.path(NEW_TAIL), self.path(TAIL));
        let header = tail::header(&sample.boot);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let failed = || HistoryError::file("begin", &path);
        let mut file = rustix::fs::open(&new, flags, Mode::from_raw_mode(0o600))
            .map(File::from)
            .map_err(|errno| failed()(errno.into()))?;
        let named = file
            .write_all(&header)
            .and_then(|()| fs::rename(&new, &path));
        if let Err(error) = named {
            // It would only be in the way.
            let _ = fs::remove_file(&new);
            return Err(failed()(error));
        }
        // The name is on the disk before anything that is counted on.
        self.directory.sync().map_err(failed())?;
        Ok(OpenTail::new(file, self.next, sample))
    }

    /// Puts the tail into a block. The tail stays where it is until the next
    /// sample begins a new one: it is then known to be in the block.
    ///
    /// # Errors
    /// [`HistoryError`] when the block could not be written; the tail then
    /// goes on.
    pub fn seal(&mut self) -> Result<(), HistoryError> {
        self.seal_tail()?;
        self.prune(None)
    }

    fn seal_tail(&mut self) -> Result<(), HistoryError> {
        let Some(mut tail) = self.tail.take() else {
            return Ok(());
        };
        if tail.is_empty() {
            // Nothing in it, and nothing that the next one needs.
            return Ok(());
        }
        let sealed = self.append_block(tail.earliest_unix_ms(), tail.block());
        if sealed.is_err() {
            tail.put_off();
            self.tail = Some(tail);
        }
        sealed
    }

    /// Appends a block whose first sample was taken at `from_unix_ms`.
    fn append_block(
        &mut self,
        from_unix_ms: u64,
        block: io::Result<Vec<u8>>,
    ) -> Result<(), HistoryError> {
        let directory = self.directory.path().to_owned();
        let bytes = block.map_err(HistoryError::file("add to", &directory))?;
        let day = Shard::of(from_unix_ms);
        let (shard, file) = match self.shard.take() {
            Some((shard, file)) if shard.day == day.day => (shard, file),
            _ => self.new_shard(day)?,
        };
        let path = directory.join(shard.name());
        let failed = || HistoryError::file("add to", &path);
        let length = file.metadata().map_err(failed())?.len();
        let written = (&file).write_all(&bytes).and_then(|()| file.sync_data());
        if let Err(error) = written {
            // Half a block would only be in the way; if it stays, it is read over.
            match file.set_len(length) {
                // Nor would an empty one for each try be of use.
                Ok(()) if length == 0 => {
                    let _ = fs::remove_file(&path);
                }
                Ok(()) => self.shard = Some((shard, file)),
                Err(_) => {}
            }
            return Err(failed()(error));
        }
        if length + (bytes.len() as u64) < LONGEST_SHARD {
            self.shard = Some((shard, file));
        }
        Ok(())
    }

    /// A shard for the day of `wanted` that nobody has written to.
    fn new_shard(&self, wanted: Shard) -> Result<(Shard, File), HistoryError> {
        let there = all_shards(self.directory.path())?;
        let of_day = there.iter().filter(|shard| shard.day == wanted.day);
        let shard = Shard {
            part: of_day.map(|shard| shard.part + 1).max().unwrap_or_default(),
            ..wanted
        };
        let path = self.path(&shard.name());
        let flags =
            OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600))
            .map_err(io::Error::from)
            // The tail goes once the block is there: its name must be, too.
            .and_then(|file| self.directory.sync().map(|()| (shard, File::from(file))))
            .map_err(HistoryError::file("begin", &path))
    }

    fn prune(&self, now_unix_ms: Option<u64>) -> Result<(), HistoryError> {
        let bounds = Bounds {
            max_bytes: self.options.max_bytes,
            max_age: self.options.max_age,
            now_unix_ms,
            current: self.shard.as_ref().map(|(shard, _)| *shard),
        };
        prune(self.directory.path(), &bounds)
    }
}
