//! Talk to the person who waits: progress on stderr, with the time since start.
//!
//! stdout carries nothing but results.

use std::error::Error;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::time::Instant;

static START: OnceLock<Instant> = OnceLock::new();

/// One line on stderr, as it is.
pub(crate) fn line(text: &str) {
    // Talk that nobody hears must not stop the work.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// What is being done now, with the seconds since the program began.
pub(crate) fn step(text: &str) {
    let seconds = START.get_or_init(Instant::now).elapsed().as_secs_f64();
    line(&format!("[{seconds:6.1} s] {text}"));
}

/// One line of result on stdout.
pub(crate) fn result(text: &str) {
    // A reader that has gone away is no error.
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// An error and all its sources.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
