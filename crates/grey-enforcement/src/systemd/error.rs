//! What can go wrong between us and systemd, and what to do about it.
//!
//! Never prints its source: that is the reader's to walk.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use grey_model::shell_word;

/// An error whose type belongs to the D-Bus library.
pub type BusError = Box<dyn std::error::Error + Send + Sync>;

/// Why systemd did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    /// The system bus could not be reached.
    #[error("failed to connect to the system bus at `{address}`")]
    Connect {
        /// The address that was tried.
        address: String,
        /// Why.
        #[source]
        source: BusError,
    },
    /// The name cannot be a unit's.
    #[error("`{}` is not the name of a unit: {problem}", name.escape_debug())]
    InvalidName {
        /// What was given.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// systemd knows no unit of this name.
    #[error("systemd has no unit `{unit}`")]
    NoSuchUnit {
        /// The unit.
        unit: String,
    },
    /// A unit of this name exists already.
    #[error("systemd already has a unit `{unit}`")]
    UnitExists {
        /// The unit.
        unit: String,
    },
    /// We may not do this.
    #[error("failed to {doing}: permission denied by systemd or the bus")]
    NotPermitted {
        /// What was being done.
        doing: String,
        /// What was answered.
        #[source]
        source: BusError,
    },
    /// No answer in time. The request may still take effect.
    #[error("failed to {doing}: no answer within {} s", limit.as_secs())]
    TimedOut {
        /// What was being done.
        doing: String,
        /// How long was waited.
        limit: Duration,
    },
    /// systemd does not have what was asked for.
    #[error("failed to {doing}: this systemd or this kind of unit does not have it")]
    NotSupported {
        /// What was being done.
        doing: String,
        /// What was answered.
        #[source]
        source: BusError,
    },
    /// Any other error that was answered.
    #[error("failed to {doing}")]
    Call {
        /// What was being done.
        doing: String,
        /// What was answered.
        #[source]
        source: BusError,
    },
    /// The answer is not what it must be.
    #[error("failed to {doing}: the answer was `{answer}`")]
    UnexpectedAnswer {
        /// What was being done.
        doing: String,
        /// What was answered.
        answer: String,
    },
    /// A value that is neither a number of bytes nor `infinity`.
    #[error("`{value}` is neither a number of bytes nor `infinity`")]
    InvalidValue {
        /// The value.
        value: String,
    },
    /// A unit that was started ended at once.
    #[error("unit `{unit}` was started and is {state}")]
    DidNotStart {
        /// The unit.
        unit: String,
        /// What it is instead of active.
        state: String,
    },
    /// A drop-in file could not be read or put back.
    #[error("failed to {doing} `{}`", path.display())]
    DropIn {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A drop-in file that systemd cannot have written.
    #[error("`{}` cannot be kept for later: {problem}", path.display())]
    StrangeDropIn {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl SystemdError {
    /// Whether we lack the permission: for the bus, for what systemd was asked
    /// to do, or for a drop-in file.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        match self {
            Self::NotPermitted { .. } => true,
            Self::DropIn { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
            Self::Connect { source, .. } => {
                let mut next: Option<&(dyn std::error::Error + 'static)> = Some(source.as_ref());
                while let Some(error) = next {
                    // The D-Bus library shares what the system told it.
                    let shared = error.downcast_ref::<Arc<io::Error>>().map(AsRef::as_ref);
                    if let Some(io) = shared.or_else(|| error.downcast_ref::<io::Error>())
                        && io.kind() == io::ErrorKind::PermissionDenied
                    {
                        return true;
                    }
                    next = error.source();
                }
                false
            }
            _ => false,
        }
    }

    /// The next step, where there is one to name.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Connect { .. } => Some(
                "is the bus running? see `systemctl status dbus.socket`; another address can be \
                 given in DBUS_SYSTEM_BUS_ADDRESS"
                    .to_owned(),
            ),
            Self::NoSuchUnit { unit } => {
                let kind = unit.rsplit_once('.').map_or("service", |(_, kind)| kind);
                Some(format!(
                    "list them: systemctl list-units --all --type={}",
                    shell_word(kind.as_bytes())
                ))
            }
            Self::UnitExists { unit } => Some(format!(
                "look at it: systemctl status -- {}",
                shell_word(unit.as_bytes())
            )),
            Self::NotPermitted { .. } => Some("run as root".to_owned()),
            Self::TimedOut { .. } => {
                Some("is process 1 busy? see `systemctl list-jobs`, then try again".to_owned())
            }
            Self::DidNotStart { unit, .. } => Some(format!(
                "see why: journalctl --unit {}",
                shell_word(unit.as_bytes())
            )),
            Self::StrangeDropIn { path, .. } => Some(format!(
                "look at it, and remove it if nobody needs it: rm -i -- {}",
                shell_word(path.as_os_str().as_bytes())
            )),
            Self::InvalidName { .. }
            | Self::NotSupported { .. }
            | Self::Call { .. }
            | Self::UnexpectedAnswer { .. }
            | Self::InvalidValue { .. }
            | Self::DropIn { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shown_without_its_control_characters() {
        let error = SystemdError::InvalidName {
            name: "a\u{1b}[31m.service".to_owned(),
            problem: "of its characters",
        };
        assert!(!error.to_string().contains('\u{1b}'));
    }

    #[test]
    fn the_hint_for_a_missing_unit_lists_its_kind() {
        let error = SystemdError::NoSuchUnit {
            unit: "a.scope".to_owned(),
        };
        assert!(error.hint().unwrap().ends_with("--type=scope"));
    }
}
