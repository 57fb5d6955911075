//! A part of the program that holds memory, and the fast path of reserving:
//! one atomic operation on a cell of this thread's own.
//!
//! Never takes the budget's lock while the cell has enough.

use std::time::Duration;

use grey_model::{Bytes, Priority};

use super::account::{Account, Slack};
use super::core::{Core, SharedCore};
use super::error::{Bound, BudgetError, ReserveError};
use super::reservation::Reservation;
use super::settings::{Admission, Tenant};
use super::wait::{ReserveFuture, wait};
use crate::sharded::shard_of_this_thread;
use crate::sync::{Arc, Ordering};

#[derive(Debug)]
struct Inner {
    core: SharedCore,
    slack: Arc<Slack>,
    index: usize,
    name: std::sync::Arc<str>,
    priority: Priority,
    refillable: bool,
    // Kept until the component's account is gone.
    tenant: Option<Tenant>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.core.unregister(self.index);
    }
}

/// A part of the program that is charged for what it holds. Clones are handles
/// to the same component; it ends with the last handle and reservation.
#[derive(Debug, Clone)]
pub struct Component {
    inner: Arc<Inner>,
}

impl Component {
    pub(super) fn register(
        core: SharedCore,
        account: Account,
        tenant: Option<Tenant>,
    ) -> Result<Self, BudgetError> {
        let name = std::sync::Arc::clone(&account.name);
        let (priority, refillable) = (account.priority, account.refillable);
        let (index, slack) = core.register(account)?;
        Ok(Self {
            inner: Arc::new(Inner {
                core,
                slack,
                index,
                name,
                priority,
                refillable,
                tenant,
            }),
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// How dear its things are.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.inner.priority
    }

    /// Whom it works for.
    #[must_use]
    pub fn tenant(&self) -> Option<&Tenant> {
        self.inner.tenant.as_ref()
    }

    /// What it has reserved. While others reserve and release, nearly.
    #[must_use]
    pub fn reserved(&self) -> Bytes {
        let state = self.inner.core.accounts();
        let reserved = state.map(|state| state.account(self.inner.index).reserved());
        Bytes(reserved.unwrap_or_default())
    }

    /// How much it could reserve now, once what threads keep is called back.
    #[must_use]
    pub fn available(&self) -> Bytes {
        self.inner.core.settle();
        let state = self.inner.core.accounts();
        let available = state.map(|state| state.available(self.inner.index).0);
        Bytes(available.unwrap_or_default())
    }

    /// Takes `bytes`, at once or not at all.
    ///
    /// # Errors
    /// [`ReserveError`], which says whether waiting would help.
    #[inline]
    pub fn reserve(&self, bytes: Bytes) -> Result<Reservation<'_>, ReserveError> {
        match self.take(shard_of_this_thread(), bytes.get()) {
            Ok(()) => Ok(Reservation::of(self, bytes.get())),
            Err(error) => Err(self.refused(error)),
        }
    }

    /// Takes `bytes`, at once or not at all. Who does without them was not
    /// refused: whoever tells the program that it was, says so to
    /// [`Self::refused`].
    pub(crate) fn reserve_spare(&self, bytes: Bytes) -> Result<Reservation<'static>, ReserveError> {
        self.take(shard_of_this_thread(), bytes.get())?;
        Ok(Reservation::of(self, bytes.get()).into_owned())
    }

    /// Takes `bytes` that nobody has or waits for. That they are not there is no
    /// shortage: nobody is asked to make room.
    pub(crate) fn reserve_if_free(&self, bytes: Bytes) -> Option<Reservation<'_>> {
        let (core, index) = (&self.inner.core, self.inner.index);
        core.charge_if_free(index, bytes.get())
            .then(|| Reservation::of(self, bytes.get()))
    }

    /// Counts who is given this error.
    #[cold]
    pub(crate) fn refused(&self, error: ReserveError) -> ReserveError {
        self.inner.core.note_refusal();
        error
    }

    /// Whether it is refused now whatever it asks for, because of the level.
    pub(crate) fn is_closed(&self) -> bool {
        !self.is_admitted(self.inner.core.admission())
    }

    /// Whether what comes in may take the place of what is held now.
    pub(crate) fn may_exchange(&self) -> bool {
        self.inner
            .core
            .exchanges
            .load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Takes `bytes` within the limits although the level admits nothing new:
    /// as much will be given back in the same step. Who asks was refused, and
    /// counted, before.
    pub(crate) fn reserve_in_exchange(
        &self,
        bytes: Bytes,
    ) -> Result<Reservation<'_>, ReserveError> {
        let (core, index) = (&self.inner.core, self.inner.index);
        core.charge(index, shard_of_this_thread(), bytes.get())?;
        Ok(Reservation::of(self, bytes.get()))
    }

    /// The same, in a reservation that borrows nothing.
    ///
    /// # Errors
    /// [`ReserveError`], which says whether waiting would help.
    pub fn reserve_owned(&self, bytes: Bytes) -> Result<Reservation<'static>, ReserveError> {
        Ok(self.reserve(bytes)?.into_owned())
    }

    /// Takes `bytes` now or waits in this thread for others to give back, at
    /// most for `timeout`. First come, first served, of those whom the
    /// [`Admission`] takes; the others wait on until it takes them again.
    ///
    /// # Errors
    /// [`ReserveError`], when it never fits, new work is refused, the time is
    /// over or nobody makes progress.
    pub fn reserve_timeout(
        &self,
        bytes: Bytes,
        timeout: Duration,
    ) -> Result<Reservation<'_>, ReserveError> {
        let given = match self.enter(bytes.get()) {
            Ok(Some(reservation)) => Ok(reservation),
            Ok(None) => wait(self, bytes.get(), Some(timeout)),
            Err(error) => Err(error),
        };
        given.map_err(|error| self.refused(error))
    }

    /// Takes `bytes` now or waits as a task. Dropping the future leaves the
    /// queue. The errors are those of [`Self::reserve_timeout`].
    pub const fn reserve_async(&self, bytes: Bytes) -> ReserveFuture<'_> {
        ReserveFuture::new(self, bytes.get())
    }

    /// Charges `bytes` that are held already, whatever the limits say, so that
    /// the account is true. The controller sees when it is too much. A component
    /// is charged `u64::MAX` bytes at most: beyond that the reservation is
    /// smaller than `bytes`.
    pub fn overdraw(&self, bytes: Bytes) -> Reservation<'_> {
        let charged = self.inner.core.overdraw(self.inner.index, bytes.get());
        Reservation::of(self, charged)
    }

    /// Whether both are handles to the same component.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    pub(super) fn core(&self) -> &Core {
        &self.inner.core
    }

    pub(super) fn index(&self) -> usize {
        self.inner.index
    }

    /// At once, `None` when it is to be waited for, an error when not even that.
    pub(super) fn enter(&self, bytes: u64) -> Result<Option<Reservation<'_>>, ReserveError> {
        match self.take(shard_of_this_thread(), bytes) {
            Ok(()) => Ok(Some(Reservation::of(self, bytes))),
            Err(error) if error.waiting_helps() => Ok(None),
            Err(error) => Err(error),
        }
    }

    #[inline]
    fn take(&self, shard: usize, bytes: u64) -> Result<(), ReserveError> {
        let inner = &*self.inner;
        let admission = inner.core.admission();
        if admission != Admission::Open && !self.is_admitted(admission) {
            return Err(self.shed(bytes, admission));
        }
        let cell = inner.slack.cell(shard);
        let mut kept = cell.load(Ordering::Relaxed);
        while kept >= bytes {
            match cell.compare_exchange_weak(
                kept,
                kept - bytes,
                Ordering::SeqCst,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(()),
                Err(now) => kept = now,
            }
        }
        inner.core.charge(inner.index, shard, bytes)
    }

    #[inline]
    pub(crate) fn release(&self, bytes: u64) {
        self.put(shard_of_this_thread(), bytes);
    }

    #[inline]
    fn put(&self, shard: usize, bytes: u64) {
        let inner = &*self.inner;
        let quantum = inner.core.quantum();
        if bytes >= quantum {
            return self.give_back_whole(bytes);
        }
        let cell = inner.slack.cell(shard);
        let kept = cell
            .fetch_add(bytes, Ordering::SeqCst)
            .saturating_add(bytes);
        if kept > 2 * quantum || inner.core.is_waited_for() {
            self.give_back_excess(shard, quantum);
        }
    }

    /// Empties the cell down to a quantum, or wholly when somebody waits.
    #[cold]
    fn give_back_excess(&self, shard: usize, quantum: u64) {
        let inner = &*self.inner;
        let keep = if inner.core.is_waited_for() {
            0
        } else {
            quantum
        };
        let cell = inner.slack.cell(shard);
        let mut kept = cell.load(Ordering::SeqCst);
        while kept > keep {
            match cell.compare_exchange(kept, keep, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return inner.core.give_back(inner.index, kept - keep),
                Err(now) => kept = now,
            }
        }
    }

    #[cold]
    pub(super) fn give_back_whole(&self, bytes: u64) {
        self.inner.core.give_back(self.inner.index, bytes);
    }

    fn is_admitted(&self, admission: Admission) -> bool {
        admission.takes(self.inner.priority, self.inner.refillable)
    }

    #[cold]
    fn shed(&self, bytes: u64, admission: Admission) -> ReserveError {
        ReserveError::Shedding {
            component: std::sync::Arc::clone(&self.inner.name),
            asked: Bytes(bytes),
            admission,
        }
    }

    pub(super) fn exceeds(&self, asked: Bytes) -> ReserveError {
        let limit = Bytes(self.inner.core.state().limit);
        ReserveError::Exceeds {
            component: std::sync::Arc::clone(&self.inner.name),
            asked,
            bound: Bound::Budget,
            limit,
        }
    }
}
