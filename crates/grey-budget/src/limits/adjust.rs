//! Moving a limit while the program runs: up to the hard limit, or down to
//! what is used.
//!
//! Never changes the hard limit, and never goes below what the kernel counts
//! already, where every further allocation would fail at once.

use grey_model::{Bytes, MemoryLimit};

use super::error::LimitError;
use super::process::{ProcessLimits, of_this_process, unsupported};
use super::rlimit::{AppliedLimit, HardLimit, LimitKind, Range, UsageError};
use super::validate::validate_memory_limit_on;

/// A limit was not moved; it is what it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdjustLimitError {
    /// The new limit cannot be.
    #[error("failed to move the memory limit of this process")]
    Limit {
        /// Why.
        #[source]
        source: LimitError,
    },
    /// What is used could not be read, and a lower limit is not set blindly.
    #[error("failed to lower {kind} to {limit} bytes without knowing what is used")]
    Usage {
        /// Which limit.
        kind: LimitKind,
        /// The new limit, in bytes.
        limit: u64,
        /// Why.
        #[source]
        source: UsageError,
    },
}

impl From<LimitError> for AdjustLimitError {
    fn from(source: LimitError) -> Self {
        Self::Limit { source }
    }
}

/// Moves this process's limit to `limit`; [`MemoryLimit::Max`] raises it to the
/// hard limit.
///
/// # Errors
/// [`AdjustLimitError`], and the limit is what it was.
pub fn adjust_memory_limit(limit: MemoryLimit) -> Result<AppliedLimit, AdjustLimitError> {
    of_this_process().adjust(limit)
}

impl ProcessLimits {
    /// Moves the limit to `limit`; [`MemoryLimit::Max`] raises it to the hard
    /// limit.
    ///
    /// # Errors
    /// [`AdjustLimitError`], and the limit is what it was.
    pub fn adjust(&self, limit: MemoryLimit) -> Result<AppliedLimit, AdjustLimitError> {
        let machine = self.machine();
        let kind = self.supported().ok_or_else(|| unsupported(&machine))?;
        let before = self.calls().get(kind);
        let soft = match limit {
            MemoryLimit::Max => before.hard,
            MemoryLimit::Bytes(bytes) => {
                validate_memory_limit_on(&machine, bytes)?;
                self.check_room(kind, bytes, before)?;
                Some(bytes)
            }
        };
        let wanted = Range {
            soft,
            hard: before.hard,
        };
        self.calls()
            .set(kind, wanted)
            .map_err(|source| LimitError::Set {
                limit: soft.unwrap_or(Bytes(u64::MAX)),
                kind,
                architecture: machine.architecture().to_owned(),
                operating_system: machine.operating_system().to_owned(),
                source,
            })?;
        let now = self.calls().get(kind);
        tracing::info!(
            "Memory limit moved from {} to {} using {}. Hard limit: {}",
            HardLimit(before.soft),
            HardLimit(now.soft),
            kind.description(),
            HardLimit(now.hard),
        );
        Ok(AppliedLimit { kind, before, now })
    }

    /// Not above the hard limit; if it is lower than now, above what is used.
    fn check_room(
        &self,
        kind: LimitKind,
        limit: Bytes,
        before: Range,
    ) -> Result<(), AdjustLimitError> {
        if before.hard.is_some_and(|hard| limit > hard) {
            return Err(LimitError::AboveHard {
                limit,
                kind,
                hard: HardLimit(before.hard),
            }
            .into());
        }
        if before.soft.is_some_and(|soft| limit >= soft) {
            return Ok(());
        }
        let used = self
            .calls()
            .used(kind)
            .map_err(|source| AdjustLimitError::Usage {
                kind,
                limit: limit.get(),
                source,
            })?;
        if limit <= used {
            return Err(LimitError::BelowUse { limit, kind, used }.into());
        }
        Ok(())
    }
}
