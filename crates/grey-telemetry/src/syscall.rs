//! System calls that have no safe wrapper: whether the kernel has
//! `process_madvise`, and memory of our own that is not to be paged out.
//!
//! The only module of this crate with `unsafe` code. Never changes anything but
//! where pages of this process may lie.

use std::io;

use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Whether `process_madvise` exists and is not blocked by a filter.
///
/// # Kernel
/// Since 5.10. It is called for a descriptor that cannot exist: a kernel that
/// has the call answers EBADF, one that has not ENOSYS, a filter mostly EPERM.
#[must_use]
#[expect(
    unsafe_code,
    reason = "no safe wrapper of process_madvise exists, and a kernel version proves nothing"
)]
pub fn has_process_madvise() -> bool {
    let no_descriptor: libc::c_long = -1;
    let no_ranges: *const libc::iovec = std::ptr::null();
    let count: libc::c_ulong = 0;
    let advice = libc::c_long::from(libc::MADV_PAGEOUT);
    let flags: libc::c_ulong = 0;
    // SAFETY: the call gets no memory of ours (no ranges) and a descriptor
    // that is never valid, so the kernel touches nothing and only returns.
    // WHY: neither the standard library nor rustix offers this call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_process_madvise,
            no_descriptor,
            no_ranges,
            count,
            advice,
            flags,
        )
    };
    result == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EBADF)
}

/// `struct pm_scan_arg` of `linux/fs.h`: twelve 64-bit fields.
type ScanArgument = [u64; 12];

/// Whether the open `/proc/PID/pagemap` knows the ioctl PAGEMAP_SCAN.
///
/// # Kernel
/// Since 6.7, `Documentation/admin-guide/mm/pagemap.rst`. It is called without
/// an argument: a kernel that knows it answers EFAULT, another ENOTTY.
#[must_use]
#[expect(
    unsafe_code,
    reason = "no safe wrapper of this ioctl exists, and a kernel version proves nothing"
)]
pub fn has_pagemap_scan(pagemap: BorrowedFd<'_>) -> bool {
    const PAGEMAP_SCAN: rustix::ioctl::Opcode =
        rustix::ioctl::opcode::read_write::<ScanArgument>(b'f', 16);
    let nothing: *mut ScanArgument = std::ptr::null_mut();
    // SAFETY: the kernel copies its argument from a null pointer, which fails
    // before anything is done; no memory of ours is read or written.
    // WHY: neither the standard library nor rustix offers this call.
    let result = unsafe { libc::ioctl(pagemap.as_raw_fd(), PAGEMAP_SCAN as _, nothing) };
    result == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}

/// Keeps `memory` from being paged out, and pages it in now. It stays so until
/// its pages are given back to the kernel.
///
/// # Errors
/// The system's: EPERM or ENOMEM where RLIMIT_MEMLOCK does not allow it.
#[expect(
    unsafe_code,
    reason = "mlock takes an address; no safe wrapper of it exists"
)]
pub fn lock_in_memory<T>(memory: &[T]) -> io::Result<()> {
    let address = memory.as_ptr().cast_mut().cast();
    // SAFETY: the range is that of a live slice, and locking its pages changes
    // neither their content nor who may use them.
    // WHY: neither the standard library nor rustix has a safe form.
    unsafe { rustix::mm::mlock(address, size_of_val(memory)) }.map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the mapping that `address` is in is locked, by its flags: its
    /// counters change with every child that other tests start.
    fn is_locked(address: usize) -> bool {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut is_in = false;
        for line in smaps.lines() {
            let range = line.split(' ').next().and_then(|word| word.split_once('-'));
            let bound = |text| usize::from_str_radix(text, 16).ok();
            if let Some((Some(start), Some(end))) = range.map(|(a, b)| (bound(a), bound(b))) {
                is_in = (start..end).contains(&address);
            }
            if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| is_in) {
                return flags.split_whitespace().any(|flag| flag == "lo");
            }
        }
        panic!("{address:x} is in no mapping");
    }

    #[test]
    fn locked_memory_counts_as_locked() {
        let memory = vec![7_u64; 1 << 17];
        let middle = std::ptr::from_ref(&memory[1 << 16]).addr();
        assert!(!is_locked(middle));
        // Without the permission there is nothing to be seen.
        if lock_in_memory(&memory).is_ok() {
            assert!(is_locked(middle));
        }
    }

    /// The tests run on kernels since 5.10, where the call exists; in a
    /// sandbox that filters it, the kernel's list of symbols still has it,
    /// so only a machine without a filter is judged.
    #[test]
    fn the_probe_agrees_with_the_kernels_own_list() {
        let symbols = std::fs::read("/proc/kallsyms").unwrap_or_default();
        let filtered = std::fs::read_to_string("/proc/self/status")
            .is_ok_and(|status| status.lines().any(|line| line == "Seccomp:\t2"));
        if symbols.is_empty() || filtered {
            return;
        }
        let needle = b"sys_process_madvise\n";
        let listed = symbols.windows(needle.len()).any(|part| part == needle);
        assert_eq!(has_process_madvise(), listed);
    }

    #[test]
    fn an_ordinary_file_knows_no_scan_of_pages() {
        use std::os::fd::AsFd as _;
        let file = tempfile::tempfile().unwrap();
        assert!(!has_pagemap_scan(file.as_fd()));
    }

    /// 6.7 and later have it; what a kernel since then says is held against its
    /// list of symbols.
    #[test]
    fn the_scan_of_pages_agrees_with_the_kernels_own_list() {
        use std::os::fd::AsFd as _;
        let symbols = std::fs::read("/proc/kallsyms").unwrap_or_default();
        let Ok(pagemap) = std::fs::File::open("/proc/self/pagemap") else {
            return;
        };
        if symbols.is_empty() {
            return;
        }
        let needle = b"pagemap_scan_pmd_entry";
        let listed = symbols.windows(needle.len()).any(|part| part == needle);
        assert_eq!(has_pagemap_scan(pagemap.as_fd()), listed);
    }
}
