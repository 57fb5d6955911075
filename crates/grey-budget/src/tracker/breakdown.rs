//! Where the program's memory is: by component, and what nobody accounts for.
//!
//! Never guesses: what is neither read nor charged is `None`.

use std::sync::Arc;

use grey_model::Bytes;
use serde::{Serialize, Serializer, ser::SerializeMap as _};

use super::ratio::RssHeapRatio;
use crate::budget::ComponentUsage;
use crate::source::Reading;

/// The component that holds what was read from files.
pub(super) const LOADED_CONTENT: &str = "loaded_content";
/// The component that holds answers to queries.
pub(super) const QUERY_CACHE: &str = "query_cache";
/// The component that holds indexes.
pub(super) const INDEXES: &str = "indexes";

/// What one component of the budget holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentShare {
    /// Its name.
    pub name: Arc<str>,
    /// What it has reserved.
    pub reserved: Bytes,
}

/// Where the memory is.
///
/// `process_rss` is always `baseline` + `accounted` + `unaccounted`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MemoryBreakdown {
    /// All of it: the resident set.
    #[serde(rename = "total_bytes")]
    pub total: Bytes,
    /// The resident set size.
    #[serde(rename = "process_rss_bytes")]
    pub process_rss: Bytes,
    /// What the program holds of its allocator.
    #[serde(rename = "heap_bytes")]
    pub heap: Option<Bytes>,
    /// The component `loaded_content`.
    #[serde(rename = "loaded_content_bytes")]
    pub loaded_content: Option<Bytes>,
    /// The component `query_cache`.
    #[serde(rename = "query_cache_bytes")]
    pub query_cache: Option<Bytes>,
    /// The component `indexes`.
    #[serde(rename = "indexes_bytes")]
    pub indexes: Option<Bytes>,
    /// The rest of the heap; where the heap is unknown, all other components.
    #[serde(rename = "other_bytes")]
    pub other: Bytes,
    /// The resident set when the tracker began: code, runtime, libraries.
    #[serde(rename = "baseline_bytes")]
    pub baseline: Bytes,
    /// What all components have reserved.
    #[serde(rename = "accounted_bytes")]
    pub accounted: Bytes,
    /// What is resident and is neither baseline nor charged to a component.
    /// Below 0 where components charge what is not resident, such as memory
    /// that was never touched.
    #[serde(rename = "unaccounted_bytes")]
    pub unaccounted: i64,
    /// Every component of the budget, in the order of registration.
    #[serde(rename = "components_bytes", serialize_with = "as_map")]
    pub components: Vec<ComponentShare>,
}

impl MemoryBreakdown {
    /// Puts a reading and the components' charges together.
    pub(super) fn new(reading: &Reading, baseline: Bytes, usage: Vec<ComponentUsage>) -> Self {
        let components: Vec<ComponentShare> = usage
            .into_iter()
            .map(|usage| ComponentShare {
                name: usage.name,
                reserved: usage.reserved,
            })
            .collect();
        let named = |name: &str| {
            let mut shares = components.iter().filter(|share| &*share.name == name);
            shares.next().map(|share| share.reserved)
        };
        let (loaded_content, query_cache, indexes) =
            (named(LOADED_CONTENT), named(QUERY_CACHE), named(INDEXES));
        let accounted: Bytes = components.iter().map(|share| share.reserved).sum();
        let named: Bytes = [loaded_content, query_cache, indexes]
            .into_iter()
            .flatten()
            .sum();
        let heap = reading.heap_allocated;
        Self {
            total: reading.rss,
            process_rss: reading.rss,
            heap,
            loaded_content,
            query_cache,
            indexes,
            other: heap.unwrap_or(accounted).saturating_sub(named),
            baseline,
            accounted,
            unaccounted: reading
                .rss
                .signed_difference(baseline.saturating_add(accounted)),
            components,
        }
    }

    /// The resident set over the heap; `None` while the heap is unknown.
    #[must_use]
    pub fn rss_heap_ratio(&self) -> Option<RssHeapRatio> {
        RssHeapRatio::new(self.process_rss, self.heap?)
    }

    /// What the component `name` holds.
    #[must_use]
    pub fn component(&self, name: &str) -> Option<Bytes> {
        let share = self.components.iter().find(|share| &*share.name == name)?;
        Some(share.reserved)
    }
}

fn as_map<S: Serializer>(components: &[ComponentShare], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(components.len()))?;
    for share in components {
        map.serialize_entry(&*share.name, &share.reserved)?;
    }
    map.end()
}
