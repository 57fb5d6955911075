//! Limits on the process itself: what the machine and the control group leave,
//! whether a limit makes sense there, and setting it.
//!
//! Three ways to bound a program, and which one to take:
//!
//! | Mode | Bounds | When it is met |
//! |---|---|---|
//! | control group (`memory.max`) | memory that is really used, of all the processes in it, page cache and kernel memory with it | the kernel reclaims first, then kills |
//! | `RLIMIT_AS` | *address space* of one process: stacks of threads, reserved arenas and mapped files count in full, used or not | allocations fail |
//! | `RLIMIT_DATA` | private writable mappings of one process, used or not; not files, not shared memory | allocations fail |
//!
//! **The control group is the recommended mode**, because it counts memory and
//! not addresses: a program of 16 threads on glibc may reserve 2 GiB of
//! addresses while it uses 50 MiB. Take an rlimit besides it, well above the
//! budget, where failing allocations are better than being killed, or where
//! there is no control group to be had. [`recommend`] says which applies here
//! and with what command.
//!
//! Nothing here writes to a control group: a limit on a group that others
//! share needs a record and an undo, and both belong to `greyctl
//! memory-enforce`. The mode is offered where it needs neither: as a scope of
//! one's own that the program is started in ([`scope_command`]).

mod adjust;
mod cgroup;
mod child;
mod error;
mod machine;
mod process;
mod rlimit;
mod validate;

#[cfg(test)]
mod tests;

pub use adjust::{AdjustLimitError, adjust_memory_limit};
pub use cgroup::{LimitMode, Recommendation, recommend, recommend_on, scope_command};
pub use child::{LimitChildError, limit_child, limited_command};
pub use error::{Bounded, LimitError, LimitWarning};
pub use machine::{Gigabytes, Machine, get_system_memory, gigabytes};
pub use process::{ProcessLimits, set_memory_limit, supported_limit};
pub use rlimit::{AppliedLimit, HardLimit, LimitCalls, LimitKind, LinuxCalls, Range, UsageError};
pub use validate::{
    Allocation, check_memory_limit, validate_memory_limit, validate_memory_limit_on,
    validate_total_allocations, validate_total_allocations_on,
};
