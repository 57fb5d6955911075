//! What is in a directory when a store is opened: the segments are read in the
//! order in which they were written, headers only, and the index is made.
//!
//! A value that is read is the last one of its key, or it is not read. Where a
//! record is damaged that may have replaced or removed others, those others
//! are not to be trusted: if the record after it or the roster names it, only
//! its key is dropped; else everything that was written before. What breaks off
//! is the end of a write that was interrupted, and is cut; so is what was never
//! written by this store.
//!
//! Removes nothing but files that hold no record.

use std::num::NonZeroU32;
use std::path::PathBuf;

use grey_model::Bytes;

use super::error::SpillError;
use super::files::{FileKind, Found, number_in, set_aside};
use super::format::Link;
use super::index::Index;
use super::key_hash::{KeyHash, Salt};
use super::options::SpillOptions;
use super::reading::Window;
use super::replay::Next;
use super::roster::{self, List};
use super::state::{State, Work};
use super::statistics::{Recovery, SetAside};

/// The end of what was written, from where writing goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tail {
    /// The last segment; 0 when there is none.
    pub(super) segment: u32,
    pub(super) end: u64,
    pub(super) previous: Link,
    pub(super) sequence: u64,
}

/// A directory that was read.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) state: State,
    pub(super) salt: Salt,
    pub(super) recovery: Recovery,
    pub(super) tail: Tail,
    /// The number of the next segment.
    pub(super) next: u32,
}

pub(super) struct Reader<'a> {
    pub(super) options: &'a SpillOptions,
    pub(super) state: State,
    pub(super) recovery: Recovery,
    pub(super) window: Window,
    /// Keys whose last record is damaged.
    pub(super) forgotten: Vec<KeyHash>,
    /// The roster of the segment that is read, once it was needed.
    pub(super) roster: Option<Option<List>>,
}

/// Reads a directory.
pub(super) fn open(options: &SpillOptions) -> Result<Opened, SpillError> {
    let directory = &options.directory;
    let mut files: Vec<(NonZeroU32, PathBuf)> = Vec::new();
    let mut highest = 0;
    let listed = options
        .disk
        .list(directory)
        .map_err(|error| SpillError::of_io("list the spill directory", directory, error))?;
    let mut rosters = Vec::new();
    for path in listed {
        if let Some((id, kind)) = number_in(&path) {
            highest = highest.max(id.get());
            match kind {
                FileKind::Segment => files.push((id, path)),
                FileKind::Roster => rosters.push((id, path)),
                FileKind::Other => {}
            }
        }
    }
    files.sort();
    for (id, path) in rosters {
        if files.binary_search_by_key(&id, |(id, _)| *id).is_err() {
            roster::remove(&*options.disk, &path);
        }
    }
    let mut reader = Reader {
        options,
        state: State::new(Index::new(
            options.component.clone(),
            options.expected_entries,
        )),
        recovery: Recovery::default(),
        window: Window::new(),
        forgotten: Vec::new(),
        roster: None,
    };
    let candidates = reader.candidates(files)?;
    let salt = candidates
        .iter()
        .flatten()
        .next()
        .map_or_else(Salt::random, |candidate| candidate.header.salt);
    let mut tail = Tail::default();
    for place in 0..candidates.len() {
        match &candidates[place] {
            Ok(candidate) => {
                let next = match candidates.get(place + 1) {
                    None => Next::Nothing,
                    Some(Ok(next)) if next.header.previous_segment == candidate.header.segment => {
                        Next::Known(next.header)
                    }
                    Some(_) => Next::Unknown,
                };
                tail = reader.replay(candidate, salt, next, tail.sequence)?;
            }
            // It may have replaced anything that came before.
            Err(_) => reader.distrust(),
        }
    }
    reader.make_lasting(candidates)?;
    reader.recovery.values = reader.state.index.len() as u64;
    reader.report();
    let next = highest.checked_add(1).ok_or_else(|| {
        SpillError::of_io(
            "number a segment in",
            directory,
            std::io::ErrorKind::Other.into(),
        )
    })?;
    Ok(Opened {
        state: reader.state,
        salt,
        recovery: reader.recovery,
        tail,
        next,
    })
}

impl Reader<'_> {
    /// What is not believed now must not be believed the next time either,
    /// when the damage is set aside: what came before a file that is of no use
    /// goes before that file does, and a key whose last record is damaged gets
    /// a tombstone.
    fn make_lasting(&mut self, candidates: Vec<Found>) -> Result<(), SpillError> {
        for useless in candidates.into_iter().filter_map(Result::err) {
            while let Some(oldest) = self.state.segments.first_entry() {
                if *oldest.key() > useless.id {
                    break;
                }
                let numbers = oldest.remove();
                let path = &numbers.segment.path;
                if numbers.is_damaged {
                    set_aside(&*self.options.disk, path, "damaged")?;
                } else {
                    self.options
                        .disk
                        .remove(path)
                        .map_err(|error| SpillError::of_io("remove", path, error))?;
                }
                roster::remove(&*self.options.disk, path);
                let taken = numbers.length + numbers.roster;
                self.state.on_disk = self.state.on_disk.saturating_sub(taken);
            }
            let path = set_aside(&*self.options.disk, &useless.path, useless.why)?;
            roster::remove(&*self.options.disk, &useless.path);
            self.recovery.set_aside.push(SetAside {
                path,
                reason: useless.reason,
            });
        }
        self.forgotten.sort_unstable();
        self.forgotten.dedup();
        for hash in std::mem::take(&mut self.forgotten) {
            if self.state.index.get(hash).is_none() {
                self.state.queue.push_back(Work::Remove(hash));
            }
        }
        Ok(())
    }

    fn report(&self) {
        for file in &self.recovery.set_aside {
            tracing::warn!(path = %file.path.display(), reason = %file.reason, "a spill segment was set aside");
        }
        for path in &self.recovery.damaged {
            tracing::warn!(path = %path.display(), "a spill segment is damaged");
        }
        if self.recovery.lost > 0 {
            tracing::warn!(
                records = self.recovery.lost,
                "spilled records are damaged; their keys have no value"
            );
        }
        if self.recovery.foreign > Bytes::ZERO {
            tracing::warn!(
                bytes = self.recovery.foreign.get(),
                "bytes that were never spilled were behind the last spilled value, and are cut off"
            );
        }
        if self.recovery.distrusted > 0 {
            tracing::warn!(
                values = self.recovery.distrusted,
                "spilled values may have been replaced by what is damaged, and are dropped"
            );
        }
    }
}
