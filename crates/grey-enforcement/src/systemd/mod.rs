//! Changes to units, asked of their owner: systemd, over its D-Bus interface.
//!
//! What is set here is set at run time and put back completely: the value, and
//! the drop-in file that systemd wrote for it (see [`drop_in`]).
//!
//! Never writes a cgroup file and never runs `systemctl`. Never touches a file
//! that systemd did not write for the property in question. Moving processes
//! between cgroups is not done here either: a scope is left through the kernel.

use std::path::Path;
use std::time::Duration;

use grey_model::{CgroupPath, KnobValue, UnitFacts, UnitMemoryProperty};

pub mod drop_in;
pub mod error;
pub mod unit_name;

#[cfg(feature = "systemd")]
mod bus;
#[cfg(feature = "systemd")]
mod deadline;
#[cfg(feature = "systemd")]
mod manager;
#[cfg(feature = "systemd")]
mod properties;
#[cfg(feature = "systemd")]
mod transient;

pub use drop_in::{DropInBefore, DropInOutcome};
pub use error::SystemdError;
#[cfg(feature = "systemd")]
pub use manager::Systemd;
pub use unit_name::{UnitKind, UnitName};

/// Whether systemd is process 1. `directory` is `/run/systemd/system`, which
/// systemd makes at boot and nobody else does.
#[must_use]
pub fn is_running(directory: &Path) -> bool {
    std::fs::symlink_metadata(directory).is_ok_and(|found| found.is_dir())
}

/// What a unit is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActiveState {
    /// Running, or whatever stands for it in this kind of unit.
    Active,
    /// Running, and reading its configuration again.
    Reloading,
    /// On its way up.
    Activating,
    /// On its way down.
    Deactivating,
    /// Stopped.
    Inactive,
    /// Stopped, after a failure.
    Failed,
    /// A word that this version does not know.
    Other(String),
}

impl ActiveState {
    /// The state that a word of `ActiveState` stands for.
    #[must_use]
    pub fn of(word: &str) -> Self {
        match word {
            "active" => Self::Active,
            "reloading" | "refreshing" => Self::Reloading,
            "activating" => Self::Activating,
            "deactivating" => Self::Deactivating,
            "inactive" => Self::Inactive,
            "failed" => Self::Failed,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// What systemd was told to forget after a drop-in went away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reload {
    /// systemd's view was as before without it.
    NotNeeded,
    /// systemd has read its unit files again.
    Done,
    /// Left to the administrator: these units have changes on disk that
    /// somebody has not loaded yet, and a reload would load them, too. The
    /// value itself is restored; only `systemctl show` of the unit says
    /// `NeedDaemonReload=yes` until then.
    Pending {
        /// The units with changes of somebody else's.
        units: Vec<String>,
    },
}

/// How a property was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Whether the unit is still there. When it is gone, only the drop-in was
    /// left to restore.
    pub unit_exists: bool,
    /// What became of the drop-in file.
    pub drop_in: DropInOutcome,
    /// Whether systemd had to be told.
    pub reload: Reload,
}

impl Restored {
    /// What a person should know, one sentence each; empty when everything is
    /// as it was.
    #[must_use]
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if let DropInOutcome::LeftAlone { path } = &self.drop_in {
            remarks.push(format!(
                "`{}` was left alone: somebody has changed it since",
                path.display()
            ));
        }
        if let Reload::Pending { units } = &self.reload {
            remarks.push(format!(
                "run `systemctl daemon-reload` when you are ready to load the changed files of {}: \
                 until then systemd reports NeedDaemonReload=yes",
                units.join(", ")
            ));
        }
        remarks
    }
}

/// A service that outlives its starter, to undo something later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeeperService {
    /// `grey-optimizer-lease-7.service`.
    pub name: String,
    /// One line for `systemctl status`.
    pub description: String,
    /// The program, by its absolute path, and its arguments. It may be started
    /// again after it was killed, so running it twice must do no harm.
    pub arguments: Vec<String>,
}

/// The manager of units. Implemented by `Systemd` (with the feature
/// `systemd`), and by fakes in tests.
///
/// Every method checks the unit's name first, waits for a bounded time only,
/// and fails with [`SystemdError::NoSuchUnit`] when there is no such unit.
pub trait UnitManager {
    /// What the manager knows of a unit's memory settings. What this kind of
    /// unit or this version of systemd does not have is `None` or false.
    /// `oomd_kills_on_pressure` is also true when a slice above is watched.
    ///
    /// # Errors
    /// When the unit is missing or systemd cannot be asked.
    fn unit_facts(&self, unit: &str) -> Result<UnitFacts, SystemdError>;

    /// The unit's cgroup; `None` while it has none.
    ///
    /// # Errors
    /// When the unit is missing or systemd cannot be asked.
    fn control_group(&self, unit: &str) -> Result<Option<CgroupPath>, SystemdError>;

    /// Tells a transient unit from a later one of the same name: restarting it
    /// does not change this. `None` for a unit that has a file of its own.
    ///
    /// # Errors
    /// When the unit is missing or systemd cannot be asked.
    fn identity(&self, unit: &str) -> Result<Option<String>, SystemdError>;

    /// What the unit is doing.
    ///
    /// # Errors
    /// When the unit is missing or systemd cannot be asked.
    fn active_state(&self, unit: &str) -> Result<ActiveState, SystemdError>;

    /// The property as systemd has it: a number of bytes, or `infinity`.
    ///
    /// # Errors
    /// When the unit is missing or has no such property.
    fn read_property(
        &self,
        unit: &str,
        property: UnitMemoryProperty,
    ) -> Result<KnobValue, SystemdError>;

    /// What the drop-in file looks like that [`Self::set_property`] will write;
    /// to be journaled before that.
    ///
    /// # Errors
    /// When the unit is missing, or the file cannot be read.
    fn drop_in_before(
        &self,
        unit: &str,
        property: UnitMemoryProperty,
    ) -> Result<DropInBefore, SystemdError>;

    /// Sets the property at run time: it holds until it is changed, or until
    /// the machine goes down. Returns when systemd has the new value and has
    /// tried to write it to the kernel; whether the kernel took it is for the
    /// caller to see in the cgroup.
    ///
    /// # Errors
    /// When the value is neither a number of bytes nor `infinity`, the unit is
    /// missing, or systemd refuses.
    fn set_property(
        &self,
        unit: &str,
        property: UnitMemoryProperty,
        value: &KnobValue,
    ) -> Result<(), SystemdError>;

    /// Puts the earlier value back, and the drop-in file as it was. May be
    /// called again after it was interrupted anywhere.
    ///
    /// Call it also when [`Self::read_property`] reads `value` already: after
    /// a `systemctl daemon-reload` systemd may show the value of its files
    /// while the kernel still holds ours.
    ///
    /// # Undo
    /// Restored are: systemd's value; the kernel's value, through it; the file
    /// `50-PROPERTY.conf` in the unit's run-time drop-in directory (removed,
    /// or its bytes, mode and time of change as before); that directory, if
    /// it did not exist and is empty now; and `DropInPaths` and
    /// `NeedDaemonReload` of the unit, by a reload where one is needed and
    /// loads nobody else's changes (see [`Reload::Pending`]). Persistent
    /// drop-ins, unit files and other properties are never touched. Not
    /// restored: the empty parent `/run/systemd/system.control`, which another
    /// `systemctl set-property` may be about to use.
    ///
    /// # Errors
    /// When systemd cannot be asked or refuses, or a file cannot be put back.
    /// A unit that is gone is no error.
    fn restore_property(
        &self,
        unit: &str,
        property: UnitMemoryProperty,
        value: &KnobValue,
        drop_in: &DropInBefore,
    ) -> Result<Restored, SystemdError>;

    /// Puts one process into a new transient scope and returns its cgroup. The
    /// scope lies in the slice that the process came from (`origin`), or in
    /// `system.slice`. Its memory is accounted for.
    ///
    /// # Undo
    /// Move the processes back to `origin`; the scope then ends by itself,
    /// see [`Self::wait_scope_gone`].
    ///
    /// # Errors
    /// When the scope exists, the process does not, or systemd refuses.
    fn start_scope(
        &self,
        scope: &str,
        pid: u32,
        origin: &CgroupPath,
        description: &str,
    ) -> Result<CgroupPath, SystemdError>;

    /// Whether there is a scope of this name that has not ended.
    ///
    /// # Errors
    /// When systemd cannot be asked.
    fn scope_exists(&self, scope: &str) -> Result<bool, SystemdError>;

    /// The pids of the processes in the scope; none when it has ended.
    ///
    /// # Errors
    /// When systemd cannot be asked.
    fn scope_processes(&self, scope: &str) -> Result<Vec<u32>, SystemdError>;

    /// Waits until the scope has ended, which it does once it is empty; false
    /// when it has not within `bound`.
    ///
    /// # Errors
    /// When systemd cannot be asked.
    fn wait_scope_gone(&self, scope: &str, bound: Duration) -> Result<bool, SystemdError>;

    /// Starts a transient service that belongs to no session and survives its
    /// starter. Returns once its program runs.
    ///
    /// # Errors
    /// When the program cannot be executed, or systemd refuses.
    fn start_keeper_service(&self, keeper: &KeeperService) -> Result<(), SystemdError>;

    /// Stops a unit that we started: a keeper that has nothing to do any more.
    /// One that is gone is no error.
    ///
    /// # Errors
    /// When systemd cannot be asked or refuses.
    fn stop_unit(&self, unit: &str) -> Result<(), SystemdError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_runs_where_its_directory_is() {
        let directory = tempfile::tempdir().unwrap();
        assert!(is_running(directory.path()));
        assert!(!is_running(&directory.path().join("missing")));
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(!is_running(&file));
    }

    #[test]
    fn a_complete_restoration_needs_no_remark() {
        let mut restored = Restored {
            unit_exists: true,
            drop_in: DropInOutcome::AsBefore,
            reload: Reload::Done,
        };
        assert!(restored.remarks().is_empty());
        restored.reload = Reload::Pending {
            units: vec!["ssh.service".to_owned()],
        };
        restored.drop_in = DropInOutcome::LeftAlone {
            path: "/run/x.conf".into(),
        };
        let remarks = restored.remarks().join("\n");
        assert!(remarks.contains("ssh.service") && remarks.contains("/run/x.conf"));
    }
}
