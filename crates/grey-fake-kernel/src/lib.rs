//! A fake /proc, /sys and cgroup tree for tests: a host that has everything,
//! of which each test removes one thing.
//!
//! It also has the typed end of a test that may be skipped ([`Ended`]).
//!
//! It is a directory of plain files: it accepts any string that is written to
//! it, so it proves reading and never a write. Only a real kernel proves a write.

mod cgroup;
mod ended;
mod kernel;
mod machine;
mod process;

pub use cgroup::FakeCgroup;
pub use ended::{Ended, SKIPPED};
pub use kernel::FakeKernel;
pub use process::FakeProcess;
