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
mod report;
mod setup;

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
    let Benchmark::Snapshot(arguments) = Arguments::parse().benchmark;
    match snapshot(&arguments) {
        Ok(report) if report.agrees() => ExitCode::SUCCESS,
        Ok(_) => {
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
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").map_err(|source| BenchError::Print { source })?;
    Ok(report)
}

/// Talk goes to standard error; nobody listening is no error.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
