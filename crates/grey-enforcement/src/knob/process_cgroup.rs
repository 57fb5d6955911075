//! The cgroup that a process is in.
//!
//! Never moves another process that got the same pid: identity is checked
//! before and after, and a wrong move is reported.

use grey_model::{CgroupPath, KnobValue, ProcessId};
use grey_telemetry::Kernel;

use super::held::{HeldCgroup, HeldProcess, text_of};
use super::{KnobError, Restored};

pub(super) fn read(kernel: &Kernel, process: ProcessId) -> Result<Option<KnobValue>, KnobError> {
    let path = HeldProcess::open(kernel, process)?.cgroup(kernel)?;
    Ok(Some(KnobValue(text_of(&path)?.to_owned())))
}

pub(super) fn set(kernel: &Kernel, process: ProcessId, value: &KnobValue) -> Result<(), KnobError> {
    let path = path_of(process, value)?;
    let cgroup = HeldCgroup::open(kernel, &path, None)?;
    move_to(kernel, process, &cgroup)
}

/// # Undo
/// Back to the path that it came from, or to the nearest cgroup above that
/// path that still exists, which is reported.
pub(super) fn restore(
    kernel: &Kernel,
    process: ProcessId,
    before: &KnobValue,
) -> Result<Restored, KnobError> {
    let wanted = path_of(process, before)?;
    HeldProcess::open(kernel, process)?;
    let (cgroup, path) = nearest_existing(kernel, &wanted)?;
    move_to(kernel, process, &cgroup)?;
    Ok(Restored {
        note: (path != wanted)
            .then(|| format!("{wanted} is gone; process {process} was moved to {path}")),
    })
}

/// The cgroup at `path`, or the nearest one above it.
pub(super) fn nearest_existing(
    kernel: &Kernel,
    path: &CgroupPath,
) -> Result<(HeldCgroup, CgroupPath), KnobError> {
    let mut path = path.clone();
    loop {
        match HeldCgroup::open(kernel, &path, None) {
            Ok(held) => return Ok((held, path)),
            Err(error) if error.is_gone() => match path.parent() {
                Some(parent) => path = parent,
                None => return Err(error),
            },
            Err(error) => return Err(error),
        }
    }
}

/// Moves the process. `cgroup.procs` takes a pid, not a pidfd, so the process
/// is checked right before, and held through the write: a pid cannot be used
/// again while its directory reads as alive afterwards.
pub(super) fn move_to(
    kernel: &Kernel,
    process: ProcessId,
    cgroup: &HeldCgroup,
) -> Result<(), KnobError> {
    let held = HeldProcess::open(kernel, process)?;
    cgroup.write("cgroup.procs", &process.pid.to_string())?;
    held.check()
}

fn path_of(process: ProcessId, value: &KnobValue) -> Result<CgroupPath, KnobError> {
    CgroupPath::new(value.0.as_bytes()).ok_or_else(|| KnobError::BadValue {
        knob: grey_model::Knob::ProcessCgroup { process },
        value: value.0.clone(),
    })
}
