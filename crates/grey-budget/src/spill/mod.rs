//! Values that leave memory for the disk and come back.
//!
//! - `store`: what a program calls; `load`: reading many, and back into memory.
//! - `options`, `error`, `statistics`: what goes in and what comes out.
//! - `state`: what is known, behind one lock; `index`: where each value is.
//! - `writer`: the thread that writes; `append`: how records are made;
//!   `garbage`: how dead ones go.
//! - `recovery`: what is in a directory; `reading`: one record.
//! - `format`, `codec`, `key_hash`: bytes.
//!
//! Whatever happens to the process, a value that is read is right, or absent.
//! After a loss of power what was flushed is there; what was not may be absent.

mod append;
mod codec;
mod error;
mod format;
mod garbage;
mod index;
mod key_hash;
mod load;
mod options;
mod reading;
mod recovery;
mod state;
mod statistics;
mod store;
mod writer;

pub use error::SpillError;
pub use load::{LoadedBack, Spilled, Take};
pub use options::{
    Compression, MOST_KEY_BYTES, MOST_PROJECT_BYTES, MOST_PROJECTS, MOST_VALUE_BYTES, SpillOptions,
    SpillTags,
};
pub use statistics::{Collected, Recovery, SetAside, SpillStatistics};
pub use store::{SpillPlace, SpillStore, Unwritten};

#[cfg(test)]
#[cfg(not(grey_loom))]
mod tests;
