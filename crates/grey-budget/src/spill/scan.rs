//! Reads the headers of one segment's records, one after another.
//!
//! Never reads a value.

use super::error::SpillError;
use super::format::{ALIGNMENT, HEADER, Link, RecordHeader};
use super::key_hash::Salt;
use super::reading::{Segment, WINDOW, Window};

/// The link that a record after this one holds.
pub(super) fn link_to(header: &RecordHeader) -> Link {
    Link {
        hash: header.hash.0,
        length: u32::try_from(header.length()).unwrap_or(u32::MAX),
    }
}

/// Reads headers of one segment.
pub(super) struct Scan<'a> {
    pub(super) segment: &'a Segment,
    pub(super) salt: Salt,
    /// Where its records end.
    pub(super) end: u64,
}

impl Scan<'_> {
    fn bytes<'w>(
        &self,
        window: &'w mut Window,
        at: u64,
        length: usize,
    ) -> Result<&'w [u8], SpillError> {
        window
            .get(self.segment, at, length, WINDOW)
            .map_err(|error| SpillError::of_io("read the spill segment", &self.segment.path, error))
    }

    /// The record at `at`, if a whole one is there.
    pub(super) fn record(
        &self,
        window: &mut Window,
        at: u64,
    ) -> Result<Option<RecordHeader>, SpillError> {
        let bytes = self.bytes(window, at, HEADER)?;
        Ok(bytes
            .first_chunk::<HEADER>()
            .and_then(|bytes| RecordHeader::decode(bytes, self.salt, self.segment.id.get(), at))
            .filter(|header| at + header.length() <= self.end))
    }

    /// The first record behind `at`.
    pub(super) fn next_record(
        &self,
        window: &mut Window,
        at: u64,
    ) -> Result<Option<(u64, RecordHeader)>, SpillError> {
        let mut at = at + ALIGNMENT;
        while at + HEADER as u64 <= self.end {
            if let Some(header) = self.record(window, at)? {
                return Ok(Some((at, header)));
            }
            at += ALIGNMENT;
        }
        Ok(None)
    }
}
