//! KSM: start it, and make it scan faster.
//!
//! Never plans to unmerge, which needs memory that may not be there.

use grey_model::{Change, Knob, KnobValue, KsmFile, KsmSpeed, PlanStep, PreflightFacts, Risk};

use crate::plan::Draft;
use crate::refusals::{needs_root, not_supported};

/// Pages in each turn of the aggressive speed: with 20 ms pauses about 37 MiB/s
/// of identical data.
const AGGRESSIVE_PAGES: u64 = 1000;
/// Pause between turns of the aggressive speed, in milliseconds.
const AGGRESSIVE_SLEEP: u64 = 20;

pub(crate) fn plan(speed: KsmSpeed, facts: &PreflightFacts, draft: &mut Draft) {
    let Some(ksm) = &facts.ksm else {
        draft.refuse(not_supported(
            "this kernel is built without KSM",
            "use a kernel with CONFIG_KSM=y",
        ));
        return;
    };
    if !facts.privileges.root {
        draft.refuse(needs_root("KSM"));
        return;
    }
    if !facts.features.sysfs_writable {
        draft.refuse(not_supported(
            "/sys is mounted read-only",
            "run on the host",
        ));
        return;
    }
    // What is so already is a step, too: a lease may be about to end it.
    if speed == KsmSpeed::Aggressive {
        if let Some(mode) = &ksm.advisor_mode {
            let reason = "the advisor sets the speed by itself; it has to stop first";
            let none = "none".to_owned();
            set(draft, KsmFile::AdvisorMode, mode.clone(), none, reason);
        }
        if let Some(pages) = ksm.pages_to_scan {
            let (before, after) = (pages.to_string(), pages.max(AGGRESSIVE_PAGES).to_string());
            set(
                draft,
                KsmFile::PagesToScan,
                before,
                after,
                "more pages in each turn",
            );
        }
        if let Some(sleep) = ksm.sleep_milliseconds {
            let (before, after) = (sleep.to_string(), sleep.min(AGGRESSIVE_SLEEP).to_string());
            set(
                draft,
                KsmFile::SleepMillisecs,
                before,
                after,
                "shorter pauses",
            );
        }
    }
    let Some(run) = ksm.run else {
        draft.refuse(not_supported(
            "ksm/run could not be read",
            "run as root on the host",
        ));
        return;
    };
    let reason = "merge identical pages of programs that asked for it";
    set(draft, KsmFile::Run, run.to_string(), "1".to_owned(), reason);
    draft.warn(
        "KSM merges only private anonymous memory of programs that asked for it (madvise \
         MERGEABLE, PR_SET_MEMORY_MERGE, MemoryKSM=), needs two full scans, and lets programs \
         find out what others hold: same trust domain only",
    );
}

fn set(draft: &mut Draft, file: KsmFile, before: String, after: String, reason: &str) {
    draft.steps.push(PlanStep {
        action: "enable_ksm".to_owned(),
        undo: if file == KsmFile::Run && before == "2" {
            "stop it with 0; merged pages stay merged (it was 2, which would unmerge them)"
                .to_owned()
        } else {
            format!("set it back to {before}; merged pages stay merged")
        },
        change: Change::Set {
            knob: Knob::Ksm { file },
            before: Some(KnobValue(before)),
            after: Some(KnobValue(after)),
        },
        predicted: None,
        risk: Risk::Low,
        reason: reason.to_owned(),
        guards: Vec::new(),
        may_block: false,
    });
}
