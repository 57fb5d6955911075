//! The keys of both families of thresholds, checked together by
//! [`Thresholds`]: what no state machine can run on is refused, with the key
//! that does not fit.
//!
//! Never corrects what is written.

use grey_model::level::{DEFAULT_HYSTERESIS, Step};
use grey_model::{Level, Threshold, ThresholdError, Thresholds};

use super::error::ConfigError;
use super::layers::{Key, Layers};
use super::origin::{Entry, Origin};
use super::value;

/// The three keys of a family, lowest first, with their variables.
type Names = [(&'static str, &'static str); 3];

const BUDGET_ENTER: Names = [
    ("memory.soft_limit_percent", "MEMORY_SOFT_LIMIT_PERCENT"),
    ("memory.hard_limit_percent", "MEMORY_HARD_LIMIT_PERCENT"),
    ("memory.emergency_percent", "MEMORY_EMERGENCY_PERCENT"),
];

const BUDGET_EXIT: Names = [
    ("memory.soft_exit_percent", "MEMORY_SOFT_EXIT_PERCENT"),
    ("memory.hard_exit_percent", "MEMORY_HARD_EXIT_PERCENT"),
    (
        "memory.emergency_exit_percent",
        "MEMORY_EMERGENCY_EXIT_PERCENT",
    ),
];

const MACHINE_ENTER: Names = [
    ("resources.memory_moderate_pct", "MEMORY_MODERATE_PCT"),
    ("resources.memory_high_pct", "MEMORY_HIGH_PCT"),
    ("resources.memory_critical_pct", "MEMORY_CRITICAL_PCT"),
];

/// The thresholds of the budget: fractions, with an end for each.
pub(super) fn of_budget(layers: &mut Layers<'_>) -> Result<Thresholds, ConfigError> {
    let mut steps = [Threshold {
        enter: 0.0,
        exit: 0.0,
    }; 3];
    for (index, step) in steps.iter_mut().enumerate() {
        let (path, variable) = BUDGET_ENTER[index];
        let entry = default(format!("{:.2}", Level::ENTER[index]));
        step.enter = layers.take(&Key::new(path, variable), entry, value::fraction)?;
        let (path, variable) = BUDGET_EXIT[index];
        let below = if step.enter > DEFAULT_HYSTERESIS {
            step.enter - DEFAULT_HYSTERESIS
        } else {
            step.enter / 2.0
        };
        let entry = default(format!("{below:.4}"));
        step.exit = layers.take(&Key::new(path, variable), entry, value::fraction)?;
    }
    Thresholds::new::<Level>(steps)
        .map_err(|source| refused::<Level>(layers, &BUDGET_ENTER, Some(&BUDGET_EXIT), source))
}

/// The thresholds of the whole machine: percentages.
pub(super) fn of_machine<S: Step>(layers: &mut Layers<'_>) -> Result<Thresholds, ConfigError> {
    let mut enter = [0.0; 3];
    for (index, enter) in enter.iter_mut().enumerate() {
        let (path, variable) = MACHINE_ENTER[index];
        let entry = default(format!("{:.0}", S::ENTER[index] * 100.0));
        *enter = layers.take(&Key::new(path, variable), entry, value::percentage)?;
    }
    Thresholds::entering::<S>(enter)
        .map_err(|source| refused::<S>(layers, &MACHINE_ENTER, None, source))
}

fn default(text: String) -> Entry {
    Entry {
        text,
        origin: Origin::Default,
    }
}

/// The key to blame: of two that contradict, the one that somebody wrote.
fn refused<S: Step>(
    layers: &Layers<'_>,
    enter: &Names,
    exit: Option<&Names>,
    source: ThresholdError,
) -> ConfigError {
    let name = |names: &Names, step: &str| {
        let place = S::ALL[1..].iter().position(|one| one.name() == step);
        names[place.unwrap_or_default()].0
    };
    let exits = exit.unwrap_or(enter);
    let candidates = match &source {
        ThresholdError::OutOfRange { step, edge, .. } => {
            let names = if *edge == "exit" { exits } else { enter };
            [name(names, step), name(enter, step)]
        }
        ThresholdError::ExitNotBelowEnter { step, .. } => [name(exits, step), name(enter, step)],
        ThresholdError::NotAscending { lower, upper, .. } => {
            [name(enter, upper), name(enter, lower)]
        }
        _ => [enter[0].0, enter[1].0],
    };
    let written = |key: &&str| {
        let entry = layers.entries.get(*key);
        entry.is_some_and(|entry| entry.origin != Origin::Default)
    };
    let key = candidates
        .into_iter()
        .find(written)
        .unwrap_or(candidates[0]);
    let origin = layers.entries.get(key).map(|entry| entry.origin.clone());
    ConfigError::Thresholds {
        key: key.to_owned(),
        origin: origin.unwrap_or(Origin::Default),
        source,
    }
}
