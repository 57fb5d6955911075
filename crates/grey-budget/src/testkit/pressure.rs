//! A script of pressure: at which time the process weighs how much.
//!
//! Never waits: it moves the fake clock.

use std::time::Duration;

use grey_model::Bytes;

use super::{FakeClock, FakeSource};
use crate::clock::Clock as _;

/// A script that cannot be played.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// Time does not go back.
    #[error("step {step} is at {at:?}, and the one before it at {before:?}")]
    NotAscending {
        /// Which step, from 0.
        step: usize,
        /// Its time.
        at: Duration,
        /// The time of the one before.
        before: Duration,
    },
}

/// Resident set sizes by time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PressureScript {
    steps: Vec<(Duration, Bytes)>,
}

impl PressureScript {
    /// The process weighs so much from each of these times on.
    ///
    /// # Errors
    /// [`ScriptError`], when the times do not ascend.
    pub fn new(steps: impl IntoIterator<Item = (Duration, Bytes)>) -> Result<Self, ScriptError> {
        let steps: Vec<_> = steps.into_iter().collect();
        for (step, pair) in (1..).zip(steps.windows(2)) {
            let (before, at) = (pair[0].0, pair[1].0);
            if at <= before {
                return Err(ScriptError::NotAscending { step, at, before });
            }
        }
        Ok(Self { steps })
    }

    /// From `from` to `to` in equal steps of `step`, `count` of them. A time that
    /// nobody can count is the longest there is.
    #[must_use]
    pub fn ramp(from: Bytes, to: Bytes, step: Duration, count: u32) -> Self {
        let at = |number: u32| {
            let (whole, part) = (u64::from(count.max(1)), u64::from(number));
            let bytes = if to >= from {
                from.saturating_add(to.saturating_sub(from).scale(part, whole))
            } else {
                from.saturating_sub(from.saturating_sub(to).scale(part, whole))
            };
            (step.saturating_mul(number), bytes)
        };
        Self {
            steps: (0..=count).map(at).collect(),
        }
    }

    /// The steps, in order.
    #[must_use]
    pub fn steps(&self) -> &[(Duration, Bytes)] {
        &self.steps
    }

    /// Plays it on a clock and a source, from the clock's time on.
    #[must_use]
    pub fn play(self, clock: &FakeClock, source: &FakeSource) -> ScriptPlayer {
        ScriptPlayer {
            began: clock.now(),
            clock: clock.clone(),
            source: source.clone(),
            steps: self.steps.into_iter(),
        }
    }
}

/// Plays a script step by step: each one moves the clock, sets the source, and
/// gives the time since the beginning and the size.
#[derive(Debug)]
pub struct ScriptPlayer {
    began: Duration,
    clock: FakeClock,
    source: FakeSource,
    steps: std::vec::IntoIter<(Duration, Bytes)>,
}

impl Iterator for ScriptPlayer {
    type Item = (Duration, Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        let (at, rss) = self.steps.next()?;
        self.clock.advance_to(self.began.saturating_add(at));
        self.source.set_rss(rss);
        Some((at, rss))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::MemorySource as _;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_script_moves_the_clock_and_the_source_together() {
        let (clock, source) = (FakeClock::new(), FakeSource::new(Bytes(1)));
        clock.advance(10 * SECOND);
        let script = PressureScript::new([(SECOND, Bytes(5)), (3 * SECOND, Bytes(9))]).unwrap();
        let mut player = script.play(&clock, &source);
        assert_eq!(player.next(), Some((SECOND, Bytes(5))));
        assert_eq!(clock.now(), 11 * SECOND);
        assert_eq!(source.rss().unwrap(), Bytes(5));
        assert_eq!(player.next(), Some((3 * SECOND, Bytes(9))));
        assert_eq!(clock.now(), 13 * SECOND);
        assert_eq!(player.next(), None);
        assert_eq!(source.rss().unwrap(), Bytes(9));
    }

    #[test]
    fn a_script_that_goes_back_in_time_is_refused() {
        let error = PressureScript::new([(SECOND, Bytes(5)), (SECOND, Bytes(9))]);
        assert!(matches!(
            error,
            Err(ScriptError::NotAscending { step: 1, .. })
        ));
    }

    #[test]
    fn a_ramp_goes_up_and_down_in_equal_steps() {
        let sizes = |script: PressureScript| -> Vec<u64> {
            script
                .steps()
                .iter()
                .map(|(_, bytes)| bytes.get())
                .collect()
        };
        let up = PressureScript::ramp(Bytes(0), Bytes(100), SECOND, 4);
        assert_eq!(up.steps()[4].0, 4 * SECOND);
        assert_eq!(sizes(up), [0, 25, 50, 75, 100]);
        let down = PressureScript::ramp(Bytes(100), Bytes(50), SECOND, 2);
        assert_eq!(sizes(down), [100, 75, 50]);
    }

    #[test]
    fn a_ramp_of_the_longest_steps_ends_at_the_longest_time() {
        let ramp = PressureScript::ramp(Bytes(0), Bytes(2), Duration::MAX, 2);
        let last = ramp.steps().last();
        assert_eq!(last, Some(&(Duration::MAX, Bytes(2))));
        let (clock, source) = (FakeClock::new(), FakeSource::new(Bytes(1)));
        assert_eq!(ramp.play(&clock, &source).count(), 3);
    }
}
