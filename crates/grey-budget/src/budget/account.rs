//! The numbers of one component and of one tenant, and the cells in which
//! threads keep a little of what their component was charged.
//!
//! Never locks: `state` changes the numbers under the budget's lock.

use crossbeam_utils::CachePadded;
use grey_model::{Bytes, Priority};

use crate::sharded::SHARDS;
use crate::sync::{Arc, AtomicU64, Ordering};

/// What a component was charged and does not use, cut into cells for threads.
#[derive(Debug)]
pub(super) struct Slack {
    cells: Box<[CachePadded<AtomicU64>]>,
}

impl Slack {
    fn new() -> Self {
        // Loom explores every access: two cells show all there is to see.
        let cells = if cfg!(grey_loom) { 2 } else { SHARDS };
        Self {
            cells: (0..cells)
                .map(|_| CachePadded::new(AtomicU64::new(0)))
                .collect(),
        }
    }

    #[inline]
    pub(super) fn cell(&self, shard: usize) -> &AtomicU64 {
        // A power of two: a division would take longer than all else here.
        &self.cells[shard & (self.cells.len() - 1)]
    }

    pub(super) fn sum(&self) -> u64 {
        self.cells
            .iter()
            .map(|cell| cell.load(Ordering::SeqCst))
            .fold(0, u64::saturating_add)
    }

    /// Empties all cells, and tells what was in them.
    pub(super) fn drain(&self) -> u64 {
        self.cells
            .iter()
            .map(|cell| cell.swap(0, Ordering::SeqCst))
            .fold(0, u64::saturating_add)
    }
}

/// One component's numbers.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) name: std::sync::Arc<str>,
    pub(super) priority: Priority,
    pub(super) floor: u64,
    pub(super) limit: Option<u64>,
    pub(super) fair: bool,
    pub(super) refillable: bool,
    pub(super) tenant: Option<usize>,
    /// Bytes taken from the budget: in use and in the slack.
    pub(super) charged: u64,
    pub(super) peak: u64,
    pub(super) slack: Arc<Slack>,
}

impl Account {
    pub(super) fn new(
        name: std::sync::Arc<str>,
        priority: Priority,
        floor: Bytes,
        limit: Option<Bytes>,
        fair: bool,
        refillable: bool,
        tenant: Option<usize>,
    ) -> Self {
        Self {
            name,
            priority,
            floor: floor.get(),
            limit: limit.map(Bytes::get),
            fair,
            refillable,
            tenant,
            charged: 0,
            peak: 0,
            slack: Arc::new(Slack::new()),
        }
    }

    /// What it takes of the budget: its floor at least.
    pub(super) fn committed(&self) -> u64 {
        self.charged.max(self.floor)
    }

    pub(super) fn reserved(&self) -> u64 {
        self.charged.saturating_sub(self.slack.sum())
    }
}

/// One tenant's numbers.
#[derive(Debug)]
pub(super) struct TenantAccount {
    pub(super) name: std::sync::Arc<str>,
    pub(super) priority: Priority,
    pub(super) limit: Option<u64>,
    /// The sum over its components.
    pub(super) charged: u128,
}
