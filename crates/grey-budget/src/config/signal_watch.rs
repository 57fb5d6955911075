//! Reloads when the process is sent SIGHUP.
//!
//! The signal's handler only wakes a thread of its own (a byte into a pipe);
//! everything else happens there. Never reloads inside of a handler.

use std::io;
use std::thread::JoinHandle;

use signal_hook::consts::SIGHUP;
use signal_hook::iterator::{Handle, Signals};

use super::handle::ConfigHandle;

/// SIGHUP could not be taken.
#[derive(Debug, thiserror::Error)]
#[error("failed to reload the configuration by SIGHUP")]
pub struct WatchSignalError {
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Reloads at each SIGHUP until it is dropped. Signals that come while one is
/// served are one. Afterwards SIGHUP is ignored: it never ends the process
/// again.
#[derive(Debug)]
#[must_use = "SIGHUP is no longer served when this is dropped"]
pub struct SignalWatch {
    signals: Handle,
    thread: Option<JoinHandle<()>>,
}

impl ConfigHandle {
    /// Reloads whenever the process is sent SIGHUP.
    ///
    /// # Errors
    /// [`WatchSignalError`], when the handler or the thread cannot be had.
    pub fn reload_on_sighup(&self) -> Result<SignalWatch, WatchSignalError> {
        let failed = |source| WatchSignalError { source };
        let mut signals = Signals::new([SIGHUP]).map_err(failed)?;
        let handle = signals.handle();
        let config = self.clone();
        let thread = std::thread::Builder::new()
            .name("grey-config-hup".to_owned())
            .spawn(move || {
                for _ in signals.forever() {
                    config.reload();
                }
            })
            .map_err(failed)?;
        Ok(SignalWatch {
            signals: handle,
            thread: Some(thread),
        })
    }
}

impl Drop for SignalWatch {
    fn drop(&mut self) {
        self.signals.close();
        if let Some(thread) = self.thread.take() {
            join(thread);
        }
    }
}

/// Waits for a thread of ours, unless it is this one: an observer may drop what
/// called it.
pub(super) fn join(thread: JoinHandle<()>) {
    if thread.thread().id() != std::thread::current().id() {
        drop(thread.join());
    }
}
