//! Signals as wishes: to end, to let the shell have the terminal, to draw anew
//! after a stop.
//!
//! Never ends the program itself the first time: the terminal is put back
//! before. The second wish to end ends it at once, and so does a terminal that
//! is gone when nobody has followed the wish within [`LAST_WISH`].

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use signal_hook::flag;
use signal_hook::iterator::Signals as Arriving;
use signal_hook::low_level::emulate_default_handler;

/// How long a program without its terminal has to end. Whatever reads keys from
/// a terminal that is gone may read for ever.
const LAST_WISH: Duration = Duration::from_secs(2);

/// What was wished.
#[derive(Debug, Default)]
pub(super) struct Signals {
    ended: Arc<AtomicBool>,
    by: Arc<AtomicUsize>,
    stopped: Arc<AtomicBool>,
    continued: Arc<AtomicBool>,
}

impl Signals {
    /// Takes the signals from here on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn watch() -> io::Result<Self> {
        let signals = Self::default();
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            // In this order: the first one finds the flag down, and raises it.
            flag::register_conditional_default(signal, Arc::clone(&signals.ended))?;
            let number = usize::try_from(signal).unwrap_or_default();
            flag::register_usize(signal, Arc::clone(&signals.by), number)?;
            flag::register(signal, Arc::clone(&signals.ended))?;
        }
        let mut hang_ups = Arriving::new([SIGHUP])?;
        thread::Builder::new()
            .name("hang-up".to_owned())
            .spawn(move || {
                if hang_ups.forever().next().is_some() {
                    thread::sleep(LAST_WISH);
                    // There is no terminal any more to be put back.
                    let _ = end_by(SIGHUP);
                }
            })?;
        flag::register(SIGTSTP, Arc::clone(&signals.stopped))?;
        flag::register(SIGCONT, Arc::clone(&signals.continued))?;
        Ok(signals)
    }

    /// The terminal is gone: the same as SIGHUP, which may not have come yet.
    pub(super) fn hang_up(&self) {
        let number = usize::try_from(SIGHUP).unwrap_or_default();
        self.by.store(number, Ordering::Relaxed);
        self.ended.store(true, Ordering::Relaxed);
    }

    /// The signal that asked to end, if one did.
    pub(super) fn ended(&self) -> Option<i32> {
        let by = self.by.load(Ordering::Relaxed);
        let asked = self.ended.load(Ordering::Relaxed);
        asked.then(|| i32::try_from(by).unwrap_or(SIGTERM))
    }

    /// Whether somebody has asked to stop since the last question.
    pub(super) fn take_stop(&self) -> bool {
        self.stopped.swap(false, Ordering::Relaxed)
    }

    /// Whether it went on after a stop since the last question.
    pub(super) fn take_continue(&self) -> bool {
        self.continued.swap(false, Ordering::Relaxed)
    }
}

/// Stops this process, as Ctrl-Z does elsewhere; comes back when somebody lets
/// it go on.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn stop() -> io::Result<()> {
    emulate_default_handler(SIGTSTP)
}

/// Ends this process by `signal`, so that who started it sees by what.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn end_by(signal: i32) -> io::Result<()> {
    emulate_default_handler(signal)
}
