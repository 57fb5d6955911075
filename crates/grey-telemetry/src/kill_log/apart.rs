//! How far apart two times of one log are, by the clocks that both have.
//!
//! Never takes times of different clocks for comparable.

use std::time::Duration;

use grey_model::{CivilTime, LogTime, Moment, WallTime};

/// Where the kernel's clock says that lines belong together, the clock on the
/// wall may have been set, or the line may have waited for whoever wrote it down;
/// but not for longer than this.
const WALL_DOUBT: Duration = Duration::from_secs(3600);

/// A year in which every day of the calendar is.
const LEAP_YEAR: i32 = 2024;

/// How long that year is.
const YEAR: Duration = Duration::from_secs(366 * 86_400);

/// Whether two lines were logged further apart than `span`. What has no time may
/// always be near.
pub(super) fn is_apart(one: LogTime, other: LogTime, span: Duration) -> bool {
    let on_the_wall = between(one.wall, other.wall);
    match (one.since_boot, other.since_boot) {
        (Some(one), Some(other)) => {
            one.abs_diff(other) > span || on_the_wall.is_some_and(|wall| wall > WALL_DOUBT)
        }
        _ => on_the_wall.is_some_and(|wall| wall > span),
    }
}

/// How far apart two lines were logged, by a clock that both have.
pub(super) fn distance(one: LogTime, other: LogTime) -> Option<Duration> {
    match (one.since_boot, other.since_boot) {
        (Some(one), Some(other)) => Some(one.abs_diff(other)),
        _ => between(one.wall, other.wall),
    }
}

fn between(one: WallTime, other: WallTime) -> Option<Duration> {
    match (one, other) {
        (WallTime::At(one), WallTime::At(other)) => Some(one.distance(other)),
        (WallTime::Local(one), WallTime::Local(other)) => {
            let distance = moment(one)?.distance(moment(other)?);
            Some(match (one.year, other.year) {
                (Some(_), Some(_)) => distance,
                // The turn of a year may lie between them.
                _ => distance.min(YEAR.saturating_sub(distance)),
            })
        }
        _ => None,
    }
}

/// The time in any one zone: both have the same.
fn moment(time: CivilTime) -> Option<Moment> {
    let year = time.year.or(Some(LEAP_YEAR));
    Moment::from_civil(&CivilTime { year, ..time }, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(10);

    fn since_boot(seconds: u64) -> LogTime {
        LogTime {
            since_boot: Some(Duration::from_secs(seconds)),
            ..LogTime::default()
        }
    }

    fn local(year: Option<i32>, month: u8, day: u8, hour: u8, minute: u8, second: u8) -> LogTime {
        let microsecond = 0;
        let wall = WallTime::Local(CivilTime {
            year,
            month,
            day,
            hour,
            minute,
            second,
            microsecond,
        });
        LogTime {
            wall,
            since_boot: None,
        }
    }

    #[test]
    fn times_of_the_same_clock_are_compared() {
        let noon = local(None, 11, 21, 12, 0, 0);
        for (other, apart) in [
            (local(None, 11, 21, 12, 0, 10), false),
            (local(None, 11, 21, 12, 0, 11), true),
            (local(None, 11, 22, 12, 0, 0), true),
            (LogTime::default(), false),
            (since_boot(5), false),
        ] {
            assert_eq!(is_apart(noon, other, SPAN), apart, "{other:?}");
            assert_eq!(is_apart(other, noon, SPAN), apart, "{other:?}");
        }
        assert!(!is_apart(since_boot(5), since_boot(15), SPAN));
        assert!(is_apart(since_boot(16), since_boot(5), SPAN));
    }

    #[test]
    fn seconds_since_boot_of_another_day_are_of_another_boot() {
        let at = |day, hour| LogTime {
            since_boot: Some(Duration::from_secs(50)),
            ..local(None, 11, day, hour, 0, 0)
        };
        assert!(is_apart(at(20, 12), at(21, 12), SPAN));
        assert!(!is_apart(at(20, 12), at(20, 13), SPAN), "the clock was set");
    }

    #[test]
    fn the_turn_of_a_year_is_a_moment() {
        let last = |year| local(year, 12, 31, 23, 59, 59);
        let first = |year| local(year, 1, 1, 0, 0, 1);
        assert!(!is_apart(last(None), first(None), SPAN));
        assert!(!is_apart(last(Some(2025)), first(Some(2026)), SPAN));
        assert!(is_apart(last(Some(2026)), first(Some(2026)), SPAN));
    }
}
