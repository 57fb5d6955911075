//! What enforcement starts elsewhere, here: jobs that run in this process, and
//! keepers of leases that are only counted.
//!
//! Starts no process.

use std::cell::RefCell;
use std::fs;
use std::rc::Rc;
use std::time::Duration;

use grey_model::Bytes;
use grey_telemetry::Kernel;

use super::faults::FaultyKnobs;
use super::rig::Counters;
use crate::disposable::{Job, JobEnd, JobResult, JobRunner};
use crate::executor::EnforcerOptions;
use crate::knob::KnobAccess as _;
use crate::lease::{KeeperError, KeeperRequest, KeeperStarter};

/// Runs jobs here, and notes them.
pub(super) struct InProcess {
    pub(super) knobs: FaultyKnobs,
    pub(super) counters: Rc<RefCell<Counters>>,
}

impl JobRunner for InProcess {
    fn run(
        &self,
        job: Job,
        _deadline: Duration,
        _lock: std::os::fd::BorrowedFd<'_>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> JobEnd {
        self.counters.borrow_mut().jobs.push(job.clone());
        match job {
            Job::SetKnob { knob, value } => match self.knobs.set(&knob, value.as_ref()) {
                Ok(()) => JobEnd::Done(JobResult::Written),
                Err(error) => JobEnd::Failed {
                    message: error.to_string(),
                    errno: None,
                    gone: error.is_gone(),
                },
            },
            Job::Reclaim { cgroup, amount, .. } => {
                if !self.knobs.tree(&cgroup).join("memory.reclaim").exists() {
                    return JobEnd::Failed {
                        message: "no memory.reclaim".to_owned(),
                        errno: None,
                        gone: false,
                    };
                }
                let path = self.knobs.tree(&cgroup).join("memory.current");
                let before: u64 = fs::read_to_string(&path).unwrap().trim().parse().unwrap();
                fs::write(&path, format!("{}\n", before.saturating_sub(amount.0))).unwrap();
                progress(amount.0, amount.0);
                JobEnd::Done(JobResult::Reclaimed {
                    freed: amount.min(Bytes(before)),
                    stopped: crate::disposable::ReclaimStop::Amount,
                })
            }
            Job::PageOut { .. } => JobEnd::TimedOut {
                message: "too slow".to_owned(),
            },
            Job::DropCaches { .. } => JobEnd::Done(JobResult::Dropped),
            // No plan has such a step.
            Job::ClearReferences { .. } | Job::Age { .. } => JobEnd::TimedOut {
                message: "not of a plan".to_owned(),
            },
        }
    }
}

pub(super) struct CountedKeepers(pub(super) Rc<RefCell<Counters>>);

impl KeeperStarter for CountedKeepers {
    fn start(
        &self,
        _kernel: &Kernel,
        _options: &EnforcerOptions,
        _request: &KeeperRequest,
    ) -> Result<(), KeeperError> {
        let mut counters = self.0.borrow_mut();
        assert_eq!(counters.sets, 0, "the keeper comes before the first write");
        counters.keepers += 1;
        Ok(())
    }
}
