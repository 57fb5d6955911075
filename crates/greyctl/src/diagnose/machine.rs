//! The machine as a whole: title, totals, breakdown, pressure, swap, KSM.
//!
//! Pure: numbers become text, and a number that is not known becomes a dash.

use std::time::Duration;

use grey_model::{Bytes, CgroupMode, Percent, PressureLine, RowName};

use jiff::tz::TimeZone;

use super::document::{Diagnosis, Ksm, Swap, ZramDevice, ZswapCache};
use super::report::Extent;
use crate::moment::shown;
use crate::table::{BOLD, Column, DIM, Table, Tone, Value, bar, heading, wrap};

/// The bar of the totals is this wide.
const TOTALS_BAR: u32 = 30;
/// The bars of the breakdown are this wide.
const BREAKDOWN_BAR: u32 = 20;

/// The first line: which machine, and what the reading cost.
pub(crate) fn title(diagnosis: &Diagnosis, extent: Extent) -> String {
    if diagnosis.recorded {
        let at = Duration::try_from_secs_f64(diagnosis.taken_at_unix_seconds);
        let unix_ms = u64::try_from(at.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
        let at = shown(unix_ms, &TimeZone::system());
        return format!("{BOLD}Memory of this machine at {at}, from history{BOLD:#}\n\n");
    }
    let host = &diagnosis.host;
    let mut parts = vec![
        format!("Linux {}", host.kernel.as_deref().unwrap_or("-")),
        cgroup_mode(host.cgroup_mode).to_owned(),
    ];
    if host.systemd {
        parts.push("systemd".to_owned());
    }
    if host.container {
        parts.push("inside a container".to_owned());
    }
    parts.push(format!("read in {:.2} s", diagnosis.taken_in_seconds));
    let mut text = format!("{BOLD}Memory of this machine{BOLD:#}\n");
    for line in wrap(&parts.join(", "), extent.width) {
        text.push_str(&format!("{DIM}{line}{DIM:#}\n"));
    }
    text.push('\n');
    text
}

fn cgroup_mode(mode: CgroupMode) -> &'static str {
    match mode {
        CgroupMode::V2 => "cgroup v2",
        CgroupMode::V2WithoutMemory => "cgroup v2 without memory",
        CgroupMode::Hybrid => "cgroup hybrid (memory on v1)",
        CgroupMode::V1 => "cgroup v1",
        CgroupMode::None => "no cgroups",
    }
}

/// Used, available, free and total, with a bar for what is used.
pub(crate) fn totals(diagnosis: &Diagnosis, extent: Extent) -> String {
    let system = &diagnosis.system;
    let mut table = Table::new(vec![
        Column::text("", 0),
        Column::number("", 0),
        Column::number("", 1),
        Column::text("", 2),
    ])
    .without_header();
    let used = system.used.percent_of(system.total);
    let tone = used.map_or(Tone::Plain, |share| match share.0 {
        share if share >= 90.0 => Tone::Alarm,
        share if share >= 80.0 => Tone::Warning,
        _ => Tone::Good,
    });
    let full = bar(used.unwrap_or_default().0 / 100.0, TOTALS_BAR);
    let mut row = |name, bytes: Option<Bytes>, bar| {
        let share = bytes.and_then(|bytes| bytes.percent_of(system.total));
        table.row(vec![
            Value::new(name),
            Value::or_unknown(bytes),
            Value::or_unknown(share),
            bar,
        ]);
    };
    row("used", Some(system.used), Value::new(full).tone(tone));
    row("available", system.available, Value::new(""));
    row("free", Some(system.free), Value::new(""));
    row("total", Some(system.total), Value::new(""));
    table.render(extent.width)
}

/// Every byte of the total once; rows of nothing are left out.
pub(crate) fn breakdown(diagnosis: &Diagnosis, extent: Extent) -> String {
    let total = diagnosis.system.total;
    let mut table = Table::new(vec![
        Column::text("", 0),
        Column::number("", 0),
        Column::number("", 1),
        Column::text("", 2),
    ])
    .without_header();
    let mut hidden = 0;
    for row in &diagnosis.breakdown.0 {
        let residual = row.name == RowName::Residual;
        if row.bytes == 0 && !extent.verbose && !residual {
            hidden += 1;
            continue;
        }
        let share = signed_share(row.bytes, total);
        let tone = if residual { Tone::Dim } else { Tone::Plain };
        table.row(vec![
            Value::new(row.name.label()).tone(tone),
            Value::new(signed(row.bytes)).tone(tone),
            Value::new(Percent(share * 100.0)).tone(tone),
            Value::new(bar(share, BREAKDOWN_BAR)).tone(Tone::Dim),
        ]);
    }
    table.row(vec![
        Value::new("sum").tone(Tone::Strong),
        Value::new(signed(diagnosis.breakdown.sum())).tone(Tone::Strong),
        Value::new(Percent(
            signed_share(diagnosis.breakdown.sum(), total) * 100.0,
        )),
        Value::new(""),
    ]);
    let remark = match hidden {
        _ if diagnosis.recorded => "what history keeps; the residual holds the rest".to_owned(),
        0 => "every byte of the total, once".to_owned(),
        rows => format!("every byte of the total, once; {rows} rows of 0 B left out"),
    };
    let mut text = heading("Breakdown", &remark, extent.width);
    text.push_str(&table.render(extent.width));
    if let Some(saved) = diagnosis.ksm.as_ref().and_then(|ksm| ksm.saved_bytes)
        && saved > 0
    {
        let sentence = format!("beside the sum: KSM saves {}", Bytes(saved));
        for line in wrap(&sentence, extent.width.map(|width| width.saturating_sub(2))) {
            text.push_str(&format!("  {DIM}{line}{DIM:#}\n"));
        }
    }
    text
}

/// How much time is lost waiting for memory.
pub(crate) fn pressure(diagnosis: &Diagnosis, extent: Extent) -> String {
    let Some(pressure) = diagnosis.pressure else {
        return heading("Pressure", "not measured by this kernel", extent.width);
    };
    let mut table = Table::new(vec![
        Column::text("", 0),
        Column::number("10 s", 0),
        Column::number("60 s", 0),
        Column::number("300 s", 0),
        Column::number("since boot", 1),
    ]);
    let mut row = |name, line: PressureLine| {
        table.row(vec![
            Value::new(name),
            stalled(line.avg10),
            stalled(line.avg60),
            stalled(line.avg300),
            Value::new(stall_time(line.total_us)),
        ]);
    };
    row("some", pressure.some);
    if let Some(full) = pressure.full {
        row("full", full);
    }
    let mut text = heading(
        "Pressure",
        "share of time lost waiting for memory",
        extent.width,
    );
    text.push_str(&table.render(extent.width));
    text
}

fn stalled(share: Percent) -> Value {
    let tone = match share.0 {
        share if share >= 20.0 => Tone::Alarm,
        share if share >= 5.0 => Tone::Warning,
        _ => Tone::Plain,
    };
    Value::new(share).tone(tone)
}

fn stall_time(microseconds: u64) -> String {
    let time = Duration::from_micros(microseconds);
    if time >= Duration::from_secs(60) {
        return grey_model::roughly(time);
    }
    format!("{:.1} s", time.as_secs_f64())
}

/// Swap devices, zram and zswap.
pub(crate) fn swap(diagnosis: &Diagnosis, extent: Extent) -> String {
    let swap = &diagnosis.swap;
    if swap.total_bytes == 0 && swap.devices.is_empty() && swap.zram.is_empty() {
        let mut text = heading(
            "Swap",
            "none: anonymous memory cannot be taken back",
            extent.width,
        );
        text.push_str(&zswap(swap, extent));
        return text;
    }
    let used = Bytes(swap.used_bytes);
    let total = Bytes(swap.total_bytes);
    let share = used
        .percent_of(total)
        .map_or_else(String::new, |share| format!(" ({share})"));
    let mut text = heading(
        "Swap",
        &format!("{used} of {total} used{share}"),
        extent.width,
    );
    if !swap.devices.is_empty() {
        text.push_str(&swap_devices(swap, extent));
    }
    for zram in &swap.zram {
        text.push_str(&indented(&zram_sentence(zram), extent));
    }
    text.push_str(&zswap(swap, extent));
    text
}

fn swap_devices(swap: &Swap, extent: Extent) -> String {
    let mut table = Table::new(vec![
        Column::text("device", 0).gives_way(12),
        Column::text("kind", 1),
        Column::number("used", 0),
        Column::number("size", 0),
        Column::number("priority", 2),
    ]);
    for device in &swap.devices {
        table.row(vec![
            Value::new(&device.path),
            Value::new(match device.kind {
                grey_model::SwapKind::Partition => "partition",
                grey_model::SwapKind::File => "file",
                grey_model::SwapKind::Zram => "zram",
            }),
            Value::new(device.used),
            Value::new(device.total),
            Value::new(device.priority),
        ]);
    }
    table.render(extent.width)
}

/// What a zram device holds, and in how much memory.
pub(crate) fn zram_sentence(zram: &ZramDevice) -> String {
    let device = &zram.device;
    format!(
        "{}: {} of pages in {} of memory{}{}",
        device.name,
        device.original,
        device.memory_used,
        ratio(zram.compression_ratio),
        algorithm(device.algorithm.as_deref()),
    )
}

fn zswap(swap: &Swap, extent: Extent) -> String {
    let sentence = swap.zswap.as_ref().and_then(zswap_sentence);
    sentence.map_or_else(String::new, |sentence| indented(&sentence, extent))
}

/// What the zswap pool holds; `None` when it is off and empty.
pub(crate) fn zswap_sentence(zswap: &ZswapCache) -> Option<String> {
    let pool = &zswap.pool;
    let holds = match (pool.original, pool.memory_used) {
        (Some(original), Some(memory)) if memory > Bytes::ZERO => {
            format!(
                ": {original} of pages in {memory} of memory{}",
                ratio(zswap.compression_ratio)
            )
        }
        _ => String::new(),
    };
    match (pool.enabled, holds.is_empty()) {
        (false, true) => None,
        (enabled, _) => {
            let state = if enabled { "on" } else { "off" };
            let compressor = algorithm(pool.compressor.as_deref());
            Some(format!("zswap {state}{holds}{compressor}"))
        }
    }
}

/// A sentence below a heading, in as many lines as it needs.
fn indented(sentence: &str, extent: Extent) -> String {
    wrap(sentence, extent.width.map(|width| width.saturating_sub(2)))
        .iter()
        .map(|line| format!("  {line}\n"))
        .collect()
}

fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(String::new, |ratio| format!(", {ratio:.1} to 1"))
}

fn algorithm(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!(", {name}"))
}

/// Kernel same-page merging in a line or two.
pub(crate) fn ksm(diagnosis: &Diagnosis, extent: Extent) -> String {
    let Some(Ksm { state, saved_bytes }) = &diagnosis.ksm else {
        return heading("KSM", "not built into this kernel", extent.width);
    };
    let running = match state.run {
        Some(0) => "stopped",
        Some(1) => "running",
        Some(2) => "unmerging",
        _ => "state unknown",
    };
    let mut text = heading("KSM", running, extent.width);
    let saved = saved_bytes.map(Bytes);
    if state.run == Some(0) && saved.unwrap_or_default() == Bytes::ZERO {
        return text;
    }
    let profit = state.general_profit_bytes.map(signed);
    let sentence = format!(
        "saves {}, {} after its own cost; {} pages shared by {} others, {} full scans",
        known(saved),
        known(profit),
        known(state.pages_shared.map(|pages| pages.0)),
        known(state.pages_sharing.map(|pages| pages.0)),
        known(state.full_scans),
    );
    text.push_str(&indented(&sentence, extent));
    text
}

fn known(value: Option<impl ToString>) -> String {
    value.map_or_else(
        || crate::table::UNKNOWN.to_owned(),
        |value| value.to_string(),
    )
}

/// Bytes with their sign, in the unit that reads best.
pub(crate) fn signed(bytes: i64) -> String {
    let amount = Bytes(bytes.unsigned_abs());
    if bytes < 0 {
        format!("-{amount}")
    } else {
        amount.to_string()
    }
}

fn signed_share(bytes: i64, total: Bytes) -> f64 {
    let share = Bytes(bytes.unsigned_abs())
        .percent_of(total)
        .unwrap_or_default()
        .0
        / 100.0;
    if bytes < 0 { -share } else { share }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_residual_keeps_its_sign() {
        assert_eq!(signed(-2048), "-2.0 KiB");
        assert!(signed_share(-50, Bytes(100)) < 0.0);
    }

    #[test]
    fn long_stalls_are_told_in_larger_units() {
        assert_eq!(stall_time(1_500_000), "1.5 s");
        assert_eq!(stall_time(3_600_000_000), "1h");
    }
}
