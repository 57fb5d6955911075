//! Giving memory back: the vectors that were not used for longest go, until
//! whole blocks are free.
//!
//! Never holds the lock for more than a few blocks at once.

use std::hash::Hash;

use grey_model::{Bytes, Priority};

use super::block::{BLOCK, Block};
use super::cache::EmbeddingsCache;
use super::slab::NONE;
use crate::reclaimer::{ReclaimMode, ReclaimRequest, Reclaimed, Reclaimer, Stop};

/// How many blocks are freed before others get the lock.
const BLOCKS_AT_ONCE: usize = 4;

impl<K: Hash + Eq + Clone> EmbeddingsCache<K> {
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
