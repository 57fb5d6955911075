//! How a log is to be, and making it.
//!
//! Never reserves anything: the log does, when operations come.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use grey_model::Bytes;

use super::compaction::Compact;
use super::log::RollingLog;
use super::statistics::LogStatistics;
use super::window::Window;
use crate::budget::Component;
use crate::clock::{Clock, SystemClock};
use crate::queue::charge::Charge;
use crate::queue::settings::Weigher;
use crate::sync::Mutex;

/// Most operations that are kept, and after how many it is compacted.
const DEFAULT_OPERATIONS: usize = 1_000;

/// After how long it is compacted.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(600);

/// A log before it is made.
#[must_use = "a log exists once it is built"]
pub struct RollingLogBuilder<Op> {
    pub(super) component: Component,
    pub(super) operations: usize,
    pub(super) after: usize,
    pub(super) interval: Duration,
    pub(super) compact: Option<Box<dyn Compact<Op>>>,
    pub(super) weigher: Option<Weigher<Op>>,
    pub(super) clock: Arc<dyn Clock>,
}

impl<Op> fmt::Debug for RollingLogBuilder<Op> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RollingLogBuilder")
            .field("component", &self.component.name())
            .field("operations", &self.operations)
            .field("after", &self.after)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

impl<Op> RollingLogBuilder<Op> {
    pub(super) fn new(component: Component) -> Self {
        Self {
            component,
            operations: DEFAULT_OPERATIONS,
            after: DEFAULT_OPERATIONS,
            interval: DEFAULT_INTERVAL,
            compact: None,
            weigher: None,
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// The most operations that are kept; at least 1. 1,000 if not said.
    pub fn max_operations(mut self, operations: usize) -> Self {
        self.operations = operations.max(1);
        self
    }

    /// After how many new operations it is compacted; at least 1. 1,000 if not
    /// said.
    pub fn compact_after(mut self, operations: usize) -> Self {
        self.after = operations.max(1);
        self
    }

    /// After how long it is compacted, if there is anything new: when it is
    /// appended to or read next, see
    /// [`compact_if_due`](RollingLog::compact_if_due). 10 minutes if not said.
    pub fn compact_every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// How operations are merged. If not said they are not: the oldest go.
    pub fn compact_with(mut self, compact: impl Compact<Op> + 'static) -> Self {
        self.compact = Some(Box::new(compact));
        self
    }

    /// Tells what an operation weighs in all; it weighs its own size
    /// (`size_of`) at least, and just that if not said.
    pub fn weigher(mut self, weigh: impl Fn(&Op) -> Bytes + Send + Sync + 'static) -> Self {
        self.weigher = Some(Box::new(weigh));
        self
    }

    /// Tells the time.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Makes it.
    pub fn build(self) -> RollingLog<Op> {
        let compacted_at = self.clock.now();
        RollingLog {
            name: self.component.name().into(),
            operations: self.operations,
            after: self.after,
            interval: self.interval,
            compact: self.compact,
            weigher: self.weigher,
            clock: self.clock,
            window: Mutex::new(Window {
                kept: VecDeque::new(),
                left: 0,
                bytes: 0,
                fresh: 0,
                compacted_at,
                compacting: false,
                is_useful: true,
                statistics: LogStatistics::default(),
                charge: Charge::new(&self.component),
            }),
            component: self.component,
        }
    }
}
