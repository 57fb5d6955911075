//! Leases in the journal, and when the keeper is started.
//!
//! That a keeper really undoes is tested with real processes.

use std::time::Duration;

use grey_model::{CgroupFile, Knob, KsmFile, UnitMemoryProperty};

use super::rig::{Fault, Rig, file_knob, ksm, plan, plan_over_everything, step};
use crate::EntryState;
use crate::Journal;
use crate::executor::{ApplyContext, RollbackOutcome, RollbackSelection};
use crate::lease::boottime;

const RUN: &str = "sys/kernel/mm/ksm/run";

fn apply_with_lease(rig: &Rig, lease: Option<Duration>) {
    let context = ApplyContext {
        lease,
        observe: Duration::ZERO,
        ..ApplyContext::default()
    };
    rig.enforcer(Fault::None)
        .apply(
            &plan([step(ksm(KsmFile::Run), Some("0"), Some("1"))]),
            &context,
            &mut |_| {},
        )
        .unwrap();
}

#[test]
fn the_keeper_is_started_once_and_only_for_a_lease() {
    let rig = Rig::new();
    apply_with_lease(&rig, Some(Duration::from_secs(600)));
    assert_eq!(rig.counters.borrow().keepers, 1);
    let other = Rig::new();
    apply_with_lease(&other, None);
    assert_eq!(other.counters.borrow().keepers, 0);
}

#[test]
fn an_expired_lease_is_rolled_back_and_another_is_not() {
    let rig = Rig::new();
    apply_with_lease(&rig, Some(Duration::from_secs(3600)));
    let report = rig.roll_back(&RollbackSelection::ExpiredLeases, false);
    assert!(report.items.is_empty());
    assert_eq!(rig.read(RUN), "1\n");
    let expired = Rig::new();
    apply_with_lease(&expired, Some(Duration::ZERO));
    let report = expired.roll_back(&RollbackSelection::ExpiredLeases, false);
    assert_eq!(report.items[0].outcome, RollbackOutcome::Restored);
    assert_eq!(expired.read(RUN), "0\n");
}

#[test]
fn a_rollback_of_one_change_takes_what_outlived_its_lease_along() {
    let rig = Rig::new();
    apply_with_lease(&rig, Some(Duration::ZERO));
    rig.enforcer(Fault::None)
        .apply(
            &plan([step(ksm(KsmFile::PagesToScan), Some("100"), Some("200"))]),
            &ApplyContext {
                observe: Duration::ZERO,
                ..ApplyContext::default()
            },
            &mut |_| {},
        )
        .unwrap();
    let other = rig.entries()[1].id;
    let report = rig.roll_back(&RollbackSelection::Id(other), false);
    assert_eq!(report.expired[0].outcome, RollbackOutcome::Restored);
    assert!(report.expired[0].lease_over);
    assert_eq!(report.items.len(), 1);
    assert!(!report.items[0].lease_over);
    assert_eq!(rig.read(RUN), "0\n");
}

#[test]
fn what_was_asked_for_is_an_item_also_when_its_lease_is_over() {
    for selection in [RollbackSelection::All, RollbackSelection::Id(0)] {
        let rig = Rig::new();
        apply_with_lease(&rig, Some(Duration::ZERO));
        let selection = match selection {
            RollbackSelection::Id(_) => RollbackSelection::Id(rig.entries()[0].id),
            other => other,
        };
        let report = rig.roll_back(&selection, false);
        assert!(report.expired.is_empty());
        assert_eq!(report.items[0].outcome, RollbackOutcome::Restored);
        assert!(report.items[0].lease_over);
    }
}

#[test]
fn the_listing_says_what_is_left_of_a_lease() {
    let rig = Rig::new();
    apply_with_lease(&rig, Some(Duration::from_secs(3600)));
    let now = boottime();
    let (entries, damage) = Journal::list(&rig.path("state"), None, Some(now)).unwrap();
    let left = entries[0].lease_remaining.unwrap();
    assert!((1..=3600).contains(&left), "{left}");
    assert!(damage.is_empty());
}

/// A plan over everything whose lease is over at once, then two of its limits
/// asked for again for good.
fn limits_on_leased_ground(rig: &Rig) -> (String, Vec<(std::path::PathBuf, String)>) {
    let everything = plan_over_everything(rig);
    let before = rig.kernel_state();
    let context = ApplyContext {
        lease: Some(Duration::ZERO),
        observe: Duration::ZERO,
        ..ApplyContext::default()
    };
    let leased = rig
        .enforcer(Fault::None)
        .apply(&everything, &context, &mut |_| {})
        .unwrap();
    let group = "/grey-optimizer/app-4242";
    let scope = Knob::UnitProperty {
        unit: "grey-optimizer-77.scope".to_owned(),
        property: UnitMemoryProperty::MemoryHigh,
    };
    let kept = plan([
        step(
            file_knob(rig, group, CgroupFile::MemoryMax),
            Some("67108864"),
            Some("134217728"),
        ),
        step(scope, Some("67108864"), Some("134217728")),
    ]);
    // The keeper's part is played below: nothing overdue goes back first.
    rig.apply(&kept).unwrap();
    (leased.plan_id, before)
}

#[test]
fn what_a_kept_limit_is_in_outlives_the_lease_that_made_it() {
    let rig = Rig::new();
    let (leased, before) = limits_on_leased_ground(&rig);
    rig.roll_back(&RollbackSelection::Plan(leased), false);
    let limit = "cgroup/grey-optimizer/app-4242/memory.max";
    assert_eq!(rig.read(limit), "134217728\n");
    let moved = rig.read("cgroup/grey-optimizer/app-4242/cgroup.procs");
    assert!(moved.contains("4242"), "{moved}");
    assert!(rig.units.state().contains("grey-optimizer-77.scope"));
    // What nothing was asked of again is as it was.
    assert_eq!(rig.read(RUN), "0\n");
    assert_eq!(rig.read("cgroup/user/cgroup.subtree_control"), "\n");
    let report = rig.roll_back(&RollbackSelection::All, false);
    let failed = |item: &&crate::executor::RollbackItem| {
        matches!(
            item.outcome,
            RollbackOutcome::Failed(_) | RollbackOutcome::Gone
        )
    };
    assert!(
        report.items.iter().find(failed).is_none(),
        "{:#?}",
        report.items
    );
    assert_eq!(rig.kernel_state(), before);
    assert!(
        rig.entries()
            .iter()
            .all(|entry| entry.state != EntryState::Active)
    );
}

#[test]
fn before_the_lease_ends_a_rollback_of_everything_takes_both_back() {
    let rig = Rig::new();
    let (_, before) = limits_on_leased_ground(&rig);
    rig.roll_back(&RollbackSelection::All, false);
    assert_eq!(rig.kernel_state(), before);
}
