//! A unit's `MemoryHigh=` and `MemoryMax=`, through systemd.
//!
//! Never writes the unit's cgroup: systemd would not know.

use grey_model::{CgroupPath, KnobValue, UnitMemoryProperty};

use super::{KnobError, Restored};
use crate::systemd::{DropInBefore, SystemdError, UnitManager};

pub(super) fn read(
    units: &dyn UnitManager,
    unit: &str,
    property: UnitMemoryProperty,
) -> Result<Option<KnobValue>, KnobError> {
    match units.read_property(unit, property) {
        Ok(value) => Ok(Some(value)),
        Err(SystemdError::NoSuchUnit { .. }) => Err(KnobError::UnitGone {
            unit: unit.to_owned(),
        }),
        Err(source) => Err(failed(
            format!("read {} of {unit}", property.name()),
            source,
        )),
    }
}

/// Where the unit's processes are accounted for; `None` while it has no cgroup.
pub(super) fn cgroup(units: &dyn UnitManager, unit: &str) -> Result<Option<CgroupPath>, KnobError> {
    match units.control_group(unit) {
        Ok(cgroup) => Ok(cgroup),
        Err(SystemdError::NoSuchUnit { .. }) => Err(KnobError::UnitGone {
            unit: unit.to_owned(),
        }),
        Err(source) => Err(failed(format!("name the cgroup of {unit}"), source)),
    }
}

/// What tells a transient unit from a later one of the same name.
pub(super) fn identity(units: &dyn UnitManager, unit: &str) -> Result<Option<String>, KnobError> {
    match units.identity(unit) {
        Ok(identity) => Ok(identity),
        Err(SystemdError::NoSuchUnit { .. }) => Err(KnobError::UnitGone {
            unit: unit.to_owned(),
        }),
        Err(source) => Err(failed(format!("say which {unit} is"), source)),
    }
}

/// Whether the unit of that name is the transient unit `expected`. One that has
/// been restarted is.
pub(super) fn check_identity(
    units: &dyn UnitManager,
    unit: &str,
    expected: &str,
) -> Result<(), KnobError> {
    if identity(units, unit)?.as_deref() == Some(expected) {
        return Ok(());
    }
    Err(KnobError::UnitReplaced {
        unit: unit.to_owned(),
    })
}

/// What the drop-in file looks like that setting the property will write.
pub(super) fn drop_in(
    units: &dyn UnitManager,
    unit: &str,
    property: UnitMemoryProperty,
) -> Result<DropInBefore, KnobError> {
    units
        .drop_in_before(unit, property)
        .map_err(|source| failed(format!("say where {unit} has its drop-ins"), source))
}

pub(super) fn set(
    units: &dyn UnitManager,
    unit: &str,
    property: UnitMemoryProperty,
    value: &KnobValue,
) -> Result<(), KnobError> {
    units
        .set_property(unit, property, value)
        .map_err(|source| failed(format!("set {}={value} of {unit}", property.name()), source))
}

/// # Undo
/// The earlier value and the earlier drop-in file.
pub(super) fn restore(
    units: &dyn UnitManager,
    unit: &str,
    property: UnitMemoryProperty,
    before: &KnobValue,
    drop_in: Option<&DropInBefore>,
) -> Result<Restored, KnobError> {
    let what = || format!("set {}={before} of {unit} again", property.name());
    let Some(drop_in) = drop_in else {
        set(units, unit, property, before)?;
        return Ok(Restored {
            note: Some("the record has no drop-in file: systemd may keep one".to_owned()),
        });
    };
    let restored = units
        .restore_property(unit, property, before, drop_in)
        .map_err(|source| failed(what(), source))?;
    if !restored.unit_exists {
        return Err(KnobError::UnitGone {
            unit: unit.to_owned(),
        });
    }
    let remarks = restored.remarks();
    Ok(Restored {
        note: (!remarks.is_empty()).then(|| remarks.join("; ")),
    })
}

fn failed(doing: String, source: SystemdError) -> KnobError {
    KnobError::Unit {
        doing,
        source: Box::new(source),
    }
}
