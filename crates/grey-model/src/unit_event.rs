//! What systemd says of a unit whose processes were killed or ended.
//!
//! In its log's own terms: what it comes to is decided elsewhere.

use std::time::Duration;

use crate::text::KernelText;

/// What systemd says of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitRecord {
    /// Which unit.
    pub unit: KernelText,
    /// What.
    pub event: UnitEvent,
}

/// What became of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnitEvent {
    /// The kernel's out-of-memory killer killed a process of it.
    KernelKilled,
    /// systemd-oomd killed processes of it; how many, where it is said.
    OomdKilled(Option<u64>),
    /// It failed with the result `oom-kill`: the kernel had counted an out-of-memory
    /// kill in its control group, or systemd-oomd had killed there. systemd says so
    /// once the last process of the unit has ended, however long that takes.
    FailedByOom {
        /// For how long it had run by then, at most: since its run before had
        /// ended, or the machine was booted; `None` where the log has neither.
        ran_for: Option<Duration>,
    },
    /// A process of it ended by a signal.
    EndedBy {
        /// The signal's number.
        signal: u8,
    },
    /// A process of it ended by itself with the exit status of a shell or an
    /// engine whose own process was ended by a signal: 128 and the signal, which
    /// systemd prints as `137/n/a`.
    PassedOn {
        /// The signal's number.
        signal: u8,
    },
    /// Somebody asked systemd to send a signal.
    SignalRequested {
        /// The signal's number.
        signal: u8,
        /// To which process.
        pid: u32,
        /// Its name.
        name: KernelText,
    },
    /// Its watchdog ran out, and systemd sends it a signal.
    WatchdogRanOut {
        /// How long it had not told that it is alive, in systemd's words; `None`
        /// where it asked for the signal itself (`WATCHDOG=trigger`).
        limit: Option<KernelText>,
    },
    /// systemd itself sent a signal: a stop that took too long, a process that was
    /// left over, or a watchdog that ran out.
    KilledBySystemd {
        /// The signal's number.
        signal: u8,
        /// To which process.
        pid: u32,
        /// Its name.
        name: KernelText,
    },
}
