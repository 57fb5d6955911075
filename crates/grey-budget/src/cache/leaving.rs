//! What the program's keys may do to an operation of the cache: a hash, an
//! equality or a clone that panics loses neither what is charged for what comes
//! in nor what goes for it.
//!
//! Never panics itself while another panic unwinds.

use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::core::{Class, Inner, KEPT};
use super::slot::{Evicted, Slot};
use crate::budget::{Component, Reservation};

/// What one operation takes out, which is settled when this is dropped.
pub(super) struct Leaving<'a, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    inner: &'a Inner<K, V>,
    pub(super) evicted: Evicted<K, V>,
}

impl<'a, K, V> Leaving<'a, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Nothing yet.
    #[inline]
    pub(super) fn of(inner: &'a Inner<K, V>) -> Self {
        Self {
            inner,
            evicted: Evicted::default(),
        }
    }

    #[cold]
    fn settle_while_it_unwinds(&mut self) {
        let settled = catch_unwind(AssertUnwindSafe(|| self.inner.settle(&mut self.evicted)));
        if settled.is_err() {
            tracing::error!("a key panicked once more while another panic unwound");
        }
    }
}

impl<K, V> Drop for Leaving<'_, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    #[inline]
    fn drop(&mut self) {
        if self.evicted.is_empty() {
            return;
        }
        if std::thread::panicking() {
            self.settle_while_it_unwinds();
        } else {
            self.inner.settle(&mut self.evicted);
        }
    }
}

/// An entry that is being put into its class; dropped only if that panics.
struct Entering<'a, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    inner: &'a Inner<K, V>,
    class: usize,
    id: u64,
    charge: Option<Reservation<'a>>,
}

impl<K, V> Drop for Entering<'_, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    #[cold]
    fn drop(&mut self) {
        // It gives the charge back when it leaves.
        if self.inner.holds(self.class, self.id) {
            std::mem::forget(self.charge.take());
        }
    }
}

/// What entries were charged, which is given back when this is dropped.
pub(super) struct GivesBack<'a> {
    pub(super) component: &'a Component,
    pub(super) weight: u64,
}

impl Drop for GivesBack<'_> {
    #[inline]
    fn drop(&mut self) {
        self.component.release(self.weight);
    }
}

/// Room that an entry of this weight has among what is kept while it is moved
/// there, or from there: dropped when it is known whether it was.
pub(super) struct Moving<'a, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(super) inner: &'a Inner<K, V>,
    pub(super) id: u64,
    pub(super) weight: u64,
    /// Whether the room is taken.
    pub(super) has_room: bool,
}

impl<K, V> Drop for Moving<'_, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        match (self.has_room, self.inner.holds(KEPT, self.id)) {
            (true, false) => self.inner.grants().unkeep(self.weight),
            (false, true) => self.inner.grants().keep_anyway(self.weight),
            _ => {}
        }
    }
}

impl<K, V> Inner<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Whether entry number `id` is in this class, or nobody can tell. Hashes and
    /// compares no key.
    fn holds(&self, class: usize, id: u64) -> bool {
        let mut is_in = false;
        let looked = catch_unwind(AssertUnwindSafe(|| {
            self.visit(class, |_, slot| is_in |= slot.id() == id);
        }));
        is_in || looked.is_err()
    }

    /// Puts an entry into its class. With it goes the charge; if a key panics
    /// and it is not in, the charge is given back.
    #[inline]
    pub(super) fn enter<'a>(
        &'a self,
        class: usize,
        opened: &Class<K, V>,
        (key, slot): (K, Slot<V>),
        charge: Reservation<'a>,
        evicted: &mut Evicted<K, V>,
    ) {
        let entering = Entering {
            inner: self,
            class,
            id: slot.id(),
            charge: Some(charge),
        };
        opened.insert_with_lifecycle(key, slot, evicted);
        std::mem::forget(entering);
    }
}
