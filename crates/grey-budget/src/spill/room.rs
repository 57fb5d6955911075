//! Waiting for the thread that writes: for room, and for what it was asked.
//!
//! Never waits longer than the patience.

use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use grey_model::Bytes;

use super::error::SpillError;
use super::state::{Shared, State};
use super::store::SpillStore;

/// After writing failed, new values are refused for so long before another
/// attempt is made.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl SpillStore {
    pub(super) fn wait_for_room(
        &self,
        cost: u64,
        limit: u64,
    ) -> Result<MutexGuard<'_, State>, SpillError> {
        let shared = &self.shared;
        let start = Instant::now();
        let patience = shared.options.patience;
        let mut state = shared.state();
        let mut has_collected = false;
        loop {
            if state.is_closing || state.has_ended {
                return Err(SpillError::Closed);
            }
            if let Some((failure, since)) = &state.failure {
                if since.elapsed() < RETRY_AFTER {
                    return Err(failure.clone());
                }
                state.retry_held();
                shared.work.notify_one();
            }
            let quota = shared.options.quota;
            let taken = Bytes(state.on_disk).saturating_add(Bytes(state.pending));
            if taken.saturating_add(Bytes(cost)) > quota {
                if !has_collected && state.dead() > 0 {
                    // What nobody can reach may make room.
                    has_collected = true;
                    state.garbage.asked += 1;
                    state.garbage_budget = shared.options.segment;
                    let ticket = state.garbage.asked;
                    shared.work.notify_one();
                    while state.garbage.done < ticket {
                        state = wait(shared, state, "collect garbage", start, patience)?;
                    }
                    continue;
                }
                return Err(SpillError::QuotaExceeded {
                    wanted: Bytes(cost),
                    on_disk: taken,
                    quota,
                });
            }
            if state.pending == 0 || state.pending + cost <= limit {
                return Ok(state);
            }
            state.is_short = true;
            shared.wake(&mut state);
            state = wait(shared, state, "take another value", start, patience)?;
        }
    }
}

/// Waits for the thread, until the patience is over.
pub(super) fn wait<'a>(
    shared: &'a Shared,
    state: MutexGuard<'a, State>,
    action: &'static str,
    start: Instant,
    patience: Duration,
) -> Result<MutexGuard<'a, State>, SpillError> {
    if state.has_ended {
        return Err(SpillError::Closed);
    }
    let waited = start.elapsed();
    let left = patience.saturating_sub(waited);
    if left.is_zero() {
        return Err(SpillError::Stalled { action, waited });
    }
    let (state, _) = shared
        .done
        .wait_timeout(state, left)
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(state)
}
