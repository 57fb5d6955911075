//! Waiting in a test for what another thread does, with a bound.
//!
//! Never says how long it took.

use std::time::{Duration, Instant};

/// How long a state may take on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until it is so; panics when it never is.
#[track_caller]
pub(crate) fn wait_until(mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "it never became so");
        std::thread::sleep(Duration::from_millis(1));
    }
}
