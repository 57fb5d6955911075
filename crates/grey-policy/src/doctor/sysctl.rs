//! Rules about the settings of `/proc/sys/vm`.
//!
//! Where a value is no more than another taste, it is well.

use grey_model::{Bytes, DoctorFacts, SwapDevice, SwapKind};

use super::finding::{Check, Finding, Remedy, known};

/// vm.rst, swappiness: the default.
const SWAPPINESS: u64 = 60;
/// vm.rst, swappiness: from here on swapping is taken to be cheaper than reading
/// files again, which it may be in memory.
const SWAPPINESS_EVEN: u64 = 100;

/// `Documentation/admin-guide/sysctl/vm.rst`, swappiness: at 0 the machine swaps
/// only when free and file pages are about to end; `get_scan_count` of
/// mm/vmscan.c: reclaim from a cgroup then never swaps.
pub(super) fn swappiness(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("swappiness", "vm.swappiness");
    const WHY: &str = "it weighs swapping against dropping file pages; at 0 reclaim from a group \
                       does not swap at all";
    const IN_MEMORY: &str = "above 100 swapping is taken to be cheaper than reading a file again, \
                             which holds for compressed memory and not for a disk";
    let value = *known!(CHECK, facts.setup.vm.swappiness, WHY);
    let swap = facts.setup.swap.known().map_or(&[][..], Vec::as_slice);
    let sysctl = |wanted| Remedy::Sysctl {
        name: "vm.swappiness",
        value: wanted,
        before: value,
    };
    if swap.is_empty() {
        return CHECK.ok(format!("{value}, without swap to weigh"), WHY);
    }
    let is_in_memory = swap.iter().all(|device| device.kind == SwapKind::Zram);
    if value == 0 {
        let wanted = if is_in_memory {
            SWAPPINESS_EVEN
        } else {
            SWAPPINESS
        };
        return CHECK.warning("0", WHY).mend(sysctl(wanted));
    }
    if value > SWAPPINESS_EVEN && !swap.iter().any(|device| device.kind == SwapKind::Zram) {
        return CHECK
            .note(value.to_string(), IN_MEMORY)
            .mend(sysctl(SWAPPINESS));
    }
    CHECK.ok(value.to_string(), WHY)
}

/// vm.rst, page-cluster: how many pages are read from swap at once. That there
/// is nothing to gain from it in memory is this project's advice.
pub(super) fn page_cluster(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("page_cluster", "vm.page-cluster");
    const WHY: &str = "so many pages are read from swap at once: that saves a disk its seeks, and \
                       from compressed memory only fetches pages that nobody asked for";
    let value = *known!(CHECK, facts.setup.vm.page_cluster, WHY);
    let pages = match u32::try_from(value)
        .ok()
        .and_then(|value| 1_u64.checked_shl(value))
    {
        Some(1) => "1 page".to_owned(),
        Some(pages) => format!("{pages} pages"),
        None => "more pages than there are".to_owned(),
    };
    let found = format!("{value}: {pages}");
    let swap = facts.setup.swap.known().map_or(&[][..], Vec::as_slice);
    let first = swap
        .iter()
        .max_by_key(|device: &&SwapDevice| device.priority);
    let is_first = first.is_some_and(|device| device.kind == SwapKind::Zram);
    if is_first && value > 0 {
        return CHECK.note(found, WHY).mend(Remedy::Sysctl {
            name: "vm.page-cluster",
            value: 0,
            before: value,
        });
    }
    CHECK.ok(found, WHY)
}

/// vm.rst, min_free_kbytes: below this many KiB the machine is subtly broken.
const LEAST_FREE_KIB: u64 = 1024;

/// The kernel's own choice is below [`LEAST_FREE_KIB`] on machines smaller than
/// this: `init_per_zone_wmark_min` of mm/page_alloc.c.
const SMALL_MACHINE: Bytes = Bytes::from_mib(64);

/// `khugepaged` of the kernel raises it up to this share of memory, in percent,
/// and never beyond: `set_recommended_min_free_kbytes`. More is nobody's
/// default; that it is too much is this project's advice.
const MOST_KEPT_FREE: u64 = 5;

/// This project's advice: at this share, in percent, a good part of the machine
/// is of no use to anybody.
const FAR_TOO_MUCH: u64 = 20;

/// vm.rst, min_free_kbytes.
pub(super) fn min_free(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("min_free", "vm.min_free_kbytes");
    const WHY: &str = "so much is kept free for the kernel itself: with too little it can \
                       deadlock, with too much programs are killed while memory is free";
    let kib = *known!(CHECK, facts.setup.vm.min_free_kib, WHY);
    let meminfo = known!(CHECK, facts.setup.meminfo, WHY);
    let Some(total) = meminfo.mem_total else {
        return CHECK.unknown("the machine's total is not known", WHY);
    };
    let kept = Bytes::from_kib(kib);
    let found = format!("{kib}: {kept} of {total}");
    let mend = Remedy::Sysctl {
        name: "vm.min_free_kbytes",
        value: kernels_choice_kib(total),
        before: kib,
    };
    if kib < LEAST_FREE_KIB && total >= SMALL_MACHINE {
        return CHECK.problem(found, WHY).mend(mend);
    }
    if kept > total.scale(FAR_TOO_MUCH, 100) {
        return CHECK.problem(found, WHY).mend(mend);
    }
    if kept > total.scale(MOST_KEPT_FREE, 100) && kib > kernels_choice_kib(total) {
        return CHECK.warning(found, WHY).mend(mend);
    }
    CHECK.ok(found, WHY)
}

/// What the kernel would choose at boot for this much low memory:
/// `calculate_min_free_kbytes` of mm/page_alloc.c, four times the square root,
/// from 128 KiB to 256 MiB.
fn kernels_choice_kib(total: Bytes) -> u64 {
    let kib = total.get() / 1024;
    kib.saturating_mul(16).isqrt().clamp(128, 262_144)
}

/// vm.rst, watermark_scale_factor: in 10,000ths of memory; 10 is the default.
/// That this much is too much is this project's advice.
const WIDE_WATERMARKS: u64 = 1000;
const DEFAULT_WATERMARKS: u64 = 10;

/// vm.rst, watermark_scale_factor.
pub(super) fn watermarks(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("watermarks", "vm.watermark_scale_factor");
    const WHY: &str = "reclaim in the background begins and ends this far above the least that is \
                       kept free, in 10,000ths of memory: more is kept empty the higher it is";
    let value = *known!(CHECK, facts.setup.vm.watermark_scale_factor, WHY);
    if value >= WIDE_WATERMARKS {
        return CHECK.warning(value.to_string(), WHY).mend(Remedy::Sysctl {
            name: "vm.watermark_scale_factor",
            value: DEFAULT_WATERMARKS,
            before: value,
        });
    }
    CHECK.ok(value.to_string(), WHY)
}

/// vm.rst, vfs_cache_pressure: 100 is even. "Significantly beyond" is not a
/// number there: this one is this project's advice.
const HIGH_CACHE_PRESSURE: u64 = 500;
const EVEN_CACHE_PRESSURE: u64 = 100;

/// vm.rst, vfs_cache_pressure.
pub(super) fn vfs_cache_pressure(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("vfs_cache_pressure", "vm.vfs_cache_pressure");
    const NEVER: &str = "at 0 the kernel never takes back the memory of directory entries and \
                         inodes, which easily ends in running out of memory";
    const WHY: &str = "it weighs directory entries and inodes against file pages; far above 100 \
                       the kernel looks for more of them than there are, which takes time";
    let value = *known!(CHECK, facts.setup.vm.vfs_cache_pressure, WHY);
    let mend = Remedy::Sysctl {
        name: "vm.vfs_cache_pressure",
        value: EVEN_CACHE_PRESSURE,
        before: value,
    };
    match value {
        0 => CHECK.problem("0", NEVER).mend(mend),
        HIGH_CACHE_PRESSURE.. => CHECK.note(value.to_string(), WHY).mend(mend),
        _ => CHECK.ok(value.to_string(), WHY),
    }
}
