//! Looking anew which pages are in use, on demand: one-shot writes that free
//! nothing, set nothing and cannot be undone, because the next use of a page
//! does that.
//!
//! Never done by itself: marks of use and the ages of pages are what the kernel
//! chooses by when memory is needed. Bounded in processes and in time, and
//! written by a disposable process, since the kernel may wait for the target.

use std::os::fd::AsFd as _;
use std::time::Duration;

use grey_model::{GenerationList, ProcessId};
use grey_telemetry::{Kernel, OpenKernelError, Roots};

use crate::disposable::{
    AgingOrder, DisposableProgram, Job, JobEnd, JobResult, JobRunner as _, ProcessRunner,
};

/// At most so many processes or generations are written for at once.
pub const MOST_WRITES: usize = 4096;

/// How long one round of writes may take.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Nobody could look anew.
#[derive(Debug, thiserror::Error)]
pub enum LookAnewError {
    /// The kernel's file systems could not be opened.
    #[error("failed to look anew which pages are in use")]
    Kernel {
        /// Why.
        #[source]
        source: OpenKernelError,
    },
    /// There are more than are written for.
    #[error("there are {count} to look at, more than {MOST_WRITES}")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// The disposable process did not do it.
    #[error("failed to look anew which pages are in use: {message}")]
    Job {
        /// What it said.
        message: String,
    },
}

/// What a round of writes came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LookedAnew {
    /// Writes that were made.
    pub done: u64,
    /// Processes that were gone.
    pub gone: u64,
    /// Writes that the kernel refused.
    pub refused: u64,
    /// Whether the time was over before the last one.
    pub timed_out: bool,
    /// Time on a CPU.
    pub cpu: Duration,
}

/// Who has the kernel look anew.
#[derive(Debug)]
pub struct AnewLooker {
    roots: Roots,
    program: DisposableProgram,
}

impl AnewLooker {
    /// One for the kernel below `roots`, whose writes `program` makes.
    #[must_use]
    pub const fn new(roots: Roots, program: DisposableProgram) -> Self {
        Self { roots, program }
    }

    /// Clears the marks of use of `processes`.
    ///
    /// # Errors
    /// [`LookAnewError`]; a process that is gone or refuses is only counted.
    pub fn clear_references(&self, processes: &[ProcessId]) -> Result<LookedAnew, LookAnewError> {
        let job = Job::ClearReferences {
            processes: processes.to_vec(),
        };
        self.run(processes.len(), job)
    }

    /// Ages the youngest generation of each of `lists`.
    ///
    /// # Errors
    /// [`LookAnewError`]; a write that is refused is only counted.
    pub fn age(&self, lists: &[GenerationList]) -> Result<LookedAnew, LookAnewError> {
        let orders: Vec<AgingOrder> = lists
            .iter()
            .filter_map(|list| {
                Some(AgingOrder {
                    memcg: list.memcg,
                    node: list.node,
                    generation: list.generations.last()?.number,
                })
            })
            .collect();
        self.run(orders.len(), Job::Age { orders })
    }

    fn run(&self, count: usize, job: Job) -> Result<LookedAnew, LookAnewError> {
        if count > MOST_WRITES {
            return Err(LookAnewError::TooMany { count });
        }
        let kernel =
            Kernel::open(&self.roots).map_err(|source| LookAnewError::Kernel { source })?;
        let runner = ProcessRunner {
            roots: self.roots.clone(),
            program: self.program.clone(),
        };
        // Nothing is journaled, so there is no lock to hand on: any descriptor.
        match runner.run(job, DEADLINE, kernel.proc.as_fd(), &mut |_, _| {}) {
            JobEnd::Done(JobResult::LookedAnew {
                done,
                gone,
                refused,
                timed_out,
                cpu_microseconds,
            }) => Ok(LookedAnew {
                done,
                gone,
                refused,
                timed_out,
                cpu: Duration::from_micros(cpu_microseconds),
            }),
            JobEnd::Done(_) => Err(LookAnewError::Job {
                message: "the disposable process did something else".to_owned(),
            }),
            JobEnd::Failed { message, .. } | JobEnd::TimedOut { message } => {
                Err(LookAnewError::Job { message })
            }
        }
    }
}
