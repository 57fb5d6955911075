//! mimalloc: what it holds of the kernel, and how it gives that back.
//!
//! Never walks its pages: mimalloc allows that only while no other thread
//! allocates.

use grey_model::Bytes;

use super::Heap;

/// Whether `piece` lies in memory of mimalloc.
#[expect(unsafe_code, reason = "mimalloc's interface is C functions")]
pub(super) fn serves(piece: &[u8]) -> bool {
    // SAFETY: any address may be asked about; it is looked up, never followed.
    // WHY: there is no safe wrapper.
    unsafe { libmimalloc_sys::mi_is_in_heap_region(piece.as_ptr().cast()) }
}

/// What is committed. What the program holds of it is unknown: mimalloc counts
/// that only when it is compiled with MI_STAT, which a release build is not.
#[expect(unsafe_code, reason = "mimalloc's interface is C functions")]
pub(super) fn heap() -> Heap {
    let mut committed: usize = 0;
    let unwanted = std::ptr::null_mut;
    // SAFETY: each pointer is null, which is allowed, or points to a `usize`
    // that lives during the call. May be called from any thread.
    // WHY: there is no safe wrapper.
    unsafe {
        libmimalloc_sys::mi_process_info(
            unwanted(),
            unwanted(),
            unwanted(),
            unwanted(),
            unwanted(),
            &raw mut committed,
            unwanted(),
            unwanted(),
        );
    }
    Heap {
        allocated: None,
        resident: u64::try_from(committed).ok().map(Bytes),
    }
}

/// Frees the empty pages of this thread, and gives what all threads have freed
/// back to the kernel. Empty pages that another thread keeps stay until that
/// thread allocates or ends.
#[expect(unsafe_code, reason = "mimalloc's interface is C functions")]
pub(super) fn give_back() -> bool {
    // SAFETY: works on this thread's heap and on shared arenas behind their
    // own guards; touches only memory that nobody holds.
    // WHY: there is no safe wrapper.
    unsafe { libmimalloc_sys::mi_collect(true) };
    true
}
