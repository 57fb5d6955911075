//! Reads the kernel's memory accounts into the types of `grey-model`.
//!
//! Parsers take bytes and open nothing; readers open one file relative to a
//! kept directory and call the parser. Nothing here ever writes to the kernel.

pub mod ascii;
pub mod cgroup;
pub mod cold;
pub mod data_limit;
pub mod facts;
#[cfg(feature = "history")]
pub mod history;
pub mod host;
pub mod kill_log;
pub mod oom_daemons;
pub mod privileges;
pub mod proc;
pub mod process;
pub mod read;
pub mod roots;
pub mod setup;
pub mod sys;
pub mod syscall;
pub mod system;
pub mod target;
pub mod user;

pub use facts::{GatherFactsError, gather_facts};
pub use host::read_host;
pub use read::{KernelDirectory, ReadError};
pub use roots::{Kernel, OpenKernelError, Roots};
pub use system::{SystemSnapshot, available_now, read_system};
pub use target::{ResolveTargetError, Resolver, resolve_target};
pub use user::UserNames;
