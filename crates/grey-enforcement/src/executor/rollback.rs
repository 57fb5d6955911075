//! Puts back what was there before: newest first, compared before, verified
//! after.
//!
//! Never overwrites a value that somebody else has set since, unless forced,
//! and then says which. Doing it twice does no harm.

use std::time::Duration;

use grey_model::{Knob, KnobValue, PageSize};

use super::errors::RollbackError;
use super::{Enforcer, in_one_line};
use crate::journal::{Change, Ending, Journal, JournalError, Loss};
use crate::knob::{KnobError, Place, is_equivalent, is_over_with_its_namespace};
use crate::lease::boottime;

/// What to roll back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RollbackSelection {
    /// Everything of ours.
    All,
    /// One change.
    Id(u64),
    /// One plan.
    Plan(String),
    /// What should have been undone by now.
    ExpiredLeases,
}

/// How rolling back one change ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RollbackOutcome {
    /// The earlier value was written and read back.
    Restored,
    /// The earlier value was there already.
    AlreadyRestored,
    /// A later change of the same setting that was not to be rolled back
    /// stands on top: rolling that one back will restore the value from
    /// before this one.
    MergedInto(u64),
    /// Somebody else has set another value; it was left alone.
    Conflict,
    /// It was given up: what was found stays.
    Kept,
    /// The process, cgroup or unit is gone.
    Gone,
    /// It was made in another boot; the kernel has forgotten it.
    VoidOtherBoot,
    /// It could not be restored, and why.
    Failed(String),
}

/// What rolling back one change did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollbackItem {
    /// The change's number.
    pub id: u64,
    /// Which setting.
    pub knob: Knob,
    /// What was there before the change.
    pub before: Option<KnobValue>,
    /// What the change put there.
    pub after: Option<KnobValue>,
    /// What was there now; `None` also when it could not be read.
    pub found: Option<KnobValue>,
    /// How it ended.
    pub outcome: RollbackOutcome,
    /// Whether force overrode `found`.
    pub overrode: bool,
    /// What people should know, such as where a process went instead.
    pub note: Option<String>,
    /// Whether it still held although its lease was over.
    pub lease_over: bool,
    /// Whether it failed for lack of permission.
    pub not_permitted: bool,
    /// What to do about a failure, where somebody has said so.
    pub hint: Option<String>,
}

impl RollbackItem {
    /// A change of which nothing has become yet.
    pub(super) fn of(change: &Change) -> Self {
        Self {
            id: change.id,
            knob: change.knob.clone(),
            before: change.before.clone(),
            after: change.expected().cloned(),
            found: None,
            outcome: RollbackOutcome::AlreadyRestored,
            overrode: false,
            note: None,
            lease_over: false,
            not_permitted: false,
            hint: None,
        }
    }
}

/// What a rollback did.
#[derive(Debug, Default)]
pub struct RollbackReport {
    /// Changes that outlived their lease and were not asked for: they were
    /// rolled back first, without force. Only where one change was asked for;
    /// a rollback of everything has them among its items.
    pub expired: Vec<RollbackItem>,
    /// One for each change, in the order in which they were rolled back.
    pub items: Vec<RollbackItem>,
    /// What of the journal is lost and may still hold: it was not rolled back.
    pub losses: Vec<Loss>,
}

impl Enforcer {
    /// Rolls back `selection`, newest first. With `force`, values that others
    /// have set since are overridden; each item says which. Before one change,
    /// everything goes back that has outlived its lease.
    ///
    /// # Errors
    /// [`RollbackError`] when nothing was tried.
    pub fn rollback(
        &mut self,
        selection: &RollbackSelection,
        force: bool,
    ) -> Result<RollbackReport, RollbackError> {
        let mut journal = self.open_journal()?;
        let ids = select(&journal, selection)?;
        let mut overdue = Vec::new();
        if let RollbackSelection::Id(_) = selection {
            overdue = select(&journal, &RollbackSelection::ExpiredLeases)?;
            overdue.retain(|id| !ids.contains(id));
        }
        Ok(RollbackReport {
            expired: self.roll_back_changes(&mut journal, &overdue, false),
            items: self.roll_back_changes(&mut journal, &ids, force),
            losses: journal.losses().to_vec(),
        })
    }

    /// Rolls back the changes `ids`, which are in the order to do it.
    pub(super) fn roll_back_changes(
        &self,
        journal: &mut Journal,
        ids: &[u64],
        force: bool,
    ) -> Vec<RollbackItem> {
        let mut items: Vec<RollbackItem> = Vec::new();
        // Before any of them is merged into another one.
        let now = boottime();
        let ledger = journal.ledger();
        let over: Vec<u64> = ids
            .iter()
            .filter_map(|id| ledger.change(*id))
            .filter(|change| is_overdue(change, journal, now))
            .map(|change| change.id)
            .collect();
        for id in ids {
            // When the disk is full, it goes back step by step instead.
            let _ = self.absorb(journal, *id, ids);
            let Some(change) = journal.ledger().change(*id).cloned() else {
                continue;
            };
            let mut item = self.roll_back_one(journal, &change, ids, force);
            item.lease_over = over.contains(id);
            if let RollbackOutcome::MergedInto(into) = item.outcome
                && let Some(top) = items.iter().find(|top| top.id == into)
            {
                item.found.clone_from(&top.found);
                item.outcome = top.outcome.clone();
                item.not_permitted = top.not_permitted;
                item.hint.clone_from(&top.hint);
                item.overrode = top.overrode;
                add_note(&mut item, format!("together with change {into}"));
            }
            items.push(item);
        }
        items
    }

    /// Merges the selected changes right below `id` into it, so that a setting
    /// goes back in one write: a value in between may be a limit that was only
    /// meant for a moment.
    fn absorb(&self, journal: &mut Journal, id: u64, selected: &[u64]) -> Result<(), JournalError> {
        loop {
            let ledger = journal.ledger();
            let Some(top) = ledger.change(id).filter(|top| top.is_open()) else {
                return Ok(());
            };
            let below = ledger.below(top).filter(|below| {
                selected.contains(&below.id)
                    && top.boot_id == *journal.boot()
                    && self.follows(top, below)
            });
            let Some(below) = below.map(|below| below.id) else {
                return Ok(());
            };
            journal.record_end(below, Ending::Merged { into: id })?;
        }
    }

    /// Whether nobody else has set the value between two changes of ours, and
    /// both are of the same thing.
    fn follows(&self, later: &Change, earlier: &Change) -> bool {
        let page = self.kernel.page_size;
        let same_unit = match (&later.saved.unit_identity, &earlier.saved.unit_identity) {
            (Some(later), Some(earlier)) => later == earlier,
            _ => true,
        };
        same_unit && is_equivalent(&later.knob, earlier.expected(), later.before.as_ref(), page)
    }

    fn roll_back_one(
        &self,
        journal: &mut Journal,
        change: &Change,
        selected: &[u64],
        force: bool,
    ) -> RollbackItem {
        let mut item = RollbackItem::of(change);
        if !change.is_open() {
            item.outcome = match change.ending {
                Some(Ending::Gone) => RollbackOutcome::Gone,
                Some(Ending::Void) => RollbackOutcome::VoidOtherBoot,
                Some(Ending::Kept { .. }) => RollbackOutcome::Kept,
                Some(Ending::Merged { into }) if is_open(journal, selected, into) => {
                    RollbackOutcome::MergedInto(into)
                }
                _ => RollbackOutcome::AlreadyRestored,
            };
            return item;
        }
        let ending = if change.boot_id == *journal.boot() {
            let above = journal
                .ledger()
                .on_top_of(change)
                .filter(|later| !selected.contains(&later.id) && self.follows(later, change))
                .map(|later| later.id);
            match above {
                Some(into) => {
                    item.outcome = RollbackOutcome::MergedInto(into);
                    Some(Ending::Merged { into })
                }
                None => self.restore(journal, change, force, &mut item),
            }
        } else {
            item.outcome = RollbackOutcome::VoidOtherBoot;
            Some(Ending::Void)
        };
        if let Some(ending) = ending.filter(|ending| change.ending.as_ref() != Some(ending)) {
            // On a full disk the setting is restored all the same: the next
            // rollback will find that there is nothing to do.
            if let Err(error) = journal.record_end(change.id, ending) {
                add_note(&mut item, format!("not recorded: {}", in_one_line(&error)));
            }
        }
        item
    }

    /// Compares, restores, verifies. Returns what is to be recorded.
    fn restore(
        &self,
        journal: &Journal,
        change: &Change,
        force: bool,
        item: &mut RollbackItem,
    ) -> Option<Ending> {
        let here = Place::of_this_process(&self.kernel);
        let place = change.saved.place.as_ref();
        if let Some(why) = place.and_then(|place| place.differs(&here, &change.knob)) {
            if place.is_some_and(|at| is_over_with_its_namespace(&self.kernel, at, &change.knob)) {
                add_note(item, "its pid namespace is over".to_owned());
                item.outcome = RollbackOutcome::Gone;
                return Some(Ending::Gone);
            }
            item.outcome = RollbackOutcome::Failed(why);
            item.hint = Some("roll it back from where it was changed".to_owned());
            return None;
        }
        match self.knobs.check_unit(&change.knob, &change.saved) {
            Err(error @ KnobError::UnitReplaced { .. }) => {
                // The drop-in files of the earlier one went with it: what is
                // there now is not ours.
                item.outcome = RollbackOutcome::Gone;
                add_note(item, in_one_line(&error));
                return Some(Ending::Gone);
            }
            Err(error) if !error.is_gone() => {
                fail(item, &error);
                return None;
            }
            _ => {}
        }
        let found = match self.knobs.read(&change.knob) {
            Ok(found) => found,
            Err(error) if error.is_gone() => return Some(self.bury(change, item)),
            Err(error) => {
                fail(item, &error);
                return None;
            }
        };
        item.found.clone_from(&found);
        let page = self.kernel.page_size;
        let before = change.before.as_ref();
        if is_equivalent(&change.knob, before, found.as_ref(), page) {
            return self.tidy_unit(journal, change, force, item);
        }
        let ours = is_ours(change, found.as_ref(), page);
        if !ours && !force {
            item.outcome = RollbackOutcome::Conflict;
            return Some(Ending::Conflict { found });
        }
        item.overrode = !ours;
        match self.put_back(journal, change, force) {
            Ok(restored) => {
                item.outcome = RollbackOutcome::Restored;
                add_notes(item, restored.note);
                Some(Ending::Restored {
                    overrode: found.filter(|_| !ours),
                })
            }
            Err(error) if error.is_gone() => {
                item.outcome = RollbackOutcome::Gone;
                Some(Ending::Gone)
            }
            Err(error) => {
                fail(item, &error);
                None
            }
        }
    }

    /// The thing is gone; of a unit, its drop-in file may still be there.
    fn bury(&self, change: &Change, item: &mut RollbackItem) -> Ending {
        item.outcome = RollbackOutcome::Gone;
        if leaves_drop_in(change) {
            let (before, saved) = (change.before.as_ref(), &change.saved);
            match self.knobs.restore(&change.knob, before, saved, false) {
                Ok(restored) => add_notes(item, restored.note),
                Err(error) if error.is_gone() => {}
                Err(error) => add_note(item, in_one_line(&error)),
            }
        }
        Ending::Gone
    }

    /// The earlier value is there. systemd may show it while its drop-in file,
    /// or the kernel, still has ours.
    fn tidy_unit(
        &self,
        journal: &Journal,
        change: &Change,
        force: bool,
        item: &mut RollbackItem,
    ) -> Option<Ending> {
        if leaves_drop_in(change) {
            match self.put_back(journal, change, force) {
                Ok(restored) => add_notes(item, restored.note),
                Err(error) if error.is_gone() => {}
                // Who was not let in has changed nothing either.
                Err(error) if error.is_denied() && self.is_untouched(change) => {}
                Err(error) => {
                    fail(item, &error);
                    return None;
                }
            }
        }
        Some(Ending::Restored { overrode: None })
    }
}

/// Whether a value is what the change put there.
pub(super) fn is_ours(change: &Change, found: Option<&KnobValue>, page: PageSize) -> bool {
    let same = |wanted: Option<&KnobValue>| is_equivalent(&change.knob, wanted, found, page);
    same(change.expected()) || change.also_ours.iter().any(|value| same(value.as_ref()))
}

/// Whether systemd has a drop-in file for it that we know of.
const fn leaves_drop_in(change: &Change) -> bool {
    matches!(change.knob, Knob::UnitProperty { .. }) && change.saved.drop_in.is_some()
}

/// Whether a change stands that another was merged into, or is rolled back
/// together with it right now.
fn is_open(journal: &Journal, selected: &[u64], id: u64) -> bool {
    let open = journal.ledger().change(id).is_some_and(Change::is_open);
    open || selected.contains(&id)
}

/// Whether it was made in this boot and still holds although its lease is over.
fn is_overdue(change: &Change, journal: &Journal, now: Duration) -> bool {
    let expired = change.lease_until.is_some_and(|until| until <= now);
    change.is_open() && expired && change.boot_id == *journal.boot()
}

pub(super) fn select(
    journal: &Journal,
    selection: &RollbackSelection,
) -> Result<Vec<u64>, RollbackError> {
    let ledger = journal.ledger();
    let now = boottime();
    let chosen = |change: &&Change| match selection {
        RollbackSelection::All => change.is_open(),
        RollbackSelection::Id(id) => change.id == *id,
        RollbackSelection::Plan(plan) => change.is_open() && change.plan_id == *plan,
        RollbackSelection::ExpiredLeases => is_overdue(change, journal, now),
    };
    let ids: Vec<u64> = ledger
        .changes()
        .rev()
        .filter(chosen)
        .map(|change| change.id)
        .collect();
    match selection {
        RollbackSelection::Id(id) if ids.is_empty() => Err(no_such_change(*id, journal.losses())),
        _ => Ok(ids),
    }
}

/// A journal of which a part is lost cannot deny that there was a change.
fn no_such_change(id: u64, losses: &[Loss]) -> RollbackError {
    if losses.is_empty() {
        RollbackError::NoSuchChange { id }
    } else {
        let losses = losses.to_vec();
        RollbackError::ChangeUnreadable { id, losses }
    }
}

fn fail(item: &mut RollbackItem, error: &KnobError) {
    item.outcome = RollbackOutcome::Failed(in_one_line(error));
    item.not_permitted = error.is_denied();
    item.hint = error.hint();
}

fn add_notes(item: &mut RollbackItem, note: Option<String>) {
    if let Some(note) = note {
        add_note(item, note);
    }
}

pub(super) fn add_note(item: &mut RollbackItem, note: String) {
    item.note = Some(match item.note.take() {
        Some(earlier) => format!("{earlier}; {note}"),
        None => note,
    });
}
