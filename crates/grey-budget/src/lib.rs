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

pub mod budget;
pub mod clock;
pub mod config;
pub mod limits;
pub mod reclaimer;
pub mod sharded;
pub mod source;
mod sync;

pub use budget::{
    Admission, Bound, Budget, BudgetBuilder, BudgetError, Component, ComponentBuilder, Consumer,
    Reservation, ReserveError, ReserveFuture, Tenant,
};
pub use clock::{Clock, SystemClock};
pub use config::{
    Config, ConfigError, ConfigHandle, ConfigLoader, ConfigObserver, ConfigReloaded, ReloadResult,
};
pub use grey_model::{
    Bytes, Level, Levels, MemoryLimit, Percent, Priority, SystemLevel, Threshold, ThresholdError,
    Thresholds, Transition,
};
pub use limits::{
    AppliedLimit, LimitError, LimitKind, LimitWarning, Machine, adjust_memory_limit,
    get_system_memory, set_memory_limit, validate_memory_limit, validate_total_allocations,
};
pub use reclaimer::{ReclaimMode, ReclaimRequest, Reclaimed, Reclaimer};
pub use sharded::ShardedCounter;
pub use source::{AllocatorKind, MemorySource, Purge, Reading, SourceError};
