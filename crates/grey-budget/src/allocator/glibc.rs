//! The C library's allocator: `mallinfo2` and `malloc_trim`.
//!
//! Never needs a newer glibc than the program does: `mallinfo2` is looked up
//! while the program runs, and without it the heap is unknown.

use std::ffi::CStr;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::sync::OnceLock;

use grey_model::Bytes;

use super::{Heap, PROBE};

type Mallinfo2 = unsafe extern "C" fn() -> libc::mallinfo2;

/// How often the probe by statistics is tried before another allocator is
/// assumed. Other threads free and allocate between the two looks.
const TRIES: usize = 8;

/// Small enough for the pieces that each thread keeps at hand (up to 1,032
/// bytes since glibc 2.26), and not a size that is asked for often.
const SMALL: usize = 776;

/// `mallinfo2`, since glibc 2.33. The older `mallinfo` wraps at 4 GiB, so it
/// is not asked.
#[expect(
    unsafe_code,
    reason = "linking against mallinfo2 would keep the program from starting on an older glibc"
)]
fn mallinfo2() -> Option<Mallinfo2> {
    static FOUND: OnceLock<Option<Mallinfo2>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        // SAFETY: the name is a C string, and RTLD_DEFAULT is always valid.
        // WHY: only the dynamic linker knows whether the function is there.
        let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"mallinfo2".as_ptr()) };
        if address.is_null() {
            return None;
        }
        // SAFETY: malloc.h declares `struct mallinfo2 mallinfo2(void)`, and no
        // other function has this name in the C library.
        // WHY: dlsym gives addresses without a type.
        Some(unsafe { std::mem::transmute::<*mut libc::c_void, Mallinfo2>(address) })
    })
}

/// What the program holds: from the arenas, and in mappings of its own.
#[expect(unsafe_code, reason = "glibc's statistics are C functions")]
fn allocated() -> Option<u64> {
    let mallinfo2 = mallinfo2()?;
    // SAFETY: takes no arguments, locks each arena while it looks, and may be
    // called from any thread.
    // WHY: neither the standard library nor rustix offers this call.
    let info = unsafe { mallinfo2() };
    u64::try_from(info.uordblks.saturating_add(info.hblkhd)).ok()
}

/// Whether pieces of a size that `allocate` gives come from glibc.
pub(super) fn serves(allocate: impl Fn(usize) -> Vec<u8>) -> bool {
    (malloc_is_glibcs() && gives_what_malloc_got_back(&allocate)) || statistics_move(&allocate)
}

/// Whether `malloc` and `free` of this program are those of the C library and
/// not of an allocator that took their names (preloaded, or linked in front).
/// `false` also where the dynamic linker does not tell.
fn malloc_is_glibcs() -> bool {
    let library = object_of(c"gnu_get_libc_version");
    library.is_some() && library == object_of(c"malloc") && library == object_of(c"free")
}

/// Where the object that defines `name` is mapped.
#[expect(unsafe_code, reason = "the dynamic linker's interface is C functions")]
fn object_of(name: &CStr) -> Option<usize> {
    // SAFETY: the name is a C string, and RTLD_DEFAULT is always valid.
    // WHY: only the dynamic linker knows which definition the program uses.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    let mut found = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: any address may be asked about; `found` has room for the answer.
    // WHY: as above.
    let told = unsafe { libc::dladdr(address, found.as_mut_ptr()) };
    // SAFETY: all zeros is a valid `Dl_info`: null pointers.
    // WHY: as above.
    let found = unsafe { found.assume_init() };
    (!address.is_null() && told != 0).then_some(found.dli_fbase.addr())
}

/// Whether `allocate` gives the very piece that `free` got just before: this
/// thread's own stack of free pieces is last in, first out, so other threads
/// cannot disturb. Never so when that stack is switched off.
#[expect(unsafe_code, reason = "malloc and free are C functions")]
fn gives_what_malloc_got_back(allocate: impl Fn(usize) -> Vec<u8>) -> bool {
    // SAFETY: malloc takes any size; free gets what malloc gave, once, or null.
    // WHY: the allocator that Rust code uses may be another one.
    let piece = unsafe { black_box(libc::malloc(black_box(SMALL))) };
    let place = piece.addr();
    // SAFETY: as above.
    // WHY: as above.
    unsafe { libc::free(piece) };
    let ours = allocate(SMALL);
    place != 0 && black_box(ours.as_ptr()).addr() == place
}

/// Whether what glibc counts moves by about as much as `allocate` gives. What
/// other threads do meanwhile can hide it.
fn statistics_move(allocate: impl Fn(usize) -> Vec<u8>) -> bool {
    (0..TRIES).any(|_| {
        let Some(before) = allocated() else {
            return false;
        };
        let piece = allocate(PROBE);
        let after = allocated().unwrap_or(0);
        drop(black_box(piece));
        let grown = after.saturating_sub(before);
        let probe = u64::try_from(PROBE).unwrap_or(u64::MAX);
        (probe..=probe.saturating_mul(2)).contains(&grown)
    })
}

/// glibc tells how much address space its arenas have, not how much of it is
/// resident: `malloc_trim` gives pages out of the middle back. So `resident`
/// stays unknown.
pub(super) fn heap() -> Heap {
    Heap {
        allocated: allocated().map(Bytes),
        resident: None,
    }
}

/// Gives free pages of all arenas back.
#[expect(unsafe_code, reason = "malloc_trim is a C function")]
pub(super) fn give_back() -> bool {
    // SAFETY: locks each arena while it works on it, touches only memory that
    // nobody holds, and may be called from any thread.
    // WHY: neither the standard library nor rustix offers this call.
    unsafe { libc::malloc_trim(0) };
    true
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;
    use crate::allocator::allocate;

    #[test]
    fn glibc_is_recognised_while_other_threads_allocate() {
        let done = AtomicBool::new(false);
        // Up and down by far more than a probe, so that what is counted hardly
        // ever moves by one.
        let churn = || {
            while !done.load(Ordering::Relaxed) {
                let pieces: Vec<Vec<u8>> = (0..64)
                    .map(|_| black_box(Vec::with_capacity(120 << 10)))
                    .collect();
                drop(black_box(pieces));
            }
        };
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(churn);
            }
            let missed = (0..2_000).filter(|_| !serves(allocate)).count();
            done.store(true, Ordering::Relaxed);
            assert_eq!(missed, 0);
        });
    }

    #[test]
    fn pieces_of_another_place_are_not_glibcs() {
        // Held before, so that what `malloc` gets back is never what is given.
        let held = std::cell::RefCell::new(vec![Vec::with_capacity(SMALL)]);
        let other = |_| held.borrow_mut().pop().unwrap_or_default();
        assert!(malloc_is_glibcs());
        assert!(!gives_what_malloc_got_back(other));
    }
}
