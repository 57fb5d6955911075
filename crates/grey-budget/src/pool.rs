//! The account of a connection pool that exists elsewhere: what its connections
//! weigh, how many there are, and whether some of them are leaking.
//!
//! It is no pool: it opens, keeps and closes nothing.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use grey_model::Bytes;

use crate::budget::{Component, Reservation, ReserveError};
use crate::clock::{Clock, SystemClock};
use crate::sync::{Mutex, lock};

/// The fewest and the most connections of a pool, unless said otherwise.
const DEFAULT_FEWEST: u64 = 10;
const DEFAULT_MOST: u64 = 50;

/// What a connection weighs, unless said otherwise: between 1 and 5 MB.
const DEFAULT_CONNECTION: Bytes = Bytes::from_mib(1);

/// More connections than so many times the pool's size are a leak.
const LEAK_FACTOR: u64 = 2;

/// A connection may not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// There are as many as there may be.
    #[error("failed to open a connection of `{pool}`: {open} are open, {most} at most")]
    Full {
        /// Which pool.
        pool: Arc<str>,
        /// How many are open.
        open: u64,
        /// How many there may be.
        most: u64,
    },
    /// There is no memory for it.
    #[error("failed to open a connection of `{pool}`: no memory for it")]
    Refused {
        /// Which pool.
        pool: Arc<str>,
        /// Why.
        #[source]
        source: ReserveError,
    },
}

/// A pool cannot be as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolSizeError {
    /// There could be none, or the fewest are more than the most.
    #[error("failed to size the pool `{pool}`: {fewest} to {most} connections are none")]
    Empty {
        /// Which pool.
        pool: Arc<str>,
        /// The fewest.
        fewest: u64,
        /// The most.
        most: u64,
    },
}

/// How the pool is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PoolHealth {
    /// As many connections as there should be.
    Normal,
    /// More than the pool is sized for.
    Oversized,
    /// More than twice of that: some are not given back.
    Leaking,
}

/// The numbers of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PoolStatistics {
    /// Connections that are open.
    pub open: u64,
    /// The most that were open at once.
    pub peak_open: u64,
    /// Connections that are checked out.
    pub in_use: u64,
    /// The most that were checked out at once.
    pub peak_in_use: u64,
    /// Connections that were opened so far.
    pub opened: u64,
    /// Connections that were closed so far.
    pub closed: u64,
    /// Connections that were not admitted so far.
    pub refused: u64,
    /// How often one was checked out so far.
    pub checkouts: u64,
    /// The longest that one was out and came back.
    pub longest_checkout: Duration,
    /// How often there were so many that some must leak.
    pub leaks: u64,
}

/// A pool's account before it is made.
#[derive(Debug)]
#[must_use = "an account exists once it is built"]
pub struct PoolAccountBuilder {
    component: Component,
    fewest: u64,
    most: u64,
    size: Option<u64>,
    connection: Bytes,
    clock: Arc<dyn Clock>,
}

impl PoolAccountBuilder {
    /// The fewest and the most connections; 10 to 50 if not said.
    pub fn connections(mut self, range: RangeInclusive<u64>) -> Self {
        self.fewest = *range.start();
        self.most = *range.end();
        self
    }

    /// How many connections the pool is sized for; the most if not said. Over
    /// twice of that is a leak.
    pub fn size(mut self, size: u64) -> Self {
        self.size = Some(size);
        self
    }

    /// What a connection weighs; 1 MiB if not said.
    pub fn bytes_per_connection(mut self, bytes: Bytes) -> Self {
        self.connection = bytes;
        self
    }

    /// Tells the time of checkouts.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Makes it.
    ///
    /// # Errors
    /// [`PoolSizeError`], when it could have no connection.
    pub fn build(self) -> Result<PoolAccount, PoolSizeError> {
        let name: Arc<str> = self.component.name().into();
        let size = self.size.unwrap_or(self.most);
        if self.most == 0 || self.fewest > self.most || size == 0 {
            return Err(PoolSizeError::Empty {
                pool: name,
                fewest: self.fewest,
                most: self.most.min(size),
            });
        }
        Ok(PoolAccount {
            inner: Arc::new(Inner {
                name,
                component: self.component,
                fewest: self.fewest,
                most: self.most,
                size,
                connection: self.connection,
                clock: self.clock,
                state: Mutex::new(State {
                    statistics: PoolStatistics::default(),
                    health: PoolHealth::Normal,
                }),
            }),
        })
    }
}

#[derive(Debug)]
struct State {
    statistics: PoolStatistics,
    health: PoolHealth,
}

#[derive(Debug)]
struct Inner {
    name: Arc<str>,
    component: Component,
    fewest: u64,
    most: u64,
    size: u64,
    connection: Bytes,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

/// The account of a pool. Clones are handles to the same account.
///
/// Where the pool opens a connection it asks [`Self::open`] and keeps what it
/// gets beside the connection; where it hands one out, [`Self::checkout`].
#[derive(Debug, Clone)]
pub struct PoolAccount {
    inner: Arc<Inner>,
}

impl PoolAccount {
    /// 10 to 50 connections of 1 MiB each.
    pub fn builder(component: Component) -> PoolAccountBuilder {
        PoolAccountBuilder {
            component,
            fewest: DEFAULT_FEWEST,
            most: DEFAULT_MOST,
            size: None,
            connection: DEFAULT_CONNECTION,
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// Asks for one more connection, and charges it until what comes back is
    /// dropped.
    ///
    /// # Errors
    /// [`PoolError`], when there are enough or there is no memory.
    pub fn open(&self) -> Result<OpenConnection, PoolError> {
        let inner = &self.inner;
        // Not to trouble the budget for a connection that may not be.
        self.room(inner.most)?;
        match inner.component.reserve_owned(inner.connection) {
            Ok(charge) => {
                self.count_in(Some(inner.most))?;
                Ok(self.opened(charge))
            }
            Err(source) => {
                lock(&inner.state).statistics.refused += 1;
                Err(PoolError::Refused {
                    pool: Arc::clone(&inner.name),
                    source,
                })
            }
        }
    }

    /// Counts a connection that is open already, whatever the limits say.
    pub fn adopt(&self) -> OpenConnection {
        let inner = &self.inner;
        // Without a bound nothing is refused.
        drop(self.count_in(None));
        self.opened(inner.component.overdraw(inner.connection).into_owned())
    }

    fn opened(&self, charge: Reservation<'static>) -> OpenConnection {
        OpenConnection {
            inner: Arc::clone(&self.inner),
            _charge: charge,
        }
    }

    fn room(&self, most: u64) -> Result<(), PoolError> {
        let mut state = lock(&self.inner.state);
        self.inner.room(&mut state.statistics, most)
    }

    fn count_in(&self, most: Option<u64>) -> Result<(), PoolError> {
        let inner = &self.inner;
        let mut state = lock(&inner.state);
        if let Some(most) = most {
            inner.room(&mut state.statistics, most)?;
        }
        let statistics = &mut state.statistics;
        statistics.open += 1;
        statistics.opened += 1;
        statistics.peak_open = statistics.peak_open.max(statistics.open);
        let (open, before) = (statistics.open, state.health);
        state.health = inner.health_of(open);
        let after = state.health;
        if after == PoolHealth::Leaking && before != after {
            state.statistics.leaks += 1;
        }
        drop(state);
        if before != after {
            inner.say(after, open);
        }
        Ok(())
    }

    /// Counts a connection as in use until what comes back is dropped.
    pub fn checkout(&self) -> Checkout {
        let since = self.inner.clock.now();
        let mut state = lock(&self.inner.state);
        let statistics = &mut state.statistics;
        statistics.in_use += 1;
        statistics.checkouts += 1;
        statistics.peak_in_use = statistics.peak_in_use.max(statistics.in_use);
        drop(state);
        Checkout {
            inner: Arc::clone(&self.inner),
            since,
        }
    }

    /// The numbers.
    #[must_use]
    pub fn statistics(&self) -> PoolStatistics {
        lock(&self.inner.state).statistics
    }

    /// Whether there are too many.
    #[must_use]
    pub fn health(&self) -> PoolHealth {
        lock(&self.inner.state).health
    }

    /// How many more connections should be opened to have the fewest.
    #[must_use]
    pub fn missing(&self) -> u64 {
        let open = lock(&self.inner.state).statistics.open;
        self.inner.fewest.saturating_sub(open)
    }

    /// How many connections could be closed now: those that nobody uses, above
    /// the fewest. The pool closes them, when memory is short.
    #[must_use]
    pub fn closable(&self) -> u64 {
        let statistics = lock(&self.inner.state).statistics;
        let unused = statistics.open.saturating_sub(statistics.in_use);
        unused.min(statistics.open.saturating_sub(self.inner.fewest))
    }

    /// The fewest and the most connections.
    #[must_use]
    pub fn connections(&self) -> RangeInclusive<u64> {
        self.inner.fewest..=self.inner.most
    }
}

impl Inner {
    fn room(&self, statistics: &mut PoolStatistics, most: u64) -> Result<(), PoolError> {
        if statistics.open < most {
            return Ok(());
        }
        statistics.refused += 1;
        Err(PoolError::Full {
            pool: Arc::clone(&self.name),
            open: statistics.open,
            most,
        })
    }

    fn health_of(&self, open: u64) -> PoolHealth {
        if open > self.size.saturating_mul(LEAK_FACTOR) {
            PoolHealth::Leaking
        } else if open > self.size {
            PoolHealth::Oversized
        } else {
            PoolHealth::Normal
        }
    }

    fn say(&self, health: PoolHealth, open: u64) {
        let (pool, size) = (&self.name, self.size);
        match health {
            PoolHealth::Normal => {}
            PoolHealth::Oversized => {
                tracing::warn!(%pool, open, size, "more connections than the pool is sized for");
            }
            PoolHealth::Leaking => tracing::error!(
                alert = "ConnectionLeaks",
                %pool,
                open,
                size,
                "connections are leaking: restart recommended"
            ),
        }
    }
}

/// A connection that is open, and charged. Kept beside the connection.
#[must_use = "the connection counts as closed when this is dropped"]
pub struct OpenConnection {
    inner: Arc<Inner>,
    _charge: Reservation<'static>,
}

impl fmt::Debug for OpenConnection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("OpenConnection")
            .field(&self.inner.name)
            .finish()
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let mut state = lock(&self.inner.state);
        state.statistics.open -= 1;
        state.statistics.closed += 1;
        state.health = self.inner.health_of(state.statistics.open);
    }
}

/// A connection that is in use.
#[must_use = "the connection counts as given back when this is dropped"]
pub struct Checkout {
    inner: Arc<Inner>,
    since: Duration,
}

impl Checkout {
    /// How long it has been out.
    #[must_use]
    pub fn held_for(&self) -> Duration {
        self.inner.clock.now().saturating_sub(self.since)
    }
}

impl fmt::Debug for Checkout {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Checkout")
            .field("pool", &self.inner.name)
            .field("since", &self.since)
            .finish()
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        let held = self.held_for();
        let mut state = lock(&self.inner.state);
        let statistics = &mut state.statistics;
        statistics.in_use -= 1;
        statistics.longest_checkout = statistics.longest_checkout.max(held);
    }
}

#[cfg(test)]
#[cfg(not(grey_loom))]
mod tests;
