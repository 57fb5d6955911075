//! What a program calls: open, write, flush, read, remove.
//!
//! Never loses a value that it accepted while the process lives: what cannot
//! be written stays in memory, can be read, and can be taken back.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use grey_model::{Bytes, Priority};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec::Encoder;
use super::error::SpillError;
use super::index::{Entry, Location, Place, Staged, cost};
use super::key_hash::hash_key;
use super::options::{
    MOST_KEY_BYTES, MOST_PROJECT_BYTES, MOST_VALUE_BYTES, SpillOptions, SpillTags,
};
use super::reading::{Scratch, Segment};
use super::state::{Shared, State, Work};
use super::statistics::{Collected, Recovery, SpillStatistics};
use super::writer::Writer;
use crate::disk::LockFailure;

/// The file whose lock keeps other stores out of a directory.
const LOCK_FILE: &str = "spill.lock";

/// After writing failed, new values are refused for so long before another
/// attempt is made.
const RETRY_AFTER: Duration = Duration::from_secs(1);

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

/// A value that could not be written and was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwritten {
    /// Its key.
    pub key: Vec<u8>,
    /// Its priority.
    pub priority: Priority,
    /// Whose it is.
    pub project: Option<Arc<str>>,
    /// Itself.
    pub value: Arc<[u8]>,
}

/// Ends the thread when the last handle is gone.
#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

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
        let directory = &options.directory;
        let failed = |action| move |error| SpillError::of_io(action, directory, error);
        options
            .disk
            .create_directory(directory)
            .map_err(failed("create the spill directory"))?;
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
        state.pending += cost;
        state.queue.push_back(Work::Value(staged));
        drop_later(state, old);
        self.shared.work.notify_one();
        Ok(())
    }

    fn wait_for_room(&self, cost: u64, limit: u64) -> Result<MutexGuard<'_, State>, SpillError> {
        let shared = &self.shared;
        let start = Instant::now();
        let patience = shared.options.patience;
        let mut state = shared.state();
        let mut has_collected = false;
        loop {
            if state.is_closing || state.has_ended {
                return Err(SpillError::Closed);
            }
            if let Some((failure, since)) = &state.failure {
                if since.elapsed() < RETRY_AFTER {
                    return Err(failure.clone());
                }
                state.retry_held();
                shared.work.notify_one();
            }
            let quota = shared.options.quota;
            let taken = Bytes(state.on_disk).saturating_add(Bytes(state.pending));
            if taken.saturating_add(Bytes(cost)) > quota {
                if !has_collected && state.dead() > 0 {
                    // What nobody can reach may make room.
                    has_collected = true;
                    state.garbage.asked += 1;
                    state.garbage_budget = shared.options.segment;
                    let ticket = state.garbage.asked;
                    shared.work.notify_one();
                    while state.garbage.done < ticket {
                        state = wait(shared, state, "collect garbage", start, patience)?;
                    }
                    continue;
                }
                return Err(SpillError::QuotaExceeded {
                    wanted: Bytes(cost),
                    on_disk: taken,
                    quota,
                });
            }
            if state.pending == 0 || state.pending + cost <= limit {
                return Ok(state);
            }
            state = wait(shared, state, "take another value", start, patience)?;
        }
    }

    /// Waits until everything that was accepted so far is on the disk. Also
    /// tries again what could not be written.
    ///
    /// # Errors
    /// [`SpillError`]; what is not on the disk is then still in memory.
    pub fn flush(&self) -> Result<(), SpillError> {
        let shared = &self.shared;
        shared.check_process()?;
        let start = Instant::now();
        let mut state = shared.state();
        state.retry_held();
        state.flush.asked += 1;
        let ticket = state.flush.asked;
        shared.work.notify_one();
        while state.flush.done < ticket {
            state = wait(shared, state, "flush", start, shared.options.patience)?;
        }
        state.flush.outcome.clone()
    }

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

    pub(super) fn place_of(&self, hash: super::key_hash::KeyHash, key: &[u8]) -> Found {
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

    /// Forgets a key; whether it had a value.
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
            self.shared.work.notify_one();
        }
        drop_later(state, old);
        Ok(was_there)
    }

    /// Forgets a key whose value is still this one, wherever it was moved.
    pub(super) fn forget(
        &self,
        hash: super::key_hash::KeyHash,
        stamp: u32,
    ) -> Result<(), SpillError> {
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
            self.shared.work.notify_one();
            drop_later(state, old);
        }
        Ok(())
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

    /// How many values there are; 0 in a process that was forked.
    #[must_use]
    pub fn len(&self) -> usize {
        if self.shared.check_process().is_err() {
            return 0;
        }
        self.shared.state().index.len()
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What all its segments take; 0 in a process that was forked.
    #[must_use]
    pub fn bytes_on_disk(&self) -> Bytes {
        if self.shared.check_process().is_err() {
            return Bytes::ZERO;
        }
        Bytes(self.shared.state().on_disk)
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.shared.options.directory
    }

    /// What was found when it was opened.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.shared.recovery
    }

    /// What it holds and did; nothing in a process that was forked.
    #[must_use]
    pub fn statistics(&self) -> SpillStatistics {
        let shared = &self.shared;
        if shared.check_process().is_err() {
            return SpillStatistics::default();
        }
        let state = shared.state();
        let values = |works: &std::collections::VecDeque<Work>| {
            works
                .iter()
                .filter(|work| matches!(work, Work::Value(staged) if state.is_current(staged)))
                .count() as u64
        };
        SpillStatistics {
            entries: state.index.len() as u64,
            staged: state.index.staged() as u64,
            held: values(&state.held),
            pending: Bytes(state.pending),
            on_disk: Bytes(state.on_disk),
            dead: Bytes(state.dead()),
            segments: state.segments.len() as u64,
            index: state.index.charged(),
            reads: shared.reads.load(Ordering::Relaxed),
            damaged: state.totals.damaged + shared.damaged_reads.load(Ordering::Relaxed),
            is_in_memory: shared.is_in_memory,
            ..state.totals.clone()
        }
    }

    /// Takes back the values that could not be written: the store does not
    /// hold them any more.
    ///
    /// # Errors
    /// [`SpillError::Forked`].
    pub fn take_unwritten(&self) -> Result<Vec<Unwritten>, SpillError> {
        self.shared.check_process()?;
        let mut state = self.shared.state();
        let mut taken = Vec::new();
        let mut removes = std::collections::VecDeque::new();
        while let Some(work) = state.held.pop_front() {
            let Work::Value(staged) = work else {
                removes.push_back(work);
                continue;
            };
            state.pending = state.pending.saturating_sub(staged.cost());
            if !state.is_current(&staged) {
                continue;
            }
            state.index.remove(staged.hash);
            // An older value of the key on the disk must not come back.
            removes.push_back(Work::Remove(staged.hash));
            taken.push(Unwritten {
                key: staged.key.to_vec(),
                priority: staged.priority,
                project: staged.project_name.clone(),
                value: Arc::clone(&staged.value),
            });
        }
        state.held = removes;
        drop(state);
        self.shared.done.notify_all();
        Ok(taken)
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

    /// Spills anything that can be serialized, under a name.
    ///
    /// # Errors
    /// [`SpillError`], as [`Self::write`].
    pub fn spill_to_disk(&self, key: &str, data: &impl Serialize) -> Result<(), SpillError> {
        let bytes = postcard::to_stdvec(data).map_err(|error| SpillError::Serialize {
            action: "serialize",
            key: key.to_owned(),
            reason: error.to_string(),
        })?;
        self.write(key.as_bytes(), SpillTags::default(), bytes.into())
    }

    /// Loads what [`Self::spill_to_disk`] spilled. It must be asked for as the
    /// type that it was: the bytes do not name it.
    ///
    /// # Errors
    /// [`SpillError`], as [`Self::read`], and when it is of another type.
    pub fn load_from_disk<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, SpillError> {
        let Some(value) = self.read(key.as_bytes())? else {
            return Ok(None);
        };
        let failed = |reason: String| SpillError::Serialize {
            action: "deserialize",
            key: key.to_owned(),
            reason,
        };
        let (data, rest) =
            postcard::take_from_bytes(&value).map_err(|error| failed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(failed(format!("{} bytes are left over", rest.len())));
        }
        Ok(Some(data))
    }
}

/// Where the value of a key was found.
pub(super) enum Found {
    Nothing,
    Value(Arc<[u8]>),
    Record(Arc<Segment>, Location),
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

/// Waits for the thread, until the patience is over.
fn wait<'a>(
    shared: &'a Shared,
    state: MutexGuard<'a, State>,
    action: &'static str,
    start: Instant,
    patience: Duration,
) -> Result<MutexGuard<'a, State>, SpillError> {
    if state.has_ended {
        return Err(SpillError::Closed);
    }
    let waited = start.elapsed();
    let left = patience.saturating_sub(waited);
    if left.is_zero() {
        return Err(SpillError::Stalled { action, waited });
    }
    let (state, _) = shared
        .done
        .wait_timeout(state, left)
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(state)
}

impl Drop for Owner {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        if self.shared.check_process().is_err() {
            // The thread is the parent's: there is nobody to join or detach.
            std::mem::forget(thread);
            return;
        }
        let start = Instant::now();
        let mut state = self.shared.state();
        state.retry_held();
        state.is_closing = true;
        self.shared.work.notify_all();
        while !state.has_ended {
            match wait(
                &self.shared,
                state,
                "close",
                start,
                self.shared.options.patience,
            ) {
                Ok(next) => state = next,
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "a spill store was left to its thread"
                    );
                    return;
                }
            }
        }
        let held = state.held.len();
        drop(state);
        if held > 0 {
            tracing::error!(
                values = held,
                "values that could not be spilled are lost with their store"
            );
        }
        // It has ended but for its last steps.
        if thread.join().is_err() {
            tracing::error!("the thread of a spill store panicked");
        }
    }
}
