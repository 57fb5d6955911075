//! How a run ended, in the same four keys of every document; and
//! `grey.error/v1`, which has only those: what is printed with `--json` when a
//! run ended before it had a document of its own.
//!
//! Plain data.

use clap::error::ErrorKind;
use schemars::JsonSchema;
use serde::Serialize;

use crate::exit_code::Exit;
use crate::failure::Failure;

/// The name of this document's schema.
pub(crate) const SCHEMA: &str = "grey.error/v1";

/// How a run ended: what stderr says, for programs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Ending {
    /// What went wrong; `null` when nothing did.
    pub(crate) error: Option<String>,
    /// Lines that belong to it, such as what of the journal is lost.
    pub(crate) details: Vec<String>,
    /// What to do next, each a sentence or a command.
    pub(crate) hints: Vec<String>,
    /// The exit code of the run.
    pub(crate) exit_code: u8,
}

impl Ending {
    /// The end of a run, whichever it was.
    pub(crate) fn of(ended: &Result<Exit, Failure>) -> Self {
        match ended {
            Ok(exit) => Self {
                exit_code: exit.code(),
                ..Self::default()
            },
            Err(failure) => Self {
                error: Some(failure.message.clone()),
                details: details(failure),
                hints: hints(failure),
                exit_code: failure.exit.code(),
            },
        }
    }
}

/// The lines below the error; what else went wrong is one of them.
fn details(failure: &Failure) -> Vec<String> {
    let own = failure.details.iter().map(|line| line.trim().to_owned());
    let others = failure.others.iter().flat_map(|other| {
        let mut lines = vec![other.message.clone()];
        lines.extend(details(other));
        lines
    });
    own.chain(others).collect()
}

fn hints(failure: &Failure) -> Vec<String> {
    let others = failure.others.iter().flat_map(hints);
    failure.hints.iter().cloned().chain(others).collect()
}

/// Why a run ended without a result.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "grey.error/v1")]
pub(crate) struct ErrorDocument {
    /// Always `grey.error/v1`.
    #[schemars(extend("const" = "grey.error/v1"))]
    pub(crate) schema: &'static str,
    /// What went wrong.
    pub(crate) error: String,
    /// Lines that belong to it, such as the matches of a name.
    pub(crate) details: Vec<String>,
    /// What to do next, each a sentence or a command.
    pub(crate) hints: Vec<String>,
    /// The exit code of the run.
    pub(crate) exit_code: u8,
}

impl ErrorDocument {
    /// The document of a failure.
    pub(crate) fn new(failure: &Failure) -> Self {
        Self {
            schema: SCHEMA,
            error: failure.message.clone(),
            details: details(failure),
            hints: hints(failure),
            exit_code: failure.exit.code(),
        }
    }
}

/// What clap says in its first paragraph, without its label.
pub(crate) fn first_sentence(error: &clap::Error) -> String {
    let text = error.to_string();
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "no command was given".to_owned();
    }
    let first = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = first.split_whitespace().collect();
    let line = words.join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_went_wrong_is_in_the_document() {
        let mut failure = Failure::new(Exit::PartlyDone, "one").hint("first");
        let second = Failure::new(Exit::Failed, "two").detail("  a line");
        failure.others.push(second.hint("second"));
        let ending = Ending::of(&Err(failure));
        assert_eq!(ending.error.as_deref(), Some("one"));
        assert_eq!(ending.details, ["two", "a line"]);
        assert_eq!(ending.hints, ["first", "second"]);
        assert_eq!(ending.exit_code, 4);
    }

    #[test]
    fn a_run_that_went_well_has_no_error() {
        assert_eq!(Ending::of(&Ok(Exit::Success)), Ending::default());
        assert_eq!(Ending::of(&Ok(Exit::PartlyDone)).exit_code, 4);
    }
}
