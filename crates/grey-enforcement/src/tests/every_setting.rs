//! The generic tests: apply, fail, die, undo, for a plan over every kind of
//! setting.
//!
//! Never names a single setting: a new kind joins by joining the plan.

use super::rig::{Fault, Rig, plan_over_everything};
use crate::EntryState;
use crate::executor::{Outcome, RollbackOutcome, RollbackSelection};
use grey_model::Verdict;

/// A plan has fewer calls than this; a loop that runs so far never ended.
const MOST_CALLS: usize = 500;

#[test]
fn every_setting_is_set_and_put_back_exactly() {
    let rig = Rig::new();
    let plan = plan_over_everything(&rig);
    let before = rig.kernel_state();
    let applied = rig.apply(&plan).unwrap();
    assert_eq!(applied.outcome, Outcome::Complete, "{:#?}", applied.effects);
    assert_eq!(applied.journal_ids.len(), plan.steps.len());
    assert_ne!(rig.kernel_state(), before);
    let report = rig.roll_back(&RollbackSelection::All, false);
    for item in &report.items {
        let scope_is_gone = matches!(item.knob, grey_model::Knob::UnitProperty { .. });
        assert!(
            item.outcome == RollbackOutcome::Restored
                || (scope_is_gone && item.outcome == RollbackOutcome::Gone)
                || item.outcome == RollbackOutcome::AlreadyRestored,
            "{item:?}"
        );
    }
    assert_eq!(rig.kernel_state(), before);
    let open = |entry: &crate::JournalEntry| entry.state == EntryState::Active;
    assert!(!rig.entries().iter().any(open));
}

#[test]
fn undoing_twice_changes_nothing() {
    let rig = Rig::new();
    let plan = plan_over_everything(&rig);
    let before = rig.kernel_state();
    rig.apply(&plan).unwrap();
    rig.roll_back(&RollbackSelection::All, false);
    let again = rig.roll_back(&RollbackSelection::All, false);
    assert!(again.items.is_empty(), "{:?}", again.items);
    for entry in rig.entries() {
        let report = rig.roll_back(&RollbackSelection::Id(entry.id), true);
        assert!(
            matches!(
                report.items[0].outcome,
                RollbackOutcome::AlreadyRestored | RollbackOutcome::Gone
            ),
            "{:?}",
            report.items
        );
    }
    assert_eq!(rig.kernel_state(), before);
}

#[test]
fn a_step_that_fails_takes_the_earlier_ones_back() {
    let steps = plan_over_everything(&Rig::new()).steps.len();
    for failing in 1..=steps {
        let rig = Rig::new();
        let plan = plan_over_everything(&rig);
        let before = rig.kernel_state();
        let applied = rig.apply_with(&plan, Fault::FailSet(failing)).unwrap();
        assert_eq!(applied.outcome, Outcome::Failed, "step {failing}");
        assert_eq!(applied.effects.len(), failing);
        assert_eq!(applied.effects[failing - 1].verdict, Verdict::Failed);
        for effect in &applied.effects[..failing - 1] {
            assert_eq!(effect.verdict, Verdict::Undone, "{effect:?}");
        }
        assert!(applied.journal_ids.is_empty());
        assert_eq!(rig.kernel_state(), before, "step {failing}");
    }
}

#[test]
fn being_killed_anywhere_leaves_a_plan_that_can_be_undone() {
    for fault in [Fault::DieBefore, Fault::DieAfter] {
        let mut number = 1;
        loop {
            let rig = Rig::new();
            let plan = plan_over_everything(&rig);
            let before = rig.kernel_state();
            if !rig.die_while_applying(&plan, fault(number)) {
                assert!(number > plan.steps.len() * 3, "only {number} calls");
                break;
            }
            let report = rig.roll_back(&RollbackSelection::All, false);
            for item in &report.items {
                assert!(
                    !matches!(
                        item.outcome,
                        RollbackOutcome::Conflict | RollbackOutcome::Failed(_)
                    ),
                    "call {number}: {item:?}"
                );
            }
            assert_eq!(rig.kernel_state(), before, "{:?}", fault(number));
            number += 1;
            assert!(number < MOST_CALLS);
        }
    }
}

#[test]
fn being_killed_while_undoing_can_be_undone_again() {
    for number in 1..MOST_CALLS {
        let rig = Rig::new();
        let plan = plan_over_everything(&rig);
        let before = rig.kernel_state();
        rig.apply(&plan).unwrap();
        let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = rig
                .enforcer(Fault::DieAfter(number))
                .rollback(&RollbackSelection::All, false);
        }));
        rig.roll_back(&RollbackSelection::All, false);
        assert_eq!(rig.kernel_state(), before, "call {number}");
        if died.is_ok() {
            assert!(number > plan.steps.len());
            return;
        }
    }
    panic!("the rollback never ended");
}

#[test]
fn a_plan_is_undone_alone() {
    let rig = Rig::new();
    let plan = plan_over_everything(&rig);
    let before = rig.kernel_state();
    let applied = rig.apply(&plan).unwrap();
    let other = rig.roll_back(&RollbackSelection::Plan("another".to_owned()), false);
    assert!(other.items.is_empty());
    rig.roll_back(&RollbackSelection::Plan(applied.plan_id), false);
    assert_eq!(rig.kernel_state(), before);
}
