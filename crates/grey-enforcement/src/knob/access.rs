//! One way to every setting: read, set, restore.
//!
//! Only sends a setting to the file of its kind; the tests put a machine that
//! fails in its place.

use std::cell::OnceCell;

use grey_model::{CgroupId, CgroupPath, Knob, KnobValue};
use grey_telemetry::Kernel;
use serde::{Deserialize, Serialize};

use super::Place;
use super::{
    KnobError, cgroup_directory, cgroup_file, ksm, memory_controller, oom_score_adj,
    process_cgroup, rlimit_data, transient_scope, unit_property,
};
use crate::systemd::{DropInBefore, UnitManager};

/// What undoing needs besides the earlier value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Saved {
    /// The cgroup that was changed or made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cgroup_id: Option<CgroupId>,
    /// systemd's drop-in file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) drop_in: Option<DropInBefore>,
    /// Which of the transient units that may have had this name it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unit_identity: Option<String>,
    /// Where it was changed from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<Place>,
}

/// How a setting was restored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Restored {
    /// What a person should know: it could not be put back quite as it was.
    pub(crate) note: Option<String>,
}

impl Restored {
    /// Exactly as it was.
    pub(crate) const fn exactly() -> Self {
        Self { note: None }
    }
}

/// Reads, sets and restores settings.
pub(crate) trait KnobAccess {
    /// The value now; `None` when the thing that may or may not exist does not.
    fn read(&self, knob: &Knob) -> Result<Option<KnobValue>, KnobError>;

    /// What undoing will need, read before the change.
    fn saved_before(&self, knob: &Knob) -> Result<Saved, KnobError>;

    /// Sets it.
    fn set(&self, knob: &Knob, value: Option<&KnobValue>) -> Result<(), KnobError>;

    /// Whether the unit is still the one that was changed.
    fn check_unit(&self, knob: &Knob, saved: &Saved) -> Result<(), KnobError>;

    /// The cgroup of a unit; `None` while it has none.
    fn unit_cgroup(&self, unit: &str) -> Result<Option<CgroupPath>, KnobError>;

    /// The id of the cgroup that a change has made, read after it.
    fn made_cgroup(&self, knob: &Knob) -> Result<Option<CgroupId>, KnobError>;

    /// Puts the earlier value back. `force` overrides others' use of it.
    fn restore(
        &self,
        knob: &Knob,
        before: Option<&KnobValue>,
        saved: &Saved,
        force: bool,
    ) -> Result<Restored, KnobError>;
}

/// The settings of the kernel below the given roots, and of systemd.
pub(crate) struct KernelKnobs {
    kernel: Kernel,
    units: OnceCell<Box<dyn UnitManager>>,
}

impl KernelKnobs {
    /// systemd is asked only when a setting of its units is used.
    pub(crate) fn new(kernel: Kernel) -> Self {
        Self {
            kernel,
            units: OnceCell::new(),
        }
    }

    /// The same with a manager of units that is there already.
    #[cfg(test)]
    pub(crate) fn with_units(kernel: Kernel, manager: Box<dyn UnitManager>) -> Self {
        let units = OnceCell::new();
        let _ = units.set(manager);
        Self { kernel, units }
    }

    fn units(&self) -> Result<&dyn UnitManager, KnobError> {
        if let Some(units) = self.units.get() {
            return Ok(units.as_ref());
        }
        let manager = connect(&self.kernel)?;
        Ok(self.units.get_or_init(|| manager).as_ref())
    }
}

/// Connects to systemd, if it is process 1.
pub(crate) fn connect(kernel: &Kernel) -> Result<Box<dyn UnitManager>, KnobError> {
    if !kernel.has_systemd() {
        return Err(KnobError::Missing {
            what: "systemd".to_owned(),
        });
    }
    #[cfg(feature = "systemd")]
    {
        crate::systemd::Systemd::connect()
            .map(|manager| Box::new(manager) as Box<dyn UnitManager>)
            .map_err(|source| KnobError::Unit {
                doing: "answer".to_owned(),
                source: Box::new(source),
            })
    }
    #[cfg(not(feature = "systemd"))]
    Err(KnobError::Missing {
        what: "support for systemd: this program was built without it".to_owned(),
    })
}

impl KnobAccess for KernelKnobs {
    fn read(&self, knob: &Knob) -> Result<Option<KnobValue>, KnobError> {
        let kernel = &self.kernel;
        match knob {
            Knob::CgroupFile { cgroup, id, file } => cgroup_file::read(kernel, cgroup, *id, *file),
            Knob::MemoryController { cgroup } => memory_controller::read(kernel, cgroup),
            Knob::CgroupDirectory { cgroup, .. } => cgroup_directory::read(kernel, cgroup),
            Knob::ProcessCgroup { process } => process_cgroup::read(kernel, *process),
            Knob::UnitProperty { unit, property } => {
                unit_property::read(self.units()?, unit, *property)
            }
            Knob::TransientScope { scope, process, .. } => {
                transient_scope::read(kernel, self.units()?, scope, *process)
            }
            Knob::Ksm { file } => ksm::read(kernel, *file),
            Knob::OomScoreAdj { process } => oom_score_adj::read(kernel, *process),
            Knob::RlimitData { process } => rlimit_data::read(kernel, *process),
        }
    }

    fn saved_before(&self, knob: &Knob) -> Result<Saved, KnobError> {
        let mut saved = Saved::default();
        match knob {
            Knob::CgroupFile { cgroup, id, .. } => {
                let held = super::HeldCgroup::open(&self.kernel, cgroup, *id)?;
                saved.cgroup_id = Some(held.id());
            }
            Knob::MemoryController { cgroup } => {
                let held = super::HeldCgroup::open(&self.kernel, cgroup, None)?;
                saved.cgroup_id = Some(held.id());
            }
            Knob::UnitProperty { unit, property } => {
                let units = self.units()?;
                saved.drop_in = Some(unit_property::drop_in(units, unit, *property)?);
                saved.unit_identity = unit_property::identity(units, unit)?;
            }
            _ => {}
        }
        Ok(saved)
    }

    fn set(&self, knob: &Knob, value: Option<&KnobValue>) -> Result<(), KnobError> {
        let kernel = &self.kernel;
        let needed = || {
            value.ok_or_else(|| KnobError::BadValue {
                knob: knob.clone(),
                value: "absent".to_owned(),
            })
        };
        match knob {
            Knob::CgroupFile { cgroup, id, file } => {
                cgroup_file::set(kernel, cgroup, *id, *file, needed()?)
            }
            Knob::MemoryController { cgroup } => memory_controller::set(kernel, cgroup, needed()?),
            Knob::CgroupDirectory { cgroup, .. } => {
                needed()?;
                cgroup_directory::set(kernel, cgroup)
            }
            Knob::ProcessCgroup { process } => process_cgroup::set(kernel, *process, needed()?),
            Knob::UnitProperty { unit, property } => {
                unit_property::set(self.units()?, unit, *property, needed()?)
            }
            Knob::TransientScope {
                scope,
                process,
                origin,
            } => {
                needed()?;
                transient_scope::set(kernel, self.units()?, scope, *process, origin)
            }
            Knob::Ksm { file } => ksm::set(kernel, *file, needed()?),
            Knob::OomScoreAdj { process } => oom_score_adj::set(kernel, *process, needed()?),
            Knob::RlimitData { process } => rlimit_data::set(kernel, *process, needed()?),
        }
    }

    fn check_unit(&self, knob: &Knob, saved: &Saved) -> Result<(), KnobError> {
        match (knob, &saved.unit_identity) {
            (Knob::UnitProperty { unit, .. }, Some(identity)) => {
                unit_property::check_identity(self.units()?, unit, identity)
            }
            _ => Ok(()),
        }
    }

    fn unit_cgroup(&self, unit: &str) -> Result<Option<CgroupPath>, KnobError> {
        unit_property::cgroup(self.units()?, unit)
    }

    fn made_cgroup(&self, knob: &Knob) -> Result<Option<CgroupId>, KnobError> {
        let Knob::CgroupDirectory { cgroup, .. } = knob else {
            return Ok(None);
        };
        super::HeldCgroup::open(&self.kernel, cgroup, None).map(|held| Some(held.id()))
    }

    fn restore(
        &self,
        knob: &Knob,
        before: Option<&KnobValue>,
        saved: &Saved,
        force: bool,
    ) -> Result<Restored, KnobError> {
        let kernel = &self.kernel;
        let needed = || {
            before.ok_or_else(|| KnobError::BadValue {
                knob: knob.clone(),
                value: "absent".to_owned(),
            })
        };
        match knob {
            Knob::CgroupFile { cgroup, id, file } => {
                cgroup_file::restore(kernel, cgroup, *id, *file, needed()?)
            }
            Knob::MemoryController { cgroup } => {
                super::HeldCgroup::open(kernel, cgroup, saved.cgroup_id)?;
                memory_controller::restore(kernel, cgroup, needed()?, force)
            }
            Knob::CgroupDirectory { cgroup, refuge } => {
                cgroup_directory::restore(kernel, cgroup, refuge, saved.cgroup_id)
            }
            Knob::ProcessCgroup { process } => process_cgroup::restore(kernel, *process, needed()?),
            Knob::UnitProperty { unit, property } => {
                match self.check_unit(knob, saved) {
                    // Its drop-in file may be left.
                    Ok(()) | Err(KnobError::UnitGone { .. }) => {}
                    Err(error) => return Err(error),
                }
                let drop_in = saved.drop_in.as_ref();
                unit_property::restore(self.units()?, unit, *property, needed()?, drop_in)
            }
            Knob::TransientScope {
                scope,
                process,
                origin,
            } => transient_scope::restore(kernel, self.units()?, scope, *process, origin),
            Knob::Ksm { file } => ksm::restore(kernel, *file, needed()?, force),
            Knob::OomScoreAdj { process } => oom_score_adj::restore(kernel, *process, needed()?),
            Knob::RlimitData { process } => rlimit_data::restore(kernel, *process, needed()?),
        }
    }
}
