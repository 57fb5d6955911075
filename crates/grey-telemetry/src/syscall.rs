//! System calls that have no safe wrapper: whether the kernel has
//! `process_madvise`, and memory of our own that is not to be paged out.
//!
//! The only module of this crate with `unsafe` code. Never changes anything but
//! where pages of this process may lie.

use std::io;

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

    #[test]
    fn locked_memory_counts_as_locked() {
        let locked_kib = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with("VmLck:"));
            let words = line.unwrap().split_whitespace().nth(1);
            words.unwrap().parse::<u64>().unwrap()
        };
        let memory = vec![7_u64; 1 << 17];
        let before = locked_kib();
        // Without the permission there is nothing to be seen.
        if lock_in_memory(&memory).is_ok() {
            assert!(locked_kib() >= before + 1024, "{before}");
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
}
