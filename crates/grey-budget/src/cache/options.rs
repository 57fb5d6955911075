//! What an entry is put in with, and why it was not taken.
//!
//! Never decides.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use grey_model::{Bytes, Priority};

use crate::budget::ReserveError;

/// A project of one cache, as [`Cache::project`](super::Cache::project) gives
/// it. Another cache takes nothing for it: [`Rejection::ForeignProject`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Project {
    /// Which of all caches of this process.
    pub(super) cache: u64,
    pub(super) number: NonZeroU32,
}

/// How an entry is kept. By default: medium priority, of no project, for ever,
/// at no cost.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct EntryOptions {
    pub(super) priority: Priority,
    pub(super) project: Option<Project>,
    pub(super) ttl: Option<Duration>,
    pub(super) cost: f32,
}

impl EntryOptions {
    /// The defaults.
    pub const fn new() -> Self {
        Self {
            priority: Priority::Medium,
            project: None,
            ttl: None,
            cost: 0.0,
        }
    }

    /// What goes first: low before medium before high; critical never.
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// For whom it is kept: a project of the cache that it is put into.
    pub const fn project(mut self, project: Project) -> Self {
        self.project = Some(project);
        self
    }

    /// How long it may be read, to ten milliseconds.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// What it costs to make it again, in any unit that all entries share. Of
    /// what was used equally long ago, the cheapest for each byte goes first.
    /// What is not a number, or below 0, is taken for 0. It is kept to a part
    /// in 256.
    pub const fn cost(mut self, cost: f32) -> Self {
        self.cost = if cost > 0.0 { cost } else { 0.0 };
        self
    }
}

impl Default for EntryOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a value was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// It would fill the cache, or a large part of it, alone.
    #[error("failed to cache a value of {weight}: at most {largest} are taken")]
    TooLarge {
        /// What it weighs.
        weight: Bytes,
        /// The largest weight that is taken now.
        largest: Bytes,
    },
    /// All of the capacity is held by what goes later.
    #[error("failed to cache a value of {weight}: what is held goes later or never")]
    NoRoom {
        /// What it weighs.
        weight: Bytes,
    },
    /// Its project is of another cache, where its number names another one.
    #[error("failed to cache a value: its project belongs to another cache")]
    ForeignProject,
    /// The budget refused.
    #[error("failed to cache a value")]
    Budget(#[source] Box<ReserveError>),
}

/// A value that was not taken, given back.
#[derive(Clone, PartialEq, Eq)]
pub struct Rejected<V> {
    /// The value.
    pub value: V,
    /// Why.
    pub rejection: Rejection,
}

impl<V> fmt::Debug for Rejected<V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Rejected")
            .field("rejection", &self.rejection)
            .finish_non_exhaustive()
    }
}

impl<V> fmt::Display for Rejected<V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.rejection, formatter)
    }
}

impl<V> std::error::Error for Rejected<V> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.rejection)
    }
}
