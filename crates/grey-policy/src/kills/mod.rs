//! Kills, explained: who did it, under which limit, who used the most, and
//! what to do about it.
//!
//! [`explain_kills`] puts together what different logs say of the same kill;
//! [`by_kernel`], [`by_others`] and [`exit_code`] put it in words, [`counters`]
//! finds kills that no log shows, [`nobody`] tells where the kernel killed none. Pure: times are resolved before.

mod advice;
mod by_kernel;
mod by_others;
mod counters;
mod exit_code;
mod merge;
mod nobody;
mod shortage;
mod watchdog;

use std::time::Duration;

use grey_model::{KernelText, Kill, KillRecord, Killer, Moment, PageSize, Target};

pub use advice::named_targets;
pub use counters::unlogged_kills;
pub use exit_code::explain_exit_code;
pub use merge::explain_kills;
pub use nobody::explain_nobody_killed;

/// A record whose time is resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct TimedRecord {
    /// When, if it is known.
    pub at: Option<Moment>,
    /// By how much that may be too late.
    pub uncertain_by: Duration,
    /// When since boot, if it is known.
    pub since_boot: Option<Duration>,
    /// On which machine, where the log names it.
    pub host: Option<KernelText>,
    /// What.
    pub record: KillRecord,
}

/// What must be known of the machine to explain its kills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KillFacts<'machine> {
    /// Its page size; a saved log may be of a machine with another one.
    pub page_size: PageSize,
    /// Whether systemd is its PID 1.
    pub has_systemd: bool,
    /// Whether the kernel's log was searched: only then does its silence mean
    /// something.
    pub kernel_log_searched: bool,
    /// Whether the limits of cgroups can be set here: the memory controller is on
    /// version 2, or nobody knows.
    pub has_limits: bool,
    /// Of [`named_targets`] those that are not there now, or are more than one:
    /// no command can name them. Empty where nobody looked, as for a saved log.
    pub missing: &'machine [Target],
}

/// SIGKILL's number, which the kernel and systemd-oomd send.
pub(crate) const SIGKILL: u8 = 9;
/// SIGTERM's number, which neither of them ever sends.
pub(crate) const SIGTERM: u8 = 15;

/// A kill of which nothing is known but when and where it was logged.
pub(crate) fn blank(record: &TimedRecord, killer: Killer) -> Kill {
    Kill {
        at: record.at,
        at_uncertain_by_seconds: record.at.map(|_| record.uncertain_by.as_secs_f64()),
        since_boot_seconds: record.since_boot.map(|since| since.as_secs_f64()),
        host: record.host.clone(),
        pid: None,
        name: None,
        uid: None,
        killer,
        can_be: None,
        shortage: None,
        program: None,
        signal: None,
        cgroup: None,
        unit: None,
        limit_cgroup: None,
        limit_bytes: None,
        usage_bytes: None,
        rss_bytes: None,
        whole_group: false,
        consumers: None,
        grew: None,
        grew_covers_seconds: None,
        last_minute: None,
        explanation: Vec::new(),
        advice: Vec::new(),
    }
}

/// The kernel's out-of-memory killer, for whichever reason.
pub(crate) const KERNEL: [Killer; 2] = [Killer::KernelCgroup, Killer::KernelGlobal];

/// `postgres (1234)`, as far as it is known.
pub(crate) fn who(name: Option<&KernelText>, pid: Option<u32>) -> String {
    match (name, pid) {
        (Some(name), Some(pid)) => format!("{} ({pid})", name.to_process_name()),
        (Some(name), None) => name.to_process_name(),
        (None, Some(pid)) => format!("process {pid}"),
        (None, None) => "a process".to_owned(),
    }
}

#[cfg(test)]
mod tests;
