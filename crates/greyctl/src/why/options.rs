//! Options of `why`.
//!
//! Defines only.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use grey_model::Target;

use crate::duration::Window;
use crate::moment::Moment;
use crate::no_option::NoOption;

/// Options of `why`.
#[derive(Debug, Args)]
#[command(after_help = "\
A target is named as in memory-diagnose --target.
--killed reads /dev/kmsg, the counters of the control groups and, where there is
one, the systemd journal; or a saved log of dmesg, journalctl (JSON, too) or syslog.
WHEN is how long ago (10m, 2h), a time today (10:04), or a date (2026-11-21,
\"2026-11-21 10:04\", with a zone: 2026-11-21T10:04Z).")]
pub(crate) struct WhyOptions {
    /// Explain where the memory of this target is, and why: a pid, a command
    /// name, a cgroup's path or a systemd unit
    #[arg(
        value_name = "TARGET",
        required_unless_present = "killed",
        conflicts_with = "killed"
    )]
    pub(crate) target: Option<Target>,
    /// Look for so long how the target grows, instead of asking history
    #[arg(
        long = "for",
        value_name = "DURATION",
        requires = "target",
        conflicts_with = "killed",
        allow_hyphen_values = true,
        value_parser = NoOption::<Window>::new()
    )]
    pub(crate) look: Option<Window>,
    /// Explain which processes were killed
    #[arg(long)]
    pub(crate) killed: bool,
    /// Only since then; since boot when left out
    #[arg(requires = "killed", conflicts_with = "target", long, value_name = "WHEN", allow_hyphen_values = true,
          value_parser = NoOption::<Moment>::new())]
    pub(crate) since: Option<Moment>,
    /// A saved log instead of this machine's; - for the standard input
    #[arg(requires = "killed", conflicts_with = "target", long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) log: Option<PathBuf>,
    /// Also explain this exit code: 137 may be the kernel's out-of-memory
    /// killer; 143 never is, but may be earlyoom or nohang
    #[arg(
        requires = "killed",
        conflicts_with = "target",
        long,
        value_name = "N",
        allow_negative_numbers = true
    )]
    pub(crate) exit_code: Option<u8>,
    /// Only kills of this process
    #[arg(
        requires = "killed",
        conflicts_with = "target",
        long,
        value_name = "N",
        allow_negative_numbers = true
    )]
    pub(crate) pid: Option<u32>,
    /// Only kills of processes with this name, or in this unit or cgroup, of which
    /// .service may be left out
    #[arg(requires = "killed", conflicts_with = "target", long, value_name = "NAME", allow_hyphen_values = true,
          value_parser = NoOption::<String>::new())]
    pub(crate) name: Option<String>,
    /// Print one JSON document (grey.why/v1, with --killed grey.kills/v1)
    #[arg(long)]
    pub(crate) json: bool,
    /// The kernel's log
    #[arg(
        requires = "killed",
        long,
        value_name = "FILE",
        hide = true,
        conflicts_with = "log"
    )]
    pub(crate) kmsg: Option<PathBuf>,
}
