//! The times of logs, made comparable: the kernel's seconds since boot and the
//! local times of syslog become instants.
//!
//! Never hides a doubt: the kernel's clock stands still in suspend, and how far
//! that can be off is kept with the time.

use std::time::Duration;

use grey_model::{CivilTime, LogTime, LoggedRecord, Moment, WallTime};
use grey_policy::TimedRecord;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Less than this between two clocks that are read one after the other is no
/// suspend.
const NO_SUSPEND: Duration = Duration::from_millis(100);

/// What is later than now by more than this was last year: a log without years
/// may be ahead by a time zone.
const AHEAD: SignedDuration = SignedDuration::from_hours(36);

/// This machine's clocks at one instant.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    pub(super) now: Timestamp,
    pub(super) zone: TimeZone,
    /// When the kernel's clock was 0, had it never stood still.
    booted: Option<Moment>,
    /// How long the machine was suspended since boot.
    suspended: Duration,
}

impl Clock {
    /// The clocks now.
    pub(super) fn read() -> Self {
        let now = Timestamp::now();
        let awake = duration(clock_gettime(ClockId::Monotonic));
        let all = duration(clock_gettime(ClockId::Boottime));
        let suspended = all.saturating_sub(awake);
        Self {
            now,
            zone: TimeZone::system(),
            booted: moment(now).and_then(|now| now.earlier_by(awake)),
            suspended: if suspended < NO_SUSPEND {
                Duration::ZERO
            } else {
                suspended
            },
        }
    }

    /// Whether no line of a log can be from then on: it is later than now, or,
    /// of a saved log, than it can be in any zone.
    pub(super) fn is_ahead(&self, at: Timestamp, is_saved: bool) -> bool {
        let latest = match is_saved {
            true => self.now.checked_add(AHEAD).unwrap_or(Timestamp::MAX),
            false => self.now,
        };
        at > latest
    }

    /// When this boot began.
    pub(super) fn boot(&self) -> Option<Moment> {
        self.booted?.earlier_by(self.suspended)
    }

    /// How long the machine was suspended.
    pub(super) const fn suspended(&self) -> Duration {
        self.suspended
    }

    /// A time of a log. Seconds since boot mean something for this boot's log
    /// alone, which `of_this_boot` says.
    pub(super) fn resolve(&self, time: LogTime, of_this_boot: bool) -> (Option<Moment>, Duration) {
        match (time.wall, time.since_boot) {
            (WallTime::At(at), _) => (Some(at), Duration::ZERO),
            (WallTime::Local(civil), _) => (self.local(&civil), Duration::ZERO),
            (WallTime::Unknown, Some(since_boot)) if of_this_boot => {
                let at = self.booted.and_then(|boot| boot.later_by(since_boot));
                (at, self.suspended)
            }
            (WallTime::Unknown, _) => (None, Duration::ZERO),
        }
    }

    /// A record with its time resolved.
    pub(super) fn timed(&self, record: LoggedRecord, of_this_boot: bool) -> TimedRecord {
        let (at, uncertain_by) = self.resolve(record.time, of_this_boot);
        TimedRecord {
            at,
            uncertain_by,
            since_boot: record.time.since_boot,
            host: record.host,
            record: record.record,
        }
    }

    /// A time of day in our zone; of the last year in which it is not ahead of
    /// us, where the year is not said.
    fn local(&self, civil: &CivilTime) -> Option<Moment> {
        let this_year = i32::from(self.now.to_zoned(self.zone.clone()).year());
        let years = match civil.year {
            Some(year) => vec![year],
            // The 29th of February is up to eight years ago.
            None => (0..=8).map(|back| this_year - back).collect(),
        };
        let latest = self.now.checked_add(AHEAD).unwrap_or(Timestamp::MAX);
        years
            .into_iter()
            .filter_map(|year| self.instant(civil, year))
            .find(|at| civil.year.is_some() || *at <= latest)
            .and_then(moment)
    }

    fn instant(&self, civil: &CivilTime, year: i32) -> Option<Timestamp> {
        let small = |number: u8| i8::try_from(number).ok();
        let local = DateTime::new(
            i16::try_from(year).ok()?,
            small(civil.month)?,
            small(civil.day)?,
            small(civil.hour)?,
            small(civil.minute)?,
            // A leap second is the one before it.
            small(civil.second.min(59))?,
            i32::try_from(civil.microsecond).ok()?.checked_mul(1000)?,
        );
        Some(self.zone.to_zoned(local.ok()?).ok()?.timestamp())
    }
}

/// An instant as the documents have it.
pub(super) fn moment(at: Timestamp) -> Option<Moment> {
    Moment::from_unix_microseconds(at.as_microsecond())
}

/// An instant as `jiff` has it.
pub(super) fn timestamp(at: Moment) -> Timestamp {
    Timestamp::from_microsecond(at.unix_microseconds()).unwrap_or(Timestamp::MAX)
}

fn duration(time: Timespec) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Clock {
        Clock {
            now: "2026-03-01T10:00:00Z".parse().unwrap(),
            zone: TimeZone::fixed(jiff::tz::offset(1)),
            booted: moment("2026-03-01T08:00:00Z".parse().unwrap()),
            suspended: Duration::from_secs(3600),
        }
    }

    fn resolve(time: LogTime, of_this_boot: bool) -> (String, Duration) {
        let (at, uncertain) = clock().resolve(time, of_this_boot);
        (at.map_or("-".to_owned(), |at| at.to_string()), uncertain)
    }

    fn local(month: u8, day: u8, year: Option<i32>) -> LogTime {
        LogTime {
            wall: WallTime::Local(CivilTime {
                year,
                month,
                day,
                hour: 10,
                minute: 4,
                second: 5,
                microsecond: 0,
            }),
            since_boot: None,
        }
    }

    #[test]
    fn seconds_since_boot_are_an_instant_with_the_doubt_of_suspend() {
        let time = LogTime {
            since_boot: Some(Duration::from_secs(60)),
            wall: WallTime::Unknown,
        };
        let hour = Duration::from_secs(3600);
        assert_eq!(
            resolve(time, true),
            ("2026-03-01T08:01:00Z".to_owned(), hour)
        );
        assert_eq!(resolve(time, false), ("-".to_owned(), Duration::ZERO));
        assert_eq!(
            clock().boot(),
            moment("2026-03-01T07:00:00Z".parse().unwrap())
        );
    }

    #[test]
    fn what_is_later_than_now_is_ahead_and_of_a_saved_log_what_no_zone_has() {
        let clock = clock();
        let in_hours = |hours| clock.now + SignedDuration::from_hours(hours);
        for (hours, of_ours, of_saved) in [(0, false, false), (1, true, false), (37, true, true)] {
            assert_eq!(clock.is_ahead(in_hours(hours), false), of_ours, "{hours}");
            assert_eq!(clock.is_ahead(in_hours(hours), true), of_saved, "{hours}");
        }
    }

    #[test]
    fn a_time_without_a_year_is_never_ahead_of_us() {
        assert_eq!(resolve(local(2, 28, None), false).0, "2026-02-28T09:04:05Z");
        assert_eq!(
            resolve(local(12, 31, None), false).0,
            "2025-12-31T09:04:05Z"
        );
        assert_eq!(resolve(local(2, 29, None), false).0, "2024-02-29T09:04:05Z");
        assert_eq!(
            resolve(local(12, 31, Some(2026)), false).0,
            "2026-12-31T09:04:05Z"
        );
        assert_eq!(resolve(local(2, 30, None), false).0, "-");
    }
}
