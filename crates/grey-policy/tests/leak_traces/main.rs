//! The leak rule on labelled traces: precision and recall, beside a plain
//! threshold.
//!
//! The rule was developed on one lot of traces; what is asserted here is about
//! another one, made with other seeds, windows, sizes, rates and noise, and with
//! shapes that the first has not.

#![expect(
    clippy::unwrap_used,
    reason = "what fails here fails the test, which is what it is for"
)]

mod random;
mod setting;
mod shapes;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use grey_model::{Bytes, LeakVerdict, Trace};
use grey_policy::leak::{LeakRule, judge};

use setting::Lot;
use shapes::{Label, Shape};

/// Traces of each shape; fewer of those that prove nothing.
const fn traces(lot: Lot) -> u64 {
    match lot {
        Lot::Development => 20,
        Lot::HeldOut => 40,
    }
}

/// What most would write: more than 10 MB and 10 % from the first reading to
/// the last.
fn threshold_says_leak(trace: &Trace) -> bool {
    let (Some(first), Some(last)) = (trace.points().first(), trace.points().last()) else {
        return false;
    };
    let growth = last.amount.saturating_sub(first.amount);
    let share = growth.percent_of(first.amount);
    growth > Bytes::from_mib(10) && share.is_some_and(|share| share.0 > 10.0)
}

fn judged(trace: &Trace) -> LeakVerdict {
    judge(trace, &LeakRule::default(), None).verdict
}

/// How often something was called a leak, and rightly.
#[derive(Debug, Default)]
struct Score {
    right: u32,
    wrong: u32,
    missed: u32,
    spared: u32,
}

impl Score {
    fn count(&mut self, leaks: bool, called: bool) {
        match (leaks, called) {
            (true, true) => self.right += 1,
            (false, true) => self.wrong += 1,
            (true, false) => self.missed += 1,
            (false, false) => self.spared += 1,
        }
    }

    fn precision(&self) -> f64 {
        f64::from(self.right) / f64::from((self.right + self.wrong).max(1))
    }

    fn false_alarms(&self) -> f64 {
        f64::from(self.wrong) / f64::from((self.wrong + self.spared).max(1))
    }

    fn recall(&self) -> f64 {
        f64::from(self.right) / f64::from((self.right + self.missed).max(1))
    }
}

/// What one lot gave.
struct Measured {
    rule: Score,
    threshold: Score,
    /// A line for each shape.
    table: String,
}

fn measured(lot: Lot) -> &'static Measured {
    static DEVELOPMENT: OnceLock<Measured> = OnceLock::new();
    static HELD_OUT: OnceLock<Measured> = OnceLock::new();
    match lot {
        Lot::Development => DEVELOPMENT.get_or_init(|| measure(lot)),
        Lot::HeldOut => HELD_OUT.get_or_init(|| measure(lot)),
    }
}

fn measure(lot: Lot) -> Measured {
    let (mut rule, mut threshold) = (Score::default(), Score::default());
    let mut table = format!(
        "{lot:?}: of {} each, called a leak by rule / by threshold\n",
        traces(lot)
    );
    for shape in shapes::of(lot) {
        let mut verdicts = BTreeMap::new();
        let mut by_threshold = 0;
        for index in 0..traces(lot) {
            let trace = shape.trace(lot, index);
            let (verdict, too_much) = (judged(&trace), threshold_says_leak(&trace));
            *verdicts.entry(verdict).or_insert(0) += 1;
            by_threshold += u32::from(too_much);
            if shape.label != Label::Undecidable {
                let leaks = shape.label == Label::Leaking;
                rule.count(leaks, verdict == LeakVerdict::Leak);
                threshold.count(leaks, too_much);
            }
        }
        let by_rule = verdicts.get(&LeakVerdict::Leak).copied().unwrap_or(0);
        let words: Vec<String> = verdicts
            .iter()
            .map(|(verdict, count)| format!("{verdict} {count}"))
            .collect();
        let label = format!("{:?}", shape.label);
        table.push_str(&format!(
            "  {label:<12} {:<38} {by_rule:>3} / {by_threshold:>3}   {}\n",
            shape.name,
            words.join(", ")
        ));
    }
    for (name, score) in [("rule", &rule), ("threshold", &threshold)] {
        table.push_str(&format!(
            "  {name:<10} precision {:.3}  recall {:.3}  false alarms {:.3} of what is sound\n",
            score.precision(),
            score.recall(),
            score.false_alarms()
        ));
    }
    Measured {
        rule,
        threshold,
        table,
    }
}

fn shape(name: &str) -> Shape {
    shapes::of(Lot::HeldOut)
        .into_iter()
        .find(|shape| shape.name == name)
        .unwrap()
}

#[test]
fn leaks_are_told_from_what_only_grows_on_traces_that_were_held_out() {
    let Measured {
        rule,
        threshold,
        table,
    } = measured(Lot::HeldOut);
    println!("{table}");
    assert!(rule.precision() >= 0.95, "{table}");
    assert!(rule.recall() >= 0.9, "{table}");
    assert!(rule.precision() > threshold.precision(), "{table}");
    assert!(rule.recall() > threshold.recall(), "{table}");
}

#[test]
fn traces_that_were_held_out_are_judged_about_as_well_as_the_others() {
    let (developed, held_out) = (measured(Lot::Development), measured(Lot::HeldOut));
    let table = &developed.table;
    println!("{table}");
    assert!(developed.rule.precision() >= 0.95, "{table}");
    assert!(developed.rule.recall() >= 0.9, "{table}");
    assert!(held_out.rule.precision() > developed.rule.precision() - 0.03);
    assert!(held_out.rule.recall() > developed.rule.recall() - 0.05);
}

#[test]
fn at_least_24_shapes_are_judged_half_of_them_sound() {
    let labelled = |label| {
        let shapes = shapes::of(Lot::HeldOut);
        shapes.iter().filter(|shape| shape.label == label).count()
    };
    assert!(labelled(Label::Leaking) >= 12);
    assert!(labelled(Label::Sound) >= 12);
}

#[test]
fn a_leak_of_1_mb_a_minute_under_5_percent_noise_is_found_within_10_minutes() {
    let slow = shape("leak of 1 MB/min, 200 MB, 5 % noise");
    let found = (0..100)
        .filter(|&index| judged(&slow.trace(Lot::HeldOut, index)) == LeakVerdict::Leak)
        .count();
    assert!(found >= 90, "{found} of 100");
}
