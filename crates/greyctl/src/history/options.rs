//! The options of `record` and `history`.
//!
//! Defines only; what the commands do is beside it.

use clap::builder::TypedValueParser as _;
use clap::{ArgGroup, Args, Subcommand};
use grey_model::Bytes;
use grey_telemetry::history::MOST_PROCESSES;

use crate::cli::Rows;
use crate::duration::{CpuShare, Interval, Keep};
use crate::moment::Moment;
use crate::no_option::NoOption;

/// Options of `record`.
#[derive(Debug, Args)]
pub(crate) struct RecordOptions {
    /// How often; at least 100ms
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "1s",
        allow_hyphen_values = true
    )]
    pub(crate) interval: Interval,
    /// End after this time
    #[arg(long = "for", value_name = "DURATION", allow_hyphen_values = true)]
    pub(crate) length: Option<Keep>,
    /// How many processes each sample has, the largest; from 1 to 10000
    #[arg(long, value_name = "N", default_value_t = 40, allow_negative_numbers = true,
          value_parser = parse_process_count)]
    pub(crate) processes: usize,
    /// How much of one core PSS may cost, in percent; 0 for no PSS
    #[arg(
        long,
        value_name = "PERCENT",
        default_value = "0.5",
        allow_hyphen_values = true
    )]
    pub(crate) pss_budget: CpuShare,
    /// How much history there may be, at least 1M; the oldest goes first
    #[arg(long, value_name = "SIZE", default_value = "512M", allow_hyphen_values = true,
          value_parser = NoOption::<Bytes>::new().try_map(large_enough))]
    pub(crate) max_size: Bytes,
    /// How long it is kept
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "30d",
        allow_hyphen_values = true
    )]
    pub(crate) keep: Keep,
}

/// Less than this is a slip: `20` is 20 bytes, and would delete all there is.
const LEAST_SIZE: Bytes = Bytes::from_mib(1);

fn large_enough(size: Bytes) -> Result<Bytes, String> {
    if size < LEAST_SIZE {
        return Err("history needs 1M at least; a number alone is of bytes".to_owned());
    }
    Ok(size)
}

/// From when to when.
#[derive(Debug, Clone, Args)]
pub(crate) struct Since {
    /// Only since then
    #[arg(long, value_name = "MOMENT")]
    pub(crate) from: Option<Moment>,
    /// Only until then
    #[arg(long, value_name = "MOMENT")]
    pub(crate) until: Option<Moment>,
}

/// Options of `history`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
A moment is `10m ago`, `10:04`, `2026-11-21 10:04` or `now`."
)]
pub(crate) struct HistoryOptions {
    #[command(subcommand)]
    pub(crate) command: Option<HistoryCommand>,
    /// Show the sample of this moment
    #[arg(long, value_name = "MOMENT", conflicts_with_all = ["from", "until", "csv"])]
    pub(crate) at: Option<Moment>,
    #[command(flatten)]
    pub(crate) since: Since,
    /// Show one of the last minutes that were kept when memory ran short
    #[arg(long, value_name = "NAME", conflicts_with_all = ["at", "from", "until", "csv"])]
    pub(crate) dump: Option<String>,
    #[command(flatten)]
    pub(crate) rows: Rows,
    /// Print every sample as one JSON document (grey.history/v1)
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the machine's numbers as CSV, a line for each sample
    #[arg(long, conflicts_with = "json")]
    pub(crate) csv: bool,
}

impl HistoryOptions {
    /// Whether every sample is asked for.
    pub(crate) const fn is_export(&self) -> bool {
        self.json || self.csv
    }
}

/// What to do with history.
#[derive(Debug, Subcommand)]
pub(crate) enum HistoryCommand {
    /// Print every sample for another program
    Export(ExportOptions),
}

/// Options of `history export`.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("form").required(true).args(["json", "csv"]))]
pub(crate) struct ExportOptions {
    #[command(flatten)]
    pub(crate) since: Since,
    /// As one JSON document (grey.history/v1)
    #[arg(long)]
    pub(crate) json: bool,
    /// The machine's numbers as CSV, a line for each sample
    #[arg(long)]
    pub(crate) csv: bool,
}

fn parse_process_count(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|count| (1..=MOST_PROCESSES).contains(count))
        .ok_or_else(|| format!("it is a whole number from 1 to {MOST_PROCESSES}"))
}
