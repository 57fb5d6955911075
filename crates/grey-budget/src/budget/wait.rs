//! Waiting for bytes: a thread sleeps, a task is woken.
//!
//! Never polls. Who gives up after being served gives the bytes back.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::component::Component;
use super::error::ReserveError;
use super::reservation::Reservation;
use crate::sync::{Arc, Condvar, Mutex, lock};

/// How waiting ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Granted,
    Refused(ReserveError),
}

#[derive(Debug, Default)]
struct Waiting {
    outcome: Option<Outcome>,
    waker: Option<Waker>,
}

/// Where one who waits is told.
#[derive(Debug)]
pub(super) struct WaitCell {
    waiting: Mutex<Waiting>,
    told: Condvar,
}

impl WaitCell {
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::new(Waiting::default()),
            told: Condvar::new(),
        }
    }

    /// Tells the outcome to a thread; a task is told once its waker, which is
    /// given back, is called.
    #[must_use]
    pub(super) fn settle(&self, outcome: Outcome) -> Option<Waker> {
        let mut waiting = lock(&self.waiting);
        waiting.outcome = Some(outcome);
        let waker = waiting.waker.take();
        drop(waiting);
        self.told.notify_all();
        waker
    }

    /// The outcome; while there is none, `waker` is woken for it. A waker is
    /// cloned and dropped outside of the lock, and before the outcome is taken:
    /// both are the program's code, and may panic.
    fn look(&self, waker: &Waker) -> Option<Outcome> {
        let waker = waker.clone();
        let mut waiting = lock(&self.waiting);
        let spare = match waiting.outcome {
            Some(_) => Some(waker),
            None => waiting.waker.replace(waker),
        };
        drop(waiting);
        drop(spare);
        lock(&self.waiting).outcome.take()
    }

    /// Sleeps until it is told; `None` when `until` passed first.
    fn sleep(&self, until: Option<Instant>) -> Option<Outcome> {
        let mut waiting = lock(&self.waiting);
        loop {
            if let Some(outcome) = waiting.outcome.take() {
                return Some(outcome);
            }
            waiting = match until {
                None => match self.told.wait(waiting) {
                    Ok(guard) => guard,
                    Err(poisoned) => poisoned.into_inner(),
                },
                Some(until) => {
                    let left = until.checked_duration_since(Instant::now())?;
                    match self.told.wait_timeout(waiting, left) {
                        Ok((guard, _)) => guard,
                        Err(poisoned) => poisoned.into_inner().0,
                    }
                }
            };
        }
    }
}

/// A place in the queue. Leaves it when dropped; if it was served meanwhile,
/// gives the bytes back.
#[derive(Debug)]
struct Place<'c> {
    component: &'c Component,
    bytes: u64,
    id: u64,
    cell: Arc<WaitCell>,
    done: bool,
}

impl Place<'_> {
    fn leave(&mut self) -> Option<ReserveError> {
        self.done = true;
        self.component.core().leave(self.id, self.bytes)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.done || self.leave().is_some() {
            return;
        }
        // Out of the queue and not by us: the outcome is there, or is being told.
        if let Some(Outcome::Granted) = self.cell.sleep(None) {
            self.component.give_back_whole(self.bytes);
        }
    }
}

/// Waits in this thread, at most for `timeout`.
pub(super) fn wait(
    component: &Component,
    bytes: u64,
    timeout: Option<Duration>,
) -> Result<Reservation<'_>, ReserveError> {
    let Some((id, cell)) = component.core().queue(component.index(), bytes)? else {
        return Ok(Reservation::of(component, bytes));
    };
    let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut place = Place {
        component,
        bytes,
        id,
        cell,
        done: false,
    };
    let outcome = match place.cell.sleep(until) {
        Some(outcome) => outcome,
        None => match place.leave() {
            Some(refusal) => return Err(refusal),
            None => match place.cell.sleep(None) {
                Some(outcome) => outcome,
                None => unreachable!("sleeping without an end ends with an outcome"),
            },
        },
    };
    place.done = true;
    match outcome {
        Outcome::Granted => Ok(Reservation::of(component, bytes)),
        Outcome::Refused(refusal) => Err(refusal),
    }
}

/// Bytes, when they are there. Dropping it leaves the queue.
#[derive(Debug)]
#[must_use = "a future does nothing until it is awaited"]
pub struct ReserveFuture<'c> {
    component: &'c Component,
    bytes: u64,
    place: Option<Place<'c>>,
}

impl<'c> ReserveFuture<'c> {
    pub(super) const fn new(component: &'c Component, bytes: u64) -> Self {
        Self {
            component,
            bytes,
            place: None,
        }
    }
}

impl<'c> Future for ReserveFuture<'c> {
    type Output = Result<Reservation<'c>, ReserveError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let component = self.component;
        let given = self.ask(context);
        given.map_err(|error| component.refused(error))
    }
}

impl<'c> ReserveFuture<'c> {
    fn ask(&mut self, context: &mut Context<'_>) -> Poll<Result<Reservation<'c>, ReserveError>> {
        let this = self;
        if this.place.is_none() {
            match this.component.enter(this.bytes) {
                Err(error) => return Poll::Ready(Err(error)),
                Ok(Some(reservation)) => return Poll::Ready(Ok(reservation)),
                Ok(None) => {}
            }
            let core = this.component.core();
            match core.queue(this.component.index(), this.bytes) {
                Err(error) => return Poll::Ready(Err(error)),
                Ok(None) => {
                    return Poll::Ready(Ok(Reservation::of(this.component, this.bytes)));
                }
                Ok(Some((id, cell))) => {
                    this.place = Some(Place {
                        component: this.component,
                        bytes: this.bytes,
                        id,
                        cell,
                        done: false,
                    });
                }
            }
        }
        let Some(place) = &mut this.place else {
            return Poll::Pending;
        };
        let Some(outcome) = place.cell.look(context.waker()) else {
            return Poll::Pending;
        };
        place.done = true;
        this.place = None;
        Poll::Ready(match outcome {
            Outcome::Granted => Ok(Reservation::of(this.component, this.bytes)),
            Outcome::Refused(refusal) => Err(refusal),
        })
    }
}
