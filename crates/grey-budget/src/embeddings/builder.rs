//! How a cache of embeddings is to be, and making it.
//!
//! Never allocates for vectors: the cache does, when they come.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;

use grey_model::Priority;

use super::block::BLOCK;
use super::cache::EmbeddingsCache;
use super::error::EmbeddingsError;
use super::precision::Precision;
use super::slab::{NONE, State, block_bytes};
use crate::budget::Budget;

/// A cache of embeddings before it is made.
#[derive(Debug, Clone)]
#[must_use = "a cache exists once it is built"]
pub struct EmbeddingsCacheBuilder {
    pub(super) budget: Budget,
    pub(super) name: String,
    pub(super) entries: usize,
    pub(super) dimensions: usize,
    pub(super) precision: Precision,
    pub(super) priority: Priority,
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
        let blocks = u64::try_from(self.entries.div_ceil(BLOCK)).unwrap_or(u64::MAX);
        let is_countable = self.dimensions > 0
            && self.entries > 0
            && u32::try_from(self.entries).is_ok_and(|entries| entries < NONE);
        let block_bytes = block_bytes::<K>(self.precision, self.dimensions)
            .filter(|block| is_countable && block.checked_mul(blocks).is_some());
        let Some(block_bytes) = block_bytes else {
            return Err(EmbeddingsError::Size {
                cache: self.name,
                entries: self.entries,
                dimensions: self.dimensions,
            });
        };
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
            block_bytes,
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
