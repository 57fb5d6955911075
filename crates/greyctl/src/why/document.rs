//! `grey.kills/v1`: processes that were killed, and why.
//!
//! Plain data. What no log says is `null`, never 0.

use grey_model::{CountedKills, ExitCodeExplanation, Kill, Moment, NobodyKilled};
use schemars::JsonSchema;
use serde::Serialize;

/// The name of this document's schema.
pub(crate) const SCHEMA: &str = "grey.kills/v1";

/// What was killed, as far as the logs tell.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "grey.kills/v1")]
pub(crate) struct KillsDocument {
    /// Always `grey.kills/v1`.
    #[schemars(extend("const" = "grey.kills/v1"))]
    pub(crate) schema: &'static str,
    /// The kills, oldest first as far as their times are known.
    pub(crate) kills: Vec<Kill>,
    /// Times at which memory was out and the kernel killed nobody: it stopped the
    /// machine, or went on without.
    pub(crate) nobody_killed: Vec<NobodyKilled>,
    /// The exit code that was asked about; `null` when none was.
    pub(crate) exit_code: Option<ExitCodeExplanation>,
    /// Kills that the control groups have counted and no log shows any more;
    /// `null` when a saved log was searched, or there are no counters.
    pub(crate) unlogged: Option<Vec<CountedKills>>,
    /// From when on kills were asked for; `null` when all were.
    pub(crate) since: Option<Moment>,
    /// What was searched.
    pub(crate) searched: Vec<Searched>,
    /// What to keep in mind when reading this, each a sentence.
    pub(crate) notes: Vec<String>,
}

/// What kind of log it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogKind {
    /// The kernel's own log.
    Kmsg,
    /// systemd's journal.
    Journal,
    /// A saved log.
    File,
}

/// A log that was searched.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Searched {
    /// What kind.
    pub(crate) kind: LogKind,
    /// Its name.
    pub(crate) name: String,
    /// How many lines or records it had, without blank ones.
    pub(crate) lines: u64,
    /// How many of them are in no known form: what they tell is not understood.
    pub(crate) unknown_lines: u64,
    /// When its first line was written; `null` when it does not say.
    pub(crate) from: Option<Moment>,
    /// Until when it tells of everything: when it was read, where that is this
    /// machine's own log and was read to its end, else when its last line was
    /// written; `null` when it does not say.
    pub(crate) until: Option<Moment>,
    /// Whether it is known that something is missing: overwritten, cut or
    /// left out.
    pub(crate) incomplete: bool,
    /// Why it could not be read, or not to its end; `null` when it was.
    pub(crate) problem: Option<String>,
}

impl Searched {
    /// Whether most of it was not understood: then it says little that it tells of
    /// no kill.
    pub(crate) const fn is_mostly_unknown(&self) -> bool {
        self.unknown_lines > self.lines / 2
    }
}
