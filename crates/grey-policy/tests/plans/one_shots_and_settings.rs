//! Facts about reclaim, page-out, drop_caches, KSM, oom_score_adj, RLIMIT_DATA.

use crate::machine::*;
use grey_model::*;

#[test]
fn reclaim_predicts_no_more_than_the_kernel_can_take() {
    let asked = Action::Reclaim { amount: mib(100) };
    assert_eq!(steps(&machine(), asked)[0].predicted, Some(mib(100)));
    let facts = PreflightFacts {
        swap_devices: Vec::new(),
        ..machine()
    };
    let plan = plan(&facts, asked).unwrap();
    assert_eq!(plan.steps[0].predicted, Some(mib(42)));
    assert!(plan.warnings[0].contains("no swap"), "{plan:?}");
}

#[test]
fn reclaim_where_the_kernel_cannot_is_not_supported() {
    let mut facts = machine();
    facts.features.memory_reclaim = false;
    let refusal = refusal(&facts, Action::Reclaim { amount: mib(1) });
    assert_eq!(refusal.kind, RefusalKind::NotSupported);
    assert!(refusal.reason.contains("5.19"));
}

#[test]
fn page_out_predicts_what_fits_into_swap() {
    assert_eq!(
        steps(&machine(), Action::PageOut)[0].predicted,
        Some(mib(155))
    );
    let facts = PreflightFacts {
        swap_devices: vec![swap(mib(30))],
        ..machine()
    };
    assert_eq!(steps(&facts, Action::PageOut)[0].predicted, Some(mib(35)));
}

#[test]
fn page_out_without_swap_says_that_anonymous_memory_stays() {
    let facts = PreflightFacts {
        swap_devices: Vec::new(),
        ..machine()
    };
    let plan = plan(&facts, Action::PageOut).unwrap();
    assert_eq!(plan.steps[0].predicted, Some(mib(5)));
    assert!(plan.warnings[0].contains("no swap"), "{plan:?}");
}

#[test]
fn page_out_leaves_zombies_and_kernel_threads_out() {
    let mut facts = machine();
    let zombie = ProcessMemory {
        state: ProcessState::Zombie,
        ..process(78)
    };
    let thread = ProcessMemory {
        kernel_thread: true,
        ..process(79)
    };
    facts.processes.extend([zombie, thread]);
    let Change::Once {
        shot: OneShot::PageOut { processes },
    } = &steps(&facts, Action::PageOut)[0].change
    else {
        panic!()
    };
    assert_eq!(*processes, [id(77)]);
}

#[test]
fn drop_caches_does_not_promise_mapped_pages_or_tmpfs() {
    let drop = Action::DropCaches {
        what: DropCaches::PageCache,
    };
    assert_eq!(steps(&machine(), drop)[0].predicted, Some(mib(230)));
    let mut facts = machine();
    facts.meminfo.shmem = Some(mib(290));
    facts.meminfo.active_file = Some(mib(5));
    facts.meminfo.inactive_file = Some(mib(5));
    let plan = plan(&facts, drop).unwrap();
    assert_eq!(plan.steps[0].predicted, Some(Bytes::ZERO));
    assert!(
        plan.warnings
            .iter()
            .any(|warning| warning.contains("tmpfs")),
        "{plan:?}"
    );
}

fn ksm_changes(facts: &PreflightFacts, speed: KsmSpeed) -> Vec<(String, String, String)> {
    steps(facts, Action::EnableKsm { speed })
        .into_iter()
        .map(|step| match step.change {
            Change::Set {
                knob,
                before,
                after,
            } => (knob.to_string(), before.unwrap().0, after.unwrap().0),
            Change::Once { .. } => panic!("KSM is a setting"),
        })
        .collect()
}

#[test]
fn the_ksm_advisor_stops_before_the_speed_is_set() {
    let mut facts = machine();
    facts.ksm.as_mut().unwrap().advisor_mode = Some("scan-time".to_owned());
    let changes = ksm_changes(&facts, KsmSpeed::Aggressive);
    let names: Vec<&str> = changes.iter().map(|change| change.0.as_str()).collect();
    let all = ["advisor_mode", "pages_to_scan", "sleep_millisecs", "run"];
    assert_eq!(names, all.map(|file| format!("ksm/{file}")));
}

#[test]
fn ksm_that_already_scans_faster_is_not_slowed_down() {
    let mut facts = machine();
    facts.ksm.as_mut().unwrap().pages_to_scan = Some(20_000);
    facts.ksm.as_mut().unwrap().run = Some(1);
    // What is so already is asked for again: a lease may be about to end it.
    let changes = ksm_changes(&facts, KsmSpeed::Aggressive);
    let of = |name: &str| changes.iter().find(|change| change.0 == name).unwrap();
    for name in ["ksm/pages_to_scan", "ksm/run"] {
        let (_, before, after) = of(name);
        assert_eq!(before, after, "{name}");
    }
}

#[test]
fn ksm_is_not_supported_where_the_kernel_has_none() {
    let facts = PreflightFacts {
        ksm: None,
        ..machine()
    };
    let refusal = refusal(
        &facts,
        Action::EnableKsm {
            speed: KsmSpeed::AsIs,
        },
    );
    assert_eq!(refusal.kind, RefusalKind::NotSupported);
}

#[test]
fn lowering_an_oom_score_without_the_capability_is_left_to_the_kernel_and_warned_of() {
    let mut facts = machine();
    facts.privileges.sys_resource = false;
    let raised = plan(&facts, Action::OomScoreAdj { value: 500 }).unwrap();
    assert_eq!(raised.warnings, Vec::<String>::new());
    let lowered = plan(&facts, Action::OomScoreAdj { value: -1 }).unwrap();
    assert!(lowered.warnings[0].contains("CAP_SYS_RESOURCE"));
    assert!(!lowered.steps.is_empty());
}

#[test]
fn a_ksm_that_was_unmerging_is_told_to_be_stopped_by_the_undo() {
    let mut facts = machine();
    facts.ksm.as_mut().unwrap().run = Some(2);
    let steps = steps(
        &facts,
        Action::EnableKsm {
            speed: KsmSpeed::AsIs,
        },
    );
    assert!(
        steps[0].undo.starts_with("stop it with 0"),
        "{}",
        steps[0].undo
    );
}

#[test]
fn an_oom_score_out_of_range_is_a_usage_error() {
    assert_eq!(
        refusal(&machine(), Action::OomScoreAdj { value: 1001 }).kind,
        RefusalKind::Usage
    );
}

fn process_target() -> PreflightFacts {
    PreflightFacts {
        target: Some(target(TargetKind::Process, "/web", Owner::Nobody)),
        ..machine()
    }
}

#[test]
fn an_rlimit_keeps_the_hard_limit() {
    let mut facts = process_target();
    facts.rlimit_data = Some(format!("unlimited:{}", mib(900).0));
    let steps = steps(&facts, Action::RlimitData { limit: mib(500) });
    let Change::Set { before, after, .. } = &steps[0].change else {
        panic!()
    };
    assert_eq!(
        before.as_ref().unwrap().0,
        format!("unlimited:{}", mib(900).0)
    );
    assert_eq!(
        after.as_ref().unwrap().0,
        format!("{}:{}", mib(500).0, mib(900).0)
    );
    assert_eq!(
        refusal(&facts, Action::RlimitData { limit: mib(901) }).kind,
        RefusalKind::Usage
    );
}

#[test]
fn an_rlimit_under_what_is_in_use_is_refused() {
    let refusal = refusal(&process_target(), Action::RlimitData { limit: mib(171) });
    assert_eq!(refusal.kind, RefusalKind::Unsafe);
}

#[test]
fn the_hint_of_a_refused_rlimit_is_an_option_as_it_is_typed() {
    let mut facts = process_target();
    let low = refusal(&facts, Action::RlimitData { limit: mib(171) }).hint;
    assert!(low.ends_with("use at least --rlimit-data 179M"), "{low}");
    facts.rlimit_data = Some(format!("unlimited:{}", mib(900).0));
    let high = refusal(&facts, Action::RlimitData { limit: mib(901) }).hint;
    assert_eq!(high, "use at most --rlimit-data 943718400");
}

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
    let Change::Once {
        shot: OneShot::PageOut { processes },
    } = &steps(&facts, Action::PageOut)[0].change
    else {
        panic!()
    };
    assert_eq!(*processes, [id(77)]);
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
fn reclaim_from_the_root_is_refused_at_planning() {
    let mut facts = machine();
    facts.cgroup = Some(group("/"));
    let refusal = refusal(&facts, Action::Reclaim { amount: mib(10) });
    assert_eq!(refusal.kind, RefusalKind::NotSupported);
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

#[test]
fn an_action_without_its_target_is_a_usage_error() {
    let facts = PreflightFacts {
        target: None,
        ..machine()
    };
    assert_eq!(refusal(&facts, Action::PageOut).kind, RefusalKind::Usage);
    assert!(
        plan(
            &facts,
            Action::DropCaches {
                what: DropCaches::Slab
            }
        )
        .is_ok()
    );
}

#[test]
fn one_refusal_stops_the_whole_plan() {
    let facts = PreflightFacts {
        ksm: None,
        ..machine()
    };
    let actions = [
        Action::PageOut,
        Action::EnableKsm {
            speed: KsmSpeed::AsIs,
        },
    ];
    assert!(grey_policy::plan(&request(&actions), &facts).is_err());
}

#[test]
fn the_cheapest_means_come_first() {
    let facts = machine();
    let limit = Action::Limit {
        limit: MemoryLimit::Bytes(mib(250)),
    };
    let actions = [limit, Action::PageOut, Action::Reclaim { amount: mib(5) }];
    let plan = grey_policy::plan(&request(&actions), &facts).unwrap();
    let order: Vec<&str> = plan.steps.iter().map(|step| step.action.as_str()).collect();
    assert_eq!(order, ["reclaim", "page_out", "limit"]);
}

mod any_facts {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_planned_limit_never_lies_under_what_cannot_be_reclaimed(
            current in 0u64..4096,
            anonymous in 0u64..4096,
            file in 0u64..4096,
            swap_size in 0u64..4096,
            asked in 1u64..4096,
        ) {
            let mut facts = machine();
            facts.swap_devices = vec![swap(mib(swap_size))];
            let group = facts.cgroup.as_mut().unwrap();
            group.current = Some(mib(current));
            group.stat = Some(CgroupMemoryStat {
                inactive_anon: Some(mib(anonymous)),
                inactive_file: Some(mib(file)),
                ..Default::default()
            });
            let limit = Action::Limit { limit: MemoryLimit::Bytes(mib(asked)) };
            if let Ok(plan) = plan(&facts, limit) {
                let stuck = current.saturating_sub(file + anonymous.min(swap_size));
                prop_assert!(asked >= 64);
                prop_assert!(stuck <= asked, "{plan:?}");
                let last = plan.steps.last().unwrap();
                prop_assert!(!last.guards.is_empty());
            }
        }
    }
}

fn predictions(facts: &PreflightFacts, actions: &[Action]) -> Vec<(String, Option<Bytes>)> {
    grey_policy::plan(&request(actions), facts)
        .unwrap()
        .steps
        .into_iter()
        .map(|step| (step.action, step.predicted))
        .collect()
}

#[test]
fn memory_that_an_earlier_step_takes_is_not_predicted_again() {
    let mut facts = machine();
    // Nothing but what its processes map: all steps are after the same memory.
    let stat = facts.cgroup.as_mut().unwrap().stat.as_mut().unwrap();
    stat.file_mapped = Some(mib(40));
    let limit = Action::Limit {
        limit: MemoryLimit::Bytes(mib(150)),
    };
    let reclaim = Action::Reclaim { amount: mib(30) };
    let alone = predictions(&facts, &[limit]);
    assert!(alone[0].1.unwrap() > mib(70), "{alone:?}");
    let together = predictions(&facts, &[limit, reclaim, Action::PageOut]);
    let named = |name: &str, amount| (name.to_owned(), amount);
    assert_eq!(
        together,
        [
            named("reclaim", Some(mib(30))),
            named("page_out", Some(mib(125))),
            named("limit", Some(Bytes::ZERO)),
            named("limit", None),
        ]
    );
    let less = predictions(&facts, &[limit, reclaim]);
    let left = alone[0].1.unwrap().saturating_sub(mib(30));
    assert_eq!(less[1].1, Some(left));
}

#[test]
fn cache_that_is_dropped_is_not_reclaimed_again() {
    let drop = Action::DropCaches {
        what: DropCaches::PageCache,
    };
    let reclaim = Action::Reclaim { amount: mib(190) };
    let plan = predictions(&machine(), &[reclaim, drop, Action::PageOut]);
    // 192 MiB can be reclaimed, 40 of it cache that nobody maps.
    let amounts: Vec<_> = plan.into_iter().map(|(_, amount)| amount).collect();
    assert_eq!(amounts, [Some(mib(230)), Some(mib(152)), Some(mib(3))]);
}

#[test]
fn the_steps_themselves_do_not_rely_on_what_earlier_ones_should_bring() {
    let limit = Action::Limit {
        limit: MemoryLimit::Bytes(mib(150)),
    };
    let amount = |actions: &[Action]| {
        let plan = grey_policy::plan(&request(actions), &machine()).unwrap();
        plan.steps.iter().rev().find_map(|step| match &step.change {
            Change::Once {
                shot: OneShot::Reclaim { amount, .. },
            } => Some(*amount),
            _ => None,
        })
    };
    let reclaim = Action::Reclaim { amount: mib(150) };
    assert_eq!(amount(&[limit]), amount(&[limit, reclaim]));
}

fn zram(original: Bytes, memory_used: Bytes) -> Zram {
    Zram {
        name: "zram0".to_owned(),
        disk_size: mib(512),
        original,
        stored: memory_used,
        memory_used,
        memory_limit: None,
        same_pages: None,
        huge_pages: None,
        algorithm: None,
    }
}

#[test]
fn zram_that_compresses_badly_is_warned_of_before_memory_goes_there() {
    let warned = |device: Zram, action| {
        let facts = PreflightFacts {
            zram: vec![device],
            ..machine()
        };
        let plan = plan(&facts, action).unwrap();
        plan.warnings
            .iter()
            .any(|warning| warning.contains("zram keeps"))
    };
    let all = Action::Reclaim { amount: mib(100) };
    assert!(warned(zram(mib(100), mib(98)), Action::PageOut));
    assert!(warned(zram(mib(100), mib(98)), all));
    assert!(!warned(zram(mib(100), mib(30)), all));
    // Too little in it to judge by, and another device.
    assert!(!warned(zram(mib(8), mib(8)), all));
    let other = Zram {
        name: "zram1".to_owned(),
        ..zram(mib(100), mib(98))
    };
    assert!(!warned(other, all));
    // The page cache suffices.
    let little = Action::Reclaim { amount: mib(20) };
    assert!(!warned(zram(mib(100), mib(98)), little));
}

#[test]
fn a_user_pages_out_an_own_process_with_one_capability() {
    let mut facts = machine();
    facts.privileges = Privileges {
        sys_nice: true,
        ..Privileges::default()
    };
    assert_eq!(steps(&facts, Action::PageOut).len(), 1);
    facts.processes.push(ProcessMemory {
        pss: None,
        uss: None,
        ..process(78)
    });
    let closed = refusal(&facts, Action::PageOut);
    assert_eq!(closed.kind, RefusalKind::NotPermitted);
    assert!(closed.reason.contains("CAP_SYS_PTRACE"), "{closed:?}");
    facts.privileges.sys_ptrace = true;
    assert_eq!(steps(&facts, Action::PageOut).len(), 1);
    facts.privileges.sys_nice = false;
    let refused = refusal(&facts, Action::PageOut);
    assert!(refused.reason.contains("CAP_SYS_NICE"), "{refused:?}");
}

#[test]
fn an_rlimit_is_undone_to_a_size_that_people_can_read() {
    let facts = PreflightFacts {
        rlimit_data: Some("524288000:unlimited".to_owned()),
        target: Some(target(TargetKind::Process, "/web", Owner::Nobody)),
        ..machine()
    };
    let action = Action::RlimitData { limit: mib(400) };
    let undo = &steps(&facts, action)[0].undo;
    assert_eq!(undo, "set it back to 500.0 MiB:unlimited");
}

/// `/web` with 30 MiB that were last seen in use more than 5 minutes ago, and
/// 120 MiB seen a minute ago.
fn partly_cold() -> PreflightFacts {
    let generation = |number, age, anonymous| Generation {
        number,
        age: std::time::Duration::from_secs(age),
        anonymous: mib(anonymous),
        file: Bytes::ZERO,
    };
    PreflightFacts {
        generations: Some(vec![GenerationList {
            cgroup: path("/web"),
            memcg: 3,
            node: 0,
            generations: vec![
                generation(4, 900, 30),
                generation(5, 400, 0),
                generation(6, 60, 120),
            ],
        }]),
        ..machine()
    }
}

#[test]
fn a_reclaim_says_what_of_it_is_cold_and_warns_of_more() {
    let asked = |amount| Action::Reclaim { amount };
    let cheap = plan(&partly_cold(), asked(mib(30))).unwrap();
    assert!(
        cheap.steps[0]
            .reason
            .ends_with("; 30.0 MiB was not seen in use for 5 minutes"),
        "{cheap:?}"
    );
    assert_eq!(cheap.warnings, Vec::<String>::new());
    let dear = plan(&partly_cold(), asked(mib(31))).unwrap();
    assert!(
        dear.warnings[0].starts_with("only 30.0 MiB of 31.0 MiB was not seen in use"),
        "{dear:?}"
    );
}

#[test]
fn a_page_out_warns_of_what_is_in_use() {
    let plan = plan(&partly_cold(), Action::PageOut).unwrap();
    assert!(
        plan.warnings[0].starts_with("only 30.0 MiB of 155.0 MiB was not seen in use"),
        "{plan:?}"
    );
}

#[test]
fn where_nobody_looked_for_use_nothing_is_said_of_it() {
    let mut facts = partly_cold();
    for list in facts.generations.iter_mut().flatten() {
        for generation in &mut list.generations {
            generation.age = std::time::Duration::from_secs(900);
        }
    }
    let silent = plan(&facts, Action::Reclaim { amount: mib(100) }).unwrap();
    assert!(
        !silent.steps[0].reason.contains("seen in use"),
        "{silent:?}"
    );
    assert_eq!(silent.warnings, Vec::<String>::new());
}

#[test]
fn what_is_cold_of_a_shared_cgroup_is_not_one_processs() {
    let mut facts = partly_cold();
    let mut shared = target(TargetKind::Process, "/web", Owner::Nobody);
    shared.bystanders = 1;
    facts.target = Some(shared);
    let plan = plan(&facts, Action::PageOut).unwrap();
    assert!(!plan.steps[0].reason.contains("seen in use"), "{plan:?}");
}
