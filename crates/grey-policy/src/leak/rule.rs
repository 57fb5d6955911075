//! The verdict: what the shape, the slope and the confidence mean together.
//!
//! Never calls a leak what is coming to rest, what fell back, or what could be
//! chance; a slow leak in a short window is `growing` until it is surer.

use std::time::Duration;

use grey_model::{Bytes, LeakJudgement, LeakVerdict, Percent, Trace, TracePoint};

use super::cycles;
use super::lives::judged_life;
use super::series::{Series, median};
use super::shape::{Shape, shape};
use super::trend::{correlation, growth_confidence, intercept, residuals, theil_sen};

/// Fewer readings say nothing.
const LEAST_POINTS: usize = 8;

/// Nor does a shorter time: programs do things for this long.
const LEAST_SPAN: Duration = Duration::from_secs(30);

/// How sure a leak must be: most programs do not leak, and one in fifty of
/// them would be called so by chance already.
const SURE: f64 = 0.98;

/// How sure it must be that a floor rises. There are few low points, and noise
/// is not in them.
const SURE_OF_FLOOR: f64 = 0.95;

/// How sure growth must be to be named.
const LIKELY: f64 = 0.9;

/// A slow leak need not reach the thresholds while we look: it has this many
/// times the window to do so, but no more than [`HORIZON`].
const REACH: f64 = 4.0;

/// Seconds. Longer windows than this have to show the growth themselves.
const HORIZON: f64 = 3600.0;

/// Below this share of the thresholds, growth is not worth a name.
const WORTH_A_NAME: f64 = 0.1;

/// After a bend, the slope is this share of the one before: below the first it
/// has come to rest, above the second it goes on.
const AT_REST: f64 = 0.25;
const GOES_ON: f64 = 0.5;

/// What is beside the line is too small to have made it, however much it
/// resembles its neighbours, when half of it is below this share of the growth.
const TOO_SMALL: f64 = 0.02;

/// A jump and then a leak: the later half of what follows the jump is this
/// share as steep as the earlier half, or it comes to rest.
const KEEPS_ON: f64 = 0.7;

/// The part after a bend that is judged on its own is this share of the whole.
const LEAST_TAIL: f64 = 0.3;

/// Fewer low points are no proof that the floor rises.
const LEAST_FLOOR: usize = 4;

/// From when on growth is a leak. Both must be reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LeakRule {
    /// Growth of this much, 10 MiB if nobody says otherwise. A count where the
    /// trace is not of bytes.
    pub minimum_growth: Bytes,
    /// And of this share of where it began, 10 %.
    pub minimum_growth_percent: Percent,
}

impl Default for LeakRule {
    fn default() -> Self {
        Self {
            minimum_growth: Bytes::from_mib(10),
            minimum_growth_percent: Percent(10.0),
        }
    }
}

impl LeakRule {
    /// For counts of things that should be gone, such as dying cgroups: 100 of
    /// them, and 10 %.
    #[must_use]
    pub const fn for_counts() -> Self {
        Self {
            minimum_growth: Bytes(100),
            minimum_growth_percent: Percent(10.0),
        }
    }

    fn least(&self) -> f64 {
        number(self.minimum_growth)
    }
}

/// The shortest window that gives a verdict when there is a reading each
/// `interval`.
#[must_use]
pub fn shortest_window(interval: Duration) -> Duration {
    let readings = u32::try_from(LEAST_POINTS - 1).unwrap_or(u32::MAX);
    LEAST_SPAN.max(interval.saturating_mul(readings))
}

/// Judges one trace. `headroom` is what may still be taken before something is
/// full; it only serves to tell when that will be.
#[must_use]
pub fn judge(trace: &Trace, rule: &LeakRule, headroom: Option<Bytes>) -> LeakJudgement {
    let life = judged_life(trace, is_enough);
    let window = span(life.points);
    let mut judgement = if is_enough(life.points) {
        judge_series(&Series::new(life.points), rule)
    } else {
        too_short(life.points)
    };
    judgement.restarts = life.restarts;
    judgement.window_seconds = window.as_secs_f64();
    let grows = judgement.verdict.grows();
    judgement.exhausts_in_seconds = match (headroom, judgement.slope_bytes_per_second) {
        (Some(headroom), Some(slope)) if grows && slope > 0.0 => Some(number(headroom) / slope),
        _ => None,
    };
    judgement
}

/// Judges a trace of something that is over, or that the kernel takes back by
/// itself. It has given everything back, as a compiler does that grew all its life,
/// or will: how it grew is told, and not called a leak.
#[must_use]
pub fn judge_ended(trace: &Trace, rule: &LeakRule) -> LeakJudgement {
    let judgement = judge(trace, rule, None);
    LeakJudgement {
        verdict: match judgement.verdict {
            LeakVerdict::Leak => LeakVerdict::Growing,
            verdict => verdict,
        },
        ..judgement
    }
}

/// Whether these readings of one life are enough for a verdict.
#[must_use]
pub fn is_enough(points: &[TracePoint]) -> bool {
    points.len() >= LEAST_POINTS && span(points) >= LEAST_SPAN
}

fn span(points: &[TracePoint]) -> Duration {
    match (points.first(), points.last()) {
        (Some(first), Some(last)) => last.at.saturating_sub(first.at),
        _ => Duration::ZERO,
    }
}

fn too_short(points: &[TracePoint]) -> LeakJudgement {
    let gaps: Vec<f64> = points
        .windows(2)
        .map(|pair| pair[1].at.saturating_sub(pair[0].at).as_secs_f64())
        .collect();
    let interval = Duration::try_from_secs_f64(median(&gaps)).unwrap_or_default();
    let (first, last) = (points.first(), points.last());
    let growth = first
        .zip(last)
        .filter(|_| points.len() > 1)
        .map(|(first, last)| last.amount.signed_difference(first.amount));
    LeakJudgement {
        growth_bytes: growth,
        needs_seconds: Some(shortest_window(interval).as_secs_f64()),
        ..verdict(LeakVerdict::TooShort)
    }
}

const fn verdict(verdict: LeakVerdict) -> LeakJudgement {
    LeakJudgement {
        verdict,
        growth_bytes: None,
        growth_percent: None,
        slope_bytes_per_second: None,
        confidence: None,
        exhausts_in_seconds: None,
        restarts: 0,
        window_seconds: 0.0,
        needs_seconds: None,
    }
}

/// A straight rise of a part of a series, with all that is asked of it.
#[derive(Debug, Clone, Copy)]
struct Growth {
    slope: f64,
    start: f64,
    span: f64,
    confidence: f64,
}

impl Growth {
    /// The rise of `part` by `slope`, which leaves `left`; `related` is how much
    /// what is left resembles its neighbours.
    fn of(part: &Series, slope: f64, left: &[f64], related: f64) -> Self {
        let first = part.times.first().copied().unwrap_or_default();
        let beside: Vec<f64> = left.iter().map(|value| value.abs()).collect();
        let tiny = median(&beside) < TOO_SMALL * (slope * part.span()).abs();
        Self {
            slope,
            start: intercept(part, slope) + slope * first,
            span: part.span(),
            confidence: growth_confidence(part, if tiny { 0.0 } else { related }),
        }
    }

    fn amount(&self) -> f64 {
        self.slope * self.span
    }

    /// In percent of where it began; anything is much more than nothing.
    fn percent(&self, amount: f64) -> f64 {
        if self.start > 0.0 {
            amount / self.start * 100.0
        } else {
            f64::INFINITY
        }
    }

    /// Seconds that this slope needs for both thresholds.
    fn time_to_thresholds(&self, rule: &LeakRule) -> f64 {
        let by_amount = rule.least() / self.slope;
        let by_share = self.start.max(0.0) * rule.minimum_growth_percent.0 / 100.0 / self.slope;
        by_amount.max(by_share)
    }

    /// Whether the thresholds are reached, or will be soon enough.
    fn reaches(&self, rule: &LeakRule) -> bool {
        let ahead = (REACH * self.span).min(HORIZON.max(self.span));
        self.slope > 0.0 && self.time_to_thresholds(rule) <= ahead
    }

    fn is_worth_a_name(&self, rule: &LeakRule) -> bool {
        let amount = self.amount();
        amount >= rule.least() * WORTH_A_NAME
            && self.percent(amount) >= rule.minimum_growth_percent.0 * WORTH_A_NAME
    }

    /// The verdict when nothing but slope and confidence count.
    fn verdict(&self, rule: &LeakRule) -> LeakVerdict {
        self.verdict_when(SURE, rule)
    }

    fn verdict_when(&self, sure: f64, rule: &LeakRule) -> LeakVerdict {
        if self.confidence >= sure && self.reaches(rule) {
            LeakVerdict::Leak
        } else if self.confidence >= LIKELY && self.is_worth_a_name(rule) {
            LeakVerdict::Growing
        } else {
            LeakVerdict::Stable
        }
    }

    fn judged(&self, verdict: LeakVerdict, rule: &LeakRule) -> LeakJudgement {
        let needs = (verdict == LeakVerdict::Growing && self.slope > 0.0)
            .then(|| self.window_for_leak(rule))
            .flatten();
        LeakJudgement {
            growth_bytes: Some(whole(self.amount())),
            growth_percent: finite(self.percent(self.amount())),
            slope_bytes_per_second: Some(self.slope),
            confidence: Some(self.confidence),
            needs_seconds: needs,
            ..self::verdict(verdict)
        }
    }

    /// The window in which this slope would reach the thresholds; `None` when
    /// it does so already and only is not sure enough, or slows down.
    fn window_for_leak(&self, rule: &LeakRule) -> Option<f64> {
        let time = self.time_to_thresholds(rule);
        // A window of the horizon or more must show the growth itself.
        let window = (time / REACH).max(if time > HORIZON { time } else { 0.0 });
        (window > self.span).then_some(window)
    }
}

fn judge_series(series: &Series, rule: &LeakRule) -> LeakJudgement {
    let least = rule.least() * WORTH_A_NAME;
    let slope = theil_sen(series);
    let left = residuals(series, slope);
    let trend = Growth::of(series, slope, &left, correlation(&left));
    if series.range() < least {
        return levels(series, trend, LeakVerdict::Stable);
    }
    if let Some(floor) = cycles::floor(series, left, least) {
        return judge_floor(series, slope, &floor, rule);
    }
    judge_shape(series, trend, rule)
}

fn judge_shape(series: &Series, trend: Growth, rule: &LeakRule) -> LeakJudgement {
    match shape(series) {
        Shape::Flat => levels(series, trend, LeakVerdict::Stable),
        Shape::Steps => {
            let (first, last) = series.ends();
            let rise = last - first;
            let worth = rise >= rule.least() * WORTH_A_NAME
                && rise >= first * rule.minimum_growth_percent.0 / 100.0 * WORTH_A_NAME;
            let verdict = if worth {
                LeakVerdict::Step
            } else {
                LeakVerdict::Stable
            };
            levels(series, trend, verdict)
        }
        Shape::Line => match trend.verdict(rule) {
            LeakVerdict::Stable => levels(series, trend, LeakVerdict::Stable),
            verdict => trend.judged(verdict, rule),
        },
        Shape::Bend { at } => judge_bend(series, at, trend, rule),
    }
}

/// A series that grows otherwise from the point `at` on than before it.
fn judge_bend(series: &Series, at: usize, trend: Growth, rule: &LeakRule) -> LeakJudgement {
    let (before, after) = (series.part(0, at + 1), series.from(at));
    let (first, second) = (theil_sen(&before), theil_sen(&after));
    let (left, left_after) = (residuals(&before, first), residuals(&after, second));
    let related = correlation(&[left.as_slice(), left_after.as_slice()].concat());
    let early = Growth::of(&before, first, &left, related);
    let late = Growth::of(&after, second, &left_after, related);
    let lasts = after.len() >= LEAST_POINTS && after.span() >= LEAST_TAIL * series.span();
    if early.slope <= 0.0 || late.slope >= GOES_ON * early.slope {
        // It goes on, or only now begins; above what it fell from, if it fell.
        let judged = if lasts { late } else { trend };
        let verdict = match judged.verdict(rule) {
            LeakVerdict::Leak if only_came_back(series, early, rule) => LeakVerdict::Growing,
            verdict => verdict,
        };
        return match verdict {
            LeakVerdict::Stable => levels(series, trend, LeakVerdict::Stable),
            verdict => judged.judged(verdict, rule),
        };
    }
    let began_with_a_jump = before.span() <= (1.0 - LEAST_TAIL) * series.span() / 2.0;
    if lasts
        && began_with_a_jump
        && shape(&after) == Shape::Line
        && keeps_on(&after)
        && late.verdict(rule) == LeakVerdict::Leak
    {
        return late.judged(LeakVerdict::Leak, rule);
    }
    let (first, last) = series.ends();
    let worth = trend.is_worth_a_name(rule) || last - first >= rule.least() * WORTH_A_NAME;
    if !worth {
        return levels(series, trend, LeakVerdict::Stable);
    }
    if late.slope <= AT_REST * early.slope {
        return levels(series, trend, LeakVerdict::WarmUp);
    }
    match late.verdict(rule) {
        LeakVerdict::Stable => levels(series, trend, LeakVerdict::WarmUp),
        _ => late.judged(LeakVerdict::Growing, rule),
    }
}

/// Whether what fell before has not risen above it by the thresholds: then it
/// may as well be a load that comes and goes.
fn only_came_back(series: &Series, early: Growth, rule: &LeakRule) -> bool {
    if early.amount() > -rule.least() * WORTH_A_NAME {
        return false;
    }
    let (_, last) = series.ends();
    let above = last - early.start;
    above < rule.least() || early.percent(above) < rule.minimum_growth_percent.0
}

/// Whether the later half is about as steep as the earlier one.
fn keeps_on(series: &Series) -> bool {
    let middle = series.len() / 2;
    let early = theil_sen(&series.part(0, middle));
    theil_sen(&series.from(middle)) >= KEEPS_ON * early
}

/// A series that falls back again and again leaks when its floor rises.
fn judge_floor(series: &Series, slope: f64, floor: &Series, rule: &LeakRule) -> LeakJudgement {
    let rise_slope = theil_sen(floor);
    let rise = Growth::of(floor, rise_slope, &residuals(floor, rise_slope), 0.0);
    let calm = |verdict| LeakJudgement {
        slope_bytes_per_second: Some(slope),
        ..levels(floor, rise, verdict)
    };
    if floor.len() < LEAST_FLOOR {
        // Rising, but too few to be sure.
        let rises = floor.len() > 2 && rise.slope > 0.0 && rise.reaches(rule);
        let in_order = floor.values.is_sorted();
        return if rises && in_order {
            rise.judged(LeakVerdict::Growing, rule)
        } else {
            calm(LeakVerdict::Sawtooth)
        };
    }
    if rise.verdict_when(SURE_OF_FLOOR, rule) != LeakVerdict::Leak {
        return calm(LeakVerdict::Sawtooth);
    }
    let late = floor.from(floor.len() / 2);
    let goes_on = theil_sen(&late) >= GOES_ON * rise.slope;
    let shape = shape(floor);
    let rests = floor.len() >= LEAST_POINTS
        && (shape == Shape::Steps
            || matches!(shape, Shape::Bend { .. })
                && judge_shape(floor, rise, rule).verdict != LeakVerdict::Leak);
    // The floor must have come up by more than cycles differ by chance.
    let above = rise.amount() >= WORTH_A_NAME * series.range();
    if goes_on && !rests && above {
        rise.judged(LeakVerdict::Leak, rule)
    } else {
        calm(LeakVerdict::Sawtooth)
    }
}

/// The numbers of a verdict that is not about a steady slope: levels at both
/// ends.
fn levels(series: &Series, trend: Growth, verdict: LeakVerdict) -> LeakJudgement {
    let (first, last) = series.ends();
    let share = (first > 0.0).then(|| (last - first) / first * 100.0);
    LeakJudgement {
        growth_bytes: Some(whole(last - first)),
        growth_percent: share,
        slope_bytes_per_second: Some(trend.slope),
        confidence: Some(trend.confidence),
        ..self::verdict(verdict)
    }
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

#[expect(clippy::cast_precision_loss, reason = "15 digits are enough to judge")]
const fn number(amount: Bytes) -> f64 {
    amount.0 as f64
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "rounded to whole bytes; beyond the range it saturates"
)]
fn whole(value: f64) -> i64 {
    value.round() as i64
}

#[cfg(test)]
#[path = "rule_tests.rs"]
mod tests;
