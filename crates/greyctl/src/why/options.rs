//! Options of `why`.
//!
//! Defines only.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::moment::Moment;
use crate::no_option::NoOption;

/// Options of `why`.
#[derive(Debug, Args)]
#[command(after_help = "\
Reads /dev/kmsg, the counters of the control groups and, where systemd runs,
its journal; or a saved log of dmesg, journalctl (JSON, too) or syslog.
WHEN is how long ago (10m, 2h), a time today (10:04), or a date (2026-11-21,
\"2026-11-21 10:04\", with a zone: 2026-11-21T10:04Z).")]
pub(crate) struct WhyOptions {
    /// Explain which processes were killed
    #[arg(long, required = true)]
    pub(crate) killed: bool,
    /// Only since then; since boot when left out
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true,
          value_parser = NoOption::<Moment>::new())]
    pub(crate) since: Option<Moment>,
    /// A saved log instead of this machine's; - for the standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) log: Option<PathBuf>,
    /// Also explain this exit code: 137 may be the out-of-memory killer, 143
    /// never is
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) exit_code: Option<u8>,
    /// Only kills of this process
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) pid: Option<u32>,
    /// Only kills of processes with this name, or in this unit or cgroup
    #[arg(long, value_name = "NAME", allow_hyphen_values = true,
          value_parser = NoOption::<String>::new())]
    pub(crate) name: Option<String>,
    /// Print one JSON document (grey.kills/v1)
    #[arg(long)]
    pub(crate) json: bool,
    /// The kernel's log
    #[arg(long, value_name = "FILE", hide = true, conflicts_with = "log")]
    pub(crate) kmsg: Option<PathBuf>,
}
