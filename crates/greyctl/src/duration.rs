//! Durations as people type them: `45s`, `10m`, `1h30m`, `2d`.
//!
//! Never reads a clock, and never takes a number without a unit.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::{Span, SpanRelativeTo};

/// The longest lease: 30 days. Longer than that is not a lease but a setting.
pub(crate) const LONGEST_LEASE: Duration = Duration::from_secs(30 * 24 * 3600);

/// The longest observation: one hour.
pub(crate) const LONGEST_OBSERVATION: Duration = Duration::from_secs(3600);

/// How long a change is kept; above zero, at most [`LONGEST_LEASE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease(pub(crate) Duration);

/// How long to watch for memory that comes back; zero is no watching, and the
/// most is [`LONGEST_OBSERVATION`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Observation(pub(crate) Duration);

/// The shortest interval between two samples: 100 ms.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// The longest: one hour.
const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);

/// How long something is kept at most: 10 years.
const LONGEST_KEPT: Duration = Duration::from_secs(3650 * 24 * 3600);

/// How often something is done; at least [`SHORTEST_INTERVAL`], at most
/// [`LONGEST_INTERVAL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interval(pub(crate) Duration);

/// How long something lasts or is kept; above zero, at most [`LONGEST_KEPT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keep(pub(crate) Duration);

/// The longest time to look for leaks: a day.
const LONGEST_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// How long to look for leaks; above zero, at most [`LONGEST_WINDOW`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window(pub(crate) Duration);

/// A share of one core's time, in percent; from 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct CpuShare(f64);

impl CpuShare {
    /// So much of `interval`.
    pub(crate) fn of(self, interval: Duration) -> Duration {
        interval.mul_f64(self.0 / 100.0)
    }
}

impl FromStr for CpuShare {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_suffix('%').unwrap_or(text).trim();
        grey_telemetry::ascii::parse_decimal(number.as_bytes())
            .filter(|percent| (0.0..=100.0).contains(percent))
            .map(Self)
            .ok_or_else(|| "it is a number from 0 to 100, in percent of a core".to_owned())
    }
}

/// A duration could not be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DurationError {
    /// It is not a duration.
    #[error("`{text}` is not a duration such as 45s, 10m or 1h30m")]
    NotADuration {
        /// What was typed.
        text: String,
    },
    /// It is zero or negative.
    #[error("the duration must be longer than zero")]
    NotPositive,
    /// It is too short.
    #[error("the shortest duration here is {shortest}")]
    TooShort {
        /// What would have been accepted.
        shortest: &'static str,
    },
    /// It is too long.
    #[error("the longest duration here is {longest}")]
    TooLong {
        /// What would have been accepted.
        longest: &'static str,
    },
}

impl FromStr for Lease {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let duration = parse(text)?;
        if duration.is_zero() {
            return Err(DurationError::NotPositive);
        }
        if duration > LONGEST_LEASE {
            return Err(DurationError::TooLong { longest: "30 days" });
        }
        Ok(Self(duration))
    }
}

impl FromStr for Observation {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let duration = parse(text)?;
        if duration > LONGEST_OBSERVATION {
            return Err(DurationError::TooLong { longest: "1 hour" });
        }
        Ok(Self(duration))
    }
}

impl FromStr for Interval {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let duration = parse(text)?;
        if duration < SHORTEST_INTERVAL {
            return Err(DurationError::TooShort { shortest: "100 ms" });
        }
        if duration > LONGEST_INTERVAL {
            return Err(DurationError::TooLong { longest: "1 hour" });
        }
        Ok(Self(duration))
    }
}

impl FromStr for Keep {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let duration = parse(text)?;
        if duration.is_zero() {
            return Err(DurationError::NotPositive);
        }
        if duration > LONGEST_KEPT {
            return Err(DurationError::TooLong {
                longest: "10 years",
            });
        }
        Ok(Self(duration))
    }
}

impl FromStr for Window {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let duration = parse(text)?;
        if duration.is_zero() {
            return Err(DurationError::NotPositive);
        }
        if duration > LONGEST_WINDOW {
            return Err(DurationError::TooLong {
                longest: "24 hours",
            });
        }
        Ok(Self(duration))
    }
}

impl fmt::Display for Lease {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&short(self.0))
    }
}

/// A duration for people: `1h 30m`, `45s`; below a minute in one unit, with at
/// most three significant digits: `167ms`, `1.5s`. Above, parts of a second are
/// left out.
pub(crate) fn short(duration: Duration) -> String {
    if duration < MINUTE {
        return in_one_unit(duration);
    }
    let duration = Duration::from_secs(duration.as_secs());
    jiff::SignedDuration::try_from(duration).map_or_else(
        |_| format!("{}s", duration.as_secs()),
        |signed| format!("{signed:#}"),
    )
}

/// A duration as it is typed for an option, in one word: `90s`, `1500ms`. Less
/// than a millisecond is left out.
pub(crate) fn exact(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{}s", duration.as_secs()),
        _ => format!("{}ms", duration.as_millis()),
    }
}

const MINUTE: Duration = Duration::from_secs(60);

/// Each unit, and how many nanoseconds it has.
const UNITS: [(&str, u32); 4] = [
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("µs", 1000),
    ("ns", 1),
];

/// Rounded; what becomes 1000 of a unit is 1 of the next.
fn in_one_unit(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    let largest = |(_, length): &(&str, u32)| nanoseconds >= u128::from(*length);
    let Some(first) = UNITS.iter().position(largest) else {
        return "0s".to_owned();
    };
    let told = |(unit, length): (&str, u32)| {
        let amount = duration.as_secs_f64() * (1e9 / f64::from(length));
        let decimals = match amount {
            100.0.. => 0,
            10.0.. => 1,
            _ => 2,
        };
        let digits = format!("{amount:.decimals$}");
        let digits = match digits.contains('.') {
            true => digits.trim_end_matches('0').trim_end_matches('.'),
            false => &digits,
        };
        (digits == "1000", format!("{digits}{unit}"))
    };
    match (told(UNITS[first]), first.checked_sub(1)) {
        ((true, _), Some(next)) => told(UNITS[next]).1,
        ((_, text), _) => text,
    }
}

/// A day counts 24 hours. Months and years are refused: they have no length.
fn parse(text: &str) -> Result<Duration, DurationError> {
    let not_a_duration = || DurationError::NotADuration {
        text: text.to_owned(),
    };
    let span: Span = text.trim().parse().map_err(|_| not_a_duration())?;
    let signed = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| not_a_duration())?;
    if signed.is_negative() {
        return Err(DurationError::NotPositive);
    }
    Duration::try_from(signed).map_err(|_| not_a_duration())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [("45s", 45), ("10m", 600), ("1h30m", 5400), ("2d", 172_800)] {
            assert_eq!(
                text.parse(),
                Ok(Lease(Duration::from_secs(seconds))),
                "{text}"
            );
        }
    }

    #[test]
    fn a_number_without_a_unit_is_refused() {
        for text in ["600", "", "ten minutes", "1y", "m"] {
            assert!(
                matches!(
                    text.parse::<Lease>(),
                    Err(DurationError::NotADuration { .. })
                ),
                "{text}"
            );
        }
    }

    #[test]
    fn a_lease_has_a_positive_length_of_at_most_thirty_days() {
        assert_eq!("0s".parse::<Lease>(), Err(DurationError::NotPositive));
        assert_eq!("-5m".parse::<Lease>(), Err(DurationError::NotPositive));
        assert!("30d".parse::<Lease>().is_ok());
        assert!(matches!(
            "30d1s".parse::<Lease>(),
            Err(DurationError::TooLong { .. })
        ));
    }

    #[test]
    fn an_observation_may_be_nothing_but_not_endless() {
        assert_eq!("0s".parse(), Ok(Observation(Duration::ZERO)));
        assert!("1h".parse::<Observation>().is_ok());
        assert!("61m".parse::<Observation>().is_err());
    }

    #[test]
    fn a_window_has_a_positive_length_of_at_most_a_day() {
        assert_eq!("0s".parse::<Window>(), Err(DurationError::NotPositive));
        assert!("24h".parse::<Window>().is_ok());
        assert!("25h".parse::<Window>().is_err());
    }

    #[test]
    fn durations_print_short() {
        assert_eq!(short(Duration::from_secs(5400)), "1h 30m");
        for (nanoseconds, text) in [
            (0, "0s"),
            (7, "7ns"),
            (166_666_666, "167ms"),
            (100_000_000, "100ms"),
            (1_500_000, "1.5ms"),
            (12_340_000, "12.3ms"),
            (999_700_000, "1s"),
            (999_600, "1ms"),
            (1_666_666_666, "1.67s"),
            (45_000_000_000, "45s"),
            (90_600_000_000, "1m 30s"),
        ] {
            assert_eq!(short(Duration::from_nanos(nanoseconds)), text);
        }
    }
}
