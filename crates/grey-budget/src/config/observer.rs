//! Who is told that the configuration changed, in which order, and with what
//! guarantees.
//!
//! Observers are called one after the other in the order in which they were
//! registered, each event in the order in which it happened, outside of every
//! lock, by whichever thread reloaded. A panic of one is caught and logged and
//! the next is called. Never waits for an observer: a reload from within one,
//! or beside one, leaves its event to the thread that delivers already.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use super::error::ConfigError;
use super::schema::Config;

/// The most observers.
const MOST_OBSERVERS: usize = 1024;

/// The most events that wait. Beyond, the two newest become one, from the
/// older's old configuration to the newer's new one.
const MOST_EVENTS: usize = 64;

/// The configuration changed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConfigReloaded {
    /// The one before.
    pub old_config: Arc<Config>,
    /// The one that holds now.
    pub new_config: Arc<Config>,
    /// When it was swapped.
    pub timestamp: SystemTime,
    /// The keys whose values changed, sorted. Does not name those of
    /// `restart_required`.
    pub changed: Vec<String>,
    /// The keys whose new values wait for a restart.
    pub restart_required: Vec<String>,
}

/// A reload failed, and the configuration is what it was.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReloadFailed {
    /// Why.
    pub error: Arc<ConfigError>,
    /// When.
    pub timestamp: SystemTime,
}

/// Who wants to know. A closure over [`ConfigReloaded`] is one, too.
pub trait ConfigObserver: Send + Sync {
    /// The configuration changed. May reload and may unregister itself.
    fn on_config_reloaded(&self, event: &ConfigReloaded);

    /// A reload failed. Does nothing if not said otherwise.
    fn on_reload_failed(&self, _failure: &ReloadFailed) {}
}

impl<F: Fn(&ConfigReloaded) + Send + Sync> ConfigObserver for F {
    fn on_config_reloaded(&self, event: &ConfigReloaded) {
        self(event);
    }
}

/// There are too many observers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to register an observer of the configuration: there are {most} already")]
pub struct TooManyObservers {
    /// The most that there may be.
    pub most: usize,
}

/// Keeps an observer registered; dropping it removes the observer. A call that
/// has begun elsewhere is not waited for.
#[must_use = "the observer is removed when this is dropped"]
pub struct ObserverGuard {
    observers: Weak<Observers>,
    id: u64,
}

impl fmt::Debug for ObserverGuard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("ObserverGuard")
            .field(&self.id)
            .finish()
    }
}

impl Drop for ObserverGuard {
    fn drop(&mut self) {
        if let Some(observers) = self.observers.upgrade() {
            observers.remove(self.id);
        }
    }
}

#[derive(Debug, Clone)]
pub(super) enum Event {
    Reloaded(ConfigReloaded),
    Failed(ReloadFailed),
}

type Registered = (u64, Arc<dyn ConfigObserver>);

#[derive(Default)]
struct Registry {
    next: u64,
    list: Vec<Registered>,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    delivering: bool,
}

/// Those who are told, and what they are still to be told.
#[derive(Default)]
pub(super) struct Observers {
    registry: Mutex<Registry>,
    queue: Mutex<Queue>,
}

impl fmt::Debug for Observers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = locked(&self.registry).list.len();
        formatter
            .debug_struct("Observers")
            .field("count", &count)
            .finish()
    }
}

impl Observers {
    pub(super) fn register(
        self: &Arc<Self>,
        observer: Arc<dyn ConfigObserver>,
    ) -> Result<ObserverGuard, TooManyObservers> {
        let mut registry = locked(&self.registry);
        if registry.list.len() == MOST_OBSERVERS {
            // The observer is the program's: it ends outside of the lock.
            drop(registry);
            return Err(TooManyObservers {
                most: MOST_OBSERVERS,
            });
        }
        let id = registry.next;
        registry.next += 1;
        registry.list.push((id, observer));
        Ok(ObserverGuard {
            observers: Arc::downgrade(self),
            id,
        })
    }

    fn remove(&self, id: u64) {
        let removed = {
            let mut registry = locked(&self.registry);
            let place = registry.list.iter().position(|(other, _)| *other == id);
            place.map(|place| registry.list.remove(place))
        };
        drop(removed);
    }

    fn is_registered(&self, id: u64) -> bool {
        locked(&self.registry)
            .list
            .iter()
            .any(|(other, _)| *other == id)
    }

    /// Puts an event behind those that wait. Calls nobody.
    pub(super) fn enqueue(&self, event: Event) {
        let mut queue = locked(&self.queue);
        if queue.events.len() < MOST_EVENTS {
            queue.events.push_back(event);
            return;
        }
        match (queue.events.back_mut(), event) {
            (Some(Event::Reloaded(last)), Event::Reloaded(next)) => merge(last, next),
            // The newer of a failure and anything else says how it ended.
            (Some(last @ Event::Failed(_)), event) => *last = event,
            // A failure changes nothing; it was returned to who reloaded.
            (_, Event::Failed(_)) | (None, _) => {}
        }
    }

    /// Calls everybody for every event that waits, unless a thread does so
    /// already, which then does it for us.
    pub(super) fn deliver(&self) {
        loop {
            let event = {
                let mut queue = locked(&self.queue);
                if queue.delivering {
                    return;
                }
                let Some(event) = queue.events.pop_front() else {
                    return;
                };
                queue.delivering = true;
                event
            };
            self.tell(&event);
            locked(&self.queue).delivering = false;
        }
    }

    fn tell(&self, event: &Event) {
        let list: Vec<Registered> = locked(&self.registry).list.clone();
        for (id, observer) in list {
            // One that came before may have removed it.
            if !self.is_registered(id) {
                continue;
            }
            let called = catch_unwind(AssertUnwindSafe(|| {
                match event {
                    Event::Reloaded(event) => observer.on_config_reloaded(event),
                    Event::Failed(failure) => observer.on_reload_failed(failure),
                }
                // It may be the last one that holds it.
                drop(observer);
            }));
            if let Err(payload) = called {
                tell_panic(payload);
            }
        }
    }
}

fn merge(last: &mut ConfigReloaded, next: ConfigReloaded) {
    last.new_config = next.new_config;
    last.timestamp = next.timestamp;
    last.restart_required = next.restart_required;
    last.changed.extend(next.changed);
    last.changed.sort_unstable();
    last.changed.dedup();
}

fn tell_panic(payload: Box<dyn Any + Send>) {
    let message = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned());
    // What was thrown is the program's, and may panic when it is dropped; then
    // the second is forgotten.
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
    let logged = catch_unwind(|| {
        tracing::error!(
            "an observer of the configuration panicked: {}",
            message.as_deref().unwrap_or("without a message")
        );
    });
    drop(logged);
}

/// What is guarded is changed in steps that cannot panic half-way.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigLoader;

    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<OldAndNew>>>);

    type OldAndNew = (Arc<Config>, Arc<Config>);

    impl ConfigObserver for Seen {
        fn on_config_reloaded(&self, event: &ConfigReloaded) {
            let pair = (Arc::clone(&event.old_config), Arc::clone(&event.new_config));
            locked(&self.0).push(pair);
        }
    }

    fn config() -> Arc<Config> {
        let home = [("HOME", "/home/user")];
        Arc::new(
            ConfigLoader::without_file()
                .environment(home)
                .load()
                .unwrap(),
        )
    }

    fn event(old: &Arc<Config>, new: &Arc<Config>, key: &str) -> Event {
        Event::Reloaded(ConfigReloaded {
            old_config: Arc::clone(old),
            new_config: Arc::clone(new),
            timestamp: SystemTime::now(),
            changed: vec![key.to_owned()],
            restart_required: Vec::new(),
        })
    }

    #[test]
    fn events_that_nobody_takes_are_bounded_and_leave_no_gap() {
        let observers = Arc::new(Observers::default());
        let seen = Seen::default();
        let _guard = observers.register(Arc::new(seen.clone())).unwrap();
        let steps: Vec<Arc<Config>> = (0..=MOST_EVENTS * 3).map(|_| config()).collect();
        for pair in steps.windows(2) {
            observers.enqueue(event(&pair[0], &pair[1], "key"));
        }
        assert_eq!(locked(&observers.queue).events.len(), MOST_EVENTS);
        observers.deliver();
        let seen = locked(&seen.0);
        assert_eq!(seen.len(), MOST_EVENTS);
        for pair in seen.windows(2) {
            assert!(Arc::ptr_eq(&pair[0].1, &pair[1].0));
        }
        assert!(Arc::ptr_eq(
            &seen[MOST_EVENTS - 1].1,
            &steps[MOST_EVENTS * 3]
        ));
    }

    #[test]
    fn two_events_in_one_name_the_keys_of_both() {
        let (first, second, third) = (config(), config(), config());
        let (Event::Reloaded(mut last), Event::Reloaded(next)) =
            (event(&first, &second, "b"), event(&second, &third, "a"))
        else {
            unreachable!("both are reloads");
        };
        merge(&mut last, next);
        assert_eq!(last.changed, ["a", "b"]);
        assert!(Arc::ptr_eq(&last.old_config, &first));
        assert!(Arc::ptr_eq(&last.new_config, &third));
    }

    #[test]
    fn a_panic_whose_payload_panics_is_survived() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                if !std::thread::panicking() {
                    std::panic::panic_any("of a payload, as the test wants");
                }
            }
        }
        let observers = Arc::new(Observers::default());
        let thrower = |_: &ConfigReloaded| std::panic::panic_any(Bomb);
        let _thrower = observers.register(Arc::new(thrower)).unwrap();
        let seen = Seen::default();
        let _guard = observers.register(Arc::new(seen.clone())).unwrap();
        let one = config();
        observers.enqueue(event(&one, &one, "key"));
        observers.deliver();
        assert_eq!(locked(&seen.0).len(), 1);
        assert!(!locked(&observers.queue).delivering);
    }
}
