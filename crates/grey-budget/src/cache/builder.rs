//! How a cache is made.
//!
//! Never opens anything and starts no thread.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::time::Duration;

use grey_model::{Bytes, Priority};

use super::account::{Account, SpillSide};
use super::core::{Cache, Settings};
use super::spill::{Codec, SpillTarget};
use crate::budget::{Budget, BudgetError, Tenant};
use crate::clock::{Clock, SystemClock};

/// What an entry weighs on average, where nobody says otherwise.
const USUAL_ENTRY: u64 = 1024;

/// A cache is cut into pieces that are locked apart; none is smaller than this,
/// unless there is only one.
const LEAST_SHARD: u64 = 1 << 20;

/// Pieces for each processor.
const SHARDS_PER_PROCESSOR: usize = 4;

/// Of a piece, the largest value may take this many hundredths.
pub(super) const LARGEST_PERCENT: u64 = 96;

/// What is unused for so long is stale, if nobody says otherwise.
const STALE_AFTER: Duration = Duration::from_secs(300);

/// A cache could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// A capacity of nothing.
    #[error("failed to make the cache `{name}`: its capacity is 0")]
    Empty {
        /// The cache.
        name: String,
    },
    /// The budget does not take it.
    #[error("failed to make the cache `{name}`")]
    Budget {
        /// The cache.
        name: String,
        /// Why.
        #[source]
        source: BudgetError,
    },
    /// More projects than can be told apart.
    #[error("failed to name a project of the cache `{name}`: it has {most} already")]
    TooManyProjects {
        /// The cache.
        name: String,
        /// The most that it can tell apart.
        most: u32,
    },
}

/// A cache before it is made.
#[must_use = "a cache exists once it is built"]
pub struct CacheBuilder<K, V> {
    budget: Budget,
    name: String,
    capacity: Bytes,
    priority: Priority,
    reloadable: bool,
    loads_back: bool,
    tenant: Option<Tenant>,
    entries: Option<u64>,
    largest: Option<Bytes>,
    ttl: Option<Duration>,
    stale_after: Duration,
    clock: Arc<dyn Clock>,
    spill: Option<SpillSide<K, V>>,
}

impl<K, V> std::fmt::Debug for CacheBuilder<K, V> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("CacheBuilder")
            .field("name", &self.name)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

impl<K, V> CacheBuilder<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// A cache of `capacity`, charged to a component of `budget` by this name.
    pub fn new(budget: &Budget, name: &str, capacity: Bytes) -> Self {
        Self {
            budget: budget.clone(),
            name: name.to_owned(),
            capacity,
            priority: Priority::Low,
            reloadable: false,
            loads_back: true,
            tenant: None,
            entries: None,
            largest: None,
            ttl: None,
            stale_after: STALE_AFTER,
            clock: Arc::new(SystemClock::new()),
            spill: None,
        }
    }

    /// How dear the whole cache is at least: the controller asks it for nothing
    /// while something of a lower priority is left elsewhere. Low if not said,
    /// so that each entry's own priority counts.
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// What it holds can be had again from where it came, such as files: it
    /// goes when files are unloaded, before anything is spilled.
    pub const fn reloadable(mut self) -> Self {
        self.reloadable = true;
        self
    }

    /// For whom the whole cache works.
    pub fn tenant(mut self, tenant: &Tenant) -> Self {
        self.tenant = Some(tenant.clone());
        self
    }

    /// About how many entries it will hold: how many dropped keys are
    /// remembered depends on it. By default one for each KiB.
    pub const fn expected_entries(mut self, entries: u64) -> Self {
        self.entries = Some(entries);
        self
    }

    /// The largest value that must find room: the cache is cut into fewer
    /// pieces for it. By default 1 MiB, or the whole if that is less.
    pub const fn largest_value(mut self, largest: Bytes) -> Self {
        self.largest = Some(largest);
        self
    }

    /// How long entries may be read that do not say it themselves.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// After how long without use an entry goes when the budget's cleaning
    /// begins; where [`Self::spill`] is set, to the target. By default five
    /// minutes.
    pub const fn stale_after(mut self, unused: Duration) -> Self {
        self.stale_after = unused;
        self
    }

    /// Tells the time.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Writes to `target` what leaves memory, and reads it back when asked
    /// for. Writing happens in the thread whose insertion needs the room, or in
    /// one of the controller's: at the soft and at the hard level, and what is
    /// stale at any. What the target does not take is dropped, and counted
    /// ([`CacheStats::spill_failures`](super::CacheStats::spill_failures)); at
    /// the hard level what is high stays instead. In an emergency, and by
    /// [`Controller::emergency_eviction`](crate::Controller::emergency_eviction),
    /// the rest is dropped and not written: memory must not wait for a disk.
    pub fn spill(
        mut self,
        target: Arc<dyn SpillTarget>,
        codec: impl Codec<K, V> + 'static,
    ) -> Self {
        self.spill = Some(SpillSide {
            target,
            codec: Box::new(codec),
            on_evict: true,
        });
        self
    }

    /// As [`Self::spill`], but only when the budget asks for it, at the soft and
    /// at the hard level: what makes room for other entries is dropped, and so is
    /// what is stale.
    pub fn spill_on_request(
        self,
        target: Arc<dyn SpillTarget>,
        codec: impl Codec<K, V> + 'static,
    ) -> Self {
        let mut builder = self.spill(target, codec);
        if let Some(spill) = &mut builder.spill {
            spill.on_evict = false;
        }
        builder
    }

    /// What was spilled comes back only when somebody asks for it. Otherwise the
    /// controller that the cache is registered with has it loaded back once
    /// memory has been normal for a while, if the codec decodes keys
    /// ([`PostcardCodec`](super::PostcardCodec) does) and the target offers what
    /// it has ([`SpillStore`](crate::SpillStore) does): see
    /// [`Cache::loads_back`]. Of a target that others use too, their values are
    /// read and passed over: one store for each cache is faster.
    pub const fn without_load_back(mut self) -> Self {
        self.loads_back = false;
        self
    }

    /// Makes it. `heap` tells how many bytes key and value hold outside of
    /// themselves, as the allocator gave them (capacity, not length); what the
    /// entry takes in the cache is added. Values must not grow afterwards. More
    /// than 64 MiB are rounded up, by less than a 33-millionth.
    ///
    /// # Errors
    /// [`CacheError`], for a capacity of 0 and when the budget has a component
    /// of this name.
    pub fn build(
        self,
        heap: impl Fn(&K, &V) -> Bytes + Send + Sync + 'static,
    ) -> Result<Cache<K, V>, CacheError> {
        let name = self.name;
        if self.capacity == Bytes::ZERO {
            return Err(CacheError::Empty { name });
        }
        let mut component = self
            .budget
            .component(&name)
            .priority(self.priority)
            .refillable();
        if let Some(tenant) = &self.tenant {
            component = component.tenant(tenant);
        }
        let component = match component.register() {
            Ok(component) => component,
            Err(source) => return Err(CacheError::Budget { name, source }),
        };
        let can_load_back =
            |spill: &SpillSide<K, V>| spill.codec.decodes_keys() && spill.target.offers();
        let loads_back = self.spill.as_ref().is_some_and(can_load_back);
        if self.spill.is_some() && self.loads_back && !loads_back {
            tracing::info!(
                cache = name,
                "its codec does not decode keys, or its target does not offer values: what is \
                 spilled comes back only when it is asked for"
            );
        }
        let account = Account::new(component, self.clock, self.spill, |hasher, key| {
            hasher.hash_one(key)
        });
        let capacity = self.capacity.get();
        let entries = self.entries.unwrap_or(capacity / USUAL_ENTRY).max(1);
        let largest = self.largest.map_or(LEAST_SHARD, Bytes::get);
        let settings = Settings {
            name,
            priority: self.priority,
            reloadable: self.reloadable,
            loads_back: self.loads_back && loads_back,
            entries,
            shards: shards_for(capacity, largest),
            ttl: self.ttl,
            stale_after: self.stale_after,
        };
        Ok(Cache::new(
            Arc::new(account),
            settings,
            capacity,
            Box::new(heap),
        ))
    }
}

/// As many pieces as the processors want, and as the largest value allows.
fn shards_for(capacity: u64, largest: u64) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let wanted = processors
        .saturating_mul(SHARDS_PER_PROCESSOR)
        .next_power_of_two();
    let piece = largest.saturating_mul(100).div_ceil(LARGEST_PERCENT).max(1);
    let fit = usize::try_from(capacity / piece).unwrap_or(usize::MAX);
    let fit = if fit == 0 { 1 } else { 1 << fit.ilog2() };
    wanted.min(fit)
}
