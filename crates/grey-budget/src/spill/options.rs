//! How a spill store is to be, and what is said about each value.
//!
//! Never reads a configuration: `~` and the like are resolved before.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use grey_model::{Bytes, Priority};

use super::codec::STORED_BLOCK;
use super::error::SpillError;
use super::reading::WINDOW;
use super::roster::ROSTER_BUFFER;
use crate::budget::Component;
use crate::disk::{Disk, SystemDisk};

/// The longest key. Longer things are not names but values.
pub const MOST_KEY_BYTES: usize = 64 << 10;

/// The longest name of a project.
pub const MOST_PROJECT_BYTES: usize = 255;

/// The most projects of one store.
pub const MOST_PROJECTS: usize = 4096;

/// The largest value.
pub const MOST_VALUE_BYTES: u64 = 1 << 30;

/// What is encoded before it is written in one piece.
pub(super) const WRITE_BUFFER: usize = 1 << 20;

/// Readers whose buffers are kept.
pub(super) const READERS: usize = 8;

/// What zstd keeps for compressing one block, and for decompressing one:
/// estimates, meant to be on the high side.
const COMPRESSOR: usize = 1 << 20;
const DECOMPRESSOR: usize = 160 << 10;

/// What is gone of the staging buffer before a value is accepted.
pub(super) const FIXED_STAGING: u64 =
    (WRITE_BUFFER + ROSTER_BUFFER + COMPRESSOR + STORED_BLOCK + READERS * (WINDOW + DECOMPRESSOR))
        as u64;

/// The least that must be left of it for values.
const LEAST_PENDING: u64 = 256 << 10;

const LEAST_SEGMENT: Bytes = Bytes::from_kib(4);
const MOST_SEGMENT: Bytes = Bytes::from_mib(16 << 10);

/// How values are made smaller. It turns itself off for each project whose
/// values do not get a tenth smaller, embeddings for example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    None,
    /// Lz4: reads faster, saves less.
    Lz4,
    /// Zstd at level 1: writes as fast as lz4 and saves half again as much.
    #[default]
    Zstd,
}

/// What is said about a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpillTags<'a> {
    /// How dear it is: the dearest are loaded back first.
    pub priority: Priority,
    /// Whose it is.
    pub project: Option<&'a str>,
}

impl<'a> SpillTags<'a> {
    /// Nobody's, and of this priority.
    #[must_use]
    pub const fn new(priority: Priority) -> Self {
        Self {
            priority,
            project: None,
        }
    }

    /// The same, of a project.
    #[must_use]
    pub const fn of_project(self, project: &'a str) -> Self {
        Self {
            priority: self.priority,
            project: Some(project),
        }
    }
}

/// How a spill store is to be.
#[derive(Debug, Clone)]
#[must_use = "a store exists once it is opened"]
pub struct SpillOptions {
    pub(super) directory: PathBuf,
    pub(super) component: Component,
    pub(super) quota: Bytes,
    pub(super) free_floor: Bytes,
    pub(super) compression: Compression,
    pub(super) segment: Bytes,
    pub(super) staging: Bytes,
    pub(super) expected_entries: usize,
    pub(super) patience: Duration,
    pub(super) disk: Arc<dyn Disk>,
}

impl SpillOptions {
    /// A store in `directory`, which is made if it does not exist, whose
    /// memory is charged to `component`: 1000 MiB at most, 256 MiB stay free,
    /// zstd, segments of 64 MiB, a staging buffer of 8 MiB.
    pub fn new(directory: impl Into<PathBuf>, component: Component) -> Self {
        Self {
            directory: directory.into(),
            component,
            quota: Bytes::from_mib(1000),
            free_floor: Bytes::from_mib(256),
            compression: Compression::default(),
            segment: Bytes::from_mib(64),
            staging: Bytes::from_mib(8),
            expected_entries: 0,
            patience: Duration::from_secs(30),
            disk: Arc::new(SystemDisk),
        }
    }

    /// The most that its files take together (`max_spill_size_mb`). While
    /// garbage is collected it may be half a segment more.
    pub const fn quota(mut self, quota: Bytes) -> Self {
        self.quota = quota;
        self
    }

    /// What must stay free on the disk. Below it no value is written or moved;
    /// that one is gone is written all the same, in some 100 bytes, so that the
    /// store becomes smaller.
    pub const fn free_floor(mut self, floor: Bytes) -> Self {
        self.free_floor = floor;
        self
    }

    /// How values are made smaller.
    pub const fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// How long a segment file gets before the next one begins.
    pub const fn segment(mut self, length: Bytes) -> Self {
        self.segment = length;
        self
    }

    /// The memory for values on their way to the disk and for encoding them,
    /// reserved when the store is opened and kept until it is closed.
    pub const fn staging(mut self, staging: Bytes) -> Self {
        self.staging = staging;
        self
    }

    /// Makes the index large enough for so many values at once, so that it
    /// need not grow under pressure. The store is refused when the budget does
    /// not give so much.
    pub const fn expected_entries(mut self, entries: usize) -> Self {
        self.expected_entries = entries;
        self
    }

    /// How long a write, a flush and closing wait for the disk at most.
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The disk to write to.
    pub fn disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = disk;
        self
    }

    /// What values may take of the staging buffer.
    pub(super) const fn pending_limit(&self) -> u64 {
        self.staging.get().saturating_sub(FIXED_STAGING)
    }

    pub(super) fn check(&self) -> Result<(), SpillError> {
        if self.directory.as_os_str().is_empty() {
            return Err(SpillError::NoDirectory);
        }
        let least = Bytes(FIXED_STAGING + LEAST_PENDING);
        if self.staging < least {
            return Err(SpillError::StagingTooSmall {
                staging: self.staging,
                least,
            });
        }
        if self.segment < LEAST_SEGMENT || self.segment > MOST_SEGMENT {
            return Err(SpillError::Setting {
                setting: "segments",
                value: self.segment,
                least: LEAST_SEGMENT,
                most: MOST_SEGMENT,
            });
        }
        if self.quota < LEAST_SEGMENT {
            return Err(SpillError::Setting {
                setting: "a quota",
                value: self.quota,
                least: LEAST_SEGMENT,
                most: Bytes(u64::MAX),
            });
        }
        Ok(())
    }
}
