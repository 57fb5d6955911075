//! Facts about plans for `memory.high` and `memory.max`.

use crate::machine::*;
use grey_model::*;

const fn limit(count: u64) -> Action {
    Action::Limit {
        limit: MemoryLimit::Bytes(Bytes::from_mib(count)),
    }
}

const fn high(count: u64) -> Action {
    Action::High {
        limit: MemoryLimit::Bytes(Bytes::from_mib(count)),
    }
}

fn without_swap() -> PreflightFacts {
    PreflightFacts {
        swap_devices: Vec::new(),
        ..machine()
    }
}

#[test]
fn a_limit_above_usage_is_one_step_that_remembers_the_old_value() {
    let steps = steps(&machine(), limit(250));
    assert_eq!(steps.len(), 1);
    let Change::Set {
        knob,
        before,
        after,
    } = &steps[0].change
    else {
        panic!("{steps:?}")
    };
    let expected = Knob::CgroupFile {
        cgroup: path("/web"),
        id: Some(CgroupId(42)),
        file: CgroupFile::MemoryMax,
    };
    assert_eq!(*knob, expected);
    assert_eq!(*before, Some(KnobValue(mib(300).0.to_string())));
    assert_eq!(*after, Some(KnobValue(mib(250).0.to_string())));
}

#[test]
fn a_limit_within_ten_percent_of_usage_reclaims_first() {
    let steps = steps(&machine(), limit(210));
    assert!(matches!(
        &steps[0].change,
        Change::Once {
            shot: OneShot::Reclaim { .. }
        }
    ));
    assert!(matches!(&steps[1].change, Change::Set { .. }));
}

#[test]
fn a_limit_below_usage_reclaims_and_is_guarded() {
    let steps = steps(&machine(), limit(110));
    let Change::Once {
        shot: OneShot::Reclaim { until, amount, .. },
    } = &steps[0].change
    else {
        panic!("{steps:?}");
    };
    // The guard asks for 100 MiB, reclaim goes a little lower.
    assert_eq!(*until, Some(mib(100).scale(15, 16)));
    assert_eq!(*amount, mib(200).saturating_sub(mib(100).scale(15, 16)));
    let guard = Guard::UsageAtMost {
        cgroup: path("/web"),
        ceiling: mib(100),
    };
    assert_eq!(steps[1].guards, [guard]);
    assert!(steps[1].may_block);
}

#[test]
fn a_limit_below_usage_without_swap_is_refused() {
    let refusal = refusal(&without_swap(), limit(110));
    assert_eq!(refusal.kind, RefusalKind::Unsafe);
    assert!(refusal.hint.contains("zram"), "{}", refusal.hint);
}

#[test]
fn the_hint_of_a_refused_limit_names_a_limit_that_is_accepted() {
    let facts = without_swap();
    let hint = refusal(&facts, limit(110)).hint;
    let size: u64 = hint
        .strip_prefix("use at least --limit ")
        .unwrap()
        .split('M')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(plan(&facts, limit(size)).is_ok(), "{size}M was refused too");
}

#[test]
fn without_memory_reclaim_high_squeezes_and_is_put_back() {
    let mut facts = machine();
    facts.features.memory_reclaim = false;
    let steps = steps(&facts, limit(110));
    let values: Vec<_> = steps
        .iter()
        .map(|step| match &step.change {
            Change::Set {
                knob: Knob::CgroupFile { file, .. },
                before,
                after,
            } => (
                file.file_name(),
                before.clone().unwrap().0,
                after.clone().unwrap().0,
            ),
            other => panic!("{other:?}"),
        })
        .collect();
    let ceiling = mib(100).0.to_string();
    assert_eq!(
        values,
        [
            ("memory.high", "max".to_owned(), ceiling.clone()),
            ("memory.max", mib(300).0.to_string(), mib(110).0.to_string()),
            ("memory.high", ceiling, "max".to_owned()),
        ]
    );
}

#[test]
fn the_floor_holds_for_both_limits() {
    for action in [limit(63), high(63)] {
        assert_eq!(refusal(&machine(), action).kind, RefusalKind::Unsafe);
    }
    let mut facts = machine();
    facts.cgroup.as_mut().unwrap().current = Some(mib(20));
    assert!(plan(&facts, limit(64)).is_ok());
}

#[test]
fn high_that_could_never_be_met_is_refused() {
    let refusal = refusal(&without_swap(), high(100));
    assert!(
        refusal.reason.contains("throttled without end"),
        "{}",
        refusal.reason
    );
}

#[test]
fn high_below_usage_predicts_what_is_above_it() {
    let steps = steps(&machine(), high(120));
    assert_eq!(steps[0].predicted, Some(mib(80)));
    assert!(steps[0].may_block);
}

#[test]
fn lifting_a_limit_needs_no_reclaim() {
    let steps = steps(
        &without_swap(),
        Action::Limit {
            limit: MemoryLimit::Max,
        },
    );
    assert_eq!(steps.len(), 1);
    assert!(!steps[0].may_block);
}

#[test]
fn swap_that_the_group_may_not_use_is_no_room() {
    let mut facts = machine();
    facts.cgroup.as_mut().unwrap().swap_max = Some(MemoryLimit::Bytes(Bytes::ZERO));
    assert_eq!(refusal(&facts, limit(110)).kind, RefusalKind::Unsafe);
    let mut parent = group("/");
    parent.swap_max = Some(MemoryLimit::Bytes(mib(8)));
    let facts = PreflightFacts {
        ancestors: vec![parent],
        ..machine()
    };
    assert_eq!(refusal(&facts, limit(110)).kind, RefusalKind::Unsafe);
}

#[test]
fn protected_memory_below_the_target_counts_as_stuck() {
    let facts = PreflightFacts {
        protected: Some(mib(180)),
        ..machine()
    };
    assert_eq!(refusal(&facts, limit(110)).kind, RefusalKind::Unsafe);
}

#[test]
fn a_stricter_ancestor_is_named() {
    let mut parent = group("/parent");
    parent.high = Some(MemoryLimit::Bytes(mib(150)));
    let facts = PreflightFacts {
        ancestors: vec![parent],
        ..machine()
    };
    let plan = plan(&facts, limit(250)).unwrap();
    assert!(
        plan.warnings
            .iter()
            .any(|warning| warning.contains("/parent")),
        "{plan:?}"
    );
}

#[test]
fn group_kills_and_unkillable_tasks_are_warned_about() {
    let mut facts = machine();
    facts.cgroup.as_mut().unwrap().oom_group = Some(true);
    facts.process_summary.unkillable = 1;
    facts.process_summary.uninterruptible = 2;
    let plan = plan(&facts, limit(250)).unwrap();
    for word in ["oom.group", "-1000", "uninterruptible"] {
        assert!(
            plan.warnings.iter().any(|warning| warning.contains(word)),
            "{word}: {plan:?}"
        );
    }
}

#[test]
fn without_cgroup_v2_a_limit_is_not_supported() {
    for mode in [
        CgroupMode::V1,
        CgroupMode::Hybrid,
        CgroupMode::V2WithoutMemory,
        CgroupMode::None,
    ] {
        let mut facts = machine();
        facts.host.cgroup_mode = mode;
        assert_eq!(refusal(&facts, limit(250)).kind, RefusalKind::NotSupported);
    }
}

#[test]
fn without_root_nothing_is_planned() {
    let mut facts = machine();
    facts.privileges = Privileges::default();
    for action in [
        limit(250),
        high(250),
        Action::Reclaim { amount: mib(10) },
        Action::PageOut,
        Action::DropCaches {
            what: DropCaches::PageCache,
        },
        Action::EnableKsm {
            speed: KsmSpeed::AsIs,
        },
    ] {
        assert_eq!(
            refusal(&facts, action).kind,
            RefusalKind::NotPermitted,
            "{action:?}"
        );
    }
}

#[test]
fn an_unreadable_account_is_refused_instead_of_taken_for_empty() {
    let mut facts = machine();
    facts.cgroup.as_mut().unwrap().current = None;
    assert_eq!(refusal(&facts, limit(250)).kind, RefusalKind::NotSupported);
}

#[test]
fn zram_that_may_take_no_more_memory_is_no_room() {
    let zram = Zram {
        name: "zram0".to_owned(),
        disk_size: mib(512),
        original: mib(40),
        stored: mib(10),
        memory_used: mib(12),
        memory_limit: Some(mib(16)),
        same_pages: None,
        huge_pages: None,
        algorithm: None,
    };
    let facts = PreflightFacts {
        zram: vec![zram],
        ..machine()
    };
    assert_eq!(refusal(&facts, limit(110)).kind, RefusalKind::Unsafe);
}

#[test]
fn a_squeeze_gives_back_the_high_that_was_asked_for() {
    let mut facts = machine();
    facts.features.memory_reclaim = false;
    for (asked, steps) in [(150, 4), (90, 2)] {
        let plan = grey_policy::plan(&request(&[high(asked), limit(110)]), &facts).unwrap();
        assert_eq!(plan.steps.len(), steps, "{plan:#?}");
        let last = plan.steps.iter().rev().find_map(|step| match &step.change {
            Change::Set {
                knob:
                    Knob::CgroupFile {
                        file: CgroupFile::MemoryHigh,
                        ..
                    },
                after,
                ..
            } => after.clone(),
            _ => None,
        });
        assert_eq!(last, Some(KnobValue(mib(asked).0.to_string())));
    }
}

#[test]
fn a_limit_below_usage_from_inside_the_target_is_refused() {
    let facts = PreflightFacts {
        own_pid: 77,
        ..machine()
    };
    for action in [limit(110), high(120)] {
        assert!(refusal(&facts, action).reason.contains("this very command"));
    }
    assert!(plan(&facts, limit(250)).is_ok());
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
