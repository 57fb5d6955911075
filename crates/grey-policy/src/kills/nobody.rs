//! Times at which memory was out and the kernel killed nobody, in words: it
//! stopped the machine, or had none whom it may kill.
//!
//! Never says that the machine stopped where the log does not have its panic.

use grey_model::{
    Constraint, KernelKill, KernelText, Kill, KillRecord, Killer, MemoryLimit, MemoryRequest,
    NobodyKilled, NobodyKilledRecord, NobodyReason, Shortage,
};

use super::advice::NEVER;
use super::by_kernel::{consumers, crossed, page_size_of};
use super::merge::is_same_report;
use super::shortage::swap_then;
use super::{KillFacts, TimedRecord, advice, blank, shortage};

/// The process that the kernel never kills.
const INIT: u32 = 1;

const REBOOT: &str = "have the machine boot by itself 30 s after it stopped, where kernel.panic is 0, \
                      and set it in /etc/sysctl.d, too, for every boot: sysctl -w kernel.panic=30";

const RECORD: &str = "keep what leads to it, for the next time: greyctl record";

const FEWER: &str = "protect fewer from the kernel: an oom_score_adj of -1000 (OOMScoreAdjust=-1000 of a \
                     unit) is for what nobody can do without, and -900 is killed after all others, too";

const KILL_ONE: &str = "have one process killed in place of the whole machine stopped, and take it out of \
                        /etc/sysctl.d, which sets it at each boot: sysctl -w vm.panic_on_oom=0";

/// Explains every time at which the kernel killed nobody, in the order in which
/// they were logged.
#[must_use]
pub fn explain_nobody_killed(records: &[TimedRecord], facts: &KillFacts<'_>) -> Vec<NobodyKilled> {
    let mut cases: Vec<NobodyKilled> = Vec::new();
    for (record, nobody) in once(records) {
        let case = explain(&record, &nobody, facts);
        match cases.last_mut() {
            Some(before) if goes_on(before, &case) => before.times += 1,
            _ => cases.push(case),
        }
    }
    if cases.iter().all(|case| case.at.is_some()) {
        cases.sort_by_key(|case| case.at);
    }
    cases
}

/// Each once: `/dev/kmsg` and the journal have the same.
fn once(records: &[TimedRecord]) -> Vec<(TimedRecord, NobodyKilledRecord)> {
    let mut all: Vec<(TimedRecord, NobodyKilledRecord)> = Vec::new();
    for record in records {
        let KillRecord::Nobody(nobody) = &record.record else {
            continue;
        };
        let known = all.iter_mut().find(|(before, known)| {
            known.reason == nobody.reason
                && known.report.limit_cgroup == nobody.report.limit_cgroup
                && is_same_report(before, record)
        });
        match known {
            None => all.push((record.clone(), (**nobody).clone())),
            Some((before, known)) => {
                if before.at.is_none() {
                    (before.at, before.uncertain_by) = (record.at, record.uncertain_by);
                }
                known.panicked |= nobody.panicked;
                if nobody.report.whole && !known.report.whole {
                    known.report = nobody.report.clone();
                }
            }
        }
    }
    all
}

/// Whether it is the same again: the kernel tries as long as somebody asks.
fn goes_on(before: &NobodyKilled, case: &NobodyKilled) -> bool {
    case.machine_stopped == Some(false)
        && before.machine_stopped == Some(false)
        && (before.reason, &before.host, &before.limit_cgroup)
            == (case.reason, &case.host, &case.limit_cgroup)
}

fn explain(
    record: &TimedRecord,
    nobody: &NobodyKilledRecord,
    facts: &KillFacts<'_>,
) -> NobodyKilled {
    let report = &nobody.report;
    let is_of_cgroup = report.constraint == Some(Constraint::Cgroup);
    let is_by_hand = report.request == Some(MemoryRequest::SysRq);
    let machine_stopped = match nobody.panicked {
        true => Some(true),
        false => (is_of_cgroup || is_by_hand).then_some(false),
    };
    let killer = if is_of_cgroup {
        Killer::KernelCgroup
    } else {
        Killer::KernelGlobal
    };
    // What a kill of nobody would be: the same limits and consumers.
    let like = Kill {
        limit_cgroup: report.limit_cgroup.clone(),
        limit_bytes: crossed(report).and_then(|(_, limit)| limit.bytes()),
        usage_bytes: crossed(report).map(|(usage, _)| usage),
        consumers: consumers(report, page_size_of(report, facts.page_size)),
        ..blank(record, killer)
    };
    NobodyKilled {
        machine_stopped,
        reason: nobody.reason,
        shortage: short_of(nobody),
        asked_by: report.asked_by.clone(),
        times: 1,
        explanation: explanation(nobody, machine_stopped, facts),
        advice: what_to_do(&like, nobody, facts),
        at: like.at,
        at_uncertain_by_seconds: like.at_uncertain_by_seconds,
        since_boot_seconds: like.since_boot_seconds,
        host: like.host,
        limit_cgroup: like.limit_cgroup,
        limit_bytes: like.limit_bytes,
        usage_bytes: like.usage_bytes,
        consumers: like.consumers,
    }
}

/// What was short, where that was no cgroup's limit. Without the report a panic
/// still says that it was for the machine, but for the one that has any reason.
fn short_of(nobody: &NobodyKilledRecord) -> Option<Shortage> {
    let report = &nobody.report;
    match report.constraint {
        Some(Constraint::Cgroup) => None,
        Some(_) => Some(shortage::of(report)),
        None => match nobody.reason {
            NobodyReason::PanicOnOomCompulsory => None,
            _ if nobody.panicked => Some(Shortage::Machine),
            _ => None,
        },
    }
}

fn explanation(
    nobody: &NobodyKilledRecord,
    machine_stopped: Option<bool>,
    facts: &KillFacts<'_>,
) -> Vec<String> {
    let report = &nobody.report;
    let why = why(nobody, facts);
    let mut lines = vec![match (nobody.reason, machine_stopped) {
        (NobodyReason::NoCandidate, Some(true)) => format!(
            "the machine stopped (kernel panic: System is deadlocked on memory): {why}, and there \
             was nobody whom the kernel may kill"
        ),
        (NobodyReason::NoCandidate, _) => {
            format!("the kernel killed nobody: {why}, and there was nobody whom it may kill")
        }
        (NobodyReason::PanicOnOom, _) => format!(
            "the machine stopped (kernel panic): {why}, and vm.panic_on_oom is 1, with which the \
             kernel then stops the machine in place of killing a process"
        ),
        (NobodyReason::PanicOnOomCompulsory, _) => format!(
            "the machine stopped (kernel panic): {why}, and vm.panic_on_oom is 2, with which the \
             kernel stops the machine for a control group, a cpuset or a memory policy, too"
        ),
    }];
    if nobody.reason == NobodyReason::NoCandidate {
        lines.extend(candidates(report));
    }
    let shortage = short_of(nobody);
    match machine_stopped {
        Some(true) => {}
        Some(false) if shortage.is_none() => lines.push(
            "the machine went on, but who asked for memory there got none: a system call fails \
             (ENOMEM), and who touches a page tries again and again"
                .to_owned(),
        ),
        Some(false) => lines.push("the machine went on".to_owned()),
        None => lines.push(
            "where it was the machine's memory, the kernel stops the machine next (kernel panic); \
             the log ends before it says so"
                .to_owned(),
        ),
    }
    if shortage.is_some_and(|shortage| shortage != Shortage::Nothing) {
        lines.extend(
            shortage
                .and_then(shortage::what_it_means)
                .map(str::to_owned),
        );
        lines.extend(swap_then(report));
    }
    if !report.whole {
        lines.push(
            "the killer's report before it is not whole, or not in the log: who used the memory is \
             told as far as it is there"
                .to_owned(),
        );
    }
    lines
}

/// What there was too little of.
fn why(nobody: &NobodyKilledRecord, facts: &KillFacts<'_>) -> String {
    let report = &nobody.report;
    match (report.constraint, short_of(nobody)) {
        (None, Some(_)) => "it was out of memory".to_owned(),
        (None, None) => "memory was out; of what, the log no longer says".to_owned(),
        (_, Some(shortage)) => shortage::reason(report, shortage, facts.page_size),
        (_, None) => {
            let which = match &report.limit_cgroup {
                Some(path) => format!("the control group {path}"),
                None => "a control group".to_owned(),
            };
            let amounts = match crossed(report) {
                Some((usage, MemoryLimit::Bytes(limit))) => {
                    format!(" and used {usage} of {limit}")
                }
                _ => String::new(),
            };
            format!("{which} was at its limit{amounts}")
        }
    }
}

/// Why none of those in the report could be killed.
fn candidates(report: &KernelKill) -> Option<String> {
    let listed = report.tasks.len();
    let is_protected = |score: i16| score == NEVER;
    let protected = report
        .tasks
        .iter()
        .filter(|row| is_protected(row.oom_score_adj));
    let protected = protected.count();
    let others = report
        .tasks
        .iter()
        .filter(|row| !is_protected(row.oom_score_adj));
    let are_init = others.clone().all(|row| row.pid == INIT);
    let which = if report.tasks_left_out == 0 {
        "of the report"
    } else {
        "that are listed here"
    };
    if listed == 0 {
        return report.whole.then(|| {
            "the report lists no process: all that held memory were the kernel's own, or \
             vm.oom_dump_tasks is 0"
                .to_owned()
        });
    }
    let all = format!("{protected} of the {listed} processes {which}");
    Some(match (others.count(), are_init) {
        (0, _) if listed == 1 => {
            "the only process of the report has an oom_score_adj of -1000, with which the kernel \
             never kills"
                .to_owned()
        }
        (0, _) => format!(
            "all {listed} processes {which} have an oom_score_adj of -1000, with which the kernel \
             never kills"
        ),
        (_, true) => format!(
            "{all} have an oom_score_adj of -1000, with which the kernel never kills, and the \
             other one is init, which it does not kill either"
        ),
        _ => format!(
            "{all} have an oom_score_adj of -1000, with which the kernel never kills; the others \
             were already ending and gave nothing back, or share their memory with init"
        ),
    })
}

fn what_to_do(like: &Kill, nobody: &NobodyKilledRecord, facts: &KillFacts<'_>) -> Vec<String> {
    let report = &nobody.report;
    let is_by_hand = report.request == Some(MemoryRequest::SysRq);
    let mut advice = Vec::new();
    if nobody.reason != NobodyReason::NoCandidate {
        advice.push(KILL_ONE.to_owned());
    }
    if report.constraint == Some(Constraint::Cgroup) {
        advice.extend(advice::for_kernel(like, report, facts));
    } else if !is_by_hand {
        advice.push(advice::SEE_USERS.to_owned());
        if report.constraint.is_some() {
            advice.extend(advice::for_machine(like, facts));
        }
        advice.extend(advice::swap(report));
    }
    let protected = report.tasks.iter().filter(|row| row.oom_score_adj == NEVER);
    if nobody.reason == NobodyReason::NoCandidate {
        advice.push(FEWER.to_owned());
        let largest: Option<&KernelText> = protected.map(|row| &row.name).next();
        advice.extend(largest.and_then(|name| advice::unprotect(name, facts)));
    }
    if nobody.panicked {
        advice.push(REBOOT.to_owned());
        advice.push(RECORD.to_owned());
    }
    advice
}
