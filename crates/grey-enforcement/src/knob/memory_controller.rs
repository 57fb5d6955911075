//! The memory controller in `cgroup.subtree_control`.
//!
//! Never takes it away from under limits that somebody else has set since.

use std::path::Path;

use grey_model::{CgroupPath, Knob, KnobValue};
use grey_telemetry::{Kernel, ascii};

use super::cgroup_directory::children;
use super::held::HeldCgroup;
use super::{KnobError, Restored};

const FILE: &str = "cgroup.subtree_control";
const ON: &str = "+memory";
const OFF: &str = "-memory";

pub(super) fn read(kernel: &Kernel, cgroup: &CgroupPath) -> Result<Option<KnobValue>, KnobError> {
    let text = HeldCgroup::open(kernel, cgroup, None)?.read(FILE)?;
    let on = ascii::lines(&text)
        .next()
        .is_some_and(|line| ascii::words(line).any(|word| word == b"memory"));
    Ok(Some(KnobValue(if on { ON } else { OFF }.to_owned())))
}

pub(super) fn set(
    kernel: &Kernel,
    cgroup: &CgroupPath,
    value: &KnobValue,
) -> Result<(), KnobError> {
    if value.0 != ON && value.0 != OFF {
        return Err(KnobError::BadValue {
            knob: knob(cgroup),
            value: value.0.clone(),
        });
    }
    HeldCgroup::open(kernel, cgroup, None)?.write(FILE, &value.0)
}

/// # Undo
/// Turned off again, unless a cgroup below has a memory setting of its own: it
/// would silently lose it. One that cannot be looked at counts as having one. Nothing of ours is left there at that point,
/// because changes are undone newest first.
pub(super) fn restore(
    kernel: &Kernel,
    cgroup: &CgroupPath,
    before: &KnobValue,
    force: bool,
) -> Result<Restored, KnobError> {
    let held = HeldCgroup::open(kernel, cgroup, None)?;
    if before.0 == OFF && !force {
        for name in children(&held)? {
            if let Some(setting) = setting_of(&held, Path::new(&name))? {
                return Err(KnobError::InUse {
                    knob: knob(cgroup),
                    by: format!("{} has {setting}", name.to_string_lossy()),
                });
            }
        }
    }
    set(kernel, cgroup, before).map(|()| Restored::exactly())
}

fn knob(cgroup: &CgroupPath) -> Knob {
    Knob::MemoryController {
        cgroup: cgroup.clone(),
    }
}

/// What a child's settings are when it is made. A file that an older kernel
/// lacks holds nothing that could be lost.
const DEFAULTS: [(&str, &[u8]); 9] = [
    ("memory.max", b"max"),
    ("memory.high", b"max"),
    ("memory.min", b"0"),
    ("memory.low", b"0"),
    ("memory.oom.group", b"0"),
    ("memory.swap.max", b"max"),
    ("memory.swap.high", b"max"),
    ("memory.zswap.max", b"max"),
    ("memory.zswap.writeback", b"1"),
];

/// A setting of the child that differs from what the kernel begins with.
fn setting_of(parent: &HeldCgroup, child: &Path) -> Result<Option<String>, KnobError> {
    let failed = |source| KnobError::Read {
        what: format!("the memory settings of cgroup {}", child.display()),
        source,
    };
    let directory = match parent.directory().open_directory(child) {
        Ok(directory) => directory,
        Err(error) if error.is_vanished() => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
    let mut buffer = Vec::new();
    for (file, default) in DEFAULTS {
        let text = match directory.read(file, &mut buffer) {
            Ok(text) => text,
            Err(error) if error.is_vanished() => continue,
            Err(source) => return Err(failed(source)),
        };
        let line = ascii::lines(text).next().unwrap_or_default();
        if !line.is_empty() && line != default {
            return Ok(Some(format!("{file} {}", String::from_utf8_lossy(line))));
        }
    }
    Ok(None)
}
