//! The tracker's answer to "how is the memory": one JSON document.
//!
//! Never prints a number without its unit in the key, and never a 0 for what
//! is unknown.

use std::time::{Duration, SystemTime};

use grey_model::Bytes;
use serde::Serialize;

use super::breakdown::MemoryBreakdown;

/// What `schema` says; changes when a key changes its meaning.
pub const SCHEMA: &str = "grey.program/v1";

/// The document, with the meanings of `get_diagnostics`: sizes in bytes and
/// times in milliseconds instead of fractions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Diagnostics {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// When, since 1970.
    #[serde(rename = "timestamp_ms", serialize_with = "milliseconds")]
    pub timestamp: SystemTime,
    /// The resident set size.
    #[serde(rename = "process_memory_bytes")]
    pub process_memory: Bytes,
    /// The highest resident set size so far.
    #[serde(rename = "peak_memory_bytes")]
    pub peak_memory: Bytes,
    /// The mean of all readings.
    #[serde(rename = "average_memory_bytes")]
    pub average_memory: Bytes,
    /// What the program holds of its allocator.
    #[serde(rename = "heap_size_bytes")]
    pub heap_size: Option<Bytes>,
    /// Objects that a garbage collector watches over. There is none, so it is
    /// always null; readers of the original document find the key.
    pub gc_objects: Option<u64>,
    /// Threads of the process.
    pub active_threads: Option<u64>,
    /// Files in memory.
    pub loaded_files: Option<u64>,
    /// Queries in the cache.
    pub cached_queries: Option<u64>,
    /// Items in the work queue.
    pub work_queue_size: Option<u64>,
    /// Events in the broadcaster.
    pub event_queue_size: Option<u64>,
    /// Open connections to databases.
    pub db_connections: u64,
    /// Tasks that run.
    pub spawned_tasks: u64,
    /// The budget; null without one.
    #[serde(rename = "budget_bytes")]
    pub budget: Option<Bytes>,
    /// Whether the resident set is at or above the soft limit; null without a
    /// budget.
    pub soft_limit_exceeded: Option<bool>,
    /// Whether the resident set is at or above the hard limit; null without a
    /// budget.
    pub hard_limit_exceeded: Option<bool>,
    /// Which allocator serves the program.
    pub allocator: &'static str,
    /// Where the memory is.
    pub memory_breakdown: MemoryBreakdown,
}

impl Diagnostics {
    /// The document as text.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self)
            .expect("the document has string keys and plain values only")
    }
}

fn milliseconds<S: serde::Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    serializer.serialize_u64(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
