//! A cache of vectors of one length: by default 10,000 of 768 `f32`, about
//! 30 MB, of which the least recently used makes room for the next.
//!
//! Vectors lie side by side in blocks, in any of three precisions; nothing is
//! allocated for a single one. The vectors are kept dense, so that a block is
//! free again as soon as there are few enough. Charged by the block. Keys are
//! counted by their own size: make long ones a hash.
//!
//! Hash, equality and clone of a key run under the lock and must not call the
//! cache. Never returns a vector that is not within the precision's error.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use grey_model::{Bytes, Priority};
use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::budget::{Budget, BudgetError, Component, ReserveError};
use crate::reclaimer::{ReclaimMode, ReclaimRequest, Reclaimed, Reclaimer, Stop};

/// Vectors of a block.
const BLOCK: usize = 64;

/// How many blocks are freed before others get the lock.
const BLOCKS_AT_ONCE: usize = 4;

/// No slot.
const NONE: u32 = u32::MAX;

/// The largest finite `f16`.
const F16_MAX: f32 = 65504.0;

/// How exactly vectors are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// As they are; 4 bytes a number.
    #[default]
    F32,
    /// Half precision; 2 bytes a number. An error of at most 1/2048 of each
    /// number, or 2^-25 for the smallest.
    F16,
    /// 1 byte a number and one scale for each vector. An error of at most
    /// 1/254 of the vector's largest number.
    Int8,
}

/// A vector was not taken, or could not be given.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddingError {
    /// The slice is of another length than the cache's vectors.
    #[error("failed to copy an embedding of {given} numbers: the cache `{cache}` holds {expected}")]
    Length {
        /// The cache.
        cache: String,
        /// How long its vectors are.
        expected: usize,
        /// How long the slice is.
        given: usize,
    },
    /// Not a number, infinite, or too large for the precision.
    #[error("failed to cache an embedding: its number {index} is {value}")]
    Value {
        /// Where it stands.
        index: usize,
        /// What it is.
        value: f32,
    },
    /// The budget refused the first block.
    #[error("failed to cache an embedding in `{cache}`")]
    Budget {
        /// The cache.
        cache: String,
        /// Why.
        #[source]
        source: Box<ReserveError>,
    },
}

/// A cache of embeddings could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddingsError {
    /// No vectors, vectors of nothing, or more than can be counted.
    #[error("failed to make the cache `{cache}` for {entries} embeddings of {dimensions} numbers")]
    Size {
        /// The cache.
        cache: String,
        /// How many were to be kept.
        entries: usize,
        /// How long they were to be.
        dimensions: usize,
    },
    /// The budget does not take it.
    #[error("failed to make the cache `{cache}`")]
    Budget {
        /// The cache.
        cache: String,
        /// Why.
        #[source]
        source: BudgetError,
    },
}

/// Sixty-four vectors.
#[derive(Debug)]
enum Block {
    F32(Box<[f32]>),
    F16(Box<[f16]>),
    Int8(Box<[i8]>, Box<[f32; BLOCK]>),
}

impl Block {
    fn new(precision: Precision, dimensions: usize) -> Self {
        let numbers = BLOCK * dimensions;
        match precision {
            Precision::F32 => Self::F32(vec![0.0; numbers].into()),
            Precision::F16 => Self::F16(vec![f16::ZERO; numbers].into()),
            Precision::Int8 => Self::Int8(vec![0; numbers].into(), Box::new([0.0; BLOCK])),
        }
    }

    fn write(&mut self, place: usize, vector: &[f32]) {
        let from = place * vector.len();
        let range = from..from + vector.len();
        match self {
            Self::F32(numbers) => numbers[range].copy_from_slice(vector),
            Self::F16(numbers) => numbers[range].convert_from_f32_slice(vector),
            Self::Int8(numbers, scales) => {
                let largest = vector
                    .iter()
                    .fold(0.0_f32, |most, number| most.max(number.abs()));
                // Divided first: the scale of the smallest numbers is not 0.
                scales[place] = largest;
                for (kept, number) in numbers[range].iter_mut().zip(vector) {
                    *kept = quantize(*number, largest);
                }
            }
        }
    }

    fn read(&self, place: usize, out: &mut [f32]) {
        let from = place * out.len();
        let range = from..from + out.len();
        match self {
            Self::F32(numbers) => out.copy_from_slice(&numbers[range]),
            Self::F16(numbers) => numbers[range].convert_to_f32_slice(out),
            Self::Int8(numbers, scales) => {
                let scale = f64::from(scales[place]) / 127.0;
                for (number, kept) in out.iter_mut().zip(&numbers[range]) {
                    #[expect(
                        clippy::cast_possible_truncation,
                        reason = "at most as large as the scale, which is an f32"
                    )]
                    let value = (f64::from(*kept) * scale) as f32;
                    *number = value;
                }
            }
        }
    }
}

/// The nearest of 255 steps between `-largest` and `largest`.
fn quantize(number: f32, largest: f32) -> i8 {
    if largest <= 0.0 {
        return 0;
    }
    let step = (f64::from(number) / f64::from(largest) * 127.0).round();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "between -127 and 127, since no number is larger than the largest"
    )]
    let step = step as i8;
    step
}

/// What belongs to one slot, beside its vector.
#[derive(Debug)]
struct Seat<K> {
    key: K,
    newer: u32,
    older: u32,
}

/// Slots `0..seats.len()` are taken; the list goes from new to old.
#[derive(Debug)]
struct State<K> {
    index: HashMap<K, u32>,
    seats: Vec<Seat<K>>,
    blocks: Vec<Block>,
    newest: u32,
    oldest: u32,
    entries: usize,
    hits: u64,
    misses: u64,
    evictions: u64,
}

fn place(slot: u32) -> usize {
    usize::try_from(slot).unwrap_or(usize::MAX)
}

impl<K: Hash + Eq + Clone> State<K> {
    fn unlink(&mut self, slot: u32) {
        let Seat { newer, older, .. } = self.seats[place(slot)];
        match newer {
            NONE => self.newest = older,
            newer => self.seats[place(newer)].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.seats[place(older)].newer = newer,
        }
    }

    fn link_newest(&mut self, slot: u32) {
        let before = std::mem::replace(&mut self.newest, slot);
        let seat = &mut self.seats[place(slot)];
        (seat.newer, seat.older) = (NONE, before);
        match before {
            NONE => self.oldest = slot,
            before => self.seats[place(before)].newer = slot,
        }
    }

    fn use_slot(&mut self, slot: u32) {
        if self.newest != slot {
            self.unlink(slot);
            self.link_newest(slot);
        }
    }

    fn has_free_slot(&self) -> bool {
        self.seats.len() < self.entries.min(self.blocks.len() * BLOCK)
    }

    /// A slot for a new key, which is given to it.
    fn add(&mut self, key: K) -> u32 {
        let slot = u32::try_from(self.seats.len()).unwrap_or(NONE);
        self.index.insert(key.clone(), slot);
        self.seats.push(Seat {
            key,
            newer: NONE,
            older: NONE,
        });
        self.link_newest(slot);
        slot
    }

    /// Gives the oldest slot to a new key; the old key is to be dropped later.
    fn replace_oldest(&mut self, key: K) -> Option<(u32, [K; 2])> {
        let slot = self.oldest;
        if slot == NONE {
            return None;
        }
        let old = std::mem::replace(&mut self.seats[place(slot)].key, key.clone());
        let removed = self.index.remove_entry(&old);
        self.index.insert(key, slot);
        self.use_slot(slot);
        self.evictions += 1;
        let indexed = removed.map_or_else(|| old.clone(), |(key, _)| key);
        Some((slot, [old, indexed]))
    }

    /// Empties a slot; the last vector moves into it.
    fn remove(&mut self, slot: u32, dimensions: usize, buffer: &mut [f32]) -> K {
        self.unlink(slot);
        let last = u32::try_from(self.seats.len().saturating_sub(1)).unwrap_or(NONE);
        let removed = self.seats.swap_remove(place(slot));
        self.index.remove(&removed.key);
        if slot != last {
            self.move_vector(last, slot, dimensions, buffer);
            let Seat { newer, older, .. } = self.seats[place(slot)];
            match newer {
                NONE => self.newest = slot,
                newer => self.seats[place(newer)].older = slot,
            }
            match older {
                NONE => self.oldest = slot,
                older => self.seats[place(older)].newer = slot,
            }
            let key = &self.seats[place(slot)].key;
            if let Some(moved) = self.index.get_mut(key) {
                *moved = slot;
            }
        }
        removed.key
    }

    fn move_vector(&mut self, from: u32, to: u32, dimensions: usize, buffer: &mut [f32]) {
        let (from, to) = (place(from), place(to));
        let buffer = &mut buffer[..dimensions];
        // Exact: what was rounded once is rounded to itself.
        self.blocks[from / BLOCK].read(from % BLOCK, buffer);
        self.blocks[to / BLOCK].write(to % BLOCK, buffer);
    }

    /// Takes out the blocks that hold nothing.
    fn take_empty_blocks(&mut self) -> Vec<Block> {
        self.blocks.split_off(self.seats.len().div_ceil(BLOCK))
    }
}

/// What a cache of embeddings did and holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct EmbeddingsStats {
    /// Reads that found a vector.
    pub hits: u64,
    /// Reads that found none.
    pub misses: u64,
    /// Vectors that were dropped for others, or to give memory back.
    pub evictions: u64,
    /// Vectors that are held.
    pub entries: usize,
    /// What is charged for them.
    pub bytes: Bytes,
}

/// A cache of embeddings before it is made.
#[derive(Debug, Clone)]
#[must_use = "a cache exists once it is built"]
pub struct EmbeddingsCacheBuilder {
    budget: Budget,
    name: String,
    entries: usize,
    dimensions: usize,
    precision: Precision,
    priority: Priority,
}

impl EmbeddingsCacheBuilder {
    /// How many vectors are held at most. By default 10,000.
    pub const fn entries(mut self, entries: usize) -> Self {
        self.entries = entries;
        self
    }

    /// How many numbers a vector has. By default 768.
    pub const fn dimensions(mut self, dimensions: usize) -> Self {
        self.dimensions = dimensions;
        self
    }

    /// How exactly they are kept. By default as they are.
    pub const fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// How dear the cache is beside other parts of the program.
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Makes it.
    ///
    /// # Errors
    /// [`EmbeddingsError`], when it would hold nothing or cannot be counted,
    /// and when the budget has a component of this name.
    pub fn build<K: Hash + Eq + Clone>(self) -> Result<EmbeddingsCache<K>, EmbeddingsError> {
        let bytes = self
            .dimensions
            .checked_mul(4 * BLOCK)
            .and_then(|block| block.checked_mul(self.entries.div_ceil(BLOCK)));
        let countable = u32::try_from(self.entries).is_ok_and(|entries| entries < NONE);
        if !countable || bytes.is_none_or(|bytes| bytes == 0) {
            return Err(EmbeddingsError::Size {
                cache: self.name,
                entries: self.entries,
                dimensions: self.dimensions,
            });
        }
        let component = self
            .budget
            .component(&self.name)
            .priority(self.priority)
            .refillable()
            .register();
        let component = match component {
            Ok(component) => component,
            Err(source) => {
                return Err(EmbeddingsError::Budget {
                    cache: self.name,
                    source,
                });
            }
        };
        Ok(EmbeddingsCache {
            block_bytes: block_bytes::<K>(self.precision, self.dimensions),
            name: self.name,
            dimensions: self.dimensions,
            precision: self.precision,
            priority: self.priority,
            component,
            state: Mutex::new(State {
                index: HashMap::new(),
                seats: Vec::new(),
                blocks: Vec::new(),
                newest: NONE,
                oldest: NONE,
                entries: self.entries,
                hits: 0,
                misses: 0,
                evictions: 0,
            }),
        })
    }
}

/// What a block is charged: its numbers, and seats and index of its vectors,
/// which grow by doubling.
fn block_bytes<K>(precision: Precision, dimensions: usize) -> u64 {
    let number = match precision {
        Precision::F32 => 4,
        Precision::F16 => 2,
        Precision::Int8 => 1,
    };
    let seat = 2 * size_of::<Seat<K>>();
    let index = 2 * (size_of::<(K, u32)>() + 1);
    let vector = dimensions * number + size_of::<f32>() + seat + index;
    u64::try_from(BLOCK * vector).unwrap_or(u64::MAX)
}

/// See the [module](self).
#[derive(Debug)]
pub struct EmbeddingsCache<K: Hash + Eq> {
    name: String,
    dimensions: usize,
    precision: Precision,
    priority: Priority,
    block_bytes: u64,
    component: Component,
    state: Mutex<State<K>>,
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

    fn state(&self) -> MutexGuard<'_, State<K>> {
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
            None => match state.replace_oldest(key) {
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

    /// Drops the oldest vectors until at most `blocks` are needed, but no more
    /// than a few blocks at once. Tells how many vectors that were, and gives
    /// the blocks.
    fn shrink_towards(&self, blocks: usize, buffer: &mut [f32]) -> (u64, Vec<Block>) {
        let mut state = self.state();
        let least = state.blocks.len().saturating_sub(BLOCKS_AT_ONCE);
        let keep = blocks.max(least) * BLOCK;
        let mut keys = Vec::new();
        while state.seats.len() > keep && state.oldest != NONE {
            let oldest = state.oldest;
            keys.push(state.remove(oldest, self.dimensions, buffer));
        }
        let removed = u64::try_from(keys.len()).unwrap_or(u64::MAX);
        state.evictions += removed;
        let freed = state.take_empty_blocks();
        if state.blocks.is_empty() {
            state.index.shrink_to_fit();
            state.seats.shrink_to_fit();
        }
        drop(state);
        drop(keys);
        (removed, freed)
    }

    fn bytes_of(&self, blocks: usize) -> Bytes {
        let blocks = u64::try_from(blocks).unwrap_or(u64::MAX);
        Bytes(blocks.saturating_mul(self.block_bytes))
    }

    fn give_back(&self, blocks: Vec<Block>) -> Bytes {
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

impl<K: Hash + Eq + Clone + Send> Reclaimer for EmbeddingsCache<K> {
    fn name(&self) -> &str {
        &self.name
    }

    fn priority(&self) -> Priority {
        self.priority
    }

    fn reclaimable(&self, mode: ReclaimMode) -> Bytes {
        match mode {
            ReclaimMode::Evict => self.bytes_of(self.state().blocks.len()),
            ReclaimMode::Trim | ReclaimMode::Unload | ReclaimMode::Spill => Bytes::ZERO,
        }
    }

    /// Frees whole blocks: as few as hold the target.
    fn reclaim(&self, request: &ReclaimRequest, stop: &Stop) -> Reclaimed {
        let mut done = Reclaimed::default();
        if request.mode != ReclaimMode::Evict || !request.may_take(self.priority, None) {
            return done;
        }
        let needed = request.target.get().div_ceil(self.block_bytes);
        let needed = usize::try_from(needed).unwrap_or(usize::MAX);
        let towards = self.state().blocks.len().saturating_sub(needed);
        let mut buffer = vec![0.0; self.dimensions];
        while done.freed < request.target && !stop.is_asked() {
            let (removed, blocks) = self.shrink_towards(towards, &mut buffer);
            if blocks.is_empty() {
                break;
            }
            done.entries += removed;
            done.freed = done.freed.saturating_add(self.give_back(blocks));
            if std::time::Instant::now() >= request.deadline {
                break;
            }
        }
        done
    }

    fn modes(&self) -> &[ReclaimMode] {
        &[ReclaimMode::Evict]
    }
}

#[cfg(test)]
#[path = "embeddings_tests.rs"]
mod tests;
