//! Encoding records behind the active segment: small ones in the buffer, large
//! ones piece by piece through it, their header last.
//!
//! Never needs more room than the buffer has.

use std::io;
use std::sync::Arc;

use super::codec::{BLOCK, STORED_BLOCK, pays, worst_stored};
use super::commit::Commit;
use super::error::SpillError;
use super::format::{ALIGNMENT, Codec, HEADER, Kind, RecordHeader, align};
use super::index::{Location, Staged};
use super::key_hash::KeyHash;
use super::options::WRITE_BUFFER;
use super::scan::link_to;
use super::writer::Writer;

impl Writer {
    /// Encodes a value; it is on the disk once the buffer is written.
    pub(super) fn append_value(&mut self, staged: &Arc<Staged>) -> Result<(), SpillError> {
        let project = staged.project_name.as_deref().unwrap_or("").as_bytes();
        let head = HEADER + project.len() + staged.key.len();
        let worst = head + worst_stored(staged.value.len()) + HEADER;
        if worst > WRITE_BUFFER {
            return self.append_large(staged, head, worst as u64);
        }
        if self.filled + worst > WRITE_BUFFER {
            self.write_out()?;
        }
        self.make_room(worst as u64)?;
        let start = self.filled;
        let key_at = start + HEADER + project.len();
        self.buffer[start + HEADER..key_at].copy_from_slice(project);
        self.buffer[key_at..start + head].copy_from_slice(&staged.key);
        let at = start + head;
        let (codec, stored) = match self.compress_small(staged, at)? {
            Some(stored) => (self.encoder.wanted(), stored),
            None => {
                let value = &*staged.value;
                self.buffer[at..at + value.len()].copy_from_slice(value);
                (Codec::Raw, value.len())
            }
        };
        let checksum = crc32fast::hash(&self.buffer[start + HEADER..at + stored]);
        let header = self.header_of(staged, codec, stored, checksum);
        self.commit_small(&header, |location| Commit::Value {
            staged: Arc::clone(staged),
            location,
            stored: header.stored_length,
            is_raw: codec == Codec::Raw,
        });
        Ok(())
    }

    /// Compresses a value into the buffer at `at`; how long it is then, unless
    /// that does not pay.
    fn compress_small(&mut self, staged: &Staged, at: usize) -> Result<Option<usize>, SpillError> {
        if staged.value.is_empty() || self.encoder.choose(staged.project) == Codec::Raw {
            return Ok(None);
        }
        let mut end = at;
        for (turn, block) in staged.value.chunks(BLOCK).enumerate() {
            match self.encoder.block(block, &mut self.buffer[end..]) {
                Ok(stored) => end += stored,
                Err(error) => return Err(self.failed("compress a value for", error)),
            }
            if turn == 0 {
                let paid = pays(block.len(), end - at);
                self.encoder.remember(staged.project, paid);
                if !paid {
                    return Ok(None);
                }
            }
        }
        Ok(pays(staged.value.len(), end - at).then_some(end - at))
    }

    fn header_of(
        &self,
        staged: &Staged,
        codec: Codec,
        stored: usize,
        body_checksum: u32,
    ) -> RecordHeader {
        let project = staged.project_name.as_deref().map_or(0, str::len);
        RecordHeader {
            kind: Kind::Value,
            codec,
            priority: staged.priority.index().to_le_bytes()[0],
            project_length: u16::try_from(project).expect("bounded when it was accepted"),
            key_length: length_of(staged.key.len()),
            value_length: length_of(staged.value.len()),
            stored_length: length_of(stored),
            sequence: self.tail.sequence + 1,
            hash: staged.hash,
            previous: self.tail.previous,
            body_checksum,
        }
    }

    /// The record whose body is in the buffer gets its header, and the zeros
    /// behind it.
    pub(super) fn commit_small(
        &mut self,
        header: &RecordHeader,
        commit: impl FnOnce(Location) -> Commit,
    ) {
        let Some(active) = &self.active else {
            return;
        };
        let start = self.filled;
        let offset = active.end + start as u64;
        let id = active.segment.id;
        let bytes = header.encode(self.shared.salt, id.get(), offset);
        self.buffer[start..start + HEADER].copy_from_slice(&bytes);
        let length = length_of_record(header);
        let body_end = start + HEADER + header.stored_length as usize;
        let body_end = body_end + header.key_length as usize + usize::from(header.project_length);
        self.buffer[body_end..start + length].fill(0);
        self.filled = start + length;
        self.advance(header);
        let location = location_of(id, offset, header);
        let commit = commit(location);
        self.commits.push(commit);
    }

    /// The next record comes behind this one.
    fn advance(&mut self, header: &RecordHeader) {
        self.tail.sequence = header.sequence;
        self.tail.previous = link_to(header);
        self.tail.end += header.length();
    }

    /// Encodes that a key has no value any more.
    pub(super) fn append_tombstone(
        &mut self,
        hash: KeyHash,
        is_asked: bool,
    ) -> Result<(), SpillError> {
        if self.filled + HEADER > WRITE_BUFFER {
            self.write_out()?;
        }
        self.make_room(HEADER as u64)?;
        let header = RecordHeader {
            kind: Kind::Tombstone,
            codec: Codec::Raw,
            priority: 0,
            project_length: 0,
            key_length: 0,
            value_length: 0,
            stored_length: 0,
            sequence: self.tail.sequence + 1,
            hash,
            previous: self.tail.previous,
            body_checksum: 0,
        };
        self.commit_small(&header, |_| Commit::Removed {
            hash,
            length: HEADER as u64,
            is_asked,
        });
        Ok(())
    }

    /// Writes a value that does not fit into the buffer. Its header comes last:
    /// until then nothing is there.
    fn append_large(
        &mut self,
        staged: &Arc<Staged>,
        head: usize,
        worst: u64,
    ) -> Result<(), SpillError> {
        self.write_out()?;
        self.make_room(worst)?;
        self.check_floor(worst)?;
        let project = staged.project_name.as_deref().unwrap_or("").as_bytes();
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(project);
        checksum.update(&staged.key);
        let mut at = HEADER as u64;
        at += self.put(at, project)?;
        at += self.put(at, &staged.key)?;
        debug_assert_eq!(at, head as u64, "the head is what was counted");
        let codec = self.choose_large(staged)?;
        let stored_at = at;
        if codec == Codec::Raw {
            checksum.update(&staged.value);
            at += self.put(at, &staged.value)?;
        } else {
            let mut filled = 0;
            for block in staged.value.chunks(BLOCK) {
                match self.encoder.block(block, &mut self.buffer[filled..]) {
                    Ok(stored) => filled += stored,
                    Err(error) => return Err(self.failed("compress a value for", error)),
                }
                if filled + STORED_BLOCK > WRITE_BUFFER {
                    checksum.update(&self.buffer[..filled]);
                    at += self.put(at, &self.buffer[..filled])?;
                    filled = 0;
                }
            }
            checksum.update(&self.buffer[..filled]);
            at += self.put(at, &self.buffer[..filled])?;
        }
        let stored = usize::try_from(at - stored_at).unwrap_or(usize::MAX);
        let header = self.header_of(staged, codec, stored, checksum.finalize());
        self.finish_large(&header, at, |location| Commit::Value {
            staged: Arc::clone(staged),
            location,
            stored: header.stored_length,
            is_raw: codec == Codec::Raw,
        })
    }

    /// Whether the first block of a large value becomes smaller.
    fn choose_large(&mut self, staged: &Staged) -> Result<Codec, SpillError> {
        if self.encoder.choose(staged.project) == Codec::Raw {
            return Ok(Codec::Raw);
        }
        let first = &staged.value[..BLOCK.min(staged.value.len())];
        let stored = match self.encoder.block(first, &mut self.buffer) {
            Ok(stored) => stored,
            Err(error) => return Err(self.failed("compress a value for", error)),
        };
        let paid = pays(first.len(), stored);
        self.encoder.remember(staged.project, paid);
        Ok(if paid {
            self.encoder.wanted()
        } else {
            Codec::Raw
        })
    }

    /// Writes `bytes` so far behind the end of the active segment; how many.
    pub(super) fn put(&self, skip: u64, bytes: &[u8]) -> Result<u64, SpillError> {
        let Some(active) = &self.active else {
            return Err(SpillError::Closed);
        };
        active
            .segment
            .file
            .write_at(bytes, active.end + skip)
            .map_err(|error| SpillError::of_io("write to", &active.segment.path, error))?;
        Ok(bytes.len() as u64)
    }

    /// The record whose body was put in place, up to `end`, gets its header.
    pub(super) fn finish_large(
        &mut self,
        header: &RecordHeader,
        end: u64,
        commit: impl FnOnce(Location) -> Commit,
    ) -> Result<(), SpillError> {
        let zeros = ALIGNMENT.to_le_bytes().map(|_| 0);
        let missing = usize::try_from(align(end) - end).unwrap_or(0);
        self.put(end, &zeros[..missing])?;
        let Some(active) = &self.active else {
            return Err(SpillError::Closed);
        };
        let (id, offset) = (active.segment.id, active.end);
        let bytes = header.encode(self.shared.salt, id.get(), offset);
        self.commits.push(commit(location_of(id, offset, header)));
        let named = match self.name_records() {
            Ok(named) => self.put(0, &bytes).map(|_| named),
            Err(error) => Err(error),
        };
        match named {
            Ok(named) => {
                self.advance(header);
                self.wrote(header.length(), named);
                Ok(())
            }
            Err(error) => {
                // Whoever called still has the value.
                self.commits.pop();
                Err(error)
            }
        }
    }

    /// An error of the active segment.
    pub(super) fn failed(&self, action: &'static str, error: io::Error) -> SpillError {
        let path = self.active.as_ref().map_or_else(
            || self.shared.options.directory.clone(),
            |active| active.segment.path.clone(),
        );
        SpillError::of_io(action, &path, error)
    }
}

/// Lengths are bounded when a value is accepted.
fn length_of(length: usize) -> u32 {
    u32::try_from(length).expect("bounded when it was accepted")
}

pub(super) fn length_of_record(header: &RecordHeader) -> usize {
    usize::try_from(header.length()).expect("it fits into the buffer")
}

pub(super) fn location_of(
    segment: std::num::NonZeroU32,
    offset: u64,
    header: &RecordHeader,
) -> Location {
    Location {
        segment,
        slot: u32::try_from(offset / ALIGNMENT).expect("the length of a segment is bounded"),
        length: u32::try_from(header.length()).expect("bounded when it was accepted"),
        value_length: header.value_length,
    }
}
