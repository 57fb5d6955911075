//! What the controller does about memory, one piece at a time, and how each
//! piece ended.
//!
//! Never does it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use grey_model::{Bytes, Level};

/// Counts the actions of one controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActionId(pub u64);

/// Work of the program's own.
pub(super) type CustomWork = Arc<dyn Fn() -> Result<Bytes, String> + Send + Sync>;

/// What is done.
#[derive(Clone)]
#[non_exhaustive]
pub enum ActionKind {
    /// Drop what is expired or stale; then, as far as that is not enough, give up
    /// what is low and after that what is medium: to disk where it can be written.
    Cleanup,
    /// Write to disk what can be read again.
    SpillToDisk,
    /// Drop loaded content that its source still has.
    UnloadFiles,
    /// Drop by priority.
    Evict,
    /// Make the allocator give free memory back to the kernel.
    PurgeAllocator,
    /// Anything of the program's own; tells how much it freed, or why not.
    Custom(Arc<str>, CustomWork),
}

impl ActionKind {
    /// Work of the program's own, called `name`.
    pub fn custom(
        name: &str,
        work: impl Fn() -> Result<Bytes, String> + Send + Sync + 'static,
    ) -> Self {
        Self::Custom(name.into(), Arc::new(work))
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Cleanup => "cleanup",
            Self::SpillToDisk => "spill_to_disk",
            Self::UnloadFiles => "unload_files",
            Self::Evict => "evict",
            Self::PurgeAllocator => "purge_allocator",
            Self::Custom(name, _) => name,
        }
    }
}

impl fmt::Debug for ActionKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl fmt::Display for ActionKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// Something to be done.
#[derive(Debug, Clone)]
pub struct Action {
    /// What.
    pub kind: ActionKind,
    /// Why, for people.
    pub description: String,
    /// The higher goes first: 5 is cleanup, 7 spilling, 10 an emergency.
    pub priority: u8,
    /// How much is to be freed; a level's share of the budget if not said.
    pub target: Option<Bytes>,
    /// The level and generation that it was decided under. When the level has
    /// fallen below it since, it is stale and is not done.
    pub(super) decided: Option<(Level, u64)>,
    /// It makes room in the budget for a request; the kernel need not get
    /// anything back for that.
    pub(super) for_request: bool,
}

impl Action {
    /// Something to be done whatever the level is.
    pub fn new(kind: ActionKind, description: impl Into<String>, priority: u8) -> Self {
        Self {
            kind,
            description: description.into(),
            priority,
            target: None,
            decided: None,
            for_request: false,
        }
    }

    /// How much is to be freed.
    #[must_use]
    pub const fn target(mut self, target: Bytes) -> Self {
        self.target = Some(target);
        self
    }
}

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ActionStatus {
    /// Done.
    Completed,
    /// Done, and nothing could be freed.
    NothingToFree,
    /// Not done: the level that it was decided for is over.
    Stale,
    /// Not done to the end: the time was over.
    TimedOut,
    /// Somebody's code panicked or reported an error.
    Failed,
}

impl fmt::Display for ActionStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Completed => "completed",
            Self::NothingToFree => "nothing to free",
            Self::Stale => "stale",
            Self::TimedOut => "timed out",
            Self::Failed => "failed",
        })
    }
}

/// What an action did.
#[derive(Debug, Clone)]
pub struct ActionResult {
    /// Which.
    pub id: ActionId,
    /// What was to be done.
    pub action_type: ActionKind,
    /// Why.
    pub description: String,
    /// How it ended.
    pub status: ActionStatus,
    /// What went wrong.
    pub error: Option<String>,
    /// What the parts of the program say that they gave back.
    pub given_back: Bytes,
    /// What the kernel got back, measured; `None` when it could not be, and
    /// where nobody gave anything and the allocator had nothing shortly before.
    pub freed: Option<Bytes>,
    /// How long it took.
    pub took: Duration,
}
