//! Values that leave memory for the disk and come back.
//!
//! - `store`: what a program calls; `room`, `owner`: waiting for the thread,
//!   and its end.
//! - `lookup`: one value; `load`: reading many; `load_back`: back into memory;
//!   `unwritten`: taking back; `typed`: values of any type; `numbers`: questions.
//! - `options`, `error`, `statistics`: what goes in and what comes out.
//! - `state`: what is known, behind one lock; `index`: where each value is.
//! - `writer`: the thread that writes; `append`: how records are made;
//!   `held`: what becomes of them when they cannot be written; `overwrite`: what
//!   was removed, on a full disk; `segments`: where
//!   they go; `commit`: what is true once they are there; `garbage`: how dead
//!   ones go, `choice`: which of them.
//! - `recovery`: what is in a directory; `files`: which files count; `replay`,
//!   `scan`: their records; `reading`: one record; `roster`: which keys have
//!   records in a segment, for when it is damaged.
//! - `format`, `codec`, `key_hash`: bytes.
//!
//! A value that is read is right, or absent: also after an end with values that
//! could not be written. Whatever happens to the process or the power, what was
//! flushed is there; what came after it may be absent, as if never written.

mod append;
mod choice;
mod codec;
mod commit;
mod error;
mod files;
mod format;
mod garbage;
mod held;
mod index;
mod key_hash;
mod load;
mod load_back;
mod lookup;
mod numbers;
mod options;
mod overwrite;
mod owner;
mod reading;
mod recovery;
mod replay;
mod room;
mod roster;
mod scan;
mod segments;
mod state;
mod statistics;
mod store;
mod typed;
mod unwritten;
mod writer;

pub use error::SpillError;
pub(crate) use load_back::Taker;
pub use load_back::{LoadedBack, Spilled, Take};
pub use lookup::SpillPlace;
pub use options::{
    Compression, MOST_KEY_BYTES, MOST_PROJECT_BYTES, MOST_PROJECTS, MOST_VALUE_BYTES, SpillOptions,
    SpillTags,
};
pub use statistics::{Collected, Recovery, SetAside, SpillStatistics};
pub use store::SpillStore;
pub use unwritten::Unwritten;

#[cfg(test)]
#[cfg(not(grey_loom))]
mod tests;
