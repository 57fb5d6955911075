//! How steep and how sure: Theil-Sen's slope and Mann-Kendall's test.
//!
//! Neither is bent by single readings, and neither assumes how the noise is
//! distributed. Sen (1968), "Estimates of the regression coefficient based on
//! Kendall's tau"; Mann (1945), "Nonparametric tests against trend"; the
//! correction for readings that resemble their neighbours is that of Yue and
//! Wang (2004).

use super::series::{Series, median, median_of};

/// Neighbours are never taken to resemble each other more than this: beyond
/// it nothing at all could be said of a smooth curve.
const MOST_CORRELATED: f64 = 0.95;

/// The median of the slopes between all pairs of points, per second. 0 when
/// there are fewer than two.
pub(super) fn theil_sen(series: &Series) -> f64 {
    let count = series.len();
    let mut slopes = Vec::with_capacity(count * count.saturating_sub(1) / 2);
    for later in 1..count {
        for earlier in 0..later {
            let seconds = series.times[later] - series.times[earlier];
            if seconds > 0.0 {
                slopes.push((series.values[later] - series.values[earlier]) / seconds);
            }
        }
    }
    median_of(&mut slopes)
}

/// Where the line of this slope is at time 0.
pub(super) fn intercept(series: &Series, slope: f64) -> f64 {
    let offsets: Vec<f64> = series
        .times
        .iter()
        .zip(&series.values)
        .map(|(time, value)| value - slope * time)
        .collect();
    median(&offsets)
}

/// What a line of this slope leaves unexplained.
pub(super) fn residuals(series: &Series, slope: f64) -> Vec<f64> {
    let start = intercept(series, slope);
    series
        .times
        .iter()
        .zip(&series.values)
        .map(|(time, value)| value - start - slope * time)
        .collect()
}

/// How much a residual resembles the one before, -1 to 1; 0 when that cannot
/// be told from chance.
pub(super) fn correlation(residuals: &[f64]) -> f64 {
    let count = length(residuals.len());
    let mean = residuals.iter().sum::<f64>() / count.max(1.0);
    let square = |value: &f64| (value - mean) * (value - mean);
    let total: f64 = residuals.iter().map(square).sum();
    if total <= 0.0 {
        return 0.0;
    }
    let shared: f64 = residuals
        .windows(2)
        .map(|pair| (pair[0] - mean) * (pair[1] - mean))
        .sum();
    let found = shared / total;
    // One-sided, at 5 %.
    if found < 1.645 / count.sqrt() {
        return 0.0;
    }
    found.min(MOST_CORRELATED)
}

/// How sure it is that the series grows, 0 to 1; one half when nothing speaks
/// for it or against it. `correlation` is that of its residuals.
pub(super) fn growth_confidence(series: &Series, correlation: f64) -> f64 {
    let values = &series.values;
    let mut sign_sum = 0.0;
    for later in 1..values.len() {
        for earlier in 0..later {
            sign_sum += sign(values[later] - values[earlier]);
        }
    }
    let variance = rank_variance(values) * (1.0 + correlation) / (1.0 - correlation);
    if variance <= 0.0 {
        return 0.5;
    }
    // The sum moves in steps of two: half a step is taken off.
    let excess = sign(sign_sum) * (f64::abs(sign_sum) - 1.0).max(0.0);
    normal_distribution(excess / variance.sqrt())
}

/// The variance of the sum of signs when the order is chance, with equal
/// values taken into account.
fn rank_variance(values: &[f64]) -> f64 {
    let term = |count: f64| count * (count - 1.0) * (2.0 * count + 5.0);
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let ties: f64 = sorted
        .chunk_by(|one, other| one.total_cmp(other).is_eq())
        .map(|equal| term(length(equal.len())))
        .sum();
    (term(length(values.len())) - ties) / 18.0
}

fn sign(value: f64) -> f64 {
    if value > 0.0 {
        1.0
    } else if value < 0.0 {
        -1.0
    } else {
        0.0
    }
}

/// The share of a normal distribution below `deviations`: Abramowitz and
/// Stegun 26.2.17, off by less than 1e-7.
fn normal_distribution(deviations: f64) -> f64 {
    const COEFFICIENTS: [f64; 5] = [
        0.319_381_530,
        -0.356_563_782,
        1.781_477_937,
        -1.821_255_978,
        1.330_274_429,
    ];
    let distance = deviations.abs();
    let step = 1.0 / (1.0 + 0.231_641_9 * distance);
    let polynomial = COEFFICIENTS
        .iter()
        .rev()
        .fold(0.0, |sum, coefficient| (sum + coefficient) * step);
    let density = (-distance * distance / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let above = density * polynomial;
    if deviations >= 0.0 {
        1.0 - above
    } else {
        above
    }
}

#[expect(clippy::cast_precision_loss, reason = "at most a few hundred points")]
pub(super) const fn length(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: &[f64]) -> Series {
        Series {
            times: (0..values.len()).map(length).collect(),
            values: values.to_vec(),
        }
    }

    #[test]
    fn a_quarter_of_wild_readings_does_not_bend_the_slope() {
        let values: Vec<f64> = (0..40)
            .map(|index| {
                let value = 3.0 * f64::from(index);
                if index % 4 == 2 {
                    value + 10_000.0
                } else {
                    value
                }
            })
            .collect();
        let slope = theil_sen(&series(&values));
        assert!((slope - 3.0).abs() < 0.5, "{slope}");
    }

    #[test]
    fn the_test_knows_the_tables() {
        // Hollander and Wolfe: 10 rising values have a one-sided p below 0.0001.
        let rising: Vec<f64> = (0..10).map(f64::from).collect();
        assert!(growth_confidence(&series(&rising), 0.0) > 0.9999);
        assert!((growth_confidence(&series(&[5.0; 10]), 0.0) - 0.5).abs() < 1e-9);
        let falling: Vec<f64> = (0..10).rev().map(f64::from).collect();
        assert!(growth_confidence(&series(&falling), 0.0) < 0.0001);
    }

    #[test]
    fn readings_that_resemble_their_neighbours_prove_less() {
        let rising: Vec<f64> = (0..10).map(f64::from).collect();
        let independent = growth_confidence(&series(&rising), 0.0);
        let related = growth_confidence(&series(&rising), 0.8);
        assert!(related < independent, "{related} {independent}");
        assert!(correlation(&[1.0, 1.1, 1.2, 1.0, -1.0, -1.2, -1.1, -1.0]) > 0.5);
        assert!(correlation(&[1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0]).abs() < 1e-9);
    }

    #[test]
    fn the_normal_distribution_is_that_of_the_tables() {
        for (deviations, share) in [(0.0, 0.5), (1.645, 0.95), (-1.96, 0.025), (3.0, 0.998_65)] {
            let found = normal_distribution(deviations);
            assert!((found - share).abs() < 1e-4, "{deviations}: {found}");
        }
    }
}
