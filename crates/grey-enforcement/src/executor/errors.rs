//! Why a plan was not begun, or nothing could be rolled back.
//!
//! Each of these errors means that nothing was changed.

use grey_model::{Knob, OneShot, RefusalKind};
use grey_telemetry::{OpenKernelError, ReadError};

use crate::journal::{JournalError, Loss};
use crate::knob::KnobError;
use crate::lease::KeeperError;

/// An enforcer could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenEnforcerError {
    /// The kernel's file systems could not be opened.
    #[error(transparent)]
    Kernel(#[from] OpenKernelError),
    /// The boot id could not be read: without it, records of another boot
    /// could not be told apart.
    #[error("failed to read the boot id")]
    BootId {
        /// Why.
        #[source]
        source: ReadError,
    },
    /// There is no boot id.
    #[error("this system has no boot id")]
    NoBootId,
}

/// A plan was refused before its first change.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The journal cannot be written: without it nothing could be undone.
    #[error("the journal cannot be used, so nothing was changed")]
    Journal {
        /// Why.
        #[from]
        source: JournalError,
    },
    /// What is to be changed cannot be read, is gone, or is not there.
    #[error("{knob} cannot be changed")]
    Knob {
        /// Which setting.
        knob: Box<Knob>,
        /// Why.
        #[source]
        source: Box<KnobError>,
    },
    /// What is to be done once cannot be done.
    #[error("{shot} cannot be done")]
    Shot {
        /// What.
        shot: Box<OneShot>,
        /// Why.
        #[source]
        source: Box<KnobError>,
    },
    /// A setting has another value than when the plan was made.
    #[error("{knob} was `{expected}` when the plan was made and is `{found}` now")]
    Changed {
        /// Which setting.
        knob: Box<Knob>,
        /// What the plan says.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The keeper that would undo it in time could not be started.
    #[error("the lease cannot be kept, so nothing was changed")]
    Keeper {
        /// Why.
        #[from]
        source: KeeperError,
    },
}

impl ApplyError {
    /// The next step, where systemd's answer has one to name.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Knob { source, .. } | Self::Shot { source, .. } => source.hint(),
            _ => None,
        }
    }

    /// Whether an answer did not come in time.
    #[must_use]
    pub fn is_timed_out(&self) -> bool {
        match self {
            Self::Knob { source, .. } | Self::Shot { source, .. } => source.is_timed_out(),
            _ => false,
        }
    }

    /// What kind of refusal it is.
    #[must_use]
    pub fn refusal_kind(&self) -> RefusalKind {
        match self {
            Self::Journal { source } if source.is_denied() => RefusalKind::NotPermitted,
            Self::Knob { source, .. } | Self::Shot { source, .. } if source.is_denied() => {
                RefusalKind::NotPermitted
            }
            Self::Knob { source, .. } | Self::Shot { source, .. } if source.is_unsupported() => {
                RefusalKind::NotSupported
            }
            _ => RefusalKind::Unsafe,
        }
    }
}

/// Nothing could be rolled back.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// The journal cannot be used.
    #[error("the journal cannot be used, so nothing was rolled back")]
    Journal {
        /// Why.
        #[from]
        source: JournalError,
    },
    /// There is no such change.
    #[error("the journal has no change {id}")]
    NoSuchChange {
        /// Its number.
        id: u64,
    },
    /// There is no such change in what can be read, and a part of the journal
    /// is lost: it may have been there.
    #[error("no change {id} can be read from the journal, and a part of it is lost")]
    ChangeUnreadable {
        /// Its number.
        id: u64,
        /// What is lost.
        losses: Vec<Loss>,
    },
    /// Nothing is to be given up: no change that was asked for is in conflict
    /// with what somebody else has set.
    #[error("no change is in conflict with what somebody else has set, so none was given up")]
    NoConflict,
}
