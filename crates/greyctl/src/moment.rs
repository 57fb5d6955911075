//! Moments as people type them: `10m ago`, `10:04`, `2026-11-21 10:04`,
//! `2026-11-21T10:04:00Z`, `now`.
//!
//! Never reads a clock: what is now, and where, is given.

use std::str::FromStr;

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp};

/// A moment as it was typed: some mean another one at each look at the clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Moment {
    /// `now`.
    Now,
    /// `10m ago`, or `10m`: so many milliseconds.
    Ago(i64),
    /// `10:04`: the last time that the clocks here showed it.
    Clock(Time),
    /// `2026-11-21 10:04`: by the clocks here.
    Here(DateTime),
    /// With its own zone.
    Exact(Timestamp),
}

/// Words that are no moment.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no moment such as 10m ago, 10:04, 2026-11-21 10:04 or now")]
pub(crate) struct MomentError {
    text: String,
}

impl FromStr for Moment {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.trim();
        if trimmed == "now" {
            return Ok(Self::Now);
        }
        // Before durations, which may be written with colons, too.
        let is_time = |byte: u8| byte.is_ascii_digit() || byte == b':';
        if trimmed.contains(':')
            && trimmed.bytes().all(is_time)
            && let Ok(time) = trimmed.parse()
        {
            return Ok(Self::Clock(time));
        }
        let ago = trimmed.strip_suffix("ago").unwrap_or(trimmed).trim();
        if let Some(milliseconds) = milliseconds(ago) {
            return Ok(Self::Ago(milliseconds));
        }
        if let Ok(exact) = trimmed.parse() {
            return Ok(Self::Exact(exact));
        }
        if let Ok(here) = trimmed.parse() {
            return Ok(Self::Here(here));
        }
        Err(MomentError {
            text: text.to_owned(),
        })
    }
}

fn milliseconds(text: &str) -> Option<i64> {
    let span: Span = text.parse().ok()?;
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    let milliseconds = i64::try_from(length.as_millis()).ok()?;
    (milliseconds >= 0).then_some(milliseconds)
}

impl Moment {
    /// In milliseconds since 1970, when it is `now` in `zone`.
    pub(crate) fn unix_ms(&self, now: Timestamp, zone: &TimeZone) -> u64 {
        u64::try_from(self.timestamp(now, zone).as_millisecond()).unwrap_or_default()
    }

    /// The instant that is meant, when it is `now` in `zone`.
    pub(crate) fn timestamp(&self, now: Timestamp, zone: &TimeZone) -> Timestamp {
        match self {
            Self::Now => now,
            Self::Ago(milliseconds) => {
                let then = now.as_millisecond().saturating_sub(*milliseconds);
                Timestamp::from_millisecond(then).unwrap_or(Timestamp::MIN)
            }
            Self::Exact(exact) => *exact,
            Self::Here(here) => in_zone(*here, zone),
            Self::Clock(time) => {
                let today = now.to_zoned(zone.clone()).date();
                let at = in_zone(today.to_datetime(*time), zone);
                if at <= now {
                    return at;
                }
                let yesterday = today.yesterday().unwrap_or(today);
                in_zone(yesterday.to_datetime(*time), zone)
            }
        }
    }
}

/// A time that the clocks skipped or showed twice is taken as most calendars do.
fn in_zone(civil: DateTime, zone: &TimeZone) -> Timestamp {
    zone.to_ambiguous_timestamp(civil)
        .compatible()
        .unwrap_or(Timestamp::MIN)
}

/// A moment as it can be typed anywhere, to the millisecond.
pub(crate) fn typed(unix_ms: u64) -> Option<String> {
    let at = Timestamp::from_millisecond(i64::try_from(unix_ms).ok()?).ok()?;
    Some(at.to_string())
}

/// A moment for people, in `zone`.
pub(crate) fn shown(unix_ms: u64, zone: &TimeZone) -> String {
    i64::try_from(unix_ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .map_or_else(
            || format!("{unix_ms} ms"),
            |at| {
                at.to_zoned(zone.clone())
                    .strftime("%Y-%m-%d %H:%M:%S")
                    .to_string()
            },
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> String {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let zone =
            TimeZone::get("Europe/Berlin").unwrap_or_else(|_| TimeZone::fixed(jiff::tz::offset(1)));
        let moment: Moment = text.parse().unwrap();
        shown(moment.unix_ms(now, &zone), &TimeZone::UTC)
    }

    #[test]
    fn moments_are_read_as_people_write_them() {
        for (text, expected) in [
            ("now", "2026-11-21 12:00:00"),
            ("10m ago", "2026-11-21 11:50:00"),
            ("1h 30m", "2026-11-21 10:30:00"),
            ("2d ago", "2026-11-19 12:00:00"),
            ("10:04", "2026-11-21 09:04:00"),
            ("23:59:30", "2026-11-20 22:59:30"),
            ("2026-11-20 10:04", "2026-11-20 09:04:00"),
            ("2026-11-20", "2026-11-19 23:00:00"),
            ("2026-11-20T10:04:05Z", "2026-11-20 10:04:05"),
        ] {
            assert_eq!(at(text), expected, "{text}");
        }
    }

    #[test]
    fn other_words_are_refused() {
        for text in [
            "",
            "10",
            "yesterday",
            "25:00",
            "-5m",
            "ago",
            "1y",
            "99999999d",
        ] {
            let parsed = text.parse::<Moment>();
            assert!(parsed.is_err(), "{text}: {parsed:?}");
        }
    }
}
