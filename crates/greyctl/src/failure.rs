//! What people read when a run fails: the error with its causes, and apart
//! from it the hints, which say what to do next.
//!
//! Never prints; [`crate::output`] does.

use std::error::Error;

use crate::exit_code::Exit;

/// Why a run ended early.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code that it leads to.
    pub(crate) exit: Exit,
    /// What we were doing, then each cause, joined by colons.
    pub(crate) message: String,
    /// Lines that belong to the error: the matches of a name, for instance.
    pub(crate) details: Vec<String>,
    /// What to do next, each a sentence or a command.
    pub(crate) hints: Vec<String>,
    /// Further errors that are to be told with this one, less fundamental.
    pub(crate) others: Vec<Failure>,
}

impl Failure {
    /// A failure in our own words.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            details: Vec::new(),
            hints: Vec::new(),
            others: Vec::new(),
        }
    }

    /// A failure that carries `error` and everything below it.
    pub(crate) fn from_error(exit: Exit, error: &(dyn Error + 'static)) -> Self {
        Self::new(exit, chain(error))
    }

    /// Adds a line below the error.
    #[must_use]
    pub(crate) fn detail(mut self, line: impl Into<String>) -> Self {
        self.details.push(line.into());
        self
    }

    /// Adds a hint.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// An error and its causes on one line; a cause that the error above has
/// already said is not repeated.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// Whether a system call failed for lack of permission, anywhere below `error`.
pub(crate) fn is_denied(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::PermissionDenied
        {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("failed to read `/proc/x`")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn the_message_ends_in_the_first_cause() {
        let error = Outer(std::io::Error::from_raw_os_error(13));
        let failure = Failure::from_error(Exit::Failed, &error);
        assert_eq!(
            failure.message,
            "failed to read `/proc/x`: Permission denied (os error 13)"
        );
        assert!(is_denied(&error));
    }

    #[test]
    fn another_errno_is_not_a_denial() {
        assert!(!is_denied(&Outer(std::io::Error::from_raw_os_error(2))));
    }
}
