//! Checks a whole plan against the machine before its first write.
//!
//! Changes nothing. What an earlier step of the plan will make or change
//! cannot be checked yet, and is checked when its turn comes.

use std::collections::HashMap;

use grey_model::{CgroupPath, Change, Knob, KnobValue, KsmFile, OneShot, Plan};
use grey_telemetry::Kernel;

use super::errors::ApplyError;
use crate::knob::{HeldCgroup, HeldProcess, KnobAccess, KnobError, is_equivalent, shown};

/// What the steps so far have made or changed.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    settings: HashMap<Knob, Option<KnobValue>>,
    directories: Vec<CgroupPath>,
    controllers: Vec<CgroupPath>,
    scopes: Vec<String>,
    moved: Vec<grey_model::ProcessId>,
}

impl Prepared {
    /// Notes a step.
    pub(super) fn add(&mut self, knob: &Knob, after: Option<&KnobValue>) {
        match knob {
            Knob::CgroupDirectory { cgroup, .. } => self.directories.push(cgroup.clone()),
            Knob::MemoryController { cgroup } => self.controllers.push(cgroup.clone()),
            Knob::TransientScope { scope, process, .. } => {
                self.scopes.push(scope.clone());
                self.moved.push(*process);
            }
            _ => {}
        }
        self.settings.insert(knob.clone(), after.cloned());
    }

    /// Whether what `knob` reads depends on a step before it.
    pub(super) fn touches(&self, knob: &Knob) -> bool {
        if self.settings.contains_key(knob) {
            return true;
        }
        match knob {
            Knob::CgroupFile { cgroup, .. } => {
                self.makes(cgroup)
                    || self
                        .controllers
                        .iter()
                        .any(|parent| cgroup.parent().as_ref() == Some(parent))
            }
            Knob::MemoryController { cgroup } | Knob::CgroupDirectory { cgroup, .. } => {
                self.makes(cgroup)
            }
            Knob::UnitProperty { unit, .. } => self.scopes.contains(unit),
            Knob::ProcessCgroup { process } => self.moved.contains(process),
            // Turning the advisor off sets the kernel's own number.
            Knob::Ksm {
                file: KsmFile::PagesToScan,
            } => self.settings.contains_key(&Knob::Ksm {
                file: KsmFile::AdvisorMode,
            }),
            _ => false,
        }
    }

    fn makes(&self, cgroup: &CgroupPath) -> bool {
        self.directories.iter().any(|made| made.contains(cgroup)) || !self.scopes.is_empty()
    }
}

/// Checks every step.
pub(super) fn check_plan(
    plan: &Plan,
    kernel: &Kernel,
    knobs: &dyn KnobAccess,
) -> Result<(), ApplyError> {
    let mut prepared = Prepared::default();
    for step in &plan.steps {
        match &step.change {
            Change::Set {
                knob,
                before,
                after,
            } => {
                check_names(knob)
                    .and_then(|()| check_permitted(knob, after.as_ref(), kernel))
                    .map_err(|source| knob_error(knob, source))?;
                if !prepared.touches(knob) {
                    let found = knobs
                        .read(knob)
                        .map_err(|source| knob_error(knob, source))?;
                    check_value(knob, before.as_ref(), after.as_ref(), found, kernel)?;
                }
                prepared.add(knob, after.as_ref());
            }
            Change::Once { shot } => {
                check_shot(shot, kernel, &prepared).map_err(|source| ApplyError::Shot {
                    shot: Box::new(shot.clone()),
                    source: Box::new(source),
                })?;
            }
        }
    }
    Ok(())
}

/// Whether the value is the one that the plan was made for. One that is what
/// the plan wants already is fine, too.
pub(super) fn check_value(
    knob: &Knob,
    before: Option<&KnobValue>,
    after: Option<&KnobValue>,
    found: Option<KnobValue>,
    kernel: &Kernel,
) -> Result<(), ApplyError> {
    let page = kernel.page_size;
    if is_equivalent(knob, before, found.as_ref(), page)
        || is_equivalent(knob, after, found.as_ref(), page)
    {
        return Ok(());
    }
    Err(ApplyError::Changed {
        knob: Box::new(knob.clone()),
        expected: shown(before),
        found: shown(found.as_ref()),
    })
}

fn knob_error(knob: &Knob, source: KnobError) -> ApplyError {
    ApplyError::Knob {
        knob: Box::new(knob.clone()),
        source: Box::new(source),
    }
}

/// What a process has may be set by root and by its own user. For cgroups, KSM
/// and units, policy has asked before it made the plan.
fn check_permitted(
    knob: &Knob,
    after: Option<&KnobValue>,
    kernel: &Kernel,
) -> Result<(), KnobError> {
    match knob {
        Knob::OomScoreAdj { process } => {
            HeldProcess::open(kernel, *process)?.check_permitted("oom_score_adj", &shown(after))
        }
        Knob::RlimitData { process } => {
            HeldProcess::open(kernel, *process)?.check_permitted("limits", &shown(after))
        }
        _ => Ok(()),
    }
}

/// The journal is UTF-8, and so must be every path in it.
fn check_names(knob: &Knob) -> Result<(), KnobError> {
    let paths: Vec<&CgroupPath> = match knob {
        Knob::CgroupFile { cgroup, .. } | Knob::MemoryController { cgroup } => vec![cgroup],
        Knob::CgroupDirectory { cgroup, refuge } => vec![cgroup, refuge],
        Knob::TransientScope { origin, .. } => vec![origin],
        _ => Vec::new(),
    };
    for path in paths {
        if std::str::from_utf8(path.as_bytes()).is_err() {
            return Err(KnobError::NotUtf8 {
                cgroup: path.clone(),
            });
        }
    }
    Ok(())
}

fn check_shot(shot: &OneShot, kernel: &Kernel, prepared: &Prepared) -> Result<(), KnobError> {
    match shot {
        OneShot::Reclaim { cgroup, .. } => {
            if prepared.makes(cgroup) {
                return Ok(());
            }
            let held = HeldCgroup::open(kernel, cgroup, None)?;
            for file in ["memory.reclaim", "memory.current"] {
                if !held.has(file) {
                    return Err(KnobError::Missing {
                        what: format!("{file} in cgroup {cgroup}"),
                    });
                }
            }
            Ok(())
        }
        OneShot::PageOut { processes } => {
            let mut last = Ok(());
            for process in processes {
                match HeldProcess::open(kernel, *process) {
                    Ok(_) => return Ok(()),
                    Err(error) => last = Err(error),
                }
            }
            last
        }
        OneShot::DropCaches { .. } => {
            if kernel.proc.has("sys/vm/drop_caches") {
                return Ok(());
            }
            Err(KnobError::Missing {
                what: "vm/drop_caches".to_owned(),
            })
        }
    }
}
