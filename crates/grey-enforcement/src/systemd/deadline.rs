//! A bound on how long a future may take.
//!
//! The D-Bus library bounds its method calls, but not the connection itself:
//! a bus whose daemon hangs accepts the connection and never answers. Never
//! used for anything but that.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// The future's output, or `None` when it took longer than `limit`.
pub(super) async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let end = Instant::now() + limit;
    let mut future = pin!(future);
    let mut alarm: Option<Alarm> = None;
    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        if Instant::now() >= end {
            return Poll::Ready(None);
        }
        let waker = context.waker();
        if !alarm.as_ref().is_some_and(|alarm| alarm.wakes(waker)) {
            alarm = Alarm::set(end, waker.clone());
        }
        Poll::Pending
    })
    .await
}

/// Wakes a task at an instant, unless it is dropped before.
struct Alarm {
    waker: Waker,
    // Never sent to: its end tells the thread that nobody waits any more.
    _cancel: Sender<()>,
}

impl Alarm {
    /// `None` when no thread can be had: then the future has no bound.
    fn set(end: Instant, waker: Waker) -> Option<Self> {
        let (cancel, cancelled) = mpsc::channel::<()>();
        let wake = waker.clone();
        thread::Builder::new()
            .name("grey-deadline".to_owned())
            .spawn(move || {
                let left = end.saturating_duration_since(Instant::now());
                if cancelled.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
                    wake.wake();
                }
            })
            .ok()?;
        Some(Self {
            waker,
            _cancel: cancel,
        })
    }

    fn wakes(&self, waker: &Waker) -> bool {
        self.waker.will_wake(waker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    #[test]
    fn a_future_that_never_ends_is_given_up() {
        let nothing: Option<()> = zbus::block_on(within(Duration::from_millis(5), pending()));
        assert_eq!(nothing, None);
    }

    #[test]
    fn a_future_that_ends_is_not_held_up() {
        let limit = Duration::from_secs(3600);
        assert_eq!(zbus::block_on(within(limit, ready(3))), Some(3));
    }
}
