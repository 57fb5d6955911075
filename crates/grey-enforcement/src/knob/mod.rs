//! Settings that can be restored. Each kind has one file, in which reading,
//! setting and undoing stand side by side.
//!
//! Never journals and never decides: the executor says what to set, in which
//! order, and when to put it back.

mod access;
mod cgroup_directory;
mod cgroup_file;
mod held;
mod ksm;
mod memory_controller;
mod oom_score_adj;
mod place;
mod process_cgroup;
mod rlimit_data;
mod transient_scope;
mod unit_property;

pub(crate) use access::{KernelKnobs, KnobAccess, Restored, Saved, connect};
pub(crate) use held::{HeldCgroup, HeldProcess};
pub(crate) use place::{Place, is_over_with_its_namespace};

use std::io;
use std::path::PathBuf;

use grey_model::{CgroupPath, Knob, KnobValue, PageSize, ProcessId};
use grey_telemetry::ReadError;

use crate::systemd::SystemdError;

/// A setting could not be read, set or restored.
#[derive(Debug, thiserror::Error)]
pub enum KnobError {
    /// The process is gone, or its pid belongs to another one now.
    #[error("process {process} is gone")]
    ProcessGone {
        /// Which.
        process: ProcessId,
    },
    /// The cgroup is gone, or another one has its path.
    #[error("cgroup {cgroup} is gone")]
    CgroupGone {
        /// Which.
        cgroup: CgroupPath,
    },
    /// systemd has no such unit any more.
    #[error("unit {unit} is gone")]
    UnitGone {
        /// Which.
        unit: String,
    },
    /// The transient unit ended, and another one has its name.
    #[error("unit {unit} is gone, and another one has its name")]
    UnitReplaced {
        /// Which.
        unit: String,
    },
    /// The cgroup has a path that the journal cannot hold.
    #[error("the path of cgroup {cgroup} is not UTF-8")]
    NotUtf8 {
        /// Which.
        cgroup: CgroupPath,
    },
    /// This machine has no such setting.
    #[error("this machine has no {what}")]
    Missing {
        /// What is missing.
        what: String,
    },
    /// Reading failed.
    #[error("failed to read {what}")]
    Read {
        /// What.
        what: String,
        /// Why.
        #[source]
        source: ReadError,
    },
    /// What was read makes no sense.
    #[error("{what} holds `{found}`, which could not be understood")]
    Malformed {
        /// What was read.
        what: String,
        /// What is in it, at most 64 characters.
        found: String,
    },
    /// Writing failed.
    #[error("failed to write `{value}` to `{}`", path.display())]
    Write {
        /// Which file or directory.
        path: PathBuf,
        /// What.
        value: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The value makes no sense for this setting.
    #[error("`{value}` is no value for {knob}")]
    BadValue {
        /// The setting.
        knob: Knob,
        /// The value; `absent` for none.
        value: String,
    },
    /// The kernel or systemd made something else of the value.
    #[error("{knob} was set to `{wanted}` and reads `{found}`")]
    NotTaken {
        /// The setting.
        knob: Knob,
        /// What was written.
        wanted: String,
        /// What it reads.
        found: String,
    },
    /// Undoing would pull it from under somebody else.
    #[error("{knob} is still used: {by}")]
    InUse {
        /// The setting.
        knob: Knob,
        /// By whom.
        by: String,
    },
    /// systemd could not be asked, or refused.
    #[error("systemd failed to {doing}")]
    Unit {
        /// What it was to do.
        doing: String,
        /// Why.
        #[source]
        source: Box<SystemdError>,
    },
    /// The write ran in a process of its own and did not end well.
    #[error("{message}")]
    Disposable {
        /// What it said.
        message: String,
        /// Whether it ran into its deadline.
        timed_out: bool,
        /// The system's error number, where there is one.
        errno: Option<i32>,
    },
}

impl KnobError {
    /// Whether the thing that the setting is of is gone.
    #[must_use]
    pub const fn is_gone(&self) -> bool {
        matches!(
            self,
            Self::ProcessGone { .. }
                | Self::CgroupGone { .. }
                | Self::UnitGone { .. }
                | Self::UnitReplaced { .. }
        )
    }

    /// Whether we lack the permission.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        let denied = |number: i32| {
            number == rustix::io::Errno::ACCESS.raw_os_error()
                || number == rustix::io::Errno::PERM.raw_os_error()
        };
        match self {
            Self::Read { source, .. } => source.is_denied(),
            Self::Write { source, .. } => {
                source.kind() == io::ErrorKind::PermissionDenied
                    || source.raw_os_error().is_some_and(denied)
            }
            Self::Disposable { errno, .. } => errno.is_some_and(denied),
            Self::Unit { source, .. } => source.is_denied(),
            _ => false,
        }
    }

    /// Whether it ran into a deadline. It may still take effect.
    #[must_use]
    pub fn is_timed_out(&self) -> bool {
        match self {
            Self::Disposable { timed_out, .. } => *timed_out,
            Self::Unit { source, .. } => matches!(**source, SystemdError::TimedOut { .. }),
            _ => false,
        }
    }

    /// The next step, where systemd's answer has one to name.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unit { source, .. } => source.hint(),
            _ => None,
        }
    }

    /// Whether this machine cannot do it at all.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        match self {
            Self::Missing { .. } => true,
            Self::Write { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::Unsupported | io::ErrorKind::ReadOnlyFilesystem
            ),
            Self::Unit { source, .. } => matches!(**source, SystemdError::NotSupported { .. }),
            _ => false,
        }
    }
}

/// Whether `found` is what the kernel makes of `wanted`: the same text, or for
/// sizes in bytes the whole pages in it, or `max` for more than a size can be.
pub(crate) fn is_equivalent(
    knob: &Knob,
    wanted: Option<&KnobValue>,
    found: Option<&KnobValue>,
    page_size: PageSize,
) -> bool {
    let (Some(wanted), Some(found)) = (wanted, found) else {
        return wanted == found;
    };
    if wanted == found {
        return true;
    }
    if !matches!(knob, Knob::CgroupFile { .. } | Knob::UnitProperty { .. }) {
        return false;
    }
    let Ok(bytes) = wanted.0.parse::<u64>() else {
        return false;
    };
    if found.0 == "max" {
        return i64::try_from(bytes).is_err();
    }
    found.0.parse() == Ok(bytes - bytes % page_size.get())
}

/// The value for messages.
pub(crate) fn shown(value: Option<&KnobValue>) -> String {
    value.map_or_else(|| "absent".to_owned(), |value| value.0.clone())
}

/// The value for people.
pub(crate) fn readable(value: Option<&KnobValue>) -> String {
    value.map_or_else(|| "absent".to_owned(), KnobValue::readable)
}

fn clipped(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use grey_model::{CgroupFile, KsmFile};

    use super::*;

    fn from_systemd(source: SystemdError) -> KnobError {
        KnobError::Unit {
            doing: "set MemoryMax of a.service".to_owned(),
            source: Box::new(source),
        }
    }

    #[test]
    fn what_systemd_answers_keeps_its_kind_and_its_hint() {
        let doing = || "set MemoryMax".to_owned();
        let denied = from_systemd(SystemdError::NotPermitted {
            doing: doing(),
            source: "access denied".into(),
        });
        assert!(denied.is_denied() && !denied.is_unsupported() && !denied.is_timed_out());
        assert_eq!(denied.hint().as_deref(), Some("run as root"));
        let closed = from_systemd(SystemdError::Connect {
            address: "unix:path=/run/bus".to_owned(),
            source: io::Error::from(io::ErrorKind::PermissionDenied).into(),
        });
        assert!(closed.is_denied());
        assert!(closed.hint().unwrap().contains("dbus.socket"));
        let lacking = from_systemd(SystemdError::NotSupported {
            doing: doing(),
            source: "unknown property".into(),
        });
        assert!(lacking.is_unsupported() && !lacking.is_denied());
        let slow = from_systemd(SystemdError::TimedOut {
            doing: doing(),
            limit: std::time::Duration::from_secs(25),
        });
        assert!(slow.is_timed_out() && !slow.is_denied());
        assert!(slow.hint().unwrap().contains("list-jobs"));
    }

    fn value(text: &str) -> KnobValue {
        KnobValue(text.to_owned())
    }

    #[test]
    fn only_sizes_are_rounded_to_pages() {
        let page = PageSize::new(4096).unwrap();
        let file = Knob::CgroupFile {
            cgroup: CgroupPath::root(),
            id: None,
            file: CgroupFile::MemoryMax,
        };
        let ksm = Knob::Ksm {
            file: KsmFile::PagesToScan,
        };
        let same = |knob: &Knob, wanted: &str, found: &str| {
            is_equivalent(knob, Some(&value(wanted)), Some(&value(found)), page)
        };
        assert!(same(&file, "104857601", "104857600"));
        assert!(!same(&file, "104857600", "104857601"));
        assert!(!same(&file, "104857600", "max"));
        assert!(same(&file, "18446744073709551615", "max"));
        assert!(!same(&file, "max", "104857600"));
        assert!(!same(&ksm, "4097", "4096"));
        assert!(is_equivalent(&ksm, None, None, page));
        assert!(!is_equivalent(&file, Some(&value("1")), None, page));
    }
}
