//! Values that may begin with a dash, and are no option: in `--target --json`
//! the target was forgotten.
//!
//! Never takes a value away that is no option of the command: `-bash` names a
//! login shell. What is named like an option is given with its kind, as in
//! `name:--json`.

use std::error::Error;
use std::ffi::OsStr;
use std::marker::PhantomData;
use std::str::FromStr;

use clap::builder::{StringValueParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

/// Reads a `T`, unless it is an option of the command.
#[derive(Debug)]
pub(crate) struct NoOption<T>(PhantomData<fn() -> T>);

impl<T> NoOption<T> {
    /// The parser.
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Clone for NoOption<T> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<T> TypedValueParser for NoOption<T>
where
    T: FromStr + Clone + Send + Sync + 'static,
    T::Err: Error + Send + Sync + 'static,
{
    type Value = T;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        if value.to_str().is_some_and(|text| is_option(command, text)) {
            return Err(forgotten(command, argument));
        }
        let read = |text: String| text.parse::<T>();
        TypedValueParser::parse_ref(
            &StringValueParser::new().try_map(read),
            command,
            argument,
            value,
        )
    }
}

/// Every word with two dashes counts: if it is none, it is a misspelt one.
fn is_option(command: &Command, text: &str) -> bool {
    if text.starts_with("--") {
        return true;
    }
    let mut letters = text.strip_prefix('-').unwrap_or_default().chars();
    match (letters.next(), letters.next()) {
        (Some(letter), None) => command
            .get_arguments()
            .any(|known| known.get_short() == Some(letter)),
        _ => false,
    }
}

/// What clap itself says when nothing follows.
fn forgotten(command: &Command, argument: Option<&Arg>) -> clap::Error {
    let mut error = clap::Error::new(ErrorKind::InvalidValue).with_cmd(command);
    if let Some(argument) = argument {
        error.insert(
            ContextKind::InvalidArg,
            ContextValue::String(argument.to_string()),
        );
    }
    error.insert(
        ContextKind::InvalidValue,
        ContextValue::String(String::new()),
    );
    error
}
