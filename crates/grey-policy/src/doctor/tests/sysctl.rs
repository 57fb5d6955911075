//! Settings of the kernel, on both sides of each line.

use grey_model::{Bytes, DoctorFacts, Reading, SwapKind};

use super::super::CheckState::{Note, Ok, Problem, Unknown, Warning};
use super::super::Remedy;
use super::machine::{GIB, MIB, assert_sides, device, found, meminfo, value};

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
