//! A cache that charges what it holds to a budget, gives it back when asked,
//! and can write to disk what it drops.
//!
//! - `options`: what an entry is put in with, and why it was not.
//! - `builder`: making a cache.
//! - `core`: the cache itself: get, insert, remove, pin.
//! - `place`, `room`: where entries lie, and how much room each priority has.
//! - `leaving`: what goes, and what comes in, when a key panics meanwhile.
//! - `exchange`: how a full cache goes on while the budget is closed.
//! - `load`: one loader for a key, in threads and in tasks.
//! - `reclaim`: giving memory back.
//! - `load_back`, `spare_room`: taking back what was spilled, into room that is
//!   free.
//! - `persist`: what is worth writing before the program ends.
//! - `spill`: where dropped entries may go, and how they are encoded.
//! - `slot`, `account`, `away`, `flight`, `late`, `capacity`: the parts of it.
//!
//! Under it lies `quick_cache`, one for each priority in use. The hash, the
//! equality and the clone of keys and the clone of values run under the lock of
//! one of its shards and must not call the cache. If one panics, that costs the
//! operation it is called in, and no byte of the budget; but it hashes what it
//! evicts in the midst of a change, so a hash must not panic for a key that is
//! in. All else of the program
//! (weigher, loaders, codec, spill target, drops) runs under no lock of ours.
//!
//! Each priority may fill the whole. When the whole is full, the lowest that
//! holds anything makes room, by a little more than is needed; a value for which
//! only higher ones could go is refused. A cache is cut by the hashes of its keys
//! into pieces, and of each a priority fills no more than the piece's part of
//! the capacity.
//!
//! Never holds more than its capacity, never evicts what is critical or
//! pinned, and never refuses a read because memory is short.

mod account;
mod away;
mod builder;
mod capacity;
mod core;
mod exchange;
mod flight;
mod late;
mod leaving;
mod load;
mod load_back;
mod options;
mod persist;
mod place;
mod reclaim;
mod room;
mod slot;
mod spare_room;
pub mod spill;
mod spill_store;

pub use account::CacheStats;
pub use builder::{CacheBuilder, CacheError};
pub use core::Cache;
pub use options::{EntryOptions, Project, Rejected, Rejection};
pub use persist::{KeptEntries, KeptEntry, PersistLimit, Persisted};
pub use spill::{
    Codec, Offer, OfferTaker, Offered, PostcardCodec, PostcardValueCodec, SpillError, SpillTarget,
};

#[cfg(test)]
mod tests;
