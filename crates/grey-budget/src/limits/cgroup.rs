//! The recommended mode: which one applies here, why, and the command that
//! takes it.
//!
//! Only looks and explains. Never moves a process and never writes to a
//! control group; systemd does that for the scope that it makes.

use std::ffi::OsStr;
use std::fmt;
use std::process::Command;

use grey_model::Bytes;
use grey_telemetry::cgroup::v2_memory;
use grey_telemetry::{Kernel, Roots};

use super::machine::Machine;
use super::rlimit::LimitKind;

/// A way to bound a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitMode {
    /// `memory.max` of a control group of its own.
    Cgroup,
    /// An rlimit.
    Rlimit(LimitKind),
    /// None works here.
    None,
}

impl fmt::Display for LimitMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Cgroup => "control group (memory.max)",
            Self::Rlimit(kind) => kind.description(),
            Self::None => "none",
        })
    }
}

/// Which mode to take, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recommendation {
    /// Which.
    pub mode: LimitMode,
    /// Why, for people.
    pub reason: String,
    /// What to type, with `PROGRAM` for the program; where a command does it.
    pub command: Option<String>,
}

impl fmt::Display for Recommendation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.mode, self.reason)?;
        match &self.command {
            Some(command) => write!(formatter, " ({command})"),
            None => Ok(()),
        }
    }
}

/// Which mode bounds a program at `limit` best on this machine.
#[must_use]
pub fn recommend(limit: Bytes) -> Recommendation {
    recommend_on(
        &Roots::default(),
        &Machine::read(),
        super::supported_limit(),
        limit,
    )
}

/// The same for a machine that was read before, or made up.
#[must_use]
pub fn recommend_on(
    roots: &Roots,
    machine: &Machine,
    supported: Option<LimitKind>,
    limit: Bytes,
) -> Recommendation {
    let missing = match Kernel::open(roots) {
        Ok(kernel) => match v2_memory(&kernel, &mut Vec::new()) {
            Ok(_) if kernel.has_systemd() => None,
            Ok(_) => Some("systemd, which would make a group of its own, does not run".to_owned()),
            Err(reason) => Some(reason.to_string()),
        },
        Err(error) => Some(error.to_string()),
    };
    match (missing, supported) {
        (None, _) => Recommendation {
            mode: LimitMode::Cgroup,
            reason: "counts memory that is used, of all the program's processes, and reclaims \
                     before it kills"
                .to_owned(),
            command: Some(format!(
                "{} PROGRAM",
                scope_words(limit, is_root()).join(" ")
            )),
        },
        (Some(missing), Some(kind)) => Recommendation {
            mode: LimitMode::Rlimit(kind),
            reason: format!(
                "{missing}; counts addresses on {} ({}), so leave room above the budget",
                machine.architecture(),
                machine.operating_system()
            ),
            command: None,
        },
        (Some(missing), None) => Recommendation {
            mode: LimitMode::None,
            reason: format!("{missing}, and neither RLIMIT_AS nor RLIMIT_DATA can be set"),
            command: None,
        },
    }
}

/// A command that runs `program` in a control group of its own, whose
/// `memory.max` is `limit`: `systemd-run --scope --collect -p MemoryMax=LIMIT
/// PROGRAM`, with `--user` unless we are root. Add arguments, environment and
/// streams as to any command. systemd removes the group when the program has
/// ended, and forgets the scope also when the kernel has killed it (`--collect`,
/// since systemd 236); its journal remembers.
///
/// Arguments reach the program as they are. systemd-run announces (on the error
/// stream, when one has a `$` in it) that it may once expand variables in them:
/// before that, hand such an argument over in another way.
#[must_use]
pub fn scope_command(program: impl AsRef<OsStr>, limit: Bytes) -> Command {
    let words = scope_words(limit, is_root());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg("--").arg(program);
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(super) fn scope_words(limit: Bytes, root: bool) -> Vec<String> {
    let mut words = vec!["systemd-run".to_owned()];
    if !root {
        words.push("--user".to_owned());
    }
    words.extend(["--scope", "--collect", "-p"].map(str::to_owned));
    words.push(format!("MemoryMax={}", limit.get()));
    words
}
