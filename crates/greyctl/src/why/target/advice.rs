//! What would help, with the commands that do it.
//!
//! Pure. Every command only plans: what takes memory or sets a limit is
//! recommended as a simulation, which says itself what it would do.

use grey_model::{Bytes, CgroupPath, ResolvedTarget, Target, TargetKind};

use super::document::{Account, AccountKind};
use super::gather::Closer;
use super::parts::swap_room;
use super::{kernel_memory, left_behind};
use crate::cli::GlobalOptions;
use crate::diagnose::document::Diagnosis;
use crate::recommend::{command, command_on};

/// Less than this is not worth a command.
const WORTH: Bytes = Bytes::from_mib(16);

/// Of what was left behind less than this is not: commands count in MiB.
const LEAST_LEFT: Bytes = Bytes::from_mib(1);

/// A limit with less than this left is the cause, in percent of the limit.
const TIGHT_PERCENT: u64 = 10;

/// Who holds this share of the machine without a limit should have one, in
/// percent.
const LARGE_PERCENT: u64 = 25;

/// A limit that is recommended is this share of what is used, in percent.
const ROOMY_PERCENT: u64 = 125;

/// Everything that would help, what ends harm first.
pub(super) fn all(closer: &Closer<'_>, account: &Account, diagnosis: &Diagnosis) -> Vec<String> {
    let global = closer.global;
    match account.kind {
        AccountKind::RootCgroup | AccountKind::KernelThread => {
            let look = command(global, "memory-diagnose");
            return vec![format!("see where the machine's memory is: {look}")];
        }
        AccountKind::Zombie | AccountKind::Vanished | AccountKind::Unreadable => return Vec::new(),
        _ => {}
    }
    let mut advice = Vec::new();
    advice.extend(more_room(global, account));
    advice.extend(killed(global, account));
    advice.extend(leaking(global, account));
    advice.extend(take_back(global, account, diagnosis));
    advice.extend(find_cold(global, account));
    advice.extend(hold(global, account, diagnosis));
    advice.extend(unnamed(account));
    if !account.unseen.is_empty() && !rustix::process::geteuid().is_root() {
        advice.push("see the rest: run the same command with sudo".to_owned());
    }
    if account.trend.is_none() && account.kind != AccountKind::EmptyCgroup {
        advice.extend(find_growth(closer, account));
    }
    advice
}

/// What is known of nobody's growth yet: a recorder keeps that, or a look tells it
/// where a recorder is at work and has nothing of this one.
fn find_growth(closer: &Closer<'_>, account: &Account) -> Option<String> {
    if !closer.is_being_recorded {
        let record = command(closer.global, "record");
        return Some(format!(
            "keep a history, which tells how it grows: {record}"
        ));
    }
    let words = "memory-diagnose --detect-leaks --for 60s";
    let line = command_on(closer.global, words, &named(&account.target)?)?;
    Some(format!(
        "see how it grows, of which the recorder that is at work has nothing yet: {line}"
    ))
}

/// How the target is named: a process by its pid, all else by its path.
fn named(target: &ResolvedTarget) -> Option<Target> {
    match (target.kind, target.process) {
        (TargetKind::Process, Some(process)) => Some(Target::Pid(process.pid)),
        _ => target.cgroup.clone().map(Target::Cgroup),
    }
}

/// Why there is no command about a group that would have one.
fn unnamed(account: &Account) -> Option<String> {
    let limits = account.limits.iter().map(|limit| limit.cgroup.clone());
    let mut groups = limits.map(Target::Cgroup).chain(named(&account.target));
    groups.any(|group| group.to_word().is_none()).then(|| {
        "there is no command about a group whose name is not UTF-8, as none can be typed".to_owned()
    })
}

/// In whole MiB, rounded up, as it is typed.
fn typed(bytes: Bytes) -> String {
    format!("{}M", bytes.get().div_ceil(1 << 20))
}

/// A limit that is nearly reached, of whichever cgroup has it.
fn more_room(global: &GlobalOptions, account: &Account) -> Option<String> {
    let limit = account.limits.iter().find(|limit| {
        let tight = limit.limit.scale(TIGHT_PERCENT, 100);
        limit.left.is_some_and(|left| left < tight)
    })?;
    let (option, harm) = match limit.file {
        "memory.high" => ("--high", "is slowed down"),
        _ => ("--limit", "has processes killed"),
    };
    let roomy = typed(limit.limit.scale(ROOMY_PERCENT, 100));
    let words = format!("memory-enforce {option} {roomy} --simulation");
    let line = command_on(global, &words, &Target::Cgroup(limit.cgroup.clone()))?;
    // The group's name stands in the command alone: it may look like one itself.
    Some(format!(
        "see what a wider limit would take than {}, at which a group {harm}: {line}",
        limit.limit
    ))
}

fn killed(global: &GlobalOptions, account: &Account) -> Option<String> {
    let own = account
        .cgroups
        .iter()
        .find(|group| account.target.cgroup.as_ref() == Some(&group.path))?;
    let kills = own.events.as_ref()?.oom_kill?;
    (kills > 0).then(|| {
        let line = command(global, "why --killed");
        format!("see who was killed, and by whom: {line}")
    })
}

fn leaking(global: &GlobalOptions, account: &Account) -> Option<String> {
    let verdict = account.trend.as_ref()?.judgement.verdict;
    verdict.grows().then_some(())?;
    let words = "memory-diagnose --detect-leaks --for 10m";
    let line = command_on(global, words, &named(&account.target)?)?;
    Some(format!("see whether it goes on growing: {line}"))
}

/// What can be taken back without its doing anything.
fn take_back(global: &GlobalOptions, account: &Account, diagnosis: &Diagnosis) -> Option<String> {
    let target = named(&account.target)?;
    if account.target.kind == TargetKind::Process {
        let anonymous = account
            .parts
            .iter()
            .find(|part| part.kind == super::document::PartKind::Anonymous)?;
        // Paging out needs somewhere to put it.
        if anonymous.bytes.min(swap_room(diagnosis)) < WORTH {
            return None;
        }
        let line = command_on(global, "memory-enforce --page-out --simulation", &target)?;
        return Some(format!("see what paging it out would bring: {line}"));
    }
    let own = account
        .cgroups
        .iter()
        .find(|group| account.target.cgroup.as_ref() == Some(&group.path))
        .filter(|own| own.can_reclaim)?;
    let cold = account
        .cold
        .as_ref()
        .and_then(|cold| cold.window(300))
        .and_then(|window| window.cold)
        .filter(|cold| *cold >= WORTH);
    // Of what was left behind most may stay whatever is asked.
    let left_behind =
        (account.kind == AccountKind::EmptyCgroup).then(|| left_behind::going(account));
    let cache = own.stat.as_ref().and_then(|stat| stat.inactive_file);
    // It keeps them, however little it is.
    let of_removed = kernel_memory::many_removed(account).map(|_| left_behind::going(account));
    let (amount, what) = match (left_behind, cold, cache) {
        (Some(left), _, _) if left >= LEAST_LEFT => (left, "what goes of what was left behind"),
        (Some(_), _, _) => return None,
        (_, Some(cold), _) => (cold, "what was not seen in use"),
        (_, None, Some(cache)) if cache >= WORTH => (cache, "page cache that is not in use"),
        _ if of_removed >= Some(LEAST_LEFT) => (
            of_removed.unwrap_or_default(),
            "what may keep the cgroups that were removed",
        ),
        _ => return None,
    };
    let words = format!("memory-enforce --reclaim {} --simulation", typed(amount));
    let line = command_on(global, &words, &target)?;
    Some(format!("see what taking back {what} would bring: {line}"))
}

/// Where the kernel does not tell by itself what is cold, and it would matter.
fn find_cold(global: &GlobalOptions, account: &Account) -> Option<String> {
    let cold = account.cold.as_ref()?;
    let is_known = cold.windows.iter().any(|window| window.cold.is_some());
    if is_known || account.held.is_none_or(|held| held < WORTH) {
        return None;
    }
    let words = "memory-diagnose --cold --for 60s";
    let line = command_on(global, words, &named(&account.target)?)?;
    Some(format!(
        "find what it does not use (marks of use are taken away for it): {line}"
    ))
}

/// A large target without a limit.
fn hold(global: &GlobalOptions, account: &Account, diagnosis: &Diagnosis) -> Option<String> {
    let held = account.held?;
    let is_large = held >= diagnosis.system.total.scale(LARGE_PERCENT, 100);
    if !is_large || !account.limits.is_empty() {
        return None;
    }
    if account.target.kind != TargetKind::Process && !diagnosis.host.cgroup_mode.has_v2_memory() {
        let doctor = command(global, "doctor");
        return Some(format!(
            "no limit can be set on it, which needs the memory controller of cgroup version 2; see \
             what this machine has: {doctor}"
        ));
    }
    if account.kind != AccountKind::Cgroup {
        return None;
    }
    let path: &CgroupPath = account.target.cgroup.as_ref()?;
    let limit = held.scale(ROOMY_PERCENT, 100);
    let words = format!("memory-enforce --high {} --simulation", typed(limit));
    let line = command_on(global, &words, &Target::Cgroup(path.clone()))?;
    Some(format!(
        "see what keeping it near what it uses would take: {line}"
    ))
}
