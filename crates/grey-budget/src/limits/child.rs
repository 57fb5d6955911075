//! The same limits on a program that we start.
//!
//! [`limited_command`] starts it through `/bin/sh`, whose `ulimit` sets the
//! limit before the program begins: nothing of the program ever runs without
//! it, it holds for its children too, and no `unsafe` code runs between fork
//! and exec. [`limit_child`] sets it on a child that runs already: what the
//! child allocated before stays, and so does what it started before.
//!
//! Never writes to a control group; see [`scope_command`](super::scope_command).

use std::ffi::OsStr;
use std::io;
use std::process::{Child, Command};

use grey_model::Bytes;
use rustix::process::{Pid, Rlimit, prlimit};

use super::error::LimitError;
use super::rlimit::LimitKind;

/// The shell that POSIX promises.
const SHELL: &str = "/bin/sh";

/// `ulimit` counts in KiB.
const KIB: u64 = 1024;

/// A limit was not set on a child.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LimitChildError {
    /// The child's identifier is none.
    #[error("failed to limit a child: {id} is no process identifier")]
    Identifier {
        /// What was given.
        id: u32,
    },
    /// The kernel refused.
    #[error("failed to set {kind} of the child {id} to {limit} bytes")]
    Set {
        /// The child.
        id: u32,
        /// Which limit.
        kind: LimitKind,
        /// How much, in bytes.
        limit: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A command that runs `program` with the soft and the hard limit `limit`,
/// rounded down to whole KiB. Add arguments, environment and streams as to any
/// command. Where the limit cannot be set the program does not run: the shell
/// says why on the error stream and ends with a code above 0. A program that
/// does not exist ends with 127, one that cannot be run with 126.
///
/// # Errors
/// [`LimitError::NotPositive`] for less than 1 KiB.
pub fn limited_command(
    program: impl AsRef<OsStr>,
    limit: Bytes,
    kind: LimitKind,
) -> Result<Command, LimitError> {
    let kib = limit.get() / KIB;
    if kib == 0 {
        return Err(LimitError::NotPositive {
            gigabytes: "0.00".to_owned(),
        });
    }
    let option = match kind {
        LimitKind::AddressSpace => "-v",
        LimitKind::Data => "-d",
    };
    let mut command = Command::new(SHELL);
    // The program and its arguments are parameters, never part of the script.
    command
        .arg("-c")
        .arg(format!("ulimit {option} {kib} && exec \"$@\""))
        .arg(SHELL)
        .arg(program);
    Ok(command)
}

/// Sets the soft and the hard limit of a child that runs already. It may have
/// allocated or started something before that; [`limited_command`] has no such
/// gap. Since `child` was not waited for, its identifier is still its own.
///
/// # Errors
/// [`LimitChildError`], when the kernel refuses: the child has another user, or
/// a lower hard limit, or has ended and was waited for.
pub fn limit_child(child: &Child, limit: Bytes, kind: LimitKind) -> Result<(), LimitChildError> {
    let id = child.id();
    let pid = i32::try_from(id)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(LimitChildError::Identifier { id })?;
    let wanted = Rlimit {
        current: Some(limit.get()),
        maximum: Some(limit.get()),
    };
    prlimit(Some(pid), kind.resource(), wanted)
        .map(|_| ())
        .map_err(|errno| LimitChildError::Set {
            id,
            kind,
            limit: limit.get(),
            source: errno.into(),
        })
}
