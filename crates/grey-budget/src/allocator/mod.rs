//! The allocator that serves the program: which it is, what the program holds
//! of it, and how it is made to give free memory back.
//!
//! Never installs an allocator and never changes its settings. The only module
//! of this crate with `unsafe` code: the C interfaces of three allocators.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc;
#[cfg(feature = "jemalloc")]
mod jemalloc;
#[cfg(feature = "mimalloc")]
mod mimalloc;

use std::hint::black_box;
use std::sync::OnceLock;

use grey_model::Bytes;

use crate::source::AllocatorKind;

/// What the probe for the allocator allocates: below the size from which glibc
/// maps each piece by itself, and large enough to be seen beside what other
/// threads do meanwhile.
const PROBE: usize = 48 << 10;

/// What an allocator says of its heap. What it does not say is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Heap {
    /// What the program holds of it.
    pub(crate) allocated: Option<Bytes>,
    /// What it holds of the kernel.
    pub(crate) resident: Option<Bytes>,
}

/// Which allocator serves the program: not which is linked, but whose account
/// moves, or whose memory is given, when the program allocates. Found out once.
pub(crate) fn in_use() -> AllocatorKind {
    static FOUND: OnceLock<AllocatorKind> = OnceLock::new();
    *FOUND.get_or_init(probe)
}

fn probe() -> AllocatorKind {
    #[cfg(feature = "jemalloc")]
    if jemalloc::serves(allocate) {
        return AllocatorKind::Jemalloc;
    }
    #[cfg(feature = "mimalloc")]
    if mimalloc::serves(&allocate(PROBE)) {
        return AllocatorKind::Mimalloc;
    }
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if glibc::serves(allocate) {
        return AllocatorKind::Glibc;
    }
    AllocatorKind::Unknown
}

/// A piece of `size` from the program's allocator.
fn allocate(size: usize) -> Vec<u8> {
    black_box(Vec::with_capacity(black_box(size)))
}

/// What `kind` says of its heap.
pub(crate) fn heap(kind: AllocatorKind) -> Heap {
    match kind {
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        AllocatorKind::Glibc => glibc::heap(),
        #[cfg(feature = "jemalloc")]
        AllocatorKind::Jemalloc => jemalloc::heap(),
        #[cfg(feature = "mimalloc")]
        AllocatorKind::Mimalloc => mimalloc::heap(),
        _ => Heap::default(),
    }
}

/// Makes `kind` give free memory back to the kernel. Whether it was asked.
pub(crate) fn give_back(kind: AllocatorKind) -> bool {
    match kind {
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        AllocatorKind::Glibc => glibc::give_back(),
        #[cfg(feature = "jemalloc")]
        AllocatorKind::Jemalloc => jemalloc::give_back(),
        #[cfg(feature = "mimalloc")]
        AllocatorKind::Mimalloc => mimalloc::give_back(),
        _ => false,
    }
}
