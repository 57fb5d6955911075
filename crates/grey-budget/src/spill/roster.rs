//! Which keys have records in a segment, written beside it: a copy of the
//! segment's header, then for each record its key's hash, where it begins and
//! how long it is, each with a checksum.
//!
//! It is written before the records that it names, so that what is damaged in a
//! segment is known by its keys: those lose their values, and no other key
//! does. It is read only then, and when a segment is written on.
//!
//! When what was named so far is in the segment for good, because it was synced
//! or the store was closed, a mark says so: an entry without a length. What is
//! named before a mark and is not in the segment was lost; what is named after
//! the last one may never have been written.
//!
//! Never says where a value is: that is read from the segment alone.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::SpillError;
use super::format::{ALIGNMENT, FileHeader, HEADER, Link};
use super::key_hash::Salt;
use crate::disk::{Disk, DiskFile};

/// How long the entry of a record is.
pub(super) const ENTRY: usize = 28;

/// Entries that are written or read in one piece.
const AT_ONCE: usize = 512;

/// What writing a roster needs of the heap.
pub(super) const ROSTER_BUFFER: usize = ENTRY * AT_ONCE;

/// The file of a segment's roster.
pub(super) fn roster_path(segment: &Path) -> PathBuf {
    segment.with_extension("keys")
}

/// One record of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) hash: [u64; 2],
    /// Where the record begins.
    pub(super) at: u64,
    /// Its length with its header.
    pub(super) length: u32,
}

impl Named {
    const fn end(&self) -> u64 {
        self.at + self.length as u64
    }

    fn encode(&self, salt: Salt, segment: u32) -> [u8; ENTRY] {
        let mut bytes = [0; ENTRY];
        let slot = u32::try_from(self.at / ALIGNMENT).unwrap_or(u32::MAX);
        bytes[..8].copy_from_slice(&self.hash[0].to_le_bytes());
        bytes[8..16].copy_from_slice(&self.hash[1].to_le_bytes());
        bytes[16..20].copy_from_slice(&slot.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.length.to_le_bytes());
        let checksum = checksum(salt, segment, &bytes[..24]);
        bytes[24..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The entry in `bytes`, if it is one of this segment.
    fn decode(bytes: &[u8], salt: Salt, segment: u32) -> Option<Self> {
        let (content, sum) = bytes.split_at_checked(24)?;
        if checksum(salt, segment, content).to_le_bytes() != sum {
            return None;
        }
        let word = |at: usize| Some(u32::from_le_bytes(*content.get(at..)?.first_chunk()?));
        let half = |at: usize| Some(u64::from_le_bytes(*content.get(at..)?.first_chunk()?));
        Some(Self {
            hash: [half(0)?, half(8)?],
            at: u64::from(word(16)?) * ALIGNMENT,
            length: word(20)?,
        })
    }
}

fn checksum(salt: Salt, segment: u32, content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.0[1].to_le_bytes());
    hasher.update(&segment.to_le_bytes());
    hasher.update(content);
    hasher.finalize()
}

/// The roster of the segment that is written.
#[derive(Debug)]
pub(super) struct Roster {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    salt: Salt,
    segment: u32,
}

impl Roster {
    /// Begins the roster of a new segment.
    pub(super) fn create(
        disk: &dyn Disk,
        segment: &Path,
        header: &FileHeader,
    ) -> Result<Arc<Self>, SpillError> {
        let path = roster_path(segment);
        let failed = |error| SpillError::of_io("begin the list of keys", &path, error);
        let file = disk.create(&path).map_err(failed)?;
        if let Err(error) = file.write_at(&header.encode(), 0) {
            let error = failed(error);
            remove(disk, segment);
            return Err(error);
        }
        Ok(Arc::new(Self {
            path,
            file,
            salt: header.salt,
            segment: header.segment,
        }))
    }

    /// Goes on with the roster of a segment that ends at `end`, and where in
    /// the roster. `None` when there is none that names all its records: then
    /// another segment is begun.
    pub(super) fn resume(
        disk: &dyn Disk,
        segment: &Path,
        id: NonZeroU32,
        salt: Salt,
        end: u64,
    ) -> Option<(Arc<Self>, u64)> {
        let list = List::read(disk, segment, id, salt)?;
        let known = list.named.partition_point(|named| named.end() <= end);
        if list.end_of(known) != end {
            return None;
        }
        let length = (HEADER + known * ENTRY) as u64;
        let path = roster_path(segment);
        let file = disk.open(&path).ok()?;
        file.truncate(length).ok()?;
        let segment = id.get();
        let roster = Self {
            path,
            file,
            salt,
            segment,
        };
        Some((Arc::new(roster), length))
    }

    /// Names records that begin at `at` in the segment and follow each other,
    /// from `end` on in the roster; how many bytes that took. `buffer` holds
    /// [`ROSTER_BUFFER`].
    pub(super) fn name(
        &self,
        end: u64,
        mut at: u64,
        records: impl Iterator<Item = Link>,
        buffer: &mut [u8],
    ) -> Result<u64, SpillError> {
        let (mut written, mut filled) = (0, 0);
        for Link { hash, length } in records {
            let named = Named { hash, at, length };
            at = named.end();
            let bytes = named.encode(self.salt, self.segment);
            buffer[filled..filled + ENTRY].copy_from_slice(&bytes);
            filled += ENTRY;
            if filled + ENTRY > buffer.len() {
                written += self.write(&buffer[..filled], end + written)?;
                filled = 0;
            }
        }
        written += self.write(&buffer[..filled], end + written)?;
        Ok(written)
    }

    /// Notes that the segment is whole up to `segment_end`, at `end` in the
    /// roster; how many bytes that took.
    pub(super) fn mark(&self, end: u64, segment_end: u64) -> Result<u64, SpillError> {
        let mark = Named {
            hash: [0; 2],
            at: segment_end,
            length: 0,
        };
        self.write(&mark.encode(self.salt, self.segment), end)
    }

    fn write(&self, bytes: &[u8], at: u64) -> Result<u64, SpillError> {
        if !bytes.is_empty() {
            self.file
                .write_at(bytes, at)
                .map_err(|error| SpillError::of_io("write to", &self.path, error))?;
        }
        Ok(bytes.len() as u64)
    }

    /// Cuts off what was not kept.
    pub(super) fn cut(&self, end: u64) -> std::io::Result<()> {
        if self.file.length()? > end {
            self.file.truncate(end)?;
        }
        Ok(())
    }

    /// Waits until it is on the disk.
    pub(super) fn sync(&self) -> Result<(), SpillError> {
        self.file
            .sync()
            .map_err(|error| SpillError::of_io("sync", &self.path, error))
    }
}

/// A roster goes with its segment. One that cannot be removed goes when a store
/// is opened there again.
pub(super) fn remove(disk: &dyn Disk, segment: &Path) {
    let path = roster_path(segment);
    match disk.remove(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "failed to remove the list of keys of a spill segment");
        }
    }
}

/// What a roster says.
#[derive(Debug)]
pub(super) struct List {
    /// Its records without a gap, up to where the roster is damaged or ends.
    named: Vec<Named>,
    /// Whether all that was written into the roster could be read.
    is_whole: bool,
}

impl List {
    /// Reads the roster of a segment of this store; `None` when there is none,
    /// or its head is damaged.
    pub(super) fn read(
        disk: &dyn Disk,
        segment: &Path,
        id: NonZeroU32,
        salt: Salt,
    ) -> Option<Self> {
        let file = disk.open(&roster_path(segment)).ok()?;
        head(&*file).filter(|header| header.segment == id.get() && header.salt == salt)?;
        let mut list = Self {
            named: Vec::new(),
            is_whole: true,
        };
        let mut buffer = [0; ROSTER_BUFFER];
        let mut at = HEADER as u64;
        loop {
            let read = file.read_at(&mut buffer, at).ok()?;
            for bytes in buffer[..read].chunks_exact(ENTRY) {
                let end = list.end_of(list.named.len());
                let named = Named::decode(bytes, salt, id.get()).filter(|named| named.at == end);
                let Some(named) = named else {
                    list.is_whole = false;
                    return Some(list);
                };
                list.named.push(named);
            }
            if read < buffer.len() {
                // An entry that was still being written has no record.
                return Some(list);
            }
            at += read as u64;
        }
    }

    /// Where the first `count` records end.
    fn end_of(&self, count: usize) -> u64 {
        count
            .checked_sub(1)
            .map_or(HEADER as u64, |last| self.named[last].end())
    }

    /// Up to where the segment was whole when that was noted last.
    pub(super) fn marked(&self) -> u64 {
        let mut marks = self.named.iter().rev().filter(|named| named.length == 0);
        marks.next().map_or(HEADER as u64, |mark| mark.at)
    }

    /// All records between two places in the segment, in order, and marks; up to
    /// the end when `to` is `None`. `None` when the roster does not know them all.
    pub(super) fn between(&self, from: u64, to: Option<u64>) -> Option<&[Named]> {
        let first = self.named.partition_point(|named| named.at < from);
        if self.end_of(first) != from {
            return None;
        }
        let last = match to {
            None if self.is_whole => self.named.len(),
            None => return None,
            Some(to) => {
                let last = self.named.partition_point(|named| named.at < to);
                if self.end_of(last) != to {
                    return None;
                }
                last
            }
        };
        self.named.get(first..last)
    }
}

/// The copy of the segment's header.
fn head(file: &dyn DiskFile) -> Option<FileHeader> {
    let mut bytes = [0; HEADER];
    let read = file.read_at(&mut bytes, 0).ok()?;
    (read == HEADER)
        .then(|| FileHeader::decode(&bytes).ok())
        .flatten()
}

/// The header of a segment whose own is damaged.
pub(super) fn header_of(disk: &dyn Disk, segment: &Path) -> Option<FileHeader> {
    head(&*disk.open(&roster_path(segment)).ok()?)
}
