//! What the program's keys may do to an operation of the cache: a hash, an
//! equality or a clone that panics loses neither what is charged for what comes
//! in nor what goes for it.
//!
//! Never panics itself while another panic unwinds.

use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::core::{Inner, KEPT};
use super::slot::Evicted;
use crate::budget::Component;

/// What one operation takes out, which is settled when this is dropped; and what
/// it brings in, whose charge and room are given back when it panics before that
/// is in.
pub(super) struct Leaving<'a, 'e, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    inner: &'a Inner<K, V>,
    /// Lies with the caller: it is large, and would be copied on its way.
    pub(super) evicted: &'e mut Evicted<K, V>,
    /// Class, number and weight of what comes in; the weight is 0 if nothing does.
    class: usize,
    id: u64,
    weight: u64,
}

impl<'a, 'e, K, V> Leaving<'a, 'e, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Nothing yet.
    #[inline]
    pub(super) const fn of(inner: &'a Inner<K, V>, evicted: &'e mut Evicted<K, V>) -> Self {
        Self::and(inner, evicted, (0, 0, 0))
    }

    /// Nothing yet, and an entry of this number and weight, which is charged, is
    /// to come into this class. Who puts it in tells [`Evicted::has_entered`].
    #[inline]
    pub(super) const fn and(
        inner: &'a Inner<K, V>,
        evicted: &'e mut Evicted<K, V>,
        (class, id, weight): (usize, u64, u64),
    ) -> Self {
        Self {
            inner,
            evicted,
            class,
            id,
            weight,
        }
    }

    #[cold]
    fn settle_while_it_unwinds(&mut self) {
        // It gives the charge back when it leaves.
        let is_in = self.evicted.has_entered || self.inner.holds(self.class, self.id);
        if self.weight > 0 && !is_in {
            self.inner.account.component.release(self.weight);
            if self.class == KEPT {
                drop(Unkeeps::of(self.inner, self.weight));
            }
        }
        let settled = catch_unwind(AssertUnwindSafe(|| self.inner.settle(self.evicted)));
        if settled.is_err() {
            tracing::error!("a key panicked once more while another panic unwound");
        }
    }
}

impl<K, V> Drop for Leaving<'_, '_, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    #[inline]
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.settle_while_it_unwinds();
        } else {
            self.inner.settle(self.evicted);
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

/// Room among what is kept, which is given back when this is dropped.
pub(super) struct Unkeeps<'a, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    inner: &'a Inner<K, V>,
    weight: u64,
}

impl<'a, K, V> Unkeeps<'a, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    #[inline]
    pub(super) const fn of(inner: &'a Inner<K, V>, weight: u64) -> Self {
        Self { inner, weight }
    }

    #[cold]
    fn unkeep(&self) {
        if !std::thread::panicking() {
            self.inner.unkeep(self.weight);
            return;
        }
        let given = catch_unwind(AssertUnwindSafe(|| self.inner.unkeep(self.weight)));
        if given.is_err() {
            tracing::error!("a key panicked once more while another panic unwound");
        }
    }
}

impl<K, V> Drop for Unkeeps<'_, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    #[inline]
    fn drop(&mut self) {
        if self.weight > 0 {
            self.unkeep();
        }
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
            (true, false) => drop(Unkeeps::of(self.inner, self.weight)),
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
}
