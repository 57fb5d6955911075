//! Who can give memory back. A copy is taken before anybody is called.
//!
//! Never holds its lock while it calls.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::reclaimer::Reclaimer;

/// Names one registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReclaimerId(u64);

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    reclaimers: Vec<Entry>,
}

/// One who can give memory back.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) id: ReclaimerId,
    /// As it was when it was registered: one that hangs tells it no more.
    pub(super) name: Arc<str>,
    pub(super) reclaimer: Arc<dyn Reclaimer>,
    /// Whether it takes back what it spilled.
    pub(super) loads_back: bool,
}

/// All who can give memory back.
#[derive(Debug, Clone, Default)]
pub(super) struct Registry(Arc<Mutex<Entries>>);

/// Ends when dropped: the reclaimer is then asked no more.
#[derive(Debug)]
#[must_use = "a reclaimer is asked as long as its registration lives"]
pub struct Registration {
    id: ReclaimerId,
    entries: Weak<Mutex<Entries>>,
}

impl Registration {
    /// Which.
    #[must_use]
    pub const fn id(&self) -> ReclaimerId {
        self.id
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(entries) = self.entries.upgrade() {
            remove(&entries, self.id);
        }
    }
}

fn entries(entries: &Mutex<Entries>) -> MutexGuard<'_, Entries> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

fn remove(shared: &Mutex<Entries>, id: ReclaimerId) -> bool {
    let removed = {
        let mut entries = entries(shared);
        let place = entries.reclaimers.iter().position(|entry| entry.id == id);
        place.map(|place| entries.reclaimers.remove(place))
    };
    // The reclaimer's own drop runs here, outside of the lock.
    removed.is_some()
}

impl Registry {
    pub(super) fn register(&self, reclaimer: Arc<dyn Reclaimer>) -> Registration {
        // The program's code, which may panic: not under the lock.
        let name = catch_unwind(AssertUnwindSafe(|| Arc::<str>::from(reclaimer.name())));
        let loads_back = catch_unwind(AssertUnwindSafe(|| reclaimer.loads_back()));
        let mut entries = entries(&self.0);
        let id = ReclaimerId(entries.next);
        entries.next += 1;
        entries.reclaimers.push(Entry {
            id,
            name: name.unwrap_or_else(|_| format!("reclaimer {}", id.0).into()),
            reclaimer,
            loads_back: loads_back.unwrap_or(false),
        });
        Registration {
            id,
            entries: Arc::downgrade(&self.0),
        }
    }

    pub(super) fn unregister(&self, id: ReclaimerId) -> bool {
        remove(&self.0, id)
    }

    pub(super) fn all(&self) -> Vec<Entry> {
        entries(&self.0).reclaimers.clone()
    }
}
