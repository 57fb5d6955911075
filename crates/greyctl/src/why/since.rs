//! A time as people type it: `10m` ago, `10:04` today, a date.
//!
//! Never reads a clock: what is relative stays so until it is resolved.

use std::str::FromStr;
use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

use crate::duration::Lease;

/// Since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Since {
    /// This long ago.
    Ago(Duration),
    /// At this time of today, or of yesterday where that is still to come.
    TimeOfDay(Time),
    /// At this time in the zone of this machine.
    Local(DateTime),
    /// At this time.
    At(Timestamp),
}

/// It is no such time.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no time such as 10m, 10:04 or 2026-11-21T10:04Z")]
pub(crate) struct SinceError {
    text: String,
}

impl FromStr for Since {
    type Err = SinceError;

    fn from_str(text: &str) -> Result<Self, SinceError> {
        let text = text.trim();
        // How long ago is bounded as a lease is: nobody keeps a log for ever.
        // With a colon it is a time of day, and no duration.
        if !text.contains(':')
            && let Ok(lease) = text.parse::<Lease>()
        {
            return Ok(Self::Ago(lease.0));
        }
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(Self::At(at));
        }
        if text.len() == "2026-11-21".len()
            && let Ok(date) = text.parse::<Date>()
        {
            return Ok(Self::Local(date.to_datetime(Time::midnight())));
        }
        if text.contains('-')
            && let Ok(local) = text.parse::<DateTime>()
        {
            return Ok(Self::Local(local));
        }
        if text.contains(':')
            && let Ok(time) = text.parse::<Time>()
        {
            return Ok(Self::TimeOfDay(time));
        }
        Err(SinceError {
            text: text.to_owned(),
        })
    }
}

impl Since {
    /// The instant that is meant now and here.
    pub(crate) fn resolve(&self, now: Timestamp, zone: &TimeZone) -> Timestamp {
        let instant = |local: DateTime| {
            zone.to_zoned(local)
                .map_or(Timestamp::MIN, |zoned: Zoned| zoned.timestamp())
        };
        match self {
            Self::Ago(duration) => SignedDuration::try_from(*duration)
                .ok()
                .and_then(|ago| now.checked_sub(ago).ok())
                .unwrap_or(Timestamp::MIN),
            Self::TimeOfDay(time) => {
                let today = now.to_zoned(zone.clone()).date();
                let at = instant(today.to_datetime(*time));
                if at <= now {
                    return at;
                }
                let yesterday = today.yesterday().unwrap_or(today);
                instant(yesterday.to_datetime(*time))
            }
            Self::Local(local) => instant(*local),
            Self::At(at) => *at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str) -> String {
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let since: Since = text.parse().unwrap();
        since.resolve(now, &zone).to_string()
    }

    #[test]
    fn each_way_to_say_when_is_understood() {
        assert_eq!(resolved("10m"), "2026-11-21T09:50:00Z");
        assert_eq!(resolved("2d"), "2026-11-19T10:00:00Z");
        assert_eq!(resolved("10:04"), "2026-11-21T09:04:00Z");
        assert_eq!(resolved("23:30:10"), "2026-11-20T22:30:10Z");
        assert_eq!(resolved("2026-11-20"), "2026-11-19T23:00:00Z");
        assert_eq!(resolved("2026-11-20 10:04"), "2026-11-20T09:04:00Z");
        assert_eq!(resolved("2026-11-20T10:04Z"), "2026-11-20T10:04:00Z");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "10", "soon", "-5m", "2026-13-01", "25:00", "0s"] {
            assert!(text.parse::<Since>().is_err(), "{text}");
        }
    }
}
