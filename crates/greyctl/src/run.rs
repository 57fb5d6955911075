//! From the arguments to the exit code: parse, dispatch, report a failure.
//!
//! Never ends the process itself; `main` returns the code.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ColorChoice, CommandFactory as _};
use grey_model::KernelText;

use crate::cli::{Cli, Command};
use crate::error_document::{ErrorDocument, first_sentence};
use crate::exit_code::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::parse::parse;
use crate::usage_hint::usage_hint;
use crate::{
    compare, completions, diagnose, doctor, enforce, history, journal, manual, rollback, watch, why,
};

/// Runs the command that `arguments` name.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match parse(&arguments) {
        Ok(cli) => cli,
        Err(error) => return misused(told_safely(error, &arguments), &arguments).into(),
    };
    match &cli.command {
        // Other programs' ends: their exit codes are not people's.
        Command::KernelWrite => return grey_enforcement::disposable::child_main(),
        Command::LeaseKeeper { orders } => return grey_enforcement::keeper_main(orders),
        _ => {}
    }
    let mut output = Output::new(cli.global.color);
    let exit = dispatch(&cli, &mut output).unwrap_or_else(|failure| {
        if wants_json(&cli.command) && !output.has_printed_json() {
            // A document that cannot be printed either is told as the failure is.
            let _ = output.json(&ErrorDocument::new(&failure));
        }
        output.failure(&failure);
        failure.exit
    });
    exit.into()
}

const fn wants_json(command: &Command) -> bool {
    match command {
        Command::MemoryDiagnose(options) => options.json,
        Command::MemoryEnforce(options) => options.json,
        Command::Rollback(options) => options.json,
        Command::Journal(options) => options.json,
        Command::Diff(options) => options.json,
        Command::History(options) => options.json,
        Command::Why(options) => options.json,
        Command::Doctor(options) => options.json,
        _ => false,
    }
}

/// A command line that makes no sense, or that asks for help.
fn misused(mut error: clap::Error, arguments: &[OsString]) -> Exit {
    if matches!(
        error.kind(),
        ErrorKind::MissingRequiredArgument | ErrorKind::ArgumentConflict
    ) && let Some(usage) = usage_of(arguments)
    {
        // clap's own names what came from the environment as if it were given.
        error.insert(ContextKind::Usage, ContextValue::StyledStr(usage));
    }
    // Help and version are no errors, and a reader that went away is none.
    let _ = error.print();
    let hint = usage_hint(&error, arguments);
    let mut output = Output::new(ColorChoice::Auto);
    if let Some(hint) = hint {
        output.hint(hint);
    }
    if error.exit_code() == 0 {
        return Exit::Success;
    }
    if arguments.iter().any(|argument| argument == "--json") {
        let mut failure = Failure::new(Exit::Usage, first_sentence(&error));
        failure.hints.extend(hint.map(str::to_owned));
        // The failure is told already.
        let _ = output.json(&ErrorDocument::new(&failure));
    }
    Exit::Usage
}

/// clap repeats what was typed as it was typed: the same error about arguments
/// that are safe for a terminal.
fn told_safely(error: clap::Error, arguments: &[OsString]) -> clap::Error {
    let drives = |argument: &OsString| argument.as_bytes().iter().any(u8::is_ascii_control);
    if !arguments.iter().any(drives) {
        return error;
    }
    let safe = arguments
        .iter()
        .map(|argument| KernelText::from(argument.as_bytes()).to_string());
    parse(safe).err().unwrap_or(error)
}

/// The usage of the command that was named.
fn usage_of(arguments: &[OsString]) -> Option<StyledStr> {
    let mut whole = Cli::command();
    whole.build();
    let named = arguments.iter().skip(1).filter_map(|name| name.to_str());
    for name in named {
        if let Some(command) = whole.find_subcommand_mut(name) {
            return Some(command.render_usage());
        }
    }
    None
}

fn dispatch(cli: &Cli, output: &mut Output) -> Result<Exit, Failure> {
    let global = &cli.global;
    match &cli.command {
        Command::MemoryDiagnose(options) => diagnose::run(global, options, output),
        Command::MemoryWatch(options) => watch::run(global, options, output),
        Command::MemoryEnforce(options) => enforce::run(global, options, output),
        Command::Rollback(options) => rollback::run(global, options, output),
        Command::Journal(options) => journal::run(global, options, output),
        Command::Diff(options) => compare::run(global, options, output),
        Command::Record(options) => history::record(global, options, output),
        Command::History(options) => history::run(global, options, output),
        Command::Why(options) => why::run(global, options, output),
        Command::Doctor(options) => doctor::run(global, options, output),
        Command::Completions { shell } => completions::run(*shell, output),
        Command::Man { command } => manual::run(command.as_deref(), output),
        Command::KernelWrite | Command::LeaseKeeper { .. } => Ok(Exit::Success),
    }
}
