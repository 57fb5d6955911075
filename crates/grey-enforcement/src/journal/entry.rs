//! What the records add up to: each change with its state.
//!
//! Pure: replays records, opens nothing, reads no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use grey_model::{BootId, CgroupPath, Knob, KnobValue};
use serde::Serialize;

use super::record::{Actor, Body, Ending, Record};
use crate::knob::Saved;

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryState {
    /// It holds, and can be undone.
    Active,
    /// It was undone, or its process or cgroup is gone.
    Undone,
    /// It was made in another boot: the kernel has forgotten it.
    Void,
    /// It can be undone only by force: somebody has set another value since.
    Conflict,
    /// It was given up: what was found stays.
    GivenUp,
}

/// A change, for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JournalEntry {
    /// Its number, for `rollback ID`.
    pub id: u64,
    /// When, in milliseconds since 1970.
    pub time_unix_ms: u64,
    /// In which boot.
    pub boot_id: BootId,
    /// Which setting.
    pub knob: Knob,
    /// What was there.
    pub before: Option<KnobValue>,
    /// What was put there, as it was read back.
    pub after: Option<KnobValue>,
    /// Who did it.
    pub actor: Actor,
    /// Why.
    pub reason: String,
    /// The plan that it was a step of.
    pub plan_id: String,
    /// What became of it.
    pub state: EntryState,
    /// How much of its lease is left, in seconds, a begun one counted whole: 0
    /// when it is over, and not before; `None` without a lease.
    #[serde(rename = "lease_remaining_seconds")]
    pub lease_remaining: Option<u64>,
}

/// A change with everything that undoing needs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    pub(crate) id: u64,
    pub(crate) time_unix_ms: u64,
    pub(crate) boot_id: BootId,
    pub(crate) actor: Actor,
    pub(crate) plan_id: String,
    pub(crate) knob: Knob,
    pub(crate) before: Option<KnobValue>,
    /// What was to be there.
    pub(crate) wanted: Option<KnobValue>,
    /// What was read back; `None`: nobody knows whether the write happened.
    pub(crate) found: Option<Option<KnobValue>>,
    pub(crate) saved: Saved,
    pub(crate) reason: String,
    pub(crate) lease_until: Option<Duration>,
    pub(crate) ending: Option<Ending>,
    /// What else may be there and is ours: what an earlier change had put
    /// there, when that was merged into this one and nobody knows whether this
    /// one was ever written.
    pub(crate) also_ours: Vec<Option<KnobValue>>,
}

impl Change {
    /// Whether it is still to be undone.
    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.ending, None | Some(Ending::Conflict { .. }))
    }

    /// What ought to be there now.
    pub(crate) fn expected(&self) -> Option<&KnobValue> {
        match &self.found {
            Some(found) => found.as_ref(),
            None => self.wanted.as_ref(),
        }
    }
}

/// All changes, by number.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Ledger {
    changes: BTreeMap<u64, Change>,
    last_id: u64,
    first_id: Option<u64>,
    /// Changes that no record describes, and the boot of who names them.
    unknown: BTreeMap<u64, BootId>,
    /// Changes that no record describes, and that are over.
    unknown_over: BTreeSet<u64>,
    compacted: bool,
}

impl Ledger {
    /// Takes the next record in. Records about changes that are not known,
    /// because they were damaged or dropped, change nothing.
    pub(crate) fn take(&mut self, record: Record) {
        self.last_id = self.last_id.max(record.id);
        self.first_id = self.first_id.or(Some(record.id));
        match record.body {
            Body::Plan { .. } => {}
            Body::Compacted { .. } => self.compacted = true,
            Body::Change {
                plan_id,
                knob,
                before,
                after,
                saved,
                reason,
                lease_until_boottime_seconds,
            } => {
                let change = Change {
                    id: record.id,
                    time_unix_ms: record.time_unix_ms,
                    boot_id: record.boot_id,
                    actor: record.actor,
                    plan_id,
                    knob,
                    before,
                    wanted: after,
                    found: None,
                    saved,
                    reason,
                    lease_until: lease_until_boottime_seconds.map(Duration::from_secs),
                    ending: None,
                    also_ours: Vec::new(),
                };
                self.changes.insert(record.id, change);
            }
            Body::Applied {
                change,
                found,
                saved,
            } => {
                if let Some(change) = self.changes.get_mut(&change) {
                    change.found = Some(found);
                    if saved.cgroup_id.is_some() {
                        change.saved.cgroup_id = saved.cgroup_id;
                    }
                } else {
                    self.unknown.insert(change, record.boot_id);
                }
            }
            Body::Undone { change, ending } => self.end(change, ending, record.boot_id),
        }
    }

    fn end(&mut self, id: u64, ending: Ending, boot: BootId) {
        if let Ending::Merged { into } = ending
            && !self.changes.contains_key(&into)
        {
            self.unknown.insert(into, boot.clone());
        }
        let Some(change) = self.changes.get_mut(&id) else {
            if matches!(ending, Ending::Conflict { .. }) {
                self.unknown.insert(id, boot);
            } else {
                self.unknown_over.insert(id);
            }
            return;
        };
        let (before, saved) = (change.before.clone(), change.saved.clone());
        let merged = match ending {
            Ending::Merged { into } => Some(into),
            _ => None,
        };
        change.ending = Some(ending);
        if let Some(later) = merged.and_then(|into| self.changes.get_mut(&into)) {
            let between = std::mem::replace(&mut later.before, before);
            if later.found.is_none() {
                later.also_ours.push(between);
            }
            later.saved = saved;
        }
    }

    /// All changes, oldest first.
    pub(crate) fn changes(&self) -> impl DoubleEndedIterator<Item = &Change> {
        self.changes.values()
    }

    /// One change.
    pub(crate) fn change(&self, id: u64) -> Option<&Change> {
        self.changes.get(&id)
    }

    /// Changes that were made, that no record describes, and that may hold in
    /// the boot `now`. Compaction drops changes that are over and may leave
    /// records that name them.
    pub(crate) fn missing(&self, now: Option<&BootId>) -> Vec<u64> {
        let dropped_before = self.first_id.filter(|_| self.compacted).unwrap_or(0);
        self.unknown
            .iter()
            .filter(|(id, _)| **id >= dropped_before && !self.is_over(**id))
            .filter(|(_, boot)| now.is_none_or(|now| now == *boot))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Whether a change that no record describes is known to be over.
    pub(crate) fn is_over(&self, unknown: u64) -> bool {
        self.unknown_over.contains(&unknown)
    }

    /// Numbers that lines had which cannot be read: they are not used again.
    pub(crate) fn skip(&mut self, numbers: u64) {
        self.last_id = self.last_id.saturating_add(numbers);
    }

    /// A later change of the same setting in the same boot that is still open.
    pub(crate) fn on_top_of(&self, change: &Change) -> Option<&Change> {
        self.changes
            .range(change.id.saturating_add(1)..)
            .map(|(_, later)| later)
            .find(|later| {
                later.is_open() && later.knob == change.knob && later.boot_id == change.boot_id
            })
    }

    /// The change of the same setting right before this one, in the same boot
    /// and still open.
    pub(crate) fn below(&self, change: &Change) -> Option<&Change> {
        self.changes
            .range(..change.id)
            .map(|(_, earlier)| earlier)
            .rfind(|earlier| {
                earlier.is_open()
                    && earlier.knob == change.knob
                    && earlier.boot_id == change.boot_id
            })
    }

    /// Whether an open change of this setting ends by itself.
    pub(crate) fn is_leased(&self, knob: &Knob, boot: &BootId) -> bool {
        self.changes.values().any(|change| {
            change.is_open()
                && change.lease_until.is_some()
                && change.knob == *knob
                && change.boot_id == *boot
        })
    }

    /// What holds `knob` at `after` and ends by itself before `until` (`None`:
    /// never): groups that were made, processes that were moved, controllers
    /// that were turned on under a lease, and that nobody has asked for since.
    /// In the order in which they were made.
    pub(crate) fn leased_below(
        &self,
        knob: &Knob,
        after: Option<&KnobValue>,
        until: Option<Duration>,
        boot: &BootId,
    ) -> Vec<&Change> {
        let ends_sooner = |change: &Change| {
            let lease = change.lease_until;
            lease.is_some_and(|lease| until.is_none_or(|until| lease < until))
        };
        self.changes
            .values()
            .filter(|change| {
                change.is_open()
                    && change.boot_id == *boot
                    && ends_sooner(change)
                    && rests_on(knob, after, change)
                    && self.on_top_of(change).is_none()
            })
            .collect()
    }

    /// Whether nothing in it is left to be undone in the boot `now`.
    pub(crate) fn is_finished(&self, now: &BootId) -> bool {
        self.changes
            .values()
            .all(|change| !change.is_open() || change.boot_id != *now)
    }

    /// The largest number that was used.
    pub(crate) const fn last_id(&self) -> u64 {
        self.last_id
    }

    /// The changes for people. `boot` and `uptime` say what is now; without
    /// them nothing is called void and no lease is counted.
    pub(crate) fn entries(
        &self,
        boot: Option<&BootId>,
        uptime: Option<Duration>,
    ) -> Vec<JournalEntry> {
        self.changes
            .values()
            .map(|change| {
                let state = state_of(change, boot);
                let lease = change
                    .lease_until
                    .filter(|_| matches!(state, EntryState::Active | EntryState::Conflict));
                JournalEntry {
                    id: change.id,
                    time_unix_ms: change.time_unix_ms,
                    boot_id: change.boot_id.clone(),
                    knob: change.knob.clone(),
                    before: change.before.clone(),
                    after: change.expected().cloned(),
                    actor: change.actor.clone(),
                    reason: change.reason.clone(),
                    plan_id: change.plan_id.clone(),
                    state,
                    lease_remaining: lease
                        .zip(uptime)
                        .map(|(until, now)| whole_seconds(until.saturating_sub(now))),
                }
            })
            .collect()
    }
}

/// Rounded up, so that what is left is never told as nothing.
fn whole_seconds(left: Duration) -> u64 {
    left.as_secs() + u64::from(left.subsec_nanos() > 0)
}

/// Whether undoing `change` would take away what `knob`, set to `after`, is in.
fn rests_on(knob: &Knob, after: Option<&KnobValue>, change: &Change) -> bool {
    if *knob == change.knob {
        return false;
    }
    let is_file = matches!(knob, Knob::CgroupFile { .. });
    let path = match knob {
        Knob::CgroupFile { cgroup, .. }
        | Knob::CgroupDirectory { cgroup, .. }
        | Knob::MemoryController { cgroup } => Some(cgroup.clone()),
        Knob::ProcessCgroup { .. } => after.and_then(|after| CgroupPath::new(after.0.as_bytes())),
        _ => None,
    };
    let moved_to = || {
        change
            .expected()
            .and_then(|to| CgroupPath::new(to.0.as_bytes()))
    };
    match (&change.knob, knob, path) {
        (Knob::TransientScope { scope, .. }, Knob::UnitProperty { unit, .. }, _) => scope == unit,
        (
            Knob::CgroupDirectory { cgroup, .. } | Knob::MemoryController { cgroup },
            _,
            Some(path),
        ) => cgroup.contains(&path),
        (Knob::ProcessCgroup { .. }, _, Some(path)) => {
            is_file && moved_to().is_some_and(|to| path.contains(&to))
        }
        _ => false,
    }
}

fn state_of(change: &Change, boot: Option<&BootId>) -> EntryState {
    match &change.ending {
        Some(Ending::Void) => EntryState::Void,
        Some(Ending::Kept { .. }) => EntryState::GivenUp,
        Some(Ending::Restored { .. } | Ending::Gone | Ending::Merged { .. }) => EntryState::Undone,
        _ if boot.is_some_and(|boot| *boot != change.boot_id) => EntryState::Void,
        Some(Ending::Conflict { .. }) => EntryState::Conflict,
        None => EntryState::Active,
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::sample;
    use super::*;

    fn undone(id: u64, change: u64, ending: Ending) -> Record {
        Record {
            body: Body::Undone { change, ending },
            ..sample(id)
        }
    }

    fn ledger(records: impl IntoIterator<Item = Record>) -> Ledger {
        let mut ledger = Ledger::default();
        records.into_iter().for_each(|record| ledger.take(record));
        ledger
    }

    #[test]
    fn a_conflict_stays_open_and_a_restoration_does_not() {
        let conflict = ledger([sample(1), undone(2, 1, Ending::Conflict { found: None })]);
        assert!(conflict.change(1).unwrap().is_open());
        let restored = ledger([sample(1), undone(2, 1, Ending::Restored { overrode: None })]);
        assert!(restored.is_finished(&BootId("b".to_owned())));
        assert_eq!(restored.last_id(), 2);
    }

    #[test]
    fn a_merged_change_gives_its_earlier_value_to_the_later_one() {
        let mut later = sample(2);
        if let Body::Change { before, after, .. } = &mut later.body {
            *before = Some(KnobValue("1".to_owned()));
            *after = Some(KnobValue("5".to_owned()));
        }
        let ledger = ledger([sample(1), later, undone(3, 1, Ending::Merged { into: 2 })]);
        let later = ledger.change(2).unwrap();
        assert_eq!(later.before, Some(KnobValue("0".to_owned())));
        assert!(!ledger.change(1).unwrap().is_open());
    }

    #[test]
    fn changes_of_another_boot_are_void() {
        let ledger = ledger([sample(1)]);
        let state = |boot: &str| ledger.entries(Some(&BootId(boot.to_owned())), None)[0].state;
        assert_eq!(state("b"), EntryState::Active);
        assert_eq!(state("c"), EntryState::Void);
        assert!(ledger.is_finished(&BootId("c".to_owned())));
    }

    #[test]
    fn a_lease_counts_down_to_zero() {
        let ledger = ledger([sample(1)]);
        let left =
            |uptime| ledger.entries(None, Some(Duration::from_secs(uptime)))[0].lease_remaining;
        assert_eq!(left(10), Some(7));
        assert_eq!(left(20), Some(0));
    }

    #[test]
    fn a_lease_is_not_told_as_over_while_a_part_of_a_second_is_left() {
        let left = |uptime_ms| {
            let uptime = Some(Duration::from_millis(uptime_ms));
            ledger([sample(1)]).entries(None, uptime)[0].lease_remaining
        };
        assert_eq!(left(16_001), Some(1));
        assert_eq!(left(17_000), Some(0));
    }

    #[test]
    fn records_about_unknown_changes_change_nothing() {
        let known = ledger([sample(1)]);
        let mut more = known.clone();
        more.take(undone(9, 4, Ending::Gone));
        assert_eq!(more.change(1), known.change(1));
        assert_eq!(more.last_id(), 9);
    }
}
