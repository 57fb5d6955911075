//! Where the value of a key is, and reading it.
//!
//! Never gives a value that is not what was written.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::error::SpillError;
use super::index::{Entry, Location, Place};
use super::key_hash::{KeyHash, hash_key};
use super::reading::Segment;
use super::store::SpillStore;

/// Where a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpillPlace {
    /// It could not be written, and is held in memory for another attempt.
    Memory,
    /// It is on its way to the disk.
    Spilling,
    /// It is on the disk.
    Disk,
}

/// Where the value of a key was found.
pub(super) enum Found {
    Nothing,
    Value(Arc<[u8]>),
    Record(Arc<Segment>, Location),
}

impl SpillStore {
    /// The value of a key.
    ///
    /// # Errors
    /// [`SpillError::Damaged`] when it is not what was written; others when the
    /// disk cannot be read.
    pub fn read(&self, key: &[u8]) -> Result<Option<Arc<[u8]>>, SpillError> {
        self.shared.check_process()?;
        let hash = hash_key(self.shared.salt, key);
        let mut turns = 0;
        loop {
            let (segment, location) = match self.place_of(hash, key) {
                Found::Nothing => return Ok(None),
                Found::Value(value) => return Ok(Some(value)),
                Found::Record(segment, location) => (segment, location),
            };
            let mut scratch = self.shared.take_scratch()?;
            let read = scratch.read(&segment, self.shared.salt, location, 0, |_, found| {
                found == key
            });
            self.shared.put_scratch(scratch);
            turns += 1;
            match read {
                Ok(found) => {
                    self.shared.reads.fetch_add(1, Ordering::Relaxed);
                    return Ok(found.map(|found| found.value));
                }
                // It may have been moved since it was looked up.
                Err(_) if turns == 1 && !self.shared.state().is_at(hash, location) => {}
                Err(error) => {
                    self.count_damage(&error);
                    return Err(error);
                }
            }
        }
    }

    pub(super) fn count_damage(&self, error: &SpillError) {
        if matches!(error, SpillError::Damaged { .. }) {
            self.shared.damaged_reads.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "a spilled value is damaged"
            );
        }
    }

    pub(super) fn place_of(&self, hash: KeyHash, key: &[u8]) -> Found {
        let state = self.shared.state();
        match state.index.get(hash) {
            None => Found::Nothing,
            Some(Entry {
                place: Place::Staged(staged),
                ..
            }) => {
                if *staged.key == *key {
                    Found::Value(Arc::clone(&staged.value))
                } else {
                    Found::Nothing
                }
            }
            Some(Entry {
                place: Place::Disk(location),
                ..
            }) => match state.segments.get(&location.segment) {
                Some(numbers) => Found::Record(Arc::clone(&numbers.segment), *location),
                None => Found::Nothing,
            },
        }
    }

    /// Where the value of a key is.
    ///
    /// # Errors
    /// [`SpillError::Forked`].
    pub fn place(&self, key: &[u8]) -> Result<Option<SpillPlace>, SpillError> {
        self.shared.check_process()?;
        let hash = hash_key(self.shared.salt, key);
        let state = self.shared.state();
        Ok(state.index.get(hash).map(|entry| match &entry.place {
            Place::Disk(_) => SpillPlace::Disk,
            Place::Staged(staged) if staged.is_held.load(Ordering::Relaxed) => SpillPlace::Memory,
            Place::Staged(_) => SpillPlace::Spilling,
        }))
    }

    /// Whether a key has a value.
    ///
    /// # Errors
    /// [`SpillError::Forked`].
    pub fn contains(&self, key: &[u8]) -> Result<bool, SpillError> {
        Ok(self.place(key)?.is_some())
    }
}
