//! What the program holds, over time and by component.
//!
//! - `memory_tracker`: readings, their peak and average, snapshots in a ring.
//! - `counters`: what the program records itself, for nanoseconds.
//! - `breakdown`: where the memory is, and what nobody accounts for.
//! - `snapshot`: one moment, and the growth between two.
//! - `ratio`: resident set over heap, and what it means.
//! - `diagnostics`: all of it as one JSON document.
//!
//! Never frees anything and never decides.

mod breakdown;
mod counters;
mod diagnostics;
mod memory_tracker;
mod ratio;
mod snapshot;

pub use breakdown::{ComponentShare, MemoryBreakdown};
pub use counters::{ComponentCounts, Counters};
pub use diagnostics::{Diagnostics, SCHEMA};
pub use memory_tracker::{
    MOST_SNAPSHOTS, MemoryStats, MemoryTracker, MemoryTrackerBuilder, global_memory_tracker,
};
pub use ratio::{RSS_HEAP_WARNING, RssHeapRatio};
pub use snapshot::{Growth, MemorySnapshot};

#[cfg(test)]
mod tests;
