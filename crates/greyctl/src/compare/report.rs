//! A comparison as people read it.
//!
//! Pure: a document becomes text.

use std::time::Duration;

use grey_model::{
    Bytes, CgroupDelta, Comparison, Fate, KernelText, ProcessDelta, ProgramDelta, RowName,
    Snapshot, Target,
};
use grey_policy::comparable::Comparability;

use super::document::{CommandRun, Compared, ComparisonDocument};
use crate::count::counted;
use crate::diagnose::machine::signed;
use crate::duration::short;
use crate::table::{BOLD, Column, Table, Tone, Value, heading, noted, wrap};

/// The whole report; `top` bounds the rows of each list.
pub(crate) fn render(document: &ComparisonDocument, top: usize, width: Option<usize>) -> String {
    let comparison = &document.comparison;
    let mut text = title(document);
    for line in document.command.iter().filter_map(peak) {
        text.push_str(&(wrap(&line, width).join("\n") + "\n"));
    }
    text.push_str(&machine(comparison, width));
    text.push_str(&breakdown(comparison, width));
    text.push_str(&processes(&comparison.processes, top, width));
    text.push_str(&programs(&comparison.programs, top, width));
    text.push_str(&cgroups(&comparison.cgroups, top, width));
    for note in &document.notes {
        text.push_str(&noted(note, width));
    }
    text
}

/// What to keep in mind when reading the comparison.
pub(crate) fn notes(before: &Snapshot, after: &Snapshot, comparison: &Comparison) -> Vec<String> {
    let mut notes = Vec::new();
    if comparison.same_boot == Some(false) {
        notes.push(
            "the two are of different boots: no process can be in both, and programs and cgroups \
             are matched by name"
                .to_owned(),
        );
    }
    if comparison
        .elapsed_seconds
        .is_some_and(|seconds| seconds < 0.0)
    {
        notes.push("the first was taken after the second: what went appeared".to_owned());
    }
    notes.extend(of_listed(comparison.system.per_cpu_free_lists_delta_bytes));
    for (which, snapshot) in [("first", before), ("second", after)] {
        match snapshot.unreadable_processes {
            Some(0) => {}
            Some(count) => notes.push(format!(
                "in the {which}, {} could not be read in full: what changed there is unknown",
                counted(count, "process", "processes")
            )),
            None => notes.push(format!("in the {which}, procfs hid processes")),
        }
    }
    notes
}

/// What is of the targets alone, and what is not.
pub(crate) fn of_targets(snapshot: &Snapshot, named: &[Target]) -> Option<String> {
    let known = snapshot.targets.iter().flatten();
    let mut words: Vec<String> = match named {
        [] => known
            .map(|target| KernelText::from(&target.typed).to_string())
            .collect(),
        named => named.iter().map(ToString::to_string).collect(),
    };
    words.dedup();
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    (!words.is_empty()).then(|| {
        format!(
            "processes, programs, cgroups and the sums of RSS and PSS are of {} alone, all other \
             amounts of the whole machine",
            words.join(", ")
        )
    })
}

/// Of what there is nothing at the second look.
pub(crate) fn of_gone(target: &Target) -> String {
    format!("`{target}` is gone: of it there is nothing any more in the second")
}

/// Where the free pages are counted that `MemFree` and `MemAvailable` leave out;
/// nothing where that makes no difference.
fn of_listed(delta: Option<i64>) -> Option<String> {
    Some(match delta {
        Some(0) => return None,
        Some(delta) => format!(
            "free pages on the lists of single CPUs count as free and available here, and not as \
             used; MemFree and MemAvailable leave them out. They changed by {}",
            signed(delta)
        ),
        None => "free pages on the lists of single CPUs are not known in both: used counts them, \
                 free and available leave them out, so that all three are wrong by as much as \
                 these lists changed, which may be many MiB"
            .to_owned(),
    })
}

/// What samples of history do not show.
pub(crate) fn notes_of_history(found: &Comparability) -> Vec<String> {
    let mut notes = Vec::new();
    let left_out = [
        (found.processes_left_out.len(), "process", "processes"),
        (found.cgroups_left_out.len(), "cgroup", "cgroups"),
    ];
    if let Some(left_out) = listed(&left_out) {
        notes.push(format!(
            "{left_out} could not be compared and {} left out: history keeps the largest of each \
             sample",
            match found.processes_left_out.len() + found.cgroups_left_out.len() {
                1 => "is",
                _ => "are",
            }
        ));
    }
    let counts = [
        (found.at_most_after.len(), "process", "processes"),
        (found.cgroups_left.len(), "cgroup", "cgroups"),
    ];
    if let Some(left) = listed(&counts) {
        notes.push(format!(
            "{left} left the largest that history keeps (left): ended or only smaller, which is \
             not known, and the change is at least what is told"
        ));
    }
    if let Some(entered) = listed(&[(found.cgroups_entered.len(), "cgroup", "cgroups")]) {
        notes.push(format!(
            "{entered} came among the largest that history keeps (entered): new or only larger, \
             which is not known, and the change is at least what is told"
        ));
    }
    if !found.at_most_before.is_empty() {
        notes.push(format!(
            "of {} the amount before is unknown, as larger ones were kept: the change is at least \
             what is told",
            counted(found.at_most_before.len() as u64, "process", "processes")
        ));
    }
    notes
}

/// `2 processes and 1 cgroup`; `None` where there are none.
fn listed<Count: TryInto<u64> + Copy>(counts: &[(Count, &str, &str)]) -> Option<String> {
    let some = counts.iter().filter_map(|&(count, one, more)| {
        let count = count.try_into().unwrap_or(u64::MAX);
        (count > 0).then(|| counted(count, one, more))
    });
    let some: Vec<String> = some.collect();
    (!some.is_empty()).then(|| some.join(" and "))
}

fn title(document: &ComparisonDocument) -> String {
    let name = |compared: &Compared| match &compared.file {
        Some(file) => KernelText::from(file).to_string(),
        None => "now".to_owned(),
    };
    let (before, after) = (name(&document.before), name(&document.after));
    let what = match &document.command {
        Some(ran) => {
            let command = KernelText::from(&ran.arguments.join(" "));
            format!(
                "before and after `{command}`, which ran {}",
                ran_for(ran.ran_seconds)
            )
        }
        None => format!("from {before} to {after}"),
    };
    let elapsed = document.comparison.elapsed_seconds.unwrap_or(-1.0);
    match Duration::try_from_secs_f64(elapsed) {
        Ok(elapsed) if document.command.is_none() => {
            let later = Duration::from_secs(elapsed.as_secs());
            format!("{BOLD}Comparison{BOLD:#}  {what}, {} later\n", short(later))
        }
        _ => format!("{BOLD}Comparison{BOLD:#}  {what}\n"),
    }
}

/// What the command had resident; where it is not known, what it was not above.
fn peak(ran: &CommandRun) -> Option<String> {
    match (ran.peak_rss, ran.peak_rss_at_most) {
        (Some(peak), _) => Some(format!("its largest process had up to {peak} resident")),
        (None, Some(most)) => Some(format!(
            "none of its processes had more than {most} resident"
        )),
        (None, None) => None,
    }
}

/// How long a command ran: exact where it was quick.
fn ran_for(seconds: f64) -> String {
    match Duration::try_from_secs_f64(seconds) {
        Ok(ran) if ran.as_secs() >= 60 => short(Duration::from_secs(ran.as_secs())),
        _ => format!("{seconds:.2} s"),
    }
}

/// `+1.5 GiB`, `-3.0 MiB`; less memory is good.
fn change(delta: i64) -> Value {
    let amount = Bytes(delta.unsigned_abs());
    match delta {
        0 => Value::new("0").tone(Tone::Dim),
        1.. => Value::new(format!("+{amount}")).tone(Tone::Warning),
        ..0 => Value::new(format!("-{amount}")).tone(Tone::Good),
    }
}

fn change_or_unknown(delta: Option<i64>) -> Value {
    delta.map_or_else(Value::unknown, change)
}

fn machine(comparison: &Comparison, width: Option<usize>) -> String {
    let system = &comparison.system;
    let remark = match system.reduction_percent {
        Some(percent) if percent > 0.0 => format!("{percent:.1} % less in use"),
        Some(percent) if percent < 0.0 => format!("{:.1} % more in use", -percent),
        Some(_) => "as much in use".to_owned(),
        None => String::new(),
    };
    // More of these is what one wants.
    let wanted = |delta: Option<i64>| {
        let value = change_or_unknown(delta);
        match delta {
            Some(1..) => value.tone(Tone::Good),
            Some(..=-1) => value.tone(Tone::Warning),
            _ => value,
        }
    };
    let mut table =
        Table::new(vec![Column::text("WHAT", 0), Column::number("CHANGE", 0)]).without_header();
    for (what, value) in [
        ("used", change(system.used_delta_bytes)),
        ("available", wanted(system.available_delta_bytes)),
        ("free", wanted(Some(system.free_delta_bytes))),
        ("file cache", change_or_unknown(system.cache_delta_bytes)),
        ("swap used", change(system.swap_used_delta_bytes)),
        ("processes, sum of RSS", change(system.rss_delta_bytes)),
        (
            "processes, sum of PSS",
            change_or_unknown(system.pss_delta_bytes),
        ),
    ] {
        table.row(vec![Value::new(what), value]);
    }
    let mut text = heading("System", &remark, width);
    text.push_str(&table.render(width));
    text
}

fn breakdown(comparison: &Comparison, width: Option<usize>) -> String {
    let mut rows: Vec<_> = comparison
        .breakdown
        .iter()
        .filter(|row| row.delta_bytes != Some(0))
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.delta_bytes.map(i64::unsigned_abs)));
    let mut table = Table::new(vec![
        Column::text("WHERE", 0),
        Column::number("BEFORE", 1),
        Column::number("AFTER", 1),
        Column::number("CHANGE", 0),
    ]);
    let amount = |bytes: Option<i64>| {
        Value::or_unknown(bytes.map(|bytes| match u64::try_from(bytes) {
            Ok(bytes) => Bytes(bytes).to_string(),
            Err(_) => format!("-{}", Bytes(bytes.unsigned_abs())),
        }))
    };
    for row in rows {
        table.row(vec![
            Value::new(row_name(&row.name)),
            amount(row.before_bytes),
            amount(row.after_bytes),
            change_or_unknown(row.delta_bytes),
        ]);
    }
    let mut text = heading("Breakdown", "rows that changed", width);
    text.push_str(&table.render(width));
    text
}

/// What a diagnosis calls the row; of one of another version that has others, the
/// word in its document.
fn row_name(key: &str) -> String {
    let known = serde_json::from_value::<RowName>(key.into());
    known.map_or_else(
        |_| KernelText::from(&key.replace('_', " ")).to_string(),
        |row| row.label().to_owned(),
    )
}

/// `3 of 17 that changed, largest first`.
fn shown_of(shown: usize, all: usize) -> String {
    match all {
        0 => "no change".to_owned(),
        _ if shown == all => format!("{all} changed"),
        _ => format!("{shown} of {all} that changed"),
    }
}

const fn word(fate: Fate) -> &'static str {
    match fate {
        Fate::Appeared => "appeared",
        Fate::Grew => "grew",
        Fate::Moved => "moved",
        Fate::Shrank => "shrank",
        Fate::Went => "went",
        Fate::Entered => "entered",
        Fate::Left => "left",
        Fate::Unknown => "unknown",
    }
}

fn processes(deltas: &[ProcessDelta], top: usize, width: Option<usize>) -> String {
    let shown = deltas.len().min(top);
    let mut text = heading("Processes", &shown_of(shown, deltas.len()), width);
    if shown == 0 {
        return text;
    }
    let mut table = Table::new(vec![
        Column::number("PID", 0),
        Column::text("FATE", 0),
        Column::number("BEFORE", 1),
        Column::number("AFTER", 1),
        Column::number("SWAP BEFORE", 3).optional(),
        Column::number("SWAP AFTER", 3).optional(),
        Column::number("CHANGE", 0),
        Column::text("BY", 2),
        Column::text("NAME", 0).gives_way(10),
    ]);
    for delta in &deltas[..shown] {
        let by_pss = is_by_pss(delta);
        let (before, after) = match by_pss {
            true => (delta.pss_before, delta.pss_after),
            false => (delta.rss_before, delta.rss_after),
        };
        let swap = |bytes: Option<Bytes>| Value::or_unknown(bytes.filter(|bytes| bytes.0 > 0));
        table.row(vec![
            Value::new(delta.id.pid),
            Value::new(word(delta.fate)),
            Value::or_unknown(before),
            Value::or_unknown(after),
            swap(delta.swap_before),
            swap(delta.swap_after),
            change_or_unknown(delta.delta_bytes),
            Value::new(if by_pss { "PSS" } else { "RSS" }),
            Value::new(delta.name.to_process_name()),
        ]);
    }
    text.push_str(&table.render(width));
    text
}

/// Whether the change is told by PSS: every snapshot that has the process
/// knows it.
fn is_by_pss(delta: &ProcessDelta) -> bool {
    match delta.fate {
        Fate::Appeared => delta.pss_after.is_some(),
        Fate::Went => delta.pss_before.is_some(),
        _ => delta.pss_before.is_some() && delta.pss_after.is_some(),
    }
}

fn programs(deltas: &[ProgramDelta], top: usize, width: Option<usize>) -> String {
    let shown = deltas.len().min(top);
    let mut text = heading("Programs", &shown_of(shown, deltas.len()), width);
    if shown == 0 {
        return text;
    }
    let mut table = Table::new(vec![
        Column::text("NAME", 0).gives_way(10),
        Column::number("PROCESSES BEFORE", 1),
        Column::number("AFTER", 1),
        Column::number("CHANGE", 0),
    ]);
    for delta in &deltas[..shown] {
        table.row(vec![
            Value::new(delta.name.to_process_name()),
            Value::new(delta.count_before),
            Value::new(delta.count_after),
            change_or_unknown(delta.delta_bytes),
        ]);
    }
    text.push_str(&table.render(width));
    text
}

fn cgroups(deltas: &[CgroupDelta], top: usize, width: Option<usize>) -> String {
    let shown = deltas.len().min(top);
    if shown == 0 {
        return String::new();
    }
    let mut text = heading("Cgroups", &shown_of(shown, deltas.len()), width);
    let mut table = Table::new(vec![
        Column::text("CGROUP", 0).gives_way(16),
        Column::text("FATE", 0),
        Column::number("BEFORE", 1),
        Column::number("AFTER", 1),
        Column::number("CHANGE", 0),
    ]);
    for delta in &deltas[..shown] {
        table.row(vec![
            Value::new(&delta.path),
            Value::new(word(delta.fate)),
            Value::or_unknown(delta.current_before),
            Value::or_unknown(delta.current_after),
            change_or_unknown(delta.delta_bytes),
        ]);
    }
    text.push_str(&table.render(width));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_called_as_in_a_diagnosis_and_an_unknown_one_by_its_word() {
        for row in [
            RowName::FreePerCpuLists,
            RowName::Shared,
            RowName::SlabReclaimable,
        ] {
            let key = serde_json::to_value(row).unwrap();
            assert_eq!(row_name(key.as_str().unwrap()), row.label());
        }
        assert_eq!(row_name("free_per_cpu_lists"), "free, on CPU lists");
        assert_eq!(row_name("of_tomorrow\x1b"), "of tomorrow\\x1b");
    }
}
