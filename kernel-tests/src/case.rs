//! What a case is: a name, the guests it belongs to, a deadline and a function.
//!
//! Never runs a case: that is [`crate::harness`].

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::guest::Guest;

/// Time a case may take, unless it says otherwise. Guests are emulated in
/// software, five to twenty times slower than the machine.
pub const DEADLINE: Duration = Duration::from_secs(180);

/// One thing that must be true on a real kernel.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// A fact, in snake case: `an_earlier_limit_survives_rollback`.
    pub name: &'static str,
    /// The guests it runs in. It is not counted at all in the others.
    pub guests: &'static [GuestName],
    /// Time after which it is killed and counted as failed.
    pub deadline: Duration,
    /// The case itself. A panic (a failed `assert!`) counts as failed.
    pub run: fn(&Guest) -> Result<Outcome, Failure>,
}

/// The guests that `cargo xtask test` boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
pub enum GuestName {
    /// Linux 5.10: no `memory.reclaim`, no `memory.peak`.
    #[serde(rename = "5.10")]
    #[value(name = "5.10")]
    Linux5_10,
    /// Linux 6.1: `memory.reclaim` without `swappiness=`.
    #[serde(rename = "6.1")]
    #[value(name = "6.1")]
    Linux6_1,
    /// Linux 6.12: everything that the product uses.
    #[serde(rename = "6.12")]
    #[value(name = "6.12")]
    Linux6_12,
    /// Linux 6.12 with systemd as process 1.
    #[serde(rename = "systemd")]
    #[value(name = "systemd")]
    Systemd,
}

impl GuestName {
    /// The three guests without systemd.
    pub const PLAIN: &'static [Self] = &[Self::Linux5_10, Self::Linux6_1, Self::Linux6_12];
    /// Every guest.
    pub const ALL: &'static [Self] = &[
        Self::Linux5_10,
        Self::Linux6_1,
        Self::Linux6_12,
        Self::Systemd,
    ];
    /// The plain guests that have `memory.reclaim`.
    pub const WITH_RECLAIM: &'static [Self] = &[Self::Linux6_1, Self::Linux6_12];
}

impl fmt::Display for GuestName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Linux5_10 => "5.10",
            Self::Linux6_1 => "6.1",
            Self::Linux6_12 => "6.12",
            Self::Systemd => "systemd",
        })
    }
}

/// What a case found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", content = "detail", rename_all = "lowercase")]
pub enum Outcome {
    /// The fact holds.
    Passed,
    /// It does not, or it could not be shown.
    Failed(String),
    /// This guest cannot show it, for the reason given. A case that is skipped
    /// in every guest counts as failed.
    Skipped(String),
}

/// Why a case, or a tool it used, could not go on.
///
/// It takes any error with `?`. It is no `std::error::Error` itself: it is the
/// end of the line, a text for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    message: String,
}

impl Failure {
    /// A failure that says this.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }

    /// What was being done, and with what, when `error` came up.
    pub fn while_doing(doing: impl fmt::Display, error: &dyn std::error::Error) -> Self {
        Self::new(format!("failed to {doing}: {}", chain(error)))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(chain(&error))
    }
}

/// An error and its sources, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
