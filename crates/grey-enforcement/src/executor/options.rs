//! What an enforcer is opened with.
//!
//! Data only.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use grey_telemetry::Roots;

use crate::disposable::DisposableProgram;
use crate::journal::Actor;

/// The bounds of everything that is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// One write that may block.
    pub write: Duration,
    /// One reclaim, all slices together.
    pub reclaim: Duration,
    /// One page-out, all processes together.
    pub page_out: Duration,
    /// One `sync` with `drop_caches`.
    pub drop_caches: Duration,
    /// The journal's lock.
    pub lock: Duration,
    /// Until usage is below a limit that was set.
    pub settle: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            write: Duration::from_secs(30),
            reclaim: Duration::from_secs(120),
            page_out: Duration::from_secs(120),
            drop_caches: Duration::from_secs(120),
            lock: Duration::from_secs(10),
            settle: Duration::from_secs(5),
        }
    }
}

/// How an enforcer works.
#[derive(Debug, Clone)]
pub struct EnforcerOptions {
    /// Where the kernel's file systems are.
    pub roots: Roots,
    /// Where the journal is kept, `/var/lib/grey-optimizer`.
    pub state_dir: PathBuf,
    /// Who is at work, for the journal.
    pub actor: Actor,
    /// What is started for writes that may block.
    pub disposable: DisposableProgram,
    /// The hidden argument that makes the same program call
    /// [`crate::keeper_main`] with the argument that follows it.
    pub keeper_argument: OsString,
    /// The bounds.
    pub deadlines: Deadlines,
}
