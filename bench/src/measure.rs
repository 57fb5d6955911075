//! Samples, rounds and ratios.
//!
//! Never compares samples of different rounds: the machine drifts, and a ratio
//! within a round does not.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::error::BenchError;

/// One pass of one peer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    /// Time on the clock.
    pub(crate) wall: Duration,
    /// User and system time of all threads.
    pub(crate) cpu: Duration,
    /// Processes that it returned, where it says so.
    pub(crate) processes: Option<u64>,
    /// By how much its total differs from a full pass made at once after it.
    pub(crate) error_percent: Option<f64>,
    /// The same of the process that is furthest off.
    pub(crate) worst_error_percent: Option<f64>,
}

/// Runs `work` and measures this process meanwhile.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (Sample, T) {
    let cpu = own_cpu_time();
    let wall = Instant::now();
    let result = work();
    let sample = Sample {
        wall: wall.elapsed(),
        cpu: own_cpu_time().saturating_sub(cpu),
        ..Sample::default()
    };
    (sample, result)
}

fn own_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Does one pass.
pub(crate) type Pass<'a> = Box<dyn FnMut() -> Result<Sample, BenchError> + 'a>;

/// Which of the times a target speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    Wall,
    /// One thread that never waits: on an idle machine the same as wall time,
    /// on a busy one the better measure.
    Cpu,
}

/// A promise: at most this many times what the bare C loop takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) clock: Clock,
    pub(crate) ratio: f64,
}

/// A line of the table.
pub(crate) struct Row<'a> {
    pub(crate) name: String,
    /// How it passes, or why it cannot.
    pub(crate) pass: Result<Pass<'a>, String>,
    pub(crate) target: Option<Target>,
    /// Slow peers take part in the first rounds only.
    pub(crate) most_rounds: usize,
    /// Each pass is made twice, and the second one counts.
    pub(crate) warm: bool,
}

impl<'a> Row<'a> {
    /// A peer that takes part in every round.
    pub(crate) fn new(name: &str, pass: impl FnMut() -> Result<Sample, BenchError> + 'a) -> Self {
        Self {
            name: name.to_owned(),
            pass: Ok(Box::new(pass)),
            target: None,
            most_rounds: usize::MAX,
            warm: false,
        }
    }

    /// A peer that cannot take part.
    pub(crate) fn absent(name: &str, reason: &str) -> Self {
        Self {
            name: name.to_owned(),
            pass: Err(reason.to_owned()),
            target: None,
            most_rounds: 0,
            warm: false,
        }
    }

    pub(crate) fn with_target(mut self, clock: Clock, ratio: f64) -> Self {
        self.target = Some(Target { clock, ratio });
        self
    }

    /// For passes of a few milliseconds: which peer ran before, in this process
    /// or in another, must not matter.
    pub(crate) fn warmed(mut self) -> Self {
        self.warm = true;
        self
    }

    pub(crate) fn for_rounds(mut self, rounds: usize) -> Self {
        self.most_rounds = self.most_rounds.min(rounds);
        self
    }
}

/// What the rounds gave for one row: a sample for each round in which it took
/// part, in the order of the rounds.
pub(crate) struct Measured {
    pub(crate) name: String,
    pub(crate) samples: Vec<Sample>,
    pub(crate) target: Option<Target>,
    pub(crate) absent: Option<String>,
}

/// Lets every row take its turn in every round, each round beginning with
/// another row. One round before the first warms caches and is not counted.
pub(crate) fn run_rounds(
    mut rows: Vec<Row<'_>>,
    rounds: usize,
    mut before_round: impl FnMut() -> Result<(), BenchError>,
) -> Result<Vec<Measured>, BenchError> {
    let count = rows.len();
    let mut samples = vec![Vec::new(); count];
    for round in 0..=rounds {
        before_round()?;
        for turn in 0..count {
            let index = (turn + round) % count;
            let row = &mut rows[index];
            if round > row.most_rounds {
                continue;
            }
            if let Ok(pass) = &mut row.pass {
                if row.warm {
                    pass()?;
                }
                let sample = pass()?;
                if round > 0 {
                    samples[index].push(sample);
                }
            }
        }
    }
    let measured = rows
        .into_iter()
        .zip(samples)
        .map(|(row, samples)| Measured {
            name: row.name,
            samples,
            target: row.target,
            absent: row.pass.err(),
        });
    Ok(measured.collect())
}

/// Median, smallest and largest.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` without values.
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(values[middle - 1], values[middle])
        } else {
            values[middle]
        };
        Some(Self { median, min, max })
    }

    /// The ratios to the samples of the same rounds.
    pub(crate) fn of_ratios(samples: &[Duration], bare: &[Duration]) -> Option<Self> {
        let pairs = samples.iter().zip(bare);
        Self::of(
            pairs
                .filter(|(_, bare)| !bare.is_zero())
                .map(|(sample, bare)| sample.as_secs_f64() / bare.as_secs_f64()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn every_round_begins_with_another_row_and_the_first_is_not_counted() {
        let turns = RefCell::new(Vec::new());
        let row = |name: &'static str| {
            let turns = &turns;
            Row::new(name, move || {
                turns.borrow_mut().push(name);
                Ok(Sample::default())
            })
        };
        let rows = vec![row("a"), row("b").for_rounds(1), Row::absent("c", "why")];
        let measured = run_rounds(rows, 2, || Ok(())).unwrap();
        let counts: Vec<usize> = measured.iter().map(|row| row.samples.len()).collect();
        assert_eq!(counts, [2, 1, 0]);
        assert_eq!(measured[2].absent.as_deref(), Some("why"));
        drop(measured);
        assert_eq!(*turns.borrow(), ["a", "b", "b", "a", "a"]);
    }

    #[test]
    fn the_median_of_ratios_pairs_rounds() {
        let milliseconds = |values: &[u64]| -> Vec<Duration> {
            values.iter().copied().map(Duration::from_millis).collect()
        };
        let spread =
            Spread::of_ratios(&milliseconds(&[2, 40, 6]), &milliseconds(&[1, 20, 2])).unwrap();
        assert!((spread.median - 2.0).abs() < 1e-9);
        assert!((spread.max - 3.0).abs() < 1e-9);
        assert!(Spread::of(std::iter::empty()).is_none());
    }

    #[test]
    fn work_is_measured_on_both_clocks() {
        let (sample, sum) = timed(|| (0..200_000u64).fold(0, |sum, n| sum ^ n.wrapping_mul(31)));
        assert_ne!(sum, 1);
        assert!(sample.wall > Duration::ZERO && sample.cpu > Duration::ZERO);
    }
}
