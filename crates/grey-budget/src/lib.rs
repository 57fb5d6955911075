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
pub mod disk;
pub mod reclaimer;
pub mod sharded;
pub mod source;
pub mod spill;
mod sync;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;

pub use budget::{
    Admission, Bound, Budget, BudgetBuilder, BudgetError, Component, ComponentBuilder, Consumer,
    Reservation, ReserveError, ReserveFuture, Tenant,
};
pub use clock::{Clock, SystemClock};
pub use disk::{Disk, DiskFile, SystemDisk};
pub use grey_model::{
    Bytes, Level, Levels, MemoryLimit, Percent, Priority, SystemLevel, Threshold, ThresholdError,
    Thresholds, Transition,
};
pub use reclaimer::{ReclaimMode, ReclaimRequest, Reclaimed, Reclaimer};
pub use sharded::ShardedCounter;
pub use source::{AllocatorKind, MemorySource, Purge, Reading, SourceError};
pub use spill::{SpillError, SpillOptions, SpillStore, SpillTags};
