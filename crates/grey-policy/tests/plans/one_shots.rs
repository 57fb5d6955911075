//! One-shots: what they predict, and what they warn of.

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
    assert_eq!(paged_out(&facts), [id(77)]);
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

#[test]
fn reclaim_from_the_root_is_refused_at_planning() {
    let mut facts = machine();
    facts.cgroup = Some(group("/"));
    let refusal = refusal(&facts, Action::Reclaim { amount: mib(10) });
    assert_eq!(refusal.kind, RefusalKind::NotSupported);
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
