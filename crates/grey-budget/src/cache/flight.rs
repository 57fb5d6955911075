//! Loads that are under way: who loads a key, and who waits for it.
//!
//! Never holds a lock while anybody loads, waits or is woken.

use std::collections::HashMap;
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

use super::late::{Late, watch};
use crate::wake::wake_all;

/// Keys are spread over so many locks; a power of two.
const STRIPES: usize = 64;

/// How long a thread waits for another's loader before it loads by itself, so
/// that loaders that wait for each other end.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What is under way for the keys of one stripe.
pub(super) type Stripe<K, V> = HashMap<K, Arc<Flight<V>>>;

/// A lock in a line of its own.
type Guarded<T> = CachePadded<Mutex<T>>;

/// All loads of a cache.
pub(super) struct Flights<K, V> {
    stripes: Vec<Guarded<Stripe<K, V>>>,
    under_way: AtomicUsize,
}

#[derive(Debug, Default)]
struct Waiting {
    over: bool,
    /// Tasks wait no longer.
    given_up: bool,
    wakers: Vec<Waker>,
}

/// One load.
pub(super) struct Flight<V> {
    value: OnceLock<V>,
    waiting: Mutex<Waiting>,
    over: Condvar,
    /// The thread that loads, if a thread does.
    owner: Option<ThreadId>,
    /// Somebody put another value in, or removed the key.
    superseded: AtomicBool,
    /// Whether somebody looks after how long tasks wait.
    is_watched: AtomicBool,
}

/// What a caller is to do.
pub(super) enum Role<'a, K: Hash + Eq, V> {
    /// Load, and tell the others.
    Lead(Lead<'a, K, V>),
    /// Wait for who loads.
    Follow(Arc<Flight<V>>),
    /// This very thread loads this key: waiting would never end.
    Own,
}

/// Whoever loads. Dropped without a value, the next one tries.
pub(super) struct Lead<'a, K: Hash + Eq, V> {
    flights: &'a Flights<K, V>,
    flight: Arc<Flight<V>>,
    key: K,
    hash: u64,
}

impl<K: Hash + Eq, V> Flights<K, V> {
    pub(super) fn new() -> Self {
        Self {
            stripes: (0..STRIPES)
                .map(|_| CachePadded::new(Mutex::new(HashMap::new())))
                .collect(),
            under_way: AtomicUsize::new(0),
        }
    }

    /// Whether nobody loads anything.
    #[inline]
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.load(Ordering::SeqCst) == 0
    }

    pub(super) fn lock(&self, hash: u64) -> MutexGuard<'_, Stripe<K, V>> {
        let stripe = usize::try_from(hash % 64).unwrap_or_default();
        self.stripes[stripe]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the load of `key`, or begins it. `owner` is the thread that would
    /// load, if a thread would.
    pub(super) fn join(&self, hash: u64, key: K, owner: Option<ThreadId>) -> Role<'_, K, V>
    where
        K: Clone,
    {
        let mut stripe = self.lock(hash);
        if let Some(flight) = stripe.get(&key) {
            if flight.owner == Some(std::thread::current().id()) {
                return Role::Own;
            }
            return Role::Follow(Arc::clone(flight));
        }
        let flight = Arc::new(Flight {
            value: OnceLock::new(),
            waiting: Mutex::default(),
            over: Condvar::new(),
            owner,
            superseded: AtomicBool::new(false),
            is_watched: AtomicBool::new(false),
        });
        stripe.insert(key.clone(), Arc::clone(&flight));
        self.under_way.fetch_add(1, Ordering::SeqCst);
        drop(stripe);
        Role::Lead(Lead {
            flights: self,
            flight,
            key,
            hash,
        })
    }
}

/// What is being loaded for `key` shall not be cached, and who asks from now on
/// does not wait for it. Called with the stripe of the key locked.
pub(super) fn supersede<K: Hash + Eq, V>(stripe: &mut Stripe<K, V>, key: &K) {
    if let Some(flight) = stripe.remove(key) {
        flight.superseded.store(true, Ordering::Relaxed);
    }
}

impl<K: Hash + Eq, V> Lead<'_, K, V> {
    pub(super) fn key(&self) -> &K {
        &self.key
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// Whether another value came meanwhile. To be asked with the stripe locked.
    pub(super) fn is_superseded(&self) -> bool {
        self.flight.superseded.load(Ordering::Relaxed)
    }

    /// Gives the value to all who wait. The load is over.
    pub(super) fn finish(self, value: V) {
        // Nobody else sets it: only the one who leads has a `Lead`.
        let _ = self.flight.value.set(value);
    }
}

/// What a load had in its stripe.
type Ended<K, V> = Option<(K, Arc<Flight<V>>)>;

impl<K: Hash + Eq, V> Lead<'_, K, V> {
    /// Takes this load out of its stripe, though the key may panic when it is
    /// looked for: then it is found without its key. Never panics, as this may
    /// be while another panic unwinds.
    fn take_from(&self, stripe: &mut Stripe<K, V>) -> Ended<K, V> {
        let is_mine = |flight: &Arc<Flight<V>>| Arc::ptr_eq(flight, &self.flight);
        let looked = catch_unwind(AssertUnwindSafe(|| {
            let is_there = stripe.get(&self.key).is_some_and(is_mine);
            is_there.then(|| stripe.remove_entry(&self.key)).flatten()
        }));
        looked.unwrap_or_else(|_| {
            tracing::error!("a key panicked when its load ended");
            stripe.extract_if(|_, flight| is_mine(flight)).next()
        })
    }
}

impl<K: Hash + Eq, V> Drop for Lead<'_, K, V> {
    fn drop(&mut self) {
        let mut stripe = self.flights.lock(self.hash);
        let ended = self.take_from(&mut stripe);
        self.flights.under_way.fetch_sub(1, Ordering::SeqCst);
        drop(stripe);
        self.flight.end();
        drop(ended);
    }
}

impl<V> Flight<V> {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        let wakers = {
            let mut waiting = self.waiting();
            waiting.over = true;
            std::mem::take(&mut waiting.wakers)
        };
        self.over.notify_all();
        wake_all(wakers);
    }

    /// The value, when the load is over and gave one.
    pub(super) fn value(&self) -> Option<&V> {
        self.value.get()
    }

    /// Waits in this thread. Tells whether the load is over.
    pub(super) fn wait(&self, timeout: Duration) -> bool {
        let until = Instant::now().checked_add(timeout);
        let mut waiting = self.waiting();
        while !waiting.over {
            let left = until.map_or(timeout, |until| {
                until.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                return false;
            }
            waiting = self
                .over
                .wait_timeout(waiting, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }
}

impl<V: Send + Sync + 'static> Flight<V> {
    /// Waits as a task, as long as a thread would. Tells whether the load is
    /// over.
    pub(super) async fn land(self: &Arc<Self>) -> bool {
        if !self.is_watched.swap(true, Ordering::Relaxed) {
            let load = Arc::downgrade(self);
            watch(load);
        }
        Landing(Arc::clone(self)).await
    }
}

impl<V: Send + Sync> Late for Flight<V> {
    fn give_up(&self) {
        let wakers = {
            let mut waiting = self.waiting();
            waiting.given_up = true;
            std::mem::take(&mut waiting.wakers)
        };
        wake_all(wakers);
    }
}

/// Waits as a task until a load is over, or was given up.
struct Landing<V>(Arc<Flight<V>>);

impl<V> Future for Landing<V> {
    type Output = bool;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        // The clone may be the program's code: before the lock.
        let waker = context.waker().clone();
        let mut waiting = self.0.waiting();
        if waiting.over || waiting.given_up {
            return Poll::Ready(waiting.over);
        }
        // A task that is polled again has its older waker replaced.
        let same = waiting
            .wakers
            .iter()
            .position(|other| other.will_wake(&waker));
        let replaced = match same {
            Some(place) => Some(std::mem::replace(&mut waiting.wakers[place], waker)),
            None => {
                waiting.wakers.push(waker);
                None
            }
        };
        drop(waiting);
        drop(replaced);
        Poll::Pending
    }
}
