//! Which round of loading back is under way, what holds the next, and when it
//! may begin.
//!
//! Never loads anything, and never waits longer than its bound.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::{Hold, Round};
use crate::controller::call::is_inside_a_call;
use crate::controller::state::lock;
use crate::load_back::LoadBackEnd;

/// What did not find room is tried again after so long, while the level stays
/// normal.
const RETRY: Duration = Duration::from_secs(30);

/// What failed is tried again after [`RETRY`], and each time after twice as long,
/// but for this at most.
const LONGEST_RETRY: Duration = Duration::from_secs(15 * 60);

/// How long whoever ends a round waits for it. A value that is being read is
/// let in; a codec that hangs is left behind.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// What is known of loading back.
#[derive(Debug, Default)]
pub(in crate::controller) struct Loading {
    pub(super) state: Mutex<LoadingState>,
    /// A round is over.
    over: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct LoadingState {
    pub(super) held: u8,
    /// There was pressure, and what it spilled is not all back. Taken by the
    /// round that begins, and put back by one that does not end well: what is
    /// said meanwhile is not forgotten.
    pub(super) is_wanted: bool,
    was_wanted: bool,
    /// Rounds in which something failed, one after the other.
    pub(super) failures: u32,
    pub(super) calm_since: Option<Duration>,
    pub(super) not_before: Option<Duration>,
    round: Option<Arc<Round>>,
}

impl LoadingState {
    /// The round that is under way in this process: the threads of a parent are
    /// not there in its child.
    pub(super) fn running(&self) -> Option<&Arc<Round>> {
        let round = self.round.as_ref();
        round.filter(|round| round.process == std::process::id())
    }

    /// When there is to be another round.
    fn end_round(&mut self, end: LoadBackEnd, now: Duration) {
        let was_wanted = std::mem::take(&mut self.was_wanted);
        self.is_wanted |= match end {
            LoadBackEnd::Done => false,
            LoadBackEnd::Failed => true,
            _ => was_wanted,
        };
        self.not_before = match end {
            LoadBackEnd::NoRoom => Some(now.saturating_add(RETRY)),
            LoadBackEnd::Failed => Some(now.saturating_add(retry_after(self.failures))),
            _ => None,
        };
        self.failures = match end {
            LoadBackEnd::Failed => self.failures.saturating_add(1),
            LoadBackEnd::Done => 0,
            _ => self.failures,
        };
    }
}

/// How long to wait after a round in which something failed, after so many
/// others.
fn retry_after(failures: u32) -> Duration {
    let times = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
    RETRY.saturating_mul(times).min(LONGEST_RETRY)
}

impl Loading {
    /// Nothing is loaded back until [`Self::release`] for the same reason.
    pub(super) fn hold(&self, hold: Hold) {
        let round = {
            let mut state = lock(&self.state);
            state.held |= hold.bit();
            // What others gave back for the machine's sake is to come back, too.
            state.is_wanted = true;
            state.calm_since = None;
            state.running().cloned()
        };
        if let Some(round) = round {
            round.stop(LoadBackEnd::Stopped);
        }
    }

    pub(super) fn release(&self, hold: Hold) {
        lock(&self.state).held &= !hold.bit();
    }

    /// Begins a round, unless one is under way or something holds it.
    pub(super) fn begin(&self, round: Arc<Round>) -> Result<(), LoadBackEnd> {
        let mut state = lock(&self.state);
        if state.held != 0 {
            return Err(LoadBackEnd::Stopped);
        }
        if state.running().is_some() {
            return Err(LoadBackEnd::Busy);
        }
        state.round = Some(round);
        state.was_wanted = std::mem::take(&mut state.is_wanted);
        Ok(())
    }

    /// The controller is gone: so is the round.
    pub(in crate::controller) fn abandon(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(round) = state.running() {
            round.stop(LoadBackEnd::Stopped);
        }
    }

    /// A round is over, at `now`.
    pub(super) fn finish(&self, end: LoadBackEnd, now: Duration) {
        {
            let mut state = lock(&self.state);
            state.round = None;
            state.end_round(end, now);
        }
        self.over.notify_all();
    }

    #[cfg(test)]
    pub(in crate::controller) fn is_running(&self) -> bool {
        lock(&self.state).running().is_some()
    }

    /// Ends the round that is under way, if one is, and waits for it; not from
    /// within a call, which it may be waiting for.
    pub(in crate::controller) fn stop_and_wait(&self, end: LoadBackEnd) {
        let Some(round) = lock(&self.state).running().cloned() else {
            return;
        };
        round.stop(end);
        if is_inside_a_call() {
            return;
        }
        let state = lock(&self.state);
        let is_running = |state: &mut LoadingState| {
            let running = state.running();
            running.is_some_and(|running| Arc::ptr_eq(running, &round))
        };
        drop(
            self.over
                .wait_timeout_while(state, LONGEST_WAIT, is_running)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round() -> Arc<Round> {
        Arc::new(Round {
            controller: std::sync::Weak::new(),
            generation: 0,
            process: std::process::id(),
            rests: false,
            stopped: Mutex::default(),
        })
    }

    #[test]
    fn what_is_said_while_a_round_ends_well_is_not_forgotten() {
        let loading = Loading::default();
        let is_wanted = || lock(&loading.state).is_wanted;
        for (is_held_meanwhile, end, left) in [
            (false, LoadBackEnd::Done, false),
            (true, LoadBackEnd::Done, true),
            (false, LoadBackEnd::Pressure, true),
            (false, LoadBackEnd::Failed, true),
        ] {
            lock(&loading.state).is_wanted = true;
            loading.begin(round()).unwrap();
            if is_held_meanwhile {
                loading.hold(Hold::Machine);
                loading.release(Hold::Machine);
            }
            loading.finish(end, Duration::ZERO);
            assert_eq!(is_wanted(), left, "{end:?}");
        }
    }

    #[test]
    fn what_fails_is_tried_again_after_twice_as_long_each_time_up_to_a_bound() {
        let waits =
            [0, 1, 2, 3, 4, 5, 31, 32, u32::MAX].map(|failures| retry_after(failures).as_secs());
        assert_eq!(waits, [30, 60, 120, 240, 480, 900, 900, 900, 900]);
    }
}
