//! Ctrl-C as a wish to end a wait early: the first one raises a flag, the
//! second one ends the program.
//!
//! Never takes the signal before it is asked to, and never keeps it for longer
//! than the wait: before and after, the first Ctrl-C ends the program.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::SIGINT;

/// The wish, and who watches for it.
#[derive(Debug, Default)]
pub(crate) struct Interrupt {
    raised: Arc<AtomicBool>,
    is_watching: bool,
}

impl Interrupt {
    /// Takes the signal from here on. Does so once, however often it is called.
    ///
    /// # Errors
    /// When the kernel refuses: then the first Ctrl-C ends the program.
    pub(crate) fn watch(&mut self) -> io::Result<()> {
        if self.is_watching {
            return Ok(());
        }
        // In this order: the first signal finds the flag down, and raises it.
        signal_hook::flag::register_conditional_default(SIGINT, Arc::clone(&self.raised))?;
        signal_hook::flag::register(SIGINT, Arc::clone(&self.raised))?;
        self.is_watching = true;
        Ok(())
    }

    /// Whether somebody has pressed Ctrl-C.
    pub(crate) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Relaxed)
    }

    /// The flag itself, for those who look at it while they wait.
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.raised)
    }

    /// From here on the first Ctrl-C ends the program.
    pub(crate) fn release(&self) {
        self.raised.store(true, Ordering::Relaxed);
    }
}
