//! The tail that is being written: a record for each sample, and now and then
//! a sample that is whole in itself, so that damage before it does not matter.
//!
//! Never leaves half a record behind that it could take off again.

use std::fs::File;
use std::io::{self, Write as _};

use grey_model::{BootId, Sample};

use super::block::{self, Contents, LARGEST};
use super::codec::{Encoder, told_once};
use super::directory::Shard;
use super::tail;
use super::writer::HistoryOptions;

/// After a block could not be written, so many samples go on in the tail before
/// it is tried again: packing it costs time.
const SAMPLES_BEFORE_RETRY: u32 = 60;

/// Whether the tail should become a block before the next sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    None,
    /// It is long, or of another day.
    Should,
    /// The sample cannot go into it.
    Must,
}

/// The tail that is being written.
pub(super) struct OpenTail {
    file: File,
    boot: BootId,
    encoder: Encoder,
    /// The samples' encodings, as they are in the file.
    plain: Vec<u8>,
    first: u64,
    count: u32,
    from_unix_ms: u64,
    until_unix_ms: u64,
    last_unix_ms: u64,
    since_boot_ms: u64,
    /// How many samples there are since one that is whole in itself; `None`
    /// when the next one must be.
    since_whole: Option<u32>,
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

impl std::fmt::Debug for OpenTail {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("OpenTail")
            .field("first", &self.first)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl OpenTail {
    /// A tail in `file`, which holds a header and nothing else. Its first sample
    /// will be `sample`, with the number `first`.
    pub(super) fn new(file: File, first: u64, sample: &Sample) -> Self {
        Self {
            file,
            boot: sample.boot.clone(),
            encoder: Encoder::default(),
            plain: Vec::new(),
            first,
            count: 0,
            from_unix_ms: sample.at_unix_ms,
            until_unix_ms: sample.at_unix_ms,
            last_unix_ms: sample.at_unix_ms,
            since_boot_ms: sample.since_boot_ms,
            since_whole: Some(0),
            seal_from: 0,
            length: tail::HEADER as u64,
            unsynced: 0,
            is_broken: false,
            #[cfg(test)]
            has_little_room: false,
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The number that the next sample takes.
    pub(super) fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    /// When its last sample was taken, in milliseconds since 1970.
    pub(super) const fn last_unix_ms(&self) -> u64 {
        self.last_unix_ms
    }

    /// It did not become a block: that is tried again after some more samples.
    pub(super) const fn put_off(&mut self) {
        self.seal_from = self.count.saturating_add(SAMPLES_BEFORE_RETRY);
    }

    /// Whether a new tail should begin before `sample`.
    pub(super) fn needs(&self, options: &HistoryOptions, sample: &Sample) -> Need {
        if self.is_empty() && !self.is_broken && self.boot == sample.boot {
            return Need::None;
        }
        if self.is_broken
            || self.boot != sample.boot
            || sample.since_boot_ms < self.since_boot_ms
            || self.plain.len() >= LARGEST / 2
            || self.encoder.is_full()
        {
            return Need::Must;
        }
        let is_over = self.count >= options.samples_per_block
            || self.plain.len() >= options.bytes_per_block
            || Shard::of(self.from_unix_ms).day != Shard::of(sample.at_unix_ms).day;
        if is_over && self.count >= self.seal_from {
            return Need::Should;
        }
        Need::None
    }

    /// All of it as one block.
    ///
    /// # Errors
    /// The packer's.
    pub(super) fn block(&self) -> io::Result<Vec<u8>> {
        // In a block, which is read whole or not at all, samples that are whole
        // in themselves would only take room.
        let shorter = told_once(&self.boot, &self.plain);
        block::seal(&Contents {
            plain: shorter.as_deref().unwrap_or(&self.plain),
            count: self.count,
            first: self.first,
            from_unix_ms: self.from_unix_ms,
            until_unix_ms: self.until_unix_ms,
            boot: &self.boot,
        })
    }

    /// The earliest of its samples, in milliseconds since 1970.
    pub(super) const fn earliest_unix_ms(&self) -> u64 {
        self.from_unix_ms
    }

    /// Writes `sample` with its `number`.
    ///
    /// # Errors
    /// The system's; then it is as if it had never been, or
    /// [`needs`](Self::needs) says that a new tail must begin.
    pub(super) fn append(
        &mut self,
        number: u64,
        sample: &Sample,
        options: &HistoryOptions,
    ) -> io::Result<()> {
        let begin = self.plain.len();
        let mut record = Vec::new();
        let since_whole = match self.since_whole {
            Some(since) if since < options.samples_per_stretch.max(1) => since,
            _ => {
                record = tail::header(&self.boot);
                self.encoder = Encoder::default();
                0
            }
        };
        self.encoder.put(&mut self.plain, sample);
        tail::put_record(&mut record, number, sample.at_unix_ms, &self.plain[begin..]);
        let written = if self.plain.len() > LARGEST {
            Err(io::Error::from(io::ErrorKind::FileTooLarge))
        } else {
            self.write(&record)
        };
        if let Err(error) = written {
            // As if it had never been: the next one is told in full.
            self.plain.truncate(begin);
            self.since_whole = None;
            let start = rustix::fs::SeekFrom::Start(self.length);
            self.is_broken = rustix::fs::ftruncate(&self.file, self.length)
                .and_then(|()| rustix::fs::seek(&self.file, start))
                .is_err();
            return Err(error);
        }
        self.since_whole = Some(since_whole + 1);
        self.length += record.len() as u64;
        self.count += 1;
        self.from_unix_ms = self.from_unix_ms.min(sample.at_unix_ms);
        self.until_unix_ms = self.until_unix_ms.max(sample.at_unix_ms);
        self.last_unix_ms = sample.at_unix_ms;
        self.since_boot_ms = sample.since_boot_ms;
        self.unsynced += 1;
        if self.unsynced >= options.samples_per_sync {
            self.unsynced = 0;
            self.file.sync_data()?;
        }
        Ok(())
    }

    fn write(&mut self, record: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        if std::mem::take(&mut self.has_little_room) {
            self.file.write_all(&record[..record.len() / 2])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_all(record)
    }

    /// Lets the next record find room for its first half alone, for tests.
    #[cfg(test)]
    pub(super) fn leave_little_room(&mut self) {
        self.has_little_room = true;
    }

    /// Gives it a file that has no room, for tests.
    #[cfg(test)]
    pub(super) fn break_file(&mut self, full: File) {
        self.file = full;
    }
}
