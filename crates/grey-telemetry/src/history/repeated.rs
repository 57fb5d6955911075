//! Samples that are in the files twice, as after a shard was copied beside
//! itself or a backup was put back: each is given once.
//!
//! Only the heads of blocks are compared, and only blocks that share numbers
//! are looked into.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use grey_model::{BootId, Sample};

use super::block::HEADER;
use super::reader::Found;

/// Bytes of a shard that repeat others.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Repeated {
    /// Which shard.
    pub(super) shard: usize,
    /// Which bytes of it.
    pub(super) bytes: Range<u64>,
    /// From when to when its samples are, in milliseconds since 1970.
    pub(super) between_unix_ms: (u64, u64),
}

/// Sorts `blocks` by the order of taking, and makes one of those that are the
/// same: it remembers where else it lies. Marks those that share numbers.
pub(super) fn settle(blocks: &mut Vec<Found>) -> Vec<Repeated> {
    // A clock that was set back has put later blocks into earlier days. What is the
    // same comes together, the first in the files first.
    blocks.sort_by_key(|found| {
        let header = &found.header;
        (header.first, header.from_unix_ms, header.checksum)
    });
    let mut repeated = Vec::new();
    blocks.dedup_by(|later, kept| {
        let is_same = later.header == kept.header;
        if is_same {
            repeated.push(told(later));
            kept.copies.push(later.place);
        }
        is_same
    });
    mark_shared(blocks);
    joined(repeated)
}

fn told(found: &Found) -> Repeated {
    let begin = found.place.payload_at - HEADER as u64;
    Repeated {
        shard: found.place.shard,
        bytes: begin..found.place.payload_at + u64::from(found.header.stored),
        between_unix_ms: (found.header.from_unix_ms, found.header.until_unix_ms),
    }
}

/// Those that follow each other in a file as one.
fn joined(mut repeated: Vec<Repeated>) -> Vec<Repeated> {
    repeated.sort_by_key(|one| (one.shard, one.bytes.start));
    repeated.dedup_by(|next, before| {
        let follows = next.shard == before.shard && next.bytes.start == before.bytes.end;
        if follows {
            before.bytes.end = next.bytes.end;
            let (from, until) = before.between_unix_ms;
            let (next_from, next_until) = next.between_unix_ms;
            before.between_unix_ms = (from.min(next_from), until.max(next_until));
        }
        follows
    });
    repeated
}

/// Of each boot, blocks whose numbers are in another, too.
fn mark_shared(blocks: &mut [Found]) {
    // Up to which number there are blocks of a boot, and the one that goes there.
    let mut ends: HashMap<BootId, (u64, usize)> = HashMap::new();
    for index in 0..blocks.len() {
        let header = &blocks[index].header;
        let (first, end) = (header.first, header.end());
        let before = ends.get(&header.boot).copied();
        if let Some((_, longest)) = before.filter(|(end, _)| first < *end) {
            blocks[longest].shares_numbers = true;
            blocks[index].shares_numbers = true;
        }
        if before.is_none_or(|(before, _)| before < end) {
            ends.insert(blocks[index].header.boot.clone(), (end, index));
        }
    }
}

/// Which samples of blocks that share numbers were given already: a machine has
/// one at a time.
#[derive(Debug, Default)]
pub(super) struct Given(HashMap<BootId, HashSet<u64>>);

impl Given {
    /// Takes those out that were given; whether there were any.
    pub(super) fn take_out(&mut self, boot: &BootId, samples: &mut Vec<Sample>) -> bool {
        let times = self.0.entry(boot.clone()).or_default();
        let before = samples.len();
        samples.retain(|sample| times.insert(sample.since_boot_ms));
        samples.len() < before
    }
}
