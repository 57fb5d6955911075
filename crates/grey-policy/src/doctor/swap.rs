//! Rules about where pages go when they leave memory: swap, zram, zswap.
//!
//! Says nothing of what is below a swap file: whether it is slow or safe there
//! is not known here.

use grey_model::{Bytes, DoctorFacts, Reading, SwapDevice, SwapKind, Zram, shell_word};

use super::finding::{Check, Finding, NoCommand, Remedy, known};

/// This project's advice: above this share of swap in use, in percent, there is
/// little left to move to; above the second, nothing.
const FULL: u64 = 80;
const VERY_FULL: u64 = 95;

/// This project's advice for zram on a machine without swap: half of its memory,
/// at the usual 2 to 1 a quarter of it when full.
const ZRAM_SHARE: u64 = 2;

/// This project's advice: what swaps fastest comes first by a clear margin.
const ZRAM_PRIORITY: i64 = 100;

/// swapon(2): the highest priority that can be given.
const HIGHEST_PRIORITY: i64 = 32767;

/// Anonymous pages leave memory to swap alone: `Documentation/admin-guide/mm/
/// concepts.rst`, "Reclaim". A machine without is no fault; what it means here is
/// said.
pub(super) fn landing_zone(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("swap", "swap");
    const NONE: &str = "without swap only file pages can leave memory: page-out frees no anonymous \
                        memory, and memory.high slows down a group that holds it without making \
                        it smaller";
    const WHY: &str = "anonymous memory can leave to swap alone, so page-out and reclaim of it end \
                       where swap is full";
    let devices: &[SwapDevice] = match &facts.setup.swap {
        Reading::Absent => &[],
        reading => known!(CHECK, reading, WHY),
    };
    if devices.is_empty() {
        return without_swap(facts, CHECK.note("none", NONE));
    }
    let total: Bytes = devices.iter().map(|device| device.total).sum();
    let used: Bytes = devices.iter().map(|device| device.used).sum();
    let kinds: Vec<String> = devices.iter().map(described).collect();
    let found = format!("{}; {used} of {total} used", kinds.join(", "));
    let is_above = |percent| total != Bytes::ZERO && used > total.scale(percent, 100);
    if is_above(VERY_FULL) {
        return CHECK
            .warning(found, WHY)
            .advise("see who holds it:")
            .mend(Remedy::Ours("memory-diagnose --by program"));
    }
    if is_above(FULL) {
        return CHECK
            .note(found, WHY)
            .advise("see who holds it:")
            .mend(Remedy::Ours("memory-diagnose --by program"));
    }
    CHECK.ok(found, WHY)
}

fn described(device: &SwapDevice) -> String {
    let kind = match device.kind {
        SwapKind::Zram => "zram",
        SwapKind::Partition => "partition",
        SwapKind::File => "file",
    };
    format!("{kind} {}", device.total)
}

/// Where the command leaves the name of the device that it made, so that its
/// undo takes away that one and no other swap. Like the device it is gone after
/// a restart.
const ZRAM_NOTE: &str = "/run/grey-zram-device";

/// zramctl(8) prints the device that it found free.
fn without_swap(facts: &DoctorFacts, finding: Finding) -> Finding {
    let setup = &facts.setup;
    let total = setup.meminfo.known().and_then(|meminfo| meminfo.mem_total);
    let (Some(total), false) = (total, setup.host.container) else {
        return finding.by_hand(
            NoCommand::Starter,
            "only the machine itself can be given swap",
        );
    };
    let mebibytes = (total.get() / ZRAM_SHARE) >> 20;
    if mebibytes == 0 {
        return finding.by_hand(
            NoCommand::Choice,
            "this machine is too small for swap in its memory",
        );
    }
    finding
        .advise("compressed memory can be swapped to, where this kernel has zram, until the next restart:")
        .mend(Remedy::Shell {
            command: format!(
                "sudo modprobe zram && dev=$(sudo zramctl --find --size {mebibytes}M) && \
                 sudo mkswap \"$dev\" && sudo swapon --priority {ZRAM_PRIORITY} \"$dev\" && \
                 echo \"$dev\" | sudo tee {ZRAM_NOTE}"
            ),
            undo: Some(format!(
                "dev=$(cat {ZRAM_NOTE}) && sudo swapoff \"$dev\" && sudo zramctl --reset \"$dev\" && \
                 sudo rm {ZRAM_NOTE}"
            )),
        })
}

/// swapon(2): areas of a higher priority are filled first, equal ones in turn.
pub(super) fn order(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("swap_order", "order of swap");
    const WHY: &str = "swap of the highest priority is filled first, equal ones in turn, so \
                       compressed memory must come before a disk to spare it";
    let devices: &[SwapDevice] = match &facts.setup.swap {
        Reading::Absent => &[],
        reading => known!(CHECK, reading, WHY),
    };
    let of = |is_zram: bool| {
        let wanted = move |device: &&SwapDevice| (device.kind == SwapKind::Zram) == is_zram;
        devices.iter().filter(wanted)
    };
    let slowest_zram = of(true).min_by_key(|device| device.priority);
    let first_disk = of(false).max_by_key(|device| device.priority);
    let (Some(zram), Some(disk)) = (slowest_zram, first_disk) else {
        return CHECK.ok("no zram beside another kind", WHY);
    };
    let found = format!(
        "{} has priority {}, {} has {}",
        zram.path, zram.priority, disk.path, disk.priority
    );
    if zram.priority > disk.priority {
        return CHECK.ok(found, WHY);
    }
    let finding = CHECK.warning(found, WHY);
    let wanted = ZRAM_PRIORITY.max(disk.priority.saturating_add(1));
    let available = facts
        .setup
        .meminfo
        .known()
        .and_then(|meminfo| meminfo.mem_available);
    // Switching it off brings back what is in it.
    let has_room = available.is_some_and(|available| zram.used <= available.scale(1, 2));
    if !has_room || wanted > HIGHEST_PRIORITY {
        return finding.by_hand(
            NoCommand::AtStart,
            "set its priority where it is switched on, for the next restart",
        );
    }
    let path = shell_word(zram.path.as_bytes());
    let again = |priority: i64| {
        // Those below 0 are the kernel's own choice.
        let priority = match priority {
            0.. => format!("--priority {priority} "),
            _ => String::new(),
        };
        format!("sudo swapoff {path} && sudo swapon {priority}{path}")
    };
    finding.mend(Remedy::Shell {
        command: again(wanted),
        undo: Some(again(zram.priority)),
    })
}

/// This project's advice: less than this was stored, and a ratio says nothing.
const ENOUGH_STORED: Bytes = Bytes::from_mib(64);

/// This project's advice, in percent: what is stored takes this much of what it
/// was, and zram hardly frees anything.
const HARDLY_COMPRESSED: u64 = 85;

/// `Documentation/admin-guide/blockdev/zram.rst`: there is little point in more
/// than twice the memory, as a ratio of 2 to 1 is expected.
pub(super) fn zram_size(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("zram_size", "size of zram");
    const WHY: &str = "zram keeps pages in memory, at about half their size: one that is larger \
                       than twice the memory, or whose pages do not compress, fills memory \
                       before it is full";
    let devices = match &facts.setup.zram {
        Reading::Known(devices) if devices.is_empty() => return CHECK.ok("no zram", WHY),
        reading => known!(CHECK, reading, WHY),
    };
    let meminfo = known!(CHECK, facts.setup.meminfo, WHY);
    let Some(total) = meminfo.mem_total else {
        return CHECK.unknown("the machine's total is not known", WHY);
    };
    let stored: Bytes = devices.iter().map(|device| device.original).sum();
    let taken: Bytes = devices.iter().map(|device| device.memory_used).sum();
    let size: Bytes = devices.iter().map(|device| device.disk_size).sum();
    let found = format!("{size} on a machine of {total}; {stored} of pages in {taken}");
    if stored >= ENOUGH_STORED && taken >= stored.scale(HARDLY_COMPRESSED, 100) {
        return CHECK.warning(found, WHY).by_hand(
            NoCommand::Choice,
            "a disk as swap frees more, or a compressor such as zstd",
        );
    }
    let unlimited: Bytes = devices.iter().filter_map(bound).sum();
    let make = "set its size, or a limit on its memory, where it is made";
    if unlimited > total.scale(2, 1) {
        return CHECK.warning(found, WHY).by_hand(NoCommand::AtStart, make);
    }
    if unlimited > total {
        return CHECK.note(found, WHY).by_hand(NoCommand::AtStart, make);
    }
    CHECK.ok(found, WHY)
}

/// How many bytes of pages it may take; `None` where its memory is limited.
fn bound(device: &Zram) -> Option<Bytes> {
    device.memory_limit.is_none().then_some(device.disk_size)
}

/// zram.rst, "writeback": pages go there only when somebody writes to
/// `writeback`.
pub(super) fn zram_backing(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("zram_backing", "device behind zram");
    const WHY: &str = "pages move there only when something writes to zram's writeback file, and \
                       then come back as slowly as from any disk";
    known!(CHECK, facts.setup.zram, WHY);
    let devices: Vec<String> = facts
        .setup
        .zram_backing
        .iter()
        .map(|(zram, device)| format!("{device} behind {zram}"))
        .collect();
    if devices.is_empty() {
        return CHECK.ok("none", WHY);
    }
    CHECK.note(devices.join(", "), WHY).by_hand(
        NoCommand::NothingToDo,
        "nothing has to be done; what writes to `writeback` decides how much moves",
    )
}

/// `Documentation/admin-guide/mm/zswap.rst`: a compressed cache in front of
/// every swap device, which it evicts to. Turned off, it takes nothing more,
/// and keeps what it has until that is used.
pub(super) fn zswap(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("zswap", "zswap");
    const WHY: &str = "zswap is a compressed cache in front of a swap device";
    const TWICE: &str = "zswap stands in front of zram, too: pages are compressed, and when they \
                         move on, decompressed and compressed again";
    const IDLE: &str = "zswap is a cache in front of a swap device, and there is none";
    let zswap = match &facts.setup.zswap {
        Reading::Absent => return CHECK.ok("not built in", WHY),
        reading => known!(CHECK, reading, WHY),
    };
    if !zswap.enabled {
        return CHECK.ok("off", WHY);
    }
    let swap = match &facts.setup.swap {
        Reading::Absent => &Vec::new(),
        reading => known!(CHECK, reading, WHY),
    };
    if swap.is_empty() {
        return CHECK.note("on, without a swap device", IDLE).by_hand(
            NoCommand::NothingToDo,
            "nothing has to be done: it takes no memory until there is swap",
        );
    }
    if swap.iter().any(|device| device.kind == SwapKind::Zram) {
        return CHECK
            .warning("on, in front of zram", TWICE)
            .mend(Remedy::SysFile {
                path: "module/zswap/parameters/enabled",
                value: "N".to_owned(),
                before: "Y".to_owned(),
            });
    }
    CHECK.ok("on, in front of a swap device", WHY)
}
