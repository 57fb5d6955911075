//! What a segment file looks like, as bytes.
//!
//! ```text
//! file header (80) | record | record | …
//! record: header (80) | project | key | stored value | zeros up to 8
//! ```
//!
//! A record header is checked by itself, so that an index is built without
//! reading values; what follows it has a checksum of its own in it. The
//! header's checksum depends on the store, the segment and the offset: a copy
//! of a record inside of a value is never taken for one. A header also names
//! the record before it, so that one damaged header costs one value.
//!
//! Opens nothing, and never panics on any input.

use super::key_hash::{KeyHash, Salt};

/// The format's number. A file with another one is set aside.
pub(super) const VERSION: u32 = 1;

/// Every file begins with this.
pub(super) const FILE_MAGIC: [u8; 8] = *b"GREYSPIL";

/// Every record begins with this.
const RECORD_MAGIC: u32 = u32::from_le_bytes(*b"GSR\x01");

/// How long both kinds of header are.
pub(super) const HEADER: usize = 80;

/// Records begin at multiples of this.
pub(super) const ALIGNMENT: u64 = 8;

/// Rounds up to where the next record may begin.
pub(super) const fn align(length: u64) -> u64 {
    length.next_multiple_of(ALIGNMENT)
}

/// The record before another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Link {
    /// Its key's hash.
    pub(super) hash: [u64; 2],
    /// Its length with its header; 0 when there is none.
    pub(super) length: u32,
}

/// How a value's bytes are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Raw,
    Lz4,
    Zstd,
}

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It holds a value.
    Value,
    /// Its key has no value any more.
    Tombstone,
}

/// The head of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) kind: Kind,
    pub(super) codec: Codec,
    /// The place in `Priority::ALL`.
    pub(super) priority: u8,
    pub(super) project_length: u16,
    pub(super) key_length: u32,
    /// As it was given.
    pub(super) value_length: u32,
    /// As it is stored.
    pub(super) stored_length: u32,
    pub(super) sequence: u64,
    pub(super) hash: KeyHash,
    pub(super) previous: Link,
    /// Of all that follows the header, without the zeros.
    pub(super) body_checksum: u32,
}

impl RecordHeader {
    /// What follows the header, without the zeros.
    pub(super) const fn body_length(&self) -> u64 {
        self.project_length as u64 + self.key_length as u64 + self.stored_length as u64
    }

    /// From its first byte to where the next record begins.
    pub(super) const fn length(&self) -> u64 {
        align(HEADER as u64 + self.body_length())
    }

    /// Its bytes for one place in one segment.
    pub(super) fn encode(&self, salt: Salt, segment: u32, offset: u64) -> [u8; HEADER] {
        let mut out = Put::default();
        out.u32(RECORD_MAGIC);
        out.u8(match self.kind {
            Kind::Value => 1,
            Kind::Tombstone => 2,
        });
        out.u8(match self.codec {
            Codec::Raw => 0,
            Codec::Lz4 => 1,
            Codec::Zstd => 2,
        });
        out.u8(self.priority);
        out.u8(0);
        out.bytes(&self.project_length.to_le_bytes());
        out.bytes(&[0; 2]);
        out.u32(self.key_length);
        out.u32(self.value_length);
        out.u32(self.stored_length);
        out.u64(self.sequence);
        out.hash(self.hash.0);
        out.hash(self.previous.hash);
        out.u32(self.previous.length);
        out.u32(self.body_checksum);
        out.u32(0);
        out.sealed(record_seed(salt, segment, offset))
    }

    /// The header in `bytes`, if it is one that was written for this place.
    pub(super) fn decode(
        bytes: &[u8; HEADER],
        salt: Salt,
        segment: u32,
        offset: u64,
    ) -> Option<Self> {
        let mut input = Take(bytes);
        if input.u32() != RECORD_MAGIC || !is_sealed(bytes, record_seed(salt, segment, offset)) {
            return None;
        }
        let kind = match input.u8() {
            1 => Kind::Value,
            2 => Kind::Tombstone,
            _ => return None,
        };
        let codec = match input.u8() {
            0 => Codec::Raw,
            1 => Codec::Lz4,
            2 => Codec::Zstd,
            _ => return None,
        };
        let priority = input.u8();
        input.u8();
        let project_length = u16::from_le_bytes(input.array());
        input.array::<2>();
        Some(Self {
            kind,
            codec,
            priority,
            project_length,
            key_length: input.u32(),
            value_length: input.u32(),
            stored_length: input.u32(),
            sequence: input.u64(),
            hash: KeyHash(input.hash()),
            previous: Link {
                hash: input.hash(),
                length: input.u32(),
            },
            body_checksum: input.u32(),
        })
    }
}

/// The head of a segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub(super) salt: Salt,
    pub(super) segment: u32,
    /// The segment that was written before this one; 0 when there was none.
    pub(super) previous_segment: u32,
    /// Where that one ends.
    pub(super) previous_end: u64,
    /// The last record in it.
    pub(super) previous: Link,
}

/// Why a file header is not one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadFileHeader {
    /// It is a spill file of another version.
    Version(u32),
    /// It is damaged, or no spill file.
    Damaged,
}

impl FileHeader {
    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut out = Put::default();
        out.bytes(&FILE_MAGIC);
        out.u32(VERSION);
        out.u32(self.segment);
        out.hash(self.salt.0);
        out.u32(self.previous_segment);
        out.u64(self.previous_end);
        out.hash(self.previous.hash);
        out.u32(self.previous.length);
        out.sealed(0)
    }

    pub(super) fn decode(bytes: &[u8; HEADER]) -> Result<Self, BadFileHeader> {
        let mut input = Take(bytes);
        if input.array::<8>() != FILE_MAGIC {
            return Err(BadFileHeader::Damaged);
        }
        let version = input.u32();
        if version != VERSION {
            return Err(BadFileHeader::Version(version));
        }
        if !is_sealed(bytes, 0) {
            return Err(BadFileHeader::Damaged);
        }
        Ok(Self {
            segment: input.u32(),
            salt: Salt(input.hash()),
            previous_segment: input.u32(),
            previous_end: input.u64(),
            previous: Link {
                hash: input.hash(),
                length: input.u32(),
            },
        })
    }
}

fn record_seed(salt: Salt, segment: u32, offset: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.0[0].to_le_bytes());
    hasher.update(&segment.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.finalize()
}

fn is_sealed(bytes: &[u8; HEADER], seed: u32) -> bool {
    let (content, checksum) = bytes.split_at(HEADER - 4);
    checksum_from(seed, content).to_le_bytes() == checksum
}

fn checksum_from(seed: u32, content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(content);
    hasher.finalize()
}

/// Writes fields one after the other.
struct Put {
    bytes: [u8; HEADER],
    at: usize,
}

impl Default for Put {
    fn default() -> Self {
        Self {
            bytes: [0; HEADER],
            at: 0,
        }
    }
}

impl Put {
    fn bytes(&mut self, field: &[u8]) {
        self.bytes[self.at..self.at + field.len()].copy_from_slice(field);
        self.at += field.len();
    }

    fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    fn hash(&mut self, hash: [u64; 2]) {
        self.u64(hash[0]);
        self.u64(hash[1]);
    }

    /// The whole, with its checksum at the end.
    fn sealed(mut self, seed: u32) -> [u8; HEADER] {
        let checksum = checksum_from(seed, &self.bytes[..HEADER - 4]);
        self.bytes[HEADER - 4..].copy_from_slice(&checksum.to_le_bytes());
        self.bytes
    }
}

/// Reads fields one after the other; zeros when there is nothing left.
struct Take<'a>(&'a [u8]);

impl Take<'_> {
    fn array<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((field, rest)) => {
                self.0 = rest;
                *field
            }
            None => [0; N],
        }
    }

    fn u8(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    fn hash(&mut self) -> [u64; 2] {
        [self.u64(), self.u64()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> RecordHeader {
        RecordHeader {
            kind: Kind::Value,
            codec: Codec::Zstd,
            priority: 2,
            project_length: 3,
            key_length: 70_000,
            value_length: 1 << 30,
            stored_length: 99,
            sequence: u64::MAX,
            hash: KeyHash([1, 2]),
            previous: Link {
                hash: [3, 4],
                length: 160,
            },
            body_checksum: 7,
        }
    }

    #[test]
    fn a_record_header_comes_back_at_its_own_place_only() {
        let salt = Salt([5, 6]);
        let bytes = header().encode(salt, 9, 80);
        assert_eq!(RecordHeader::decode(&bytes, salt, 9, 80), Some(header()));
        assert_eq!(RecordHeader::decode(&bytes, salt, 9, 88), None);
        assert_eq!(RecordHeader::decode(&bytes, salt, 8, 80), None);
        assert_eq!(RecordHeader::decode(&bytes, Salt([4, 6]), 9, 80), None);
    }

    #[test]
    fn a_file_header_comes_back() {
        let file = FileHeader {
            salt: Salt([5, 6]),
            segment: 3,
            previous_segment: 1,
            previous_end: 1 << 40,
            previous: Link {
                hash: [8, 9],
                length: 1,
            },
        };
        assert_eq!(FileHeader::decode(&file.encode()), Ok(file));
    }

    #[test]
    fn zeros_are_no_header() {
        assert_eq!(RecordHeader::decode(&[0; HEADER], Salt([0, 0]), 0, 0), None);
        assert_eq!(
            FileHeader::decode(&[0; HEADER]),
            Err(BadFileHeader::Damaged)
        );
    }

    proptest! {
        #[test]
        fn no_flipped_bit_is_overlooked(bit in 0..HEADER * 8) {
            let salt = Salt([5, 6]);
            let mut bytes = header().encode(salt, 9, 80);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(RecordHeader::decode(&bytes, salt, 9, 80), None);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: [u8; 32], seed: u64) {
            let mut all = [0; HEADER];
            all[..32].copy_from_slice(&bytes);
            all[48..].copy_from_slice(&bytes);
            let _ = FileHeader::decode(&all);
            let _ = RecordHeader::decode(&all, Salt([seed, 0]), 1, 80);
        }
    }
}
