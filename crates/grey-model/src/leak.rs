//! How memory grows over time: readings in, a verdict out.
//!
//! Only the words: nothing is judged here, and no clock is read. The time of a
//! reading is whatever its reader says.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units::Bytes;

/// What a series of readings says about its growth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum LeakVerdict {
    /// Grows steadily, by as much as the thresholds ask, and nothing points to
    /// an end of it.
    Leak,
    /// Grows, but too little, too unsurely, or ever more slowly: not called a
    /// leak yet.
    Growing,
    /// Grew and has come to rest: a program that starts, a cache that is full.
    WarmUp,
    /// Grows and falls back again and again without a higher floor: a garbage
    /// collector, a load that comes and goes.
    Sawtooth,
    /// One or two sudden changes carry the growth, level before and after.
    Step,
    /// Does not grow.
    Stable,
    /// Too few readings, or over too short a time, to say any of these.
    TooShort,
}

impl LeakVerdict {
    /// All verdicts, the worst first.
    pub const ALL: [Self; 7] = [
        Self::Leak,
        Self::Growing,
        Self::WarmUp,
        Self::Sawtooth,
        Self::Step,
        Self::Stable,
        Self::TooShort,
    ];

    /// Whether something goes on growing.
    #[must_use]
    pub const fn grows(self) -> bool {
        matches!(self, Self::Leak | Self::Growing)
    }

    /// The word that people read, the same as in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Leak => "leak",
            Self::Growing => "growing",
            Self::WarmUp => "warm-up",
            Self::Sawtooth => "sawtooth",
            Self::Step => "step",
            Self::Stable => "stable",
            Self::TooShort => "too-short",
        }
    }
}

impl fmt::Display for LeakVerdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.word())
    }
}

/// What is followed over time. Each is judged on its own, so that growth is
/// named as what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum GrowthOf {
    /// Anonymous memory, resident and in swap.
    Anonymous,
    /// tmpfs and shared memory: files in memory, which end when they are
    /// deleted and not when a program ends.
    Shmem,
    /// The kernel's objects that are in use: sockets, pipes, open files.
    Slab,
    /// The kernel's objects that it frees when memory is needed: entries of
    /// directories, inodes. A backup fills it, and nothing leaks.
    SlabReclaimable,
    /// Kernel memory other than slab: page tables, stacks, per-CPU memory, and
    /// the buffers of sockets.
    Kernel,
    /// Cgroups that were removed and still hold memory. Counted, not in bytes.
    DyingCgroups,
}

impl GrowthOf {
    /// What people read.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Shmem => "tmpfs and shared",
            Self::Slab => "slab",
            Self::SlabReclaimable => "reclaimable slab",
            Self::Kernel => "kernel",
            Self::DyingCgroups => "dying cgroups",
        }
    }

    /// Whether the kernel takes it back by itself when memory is needed: then it
    /// may grow, and is no leak.
    #[must_use]
    pub const fn is_taken_back(self) -> bool {
        matches!(self, Self::SlabReclaimable)
    }

    /// Whether its amounts are bytes; otherwise they are counts.
    #[must_use]
    pub const fn is_bytes(self) -> bool {
        !matches!(self, Self::DyingCgroups)
    }
}

impl fmt::Display for GrowthOf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.label())
    }
}

/// One reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TracePoint {
    /// When, from an origin that all readings of a trace share.
    pub at: Duration,
    /// How much; a plain count where the trace is not of bytes.
    pub amount: Bytes,
    /// Marks one life of what is read, as the start time of a process does:
    /// another mark is another life, begun by a restart.
    pub life: u64,
}

/// Readings of one thing over time, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    points: Vec<TracePoint>,
}

impl Trace {
    /// No readings yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { points: Vec::new() }
    }

    /// Adds a reading. One that is not later than the last is left out: a
    /// clock that stood still or went back tells nothing of growth.
    pub fn push(&mut self, point: TracePoint) {
        if self.points.last().is_none_or(|last| last.at < point.at) {
            self.points.push(point);
        }
    }

    /// The readings.
    #[must_use]
    pub fn points(&self) -> &[TracePoint] {
        &self.points
    }

    /// From the first reading to the last.
    #[must_use]
    pub fn span(&self) -> Duration {
        match (self.points.first(), self.points.last()) {
            (Some(first), Some(last)) => last.at.saturating_sub(first.at),
            _ => Duration::ZERO,
        }
    }
}

impl Extend<TracePoint> for Trace {
    fn extend<I: IntoIterator<Item = TracePoint>>(&mut self, points: I) {
        for point in points {
            self.push(point);
        }
    }
}

/// What a trace was judged to be, and by what numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LeakJudgement {
    /// The verdict.
    pub verdict: LeakVerdict,
    /// Growth over what was judged: of the fitted line for `leak` and
    /// `growing`, of the floor for a leak under a collector, else from the first
    /// level to the last. Negative when it shrank.
    pub growth_bytes: Option<i64>,
    /// The same in percent of where it began; `null` when that was nothing.
    pub growth_percent: Option<f64>,
    /// How fast it grows, by a fit that single readings cannot bend; for
    /// `leak` and `growing` of the part that still grows.
    pub slope_bytes_per_second: Option<f64>,
    /// How sure it is that it grows at all, 0 to 1: what a rank test leaves of
    /// the doubt that the order of the readings is chance.
    pub confidence: Option<f64>,
    /// When the room that is left is used up at this rate; only for `leak` and
    /// `growing`, and only where the room is known.
    pub exhausts_in_seconds: Option<f64>,
    /// How often it was restarted between the readings. Growth never counts
    /// across a restart.
    pub restarts: u32,
    /// How long a time was judged: the life that was judged, not all readings.
    pub window_seconds: f64,
    /// How long a window must be to say more: for `too-short` to say anything,
    /// for `growing` to call it a leak if it goes on like this.
    pub needs_seconds: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(second: u64, amount: u64) -> TracePoint {
        TracePoint {
            at: Duration::from_secs(second),
            amount: Bytes(amount),
            life: 0,
        }
    }

    #[test]
    fn a_reading_that_is_not_later_is_left_out() {
        let mut trace = Trace::new();
        trace.extend([point(1, 10), point(1, 11), point(0, 12), point(2, 13)]);
        assert_eq!(trace.points(), [point(1, 10), point(2, 13)]);
        assert_eq!(trace.span(), Duration::from_secs(1));
    }

    #[test]
    fn a_verdict_reads_as_it_is_written_in_json() {
        for verdict in LeakVerdict::ALL {
            let json = serde_json::to_string(&verdict).unwrap();
            assert_eq!(json, format!("\"{verdict}\""));
        }
    }

    #[test]
    fn the_worst_verdict_comes_first() {
        assert!(LeakVerdict::ALL.is_sorted());
    }
}
