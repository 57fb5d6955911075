//! From the arguments to the exit code: parse, dispatch, report a failure.
//!
//! Never ends the process itself; `main` returns the code.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};
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
