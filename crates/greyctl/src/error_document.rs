//! `grey.error/v1`: what is printed with `--json` when a run ended before it
//! had a document of its own.
//!
//! Plain data.

use clap::error::ErrorKind;
use schemars::JsonSchema;
use serde::Serialize;

use crate::failure::Failure;

/// The name of this document's schema.
pub(crate) const SCHEMA: &str = "grey.error/v1";

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
            details: failure
                .details
                .iter()
                .map(|line| line.trim().to_owned())
                .collect(),
            hints: failure.hints.clone(),
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
