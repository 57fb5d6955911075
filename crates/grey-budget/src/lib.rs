//! Keeps a program inside its memory budget, from within: it counts what each
//! part holds, gives memory back before the kernel takes the process, and says
//! what it did. Needs no daemon and no root.
//!
//! ```text
//! MemorySource --> Budget (atomics) --> Controller --> action queue --> Reclaimers
//!                   ^          ^
//!             Reservation   admission
//! ```
//!
//! ```rust
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use grey_budget::cache::{CacheBuilder, EntryOptions};
//! use grey_budget::{Bytes, MemoryLimits, MemoryManager, Priority};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let manager = MemoryManager::new(MemoryLimits::of(Bytes::from_mib(512)))?;
//!     // A cache charges the budget, and is shrunk before memory runs out.
//!     let answers = CacheBuilder::new(manager.budget(), "query_cache", Bytes::from_mib(128))
//!         .build(|_: &String, answer: &Vec<u8>| Bytes(answer.capacity() as u64))?;
//!     let answers = Arc::new(answers);
//!     let _registration = manager.controller().register(Arc::<_>::clone(&answers) as _);
//!     manager.start_monitoring(Duration::from_secs(30))?;
//!
//!     let high = EntryOptions::new().priority(Priority::High);
//!     if let Err(refused) = answers.insert_with("why".to_owned(), vec![42; 4096], high) {
//!         println!("answered, not kept: {}", why(&refused));
//!     }
//!     // Anything else is reserved before it is allocated.
//!     let index = manager.budget().component("index").register()?;
//!     match index.reserve_timeout(Bytes::from_mib(64), Duration::from_secs(1)) {
//!         Ok(_held_until_dropped) => println!("there is room to build"),
//!         // It names who holds the most.
//!         Err(refused) if refused.waiting_helps() => println!("later: {}", why(&refused)),
//!         Err(refused) => println!("not now: {}", why(&refused)),
//!     }
//!     Ok(())
//! }
//!
//! /// An error says what failed, and its sources why.
//! fn why(error: &dyn std::error::Error) -> String {
//!     std::iter::successors(error.source(), |cause| cause.source())
//!         .fold(error.to_string(), |told, cause| format!("{told}: {cause}"))
//! }
//! ```
//!
//! | Module | What it is |
//! |---|---|
//! | [`manager`] | one handle to all of the below, with the operations of the documents |
//! | [`budget`] | [`Budget`], [`Component`], [`Reservation`]: component and pool charged together, waiting, floors, tenants |
//! | [`source`], [`process_source`] | what the process holds, from the kernel and the allocator; purging |
//! | [`tracker`], [`sharded`] | readings over time, the breakdown with its *unaccounted* rest, counters |
//! | [`thresholds`], [`system_level`] | `check_thresholds`; how full the machine and the cgroup are |
//! | [`controller`], [`reclaimer`] | levels, action queue, whom to ask for what, history; what a part implements to be asked |
//! | [`cache`], [`embeddings`] | caches that charge the budget and are shrunk by it |
//! | [`spill`], [`disk`] | values on disk, crash-safe, readable while they are written |
//! | [`load_back`] | what was spilled comes back when pressure is over: how much, and what came of it |
//! | [`queue`], [`channel`], [`broadcast`], [`rolling_log`] | bounded by items and by bytes |
//! | [`pool`] | the account of a connection pool that exists elsewhere |
//! | [`degrade`], `shed` | doing less when the machine is full; the same as a tower layer |
//! | [`config`] | the document's YAML, layered, checked whole, reloaded while running |
//! | [`shutdown`], [`saved_state`] | ending in order; what the next start restores |
//! | [`limits`], [`oom_score`], [`pressure_watch`] | rlimits with validation, the kernel's choice of victim, systemd's pressure protocol |
//! | [`metrics`], [`metric_names`] | what is published, and every name |
//! | [`clock`], `testkit` | time; a fake clock, source and disk for the program's own tests |
//!
//! # Features
//!
//! - `jemalloc`, `mimalloc`: read and purge that allocator. The program chooses
//!   it. glibc needs no feature.
//! - `tower`: `shed::ShedLayer`.
//! - `testkit`: the module of that name.
//!
//! # What it never does
//!
//! - It installs no global allocator, and calls no function of the program while
//!   it holds a lock of its own, but one kind: [`cache`] and [`embeddings`] hash,
//!   compare and copy keys, and [`cache`] copies values, under the lock of a part
//!   of the cache. These must not call it.
//! - It does not know whose memory is that nobody charges to a component, and
//!   cannot have it given back. It is told as unaccounted, and takes its place in
//!   the budget like the rest: as it grows, caches are evicted to make room for it,
//!   from 98 % on 15 % of the budget and more at each tick, until all that may be
//!   is, and the budget stays closed until it shrinks.
//!   Eviction is paused only where it does not lower the resident set; the
//!   allocator is purged meanwhile, and the pause ends when it falls after all.
//! - It does not know of another budget: two in one program each count the whole
//!   resident set, the other's part too. Parts that are to be bounded apart are
//!   components or tenants of one budget.
//! - It does not go on in a child that the program forks: threads do not. There, a
//!   budget from before is a copy of the parent's accounts; if a thread of the
//!   parent was taking or giving just then, what asks it for more is refused
//!   ([`ReserveError::Forked`]), what is given back is not counted, and nothing
//!   waits. What a thread had kept of a component may still be given. A child that
//!   goes on for long should make a budget and a manager of its own. A
//!   [`SpillStore`] refuses to write in a child. A child must not use a [`Cache`]
//!   or a [`WorkQueue`] of its parent before it runs another program (`exec`):
//!   another thread of the parent may have held one of their locks, `quick_cache`'s
//!   among them, and nobody opens it in the child, which would wait for ever.
//! - It is no limit. Between two readings a program that does not reserve can
//!   outgrow its budget; [`limits`] and a cgroup are what the kernel enforces.
//! - A closure that hangs is left behind, not ended: a thread cannot be killed.
//!   It is named ([`Controller::late_calls`]) and not called again before it
//!   returns; at most 256 calls are out at once.
//! - `RLIMIT_AS` counts address space: glibc takes 64 MiB of it for each thread
//!   that allocates. Such a limit needs that room above the budget.
//!
//! The concurrent core is explored by loom, its invariants by proptest. Miri was
//! run by hand on a few modules that ask the kernel for nothing (SPECIFICATION.md
//! names them); it knows neither the files under `/proc` nor all system calls.

mod allocator;
mod background;
pub mod broadcast;
pub mod budget;
pub mod cache;
pub mod channel;
pub mod clock;
pub mod config;
pub mod controller;
pub mod degrade;
pub mod disk;
pub mod embeddings;
pub mod limits;
pub mod load_back;
pub mod manager;
pub mod metric_names;
pub mod metrics;
pub mod oom_score;
pub mod pool;
pub mod pressure_watch;
mod process_id;
pub mod process_source;
pub mod queue;
pub mod reclaimer;
pub mod rolling_log;
pub mod saved_state;
#[cfg(test)]
mod scripted_loader;
pub mod sharded;
#[cfg(feature = "tower")]
pub mod shed;
pub mod shutdown;
pub mod source;
pub mod spill;
mod sync;
pub mod system_level;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
pub mod thresholds;
pub mod tracker;
#[cfg(test)]
mod wait_until;
mod wake;

pub use broadcast::{
    BroadcastError, Broadcaster, BroadcasterBuilder, CoarseClock, Event, RecvError, RecvFuture,
    Subscriber,
};
pub use budget::{
    Admission, Bound, Budget, BudgetBuilder, BudgetError, Component, ComponentBuilder, Consumer,
    Reservation, ReserveError, ReserveFuture, Tenant,
};
pub use cache::{Cache, CacheBuilder, CacheError, CacheStats, EntryOptions};
pub use channel::{ByteReceiver, ByteSender, bounded_bytes};
pub use clock::{Clock, SystemClock};
pub use config::{
    Config, ConfigError, ConfigHandle, ConfigLoader, ConfigObserver, ConfigReloaded, ReloadResult,
};
pub use controller::{
    Action, ActionId, ActionKind, ActionResult, ActionStatus, Controller, ControllerSettings,
    Eviction, EvictionRequest, EvictionResult, LevelEvent, Registration, Running, Subscription,
};
pub use degrade::{Degradation, DegradationSettings, InFlight, Overloaded};
pub use disk::{Disk, DiskFile, SystemDisk};
pub use embeddings::{EmbeddingsCache, Precision};
pub use grey_model::{
    Bytes, Level, Levels, MemoryLimit, Percent, Priority, SystemLevel, Threshold, ThresholdError,
    Thresholds, Transition, level::fraction,
};
pub use limits::{
    AppliedLimit, LimitError, LimitKind, LimitWarning, Machine, adjust_memory_limit,
    get_system_memory, set_memory_limit, validate_memory_limit, validate_total_allocations,
};
pub use load_back::{LoadBackCount, LoadBackEnd, LoadBackRation, LoadBackReport};
pub use manager::{MemoryLimits, MemoryManager, MemoryManagerBuilder, MemoryStatus};
pub use oom_score::{OomScoreError, OomScoreGuard, oom_score_adj, set_oom_score_adj};
pub use pool::{
    Checkout, OpenConnection, PoolAccount, PoolAccountBuilder, PoolError, PoolHealth,
    PoolSizeError, PoolStatistics,
};
pub use pressure_watch::{PressureWatch, PressureWatchError, Waited};
pub use process_source::{BoundKind, ProcessBounds, ProcessSource};
pub use queue::{
    FullPolicy, PopError, PopFuture, PushError, PushFuture, PushManyError, WorkQueue,
    WorkQueueBuilder,
};
pub use reclaimer::{ReclaimMode, ReclaimRequest, Reclaimed, Reclaimer};
pub use rolling_log::{AppendError, Compact, LogStatistics, RollingLog, RollingLogBuilder};
pub use saved_state::{Restored, SavedProject, SavedState};
pub use sharded::ShardedCounter;
#[cfg(feature = "tower")]
pub use shed::{Shed, ShedError, ShedFuture, ShedLayer};
pub use shutdown::{Shutdown, ShutdownReason, ShutdownReport, ShutdownSettings, ShutdownStep};
pub use source::{AllocatorKind, MemorySource, Purge, Reading, RlimitUse, SourceError};
pub use spill::{SpillError, SpillOptions, SpillStore, SpillTags};
pub use system_level::{SystemLevelWatch, SystemStatus};
pub use thresholds::{MemoryWarning, check_thresholds, check_thresholds_by};
pub use tracker::{MemoryBreakdown, MemorySnapshot, MemoryTracker, global_memory_tracker};
