//! Reads history: which samples there are, those of a time, and what is lost.
//!
//! Never locks, and never minds a recorder at work: the tail is read first, so
//! that a sample which moves meanwhile is found in one place or both, and is
//! given once.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use grey_model::Sample;

use super::block::{self, HEADER, Header, LARGEST};
use super::directory::{self, TAIL, open_to_read, shards};
use super::error::{HistoryError, Loss, NewerFile};
use super::files::{Fault, LONGEST_INDEXED, block_at, next_block, read_tail_file, written_unix_ms};
use super::repeated::{self, Given};
use super::tail::{Damage, Tail};

/// From when to when there are samples, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistorySpan {
    /// The earliest.
    pub from_unix_ms: u64,
    /// The latest.
    pub until_unix_ms: u64,
    /// How many.
    pub samples: u64,
}

/// Where a block lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) shard: usize,
    pub(super) payload_at: u64,
}

/// A block and where it lies.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) place: Place,
    pub(super) header: Header,
    /// Where the same block lies, too.
    pub(super) copies: Vec<Place>,
    /// Another block has samples of the same boot and the same numbers.
    pub(super) shares_numbers: bool,
}

/// What is said of a block that lies in the files twice.
const REPEATED: &str = "the same samples are there already, and are given once";

/// What is said of a block of which some samples are in another.
const SHARED: &str = "some of its samples are in another block, too, and are given once";

/// One shard's file.
#[derive(Debug)]
struct Opened {
    path: PathBuf,
    /// Of the first [`most_open`]; the others are opened when they are read.
    file: Option<File>,
}

/// So many shards stay open at the most, so that what grows too old while history
/// is read can still be read.
const MOST_OPEN: usize = if cfg!(test) { 2 } else { 256 };

/// The same where the process may have few files: a quarter of them.
fn most_open() -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let quarter = files.and_then(|files| usize::try_from(files / 4).ok());
    quarter.unwrap_or(MOST_OPEN).min(MOST_OPEN)
}

/// History in a directory, as it was when it was opened.
#[derive(Debug)]
pub struct History {
    shards: Vec<Opened>,
    most_open: usize,
    blocks: Vec<Found>,
    /// What of the tail is in no block.
    tail: Vec<Sample>,
    losses: Vec<Loss>,
    newer: Vec<NewerFile>,
}

/// Whether an error is one of the file, and not of who reads it.
fn is_of_the_file(error: &io::Error) -> bool {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        // It is no regular file.
        None => error.kind() == io::ErrorKind::Other,
        Some(errno) => [
            Errno::IO,
            Errno::LOOP,
            Errno::ISDIR,
            Errno::NXIO,
            Errno::UCLEAN,
        ]
        .contains(&errno),
    }
}

impl History {
    /// Opens the history in `path`: reads the tail and the headers of all
    /// blocks.
    ///
    /// # Errors
    /// [`HistoryError`] when there is no such directory, or a file of it cannot
    /// be read. What is damaged is no error: see [`Self::losses`].
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        Self::open_with(path, is_of_the_file)
    }

    /// The same for who goes on with it, and so must know all that is there.
    pub(super) fn open_whole(path: &Path) -> Result<Self, HistoryError> {
        Self::open_with(path, |_| false)
    }

    fn open_with(path: &Path, is_lost: fn(&io::Error) -> bool) -> Result<Self, HistoryError> {
        let mut history = Self {
            shards: Vec::new(),
            most_open: most_open(),
            blocks: Vec::new(),
            tail: Vec::new(),
            losses: Vec::new(),
            newer: Vec::new(),
        };
        let tail_path = path.join(TAIL);
        let tail = history.read_tail(&tail_path);
        let tail = history.unless_lost(&tail_path, tail, is_lost)?;
        for shard in shards(path)? {
            let path = path.join(shard.name());
            let indexed = history.index(&path);
            history.unless_lost(&path, indexed, is_lost)?;
        }
        history.settle();
        for damage in &tail.damage {
            history.lose_of_tail(&tail_path, damage, &tail);
        }
        let end = history.blocks.iter().map(|found| found.header.end()).max();
        let new = tail.samples.into_iter();
        history.tail = new
            .filter(|(number, _)| end.is_none_or(|end| *number >= end))
            .map(|(_, sample)| sample)
            .collect();
        Ok(history)
    }

    /// What is no file, or a file of a broken disk, is told as lost: the rest can
    /// be read. What is denied, and what the process has too few of, is an error.
    fn unless_lost<R: Default>(
        &mut self,
        path: &Path,
        read: Result<R, HistoryError>,
        is_lost: fn(&io::Error) -> bool,
    ) -> Result<R, HistoryError> {
        let source = match read {
            Err(HistoryError::File { source, .. }) if is_lost(&source) => source,
            read => return read,
        };
        self.losses.push(Loss {
            path: path.to_owned(),
            from_byte: 0,
            bytes: 0,
            reason: format!("it cannot be read: {source}"),
            samples: None,
            between_unix_ms: None,
        });
        Ok(R::default())
    }

    /// Puts the blocks into their order, and tells of those that are there twice.
    fn settle(&mut self) {
        for repeated in repeated::settle(&mut self.blocks) {
            self.losses.push(Loss {
                path: self.shards[repeated.shard].path.clone(),
                from_byte: repeated.bytes.start,
                bytes: repeated.bytes.end - repeated.bytes.start,
                reason: REPEATED.to_owned(),
                samples: Some(0),
                between_unix_ms: Some(repeated.between_unix_ms),
            });
        }
    }

    fn read_tail(&mut self, path: &Path) -> Result<Tail, HistoryError> {
        let tail = match read_tail_file(path) {
            Ok(tail) => tail,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Tail::default()),
            Err(error) => return Err(HistoryError::file("read", path)(error)),
        };
        if let Some((_, format)) = tail.newer {
            self.note_newer(path, format);
        }
        Ok(tail)
    }

    /// Tells of damage in the tail, unless what it held is in a block: a tail
    /// stays where it is until the next one begins.
    fn lose_of_tail(&mut self, path: &Path, damage: &Damage, tail: &Tail) {
        let numbers = damage.numbers.clone().or_else(|| {
            // It became a block whole.
            let (number, _) = tail.samples.first()?;
            Some(*number..number + 1)
        });
        let is_in_a_block = numbers.is_some_and(|numbers| {
            let mut headers = self.blocks.iter().map(|found| &found.header);
            headers.any(|header| header.first <= numbers.start && numbers.end <= header.end())
        });
        if is_in_a_block {
            return;
        }
        let lost = damage.numbers.as_ref();
        // At the end of the file nothing in it tells: it was before the last
        // write.
        let until = damage.until_unix_ms.or_else(|| written_unix_ms(path));
        self.losses.push(Loss {
            path: path.to_owned(),
            from_byte: damage.bytes.start as u64,
            bytes: damage.bytes.len() as u64,
            reason: damage.reason.to_owned(),
            samples: lost.map(|numbers| numbers.end.saturating_sub(numbers.start)),
            // The clock may have been set meanwhile.
            between_unix_ms: damage
                .from_unix_ms
                .zip(until)
                .map(|(from, until)| (from.min(until), from.max(until))),
        });
    }

    /// Once for each file.
    fn note_newer(&mut self, path: &Path, format: u16) {
        if self.newer.iter().all(|newer| newer.path != path) {
            self.newer.push(NewerFile {
                path: path.to_owned(),
                format,
            });
        }
    }

    /// Finds the blocks of one shard.
    fn index(&mut self, path: &Path) -> Result<(), HistoryError> {
        let file = match open_to_read(path) {
            Ok(file) => file,
            // It has grown too old meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(HistoryError::file("read", path)(error)),
        };
        let failed = || HistoryError::file("read", path);
        let whole = file.metadata().map_err(failed())?.len();
        let length = whole.min(LONGEST_INDEXED);
        if whole > length {
            self.losses.push(Loss {
                path: path.to_owned(),
                from_byte: length,
                bytes: whole - length,
                reason: "the file is longer than a shard can be: what is beyond was not read"
                    .to_owned(),
                samples: None,
                between_unix_ms: None,
            });
        }
        let mut at = 0;
        while at < length {
            match block_at(&file, at, length).map_err(failed())? {
                Ok(header) => {
                    let payload_at = at + HEADER as u64;
                    at = payload_at + u64::from(header.stored);
                    self.blocks.push(Found {
                        place: Place {
                            shard: self.shards.len(),
                            payload_at,
                        },
                        header,
                        copies: Vec::new(),
                        shares_numbers: false,
                    });
                }
                Err(fault) => {
                    let next = next_block(&file, at + 1, length).map_err(failed())?;
                    match fault {
                        Fault::Newer(format) => self.note_newer(path, format),
                        Fault::Damaged(reason) => self.losses.push(Loss {
                            path: path.to_owned(),
                            from_byte: at,
                            bytes: next - at,
                            reason: reason.to_owned(),
                            samples: None,
                            between_unix_ms: None,
                        }),
                    }
                    at = next;
                }
            }
        }
        self.shards.push(Opened {
            path: path.to_owned(),
            file: (self.shards.len() < self.most_open).then_some(file),
        });
        Ok(())
    }

    /// From when to when there are samples; `None` when there are none.
    #[must_use]
    pub fn span(&self) -> Option<HistorySpan> {
        let headers = self.blocks.iter().map(|found| &found.header);
        let blocks = headers.map(|header| {
            let count = u64::from(header.count);
            (header.from_unix_ms, header.until_unix_ms, count)
        });
        let tail = self
            .tail
            .iter()
            .map(|sample| (sample.at_unix_ms, sample.at_unix_ms, 1));
        blocks
            .chain(tail)
            .map(|(from_unix_ms, until_unix_ms, samples)| HistorySpan {
                from_unix_ms,
                until_unix_ms,
                samples,
            })
            .reduce(|one, other| HistorySpan {
                from_unix_ms: one.from_unix_ms.min(other.from_unix_ms),
                until_unix_ms: one.until_unix_ms.max(other.until_unix_ms),
                samples: one.samples + other.samples,
            })
    }

    /// What could not be read so far.
    #[must_use]
    pub fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// Which files a newer version has written. What is in them is not read, and
    /// is no loss.
    #[must_use]
    pub fn newer(&self) -> &[NewerFile] {
        &self.newer
    }

    /// Gives each sample from `from_unix_ms` to `until_unix_ms`, both included,
    /// to `each`, in the order in which they were taken, until it breaks. Their
    /// wall time may go back in that order, where the clock was set.
    ///
    /// # Errors
    /// [`HistoryError`] when a file cannot be read. A block that is damaged is
    /// no error: see [`Self::losses`].
    pub fn samples(
        &mut self,
        from_unix_ms: u64,
        until_unix_ms: u64,
        mut each: impl FnMut(Sample) -> ControlFlow<()>,
    ) -> Result<(), HistoryError> {
        let wanted = from_unix_ms..=until_unix_ms;
        let mut given = Given::default();
        for index in 0..self.blocks.len() {
            let header = &self.blocks[index].header;
            if header.until_unix_ms < from_unix_ms || header.from_unix_ms > until_unix_ms {
                continue;
            }
            let mut samples = self.block(index)?;
            let found = &self.blocks[index];
            if found.shares_numbers && given.take_out(&found.header.boot, &mut samples) {
                let loss = self.loss_of(index, SHARED, 0);
                self.lose(loss);
            }
            for sample in samples {
                if wanted.contains(&sample.at_unix_ms) && each(sample).is_break() {
                    return Ok(());
                }
            }
        }
        for sample in &self.tail {
            if wanted.contains(&sample.at_unix_ms) && each(sample.clone()).is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The sample with the latest wall time that is `unix_ms` or before; of
    /// several the last that was taken. `None` when there is none so early.
    ///
    /// # Errors
    /// [`HistoryError`] when a file cannot be read.
    pub fn at(&mut self, unix_ms: u64) -> Result<Option<Sample>, HistoryError> {
        let latest = |samples: &[Sample]| {
            let wanted = samples.iter().filter(|sample| sample.at_unix_ms <= unix_ms);
            // The last of those that are equal.
            wanted.max_by_key(|sample| sample.at_unix_ms).cloned()
        };
        let mut best = latest(&self.tail);
        for index in (0..self.blocks.len()).rev() {
            let header = &self.blocks[index].header;
            let at_best = header.until_unix_ms.min(unix_ms);
            let is_beaten = best.as_ref().is_some_and(|best| at_best <= best.at_unix_ms);
            if header.from_unix_ms > unix_ms || is_beaten {
                continue;
            }
            let found = latest(&self.block(index)?);
            let best_at = best.as_ref().map(|best| best.at_unix_ms);
            if found.as_ref().map(|found| found.at_unix_ms) > best_at {
                best = found;
            }
        }
        Ok(best)
    }

    /// The sample that was taken last, whatever the clock said; `None` when there
    /// is none that can be read.
    ///
    /// # Errors
    /// [`HistoryError`] when a file cannot be read.
    pub fn last(&mut self) -> Result<Option<Sample>, HistoryError> {
        let mut last = self.tail.last().cloned();
        for index in (0..self.blocks.len()).rev() {
            if last.is_some() {
                break;
            }
            last = self.block(index)?.pop();
        }
        Ok(last)
    }

    /// The samples of one block; none when it is damaged wherever it lies, which
    /// is told.
    fn block(&mut self, index: usize) -> Result<Vec<Sample>, HistoryError> {
        let found = &self.blocks[index];
        for place in std::iter::once(&found.place).chain(&found.copies) {
            let Some(payload) = self.payload(*place, &found.header)? else {
                // It has grown too old meanwhile.
                return Ok(Vec::new());
            };
            if let Some(samples) = block::open(&found.header, &payload) {
                return Ok(samples);
            }
        }
        let loss = self.loss_of(index, "a block is damaged", found.header.count.into());
        self.lose(loss);
        Ok(Vec::new())
    }

    /// The bytes of a block; `None` when its file is there no more.
    fn payload(&self, place: Place, header: &Header) -> Result<Option<Vec<u8>>, HistoryError> {
        let shard = &self.shards[place.shard];
        let length = usize::try_from(header.stored).unwrap_or(usize::MAX);
        let mut payload = vec![0; length.min(LARGEST)];
        let opened;
        let file = match &shard.file {
            Some(file) => file,
            None => match open_to_read(&shard.path) {
                Ok(file) => {
                    opened = file;
                    &opened
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(HistoryError::file("read", &shard.path)(error)),
            },
        };
        file.read_exact_at(&mut payload, place.payload_at)
            .map_err(HistoryError::file("read", &shard.path))?;
        Ok(Some(payload))
    }

    fn loss_of(&self, index: usize, reason: &str, samples: u64) -> Loss {
        let Found { place, header, .. } = &self.blocks[index];
        Loss {
            path: self.shards[place.shard].path.clone(),
            from_byte: place.payload_at,
            bytes: header.stored.into(),
            reason: reason.to_owned(),
            samples: Some(samples),
            between_unix_ms: Some((header.from_unix_ms, header.until_unix_ms)),
        }
    }

    /// Tells of `loss`, once.
    fn lose(&mut self, loss: Loss) {
        if !self.losses.contains(&loss) {
            self.losses.push(loss);
        }
    }

    /// The number that the next sample takes.
    pub(super) fn end(&self) -> u64 {
        let ends = self.blocks.iter().map(|found| found.header.end());
        ends.max().unwrap_or_default()
    }
}

/// The shards' names, for the writer.
pub(super) use directory::shards as all_shards;
