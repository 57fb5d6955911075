//! Times at which memory was out and the kernel killed nobody: it stopped the
//! machine, or went on without.
//!
//! [`NobodyKilledRecord`] is what a log says of it, [`NobodyKilled`] the
//! explained case. What a log does not say is `None`, never 0.

use serde::Serialize;

use crate::identity::CgroupPath;
use crate::kill::{Consumer, KernelKill, Shortage};
use crate::moment::Moment;
use crate::text::KernelText;
use crate::units::Bytes;

/// Why the kernel killed nobody.
///
/// # Kernel
/// `mm/oom_kill.c`, `out_of_memory()` and `check_panic_on_oom()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum NobodyReason {
    /// There was none whom it may kill.
    NoCandidate,
    /// `vm.panic_on_oom` is 1: it stops the machine when that is out of memory.
    PanicOnOom,
    /// `vm.panic_on_oom` is 2: it stops the machine also for a control group, a
    /// cpuset or a memory policy.
    PanicOnOomCompulsory,
}

/// What a log says of a time at which the kernel killed nobody.
#[derive(Debug, Clone, PartialEq)]
pub struct NobodyKilledRecord {
    /// Why.
    pub reason: NobodyReason,
    /// Whether the log has that the kernel stopped the machine.
    pub panicked: bool,
    /// The report before it, which names no victim.
    pub report: KernelKill,
}

/// A time at which memory was out and the kernel killed nobody, explained.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NobodyKilled {
    /// When, in UTC; `null` when the log does not say. Of several in a row, the
    /// first.
    pub at: Option<Moment>,
    /// By how many seconds that may be too late, as in `kills`.
    pub at_uncertain_by_seconds: Option<f64>,
    /// When, in seconds since boot; `null` when the log does not say.
    pub since_boot_seconds: Option<f64>,
    /// On which machine, where the log names it.
    pub host: Option<KernelText>,
    /// Whether the machine stopped (a kernel panic); `null` when the log ends
    /// before it says so.
    pub machine_stopped: Option<bool>,
    /// Why nobody was killed.
    pub reason: NobodyReason,
    /// What there was not enough of; `null` where a control group was at its
    /// limit, or the log does not say.
    pub shortage: Option<Shortage>,
    /// Who asked for memory; `null` when the log does not say.
    pub asked_by: Option<KernelText>,
    /// The cgroup that was at its limit; `null` where none was, or it is unknown.
    pub limit_cgroup: Option<CgroupPath>,
    /// The limit of that cgroup; `null` where there is none or it is unknown.
    pub limit_bytes: Option<Bytes>,
    /// What that cgroup used.
    pub usage_bytes: Option<Bytes>,
    /// Who used the most, largest first; `null` when the log does not say.
    pub consumers: Option<Vec<Consumer>>,
    /// How often it was so in a row, for the same cgroup.
    pub times: u64,
    /// What happened, each a sentence.
    pub explanation: Vec<String>,
    /// What to do about it, each a sentence or a command.
    pub advice: Vec<String>,
}
