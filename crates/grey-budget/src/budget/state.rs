//! What a budget's lock guards: every account, who waits, and the rules of who
//! may have how much.
//!
//! Never tells anybody anything: who was served is told outside of the lock.

use std::collections::VecDeque;
use std::task::Waker;

use grey_model::Bytes;

use super::account::{Account, TenantAccount};
use super::error::{Bound, BudgetError, Consumer, ReserveError};
use super::settings::Admission;
use super::wait::{Outcome, WaitCell};
use crate::sync::{Arc, AtomicUsize, Ordering};
use crate::wake::wake_all;

/// How many of the largest consumers an error names.
const TOP: usize = 3;

/// How many parts of the budget are taken, each followed by a look at the
/// resident set.
const READINGS_PER_LIMIT: u64 = 64;

/// What bounds an account: a [`Bound`] before its tenant is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limiting {
    Budget,
    FairShare,
    Tenant(usize),
    Component,
}

#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) id: u64,
    pub(super) account: usize,
    pub(super) bytes: u64,
    pub(super) cell: Arc<WaitCell>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) limit: u64,
    /// Who of those that wait may be served.
    pub(super) admission: Admission,
    /// The sum of what all accounts take: of numbers each of which may be as
    /// large as an overdraft can be.
    pub(super) committed: u128,
    /// More is taken than there is, and counted among those who wait.
    pub(super) is_overdrawn: bool,
    pub(super) accounts: Vec<Option<Account>>,
    pub(super) tenants: Vec<Option<TenantAccount>>,
    pub(super) waiters: VecDeque<Waiter>,
    pub(super) next_waiter: u64,
    /// Bytes that were taken ever, and at the last call for a reading.
    taken: u64,
    taken_at_call: u64,
}

/// What was granted under the lock and must be told outside of it.
#[must_use]
#[derive(Debug, Default)]
pub(super) struct Settled(pub(super) Vec<(Arc<WaitCell>, Outcome)>);

impl Settled {
    /// Tells all of them, and then wakes the tasks: a waker is the program's
    /// code, and may panic, hang, or drop another request that was settled.
    pub(super) fn tell(self) {
        let settle = |(cell, outcome): (Arc<WaitCell>, Outcome)| cell.settle(outcome);
        let wakers: Vec<Waker> = self.0.into_iter().filter_map(settle).collect();
        wake_all(wakers);
    }
}

impl State {
    pub(super) const fn new(limit: u64) -> Self {
        Self {
            limit,
            admission: Admission::Open,
            committed: 0,
            is_overdrawn: false,
            accounts: Vec::new(),
            tenants: Vec::new(),
            waiters: VecDeque::new(),
            next_waiter: 0,
            taken: 0,
            taken_at_call: 0,
        }
    }

    pub(super) fn account(&self, index: usize) -> &Account {
        self.accounts[index]
            .as_ref()
            .expect("an account lives as long as its component")
    }

    pub(super) fn account_mut(&mut self, index: usize) -> &mut Account {
        self.accounts[index]
            .as_mut()
            .expect("an account lives as long as its component")
    }

    /// What is taken, as far as a number of bytes can say it.
    pub(super) fn committed(&self) -> u64 {
        u64::try_from(self.committed).unwrap_or(u64::MAX)
    }

    pub(super) fn is_over_limit(&self) -> bool {
        self.committed > u128::from(self.limit)
    }

    /// All floors together; they may be more than a number of bytes can say.
    pub(super) fn floors(&self) -> u128 {
        self.accounts
            .iter()
            .flatten()
            .map(|account| u128::from(account.floor))
            .sum()
    }

    /// Whether floors that are so much together fit into a budget of `limit`.
    pub(super) fn check_floors(floors: u128, limit: u64) -> Result<(), BudgetError> {
        if floors > u128::from(limit) {
            return Err(BudgetError::FloorsExceedLimit {
                floors: Bytes(u64::try_from(floors).unwrap_or(u64::MAX)),
                limit: Bytes(limit),
            });
        }
        Ok(())
    }

    /// Whether the budget may be of this size.
    pub(super) fn check_limit(&self, limit: u64) -> Result<(), BudgetError> {
        if limit == 0 {
            return Err(BudgetError::Empty);
        }
        Self::check_floors(self.floors(), limit)
    }

    /// How much the account could have now, and what bounds it.
    pub(super) fn available(&self, index: usize) -> (u64, Limiting, u64) {
        let account = self.account(index);
        // What is left of its own floor, and what nobody has.
        let own = account.floor.saturating_sub(account.charged);
        let free = self.limit.saturating_sub(self.committed());
        let mut least = (own.saturating_add(free), Limiting::Budget, self.limit);
        let mut bound = |left: u64, bound: Limiting, limit: u64| {
            if left < least.0 {
                least = (left, bound, limit);
            }
        };
        if account.fair {
            let share = self.fair_share(index);
            bound(
                share.saturating_sub(account.charged),
                Limiting::FairShare,
                share,
            );
        }
        if let Some(index) = account.tenant
            && let Some(tenant) = &self.tenants[index]
            && let Some(limit) = tenant.limit
        {
            bound(
                u64::try_from(u128::from(limit).saturating_sub(tenant.charged)).unwrap_or(limit),
                Limiting::Tenant(index),
                limit,
            );
        }
        if let Some(limit) = account.limit {
            bound(
                limit.saturating_sub(account.charged),
                Limiting::Component,
                limit,
            );
        }
        least
    }

    /// The bound, as errors tell it.
    fn bound(&self, limiting: Limiting) -> Bound {
        match limiting {
            Limiting::Budget => Bound::Budget,
            Limiting::FairShare => Bound::FairShare,
            Limiting::Component => Bound::Component,
            Limiting::Tenant(index) => {
                let tenant = self.tenants[index].as_ref();
                let tenant = tenant.expect("a tenant lives as long as its components");
                Bound::Tenant(std::sync::Arc::clone(&tenant.name))
            }
        }
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

    pub(super) fn try_charge(&mut self, index: usize, bytes: u64) -> bool {
        if bytes > self.available(index).0 {
            return false;
        }
        self.charge(index, bytes);
        true
    }

    pub(super) fn charge(&mut self, index: usize, bytes: u64) {
        let account = self.account_mut(index);
        let before = account.committed();
        account.charged = account.charged.saturating_add(bytes);
        account.peak = account.peak.max(account.charged);
        let grown = account.committed() - before;
        let tenant = account.tenant;
        self.committed = self.committed.saturating_add(u128::from(grown));
        self.taken = self.taken.wrapping_add(bytes);
        if let Some(tenant) = tenant.and_then(|index| self.tenants[index].as_mut()) {
            tenant.charged = tenant.charged.saturating_add(u128::from(bytes));
        }
    }

    /// Whether so much was taken since the last time that somebody should look
    /// at the resident set before his time: a fast program fills its budget
    /// between two ticks.
    pub(super) const fn calls_for_reading(&mut self) -> bool {
        let calls = self.taken.wrapping_sub(self.taken_at_call) >= self.limit / READINGS_PER_LIMIT;
        if calls {
            self.taken_at_call = self.taken;
        }
        calls
    }

    pub(super) fn uncharge(&mut self, index: usize, bytes: u64) {
        let account = self.account_mut(index);
        let before = account.committed();
        account.charged = account.charged.saturating_sub(bytes);
        let shrunk = before - account.committed();
        let tenant = account.tenant;
        self.committed = self.committed.saturating_sub(u128::from(shrunk));
        if let Some(tenant) = tenant.and_then(|index| self.tenants[index].as_mut()) {
            tenant.charged = tenant.charged.saturating_sub(u128::from(bytes));
        }
    }

    /// Whether the account is given anything now.
    pub(super) fn is_admitted(&self, index: usize) -> bool {
        let account = self.account(index);
        self.admission.takes(account.priority, account.refillable)
    }

    /// Whether somebody came before who waits for the budget itself and may be
    /// served. Who lives off its own floor overtakes nobody.
    pub(super) fn is_overtaking(&self, index: usize, bytes: u64) -> bool {
        let account = self.account(index);
        let from_floor = account.charged.saturating_add(bytes) <= account.floor;
        // Those of one component in a row have the same before them.
        let mut last = None;
        !from_floor
            && self.waiters.iter().any(|waiter| {
                last.replace(waiter.account) != Some(waiter.account)
                    && self.is_admitted(waiter.account)
                    && self.available(waiter.account).1 == Limiting::Budget
            })
    }

    /// Serves those who wait, first come first served. Who waits for a limit of
    /// its own, or is not admitted now, keeps its place and does not hold up
    /// the others: what an emergency frees is not for those it shuts out.
    pub(super) fn grant(&mut self, waiting: &AtomicUsize) -> Settled {
        let mut granted = Settled::default();
        let mut place = 0;
        // Who waits for a limit of its own, and what that leaves, until somebody
        // is served: the others in its row are passed over without a look.
        let mut passed_over: Option<(usize, u64)> = None;
        while let Some(waiter) = self.waiters.get(place) {
            let (account, bytes) = (waiter.account, waiter.bytes);
            let is_short = passed_over.is_some_and(|(of, left)| of == account && bytes > left);
            if is_short || !self.is_admitted(account) {
                place += 1;
                continue;
            }
            let (available, limiting, _) = self.available(account);
            if bytes <= available {
                self.charge(account, bytes);
                passed_over = None;
                if let Some(waiter) = self.waiters.remove(place) {
                    waiting.fetch_sub(1, Ordering::SeqCst);
                    granted.0.push((waiter.cell, Outcome::Granted));
                }
            } else if limiting == Limiting::Budget {
                break;
            } else {
                passed_over = Some((account, available));
                place += 1;
            }
        }
        granted
    }

    /// The largest request of those that are admitted, or else of all.
    pub(super) fn largest_waiter(&self) -> Option<usize> {
        let rank = |waiter: &Waiter| (self.is_admitted(waiter.account), waiter.bytes);
        (0..self.waiters.len()).max_by_key(|place| rank(&self.waiters[*place]))
    }

    /// Takes those out of the queue who wait for a component that ends. Who
    /// waits borrows its component, so that only a request that was leaked is
    /// still there; left in, it would be looked up where nobody is, or charged
    /// to whoever comes next.
    pub(super) fn refuse_waiters_of(&mut self, index: usize, waiting: &AtomicUsize) -> Settled {
        let mut settled = Settled::default();
        let mut place = 0;
        while let Some(waiter) = self.waiters.get(place) {
            if waiter.account != index {
                place += 1;
                continue;
            }
            let refusal = self.refusal(index, waiter.bytes, true);
            if let Some(waiter) = self.waiters.remove(place) {
                waiting.fetch_sub(1, Ordering::SeqCst);
                settled.0.push((waiter.cell, Outcome::Refused(refusal)));
            }
        }
        settled
    }

    /// Takes those out of the queue whom no patience will help any more.
    pub(super) fn refuse_hopeless(&mut self, waiting: &AtomicUsize) -> Settled {
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

    /// The error for what is not given now: it does not fit, or only the
    /// admission stands in its way.
    pub(super) fn refusal(&self, index: usize, bytes: u64, stalled: bool) -> ReserveError {
        if let Some(never) = self.never_fits(index, bytes) {
            return never;
        }
        let (available, limiting, limit) = self.available(index);
        let component = std::sync::Arc::clone(&self.account(index).name);
        if bytes <= available && !self.is_admitted(index) {
            return ReserveError::Shedding {
                component,
                asked: Bytes(bytes),
                admission: self.admission,
            };
        }
        ReserveError::Exhausted {
            component,
            asked: Bytes(bytes),
            available: Bytes(available.min(bytes)),
            bound: self.bound(limiting),
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
pub(super) fn place<T>(places: &mut Vec<Option<T>>, thing: T) -> usize {
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
