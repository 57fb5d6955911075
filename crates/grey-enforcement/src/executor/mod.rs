//! Carries out a plan, and takes it back.
//!
//! Never makes a change without its record on disk, and never leaves a plan
//! half done on purpose: a step that fails takes the earlier ones back.

mod apply;
mod check;
mod errors;
mod judge;
mod keep;
mod observe;
mod options;
mod put_back;
mod rollback;
mod setting;
mod shot;

pub use apply::{Applied, ApplyContext, Outcome, Progress};
pub use errors::{ApplyError, OpenEnforcerError, RollbackError};
pub use options::{Deadlines, EnforcerOptions};
pub use rollback::{RollbackItem, RollbackOutcome, RollbackReport, RollbackSelection};

pub use crate::journal::Actor;

use std::time::Duration;

use grey_model::{BootId, Knob, KnobValue};
use grey_telemetry::Kernel;
use grey_telemetry::proc::boot_id::read_boot_id;

use crate::disposable::{Job, JobEnd, JobRunner, ProcessRunner};
use crate::journal::{Journal, JournalError};
use crate::knob::{KernelKnobs, KnobAccess, KnobError};
use crate::lease::{KeeperStarter, ProcessKeepers};

/// Applies plans and rolls them back.
pub struct Enforcer {
    options: EnforcerOptions,
    kernel: Kernel,
    knobs: Box<dyn KnobAccess>,
    jobs: Box<dyn JobRunner>,
    keepers: Box<dyn KeeperStarter>,
    boot: BootId,
}

impl std::fmt::Debug for Enforcer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Enforcer")
            .field("options", &self.options)
            .field("boot", &self.boot)
            .finish_non_exhaustive()
    }
}

impl Enforcer {
    /// Opens the kernel's file systems. The journal is opened only when
    /// something is to be changed.
    ///
    /// # Errors
    /// [`OpenEnforcerError`] when procfs is missing or has no boot id.
    pub fn open(options: EnforcerOptions) -> Result<Self, OpenEnforcerError> {
        let open = || Kernel::open(&options.roots);
        let knobs = Box::new(KernelKnobs::new(open()?));
        let jobs = Box::new(ProcessRunner {
            roots: options.roots.clone(),
            program: options.disposable.clone(),
        });
        Self::with_parts(options, knobs, jobs, Box::new(ProcessKeepers))
    }

    pub(crate) fn with_parts(
        options: EnforcerOptions,
        knobs: Box<dyn KnobAccess>,
        jobs: Box<dyn JobRunner>,
        keepers: Box<dyn KeeperStarter>,
    ) -> Result<Self, OpenEnforcerError> {
        let kernel = Kernel::open(&options.roots)?;
        let boot = read_boot_id(&kernel, &mut Vec::new())
            .map_err(|source| OpenEnforcerError::BootId { source })?
            .ok_or(OpenEnforcerError::NoBootId)?;
        Ok(Self {
            options,
            kernel,
            knobs,
            jobs,
            keepers,
            boot,
        })
    }

    /// A setting as it is now.
    #[cfg(test)]
    pub(crate) fn read_setting(&self, knob: &Knob) -> Result<Option<KnobValue>, KnobError> {
        self.knobs.read(knob)
    }

    fn open_journal(&self) -> Result<Journal, JournalError> {
        Journal::open(
            &self.options.state_dir,
            self.options.actor.clone(),
            self.boot.clone(),
            self.options.deadlines.lock,
        )
    }

    /// Writes a setting, in a disposable process if the write may block.
    fn write(
        &self,
        journal: &Journal,
        knob: &Knob,
        value: Option<&KnobValue>,
        may_block: bool,
    ) -> Result<(), KnobError> {
        // systemd writes for units, and is waited for with a bound of its own.
        let by_us = matches!(knob, Knob::CgroupFile { .. } | Knob::Ksm { .. });
        if !(may_block && by_us) {
            return self.knobs.set(knob, value);
        }
        let job = Job::SetKnob {
            knob: knob.clone(),
            value: value.cloned(),
        };
        let end = self.run_job(journal, job, self.options.deadlines.write, &mut |_, _| {});
        match end {
            JobEnd::Done(_) => Ok(()),
            JobEnd::Failed {
                message,
                errno,
                gone,
            } => match knob {
                Knob::CgroupFile { cgroup, .. } if gone => Err(KnobError::CgroupGone {
                    cgroup: cgroup.clone(),
                }),
                _ => Err(KnobError::Disposable {
                    message,
                    timed_out: false,
                    errno,
                }),
            },
            JobEnd::TimedOut { message } => Err(KnobError::Disposable {
                message,
                timed_out: true,
                errno: None,
            }),
        }
    }

    fn run_job(
        &self,
        journal: &Journal,
        job: Job,
        deadline: Duration,
        progress: &mut dyn FnMut(u64, u64),
    ) -> JobEnd {
        self.jobs
            .run(job, deadline, journal.lock_descriptor(), progress)
    }
}

/// What people see of an error: the error and its causes in one line.
pub(crate) fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
