//! Who is being called and has not come back: by name, and for how long.
//!
//! Nobody is called a second time before the first call has come back, so that
//! one that hangs costs one thread and not one for each try. Who came back
//! from every request so far may be called even when most threads are taken.
//!
//! Never calls anybody, and never waits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::registry::ReclaimerId;
use super::state::lock;

/// Who is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    Reclaimer(ReclaimerId),
    /// The same while it takes back what it spilled, which keeps nobody from
    /// asking it for memory.
    LoadBack(ReclaimerId),
    /// A callback, by its subscription.
    Callback(u64),
    /// Work of the program's own, by where it is: it stays there as long as the
    /// call is out.
    Work(usize),
}

/// A call whose time is over and that has not returned.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LateCall {
    /// The reclaimer, the action, or `callback of a level`.
    pub name: String,
    /// For how long it has been out.
    pub out_for: Duration,
}

#[derive(Debug)]
struct Call {
    name: Arc<str>,
    since: Instant,
    is_late: bool,
}

#[derive(Debug, Default)]
struct Table {
    calls: BTreeMap<Who, Call>,
    proven: BTreeSet<Who>,
    late: u64,
}

/// All who have not come back.
#[derive(Debug, Clone, Default)]
pub(super) struct Busy(Arc<Mutex<Table>>);

impl Busy {
    /// A call begins; `false` when an earlier one has not come back.
    pub(super) fn begin(&self, who: Who, name: &Arc<str>) -> bool {
        let mut table = lock(&self.0);
        if table.calls.contains_key(&who) {
            return false;
        }
        table.calls.insert(
            who,
            Call {
                name: Arc::clone(name),
                since: Instant::now(),
                is_late: false,
            },
        );
        true
    }

    /// It has come back, or was not made.
    pub(super) fn end(&self, who: Who) {
        let call = lock(&self.0).calls.remove(&who);
        if let Some(call) = call.filter(|call| call.is_late) {
            tracing::info!(
                name = &*call.name,
                out_for = ?call.since.elapsed(),
                "what did not return in time has returned, and is called again"
            );
        }
    }

    /// Its time is over. Told once: it is not called again before it returns.
    pub(super) fn is_late(&self, who: Who) {
        let told = {
            let mut table = lock(&self.0);
            table.late += 1;
            table.proven.remove(&who);
            // It may have come back since.
            table.calls.get_mut(&who).map(|call| {
                call.is_late = true;
                (Arc::clone(&call.name), call.since.elapsed())
            })
        };
        if let Some((name, out_for)) = told {
            tracing::warn!(
                name = &*name,
                ?out_for,
                "does not return in time, and is not called again before it returns"
            );
        }
    }

    /// It did what it was asked for, in time.
    pub(super) fn prove(&self, who: Who) {
        lock(&self.0).proven.insert(who);
    }

    /// Whether it did so, and was never late since.
    pub(super) fn is_proven(&self, who: Who) -> bool {
        lock(&self.0).proven.contains(&who)
    }

    /// Forgets what is known of those who are not registered any more.
    pub(super) fn keep(&self, is_registered: impl Fn(Who) -> bool) {
        lock(&self.0).proven.retain(|who| is_registered(*who));
    }

    /// Calls whose time is over, the longest first.
    pub(super) fn late_calls(&self) -> Vec<LateCall> {
        let mut calls: Vec<_> = lock(&self.0)
            .calls
            .values()
            .filter(|call| call.is_late)
            .map(|call| LateCall {
                name: call.name.to_string(),
                out_for: call.since.elapsed(),
            })
            .collect();
        calls.sort_by_key(|call| std::cmp::Reverse(call.out_for));
        calls
    }

    /// How many actions of the program's own have not come back.
    pub(super) fn works(&self) -> usize {
        let table = lock(&self.0);
        let is_work = |who: &&Who| matches!(who, Who::Work(_));
        table.calls.keys().filter(is_work).count()
    }

    /// How many calls were late so far.
    pub(super) fn late(&self) -> u64 {
        lock(&self.0).late
    }
}
