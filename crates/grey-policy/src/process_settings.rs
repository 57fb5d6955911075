//! `oom_score_adj` and RLIMIT_DATA of single processes.
//!
//! Neither frees memory; both decide what happens when it runs out.

use std::cmp::Ordering;

use grey_model::{
    Bytes, Change, Knob, KnobValue, PlanStep, PreflightFacts, ProcessMemory, Risk, TargetKind,
};

use crate::plan::{Draft, is_zombie};
use crate::refusals::{harmful, not_permitted, not_supported, usage};

/// The most processes whose `oom_score_adj` one run sets.
const MOST_PROCESSES: usize = 256;

pub(crate) fn plan_oom(value: i16, facts: &PreflightFacts, draft: &mut Draft) {
    if !(-1000..=1000).contains(&value) {
        draft.refuse(usage(
            format!("oom_score_adj {value} is not between -1000 and 1000"),
            "-1000 never kills, 0 is neutral, 1000 kills first",
        ));
        return;
    }
    let processes: Vec<&ProcessMemory> = facts
        .processes
        .iter()
        .filter(|process| !process.kernel_thread && !is_zombie(process))
        .collect();
    if processes.is_empty() || processes.len() > MOST_PROCESSES {
        draft.refuse(usage(
            format!("the target has {} processes", processes.len()),
            format!("name a target with 1 to {MOST_PROCESSES} processes"),
        ));
        return;
    }
    for process in processes {
        plan_oom_of(process, value, facts, draft);
    }
    if value == -1000 {
        draft.warn("with -1000 the kernel kills everything else first, and never this");
    }
}

fn plan_oom_of(process: &ProcessMemory, value: i16, facts: &PreflightFacts, draft: &mut Draft) {
    let id = process.id;
    let Some(before) = process.oom_score_adj else {
        draft.refuse(not_permitted(
            format!("oom_score_adj of process {id} could not be read"),
            "run the same command with sudo",
        ));
        return;
    };
    if i32::from(value) < before && !facts.privileges.sys_resource {
        // The floor is the lowest value that somebody with the capability has
        // set last; the kernel shows it nowhere.
        draft.warn(format!(
            "without CAP_SYS_RESOURCE oom_score_adj of process {id} goes below {before} only if it \
             was raised without it: the kernel decides{}",
            if facts.privileges.root {
                "; this root lacks it: in a container, give the container CAP_SYS_RESOURCE"
            } else {
                ""
            }
        ));
    }
    draft.steps.push(PlanStep {
        action: "oom_score_adj".to_owned(),
        change: Change::Set {
            knob: Knob::OomScoreAdj { process: id },
            before: Some(KnobValue(before.to_string())),
            after: Some(KnobValue(value.to_string())),
        },
        predicted: None,
        risk: if value == -1000 {
            Risk::High
        } else {
            Risk::Low
        },
        reason: format!(
            "{} goes {} when the machine runs out",
            process.name.to_process_name(),
            when(before, value)
        ),
        undo: format!("set it back to {before}"),
        guards: Vec::new(),
        may_block: false,
    });
}

fn when(before: i32, value: i16) -> &'static str {
    if value == -1000 {
        return "never";
    }
    match i32::from(value).cmp(&before) {
        Ordering::Less => "later than now",
        Ordering::Equal => "as now",
        Ordering::Greater => "sooner than now",
    }
}

pub(crate) fn plan_rlimit(limit: Bytes, facts: &PreflightFacts, draft: &mut Draft) {
    let process = facts.target.as_ref().and_then(|target| {
        (target.kind == TargetKind::Process)
            .then_some(target.process)
            .flatten()
    });
    let Some(process) = process else {
        draft.refuse(usage(
            "RLIMIT_DATA is a limit of one process",
            "give --target a pid",
        ));
        return;
    };
    let Some(before) = &facts.rlimit_data else {
        draft.refuse(not_permitted(
            format!("the limits of process {process} could not be read"),
            "run the same command with sudo",
        ));
        return;
    };
    let Some(hard) = before.split_once(':').map(|(_, hard)| hard) else {
        draft.refuse(not_supported(
            "the limit could not be understood",
            format!("look at it: cat /proc/{}/limits", process.pid),
        ));
        return;
    };
    if hard.parse().is_ok_and(|hard: u64| limit.0 > hard) {
        draft.refuse(usage(
            format!("{limit} is above the hard limit of process {process}"),
            format!("use at most --rlimit-data {hard}"),
        ));
        return;
    }
    // A limit under what is in use makes the very next allocation fail.
    let used = facts.vm_data.unwrap_or_default();
    if limit < used.scale(105, 100) {
        draft.refuse(harmful(
            format!("process {process} has {used} of data already: with {limit} its next allocation fails"),
            format!(
                "rlimits free nothing; use at least --rlimit-data {}M",
                used.scale(105, 100).0.div_ceil(1 << 20)
            ),
        ));
        return;
    }
    draft.warn("RLIMIT_DATA frees nothing: allocations above it fail, and the program must cope");
    let before = KnobValue(before.clone());
    draft.steps.push(PlanStep {
        action: "rlimit_data".to_owned(),
        change: Change::Set {
            knob: Knob::RlimitData { process },
            before: Some(before.clone()),
            after: Some(KnobValue(format!("{}:{hard}", limit.0))),
        },
        predicted: None,
        risk: Risk::Medium,
        reason: format!("{used} of data in use, growth ends at {limit}"),
        undo: format!("set it back to {}", before.readable()),
        guards: Vec::new(),
        may_block: false,
    });
}
