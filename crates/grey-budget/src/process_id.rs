//! Which process this is, without asking the kernel each time.
//!
//! Never answers for the process that this one was forked from: the id is kept
//! in a page that the kernel empties in a child. Where a kernel has no such
//! pages (before 4.14) it is asked each time. What shares the memory of its
//! parent, as between `vfork` and `exec`, is taken for its parent.

#![expect(
    unsafe_code,
    reason = "rustix's mapping of pages is unsafe, and the standard library has none"
)]

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags};

/// What is mapped; a kernel with larger pages maps a whole one.
const LENGTH: usize = 4096;

/// Where the id is kept; null before it was asked for.
static KEPT: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());

/// The kernel empties no pages in a child.
static CANNOT_BE_KEPT: AtomicBool = AtomicBool::new(false);

/// The id of this process, as [`std::process::id`] gives it.
#[inline]
pub(crate) fn process_id() -> u32 {
    // SAFETY: null, or the page that `keep` mapped, which is aligned, holds an
    // `AtomicU32` (any bytes are one) and is never unmapped.
    // WHY: a lock that is made once could be held by a thread that is not there
    // in a child.
    let kept = unsafe { KEPT.load(Ordering::Acquire).as_ref() };
    match kept.map(|kept| kept.load(Ordering::Relaxed)) {
        Some(id) if id != 0 => id,
        _ => ask(kept),
    }
}

/// Asks the kernel, and keeps the answer: the first time, and in a child.
#[cold]
fn ask(kept: Option<&AtomicU32>) -> u32 {
    let id = std::process::id();
    match kept {
        Some(kept) => kept.store(id, Ordering::Relaxed),
        None if CANNOT_BE_KEPT.load(Ordering::Relaxed) => {}
        None => keep(id),
    }
    id
}

/// Maps the page, unless another thread has.
fn keep(id: u32) {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping, in no place of anybody's.
    // WHY: memory of an allocator shares its page with others' values.
    let mapped = unsafe {
        rustix::mm::mmap_anonymous(ptr::null_mut(), LENGTH, protection, MapFlags::PRIVATE)
    };
    let Ok(page) = mapped else {
        return;
    };
    // SAFETY: the whole of our own mapping, in which nothing is yet.
    // WHY: no safe function says it.
    let empties = unsafe { rustix::mm::madvise(page, LENGTH, Advice::LinuxWipeOnFork) };
    let place = page.cast::<AtomicU32>();
    let is_ours = empties.is_ok() && {
        // SAFETY: mapped above, aligned to a page, zeros are an `AtomicU32`, and
        // nobody else knows of it yet. WHY: as in `process_id`.
        unsafe { &*place }.store(id, Ordering::Relaxed);
        let before = ptr::null_mut();
        let (done, failed) = (Ordering::Release, Ordering::Relaxed);
        KEPT.compare_exchange(before, place, done, failed).is_ok()
    };
    CANNOT_BE_KEPT.store(empties.is_err(), Ordering::Relaxed);
    if !is_ours {
        // SAFETY: our own mapping, of which nobody else knows.
        // WHY: no safe function unmaps.
        let unmapped = unsafe { rustix::mm::munmap(page, LENGTH) };
        debug_assert!(unmapped.is_ok(), "it was mapped above");
    }
}

#[cfg(test)]
#[cfg(not(grey_loom))]
mod tests {
    use super::*;

    #[test]
    fn it_is_that_of_the_process_for_many_threads_at_once_and_is_kept() {
        let threads: Vec<_> = (0..8).map(|_| std::thread::spawn(process_id)).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), std::process::id());
        }
        assert!(!KEPT.load(Ordering::Acquire).is_null());
        assert_eq!(process_id(), std::process::id());
    }

    #[test]
    fn an_emptied_page_is_filled_again() {
        let kept = AtomicU32::new(0);
        assert_eq!(ask(Some(&kept)), std::process::id());
        assert_eq!(kept.load(Ordering::Relaxed), std::process::id());
    }
}
