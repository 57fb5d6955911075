//! History as people read it.

use std::ops::ControlFlow;
use std::time::Duration;

use grey_model::{
    Bytes, CgroupField, CgroupSample, ProcessField, ProcessSample, Sample, SystemField,
};
use grey_telemetry::history::{Dump, DumpFault, History, HistoryError, Loss, NewerFile};
use jiff::tz::TimeZone;

use super::past;
use crate::count::counted;
use crate::moment::shown;
use crate::table::{BOLD, Column, Table, Value, heading};

/// The most rows of an overview.
const ROWS: u64 = 24;

/// What is lost, in a sentence.
pub(crate) fn loss(loss: &Loss) -> String {
    if loss.is_of_whole_file() {
        let (path, reason) = (loss.path.display(), &loss.reason);
        return format!("what is in `{path}` is not seen: {reason}; the rest was read");
    }
    let zone = TimeZone::system();
    let lost = counted(loss.bytes, "byte", "bytes");
    let (path, from) = (loss.path.display(), loss.from_byte);
    let place = format!("{lost} of `{path}` at byte {from}");
    if loss.is_repeated() {
        return format!("{place} are no loss: {}", loss.reason);
    }
    let (what, verb) = match loss.samples {
        Some(count) => (
            counted(count, "sample", "samples"),
            if count == 1 { "is" } else { "are" },
        ),
        None => ("samples".to_owned(), "are"),
    };
    let when = loss
        .between_unix_ms
        .map_or_else(String::new, |(from, until)| {
            let (from, until) = (shown(from, &zone), shown(until, &zone));
            format!(" between {from} and {until}")
        });
    let reason = &loss.reason;
    format!("{what}{when} {verb} lost: {reason} ({place}); the rest was read")
}

/// What a newer version has written, in a sentence.
pub(crate) fn newer(newer: &NewerFile) -> String {
    let path = newer.path.display();
    let format = newer.format;
    format!(
        "`{path}` was written by a newer version of greyctl (format {format}): it is not read \
         here, and left as it is"
    )
}

/// Why a dump cannot be read, in a sentence.
pub(crate) fn dump_fault(name: &str, fault: &DumpFault) -> String {
    match fault {
        DumpFault::Damaged => format!("the dump {name} is damaged and cannot be read"),
        DumpFault::Newer(format) => format!(
            "the dump {name} was written by a newer version of greyctl (format {format}): it is \
             not read here, and left as it is"
        ),
        DumpFault::Unreadable(why) => format!("failed to read the dump {name}: {why}"),
    }
}

fn bytes(value: Option<u64>) -> Value {
    Value::or_unknown(value.map(Bytes))
}

/// One moment.
pub(crate) fn sample(sample: &Sample, top: usize, zone: &TimeZone, width: Option<usize>) -> String {
    let at = shown(sample.at_unix_ms, zone);
    let mut text = format!("{BOLD}Memory at {at}{BOLD:#}\n\n");
    let mut table =
        Table::new(vec![Column::text("WHAT", 0), Column::number("AMOUNT", 0)]).without_header();
    for &field in SystemField::ALL {
        let (Some(value), Some((name, unit))) =
            (sample.system.get(field), field.key().rsplit_once('_'))
        else {
            continue;
        };
        if unit == "bytes" {
            let row = past::ROWS.iter().find(|(_, known)| *known == field);
            let name =
                row.map_or_else(|| name.replace('_', " "), |(row, _)| row.label().to_owned());
            table.row(vec![Value::new(name), bytes(Some(value))]);
        }
    }
    text.push_str(&table.render(width));
    text.push_str(&processes(sample, top, width));
    if let Some(groups) = &sample.cgroups {
        text.push_str(&cgroups(groups, top, width));
    }
    text
}

fn processes(sample: &Sample, top: usize, width: Option<usize>) -> String {
    let processes = &sample.processes;
    let size = |process: &ProcessSample| {
        let value = |field| process.values.get(field).unwrap_or_default();
        value(ProcessField::Rss) + value(ProcessField::Swap)
    };
    let mut largest: Vec<&ProcessSample> = processes.iter().collect();
    largest.sort_by_key(|process| (std::cmp::Reverse(size(process)), process.key.id));
    largest.truncate(top);
    let remark = format!(
        "{} of the {} that were kept",
        largest.len(),
        processes.len()
    );
    let mut text = heading("Processes", &remark, width);
    let mut table = Table::new(vec![
        Column::number("PID", 0),
        Column::number("RSS", 0),
        Column::number("PSS", 2).optional(),
        Column::number("PSS AGE", 4).optional(),
        Column::number("ANONYMOUS", 2),
        Column::number("SWAP", 1).optional(),
        Column::text("NAME", 0).gives_way(10),
        Column::text("CGROUP", 3).optional().gives_way(16),
    ]);
    for process in largest {
        let value = |field| bytes(process.values.get(field));
        table.row(vec![
            Value::new(process.key.id.pid),
            value(ProcessField::Rss),
            value(ProcessField::Pss),
            Value::or_unknown(pss_age(sample, process).map(crate::duration::short)),
            value(ProcessField::Anonymous),
            value(ProcessField::Swap),
            Value::new(process.key.name.to_process_name()),
            Value::or_unknown(process.key.cgroup.as_ref()),
        ]);
    }
    text.push_str(&table.render(width));
    text
}

/// How long before the sample PSS was read, in whole seconds.
fn pss_age(sample: &Sample, process: &ProcessSample) -> Option<Duration> {
    let at = process.values.get(ProcessField::PssAt)?;
    let milliseconds = sample.since_boot_ms.saturating_sub(at);
    Some(Duration::from_secs(milliseconds / 1000))
}

fn cgroups(groups: &[CgroupSample], top: usize, width: Option<usize>) -> String {
    let mut largest: Vec<&CgroupSample> = groups.iter().collect();
    largest.sort_by_key(|group| std::cmp::Reverse(group.values.get(CgroupField::Current)));
    largest.truncate(top);
    if largest.is_empty() {
        return String::new();
    }
    let remark = format!("{} of the {} that were kept", largest.len(), groups.len());
    let mut text = heading("Cgroups", &remark, width);
    let mut table = Table::new(vec![
        Column::text("CGROUP", 0).gives_way(16),
        Column::number("USAGE", 0),
        Column::number("SWAP", 1).optional(),
        Column::number("LIMIT", 1).optional(),
        Column::number("OOM KILLS", 2),
    ]);
    for group in largest {
        let value = |field| group.values.get(field);
        table.row(vec![
            Value::new(&group.path),
            bytes(value(CgroupField::Current)),
            bytes(value(CgroupField::Swap)),
            bytes(value(CgroupField::Limit)),
            Value::or_unknown(value(CgroupField::OomKills)),
        ]);
    }
    text.push_str(&table.render(width));
    text
}

/// A part of the time that is told in one row.
#[derive(Default)]
struct Part {
    samples: u64,
    from_unix_ms: u64,
    most_used: Option<u64>,
    least_available: Option<u64>,
    most_swap: Option<u64>,
    /// Stall time and time since boot, of the first and the last sample.
    stalled: Option<(u64, u64)>,
    since_boot: (u64, u64),
    kills: Option<(u64, u64)>,
    largest: Option<(u64, String)>,
}

impl Part {
    fn add(&mut self, sample: &Sample) {
        if self.samples == 0 {
            self.from_unix_ms = sample.at_unix_ms;
            self.since_boot.0 = sample.since_boot_ms;
        }
        self.samples += 1;
        self.since_boot.1 = sample.since_boot_ms;
        let value = |field| sample.system.get(field);
        self.most_used = self.most_used.max(value(SystemField::Used));
        self.most_swap = self.most_swap.max(value(SystemField::SwapUsed));
        let available = value(SystemField::Available);
        self.least_available = match (self.least_available, available) {
            (Some(least), Some(now)) => Some(least.min(now)),
            (least, now) => least.or(now),
        };
        let both = |pair: Option<(u64, u64)>, now: Option<u64>| {
            now.map(|now| (pair.map_or(now, |(first, _)| first), now))
        };
        self.stalled = both(self.stalled, value(SystemField::PressureSome));
        self.kills = both(self.kills, value(SystemField::OomKills));
        for process in &sample.processes {
            let rss = process.values.get(ProcessField::Rss).unwrap_or_default();
            if self.largest.as_ref().is_none_or(|(most, _)| rss > *most) {
                self.largest = Some((rss, process.key.name.to_process_name()));
            }
        }
    }

    /// The share of the time in which some task stalled, in percent; `None`
    /// when there is no telling, as across a boot.
    fn stalled_percent(&self) -> Option<f64> {
        let (first, last) = self.stalled?;
        let elapsed_us = self.since_boot.1.checked_sub(self.since_boot.0)? * 1000;
        let stalled = last.checked_sub(first)?;
        Bytes(stalled)
            .percent_of(Bytes(elapsed_us))
            .map(|percent| percent.0)
    }
}

/// The time from `from` to `until` in rows.
///
/// # Errors
/// [`HistoryError`] when a file cannot be read.
pub(crate) fn overview(
    history: &mut History,
    from: u64,
    until: u64,
    zone: &TimeZone,
    width: Option<usize>,
) -> Result<String, HistoryError> {
    let Some(span) = history.span() else {
        return Ok("No sample was recorded.\n".to_owned());
    };
    let from = from.max(span.from_unix_ms);
    let until = until.min(span.until_unix_ms);
    if from > until {
        return Ok(format!(
            "No sample of that time: there are some from {} to {}.\n",
            shown(span.from_unix_ms, zone),
            shown(span.until_unix_ms, zone)
        ));
    }
    let step = ((until - from) / ROWS + 1).max(1000);
    let mut parts: Vec<Part> = Vec::new();
    parts.resize_with(usize::try_from(ROWS).unwrap_or_default() + 1, Part::default);
    let each = |sample: Sample| {
        let index = usize::try_from(sample.at_unix_ms.saturating_sub(from) / step);
        if let Some(part) = index.ok().and_then(|index| parts.get_mut(index)) {
            part.add(&sample);
        }
        ControlFlow::Continue(())
    };
    history.samples(from, until, each)?;
    let counted_samples = parts.iter().map(|part| part.samples).sum();
    let remark = format!(
        "{} from {} to {}",
        counted(counted_samples, "sample", "samples"),
        shown(from, zone),
        shown(until, zone)
    );
    let mut table = Table::new(vec![
        Column::text("FROM", 0),
        Column::number("SAMPLES", 4),
        Column::number("MOST USED", 0),
        Column::number("LEAST AVAILABLE", 2),
        Column::number("MOST SWAP", 3).optional(),
        Column::number("STALLED", 1).optional(),
        Column::number("OOM KILLS", 2).optional(),
        Column::number("LARGEST RSS", 3),
        Column::text("OF", 3).gives_way(8),
    ]);
    for part in parts.iter().filter(|part| part.samples > 0) {
        let kills = part.kills.and_then(|(first, last)| last.checked_sub(first));
        let largest = part.largest.as_ref();
        table.row(vec![
            Value::new(shown(part.from_unix_ms, zone)),
            Value::new(part.samples),
            bytes(part.most_used),
            bytes(part.least_available),
            bytes(part.most_swap.filter(|swap| *swap > 0)),
            Value::or_unknown(
                part.stalled_percent()
                    .map(|percent| format!("{percent:.1} %")),
            ),
            Value::or_unknown(kills.filter(|kills| *kills > 0)),
            bytes(largest.map(|(rss, _)| *rss)),
            Value::or_unknown(largest.map(|(_, name)| name)),
        ]);
    }
    let mut text = heading("History", &remark, width);
    text.push_str(&table.render(width));
    Ok(text)
}

/// The word for a dump that cannot be read.
pub(super) const fn dump_state(fault: &DumpFault) -> &'static str {
    match fault {
        DumpFault::Damaged => "damaged",
        DumpFault::Newer(_) => "newer",
        DumpFault::Unreadable(_) => "unreadable",
    }
}

/// The dumps, where there are any.
pub(crate) fn dumps(dumps: &[Dump], zone: &TimeZone, width: Option<usize>) -> String {
    if dumps.is_empty() {
        return String::new();
    }
    let mut table = Table::new(vec![
        Column::text("LAST MINUTE BEFORE", 0),
        Column::text("WHY", 0),
        Column::number("SAMPLES", 2),
        Column::text("NAME", 0),
    ]);
    for dump in dumps {
        let state = match &dump.holds {
            Ok(_) => dump.reason.word().to_owned(),
            Err(fault) => format!("{}, {}", dump.reason.word(), dump_state(fault)),
        };
        let holds = dump.holds.as_ref().ok();
        table.row(vec![
            Value::or_unknown(holds.map(|(_, until, _)| shown(*until, zone))),
            Value::new(state),
            Value::or_unknown(holds.map(|(_, _, samples)| samples)),
            Value::new(&dump.name),
        ]);
    }
    let remark = "kept when memory ran short; look at one with --dump NAME";
    let mut text = heading("Dumps", remark, width);
    text.push_str(&table.render(width));
    text
}

/// A dump, a row for each second.
pub(crate) fn dump(samples: &[Sample], zone: &TimeZone, width: Option<usize>) -> String {
    let mut rows: Vec<&Sample> = Vec::new();
    for sample in samples {
        let second = |sample: &Sample| sample.since_boot_ms / 1000;
        match rows.last_mut() {
            Some(last) if second(last) == second(sample) => *last = sample,
            _ => rows.push(sample),
        }
    }
    let mut table = Table::new(vec![
        Column::text("AT", 0),
        Column::number("AVAILABLE", 0),
        Column::number("FREE", 2),
        Column::number("SWAP", 3).optional(),
        Column::number("STALLED", 0),
        Column::number("DIRECT SCAN", 2),
        Column::number("RECLAIMED", 3),
        Column::number("REFAULTS", 4),
        Column::number("OOM KILLS", 1),
    ]);
    // Counters are not read each time: each is told by how much it moved since
    // it was last known.
    let mut known = [None; 5];
    for sample in rows {
        let value = |field| sample.system.get(field);
        let mut moved = |place: usize, now: Option<u64>| {
            let before: Option<u64> = known[place];
            known[place] = now.or(before);
            now.zip(before)
                .map(|(now, before)| now.saturating_sub(before))
        };
        let stalled = moved(0, value(SystemField::PressureSome));
        let refaults = value(SystemField::RefaultAnonymous)
            .zip(value(SystemField::RefaultFile))
            .map(|(anonymous, file)| anonymous.saturating_add(file));
        table.row(vec![
            Value::new(shown(sample.at_unix_ms, zone)),
            bytes(value(SystemField::Available)),
            bytes(value(SystemField::Free)),
            bytes(value(SystemField::SwapUsed).filter(|swap| *swap > 0)),
            Value::or_unknown(stalled.map(|us| format!("{} ms", us / 1000))),
            Value::or_unknown(moved(1, value(SystemField::ScannedDirect))),
            Value::or_unknown(moved(2, value(SystemField::Reclaimed))),
            Value::or_unknown(moved(3, refaults)),
            Value::or_unknown(moved(4, value(SystemField::OomKills))),
        ]);
    }
    let remark = format!(
        "{}, pages and stall time since the row before",
        counted(samples.len() as u64, "sample", "samples")
    );
    let mut text = heading("Dump", &remark, width);
    text.push_str(&table.render(width));
    text
}
