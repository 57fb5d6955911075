//! `check_thresholds`: what is wrong with a number of bytes in a budget, in
//! words, and what to do about it. A pure function.
//!
//! Never remembers; the controller's state machine does.

use grey_model::level::fraction;
use grey_model::{Bytes, Level, Percent, Step, Thresholds};

/// One threshold that was crossed.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryWarning {
    /// Which.
    pub level: Level,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub suggested_action: &'static str,
    /// How much should be freed.
    pub target: Bytes,
}

/// What each level frees at least, in percent of the budget.
#[must_use]
pub const fn percent_to_free(level: Level) -> u64 {
    match level {
        Level::Normal => 0,
        Level::Soft => 5,
        Level::Hard => 10,
        Level::Emergency => 15,
    }
}

/// What is done at each level.
#[must_use]
pub const fn suggested_action(level: Level) -> &'static str {
    match level {
        Level::Normal => "nothing to do",
        Level::Soft => "trigger cleanup & garbage collection: drop expired and old cache entries",
        Level::Hard => "spill cached data to disk: query cache, loaded files",
        Level::Emergency => "emergency eviction of low-priority data: all non-essential caches",
    }
}

/// How much is to be freed at `level`, so that it is left: the level's share of
/// the budget, or as much as lies above the exit of the level's threshold.
#[must_use]
pub fn amount_to_free(
    level: Level,
    current: Bytes,
    budget: Bytes,
    thresholds: &Thresholds,
) -> Bytes {
    let steps = thresholds.steps();
    let line = match level {
        Level::Normal => return Bytes::ZERO,
        Level::Soft => steps[0].exit,
        Level::Hard => steps[1].exit,
        Level::Emergency => steps[2].exit,
    };
    let above = current.saturating_sub(part_of(budget, line));
    budget.scale(percent_to_free(level), 100).max(above)
}

/// `fraction` of `budget`, to a hundredth of a percent.
fn part_of(budget: Bytes, fraction: f64) -> Bytes {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a checked threshold lies between 0 and 1"
    )]
    let hundredths = (fraction * 10_000.0).floor() as u64;
    budget.scale(hundredths, 10_000)
}

/// The warnings for `current` in `budget`, by the thresholds of the documents:
/// 80, 93 and 98 %. Every threshold that is crossed warns, the mildest first;
/// none does when all is well.
#[must_use]
pub fn check_thresholds(current: Bytes, budget: Bytes) -> Vec<MemoryWarning> {
    check_thresholds_by(current, budget, &Thresholds::of::<Level>())
}

/// The same, by other thresholds.
#[must_use]
pub fn check_thresholds_by(
    current: Bytes,
    budget: Bytes,
    thresholds: &Thresholds,
) -> Vec<MemoryWarning> {
    let now = fraction(current, budget);
    let crossed = Level::ALL[1..].iter().zip(thresholds.steps());
    crossed
        .filter(|(_, threshold)| now >= threshold.enter)
        .map(|(level, threshold)| MemoryWarning {
            level: *level,
            message: format!(
                "{} limit crossed: {current} of {budget} ({}) are in use, the line is at {}",
                level.name().to_lowercase(),
                Percent(now * 100.0),
                Percent(threshold.enter * 100.0),
            ),
            suggested_action: suggested_action(*level),
            target: amount_to_free(*level, current, budget, thresholds),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(current: u64, budget: u64) -> Vec<Level> {
        check_thresholds(Bytes::from_mib(current), Bytes::from_mib(budget))
            .into_iter()
            .map(|warning| warning.level)
            .collect()
    }

    #[test]
    fn the_numbers_of_the_document_warn_as_it_says() {
        assert_eq!(levels(1995, 3072), []);
        assert_eq!(levels(2457, 3072), []);
        assert_eq!(levels(2458, 3072), [Level::Soft]);
        assert_eq!(levels(2500, 3072), [Level::Soft]);
        assert_eq!(levels(2800, 3072), [Level::Soft]);
        assert_eq!(levels(2858, 3072), [Level::Soft, Level::Hard]);
        assert_eq!(
            levels(3011, 3072),
            [Level::Soft, Level::Hard, Level::Emergency]
        );
    }

    #[test]
    fn a_warning_says_where_it_is_and_what_to_do() {
        let warnings = check_thresholds(Bytes::from_mib(2800), Bytes::from_mib(3072));
        assert_eq!(
            warnings[0].message,
            "soft limit crossed: 2.7 GiB of 3.0 GiB (91.1 %) are in use, the line is at 80.0 %"
        );
        assert!(warnings[0].suggested_action.contains("cleanup"));
        // 2800 MiB less 77 % of 3072 MiB.
        assert_eq!(warnings[0].target, Bytes(455_669_187));
    }

    #[test]
    fn each_level_frees_its_share_and_what_lies_above_its_exit() {
        let thresholds = Thresholds::of::<Level>();
        let budget = Bytes::from_mib(1000);
        let free =
            |level, current| amount_to_free(level, Bytes::from_mib(current), budget, &thresholds);
        assert_eq!(free(Level::Soft, 800), Bytes::from_mib(50));
        assert_eq!(free(Level::Hard, 930), Bytes::from_mib(100));
        assert_eq!(free(Level::Emergency, 980), Bytes::from_mib(150));
        assert_eq!(free(Level::Emergency, 1950), Bytes::from_mib(1000));
        assert_eq!(free(Level::Normal, 700), Bytes::ZERO);
    }

    #[test]
    fn a_budget_of_nothing_is_an_emergency() {
        assert_eq!(levels(0, 0).len(), 3);
    }
}
