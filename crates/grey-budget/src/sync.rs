//! The atomics and locks that the concurrent core uses: those of the standard
//! library, or loom's, which tries every order of steps.
//!
//! Never used outside the core: a lock of loom works only inside of its model.

#[cfg(not(grey_loom))]
pub(crate) use std::sync::{
    Arc, Condvar, Mutex, MutexGuard,
    atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
};

#[cfg(grey_loom)]
pub(crate) use loom::sync::{
    Arc, Condvar, Mutex, MutexGuard,
    atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
};

/// Locks, whether or not a thread panicked while it held the lock. The core
/// changes its numbers in steps that cannot panic half-way.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    match mutex.lock() {
        Ok(guard) => guard,
        Err(poisoned) => poisoned.into_inner(),
    }
}

/// Makes loom see what `SeqCst` already promises: loom treats each access that
/// is `SeqCst` as `AcqRel`, and only fences as sequentially consistent.
#[inline]
pub(crate) fn fence_for_loom() {
    #[cfg(grey_loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
}
