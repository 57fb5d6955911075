//! Wakes tasks, whose wakers are the program's code: what they throw stops here.
//!
//! Never called under a lock.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

/// Wakes all; one that panics keeps no other from being woken.
pub(crate) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        wake(waker);
    }
}

/// Wakes. A panic of a waker is the runtime's, and goes no further.
pub(crate) fn wake(waker: Waker) {
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
    fn what_a_waker_throws_keeps_no_other_from_being_woken() {
        let woken = Arc::new(Woken::default());
        wake_all([
            Waker::from(Arc::new(Throws)),
            Waker::from(Arc::<Woken>::clone(&woken)),
        ]);
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    }
}
