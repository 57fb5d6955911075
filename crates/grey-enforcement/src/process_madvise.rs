//! `process_madvise(MADV_PAGEOUT)`: the one system call of this crate that no
//! safe wrapper has.
//!
//! Never touches memory of this process: the ranges are numbers, which the
//! kernel checks against the other process.
#![expect(
    unsafe_code,
    reason = "rustix has no process_madvise; this module is the named exception"
)]

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// The most ranges that are handed over in one call.
pub(crate) const MOST_RANGES: usize = 64;

/// `MADV_PAGEOUT` of `linux/mman.h`, since Linux 5.4.
const MADV_PAGEOUT: libc::c_int = 21;

/// Addresses in another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    /// The first address; a multiple of the page size.
    pub(crate) start: u64,
    /// In bytes; a multiple of the page size.
    pub(crate) length: u64,
}

/// Advises the kernel to page out `ranges` of the process behind `pidfd`, at
/// most [`MOST_RANGES`] of them. Returns the bytes that were *advised*, which
/// says nothing about what was freed; it stops before the first range that it
/// may not page out.
///
/// # Kernel
/// `process_madvise(2)`, since Linux 5.10.
///
/// # Errors
/// `SRCH` when the process is gone, `PERM` without the permission, `INVAL`
/// when the first range may not be paged out, `NOMEM` when it is not mapped.
pub(crate) fn page_out(pidfd: BorrowedFd<'_>, ranges: &[Range]) -> Result<u64, Errno> {
    let mut vectors = [libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    }; MOST_RANGES];
    let mut count = 0usize;
    for (vector, range) in vectors.iter_mut().zip(ranges) {
        let start = usize::try_from(range.start).map_err(|_| Errno::INVAL)?;
        vector.iov_base = std::ptr::without_provenance_mut(start);
        vector.iov_len = usize::try_from(range.length).map_err(|_| Errno::INVAL)?;
        count += 1;
    }
    // SAFETY: the descriptor is open for the whole call, `vectors` holds
    // `count` initialised elements and outlives it, and the kernel only reads
    // them. Their addresses are of another process and are never used here.
    // MADV_PAGEOUT keeps the content of every page.
    // WHY: no safe wrapper exists in rustix or the standard library.
    let result = unsafe {
        libc::syscall(
            libc::SYS_process_madvise,
            pidfd.as_raw_fd(),
            vectors.as_ptr(),
            count,
            MADV_PAGEOUT,
            0 as libc::c_uint,
        )
    };
    u64::try_from(result)
        .map_err(|_| Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL))
}
