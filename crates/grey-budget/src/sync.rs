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

/// How often a lock that is taken is tried before it is slept for, and how long
/// it is left alone in between: each try takes it away from its owner's cache.
#[cfg(not(grey_loom))]
const TRIES_BEFORE_SLEEP: u32 = 32;
#[cfg(not(grey_loom))]
const SPINS_BETWEEN_TRIES: u32 = 12;

/// Locks a lock that others hold for some nanoseconds only, and again and
/// again: who sleeps for it makes them wake it, which takes far longer.
#[cfg(not(grey_loom))]
#[inline]
pub(crate) fn lock_soon<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    use std::sync::TryLockError;
    match mutex.try_lock() {
        Ok(guard) => guard,
        // Such an error holds the lock.
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => lock_after_tries(mutex),
    }
}

#[cfg(not(grey_loom))]
#[cold]
fn lock_after_tries<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    use std::sync::TryLockError;
    for _ in 0..TRIES_BEFORE_SLEEP {
        for _ in 0..SPINS_BETWEEN_TRIES {
            std::hint::spin_loop();
        }
        match mutex.try_lock() {
            Ok(guard) => return guard,
            Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {}
        }
    }
    lock(mutex)
}

/// A model has no time.
#[cfg(grey_loom)]
pub(crate) fn lock_soon<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    lock(mutex)
}

/// How often a lock that is taken is tried before it is asked whose it is, and
/// how long it is tried in a process that was forked: whoever holds it there for
/// longer stayed behind in the parent.
#[cfg(not(grey_loom))]
const TRIES: u32 = 100;
#[cfg(not(grey_loom))]
const ORPHANED_AFTER: std::time::Duration = std::time::Duration::from_millis(250);

/// Locks, unless this process was forked from `owner` while a thread of that
/// held the lock: then nobody will ever open it. Free locks cost no more.
#[cfg(not(grey_loom))]
pub(crate) fn lock_unless_orphaned<T>(mutex: &Mutex<T>, owner: u32) -> Option<MutexGuard<'_, T>> {
    use std::sync::TryLockError;
    let attempt = || match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    };
    for _ in 0..TRIES {
        if let Some(guard) = attempt() {
            return Some(guard);
        }
        std::hint::spin_loop();
    }
    if std::process::id() == owner {
        return Some(lock(mutex));
    }
    let until = crate::clock::instant_after(ORPHANED_AFTER);
    while std::time::Instant::now() < until {
        if let Some(guard) = attempt() {
            return Some(guard);
        }
        std::thread::yield_now();
    }
    None
}

/// Nothing forks in a model.
#[cfg(grey_loom)]
#[expect(clippy::unnecessary_wraps, reason = "as the one that is not loom's")]
pub(crate) fn lock_unless_orphaned<T>(mutex: &Mutex<T>, _owner: u32) -> Option<MutexGuard<'_, T>> {
    Some(lock(mutex))
}

/// Makes loom see what `SeqCst` already promises: loom treats each access that
/// is `SeqCst` as `AcqRel`, and only fences as sequentially consistent.
#[inline]
pub(crate) fn fence_for_loom() {
    #[cfg(grey_loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
}

#[cfg(all(test, not(grey_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_lock_whose_holder_panicked_is_locked_all_the_same() {
        let mutex = Arc::new(Mutex::new(5));
        let poisoning = Arc::clone(&mutex);
        let panicked = std::thread::spawn(move || {
            let _guard = poisoning.lock();
            panic!("while it is locked");
        });
        assert!(panicked.join().is_err());
        assert!(mutex.is_poisoned());
        let (told, heard) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let first = *lock(&mutex);
            let second = *lock_soon(&mutex);
            let third = *lock_after_tries(&mutex);
            let fourth = lock_unless_orphaned(&mutex, std::process::id()).map(|guard| *guard);
            told.send((first, second, third, fourth))
        });
        let heard = heard.recv_timeout(std::time::Duration::from_secs(10));
        assert_eq!(heard, Ok((5, 5, 5, Some(5))));
    }
}
