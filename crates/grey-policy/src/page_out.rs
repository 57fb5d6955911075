//! `process_madvise(MADV_PAGEOUT)` on the target's processes.
//!
//! Keeps no state, needs no cgroup; without swap it can only take file pages.

use grey_model::{
    Bytes, Change, OneShot, PlanStep, PreflightFacts, ProcessId, ProcessMemory, Risk,
};

use crate::cold;
use crate::compressed::warn_of_poor_ratio;
use crate::plan::{Draft, is_zombie};
use crate::reclaimable;
use crate::refusals::{not_permitted, not_supported, usage};

/// The most processes that one page-out looks at.
const MOST_PROCESSES: usize = 4096;

pub(crate) fn plan(facts: &PreflightFacts, draft: &mut Draft) {
    if !facts.features.process_madvise {
        draft.refuse(not_supported(
            "this kernel has no process_madvise, which came with Linux 5.10",
            "use --reclaim on the target's cgroup where the kernel has memory.reclaim",
        ));
        return;
    }
    if !facts.privileges.sys_nice {
        draft.refuse(not_permitted(
            "paging out another process needs CAP_SYS_NICE",
            "run the same command with sudo",
        ));
        return;
    }
    let candidates: Vec<&ProcessMemory> = facts
        .processes
        .iter()
        .filter(|process| !process.kernel_thread && !is_zombie(process))
        // Neither the process that keeps the machine alive nor ourselves.
        .filter(|process| process.id.pid != 1 && process.id.pid != facts.own_pid)
        .collect();
    // The kernel asks the same of who reads PSS: that one owns the process, or
    // has the capability.
    let closed = candidates
        .iter()
        .filter(|process| process.pss.is_none())
        .count();
    if closed > 0 && !facts.privileges.sys_ptrace {
        draft.refuse(not_permitted(
            format!(
                "paging out processes of others needs CAP_SYS_PTRACE: {closed} of {} may not be \
                 looked into",
                candidates.len()
            ),
            "run the same command with sudo",
        ));
        return;
    }
    let processes: Vec<ProcessId> = candidates.iter().map(|process| process.id).collect();
    if processes.is_empty() {
        draft.refuse(usage(
            "the target has no process to page out",
            "name another target",
        ));
        return;
    }
    if processes.len() > MOST_PROCESSES {
        draft.refuse(usage(
            format!(
                "the target has {} processes, more than {MOST_PROCESSES}",
                processes.len()
            ),
            "name a smaller cgroup",
        ));
        return;
    }
    let room = reclaimable::swap_room(facts, facts.cgroup.as_ref());
    let predicted = predict(facts, room);
    let anonymous: Bytes = facts
        .processes
        .iter()
        .filter_map(|process| process.rss_anon)
        .sum();
    if room == Bytes::ZERO && anonymous > Bytes::ZERO {
        draft.warn(format!(
            "there is no swap: {anonymous} of anonymous memory stays where it is"
        ));
    } else if anonymous > room {
        draft.warn(format!(
            "swap has room for {room} of {anonymous} of anonymous memory"
        ));
    }
    if room.min(anonymous) > Bytes::ZERO {
        warn_of_poor_ratio(facts, draft);
    }
    let cold = cold::of_target(facts);
    if let Some(warning) = predicted
        .zip(cold)
        .and_then(|(amount, cold)| cold::warning(amount, cold))
    {
        draft.warn(warning);
    }
    draft.steps.push(PlanStep {
        action: "page_out".to_owned(),
        change: Change::Once {
            shot: OneShot::PageOut { processes },
        },
        predicted,
        risk: Risk::Medium,
        reason: if room == Bytes::ZERO {
            "file pages that nobody else maps; anonymous memory has no room in swap".to_owned()
        } else {
            format!("anonymous memory fits into {room} of swap; shared file pages stay")
        } + &cold::remark(cold),
        undo: "pages come back when they are used".to_owned(),
        guards: Vec::new(),
        may_block: true,
    });
}

fn predict(facts: &PreflightFacts, room: Bytes) -> Option<Bytes> {
    let mut left = room;
    let mut sum = None;
    for process in &facts.processes {
        let Some(bytes) = reclaimable::of_process(process, left) else {
            continue;
        };
        left = left.saturating_sub(bytes.min(process.rss_anon.unwrap_or_default()));
        sum = Some(bytes.saturating_add(sum.unwrap_or_default()));
    }
    sum
}
