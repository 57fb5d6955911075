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

fn user(process: &ProcessMemory) -> Option<String> {
    process
        .user
        .clone()
        .or_else(|| process.user_id.map(|id| id.to_string()))
}

fn swapped(swap: Option<Bytes>) -> Value {
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

fn name(process: &ProcessMemory) -> String {
    match process.state {
        ProcessState::Zombie => format!("{} (zombie)", process.name),
        ProcessState::Uninterruptible => format!("{} (D state)", process.name),
        _ if process.kernel_thread => format!("[{}]", process.name),
        _ => process.name.to_string(),
    }
}

/// What a target turned out to be, and what its processes hold together.
pub(crate) fn target(target: &ResolvedTarget, diagnosis: &Diagnosis, extent: Extent) -> String {
    let mut text = heading("Target", "", extent.width);
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
    let sum = |part: fn(&ProcessMemory) -> Option<Bytes>| {
        let known: Vec<Bytes> = members.iter().filter_map(|process| part(process)).collect();
        // A sum with holes in it would be a wrong number.
        (known.len() == members.len() && !members.is_empty())
            .then(|| known.into_iter().sum::<Bytes>())
            .map_or_else(
                || crate::table::UNKNOWN.to_owned(),
                |bytes| bytes.to_string(),
            )
    };
    let sums = format!(
        "PSS {}, USS {}, swap {}; RSS of anonymous {}, file {}, shared {}",
        sum(|process| process.pss),
        sum(|process| process.uss),
        sum(|process| process.swap),
        sum(|process| process.rss_anon),
        sum(|process| process.rss_file),
        sum(|process| process.rss_shmem),
    );
    for line in wrap(&sums, most) {
        text.push_str(&format!("  {line}\n"));
    }
    if let [process] = members.as_slice() {
        text.push_str(&single(process, extent));
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
        text.push_str(&format!("  {}\n", facts.join(", ")));
    }
    text
}
