//! Bytes that a part holds of the budget, taken and given back in quanta.
//!
//! Never reserves by itself: what is reserved outside of a lock is put in, and
//! what is too much is taken out to be dropped outside of a lock.

use std::panic::{AssertUnwindSafe, catch_unwind};

use grey_model::Bytes;

use crate::budget::{Component, Reservation, ReserveError};

/// The smallest and largest quantum.
const SMALLEST_QUANTUM: u64 = 4 << 10;
const LARGEST_QUANTUM: u64 = 64 << 10;

/// What a part has reserved. What it uses of that the part itself knows.
#[derive(Debug)]
pub(crate) struct Charge {
    held: Reservation<'static>,
}

impl Charge {
    pub(crate) fn new(component: &Component) -> Self {
        Self {
            held: component.overdraw(Bytes::ZERO).into_owned(),
        }
    }

    #[inline]
    pub(crate) const fn size(&self) -> u64 {
        self.held.size().get()
    }

    /// Puts in what was reserved for the same component.
    pub(crate) fn put(&mut self, credit: Option<Reservation<'static>>) {
        if let Some(credit) = credit {
            // Of another component it would be given back by being dropped.
            drop(self.held.merge(credit));
        }
    }

    /// Takes out all above `keep`.
    pub(crate) fn take_above(&mut self, keep: u64) -> Option<Reservation<'static>> {
        let excess = self.size().saturating_sub(keep);
        (excess > 0).then(|| self.held.split(Bytes(excess)))
    }
}

/// A quantum for a part that may hold `limit` bytes.
pub(crate) fn quantum_of(limit: u64) -> u64 {
    (limit / 16).clamp(SMALLEST_QUANTUM, LARGEST_QUANTUM)
}

/// Reserves `bytes` and, if there is room, a whole quantum; else just what is
/// `missing`. Who is refused may still do without it, or wait: it is counted by
/// whoever tells the program.
pub(crate) fn reserve_quantum(
    component: &Component,
    quantum: u64,
    bytes: u64,
    missing: u64,
) -> Result<Reservation<'static>, ReserveError> {
    match component.reserve_spare(Bytes(quantum.max(bytes))) {
        Err(ReserveError::Exceeds { .. } | ReserveError::Exhausted { .. }) => {
            component.reserve_spare(Bytes(missing))
        }
        done => done,
    }
}

/// Drops things of the program's; a panic of one keeps no other from being
/// dropped, and goes no further.
pub(crate) fn discard<T>(things: impl IntoIterator<Item = T>) {
    for thing in things {
        if catch_unwind(AssertUnwindSafe(|| drop(thing))).is_err() {
            tracing::error!("a value panicked while it was dropped");
        }
    }
}
