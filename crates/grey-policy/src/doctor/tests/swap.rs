//! Where pages go, on both sides of each line.

use grey_model::{Bytes, DoctorFacts, Reading, SwapDevice, SwapKind};

use super::super::CheckState::{Note, Ok, Warning};
use super::super::Remedy;
use super::machine::{GIB, MIB, assert_sides, device, found, value, zram};

#[test]
fn a_machine_without_swap_is_told_what_that_means_and_how_to_have_some() {
    let none = found("swap", |it| it.setup.swap = Reading::Known(Vec::new()));
    assert_eq!(none.state, Note);
    assert!(none.why.contains("page-out frees no anonymous memory"));
    let Some(Remedy::Shell { command, undo }) = none.remedy else {
        panic!("{:?}", none.remedy)
    };
    assert!(command.contains("zramctl --find --size 4096M"), "{command}");
    // What was made is what is taken away, and no other swap.
    let undo = undo.unwrap();
    assert!(
        command.ends_with("echo \"$dev\" | sudo tee /run/grey-zram-device"),
        "{command}"
    );
    assert!(
        undo.starts_with("dev=$(cat /run/grey-zram-device) && sudo swapoff \"$dev\""),
        "{undo}"
    );
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
