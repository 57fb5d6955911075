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

use grey_model::{BootId, Sample};
use rustix::fs::{Mode, OFlags};

use super::block::{self, Contents, LARGEST};
use super::codec::Encoder;
use super::directory::{Locked, NEW_TAIL, Shard, TAIL};
use super::dump::DumpFolder;
use super::error::{HistoryError, Loss};
use super::prune::{Bounds, prune};
use super::reader::{History, all_shards, read_bounded};
use super::tail;

/// How history is kept.
#[derive(Debug, Clone)]
pub struct HistoryOptions {
    /// The most bytes of all shards together; the first taken go first. The one
    /// that is being written stays.
    pub max_bytes: u64,
    /// Shards whose day is longer ago than this go: before the sample that is
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
}

impl Default for HistoryOptions {
    /// 512 MiB, 30 days, blocks of 1,800 samples or 1 MiB, synced each 30.
    fn default() -> Self {
        Self {
            max_bytes: 512 << 20,
            max_age: Duration::from_secs(30 * 24 * 3600),
            samples_per_block: 1800,
            bytes_per_block: 1 << 20,
            samples_per_sync: 30,
        }
    }
}

/// A shard that is longer than this gets no more blocks.
const LONGEST_SHARD: u64 = 64 << 20;

/// After a block could not be written, so many samples go on in the tail before
/// it is tried again: packing it costs time.
const SAMPLES_BEFORE_RETRY: u32 = 60;

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
    losses: Vec<Loss>,
    trouble: Option<HistoryError>,
}

/// The tail that is being written.
struct OpenTail {
    file: File,
    boot: BootId,
    encoder: Encoder,
    /// The samples' encodings, as the block will have them.
    plain: Vec<u8>,
    first: u64,
    count: u32,
    from_unix_ms: u64,
    until_unix_ms: u64,
    last_unix_ms: u64,
    since_boot_ms: u64,
    /// With so many samples it may be tried again to make it a block.
    seal_from: u32,
    /// How long the file is, up to the last whole record.
    length: u64,
    unsynced: u32,
    /// The file ends in half a record that could not be taken off.
    is_broken: bool,
    /// The next record finds room for its first half alone.
    #[cfg(test)]
    has_little_room: bool,
}

/// Whether the tail should become a block before the next sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    None,
    /// It is long, or of another day.
    Should,
    /// The sample cannot go into it.
    Must,
}

impl std::fmt::Debug for OpenTail {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("OpenTail")
            .field("first", &self.first)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
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
            losses: Vec::new(),
            trouble: None,
        };
        for shard in all_shards(path)? {
            let path = path.join(shard.name());
            if let Some(version) = History::newer(&path)? {
                return Err(HistoryError::Newer { path, version });
            }
        }
        let history = History::open(path)?;
        writer.next = history.end();
        writer.losses = history.losses().to_vec();
        writer.recover(&history)?;
        // No sample tells the time yet, and the clock may not be set.
        writer.prune(None)?;
        Ok(writer)
    }

    /// How many samples of an earlier recorder's tail were kept at the opening.
    #[must_use]
    pub const fn recovered(&self) -> u64 {
        self.recovered
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

    /// Seals the tail that is there.
    fn recover(&mut self, history: &History) -> Result<(), HistoryError> {
        let path = self.path(TAIL);
        let bytes = match read_bounded(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(HistoryError::file("read", &path)(error)),
        };
        let left = tail::parse(&bytes);
        if let Some(version) = left.newer {
            return Err(HistoryError::Newer { path, version });
        }
        let (Some(boot), Some((first, _))) = (&left.boot, left.samples.first()) else {
            return Ok(());
        };
        // A tail becomes a block whole, so its first sample tells of all.
        if *first < history.end() {
            return Ok(());
        }
        let plain: Vec<u8> = left
            .encoded
            .iter()
            .flat_map(|range| &bytes[range.clone()])
            .copied()
            .collect();
        let times = || left.samples.iter().map(|(_, sample)| sample.at_unix_ms);
        let count = u32::try_from(left.samples.len()).unwrap_or(u32::MAX);
        self.append_block(&Contents {
            plain: &plain,
            count,
            first: *first,
            from_unix_ms: times().min().unwrap_or_default(),
            until_unix_ms: times().max().unwrap_or_default(),
            boot,
        })?;
        self.next = *first + u64::from(count);
        self.recovered = count.into();
        Ok(())
    }

    /// Lets the next record find room for its first half alone, for tests.
    #[cfg(test)]
    pub(super) fn leave_little_room(&mut self) {
        if let Some(tail) = &mut self.tail {
            tail.has_little_room = true;
        }
    }

    /// Gives the tail a file that has no room, for tests.
    #[cfg(test)]
    pub(super) fn break_tail(&mut self) {
        let full = fs::OpenOptions::new().write(true).open("/dev/full");
        if let (Some(tail), Ok(file)) = (&mut self.tail, full) {
            tail.file = file;
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

    fn path(&self, name: &str) -> PathBuf {
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
            .map_or(Need::None, |tail| self.needs(tail, sample));
        if needs != Need::None {
            // A clock that has just jumped ahead makes nothing too old.
            let before = self.tail.as_ref().map(|tail| tail.last_unix_ms);
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
        let written = tail.append(number, sample, self.options.samples_per_sync);
        // One that was written counts, although it may not be on the disk.
        self.next = tail.first + u64::from(tail.count);
        self.tail = Some(tail);
        written.map_err(HistoryError::file("write", &path))
    }

    /// Whether a new tail should begin before `sample`.
    fn needs(&self, tail: &OpenTail, sample: &Sample) -> Need {
        if tail.count == 0 && !tail.is_broken && tail.boot == sample.boot {
            return Need::None;
        }
        if tail.is_broken
            || tail.boot != sample.boot
            || sample.since_boot_ms < tail.since_boot_ms
            || tail.plain.len() >= LARGEST / 2
            || tail.encoder.is_full()
        {
            return Need::Must;
        }
        let is_over = tail.count >= self.options.samples_per_block
            || tail.plain.len() >= self.options.bytes_per_block
            || Shard::of(tail.from_unix_ms).day != Shard::of(sample.at_unix_ms).day;
        if is_over && tail.count >= tail.seal_from {
            return Need::Should;
        }
        Need::None
    }

    fn new_tail(&self, sample: &Sample) -> Result<OpenTail, HistoryError> {
        let (new, path) = (self.path(NEW_TAIL), self.path(TAIL));
        let header = tail::header(&sample.boot);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let made = rustix::fs::open(&new, flags, Mode::from_raw_mode(0o600))
            .map_err(io::Error::from)
            .map(File::from)
            .and_then(|mut file| file.write_all(&header).map(|()| file))
            .and_then(|file| fs::rename(&new, &path).map(|()| file))
            // The name is on the disk before anything that is counted on.
            .and_then(|file| self.directory.sync().map(|()| file));
        let file = made.map_err(HistoryError::file("begin", &path))?;
        Ok(OpenTail {
            file,
            boot: sample.boot.clone(),
            encoder: Encoder::default(),
            plain: Vec::new(),
            first: self.next,
            count: 0,
            from_unix_ms: sample.at_unix_ms,
            until_unix_ms: sample.at_unix_ms,
            last_unix_ms: sample.at_unix_ms,
            since_boot_ms: sample.since_boot_ms,
            seal_from: 0,
            length: header.len() as u64,
            unsynced: 0,
            is_broken: false,
            #[cfg(test)]
            has_little_room: false,
        })
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
        if tail.count == 0 {
            // Nothing in it, and nothing that the next one needs.
            return Ok(());
        }
        let sealed = self.append_block(&Contents {
            plain: &tail.plain,
            count: tail.count,
            first: tail.first,
            from_unix_ms: tail.from_unix_ms,
            until_unix_ms: tail.until_unix_ms,
            boot: &tail.boot,
        });
        if sealed.is_err() {
            tail.seal_from = tail.count.saturating_add(SAMPLES_BEFORE_RETRY);
            self.tail = Some(tail);
        }
        sealed
    }

    fn append_block(&mut self, contents: &Contents<'_>) -> Result<(), HistoryError> {
        let directory = self.directory.path().to_owned();
        let bytes = block::seal(contents).map_err(HistoryError::file("add to", &directory))?;
        let day = Shard::of(contents.from_unix_ms);
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
            if file.set_len(length).is_ok() {
                self.shard = Some((shard, file));
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

impl OpenTail {
    fn write(&mut self, record: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        if std::mem::take(&mut self.has_little_room) {
            self.file.write_all(&record[..record.len() / 2])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_all(record)
    }

    fn append(&mut self, number: u64, sample: &Sample, samples_per_sync: u32) -> io::Result<()> {
        let begin = self.plain.len();
        self.encoder.put(&mut self.plain, sample);
        let mut record = Vec::with_capacity(self.plain.len() - begin + 16);
        tail::put_record(&mut record, number, &self.plain[begin..]);
        let written = if self.plain.len() > LARGEST {
            Err(io::Error::from(io::ErrorKind::FileTooLarge))
        } else {
            self.write(&record)
        };
        if let Err(error) = written {
            // As if it had never been: the next one is told in full.
            self.plain.truncate(begin);
            self.encoder = Encoder::default();
            let start = rustix::fs::SeekFrom::Start(self.length);
            self.is_broken = rustix::fs::ftruncate(&self.file, self.length)
                .and_then(|()| rustix::fs::seek(&self.file, start))
                .is_err();
            return Err(error);
        }
        self.length += record.len() as u64;
        self.count += 1;
        self.from_unix_ms = self.from_unix_ms.min(sample.at_unix_ms);
        self.until_unix_ms = self.until_unix_ms.max(sample.at_unix_ms);
        self.last_unix_ms = sample.at_unix_ms;
        self.since_boot_ms = sample.since_boot_ms;
        self.unsynced += 1;
        if self.unsynced >= samples_per_sync {
            self.unsynced = 0;
            self.file.sync_data()?;
        }
        Ok(())
    }
}
