//! A budget's lock, what is read without it, and the operations that take it.
//!
//! Components keep a little of what they were charged in cells, one for each
//! thread, and give and take there without this lock. What lies in a cell is
//! charged, so the sum is never too low; it is called back before anybody is
//! refused. Nobody's code runs under the lock, and nobody waits for it in a
//! process that was forked while it was held.

mod registry;

use grey_model::Bytes;

use super::account::Slack;
use super::alarm::Alarm;
use super::error::{BudgetError, ReserveError};
use super::settings::Admission;
use super::state::{Settled, State, Waiter};
use super::wait::{Outcome, WaitCell};
use crate::sharded::SHARDS;
use crate::sync::{
    Arc, AtomicU8, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, fence_for_loom, lock,
    lock_unless_orphaned,
};

/// The most components of one budget.
pub(super) const MOST_COMPONENTS: usize = 1024;

/// The most requests that wait at once; more are refused as if nobody could wait.
const MOST_WAITERS: usize = 1 << 16;

/// The largest and smallest number of bytes that a cell is given at once.
const LARGEST_QUANTUM: u64 = 256 << 10;
const SMALLEST_QUANTUM: u64 = 256;

pub(super) type SharedCore = Arc<Core>;

#[derive(Debug)]
pub(super) struct Core {
    state: Mutex<State>,
    /// The process that made it.
    owner: u32,
    /// In a process that was forked while another thread held the lock: nobody
    /// will open it, and this empty one is asked in its place.
    is_orphaned: std::sync::atomic::AtomicBool,
    orphan: Mutex<State>,
    waiting: AtomicUsize,
    admission: AtomicU8,
    quantum: AtomicU64,
    /// Bytes that came back, ever: progress, for whoever looks for a stall.
    returned: AtomicU64,
    /// Requests that did not fit, ever, and by how much the last one missed.
    shortages: AtomicU64,
    missing: AtomicU64,
    /// Requests that were answered with an error, ever.
    refusals: AtomicU64,
    pub(super) alarm: std::sync::Mutex<Option<Alarm>>,
    /// Whether what comes in may take the place of what is held while nothing
    /// new is admitted.
    pub(super) exchanges: std::sync::atomic::AtomicBool,
}

impl Core {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            state: Mutex::new(State::new(limit)),
            owner: std::process::id(),
            is_orphaned: std::sync::atomic::AtomicBool::new(false),
            orphan: Mutex::new(State::new(limit)),
            waiting: AtomicUsize::new(0),
            admission: AtomicU8::new(Admission::Open.code()),
            quantum: AtomicU64::new(quantum_of(limit)),
            returned: AtomicU64::new(0),
            shortages: AtomicU64::new(0),
            missing: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
            alarm: std::sync::Mutex::new(None),
            exchanges: std::sync::atomic::AtomicBool::new(true),
        }
    }

    /// The accounts. In a child whose parent's thread held the lock: no accounts.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.accounts().unwrap_or_else(|| lock(&self.orphan))
    }

    /// The accounts; `None` in a child whose parent's thread held the lock.
    pub(super) fn accounts(&self) -> Option<MutexGuard<'_, State>> {
        if self.is_orphaned.load(std::sync::atomic::Ordering::Relaxed) {
            return None;
        }
        let state = lock_unless_orphaned(&self.state, self.owner);
        if state.is_none() {
            self.is_orphaned
                .store(true, std::sync::atomic::Ordering::Relaxed);
        }
        state
    }

    #[inline]
    pub(super) fn admission(&self) -> Admission {
        Admission::of_code(self.admission.load(Ordering::Relaxed))
    }

    /// Admits more or less from now on, and tells nobody yet: whom it lets in
    /// is served by the next [`Self::serve`].
    pub(super) fn change_admission(&self, admission: Admission) {
        let mut state = self.state();
        state.admission = admission;
        self.admission.store(admission.code(), Ordering::Relaxed);
    }

    /// Serves those who wait and are admitted, as far as there is enough.
    pub(super) fn serve(&self) {
        if self.is_waited_for() {
            self.settle();
        }
    }

    #[inline]
    pub(super) fn quantum(&self) -> u64 {
        self.quantum.load(Ordering::Relaxed)
    }

    /// Whether anybody waits, so that nothing may stay in a shard.
    #[inline]
    pub(super) fn is_waited_for(&self) -> bool {
        fence_for_loom();
        self.waiting.load(Ordering::SeqCst) > 0
    }

    pub(super) fn progress(&self) -> u64 {
        self.returned.load(Ordering::Relaxed)
    }

    /// How many requests did not fit so far, and by how many bytes the last
    /// one missed.
    pub(super) fn shortage(&self) -> (u64, Bytes) {
        (
            self.shortages.load(Ordering::Relaxed),
            Bytes(self.missing.load(Ordering::Relaxed)),
        )
    }

    pub(super) fn note_refusal(&self) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    /// Takes `bytes` and, if there is plenty, a quantum for the shard.
    pub(super) fn charge(
        &self,
        account: usize,
        shard: usize,
        bytes: u64,
    ) -> Result<(), ReserveError> {
        let Some(mut state) = self.accounts() else {
            return Err(orphaned(bytes));
        };
        let slack = Arc::clone(&state.account(account).slack);
        let cell = slack.cell(shard);
        // What lies in the shard is charged already.
        let had = cell.swap(0, Ordering::SeqCst);
        if had >= bytes {
            cell.fetch_add(had - bytes, Ordering::SeqCst);
            return Ok(());
        }
        let needed = bytes - had;
        let quantum = if self.is_waited_for() {
            0
        } else {
            self.quantum()
        };
        if state.waiters.is_empty()
            && let Some(with_quantum) = needed.checked_add(quantum)
            && state.try_charge(account, with_quantum)
        {
            cell.fetch_add(quantum, Ordering::SeqCst);
            self.after_charge(state);
            return Ok(());
        }
        if !state.is_overtaking(account, needed) && state.try_charge(account, needed) {
            self.after_charge(state);
            return Ok(());
        }
        // Before anybody is refused, what threads keep is called back.
        state.uncharge(account, had);
        let granted = self.call_back(&mut state);
        let given = !state.is_overtaking(account, bytes) && state.try_charge(account, bytes);
        let refused = if given {
            Ok(())
        } else {
            Err(state.refusal(account, bytes, false))
        };
        drop(state);
        granted.tell();
        if let Err(ReserveError::Exhausted { available, .. }) = &refused {
            self.raise_alarm(bytes.saturating_sub(available.get()));
        }
        refused
    }

    /// Takes `bytes`, if they are free and nobody waits; refuses without a word.
    pub(super) fn charge_if_free(&self, account: usize, bytes: u64) -> bool {
        let Some(mut state) = self.accounts() else {
            return false;
        };
        let takes = state.waiters.is_empty()
            && state.is_admitted(account)
            && state.try_charge(account, bytes);
        if takes {
            self.after_charge(state);
        }
        takes
    }

    fn after_charge(&self, mut state: MutexGuard<'_, State>) {
        let calls = state.calls_for_reading();
        drop(state);
        if calls && let Some(alarm) = self.alarm() {
            (alarm.look)();
            alarm.thread.unpark();
        }
    }

    /// Takes `bytes` whatever the limits say, and tells how many it took: what
    /// one account was charged is a number of 64 bits.
    pub(super) fn overdraw(&self, account: usize, bytes: u64) -> u64 {
        let Some(mut state) = self.accounts() else {
            return bytes;
        };
        let bytes = bytes.min(u64::MAX - state.account(account).charged);
        state.charge(account, bytes);
        let settled = self.note_overdraft(&mut state);
        drop(state);
        settled.tell();
        bytes
    }

    /// While more is taken than there is, nothing may stay in a cell, just as
    /// when somebody waits: an overdraft is one more who waits.
    fn note_overdraft(&self, state: &mut State) -> Settled {
        let mut settled = Settled::default();
        if state.is_over_limit() && !state.is_overdrawn {
            state.is_overdrawn = true;
            self.waiting.fetch_add(1, Ordering::SeqCst);
            fence_for_loom();
            settled = self.call_back(state);
        }
        if !state.is_over_limit() && state.is_overdrawn {
            state.is_overdrawn = false;
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        settled
    }

    /// Gives `bytes` back to the budget, and to whoever waits.
    pub(super) fn give_back(&self, account: usize, bytes: u64) {
        let Some(mut state) = self.accounts() else {
            return;
        };
        state.uncharge(account, bytes);
        self.returned.fetch_add(bytes, Ordering::Relaxed);
        let mut granted = self.note_overdraft(&mut state);
        granted.0.extend(state.grant(&self.waiting).0);
        drop(state);
        granted.tell();
    }

    /// Empties every shard into the budget.
    fn call_back(&self, state: &mut State) -> Settled {
        let slacks: Vec<(usize, Arc<Slack>)> = state
            .accounts
            .iter()
            .enumerate()
            .filter_map(|(index, account)| Some((index, Arc::clone(&account.as_ref()?.slack))))
            .collect();
        for (index, slack) in slacks {
            let drained = slack.drain();
            state.uncharge(index, drained);
        }
        state.grant(&self.waiting)
    }

    /// Empties every shard, for an exact count.
    pub(super) fn settle(&self) {
        let mut state = self.state();
        let granted = self.call_back(&mut state);
        drop(state);
        granted.tell();
    }

    /// Queues up for `bytes`. `Ok(None)` when they were there at once.
    pub(super) fn queue(
        &self,
        account: usize,
        bytes: u64,
    ) -> Result<Option<(u64, Arc<WaitCell>)>, ReserveError> {
        let Some(mut state) = self.accounts() else {
            return Err(orphaned(bytes));
        };
        if let Some(never) = state.never_fits(account, bytes) {
            return Err(never);
        }
        if state.waiters.len() >= MOST_WAITERS {
            return Err(state.refusal(account, bytes, false));
        }
        // From here on whoever gives back gives to the budget, not to a shard;
        // what lies in the shards from before is called back right after.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        fence_for_loom();
        // Whom that serves is served before us; nobody is afterwards, as nothing
        // more comes back.
        let granted = self.call_back(&mut state);
        // It may have been shut out since it was told to wait.
        if state.is_admitted(account)
            && !state.is_overtaking(account, bytes)
            && state.try_charge(account, bytes)
        {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            drop(state);
            granted.tell();
            return Ok(None);
        }
        let missing = bytes.saturating_sub(state.available(account).0);
        let id = state.next_waiter;
        state.next_waiter += 1;
        let cell = Arc::new(WaitCell::new());
        state.waiters.push_back(Waiter {
            id,
            account,
            bytes,
            cell: Arc::clone(&cell),
        });
        drop(state);
        granted.tell();
        self.raise_alarm(missing);
        Ok(Some((id, cell)))
    }

    /// Leaves the queue. `Some` with the reason when it was still in it.
    pub(super) fn leave(&self, id: u64, bytes: u64) -> Option<ReserveError> {
        let Some(mut state) = self.accounts() else {
            return Some(orphaned(bytes));
        };
        let place = state.waiters.iter().position(|waiter| waiter.id == id)?;
        let waiter = state.waiters.remove(place)?;
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        // It may have stood in the way of others.
        let granted = state.grant(&self.waiting);
        let refusal = state.refusal(waiter.account, waiter.bytes, false);
        drop(state);
        granted.tell();
        Some(refusal)
    }

    /// Refuses the largest request that waits, because nobody makes progress:
    /// of those who may be served, or when there are none, of all, so that
    /// nobody waits for ever behind a closed door.
    pub(super) fn fail_largest_waiter(&self) -> Option<(std::sync::Arc<str>, Bytes)> {
        let mut state = self.state();
        let place = state.largest_waiter()?;
        let waiter = state.waiters.remove(place)?;
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        let refusal = state.refusal(waiter.account, waiter.bytes, true);
        let name = std::sync::Arc::clone(&state.account(waiter.account).name);
        let mut settled = Settled(vec![(waiter.cell, Outcome::Refused(refusal))]);
        settled.0.extend(state.grant(&self.waiting).0);
        drop(state);
        settled.tell();
        Some((name, Bytes(waiter.bytes)))
    }

    /// How many wait, and what the first of them wants.
    pub(super) fn waiters(&self) -> (usize, Option<Bytes>) {
        let state = self.state();
        let first = state.waiters.front().map(|waiter| Bytes(waiter.bytes));
        (state.waiters.len(), first)
    }

    pub(super) fn set_limit(&self, limit: u64) -> Result<(), BudgetError> {
        let mut state = self.state();
        state.check_limit(limit)?;
        state.limit = limit;
        self.quantum.store(quantum_of(limit), Ordering::Relaxed);
        let mut granted = self.call_back(&mut state);
        granted.0.extend(self.note_overdraft(&mut state).0);
        granted.0.extend(state.refuse_hopeless(&self.waiting).0);
        // Whom those kept from being served.
        granted.0.extend(state.grant(&self.waiting).0);
        drop(state);
        granted.tell();
        Ok(())
    }

    fn raise_alarm(&self, missing: u64) {
        self.missing.store(missing, Ordering::Relaxed);
        self.shortages.fetch_add(1, Ordering::Relaxed);
        if let Some(alarm) = self.alarm() {
            alarm.thread.unpark();
        }
    }

    /// Not in a child: the keeper is the parent's.
    #[cold]
    fn alarm(&self) -> Option<Alarm> {
        if std::process::id() != self.owner {
            return None;
        }
        self.alarm
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
}

#[cold]
const fn orphaned(bytes: u64) -> ReserveError {
    ReserveError::Forked {
        asked: Bytes(bytes),
    }
}

/// Small enough that all shards of one component keep under a hundredth of the
/// budget, and large enough to be worth the lock.
fn quantum_of(limit: u64) -> u64 {
    let shards = u64::try_from(SHARDS).unwrap_or(u64::MAX);
    (limit / (200 * shards)).clamp(SMALLEST_QUANTUM, LARGEST_QUANTUM)
}
