//! The journal: what was changed, what was there before, and what became of it.
//!
//! JSON lines, each with a checksum, only ever appended. A record is on disk
//! before the write that it describes. Never believes a line whose checksum
//! does not match, and never follows a link in the state directory.

mod directory;
mod entry;
mod lock;
mod loss;
mod record;
mod replay;
mod store;

pub use entry::{EntryState, JournalEntry};
pub use lock::LockError;
pub use loss::Loss;
pub use record::Actor;
pub use store::Journal;

pub(crate) use entry::Change;
pub(crate) use record::Ending;
pub(crate) use store::ChangeToRecord;

use std::io;
use std::path::PathBuf;

/// The journal could not be used. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A file or directory of it could not be opened or made.
    #[error("failed to open the journal at `{}`", path.display())]
    Open {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something is there that is not ours, and might be a trap.
    #[error("`{}` is not safe to use: {problem}", path.display())]
    Unsafe {
        /// Which file or directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// It could not be read.
    #[error("failed to read the journal at `{}`", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It could not be written: no room, or read-only.
    #[error("failed to write to the journal at `{}`", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It has grown beyond what is ever written.
    #[error("the journal at `{}` has {bytes} bytes, more than {most}", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// How large it is.
        bytes: u64,
        /// The bound.
        most: u64,
    },
    /// Another version of this program has written to it. Writing now could
    /// undo the wrong thing.
    #[error("the journal at `{}` has records of another version", path.display())]
    OtherVersion {
        /// Which file.
        path: PathBuf,
    },
    /// Somebody else holds the lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A record could not be made: a path in it is not UTF-8.
    #[error("failed to record the change of {what}")]
    Encode {
        /// What was to be changed.
        what: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl JournalError {
    /// Whether we lack the permission, or the file system is read-only.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        match self {
            Self::Open { source, .. } | Self::Read { source, .. } | Self::Write { source, .. } => {
                matches!(
                    source.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                )
            }
            _ => false,
        }
    }
}
