//! What a spill store did, and what it found when it was opened.
//!
//! Never guesses: a value that cannot be known is not in here.

use std::path::PathBuf;

use grey_model::Bytes;

/// What a store holds and did since it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpillStatistics {
    /// Values that can be read.
    pub entries: u64,
    /// Of these, values that are not on the disk yet.
    pub staged: u64,
    /// Of these, values that could not be written and are held in memory.
    pub held: u64,
    /// What values on their way take of the staging buffer.
    pub pending: Bytes,
    /// What all segments take, with the lists of their keys.
    pub on_disk: Bytes,
    /// What of that nobody can reach any more.
    pub dead: Bytes,
    /// Segment files.
    pub segments: u64,
    /// What the index holds of the heap.
    pub index: Bytes,
    /// Values that were written to the disk.
    pub written: u64,
    /// Their bytes as they were given.
    pub written_raw: Bytes,
    /// Their bytes as they are stored, without headers and keys.
    pub written_stored: Bytes,
    /// Of these, values that were stored as they are.
    pub written_uncompressed: u64,
    /// Values that were read from the disk.
    pub reads: u64,
    /// Values that were damaged when they were read or moved.
    pub damaged: u64,
    /// Attempts to write that failed.
    pub write_failures: u64,
    /// Segments that were removed because nothing in them was needed.
    pub segments_collected: u64,
    /// What was moved to remove them.
    pub moved: Bytes,
    /// Whether the directory lives in memory, so that spilling frees nothing.
    pub is_in_memory: bool,
}

/// A file that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// What it is called now.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// What was found when a store was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// Values that can be read.
    pub values: u64,
    /// Bytes of a write that had not ended, and were cut off.
    pub torn: Bytes,
    /// Bytes behind the last record that this store never wrote, and that were
    /// cut off.
    pub foreign: Bytes,
    /// Records that are damaged and whose keys are known: these keys have no
    /// value, unless one was written later.
    pub lost: u64,
    /// Files that are of no use: of another version or of another store, or
    /// damaged at their head.
    pub set_aside: Vec<SetAside>,
    /// Segments that are damaged inside. What is whole in them can be read;
    /// when that is not needed any more, they are set aside.
    pub damaged: Vec<PathBuf>,
    /// Values that are on the disk and whole, but are not, or may not be, the
    /// last ones of their keys, because what was written after them is damaged.
    /// They cannot be read. Where it is known which keys the damage is of, it
    /// is these alone.
    pub distrusted: u64,
}

/// What one step of collecting garbage did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Collected {
    /// What was moved to other segments.
    pub moved: Bytes,
    /// What the files take less.
    pub freed: Bytes,
    /// Segments that are gone.
    pub segments: u64,
    /// Whether there is more to do.
    pub is_unfinished: bool,
}
