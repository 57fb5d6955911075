//! jemalloc: its statistics, and the purge of all its arenas.
//!
//! Never changes a setting: decay and background threads stay as they are.

use std::hint::black_box;

use grey_model::Bytes;
use tikv_jemalloc_ctl::{epoch, stats, thread};

use super::{Heap, PROBE};

/// `MALLCTL_ARENAS_ALL` of `jemalloc.h` is 4096.
const PURGE_ALL_ARENAS: &std::ffi::CStr = c"arena.4096.purge";

/// The pieces that this thread keeps at hand.
const FLUSH_THREAD_CACHE: &std::ffi::CStr = c"thread.tcache.flush";

/// Whether pieces that `allocate` gives come from jemalloc: it counts what
/// this very thread allocates, so other threads cannot disturb.
pub(super) fn serves(allocate: impl Fn(usize) -> Vec<u8>) -> bool {
    let Ok(allocated) = thread::allocatedp::read() else {
        return false;
    };
    let before = allocated.get();
    let piece = allocate(PROBE);
    let grown = allocated.get().wrapping_sub(before);
    drop(black_box(piece));
    usize::try_from(grown).is_ok_and(|grown| grown >= PROBE)
}

/// The statistics are those of the last epoch, so a new one is begun.
pub(super) fn heap() -> Heap {
    let read = || -> Option<(u64, u64)> {
        epoch::advance().ok()?;
        let allocated = u64::try_from(stats::allocated::read().ok()?).ok()?;
        let resident = u64::try_from(stats::resident::read().ok()?).ok()?;
        Some((allocated, resident))
    };
    let found = read();
    Heap {
        allocated: found.map(|(allocated, _)| Bytes(allocated)),
        resident: found.map(|(_, resident)| Bytes(resident)),
    }
}

/// Purges all arenas. What other threads keep at hand stays with them.
pub(super) fn give_back() -> bool {
    // Without a cache for this thread there is nothing to flush.
    let _ = command(FLUSH_THREAD_CACHE);
    command(PURGE_ALL_ARENAS)
}

/// A control that takes and gives nothing. Whether it was done.
#[expect(
    unsafe_code,
    reason = "tikv-jemalloc-ctl always passes a value, and jemalloc refuses one here"
)]
fn command(name: &std::ffi::CStr) -> bool {
    // SAFETY: the name is a C string; null with a length of 0 says that nothing
    // is read and nothing is written. May be called from any thread.
    // WHY: tikv-jemalloc-ctl has no safe function for these controls.
    let result = unsafe {
        tikv_jemalloc_sys::mallctl(
            name.as_ptr(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            0,
        )
    };
    result == 0
}
