//! What every benchmark of grey-budget shares: rounds that take turns, and a
//! table of medians with their ratios.
//!
//! Never asserts on time: it prints.

use std::time::{Duration, Instant};

/// One thing that is measured: its name, and one round of it that tells how
/// many operations it did and how long they took.
pub struct Contender<'a> {
    /// What stands in the table.
    pub name: String,
    /// One round.
    pub round: Box<dyn FnMut() -> (u64, Duration) + 'a>,
}

impl<'a> Contender<'a> {
    /// A contender whose round is timed by itself.
    pub fn new(name: &str, round: impl FnMut() -> (u64, Duration) + 'a) -> Self {
        Self {
            name: name.to_owned(),
            round: Box::new(round),
        }
    }
}

/// Times `work`, which did `operations`.
pub fn timed(operations: u64, work: impl FnOnce()) -> (u64, Duration) {
    let start = Instant::now();
    work();
    (operations, start.elapsed())
}

/// Runs all contenders `rounds` times in turns, so that a disturbance hits
/// them alike, and prints the median nanoseconds an operation of each, with its
/// ratio to the first contender.
pub fn compare(title: &str, rounds: usize, contenders: &mut [Contender<'_>]) {
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); contenders.len()];
    for round in 0..=rounds {
        for (contender, times) in contenders.iter_mut().zip(&mut times) {
            let (operations, took) = (contender.round)();
            // The first round warms up.
            if round > 0 {
                times.push(took.as_secs_f64() * 1e9 / operations.max(1) as f64);
            }
        }
    }
    println!("\n{title} (median of {rounds} rounds)");
    println!("{:<44} {:>12} {:>14} {:>8}", "", "ns/op", "op/s", "ratio");
    let medians: Vec<f64> = times.iter_mut().map(|times| median(times)).collect();
    for (contender, nanoseconds) in contenders.iter().zip(&medians) {
        println!(
            "{:<44} {:>12.2} {:>14.0} {:>8.2}",
            contender.name,
            nanoseconds,
            1e9 / nanoseconds,
            nanoseconds / medians[0]
        );
    }
}

/// The middle one.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
