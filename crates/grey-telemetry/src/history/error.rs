//! What can go wrong with history, and what is missing from it.

use std::io;
use std::path::PathBuf;

/// History that cannot be kept or read at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// A file or the directory could not be used.
    #[error("failed to {doing} `{path}`")]
    File {
        /// What was being done.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Somebody records there already.
    #[error("history in `{path}` is being recorded by {}", holder.map_or_else(|| "another program".to_owned(), |pid| format!("process {pid}")))]
    Busy {
        /// The directory.
        path: PathBuf,
        /// By whom, where the lock says.
        holder: Option<u32>,
    },
    /// The directory has files of a version that this one must not add to.
    #[error("history in `{path}` was written by a newer version (format {version})")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        version: u16,
    },
    /// A file that is read whole or not at all is not as it was written.
    #[error("`{path}` is damaged")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The directory is not safe to write to.
    #[error("history in `{path}` is not safe to use: {reason}")]
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl HistoryError {
    /// The failure of a file, for `map_err`.
    pub(super) fn file(
        doing: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            doing,
            path,
            source,
        }
    }
}

/// A file that a newer version has written. It is neither read nor changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewerFile {
    /// Which.
    pub path: PathBuf,
    /// Its format.
    pub format: u16,
}

/// A part of history that could not be read. The rest was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// In which file.
    pub path: PathBuf,
    /// From which byte of it.
    pub from_byte: u64,
    /// How many bytes.
    pub bytes: u64,
    /// What is wrong with them, in words.
    pub reason: String,
    /// How many samples were in it, where that is known; none where it only
    /// repeats others.
    pub samples: Option<u64>,
    /// From when to when the samples in it were, or between which others, where
    /// that is known, in milliseconds since 1970.
    pub between_unix_ms: Option<(u64, u64)>,
}

impl Loss {
    /// Whether nothing is missing: it repeats what is there.
    #[must_use]
    pub const fn is_repeated(&self) -> bool {
        matches!(self.samples, Some(0))
    }

    /// Whether the whole file could not be read: what is in it may be good.
    #[must_use]
    pub const fn is_of_whole_file(&self) -> bool {
        self.bytes == 0
    }
}
