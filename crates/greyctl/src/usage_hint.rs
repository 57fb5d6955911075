//! What to type instead of a command line that makes no sense.
//!
//! Never guesses a command from what was typed: each hint is about one option or
//! one kind of value.

use std::error::Error as _;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use grey_model::ParseSizeError;
use grey_model::target::ParseTargetError;

use crate::duration::DurationError;
use crate::moment::MomentError;

/// What to do about `error`, which these arguments made.
pub(crate) fn usage_hint(error: &clap::Error, arguments: &[OsString]) -> Option<&'static str> {
    if error.kind() == ErrorKind::InvalidUtf8 {
        return Some(
            "a name that is not UTF-8 cannot be given: use the pid; ps -e -o pid,comm lists it",
        );
    }
    of_value(error).or_else(|| of_command(error, arguments))
}

/// How a value that could not be read is written.
fn of_value(error: &clap::Error) -> Option<&'static str> {
    let cause = error.source()?;
    if cause.is::<ParseSizeError>() {
        Some("sizes are written as 512M, 1.5G or a number of bytes")
    } else if cause.is::<DurationError>() {
        Some("durations are written as 45s, 10m or 1h30m")
    } else if cause.is::<MomentError>() {
        Some("moments are written as \"10m ago\", 10:04 or \"2026-11-21 10:04\"")
    } else if cause.is::<ParseTargetError>() {
        Some(
            "a target is a pid (1234), a command name (postgres), a cgroup (/build/web) or a \
             systemd unit (nginx.service)",
        )
    } else {
        None
    }
}

/// What the command takes instead.
fn of_command(error: &clap::Error, arguments: &[OsString]) -> Option<&'static str> {
    let named = named(error);
    let is_given = |option: &str| arguments.iter().any(|argument| argument == option);
    let is_of_kills = || {
        let options = ["--exit-code", "--name", "--pid", "--log", "--since"];
        options.into_iter().any(is_given)
    };
    let command = ["memory-watch", "memory-diagnose", "why", "doctor"]
        .into_iter()
        .find(|command| is_given(command))?;
    Some(match (command, error.kind()) {
        ("memory-watch", ErrorKind::UnknownArgument) if named == "--json" => {
            "this view is for people; as a document: greyctl memory-diagnose --json"
        }
        ("memory-watch", ErrorKind::UnknownArgument) if !named.starts_with('-') => {
            "it watches the whole machine; --filter shows only what has a name or a pid"
        }
        ("memory-watch", ErrorKind::ValueValidation) => {
            "--count is a whole number from 1 on, --top one from 0 on"
        }
        ("memory-watch", ErrorKind::ArgumentConflict) if named.starts_with("--show") => {
            "it begins with one of them; Tab goes on to the others"
        }
        ("doctor", ErrorKind::UnknownArgument) => {
            "it looks at the whole machine and changes nothing; what mends stands below each \
             finding: greyctl doctor"
        }
        ("why", ErrorKind::MissingRequiredArgument) if is_of_kills() => {
            "past kills are asked for with --killed: greyctl why --killed"
        }
        ("why", ErrorKind::MissingRequiredArgument) => {
            "name a process, a unit or a cgroup, or ask for past kills: greyctl why --killed"
        }
        ("why", ErrorKind::ArgumentConflict) if is_given("--killed") => {
            "of past kills one is chosen by --name or --pid, not by a target"
        }
        ("memory-diagnose", ErrorKind::MissingRequiredArgument) if named.contains("--target") => {
            "say whose memory is meant; the largest are listed by: greyctl memory-diagnose"
        }
        ("memory-diagnose", ErrorKind::MissingRequiredArgument)
            if named.contains("--detect-leaks") =>
        {
            "say what is looked for in that time: greyctl memory-diagnose --detect-leaks --for 60s"
        }
        _ => return None,
    })
}

/// The arguments that the error is about.
fn named(error: &clap::Error) -> String {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(name)) => name.clone(),
        Some(ContextValue::Strings(names)) => names.join(" "),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    fn hint(line: &str) -> Option<&'static str> {
        let arguments: Vec<OsString> = std::iter::once("greyctl")
            .chain(line.split_whitespace())
            .map(OsString::from)
            .collect();
        usage_hint(&Cli::try_parse_from(&arguments).unwrap_err(), &arguments)
    }

    #[test]
    fn whoever_typed_something_else_is_told_what_to_type() {
        for (line, part) in [
            ("memory-watch --json", "memory-diagnose --json"),
            ("memory-watch 123", "--filter"),
            ("memory-watch --top -1", "from 0 on"),
            ("memory-watch --count 0", "from 1 on"),
            ("memory-watch --interval often", "45s"),
            ("memory-watch --at soon", "10m ago"),
            ("memory-watch --show-cgroups --show-processes", "Tab"),
            ("doctor --fix", "changes nothing"),
            ("doctor nginx", "whole machine"),
            ("why", "name a process"),
            ("why --exit-code 137", "with --killed"),
            ("why --killed nginx", "--name or --pid"),
            ("memory-diagnose --cold", "whose memory"),
            ("memory-diagnose --for 5s", "--detect-leaks --for"),
        ] {
            let told = hint(line);
            assert!(
                told.is_some_and(|told| told.contains(part)),
                "{line}: {told:?}"
            );
        }
    }

    #[test]
    fn help_is_no_mistake() {
        assert_eq!(hint("why --help"), None);
        assert_eq!(hint("memory-watch --bogus"), None);
    }
}
