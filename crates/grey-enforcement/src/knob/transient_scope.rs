//! A scope that systemd puts around a process at our request.
//!
//! Never stops the scope, which would kill what is in it: it is emptied, and
//! ends by itself.

use std::time::Duration;

use grey_model::{CgroupPath, Knob, KnobValue, ProcessId};
use grey_telemetry::{Kernel, ascii};

use super::held::{HeldCgroup, HeldProcess};
use super::process_cgroup::nearest_existing;
use super::{KnobError, Restored};
use crate::systemd::{SystemdError, UnitManager};

/// How often the scope's processes are listed and moved before we give up.
const ROUNDS: u32 = 32;
/// How long systemd may take to notice that a scope is empty.
const END_OF_SCOPE: Duration = Duration::from_secs(10);

/// Present while the process is in the scope; absent, too, when the process
/// left it. Gone when the process ended, for the scope ends with it.
pub(super) fn read(
    kernel: &Kernel,
    units: &dyn UnitManager,
    scope: &str,
    process: ProcessId,
) -> Result<Option<KnobValue>, KnobError> {
    let exists = units
        .scope_exists(scope)
        .map_err(|source| failed(format!("look for {scope}"), source))?;
    if !exists {
        HeldProcess::open(kernel, process)?;
        return Ok(None);
    }
    Ok(Some(KnobValue::present()))
}

pub(super) fn set(
    kernel: &Kernel,
    units: &dyn UnitManager,
    scope: &str,
    process: ProcessId,
    origin: &CgroupPath,
) -> Result<(), KnobError> {
    let held = HeldProcess::open(kernel, process)?;
    let description = format!("memory limits for process {process}, by grey-optimizer");
    let cgroup = units
        .start_scope(scope, process.pid, origin, &description)
        .map_err(|source| failed(format!("start {scope} around process {process}"), source))?;
    held.check()?;
    let found = held.cgroup(kernel)?;
    if cgroup.contains(&found) {
        return Ok(());
    }
    Err(KnobError::NotTaken {
        knob: Knob::TransientScope {
            scope: scope.to_owned(),
            process,
            origin: origin.clone(),
        },
        wanted: cgroup.to_string(),
        found: found.to_string(),
    })
}

/// # Undo
/// Everything in the scope moves back to where the process came from, or to
/// the nearest cgroup above that exists; the empty scope ends.
pub(super) fn restore(
    kernel: &Kernel,
    units: &dyn UnitManager,
    scope: &str,
    process: ProcessId,
    origin: &CgroupPath,
) -> Result<Restored, KnobError> {
    let (shelter, path) = nearest_existing(kernel, origin)?;
    let mut last_error = None;
    for _ in 0..ROUNDS {
        let pids = match units.scope_processes(scope) {
            Ok(pids) => pids,
            Err(SystemdError::NoSuchUnit { .. }) => Vec::new(),
            Err(source) => return Err(failed(format!("list {scope}"), source)),
        };
        if pids.is_empty() {
            last_error = None;
            break;
        }
        for pid in pids {
            if let Err(error) = move_one(kernel, &shelter, pid) {
                last_error = Some(error);
            }
        }
    }
    if let Some(error) = last_error {
        return Err(error);
    }
    let ended = units
        .wait_scope_gone(scope, END_OF_SCOPE)
        .map_err(|source| failed(format!("end {scope}"), source))?;
    let mut notes = Vec::new();
    if path != *origin {
        notes.push(format!(
            "{origin} is gone; process {process} was moved to {path}"
        ));
    }
    if !ended {
        notes.push(format!("{scope} is empty and has not ended yet"));
    }
    Ok(Restored {
        note: (!notes.is_empty()).then(|| notes.join("; ")),
    })
}

fn move_one(kernel: &Kernel, shelter: &HeldCgroup, pid: u32) -> Result<(), KnobError> {
    let moved = shelter.write("cgroup.procs", &pid.to_string());
    if moved.is_err() && !is_alive(kernel, pid) {
        return Ok(());
    }
    moved
}

fn is_alive(kernel: &Kernel, pid: u32) -> bool {
    let mut buffer = Vec::new();
    kernel
        .proc
        .read(format!("{pid}/stat"), &mut buffer)
        .is_ok_and(|text| ascii::words(text).next().is_some())
}

fn failed(doing: String, source: SystemdError) -> KnobError {
    KnobError::Unit {
        doing,
        source: Box::new(source),
    }
}
