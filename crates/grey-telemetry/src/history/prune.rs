//! Which shards go when history is too large or too old.
//!
//! Never trusts a shard's name alone: a clock that was wrong once has made
//! shards of a day to come. What is too old is told by the sample that is being
//! written, and what goes first by the order in which samples were taken.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::directory::{Shard, shards};
use super::error::HistoryError;
use super::reader::first_number;

/// What may stay.
pub(super) struct Bounds {
    /// The most bytes of all shards together.
    pub(super) max_bytes: u64,
    /// How long ago a shard's day may be.
    pub(super) max_age: Duration,
    /// What time it is by the samples that are being written, in milliseconds
    /// since 1970; without one nothing is too old.
    pub(super) now_unix_ms: Option<u64>,
    /// The shard that is being written, which stays.
    pub(super) current: Option<Shard>,
}

struct There {
    /// Number of the first sample that can be read in it. Where none can, it
    /// goes last: it may be the newest.
    first: u64,
    shard: Shard,
    length: u64,
}

/// Deletes the shards in `directory` that are out of `bounds`, the first taken
/// first. The last taken stays in any case.
///
/// # Errors
/// [`HistoryError::File`] when the directory cannot be listed or a shard cannot
/// be deleted. One that vanished meanwhile is no error.
pub(super) fn prune(directory: &Path, bounds: &Bounds) -> Result<(), HistoryError> {
    let mut there = Vec::new();
    for shard in shards(directory)? {
        let path = directory.join(shard.name());
        let length = match fs::metadata(&path) {
            Ok(facts) => facts.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(HistoryError::file("look at", &path)(error)),
        };
        let first = first_number(&path).unwrap_or(u64::MAX);
        there.push(There {
            first,
            shard,
            length,
        });
    }
    there.sort_unstable_by_key(|there| (there.first, there.shard));
    let mut total: u64 = there.iter().map(|there| there.length).sum();
    let newest = there.last().map(|there| there.shard);
    let oldest_day = bounds.now_unix_ms.and_then(|now| {
        let age = jiff::SignedDuration::try_from(bounds.max_age).ok()?;
        Shard::of(now).day.checked_sub(age).ok()
    });
    for there in there {
        let shard = there.shard;
        let is_too_old = oldest_day.is_some_and(|oldest| shard.day < oldest);
        let is_needed = Some(shard) == bounds.current || Some(shard) == newest;
        if is_needed || (!is_too_old && total <= bounds.max_bytes) {
            continue;
        }
        let path = directory.join(shard.name());
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(HistoryError::file("remove", &path)(error)),
        }
        total -= there.length;
    }
    Ok(())
}
