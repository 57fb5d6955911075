//! `greyctl man`: the manual pages, made from the command line's definition.

use clap::CommandFactory as _;

use crate::cli::Cli;
use crate::exit_code::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Writes the page of `command`, or of greyctl itself, to stdout as roff.
///
/// # Errors
/// A [`Failure`] when there is no such command or stdout cannot be written.
pub(crate) fn run(command: Option<&str>, output: &mut Output) -> Result<Exit, Failure> {
    let mut root = Cli::command();
    root.build();
    let page = match command {
        None => root,
        Some(name) => root
            .get_subcommands()
            .find(|command| command.get_name() == name && !command.is_hide_set())
            .cloned()
            .ok_or_else(|| {
                Failure::new(Exit::Usage, format!("there is no command `{name}`"))
                    .hint("greyctl --help lists the commands")
            })?,
    };
    let mut roff = Vec::new();
    clap_mangen::Man::new(page)
        .render(&mut roff)
        .map_err(|error| Failure::from_error(Exit::Failed, &error))?;
    output.data(&roff)?;
    Ok(Exit::Success)
}
