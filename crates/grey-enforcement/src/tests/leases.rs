//! Leases in the journal, and when the keeper is started.
//!
//! That a keeper really undoes is tested with real processes.

use std::time::Duration;

use grey_model::KsmFile;

use super::rig::{Fault, Rig, ksm, plan, step};
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
