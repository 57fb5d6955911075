//! Queues between threads and tasks that are charged to the budget and bounded
//! in items and in bytes.
//!
//! - `settings`: limits, and what happens to who comes when it is full.
//! - `ends`, `core`: the two ends, each behind its own lock.
//! - `alarm`: says that it is nearly full; `gather`: lets items gather.
//! - `row`: items in their order and what they weigh; `batch`: many under one lock.
//! - `blocks`: where a row has its items; `heap`: what things take of the heap.
//! - `wait`: who waits at an end, and how a thread sleeps.
//! - `push`, `pop`: one push or pop that may have to wait, for threads and tasks.
//! - `handle`: [`WorkQueue`], what the program uses.
//! - `charge`: bytes reserved in quanta, so that no item pays for counting.
//!
//! Never counts what went through: a limit holds for what is inside now. Never
//! calls the program (weigher, waker, drop of an item) under a lock.

mod alarm;
mod batch;
mod blocks;
pub(crate) mod charge;
pub(crate) mod core;
mod ends;
mod error;
pub(crate) mod gather;
mod handle;
pub(crate) mod heap;
pub(crate) mod pop;
pub(crate) mod push;
mod row;
pub(crate) mod settings;
pub(crate) mod wait;

pub use error::{PopError, PushError, PushManyError};
pub use handle::WorkQueue;
pub use pop::PopFuture;
pub use push::PushFuture;
pub use settings::{FullPolicy, WorkQueueBuilder};

#[cfg(test)]
#[cfg(not(grey_loom))]
mod tests;
