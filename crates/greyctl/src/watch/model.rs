//! Everything that a screen is made of.
//!
//! Plain data: made where things are read, drawn by the views.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::commands::Told;
use super::gone::Seen;
use super::keys::ListedAction;
use super::rows::{Row, rows};
use super::shot::{Key, Shot};
use super::state::{Overlay, State, View};
use crate::journal::document::JournaledChange;

/// The changes of ours.
#[derive(Debug, Clone, Default)]
pub(super) enum Actions {
    /// Nobody has asked.
    #[default]
    NotRead,
    /// The newest first, and how many records are lost.
    Read(Vec<JournaledChange>, usize),
    /// The journal could not be read, and why.
    Failed(String),
}

impl Actions {
    /// The changes.
    pub(super) fn changes(&self) -> &[JournaledChange] {
        match self {
            Self::Read(changes, _) => changes,
            Self::NotRead | Self::Failed(_) => &[],
        }
    }

    /// What keys need to know of them.
    pub(super) fn listed(&self) -> Vec<ListedAction> {
        let listed = |change: &JournaledChange| ListedAction {
            id: change.id,
            is_open: change.is_open(),
        };
        self.changes().iter().map(listed).collect()
    }
}

/// A screen's content.
#[derive(Debug, Clone)]
pub(super) struct Model {
    /// What was read; nothing until the first look is done.
    pub(super) shot: Option<Shot>,
    /// What is chosen.
    pub(super) state: State,
    /// The changes of ours.
    pub(super) actions: Actions,
    /// What is opened, when it was there the last time.
    pub(super) seen: Option<Seen>,
    /// The commands of what is shown, since somebody has asked for them.
    pub(super) told: Told,
    /// How often it is looked.
    pub(super) interval: Duration,
    /// In whose time moments are shown.
    pub(super) zone: TimeZone,
}

impl Model {
    /// The rows of the table.
    pub(super) fn rows(&self) -> Vec<Row<'_>> {
        self.shot
            .as_ref()
            .map_or_else(Vec::new, |shot| rows(shot, &self.state))
    }

    /// What selects them.
    pub(super) fn keys(&self) -> Vec<Key> {
        self.rows().iter().map(|row| row.subject.key()).collect()
    }

    /// While it is frozen nothing is read: processes that were are folded as is
    /// wanted now.
    pub(super) fn make_do(&mut self) {
        if let Some(shot) = &mut self.shot
            && self.state.view == View::Groups
        {
            shot.refold(self.state.by);
        }
    }

    /// Whether what is chosen is not in what was read.
    pub(super) fn lacks_what_is_wanted(&self) -> bool {
        let Some(shot) = &self.shot else {
            return true;
        };
        match self.state.view {
            View::Processes => false,
            View::Groups => shot.groups.as_ref().map(|(by, _)| *by) != Some(self.state.by),
            View::Cgroups => shot.cgroups.is_none(),
        }
    }

    /// Remembers what is opened as it is now, where it is there.
    pub(super) fn see(&mut self) {
        let opened = self.opened().zip(self.shot.as_ref());
        if let Some(seen) = opened.and_then(|(key, shot)| Seen::of(key, shot)) {
            self.seen = Some(seen);
        }
    }

    /// What is opened, where it is there no more, and what is there instead.
    pub(super) fn gone(&self) -> Option<(&Seen, &Shot)> {
        let (key, shot) = self.opened().zip(self.shot.as_ref())?;
        let seen = self.seen.as_ref().filter(|seen| seen.key == *key)?;
        seen.is_gone_from(shot).then_some((seen, shot))
    }

    /// What is opened.
    pub(super) fn opened(&self) -> Option<&Key> {
        match &self.state.overlay {
            Overlay::Detail(key) => Some(key),
            Overlay::Command(below) => below.as_ref(),
            _ => None,
        }
    }
}
