//! Segment files, and reading records out of them through a window.
//!
//! Never gives bytes back whose checksum does not hold, and needs no more
//! memory than its window and the value.

use std::io;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use super::codec::{BLOCK, BLOCK_PREFIX, Decoder, STORED_BLOCK};
use super::error::SpillError;
use super::format::{Codec, HEADER, Kind, RecordHeader};
use super::index::Location;
use super::key_hash::Salt;
use super::options::{MOST_KEY_BYTES, MOST_VALUE_BYTES};
use crate::disk::DiskFile;

/// What is read at once. Holds the longest key, or the longest stored block.
pub(super) const WINDOW: usize = 128 << 10;

/// A segment that is open. Its file can be read as long as anybody holds it,
/// even after it was collected.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) id: NonZeroU32,
    pub(super) path: PathBuf,
    pub(super) file: Box<dyn DiskFile>,
}

/// A part of a segment that was read.
#[derive(Debug)]
pub(super) struct Window {
    bytes: Box<[u8]>,
    segment: Option<NonZeroU32>,
    start: u64,
    filled: usize,
}

impl Window {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; WINDOW].into_boxed_slice(),
            segment: None,
            start: 0,
            filled: 0,
        }
    }

    /// Forgets what was read.
    pub(super) fn clear(&mut self) {
        self.segment = None;
    }

    /// `length` bytes from `offset` on, at most [`WINDOW`]; fewer at the
    /// file's end. With `ahead` as much as fits is read, for whoever goes on
    /// reading there.
    pub(super) fn get(
        &mut self,
        segment: &Segment,
        offset: u64,
        length: usize,
        ahead: usize,
    ) -> io::Result<&[u8]> {
        let length = length.min(WINDOW);
        let inside = (self.segment == Some(segment.id))
            .then(|| offset.checked_sub(self.start))
            .flatten()
            .and_then(|skip| usize::try_from(skip).ok())
            .filter(|skip| skip + length <= self.filled);
        let skip = if let Some(skip) = inside {
            skip
        } else {
            self.segment = None;
            let wanted = length.max(ahead.min(WINDOW));
            self.filled = segment.file.read_at(&mut self.bytes[..wanted], offset)?;
            self.start = offset;
            self.segment = Some(segment.id);
            0
        };
        Ok(&self.bytes[skip..self.filled.min(skip + length)])
    }
}

/// A value with what its record says.
pub(super) struct Found {
    pub(super) header: RecordHeader,
    pub(super) value: Arc<[u8]>,
}

/// What a reader needs; kept for the next one.
#[derive(Debug)]
pub(super) struct Scratch {
    pub(super) window: Window,
    decoder: Decoder,
}

impl Scratch {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            window: Window::new(),
            decoder: Decoder::new()?,
        })
    }

    /// Reads the record at `location`. `is_wanted` sees its project and its
    /// key; `None` when it does not want them. What it saw is to be trusted
    /// only when a value comes back.
    pub(super) fn read(
        &mut self,
        segment: &Segment,
        salt: Salt,
        location: Location,
        ahead: usize,
        is_wanted: impl FnOnce(&[u8], &[u8]) -> bool,
    ) -> Result<Option<Found>, SpillError> {
        let offset = location.offset();
        let failed = |error| SpillError::of_io("read from the spill segment", &segment.path, error);
        let damaged = |what| SpillError::Damaged {
            path: segment.path.clone(),
            offset,
            what,
        };
        let whole = usize::try_from(location.length).map_err(|_| damaged("it is too long"))?;
        let bytes = self
            .window
            .get(segment, offset, whole, ahead)
            .map_err(failed)?;
        let header = bytes
            .first_chunk::<HEADER>()
            .and_then(|bytes| RecordHeader::decode(bytes, salt, segment.id.get(), offset))
            .filter(|header| is_sound(header, location))
            .ok_or_else(|| damaged("its header is damaged"))?;
        let project_end = HEADER + usize::from(header.project_length);
        let head = project_end + header.key_length as usize;
        if bytes.len() < head.max(whole.min(WINDOW)) {
            return Err(damaged("the segment is cut"));
        }
        if !is_wanted(&bytes[HEADER..project_end], &bytes[project_end..head]) {
            return Ok(None);
        }
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&bytes[HEADER..head]);
        let stored_at = offset + head as u64;
        let value = match header.codec {
            Codec::Raw if whole <= WINDOW => {
                let stored = &bytes[head..head + header.stored_length as usize];
                checksum.update(stored);
                Arc::from(stored)
            }
            Codec::Raw => {
                let mut value = zeros(header.value_length);
                let out = Arc::get_mut(&mut value).expect("nobody else has it yet");
                let read = segment.file.read_at(out, stored_at).map_err(failed)?;
                if read < out.len() {
                    return Err(damaged("the segment is cut"));
                }
                checksum.update(out);
                value
            }
            Codec::Lz4 | Codec::Zstd => self
                .read_blocks(segment, &header, stored_at, &mut checksum)
                .map_err(failed)?
                .ok_or_else(|| damaged("its blocks are damaged"))?,
        };
        if checksum.finalize() != header.body_checksum {
            return Err(damaged("its checksum does not hold"));
        }
        Ok(Some(Found { header, value }))
    }

    fn read_blocks(
        &mut self,
        segment: &Segment,
        header: &RecordHeader,
        stored_at: u64,
        checksum: &mut crc32fast::Hasher,
    ) -> io::Result<Option<Arc<[u8]>>> {
        let mut value = zeros(header.value_length);
        let out = Arc::get_mut(&mut value).expect("nobody else has it yet");
        let mut at = stored_at;
        let mut left = header.stored_length as usize;
        for block in out.chunks_mut(BLOCK) {
            let ahead = left;
            let prefix = self.window.get(segment, at, BLOCK_PREFIX, ahead)?;
            let Some(length) = prefix.first_chunk::<BLOCK_PREFIX>() else {
                return Ok(None);
            };
            let length = BLOCK_PREFIX.saturating_add(u32::from_le_bytes(*length) as usize);
            if length > left.min(STORED_BLOCK) {
                return Ok(None);
            }
            let stored = self.window.get(segment, at, length, ahead)?;
            if stored.len() < length {
                return Ok(None);
            }
            checksum.update(stored);
            if self
                .decoder
                .block(header.codec, &stored[BLOCK_PREFIX..], block)
                .is_none()
            {
                return Ok(None);
            }
            at += length as u64;
            left -= length;
        }
        Ok((left == 0).then_some(value))
    }
}

fn is_sound(header: &RecordHeader, location: Location) -> bool {
    header.kind == Kind::Value
        && header.length() == u64::from(location.length)
        && header.key_length as usize <= MOST_KEY_BYTES
        && u64::from(header.value_length) <= MOST_VALUE_BYTES
        && (header.codec != Codec::Raw || header.stored_length == header.value_length)
}

/// So many zeros, in one allocation.
fn zeros(length: u32) -> Arc<[u8]> {
    std::iter::repeat_n(0, length as usize).collect()
}
