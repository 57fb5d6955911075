//! `memory.reclaim` on a cgroup.
//!
//! Keeps no state, so it works on everybody's cgroups; never used on a cgroup
//! that the target shares with others.

use grey_model::{Bytes, Change, OneShot, PlanStep, PreflightFacts, Risk, TargetKind, shell_word};

use crate::cold;
use crate::compressed::warn_of_poor_ratio;
use crate::plan::Draft;
use crate::reclaimable;
use crate::refusals::{harmful, needs_root, needs_v2_memory, not_supported, threaded, usage};

pub(crate) fn plan(amount: Bytes, facts: &PreflightFacts, draft: &mut Draft) {
    if amount == Bytes::ZERO {
        draft.refuse(usage(
            "there is nothing to reclaim in 0 bytes",
            "give a size such as 100M",
        ));
        return;
    }
    if !facts.host.cgroup_mode.has_v2_memory() {
        draft.refuse(needs_v2_memory("--reclaim"));
        return;
    }
    if !facts.features.memory_reclaim {
        draft.refuse(not_supported(
            "this kernel has no memory.reclaim, which came with Linux 5.19",
            "--page-out takes single processes' pages; --high reclaims down to a limit",
        ));
        return;
    }
    if let Some(refusal) = threaded(facts) {
        draft.refuse(refusal);
        return;
    }
    let (Some(target), Some(cgroup)) = (&facts.target, &facts.cgroup) else {
        draft.refuse(not_supported(
            "the target's cgroup could not be read",
            "name a cgroup or a unit: --target /build/web",
        ));
        return;
    };
    let shared = target.bystanders > 0 || cgroup.path.is_root();
    if target.kind == TargetKind::Process && shared {
        draft.refuse(harmful(
            format!(
                "process {} shares {} with {} other processes, and memory.reclaim would take \
                 theirs too",
                target.typed, cgroup.path, target.bystanders
            ),
            format!(
                "use --page-out for this process alone, or --target {}",
                shell_word(cgroup.path.as_bytes())
            ),
        ));
        return;
    }
    if cgroup.path.is_root() {
        draft.refuse(not_supported(
            "the root cgroup has no memory.current to prove the effect by",
            "name a cgroup below it; --drop-caches is for the whole machine",
        ));
        return;
    }
    if !facts.privileges.root {
        draft.refuse(needs_root("memory.reclaim"));
        return;
    }
    let reclaimable = reclaimable::of_cgroup(facts, cgroup);
    let predicted = amount.min(reclaimable.total());
    if predicted < amount {
        draft.warn(shortfall(amount, &reclaimable));
    }
    let cold = cold::of_target(facts);
    if let Some(warning) = cold.and_then(|cold| cold::warning(amount, cold)) {
        draft.warn(warning);
    }
    if amount > reclaimable.file && reclaimable.swappable > Bytes::ZERO {
        warn_of_poor_ratio(facts, draft);
    }
    draft.steps.push(PlanStep {
        action: "reclaim".to_owned(),
        change: Change::Once {
            shot: OneShot::Reclaim {
                cgroup: cgroup.path.clone(),
                amount,
                until: None,
            },
        },
        predicted: Some(predicted),
        risk: if reclaimable.file >= amount {
            Risk::Low
        } else {
            Risk::Medium
        },
        reason: format!(
            "{} of page cache, {} that can be swapped, {} of slab{}",
            reclaimable.file,
            reclaimable.swappable,
            reclaimable.slab,
            cold::remark(cold)
        ),
        undo: "pages come back when they are used".to_owned(),
        guards: Vec::new(),
        may_block: true,
    });
}

fn shortfall(amount: Bytes, reclaimable: &reclaimable::Reclaimable) -> String {
    let total = reclaimable.total();
    if reclaimable.swap_room == Bytes::ZERO && reclaimable.anonymous > Bytes::ZERO {
        return format!(
            "only about {total} of {amount} can be reclaimed: {} is anonymous and there is no \
             swap for it",
            reclaimable.anonymous
        );
    }
    format!("only about {total} of {amount} can be reclaimed")
}
