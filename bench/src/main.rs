//! Measures Grey Optimizer beside its peers, in one run, as ratios.
//!
//! Never judges by absolute times: every number stands beside a bare C loop
//! that did the same work in the same round.

mod agreement;
mod error;
mod external;
mod fleet;
mod groups;
mod inside;
mod machine;
mod measure;
mod page_out;
mod recorder;
mod report;
mod setup;
mod zram;

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::error::BenchError;
use crate::report::Report;

/// Benchmarks of Grey Optimizer beside its peers.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Arguments {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Debug, Subcommand)]
enum Benchmark {
    /// RSS, PSS and USS of many real processes, once and again and again.
    Snapshot(SnapshotArguments),
    /// Page-out to zram beside a bare process_madvise loop. Makes a zram device
    /// and swaps to it while it runs; needs root and a machine without swap.
    PageOut(PageOutArguments),
    /// `greyctl record` beside others that look each second, over the same
    /// processes and time: CPU, memory, the size of a day, the error of PSS.
    Recorder(RecorderArguments),
}

/// What the recorder benchmark is to do.
#[derive(Debug, Args)]
pub(crate) struct RecorderArguments {
    /// How many processes to start; may be given several times.
    #[arg(long, value_name = "N", default_values_t = [200, 2000], value_parser = clap::value_parser!(u32).range(8..=2500))]
    pub(crate) processes: Vec<u32>,
    /// How long it is measured, in seconds.
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=3600))]
    pub(crate) seconds: u64,
    /// Let 2 % of the processes change each second, and replace a few.
    #[arg(long)]
    pub(crate) changing: bool,
    /// Do not install missing peers; report them as not installed.
    #[arg(long)]
    pub(crate) no_install: bool,
}

/// What the page-out benchmark is to do.
#[derive(Debug, Args)]
pub(crate) struct PageOutArguments {
    /// How much memory goes out, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u64).range(64..=1024))]
    pub(crate) mebibytes: u64,
    /// Rounds in which each takes its turn.
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(3..=1000))]
    pub(crate) rounds: u32,
}

/// What the snapshot benchmark is to do.
#[derive(Debug, Args)]
pub(crate) struct SnapshotArguments {
    /// How many processes to start; may be given several times.
    #[arg(long, value_name = "N", default_values_t = [200, 2000], value_parser = clap::value_parser!(u32).range(8..=2500))]
    pub(crate) processes: Vec<u32>,
    /// Rounds in which every peer takes its turn.
    #[arg(long, value_name = "N", default_value_t = 11, value_parser = clap::value_parser!(u32).range(3..=1000))]
    pub(crate) rounds: u32,
    /// Print JSON instead of tables.
    #[arg(long)]
    pub(crate) json: bool,
    /// Do not install missing peers; report them as not installed.
    #[arg(long)]
    pub(crate) no_install: bool,
}

fn main() -> ExitCode {
    let measured = match Arguments::parse().benchmark {
        Benchmark::Snapshot(arguments) => snapshot(&arguments).map(|report| report.agrees()),
        Benchmark::PageOut(arguments) => page_out::run(&arguments)
            .and_then(|text| print(&text))
            .map(|()| true),
        Benchmark::Recorder(arguments) => recorder::run(&arguments)
            .and_then(|text| print(&text))
            .map(|()| true),
    };
    match measured {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            say("error: our readings disagree with psutil's; see the table");
            ExitCode::FAILURE
        }
        Err(error) => {
            say(&format!("error: {error}"));
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                say(&format!("  because: {cause}"));
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn snapshot(arguments: &SnapshotArguments) -> Result<Report, BenchError> {
    let peers = setup::prepare(!arguments.no_install);
    let mut report = Report::new(machine::describe());
    for &count in &arguments.processes {
        say(&format!("starting {count} processes"));
        report.fleets.push(groups::run(count, arguments, &peers)?);
    }
    let text = if arguments.json {
        report.to_json()?
    } else {
        report.to_text()
    };
    print(&text)?;
    Ok(report)
}

fn print(text: &str) -> Result<(), BenchError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").map_err(|source| BenchError::Print { source })
}

/// Talk goes to standard error; nobody listening is no error.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
