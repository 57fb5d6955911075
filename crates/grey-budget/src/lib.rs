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
//! Never installs a global allocator, and never calls a function of the
//! program while it holds a lock of its own.

mod allocator;
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
pub mod manager;
pub mod metric_names;
pub mod metrics;
pub mod oom_score;
pub mod pool;
pub mod pressure_watch;
pub mod process_source;
pub mod queue;
pub mod reclaimer;
pub mod rolling_log;
pub mod saved_state;
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

pub use broadcast::{
    BroadcastError, Broadcaster, BroadcasterBuilder, CoarseClock, RecvError, RecvFuture, Subscriber,
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
pub use source::{AllocatorKind, MemorySource, Purge, Reading, SourceError};
pub use spill::{SpillError, SpillOptions, SpillStore, SpillTags};
pub use system_level::{SystemLevelWatch, SystemStatus};
pub use thresholds::{MemoryWarning, check_thresholds, check_thresholds_by};
pub use tracker::{MemoryBreakdown, MemorySnapshot, MemoryTracker, global_memory_tracker};
