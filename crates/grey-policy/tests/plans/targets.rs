//! Whom nothing is done to, and of whom only a part.

use crate::machine::*;
use grey_model::*;

/// The process target with this state and this many threads.
fn ended(state: ProcessState, threads: u64) -> PreflightFacts {
    let mut facts = process_target();
    for process in &mut facts.processes {
        process.state = state;
        process.threads = Some(threads);
    }
    facts
}

#[test]
fn nothing_is_done_to_a_zombie() {
    for action in [
        Action::PageOut,
        Action::Reclaim { amount: mib(10) },
        Action::OomScoreAdj { value: 100 },
        Action::RlimitData { limit: mib(500) },
        Action::Limit {
            limit: MemoryLimit::Bytes(mib(500)),
        },
    ] {
        let refusal = refusal(&ended(ProcessState::Zombie, 1), action);
        assert_eq!(refusal.kind, RefusalKind::Usage, "{action:?}");
        assert!(refusal.reason.contains("zombie"), "{}", refusal.reason);
        assert!(
            refusal.hint.ends_with(": ps -o ppid= -p 77"),
            "{}",
            refusal.hint
        );
    }
}

#[test]
fn a_process_of_which_only_the_first_thread_has_ended_is_no_zombie() {
    let facts = ended(ProcessState::Zombie, 3);
    assert!(plan(&facts, Action::OomScoreAdj { value: 100 }).is_ok());
    assert_eq!(steps(&facts, Action::PageOut).len(), 1);
}

#[test]
fn the_score_of_a_zombie_in_a_cgroup_is_left_alone() {
    let mut facts = machine();
    let living = steps(&facts, Action::OomScoreAdj { value: 100 }).len();
    facts.processes.push(ProcessMemory {
        state: ProcessState::Zombie,
        ..process(78)
    });
    assert_eq!(
        steps(&facts, Action::OomScoreAdj { value: 100 }).len(),
        living
    );
}

#[test]
fn process_1_is_never_touched() {
    let mut facts = process_target();
    let target = facts.target.as_mut().unwrap();
    target.process = Some(id(1));
    target.processes = vec![id(1)];
    assert_eq!(refusal(&facts, Action::PageOut).kind, RefusalKind::Unsafe);
}

#[test]
fn a_group_with_process_1_is_never_limited_and_paged_out_without_it() {
    let mut facts = machine();
    facts.target.as_mut().unwrap().processes = vec![id(1), id(77)];
    facts.processes = vec![process(1), process(77), process(facts.own_pid)];
    let limit = Action::Limit {
        limit: MemoryLimit::Bytes(mib(250)),
    };
    for action in [limit, Action::OomScoreAdj { value: 5 }] {
        assert_eq!(refusal(&facts, action).kind, RefusalKind::Unsafe);
    }
    assert_eq!(paged_out(&facts), [id(77)]);
}

#[test]
fn a_slice_is_known_to_hold_several_units() {
    let owner = Owner::SystemdUnit {
        unit: "system.slice".to_owned(),
    };
    let mut facts = machine();
    facts.target = Some(target(TargetKind::Unit, "/system.slice", owner));
    let plan = plan(&facts, Action::OomScoreAdj { value: 5 }).unwrap();
    assert!(plan.warnings[0].contains("several units"), "{plan:?}");
}

#[test]
fn a_kernel_thread_has_nothing_to_take() {
    let mut facts = process_target();
    facts.process_summary.kernel_threads = 1;
    assert_eq!(
        refusal(&facts, Action::PageOut).kind,
        RefusalKind::NotSupported
    );
}
