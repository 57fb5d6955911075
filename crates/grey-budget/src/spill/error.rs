//! Why a spill store could not do what it was asked.
//!
//! Never says that something was written which was not.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use grey_model::Bytes;

use crate::budget::ReserveError;

/// A spill store could not be opened, written, read or cleaned.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SpillError {
    /// Another process, or another store of this one, uses the directory.
    #[error(
        "failed to open the spill directory `{}`: in use by {}",
        directory.display(),
        owner.map_or_else(|| "another process".to_owned(), |owner| format!("process {owner}"))
    )]
    InUse {
        /// The directory.
        directory: PathBuf,
        /// The process that uses it, when the lock file names it.
        owner: Option<u32>,
    },
    /// The directory was removed, or is another one by now. What is written there
    /// would be lost, or another store's.
    #[error("failed to {action} the spill directory `{}`: it was removed or replaced while it was in use", directory.display())]
    Displaced {
        /// What was being done.
        action: &'static str,
        /// The directory.
        directory: PathBuf,
    },
    /// The directory has no name: it would be wherever the program is.
    #[error("failed to open a spill store: its directory has an empty path")]
    NoDirectory,
    /// There is something else where the directory is to be.
    #[error("failed to open the spill directory `{}`: it, or a part of its path, is not a directory", path.display())]
    NotADirectory {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The disk is full.
    #[error("failed to {action} `{}`: the disk is full", path.display())]
    DiskFull {
        /// What was being done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The file system, or the directory, cannot be written.
    #[error("failed to {action} `{}`: it cannot be written", path.display())]
    ReadOnly {
        /// What was being done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The kernel refused for another reason.
    #[error("failed to {action} `{}`", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The store would take more than it may.
    #[error("failed to spill {wanted}: {on_disk} of {quota} are taken")]
    QuotaExceeded {
        /// What was to be written.
        wanted: Bytes,
        /// What the store takes.
        on_disk: Bytes,
        /// What it may take.
        quota: Bytes,
    },
    /// The disk would have less free than must stay.
    #[error(
        "failed to spill to `{}`: {free} are free, and {floor} must stay free",
        directory.display()
    )]
    TooLittleFree {
        /// The directory.
        directory: PathBuf,
        /// What is free.
        free: Bytes,
        /// What must stay free.
        floor: Bytes,
    },
    /// The key is too long.
    #[error("failed to spill under a key of {length} bytes: {most} are the most")]
    KeyTooLong {
        /// How long it is, in bytes.
        length: usize,
        /// How long it may be, in bytes.
        most: usize,
    },
    /// The name of the project is too long.
    #[error("failed to spill for a project whose name has {length} bytes: {most} are the most")]
    ProjectTooLong {
        /// How long it is, in bytes.
        length: usize,
        /// How long it may be, in bytes.
        most: usize,
    },
    /// There are too many projects in this store.
    #[error("failed to spill for another project: {most} are the most")]
    TooManyProjects {
        /// How many there may be.
        most: usize,
    },
    /// The value is too long.
    #[error("failed to spill a value of {length}: {most} are the most")]
    ValueTooLong {
        /// How long it is.
        length: Bytes,
        /// How long it may be.
        most: Bytes,
    },
    /// What is on the disk is not what was written.
    #[error("failed to read a value at byte {offset} of `{}`: {what}", path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where its record begins.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The store belongs to the process that this one was forked from.
    #[error("failed to use a spill store after a fork: it belongs to process {owner}")]
    Forked {
        /// That process.
        owner: u32,
    },
    /// The disk took too long. What was accepted is still in memory.
    #[error("failed to {action}: the disk did not finish within {waited:?}")]
    Stalled {
        /// What was being done.
        action: &'static str,
        /// For how long.
        waited: Duration,
    },
    /// The store is being closed, or its thread ended.
    #[error("failed to spill: the store is closed")]
    Closed,
    /// The budget does not give the staging buffer.
    #[error("failed to reserve the staging buffer of a spill store")]
    Staging {
        /// Why not.
        #[source]
        source: ReserveError,
    },
    /// The budget does not give an index for as many values as are expected.
    #[error("failed to reserve the index of a spill store for {entries} values")]
    Index {
        /// How many are expected.
        entries: usize,
        /// Why not.
        #[source]
        source: ReserveError,
    },
    /// The staging buffer is smaller than one value's way to the disk needs.
    #[error(
        "failed to open a spill store with a staging buffer of {staging}: {least} are the least"
    )]
    StagingTooSmall {
        /// What was asked for.
        staging: Bytes,
        /// What is needed.
        least: Bytes,
    },
    /// A setting makes no sense.
    #[error(
        "failed to open a spill store with {setting} of {value}: {least} to {most} are possible"
    )]
    Setting {
        /// Which one.
        setting: &'static str,
        /// What was asked for.
        value: Bytes,
        /// The least.
        least: Bytes,
        /// The most.
        most: Bytes,
    },
    /// A value could not be turned into bytes or back.
    #[error("failed to {action} `{key}`: {reason}")]
    Serialize {
        /// What was being done.
        action: &'static str,
        /// Under which key.
        key: String,
        /// What the encoding says.
        reason: String,
    },
}

impl SpillError {
    /// What the kernel said, with what it means.
    pub(super) fn of_io(action: &'static str, path: &Path, error: io::Error) -> Self {
        let kind = error.kind();
        let (path, source) = (path.to_owned(), Arc::new(error));
        match kind {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull {
                action,
                path,
                source,
            },
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Self::ReadOnly {
                action,
                path,
                source,
            },
            _ => Self::Io {
                action,
                path,
                source,
            },
        }
    }

    /// Why a directory cannot be made.
    pub(super) fn of_directory(path: &Path, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => Self::NotADirectory {
                path: path.to_owned(),
                source: Arc::new(error),
            },
            _ => Self::of_io("create the spill directory", path, error),
        }
    }

    /// Whether the disk has too little room, or may not be filled more.
    pub(super) const fn is_for_space(&self) -> bool {
        matches!(self, Self::DiskFull { .. } | Self::TooLittleFree { .. })
    }

    /// Whether the same may succeed later without anybody changing a setting:
    /// when space was freed or the disk works again.
    #[must_use]
    pub const fn may_retry(&self) -> bool {
        matches!(
            self,
            Self::DiskFull { .. }
                | Self::ReadOnly { .. }
                | Self::Io { .. }
                | Self::QuotaExceeded { .. }
                | Self::TooLittleFree { .. }
                | Self::InUse { .. }
                | Self::Stalled { .. }
        )
    }
}
