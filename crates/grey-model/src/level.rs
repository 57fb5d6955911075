//! Levels of memory use: when one is entered, when it is left again, and the
//! state machine that says so for a stream of readings.
//!
//! Pure: the time is given, in [`Duration`] since any fixed instant. Never acts.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units::Bytes;

/// How full a budget is. Orders from calm to dire.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Level {
    /// Below every threshold.
    #[default]
    Normal,
    /// 80 % of the budget: clean up.
    Soft,
    /// 93 % of the budget: spill to disk.
    Hard,
    /// 98 % of the budget: evict at once.
    Emergency,
}

/// How full the whole machine is. Orders from calm to dire.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum SystemLevel {
    /// Below 40 %.
    #[default]
    Normal,
    /// From 40 %: told in the log.
    Moderate,
    /// From 60 %: shrink caches, throttle, defer what can wait.
    High,
    /// From 80 %: take no new work, finish what is in flight, save.
    Critical,
}

/// One of a family of levels that [`Levels`] tells apart: the calm one first.
pub trait Step: Copy + Eq + Ord + fmt::Debug + 'static {
    /// The calm step and the three above it, in order.
    const ALL: [Self; 4];
    /// Where the three above the calm one begin, if nobody says otherwise, as
    /// fractions of the whole.
    const ENTER: [f64; 3];
    /// What the step is called, in capitals.
    fn name(self) -> &'static str;
}

impl Step for Level {
    const ALL: [Self; 4] = [Self::Normal, Self::Soft, Self::Hard, Self::Emergency];
    const ENTER: [f64; 3] = [0.80, 0.93, 0.98];

    fn name(self) -> &'static str {
        match self {
            Self::Normal => "NORMAL",
            Self::Soft => "SOFT",
            Self::Hard => "HARD",
            Self::Emergency => "EMERGENCY",
        }
    }
}

impl Step for SystemLevel {
    const ALL: [Self; 4] = [Self::Normal, Self::Moderate, Self::High, Self::Critical];
    const ENTER: [f64; 3] = [0.40, 0.60, 0.80];

    fn name(self) -> &'static str {
        match self {
            Self::Normal => "NORMAL",
            Self::Moderate => "MODERATE",
            Self::High => "HIGH",
            Self::Critical => "CRITICAL",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl fmt::Display for SystemLevel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// Where a level begins and where it ends, as fractions of the whole. The end
/// lies below the beginning, so that a reading on the line does not flap.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Threshold {
    /// Entered at or above this fraction.
    pub enter: f64,
    /// Left below this fraction.
    pub exit: f64,
}

/// How far below its beginning a level ends, if nobody says otherwise.
pub const DEFAULT_HYSTERESIS: f64 = 0.03;

/// How long a level is kept at least before a lower one may follow.
pub const DEFAULT_COOLDOWN: Duration = Duration::from_secs(5);

/// Thresholds that no state machine can run on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ThresholdError {
    /// Not a number, or not above 0 and up to 1.
    #[error("the {edge} of {step} is {value}, and must be above 0 and at most 1")]
    OutOfRange {
        /// The level's name.
        step: &'static str,
        /// `enter` or `exit`.
        edge: &'static str,
        /// What was given.
        value: f64,
    },
    /// The level would be left before it is entered.
    #[error("the exit of {step} ({exit}) must be below its enter ({enter})")]
    ExitNotBelowEnter {
        /// The level's name.
        step: &'static str,
        /// What was given.
        enter: f64,
        /// What was given.
        exit: f64,
    },
    /// Two levels in the wrong order.
    #[error("{upper} begins at {upper_enter}, and must begin above {lower} ({lower_enter})")]
    NotAscending {
        /// The lower level's name.
        lower: &'static str,
        /// Where it begins.
        lower_enter: f64,
        /// The upper level's name.
        upper: &'static str,
        /// Where it begins.
        upper_enter: f64,
    },
}

/// The three thresholds of a family of levels, checked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    steps: [Threshold; 3],
}

impl Thresholds {
    /// The family's own: 80/93/98 % of a budget, 40/60/80 % of a machine.
    #[must_use]
    pub fn of<S: Step>() -> Self {
        Self {
            steps: S::ENTER.map(|enter| Threshold {
                enter,
                exit: enter - DEFAULT_HYSTERESIS,
            }),
        }
    }

    /// Thresholds that begin at `enter` and end [`DEFAULT_HYSTERESIS`] below,
    /// or at half of it where that is not above 0.
    ///
    /// # Errors
    /// [`ThresholdError`], for what no state machine can run on.
    pub fn entering<S: Step>(enter: [f64; 3]) -> Result<Self, ThresholdError> {
        Self::new::<S>(enter.map(|enter| {
            let below = enter - DEFAULT_HYSTERESIS;
            Threshold {
                enter,
                exit: if below > 0.0 { below } else { enter / 2.0 },
            }
        }))
    }

    /// Checks the three thresholds of the family `S`, lowest first.
    ///
    /// # Errors
    /// [`ThresholdError`], for what no state machine can run on.
    pub fn new<S: Step>(steps: [Threshold; 3]) -> Result<Self, ThresholdError> {
        let names = [S::ALL[1].name(), S::ALL[2].name(), S::ALL[3].name()];
        for (threshold, step) in steps.iter().zip(names) {
            for (edge, value) in [("enter", threshold.enter), ("exit", threshold.exit)] {
                if !(value > 0.0 && value <= 1.0) {
                    return Err(ThresholdError::OutOfRange { step, edge, value });
                }
            }
            if threshold.exit >= threshold.enter {
                return Err(ThresholdError::ExitNotBelowEnter {
                    step,
                    enter: threshold.enter,
                    exit: threshold.exit,
                });
            }
        }
        for upper in 1..steps.len() {
            if steps[upper].enter <= steps[upper - 1].enter {
                return Err(ThresholdError::NotAscending {
                    lower: names[upper - 1],
                    lower_enter: steps[upper - 1].enter,
                    upper: names[upper],
                    upper_enter: steps[upper].enter,
                });
            }
        }
        Ok(Self { steps })
    }

    /// The three thresholds, lowest first.
    #[must_use]
    pub const fn steps(&self) -> &[Threshold; 3] {
        &self.steps
    }

    /// The level of a `fraction` of the whole, without any memory of the past.
    #[must_use]
    pub fn level<S: Step>(&self, fraction: f64) -> S {
        let above = |threshold: &&Threshold| fraction >= threshold.enter;
        S::ALL[self.steps.iter().take_while(above).count()]
    }

    /// The level after `current`, when the fraction is now `fraction`: upwards
    /// by the entries, downwards only below the exits.
    #[must_use]
    pub fn next<S: Step>(&self, current: S, fraction: f64) -> S {
        let by_entry: S = self.level(fraction);
        if by_entry >= current {
            return by_entry;
        }
        let held = |threshold: &&Threshold| fraction >= threshold.exit;
        let by_exit = S::ALL[self.steps.iter().take_while(held).count()];
        by_exit.min(current).max(by_entry)
    }
}

/// A change of level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition<S> {
    /// The level before.
    pub from: S,
    /// The level now.
    pub to: S,
    /// Counts the transitions. What was decided under another generation is
    /// stale and must not run.
    pub generation: u64,
}

/// The state machine of one family of levels.
#[derive(Debug, Clone)]
pub struct Levels<S> {
    thresholds: Thresholds,
    cooldown: Duration,
    current: S,
    since: Option<Duration>,
    generation: u64,
}

impl<S: Step> Levels<S> {
    /// Calm, with these thresholds. A level is left for a lower one only when
    /// it has lasted for `cooldown`.
    #[must_use]
    pub const fn new(thresholds: Thresholds, cooldown: Duration) -> Self {
        Self {
            thresholds,
            cooldown,
            current: S::ALL[0],
            since: None,
            generation: 0,
        }
    }

    /// The level now.
    #[must_use]
    pub const fn current(&self) -> S {
        self.current
    }

    /// How many transitions there were.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The thresholds now.
    #[must_use]
    pub const fn thresholds(&self) -> &Thresholds {
        &self.thresholds
    }

    /// Other thresholds, from the next reading on.
    pub const fn set_thresholds(&mut self, thresholds: Thresholds) {
        self.thresholds = thresholds;
    }

    /// Takes a reading at `now`: `used` of `whole`. Upwards at once; downwards
    /// below the exit and after the cooldown. A whole of 0 is full.
    pub fn observe(&mut self, now: Duration, used: Bytes, whole: Bytes) -> Option<Transition<S>> {
        let next = self.thresholds.next(self.current, fraction(used, whole));
        if next == self.current {
            return None;
        }
        let lasted = self.since.map(|since| now.saturating_sub(since));
        if next < self.current && lasted.is_some_and(|lasted| lasted < self.cooldown) {
            return None;
        }
        let from = self.current;
        self.current = next;
        self.since = Some(now);
        self.generation += 1;
        Some(Transition {
            from,
            to: next,
            generation: self.generation,
        })
    }
}

/// What part of `whole` is `used`; all of it when `whole` is 0.
#[must_use]
pub fn fraction(used: Bytes, whole: Bytes) -> f64 {
    if whole == Bytes::ZERO {
        return 1.0;
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "a fraction to 15 digits is more than a threshold has"
    )]
    let fraction = used.get() as f64 / whole.get() as f64;
    fraction
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIB: Bytes = Bytes(1 << 30);

    fn percent(of: u64) -> Bytes {
        GIB.scale(of, 100)
    }

    #[test]
    fn the_families_begin_where_the_documents_say() {
        let budget = Thresholds::of::<Level>();
        for (fraction, level) in [
            (0.65, Level::Normal),
            (0.7999, Level::Normal),
            (0.80, Level::Soft),
            (0.93, Level::Hard),
            (0.98, Level::Emergency),
            (7.0, Level::Emergency),
        ] {
            assert_eq!(budget.level::<Level>(fraction), level, "{fraction}");
        }
        let system = Thresholds::of::<SystemLevel>();
        for (fraction, level) in [
            (0.39, SystemLevel::Normal),
            (0.40, SystemLevel::Moderate),
            (0.60, SystemLevel::High),
            (0.80, SystemLevel::Critical),
        ] {
            assert_eq!(system.level::<SystemLevel>(fraction), level, "{fraction}");
        }
    }

    #[test]
    fn a_level_is_left_below_its_exit_only() {
        let mut levels = Levels::<Level>::new(Thresholds::of::<Level>(), Duration::ZERO);
        let at = Duration::from_secs;
        assert_eq!(
            levels.observe(at(0), percent(81), GIB).map(|seen| seen.to),
            Some(Level::Soft)
        );
        assert_eq!(levels.observe(at(1), percent(78), GIB), None);
        assert_eq!(
            levels.observe(at(2), percent(76), GIB).map(|seen| seen.to),
            Some(Level::Normal)
        );
    }

    #[test]
    fn a_fall_waits_for_the_cooldown_and_a_rise_does_not() {
        let mut levels = Levels::<Level>::new(Thresholds::of::<Level>(), DEFAULT_COOLDOWN);
        let at = Duration::from_secs;
        assert!(levels.observe(at(10), percent(81), GIB).is_some());
        assert!(levels.observe(at(11), percent(99), GIB).is_some());
        assert_eq!(levels.observe(at(15), percent(10), GIB), None);
        let fall = levels.observe(at(16), percent(10), GIB).expect("cooled");
        assert_eq!(
            (fall.from, fall.to, fall.generation),
            (Level::Emergency, Level::Normal, 3)
        );
    }

    #[test]
    fn thresholds_that_contradict_are_refused() {
        let entering = |enter| Thresholds::entering::<Level>(enter);
        for value in [0.0, -0.5, 1.5, f64::NAN, f64::INFINITY] {
            assert!(
                matches!(
                    entering([value, 0.93, 0.98]),
                    Err(ThresholdError::OutOfRange { .. })
                ),
                "{value}"
            );
        }
        assert!(matches!(
            entering([0.95, 0.93, 0.98]),
            Err(ThresholdError::NotAscending { .. })
        ));
        let mut steps = *Thresholds::of::<Level>().steps();
        steps[1].exit = 0.95;
        let error = Thresholds::new::<Level>(steps).expect_err("exit above enter");
        assert_eq!(
            error.to_string(),
            "the exit of HARD (0.95) must be below its enter (0.93)"
        );
    }

    #[test]
    fn a_budget_of_nothing_is_full() {
        let mut levels = Levels::<Level>::new(Thresholds::of::<Level>(), Duration::ZERO);
        let seen = levels.observe(Duration::ZERO, Bytes::ZERO, Bytes::ZERO);
        assert_eq!(seen.map(|seen| seen.to), Some(Level::Emergency));
    }

    proptest! {
        #[test]
        fn a_level_never_lags_behind_its_entry_nor_outlives_its_exit(
            readings in proptest::collection::vec(0_u64..130, 1..60)
        ) {
            let thresholds = Thresholds::of::<Level>();
            let mut levels = Levels::<Level>::new(thresholds, Duration::ZERO);
            for (second, reading) in (0..).zip(readings) {
                levels.observe(Duration::from_secs(second), percent(reading), GIB);
                let fraction = fraction(percent(reading), GIB);
                prop_assert!(levels.current() >= thresholds.level(fraction));
                for (step, threshold) in Level::ALL[1..].iter().zip(thresholds.steps()) {
                    prop_assert!(levels.current() < *step || fraction >= threshold.exit);
                }
            }
        }
    }
}
