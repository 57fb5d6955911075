//! Pages processes out from outside.
//!
//! Never says what was freed: the kernel returns what it was advised of. Never
//! touches a process that got the pid of one that is gone.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use grey_model::{Bytes, ProcessId};
use grey_telemetry::Kernel;
use grey_telemetry::process::maps::{Mapping, parse_maps};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use super::JobResult;
use super::child::Report;
use crate::knob::{HeldProcess, KnobError};
use crate::process_madvise::{MOST_RANGES, Range};

/// The most bytes of one call: what the target may have to wait for at once.
const MOST_BYTES: u64 = 64 << 20;

/// Pages out each of `processes`; one that is gone or denied is counted.
pub(super) fn page_out(
    kernel: &Kernel,
    processes: &[ProcessId],
    deadline: Instant,
    report: Report<'_>,
) -> JobResult {
    let mut advised = 0u64;
    let (mut done, mut gone, mut denied) = (0, 0, 0);
    let mut timed_out = false;
    let total = processes.len() as u64;
    for (index, process) in processes.iter().enumerate() {
        if Instant::now() >= deadline || !report(index as u64, total) {
            timed_out = true;
            break;
        }
        match page_out_one(kernel, *process, deadline, &mut advised) {
            Ok(finished) => {
                done += 1;
                timed_out |= !finished;
            }
            Err(error) if error.is_gone() => gone += 1,
            Err(_) => denied += 1,
        }
    }
    JobResult::PagedOut {
        advised: Bytes(advised),
        processes: done,
        gone,
        denied,
        timed_out,
    }
}

fn page_out_one(
    kernel: &Kernel,
    process: ProcessId,
    deadline: Instant,
    advised: &mut u64,
) -> Result<bool, KnobError> {
    let held = HeldProcess::open(kernel, process)?;
    let pidfd = open_pidfd(process)?;
    // The pidfd may be of the process that got the pid meanwhile: only if the
    // held one still lives was it its own.
    held.check()?;
    let maps = held.read("maps")?;
    let ranges: Vec<Range> = parse_maps(&maps)
        .filter(may_be_paged_out)
        .flat_map(|mapping| pieces(mapping.start, mapping.end))
        .collect();
    let failed = |errno: Errno| match errno {
        Errno::SRCH => KnobError::ProcessGone { process },
        _ => KnobError::Write {
            path: format!("process_madvise of process {process}").into(),
            value: "MADV_PAGEOUT".to_owned(),
            source: errno.into(),
        },
    };
    let mut rest = ranges.as_slice();
    while !rest.is_empty() {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        let batch = &rest[..batch_length(rest)];
        match crate::process_madvise::page_out(pidfd.as_fd(), batch) {
            Ok(bytes) => {
                *advised = advised.saturating_add(bytes);
                rest = &rest[finished_ranges(batch, bytes)..];
            }
            // The first range may not be paged out (locked, huge pages, a
            // device) or is gone: pass it over.
            Err(Errno::INVAL | Errno::NOMEM | Errno::BADF) => rest = &rest[1..],
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(true)
}

fn open_pidfd(process: ProcessId) -> Result<OwnedFd, KnobError> {
    let gone = || KnobError::ProcessGone { process };
    let pid = i32::try_from(process.pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(gone)?;
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| match errno {
        Errno::SRCH | Errno::INVAL => gone(),
        _ => KnobError::Write {
            path: format!("pidfd of process {process}").into(),
            value: String::new(),
            source: errno.into(),
        },
    })
}

/// How many of the first ranges go into one call.
fn batch_length(ranges: &[Range]) -> usize {
    let mut bytes = 0u64;
    let fitting = ranges
        .iter()
        .take(MOST_RANGES)
        .take_while(|range| {
            bytes = bytes.saturating_add(range.length);
            bytes <= MOST_BYTES
        })
        .count();
    fitting.max(1)
}

/// How many ranges of `batch` are behind us when `bytes` were advised: at
/// least one, so that there is an end.
fn finished_ranges(batch: &[Range], bytes: u64) -> usize {
    let mut sum = 0u64;
    let whole = batch
        .iter()
        .take_while(|range| {
            sum = sum.saturating_add(range.length);
            sum <= bytes
        })
        .count();
    whole.max(1)
}

fn pieces(start: u64, end: u64) -> impl Iterator<Item = Range> {
    let step = usize::try_from(MOST_BYTES).unwrap_or(usize::MAX);
    (start..end).step_by(step).map(move |start| Range {
        start,
        length: (end - start).min(MOST_BYTES),
    })
}

/// The kernel's own pages, devices, and reserved addresses that nobody can
/// read hold nothing that could be paged out.
fn may_be_paged_out(mapping: &Mapping<'_>) -> bool {
    let name = mapping.name;
    let of_the_kernel = name.starts_with(b"[v") || name == b"[uprobes]";
    let device = name.starts_with(b"/dev/")
        && !name.starts_with(b"/dev/shm/")
        && !name.starts_with(b"/dev/zero");
    let huge = name.starts_with(b"/anon_hugepage") || name.starts_with(b"/dev/hugepages/");
    let reserved = !mapping.readable && !mapping.writable && mapping.inode == 0;
    !(of_the_kernel || device || huge || reserved)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn range(length: u64) -> Range {
        Range { start: 0, length }
    }

    #[test]
    fn a_batch_is_bounded_in_ranges_and_bytes() {
        assert_eq!(batch_length(&[range(MIB); 100]), 64);
        assert_eq!(batch_length(&[range(MIB / 4); 100]), MOST_RANGES);
        assert_eq!(batch_length(&[range(40 * MIB), range(40 * MIB)]), 1);
        assert_eq!(batch_length(&[range(100 * MIB)]), 1);
    }

    #[test]
    fn an_unfinished_range_is_passed_over() {
        let batch = [range(10), range(20), range(30)];
        assert_eq!(finished_ranges(&batch, 60), 3);
        assert_eq!(finished_ranges(&batch, 30), 2);
        assert_eq!(finished_ranges(&batch, 0), 1);
    }

    #[test]
    fn large_mappings_are_cut_into_pieces_without_gaps() {
        let pieces: Vec<Range> = pieces(4096, 4096 + 150 * MIB).collect();
        assert_eq!(pieces.len(), 3);
        assert_eq!(
            pieces.iter().map(|piece| piece.length).sum::<u64>(),
            150 * MIB
        );
        assert_eq!(pieces[1].start, 4096 + 64 * MIB);
    }

    #[test]
    fn special_mappings_are_left_out() {
        let maps = b"55d0c0000000-55d0c0001000 r-xp 00000000 08:01 12 /usr/bin/x\n\
            55d0c1000000-55d0c1001000 rw-p 00000000 00:00 0 [heap]\n\
            7f0000000000-7f0000001000 ---p 00000000 00:00 0 \n\
            7f0000001000-7f0000002000 rw-s 00000000 00:05 9 /dev/nvidia0\n\
            7f0000002000-7f0000003000 rw-s 00000000 00:05 9 /dev/shm/x\n\
            7ffc00000000-7ffc00001000 r--p 00000000 00:00 0 [vvar]\n\
            7ffc00001000-7ffc00002000 r-xp 00000000 00:00 0 [vdso]\n";
        let names: Vec<_> = parse_maps(maps)
            .filter(may_be_paged_out)
            .map(|mapping| String::from_utf8_lossy(mapping.name).into_owned())
            .collect();
        assert_eq!(names, ["/usr/bin/x", "[heap]", "/dev/shm/x"]);
    }
}
