//! History: samples of the machine, kept in files without a server.
//!
//! A directory holds *shards*, one or more a day, each a row of compressed
//! blocks, and the *tail*: the newest samples, one record each. Everything is
//! only ever appended; when the tail is long enough it becomes a block. A
//! record or block that its checksum does not fit is left out and told; what
//! lies beside it is read. In the tail each 60th sample is whole in itself:
//! from there on it is read again.
//!
//! Samples have numbers, which only ever grow, over boots and recorders: that is
//! the order of taking, in which they are given back. The clock may be set; it
//! only tells which samples are meant.
//!
//! | File | Holds |
//! |---|---|
//! | `2026-11-21-00.shard` | blocks of samples, compressed |
//! | `tail` | the newest samples, one record each |
//! | `tail-damaged-000001` | a tail that could not be read whole; what could is in a shard |
//! | `dump-000007-20261121T100405Z-oom-kill.dump` | the last minute before something happened, ten samples a second |
//! | `lock` | the recorder that writes here |
//!
//! Never writes to the kernel; what is written is ordinary files in a directory
//! of its own.

mod alarm;
mod block;
mod cgroups;
mod codec;
mod directory;
mod dump;
mod error;
mod files;
mod number;
mod open_tail;
mod prune;
mod reader;
mod recover;
mod repeated;
mod ring;
mod sampler;
mod tail;
mod writer;

pub use alarm::Alarm;
pub use directory::is_being_recorded;
pub use dump::{Dump, DumpFault, DumpFolder, DumpReason, MOST_DUMPS, dumps, read_dump};
pub use error::{HistoryError, Loss, NewerFile};
pub use reader::{History, HistorySpan};
pub use ring::{RING_INTERVAL, RING_LENGTH, Ring, RingReader};
pub use sampler::{MOST_PROCESSES, Sampler, SamplerOptions};
pub use writer::{HistoryOptions, HistoryWriter};

#[cfg(test)]
mod tests;
