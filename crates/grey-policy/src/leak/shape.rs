//! Which simple shape explains a series best: flat, a line, a line with one
//! bend, one or two steps.
//!
//! A richer shape always fits better, so each parameter has its price: Schwarz
//! (1978), "Estimating the dimension of a model". Never fits the order of
//! noise: what is below a hundredth of the range counts as explained.

use super::series::Series;

/// Nobody needs a fit closer than this share of the range.
const CLOSE_ENOUGH: f64 = 0.01;

/// Steps may be anywhere, which makes them fit noise better than they should:
/// the search has its price, too.
const PRICE_OF_STEPS: f64 = 6.0;

/// A level, and a part of a bent line, lasts this many points at least.
const LEAST_PART: usize = 2;

/// A shape, with the point where it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// One level.
    Flat,
    /// One slope.
    Line,
    /// One slope before the point, another one from it on.
    Bend {
        /// Index of the point.
        at: usize,
    },
    /// Levels, with one or two changes between them.
    Steps,
}

/// The shape that explains `series` best.
pub(super) fn shape(series: &Series) -> Shape {
    let fit = Fit::new(series);
    let count = series.len();
    if count < 2 * LEAST_PART || series.range() <= 0.0 {
        return Shape::Flat;
    }
    let mut best = (fit.price(fit.level(0, count), 1.0), Shape::Flat);
    let mut offer = |price: f64, shape: Shape| {
        if price < best.0 {
            best = (price, shape);
        }
    };
    offer(fit.price(fit.line(), 2.0), Shape::Line);
    for at in LEAST_PART..=count - LEAST_PART {
        if let Some(error) = fit.bend(at) {
            offer(fit.price(error, 4.0), Shape::Bend { at });
        }
    }
    let (one, two) = fit.steps();
    offer(fit.price(one, 3.0) + PRICE_OF_STEPS, Shape::Steps);
    offer(fit.price(two, 5.0) + PRICE_OF_STEPS, Shape::Steps);
    best.1
}

/// Sums over the first points, of times and values that are scaled to 0..1, so
/// that the error of any part is a difference.
struct Fit {
    sums: Vec<Sums>,
    times: Vec<f64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    count: f64,
    time: f64,
    time_squared: f64,
    value: f64,
    value_squared: f64,
    product: f64,
}

impl Sums {
    fn minus(self, other: Self) -> Self {
        Self {
            count: self.count - other.count,
            time: self.time - other.time,
            time_squared: self.time_squared - other.time_squared,
            value: self.value - other.value,
            value_squared: self.value_squared - other.value_squared,
            product: self.product - other.product,
        }
    }
}

impl Fit {
    fn new(series: &Series) -> Self {
        let low = series.values.iter().copied().fold(f64::INFINITY, f64::min);
        let range = series.range().max(f64::MIN_POSITIVE);
        let span = series.span().max(f64::MIN_POSITIVE);
        let first = series.times.first().copied().unwrap_or_default();
        let times: Vec<f64> = series
            .times
            .iter()
            .map(|time| (time - first) / span)
            .collect();
        let mut running = Sums::default();
        let mut sums = vec![running];
        for (time, value) in times.iter().zip(&series.values) {
            let value = (value - low) / range;
            running.count += 1.0;
            running.time += time;
            running.time_squared += time * time;
            running.value += value;
            running.value_squared += value * value;
            running.product += time * value;
            sums.push(running);
        }
        Self { sums, times }
    }

    fn all(&self) -> Sums {
        self.sums.last().copied().unwrap_or_default()
    }

    /// What a shape costs: what it leaves unexplained, and its parameters.
    fn price(&self, squared_error: f64, parameters: f64) -> f64 {
        let count = self.all().count;
        let error = squared_error.max(0.0) / count + CLOSE_ENOUGH * CLOSE_ENOUGH;
        count * error.ln() + parameters * count.ln()
    }

    /// The squared error of one level over the points `start..end`.
    fn level(&self, start: usize, end: usize) -> f64 {
        let part = self.sums[end].minus(self.sums[start]);
        part.value_squared - part.value * part.value / part.count.max(1.0)
    }

    /// Of one line over all points.
    fn line(&self) -> f64 {
        let all = self.all();
        let spread = all.time_squared - all.time * all.time / all.count;
        let shared = all.product - all.time * all.value / all.count;
        let level = self.level(0, self.times.len());
        if spread <= 0.0 {
            return level;
        }
        level - shared * shared / spread
    }

    /// Of a line that bends at the point `at`; `None` when times coincide.
    fn bend(&self, at: usize) -> Option<f64> {
        let (all, after) = (self.all(), self.all().minus(self.sums[at]));
        let knot = self.times[at];
        // The third regressor is the time since the bend, 0 before it.
        let since = after.time - knot * after.count;
        let since_by_time = after.time_squared - knot * after.time;
        let since_squared =
            after.time_squared - 2.0 * knot * after.time + knot * knot * after.count;
        let since_by_value = after.product - knot * after.value;
        let products = [
            [all.count, all.time, since],
            [all.time, all.time_squared, since_by_time],
            [since, since_by_time, since_squared],
        ];
        let values = [all.value, all.product, since_by_value];
        let solved = solve(products, values)?;
        let explained: f64 = solved
            .iter()
            .zip(values)
            .map(|(one, other)| one * other)
            .sum();
        Some(all.value_squared - explained)
    }

    /// Of the best two levels, and of the best three.
    fn steps(&self) -> (f64, f64) {
        let count = self.times.len();
        let (mut one, mut two) = (f64::INFINITY, f64::INFINITY);
        for first in LEAST_PART..=count - LEAST_PART {
            let before = self.level(0, first);
            one = one.min(before + self.level(first, count));
            for second in first + LEAST_PART..=count - LEAST_PART {
                let rest = self.level(first, second) + self.level(second, count);
                two = two.min(before + rest);
            }
        }
        (one, two.min(one))
    }
}

/// Solves three linear equations; `None` when they do not determine it.
fn solve(mut rows: [[f64; 3]; 3], mut values: [f64; 3]) -> Option<[f64; 3]> {
    for column in 0..3 {
        let pivot = (column..3).max_by(|&one, &other| {
            rows[one][column]
                .abs()
                .total_cmp(&rows[other][column].abs())
        })?;
        if rows[pivot][column].abs() < 1e-12 {
            return None;
        }
        rows.swap(column, pivot);
        values.swap(column, pivot);
        for below in column + 1..3 {
            let factor = rows[below][column] / rows[column][column];
            let above = rows[column];
            for (entry, above) in rows[below].iter_mut().zip(above) {
                *entry -= factor * above;
            }
            values[below] -= factor * values[column];
        }
    }
    let third = values[2] / rows[2][2];
    let second = (values[1] - rows[1][2] * third) / rows[1][1];
    let first = (values[0] - rows[0][1] * second - rows[0][2] * third) / rows[0][0];
    Some([first, second, third])
}

#[cfg(test)]
mod tests {
    use super::super::trend::length;
    use super::*;

    /// The shape of 60 values with the same disorder of -1 to 1 in every run.
    fn shape_in_noise(value: impl Fn(f64) -> f64) -> Shape {
        let times: Vec<f64> = (0..60).map(length).collect();
        let mut state = 12_345_u32;
        let noisy = |&time: &f64| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            value(time) + f64::from(state >> 8) / f64::from(1 << 23) - 1.0
        };
        let values = times.iter().map(noisy).collect();
        shape(&Series { times, values })
    }

    fn shape_of(value: impl Fn(f64) -> f64) -> Shape {
        let times: Vec<f64> = (0..60).map(length).collect();
        let values = times.iter().map(|&time| value(time)).collect();
        shape(&Series { times, values })
    }

    #[test]
    fn each_shape_is_found_in_noise() {
        assert_eq!(shape_in_noise(|_| 50.0), Shape::Flat);
        assert_eq!(shape_in_noise(|time| time), Shape::Line);
        let steps = |time| if time < 22.0 { 0.0 } else { 9.0 };
        assert_eq!(shape_in_noise(steps), Shape::Steps);
        let bend = shape_in_noise(|time| f64::min(time, 20.0) * 2.0);
        let Shape::Bend { at } = bend else {
            panic!("{bend:?}")
        };
        assert!((18..=22).contains(&at), "{at}");
    }

    #[test]
    fn two_steps_are_steps_and_many_are_a_line() {
        let stairs = |height: f64| move |time: f64| (time / height).floor() * height;
        assert_eq!(shape_of(stairs(25.0)), Shape::Steps);
        assert_eq!(shape_of(stairs(6.0)), Shape::Line);
    }

    #[test]
    fn nothing_that_moves_is_flat() {
        assert_eq!(shape_of(|_| 7.0), Shape::Flat);
        assert_eq!(shape(&Series::default()), Shape::Flat);
    }
}
