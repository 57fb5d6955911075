//! Gives changes up: what somebody else has set meanwhile stays, and the
//! journal says so.
//!
//! Never writes to the kernel, and without a number never gives up a change
//! that could still be put back.

use super::Enforcer;
use super::errors::RollbackError;
use super::in_one_line;
use super::rollback::{
    RollbackItem, RollbackOutcome, RollbackReport, RollbackSelection, add_note, is_ours, select,
};
use crate::journal::{Change, Ending, Journal};
use crate::knob::is_equivalent;

impl Enforcer {
    /// Gives up the change `id`, whatever is there now, or without a number
    /// every change in whose place somebody else has set another value. What
    /// is there stays.
    ///
    /// # Errors
    /// [`RollbackError`] when nothing was given up.
    pub fn keep(&mut self, id: Option<u64>) -> Result<RollbackReport, RollbackError> {
        let mut journal = self.open_journal()?;
        let selection = id.map_or(RollbackSelection::All, RollbackSelection::Id);
        let mut items = Vec::new();
        for number in select(&journal, &selection)? {
            let Some(change) = journal.ledger().change(number).cloned() else {
                continue;
            };
            items.extend(self.keep_one(&mut journal, &change, id.is_some())?);
        }
        if items.is_empty() && journal.losses().is_empty() {
            return Err(RollbackError::NoConflict);
        }
        Ok(RollbackReport {
            expired: Vec::new(),
            items,
            losses: journal.losses().to_vec(),
        })
    }

    /// What became of it; `None`: it is not in conflict, and was not named.
    fn keep_one(
        &self,
        journal: &mut Journal,
        change: &Change,
        named: bool,
    ) -> Result<Option<RollbackItem>, RollbackError> {
        let mut item = RollbackItem::of(change);
        if !change.is_open() {
            // Over already: there is nothing to give up.
            item.outcome = match change.ending {
                Some(Ending::Kept { .. }) => RollbackOutcome::Kept,
                Some(Ending::Merged { into }) => RollbackOutcome::MergedInto(into),
                Some(Ending::Void) => RollbackOutcome::VoidOtherBoot,
                Some(Ending::Gone) => RollbackOutcome::Gone,
                _ => RollbackOutcome::AlreadyRestored,
            };
            return Ok(Some(item));
        }
        let other_boot = change.boot_id != *journal.boot();
        let in_conflict = match self.knobs.read(&change.knob) {
            _ if other_boot => false,
            Ok(found) => {
                item.found.clone_from(&found);
                let page = self.kernel.page_size;
                let before = change.before.as_ref();
                !is_equivalent(&change.knob, before, found.as_ref(), page)
                    && !is_ours(change, found.as_ref(), page)
            }
            Err(error) => {
                add_note(&mut item, in_one_line(&error));
                false
            }
        };
        if !in_conflict && !named {
            return Ok(None);
        }
        item.outcome = RollbackOutcome::Kept;
        let found = item.found.clone();
        journal.record_end(change.id, Ending::Kept { found })?;
        Ok(Some(item))
    }
}
