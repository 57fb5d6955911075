//! Somebody else's changes, processes and cgroups are left alone.
//!
//! Each test is one way in which the world can have moved on.

use std::fs;

use grey_model::{CgroupFile, Knob, KsmFile, Plan, ProcessId};

use super::rig::{Fault, PROCESS, Rig, file_knob, ksm, plan, step, value};
use crate::EntryState;
use crate::executor::{ApplyError, RollbackError, RollbackOutcome, RollbackSelection};

const RUN: &str = "sys/kernel/mm/ksm/run";
const PAGES: &str = "sys/kernel/mm/ksm/pages_to_scan";
const MAX: &str = "cgroup/web/memory.max";

fn pages(before: &str, after: &str) -> Plan {
    plan([step(ksm(KsmFile::PagesToScan), Some(before), Some(after))])
}

#[test]
fn a_value_of_somebody_else_is_left_alone_and_reported() {
    let rig = Rig::new();
    rig.apply(&pages("100", "1000")).unwrap();
    rig.write(PAGES, "777\n");
    for _ in 0..2 {
        let report = rig.roll_back(&RollbackSelection::All, false);
        let item = &report.items[0];
        assert_eq!(item.outcome, RollbackOutcome::Conflict);
        assert_eq!(
            (&item.before, &item.after, &item.found),
            (
                &Some(value("100")),
                &Some(value("1000")),
                &Some(value("777"))
            )
        );
        assert_eq!(rig.read(PAGES), "777\n");
        assert_eq!(rig.entries()[0].state, EntryState::Conflict);
    }
}

#[test]
fn force_overrides_and_says_what() {
    let rig = Rig::new();
    rig.apply(&pages("100", "1000")).unwrap();
    rig.write(PAGES, "777\n");
    let report = rig.roll_back(&RollbackSelection::All, true);
    let item = &report.items[0];
    assert_eq!(item.outcome, RollbackOutcome::Restored);
    assert!(item.overrode);
    assert_eq!(item.found, Some(value("777")));
    assert_eq!(rig.read(PAGES), "100\n");
    let journal = rig.read("state/journal/journal.jsonl");
    assert!(journal.contains("\"overrode\":\"777\""), "{journal}");
}

#[test]
fn a_conflict_that_is_kept_is_over_and_nothing_is_written() {
    let rig = Rig::new();
    rig.apply(&pages("100", "1000")).unwrap();
    let nothing = rig.enforcer(Fault::None).keep(None);
    assert!(matches!(nothing, Err(RollbackError::NoConflict)));
    rig.write(PAGES, "777\n");
    let report = rig.enforcer(Fault::None).keep(None).unwrap();
    assert_eq!(report.items[0].outcome, RollbackOutcome::Kept);
    assert_eq!(report.items[0].found, Some(value("777")));
    assert_eq!(rig.entries()[0].state, EntryState::GivenUp);
    let journal = rig.read("state/journal/journal.jsonl");
    assert!(journal.contains("\"how\":\"kept\",\"found\":\"777\""));
    assert!(
        rig.roll_back(&RollbackSelection::All, true)
            .items
            .is_empty()
    );
    assert_eq!(rig.read(PAGES), "777\n");
}

#[test]
fn a_change_that_is_named_is_given_up_without_a_conflict() {
    let rig = Rig::new();
    rig.apply(&pages("100", "1000")).unwrap();
    let id = rig.entries()[0].id;
    let report = rig.enforcer(Fault::None).keep(Some(id)).unwrap();
    assert_eq!(report.items[0].outcome, RollbackOutcome::Kept);
    assert!(
        rig.roll_back(&RollbackSelection::All, false)
            .items
            .is_empty()
    );
    assert_eq!(rig.read(PAGES), "1000\n");
    let again = rig.roll_back(&RollbackSelection::Id(id), true);
    assert_eq!(again.items[0].outcome, RollbackOutcome::Kept);
    assert!(rig.enforcer(Fault::None).keep(Some(99)).is_err());
}

#[test]
fn a_conflict_that_went_away_is_rolled_back() {
    let rig = Rig::new();
    rig.apply(&pages("100", "1000")).unwrap();
    rig.write(PAGES, "777\n");
    rig.roll_back(&RollbackSelection::All, false);
    rig.write(PAGES, "1000\n");
    let report = rig.roll_back(&RollbackSelection::All, false);
    assert_eq!(report.items[0].outcome, RollbackOutcome::Restored);
    assert!(!report.items[0].overrode);
}

#[test]
fn an_earlier_limit_of_an_administrator_comes_back() {
    let rig = Rig::new();
    let knob = file_knob(&rig, "/web", CgroupFile::MemoryMax);
    rig.apply(&plan([step(knob, Some("314572800"), Some("209715200"))]))
        .unwrap();
    assert_eq!(rig.read(MAX), "209715200\n");
    rig.roll_back(&RollbackSelection::All, false);
    assert_eq!(rig.read(MAX), "314572800\n");
}

#[test]
fn a_limit_that_would_kill_is_not_restored_without_force() {
    let rig = Rig::new();
    let knob = file_knob(&rig, "/web", CgroupFile::MemoryMax);
    rig.apply(&plan([step(knob, Some("314572800"), Some("max"))]))
        .unwrap();
    rig.write("cgroup/web/memory.current", "400000000\n");
    let report = rig.roll_back(&RollbackSelection::All, false);
    let outcome = &report.items[0].outcome;
    assert!(
        matches!(outcome, RollbackOutcome::Failed(why) if why.contains("kill")),
        "{outcome:?}"
    );
    assert_eq!(rig.read(MAX), "max\n");
    let report = rig.roll_back(&RollbackSelection::All, true);
    assert_eq!(report.items[0].outcome, RollbackOutcome::Restored);
    assert_eq!(rig.read(MAX), "314572800\n");
}

#[test]
fn changes_of_one_setting_chain_back_newest_first() {
    let rig = Rig::new();
    rig.apply(&pages("100", "1000")).unwrap();
    rig.apply(&pages("1000", "5000")).unwrap();
    let report = rig.roll_back(&RollbackSelection::All, false);
    assert!(report.items[0].id > report.items[1].id);
    for item in &report.items {
        assert_eq!(item.outcome, RollbackOutcome::Restored);
    }
    assert_eq!(rig.read(PAGES), "100\n");
}

#[test]
fn a_value_in_between_is_never_written_again() {
    let rig = Rig::new();
    let high = || file_knob(&rig, "/web", CgroupFile::MemoryHigh);
    // 50 MiB are in use: the first limit squeezes, the second step lets go.
    rig.apply(&plan([
        step(high(), Some("max"), Some("41943040")),
        step(high(), Some("41943040"), Some("max")),
    ]))
    .unwrap();
    let report = rig.roll_back(&RollbackSelection::All, false);
    assert_eq!(report.items.len(), 2);
    for item in &report.items {
        assert_eq!(item.outcome, RollbackOutcome::AlreadyRestored);
    }
    let counters = rig.counters.borrow();
    assert_eq!((counters.sets, counters.jobs.len()), (0, 0));
    assert_eq!(rig.read("cgroup/web/memory.high"), "max\n");
}

#[test]
fn a_foreign_value_between_two_changes_of_ours_is_kept() {
    for selection in [RollbackSelection::All, RollbackSelection::Id(2)] {
        let rig = Rig::new();
        rig.apply(&pages("100", "1000")).unwrap();
        rig.write(PAGES, "777\n");
        rig.apply(&pages("777", "5000")).unwrap();
        let report = rig.roll_back(&selection, false);
        let last = report.items.last().unwrap();
        assert_eq!(last.outcome, RollbackOutcome::Conflict);
        let now = if selection == RollbackSelection::All {
            "777\n"
        } else {
            "5000\n"
        };
        assert_eq!(rig.read(PAGES), now);
    }
}

#[test]
fn undoing_a_buried_change_is_done_by_the_one_on_top() {
    let rig = Rig::new();
    let first = rig.apply(&pages("100", "1000")).unwrap().journal_ids[0];
    let second = rig.apply(&pages("1000", "5000")).unwrap().journal_ids[0];
    let report = rig.roll_back(&RollbackSelection::Id(first), false);
    assert_eq!(report.items[0].outcome, RollbackOutcome::MergedInto(second));
    assert_eq!(rig.read(PAGES), "5000\n");
    let report = rig.roll_back(&RollbackSelection::Id(second), false);
    assert_eq!(report.items[0].outcome, RollbackOutcome::Restored);
    assert_eq!(rig.read(PAGES), "100\n");
}

#[test]
fn a_reused_pid_is_not_touched() {
    let rig = Rig::new();
    let oom = plan([step(
        Knob::OomScoreAdj { process: PROCESS },
        Some("17"),
        Some("500"),
    )]);
    rig.apply(&oom).unwrap();
    let other = ProcessId {
        start_time_ticks: 2000,
        ..PROCESS
    };
    rig.add_process(other, "/");
    rig.write("proc/4242/oom_score_adj", "500\n");
    let report = rig.roll_back(&RollbackSelection::All, true);
    assert_eq!(report.items[0].outcome, RollbackOutcome::Gone);
    assert_eq!(rig.read("proc/4242/oom_score_adj"), "500\n");
    assert!(matches!(rig.apply(&oom), Err(ApplyError::Knob { .. })));
}

#[test]
fn a_process_that_ended_is_no_error() {
    let rig = Rig::new();
    rig.apply(&plan([step(
        Knob::OomScoreAdj { process: PROCESS },
        Some("17"),
        Some("500"),
    )]))
    .unwrap();
    fs::remove_dir_all(rig.path("proc/4242")).unwrap();
    let report = rig.roll_back(&RollbackSelection::All, false);
    assert_eq!(report.items[0].outcome, RollbackOutcome::Gone);
    assert!(
        rig.roll_back(&RollbackSelection::All, false)
            .items
            .is_empty()
    );
}

#[test]
fn a_cgroup_made_again_under_the_same_path_is_not_touched() {
    let rig = Rig::new();
    let knob = file_knob(&rig, "/web", CgroupFile::MemoryMax);
    // As in a plan that makes the cgroup itself: the id is found on the way.
    let unnamed = Knob::CgroupFile {
        cgroup: super::rig::cgroup("/web"),
        id: None,
        file: CgroupFile::MemoryMax,
    };
    rig.apply(&plan([step(unnamed, Some("314572800"), Some("209715200"))]))
        .unwrap();
    // Kept aside, so that its inode number cannot be used again.
    fs::rename(rig.path("cgroup/web"), rig.path("old")).unwrap();
    fs::create_dir(rig.path("cgroup/web")).unwrap();
    rig.write(MAX, "209715200\n");
    let report = rig.roll_back(&RollbackSelection::All, true);
    assert_eq!(report.items[0].outcome, RollbackOutcome::Gone);
    assert_eq!(rig.read(MAX), "209715200\n");
    let again = rig.apply(&plan([step(knob, Some("209715200"), Some("max"))]));
    assert!(matches!(again, Err(ApplyError::Knob { .. })));
}

#[test]
fn records_of_another_boot_are_void() {
    let rig = Rig::new();
    rig.apply(&pages("100", "1000")).unwrap();
    rig.write(
        "proc/sys/kernel/random/boot_id",
        "22222222-2222-4222-8222-222222222222\n",
    );
    let report = rig.roll_back(&RollbackSelection::All, true);
    assert_eq!(report.items[0].outcome, RollbackOutcome::VoidOtherBoot);
    assert_eq!(rig.read(PAGES), "1000\n");
    assert_eq!(rig.entries()[0].state, EntryState::Void);
}

#[test]
fn a_setting_that_changed_since_the_plan_refuses_it_whole() {
    let rig = Rig::new();
    rig.write(PAGES, "321\n");
    let before = rig.kernel_state();
    let plan = plan([
        step(ksm(KsmFile::Run), Some("0"), Some("1")),
        step(ksm(KsmFile::PagesToScan), Some("100"), Some("1000")),
    ]);
    let refused = rig.apply(&plan).unwrap_err();
    assert!(
        matches!(&refused, ApplyError::Changed { found, .. } if found == "321"),
        "{refused}"
    );
    assert_eq!(rig.kernel_state(), before);
    assert!(rig.entries().is_empty());
}

#[test]
fn a_step_whose_thing_is_missing_refuses_the_plan_whole() {
    let rig = Rig::new();
    fs::remove_file(rig.path(PAGES)).unwrap();
    let before = rig.kernel_state();
    let plan = plan([
        step(ksm(KsmFile::Run), Some("0"), Some("1")),
        step(ksm(KsmFile::PagesToScan), Some("100"), Some("1000")),
    ]);
    let refused = rig.apply(&plan).unwrap_err();
    assert_eq!(
        refused.refusal_kind(),
        grey_model::RefusalKind::NotSupported
    );
    assert_eq!(rig.kernel_state(), before);
    assert_eq!(rig.read(RUN), "0\n");
}

#[test]
fn unmerging_is_never_written_by_itself() {
    let rig = Rig::new();
    let applied = rig
        .apply(&plan([step(ksm(KsmFile::Run), Some("0"), Some("2"))]))
        .unwrap();
    assert_eq!(applied.effects[0].verdict, grey_model::Verdict::Failed);
    assert_eq!(rig.read(RUN), "0\n");
}

#[test]
fn the_controller_stays_while_somebody_has_a_limit_below_it() {
    let rig = Rig::new();
    fs::create_dir_all(rig.path("cgroup/user/theirs")).unwrap();
    rig.write("cgroup/user/cgroup.subtree_control", "\n");
    let knob = Knob::MemoryController {
        cgroup: super::rig::cgroup("/user"),
    };
    rig.apply(&plan([step(knob, Some("-memory"), Some("+memory"))]))
        .unwrap();
    rig.write("cgroup/user/theirs/memory.max", "1048576\n");
    let report = rig.roll_back(&RollbackSelection::All, false);
    let outcome = &report.items[0].outcome;
    assert!(
        matches!(outcome, RollbackOutcome::Failed(why) if why.contains("theirs has memory.max")),
        "{outcome:?}"
    );
    rig.write("cgroup/user/theirs/memory.max", "max\n");
    let report = rig.roll_back(&RollbackSelection::All, false);
    assert_eq!(report.items[0].outcome, RollbackOutcome::Restored);
    assert_eq!(rig.read("cgroup/user/cgroup.subtree_control"), "\n");
}

#[test]
fn stopping_ksm_writes_the_earlier_zero() {
    let rig = Rig::new();
    rig.apply(&plan([step(ksm(KsmFile::Run), Some("0"), Some("1"))]))
        .unwrap();
    assert_eq!(rig.read(RUN), "1\n");
    rig.roll_back(&RollbackSelection::All, false);
    assert_eq!(rig.read(RUN), "0\n");
}
