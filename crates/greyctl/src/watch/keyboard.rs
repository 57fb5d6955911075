//! Where keys come from, and whether it is still there.
//!
//! Never reads a key. Whoever reads keys asks here first: of a terminal that is
//! gone the reader would read nothing, for ever.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// The terminal of this process, where its standard input is something else.
const TERMINAL: &str = "/dev/tty";

/// The terminal that keys are typed on.
#[derive(Debug)]
pub(super) struct Keyboard {
    terminal: OwnedFd,
}

impl Keyboard {
    /// The standard input, or the terminal that this process belongs to.
    ///
    /// # Errors
    /// When there is neither.
    pub(super) fn open() -> io::Result<Self> {
        let input = rustix::stdio::stdin();
        let terminal = match rustix::termios::isatty(input) {
            true => input.try_clone_to_owned()?,
            false => File::open(TERMINAL)?.into(),
        };
        Ok(Self { terminal })
    }

    /// Waits for a key, for `patience` at most; whether the terminal is there.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn wait(&self, patience: Duration) -> io::Result<bool> {
        let mut watched = [PollFd::from_borrowed_fd(
            self.terminal.as_fd(),
            PollFlags::IN,
        )];
        let timeout = Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(patience.subsec_nanos()),
        };
        match poll(&mut watched, Some(&timeout)) {
            // A signal: its flag is up.
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        Ok(!watched[0].revents().intersects(gone))
    }
}
