//! What a part of the program implements to give memory back when asked.
//!
//! The calls are made by the controller, outside of every lock, with a deadline
//! and with panics caught. A reclaimer may unregister itself from within.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use grey_model::{Bytes, Priority};

use crate::load_back::{LoadBackRation, LoadBackReport};

/// How memory is given back, from the mildest to the hardest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReclaimMode {
    /// Drop what is stale, expired or over its size: nothing of value.
    Trim,
    /// Drop what can be had again from where it came: loaded files.
    Unload,
    /// Write it to disk, from where it can be read again.
    Spill,
    /// Drop it.
    Evict,
}

/// What is asked of a reclaimer.
#[derive(Debug, Clone)]
pub struct ReclaimRequest {
    /// How much is wanted. More may be freed where pieces are large.
    pub target: Bytes,
    /// How.
    pub mode: ReclaimMode,
    /// Only what is of this priority or lower may go.
    pub threshold: Priority,
    /// Projects whose things stay. A name that a reclaimer does not know, also
    /// for being misspelt, protects nothing there and is no error: each knows
    /// only the projects of its own.
    pub excluded_projects: Vec<String>,
    /// When the call should be over. What is given back later shows in the
    /// resident set alone.
    pub deadline: Instant,
}

impl ReclaimRequest {
    /// Frees `target` by `mode`, up to [`Priority::High`], within ten seconds.
    #[must_use]
    pub fn new(target: Bytes, mode: ReclaimMode) -> Self {
        Self {
            target,
            mode,
            threshold: Priority::High,
            excluded_projects: Vec::new(),
            deadline: Instant::now() + Duration::from_secs(10),
        }
    }

    /// Whether something of `priority` that belongs to `project` may go.
    /// [`Priority::Critical`] never may.
    #[must_use]
    pub fn may_take(&self, priority: Priority, project: Option<&str>) -> bool {
        priority.is_evictable()
            && priority <= self.threshold
            && project.is_none_or(|project| {
                !self
                    .excluded_projects
                    .iter()
                    .any(|excluded| excluded == project)
            })
    }
}

/// What a reclaimer says that it did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Bytes that the part does not hold any more.
    pub freed: Bytes,
    /// How many things that were.
    pub entries: u64,
    /// Of these bytes, how many were written to disk first.
    pub spilled: Bytes,
    /// Bytes by project, where things belong to projects.
    pub by_project: Vec<(String, Bytes)>,
}

impl Reclaimed {
    /// Adds what another did.
    pub fn add(&mut self, other: Self) {
        self.freed = self.freed.saturating_add(other.freed);
        self.entries = self.entries.saturating_add(other.entries);
        self.spilled = self.spilled.saturating_add(other.spilled);
        for (project, bytes) in other.by_project {
            self.add_project(&project, bytes);
        }
    }

    /// Adds bytes to a project's account.
    pub fn add_project(&mut self, project: &str, bytes: Bytes) {
        match self.by_project.iter_mut().find(|(name, _)| name == project) {
            Some((_, sum)) => *sum = sum.saturating_add(bytes),
            None => self.by_project.push((project.to_owned(), bytes)),
        }
    }
}

/// Something inside the program that can give memory back.
pub trait Reclaimer: Send + Sync {
    /// What it is called in messages and metrics.
    fn name(&self) -> &str;

    /// The lowest priority of what it holds. Among reclaimers the lowest goes
    /// first; one that is [`Priority::Critical`] is never asked.
    fn priority(&self) -> Priority;

    /// What it could give back now by `mode`; an estimate, asked for often. More
    /// than it says here for all of its modes together, and more than the process
    /// or the budget holds, is not believed to have been given back by one round.
    fn reclaimable(&self, mode: ReclaimMode) -> Bytes;

    /// Gives memory back. Called on a thread of the controller, under no lock
    /// of ours; should look at the request's deadline and at `stop`, and wait for
    /// no thread that asks the controller to evict: that one waits for this.
    fn reclaim(&self, request: &ReclaimRequest, stop: &Stop) -> Reclaimed;

    /// Which modes it knows; asked at the begin of each round in which memory is
    /// to be given back, so it may change.
    fn modes(&self) -> &[ReclaimMode] {
        &[ReclaimMode::Trim, ReclaimMode::Spill, ReclaimMode::Evict]
    }

    /// Whether it takes back by itself what it spilled; asked once, when it is
    /// registered.
    fn loads_back(&self) -> bool {
        false
    }

    /// Takes back what it spilled of `priority`, into room that is free: it must
    /// drop nothing for it. Called by the controller once memory has been normal
    /// for a while, on a thread beside that of [`Self::reclaim`]. It asks
    /// `ration` for each slice and for each value, and returns as soon as that
    /// is over.
    fn load_back(&self, priority: Priority, ration: &LoadBackRation) -> LoadBackReport {
        let _ = (priority, ration);
        LoadBackReport::default()
    }
}

impl fmt::Debug for dyn Reclaimer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("Reclaimer")
            .field(&self.name())
            .finish()
    }
}

/// Tells a reclaimer that nobody waits for it any more: its deadline has
/// passed, the pressure is over, or the program shuts down.
#[derive(Debug, Default)]
pub struct Stop(AtomicBool);

impl Stop {
    /// Not asked to stop.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Asks.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it should end soon.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn critical_may_never_be_taken_whatever_is_asked() {
        let mut request = ReclaimRequest::new(Bytes(1), ReclaimMode::Evict);
        request.threshold = Priority::Critical;
        assert!(!request.may_take(Priority::Critical, None));
        assert!(request.may_take(Priority::High, None));
    }

    #[test]
    fn an_excluded_project_keeps_its_things() {
        let mut request = ReclaimRequest::new(Bytes(1), ReclaimMode::Evict);
        request.excluded_projects = vec!["core".to_owned()];
        assert!(!request.may_take(Priority::Low, Some("core")));
        assert!(request.may_take(Priority::Low, Some("docs")));
        request.threshold = Priority::Low;
        assert!(!request.may_take(Priority::Medium, Some("docs")));
    }
}
