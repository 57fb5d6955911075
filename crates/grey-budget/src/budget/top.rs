//! The budget itself: how it is made, what may be asked of it.
//!
//! Never counts by itself; `core` does.

use grey_model::{Bytes, Percent, Priority};

use super::account::{Account, TenantAccount};
use super::core::{Core, SharedCore};
use super::error::{BudgetError, Consumer};
use super::settings::{Admission, ComponentBuilder, Tenant, TenantHandle};
use crate::sync::Arc;

/// One component's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentUsage {
    /// Its name.
    pub name: std::sync::Arc<str>,
    /// Its priority.
    pub priority: Priority,
    /// Whom it works for.
    pub tenant: Option<std::sync::Arc<str>>,
    /// What it has reserved.
    pub reserved: Bytes,
    /// The most that it was charged so far, with what its threads kept.
    pub peak: Bytes,
    /// What is kept for it.
    pub floor: Bytes,
    /// The most that it may hold.
    pub limit: Option<Bytes>,
}

/// One tenant's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantUsage {
    /// Its name.
    pub name: std::sync::Arc<str>,
    /// Its priority.
    pub priority: Priority,
    /// What its components have reserved together.
    pub reserved: Bytes,
    /// The most that they may hold together.
    pub limit: Option<Bytes>,
}

/// How a budget begins.
#[derive(Debug, Clone)]
#[must_use = "a budget exists once it is built"]
pub struct BudgetBuilder {
    limit: Bytes,
}

impl BudgetBuilder {
    /// Makes it.
    ///
    /// # Errors
    /// [`BudgetError::Empty`] for a budget of nothing.
    pub fn build(self) -> Result<Budget, BudgetError> {
        if self.limit == Bytes::ZERO {
            return Err(BudgetError::Empty);
        }
        Ok(Budget {
            core: Arc::new(Core::new(self.limit.get())),
        })
    }
}

/// The memory that a program may hold, and who holds it. Clones are handles to
/// the same budget.
#[derive(Debug, Clone)]
pub struct Budget {
    core: SharedCore,
}

impl Budget {
    /// A budget of `limit`.
    pub const fn builder(limit: Bytes) -> BudgetBuilder {
        BudgetBuilder { limit }
    }

    /// A budget of `limit`.
    ///
    /// # Errors
    /// [`BudgetError::Empty`] for a budget of nothing.
    pub fn new(limit: Bytes) -> Result<Self, BudgetError> {
        Self::builder(limit).build()
    }

    /// A component of this name, to be registered.
    pub fn component(&self, name: &str) -> ComponentBuilder {
        ComponentBuilder::new(Arc::clone(&self.core), name)
    }

    /// A tenant: several components that are bounded together.
    #[must_use]
    pub fn tenant(&self, name: &str, priority: Priority, limit: Option<Bytes>) -> Tenant {
        let name: std::sync::Arc<str> = name.into();
        let index = self.core.add_tenant(TenantAccount {
            name: std::sync::Arc::clone(&name),
            priority,
            limit: limit.map(Bytes::get),
            charged: 0,
        });
        Tenant {
            inner: Arc::new(TenantHandle {
                core: Arc::clone(&self.core),
                index,
                name,
                priority,
            }),
        }
    }

    /// How large it is.
    #[must_use]
    pub fn limit(&self) -> Bytes {
        Bytes(self.core.state().limit)
    }

    /// Makes it larger or smaller. Smaller than what is reserved is allowed:
    /// nothing new is given until enough came back.
    ///
    /// # Errors
    /// [`BudgetError`], for 0 and for less than the floors together.
    pub fn set_limit(&self, limit: Bytes) -> Result<(), BudgetError> {
        self.core.set_limit(limit.get())
    }

    /// Whether it may be of this size now.
    pub(crate) fn check_limit(&self, limit: Bytes) -> Result<(), BudgetError> {
        self.core.state().check_limit(limit.get())
    }

    /// What all components have reserved. While others reserve and release,
    /// nearly; exact when they are done.
    #[must_use]
    pub fn reserved(&self) -> Bytes {
        let state = self.core.state();
        let reserved = state
            .accounts
            .iter()
            .flatten()
            .map(Account::reserved)
            .fold(0, u64::saturating_add);
        Bytes(reserved)
    }

    /// What is taken of the budget: reserved, kept by threads, and guaranteed
    /// to components that do not use it. Never above the limit, unless somebody
    /// overdrew or the limit fell.
    #[must_use]
    pub fn committed(&self) -> Bytes {
        Bytes(self.core.state().committed())
    }

    /// What part of it is reserved.
    #[must_use]
    pub fn percent_reserved(&self) -> Option<Percent> {
        self.reserved().percent_of(self.limit())
    }

    /// Calls back what threads keep, so that the counts are exact.
    pub fn settle(&self) {
        self.core.settle();
    }

    /// What is admitted now.
    #[must_use]
    pub fn admission(&self) -> Admission {
        self.core.admission()
    }

    /// Admits more or less. The controller does it with the level. Who waits
    /// and is not admitted keeps waiting, for at most its time; who is admitted
    /// now is served at once, its waker called by this thread.
    pub fn set_admission(&self, admission: Admission) {
        self.change_admission(admission);
        self.serve_waiters();
    }

    /// The same for who holds a lock: nobody is told before
    /// [`Self::serve_waiters`].
    pub(crate) fn change_admission(&self, admission: Admission) {
        self.core.change_admission(admission);
    }

    /// Serves those who wait and are admitted now.
    pub(crate) fn serve_waiters(&self) {
        self.core.serve();
    }

    /// Who holds the most, largest first.
    #[must_use]
    pub fn top_consumers(&self, most: usize) -> Vec<Consumer> {
        self.core.state().top_consumers(most)
    }

    /// Every component, in the order of registration.
    #[must_use]
    pub fn components(&self) -> Vec<ComponentUsage> {
        let state = self.core.state();
        state
            .accounts
            .iter()
            .flatten()
            .map(|account| ComponentUsage {
                name: std::sync::Arc::clone(&account.name),
                priority: account.priority,
                tenant: account
                    .tenant
                    .and_then(|index| state.tenants[index].as_ref())
                    .map(|tenant| std::sync::Arc::clone(&tenant.name)),
                reserved: Bytes(account.reserved()),
                peak: Bytes(account.peak),
                floor: Bytes(account.floor),
                limit: account.limit.map(Bytes),
            })
            .collect()
    }

    /// Every tenant that lives.
    #[must_use]
    pub fn tenants(&self) -> Vec<TenantUsage> {
        let state = self.core.state();
        let of = |index: usize| {
            state
                .accounts
                .iter()
                .flatten()
                .filter(|account| account.tenant == Some(index))
                .map(Account::reserved)
                .fold(0, u64::saturating_add)
        };
        state
            .tenants
            .iter()
            .enumerate()
            .filter_map(|(index, tenant)| {
                let tenant = tenant.as_ref()?;
                Some(TenantUsage {
                    name: std::sync::Arc::clone(&tenant.name),
                    priority: tenant.priority,
                    reserved: Bytes(of(index)),
                    limit: tenant.limit.map(Bytes),
                })
            })
            .collect()
    }

    /// Bytes that came back so far, ever: who waits while this stands still,
    /// waits in vain.
    #[must_use]
    pub fn progress(&self) -> u64 {
        self.core.progress()
    }

    /// How many requests were refused so far, each once: whoever was given an
    /// error, because of a limit, of the level, or of waiting in vain. What the
    /// library asks for beyond need, and does without, is none.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.core.refusals()
    }

    /// How many requests did not fit at once so far, whether they were given
    /// later or not, and by how much the last missed.
    #[must_use]
    pub fn shortage(&self) -> (u64, Bytes) {
        self.core.shortage()
    }

    /// How many wait, and what the first of them wants.
    #[must_use]
    pub fn waiters(&self) -> (usize, Option<Bytes>) {
        self.core.waiters()
    }

    /// Refuses the largest request that waits, because nobody makes progress;
    /// one that is not admitted now only when no other waits. Gives its
    /// component and size.
    pub fn fail_largest_waiter(&self) -> Option<(std::sync::Arc<str>, Bytes)> {
        self.core.fail_largest_waiter()
    }

    /// Whether a cache may exchange while nothing new is admitted.
    pub(crate) fn set_exchange(&self, may: bool) {
        self.core
            .exchanges
            .store(may, std::sync::atomic::Ordering::Relaxed);
    }

    /// The keeper that runs on `thread` ends; one that came after it stays.
    pub(crate) fn clear_alarm(&self, thread: std::thread::ThreadId) {
        let mut alarm = self
            .core
            .alarm
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if alarm
            .as_ref()
            .is_some_and(|alarm| alarm.thread.id() == thread)
        {
            *alarm = None;
        }
    }

    /// Who is told when a request does not fit, or much was taken.
    pub(crate) fn set_alarm(&self, alarm: Option<super::Alarm>) {
        *self
            .core
            .alarm
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = alarm;
    }
}
