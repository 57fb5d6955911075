//! A cache of vectors of one length: by default 10,000 of 768 `f32`, about
//! 30 MB, of which the least recently used makes room for the next.
//!
//! - `cache`: what a program calls; `builder`: how it is to be.
//! - `reclaim`: how it gives memory back.
//! - `slab`: which key has which slot, and which was used last.
//! - `block`: sixty-four vectors side by side; `precision`: how exactly.
//! - `error`, `statistics`: what comes out.
//!
//! Vectors lie side by side in blocks, in any of three precisions; nothing is
//! allocated for a single one. The vectors are kept dense, so that a block is
//! free again as soon as there are few enough. Charged by the block. Keys are
//! counted by their own size: make long ones a hash.
//!
//! Hash, equality and clone of a key run under the lock and must not call the
//! cache. Never returns a vector that is not within the precision's error.

mod block;
mod builder;
mod cache;
mod error;
mod precision;
mod reclaim;
mod slab;
mod statistics;

pub use builder::EmbeddingsCacheBuilder;
pub use cache::EmbeddingsCache;
pub use error::{EmbeddingError, EmbeddingsError};
pub use precision::Precision;
pub use statistics::EmbeddingsStats;

#[cfg(test)]
mod tests;
