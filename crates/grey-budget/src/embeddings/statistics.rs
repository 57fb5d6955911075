//! What a cache of embeddings tells about itself.
//!
//! Never counts: the cache does.

use grey_model::Bytes;

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
