//! `grey.comparison/v1`: two diagnoses and what changed between them.
//!
//! Plain data. A value that is not known in either is `null`, never 0.

use grey_model::{Bytes, Comparison};
use schemars::JsonSchema;
use serde::Serialize;

/// The name of this document's schema.
pub(crate) const SCHEMA: &str = "grey.comparison/v1";

/// What changed from one diagnosis to another.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "grey.comparison/v1")]
pub(crate) struct ComparisonDocument {
    /// Always `grey.comparison/v1`.
    #[schemars(extend("const" = "grey.comparison/v1"))]
    pub(crate) schema: &'static str,
    /// The earlier diagnosis.
    pub(crate) before: Compared,
    /// The later diagnosis.
    pub(crate) after: Compared,
    /// The command that ran between them; `null` when there was none.
    pub(crate) command: Option<CommandRun>,
    /// What changed.
    #[serde(flatten)]
    pub(crate) comparison: Comparison,
    /// What was left out because a sample of history does not have it; `null`
    /// where nothing comes from history.
    pub(crate) not_compared: Option<NotCompared>,
    /// What to keep in mind when reading this, each a sentence.
    pub(crate) notes: Vec<String>,
}

/// One of the two.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Compared {
    /// The file that it was read from; `null` when it was taken now.
    pub(crate) file: Option<String>,
    /// When it was taken, in seconds since 1970 (UTC); `null` in a document of
    /// a version that did not say.
    pub(crate) taken_at_unix_seconds: Option<f64>,
}

/// How much was left out of a comparison of samples, which keep the largest
/// processes and cgroups alone: what is in one of the two and may have been
/// there, too small to be kept, in the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct NotCompared {
    /// Processes.
    pub(crate) processes: u64,
    /// Control groups.
    pub(crate) cgroups: u64,
}

/// A command that ran between two diagnoses.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct CommandRun {
    /// The program and its arguments.
    pub(crate) arguments: Vec<String>,
    /// Its exit code; `null` when a signal ended it.
    pub(crate) exit_code: Option<i32>,
    /// The signal that ended it; `null` when none did.
    pub(crate) signal: Option<i32>,
    /// How long it ran.
    pub(crate) ran_seconds: f64,
    /// The most that one process of it had resident at once: the command itself,
    /// or one that it has waited for; `null` where that was no more than greyctl
    /// itself had, which the kernel counts in.
    #[serde(rename = "peak_rss_bytes")]
    pub(crate) peak_rss: Option<Bytes>,
    /// What the kernel counted, which it never was above.
    #[serde(rename = "peak_rss_at_most_bytes")]
    pub(crate) peak_rss_at_most: Option<Bytes>,
}
