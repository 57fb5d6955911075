//! Setting a limit on this process: validated, with the fallback, told in the
//! log.
//!
//! Which rlimit works is found out once. The hard limit is never changed, so
//! that the limit can be raised again. Never touches a control group.

use std::io;
use std::sync::OnceLock;

use grey_model::Bytes;

use super::error::LimitError;
use super::machine::{Gigabytes, Machine};
use super::rlimit::{AppliedLimit, HardLimit, LimitCalls, LimitKind, LinuxCalls, Range, reason};
use super::validate::validate_memory_limit_on;

/// The limits of one process, on one machine. The functions of this module use
/// those of this process; a test makes its own.
#[derive(Debug)]
pub struct ProcessLimits {
    calls: Box<dyn LimitCalls>,
    /// `None`: read at each validation, since the control group's limit may
    /// change.
    machine: Option<Machine>,
    supported: OnceLock<Option<LimitKind>>,
}

impl ProcessLimits {
    /// This process on this machine.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self {
            calls: Box::new(LinuxCalls),
            machine: None,
            supported: OnceLock::new(),
        }
    }

    /// With other system calls and another machine.
    #[must_use]
    pub fn new(calls: Box<dyn LimitCalls>, machine: Machine) -> Self {
        Self {
            calls,
            machine: Some(machine),
            supported: OnceLock::new(),
        }
    }

    /// The rlimit that works here: `RLIMIT_AS`, else `RLIMIT_DATA`, else none.
    /// Tried once, by setting each to what it is already.
    pub fn supported(&self) -> Option<LimitKind> {
        *self
            .supported
            .get_or_init(|| detect(self.calls.as_ref(), &self.machine()))
    }

    /// Validates `limit` and sets it. `Ok(true)` when it holds.
    ///
    /// # Errors
    /// With `strict`, [`LimitError`]. Without, never: what is wrong is told in
    /// the log, and the result is `Ok(false)`.
    pub fn set(&self, limit: Bytes, strict: bool) -> Result<bool, LimitError> {
        match self.try_set(limit) {
            Ok(_) => Ok(true),
            Err(error) if strict => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Validates `limit` and sets it. Every failure is told in the log, too.
    ///
    /// # Errors
    /// [`LimitError`], when it is not set.
    pub fn try_set(&self, limit: Bytes) -> Result<AppliedLimit, LimitError> {
        let machine = self.machine();
        if let Err(error) = validate_memory_limit_on(&machine, limit) {
            tracing::error!("Memory limit validation failed: {error}");
            return Err(error);
        }
        let Some(kind) = self.supported() else {
            let error = unsupported(&machine);
            tracing::error!("{error}");
            return Err(error);
        };
        let applied = self.apply(kind, limit, &machine);
        match &applied {
            Ok(applied) => tell(limit, applied),
            Err(error) => tell_failure(error),
        }
        applied
    }

    pub(super) fn calls(&self) -> &dyn LimitCalls {
        self.calls.as_ref()
    }

    pub(super) fn machine(&self) -> Machine {
        self.machine.clone().unwrap_or_else(Machine::read)
    }

    /// Sets the soft limit of `kind`, checked against the hard limit and
    /// against what is used.
    fn apply(
        &self,
        kind: LimitKind,
        limit: Bytes,
        machine: &Machine,
    ) -> Result<AppliedLimit, LimitError> {
        let before = self.calls.get(kind);
        if before.hard.is_some_and(|hard| limit > hard) {
            return Err(LimitError::AboveHard {
                limit,
                kind,
                hard: HardLimit(before.hard),
            });
        }
        if let Ok(used) = self.calls.used(kind)
            && limit <= used
        {
            return Err(LimitError::BelowUse { limit, kind, used });
        }
        let wanted = Range {
            soft: Some(limit),
            hard: before.hard,
        };
        self.calls
            .set(kind, wanted)
            .map_err(|source| LimitError::Set {
                limit,
                kind,
                architecture: machine.architecture().to_owned(),
                operating_system: machine.operating_system().to_owned(),
                source,
            })?;
        Ok(AppliedLimit {
            kind,
            before,
            now: self.calls.get(kind),
        })
    }
}

/// Bounds this process at `limit`. With `strict` everything that is wrong is an
/// error; without, it is told in the log and the result is `Ok(false)`.
///
/// # Errors
/// With `strict`, [`LimitError`].
pub fn set_memory_limit(limit: Bytes, strict: bool) -> Result<bool, LimitError> {
    of_this_process().set(limit, strict)
}

/// The rlimit that works for this process, found out once.
#[must_use]
pub fn supported_limit() -> Option<LimitKind> {
    of_this_process().supported()
}

pub(super) fn of_this_process() -> &'static ProcessLimits {
    static LIMITS: OnceLock<ProcessLimits> = OnceLock::new();
    LIMITS.get_or_init(ProcessLimits::of_this_process)
}

fn detect(calls: &dyn LimitCalls, machine: &Machine) -> Option<LimitKind> {
    match probe(calls, LimitKind::AddressSpace) {
        Ok(()) => {
            if machine.is_arm64() {
                tracing::info!(
                    "RLIMIT_AS appears to work on {} architecture, but may not enforce correctly \
                     on ARM64. Monitoring recommended.",
                    machine.architecture()
                );
            }
            return Some(LimitKind::AddressSpace);
        }
        Err(error) => tracing::warn!("RLIMIT_AS not supported or failed: {}", reason(&error)),
    }
    match probe(calls, LimitKind::Data) {
        Ok(()) => {
            tracing::info!(
                "Falling back to RLIMIT_DATA (data segment) on {} architecture",
                machine.architecture()
            );
            Some(LimitKind::Data)
        }
        Err(error) => {
            tracing::warn!("RLIMIT_DATA not supported or failed: {}", reason(&error));
            None
        }
    }
}

/// Sets the limit to what it is: changes nothing, and fails where setting does.
fn probe(calls: &dyn LimitCalls, kind: LimitKind) -> io::Result<()> {
    calls.set(kind, calls.get(kind))
}

pub(super) fn unsupported(machine: &Machine) -> LimitError {
    LimitError::Unsupported {
        architecture: machine.architecture().to_owned(),
        operating_system: machine.operating_system().to_owned(),
    }
}

fn tell(limit: Bytes, applied: &AppliedLimit) {
    tracing::info!(
        "Memory limit set to {} ({} bytes) using {}. Hard limit: {}",
        Gigabytes(limit),
        limit.get(),
        applied.kind.description(),
        HardLimit(applied.now.hard),
    );
}

fn tell_failure(error: &LimitError) {
    match std::error::Error::source(error) {
        Some(source) => tracing::error!("{error}: {source}"),
        None => tracing::error!("{error}"),
    }
}
