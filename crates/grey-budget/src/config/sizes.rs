//! The parts of a program in the sizes of its configuration.
//!
//! Makes builders and nothing else: what is not configured is said to them.
//! Whatever is made keeps its size; another one counts after a restart.

use grey_model::Bytes;

use super::schema::Config;
use crate::broadcast::{Broadcaster, BroadcasterBuilder};
use crate::budget::{Budget, Component, Tenant};
use crate::embeddings::{EmbeddingsCache, EmbeddingsCacheBuilder};
use crate::pool::{PoolAccount, PoolAccountBuilder};
use crate::queue::{WorkQueue, WorkQueueBuilder};
use crate::rolling_log::{RollingLog, RollingLogBuilder};
use crate::spill::SpillOptions;

/// What an item of a work queue may weigh on average.
const ITEM: Bytes = Bytes::from_kib(1);

/// What an event may weigh on average.
const EVENT: Bytes = Bytes::from_kib(10);

/// What a queue or a broadcaster may hold at least.
const LEAST_BYTES: Bytes = Bytes::from_mib(10);

/// Where a pool is: from so many connections to so many, unless it is smaller
/// or larger itself.
const POOL: (u64, u64) = (10, 50);

impl Config {
    /// A queue of `work_queue_max` items of 1 KiB on average, of 10 MiB at
    /// least.
    pub fn work_queue_builder<T>(&self, component: Component) -> WorkQueueBuilder<T> {
        let items = number(self.resources.work_queue_max);
        WorkQueue::builder(component)
            .max_items(items)
            .max_bytes(ITEM.scale(items, 1).max(LEAST_BYTES))
    }

    /// A broadcaster of `event_capacity` events of 10 KiB on average, of 10 MiB
    /// at least, each kept for `event_ttl_secs`.
    pub fn broadcaster_builder<T>(&self, component: Component) -> BroadcasterBuilder<T> {
        let events = self.resources.event_capacity;
        Broadcaster::builder(component)
            .capacity(events)
            .max_bytes(EVENT.scale(number(events), 1).max(LEAST_BYTES))
            .ttl(self.resources.event_ttl)
    }

    /// The account of a pool of `db_pool_size` connections: 10 to 50, or what
    /// the size makes of that. Over twice the size is a leak.
    pub fn pool_account_builder(&self, component: Component) -> PoolAccountBuilder {
        let size = number(self.resources.db_pool_size);
        let (fewest, most) = POOL;
        PoolAccount::builder(component)
            .connections(fewest.min(size)..=most.max(size))
            .size(size)
    }

    /// A cache of `embeddings_cache_size` embeddings.
    pub fn embeddings_builder(&self, budget: &Budget, name: &str) -> EmbeddingsCacheBuilder {
        EmbeddingsCache::<u64>::builder(budget, name).entries(self.resources.embeddings_cache_size)
    }

    /// A log of `history_max_ops` operations, compacted after as many or every
    /// `history_compaction_interval_secs`.
    pub fn rolling_log_builder<Op>(&self, component: Component) -> RollingLogBuilder<Op> {
        let operations = self.resources.history_max_ops;
        RollingLog::builder(component)
            .max_operations(operations)
            .compact_after(operations)
            .compact_every(self.resources.history_compaction_interval)
    }

    /// A spill store in `memory.spill.directory` of at most
    /// `max_spill_size_mb`. Whether there is to be one at all, `enabled` says.
    pub fn spill_options(&self, component: Component) -> SpillOptions {
        let spill = &self.memory.spill;
        SpillOptions::new(&spill.directory, component).quota(spill.max_size)
    }

    /// The tenant that the project `name` is in `budget`, of its priority. Its
    /// bytes are not bounded: a project bounds files and queries.
    #[must_use]
    pub fn tenant(&self, budget: &Budget, name: &str) -> Tenant {
        budget.tenant(name, self.project(name).priority, None)
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
