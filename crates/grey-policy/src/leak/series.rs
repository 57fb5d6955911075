//! A trace as plain numbers, without lone spikes and not too long.
//!
//! Never drops a reading for being inconvenient: a spike is levelled only when
//! it stands out for one or two readings.

use grey_model::TracePoint;

/// At most this many points are fitted: the fits look at pairs of them.
pub(super) const MOST_POINTS: usize = 200;

/// A spike stands out from the readings around it by this many times the usual
/// distance between neighbours.
const SPIKE: f64 = 5.0;

/// As many readings are around one, itself among them.
const AROUND: usize = 5;

/// Nothing stands out by less than a few times this share of the level.
const UNREMARKABLE: f64 = 0.002;

/// Seconds and amounts, in order of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Series {
    /// Seconds from the first reading.
    pub(super) times: Vec<f64>,
    /// Amounts, mostly bytes.
    pub(super) values: Vec<f64>,
}

impl Series {
    /// The readings of one life, condensed and without lone spikes.
    pub(super) fn new(points: &[TracePoint]) -> Self {
        let Some(first) = points.first() else {
            return Self::default();
        };
        let times = points
            .iter()
            .map(|point| point.at.saturating_sub(first.at).as_secs_f64());
        let mut series = Self {
            times: times.collect(),
            values: points.iter().map(|point| amount(*point)).collect(),
        };
        series.level_spikes();
        series.condense()
    }

    pub(super) fn len(&self) -> usize {
        self.times.len()
    }

    /// Seconds from the first point to the last.
    pub(super) fn span(&self) -> f64 {
        match (self.times.first(), self.times.last()) {
            (Some(first), Some(last)) => last - first,
            _ => 0.0,
        }
    }

    /// The points from `start` on.
    pub(super) fn from(&self, start: usize) -> Self {
        self.part(start, self.len())
    }

    /// The points `start..end`.
    pub(super) fn part(&self, start: usize, end: usize) -> Self {
        Self {
            times: self.times[start..end].to_vec(),
            values: self.values[start..end].to_vec(),
        }
    }

    /// The largest amount less the smallest.
    pub(super) fn range(&self) -> f64 {
        let low = self.values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self
            .values
            .iter()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max);
        (high - low).max(0.0)
    }

    /// The levels at the beginning and at the end: medians of the first and the
    /// last tenth, of three points at least; of no more than half of them.
    pub(super) fn ends(&self) -> (f64, f64) {
        let few = (self.len() / 10).max(3).min(self.len().div_ceil(2));
        (
            median(&self.values[..few]),
            median(&self.values[self.len() - few..]),
        )
    }

    /// Puts what lasts for one or two readings back to the middle of the five
    /// around it, when it stands out from them. A step stays: three of the five
    /// around each of its points are on its side.
    fn level_spikes(&mut self) {
        if self.len() < AROUND {
            return;
        }
        let steps: Vec<f64> = self
            .values
            .windows(2)
            .map(|pair| (pair[1] - pair[0]).abs())
            .collect();
        let usual = median(&steps).max(median(&self.values).abs() * UNREMARKABLE);
        let middles: Vec<f64> = self.values.windows(AROUND).map(median).collect();
        for (value, middle) in self.values[AROUND / 2..].iter_mut().zip(middles) {
            if (*value - middle).abs() > SPIKE * usual {
                *value = middle;
            }
        }
    }

    /// At most [`MOST_POINTS`] points: the median of each of as many equal
    /// groups of readings.
    fn condense(self) -> Self {
        if self.len() <= MOST_POINTS {
            return self;
        }
        let mut condensed = Self::default();
        for group in 0..MOST_POINTS {
            let start = group * self.len() / MOST_POINTS;
            let end = (group + 1) * self.len() / MOST_POINTS;
            condensed.times.push(median(&self.times[start..end]));
            condensed.values.push(median(&self.values[start..end]));
        }
        condensed
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a judgement needs no more than 15 digits"
)]
const fn amount(point: TracePoint) -> f64 {
    point.amount.0 as f64
}

/// The middle one, or the mean of the two in the middle; 0 of nothing.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    median_of(&mut sorted)
}

/// The same, in place: the order of `values` is lost.
pub(super) fn median_of(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    let odd = values.len() % 2 == 1;
    let (below, high, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let high = *high;
    if odd {
        return high;
    }
    let low = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use grey_model::Bytes;
    use std::time::Duration;

    fn points(amounts: &[u64]) -> Vec<TracePoint> {
        (0..)
            .zip(amounts)
            .map(|(second, amount)| TracePoint {
                at: Duration::from_secs(second),
                amount: Bytes(*amount),
                life: 0,
            })
            .collect()
    }

    #[test]
    fn a_lone_spike_is_levelled_and_a_step_stays() {
        let spike = Series::new(&points(&[10, 11, 12, 900, 14, 15, 16]));
        assert!(spike.range() < 10.0, "{spike:?}");
        let step = Series::new(&points(&[10, 11, 12, 900, 901, 902, 903]));
        assert_eq!(step.values, [10., 11., 12., 900., 901., 902., 903.]);
    }

    #[test]
    fn a_long_series_is_condensed_and_keeps_its_span_and_its_line() {
        let amounts: Vec<u64> = (0..10_000).collect();
        let series = Series::new(&points(&amounts));
        assert_eq!(series.len(), MOST_POINTS);
        assert!(series.span() > 9_900.0, "{}", series.span());
        for (time, value) in series.times.iter().zip(&series.values) {
            assert!((time - value).abs() < 1e-6);
        }
    }

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-12);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-12);
        assert!(median(&[]).abs() < 1e-12);
    }
}
