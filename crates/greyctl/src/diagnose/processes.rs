//! The processes: a table of the largest, and a target's own lines.
//!
//! Orders by PSS where it is known and by RSS otherwise, never by a mixture
//! that is not said.

use std::collections::HashSet;

use grey_model::{Bytes, ProcessId, ProcessMemory, ProcessState, ResolvedTarget};

use super::document::Diagnosis;
use super::report::Extent;
use crate::count::counted;
use crate::table::{Column, DIM, Table, Tone, Value, cut, heading, wrap};
use crate::target::{describe, short_container};

/// A command line is shown up to this many characters where nothing limits it.
const LONGEST_COMMAND: usize = 100;

/// The table of processes, largest first.
pub(crate) fn table(diagnosis: &Diagnosis, extent: Extent) -> String {
    let mut processes: Vec<&ProcessMemory> = diagnosis
        .processes
        .iter()
        .filter(|process| extent.verbose || !process.kernel_thread)
        .collect();
    let all = diagnosis.processes.len();
    let kernel_threads = diagnosis
        .processes
        .iter()
        .filter(|process| process.kernel_thread)
        .count();
    let order = order(&processes);
    processes.sort_by_key(|process| (std::cmp::Reverse(weight(process)), process.id));
    if !extent.verbose {
        processes.truncate(extent.top);
    }
    if processes.is_empty() {
        let remark = match all {
            0 => "none".to_owned(),
            _ => format!("0 of {all}"),
        };
        return heading("Processes", &remark, extent.width);
    }
    let mut remark = format!("{} of {all}", processes.len());
    if !extent.verbose && kernel_threads > 0 {
        remark.push_str(&format!(", {kernel_threads} of them kernel threads"));
    }
    remark.push_str(order);
    let mut text = heading("Processes", &remark, extent.width);
    let mut table = Table::new(vec![
        Column::number("PID", 0),
        Column::text("USER", 4).gives_way(6),
        Column::number("RSS", 0),
        Column::number("PSS", 0),
        Column::number("USS", 2),
        Column::number("SWAP", 1).optional(),
        Column::number("OOM ADJ", 6),
        Column::text("UNIT/CONTAINER", 5).optional().gives_way(14),
        Column::text("NAME", 0).gives_way(10),
        Column::text("COMMAND", 7).optional().gives_way(20),
    ]);
    for process in processes {
        table.row(row(process, extent));
    }
    text.push_str(&table.render(extent.width));
    text
}

/// What the processes with memory are ordered by, in words.
fn order(processes: &[&ProcessMemory]) -> &'static str {
    let mut resident = processes.iter().filter(|process| process.rss.is_some());
    match resident.clone().all(|process| process.pss.is_some()) {
        true => ", by PSS",
        false if resident.any(|process| process.pss.is_some()) => ", by PSS or else RSS",
        false => ", by RSS",
    }
}

/// What a process is ordered by: PSS, else RSS.
fn weight(process: &ProcessMemory) -> Bytes {
    process.pss.or(process.rss).unwrap_or_default()
}

fn row(process: &ProcessMemory, extent: Extent) -> Vec<Value> {
    let muted = if process.kernel_thread {
        Tone::Dim
    } else {
        Tone::Plain
    };
    let container = process.container.as_deref().map(short_container);
    let home = process.unit.clone().or(container);
    let longest = extent.width.unwrap_or(LONGEST_COMMAND);
    let command = process
        .command_line
        .as_ref()
        .filter(|line| !line.is_empty())
        .map(|line| cut(&line.to_string(), longest));
    vec![
        Value::new(process.id.pid).tone(muted),
        Value::or_unknown(user(process)),
        Value::or_unknown(process.rss),
        Value::or_unknown(process.pss),
        Value::or_unknown(process.uss),
        swapped(process.swap),
        correction(process.oom_score_adj),
        Value::or_unknown(home),
        Value::new(name(process)).tone(muted),
        Value::or_unknown(command).tone(Tone::Dim),
    ]
}

/// Whose it is.
pub(crate) fn user(process: &ProcessMemory) -> Option<String> {
    process
        .user
        .clone()
        .or_else(|| process.user_id.map(|id| id.to_string()))
}

/// What is in swap.
pub(crate) fn swapped(swap: Option<Bytes>) -> Value {
    match swap {
        // Nothing in swap is the usual case and no news.
        Some(Bytes::ZERO) => Value::unknown(),
        Some(bytes) => Value::new(bytes).tone(Tone::Warning),
        None => Value::unknown(),
    }
}

fn correction(adjustment: Option<i32>) -> Value {
    match adjustment {
        Some(0) => Value::new(0).tone(Tone::Dim),
        Some(value) => Value::new(value).tone(Tone::Warning),
        None => Value::unknown(),
    }
}

/// Its name, and what is special about it.
pub(crate) fn name(process: &ProcessMemory) -> String {
    let name = process.name.to_process_name();
    match process.state {
        ProcessState::Zombie => format!("{name} (zombie)"),
        ProcessState::Uninterruptible => format!("{name} (D state)"),
        _ if process.kernel_thread => format!("[{name}]"),
        _ => name,
    }
}

/// What a target turned out to be, and what its processes hold together.
pub(crate) fn target(target: &ResolvedTarget, diagnosis: &Diagnosis, extent: Extent) -> String {
    let remark = match diagnosis.recorded {
        true => "as far as it was kept",
        false => "",
    };
    let mut text = heading("Target", remark, extent.width);
    let most = extent.width.map(|width| width.saturating_sub(2));
    for line in wrap(&describe(target), most) {
        text.push_str(&format!("  {line}\n"));
    }
    let wanted: HashSet<ProcessId> = target.processes.iter().copied().collect();
    let members: Vec<&ProcessMemory> = diagnosis
        .processes
        .iter()
        .filter(|process| wanted.contains(&process.id))
        .collect();
    let sums = sums(&members);
    for line in wrap(&sums, most) {
        text.push_str(&format!("  {line}\n"));
    }
    if let [process] = members.as_slice() {
        text.push_str(&single(process, extent));
    }
    text
}

/// What the processes hold together, and of how many it is not known.
fn sums(members: &[&ProcessMemory]) -> String {
    let holders: Vec<&ProcessMemory> = members
        .iter()
        .copied()
        .filter(|process| !process.kernel_thread && process.state != ProcessState::Zombie)
        .collect();
    let mut missing: Vec<(&str, usize)> = Vec::new();
    let mut sum = |name, part: fn(&ProcessMemory) -> Option<Bytes>| {
        let known: Vec<Bytes> = holders.iter().filter_map(|process| part(process)).collect();
        if known.is_empty() {
            return crate::table::UNKNOWN.to_owned();
        }
        let unknown = holders.len() - known.len();
        if unknown > 0 {
            missing.push((name, unknown));
        }
        known.into_iter().sum::<Bytes>().to_string()
    };
    let mut text = format!(
        "PSS {}, USS {}, swap {}; RSS of anonymous {}, file {}, shared {}",
        sum("PSS", |process| process.pss),
        sum("USS", |process| process.uss),
        sum("swap", |process| process.swap),
        sum("anonymous", |process| process.rss_anon),
        sum("file", |process| process.rss_file),
        sum("shared", |process| process.rss_shmem),
    );
    // A sum with holes in it is told with them.
    while let Some(&(_, count)) = missing.first() {
        let same = missing.iter().filter(|(_, other)| *other == count);
        let names: Vec<&str> = same.map(|(name, _)| *name).collect();
        let of = counted(
            u64::try_from(count).unwrap_or(u64::MAX),
            "process, which",
            "processes, which",
        );
        text.push_str(&format!(
            "; without {} of {of} could not be read",
            names.join(", ")
        ));
        missing.retain(|(_, other)| *other != count);
    }
    text
}

fn single(process: &ProcessMemory, extent: Extent) -> String {
    let mut text = String::new();
    if let Some(line) = process
        .command_line
        .as_ref()
        .filter(|line| !line.is_empty())
    {
        let longest = extent
            .width
            .map_or(LONGEST_COMMAND, |width| width.saturating_sub(10));
        let line = cut(&line.to_string(), longest);
        text.push_str(&format!("  {DIM}command{DIM:#} {line}\n"));
    }
    let mut facts = Vec::new();
    if let Some(threads) = process.threads {
        facts.push(counted(threads, "thread", "threads"));
    }
    if let Some(score) = process.oom_score {
        facts.push(format!("OOM score {score}"));
    }
    if let Some(locked) = process.locked.filter(|locked| *locked > Bytes::ZERO) {
        facts.push(format!("{locked} locked in memory"));
    }
    if let Some(profit) = process.ksm.and_then(|ksm| ksm.profit_bytes) {
        facts.push(format!("KSM profit {}", super::machine::signed(profit)));
    }
    if !facts.is_empty() {
        let most = extent.width.map(|width| width.saturating_sub(2));
        for line in wrap(&facts.join(", "), most) {
            text.push_str(&format!("  {line}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing_known(pid: u32) -> ProcessMemory {
        ProcessMemory {
            id: ProcessId {
                pid,
                start_time_ticks: 1,
            },
            parent_pid: 1,
            name: grey_model::KernelText::from("web"),
            state: ProcessState::Sleeping,
            kernel_thread: false,
            user_id: None,
            user: None,
            command_line: None,
            cpu_time_ticks: Some(0),
            threads: Some(1),
            rss: None,
            rss_anon: None,
            rss_file: None,
            rss_shmem: None,
            pss: None,
            pss_anon: None,
            pss_file: None,
            pss_shmem: None,
            uss: None,
            swap: None,
            swap_pss: None,
            locked: None,
            oom_score: None,
            oom_score_adj: None,
            ksm: None,
            cgroup: None,
            unit: None,
            container: None,
        }
    }

    fn process(pid: u32, pss: Option<u64>) -> ProcessMemory {
        ProcessMemory {
            pss: pss.map(Bytes::from_mib),
            uss: pss.map(Bytes::from_mib),
            rss_anon: Some(Bytes::from_mib(1)),
            ..nothing_known(pid)
        }
    }

    #[test]
    fn a_sum_with_holes_says_how_many() {
        let (known, unknown) = (process(1, Some(3)), process(2, None));
        let text = sums(&[&known, &unknown, &known]);
        assert!(
            text.starts_with("PSS 6.0 MiB, USS 6.0 MiB, swap -; "),
            "{text}"
        );
        assert!(text.contains("anonymous 3.0 MiB"), "{text}");
        let end = "; without PSS, USS of 1 process, which could not be read";
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn what_has_no_memory_is_no_hole() {
        let known = process(1, Some(3));
        let thread = ProcessMemory {
            kernel_thread: true,
            ..process(2, None)
        };
        let zombie = ProcessMemory {
            state: ProcessState::Zombie,
            ..process(3, None)
        };
        let text = sums(&[&known, &thread, &zombie]);
        assert!(!text.contains("without"), "{text}");
        assert!(sums(&[&thread]).starts_with("PSS -, USS -"));
    }
}
