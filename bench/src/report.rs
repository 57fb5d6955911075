//! The result, as tables for people and as JSON for programs.
//!
//! Never rounds a missed target into a met one: ratios are compared before
//! they are printed.

use std::fmt::Write;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::agreement::Agreement;
use crate::error::BenchError;
use crate::machine::Machine;
use crate::measure::{Clock, Measured, Sample, Spread};

/// The largest error of the repeated PSS that is promised, in percent.
const MOST_ERROR_PERCENT: f64 = 2.0;

/// The bare loop's wall time over its CPU time, above which the machine was
/// too busy for wall times to mean much.
const NOISY: f64 = 1.1;

/// Everything that one run has measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    schema: &'static str,
    machine: Machine,
    pub(crate) fleets: Vec<FleetReport>,
}

/// The groups with one number of processes.
#[derive(Debug, Serialize)]
pub(crate) struct FleetReport {
    pub(crate) processes: u32,
    pub(crate) groups: Vec<GroupReport>,
    pub(crate) agreement: Option<Agreement>,
    #[serde(serialize_with = "as_seconds")]
    pub(crate) start_ups: Vec<(String, Duration)>,
}

/// Peers on the same work.
#[derive(Debug, Serialize)]
pub(crate) struct GroupReport {
    name: String,
    /// The bare loop's wall time over its CPU time: 1 on an idle machine.
    noise_ratio: Option<f64>,
    rows: Vec<RowReport>,
}

/// One peer; the first row of a group is the bare loop.
#[derive(Debug, Serialize)]
struct RowReport {
    name: String,
    absent: Option<String>,
    rounds: usize,
    wall_seconds: Option<Spread>,
    cpu_seconds: Option<Spread>,
    wall_ratio: Option<Spread>,
    cpu_ratio: Option<Spread>,
    processes: Option<u64>,
    error_percent: Option<Spread>,
    worst_error_percent: Option<Spread>,
    target_ratio: Option<f64>,
    target_clock: Option<&'static str>,
    target_met: Option<bool>,
}

impl GroupReport {
    /// The report on what was measured; the first row is the yardstick.
    pub(crate) fn of(name: &str, measured: &[Measured]) -> Self {
        let bare = measured.first().map_or(&[][..], |row| &row.samples);
        let noise = bare
            .iter()
            .filter(|sample| !sample.cpu.is_zero())
            .map(|sample| sample.wall.as_secs_f64() / sample.cpu.as_secs_f64());
        Self {
            name: name.to_owned(),
            noise_ratio: Spread::of(noise).map(|spread| spread.median),
            rows: measured
                .iter()
                .map(|row| RowReport::of(row, bare))
                .collect(),
        }
    }
}

impl RowReport {
    fn of(row: &Measured, bare: &[Sample]) -> Self {
        let samples = &row.samples;
        let wall = |samples: &[Sample]| -> Vec<Duration> {
            samples.iter().map(|sample| sample.wall).collect()
        };
        let cpu = |samples: &[Sample]| -> Vec<Duration> {
            samples.iter().map(|sample| sample.cpu).collect()
        };
        let seconds = |times: Vec<Duration>| Spread::of(times.iter().map(Duration::as_secs_f64));
        let wall_ratio = Spread::of_ratios(&wall(samples), &wall(bare));
        let cpu_ratio = Spread::of_ratios(&cpu(samples), &cpu(bare));
        let error_percent = Spread::of(samples.iter().filter_map(|sample| sample.error_percent));
        let worst = samples
            .iter()
            .filter_map(|sample| sample.worst_error_percent);
        let measured = row.target.and_then(|target| match target.clock {
            Clock::Wall => wall_ratio,
            Clock::Cpu => cpu_ratio,
        });
        let accurate = error_percent.is_none_or(|error| error.max <= MOST_ERROR_PERCENT);
        Self {
            name: row.name.clone(),
            absent: row.absent.clone(),
            rounds: samples.len(),
            wall_seconds: seconds(wall(samples)),
            cpu_seconds: seconds(cpu(samples)),
            wall_ratio,
            cpu_ratio,
            processes: samples.last().and_then(|sample| sample.processes),
            error_percent,
            worst_error_percent: Spread::of(worst),
            target_ratio: row.target.map(|target| target.ratio),
            target_clock: row.target.map(|target| match target.clock {
                Clock::Wall => "wall",
                Clock::Cpu => "cpu",
            }),
            target_met: row
                .target
                .zip(measured)
                .map(|(target, ratio)| accurate && ratio.median <= target.ratio),
        }
    }

    fn cells(&self) -> Vec<String> {
        if let Some(reason) = &self.absent {
            return vec![self.name.clone(), reason.clone()];
        }
        let target = match (self.target_ratio, self.target_clock, self.target_met) {
            (Some(ratio), Some(clock), Some(met)) => {
                let verdict = if met { "met" } else { "missed" };
                format!("<= {ratio} {clock}: {verdict}")
            }
            _ => String::new(),
        };
        let error = self.error_percent.map_or_else(String::new, |error| {
            let worst = self.worst_error_percent.map_or(0.0, |worst| worst.max);
            format!(
                "{:.2} (max {:.2}; one process {worst:.0})",
                error.median, error.max
            )
        });
        vec![
            self.name.clone(),
            milliseconds(self.wall_seconds),
            milliseconds(self.cpu_seconds),
            ratio(self.wall_ratio),
            ratio(self.cpu_ratio),
            self.processes
                .map_or_else(|| "-".to_owned(), |count| count.to_string()),
            error,
            target,
        ]
    }
}

impl Report {
    /// A report without fleets yet.
    pub(crate) fn new(machine: Machine) -> Self {
        Self {
            schema: "grey.bench-snapshot/v1",
            machine,
            fleets: Vec::new(),
        }
    }

    /// Whether our readings were those of psutil, where it is installed.
    pub(crate) fn agrees(&self) -> bool {
        let mut agreements = self
            .fleets
            .iter()
            .filter_map(|fleet| fleet.agreement.as_ref());
        agreements.all(Agreement::holds)
    }

    /// For programs.
    pub(crate) fn to_json(&self) -> Result<String, BenchError> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// For people, in Markdown.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_text(&mut text);
        text
    }

    fn write_text(&self, text: &mut String) -> std::fmt::Result {
        let machine = &self.machine;
        let memory = machine.memory_bytes.map_or_else(
            || "?".to_owned(),
            |bytes| grey_model::Bytes(bytes).to_string(),
        );
        writeln!(
            text,
            "{}, {} processors, {memory}, Linux {}, {}",
            machine.cpu, machine.cores, machine.kernel, machine.date
        )?;
        writeln!(
            text,
            "Median (min .. max) of the rounds; each ratio is to the bare C loop of the same round. \
             `read` counts processes; of the tracker, the `smaps_rollup` files of the last tick."
        )?;
        for fleet in &self.fleets {
            for group in &fleet.groups {
                group.write_text(fleet.processes, text)?;
            }
            fleet.write_notes(text)?;
        }
        Ok(())
    }
}

impl GroupReport {
    fn write_text(&self, processes: u32, text: &mut String) -> std::fmt::Result {
        writeln!(text, "\n### {processes} processes: {}\n", self.name)?;
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header([
            "peer",
            "wall, ms",
            "CPU, ms",
            "wall ratio",
            "CPU ratio",
            "read",
            "error, %",
            "target",
        ]);
        for column in table.column_iter_mut().skip(1).take(6) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for row in &self.rows {
            table.add_row(row.cells());
        }
        writeln!(text, "{table}")?;
        match self.noise_ratio {
            Some(ratio) if ratio > NOISY => writeln!(
                text,
                "\nThe machine was busy: the bare loop's wall time was {ratio:.2} x its CPU time."
            ),
            _ => Ok(()),
        }
    }
}

impl FleetReport {
    fn write_notes(&self, text: &mut String) -> std::fmt::Result {
        match &self.agreement {
            Some(agreement) => writeln!(
                text,
                "\nRSS, PSS, USS and swap beside psutil's memory_full_info: {} processes compared, \
                 {} not; {} amounts the same, {} within a page, {} different; largest difference {} bytes.",
                agreement.compared,
                agreement.not_compared,
                agreement.same,
                agreement.within_a_page,
                agreement.different,
                agreement.largest_difference_bytes
            )?,
            None => writeln!(text, "\nNot compared with psutil: it is not installed.")?,
        }
        for (name, time) in &self.start_ups {
            let milliseconds = time.as_secs_f64() * 1e3;
            writeln!(
                text,
                "Start-up, in none of the times: {name} {milliseconds:.0} ms."
            )?;
        }
        Ok(())
    }
}

fn milliseconds(spread: Option<Spread>) -> String {
    spread.map_or_else(
        || "-".to_owned(),
        |spread| {
            format!(
                "{:.2} ({:.2} .. {:.2})",
                spread.median * 1e3,
                spread.min * 1e3,
                spread.max * 1e3
            )
        },
    )
}

fn ratio(spread: Option<Spread>) -> String {
    spread.map_or_else(
        || "-".to_owned(),
        |spread| {
            format!(
                "{:.3} ({:.3} .. {:.3})",
                spread.median, spread.min, spread.max
            )
        },
    )
}

fn as_seconds<S: serde::Serializer>(
    start_ups: &[(String, Duration)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(
        start_ups
            .iter()
            .map(|(name, time)| (name, time.as_secs_f64())),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Target;

    fn row(name: &str, milliseconds: u64, target: Option<f64>, error: Option<f64>) -> Measured {
        let time = Duration::from_millis(milliseconds);
        Measured {
            name: name.to_owned(),
            samples: vec![Sample {
                wall: time,
                cpu: time,
                processes: Some(1),
                error_percent: error,
                worst_error_percent: error,
            }],
            target: target.map(|ratio| Target {
                clock: Clock::Cpu,
                ratio,
            }),
            absent: None,
        }
    }

    fn verdict(milliseconds: u64, error: Option<f64>) -> Option<bool> {
        let rows = [
            row("bare", 100, None, None),
            row("ours", milliseconds, Some(1.1), error),
        ];
        GroupReport::of("x", &rows).rows[1].target_met
    }

    #[test]
    fn a_target_is_met_up_to_its_ratio_and_its_error() {
        assert_eq!(verdict(110, None), Some(true));
        assert_eq!(verdict(111, None), Some(false));
        assert_eq!(verdict(50, Some(2.0)), Some(true));
        assert_eq!(verdict(50, Some(2.1)), Some(false));
    }

    #[test]
    fn an_absent_peer_has_a_row_that_says_why() {
        let absent = Measured {
            samples: Vec::new(),
            absent: Some("not installed".to_owned()),
            ..row("smem", 1, None, None)
        };
        let group = GroupReport::of("x", &[row("bare", 100, None, None), absent]);
        let mut text = String::new();
        group.write_text(200, &mut text).unwrap();
        assert!(
            text.contains("smem") && text.contains("not installed"),
            "{text}"
        );
    }
}
