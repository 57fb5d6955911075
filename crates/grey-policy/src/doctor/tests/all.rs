//! What holds for all rules together, and for facts that nobody expected.

use grey_model::{Bytes, Meminfo, Reading, SwapKind};

use super::super::CheckState::{Note, Ok, Problem, Unknown, Warning};
use super::super::{CheckState, RULES, examine};
use super::machine::{assert_sides, device, found, meminfo, value, well};

#[test]
fn on_a_sound_machine_everything_is_well_and_nothing_is_to_be_done() {
    let findings = examine(&well());
    assert_eq!(findings.len(), RULES.len());
    for finding in findings {
        assert_eq!(finding.state, Ok, "{finding:?}");
        assert_eq!(finding.remedy, None, "{finding:?}");
    }
}

#[test]
fn each_check_has_a_name_of_its_own() {
    let mut names: Vec<&str> = examine(&well()).iter().map(|one| one.check).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), RULES.len());
}

#[test]
fn the_worst_comes_first_and_the_order_of_the_rules_holds_within_a_state() {
    let mut facts = well();
    facts.setup.vm.vfs_cache_pressure = Reading::Known(0);
    facts.setup.vm.oom_kill_allocating_task = Reading::Known(1);
    facts.setup.damon = Reading::Absent;
    facts.setup.host.kernel = None;
    facts.setup.vm.panic_on_oom = Reading::Known(2);
    let findings = examine(&facts);
    let first: Vec<(&str, CheckState)> = findings
        .iter()
        .take(6)
        .map(|finding| (finding.check, finding.state))
        .collect();
    assert_eq!(
        first,
        [
            ("vfs_cache_pressure", Problem),
            ("panic_on_oom", Problem),
            ("kill_allocating_task", Warning),
            ("damon", Note),
            ("kernel", Unknown),
            ("container", Ok),
        ]
    );
}

#[test]
fn what_could_not_be_read_is_never_well() {
    let mut facts = well();
    let why = || "why not".to_owned();
    let setup = &mut facts.setup;
    setup.host.kernel = None;
    setup.meminfo = Reading::Unknown(why());
    setup.pressure = Reading::Unknown(why());
    setup.swap = Reading::Unknown(why());
    setup.zram = Reading::Unknown(why());
    setup.zswap = Reading::Unknown(why());
    setup.ksm = Reading::Unknown(why());
    setup.huge_pages.enabled = Reading::Unknown(why());
    setup.huge_pages.defrag = Reading::Unknown(why());
    setup.mglru = Reading::Unknown(why());
    setup.damon = Reading::Unknown(why());
    setup.pagemap_scan = Reading::Unknown(why());
    let vm = &mut setup.vm;
    for setting in [
        &mut vm.swappiness,
        &mut vm.page_cluster,
        &mut vm.min_free_kib,
        &mut vm.watermark_scale_factor,
        &mut vm.vfs_cache_pressure,
        &mut vm.overcommit_memory,
        &mut vm.panic_on_oom,
        &mut vm.oom_kill_allocating_task,
    ] {
        *setting = Reading::Unknown(why());
    }
    setup.capabilities = Reading::Unknown(why());
    setup.limits = Reading::Unknown(why());
    setup.daemons = Reading::Unknown(why());
    setup.own_limit = Reading::Unknown(why());
    facts.state.directory = Reading::Unknown(why());
    facts.state.journal = Reading::Unknown(why());
    facts.state.history = Reading::Unknown(why());
    facts.state.disk = Reading::Unknown(why());
    // What is no reading of a file is known all the same.
    let known = [
        "container",
        "control_groups",
        "memory_reclaim",
        "process_madvise",
        "hidden_processes",
    ];
    for finding in examine(&facts) {
        let expected = if known.contains(&finding.check) {
            Ok
        } else {
            Unknown
        };
        assert_eq!(finding.state, expected, "{finding:?}");
        assert!(!finding.found.is_empty());
    }
}

#[test]
fn numbers_that_nobody_expects_break_nothing() {
    for number in [0, 1, 1 << 40, u64::MAX] {
        let mut facts = well();
        let vm = &mut facts.setup.vm;
        for setting in [
            &mut vm.swappiness,
            &mut vm.page_cluster,
            &mut vm.min_free_kib,
            &mut vm.watermark_scale_factor,
            &mut vm.vfs_cache_pressure,
            &mut vm.overcommit_ratio,
            &mut vm.overcommit_kib,
            &mut vm.panic_on_oom,
            &mut vm.oom_kill_allocating_task,
        ] {
            *setting = Reading::Known(number);
        }
        vm.overcommit_memory = Reading::Known(2);
        let bytes = Some(Bytes(number));
        *meminfo(&mut facts) = Meminfo {
            mem_total: bytes,
            mem_available: bytes,
            commit_limit: Some(Bytes::ZERO),
            committed_as: bytes,
            ..Meminfo::default()
        };
        let swap = value(&mut facts.setup.swap);
        swap[0].total = Bytes(number);
        swap[0].used = Bytes(u64::MAX);
        swap.push(device("/disk", SwapKind::File, i64::MAX));
        let zram = value(&mut facts.setup.zram);
        zram[0].disk_size = Bytes(number);
        zram[0].original = Bytes(number);
        zram[0].memory_used = Bytes(u64::MAX);
        value(&mut facts.state.history).last_age_seconds = Some(i64::MIN);
        assert_eq!(examine(&facts).len(), RULES.len());
    }
}

#[test]
fn a_container_is_told_and_settings_are_left_to_the_machine() {
    assert_sides(
        "container",
        &[(|_| {}, Ok), (|it| it.setup.host.container = true, Note)],
    );
    let inside = found("vfs_cache_pressure", |it| {
        it.setup.host.container = true;
        it.setup.vm.vfs_cache_pressure = Reading::Known(0);
    });
    assert!(inside.advice.unwrap().contains("outside of this container"));
    let swapless = found("swap", |it| {
        it.setup.host.container = true;
        it.setup.swap = Reading::Known(Vec::new());
    });
    assert_eq!(swapless.remedy, None);
}
