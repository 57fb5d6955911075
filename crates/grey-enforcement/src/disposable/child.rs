//! The child's side: reads its orders, does them, says what came of it.
//!
//! Never does anything for a parent that is gone, and has nothing to lose: it
//! holds no state that anybody needs.

use std::io::{BufRead, Read, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use grey_telemetry::Kernel;
use rustix::process::Signal;

use super::{Job, JobResult, Message, Request, look_anew, page_out, reclaim};
use crate::kernel_file::write_kernel_file;
use crate::knob::{HeldCgroup, KernelKnobs, KnobAccess, KnobError};

/// The longest orders, in bytes.
const LONGEST_ORDERS: u64 = 4 << 20;

/// Says how far a job is; false when nobody listens any more.
pub(super) type Report<'a> = &'a mut dyn FnMut(u64, u64) -> bool;

/// The whole of a disposable process: `greyctl` calls it for the hidden
/// argument, and exits with what it returns.
#[must_use]
pub fn child_main() -> ExitCode {
    let start = Instant::now();
    // Before the orders are read: from here on we die with our parent.
    if rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).is_err() {
        return ExitCode::FAILURE;
    }
    let mut orders = Vec::new();
    let read = std::io::stdin()
        .lock()
        .take(LONGEST_ORDERS)
        .read_until(b'\n', &mut orders);
    if read.is_err() || !orders.ends_with(b"\n") {
        return ExitCode::FAILURE;
    }
    let message = match serde_json::from_slice::<Request>(&orders) {
        Ok(request) if parent() == Some(request.parent) => obey(request, start),
        // The parent died before we had tied ourselves to it.
        Ok(_) => return ExitCode::FAILURE,
        Err(error) => Message::Failed {
            text: format!("failed to understand the orders: {error}"),
            errno: None,
            gone: false,
        },
    };
    let success = matches!(message, Message::Done { .. });
    if say(&message) && success {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn parent() -> Option<u32> {
    let pid = rustix::process::getppid()?;
    u32::try_from(pid.as_raw_nonzero().get()).ok()
}

fn say(message: &Message) -> bool {
    let Ok(mut line) = serde_json::to_vec(message) else {
        return false;
    };
    line.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(&line)
        .and_then(|()| stdout.flush())
        .is_ok()
}

fn obey(request: Request, start: Instant) -> Message {
    let deadline = start + Duration::from_millis(request.deadline_milliseconds);
    let kernel = match Kernel::open(&request.roots.roots()) {
        Ok(kernel) => kernel,
        Err(error) => {
            return Message::Failed {
                text: error.to_string(),
                errno: None,
                gone: false,
            };
        }
    };
    let mut report = |done, total| say(&Message::Progress { done, total });
    match run(kernel, request.job, deadline, &mut report) {
        Ok(result) => Message::Done { result },
        Err(error) => Message::Failed {
            errno: errno_of(&error),
            gone: error.is_gone(),
            text: with_source(&error),
        },
    }
}

fn run(
    kernel: Kernel,
    job: Job,
    deadline: Instant,
    report: Report<'_>,
) -> Result<JobResult, KnobError> {
    match job {
        Job::SetKnob { knob, value } => KernelKnobs::new(kernel)
            .set(&knob, value.as_ref())
            .map(|()| JobResult::Written),
        Job::Reclaim {
            cgroup,
            amount,
            until,
        } => {
            let held = HeldCgroup::open(&kernel, &cgroup, None)?;
            reclaim::reclaim(&held, amount, until, deadline, report)
        }
        Job::ClearReferences { processes } => {
            Ok(look_anew::clear_references(&kernel, &processes, deadline))
        }
        Job::Age { orders } => Ok(look_anew::age(&kernel, &orders, deadline)),
        Job::PageOut { processes } => Ok(page_out::page_out(&kernel, &processes, deadline, report)),
        Job::DropCaches { what } => {
            // Only clean pages can be dropped.
            rustix::fs::sync();
            let name = std::path::Path::new("sys/vm/drop_caches");
            let directory = std::os::fd::AsFd::as_fd(&kernel.proc);
            write_kernel_file(directory, name, what.digit().as_bytes())
                .map(|()| JobResult::Dropped)
                .map_err(|source| KnobError::Write {
                    path: kernel.proc.path().join(name),
                    value: what.digit().to_owned(),
                    source,
                })
        }
    }
}

fn errno_of(error: &KnobError) -> Option<i32> {
    match error {
        KnobError::Write { source, .. } => source.raw_os_error(),
        KnobError::Read { source, .. } => source.errno().map(rustix::io::Errno::raw_os_error),
        _ => None,
    }
}

/// The error and its causes: on the other side of the pipe there is only text.
fn with_source(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
