//! How a test ends that not every machine can show: done, or skipped with a
//! reason.
//!
//! Never lets a skip look like a pass: libtest knows neither, so a skip is told
//! in a line of its own on stdout, which `cargo xtask test` counts.

use std::io::Write as _;
use std::process::{ExitCode, Termination};

/// What the line of a skipped test contains; its name and the reason follow.
pub const SKIPPED: &str = "skipped-test: ";

/// What a test returns that may be skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Ended {
    /// It has shown what it is to show.
    Done,
    /// This machine cannot show it.
    Skipped {
        /// What is missing here.
        reason: &'static str,
    },
}

impl Ended {
    /// Tells that the test `name` is skipped, where it is. Past libtest's
    /// capture, which keeps what a passed test prints from everybody.
    pub fn tell(self, name: &str) {
        if let Self::Skipped { reason } = self {
            let line = format!("{SKIPPED}{name}: {reason}\n");
            // Whoever closed our stdout does not want to know.
            let _ = std::io::stdout().write_all(line.as_bytes());
        }
    }
}

impl Termination for Ended {
    fn report(self) -> ExitCode {
        // libtest names a test's thread like the test.
        let thread = std::thread::current();
        self.tell(thread.name().unwrap_or("a test"));
        ExitCode::SUCCESS
    }
}
