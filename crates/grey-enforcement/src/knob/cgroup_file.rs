//! `memory.high` and `memory.max` of a cgroup that may be written directly.
//!
//! Never writes to a cgroup that was removed and made again under the same
//! path: where the id is known, it must be the same.

use grey_model::{CgroupFile, CgroupId, CgroupPath, KnobValue};
use grey_telemetry::Kernel;

use super::held::{HeldCgroup, first_line};
use super::{KnobError, Restored};

pub(super) fn read(
    kernel: &Kernel,
    cgroup: &CgroupPath,
    id: Option<CgroupId>,
    file: CgroupFile,
) -> Result<Option<KnobValue>, KnobError> {
    let held = HeldCgroup::open(kernel, cgroup, id)?;
    let text = held.read(file.file_name())?;
    first_line(&format!("{} of {cgroup}", file.file_name()), &text).map(Some)
}

pub(super) fn set(
    kernel: &Kernel,
    cgroup: &CgroupPath,
    id: Option<CgroupId>,
    file: CgroupFile,
    value: &KnobValue,
) -> Result<(), KnobError> {
    HeldCgroup::open(kernel, cgroup, id)?.write(file.file_name(), &value.0)
}

/// # Undo
/// The value that was there before, written back.
pub(super) fn restore(
    kernel: &Kernel,
    cgroup: &CgroupPath,
    id: Option<CgroupId>,
    file: CgroupFile,
    before: &KnobValue,
) -> Result<Restored, KnobError> {
    set(kernel, cgroup, id, file, before).map(|()| Restored::exactly())
}
