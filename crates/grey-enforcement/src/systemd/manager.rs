//! Units of the real systemd: what they are, and their memory properties.
//!
//! Never changes a unit persistently, and never a property but the one named.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use grey_model::owner::OUR_SUBTREE;
use grey_model::{CgroupPath, KnobValue, UnitFacts, UnitMemoryProperty};
use zbus::{OwnedObjectPath, OwnedVariant, Variant};

use super::bus::{Bus, Method};
use super::drop_in::{DropInBefore, RUNTIME_CONTROL, TRANSIENT};
use super::error::SystemdError;
use super::properties::{bytes_of, flag, limit_of, number, value_of, word};
use super::unit_name::{UnitKind, UnitName};
use super::{ActiveState, KeeperService, Reload, Restored, UnitManager, transient};

const UNIT: &str = "org.freedesktop.systemd1.Unit";

/// Time for systemd to read all its unit files again: its generators run, too.
const RELOAD_LIMIT: Duration = Duration::from_secs(120);
/// More units than a machine has; beyond it, others' changes are not looked for
/// and nothing is reloaded.
const MOST_UNITS: usize = 20_000;

/// How deep slices are nested at most: a name of 255 bytes has no more dashes.
const MOST_SLICES: usize = 128;

/// One line of `ListUnits`: name, description, load state, active state, sub
/// state, followed unit, object, job id, job type, job object.
type ListedUnit = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

/// systemd, process 1, over the system bus.
#[derive(Debug)]
pub struct Systemd {
    pub(super) bus: Bus,
}

/// A unit that systemd has loaded.
#[derive(Debug)]
struct LoadedUnit {
    path: OwnedObjectPath,
    /// Its own name: it may have been asked for by an alias.
    id: UnitName,
}

impl Systemd {
    /// Connects to the system bus, at `DBUS_SYSTEM_BUS_ADDRESS` or the usual
    /// socket, within 10 s. Every later call is answered within 25 s, a reload
    /// within 120 s, or fails with [`SystemdError::TimedOut`].
    ///
    /// # Errors
    /// [`SystemdError::Connect`].
    pub fn connect() -> Result<Self, SystemdError> {
        Bus::connect().map(|bus| Self { bus })
    }

    /// Loads the unit, as `systemctl show` does: it need not be running.
    fn load(&self, unit: &str) -> Result<LoadedUnit, SystemdError> {
        let name = UnitName::parse(unit)?;
        let path: OwnedObjectPath = self.bus.call(
            Method::of_manager("LoadUnit"),
            &(name.as_str(),),
            Some(unit),
            &|| format!("find {unit}"),
        )?;
        let load_state = self.text(&path, UNIT, "LoadState", unit)?;
        match load_state.as_str() {
            "not-found" => Err(SystemdError::NoSuchUnit {
                unit: unit.to_owned(),
            }),
            "loaded" | "merged" => Ok(LoadedUnit {
                id: UnitName::parse(&self.text(&path, UNIT, "Id", unit)?)?,
                path,
            }),
            _ => Err(SystemdError::UnexpectedAnswer {
                doing: format!("find {unit}"),
                answer: load_state,
            }),
        }
    }

    fn text(
        &self,
        path: &OwnedObjectPath,
        interface: &str,
        name: &str,
        unit: &str,
    ) -> Result<String, SystemdError> {
        let variant = self.bus.property(path.as_str(), interface, name, unit)?;
        word(&variant)
            .map(str::to_owned)
            .ok_or_else(|| strange(name, unit, &variant))
    }

    fn truth(
        &self,
        path: &OwnedObjectPath,
        interface: &str,
        name: &str,
        unit: &str,
    ) -> Result<bool, SystemdError> {
        let variant = self.bus.property(path.as_str(), interface, name, unit)?;
        flag(&variant).ok_or_else(|| strange(name, unit, &variant))
    }

    fn bytes(&self, unit: &LoadedUnit, name: &str) -> Result<u64, SystemdError> {
        let interface = unit.id.kind().interface();
        let id = unit.id.as_str();
        let variant = self.bus.property(unit.path.as_str(), interface, name, id)?;
        number(&variant).ok_or_else(|| strange(name, id, &variant))
    }

    /// A property that an older systemd, or this kind of unit, may lack.
    fn optional_text(&self, unit: &LoadedUnit, name: &str) -> Result<Option<String>, SystemdError> {
        let interface = unit.id.kind().interface();
        match self.text(&unit.path, interface, name, unit.id.as_str()) {
            Ok(text) => Ok(Some(text)),
            Err(SystemdError::NotSupported { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn is_kill(&self, unit: &LoadedUnit, name: &str) -> Result<bool, SystemdError> {
        self.optional_text(unit, name)
            .map(|word| word.as_deref() == Some("kill"))
    }

    /// systemd-oomd chooses among everything below the unit that it watches,
    /// so the slices above count, too.
    fn is_killed_on_pressure(&self, unit: &LoadedUnit) -> Result<bool, SystemdError> {
        const PROPERTY: &str = "ManagedOOMMemoryPressure";
        if self.is_kill(unit, PROPERTY)? {
            return Ok(true);
        }
        let mut slice = self.optional_text(unit, "Slice")?;
        for _ in 0..MOST_SLICES {
            let Some(name) = slice.filter(|name| !name.is_empty()) else {
                return Ok(false);
            };
            let above = self.load(&name)?;
            if self.is_kill(&above, PROPERTY)? {
                return Ok(true);
            }
            slice = self.optional_text(&above, "Slice")?;
        }
        Ok(false)
    }

    fn cgroup(&self, unit: &LoadedUnit) -> Result<Option<CgroupPath>, SystemdError> {
        let interface = unit.id.kind().interface();
        let text = self.text(&unit.path, interface, "ControlGroup", unit.id.as_str())?;
        if text.is_empty() {
            return Ok(None);
        }
        CgroupPath::new(text.as_bytes())
            .map(Some)
            .ok_or_else(|| SystemdError::UnexpectedAnswer {
                doing: format!("read ControlGroup of {}", unit.id),
                answer: text,
            })
    }

    fn needs_reload(&self, unit: &LoadedUnit) -> Result<bool, SystemdError> {
        self.truth(&unit.path, UNIT, "NeedDaemonReload", unit.id.as_str())
    }

    fn set(
        &self,
        unit: &LoadedUnit,
        property: UnitMemoryProperty,
        bytes: u64,
    ) -> Result<(), SystemdError> {
        let id = unit.id.as_str();
        let properties = vec![(property.name(), Variant::U64(bytes))];
        self.bus.call::<_, ()>(
            Method::of_manager("SetUnitProperties"),
            &(id, true, properties),
            Some(id),
            &|| format!("set {} of {id}", property.name()),
        )?;
        // systemd answers before it writes to the kernel, and writes before it
        // reads the next call: this answer means that the write was tried.
        let now = self.bytes(unit, property.name())?;
        if now == bytes {
            return Ok(());
        }
        Err(SystemdError::UnexpectedAnswer {
            doing: format!("set {} of {id} to {}", property.name(), value_of(bytes)),
            answer: value_of(now).0,
        })
    }

    /// Lets systemd forget a drop-in that is gone, unless that would load
    /// changes of somebody else's.
    fn reload_if_needed(
        &self,
        unit: &LoadedUnit,
        needed_before: bool,
    ) -> Result<Reload, SystemdError> {
        if needed_before || is_ours(unit) || !self.needs_reload(unit)? {
            return Ok(Reload::NotNeeded);
        }
        let units = self.others_that_need_reload(unit)?;
        if !units.is_empty() {
            return Ok(Reload::Pending { units });
        }
        self.reload()?;
        Ok(Reload::Done)
    }

    fn others_that_need_reload(&self, unit: &LoadedUnit) -> Result<Vec<String>, SystemdError> {
        let all: Vec<ListedUnit> =
            self.bus
                .call(Method::of_manager("ListUnits"), &(), None, &|| {
                    "list the units".to_owned()
                })?;
        if all.len() > MOST_UNITS {
            return Ok(vec![format!("some of {} units", all.len())]);
        }
        let mut found = Vec::new();
        for (name, _, load_state, _, _, _, path, ..) in all {
            if load_state == "not-found" || path == unit.path {
                continue;
            }
            match self.truth(&path, UNIT, "NeedDaemonReload", &name) {
                Ok(true) => found.push(name),
                // A unit that has gone meanwhile has nothing to load.
                Ok(false) | Err(SystemdError::Call { .. } | SystemdError::NotSupported { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// On a connection of its own: it takes longer than other calls may.
    fn reload(&self) -> Result<(), SystemdError> {
        let patient = Bus::connect_with_limit(RELOAD_LIMIT)?;
        patient.call(Method::of_manager("Reload"), &(), None, &|| {
            "reload systemd's unit files".to_owned()
        })
    }
}

impl UnitManager for Systemd {
    fn unit_facts(&self, unit: &str) -> Result<UnitFacts, SystemdError> {
        let unit = self.load(unit)?;
        Ok(UnitFacts {
            memory_high: Some(limit_of(self.bytes(&unit, "MemoryHigh")?)),
            memory_max: Some(limit_of(self.bytes(&unit, "MemoryMax")?)),
            oomd_kills_on_pressure: self.is_killed_on_pressure(&unit)?,
            oomd_kills_on_swap: self.is_kill(&unit, "ManagedOOMSwap")?,
            oom_policy: match unit.id.kind() {
                UnitKind::Service | UnitKind::Scope => self.optional_text(&unit, "OOMPolicy")?,
                UnitKind::Slice | UnitKind::Socket | UnitKind::Mount | UnitKind::Swap => None,
            },
        })
    }

    fn control_group(&self, unit: &str) -> Result<Option<CgroupPath>, SystemdError> {
        self.cgroup(&self.load(unit)?)
    }

    fn identity(&self, unit: &str) -> Result<Option<String>, SystemdError> {
        let loaded = self.load(unit)?;
        if !self.truth(&loaded.path, UNIT, "Transient", unit)? {
            return Ok(None);
        }
        let file = self.text(&loaded.path, UNIT, "FragmentPath", unit)?;
        identity_of_file(Path::new(&file))
    }

    fn active_state(&self, unit: &str) -> Result<ActiveState, SystemdError> {
        let loaded = self.load(unit)?;
        let word = self.text(&loaded.path, UNIT, "ActiveState", unit)?;
        Ok(ActiveState::of(&word))
    }

    fn read_property(
        &self,
        unit: &str,
        property: UnitMemoryProperty,
    ) -> Result<KnobValue, SystemdError> {
        let unit = self.load(unit)?;
        self.bytes(&unit, property.name()).map(value_of)
    }

    fn drop_in_before(
        &self,
        unit: &str,
        property: UnitMemoryProperty,
    ) -> Result<DropInBefore, SystemdError> {
        let unit = self.load(unit)?;
        let id = unit.id.as_str();
        let directory = if self.truth(&unit.path, UNIT, "Transient", id)? {
            TRANSIENT
        } else {
            RUNTIME_CONTROL
        };
        let needs_reload = self.needs_reload(&unit)?;
        DropInBefore::read(Path::new(directory), id, property, needs_reload)
    }

    fn set_property(
        &self,
        unit: &str,
        property: UnitMemoryProperty,
        value: &KnobValue,
    ) -> Result<(), SystemdError> {
        let bytes = bytes_of(value)?;
        self.set(&self.load(unit)?, property, bytes)
    }

    fn restore_property(
        &self,
        unit: &str,
        property: UnitMemoryProperty,
        value: &KnobValue,
        drop_in: &DropInBefore,
    ) -> Result<Restored, SystemdError> {
        let bytes = bytes_of(value)?;
        let loaded = match self.load(unit) {
            Ok(loaded) => loaded,
            Err(SystemdError::NoSuchUnit { .. }) => {
                return Ok(Restored {
                    unit_exists: false,
                    drop_in: drop_in.put_back(property)?,
                    reload: Reload::NotNeeded,
                });
            }
            Err(error) => return Err(error),
        };
        self.set(&loaded, property, bytes)?;
        let outcome = drop_in.put_back(property)?;
        Ok(Restored {
            unit_exists: true,
            drop_in: outcome,
            reload: self.reload_if_needed(&loaded, drop_in.needs_reload)?,
        })
    }

    fn start_scope(
        &self,
        scope: &str,
        pid: u32,
        origin: &CgroupPath,
        description: &str,
    ) -> Result<CgroupPath, SystemdError> {
        transient::start_scope(self, scope, pid, origin, description)
    }

    fn scope_exists(&self, scope: &str) -> Result<bool, SystemdError> {
        transient::scope_exists(self, scope)
    }

    fn scope_processes(&self, scope: &str) -> Result<Vec<u32>, SystemdError> {
        transient::scope_processes(self, scope)
    }

    fn wait_scope_gone(&self, scope: &str, bound: Duration) -> Result<bool, SystemdError> {
        transient::wait_scope_gone(self, scope, bound)
    }

    fn start_keeper_service(&self, keeper: &KeeperService) -> Result<(), SystemdError> {
        transient::start_keeper_service(self, keeper)
    }

    fn stop_unit(&self, unit: &str) -> Result<(), SystemdError> {
        transient::stop_unit(self, unit)
    }
}

/// A scope or service that we made: it ends with what is being undone, and
/// its drop-ins with it, so that nobody has to read anything again.
fn is_ours(unit: &LoadedUnit) -> bool {
    let name = unit.id.as_str();
    name.strip_prefix(OUR_SUBTREE)
        .is_some_and(|rest| rest.starts_with('-'))
}

/// systemd writes the file of a transient unit once, when the unit is made, and
/// removes it with the unit. Units such as `init.scope` have none.
fn identity_of_file(path: &Path) -> Result<Option<String>, SystemdError> {
    match std::fs::symlink_metadata(path) {
        Ok(about) => Ok(Some(format!(
            "{}:{}.{:09}",
            about.ino(),
            about.mtime(),
            about.mtime_nsec()
        ))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SystemdError::DropIn {
            doing: "look at",
            path: path.to_owned(),
            source,
        }),
    }
}

fn strange(name: &str, unit: &str, variant: &OwnedVariant) -> SystemdError {
    SystemdError::UnexpectedAnswer {
        doing: format!("read {name} of {unit}"),
        answer: format!("{variant:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_file_that_was_made_again_has_another_identity() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t1.service");
        assert_eq!(identity_of_file(&path).unwrap(), None);
        assert_eq!(identity_of_file(Path::new("")).unwrap(), None);
        std::fs::write(&path, "x").unwrap();
        let first = identity_of_file(&path).unwrap();
        assert!(first.is_some());
        assert_eq!(identity_of_file(&path).unwrap(), first);
        // Kept aside, so that its inode number cannot be used again.
        std::fs::rename(&path, directory.path().join("old")).unwrap();
        std::fs::write(&path, "x").unwrap();
        assert_ne!(identity_of_file(&path).unwrap(), first);
    }
}
