//! The command line: commands, options, and their help.
//!
//! Defines only; what a command does is in its own module.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgGroup, Args, ColorChoice, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use grey_model::{Action, Bytes, DropCaches, GroupBy, KsmSpeed, MemoryLimit, Target};

use crate::duration::{Interval, Lease, Observation, Window};
use crate::history::options::{HistoryOptions, RecordOptions};
use crate::moment::Moment;
use crate::no_option::NoOption;
use crate::watch::options::WatchOptions;
use crate::why::options::WhyOptions;
use crate::{environment, exit_code};

/// The hidden command that writes to the kernel on behalf of another greyctl.
pub(crate) const WRITER_COMMAND: &str = "kernel-write";
/// The hidden command that undoes a plan when its lease is over.
pub(crate) const KEEPER_COMMAND: &str = "lease-keeper";

/// See where the memory of this machine is, take some back, and put
/// everything back as it was.
#[derive(Debug, Parser)]
#[command(
    name = "greyctl",
    version,
    propagate_version = true,
    after_long_help = format!("{}\n\n{}", exit_code::help_text(), environment::help_text())
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalOptions,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalOptions {
    /// Where procfs is mounted [default: /proc]
    #[arg(long, global = true, value_name = "DIR", env = environment::PROCFS,
          hide_env_values = true, hide_short_help = true, value_hint = ValueHint::DirPath)]
    pub(crate) procfs: Option<PathBuf>,
    /// Where sysfs is mounted [default: /sys]
    #[arg(long, global = true, value_name = "DIR", env = environment::SYSFS,
          hide_env_values = true, hide_short_help = true, value_hint = ValueHint::DirPath)]
    pub(crate) sysfs: Option<PathBuf>,
    /// Where the control groups are mounted [default: fs/cgroup below sysfs]
    #[arg(long, global = true, value_name = "DIR", env = environment::CGROUPFS,
          hide_env_values = true, hide_short_help = true, value_hint = ValueHint::DirPath)]
    pub(crate) cgroupfs: Option<PathBuf>,
    /// Where our journal of changes and history are kept [default: /var/lib/grey-optimizer for root,
    /// ~/.local/state/grey-optimizer for others]
    #[arg(long, global = true, value_name = "DIR", env = environment::STATE_DIR,
          hide_env_values = true, hide_short_help = true, value_hint = ValueHint::DirPath)]
    pub(crate) state_dir: Option<PathBuf>,
    /// systemd's runtime directory, whose presence says that systemd is PID 1
    #[arg(long, global = true, value_name = "DIR", hide = true)]
    pub(crate) systemd_dir: Option<PathBuf>,
    /// Colours: auto is on when the output is a terminal
    #[arg(long, global = true, value_name = "WHEN", default_value_t = ColorChoice::Auto,
          hide_short_help = true)]
    pub(crate) color: ColorChoice,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show where the memory is: the machine, its processes, its cgroups
    MemoryDiagnose(DiagnoseOptions),
    /// Watch where the memory goes; plain lines when not on a terminal
    MemoryWatch(WatchOptions),
    /// Take memory back, and prove what that did
    MemoryEnforce(EnforceOptions),
    /// Put back what memory-enforce changed
    Rollback(RollbackOptions),
    /// List what memory-enforce changed
    Journal(JournalOptions),
    /// Show what changed between two diagnoses, or while a command ran
    Diff(DiffOptions),
    /// Keep samples of the machine's memory, each second, for history
    Record(RecordOptions),
    /// Show what was recorded, at a moment or over a time
    History(HistoryOptions),
    /// Explain why a target is as large as it is, or which processes were killed
    Why(WhyOptions),
    /// Check how this machine is set up for its memory, and say what mends it
    Doctor(DoctorOptions),
    /// Print a shell's completion script
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print a manual page (roff)
    Man {
        /// Of which command; of greyctl itself when left out
        command: Option<String>,
    },
    /// Write to the kernel on behalf of another greyctl
    #[command(name = WRITER_COMMAND, hide = true)]
    KernelWrite,
    /// Undo a plan when its lease is over
    #[command(name = KEEPER_COMMAND, hide = true)]
    LeaseKeeper {
        /// What to undo and when, as the enforcer wrote it
        orders: String,
    },
}

/// Options of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is changed. The exit code is 3 when there is a problem or a warning, and
0 when nothing is worse than a note or unknown.")]
pub(crate) struct DoctorOptions {
    /// Also why what is well matters
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Print one JSON document (grey.doctor/v1) with every check
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `memory-diagnose`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("looks").args(["detect_leaks", "cold"]).multiple(true)))]
pub(crate) struct DiagnoseOptions {
    /// Every process and every cgroup, and every row of the breakdown
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Only this target: a pid, a command name, a cgroup's path or a systemd
    /// unit; may be given several times
    #[arg(
        short,
        long = "target",
        value_name = "TARGET",
        allow_hyphen_values = true,
        value_parser = NoOption::<Target>::new()
    )]
    pub(crate) targets: Vec<Target>,
    /// Fold the processes
    #[arg(long, value_name = "WHAT")]
    pub(crate) by: Option<Fold>,
    /// Show what history has of this moment instead of looking now: "10m ago",
    /// 10:04; of its largest processes and cgroups
    #[arg(long, value_name = "MOMENT", conflicts_with_all = ["detect_leaks", "cold", "since", "interval", "window"])]
    pub(crate) at: Option<Moment>,
    #[command(flatten)]
    pub(crate) rows: Rows,
    /// Look for a while at what processes, groups and cgroups hold, then tell
    /// what leaks; ends with exit code 3 when something does
    #[arg(long)]
    pub(crate) detect_leaks: bool,
    /// Tell how much of the target was not used for a while; with --for, look
    /// for so long, which disturbs what the kernel knows of its use
    #[arg(long, requires = "targets", conflicts_with = "detect_leaks")]
    pub(crate) cold: bool,
    /// How long to look for leaks [default: 60s] or for what is cold: 60s, 10m,
    /// at most 24h; a slow leak needs long
    #[arg(
        long = "for",
        value_name = "DURATION",
        requires = "looks",
        allow_hyphen_values = true,
        value_parser = NoOption::<Window>::new()
    )]
    pub(crate) window: Option<Window>,
    /// How often to look meanwhile: 5s, 500ms; at most 720 times
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "5s",
        requires = "detect_leaks",
        allow_hyphen_values = true,
        value_parser = NoOption::<Interval>::new()
    )]
    pub(crate) interval: Interval,
    /// Judge what history has since then, of the largest processes, groups and cgroups, instead of
    /// looking now: "2h ago", 10:04
    #[arg(long, value_name = "MOMENT", requires = "detect_leaks",
          conflicts_with_all = ["window", "interval"])]
    pub(crate) since: Option<Moment>,
    /// Judge what history has until then, also of an earlier boot; without --since
    /// from its beginning
    #[arg(long, value_name = "MOMENT", requires = "detect_leaks",
          conflicts_with_all = ["window", "interval", "at"])]
    pub(crate) until: Option<Moment>,
    /// Print one JSON document (grey.diagnosis/v1) with everything in it
    #[arg(long)]
    pub(crate) json: bool,
    /// Keep the same document in this file, for diff: whole or not at all, what
    /// was there before until then; a symbolic link is replaced itself
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) save: Option<PathBuf>,
}

/// How long lists are.
#[derive(Debug, Clone, Args)]
pub(crate) struct Rows {
    /// How many rows each list has
    #[arg(
        long,
        value_name = "N",
        default_value_t = 10,
        allow_negative_numbers = true
    )]
    pub(crate) top: usize,
}

/// Options of `diff`.
#[derive(Debug, Args)]
#[command(
    override_usage = "greyctl diff [OPTIONS] BEFORE.json [AFTER.json]\n       greyctl diff [OPTIONS] -b MOMENT [-e MOMENT]\n       greyctl diff [OPTIONS] -- COMMAND...",
    after_help = "\
Save a diagnosis with memory-diagnose --save FILE. With one file, it is compared
with now. What COMMAND prints goes to the standard error. When COMMAND fails, so
does diff, with exit code 1; COMMAND's own is in what diff says."
)]
pub(crate) struct DiffOptions {
    /// Compare with this moment of history, as in `-b 1h`
    #[arg(short, long, value_name = "MOMENT", conflicts_with_all = ["before", "command"])]
    pub(crate) begin: Option<Moment>,
    /// The later moment; when left out the machine as it is now
    #[arg(short, long, value_name = "MOMENT", requires = "begin")]
    pub(crate) end: Option<Moment>,
    /// The earlier diagnosis
    #[arg(value_name = "BEFORE.json", required_unless_present_any = ["command", "begin"],
          conflicts_with = "command", value_hint = ValueHint::FilePath)]
    pub(crate) before: Option<PathBuf>,
    /// The later diagnosis; now when left out
    #[arg(value_name = "AFTER.json", conflicts_with = "command", value_hint = ValueHint::FilePath)]
    pub(crate) after: Option<PathBuf>,
    /// A command to run between two diagnoses
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
    /// Only this target, as in memory-diagnose; when left out, that of the files
    #[arg(
        short,
        long = "target",
        value_name = "TARGET",
        allow_hyphen_values = true,
        value_parser = NoOption::<Target>::new()
    )]
    pub(crate) targets: Vec<Target>,
    #[command(flatten)]
    pub(crate) rows: Rows,
    /// Print one JSON document (grey.comparison/v1) with every change
    #[arg(long)]
    pub(crate) json: bool,
}

/// By what processes are folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fold {
    /// By the name of the program
    Program,
    /// By the systemd unit
    Unit,
    /// By the container
    Container,
    /// By the user
    User,
    /// By the cgroup
    Cgroup,
    /// By who started them
    Tree,
}

impl From<Fold> for GroupBy {
    fn from(fold: Fold) -> Self {
        match fold {
            Fold::Program => Self::Program,
            Fold::Unit => Self::Unit,
            Fold::Container => Self::Container,
            Fold::User => Self::User,
            Fold::Cgroup => Self::Cgroup,
            Fold::Tree => Self::Tree,
        }
    }
}

/// Options of `memory-enforce`.
#[derive(Debug, Args)]
#[command(after_help = "\
Sizes are 512M, 1.5G, 64MiB or plain bytes; letters mean powers of 1024.
A target is a pid (1234), a command name (postgres), a cgroup (/build/web) or a
systemd unit (nginx.service); pid:, name:, cgroup: and unit: say which is meant.
Without an action, --simulation plans --drop-caches and --enable-ksm.")]
pub(crate) struct EnforceOptions {
    /// Plan and check everything, change nothing
    #[arg(short = 'n', long)]
    pub(crate) simulation: bool,
    /// What to act on
    #[arg(
        short,
        long,
        value_name = "TARGET",
        allow_hyphen_values = true,
        value_parser = NoOption::<Target>::new()
    )]
    pub(crate) target: Option<Target>,
    /// Take this much back from the target's cgroup (memory.reclaim), and
    /// stop when it no longer pays
    #[arg(
        long,
        value_name = "SIZE",
        allow_hyphen_values = true,
        value_parser = NoOption::<Bytes>::new(),
        help_heading = "Actions"
    )]
    pub(crate) reclaim: Option<Bytes>,
    /// Throttle the target above this (memory.high)
    #[arg(
        long,
        value_name = "SIZE|max",
        allow_hyphen_values = true,
        value_parser = NoOption::<MemoryLimit>::new(),
        help_heading = "Actions"
    )]
    pub(crate) high: Option<MemoryLimit>,
    /// Limit the target to this (memory.max); at least 64M
    #[arg(
        long,
        value_name = "SIZE|max",
        allow_hyphen_values = true,
        value_parser = NoOption::<MemoryLimit>::new(),
        help_heading = "Actions"
    )]
    pub(crate) limit: Option<MemoryLimit>,
    /// Page out the target's processes from outside (process_madvise)
    #[arg(long, help_heading = "Actions")]
    pub(crate) page_out: bool,
    /// Sync, then drop the machine's clean caches: 1 page cache, 2 slab,
    /// 3 both; 1 when no number is given
    #[arg(long, value_name = "1|2|3", num_args = 0..=1, default_missing_value = "1",
          value_parser = parse_drop_caches, help_heading = "Actions")]
    pub(crate) drop_caches: Option<DropCaches>,
    /// Let the kernel merge identical pages of programs that allow it (KSM)
    #[arg(long, help_heading = "Actions")]
    pub(crate) enable_ksm: bool,
    /// Scan faster for identical pages; costs CPU time
    #[arg(long, requires = "enable_ksm", help_heading = "Actions")]
    pub(crate) aggressive: bool,
    /// Correct the target's OOM score: -1000 is never killed, 1000 goes first
    #[arg(long, value_name = "N", allow_negative_numbers = true,
          value_parser = parse_oom_score_adj, help_heading = "Actions")]
    pub(crate) oom_score_adj: Option<i16>,
    /// Limit the target process's private data (RLIMIT_DATA)
    #[arg(
        long,
        value_name = "SIZE",
        allow_hyphen_values = true,
        value_parser = NoOption::<Bytes>::new(),
        help_heading = "Actions"
    )]
    pub(crate) rlimit_data: Option<Bytes>,
    /// Undo it all after this time: 45s, 10m, 1h30m, at most 30d
    #[arg(long = "for", value_name = "DURATION", allow_hyphen_values = true,
          value_parser = NoOption::<Lease>::new())]
    pub(crate) lease: Option<Lease>,
    /// How long to watch for memory that comes back; 0s to not watch
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "10s",
        allow_hyphen_values = true,
        value_parser = NoOption::<Observation>::new()
    )]
    pub(crate) observe: Observation,
    /// Why, for our journal of changes
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Print one JSON document (grey.enforcement/v1)
    #[arg(long)]
    pub(crate) json: bool,
}

impl EnforceOptions {
    /// The actions that were asked for, gentle ones first: settings that free
    /// nothing by themselves, the machine's caches, reclaim, then limits.
    pub(crate) fn actions(&self) -> Vec<Action> {
        let speed = if self.aggressive {
            KsmSpeed::Aggressive
        } else {
            KsmSpeed::AsIs
        };
        [
            self.oom_score_adj
                .map(|value| Action::OomScoreAdj { value }),
            self.rlimit_data.map(|limit| Action::RlimitData { limit }),
            self.enable_ksm.then_some(Action::EnableKsm { speed }),
            self.drop_caches.map(|what| Action::DropCaches { what }),
            self.reclaim.map(|amount| Action::Reclaim { amount }),
            self.page_out.then_some(Action::PageOut),
            self.high.map(|limit| Action::High { limit }),
            self.limit.map(|limit| Action::Limit { limit }),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Options of `rollback`.
#[derive(Debug, Args)]
pub(crate) struct RollbackOptions {
    /// The change to undo, as `greyctl journal` numbers it; all when left out
    #[arg(allow_negative_numbers = true)]
    pub(crate) id: Option<u64>,
    /// Restore also what somebody else has changed since
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Give up instead of undoing: what somebody else has set since stays, and
    /// the change is forgotten; without ID only where that is so
    #[arg(short, long, conflicts_with = "force")]
    pub(crate) keep: bool,
    /// Print one JSON document (grey.rollback/v1)
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `journal`.
#[derive(Debug, Args)]
pub(crate) struct JournalOptions {
    /// Also what was undone, and what earlier boots changed
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Print one JSON document (grey.journal/v1)
    #[arg(long)]
    pub(crate) json: bool,
}

fn parse_oom_score_adj(text: &str) -> Result<i16, String> {
    text.parse()
        .ok()
        .filter(|score| (-1000..=1000).contains(score))
        .ok_or_else(|| "it is a whole number from -1000 to 1000".to_owned())
}

fn parse_drop_caches(text: &str) -> Result<DropCaches, String> {
    match text {
        "1" => Ok(DropCaches::PageCache),
        "2" => Ok(DropCaches::Slab),
        "3" => Ok(DropCaches::Both),
        _ => Err("it is 1 (page cache), 2 (slab) or 3 (both)".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn enforce(arguments: &[&str]) -> Result<EnforceOptions, clap::Error> {
        let all = ["greyctl", "memory-enforce"].iter().chain(arguments);
        match Cli::try_parse_from(all)?.command {
            Command::MemoryEnforce(options) => Ok(options),
            other => panic!("parsed as {other:?}"),
        }
    }

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn drop_caches_alone_means_the_page_cache() {
        let options = enforce(&["--drop-caches", "--simulation"]).unwrap();
        assert_eq!(options.drop_caches, Some(DropCaches::PageCache));
        let options = enforce(&["--drop-caches=3"]).unwrap();
        assert_eq!(options.drop_caches, Some(DropCaches::Both));
        assert!(enforce(&["--drop-caches", "4"]).is_err());
    }

    #[test]
    fn gentle_actions_come_before_limits() {
        let options = enforce(&[
            "--limit",
            "1G",
            "--reclaim",
            "100M",
            "--oom-score-adj",
            "-5",
        ]);
        let names: Vec<_> = options
            .unwrap()
            .actions()
            .iter()
            .map(|action| action.name())
            .collect();
        assert_eq!(names, ["oom_score_adj", "reclaim", "limit"]);
    }

    #[test]
    fn aggressive_needs_ksm() {
        assert!(enforce(&["--aggressive"]).is_err());
        assert!(enforce(&["--enable-ksm", "--aggressive"]).is_ok());
    }

    #[test]
    fn a_limit_may_be_lifted_but_a_reclaim_may_not() {
        assert_eq!(
            enforce(&["--high", "max"]).unwrap().high,
            Some(MemoryLimit::Max)
        );
        assert!(enforce(&["--reclaim", "max"]).is_err());
    }

    #[test]
    fn a_score_outside_the_kernels_range_is_refused() {
        assert!(enforce(&["--oom-score-adj", "1001"]).is_err());
        assert!(enforce(&["--oom-score-adj", "-1000"]).is_ok());
    }
}
