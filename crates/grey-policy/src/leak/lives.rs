//! Restarts: a trace is split where its life mark changes.
//!
//! Never joins two lives: what a program held before a restart says nothing of
//! what it holds after.

use grey_model::{Trace, TracePoint};

/// The life to judge, and how often there was a restart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct JudgedLife<'trace> {
    /// Its readings.
    pub(super) points: &'trace [TracePoint],
    /// Changes of life in the whole trace.
    pub(super) restarts: u32,
}

/// The last life that is long enough, as `is_enough` says; the last one when
/// none is.
pub(super) fn judged_life(
    trace: &Trace,
    is_enough: impl Fn(&[TracePoint]) -> bool,
) -> JudgedLife<'_> {
    let lives: Vec<&[TracePoint]> = trace
        .points()
        .chunk_by(|one, next| one.life == next.life)
        .collect();
    let enough = lives.iter().rev().find(|life| is_enough(life));
    JudgedLife {
        points: enough.or(lives.last()).copied().unwrap_or_default(),
        restarts: u32::try_from(lives.len().saturating_sub(1)).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grey_model::Bytes;
    use std::time::Duration;

    fn trace(lives: &[u64]) -> Trace {
        let mut trace = Trace::new();
        trace.extend((0..).zip(lives).map(|(second, life)| TracePoint {
            at: Duration::from_secs(second),
            amount: Bytes(second),
            life: *life,
        }));
        trace
    }

    #[test]
    fn the_last_life_that_is_long_enough_is_judged() {
        let trace = trace(&[1, 1, 1, 1, 2, 2, 2, 3]);
        let judged = judged_life(&trace, |life| life.len() >= 3);
        assert_eq!(judged.points, &trace.points()[4..7]);
        assert_eq!(judged.restarts, 2);
    }

    #[test]
    fn when_none_is_long_enough_it_is_the_last() {
        let trace = trace(&[1, 1, 2]);
        let judged = judged_life(&trace, |life| life.len() >= 3);
        assert_eq!(judged.points, &trace.points()[2..]);
        assert_eq!(judged.restarts, 1);
    }

    #[test]
    fn nothing_has_no_life() {
        let nothing = trace(&[]);
        let judged = judged_life(&nothing, |_| true);
        assert_eq!((judged.points.len(), judged.restarts), (0, 0));
    }
}
