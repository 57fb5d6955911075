//! Where to look for what is gone: in history, where that has it.
//!
//! Best effort: history that cannot be read has nothing. Never offers a look that
//! would find nothing.

use grey_model::Target;

use super::leaks::Recorded;
use crate::cli::GlobalOptions;
use crate::history::command::open_beside;
use crate::recommend;
use crate::scope::Scope;

/// How to see what was recorded of `target` in the last hour; `None` where nothing
/// was.
pub(crate) fn in_history(global: &GlobalOptions, target: &Target) -> Option<String> {
    let mut history = open_beside(global).ok().flatten()?;
    let recorded = Recorded::read_last_hour(&mut history).ok()?;
    let is_there = recorded.has(&Scope::typed(std::slice::from_ref(target)));
    let words = "memory-diagnose --detect-leaks --since 1h";
    let line = is_there.then(|| recommend::command_on(global, words, target))??;
    Some(format!(
        "see how it grew in the last hour, of which history has it: {line}"
    ))
}
