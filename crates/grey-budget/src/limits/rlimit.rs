//! `RLIMIT_AS` and `RLIMIT_DATA` of this process: read, set, and what the
//! kernel counts against each.
//!
//! Never decides whether a limit makes sense.

use std::fmt;
use std::io;

use grey_model::Bytes;
use grey_telemetry::ascii;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The most that is read of `/proc/self/status`.
const MOST_STATUS_BYTES: u64 = 64 * 1024;

/// Which rlimit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitKind {
    /// All addresses that the process has, used or not.
    AddressSpace,
    /// Its private writable mappings.
    ///
    /// # Kernel
    /// Anonymous memory counts since Linux 4.7; before, only the heap that
    /// `brk` grows.
    Data,
}

impl LimitKind {
    /// The name as C has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AddressSpace => "RLIMIT_AS",
            Self::Data => "RLIMIT_DATA",
        }
    }

    /// The name and what it bounds.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::AddressSpace => "RLIMIT_AS (virtual memory)",
            Self::Data => "RLIMIT_DATA (data segment)",
        }
    }

    pub(super) const fn resource(self) -> Resource {
        match self {
            Self::AddressSpace => Resource::As,
            Self::Data => Resource::Data,
        }
    }

    /// The line of `/proc/self/status` that says what counts against it.
    const fn status_line(self) -> &'static [u8] {
        match self {
            Self::AddressSpace => b"VmSize:",
            Self::Data => b"VmData:",
        }
    }
}

impl fmt::Display for LimitKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// A soft and a hard limit; `None` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// What holds now.
    pub soft: Option<Bytes>,
    /// What the soft limit may be raised to.
    pub hard: Option<Bytes>,
}

/// A hard limit as messages show it: `unlimited`, or `8.00 GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HardLimit(pub Option<Bytes>);

impl fmt::Display for HardLimit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bytes) => super::machine::Gigabytes(bytes).fmt(formatter),
            None => formatter.write_str("unlimited"),
        }
    }
}

/// A limit that holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppliedLimit {
    /// Which one.
    pub kind: LimitKind,
    /// What it was before.
    pub before: Range,
    /// What it is now, as the kernel says it.
    pub now: Range,
}

/// What counts against a limit could not be read.
#[derive(Debug, thiserror::Error)]
#[error("failed to read what counts against {kind} from `/proc/self/status`")]
pub struct UsageError {
    /// Which limit.
    pub kind: LimitKind,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// The system calls, as something that a test can replace.
pub trait LimitCalls: Send + Sync + fmt::Debug {
    /// The limit now.
    fn get(&self, kind: LimitKind) -> Range;

    /// Sets it.
    ///
    /// # Errors
    /// `EPERM` above the hard limit, `EINVAL` and `ENOSYS` where it is not
    /// supported or a filter forbids it.
    fn set(&self, kind: LimitKind, range: Range) -> io::Result<()>;

    /// What the kernel counts against it now.
    ///
    /// # Errors
    /// [`UsageError`], when the kernel does not tell.
    fn used(&self, kind: LimitKind) -> Result<Bytes, UsageError>;
}

/// Those of Linux, for this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct LinuxCalls;

impl LimitCalls for LinuxCalls {
    fn get(&self, kind: LimitKind) -> Range {
        let limit = getrlimit(kind.resource());
        Range {
            soft: limit.current.map(Bytes),
            hard: limit.maximum.map(Bytes),
        }
    }

    fn set(&self, kind: LimitKind, range: Range) -> io::Result<()> {
        let limit = Rlimit {
            current: range.soft.map(Bytes::get),
            maximum: range.hard.map(Bytes::get),
        };
        setrlimit(kind.resource(), limit).map_err(io::Error::from)
    }

    fn used(&self, kind: LimitKind) -> Result<Bytes, UsageError> {
        let failed = |source| UsageError { kind, source };
        let text = read_status().map_err(failed)?;
        parse_used(&text, kind).ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))
    }
}

fn read_status() -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut text = Vec::new();
    std::fs::File::open("/proc/self/status")?
        .take(MOST_STATUS_BYTES)
        .read_to_end(&mut text)?;
    Ok(text)
}

/// `VmSize:    1234 kB`.
pub(super) fn parse_used(text: &[u8], kind: LimitKind) -> Option<Bytes> {
    let line = ascii::lines(text).find_map(|line| line.strip_prefix(kind.status_line()))?;
    let number = ascii::words(line).next()?;
    ascii::parse_u64(number).map(Bytes::from_kib)
}

/// What the C library calls the error, without Rust's number behind it.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" (os error ") {
        Some((reason, _)) => reason.to_owned(),
        None => text,
    }
}
