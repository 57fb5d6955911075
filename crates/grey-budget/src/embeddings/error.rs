//! Why a vector was not taken or given, and why a cache was not made.
//!
//! Never holds a vector or a key.

use crate::budget::{BudgetError, ReserveError};

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
