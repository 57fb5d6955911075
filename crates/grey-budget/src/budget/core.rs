//! The numbers of a budget, behind one lock: what each component was charged,
//! who waits, and what is left.
//!
//! Components keep a little of what they were charged in shards, one for each
//! thread, and give and take there without this lock. What lies in a shard is
//! charged, so the sum is never too low; it is called back before anybody is
//! refused. Nobody's code runs under the lock.

use std::collections::VecDeque;

use crossbeam_utils::CachePadded;
use grey_model::{Bytes, Priority};

use super::error::{Bound, BudgetError, Consumer, ReserveError};
use super::settings::Admission;
use super::wait::{Outcome, WaitCell};
use crate::sharded::SHARDS;
use crate::sync::{
    Arc, AtomicU8, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, fence_for_loom, lock,
};

/// The most components of one budget.
pub(super) const MOST_COMPONENTS: usize = 1024;

/// The most requests that wait at once; more are refused as if nobody could wait.
const MOST_WAITERS: usize = 1 << 16;

/// How many of the largest consumers an error names.
const TOP: usize = 3;

/// The largest and smallest number of bytes that a shard is given at once.
const LARGEST_QUANTUM: u64 = 256 << 10;
const SMALLEST_QUANTUM: u64 = 256;

pub(super) type SharedCore = Arc<Core>;

/// What a component was charged and does not use, cut into cells for threads.
#[derive(Debug)]
pub(super) struct Slack {
    cells: Box<[CachePadded<AtomicU64>]>,
}

impl Slack {
    fn new() -> Self {
        // Loom explores every access: two cells show all there is to see.
        let cells = if cfg!(grey_loom) { 2 } else { SHARDS };
        Self {
            cells: (0..cells)
                .map(|_| CachePadded::new(AtomicU64::new(0)))
                .collect(),
        }
    }

    #[inline]
    pub(super) fn cell(&self, shard: usize) -> &AtomicU64 {
        &self.cells[shard % self.cells.len()]
    }

    pub(super) fn sum(&self) -> u64 {
        self.cells
            .iter()
            .map(|cell| cell.load(Ordering::SeqCst))
            .fold(0, u64::saturating_add)
    }

    /// Empties all cells, and tells what was in them.
    fn drain(&self) -> u64 {
        self.cells
            .iter()
            .map(|cell| cell.swap(0, Ordering::SeqCst))
            .fold(0, u64::saturating_add)
    }
}

/// One component's numbers.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) name: std::sync::Arc<str>,
    pub(super) priority: Priority,
    pub(super) floor: u64,
    pub(super) limit: Option<u64>,
    pub(super) fair: bool,
    pub(super) refillable: bool,
    pub(super) tenant: Option<usize>,
    /// Bytes taken from the budget: in use and in the slack.
    pub(super) charged: u64,
    pub(super) peak: u64,
    pub(super) slack: Arc<Slack>,
}

impl Account {
    pub(super) fn new(
        name: std::sync::Arc<str>,
        priority: Priority,
        floor: Bytes,
        limit: Option<Bytes>,
        fair: bool,
        refillable: bool,
        tenant: Option<usize>,
    ) -> Self {
        Self {
            name,
            priority,
            floor: floor.get(),
            limit: limit.map(Bytes::get),
            fair,
            refillable,
            tenant,
            charged: 0,
            peak: 0,
            slack: Arc::new(Slack::new()),
        }
    }

    /// What it takes of the budget: its floor at least.
    fn committed(&self) -> u64 {
        self.charged.max(self.floor)
    }

    pub(super) fn reserved(&self) -> u64 {
        self.charged.saturating_sub(self.slack.sum())
    }
}

/// One tenant's numbers.
#[derive(Debug)]
pub(super) struct TenantAccount {
    pub(super) name: std::sync::Arc<str>,
    pub(super) priority: Priority,
    pub(super) limit: Option<u64>,
    pub(super) charged: u64,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    account: usize,
    bytes: u64,
    cell: Arc<WaitCell>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) limit: u64,
    /// The sum of what all accounts take.
    pub(super) committed: u64,
    pub(super) accounts: Vec<Option<Account>>,
    pub(super) tenants: Vec<Option<TenantAccount>>,
    waiters: VecDeque<Waiter>,
    next_waiter: u64,
}

/// What was granted under the lock and must be told outside of it.
#[must_use]
#[derive(Debug, Default)]
struct Settled(Vec<(Arc<WaitCell>, Outcome)>);

impl Settled {
    fn tell(self) {
        for (cell, outcome) in self.0 {
            cell.settle(outcome);
        }
    }
}

#[derive(Debug)]
pub(super) struct Core {
    state: Mutex<State>,
    waiting: AtomicUsize,
    admission: AtomicU8,
    quantum: AtomicU64,
    /// Bytes that came back, ever: progress, for whoever looks for a stall.
    returned: AtomicU64,
    /// Requests that did not fit, ever, and by how much the last one missed.
    shortages: AtomicU64,
    missing: AtomicU64,
    /// Whom to wake when something does not fit.
    pub(super) alarm: std::sync::Mutex<Option<std::thread::Thread>>,
}

impl Core {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            state: Mutex::new(State {
                limit,
                committed: 0,
                accounts: Vec::new(),
                tenants: Vec::new(),
                waiters: VecDeque::new(),
                next_waiter: 0,
            }),
            waiting: AtomicUsize::new(0),
            admission: AtomicU8::new(Admission::Open.code()),
            quantum: AtomicU64::new(quantum_of(limit)),
            returned: AtomicU64::new(0),
            shortages: AtomicU64::new(0),
            missing: AtomicU64::new(0),
            alarm: std::sync::Mutex::new(None),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    #[inline]
    pub(super) fn admission(&self) -> Admission {
        Admission::of_code(self.admission.load(Ordering::Relaxed))
    }

    pub(super) fn set_admission(&self, admission: Admission) {
        self.admission.store(admission.code(), Ordering::Relaxed);
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

    /// Takes `bytes` and, if there is plenty, a quantum for the shard.
    pub(super) fn charge(
        &self,
        account: usize,
        shard: usize,
        bytes: u64,
    ) -> Result<(), ReserveError> {
        let mut state = self.state();
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
        if state.waiters.is_empty() && state.try_charge(account, needed.saturating_add(quantum)) {
            cell.fetch_add(quantum, Ordering::SeqCst);
            return Ok(());
        }
        if !state.is_overtaking(account, needed) && state.try_charge(account, needed) {
            return Ok(());
        }
        // Before anybody is refused, what threads keep is called back.
        state.uncharge(account, had);
        let mut granted = self.call_back(&mut state);
        let given = !state.is_overtaking(account, bytes) && state.try_charge(account, bytes);
        let refused = if given {
            Ok(())
        } else {
            granted.0.extend(state.grant(&self.waiting).0);
            Err(state.refusal(account, bytes, false))
        };
        drop(state);
        granted.tell();
        if let Err(ReserveError::Exhausted { available, .. }) = &refused {
            self.raise_alarm(bytes.saturating_sub(available.get()));
        }
        refused
    }

    /// Takes `bytes` whatever the limits say.
    pub(super) fn overdraw(&self, account: usize, bytes: u64) {
        self.state().charge(account, bytes);
    }

    /// Gives `bytes` back to the budget, and to whoever waits.
    pub(super) fn give_back(&self, account: usize, bytes: u64) {
        let mut state = self.state();
        state.uncharge(account, bytes);
        self.returned.fetch_add(bytes, Ordering::Relaxed);
        let granted = state.grant(&self.waiting);
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
        let mut state = self.state();
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
        let mut granted = self.call_back(&mut state);
        if !state.is_overtaking(account, bytes) && state.try_charge(account, bytes) {
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
        granted.0.extend(state.grant(&self.waiting).0);
        drop(state);
        granted.tell();
        self.raise_alarm(missing);
        Ok(Some((id, cell)))
    }

    /// Leaves the queue. `Some` with the reason when it was still in it.
    pub(super) fn leave(&self, id: u64) -> Option<ReserveError> {
        let mut state = self.state();
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

    /// Refuses the largest request that waits, because nobody makes progress.
    pub(super) fn fail_largest_waiter(&self) -> Option<(std::sync::Arc<str>, Bytes)> {
        let mut state = self.state();
        let largest = state.waiters.iter().max_by_key(|waiter| waiter.bytes)?.id;
        let place = state
            .waiters
            .iter()
            .position(|waiter| waiter.id == largest)?;
        let waiter = state.waiters.remove(place)?;
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        let refusal = state.refusal(waiter.account, waiter.bytes, true);
        let name = std::sync::Arc::clone(&state.account(waiter.account).name);
        let granted = state.grant(&self.waiting);
        drop(state);
        waiter.cell.settle(Outcome::Refused(refusal));
        granted.tell();
        Some((name, Bytes(waiter.bytes)))
    }

    /// How many wait, and what the first of them wants.
    pub(super) fn waiters(&self) -> (usize, Option<Bytes>) {
        let state = self.state();
        let first = state.waiters.front().map(|waiter| Bytes(waiter.bytes));
        (state.waiters.len(), first)
    }

    pub(super) fn set_limit(&self, limit: u64) -> Result<(), BudgetError> {
        if limit == 0 {
            return Err(BudgetError::Empty);
        }
        let mut state = self.state();
        let floors = state.floors();
        if floors > limit {
            return Err(BudgetError::FloorsExceedLimit {
                floors: Bytes(floors),
                limit: Bytes(limit),
            });
        }
        state.limit = limit;
        self.quantum.store(quantum_of(limit), Ordering::Relaxed);
        let mut granted = self.call_back(&mut state);
        granted.0.extend(state.refuse_hopeless(&self.waiting).0);
        drop(state);
        granted.tell();
        Ok(())
    }

    pub(super) fn register(&self, account: Account) -> Result<(usize, Arc<Slack>), BudgetError> {
        let mut state = self.state();
        let component = std::sync::Arc::clone(&account.name);
        if state
            .accounts
            .iter()
            .flatten()
            .any(|other| other.name == component)
        {
            return Err(BudgetError::NameTaken { component });
        }
        if let Some(limit) = account.limit.filter(|limit| *limit < account.floor) {
            return Err(BudgetError::FloorAboveLimit {
                component,
                floor: Bytes(account.floor),
                limit: Bytes(limit),
            });
        }
        let floors = state.floors().saturating_add(account.floor);
        if floors > state.limit {
            return Err(BudgetError::FloorsExceedLimit {
                floors: Bytes(floors),
                limit: Bytes(state.limit),
            });
        }
        let free = state.accounts.iter().position(Option::is_none);
        if free.is_none() && state.accounts.len() >= MOST_COMPONENTS {
            return Err(BudgetError::TooMany {
                component,
                most: MOST_COMPONENTS,
            });
        }
        let slack = Arc::clone(&account.slack);
        state.committed = state.committed.saturating_add(account.committed());
        let index = place(&mut state.accounts, account);
        // What is kept for the new one may be what somebody waits for.
        let settled = state.refuse_hopeless(&self.waiting);
        drop(state);
        settled.tell();
        Ok((index, slack))
    }

    /// Ends a component: all that it was charged goes back.
    pub(super) fn unregister(&self, index: usize) {
        let mut state = self.state();
        let charged = state.account(index).charged;
        state.uncharge(index, charged);
        state.committed = state.committed.saturating_sub(state.account(index).floor);
        state.accounts[index] = None;
        self.returned.fetch_add(charged, Ordering::Relaxed);
        let granted = state.grant(&self.waiting);
        drop(state);
        granted.tell();
    }

    pub(super) fn add_tenant(&self, account: TenantAccount) -> usize {
        place(&mut self.state().tenants, account)
    }

    pub(super) fn forget_tenant(&self, index: usize) {
        self.state().tenants[index] = None;
    }

    pub(super) fn tenant_reserved(&self, index: usize) -> Bytes {
        let state = self.state();
        let reserved = state
            .accounts
            .iter()
            .flatten()
            .filter(|account| account.tenant == Some(index))
            .map(Account::reserved)
            .fold(0, u64::saturating_add);
        Bytes(reserved)
    }

    fn raise_alarm(&self, missing: u64) {
        self.missing.store(missing, Ordering::Relaxed);
        self.shortages.fetch_add(1, Ordering::Relaxed);
        let alarm = self
            .alarm
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone();
        if let Some(thread) = alarm {
            thread.unpark();
        }
    }
}

impl State {
    pub(super) fn account(&self, index: usize) -> &Account {
        self.accounts[index]
            .as_ref()
            .expect("an account lives as long as its component")
    }

    fn account_mut(&mut self, index: usize) -> &mut Account {
        self.accounts[index]
            .as_mut()
            .expect("an account lives as long as its component")
    }

    fn floors(&self) -> u64 {
        self.accounts
            .iter()
            .flatten()
            .map(|account| account.floor)
            .fold(0, u64::saturating_add)
    }

    /// How much the account could have now, and what bounds it.
    pub(super) fn available(&self, index: usize) -> (u64, Bound, u64) {
        let account = self.account(index);
        // What is left of its own floor, and what nobody has.
        let own = account.floor.saturating_sub(account.charged);
        let free = self.limit.saturating_sub(self.committed);
        let mut least = (own.saturating_add(free), Bound::Budget, self.limit);
        let mut bound = |left: u64, bound: Bound, limit: u64| {
            if left < least.0 {
                least = (left, bound, limit);
            }
        };
        if account.fair {
            let share = self.fair_share(index);
            bound(
                share.saturating_sub(account.charged),
                Bound::FairShare,
                share,
            );
        }
        if let Some(tenant) = account
            .tenant
            .and_then(|index| self.tenants[index].as_ref())
            && let Some(limit) = tenant.limit
        {
            let name = std::sync::Arc::clone(&tenant.name);
            bound(
                limit.saturating_sub(tenant.charged),
                Bound::Tenant(name),
                limit,
            );
        }
        if let Some(limit) = account.limit {
            bound(
                limit.saturating_sub(account.charged),
                Bound::Component,
                limit,
            );
        }
        least
    }

    /// An equal part of what the accounts that are not fair leave, for each
    /// that is fair and holds something or is asking.
    fn fair_share(&self, asking: usize) -> u64 {
        let mut rest = self.limit;
        let mut sharers = 0;
        for (index, account) in self.accounts.iter().enumerate() {
            let Some(account) = account else { continue };
            if !account.fair {
                rest = rest.saturating_sub(account.committed());
            } else if account.charged > 0 || index == asking {
                sharers += 1;
            }
        }
        (rest / sharers.max(1)).max(self.account(asking).floor)
    }

    fn try_charge(&mut self, index: usize, bytes: u64) -> bool {
        if bytes > self.available(index).0 {
            return false;
        }
        self.charge(index, bytes);
        true
    }

    fn charge(&mut self, index: usize, bytes: u64) {
        let account = self.account_mut(index);
        let before = account.committed();
        account.charged = account.charged.saturating_add(bytes);
        account.peak = account.peak.max(account.charged);
        let grown = account.committed() - before;
        let tenant = account.tenant;
        self.committed = self.committed.saturating_add(grown);
        if let Some(tenant) = tenant.and_then(|index| self.tenants[index].as_mut()) {
            tenant.charged = tenant.charged.saturating_add(bytes);
        }
    }

    fn uncharge(&mut self, index: usize, bytes: u64) {
        let account = self.account_mut(index);
        let before = account.committed();
        account.charged = account.charged.saturating_sub(bytes);
        let shrunk = before - account.committed();
        let tenant = account.tenant;
        self.committed = self.committed.saturating_sub(shrunk);
        if let Some(tenant) = tenant.and_then(|index| self.tenants[index].as_mut()) {
            tenant.charged = tenant.charged.saturating_sub(bytes);
        }
    }

    /// Whether somebody came before who waits for the budget itself. Who lives
    /// off its own floor overtakes nobody.
    fn is_overtaking(&self, index: usize, bytes: u64) -> bool {
        let account = self.account(index);
        let from_floor = account.charged.saturating_add(bytes) <= account.floor;
        !from_floor
            && self
                .waiters
                .iter()
                .any(|waiter| self.available(waiter.account).1 == Bound::Budget)
    }

    /// Serves those who wait, first come first served. Who waits for a limit of
    /// its own does not hold up the others.
    fn grant(&mut self, waiting: &AtomicUsize) -> Settled {
        let mut granted = Settled::default();
        let mut place = 0;
        while let Some(waiter) = self.waiters.get(place) {
            let (account, bytes) = (waiter.account, waiter.bytes);
            let (available, bound, _) = self.available(account);
            if bytes <= available {
                self.charge(account, bytes);
                if let Some(waiter) = self.waiters.remove(place) {
                    waiting.fetch_sub(1, Ordering::SeqCst);
                    granted.0.push((waiter.cell, Outcome::Granted));
                }
            } else if bound == Bound::Budget {
                break;
            } else {
                place += 1;
            }
        }
        granted
    }

    /// Takes those out of the queue whom no patience will help any more.
    fn refuse_hopeless(&mut self, waiting: &AtomicUsize) -> Settled {
        let mut settled = Settled::default();
        let mut place = 0;
        while let Some(waiter) = self.waiters.get(place) {
            let Some(never) = self.never_fits(waiter.account, waiter.bytes) else {
                place += 1;
                continue;
            };
            if let Some(waiter) = self.waiters.remove(place) {
                waiting.fetch_sub(1, Ordering::SeqCst);
                settled.0.push((waiter.cell, Outcome::Refused(never)));
            }
        }
        settled
    }

    /// The error for what does not fit even into an empty budget.
    pub(super) fn never_fits(&self, index: usize, bytes: u64) -> Option<ReserveError> {
        let account = self.account(index);
        let others: u64 = self
            .accounts
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index)
            .filter_map(|(_, account)| account.as_ref())
            .map(|account| account.floor)
            .fold(0, u64::saturating_add);
        let mut least = (self.limit.saturating_sub(others), Bound::Budget);
        if let Some(tenant) = account
            .tenant
            .and_then(|index| self.tenants[index].as_ref())
            && let Some(limit) = tenant.limit.filter(|limit| *limit < least.0)
        {
            least = (limit, Bound::Tenant(std::sync::Arc::clone(&tenant.name)));
        }
        if let Some(limit) = account.limit.filter(|limit| *limit < least.0) {
            least = (limit, Bound::Component);
        }
        (bytes > least.0).then(|| ReserveError::Exceeds {
            component: std::sync::Arc::clone(&account.name),
            asked: Bytes(bytes),
            bound: least.1,
            limit: Bytes(least.0),
        })
    }

    fn refusal(&self, index: usize, bytes: u64, stalled: bool) -> ReserveError {
        if let Some(never) = self.never_fits(index, bytes) {
            return never;
        }
        let (available, bound, limit) = self.available(index);
        ReserveError::Exhausted {
            component: std::sync::Arc::clone(&self.account(index).name),
            asked: Bytes(bytes),
            available: Bytes(available.min(bytes)),
            bound,
            limit: Bytes(limit),
            stalled,
            top: self.top_consumers(TOP),
        }
    }

    /// Who holds the most, largest first.
    pub(super) fn top_consumers(&self, most: usize) -> Vec<Consumer> {
        let mut consumers: Vec<Consumer> = self
            .accounts
            .iter()
            .flatten()
            .map(|account| Consumer {
                name: std::sync::Arc::clone(&account.name),
                reserved: Bytes(account.reserved()),
            })
            .filter(|consumer| consumer.reserved > Bytes::ZERO)
            .collect();
        consumers.sort_by(|a, b| {
            b.reserved
                .cmp(&a.reserved)
                .then_with(|| a.name.cmp(&b.name))
        });
        consumers.truncate(most);
        consumers
    }
}

/// Puts `thing` into the first free place.
fn place<T>(places: &mut Vec<Option<T>>, thing: T) -> usize {
    match places.iter().position(Option::is_none) {
        Some(index) => {
            places[index] = Some(thing);
            index
        }
        None => {
            places.push(Some(thing));
            places.len() - 1
        }
    }
}

/// Small enough that all shards of one component keep under a hundredth of the
/// budget, and large enough to be worth the lock.
fn quantum_of(limit: u64) -> u64 {
    let shards = u64::try_from(SHARDS).unwrap_or(u64::MAX);
    (limit / (200 * shards)).clamp(SMALLEST_QUANTUM, LARGEST_QUANTUM)
}
