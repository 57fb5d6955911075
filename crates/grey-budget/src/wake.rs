//! Wakes tasks, whose wakers are the program's code: what they throw stops here.
//!
//! Never called under a lock, except within [`wake_after`], which wakes later.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

thread_local! {
    /// Whom this thread wakes later; `None` if it wakes at once.
    static HELD_BACK: RefCell<Option<Vec<Waker>>> = const { RefCell::new(None) };
}

/// Does `work`, and wakes those whom it would have woken when it is done, and
/// its locks are open again; after a panic of it, too.
pub(crate) fn wake_after<R>(work: impl FnOnce() -> R) -> R {
    let held_back = HeldBack {
        before: HELD_BACK.replace(Some(Vec::new())),
    };
    let result = work();
    drop(held_back);
    result
}

/// Ends the holding back.
struct HeldBack {
    before: Option<Vec<Waker>>,
}

impl Drop for HeldBack {
    fn drop(&mut self) {
        let wakers = HELD_BACK.replace(self.before.take());
        // Within another one, that one wakes them.
        wake_all(wakers.into_iter().flatten());
    }
}

/// Wakes all; one that panics keeps no other from being woken.
pub(crate) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        wake(waker);
    }
}

/// Wakes. A panic of a waker is the runtime's, and goes no further.
pub(crate) fn wake(waker: Waker) {
    let mut at_once = Some(waker);
    // Without it, when the thread ends, nothing is held back.
    let _ended = HELD_BACK.try_with(|held_back| {
        if let Some(held_back) = &mut *held_back.borrow_mut() {
            held_back.extend(at_once.take());
        }
    });
    if let Some(waker) = at_once {
        wake_now(waker);
    }
}

fn wake_now(waker: Waker) {
    if let Err(thrown) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
        // What was thrown may panic when it is dropped, and so may whoever
        // listens to the log; what these throw is forgotten.
        let told = catch_unwind(AssertUnwindSafe(|| {
            tracing::error!("a waker panicked");
            drop(thrown);
        }));
        if let Err(second) = told {
            std::mem::forget(second);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    /// Panics again when it is dropped.
    struct Thrown;

    impl Drop for Thrown {
        fn drop(&mut self) {
            panic!("dropped what a waker threw");
        }
    }

    struct Throws;

    impl Wake for Throws {
        fn wake(self: Arc<Self>) {
            std::panic::panic_any(Thrown);
        }
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn who_is_held_back_is_woken_after_it_and_after_a_panic() {
        let woken = Arc::new(Woken::default());
        let wake_one = || wake(Waker::from(Arc::<Woken>::clone(&woken)));
        let so_far = || woken.0.load(Ordering::SeqCst);
        wake_after(|| {
            wake_one();
            wake_after(wake_one);
            assert_eq!(so_far(), 0);
        });
        assert_eq!(so_far(), 2);
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            wake_after(|| {
                wake_one();
                panic!("the work of the test panics");
            })
        }));
        assert!(unwound.is_err());
        assert_eq!(so_far(), 3);
        wake_one();
        assert_eq!(so_far(), 4);
    }

    #[test]
    fn what_a_waker_throws_keeps_no_other_from_being_woken() {
        let woken = Arc::new(Woken::default());
        wake_all([
            Waker::from(Arc::new(Throws)),
            Waker::from(Arc::<Woken>::clone(&woken)),
        ]);
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    }
}
