//! The rule about promised memory: overcommit.

use grey_model::{Bytes, DoctorFacts, Meminfo};

use super::finding::{Check, Finding, NoCommand, Remedy, known};

/// This project's advice: above these shares of the limit, in percent,
/// allocations fail soon, or now.
const NEAR: u64 = 80;
const AT: u64 = 95;

/// This project's advice: more of memory than this is not promised to programs,
/// in percent, as the kernel needs the rest.
const LARGEST_RATIO: u64 = 95;

/// `Documentation/mm/overcommit-accounting.rst`: only mode 2 holds programs to
/// `CommitLimit`, and then at the promise, not at the use.
pub(super) fn overcommit(facts: &DoctorFacts) -> Finding {
    const CHECK: Check = Check("overcommit", "vm.overcommit_memory");
    const WHY: &str = "programs are promised more than there is, within reason, and what they use \
                       decides";
    const ALWAYS: &str = "nothing is ever refused to a program: what does not fit ends with the \
                          out-of-memory killer";
    const NEVER: &str = "allocations fail when what was promised reaches CommitLimit, however much \
                         memory is free";
    let vm = &facts.setup.vm;
    let mode = *known!(CHECK, vm.overcommit_memory, WHY);
    match mode {
        0 => return CHECK.ok("0: heuristic", WHY),
        1 => {
            return CHECK
                .note("1: always", ALWAYS)
                .advise("nothing has to be done where a program such as redis asks for it; else:")
                .mend(Remedy::Sysctl {
                    name: "vm.overcommit_memory",
                    value: 0,
                    before: 1,
                });
        }
        2 => {}
        _ => return CHECK.unknown(format!("{mode} is no mode that is known"), WHY),
    }
    let meminfo = known!(CHECK, facts.setup.meminfo, NEVER);
    let (Some(limit), Some(promised)) = (meminfo.commit_limit, meminfo.committed_as) else {
        return CHECK.unknown("2: never; meminfo lacks CommitLimit or Committed_AS", NEVER);
    };
    let found = format!("2: never; {promised} of {limit} promised");
    let finding = if promised >= limit.scale(AT, 100) {
        CHECK.problem(found, NEVER)
    } else if promised >= limit.scale(NEAR, 100) {
        CHECK.warning(found, NEVER)
    } else {
        return CHECK.ok(found, NEVER);
    };
    let by_ratio = vm.overcommit_kib.known().is_none_or(|kib| *kib == 0);
    match (
        vm.overcommit_ratio.known(),
        roomier_ratio(meminfo, promised),
    ) {
        (Some(&before), Some(value)) if by_ratio && value > before => {
            finding.mend(Remedy::Sysctl {
                name: "vm.overcommit_ratio",
                value,
                before,
            })
        }
        _ => finding.by_hand(
            NoCommand::Elsewhere,
            "more swap raises the limit: see `swap`",
        ),
    }
}

/// The ratio with which `promised` is [`NEAR`] the limit at most; `None` where
/// that would promise nearly all of memory.
///
/// # Kernel
/// The limit is (memory - huge pages) * ratio / 100 + swap: `vm_commit_limit`.
fn roomier_ratio(meminfo: &Meminfo, promised: Bytes) -> Option<u64> {
    let swap = meminfo.swap_total.unwrap_or_default();
    let memory = meminfo
        .mem_total?
        .saturating_sub(meminfo.hugetlb.unwrap_or_default());
    if memory == Bytes::ZERO {
        return None;
    }
    let from_memory = promised.scale(100, NEAR).saturating_sub(swap);
    let ratio = from_memory.scale(100, memory.get()).get().saturating_add(1);
    (ratio <= LARGEST_RATIO).then_some(ratio)
}
