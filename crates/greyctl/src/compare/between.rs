//! Runs the user's command to its end between two looks, and measures it.
//!
//! Never lets it write to our standard output, and never takes for its memory what
//! was ours when it was started.

use std::ffi::OsString;
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use grey_model::{Bytes, KernelText};
use nix::sys::resource::{UsageWho, getrusage};

use super::document::CommandRun;
use crate::exit_code::Exit;
use crate::failure::Failure;

/// Runs the user's command to its end. What it prints goes to stderr: stdout
/// is the comparison's.
///
/// # Errors
/// A [`Failure`] when there is no command, or it cannot be run.
pub(super) fn run_command(arguments: &[OsString]) -> Result<CommandRun, Failure> {
    let Some((program, rest)) = arguments.split_first() else {
        return Err(Failure::new(Exit::Usage, "there is nothing to compare")
            .hint("name one or two saved diagnoses, or a command behind --"));
    };
    let cannot = |error: std::io::Error| {
        let program = KernelText::from(program.as_encoded_bytes());
        Failure::new(Exit::Failed, format!("failed to run `{program}`: {error}"))
    };
    let stderr = std::io::stderr()
        .as_fd()
        .try_clone_to_owned()
        .map_err(cannot)?;
    let children_before = peak(UsageWho::RUSAGE_CHILDREN);
    let started = Instant::now();
    let status = Command::new(program)
        .args(rest)
        .stdout(Stdio::from(stderr))
        .status()
        .map_err(cannot)?;
    let ran_seconds = started.elapsed().as_secs_f64();
    let at_most = peak(UsageWho::RUSAGE_CHILDREN);
    // An exec carries on with the peak of the memory that it replaces, which is
    // ours; and an exec of us, with that of children of who we were.
    let not_its_own = peak(UsageWho::RUSAGE_SELF).max(children_before);
    let text = |argument: &OsString| KernelText::from(argument.as_encoded_bytes()).to_utf8();
    Ok(CommandRun {
        arguments: arguments.iter().map(text).collect(),
        exit_code: status.code(),
        signal: status.signal(),
        ran_seconds,
        peak_rss: at_most.filter(|_| at_most > not_its_own),
        peak_rss_at_most: at_most,
    })
}

/// The most that one of these processes had resident.
fn peak(who: UsageWho) -> Option<Bytes> {
    let kib = getrusage(who).ok()?.max_rss();
    u64::try_from(kib).ok().map(Bytes::from_kib)
}
