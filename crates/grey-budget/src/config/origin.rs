//! Where a value comes from, for messages and for showing a configuration.
//!
//! Never holds the value.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Nobody said otherwise.
    Default,
    /// A file.
    File {
        /// Which.
        path: Arc<Path>,
        /// From 1; 0 when the parser does not tell.
        line: u64,
    },
    /// An environment variable.
    Environment {
        /// Its whole name.
        variable: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File { path, line } => write!(formatter, "{}:{line}", path.display()),
            Self::Environment { variable } => write!(formatter, "environment: {variable}"),
        }
    }
}

/// A value as it was given, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The text of the value.
    pub text: String,
    /// Where it comes from.
    pub origin: Origin,
}
