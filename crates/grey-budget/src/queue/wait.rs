//! Who waits at an end of a queue, and how a thread sleeps until it is woken.
//!
//! Never wakes anybody: it hands out the wakers, to be called under no lock.

use std::collections::VecDeque;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use crate::sync::{Condvar, Mutex, lock};

/// How often a thread looks again, a little longer apart each time, before it
/// goes to sleep.
const SPINS: u32 = 7;

/// How often it then lets other threads run before it looks again.
const YIELDS: u32 = 16;

/// Those who wait, first come first; each has one place. A producer holds an
/// item and a consumer a stack, so the program itself bounds how many there are.
#[derive(Debug, Default)]
pub(crate) struct WaitList {
    places: VecDeque<(u64, Waker)>,
    last: u64,
}

impl WaitList {
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Takes or keeps the place `place`. What comes back is to be dropped
    /// outside of the lock. Who was woken in vain stands first.
    pub(crate) fn enter(
        &mut self,
        place: &mut Option<u64>,
        waker: Waker,
        first: bool,
    ) -> Option<Waker> {
        let kept = place.and_then(|id| self.places.iter_mut().find(|entry| entry.0 == id));
        if let Some(entry) = kept {
            return Some(std::mem::replace(&mut entry.1, waker));
        }
        self.last += 1;
        *place = Some(self.last);
        if first {
            self.places.push_front((self.last, waker));
        } else {
            self.places.push_back((self.last, waker));
        }
        None
    }

    /// Whether `place` is still in the list: it was not woken.
    pub(crate) fn holds(&self, place: u64) -> bool {
        self.places.iter().any(|entry| entry.0 == place)
    }

    /// Leaves. `None` when it had been woken already.
    pub(crate) fn leave(&mut self, place: u64) -> Option<Waker> {
        let index = self.places.iter().position(|entry| entry.0 == place)?;
        self.places.remove(index).map(|(_, waker)| waker)
    }

    /// The first of those who wait; it is in the list no more.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Waker> {
        self.places.pop_front().map(|(_, waker)| waker)
    }

    /// The first `most` of those who wait.
    #[inline]
    pub(crate) fn take(&mut self, most: usize) -> Vec<Waker> {
        if self.places.is_empty() {
            return Vec::new();
        }
        self.take_some(most)
    }

    #[cold]
    fn take_some(&mut self, most: usize) -> Vec<Waker> {
        let most = most.min(self.places.len());
        self.places.drain(..most).map(|(_, waker)| waker).collect()
    }
}

/// Where a thread sleeps.
struct Bed {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Bed {
    fn wake(self: std::sync::Arc<Self>) {
        *lock(&self.woken) = true;
        self.changed.notify_one();
    }
}

impl Bed {
    /// Sleeps until it is woken; `false` when `until` passed first.
    fn sleep(&self, until: Option<Instant>) -> bool {
        let mut woken = lock(&self.woken);
        while !*woken {
            woken = match until {
                None => match self.changed.wait(woken) {
                    Ok(guard) => guard,
                    Err(poisoned) => poisoned.into_inner(),
                },
                Some(until) => {
                    let Some(left) = until.checked_duration_since(Instant::now()) else {
                        return false;
                    };
                    match self.changed.wait_timeout(woken, left) {
                        Ok((guard, _)) => guard,
                        Err(poisoned) => poisoned.into_inner().0,
                    }
                }
            };
        }
        *woken = false;
        true
    }
}

/// Polls in this thread until it is ready; `None` when `until` passed first.
pub(crate) fn block<R>(
    until: Option<Instant>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<R>,
) -> Option<R> {
    let bed = std::sync::Arc::new(Bed {
        woken: Mutex::new(false),
        changed: Condvar::new(),
    });
    let waker = Waker::from(std::sync::Arc::clone(&bed));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(result) = poll(&mut context) {
            return Some(result);
        }
        if !bed.sleep(until) {
            // Who wakes us and the end of the time may meet.
            return match poll(&mut context) {
                Poll::Ready(result) => Some(result),
                Poll::Pending => None,
            };
        }
    }
}

/// Looks a few times whether something `is_due`, in the hope not to sleep.
pub(crate) fn spin(is_due: impl Fn() -> bool) -> bool {
    if cfg!(grey_loom) {
        return false;
    }
    for step in 0..SPINS {
        for _ in 0..1_u32 << step {
            std::hint::spin_loop();
        }
        if is_due() {
            return true;
        }
    }
    for _ in 0..YIELDS {
        std::thread::yield_now();
        if is_due() {
            return true;
        }
    }
    false
}
