//! The options of `memory-watch`.
//!
//! Defines only.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use crate::cli::Fold;
use crate::duration::{DurationError, Interval};
use crate::moment::Moment;

/// Options of `memory-watch`.
#[derive(Debug, Args)]
#[command(after_help = "\
Keys are as in htop: h shows them. Without a terminal, with TERM=dumb and with
--no-clear it prints lines instead.")]
pub(crate) struct WatchOptions {
    /// Begin with the processes, not with groups of them; where lines are
    /// printed, the largest processes below each
    #[arg(long)]
    pub(crate) show_processes: bool,
    /// Begin with the control groups; where lines are printed, with them below
    /// each
    #[arg(long, conflicts_with = "show_processes")]
    pub(crate) show_cgroups: bool,
    /// How often to look: seconds, or 500ms; at least 100ms
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "1",
        allow_hyphen_values = true
    )]
    pub(crate) interval: WatchInterval,
    /// Print one block below the other, and never clear the screen
    #[arg(long)]
    pub(crate) no_clear: bool,
    /// By what groups of processes are folded [default: program]; where lines
    /// are printed, with the largest groups below each
    #[arg(long, value_name = "WHAT")]
    pub(crate) by: Option<Fold>,
    /// Only what has this in its name, command line, unit, container or user; a
    /// number is a pid
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) filter: Option<String>,
    /// How many of each list are printed, where lines are printed [default: 10];
    /// alone, of programs
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) top: Option<usize>,
    /// End after this many looks
    #[arg(long, value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Show what history has of this moment: "10m ago", 10:04; the left and the
    /// right arrow step through the samples
    #[arg(long, value_name = "MOMENT", conflicts_with = "interval")]
    pub(crate) at: Option<Moment>,
    /// Never offer to undo anything
    #[arg(long)]
    pub(crate) readonly: bool,
    /// Draw in ASCII; so it is without UTF-8 in the locale, too
    #[arg(long)]
    pub(crate) ascii: bool,
}

/// How often to look; a bare number is in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WatchInterval(pub(crate) Duration);

impl FromStr for WatchInterval {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |byte: u8| byte.is_ascii_digit() || byte == b'.';
        let text = text.trim();
        let given = match !text.is_empty() && text.bytes().all(number) {
            true => format!("{text}s"),
            false => text.to_owned(),
        };
        given
            .parse()
            .map(|Interval(interval)| Self(interval))
            .map_err(|error| match error {
                DurationError::NotADuration { .. } => DurationError::NotADuration {
                    text: text.to_owned(),
                },
                error => error,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<Duration> {
        text.parse().ok().map(|WatchInterval(interval)| interval)
    }

    #[test]
    fn a_bare_number_is_in_seconds() {
        assert_eq!(parsed("5"), Some(Duration::from_secs(5)));
        assert_eq!(parsed("0.5"), Some(Duration::from_millis(500)));
        assert_eq!(parsed("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parsed("1m"), Some(Duration::from_secs(60)));
    }

    #[test]
    fn an_interval_that_is_none_or_too_short_is_refused() {
        for text in ["", "0", "0.01", "-1", "often", ".", "1.2.3", "99999"] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }
}
