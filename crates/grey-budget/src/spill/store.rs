//! What a program calls: open, write, flush, remove, collect.
//!
//! Never loses a value that it accepted while the process lives: what cannot
//! be written stays in memory, can be read, and can be taken back.

use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use grey_model::Bytes;

use super::codec::Encoder;
use super::error::SpillError;
use super::index::{Entry, Index, Place, Staged, cost};
use super::key_hash::{KeyHash, hash_key};
use super::options::{
    MOST_KEY_BYTES, MOST_PROJECT_BYTES, MOST_VALUE_BYTES, SpillOptions, SpillTags,
};
use super::owner::Owner;
use super::reading::Scratch;
use super::room::wait;
use super::state::{Shared, State, Work};
use super::statistics::Collected;
use super::writer::Writer;
use crate::disk::LockFailure;

/// The file whose lock keeps other stores out of a directory.
pub(super) const LOCK_FILE: &str = "spill.lock";

/// Values on disk, by key. Clones are handles to the same store; when the last
/// one is dropped, what waits is written.
#[derive(Debug, Clone)]
pub struct SpillStore {
    pub(super) shared: Arc<Shared>,
    _owner: Arc<Owner>,
}

impl SpillStore {
    /// Opens a store, and reads what an earlier one left.
    ///
    /// # Errors
    /// [`SpillError`], when a setting is wrong, the budget does not give the
    /// staging buffer, another store uses the directory, or the disk refuses.
    pub fn open(options: SpillOptions) -> Result<Self, SpillError> {
        options.check()?;
        let staging = options
            .component
            .reserve_owned(options.staging)
            .map_err(|source| SpillError::Staging { source })?;
        let entries = options.expected_entries;
        // Given back at once: the index charges what it really takes.
        drop(
            options
                .component
                .reserve(Index::most_bytes(entries))
                .map_err(|source| SpillError::Index { entries, source })?,
        );
        let directory = &options.directory;
        let failed = |action| move |error| SpillError::of_io(action, directory, error);
        options
            .disk
            .create_directory(directory)
            .map_err(|error| SpillError::of_directory(directory, error))?;
        let lock_path = directory.join(LOCK_FILE);
        let lock = options
            .disk
            .lock(&lock_path)
            .map_err(|failure| match failure {
                LockFailure::Held(owner) => SpillError::InUse {
                    directory: directory.clone(),
                    owner,
                },
                LockFailure::Io(error) => SpillError::of_io("lock", &lock_path, error),
            })?;
        let is_in_memory = options
            .disk
            .is_in_memory(directory)
            .map_err(failed("look at the file system of"))?;
        if is_in_memory {
            tracing::warn!(directory = %directory.display(), "the spill directory is in memory: spilling frees nothing");
        }
        let encoder =
            Encoder::new(options.compression).map_err(failed("prepare to compress for"))?;
        let scratch = Scratch::new().map_err(failed("prepare to read from"))?;
        let opened = super::recovery::open(&options)?;
        let shared = Arc::new(Shared::new(
            options,
            opened.salt,
            opened.state,
            opened.recovery,
            is_in_memory,
            staging,
            lock,
        ));
        let writer = Writer::new(
            Arc::clone(&shared),
            opened.tail,
            opened.next,
            encoder,
            scratch,
        );
        let thread = std::thread::Builder::new()
            .name("grey-spill".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| {
                SpillError::of_io("start the thread of", &shared.options.directory, error)
            })?;
        let owner = Arc::new(Owner {
            shared: Arc::clone(&shared),
            thread: Some(thread),
        });
        Ok(Self {
            shared,
            _owner: owner,
        })
    }

    /// Gives a value to the store. It can be read from then on; it is on the
    /// disk later, see [`Self::flush`]. Replaces what its key had. Waits while
    /// the staging buffer is full. Whoever must not lose the value when it is
    /// refused keeps a clone until then.
    ///
    /// # Errors
    /// [`SpillError`], when it is too long, there is no room for it, or writing
    /// fails now. The store is then as it was.
    pub fn write(
        &self,
        key: &[u8],
        tags: SpillTags<'_>,
        value: Arc<[u8]>,
    ) -> Result<(), SpillError> {
        self.shared.check_process()?;
        check_lengths(key, tags, &value)?;
        let hash = hash_key(self.shared.salt, key);
        let cost = cost(key.len(), value.len());
        let limit = self.shared.options.pending_limit();
        // One value may be larger than the buffer: then it goes alone.
        let beyond = (cost > limit).then(|| {
            let component = &self.shared.options.component;
            component.overdraw(Bytes(cost - limit)).into_owned()
        });
        let mut state = self.wait_for_room(cost, limit)?;
        let project = state.projects.number(tags.project)?;
        let staged = Arc::new(Staged {
            hash,
            key: key.into(),
            project,
            project_name: state.projects.name(project),
            priority: tags.priority,
            value,
            is_held: AtomicBool::new(false),
            replaced: AtomicU32::new(0),
            _beyond: beyond,
        });
        let old = state.index.insert(
            hash,
            Entry {
                place: Place::Staged(Arc::clone(&staged)),
                priority: tags.priority,
                stamp: 0,
            },
        );
        staged.note_replaced(old.as_ref().and_then(Entry::on_disk));
        state.pending += cost;
        state.queue.push_back(Work::Value(staged));
        self.shared.wake(&mut state);
        drop_later(state, old);
        Ok(())
    }

    /// Waits until everything that was accepted so far is on the disk. Also
    /// tries again what could not be written, even what fails to be while this
    /// waits.
    ///
    /// # Errors
    /// [`SpillError`]; what is not on the disk is then still in memory. If the
    /// store ends before a flush succeeds, such a value is lost and its key has
    /// none, nor has one that was removed; where the disk refuses every byte, or
    /// the process is killed, it has the one of the last flush. [`SpillError::Displaced`] once the directory was removed.
    pub fn flush(&self) -> Result<(), SpillError> {
        let shared = &self.shared;
        shared.check_process()?;
        let start = Instant::now();
        let mut state = shared.state();
        state.flush.asked += 1;
        let ticket = state.flush.asked;
        shared.work.notify_one();
        while state.flush.done < ticket {
            state = wait(shared, state, "flush", start, shared.options.patience)?;
        }
        state.flush.outcome.clone()
    }

    /// Forgets a key; whether it had a value. For good once a [`Self::flush`]
    /// succeeds: a full disk is no reason not to, since records are overwritten
    /// where they are; where even that fails, the value is gone for this store,
    /// and there again for the one that opens it next.
    ///
    /// # Errors
    /// [`SpillError`], after a fork or when the store is closed.
    pub fn remove(&self, key: &[u8]) -> Result<bool, SpillError> {
        self.shared.check_process()?;
        let hash = hash_key(self.shared.salt, key);
        let mut state = self.shared.state();
        if state.is_closing || state.has_ended {
            return Err(SpillError::Closed);
        }
        let old = state.index.remove(hash);
        let was_there = old.is_some();
        if was_there {
            state.queue.push_back(Work::Remove(hash));
            self.shared.wake(&mut state);
        }
        drop_later(state, old);
        Ok(was_there)
    }

    /// Forgets a key whose value is still this one, wherever it was moved.
    pub(super) fn forget(&self, hash: KeyHash, stamp: u32) -> Result<(), SpillError> {
        let mut state = self.shared.state();
        if state.is_closing || state.has_ended {
            return Err(SpillError::Closed);
        }
        if state
            .index
            .get(hash)
            .is_some_and(|entry| entry.stamp == stamp)
        {
            let old = state.index.remove(hash);
            state.queue.push_back(Work::Remove(hash));
            self.shared.wake(&mut state);
            drop_later(state, old);
        }
        Ok(())
    }

    /// Moves up to `budget` out of segments that are mostly dead, and removes
    /// them. The store does this on its own too, a little at a time.
    ///
    /// # Errors
    /// [`SpillError`], when the disk refuses; nothing is lost then.
    pub fn collect_garbage(&self, budget: Bytes) -> Result<Collected, SpillError> {
        let shared = &self.shared;
        shared.check_process()?;
        let start = Instant::now();
        let mut state = shared.state();
        state.garbage.asked += 1;
        state.garbage_budget = budget;
        let ticket = state.garbage.asked;
        shared.work.notify_one();
        while state.garbage.done < ticket {
            let patience = shared.options.patience;
            state = wait(shared, state, "collect garbage", start, patience)?;
        }
        state.garbage.outcome.clone()
    }
}

fn check_lengths(key: &[u8], tags: SpillTags<'_>, value: &[u8]) -> Result<(), SpillError> {
    if key.len() > MOST_KEY_BYTES {
        return Err(SpillError::KeyTooLong {
            length: key.len(),
            most: MOST_KEY_BYTES,
        });
    }
    let project = tags.project.map_or(0, str::len);
    if project > MOST_PROJECT_BYTES {
        return Err(SpillError::ProjectTooLong {
            length: project,
            most: MOST_PROJECT_BYTES,
        });
    }
    if value.len() as u64 > MOST_VALUE_BYTES {
        return Err(SpillError::ValueTooLong {
            length: Bytes(value.len() as u64),
            most: Bytes(MOST_VALUE_BYTES),
        });
    }
    Ok(())
}

/// Counts what is replaced, and drops it when the lock is free.
fn drop_later(mut state: MutexGuard<'_, State>, old: Option<Entry>) {
    state.bury_entry(old.clone());
    drop(state);
    drop(old);
}
