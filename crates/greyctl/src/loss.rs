//! What of the journal is lost, as it is published and as people read it.
//!
//! Plain data and text. Never says that all is well where something is lost.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use grey_enforcement::Loss;
use grey_model::shell_word;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::GlobalOptions;
use crate::exit_code::Exit;
use crate::failure::Failure;
use crate::recommend;

/// A part of the journal that cannot be used: what it changed, if anything,
/// is not known and cannot be put back.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct LostRecord {
    /// The journal's line, counted from 1; `null`: it is missing, or this is
    /// about several.
    pub(crate) line: Option<u64>,
    /// The change that other records prove was there; `null`: not known.
    pub(crate) change: Option<u64>,
    /// What is lost, as a sentence.
    pub(crate) what: String,
    /// What can still be read of the line, cut; `null`: nothing.
    pub(crate) remains: Option<String>,
}

impl LostRecord {
    /// A loss as it is published.
    pub(crate) fn new(loss: &Loss) -> Self {
        Self {
            line: loss.line,
            change: loss.change,
            what: loss.what.clone(),
            remains: loss.remains.clone(),
        }
    }
}

/// The failure that losses are; `undoing` when something should have been put
/// back.
pub(crate) fn failure(
    global: &GlobalOptions,
    exit: Exit,
    lost: &[LostRecord],
    state: &Path,
    undoing: bool,
) -> Failure {
    let stays = if undoing {
        "what it changed is not known and was not put back"
    } else {
        "what it changed is not known"
    };
    let mut failure = Failure::new(
        exit,
        "a part of the journal is lost, and changes that it described may still hold",
    );
    for loss in lost {
        failure = failure.detail(format!("  {}: {stays}", loss.what));
        if let Some(remains) = &loss.remains {
            failure = failure.detail(format!("    it still reads: {remains}"));
        }
    }
    let file = state.join("journal/journal.jsonl").into_os_string();
    let mut aside = file.clone();
    aside.push(".damaged");
    let word = |path: &OsString| shell_word(path.as_bytes());
    if !undoing {
        failure = failure.hint(format!(
            "put back what can still be read: {}",
            recommend::command(global, "rollback")
        ));
    }
    failure
        .hint("look at what the remains name, and put that back by hand")
        .hint(format!(
            "when all that is done, set the journal aside: mv -- {} {}",
            word(&file),
            word(&aside)
        ))
}
