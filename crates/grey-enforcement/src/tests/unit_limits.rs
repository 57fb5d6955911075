//! Limits of units are rolled back without harm to the unit, or not at all.
//!
//! systemd is a map here; the cgroup files are read as they are.

use grey_model::{Knob, Plan, UnitMemoryProperty};

use super::rig::{Rig, plan, step, value};
use crate::EntryState;
use crate::disposable::Job;
use crate::executor::{Outcome, RollbackOutcome, RollbackSelection};

const UNIT: &str = "db.service";
const MAX: &str = "cgroup/web/memory.max";
const HIGH: &str = "cgroup/web/memory.high";
const USAGE: &str = "cgroup/web/memory.current";

/// A unit in the cgroup `web` whose limit was raised from 70 to 400 MiB.
fn raised(property: UnitMemoryProperty) -> Rig {
    let rig = Rig::new();
    rig.units.run_in(UNIT, "web");
    rig.units.set(UNIT, property, "73400320");
    let knob = Knob::UnitProperty {
        unit: UNIT.to_owned(),
        property,
    };
    rig.apply(&plan([step(knob, Some("73400320"), Some("419430400"))]))
        .unwrap();
    rig
}

fn limit(before: &str, after: &str) -> Plan {
    let knob = Knob::UnitProperty {
        unit: UNIT.to_owned(),
        property: UnitMemoryProperty::MemoryMax,
    };
    plan([step(knob, Some(before), Some(after))])
}

fn outcome(rig: &Rig, force: bool) -> RollbackOutcome {
    let report = rig.roll_back(&RollbackSelection::All, force);
    report.items[0].outcome.clone()
}

#[test]
fn a_units_limit_that_would_kill_is_not_restored_without_force() {
    let rig = raised(UnitMemoryProperty::MemoryMax);
    rig.write(USAGE, "158134272\n");
    let refused = outcome(&rig, false);
    assert!(
        matches!(&refused, RollbackOutcome::Failed(why)
            if why.contains("would kill") && why.contains("reclaim first")),
        "{refused:?}"
    );
    assert_eq!(rig.read(MAX), "419430400\n");
    assert_eq!(rig.entries()[0].state, EntryState::Active);
    assert_eq!(outcome(&rig, true), RollbackOutcome::Restored);
    assert_eq!(rig.read(MAX), "73400320\n");
}

#[test]
fn a_units_limit_that_fits_is_restored_at_once() {
    let rig = raised(UnitMemoryProperty::MemoryMax);
    rig.write(USAGE, "73400320\n");
    assert_eq!(outcome(&rig, false), RollbackOutcome::Restored);
    assert_eq!(rig.read(MAX), "73400320\n");
    assert!(rig.counters.borrow().jobs.is_empty());
}

#[test]
fn memory_is_reclaimed_before_systemd_writes_a_lower_memory_high() {
    let rig = raised(UnitMemoryProperty::MemoryHigh);
    rig.write(USAGE, "158134272\n");
    assert_eq!(outcome(&rig, false), RollbackOutcome::Restored);
    assert_eq!(rig.read(HIGH), "73400320\n");
    assert_eq!(rig.read(USAGE), "73400320\n");
    let counters = rig.counters.borrow();
    assert!(
        matches!(counters.jobs.as_slice(), [Job::Reclaim { until: Some(until), .. }]
            if until.0 == 73_400_320),
        "{:?}",
        counters.jobs
    );
}

#[test]
fn systemd_is_not_made_to_wait_for_memory_that_cannot_be_reclaimed() {
    let rig = raised(UnitMemoryProperty::MemoryHigh);
    rig.write(USAGE, "158134272\n");
    std::fs::remove_file(rig.path("cgroup/web/memory.reclaim")).unwrap();
    let refused = outcome(&rig, false);
    assert!(
        matches!(&refused, RollbackOutcome::Failed(why) if why.contains("could not be reclaimed")),
        "{refused:?}"
    );
    assert_eq!(rig.read(HIGH), "419430400\n");
}

#[test]
fn a_hidden_limit_of_a_unit_is_not_turned_into_one_that_kills() {
    let rig = raised(UnitMemoryProperty::MemoryMax);
    // As after a reload that made systemd read the earlier value again.
    rig.units
        .set(UNIT, UnitMemoryProperty::MemoryMax, "73400320");
    rig.write(MAX, "419430400\n");
    rig.write(USAGE, "158134272\n");
    let refused = outcome(&rig, false);
    assert!(
        matches!(&refused, RollbackOutcome::Failed(why) if why.contains("would kill")),
        "{refused:?}"
    );
    assert_eq!(rig.read(MAX), "419430400\n");
    rig.write(USAGE, "4096\n");
    assert_eq!(outcome(&rig, false), RollbackOutcome::AlreadyRestored);
    assert_eq!(rig.read(MAX), "73400320\n");
}

#[test]
fn a_limit_that_the_kernel_did_not_take_again_is_no_success() {
    let rig = raised(UnitMemoryProperty::MemoryMax);
    rig.write(USAGE, "4096\n");
    // systemd forgets to write it.
    rig.units.stop_writing();
    let failed = outcome(&rig, false);
    assert!(
        matches!(&failed, RollbackOutcome::Failed(why) if why.contains("reads `419430400`")),
        "{failed:?}"
    );
}

#[test]
fn another_unit_of_the_same_name_is_not_touched() {
    let property = UnitMemoryProperty::MemoryMax;
    for found in ["419430400", "73400320", "infinity"] {
        let rig = Rig::new();
        rig.units.identify(UNIT, "1");
        rig.units.run_in(UNIT, "web");
        rig.apply(&limit("infinity", "419430400")).unwrap();
        rig.units.identify(UNIT, "2");
        rig.units.set(UNIT, property, found);
        let before = rig.kernel_state();
        let report = rig.roll_back(&RollbackSelection::All, true);
        let item = &report.items[0];
        assert_eq!(item.outcome, RollbackOutcome::Gone);
        assert!(
            item.note
                .as_ref()
                .is_some_and(|note| note.contains("another one has its name"))
        );
        assert_eq!(rig.kernel_state(), before);
        assert_eq!(rig.entries()[0].state, EntryState::Undone);
    }
}

#[test]
fn a_transient_unit_that_is_still_itself_is_restored() {
    let rig = Rig::new();
    rig.units.identify(UNIT, "1");
    rig.apply(&limit("infinity", "419430400")).unwrap();
    assert_eq!(outcome(&rig, false), RollbackOutcome::Restored);
}

#[test]
fn changes_of_two_units_of_one_name_are_not_merged() {
    let rig = Rig::new();
    rig.units.identify(UNIT, "1");
    rig.units
        .set(UNIT, UnitMemoryProperty::MemoryMax, "73400320");
    rig.apply(&limit("73400320", "419430400")).unwrap();
    rig.units.identify(UNIT, "2");
    rig.apply(&limit("419430400", "209715200")).unwrap();
    let report = rig.roll_back(&RollbackSelection::All, false);
    assert_eq!(report.items[0].outcome, RollbackOutcome::Restored);
    assert_eq!(report.items[0].before, Some(value("419430400")));
    assert_eq!(report.items[1].outcome, RollbackOutcome::Gone);
}

#[test]
fn a_record_without_an_identity_is_rolled_back_by_its_name() {
    let rig = Rig::new();
    rig.apply(&limit("infinity", "419430400")).unwrap();
    rig.units.identify(UNIT, "2");
    assert_eq!(outcome(&rig, false), RollbackOutcome::Restored);
}

#[test]
fn what_systemd_denies_is_not_permitted_and_has_its_hint() {
    let rig = Rig::new();
    rig.units.run_in(UNIT, "web");
    rig.units
        .set(UNIT, UnitMemoryProperty::MemoryMax, "73400320");
    rig.units.deny();
    let applied = rig.apply(&limit("73400320", "419430400")).unwrap();
    assert_eq!(applied.outcome, Outcome::NotPermitted);
    assert_eq!(applied.hint.as_deref(), Some("run as root"));
    assert_eq!(rig.read(MAX), "73400320\n");
    assert!(applied.journal_ids.is_empty());
    assert_eq!(rig.entries()[0].state, EntryState::Undone);
}

#[test]
fn a_rollback_that_systemd_denies_is_not_permitted_and_has_its_hint() {
    let rig = raised(UnitMemoryProperty::MemoryMax);
    rig.units.deny();
    let report = rig.roll_back(&RollbackSelection::All, false);
    let item = &report.items[0];
    assert!(
        matches!(item.outcome, RollbackOutcome::Failed(_)),
        "{item:?}"
    );
    assert!(item.not_permitted);
    assert_eq!(item.hint.as_deref(), Some("run as root"));
}
