//! From the arguments to the exit code: parse, dispatch, report a failure.
//!
//! Never ends the process itself; `main` returns the code.

use std::error::Error as _;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::{ColorChoice, Parser as _};
use grey_model::ParseSizeError;
use grey_model::target::ParseTargetError;

use crate::cli::{Cli, Command};
use crate::duration::DurationError;
use crate::exit_code::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::{completions, diagnose, enforce, journal, manual, rollback};

/// Runs the command that `arguments` name.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors, and a reader that went away is none.
            let _ = error.print();
            if let Some(hint) = usage_hint(&error) {
                Output::new(ColorChoice::Auto).hint(hint);
            }
            return if error.exit_code() == 0 {
                Exit::Success.into()
            } else {
                Exit::Usage.into()
            };
        }
    };
    match &cli.command {
        // Other programs' ends: their exit codes are not people's.
        Command::KernelWrite => return grey_enforcement::disposable::child_main(),
        Command::LeaseKeeper { orders } => return grey_enforcement::keeper_main(orders),
        _ => {}
    }
    let mut output = Output::new(cli.global.color);
    let exit = dispatch(&cli, &mut output).unwrap_or_else(|failure| {
        output.failure(&failure);
        failure.exit
    });
    exit.into()
}

/// How a value that could not be read is written.
fn usage_hint(error: &clap::Error) -> Option<&'static str> {
    let cause = error.source()?;
    if cause.is::<ParseSizeError>() {
        Some("sizes are written as 512M, 1.5G or a number of bytes")
    } else if cause.is::<DurationError>() {
        Some("durations are written as 45s, 10m or 1h30m")
    } else if cause.is::<ParseTargetError>() {
        Some(
            "a target is a pid (1234), a command name (postgres), a cgroup (/build/web) or a \
             systemd unit (nginx.service)",
        )
    } else {
        None
    }
}

fn dispatch(cli: &Cli, output: &mut Output) -> Result<Exit, Failure> {
    let global = &cli.global;
    match &cli.command {
        Command::MemoryDiagnose(options) => diagnose::run(global, options, output),
        Command::MemoryEnforce(options) => enforce::run(global, options, output),
        Command::Rollback(options) => rollback::run(global, options, output),
        Command::Journal(options) => journal::run(global, options, output),
        Command::Completions { shell } => completions::run(*shell, output),
        Command::Man { command } => manual::run(command.as_deref(), output),
        Command::KernelWrite | Command::LeaseKeeper { .. } => Ok(Exit::Success),
    }
}
