//! What a program calls: keeping, copying and dropping vectors.
//!
//! Never drops a key or a block while it holds its lock.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use grey_model::{Bytes, Priority};

use super::block::{BLOCK, Block};
use super::builder::EmbeddingsCacheBuilder;
use super::error::EmbeddingError;
use super::precision::{F16_MAX, Precision};
use super::slab::{State, place};
use super::statistics::EmbeddingsStats;
use crate::budget::{Budget, Component};

/// See the [module](super).
#[derive(Debug)]
pub struct EmbeddingsCache<K: Hash + Eq> {
    pub(super) name: String,
    pub(super) dimensions: usize,
    pub(super) precision: Precision,
    pub(super) priority: Priority,
    pub(super) block_bytes: u64,
    pub(super) component: Component,
    pub(super) state: Mutex<State<K>>,
}

impl<K: Hash + Eq + Clone> EmbeddingsCache<K> {
    /// A cache that is charged to a component of `budget` by this name.
    pub fn builder(budget: &Budget, name: &str) -> EmbeddingsCacheBuilder {
        EmbeddingsCacheBuilder {
            budget: budget.clone(),
            name: name.to_owned(),
            entries: 10_000,
            dimensions: 768,
            precision: Precision::F32,
            priority: Priority::Medium,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a vector, in the place of an older one under this key, or of the
    /// least recently used one when the cache is full or may not grow.
    ///
    /// # Errors
    /// [`EmbeddingError`]; the cache is then as it was.
    pub fn insert(&self, key: K, vector: &[f32]) -> Result<(), EmbeddingError> {
        self.check_length(vector.len())?;
        self.check_values(vector)?;
        let grown = self.make_room(&key);
        let mut state = self.state();
        let mut dropped = None;
        let known = state.index.get(&key).copied();
        let (slot, spare) = match known {
            Some(slot) => {
                state.use_slot(slot);
                (slot, Some(key))
            }
            None if state.has_free_slot() => (state.add(key), None),
            None => match state.replace_oldest(key, self.dimensions) {
                Some((slot, keys)) => {
                    dropped = Some(keys);
                    (slot, None)
                }
                None => {
                    drop(state);
                    return grown;
                }
            },
        };
        let slot = place(slot);
        state.blocks[slot / BLOCK].write(slot % BLOCK, vector);
        drop(state);
        drop((dropped, spare));
        Ok(())
    }

    /// Adds a block when a new key needs it and there may be more.
    fn make_room(&self, key: &K) -> Result<(), EmbeddingError> {
        let wants_block = |state: &State<K>| {
            !state.has_free_slot()
                && state.seats.len() < state.entries
                && !state.index.contains_key(key)
        };
        if !wants_block(&self.state()) {
            return Ok(());
        }
        let charge = match self.component.reserve(Bytes(self.block_bytes)) {
            Ok(charge) => charge,
            Err(source) => {
                return Err(EmbeddingError::Budget {
                    cache: self.name.clone(),
                    source: Box::new(source),
                });
            }
        };
        let block = Block::new(self.precision, self.dimensions);
        let mut state = self.state();
        // Another thread may have been faster.
        if wants_block(&state) {
            state.blocks.push(block);
            // Given back with the block.
            std::mem::forget(charge);
        }
        Ok(())
    }

    /// Copies the vector of `key` into `out`, and notes the use. `false` when
    /// it is not there; `out` is then as it was.
    ///
    /// # Errors
    /// [`EmbeddingError::Length`].
    pub fn get_into<Q>(&self, key: &Q, out: &mut [f32]) -> Result<bool, EmbeddingError>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.check_length(out.len())?;
        let mut state = self.state();
        let Some(slot) = state.index.get(key).copied() else {
            state.misses += 1;
            return Ok(false);
        };
        state.hits += 1;
        state.use_slot(slot);
        let slot = place(slot);
        state.blocks[slot / BLOCK].read(slot % BLOCK, out);
        Ok(true)
    }

    /// The vector of `key`, in an allocation of its own.
    pub fn get<Q>(&self, key: &Q) -> Option<Vec<f32>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        // What is not there may be too long for the memory that there is.
        if !self.contains(key) {
            self.state().misses += 1;
            return None;
        }
        let mut vector = vec![0.0; self.dimensions];
        let found = self.get_into(key, &mut vector).unwrap_or(false);
        found.then_some(vector)
    }

    /// Whether `key` is there. No use is noted.
    pub fn contains<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.state().index.contains_key(key)
    }

    /// Drops the vector of `key`. `false` when it was not there.
    pub fn remove<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if !self.contains(key) {
            return false;
        }
        let mut buffer = vec![0.0; self.dimensions];
        let mut state = self.state();
        let Some(slot) = state.index.get(key).copied() else {
            return false;
        };
        let key = state.remove(slot, self.dimensions, &mut buffer);
        let blocks = state.take_empty_blocks();
        drop(state);
        drop(key);
        self.give_back(blocks);
        true
    }

    /// How many vectors are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state().seats.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many numbers a vector has.
    #[must_use]
    pub const fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// What it did and what it holds.
    #[must_use]
    pub fn stats(&self) -> EmbeddingsStats {
        let state = self.state();
        EmbeddingsStats {
            hits: state.hits,
            misses: state.misses,
            evictions: state.evictions,
            entries: state.seats.len(),
            bytes: self.bytes_of(state.blocks.len()),
        }
    }

    /// The component that is charged.
    #[must_use]
    pub const fn component(&self) -> &Component {
        &self.component
    }

    fn check_length(&self, given: usize) -> Result<(), EmbeddingError> {
        if given == self.dimensions {
            return Ok(());
        }
        Err(EmbeddingError::Length {
            cache: self.name.clone(),
            expected: self.dimensions,
            given,
        })
    }

    fn check_values(&self, vector: &[f32]) -> Result<(), EmbeddingError> {
        let most = match self.precision {
            Precision::F16 => F16_MAX,
            Precision::F32 | Precision::Int8 => f32::MAX,
        };
        // Not a number is not at most anything.
        let bad = vector
            .iter()
            .position(|number| number.is_nan() || number.abs() > most);
        match bad {
            None => Ok(()),
            Some(index) => Err(EmbeddingError::Value {
                index,
                value: vector[index],
            }),
        }
    }

    pub(super) fn bytes_of(&self, blocks: usize) -> Bytes {
        let blocks = u64::try_from(blocks).unwrap_or(u64::MAX);
        Bytes(blocks.saturating_mul(self.block_bytes))
    }

    pub(super) fn give_back(&self, blocks: Vec<Block>) -> Bytes {
        let bytes = self.bytes_of(blocks.len());
        drop(blocks);
        self.component.release(bytes.get());
        bytes
    }
}

impl<K: Hash + Eq> Drop for EmbeddingsCache<K> {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let blocks = u64::try_from(std::mem::take(&mut state.blocks).len()).unwrap_or(u64::MAX);
        self.component
            .release(blocks.saturating_mul(self.block_bytes));
    }
}
