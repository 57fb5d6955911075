//! The verdicts as people read them: what leaks first, what is calm only counted.
//!
//! Pure. Never shows a number that was not judged: it is a dash.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use grey_model::{GrowthOf, LeakJudgement, LeakVerdict, Percent};

use super::super::document::Diagnosis;
use super::super::machine::signed;
use super::super::report::Extent;
use super::document::{CgroupLeak, GroupLeak, LeakWindow, ProcessLeak};
use crate::count::counted;
use crate::duration::short;
use crate::table::{Column, DIM, Table, Tone, Value, heading, wrap};
use crate::target::short_container;

/// A cgroup's growth is that of the one below it when that has this share of it.
const EXPLAINED: f64 = 0.8;

/// When something is full is not told beyond this: nobody plans a year ahead.
const FORESEEABLE: f64 = 365.0 * 86_400.0;

/// Everything about leaks; nothing when nobody looked for them.
pub(in super::super) fn sections(diagnosis: &Diagnosis, extent: Extent) -> String {
    let found = &diagnosis.leak_detection;
    let (Some(window), Some(processes)) = (&found.leak_window, &found.leaks) else {
        return String::new();
    };
    let is_asked_for = diagnosis.targets.is_some();
    let mut text = processes_section(processes, window, is_asked_for, extent);
    let groups: Vec<&GroupLeak> = found
        .leak_groups
        .iter()
        .flatten()
        .filter(|group| {
            extent.verbose || group.processes > 1 || is_worse_than_its_processes(group, processes)
        })
        .collect();
    text.push_str(&groups_section(&groups, extent));
    let cgroups: Vec<&CgroupLeak> = found.leak_cgroups.iter().flatten().collect();
    text.push_str(&cgroups_section(&cgroups, is_asked_for, extent));
    for dying in found.dying_cgroups.iter().flatten() {
        if dying.verdict.grows() {
            let sentence = format!(
                "below {} removed cgroups pile up: {} now, {} more in this window ({})",
                dying.cgroup,
                dying.count,
                dying.growth.unwrap_or_default(),
                dying.verdict,
            );
            text.push_str(&indented(&sentence, extent));
        }
    }
    text
}

/// Whether a group of one tells what no row of a process does: over history, its
/// process may be missing among the largest.
fn is_worse_than_its_processes(group: &GroupLeak, processes: &[ProcessLeak]) -> bool {
    let of_it = processes.iter().filter(|leak| leak.group == group.group);
    let worst = of_it.map(|leak| leak.judgement.verdict).min();
    let verdict = group.judgement.verdict;
    verdict.grows() && worst.is_none_or(|worst| verdict < worst)
}

fn processes_section(
    all: &[ProcessLeak],
    window: &LeakWindow,
    is_asked_for: bool,
    extent: Extent,
) -> String {
    let leaking = (all.iter())
        .filter(|leak| leak.judgement.verdict == LeakVerdict::Leak)
        .map(|leak| leak.id)
        .collect::<BTreeSet<_>>()
        .len();
    let processes = all.iter().filter(|leak| leak.of == GrowthOf::Anonymous);
    let mut remark = format!(
        "{leaking} of {}, by anonymous memory and swap; {} over {}",
        counted(processes.count() as u64, "process", "processes"),
        counted(window.readings, "reading", "readings"),
        time(window.seconds),
    );
    if window.ended_early {
        remark.push_str(", ended early");
    }
    let mut text = heading("Leaks", &remark, extent.width);
    let mut table = Table::new(columns([
        Column::number("PID", 0),
        Column::text("NAME", 0).gives_way(10),
        Column::text("GROUP", 4).gives_way(10),
    ]));
    // Each process is counted once: its shared memory is a row where it tells more.
    let telling: Vec<&ProcessLeak> = (all.iter())
        .filter(|leak| {
            extent.verbose || leak.of == GrowthOf::Anonymous || !is_calm(&leak.judgement)
        })
        .collect();
    let (shown, calm) = chosen(
        &telling,
        |leak| &leak.judgement,
        |leak| !is_asked_for && (is_calm(&leak.judgement) || is_past(leak.ended, &leak.judgement)),
        extent,
    );
    for leak in &shown {
        let name = leak.name.to_process_name();
        let of = Some(leak.of).filter(|of| *of != GrowthOf::Anonymous);
        let marks: Vec<&str> = [
            of.map(GrowthOf::label),
            leak.ended.then_some("ended"),
            leak.out_of_sight.then_some("out of sight"),
        ]
        .into_iter()
        .flatten()
        .collect();
        let name = match marks.is_empty() {
            true => name,
            false => format!("{name} ({})", marks.join(", ")),
        };
        table.row(row(
            [
                Value::new(leak.id.pid),
                Value::new(name),
                Value::new(short_container(&leak.group.to_process_name())),
            ],
            &leak.judgement,
        ));
    }
    if !shown.is_empty() {
        text.push_str(&table.render(extent.width));
    }
    text.push_str(&indented(&calm, extent));
    text
}

fn groups_section(groups: &[&GroupLeak], extent: Extent) -> String {
    let (shown, calm) = chosen(
        groups,
        |leak| &leak.judgement,
        |leak| is_calm(&leak.judgement) || is_past(leak.ended, &leak.judgement),
        extent,
    );
    if shown.is_empty() {
        return String::new();
    }
    let mut table = Table::new(columns([
        Column::number("COUNT", 0),
        Column::text("GROUP", 0).gives_way(10),
        Column::text("KIND", 4),
    ]));
    for leak in shown {
        table.row(row(
            [
                Value::new(leak.processes),
                Value::new(gone(
                    short_container(&leak.group.to_process_name()),
                    leak.ended,
                )),
                Value::new(leak.kind),
            ],
            &leak.judgement,
        ));
    }
    let mut text = heading(
        "Leaks of groups",
        "processes folded by unit, container or program",
        extent.width,
    );
    text.push_str(&table.render(extent.width));
    text.push_str(&indented(&calm, extent));
    text
}

fn cgroups_section(cgroups: &[&CgroupLeak], is_asked_for: bool, extent: Extent) -> String {
    let telling: Vec<&CgroupLeak> = cgroups
        .iter()
        .filter(|leak| extent.verbose || !is_explained(leak, cgroups))
        .copied()
        .collect();
    let is_row = |leak: &CgroupLeak| is_asked_for && leak.of == GrowthOf::Anonymous;
    let (shown, calm) = chosen(
        &telling,
        |leak| &leak.judgement,
        |leak| {
            let quiet = is_calm(&leak.judgement) || is_past(leak.ended, &leak.judgement);
            quiet && !is_row(leak)
        },
        extent,
    );
    if shown.is_empty() {
        return String::new();
    }
    let mut table = Table::new(columns([
        Column::text("CGROUP", 0).gives_way(16),
        Column::text("OF", 0),
        Column::text("", 9).optional(),
    ]));
    for leak in shown {
        table.row(row(
            [
                Value::new(gone(leak.cgroup.to_string(), leak.ended)),
                Value::new(leak.of).tone(match leak.of {
                    GrowthOf::Anonymous => Tone::Plain,
                    _ => Tone::Strong,
                }),
                Value::unknown(),
            ],
            &leak.judgement,
        ));
    }
    let mut text = heading(
        "Leaks of control groups",
        "and of everything below each, by kind of memory",
        extent.width,
    );
    text.push_str(&table.render(extent.width));
    text.push_str(&indented(&calm, extent));
    text
}

/// The name of what may be there no more.
fn gone(name: String, is_gone: bool) -> String {
    match is_gone {
        true => format!("{name} (gone)"),
        false => name,
    }
}

/// Whether a cgroup below has the same verdict and nearly all of the growth.
fn is_explained(leak: &CgroupLeak, all: &[&CgroupLeak]) -> bool {
    let growth = |leak: &CgroupLeak| leak.judgement.slope_bytes_per_second.unwrap_or_default();
    all.iter().any(|other| {
        other.of == leak.of
            && other.cgroup != leak.cgroup
            && leak.cgroup.contains(&other.cgroup)
            && other.judgement.verdict == leak.judgement.verdict
            && growth(other) >= EXPLAINED * growth(leak)
    })
}

/// The columns that every table of verdicts ends in.
fn columns(first: [Column; 3]) -> Vec<Column> {
    let mut columns = first.to_vec();
    columns.extend([
        Column::text("VERDICT", 0),
        Column::number("GROWTH", 0),
        Column::number("GROWN", 3).optional(),
        Column::number("MiB/MIN", 0).optional(),
        Column::number("CONFIDENCE", 5).optional(),
        Column::number("RESTARTS", 6).optional(),
        Column::number("FULL IN", 2).optional(),
    ]);
    columns
}

fn row(first: [Value; 3], judgement: &LeakJudgement) -> Vec<Value> {
    let tone = match judgement.verdict {
        LeakVerdict::Leak => Tone::Alarm,
        LeakVerdict::Growing => Tone::Warning,
        LeakVerdict::Stable | LeakVerdict::TooShort => Tone::Dim,
        _ => Tone::Plain,
    };
    let mut values = first.to_vec();
    values.extend([
        Value::new(words(judgement.verdict)).tone(tone),
        Value::or_unknown(judgement.growth_bytes.map(|bytes| {
            let sign = if bytes > 0 { "+" } else { "" };
            format!("{sign}{}", signed(bytes))
        })),
        Value::or_unknown(judgement.growth_percent.map(Percent)),
        Value::or_unknown(
            judgement
                .slope_bytes_per_second
                .map(|slope| format!("{:+.2}", slope * 60.0 / 1_048_576.0)),
        ),
        Value::or_unknown(
            judgement
                .confidence
                .map(|sure| format!("{:.0} %", sure * 100.0)),
        ),
        Value::or_unknown(Some(judgement.restarts).filter(|&restarts| restarts > 0)),
        Value::or_unknown(
            judgement
                .exhausts_in_seconds
                .filter(|&seconds| seconds < FORESEEABLE)
                .map(time),
        ),
    ]);
    values
}

/// Nothing to look at.
const fn is_calm(judgement: &LeakJudgement) -> bool {
    matches!(
        judgement.verdict,
        LeakVerdict::Stable | LeakVerdict::TooShort
    )
}

/// Of what is over, that it grew steadily is news, and that it came and went is
/// not: each compiler of a build does.
const fn is_past(ended: bool, judgement: &LeakJudgement) -> bool {
    ended
        && matches!(
            judgement.verdict,
            LeakVerdict::WarmUp | LeakVerdict::Sawtooth | LeakVerdict::Step
        )
}

/// What the table shows, and a sentence about the rest.
fn chosen<Entry>(
    entries: &[Entry],
    judgement: impl Fn(&Entry) -> &LeakJudgement,
    is_quiet: impl Fn(&Entry) -> bool,
    extent: Extent,
) -> (Vec<&Entry>, String) {
    let mut shown: Vec<&Entry> = entries
        .iter()
        .filter(|entry| extent.verbose || !is_quiet(entry))
        .collect();
    if !extent.verbose {
        shown.truncate(extent.top);
    }
    let mut rest: BTreeMap<LeakVerdict, u64> = BTreeMap::new();
    for entry in entries {
        *rest.entry(judgement(entry).verdict).or_default() += 1;
    }
    for entry in &shown {
        *rest.entry(judgement(entry).verdict).or_default() -= 1;
    }
    let words: Vec<String> = rest
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(verdict, count)| format!("{count} {}", words(*verdict)))
        .collect();
    let sentence = match words.is_empty() {
        true => String::new(),
        false => format!("not shown: {}", words.join(", ")),
    };
    (shown, sentence)
}

const fn words(verdict: LeakVerdict) -> &'static str {
    match verdict {
        LeakVerdict::TooShort => "too short",
        _ => verdict.word(),
    }
}

/// Seconds for people: no more exact than they are worth.
fn time(seconds: f64) -> String {
    if seconds < 10.0 {
        return format!("{seconds:.1}s");
    }
    let unit = if seconds >= 172_800.0 {
        86_400.0
    } else if seconds >= 7200.0 {
        3600.0
    } else if seconds >= 120.0 {
        60.0
    } else {
        1.0
    };
    let rounded = (seconds / unit).round() * unit;
    if unit >= 86_400.0 {
        return format!("{:.0} days", rounded / unit);
    }
    Duration::try_from_secs_f64(rounded).map_or_else(|_| "-".to_owned(), short)
}

fn indented(sentence: &str, extent: Extent) -> String {
    if sentence.is_empty() {
        return String::new();
    }
    let most = extent.width.map(|width| width.saturating_sub(2));
    wrap(sentence, most)
        .iter()
        .map(|line| format!("  {DIM}{line}{DIM:#}\n"))
        .collect()
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
