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

pub mod broadcast;
pub mod budget;
pub mod channel;
pub mod clock;
pub mod pool;
pub mod queue;
pub mod reclaimer;
pub mod rolling_log;
pub mod sharded;
#[cfg(feature = "tower")]
pub mod shed;
pub mod source;
mod sync;

pub use broadcast::{
    BroadcastError, Broadcaster, BroadcasterBuilder, CoarseClock, RecvError, RecvFuture, Subscriber,
};
pub use budget::{
    Admission, Bound, Budget, BudgetBuilder, BudgetError, Component, ComponentBuilder, Consumer,
    Reservation, ReserveError, ReserveFuture, Tenant,
};
pub use channel::{ByteReceiver, ByteSender, bounded_bytes};
pub use clock::{Clock, SystemClock};
pub use grey_model::{
    Bytes, Level, Levels, MemoryLimit, Percent, Priority, SystemLevel, Threshold, ThresholdError,
    Thresholds, Transition,
};
pub use pool::{
    Checkout, OpenConnection, PoolAccount, PoolAccountBuilder, PoolError, PoolHealth,
    PoolSizeError, PoolStatistics,
};
pub use queue::{
    FullPolicy, PopError, PopFuture, PushError, PushFuture, PushManyError, WorkQueue,
    WorkQueueBuilder,
};
pub use reclaimer::{ReclaimMode, ReclaimRequest, Reclaimed, Reclaimer};
pub use rolling_log::{AppendError, Compact, LogStatistics, RollingLog, RollingLogBuilder};
pub use sharded::ShardedCounter;
#[cfg(feature = "tower")]
pub use shed::{Shed, ShedError, ShedFuture, ShedLayer};
pub use source::{AllocatorKind, MemorySource, Purge, Reading, SourceError};
