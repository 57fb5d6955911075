//! Readings of one thing over time, in little memory however long it is
//! watched.
//!
//! Never longer than its bound: when it is full, every second reading goes and
//! from then on only each second one is kept. The latest is always there.

use std::time::Duration;

use grey_model::{Trace, TracePoint};

/// The most readings. Odd, so that the last one stays when every second goes.
const MOST: usize = 121;

/// Over what time a change is told.
const MINUTE: Duration = Duration::from_secs(60);

/// A rate of less than this would be a guess: a few seconds times ten.
pub(super) const RATE_FROM: Duration = Duration::from_secs(30);

/// The readings.
#[derive(Debug, Clone, Default)]
pub(super) struct Series {
    points: Vec<TracePoint>,
    latest: Option<TracePoint>,
    /// How many readings are left out after each that is kept.
    left_out: u32,
    waiting: u32,
}

impl Series {
    /// Adds a reading. One that is not later than the last is left out.
    pub(super) fn push(&mut self, point: TracePoint) {
        if self.latest.is_some_and(|latest| latest.at >= point.at) {
            return;
        }
        self.latest = Some(point);
        if self.waiting > 0 {
            self.waiting -= 1;
            return;
        }
        self.points.push(point);
        if self.points.len() >= MOST {
            let mut index = 0;
            self.points.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.left_out = self.left_out.saturating_mul(2).saturating_add(1);
        }
        self.waiting = self.left_out;
    }

    /// The latest reading.
    pub(super) const fn latest(&self) -> Option<TracePoint> {
        self.latest
    }

    /// The first reading.
    pub(super) fn first(&self) -> Option<TracePoint> {
        self.points.first().copied()
    }

    /// By how much it changes in a minute, by the last minute, or by all there
    /// is where that is less; `None` while that says nothing, and across a
    /// restart.
    pub(super) fn per_minute(&self) -> Option<i64> {
        let latest = self.latest?;
        let begin = latest.at.saturating_sub(MINUTE);
        let mut before = self.points.iter().rev();
        let base = before
            .find(|point| point.at <= begin)
            .or(self.points.first())?;
        let elapsed = latest.at.saturating_sub(base.at);
        if elapsed < RATE_FROM || base.life != latest.life {
            return None;
        }
        let change = i128::from(latest.amount.signed_difference(base.amount));
        let milliseconds = i128::try_from(elapsed.as_millis()).ok()?;
        i64::try_from(change * 60_000 / milliseconds).ok()
    }

    /// All readings, for the leak rule.
    pub(super) fn trace(&self) -> Trace {
        let mut trace = Trace::new();
        trace.extend(self.points.iter().copied());
        // One that is there already is not later, and left out.
        trace.extend(self.latest);
        trace
    }
}

#[cfg(test)]
mod tests {
    use grey_model::Bytes;

    use super::*;

    fn point(second: u64, amount: u64) -> TracePoint {
        TracePoint {
            at: Duration::from_secs(second),
            amount: Bytes(amount),
            life: 0,
        }
    }

    #[test]
    fn a_day_of_readings_takes_no_more_than_the_bound_and_keeps_both_ends() {
        let mut series = Series::default();
        for second in 0..86_400 {
            series.push(point(second, second));
        }
        let trace = series.trace();
        assert!(trace.points().len() <= MOST, "{}", trace.points().len());
        assert!(trace.points().len() >= MOST / 2, "{}", trace.points().len());
        assert_eq!(trace.points().first(), Some(&point(0, 0)));
        assert_eq!(trace.points().last(), Some(&point(86_399, 86_399)));
    }

    #[test]
    fn the_readings_that_are_left_are_evenly_apart() {
        let mut series = Series::default();
        for second in 0..1000 {
            series.push(point(second, 0));
        }
        let kept = &series.points;
        let steps: Vec<Duration> = kept
            .windows(2)
            .map(|pair| pair[1].at - pair[0].at)
            .collect();
        assert!(steps.iter().all(|step| *step == steps[0]), "{steps:?}");
    }

    #[test]
    fn a_change_is_told_per_minute_of_the_last_minute() {
        let mut series = Series::default();
        series.push(point(0, 0));
        assert_eq!(series.per_minute(), None);
        series.push(point(29, 100));
        assert_eq!(series.per_minute(), None);
        series.push(point(30, 100));
        assert_eq!(series.per_minute(), Some(200));
        // Fast growth long ago is no growth now.
        series.push(point(100, 100));
        series.push(point(160, 40));
        assert_eq!(series.per_minute(), Some(-60));
    }

    #[test]
    fn a_restart_is_no_change() {
        let mut series = Series::default();
        series.push(point(0, 1000));
        series.push(TracePoint {
            life: 1,
            ..point(30, 10)
        });
        assert_eq!(series.per_minute(), None);
    }
}
