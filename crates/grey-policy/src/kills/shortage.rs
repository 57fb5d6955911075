//! What there was not enough of when the kernel killed although no control
//! group was at its limit: the machine's memory, or only a part of it.
//!
//! Never calls the machine full where the report says that something else was.

use grey_model::{
    Bytes, Constraint, DeviceZone, KernelKill, KernelText, Kill, MemoryRequest, PageSize, Pages,
    Shortage,
};

use super::KillFacts;
use super::advice::{SEE_USERS, for_machine, spare, swap};
use super::by_kernel::victim;

/// What this report says was short. Who was asked by a person was short of
/// nothing, and nodes say more than the size of what was asked for.
pub(super) fn of(kill: &KernelKill) -> Shortage {
    match (kill.request, kill.constraint) {
        (Some(MemoryRequest::SysRq), _) => Shortage::Nothing,
        (Some(MemoryRequest::PageFault), _) => Shortage::PageFault,
        (_, Some(Constraint::Cpuset)) => Shortage::CpusetNodes,
        (_, Some(Constraint::MemoryPolicy)) => Shortage::PolicyNodes,
        (Some(MemoryRequest::Pages { zone: Some(_), .. }), _) => Shortage::DeviceZone,
        (Some(MemoryRequest::Pages { order: 1.., .. }), _) => Shortage::Contiguous,
        _ => Shortage::Machine,
    }
}

/// Why it was killed, each a sentence.
pub(super) fn explanation(kill: &KernelKill, page_size: PageSize) -> Vec<String> {
    let shortage = of(kill);
    let why = reason(kill, shortage, page_size);
    let mut lines = vec![format!("the kernel killed {} because {why}", victim(kill))];
    lines.extend(what_it_means(shortage).map(str::to_owned));
    if kill.killed_who_asked {
        lines.push(
            "it was killed because it asked for memory: vm.oom_kill_allocating_task is set"
                .to_owned(),
        );
    }
    // Nothing was to be swapped out for it.
    if shortage != Shortage::Nothing {
        lines.extend(swap_then(kill));
    }
    lines
}

/// How much swap there was.
pub(super) fn swap_then(kill: &KernelKill) -> Option<String> {
    match (kill.swap_free, kill.swap_total) {
        (_, Some(Bytes(0))) => Some("the machine has no swap".to_owned()),
        (Some(free), Some(total)) => Some(format!("{free} of {total} of swap was free")),
        _ => None,
    }
}

/// What there was too little of, as the end of a sentence.
pub(super) fn reason(kill: &KernelKill, shortage: Shortage, page_size: PageSize) -> String {
    let asked_by = || {
        let name = kill.asked_by.as_ref().map(KernelText::to_process_name);
        name.unwrap_or_else(|| "a program".to_owned())
    };
    let nodes = || match &kill.nodes {
        Some(nodes) => format!("the memory nodes ({nodes})"),
        None => "the memory nodes".to_owned(),
    };
    match shortage {
        Shortage::Machine => "the whole machine was out of memory, and no control group's limit \
                              was the reason"
            .to_owned(),
        Shortage::CpusetNodes => format!(
            "{} that the cpuset of {} allows were full, and it asked for more",
            nodes(),
            asked_by()
        ),
        Shortage::PolicyNodes => format!(
            "{} that a memory policy of {} allows were full, and it asked for more",
            nodes(),
            asked_by()
        ),
        Shortage::Contiguous => format!(
            "{} asked for {} in one piece, and there was no such piece",
            asked_by(),
            piece(kill, page_size)
        ),
        Shortage::DeviceZone => format!(
            "{} asked for memory that a device can reach ({}), and of that there was none",
            asked_by(),
            zone(kill)
        ),
        Shortage::PageFault => format!(
            "{} touched a page, and the kernel had no memory for it",
            asked_by()
        ),
        Shortage::Nothing => {
            "somebody asked for it with SysRq F: a person at the keyboard, or who \
                              wrote f to /proc/sysrq-trigger"
                .to_owned()
        }
    }
}

/// What may be concluded from that, and what not.
pub(super) const fn what_it_means(shortage: Shortage) -> Option<&'static str> {
    match shortage {
        Shortage::Machine => None,
        Shortage::CpusetNodes | Shortage::PolicyNodes => {
            Some("other nodes of the machine may have had memory: it could not use them")
        }
        Shortage::Contiguous => Some(
            "that is so when the machine is full, and also when what is free is in smaller pieces \
             (fragmentation): the lines below Mem-Info in the report say which",
        ),
        Shortage::DeviceZone => Some(
            "that is a part of the machine's memory, the rest of which need not have been full: it \
             is a driver that asks for it",
        ),
        Shortage::PageFault => Some(
            "kernels before 5.16 no longer knew of what there was too little: the machine's memory, \
             or what a control group allows, such as memory of the kernel",
        ),
        Shortage::Nothing => Some("it says nothing of how much memory was free"),
    }
}

/// How large the piece is that was asked for.
fn piece(kill: &KernelKill, page_size: PageSize) -> Bytes {
    let order = match kill.request {
        Some(MemoryRequest::Pages { order, .. }) => order,
        _ => 0,
    };
    let pages = 1u64.checked_shl(order.into()).unwrap_or(u64::MAX);
    Pages(pages).bytes(page_size)
}

fn zone(kill: &KernelKill) -> &'static str {
    match kill.request {
        Some(MemoryRequest::Pages {
            zone: Some(DeviceZone::Dma),
            ..
        }) => "GFP_DMA",
        _ => "GFP_DMA32",
    }
}

/// What helps against that shortage.
pub(super) fn advice(kill: &Kill, report: &KernelKill, facts: &KillFacts<'_>) -> Vec<String> {
    let spare = || spare(kill, facts);
    let mut advice = Vec::new();
    match of(report) {
        Shortage::Nothing => {}
        Shortage::Machine => {
            advice.push(SEE_USERS.to_owned());
            advice.extend(for_machine(kill, facts));
            advice.extend(spare());
            advice.extend(swap(report));
        }
        Shortage::CpusetNodes => {
            advice.push(see_nodes(report.nodes.as_ref()));
            advice.push("give its group more nodes: cpuset.mems has them".to_owned());
            advice.extend(spare());
            advice.extend(swap(report));
        }
        Shortage::PolicyNodes => {
            advice.push(see_nodes(report.nodes.as_ref()));
            advice.push(
                "or have it prefer these nodes in place of being bound to them: numactl \
                 --preferred, in place of --membind"
                    .to_owned(),
            );
            advice.extend(spare());
            advice.extend(swap(report));
        }
        Shortage::Contiguous => {
            advice.push("see of what size the free pieces are: cat /proc/buddyinfo".to_owned());
            advice.push(
                "where they are small, have more kept free, of which larger ones can be made; see how \
                 much is kept now: cat /proc/sys/vm/min_free_kbytes"
                    .to_owned(),
            );
            advice.push(SEE_USERS.to_owned());
            advice.extend(for_machine(kill, facts));
            advice.extend(spare());
        }
        Shortage::DeviceZone => {
            advice.push(
                "find the driver: the call trace below the report's first line names it".to_owned(),
            );
            advice.extend(spare());
        }
        Shortage::PageFault => {
            advice.push(SEE_USERS.to_owned());
            advice.extend(spare());
        }
    }
    advice.dedup();
    advice
}

fn see_nodes(nodes: Option<&KernelText>) -> String {
    let which = nodes.map_or_else(String::new, |nodes| format!(" (it was about {nodes})"));
    format!("see how full each node is{which}: cat /sys/devices/system/node/node*/meminfo")
}
