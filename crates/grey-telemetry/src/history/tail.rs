//! The tail: the newest samples of one boot, a record each, so that one is kept
//! as soon as it was written.
//!
//! | Bytes | Header, then records; numbers little endian |
//! |---|---|
//! | 8, 2, 2 | `GREYTAIL`, format, 0 |
//! | 36 | id of the boot |
//! | 4 | CRC-32 of the header before this |
//! | 4 | of each record: length of the sample's encoding |
//! | 4 | CRC-32 of the number and the encoding |
//! | 8 | number of the sample |
//! | … | the encoding |
//!
//! Records are in step with each other: the first that is damaged ends what can
//! be read.

use std::ops::Range;

use grey_model::{BootId, Sample};

use super::block::{BOOT, FORMAT, LARGEST, boot_bytes, boot_of, front};
use super::codec::Decoder;

/// What a tail begins with.
const MAGIC: [u8; 8] = *b"GREYTAIL";

/// The length of the header.
pub(super) const HEADER: usize = 52;

/// The length of what is before each sample.
const BEFORE: usize = 16;

/// The header of a tail of samples of `boot`.
pub(super) fn header(boot: &BootId) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&[0; 2]);
    bytes.extend_from_slice(&boot_bytes(boot));
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Appends the record of the sample `number`, whose encoding is `encoded`.
pub(super) fn put_record(out: &mut Vec<u8>, number: u64, encoded: &[u8]) {
    let length = u32::try_from(encoded.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&checksum(number, encoded).to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(encoded);
}

fn checksum(number: u64, encoded: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(encoded);
    hasher.finalize()
}

/// What a tail file holds.
#[derive(Debug, Default)]
pub(super) struct Tail {
    pub(super) boot: Option<BootId>,
    pub(super) samples: Vec<(u64, Sample)>,
    /// Where the samples' encodings are in the file.
    pub(super) encoded: Vec<Range<usize>>,
    /// From where on it could not be read, and why.
    pub(super) damage: Option<(usize, &'static str)>,
    /// Of a later format: nothing was read.
    pub(super) newer: Option<u16>,
}

/// Reads a tail. Any bytes will do.
pub(super) fn parse(bytes: &[u8]) -> Tail {
    let mut tail = Tail::default();
    let Some(head) = bytes.get(..HEADER) else {
        tail.damage = (!bytes.is_empty()).then_some((0, "its header was cut short"));
        return tail;
    };
    let (covered, checksum) = head.split_at(HEADER - 4);
    if !covered.starts_with(&MAGIC) || crc32fast::hash(covered).to_le_bytes() != checksum {
        tail.damage = Some((0, "its header is damaged"));
        return tail;
    }
    let mut rest = &covered[MAGIC.len()..];
    let format = front(&mut rest).map(u16::from_le_bytes);
    if format != Some(FORMAT) {
        tail.newer = format;
        return tail;
    }
    let boot = boot_of(&rest[2..2 + BOOT]);
    let mut decoder = Decoder::new(boot.clone());
    tail.boot = Some(boot);
    let mut at = HEADER;
    while at < bytes.len() {
        match record(&bytes[at..], &mut decoder) {
            Ok((number, sample, length)) => {
                tail.samples.push((number, sample));
                tail.encoded.push(at + BEFORE..at + length);
                at += length;
            }
            Err(reason) => {
                tail.damage = Some((at, reason));
                break;
            }
        }
    }
    tail
}

/// The record at the front of `bytes`: its number, its sample, its length.
fn record(bytes: &[u8], decoder: &mut Decoder) -> Result<(u64, Sample, usize), &'static str> {
    const CUT: &str = "the last sample was cut short";
    let mut rest = bytes;
    let length = front(&mut rest).map(u32::from_le_bytes).ok_or(CUT)?;
    let sum = front(&mut rest).map(u32::from_le_bytes).ok_or(CUT)?;
    let number = front(&mut rest).map(u64::from_le_bytes).ok_or(CUT)?;
    let length = usize::try_from(length).map_err(|_| CUT)?;
    if length > LARGEST {
        return Err("a sample is damaged");
    }
    let mut encoded = rest.get(..length).ok_or(CUT)?;
    if checksum(number, encoded) != sum {
        return Err("a sample is damaged");
    }
    let sample = decoder.take(&mut encoded).filter(|_| encoded.is_empty());
    let sample = sample.ok_or("a sample makes no sense")?;
    Ok((number, sample, BEFORE + length))
}
