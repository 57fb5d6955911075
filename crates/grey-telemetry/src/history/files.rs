//! The files of history as bytes: where the blocks of a shard begin, and how far
//! a tail or a dump is read.
//!
//! Never reads more of a file than one of its kind can have, whatever its length
//! is said to be.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::block::{self, HEADER, Header, LARGEST, NoHeader};
use super::directory::open_to_read;
use super::tail::{self, Tail};
use super::writer::LONGEST_SHARD;

/// How much of a damaged shard is searched at a time for the next block.
const SEARCHED: usize = 1 << 20;

/// No shard is longer, in bytes: the last block may go beyond the line.
pub(super) const LONGEST_INDEXED: u64 = LONGEST_SHARD + (HEADER + LARGEST) as u64;

/// When a file was written to last, in milliseconds since 1970.
pub(super) fn written_unix_ms(path: &Path) -> Option<u64> {
    let at = std::fs::symlink_metadata(path).ok()?.modified().ok()?;
    let since = at.duration_since(std::time::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}

/// No tail and no dump is longer, in bytes.
const LONGEST_READ: u64 = LARGEST as u64 * 2;

/// A whole file, when it is not larger than a tail may be, else its beginning.
pub(super) fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    open_to_read(path)?
        .take(LONGEST_READ)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The tail at `path`; what of it lies beyond where a tail can end is not read,
/// and is damage.
pub(super) fn read_tail_file(path: &Path) -> io::Result<Tail> {
    let bytes = read_bounded(path)?;
    let mut tail = tail::parse(&bytes);
    if bytes.len() as u64 == LONGEST_READ {
        let length = std::fs::symlink_metadata(path)?.len();
        let end = usize::try_from(length).unwrap_or(usize::MAX);
        tail.leave_out(bytes.len()..end.max(bytes.len()));
    }
    Ok(tail)
}

/// Why there is no block where one should be.
pub(super) enum Fault {
    Damaged(&'static str),
    Newer(u16),
}

/// The header at `at`, or why there is none.
pub(super) fn block_at(file: &File, at: u64, length: u64) -> io::Result<Result<Header, Fault>> {
    const CUT: Fault = Fault::Damaged("the last block was cut short");
    let mut bytes = [0; HEADER];
    if length - at < HEADER as u64 {
        return Ok(Err(CUT));
    }
    file.read_exact_at(&mut bytes, at)?;
    Ok(match Header::parse(&bytes) {
        Ok(header) if usize::try_from(header.stored).is_ok_and(|stored| stored > LARGEST) => {
            Err(Fault::Damaged("a block is too large to be one of ours"))
        }
        Ok(header) if at + HEADER as u64 + u64::from(header.stored) > length => Err(CUT),
        Ok(header) => Ok(header),
        Err(NoHeader::Newer(format)) => Err(Fault::Newer(format)),
        Err(NoHeader::Damaged) => Err(Fault::Damaged("the head of a block is damaged")),
    })
}

/// The head of the first block in a shard that can be read; `None` when there is
/// none, or the shard cannot be read.
pub(super) fn first_header(path: &Path) -> Option<Header> {
    let file = open_to_read(path).ok()?;
    let length = file.metadata().ok()?.len().min(LONGEST_INDEXED);
    let mut at = 0;
    while at < length {
        if let Ok(header) = block_at(&file, at, length).ok()? {
            return Some(header);
        }
        at = next_block(&file, at + 1, length).ok()?;
    }
    None
}

/// Where the next block begins that can be read, from `from` on; the end of the
/// file when there is none.
pub(super) fn next_block(file: &File, from: u64, length: u64) -> io::Result<u64> {
    let magic = block::MAGIC;
    let mut window = vec![0; SEARCHED];
    let mut at = from;
    while at < length {
        let here = usize::try_from(length - at)
            .unwrap_or(SEARCHED)
            .min(SEARCHED);
        file.read_exact_at(&mut window[..here], at)?;
        let places = window[..here].windows(magic.len()).enumerate();
        for (place, _) in places.filter(|(_, bytes)| *bytes == magic) {
            let candidate = at + place as u64;
            if block_at(file, candidate, length)?.is_ok() {
                return Ok(candidate);
            }
        }
        if here < SEARCHED {
            break;
        }
        // One that begins at the very end of this window is found in the next.
        at += (here - magic.len() + 1) as u64;
    }
    Ok(length)
}
