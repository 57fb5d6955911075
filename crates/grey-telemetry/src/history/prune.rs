//! What goes when history is too large or too old: shards, dumps, and damaged
//! tails that were set aside.
//!
//! Never trusts a shard's name alone: a clock that was wrong once has made
//! shards of a day to come. What is too old is told by the sample that is being
//! written, and of one kind what was made first goes first, whatever the clock
//! said. Never deletes the tail.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::directory::{Shard, shards};
use super::dump::deletable;
use super::error::HistoryError;
use super::files::{first_header, written_unix_ms};
use super::recover::{damaged_tails, tail_name};

/// What may stay.
pub(super) struct Bounds {
    /// The most bytes of all of them together.
    pub(super) max_bytes: u64,
    /// How long ago a shard's day, the end of a dump, or the last write to a
    /// damaged tail may be.
    pub(super) max_age: Duration,
    /// What time it is by the samples that are being written, in milliseconds
    /// since 1970; without one nothing is too old.
    pub(super) now_unix_ms: Option<u64>,
    /// The shard that is being written, which stays.
    pub(super) current: Option<Shard>,
}

/// One that may go.
struct There {
    path: PathBuf,
    /// When it began or was made, in milliseconds since 1970: who of two kinds is
    /// older.
    at_unix_ms: u64,
    is_too_old: bool,
    /// What it takes on the disk.
    taken: u64,
}

/// Those of each kind, in the order in which they were made, and what the ones
/// that stay take.
#[derive(Default)]
struct Found {
    kinds: [VecDeque<There>; 3],
    staying: u64,
}

/// Deletes in `directory` what is out of `bounds`, the oldest first. The shard
/// with what was taken last stays in any case, and the newest dump does unless it
/// is too old.
///
/// # Errors
/// [`HistoryError::File`] when the directory cannot be listed or a file cannot
/// be deleted. One that vanished meanwhile is no error.
pub(super) fn prune(directory: &Path, bounds: &Bounds) -> Result<(), HistoryError> {
    let mut found = Found::default();
    add_shards(&mut found, directory, bounds)?;
    add_damaged_tails(&mut found, directory, bounds)?;
    add_dumps(&mut found, directory, bounds)?;
    for kind in &mut found.kinds {
        for old in kind.iter().filter(|there| there.is_too_old) {
            remove(&old.path)?;
        }
        kind.retain(|there| !there.is_too_old);
    }
    // Made last, and so the last to be missed: a kill is explained by it.
    if let Some(newest) = found.kinds[2].pop_back() {
        found.staying += newest.taken;
    }
    let left = found.kinds.iter().flatten();
    let mut total = found.staying + left.map(|there| there.taken).sum::<u64>();
    while total > bounds.max_bytes {
        let heads = found.kinds.iter().enumerate();
        let heads = heads.filter_map(|(kind, all)| Some((all.front()?.at_unix_ms, kind)));
        let Some((_, kind)) = heads.min() else { break };
        if let Some(oldest) = found.kinds[kind].pop_front() {
            remove(&oldest.path)?;
            total -= oldest.taken;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), HistoryError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(HistoryError::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// What a file takes on the disk: of one with holes less than its length. `None`
/// when it has vanished.
fn taken(path: &Path) -> Result<Option<u64>, HistoryError> {
    /// The unit of `st_blocks`, whatever the file system's is.
    const BLOCK: u64 = 512;
    match fs::symlink_metadata(path) {
        Ok(facts) => Ok(Some(facts.len().min(facts.blocks().saturating_mul(BLOCK)))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(HistoryError::file("look at", path)(error)),
    }
}

fn add_shards(found: &mut Found, directory: &Path, bounds: &Bounds) -> Result<(), HistoryError> {
    let mut there = Vec::new();
    for shard in shards(directory)? {
        let path = directory.join(shard.name());
        // Where no number can be read, it goes last: it may be the newest.
        let header = first_header(&path);
        let first = header.as_ref().map_or(u64::MAX, |header| header.first);
        let began = header.map(|header| header.from_unix_ms);
        let began = began.unwrap_or_else(|| written_unix_ms(&path).unwrap_or_default());
        there.push((first, shard, path, began));
    }
    there.sort_unstable_by_key(|(first, shard, ..)| (*first, *shard));
    let newest = there.last().map(|(_, shard, ..)| *shard);
    let oldest_day = bounds.now_unix_ms.and_then(|now| {
        let age = jiff::SignedDuration::try_from(bounds.max_age).ok()?;
        Shard::of(now).day.checked_sub(age).ok()
    });
    for (_, shard, path, at_unix_ms) in there {
        let Some(taken) = taken(&path)? else { continue };
        if Some(shard) == bounds.current || Some(shard) == newest {
            found.staying += taken;
            continue;
        }
        found.kinds[0].push_back(There {
            is_too_old: oldest_day.is_some_and(|oldest| shard.day < oldest),
            path,
            at_unix_ms,
            taken,
        });
    }
    Ok(())
}

fn add_damaged_tails(
    found: &mut Found,
    directory: &Path,
    bounds: &Bounds,
) -> Result<(), HistoryError> {
    for number in damaged_tails(directory)? {
        let path = directory.join(tail_name(number));
        let at = written_unix_ms(&path).unwrap_or_default();
        add_file(&mut found.kinds[1], path, at, bounds)?;
    }
    Ok(())
}

fn add_dumps(found: &mut Found, directory: &Path, bounds: &Bounds) -> Result<(), HistoryError> {
    for (path, until) in deletable(directory)? {
        let at = until.unwrap_or_else(|| written_unix_ms(&path).unwrap_or_default());
        add_file(&mut found.kinds[2], path, at, bounds)?;
    }
    Ok(())
}

fn add_file(
    kind: &mut VecDeque<There>,
    path: PathBuf,
    at_unix_ms: u64,
    bounds: &Bounds,
) -> Result<(), HistoryError> {
    let age = u64::try_from(bounds.max_age.as_millis()).unwrap_or(u64::MAX);
    let oldest = bounds.now_unix_ms.map(|now| now.saturating_sub(age));
    if let Some(taken) = taken(&path)? {
        kind.push_back(There {
            is_too_old: oldest.is_some_and(|oldest| at_unix_ms < oldest),
            path,
            at_unix_ms,
            taken,
        });
    }
    Ok(())
}
