//! Each rule on both sides of its line, and all of them on facts that nobody
//! expected.

use grey_model::{
    Bytes, Capabilities, CgroupMode, DirectoryFacts, DiskFacts, DoctorFacts, Features,
    HistoryFacts, HostFacts, HugePageSettings, JournalFacts, KernelText, KsmState, Meminfo,
    OomDaemon, OwnMemoryLimit, Pages, Percent, Pressure, PressureLine, Reading, ResourceLimit,
    ResourceLimits, SetupFacts, StateFacts, SwapDevice, SwapKind, VmSettings, Zram, Zswap,
};

use super::CheckState::{Note, Ok, Problem, Unknown, Warning};
use super::{CheckState, Finding, RULES, Remedy, examine};

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

fn device(name: &str, kind: SwapKind, priority: i64) -> SwapDevice {
    SwapDevice {
        path: KernelText::from(name),
        kind,
        total: Bytes(GIB),
        used: Bytes::ZERO,
        priority,
    }
}

fn zram(size: u64) -> Zram {
    Zram {
        name: "zram0".to_owned(),
        disk_size: Bytes(size),
        original: Bytes::ZERO,
        stored: Bytes::ZERO,
        memory_used: Bytes::ZERO,
        memory_limit: None,
        same_pages: None,
        huge_pages: None,
        algorithm: Some("lz4".to_owned()),
    }
}

fn vm() -> VmSettings {
    VmSettings {
        swappiness: Reading::Known(60),
        page_cluster: Reading::Known(0),
        min_free_kib: Reading::Known(11_585),
        watermark_scale_factor: Reading::Known(10),
        vfs_cache_pressure: Reading::Known(100),
        overcommit_memory: Reading::Known(0),
        overcommit_ratio: Reading::Known(50),
        overcommit_kib: Reading::Known(0),
        panic_on_oom: Reading::Known(0),
        oom_kill_allocating_task: Reading::Known(0),
    }
}

fn setup() -> SetupFacts {
    let line = PressureLine {
        avg10: Percent(0.0),
        avg60: Percent(0.0),
        avg300: Percent(0.0),
        total_us: 0,
    };
    let roomy = ResourceLimit {
        soft: Some(1024),
        hard: Some(4096),
    };
    let unlimited = ResourceLimit {
        soft: None,
        hard: None,
    };
    SetupFacts {
        host: HostFacts {
            kernel: Some("6.18.0".to_owned()),
            boot_id: None,
            cgroup_mode: CgroupMode::V2,
            page_size_bytes: 4096,
            systemd: true,
            container: false,
        },
        features: Features {
            memory_reclaim: true,
            process_madvise: true,
            ksm: true,
            sysfs_writable: true,
            cgroupfs_writable: true,
        },
        meminfo: Reading::Known(Meminfo {
            mem_total: Some(Bytes(8 * GIB)),
            mem_available: Some(Bytes(4 * GIB)),
            swap_total: Some(Bytes(GIB)),
            commit_limit: Some(Bytes(5 * GIB)),
            committed_as: Some(Bytes(GIB)),
            ..Meminfo::default()
        }),
        psi_parameter: None,
        pressure: Reading::Known(Some(Pressure {
            some: line,
            full: Some(line),
        })),
        swap: Reading::Known(vec![device("/dev/zram0", SwapKind::Zram, 100)]),
        zram: Reading::Known(vec![zram(GIB)]),
        zram_backing: Vec::new(),
        zswap: Reading::Known(Zswap {
            enabled: false,
            compressor: None,
            max_pool_percent: None,
            memory_used: None,
            original: None,
        }),
        ksm: Reading::Known(KsmState {
            run: Some(0),
            ..KsmState::default()
        }),
        huge_pages: HugePageSettings {
            enabled: Reading::Known("madvise".to_owned()),
            defrag: Reading::Known("madvise".to_owned()),
            max_ptes_none: Reading::Known(511),
        },
        mglru: Reading::Known(7),
        damon: Reading::Known(()),
        pagemap_scan: Reading::Known(()),
        vm: vm(),
        capabilities: Reading::Known(Capabilities {
            root: true,
            effective: u64::MAX,
        }),
        limits: Reading::Known(ResourceLimits {
            open_files: Some(roomy),
            address_space: Some(unlimited),
            data: Some(unlimited),
        }),
        hides_processes: false,
        daemons: Reading::Known(Vec::new()),
        sparse_servers: Vec::new(),
        own_limit: Reading::Absent,
    }
}

/// A machine of 8 GiB on which everything is well.
fn well() -> DoctorFacts {
    DoctorFacts {
        setup: setup(),
        state: StateFacts {
            path: "/state".to_owned(),
            directory: Reading::Known(DirectoryFacts {
                is_directory: true,
                owner: 0,
                us: 0,
                mode: 0o40700,
            }),
            journal: Reading::Known(JournalFacts::default()),
            history: Reading::Known(HistoryFacts {
                size: Bytes(MIB),
                samples: 60,
                last_age_seconds: Some(1),
                lost: Vec::new(),
                newer: Vec::new(),
                looked_at_all: true,
            }),
            disk: Reading::Known(DiskFacts {
                available: Bytes(GIB),
                available_files: Some(1000),
            }),
        },
    }
}

fn found(check: &str, change: impl FnOnce(&mut DoctorFacts)) -> Finding {
    let mut facts = well();
    change(&mut facts);
    let findings = examine(&facts);
    let one = findings.into_iter().find(|finding| finding.check == check);
    one.unwrap_or_else(|| panic!("there is no check `{check}`"))
}

/// A change of the facts, and what the check then says.
type Side = (fn(&mut DoctorFacts), CheckState);

fn assert_sides(check: &str, sides: &[Side]) {
    for (number, (change, expected)) in sides.iter().enumerate() {
        let finding = found(check, change);
        assert_eq!(finding.state, *expected, "side {number}: {finding:?}");
    }
}

fn meminfo(facts: &mut DoctorFacts) -> &mut Meminfo {
    match &mut facts.setup.meminfo {
        Reading::Known(meminfo) => meminfo,
        other => panic!("{other:?}"),
    }
}

fn value<T>(reading: &mut Reading<T>) -> &mut T {
    match reading {
        Reading::Known(value) => value,
        _ => panic!("it is not known"),
    }
}

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

#[test]
fn without_the_memory_controller_of_version_2_it_is_said_what_does_not_work() {
    assert_sides(
        "control_groups",
        &[
            (
                |it| it.setup.host.cgroup_mode = CgroupMode::V2WithoutMemory,
                Warning,
            ),
            (|it| it.setup.host.cgroup_mode = CgroupMode::Hybrid, Warning),
            (|it| it.setup.host.cgroup_mode = CgroupMode::V1, Warning),
            (|it| it.setup.host.cgroup_mode = CgroupMode::None, Warning),
        ],
    );
    let hybrid = found("control_groups", |it| {
        it.setup.host.cgroup_mode = CgroupMode::Hybrid;
    });
    assert!(
        hybrid
            .advice
            .unwrap()
            .contains("unified_cgroup_hierarchy=1")
    );
}

#[test]
fn a_limit_on_ourselves_counts_only_below_what_the_machine_has() {
    fn limited(facts: &mut DoctorFacts, bytes: u64) {
        facts.setup.own_limit = Reading::Known(OwnMemoryLimit {
            cgroup: "/".to_owned(),
            limit: Bytes(bytes),
        });
    }
    assert_sides(
        "own_limit",
        &[
            (|it| limited(it, 8 * GIB - 1), Note),
            (|it| limited(it, 8 * GIB), Ok),
            (
                |it| {
                    limited(it, GIB);
                    it.setup.meminfo = Reading::Absent;
                },
                Unknown,
            ),
        ],
    );
}

#[test]
fn what_the_kernel_lacks_is_worth_knowing_and_no_fault() {
    for (check, change) in [
        (
            "memory_reclaim",
            (|it| it.setup.features.memory_reclaim = false) as fn(&mut DoctorFacts),
        ),
        ("process_madvise", |it| {
            it.setup.features.process_madvise = false
        }),
        ("generations", |it| it.setup.mglru = Reading::Absent),
        ("generations", |it| it.setup.mglru = Reading::Known(6)),
        ("damon", |it| it.setup.damon = Reading::Absent),
        ("pagemap_scan", |it| it.setup.pagemap_scan = Reading::Absent),
        ("hidden_processes", |it| it.setup.hides_processes = true),
    ] {
        assert_eq!(found(check, change).state, Note, "{check}");
    }
}

#[test]
fn a_machine_without_swap_is_told_what_that_means_and_how_to_have_some() {
    let none = found("swap", |it| it.setup.swap = Reading::Known(Vec::new()));
    assert_eq!(none.state, Note);
    assert!(none.why.contains("page-out frees no anonymous memory"));
    let Some(Remedy::Shell { command, undo }) = none.remedy else {
        panic!("{:?}", none.remedy)
    };
    assert!(command.contains("zramctl --find --size 4096M"), "{command}");
    assert_eq!(undo.as_deref(), Some("sudo swapoff --all"));
    assert_eq!(
        found("swap", |it| it.setup.swap = Reading::Absent).state,
        Note
    );
}

#[test]
fn swap_is_judged_by_what_is_left_of_it() {
    fn used(facts: &mut DoctorFacts, percent: u64) {
        value(&mut facts.setup.swap)[0].used = Bytes(GIB).scale(percent, 100);
    }
    assert_sides(
        "swap",
        &[
            (|it| used(it, 80), Ok),
            (|it| used(it, 81), Note),
            (|it| used(it, 95), Note),
            (|it| used(it, 96), Warning),
        ],
    );
}

#[test]
fn compressed_memory_must_be_filled_before_a_disk() {
    fn beside(facts: &mut DoctorFacts, disk: i64) {
        let swap = value(&mut facts.setup.swap);
        swap.push(device("/swap file", SwapKind::File, disk));
    }
    assert_sides(
        "swap_order",
        &[
            (|it| beside(it, 99), Ok),
            (|it| beside(it, 100), Warning),
            (|it| beside(it, 101), Warning),
            (
                |it| it.setup.swap = Reading::Known(vec![device("/a", SwapKind::File, -2)]),
                Ok,
            ),
        ],
    );
    let remedy = |change: fn(&mut DoctorFacts)| found("swap_order", change).remedy;
    let expected = Remedy::Shell {
        command: "sudo swapoff /dev/zram0 && sudo swapon --priority 151 /dev/zram0".to_owned(),
        undo: Some("sudo swapoff /dev/zram0 && sudo swapon --priority 100 /dev/zram0".to_owned()),
    };
    assert_eq!(remedy(|it| beside(it, 150)), Some(expected));
    // What is in it comes back to memory, which must have the room.
    let full = remedy(|it| {
        beside(it, 150);
        value(&mut it.setup.swap)[0].used = Bytes(2 * GIB + 1);
    });
    assert_eq!(full, None);
    // No priority is above the highest.
    assert_eq!(remedy(|it| beside(it, 32767)), None);
    // A priority of the kernel's own choice cannot be given back as a number.
    let own = remedy(|it| {
        beside(it, -1);
        value(&mut it.setup.swap)[0].priority = -2;
    });
    let Some(Remedy::Shell { undo, .. }) = own else {
        panic!("{own:?}")
    };
    assert_eq!(
        undo.as_deref(),
        Some("sudo swapoff /dev/zram0 && sudo swapon /dev/zram0")
    );
}

#[test]
fn zram_is_judged_by_the_memory_that_it_may_take() {
    fn sized(facts: &mut DoctorFacts, size: u64) {
        facts.setup.zram = Reading::Known(vec![zram(size)]);
    }
    fn stored(facts: &mut DoctorFacts, original: u64, taken: u64) {
        let zram = value(&mut facts.setup.zram);
        zram[0].original = Bytes(original);
        zram[0].memory_used = Bytes(taken);
    }
    assert_sides(
        "zram_size",
        &[
            (|it| it.setup.zram = Reading::Known(Vec::new()), Ok),
            (|it| sized(it, 8 * GIB), Ok),
            (|it| sized(it, 8 * GIB + 1), Note),
            (|it| sized(it, 16 * GIB), Note),
            (|it| sized(it, 16 * GIB + 1), Warning),
            // A limit on its memory bounds it, whatever its size.
            (
                |it| {
                    sized(it, 17 * GIB);
                    value(&mut it.setup.zram)[0].memory_limit = Some(Bytes(GIB));
                },
                Ok,
            ),
            (|it| stored(it, 100 * MIB, 84 * MIB), Ok),
            (|it| stored(it, 100 * MIB, 85 * MIB), Warning),
            // Too little to tell.
            (|it| stored(it, 63 * MIB, 63 * MIB), Ok),
        ],
    );
    assert_sides(
        "zram_backing",
        &[(
            |it| {
                it.setup
                    .zram_backing
                    .push(("zram0".to_owned(), "/dev/sda3".to_owned()))
            },
            Note,
        )],
    );
}

#[test]
fn zswap_helps_before_a_disk_and_not_before_zram_or_nothing() {
    fn on(facts: &mut DoctorFacts, swap: Vec<SwapDevice>) {
        value(&mut facts.setup.zswap).enabled = true;
        facts.setup.swap = Reading::Known(swap);
    }
    assert_sides(
        "zswap",
        &[
            (|it| it.setup.zswap = Reading::Absent, Ok),
            (|it| on(it, vec![device("/a", SwapKind::File, -2)]), Ok),
            (|it| on(it, Vec::new()), Note),
            (
                |it| on(it, vec![device("/dev/zram0", SwapKind::Zram, 5)]),
                Warning,
            ),
        ],
    );
}

#[test]
fn swappiness_is_judged_by_what_there_is_to_swap_to() {
    fn set(facts: &mut DoctorFacts, value: u64, swap: &[SwapKind]) {
        facts.setup.vm.swappiness = Reading::Known(value);
        let devices = swap.iter().map(|kind| device("/dev/x", *kind, 1));
        facts.setup.swap = Reading::Known(devices.collect());
    }
    use SwapKind::{Partition, Zram};
    assert_sides(
        "swappiness",
        &[
            (|it| set(it, 0, &[]), Ok),
            (|it| set(it, 0, &[Partition]), Warning),
            (|it| set(it, 1, &[Partition]), Ok),
            (|it| set(it, 100, &[Partition]), Ok),
            (|it| set(it, 101, &[Partition]), Note),
            (|it| set(it, 180, &[Zram]), Ok),
            (|it| set(it, 180, &[Zram, Partition]), Ok),
        ],
    );
    let proposed = |kind| {
        let finding = found("swappiness", |it| set(it, 0, &[kind]));
        match finding.remedy {
            Some(Remedy::Sysctl {
                value, before: 0, ..
            }) => value,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((proposed(Partition), proposed(Zram)), (60, 100));
}

#[test]
fn reading_ahead_is_for_disks() {
    assert_sides(
        "page_cluster",
        &[
            (|it| it.setup.vm.page_cluster = Reading::Known(3), Note),
            (
                |it| {
                    it.setup.vm.page_cluster = Reading::Known(3);
                    let swap = value(&mut it.setup.swap);
                    swap.push(device("/dev/nvme0n1p3", SwapKind::Partition, 200));
                },
                Ok,
            ),
        ],
    );
}

#[test]
fn too_little_and_too_much_kept_free_are_both_told() {
    fn kept(facts: &mut DoctorFacts, kib: u64) {
        facts.setup.vm.min_free_kib = Reading::Known(kib);
    }
    // 5 % of 8 GiB are 419430.4 KiB, 20 % 1677721.6.
    assert_sides(
        "min_free",
        &[
            (|it| kept(it, 1023), Problem),
            (|it| kept(it, 1024), Ok),
            (|it| kept(it, 419_430), Ok),
            (|it| kept(it, 419_431), Warning),
            (|it| kept(it, 1_677_721), Warning),
            (|it| kept(it, 1_677_722), Problem),
            // The kernel itself chooses so little for a machine so small.
            (
                |it| {
                    kept(it, 724);
                    meminfo(it).mem_total = Some(Bytes(32 * MIB));
                },
                Ok,
            ),
        ],
    );
    // Four times the square root of 8388608 KiB.
    let finding = found("min_free", |it| kept(it, 0));
    let expected = Remedy::Sysctl {
        name: "vm.min_free_kbytes",
        value: 11_585,
        before: 0,
    };
    assert_eq!(finding.remedy, Some(expected));
}

#[test]
fn the_other_settings_have_their_lines() {
    assert_sides(
        "watermarks",
        &[
            (
                |it| it.setup.vm.watermark_scale_factor = Reading::Known(999),
                Ok,
            ),
            (
                |it| it.setup.vm.watermark_scale_factor = Reading::Known(1000),
                Warning,
            ),
        ],
    );
    assert_sides(
        "vfs_cache_pressure",
        &[
            (
                |it| it.setup.vm.vfs_cache_pressure = Reading::Known(0),
                Problem,
            ),
            (|it| it.setup.vm.vfs_cache_pressure = Reading::Known(1), Ok),
            (
                |it| it.setup.vm.vfs_cache_pressure = Reading::Known(499),
                Ok,
            ),
            (
                |it| it.setup.vm.vfs_cache_pressure = Reading::Known(500),
                Note,
            ),
        ],
    );
    assert_sides(
        "panic_on_oom",
        &[
            (|it| it.setup.vm.panic_on_oom = Reading::Known(1), Note),
            (|it| it.setup.vm.panic_on_oom = Reading::Known(2), Problem),
            (|it| it.setup.vm.panic_on_oom = Reading::Known(3), Unknown),
        ],
    );
    assert_sides(
        "kill_allocating_task",
        &[(
            |it| it.setup.vm.oom_kill_allocating_task = Reading::Known(1),
            Warning,
        )],
    );
}

#[test]
fn promises_count_only_where_the_kernel_holds_programs_to_them() {
    fn promised(facts: &mut DoctorFacts, mode: u64, percent: u64) {
        facts.setup.vm.overcommit_memory = Reading::Known(mode);
        meminfo(facts).committed_as = Some(Bytes(5 * GIB).scale(percent, 100));
    }
    assert_sides(
        "overcommit",
        &[
            (|it| promised(it, 0, 300), Ok),
            (|it| promised(it, 1, 300), Note),
            (|it| promised(it, 2, 79), Ok),
            (|it| promised(it, 2, 80), Warning),
            (|it| promised(it, 2, 94), Warning),
            (|it| promised(it, 2, 95), Problem),
            (|it| promised(it, 7, 10), Unknown),
            (
                |it| {
                    promised(it, 2, 10);
                    meminfo(it).commit_limit = None;
                },
                Unknown,
            ),
        ],
    );
    // With 5 GiB promised: 6.25 GiB less 1 of swap are 65.6 % of 8 GiB.
    let finding = found("overcommit", |it| promised(it, 2, 100));
    let expected = Remedy::Sysctl {
        name: "vm.overcommit_ratio",
        value: 66,
        before: 50,
    };
    assert_eq!(finding.remedy, Some(expected));
    // A fixed amount, or more than memory has, no ratio mends.
    let fixed = found("overcommit", |it| {
        promised(it, 2, 100);
        it.setup.vm.overcommit_kib = Reading::Known(1);
    });
    assert_eq!(fixed.remedy, None);
    let huge = found("overcommit", |it| promised(it, 2, 200));
    assert_eq!(huge.remedy, None);
    assert!(huge.advice.unwrap().contains("swap"));
}

fn daemon(name: &'static str, unit: Option<&str>) -> OomDaemon {
    OomDaemon {
        name,
        pid: 7,
        unit: unit.map(str::to_owned),
    }
}

#[test]
fn two_programs_that_kill_are_one_too_many() {
    assert_sides(
        "oom_daemons",
        &[
            (
                |it| it.setup.daemons = Reading::Known(vec![daemon("earlyoom", None)]),
                Ok,
            ),
            (
                |it| it.setup.daemons = Reading::Known(vec![daemon("systemd-oomd", None)]),
                Ok,
            ),
        ],
    );
    let both = found("oom_daemons", |it| {
        it.setup.daemons = Reading::Known(vec![
            daemon("systemd-oomd", Some("systemd-oomd.service")),
            daemon("nohang", Some("nohang-desktop.service")),
        ]);
    });
    assert_eq!(both.state, Warning);
    let unit = "nohang-desktop.service".to_owned();
    assert_eq!(both.remedy, Some(Remedy::StopService { unit }));
    // Who is in no unit is stopped in a way that we do not know.
    let unknown = found("oom_daemons", |it| {
        it.setup.daemons = Reading::Known(vec![daemon("earlyoom", None), daemon("oomd", None)]);
    });
    assert_eq!((unknown.state, unknown.remedy), (Warning, None));
}

#[test]
fn systemd_oomd_needs_swap_and_pressure_and_version_2() {
    fn runs(facts: &mut DoctorFacts) {
        facts.setup.daemons = Reading::Known(vec![daemon("systemd-oomd", None)]);
    }
    assert_sides(
        "oom_daemons",
        &[
            (
                |it| {
                    runs(it);
                    it.setup.swap = Reading::Known(Vec::new());
                },
                Warning,
            ),
            (
                |it| {
                    runs(it);
                    it.setup.pressure = Reading::Known(None);
                },
                Warning,
            ),
            (
                |it| {
                    runs(it);
                    it.setup.host.cgroup_mode = CgroupMode::Hybrid;
                },
                Warning,
            ),
            // earlyoom needs neither.
            (
                |it| {
                    it.setup.daemons = Reading::Known(vec![daemon("earlyoom", None)]);
                    it.setup.swap = Reading::Known(Vec::new());
                    it.setup.pressure = Reading::Absent;
                },
                Ok,
            ),
        ],
    );
}

#[test]
fn huge_pages_for_everybody_are_worth_knowing() {
    let always = |facts: &mut DoctorFacts| {
        facts.setup.huge_pages.enabled = Reading::Known("always".to_owned());
    };
    let plain = found("huge_pages", always);
    assert_eq!(plain.state, Note);
    assert!(plain.found.contains("511"), "{}", plain.found);
    let served = found("huge_pages", |it| {
        always(it);
        it.setup.sparse_servers.push("redis-server".to_owned());
    });
    assert!(served.found.contains("redis-server"), "{}", served.found);
    assert_sides(
        "huge_pages",
        &[
            (|it| it.setup.huge_pages.enabled = Reading::Absent, Ok),
            (
                |it| it.setup.huge_pages.enabled = Reading::Known("never".to_owned()),
                Ok,
            ),
        ],
    );
    fn stalls(facts: &mut DoctorFacts, enabled: &str) {
        facts.setup.huge_pages.defrag = Reading::Known("always".to_owned());
        facts.setup.huge_pages.enabled = Reading::Known(enabled.to_owned());
    }
    assert_sides(
        "huge_page_stalls",
        &[
            (|it| stalls(it, "madvise"), Note),
            (|it| stalls(it, "never"), Ok),
        ],
    );
}

#[test]
fn merging_that_merges_nothing_is_wasted() {
    fn runs(facts: &mut DoctorFacts, [sharing, unshared, scans]: [u64; 3]) {
        facts.setup.ksm = Reading::Known(KsmState {
            run: Some(1),
            pages_sharing: Some(Pages(sharing)),
            pages_unshared: Some(Pages(unshared)),
            pages_volatile: Some(Pages(0)),
            full_scans: Some(scans),
            ..KsmState::default()
        });
    }
    assert_sides(
        "ksm",
        &[
            (|it| it.setup.ksm = Reading::Absent, Ok),
            (|it| runs(it, [100, 5000, 9]), Ok),
            (|it| runs(it, [0, 5000, 2]), Ok),
            (|it| runs(it, [0, 5000, 3]), Warning),
            // Nobody has asked: there is nothing to look at.
            (|it| runs(it, [0, 0, 9]), Ok),
            // Zero pages are merged with the kernel's own.
            (
                |it| {
                    runs(it, [0, 5000, 9]);
                    value(&mut it.setup.ksm).zero_pages = Some(Pages(1));
                },
                Ok,
            ),
            (
                |it| {
                    runs(it, [100, 5000, 9]);
                    value(&mut it.setup.ksm).general_profit_bytes = Some(-1);
                },
                Note,
            ),
            (
                |it| {
                    runs(it, [100, 5000, 9]);
                    value(&mut it.setup.ksm).pages_unshared = None;
                },
                Unknown,
            ),
        ],
    );
}

#[test]
fn pressure_that_is_off_is_told_with_the_way_to_have_it() {
    fn advice(change: fn(&mut DoctorFacts)) -> Option<String> {
        let finding = found("pressure", change);
        assert_eq!(finding.state, Warning);
        finding.advice
    }
    let off = advice(|it| it.setup.pressure = Reading::Known(None));
    assert!(off.unwrap().starts_with("add psi=1"));
    let turned_off = advice(|it| {
        it.setup.pressure = Reading::Absent;
        it.setup.psi_parameter = Some(false);
    });
    assert!(turned_off.unwrap().starts_with("take psi=0"));
    let not_built_in = advice(|it| {
        it.setup.pressure = Reading::Absent;
        it.setup.psi_parameter = Some(true);
    });
    assert_eq!(not_built_in, None);
    assert!(advice(|it| it.setup.pressure = Reading::Absent).is_some());
}

#[test]
fn what_may_not_be_done_is_a_note_for_a_user_and_a_warning_for_root() {
    fn may(facts: &mut DoctorFacts, root: bool, missing: u64) {
        facts.setup.capabilities = Reading::Known(Capabilities {
            root,
            effective: !missing,
        });
    }
    assert_sides(
        "capabilities",
        &[
            (|it| may(it, false, 0), Ok),
            (|it| may(it, false, u64::MAX), Note),
            // CAP_SYS_NICE is 23; nobody needs 0.
            (|it| may(it, true, 1 << 23), Warning),
            (|it| may(it, true, 1), Ok),
            (
                |it| {
                    may(it, true, 1 << 23);
                    it.setup.host.container = true;
                },
                Note,
            ),
        ],
    );
    let named = found("capabilities", |it| may(it, false, 1 << 19 | 1 << 1));
    assert_eq!(
        named.found,
        "not root, without CAP_SYS_PTRACE, CAP_DAC_OVERRIDE"
    );
}

#[test]
fn limits_of_the_session_are_told() {
    fn files(facts: &mut DoctorFacts, soft: Option<u64>, hard: Option<u64>) {
        value(&mut facts.setup.limits).open_files = Some(ResourceLimit { soft, hard });
    }
    assert_sides(
        "open_files",
        &[
            (|it| files(it, Some(1023), Some(4096)), Warning),
            (|it| files(it, Some(1024), Some(1024)), Ok),
            (|it| files(it, None, None), Ok),
            (|it| value(&mut it.setup.limits).open_files = None, Unknown),
        ],
    );
    let raised = found("open_files", |it| files(it, Some(256), None));
    let expected = Remedy::Shell {
        command: "ulimit -S -n 1024".to_owned(),
        undo: Some("ulimit -S -n 256".to_owned()),
    };
    assert_eq!(raised.remedy, Some(expected));
    assert_eq!(
        found("open_files", |it| files(it, Some(256), Some(512))).remedy,
        None
    );
    assert_sides(
        "address_limits",
        &[(
            |it| {
                value(&mut it.setup.limits).data = Some(ResourceLimit {
                    soft: Some(GIB),
                    hard: None,
                });
            },
            Note,
        )],
    );
}

#[test]
fn the_state_directory_must_be_ours_alone() {
    fn directory(facts: &mut DoctorFacts) -> &mut DirectoryFacts {
        value(&mut facts.state.directory)
    }
    assert_sides(
        "state_directory",
        &[
            (|it| it.state.directory = Reading::Absent, Ok),
            (|it| directory(it).is_directory = false, Problem),
            (|it| directory(it).mode = 0o40720, Problem),
            (|it| directory(it).mode = 0o40702, Problem),
            (|it| directory(it).mode = 0o40755, Ok),
            (|it| directory(it).owner = 1000, Problem),
            // Who is not root only looks at what root keeps.
            (|it| directory(it).us = 1000, Note),
        ],
    );
    let open = found("state_directory", |it| directory(it).mode = 0o40777);
    let expected = Remedy::Shell {
        command: "chmod go-w -- /state".to_owned(),
        undo: Some("chmod 777 -- /state".to_owned()),
    };
    assert_eq!(open.remedy, Some(expected));
}

#[test]
fn a_journal_that_lost_something_is_never_an_all_clear() {
    fn journal(facts: &mut DoctorFacts) -> &mut JournalFacts {
        value(&mut facts.state.journal)
    }
    assert_sides(
        "journal",
        &[
            (|it| it.state.journal = Reading::Absent, Ok),
            (
                |it| journal(it).lost.push("line 3 is damaged".to_owned()),
                Problem,
            ),
            (
                |it| journal(it).refused = Some("not safe".to_owned()),
                Problem,
            ),
            (|it| journal(it).holding = 3, Ok),
        ],
    );
    assert_sides(
        "changes",
        &[
            (|it| journal(it).holding = 1, Note),
            (|it| journal(it).conflicts = 1, Warning),
            (|it| journal(it).overdue = 1, Problem),
        ],
    );
    let overdue = found("changes", |it| journal(it).overdue = 2);
    assert_eq!(overdue.found, "2 changes past their lease");
    assert_eq!(overdue.remedy, Some(Remedy::Ours("rollback")));
}

#[test]
fn room_is_judged_by_what_is_kept_there() {
    fn room(facts: &mut DoctorFacts, bytes: u64) {
        value(&mut facts.state.disk).available = Bytes(bytes);
    }
    assert_sides(
        "state_room",
        &[
            (|it| room(it, 16 * MIB - 1), Problem),
            (
                |it| value(&mut it.state.disk).available_files = Some(0),
                Problem,
            ),
            (|it| value(&mut it.state.disk).available_files = None, Ok),
            // History has 1 MiB of the 512 that it may take.
            (|it| room(it, 511 * MIB - 1), Warning),
            (|it| room(it, 511 * MIB), Ok),
            (
                |it| {
                    it.state.history = Reading::Absent;
                    room(it, 16 * MIB);
                },
                Ok,
            ),
        ],
    );
}

#[test]
fn history_is_judged_by_its_age_and_what_is_damaged() {
    fn history(facts: &mut DoctorFacts) -> &mut HistoryFacts {
        value(&mut facts.state.history)
    }
    assert_sides(
        "history",
        &[
            (|it| it.state.history = Reading::Absent, Note),
            (|it| history(it).last_age_seconds = Some(60), Ok),
            (|it| history(it).last_age_seconds = Some(61), Note),
            (|it| history(it).last_age_seconds = None, Note),
            (|it| history(it).last_age_seconds = Some(-60), Ok),
            (|it| history(it).last_age_seconds = Some(-61), Warning),
            (|it| history(it).lost.push("tail: cut".to_owned()), Warning),
            (|it| history(it).newer.push("tail".to_owned()), Note),
        ],
    );
    let newer = found("history", |it| history(it).newer.push("tail".to_owned()));
    assert!(
        newer.found.contains("tail of a newer version") && !newer.found.contains("damaged"),
        "{}",
        newer.found
    );
    let old = found("history", |it| history(it).last_age_seconds = Some(7300));
    assert!(old.found.contains("the last 2 h ago"), "{}", old.found);
    let partly = found("history", |it| history(it).looked_at_all = false);
    assert!(
        partly.found.contains("not all was looked at"),
        "{}",
        partly.found
    );
}
