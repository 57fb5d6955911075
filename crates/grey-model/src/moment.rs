//! A point in time: microseconds since 1970, in UTC, leap seconds not counted.
//!
//! Never reads a clock and knows no time zone.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// A point in time, to the microsecond. Written as RFC 3339 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(i64);

/// The year, month, day and so on of a calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CivilTime {
    /// The year; `None` where a log leaves it out.
    pub year: Option<i32>,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 60.
    pub second: u8,
    /// 0 to 999,999.
    pub microsecond: u32,
}

const DAY_SECONDS: i64 = 86_400;
const MICROSECONDS: i64 = 1_000_000;

/// The years that RFC 3339 can write.
const YEARS: std::ops::RangeInclusive<i64> = 0..=9999;

impl Moment {
    /// From microseconds since 1970; `None` outside of the years 0 to 9999.
    #[must_use]
    pub fn from_unix_microseconds(microseconds: i64) -> Option<Self> {
        let (year, _, _) = civil_of(microseconds.div_euclid(MICROSECONDS * DAY_SECONDS));
        YEARS.contains(&year).then_some(Self(microseconds))
    }

    /// Microseconds since 1970.
    #[must_use]
    pub const fn unix_microseconds(self) -> i64 {
        self.0
    }

    /// From a calendar's time that is `offset_seconds` ahead of UTC; `None`
    /// where it has no year or is no time.
    #[must_use]
    pub fn from_civil(civil: &CivilTime, offset_seconds: i32) -> Option<Self> {
        let fits = (1..=12).contains(&civil.month)
            && (1..=31).contains(&civil.day)
            && civil.hour < 24
            && civil.minute < 60
            && civil.second <= 60
            && civil.microsecond < 1_000_000;
        let year = civil
            .year
            .filter(|year| YEARS.contains(&i64::from(*year)))?;
        if !fits {
            return None;
        }
        let days = days_of(
            i64::from(year),
            i64::from(civil.month),
            i64::from(civil.day),
        );
        if civil_of(days).1 != i64::from(civil.month) {
            // The 31st of a month that has 30.
            return None;
        }
        let seconds = days * DAY_SECONDS
            + i64::from(civil.hour) * 3600
            + i64::from(civil.minute) * 60
            + i64::from(civil.second)
            - i64::from(offset_seconds);
        Self::from_unix_microseconds(seconds * MICROSECONDS + i64::from(civil.microsecond))
    }

    /// This much earlier; `None` before the year 0.
    #[must_use]
    pub fn earlier_by(self, duration: Duration) -> Option<Self> {
        let microseconds = i64::try_from(duration.as_micros()).ok()?;
        Self::from_unix_microseconds(self.0.checked_sub(microseconds)?)
    }

    /// This much later; `None` after the year 9999.
    #[must_use]
    pub fn later_by(self, duration: Duration) -> Option<Self> {
        let microseconds = i64::try_from(duration.as_micros()).ok()?;
        Self::from_unix_microseconds(self.0.checked_add(microseconds)?)
    }

    /// How far apart the two are, whichever is first.
    #[must_use]
    pub const fn distance(self, other: Self) -> Duration {
        Duration::from_micros(self.0.abs_diff(other.0))
    }
}

/// Days since 1970-01-01 of a date in the Gregorian calendar. A year is taken
/// to begin in March, so that the day that is put in is its last.
const fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day of a number of days since 1970-01-01.
const fn civil_of(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = (shifted_month + 2) % 12 + 1;
    let year = year_of_era + era * 400;
    (if month <= 2 { year + 1 } else { year }, month, day)
}

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.div_euclid(MICROSECONDS);
        let (year, month, day) = civil_of(seconds.div_euclid(DAY_SECONDS));
        let second = seconds.rem_euclid(DAY_SECONDS);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            formatter,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        )?;
        match self.0.rem_euclid(MICROSECONDS) {
            0 => formatter.write_str("Z"),
            fraction => write!(formatter, ".{fraction:06}Z"),
        }
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Moment {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Moment".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A point in time as RFC 3339, in UTC.",
            "type": "string",
            "format": "date-time"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn civil(year: i32, month: u8, day: u8) -> CivilTime {
        CivilTime {
            year: Some(year),
            month,
            day,
            hour: 10,
            minute: 4,
            second: 5,
            microsecond: 250_000,
        }
    }

    #[test]
    fn a_moment_is_written_as_rfc_3339() {
        let moment = |microseconds| Moment::from_unix_microseconds(microseconds).unwrap();
        assert_eq!(moment(0).to_string(), "1970-01-01T00:00:00Z");
        // `date -u -d @1709210645`
        assert_eq!(
            moment(1_709_210_645_000_001).to_string(),
            "2024-02-29T12:44:05.000001Z"
        );
        assert_eq!(moment(-1).to_string(), "1969-12-31T23:59:59.999999Z");
    }

    #[test]
    fn the_offset_of_a_zone_is_taken_off() {
        let moment = Moment::from_civil(&civil(2026, 11, 21), 2 * 3600).unwrap();
        assert_eq!(moment.to_string(), "2026-11-21T08:04:05.250000Z");
    }

    #[test]
    fn what_is_no_date_is_no_moment() {
        for (month, day) in [(0, 1), (13, 1), (2, 30), (4, 31), (1, 0), (1, 32)] {
            assert_eq!(
                Moment::from_civil(&civil(2026, month, day), 0),
                None,
                "{month}-{day}"
            );
        }
        assert!(Moment::from_civil(&civil(2024, 2, 29), 0).is_some());
        assert_eq!(Moment::from_civil(&civil(2023, 2, 29), 0), None);
        let no_year = CivilTime {
            year: None,
            ..civil(2026, 1, 1)
        };
        assert_eq!(Moment::from_civil(&no_year, 0), None);
        assert_eq!(Moment::from_unix_microseconds(i64::MAX), None);
        assert_eq!(Moment::from_unix_microseconds(i64::MIN), None);
    }

    proptest! {
        #[test]
        fn each_day_has_one_date(days in -700_000i64..2_900_000) {
            let (year, month, day) = civil_of(days);
            prop_assert_eq!(days_of(year, month, day), days);
            let next = civil_of(days + 1);
            prop_assert!((year, month, day) < next);
        }
    }
}
