//! Does it leak? From readings over time to a verdict with its numbers.
//!
//! Looks at one trace at a time and knows nothing of processes or cgroups.
//! Never calls a restart growth, and never a number that a single reading made.
//!
//! What happens to a trace, in order:
//!
//! 1. [`lives`]: a restart splits it; one life is judged.
//! 2. [`series`]: lone spikes are levelled, long series are condensed.
//! 3. [`cycles`]: if it falls back again and again, only its floor counts.
//! 4. [`shape`]: flat, a line, a line with a bend, or steps, by what explains
//!    the readings best for its number of parameters.
//! 5. [`trend`]: how steep (Theil-Sen), and how sure (Mann-Kendall).
//! 6. [`rule`]: the thresholds, and the verdict.

mod cycles;
mod headroom;
mod lives;
mod rule;
mod series;
mod shape;
mod trend;

pub use headroom::{machine_headroom, tightest_headroom};
pub use rule::{LeakRule, is_enough, judge, judge_ended, shortest_window};
