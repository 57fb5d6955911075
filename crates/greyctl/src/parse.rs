//! Makes options of a command line and of the environment.
//!
//! A variable that is set to nothing counts as one that is not set, as the XDG
//! base directories have it. An option that is given nothing is an error.

use std::ffi::OsString;

use clap::builder::Resettable;
use clap::{CommandFactory as _, FromArgMatches as _};

use crate::cli::Cli;

/// The options of `arguments`, the first of which is the program's name.
///
/// # Errors
/// clap's own when they make no sense, or ask for help.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<Cli, clap::Error> {
    let is_set_to_nothing = |argument: &clap::Arg| {
        let value = argument.get_env().map(std::env::var_os);
        value.flatten().is_some_and(|value| value.is_empty())
    };
    let mut command = Cli::command().mut_args(|argument| match is_set_to_nothing(&argument) {
        true => argument.env(Resettable::Reset),
        false => argument,
    });
    let mut matches = command.try_get_matches_from_mut(arguments)?;
    Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}
