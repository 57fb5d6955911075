//! Why a limit was refused, and what is doubtful about one that was not.
//!
//! The wording of these messages is fixed by what users search for in their
//! logs, and so begins with a capital. Never decides.

use std::fmt;
use std::io;

use grey_model::Bytes;

use super::machine::Gigabytes;
use super::rlimit::{HardLimit, LimitKind};

/// What a limit was compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bounded {
    /// The memory of the machine.
    System,
    /// The strictest limit of our control group and those above it.
    Cgroup,
    /// An rlimit of the process.
    Rlimit(LimitKind),
}

impl fmt::Display for Bounded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => formatter.write_str("total system memory"),
            Self::Cgroup => formatter.write_str("the control group's effective limit of"),
            Self::Rlimit(kind) => write!(formatter, "{} of", kind.name()),
        }
    }
}

/// A limit cannot be as it was asked for, or could not be set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// 0, negative, or not a number.
    #[error("Requested limit {gigabytes} GB is not positive")]
    NotPositive {
        /// What was given, with two decimals.
        gigabytes: String,
    },
    /// More than 64 bits can say.
    #[error("Requested limit {gigabytes} GB is more than this machine can address")]
    TooLarge {
        /// What was given, with two decimals.
        gigabytes: String,
    },
    /// More than there is.
    #[error("Requested limit {} exceeds {bounded} {}", Gigabytes(*limit), Gigabytes(*available))]
    Exceeds {
        /// What was given.
        limit: Bytes,
        /// What there is.
        available: Bytes,
        /// Of what.
        bounded: Bounded,
    },
    /// Several limits together are more than there is.
    #[error(
        "Total memory allocation {} exceeds {bounded} {}. Individual limits: {limits}",
        Gigabytes(*total),
        Gigabytes(*available)
    )]
    TotalExceeds {
        /// All together.
        total: Bytes,
        /// What there is.
        available: Bytes,
        /// Of what.
        bounded: Bounded,
        /// Each one, as people read them.
        limits: String,
    },
    /// One of several limits is 0.
    #[error("Limit {place} of {count} is not positive. Individual limits: {limits}")]
    OneNotPositive {
        /// Which, from 1.
        place: usize,
        /// How many there are.
        count: usize,
        /// Each one, as people read them.
        limits: String,
    },
    /// The kernel refuses both rlimits.
    #[error(
        "Platform does not support memory limits (tested RLIMIT_AS and RLIMIT_DATA). \
         Architecture: {architecture}, OS: {operating_system}"
    )]
    Unsupported {
        /// As `uname -m` says it.
        architecture: String,
        /// As `uname -s` says it.
        operating_system: String,
    },
    /// Only a privileged process may go beyond its hard limit.
    #[error("Requested limit {} exceeds the hard limit of {kind}: {hard}", Gigabytes(*limit))]
    AboveHard {
        /// What was given.
        limit: Bytes,
        /// Which limit.
        kind: LimitKind,
        /// The hard limit.
        hard: HardLimit,
    },
    /// Every further allocation would fail.
    #[error(
        "Requested limit {} is not above what {kind} counts already: {}",
        Gigabytes(*limit),
        Gigabytes(*used)
    )]
    BelowUse {
        /// What was given.
        limit: Bytes,
        /// Which limit.
        kind: LimitKind,
        /// What the kernel counts against it now.
        used: Bytes,
    },
    /// The kernel refused.
    #[error(
        "Failed to set {kind} to {} on {architecture} architecture ({operating_system})",
        Gigabytes(*limit)
    )]
    Set {
        /// What was given.
        limit: Bytes,
        /// Which limit.
        kind: LimitKind,
        /// As `uname -m` says it.
        architecture: String,
        /// As `uname -s` says it.
        operating_system: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A limit that holds, but leaves little.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum LimitWarning {
    /// Above 90 % of what there is.
    NearlyAll {
        /// The limit.
        limit: Bytes,
        /// What there is.
        available: Bytes,
        /// Of what.
        bounded: Bounded,
    },
    /// Above 95 % of what there is, all together.
    NearlyAllTogether {
        /// All together.
        total: Bytes,
        /// What there is.
        available: Bytes,
        /// Of what.
        bounded: Bounded,
        /// Each one, as people read them.
        limits: String,
    },
    /// The size of the machine is not known, so nothing was compared.
    UnknownMachine,
}

impl fmt::Display for LimitWarning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NearlyAll {
                limit,
                available,
                bounded,
            } => write!(
                formatter,
                "Requested limit {} is {} of {bounded} {}",
                Gigabytes(*limit),
                Share(*limit, *available),
                Gigabytes(*available),
            ),
            Self::NearlyAllTogether {
                total,
                available,
                bounded,
                limits,
            } => write!(
                formatter,
                "Total memory allocation {} is {} of {bounded} {}. Individual limits: {limits}",
                Gigabytes(*total),
                Share(*total, *available),
                Gigabytes(*available),
            ),
            Self::UnknownMachine => formatter.write_str(
                "Could not determine total system memory: the limit was not compared with it",
            ),
        }
    }
}

/// A part of a whole in percent, with one decimal.
struct Share(Bytes, Bytes);

impl fmt::Display for Share {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.0.percent_of(self.1).unwrap_or_default();
        write!(formatter, "{:.1}%", percent.0)
    }
}
