//! A kill by the kernel's out-of-memory killer, in words.
//!
//! Says only what the report says; where it is cut, it says that.

use grey_model::{
    Bytes, Constraint, Consumer, CounterUse, KernelKill, Kill, Killer, MemoryLimit, PageSize,
};

use super::{KERNEL, KillFacts, SIGKILL, TimedRecord, advice, blank, shortage, who};

/// How many of the table's processes are shown.
const MOST_CONSUMERS: usize = 10;

/// Page sizes that Linux has.
const PAGE_SIZES: [u64; 3] = [4 << 10, 16 << 10, 64 << 10];

/// The kill that this report tells of.
pub(super) fn explain(record: &TimedRecord, kill: &KernelKill, facts: &KillFacts<'_>) -> Kill {
    let killer = match kill.constraint {
        Some(Constraint::Cgroup) => Killer::KernelCgroup,
        Some(Constraint::Machine | Constraint::Cpuset | Constraint::MemoryPolicy) => {
            Killer::KernelGlobal
        }
        None => Killer::Unknown,
    };
    let page_size = page_size_of(kill, facts.page_size);
    let mut explained = Kill {
        pid: kill.pid,
        name: kill.name.clone(),
        uid: kill.uid,
        signal: Some(SIGKILL),
        cgroup: kill.victim_cgroup.clone(),
        limit_cgroup: kill.limit_cgroup.clone(),
        limit_bytes: crossed(kill).and_then(|(_, limit)| limit.bytes()),
        usage_bytes: crossed(kill).map(|(usage, _)| usage),
        rss_bytes: resident(kill),
        whole_group: kill.killed_group.is_some(),
        consumers: consumers(kill, page_size),
        ..blank(record, killer)
    };
    explained.can_be = (killer == Killer::Unknown).then(|| KERNEL.to_vec());
    explained.shortage = (killer == Killer::KernelGlobal).then(|| shortage::of(kill));
    explained.explanation = match killer {
        Killer::KernelCgroup => cgroup_limit(kill),
        Killer::KernelGlobal => shortage::explanation(kill, page_size),
        _ => vec![format!(
            "the kernel's out-of-memory killer killed {}; the log no longer says whose memory was \
             out",
            victim(kill)
        )],
    };
    explained.explanation.extend(victim_memory(kill));
    explained
        .explanation
        .extend(choice(kill, explained.consumers.as_deref()));
    explained.explanation.extend(whole_group(kill));
    explained.explanation.extend(what_is_missing(kill, killer));
    explained.advice = advice::for_kernel(&explained, kill, facts);
    explained
}

pub(super) fn victim(kill: &KernelKill) -> String {
    who(kill.name.as_ref(), kill.pid)
}

/// Usage and limit of the counter that had the least room. In version 1 that
/// can be memory and swap together.
pub(super) fn crossed(kill: &KernelKill) -> Option<(Bytes, MemoryLimit)> {
    let room = |counter: &CounterUse| match counter.limit {
        MemoryLimit::Bytes(limit) => limit.0.saturating_sub(counter.usage.0),
        MemoryLimit::Max => u64::MAX,
    };
    [kill.memory, kill.memory_and_swap]
        .into_iter()
        .flatten()
        .min_by_key(room)
        .map(|counter| (counter.usage, counter.limit))
}

fn resident(kill: &KernelKill) -> Option<Bytes> {
    let parts = [kill.anon?, kill.file?, kill.shmem?];
    parts
        .into_iter()
        .try_fold(0u64, |sum, part| sum.checked_add(part.0))
        .map(Bytes)
}

fn cgroup_limit(kill: &KernelKill) -> Vec<String> {
    let mut lines = Vec::new();
    let Some(limit_cgroup) = &kill.limit_cgroup else {
        return vec![format!(
            "the kernel killed {} because a control group was at its limit; which one, the log no \
             longer says",
            victim(kill)
        )];
    };
    let amounts = match crossed(kill) {
        Some((usage, MemoryLimit::Bytes(limit))) => {
            format!(": it used {usage} of {limit}")
        }
        Some((usage, MemoryLimit::Max)) => format!(": it used {usage}"),
        None => String::new(),
    };
    lines.push(format!(
        "the kernel killed {} because the control group {limit_cgroup} was at its limit{amounts}",
        victim(kill)
    ));
    match &kill.victim_cgroup {
        Some(own) if own != limit_cgroup => lines.push(format!(
            "it was in {own}: the limit is not of that one but of {limit_cgroup} above it"
        )),
        _ => {}
    }
    lines.extend(swap_of_cgroup(kill));
    lines
}

fn swap_of_cgroup(kill: &KernelKill) -> Option<String> {
    let swap = kill.swap?;
    match swap.limit {
        MemoryLimit::Bytes(Bytes(0)) => {
            Some("it may not use swap: its memory.swap.max is 0".to_owned())
        }
        MemoryLimit::Bytes(limit) if swap.usage >= limit => {
            Some(format!("its swap was full, too: {} of {limit}", swap.usage))
        }
        MemoryLimit::Max if swap.usage.0 == 0 => {
            Some("nothing of it was in swap; the kernel does not say why".to_owned())
        }
        _ => None,
    }
}

fn victim_memory(kill: &KernelKill) -> Option<String> {
    let (resident, anon) = (resident(kill)?, kill.anon?);
    Some(format!(
        "it held {resident} when it was killed, {anon} of that its own (anonymous)"
    ))
}

/// How many of those in the report the kernel may choose: with -1000 it never does.
fn candidates(kill: &KernelKill) -> usize {
    let tasks = kill.tasks.iter();
    tasks
        .filter(|task| task.oom_score_adj > advice::NEVER)
        .count()
}

/// Who used the most, and why the victim was chosen if it was another.
fn choice(kill: &KernelKill, consumers: Option<&[Consumer]>) -> Option<String> {
    let largest = consumers?.first()?;
    let name = who(Some(&largest.name), Some(largest.pid));
    let size = Bytes(largest.rss_bytes.0.saturating_add(largest.swap_bytes.0));
    if kill.pid == Some(largest.pid) {
        return Some(match (candidates(kill), kill.tasks_left_out) {
            (0 | 1, 0) => "nobody else could have been killed for it".to_owned(),
            (all, 0) => {
                format!("it was the largest of the {all} processes that could have been killed")
            }
            (all, _) => format!(
                "it was the largest of the {all} processes that are listed here and could have been \
                 killed"
            ),
        });
    }
    let why = match kill.oom_score_adj {
        Some(own) if own > largest.oom_score_adj => format!(
            "; it was spared because its oom_score_adj is {}, and the victim's {own}",
            largest.oom_score_adj
        ),
        _ => String::new(),
    };
    Some(format!("{name} used more: {size}{why}"))
}

fn whole_group(kill: &KernelKill) -> Option<String> {
    let group = kill.killed_group.as_ref()?;
    Some(format!(
        "everything in {group} was killed with it: its memory.oom.group is set"
    ))
}

fn what_is_missing(kill: &KernelKill, killer: Killer) -> Option<String> {
    (!kill.whole && killer != Killer::Unknown).then(|| {
        // Its first line alone tells of a person, a piece or a zone.
        let reason = match (killer, kill.request) {
            (Killer::KernelGlobal, None) => {
                ", with what was asked for: the reason may be another one"
            }
            _ => "",
        };
        format!(
            "the report is not whole: the kernel left a part out, or the log has lost it{reason}"
        )
    })
}

/// The largest of the table, those with the most memory and swap first.
pub(super) fn consumers(kill: &KernelKill, page_size: PageSize) -> Option<Vec<Consumer>> {
    if kill.tasks.is_empty() {
        return None;
    }
    let rows = kill.tasks.iter().take(MOST_CONSUMERS).map(|row| Consumer {
        pid: row.pid,
        name: row.name.clone(),
        rss_bytes: row.rss.bytes(page_size),
        swap_bytes: row.swap.bytes(page_size),
        oom_score_adj: row.oom_score_adj,
        killed: kill.pid == Some(row.pid),
    });
    Some(rows.collect())
}

/// The page size of the machine that wrote the report: the victim is in it in
/// pages and in KiB. `default` where it is not in both.
pub(super) fn page_size_of(kill: &KernelKill, default: PageSize) -> PageSize {
    let in_pages = kill.tasks.iter().find(|row| kill.pid == Some(row.pid));
    let (Some(row), Some(in_bytes)) = (in_pages, resident(kill)) else {
        return default;
    };
    let fits = |size: &u64| {
        let bytes = row.rss.0.saturating_mul(*size);
        // It may have grown or shrunk a little between the two lines.
        bytes.abs_diff(in_bytes.0) <= in_bytes.0 / 4
    };
    PAGE_SIZES
        .into_iter()
        .find(fits)
        .filter(|_| in_bytes.0 > 0)
        .and_then(PageSize::new)
        .unwrap_or(default)
}
