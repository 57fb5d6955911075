//! Who wants to know when a level is entered: callbacks, and channels.
//!
//! Never calls under its lock. A callback may end its own subscription.

use std::fmt;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use grey_model::{Bytes, Level};

/// The level has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelEvent {
    /// The level before.
    pub from: Level,
    /// The level now.
    pub to: Level,
    /// Counts the changes.
    pub generation: u64,
    /// Bytes in use.
    pub used: Bytes,
    /// The budget.
    pub budget: Bytes,
}

/// The most events that a channel holds; levels change every few seconds.
const MOST_EVENTS: usize = 4096;

/// What is called.
pub(super) type Callback = Arc<dyn Fn(&LevelEvent) + Send + Sync>;

#[derive(Clone)]
enum Kind {
    Callback(Callback),
    Channel(SyncSender<LevelEvent>),
}

#[derive(Clone)]
struct Entry {
    id: u64,
    // `None`: every change, downwards too.
    level: Option<Level>,
    kind: Kind,
}

#[derive(Default)]
struct Entries {
    next: u64,
    entries: Vec<Entry>,
}

/// All who want to know.
#[derive(Clone, Default)]
pub(super) struct Subscribers(Arc<Mutex<Entries>>);

impl fmt::Debug for Subscribers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Subscribers({})", lock(&self.0).entries.len())
    }
}

/// Ends when dropped.
#[must_use = "a subscription lasts as long as this lives"]
pub struct Subscription {
    id: u64,
    entries: Weak<Mutex<Entries>>,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Subscription({})", self.id)
    }
}

impl Subscription {
    /// Lasts as long as the controller.
    pub fn keep(mut self) {
        self.entries = Weak::new();
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let Some(shared) = self.entries.upgrade() else {
            return;
        };
        let removed = {
            let mut entries = lock(&shared);
            let place = entries.entries.iter().position(|entry| entry.id == self.id);
            place.map(|place| entries.entries.remove(place))
        };
        drop(removed);
    }
}

fn lock(entries: &Mutex<Entries>) -> MutexGuard<'_, Entries> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Subscribers {
    fn add(&self, level: Option<Level>, kind: Kind) -> Subscription {
        let mut entries = lock(&self.0);
        let id = entries.next;
        entries.next += 1;
        entries.entries.push(Entry { id, level, kind });
        Subscription {
            id,
            entries: Arc::downgrade(&self.0),
        }
    }

    pub(super) fn call(&self, level: Option<Level>, callback: Callback) -> Subscription {
        self.add(level, Kind::Callback(callback))
    }

    pub(super) fn channel(&self, capacity: usize) -> (Subscription, Receiver<LevelEvent>) {
        let (sender, receiver) = mpsc::sync_channel(capacity.clamp(1, MOST_EVENTS));
        (self.add(None, Kind::Channel(sender)), receiver)
    }

    /// Tells the channels, and gives the callbacks that are to be called.
    pub(super) fn tell(&self, event: &LevelEvent) -> Vec<(u64, Callback)> {
        let entries = lock(&self.0).entries.clone();
        let mut callbacks = Vec::new();
        for entry in entries {
            // A level is told when it is entered from below.
            let wanted = entry
                .level
                .is_none_or(|level| event.from < level && level <= event.to);
            match entry.kind {
                Kind::Callback(callback) if wanted => callbacks.push((entry.id, callback)),
                Kind::Channel(sender) if wanted => match sender.try_send(*event) {
                    Ok(()) | Err(TrySendError::Full(_)) => {}
                    Err(TrySendError::Disconnected(_)) => self.forget(entry.id),
                },
                Kind::Callback(_) | Kind::Channel(_) => {}
            }
        }
        callbacks
    }

    fn forget(&self, id: u64) {
        lock(&self.0).entries.retain(|entry| entry.id != id);
    }
}
