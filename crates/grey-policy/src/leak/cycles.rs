//! Does it fall back again and again? Then only its floor can leak.
//!
//! Never takes noise for a cycle: a cycle climbs over several readings.

use super::series::Series;
use super::trend::length;

/// A turn counts when it goes back by this share of what the series moves
/// beside its trend.
const TURN: f64 = 0.35;

/// Fewer falls are not a habit.
const LEAST_FALLS: usize = 2;

/// A climb takes this many readings on average: noise turns faster.
const LEAST_CLIMB: f64 = 3.0;

/// Falls of less than this share of the level are not worth a name.
const LEAST_SHARE: f64 = 0.05;

/// The floor of a series that falls back again and again: its low points after
/// each fall. `None` when it does not, or by less than `least_fall`. `beside` is
/// what the series does beside its trend.
pub(super) fn floor(series: &Series, mut beside: Vec<f64>, least_fall: f64) -> Option<Series> {
    beside.sort_unstable_by(f64::total_cmp);
    let twentieth = beside.len() / 20;
    let swing = beside.get(beside.len().checked_sub(1 + twentieth)?)? - beside.get(twentieth)?;
    let level = super::series::median(&series.values);
    let turn = TURN * swing;
    if turn < least_fall.max(LEAST_SHARE * level) {
        return None;
    }
    let turns = turning_points(&series.values, turn);
    let lows: Vec<usize> = turns
        .iter()
        .filter(|point| !point.high)
        .map(|point| point.index)
        .collect();
    if lows.len() < LEAST_FALLS || mean_climb(&turns) < LEAST_CLIMB {
        return None;
    }
    Some(Series {
        times: lows.iter().map(|&index| series.times[index]).collect(),
        values: lows.iter().map(|&index| series.values[index]).collect(),
    })
}

/// Where the series turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Turn {
    index: usize,
    high: bool,
}

/// The turning points, alternating, beginning with the first high: what comes
/// before it is the middle of a cycle. The last low counts when the fall to it
/// is complete, whether the series rises again or ends.
fn turning_points(values: &[f64], least: f64) -> Vec<Turn> {
    let mut turns = Vec::new();
    let (mut high, mut low) = (0, 0);
    let mut falling = false;
    for (index, &value) in values.iter().enumerate() {
        if falling {
            if value < values[low] {
                low = index;
            } else if value - values[low] >= least {
                turns.push(Turn {
                    index: low,
                    high: false,
                });
                falling = false;
                high = index;
            }
        } else if value > values[high] {
            high = index;
        } else if values[high] - value >= least {
            turns.push(Turn {
                index: high,
                high: true,
            });
            falling = true;
            low = index;
        }
    }
    if falling {
        turns.push(Turn {
            index: low,
            high: false,
        });
    }
    turns
}

/// Readings from a low to the next high, on average; the first climb began
/// before the first reading at the latest.
fn mean_climb(turns: &[Turn]) -> f64 {
    let mut climbs = Vec::new();
    let mut low = 0;
    for turn in turns {
        if turn.high {
            climbs.push(length(turn.index - low));
        } else {
            low = turn.index;
        }
    }
    climbs.iter().sum::<f64>() / length(climbs.len()).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::super::trend::{residuals, theil_sen};
    use super::*;

    fn floor_of(series: &Series, least_fall: f64) -> Option<Series> {
        floor(series, residuals(series, theil_sen(series)), least_fall)
    }

    fn series(values: impl IntoIterator<Item = f64>) -> Series {
        let values: Vec<f64> = values.into_iter().collect();
        Series {
            times: (0..values.len()).map(length).collect(),
            values,
        }
    }

    #[test]
    fn a_collector_has_a_floor() {
        let teeth = (0..40).map(|index| 100.0 + f64::from(index % 10) * 10.0);
        let floor = floor_of(&series(teeth), 1.0).expect("it falls three times");
        assert_eq!(floor.times, [10.0, 20.0, 30.0]);
        assert!(floor.range() < 1.0, "{floor:?}");
    }

    #[test]
    fn noise_has_none() {
        let noise = (0..60_i32).map(|index| 100.0 + f64::from(index * 7919 % 31));
        assert_eq!(floor_of(&series(noise), 1.0), None);
    }

    #[test]
    fn one_fall_is_no_habit() {
        let once = (0..40).map(|index| 100.0 + f64::from(index % 20) * 10.0);
        assert_eq!(floor_of(&series(once), 1.0), None);
    }

    #[test]
    fn falls_too_small_to_matter_are_none() {
        let teeth = (0..40).map(|index| 100.0 + f64::from(index % 10) * 10.0);
        assert_eq!(floor_of(&series(teeth), 50.0), None);
    }
}
