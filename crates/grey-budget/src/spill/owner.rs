//! The end of a store: what waits is written, and its thread ends.
//!
//! Never waits longer than the patience, and never for a thread of another
//! process.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use super::room::wait;
use super::state::Shared;

/// Ends the thread when the last handle is gone.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) shared: Arc<Shared>,
    pub(super) thread: Option<JoinHandle<()>>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        if self.shared.check_process().is_err() {
            // The thread is the parent's: there is nobody to join or detach.
            std::mem::forget(thread);
            return;
        }
        let start = Instant::now();
        let mut state = self.shared.state();
        state.is_closing = true;
        self.shared.work.notify_all();
        while !state.has_ended {
            match wait(
                &self.shared,
                state,
                "close",
                start,
                self.shared.options.patience,
            ) {
                Ok(next) => state = next,
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "a spill store was left to its thread"
                    );
                    return;
                }
            }
        }
        let held = state.held.len();
        drop(state);
        if held > 0 {
            tracing::error!(
                values = held,
                "values that could not be spilled are lost with their store"
            );
        }
        // It has ended but for its last steps.
        if thread.join().is_err() {
            tracing::error!("the thread of a spill store panicked");
        }
    }
}
