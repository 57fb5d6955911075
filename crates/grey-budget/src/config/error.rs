//! What is wrong with a configuration, and where: file, line, key.
//!
//! Never decides what to do; whoever loaded keeps what was good before.

use std::io;
use std::path::PathBuf;
use std::str::Utf8Error;

use grey_model::{ParsePriorityError, ThresholdError};

use super::origin::Origin;
use crate::limits::LimitError;

/// A configuration could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file could not be read.
    #[error("failed to read the configuration `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is a directory, a pipe, a device.
    #[error("failed to read the configuration `{}`: it is no ordinary file", path.display())]
    NotAFile {
        /// What is no file.
        path: PathBuf,
    },
    /// A file of that size is no configuration.
    #[error("failed to read the configuration `{}`: it is larger than {most} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read, in bytes.
        most: u64,
    },
    /// It says nothing any more: whoever writes it is not done, or it was cut.
    #[error("failed to reload the configuration `{}`: it says nothing, and said something before", path.display())]
    Emptied {
        /// The file.
        path: PathBuf,
    },
    /// What runs cannot do what it says.
    #[error("failed to apply the configuration to what runs")]
    NotApplicable {
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file is no text.
    #[error("failed to read the configuration `{}`, line {line}: it is not UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Where the first byte is that is no text.
        line: u64,
        /// Why.
        #[source]
        source: Utf8Error,
    },
    /// It cannot be parsed, or holds what has no place in a configuration.
    #[error("failed to parse the configuration `{}`, line {line}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where; 0 when the parser does not tell.
        line: u64,
        /// What the parser says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A key that nothing reads.
    #[error("unknown key `{key}` ({origin}){}", nearest.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    UnknownKey {
        /// The key, from the top.
        key: String,
        /// Where it stands.
        origin: Origin,
        /// The known key that looks most like it.
        nearest: Option<String>,
    },
    /// A value where a section belongs.
    #[error("`{key}` ({origin}) is a section and takes no value")]
    NotASection {
        /// The key, from the top.
        key: String,
        /// Where it stands.
        origin: Origin,
    },
    /// Two names for the same key in one file.
    #[error("`{key}` ({origin}) is given twice: `{other}` means the same")]
    GivenTwice {
        /// The key, from the top.
        key: String,
        /// The other name.
        other: String,
        /// Where the other name stands.
        origin: Origin,
    },
    /// A value that a key cannot have.
    #[error("failed to take `{text}` for `{key}` ({origin})")]
    Value {
        /// The key, from the top.
        key: String,
        /// What was given.
        text: String,
        /// Where it stands.
        origin: Origin,
        /// Why not.
        #[source]
        source: ValueError,
    },
    /// Thresholds that no state machine can run on.
    #[error("failed to take the thresholds; `{key}` ({origin}) does not fit")]
    Thresholds {
        /// The key that does not fit.
        key: String,
        /// Where it stands.
        origin: Origin,
        /// Why not.
        #[source]
        source: ThresholdError,
    },
    /// More than the machine or the control group has.
    #[error("failed to take a budget of `{text}` MB for `{key}` ({origin})")]
    Budget {
        /// The key, from the top.
        key: String,
        /// What was given.
        text: String,
        /// Where it stands.
        origin: Origin,
        /// What it exceeds.
        #[source]
        source: Box<LimitError>,
    },
    /// A project's name is empty or too long.
    #[error("`{name}` ({origin}) is no name for a project: 1 to {most} bytes")]
    ProjectName {
        /// The name.
        name: String,
        /// Where it stands.
        origin: Origin,
        /// The most bytes that a name may have.
        most: usize,
    },
    /// Two projects whose names are the same in the name of a variable.
    #[error(
        "the projects `{first}` and `{second}` ({origin}) would share the environment variables `{variable}`; rename one"
    )]
    ProjectVariable {
        /// One project.
        first: String,
        /// The other.
        second: String,
        /// How their variables begin, without the prefix.
        variable: String,
        /// Where the other stands.
        origin: Origin,
    },
    /// Two files for one project.
    #[error("the project `{name}` has two files: `{}` and `{}`", first.display(), second.display())]
    ProjectTwice {
        /// The project.
        name: String,
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// More projects than are kept.
    #[error("failed to read the projects: there are more than {most}")]
    TooManyProjects {
        /// The most that there may be.
        most: usize,
    },
}

/// Why a text is not the value of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// No whole number.
    #[error("it must be a whole number")]
    NotWhole,
    /// No number.
    #[error("it must be a number")]
    NotANumber,
    /// 0 or negative.
    #[error("it must be above 0")]
    NotPositive,
    /// Beyond what the key may have, or beyond 64 bits.
    #[error("it must be at most {most}")]
    TooLarge {
        /// The most.
        most: u64,
    },
    /// Neither true nor false.
    #[error("it must be true or false")]
    NotAFlag,
    /// None of the four.
    #[error("it must be a priority")]
    NotAPriority {
        /// Which there are.
        #[source]
        source: ParsePriorityError,
    },
    /// It would depend on where the program was started.
    #[error("it must be an absolute path, or begin with `~/`")]
    RelativePath,
    /// `~/` without a home.
    #[error("`~/` has no meaning here: HOME is not set to an absolute path")]
    NoHome,
    /// A variable whose value is no text.
    #[error("it must be UTF-8")]
    NotUtf8,
}
