//! The answer in sentences, each with its number.
//!
//! Pure: an account becomes sentences. What is not known makes no sentence.

use std::cmp::Reverse;
use std::time::Duration;

use grey_model::{
    Bytes, CgroupMemory, ColdMemory, ColdWindow, LeakVerdict, MemoryLimit, Percent, Pressure,
    TargetKind, roughly,
};

use super::document::{Account, AccountKind, Finding, SharedWith, Topic, Trend, TrendSource};
use super::{kernel_memory, left_behind, parts, shared_memory};
use crate::count::counted;
use crate::diagnose::document::Diagnosis;

/// So many mappings, processes and sharers a sentence names.
pub(super) const MOST_NAMED: usize = 3;

/// Less than this makes no sentence on what is shared.
pub(super) const LEAST_SHARED: Bytes = Bytes::from_kib(64);

/// The windows of cold memory, the one that is told of first.
const COLD_WINDOWS: [u64; 3] = [300, 900, 60];

/// When a limit is reached is not told beyond this: nobody plans a year ahead.
const FORESEEABLE: f64 = 365.0 * 86_400.0;

/// Every sentence: what it holds, then the causes by size, then what has none.
pub(super) fn all(account: &Account, diagnosis: &Diagnosis) -> Vec<Finding> {
    if let Some(text) = without_memory(account, diagnosis) {
        return vec![finding(Topic::Total, None, text)];
    }
    let mut sized = parts::all(account, diagnosis);
    sized.extend(sharing(account));
    sized.extend(account.cold.as_ref().and_then(cold));
    sized.sort_by_key(|finding| Reverse(finding.bytes));
    let mut findings = vec![total(account, diagnosis)];
    findings.extend(processes(account));
    findings.append(&mut sized);
    findings.extend(kernel_memory::removed(account));
    findings.extend(limits(account, diagnosis));
    findings.extend(account.cgroups.iter().filter_map(|group| {
        let is_own = account.target.cgroup.as_ref() == Some(&group.path);
        let has_limit = account
            .limits
            .iter()
            .any(|limit| limit.cgroup == group.path);
        (is_own || has_limit).then(|| events(group)).flatten()
    }));
    findings.extend(pressure(account, diagnosis));
    findings.extend(account.trend.as_ref().map(trend));
    findings
}

/// A sentence.
pub(super) fn finding(topic: Topic, bytes: Option<Bytes>, text: impl Into<String>) -> Finding {
    Finding {
        topic,
        bytes,
        text: text.into(),
    }
}

/// The only sentence on what holds nothing itself.
fn without_memory(account: &Account, diagnosis: &Diagnosis) -> Option<String> {
    let target = &account.target;
    let process = diagnosis
        .processes
        .iter()
        .find(|process| Some(process.id) == target.process);
    match account.kind {
        AccountKind::Vanished if target.kind != TargetKind::Process => Some(
            "it was removed while it was looked at: what it left behind counts in the cgroups \
             above it until it goes"
                .to_owned(),
        ),
        AccountKind::Vanished => Some(format!(
            "it ended while it was looked at: `{}` holds nothing any more",
            target.typed
        )),
        AccountKind::Unreadable => Some(
            "it is there, and the kernel did not let us read what it holds: run the same command \
             with sudo, if it is another user's"
                .to_owned(),
        ),
        AccountKind::KernelThread => Some(
            "it is a thread of the kernel: it has no memory of its own, and what it allocates \
             counts as the kernel's (slab, kernel stacks, page tables)"
                .to_owned(),
        ),
        AccountKind::Zombie => Some(format!(
            "it has ended (a zombie): its memory is free again, and all that is left is its entry \
             until its parent{} asks how it ended",
            process.map_or_else(String::new, |process| format!(
                " (pid {})",
                process.parent_pid
            ))
        )),
        AccountKind::RootCgroup => Some(format!(
            "the root cgroup is the whole machine and has no account of its own: {} of {} are used",
            diagnosis.system.used, diagnosis.system.total
        )),
        AccountKind::EmptyCgroup if account.held.is_none() => {
            Some("it has no processes, and no account of memory that could be read".to_owned())
        }
        _ => None,
    }
}

fn total(account: &Account, diagnosis: &Diagnosis) -> Finding {
    let machine = diagnosis.system.total;
    let Some(held) = account.held else {
        return finding(
            Topic::Total,
            None,
            "how much it holds could not be read: see below why",
        );
    };
    let share = held.percent_of(machine).map_or_else(String::new, |share| {
        format!(", {share} of the machine's {machine}")
    });
    let text = match (account.kind, account.held_by) {
        (AccountKind::EmptyCgroup, _) => left_behind::told(account, held, &share),
        (_, Some("memory.current")) => format!(
            "it is charged {held}{share}: the memory of its processes, their page cache, and \
             what the kernel needs for them"
        ),
        (_, Some("pss")) => format!(
            "it holds {held} in memory{share}: its PSS, which divides shared pages by those who \
             share them"
        ),
        _ => format!(
            "it holds {held} in memory{share}: its RSS, which counts pages that it shares with \
             others whole"
        ),
    };
    finding(Topic::Total, Some(held), text)
}

/// The processes of a target that is more than one.
fn processes(account: &Account) -> Option<Finding> {
    let members = &account.processes;
    if account.target.kind == TargetKind::Process || members.is_empty() {
        return None;
    }
    let named: Vec<String> = members
        .iter()
        .take(MOST_NAMED)
        .filter_map(|member| {
            let held = member.pss.or(member.rss)?;
            Some(format!(
                "{} ({}) {held}",
                member.name.to_process_name(),
                member.id
            ))
        })
        .collect();
    let count = counted(members.len() as u64, "process", "processes");
    let text = if named.is_empty() {
        format!("it has {count}, and what each holds could not be read")
    } else {
        let by = if members.iter().any(|member| member.pss.is_some()) {
            "PSS"
        } else {
            "RSS"
        };
        format!("it has {count}; by {by} the largest: {}", named.join(", "))
    };
    Some(finding(Topic::Processes, None, text))
}

fn sharing(account: &Account) -> Option<Finding> {
    let sharing = account.sharing.as_ref()?;
    if account.target.kind != TargetKind::Process {
        return None;
    }
    let (rss, uss) = (sharing.rss?, sharing.uss?);
    let shared = rss.saturating_sub(uss);
    let kept = shared_memory::kept_after_its_end(account);
    if shared < LEAST_SHARED {
        return Some(finding(
            Topic::Sharing,
            Some(uss),
            format!("{uss} of it nobody else maps (USS): it would be free if this ended{kept}"),
        ));
    }
    let mut text = format!(
        "{shared} of its {rss} in memory (RSS) others map, too; {uss} nobody else maps (USS), and \
         would be free if this ended{kept}"
    );
    let named: Vec<String> = sharing
        .files
        .iter()
        .flatten()
        .filter(|file| !file.processes.is_empty())
        .take(MOST_NAMED)
        .map(shared_with)
        .collect();
    if !named.is_empty() {
        text.push_str("; shared is ");
        text.push_str(&named.join(", "));
    }
    if sharing.unseen_processes > 0 {
        let unseen = counted(sharing.unseen_processes, "process", "processes");
        text.push_str(&format!(" ({unseen} could not be looked into)"));
    }
    Some(finding(Topic::Sharing, Some(shared), text))
}

fn shared_with(file: &SharedWith) -> String {
    let others = counted(
        file.processes.len() as u64,
        "other process",
        "other processes",
    );
    let mut names: Vec<String> = Vec::new();
    for other in &file.processes {
        let name = other.name.to_bracketed_name();
        if names.len() < MOST_NAMED && !names.contains(&name) {
            names.push(name);
        }
    }
    format!("{} with {others} ({})", file.name, names.join(", "))
}

/// The window that is known and most told of.
fn told(cold: &ColdMemory) -> Option<(&ColdWindow, Bytes)> {
    COLD_WINDOWS.iter().find_map(|seconds| {
        let window = cold.window(*seconds)?;
        Some((window, window.cold?))
    })
}

fn cold(cold: &ColdMemory) -> Option<Finding> {
    if cold.method.is_none() {
        let reason = &cold.candidates.first()?.reason;
        return Some(finding(
            Topic::Cold,
            None,
            format!("how much of it is cold is not known: {reason}"),
        ));
    }
    let counted = cold.counted?;
    let Some((window, bytes)) = told(cold) else {
        let blind = Duration::try_from_secs_f64(cold.blind_seconds?).ok()?;
        let ago = roughly(blind);
        return Some(finding(
            Topic::Cold,
            None,
            format!(
                "how much of it is cold is not known: the kernel has not looked which of its pages \
                 are in use for {ago}"
            ),
        ));
    };
    let share = bytes
        .percent_of(counted)
        .map_or_else(String::new, |share| format!(" ({share} of {counted})"));
    let ago = cold.blind_seconds.map_or_else(String::new, |blind| {
        let blind = Duration::try_from_secs_f64(blind).unwrap_or_default();
        let ago = roughly(blind);
        format!(", as of {ago} ago")
    });
    let text = format!(
        "{bytes}{share} had not been seen in use for {}{ago}: it may be up to {}, and less where \
         it was used since",
        roughly(Duration::from_secs(window.window_seconds)),
        window.uncertainty.at_most
    );
    Some(finding(Topic::Cold, Some(bytes), text))
}

fn limits(account: &Account, diagnosis: &Diagnosis) -> Vec<Finding> {
    let mut found: Vec<Finding> = account
        .limits
        .iter()
        .map(|limit| {
            let whose = if account.target.cgroup.as_ref() == Some(&limit.cgroup)
                && account.target.kind != TargetKind::Process
            {
                "it".to_owned()
            } else {
                limit.cgroup.to_string()
            };
            let then = match limit.file {
                "memory.high" => "is slowed down and reclaimed above",
                _ => "has processes killed above",
            };
            let room = match (limit.used, limit.left) {
                (Some(used), Some(left)) if left > Bytes::ZERO => {
                    format!(": it uses {used}, {left} are left")
                }
                (Some(used), Some(_)) => format!(": it uses {used}, nothing is left"),
                _ => String::new(),
            };
            let text = format!("{whose} {then} {} ({}){room}", limit.limit, limit.file);
            finding(Topic::Limit, None, text)
        })
        .collect();
    if found.is_empty() && !account.cgroups.is_empty() {
        found.push(finding(
            Topic::Limit,
            None,
            format!(
                "no limit holds on it, its own or of a cgroup above it: the machine's {} are its \
                 only bound",
                diagnosis.system.total
            ),
        ));
    }
    let own = account
        .cgroups
        .iter()
        .find(|group| account.target.cgroup.as_ref() == Some(&group.path))
        .filter(|_| account.target.kind != TargetKind::Process);
    for (limit, file) in own.map_or([(None, ""); 2], |own| {
        [(own.min, "memory.min"), (own.low, "memory.low")]
    }) {
        let Some(limit) = limit.filter(|limit| *limit != MemoryLimit::Bytes(Bytes::ZERO)) else {
            continue;
        };
        let amount = match limit {
            MemoryLimit::Bytes(bytes) => bytes.to_string(),
            MemoryLimit::Max => "all of it".to_owned(),
        };
        found.push(finding(
            Topic::Limit,
            None,
            format!("{amount} is protected when others need memory ({file})"),
        ));
    }
    found
}

fn events(group: &CgroupMemory) -> Option<Finding> {
    let events = group.events.as_ref()?;
    let told: Vec<String> = [
        (events.high, "was slowed down at memory.high"),
        (events.max, "reached memory.max"),
        (
            events.oom_kill,
            "lost processes to the out-of-memory killer",
        ),
    ]
    .into_iter()
    .filter_map(|(count, what)| {
        let count = count.filter(|count| *count > 0)?;
        Some(format!("{what} {}", counted(count, "time", "times")))
    })
    .collect();
    if told.is_empty() {
        return None;
    }
    Some(finding(
        Topic::Events,
        None,
        format!(
            "since it was made, {} with all below it {}",
            group.path,
            told.join(", ")
        ),
    ))
}

fn pressure(account: &Account, diagnosis: &Diagnosis) -> Vec<Finding> {
    let own = account
        .cgroups
        .iter()
        .find(|group| account.target.cgroup.as_ref() == Some(&group.path))
        .filter(|group| !group.path.is_root());
    let mut found = Vec::new();
    if let Some((group, pressure)) = own.and_then(|own| Some((own, own.pressure.as_ref()?))) {
        found.push(stalls(&format!("something in {}", group.path), pressure));
    }
    if let Some(pressure) = &diagnosis.pressure {
        found.push(stalls("something on the machine", pressure));
    }
    found
}

fn stalls(who: &str, pressure: &Pressure) -> Finding {
    let all = pressure.full.as_ref().map_or_else(String::new, |full| {
        format!(", and everything in it {}", exactly(full.avg60))
    });
    finding(
        Topic::Pressure,
        None,
        format!(
            "in the last minute {who} waited for memory {} of the time{all}",
            exactly(pressure.some.avg60)
        ),
    )
}

/// As the kernel prints it: half a percent is something.
fn exactly(share: Percent) -> String {
    format!("{:.2} %", share.0)
}

fn trend(trend: &Trend) -> Finding {
    let judgement = &trend.judgement;
    let window = Duration::try_from_secs_f64(judgement.window_seconds).unwrap_or_default();
    let window = roughly(window);
    let what = match (&trend.name, trend.process) {
        (Some(name), Some(process)) => {
            format!("{} ({process}): {}", name.to_process_name(), trend.of)
        }
        _ => trend.of.to_string(),
    };
    let from = match trend.source {
        TrendSource::History => "by what was recorded",
        TrendSource::Look => "as it was looked at",
    };
    let grown = judgement.growth_bytes.map_or_else(String::new, |bytes| {
        let sign = if bytes < 0 { "shrank" } else { "grew" };
        format!(" {sign} by {}", Bytes(bytes.unsigned_abs()))
    });
    let verdict = match judgement.verdict {
        LeakVerdict::TooShort => {
            let needs = judgement
                .needs_seconds
                .and_then(|needs| Duration::try_from_secs_f64(needs).ok())
                .map_or_else(String::new, |needs| {
                    format!(", it takes {}", roughly(needs))
                });
            format!("too short a time for a verdict{needs}")
        }
        verdict => format!("the verdict is {verdict}"),
    };
    let full = judgement
        .exhausts_in_seconds
        .filter(|seconds| *seconds < FORESEEABLE)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .map_or_else(String::new, |left| {
            format!(
                "; at this rate what is left is used up in {}",
                roughly(left)
            )
        });
    finding(
        Topic::Trend,
        None,
        format!("in {window}, {from}, {what}{grown}: {verdict}{full}"),
    )
}
