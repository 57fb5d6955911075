//! A process's `oom_score_adj`.
//!
//! Never touches another process that got the same pid: the file is written
//! through the process's own directory.

use grey_model::{Knob, KnobValue, ProcessId};
use grey_telemetry::Kernel;

use super::held::{HeldProcess, first_line};
use super::{KnobError, Restored};

const FILE: &str = "oom_score_adj";

pub(super) fn read(kernel: &Kernel, process: ProcessId) -> Result<Option<KnobValue>, KnobError> {
    let text = HeldProcess::open(kernel, process)?.read(FILE)?;
    first_line(&format!("{FILE} of process {process}"), &text).map(Some)
}

pub(super) fn set(kernel: &Kernel, process: ProcessId, value: &KnobValue) -> Result<(), KnobError> {
    match value.0.parse::<i16>() {
        Ok(-1000..=1000) => HeldProcess::open(kernel, process)?.write(FILE, &value.0),
        _ => Err(KnobError::BadValue {
            knob: Knob::OomScoreAdj { process },
            value: value.0.clone(),
        }),
    }
}

/// # Undo
/// The value that was there before. Lowering it again needs
/// CAP_SYS_RESOURCE if somebody with it had raised the floor meanwhile.
pub(super) fn restore(
    kernel: &Kernel,
    process: ProcessId,
    before: &KnobValue,
) -> Result<Restored, KnobError> {
    set(kernel, process, before).map(|()| Restored::exactly())
}
