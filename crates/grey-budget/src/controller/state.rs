//! What a controller is made of and what it remembers between ticks.
//!
//! Never acts.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use grey_model::{Bytes, Level, Levels, MemoryLimit};

use super::history::History;
use super::load_back::Loading;
use super::queue::ActionQueue;
use super::reclaim::Asker;
use super::rlimit::Mapped;
use super::run::ControllerStatistics;
use super::settings::ControllerSettings;
use super::subscribe::Subscribers;
use crate::budget::{Admission, Budget};
use crate::clock::Clock;
use crate::limits::LimitKind;
use crate::source::{Reading, RlimitUse};

/// This part of a limit below it nothing is counted as free that is resident:
/// half of what is taken between two looks at the resident set.
const CLOSE_TO_LIMIT: u64 = 128;

/// What was given back and stayed with the allocator, which some keep for good:
/// it is as good as free until as much is reserved again.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Unseen {
    bytes: Bytes,
    /// What was reserved and resident when it was given back.
    reserved: Bytes,
    resident: Bytes,
}

impl Unseen {
    /// How much of it is left, against a limit of which `used` are used. Nothing
    /// close to the limit, as an allocator may take new memory beside what it
    /// keeps; and that others still hold what was given back cannot be told from
    /// an allocator that keeps it.
    fn within(&self, (used, limit): (Bytes, Bytes), reserved: Bytes, resident: Bytes) -> Bytes {
        if used > limit.saturating_sub(limit.scale(1, CLOSE_TO_LIMIT)) {
            return Bytes::ZERO;
        }
        self.left(reserved, resident)
    }

    /// What was resident and is not any more is with the kernel: what grows then
    /// is new.
    fn note(&mut self, resident: Bytes) {
        self.bytes = self.left(self.reserved, resident);
        self.resident = self.resident.min(resident);
    }

    fn left(&self, reserved: Bytes, resident: Bytes) -> Bytes {
        self.bytes
            .saturating_sub(reserved.saturating_sub(self.reserved))
            .saturating_sub(self.resident.saturating_sub(resident))
    }

    /// Adds `more` to what is left.
    pub(super) fn add(&mut self, more: Bytes, reserved: Bytes, resident: Bytes) {
        *self = Self {
            bytes: self.left(reserved, resident).saturating_add(more),
            reserved,
            resident,
        };
    }
}

/// The last purge of a level's round gave nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct PurgedInVain {
    /// How long the next one waits, unless somebody gives something.
    pub(super) wait: Duration,
    pub(super) until: Duration,
}

/// Evictions in a row of which the kernel saw next to nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Futile {
    pub(super) times: u32,
    /// What they gave back, together.
    pub(super) given: Bytes,
}

/// Nothing is evicted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pause {
    pub(super) until: Duration,
    /// What was resident when it began.
    pub(super) resident: Bytes,
    /// What was given back before, in vain as it seemed.
    pub(super) given: Bytes,
}

impl Pause {
    /// Whether what was given back shows after all.
    pub(super) fn was_wrong(&self, resident: Bytes) -> bool {
        let shows = self.resident.saturating_sub(resident);
        shows > Bytes::ZERO && shows >= self.given.scale(1, 8)
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) levels: Levels<Level>,
    pub(super) full: Reading,
    pub(super) full_at: Option<Duration>,
    /// What was given back and may not show in the resident set yet.
    pub(super) credits: Vec<(Duration, Bytes)>,
    pub(super) unseen: Unseen,
    /// What is mapped, for each kind of rlimit.
    pub(super) mapped: [Mapped; 2],
    /// How many threads tick.
    pub(super) keepers: usize,
    /// Whether the budget was closed, or opened a little, between two levels.
    pub(super) admits_otherwise: bool,
    /// Whether the budget is closed, wholly or in part, by this controller.
    pub(super) has_closed: bool,
    pub(super) acted_at: Option<Duration>,
    /// Whether the kernel got something of what the last level's round gave.
    pub(super) has_helped: bool,
    /// Ends when a level is entered from below, and when somebody gives.
    pub(super) purged_in_vain: Option<PurgedInVain>,
    pub(super) futile: Futile,
    pub(super) paused: Option<Pause>,
    pub(super) seen_shortages: u64,
    pub(super) stall: Option<(u64, Duration)>,
    pub(super) statistics: ControllerStatistics,
}

impl State {
    /// The nearest limit of the cgroup and those above it.
    fn cgroup_limit(&self) -> Option<Bytes> {
        self.full.cgroup_limit.and_then(MemoryLimit::bytes)
    }

    /// What counts against it: what all processes of the cgroup hold, as it was
    /// at the last full reading, less the file cache that the kernel takes back
    /// first, and with what this process, of which `rss` is resident now, took
    /// or gave since. 0 where it cannot be read.
    fn cgroup_use(&self, rss: Bytes) -> Bytes {
        let held = self.full.cgroup_usage.map(|usage| {
            usage
                .saturating_sub(self.full.cgroup_reclaimable.unwrap_or_default())
                .saturating_add(rss)
                .saturating_sub(self.full.rss)
        });
        held.unwrap_or_default()
    }

    /// What counts as used of each limit, and the limit: the budget first, then
    /// that of the cgroup and what rlimits leave. `credit` was given back and is
    /// on its way to the kernel.
    pub(super) fn uses(
        &mut self,
        (reserved, limit): (Bytes, Bytes),
        (rss, rlimits): (Bytes, &[RlimitUse]),
        credit: Bytes,
    ) -> Vec<(Bytes, Bytes)> {
        self.unseen.note(rss);
        let unseen = self.unseen;
        // What was given back is not asked for again.
        let less = |raw: Bytes, whole: Bytes| {
            let kept = unseen.within((raw, whole), reserved, rss);
            raw.saturating_sub(credit).saturating_sub(kept)
        };
        let own = |whole| less(rss, whole).max(reserved);
        let mut uses = vec![(own(limit), limit)];
        // For this process and for all of the cgroup together.
        if let Some(outer) = self.cgroup_limit() {
            let together = less(self.cgroup_use(rss), outer);
            uses.push((together.max(own(outer)), outer));
        }
        let rooms = self.rooms(rlimits, rss).into_iter();
        uses.extend(rooms.map(|room| (less(rss, room), room)));
        uses
    }

    /// How much may be resident under each of `rlimits`, while `resident` is.
    fn rooms(&mut self, rlimits: &[RlimitUse], resident: Bytes) -> Vec<Bytes> {
        let rooms = rlimits.iter().map(|rlimit| {
            let mapped = match rlimit.kind {
                LimitKind::AddressSpace => &mut self.mapped[0],
                LimitKind::Data => &mut self.mapped[1],
            };
            mapped.observe(rlimit.used, resident);
            mapped.room(rlimit.limit)
        });
        rooms.collect()
    }
}

/// Whose turn it is to do actions. It is no lock: who waits for it does not wait
/// for ever.
#[derive(Debug, Default)]
pub(super) struct Turn {
    is_taken: Mutex<bool>,
    over: Condvar,
}

/// The turn is over when this is dropped.
#[derive(Debug)]
pub(super) struct Taken<'t>(&'t Turn);

impl Turn {
    /// `None` when it is still another's after `patience`.
    pub(super) fn take(&self, patience: Duration) -> Option<Taken<'_>> {
        let is_taken = lock(&self.is_taken);
        let waited = self
            .over
            .wait_timeout_while(is_taken, patience, |is_taken| *is_taken);
        let (mut is_taken, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *is_taken {
            return None;
        }
        *is_taken = true;
        Some(Taken(self))
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *lock(&self.0.is_taken) = false;
        self.0.over.notify_one();
    }
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) budget: Budget,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) settings: Mutex<ControllerSettings>,
    pub(super) asker: Asker,
    pub(super) queue: ActionQueue,
    pub(super) subscribers: Subscribers,
    pub(super) state: Mutex<State>,
    /// Taken while actions are done, so that they are done one by one.
    pub(super) doing: Turn,
    pub(super) history: Mutex<History>,
    pub(super) loading: Loading,
}

/// Nobody would open the budget that it has closed.
impl Drop for Inner {
    fn drop(&mut self) {
        self.loading.abandon();
        // Not locked: in a child, a thread of the parent may hold it.
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if state.has_closed {
            self.budget.set_exchange(true);
            self.budget.set_admission(Admission::Open);
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
