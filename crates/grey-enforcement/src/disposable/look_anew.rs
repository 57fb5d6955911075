//! Has the kernel look anew which pages are in use: clears marks of use, or
//! ages generations of pages.
//!
//! Frees nothing and sets nothing: the next use marks a page again. Never
//! touches a process that got the pid of one that is gone.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use grey_model::ProcessId;
use grey_telemetry::Kernel;
use grey_telemetry::cold::generations::LRU_GEN;
use rustix::time::{ClockId, clock_gettime};

use super::{AgingOrder, JobResult};
use crate::kernel_file::write_kernel_file;
use crate::knob::{HeldProcess, KnobError};

/// What is written to `clear_refs`: all pages, anonymous and of files.
const ALL_PAGES: &str = "1";

/// Clears the marks of use of each of `processes`.
///
/// # Kernel
/// `/proc/PID/clear_refs`, since 2.6.22. The kernel walks the page tables with
/// the process's address space locked.
pub(super) fn clear_references(
    kernel: &Kernel,
    processes: &[ProcessId],
    deadline: Instant,
) -> JobResult {
    let mut counts = Counts::default();
    for process in processes {
        if Instant::now() >= deadline {
            counts.timed_out = true;
            break;
        }
        let cleared = HeldProcess::open(kernel, *process)
            .and_then(|held| held.write("clear_refs", ALL_PAGES));
        counts.take(cleared.map_err(|error| error.is_gone()));
    }
    counts.result()
}

/// Ages the generations of each cgroup and node: walks every page table of its
/// processes, and begins a new generation.
///
/// # Kernel
/// `+ memcg node generation swap force` to `/sys/kernel/debug/lru_gen`, since
/// 6.1. Both flags are set: anonymous pages age without swap, too, and nothing
/// is passed over. A generation that is not the youngest any more is left alone:
/// the kernel has aged it itself.
pub(super) fn age(kernel: &Kernel, orders: &[AgingOrder], deadline: Instant) -> JobResult {
    let mut counts = Counts::default();
    for order in orders {
        if Instant::now() >= deadline {
            counts.timed_out = true;
            break;
        }
        let AgingOrder {
            memcg,
            node,
            generation,
        } = order;
        let value = format!("+ {memcg} {node} {generation} 1 1");
        counts.take(write(kernel, &value).map_err(|_| false));
    }
    counts.result()
}

fn write(kernel: &Kernel, value: &str) -> Result<(), KnobError> {
    let sys = kernel.sys.as_ref().ok_or_else(|| KnobError::Missing {
        what: "sysfs".to_owned(),
    })?;
    write_kernel_file(sys.as_fd(), Path::new(LRU_GEN), value.as_bytes()).map_err(|source| {
        KnobError::Write {
            path: sys.path().join(LRU_GEN),
            value: value.to_owned(),
            source,
        }
    })
}

#[derive(Default)]
struct Counts {
    done: u64,
    gone: u64,
    refused: u64,
    timed_out: bool,
}

impl Counts {
    /// One write; the error says whether the thing is gone.
    fn take(&mut self, written: Result<(), bool>) {
        match written {
            Ok(()) => self.done += 1,
            Err(true) => self.gone += 1,
            Err(false) => self.refused += 1,
        }
    }

    fn result(self) -> JobResult {
        let spent = Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default();
        JobResult::LookedAnew {
            done: self.done,
            gone: self.gone,
            refused: self.refused,
            timed_out: self.timed_out,
            cpu_microseconds: u64::try_from(spent.as_micros()).unwrap_or(u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use grey_fake_kernel::FakeKernel;
    use grey_telemetry::Roots;

    use super::*;

    fn open(fake: &FakeKernel) -> Kernel {
        Kernel::open(&Roots {
            procfs: fake.procfs(),
            sysfs: fake.sysfs(),
            cgroupfs: fake.cgroupfs(),
            systemd: fake.systemd(),
        })
        .unwrap()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn counted(result: &JobResult) -> (u64, u64, u64, bool) {
        match *result {
            JobResult::LookedAnew {
                done,
                gone,
                refused,
                timed_out,
                ..
            } => (done, gone, refused, timed_out),
            _ => panic!("{result:?}"),
        }
    }

    #[test]
    fn each_generation_is_aged_with_one_line() {
        let fake = FakeKernel::full().with("sys/kernel/debug/lru_gen", "");
        let order = |memcg| AgingOrder {
            memcg,
            node: 1,
            generation: 7,
        };
        let result = age(&open(&fake), &[order(3)], soon());
        assert_eq!(counted(&result), (1, 0, 0, false));
        let written = std::fs::read_to_string(fake.path("sys/kernel/debug/lru_gen")).unwrap();
        assert_eq!(written, "+ 3 1 7 1 1\n");
        let none = age(&open(&FakeKernel::full()), &[order(3), order(4)], soon());
        assert_eq!(counted(&none), (0, 0, 2, false));
    }

    #[test]
    fn marks_are_cleared_of_the_process_that_is_meant_alone() {
        let fake = FakeKernel::full().with("proc/310/clear_refs", "");
        let kernel = open(&fake);
        let stat = std::fs::read(fake.path("proc/310/stat")).unwrap();
        let start = grey_telemetry::process::stat::parse_stat(&stat).unwrap();
        let process = |start_time_ticks| ProcessId {
            pid: 310,
            start_time_ticks,
        };
        let other = process(start.start_time_ticks + 1);
        let result = clear_references(&kernel, &[other], soon());
        assert_eq!(counted(&result), (0, 1, 0, false));
        let written = || std::fs::read_to_string(fake.path("proc/310/clear_refs")).unwrap();
        assert_eq!(written(), "");
        let meant = process(start.start_time_ticks);
        let result = clear_references(&kernel, &[meant], soon());
        assert_eq!(counted(&result), (1, 0, 0, false));
        assert_eq!(written(), "1\n");
    }

    #[test]
    fn nothing_is_begun_after_the_deadline() {
        let fake = FakeKernel::full().with("sys/kernel/debug/lru_gen", "");
        let order = AgingOrder {
            memcg: 3,
            node: 0,
            generation: 1,
        };
        let result = age(&open(&fake), &[order], Instant::now());
        assert_eq!(counted(&result), (0, 0, 0, true));
    }
}
