//! `greyctl completions`: the completion script of a shell.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::exit_code::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Writes the script for `shell` to stdout.
///
/// # Errors
/// A [`Failure`] when stdout cannot be written.
pub(crate) fn run(shell: Shell, output: &mut Output) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "greyctl", &mut script);
    output.data(&script)?;
    Ok(Exit::Success)
}
