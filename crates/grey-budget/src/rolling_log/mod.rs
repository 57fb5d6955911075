//! The last operations of something, and what the older ones were merged into:
//! a window that compacts itself.
//!
//! - `log`: what a program calls; `builder`: how it is to be.
//! - `window`: what is kept, behind the lock.
//! - `compaction`: when it is compacted, and what becomes of what that gives.
//! - `reclaim`: compacting to give memory back.
//! - `error`, `statistics`: what comes out.
//!
//! Never loses operations to a compaction that fails, and never calls the
//! compaction under its lock.

mod builder;
mod compaction;
mod error;
mod log;
mod reclaim;
mod statistics;
mod window;

pub use builder::RollingLogBuilder;
pub use compaction::Compact;
pub use error::AppendError;
pub use log::RollingLog;
pub use statistics::LogStatistics;

#[cfg(test)]
#[cfg(not(grey_loom))]
mod tests;
