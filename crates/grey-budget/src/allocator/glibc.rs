//! The C library's allocator: `mallinfo2` and `malloc_trim`.
//!
//! Never needs a newer glibc than the program does: `mallinfo2` is looked up
//! while the program runs, and without it the heap is unknown.

use std::hint::black_box;
use std::sync::OnceLock;

use grey_model::Bytes;

use super::{Heap, PROBE};

type Mallinfo2 = unsafe extern "C" fn() -> libc::mallinfo2;

/// How often the probe is tried before another allocator is assumed. Other
/// threads free and allocate between the two looks.
const TRIES: usize = 8;

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

/// Whether pieces that `allocate` gives come from glibc.
pub(super) fn serves(allocate: impl Fn() -> Vec<u8>) -> bool {
    (0..TRIES).any(|_| {
        let Some(before) = allocated() else {
            return false;
        };
        let piece = allocate();
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
