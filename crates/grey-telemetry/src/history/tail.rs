//! The tail: the newest samples of one boot, a record each, so that one is kept
//! as soon as it was written.
//!
//! It is a row of *stretches*: a header, and behind it records, of which the
//! first tells its sample whole and each other one by its difference to the one
//! before. What is damaged costs the rest of its stretch, and no more.
//!
//! | Bytes | Header, then records; numbers little endian |
//! |---|---|
//! | 8, 2, 2 | `GREYTAIL`, format, 0 |
//! | 36 | id of the boot |
//! | 4 | CRC-32 of the header before this |
//! | 4, 8, 8 | of each record: length of the sample's encoding, number of the sample, when it was taken in ms since 1970 |
//! | 4 | CRC-32 of these three |
//! | 4 | CRC-32 of the number and the encoding |
//! | … | the encoding |
//!
//! In format 1, which is still read, there is one stretch alone, and before an
//! encoding there are its length, the CRC-32 of number and encoding, and the
//! number. There, what cannot be read and what was cut short look the same.
//!
//! Never takes a record for good whose checksums are not, and never one whose
//! number is not above that of the one before.

use std::ops::Range;

use grey_model::{BootId, Sample};

use super::block::{BOOT, LARGEST, boot_bytes, boot_of, front};
use super::codec::Decoder;

/// What a stretch begins with. As the length of a record it would be more than
/// [`LARGEST`].
const MAGIC: [u8; 8] = *b"GREYTAIL";

/// The format that this version writes; every lower one is read: before 3, no
/// sample had groups.
const FORMAT: u16 = 3;

/// The format whose tail is one stretch.
const FORMAT_OF_ONE_STRETCH: u16 = 1;

/// The length of the header.
pub(super) const HEADER: usize = 52;

/// The length of a record's head: length, number, time and their checksum.
const HEAD: usize = 24;

/// The length of what is before each sample.
const BEFORE: usize = HEAD + 4;

/// The same in format 1.
const BEFORE_IN_FORMAT_1: usize = 16;

const CUT: &str = "the last sample was cut short";
const HEADER_CUT: &str = "its header was cut short";
const HEADER_DAMAGED: &str = "a header is damaged";
const TOO_LONG: &str =
    "the file is longer than a tail can be, and only its first 16 MiB were looked at";
const DAMAGED: &str = "a sample is damaged";
const NO_SENSE: &str = "a sample makes no sense";

/// The header of a stretch of samples of `boot`.
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

/// Appends the record of the sample `number`, taken at `at_unix_ms`, whose
/// encoding is `encoded`.
pub(super) fn put_record(out: &mut Vec<u8>, number: u64, at_unix_ms: u64, encoded: &[u8]) {
    let length = u32::try_from(encoded.len()).unwrap_or(u32::MAX);
    let begin = out.len();
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&at_unix_ms.to_le_bytes());
    let head = crc32fast::hash(&out[begin..]);
    out.extend_from_slice(&head.to_le_bytes());
    out.extend_from_slice(&checksum(number, encoded).to_le_bytes());
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
    /// The samples and their numbers, which only grow.
    pub(super) samples: Vec<(u64, Sample)>,
    /// What could not be read, in the order of the file. An end that was cut
    /// short is none: nobody was told that its sample is kept.
    pub(super) damage: Vec<Damage>,
    /// From here on it is of a later format, and was not read.
    pub(super) newer: Option<(usize, u16)>,
}

impl Tail {
    /// Notes that `bytes`, behind all that was read, were not.
    pub(super) fn leave_out(&mut self, bytes: Range<usize>) {
        match self.damage.last_mut() {
            Some(last) if last.bytes.end == bytes.start => {
                (last.bytes.end, last.reason) = (bytes.end, TOO_LONG);
            }
            _ => self.damage.push(Damage {
                reason: TOO_LONG,
                numbers: None,
                from_unix_ms: self.samples.last().map(|(_, sample)| sample.at_unix_ms),
                until_unix_ms: None,
                bytes,
            }),
        }
    }
}

/// A part of a tail that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Damage {
    /// Which bytes.
    pub(super) bytes: Range<usize>,
    /// What is wrong where it begins.
    pub(super) reason: &'static str,
    /// The numbers of the samples in it, where they are known.
    pub(super) numbers: Option<Range<u64>>,
    /// After which moment they were taken, in milliseconds since 1970.
    pub(super) from_unix_ms: Option<u64>,
    /// Before which one.
    pub(super) until_unix_ms: Option<u64>,
}

/// What a record says of its sample before the sample.
#[derive(Debug, Clone, Copy)]
struct Head {
    length: usize,
    number: u64,
    at_unix_ms: u64,
}

impl Head {
    /// The head at the front of `bytes`, when its checksum is right.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (covered, sum) = bytes.get(..HEAD)?.split_at(HEAD - 4);
        let mut rest = covered;
        let length = usize::try_from(u32::from_le_bytes(front(&mut rest)?)).ok()?;
        if length > LARGEST || crc32fast::hash(covered).to_le_bytes() != sum {
            return None;
        }
        Some(Self {
            length,
            number: u64::from_le_bytes(front(&mut rest)?),
            at_unix_ms: u64::from_le_bytes(front(&mut rest)?),
        })
    }
}

/// Why there is no going on.
enum Fault {
    /// The file ends within something that was being written.
    Cut,
    Damaged(&'static str),
    Newer(u16),
}

/// Reads a tail. Any bytes will do.
pub(super) fn parse(bytes: &[u8]) -> Tail {
    let mut reading = Reading {
        bytes,
        stretch: None,
        tail: Tail::default(),
    };
    let mut at = 0;
    // Where damage began that nothing readable has ended yet, and what it is.
    let mut lost_from: Option<(usize, &'static str)> = None;
    while at < bytes.len() {
        match reading.step(at) {
            Ok(length) => {
                let is_sample = !bytes[at..].starts_with(&MAGIC);
                if let Some((from, reason)) = lost_from.take_if(|_| is_sample) {
                    reading.tell(from..reading.begin_of_stretch(), reason);
                }
                at += length;
            }
            Err(Fault::Cut) => break,
            Err(Fault::Newer(format)) => {
                reading.tail.newer = Some((at, format));
                break;
            }
            Err(Fault::Damaged(reason)) => {
                lost_from.get_or_insert((at, reason));
                at = next_header(bytes, at + 1);
                reading.stretch = None;
            }
        }
    }
    if let Some((from, reason)) = lost_from {
        reading.tell(from..bytes.len(), reason);
    }
    reading.tail
}

/// A stretch that is being read.
struct Stretch {
    format: u16,
    decoder: Decoder,
    begin: usize,
}

struct Reading<'bytes> {
    bytes: &'bytes [u8],
    stretch: Option<Stretch>,
    tail: Tail,
}

impl Reading<'_> {
    /// Reads what is at `at`; its length.
    fn step(&mut self, at: usize) -> Result<usize, Fault> {
        let bytes = &self.bytes[at..];
        match &mut self.stretch {
            Some(stretch) if !bytes.starts_with(&MAGIC) => {
                let last = self.tail.samples.last().map(|(number, _)| *number);
                let (number, sample, length) = record(bytes, stretch)?;
                if last.is_some_and(|last| number <= last) {
                    return Err(Fault::Damaged(NO_SENSE));
                }
                self.tail.samples.push((number, sample));
                Ok(length)
            }
            before => {
                let (format, boot) = read_header(bytes, at == 0)?;
                *before = Some(Stretch {
                    format,
                    decoder: Decoder::new(boot),
                    begin: at,
                });
                Ok(HEADER)
            }
        }
    }

    fn begin_of_stretch(&self) -> usize {
        self.stretch.as_ref().map_or(0, |stretch| stretch.begin)
    }

    /// Notes that `lost` could not be read. The last sample that was read is the
    /// one behind it, unless it is the end of the file.
    fn tell(&mut self, lost: Range<usize>, reason: &'static str) {
        let place = |(number, sample): &(u64, Sample)| (*number, sample.at_unix_ms);
        let mut good = self.tail.samples.iter().rev().map(place);
        let after = match lost.end < self.bytes.len() {
            true => good.next(),
            false => None,
        };
        let before = good.next();
        let heads = self.heads(&lost, before.map(|(number, _)| number));
        let first = heads.map(|(first, _)| first);
        let last = heads.map(|(_, last)| last);
        let begin = match (before, first) {
            (Some((number, _)), _) => Some(number + 1),
            // Without one before, the first is either the one whose head was
            // found, or, where that is not where the first one lies, one less.
            (None, Some((place, head))) if place == HEADER => Some(head.number),
            (None, Some((_, head))) => Some(head.number.saturating_sub(1)),
            (None, None) => None,
        };
        let end = match (after, last) {
            (Some((number, _)), _) => Some(number),
            (None, Some(head)) => Some(head.number + 1),
            // At the least the one that could not be read.
            (None, None) => begin.map(|begin| begin + 1),
        };
        let from = before
            .map(|(_, at)| at)
            .or(first.map(|(_, head)| head.at_unix_ms));
        let until = after.map(|(_, at)| at).or(last.map(|head| head.at_unix_ms));
        self.tail.damage.push(Damage {
            bytes: lost,
            reason,
            numbers: begin.zip(end).map(|(begin, end)| begin..end),
            from_unix_ms: from,
            until_unix_ms: until,
        });
    }

    /// The first head of a record in `lost` that can be read, with its place,
    /// and the last, behind the sample `before`.
    fn heads(&self, lost: &Range<usize>, before: Option<u64>) -> Option<((usize, Head), Head)> {
        let mut found: Option<((usize, Head), Head)> = None;
        let mut at = lost.start;
        while at < lost.end {
            let last = found.as_ref().map(|(_, last)| last.number).or(before);
            let head = Head::parse(&self.bytes[at..lost.end]);
            match head.filter(|head| last.is_none_or(|last| head.number > last)) {
                Some(head) => {
                    found = Some((found.map_or((at, head), |(first, _)| first), head));
                    at += BEFORE + head.length;
                }
                // A head of zeros alone has no right checksum.
                None => {
                    at += zeros(&self.bytes[at..lost.end])
                        .saturating_sub(HEAD - 1)
                        .max(1)
                }
            }
        }
        found
    }
}

/// How many zeros `bytes` begin with.
fn zeros(bytes: &[u8]) -> usize {
    let end = bytes.iter().position(|&byte| byte != 0);
    end.unwrap_or(bytes.len())
}

/// The header at the front of `bytes`: its format and boot. The first of a file
/// is there in whole when the file takes its name.
fn read_header(bytes: &[u8], is_first: bool) -> Result<(u16, BootId), Fault> {
    let Some(head) = bytes.get(..HEADER) else {
        return Err(match is_first {
            true => Fault::Damaged(HEADER_CUT),
            false => Fault::Cut,
        });
    };
    let damaged = Fault::Damaged(HEADER_DAMAGED);
    let (covered, checksum) = head.split_at(HEADER - 4);
    if !covered.starts_with(&MAGIC) || crc32fast::hash(covered).to_le_bytes() != checksum {
        return Err(damaged);
    }
    let mut rest = &covered[MAGIC.len()..];
    match front(&mut rest).map(u16::from_le_bytes) {
        Some(format @ FORMAT_OF_ONE_STRETCH..=FORMAT) => Ok((format, boot_of(&rest[2..2 + BOOT]))),
        Some(format) => Err(Fault::Newer(format)),
        None => Err(damaged),
    }
}

/// Where the next header begins that can be read; the end when there is none.
fn next_header(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    let places = rest.windows(MAGIC.len()).enumerate();
    places
        .filter(|(_, window)| *window == MAGIC)
        .map(|(place, _)| from + place)
        .find(|&place| {
            let header = read_header(&bytes[place..], false);
            matches!(header, Ok(_) | Err(Fault::Newer(_)))
        })
        .unwrap_or(bytes.len())
}

/// The record at the front of `bytes`: its number, its sample, its length.
fn record(bytes: &[u8], stretch: &mut Stretch) -> Result<(u64, Sample, usize), Fault> {
    if stretch.format == FORMAT_OF_ONE_STRETCH {
        return record_of_format_1(bytes, &mut stretch.decoder).map_err(Fault::Damaged);
    }
    let before = bytes.get(..BEFORE).ok_or(Fault::Cut)?;
    let head = Head::parse(before).ok_or(Fault::Damaged(DAMAGED))?;
    let end = BEFORE + head.length;
    let mut encoded = bytes.get(BEFORE..end).ok_or(Fault::Cut)?;
    if checksum(head.number, encoded).to_le_bytes() != before[HEAD..] {
        return Err(Fault::Damaged(DAMAGED));
    }
    let sample = stretch.decoder.take(&mut encoded);
    let sample = sample
        .filter(|sample| encoded.is_empty() && sample.at_unix_ms == head.at_unix_ms)
        .ok_or(Fault::Damaged(NO_SENSE))?;
    Ok((head.number, sample, end))
}

fn record_of_format_1(
    bytes: &[u8],
    decoder: &mut Decoder,
) -> Result<(u64, Sample, usize), &'static str> {
    let mut rest = bytes;
    let length = front(&mut rest).map(u32::from_le_bytes).ok_or(CUT)?;
    let sum = front(&mut rest).map(u32::from_le_bytes).ok_or(CUT)?;
    let number = front(&mut rest).map(u64::from_le_bytes).ok_or(CUT)?;
    let length = usize::try_from(length).map_err(|_| CUT)?;
    if length > LARGEST {
        return Err(DAMAGED);
    }
    let mut encoded = rest.get(..length).ok_or(CUT)?;
    if checksum(number, encoded) != sum {
        return Err(DAMAGED);
    }
    let sample = decoder.take(&mut encoded).filter(|_| encoded.is_empty());
    let sample = sample.ok_or(NO_SENSE)?;
    Ok((number, sample, BEFORE_IN_FORMAT_1 + length))
}
