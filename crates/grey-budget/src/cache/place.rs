//! Finding, placing and taking out entries, each key in one class alone.
//!
//! Never calls weigher, codec, target or loader, and drops nothing of the
//! program's, while it holds a lock.

use std::borrow::Borrow;
use std::cell::RefCell;
use std::hash::{BuildHasher, Hash};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use grey_model::Bytes;

use super::account::count;
use super::core::{Cache, Class, Inner, KEPT};
use super::exchange::THAWED;
use super::flight::{Lead, supersede};
use super::leaving::{Leaving, Unkeeps};
use super::options::{EntryOptions, Rejected, Rejection};
use super::room::Taking;
use super::slot::{Evicted, Meta, NEVER, Reading, Slot, TICK_MS, round_weight};

/// In which order the classes are looked through.
const LOOKUP: [usize; KEPT + 1] = [1, 2, KEPT, 0];

/// Only medium is in use.
const ONLY_MEDIUM: u8 = 1 << 1;

/// The clock is looked at once in so many insertions of a thread.
const CLOCK_EVERY: u64 = 1024;

impl<K: Hash + Eq, V: Clone> Inner<K, V> {
    #[inline]
    pub(super) fn class(&self, class: usize) -> Option<&Class<K, V>> {
        self.classes[class].get()
    }
}

impl<K, V> Inner<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// The value of a key, marked as used.
    #[inline]
    pub(super) fn lookup<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let used = self.used.load(Ordering::Relaxed);
        if used == ONLY_MEDIUM {
            return self.lookup_in(1, key);
        }
        self.lookup_among(used, key)
    }

    /// Of several classes. Apart, so that one alone is looked up without a call.
    #[inline(never)]
    fn lookup_among<Q>(&self, used: u8, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        LOOKUP
            .into_iter()
            .filter(|class| used & 1 << class != 0)
            .find_map(|class| self.lookup_in(class, key))
    }

    /// Hands on the value alone: the processor waits when it moves a whole slot
    /// that was just written in parts.
    #[inline]
    fn lookup_in<Q>(&self, class: usize, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let opened = self.class(class)?;
        let reading = Reading::at(self.account.tick());
        let found = opened.get(key);
        drop(reading);
        match found {
            Some(slot) if slot.expires == NEVER || !self.is_over(slot.expires, class, key) => {
                Some(slot.value)
            }
            _ => None,
        }
    }

    /// Whether a time is over. Then the entry of `key` is taken out, if it is.
    #[inline(never)]
    fn is_over<Q>(&self, expires: u32, class: usize, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let tick = self.account.look_at_clock();
        if expires > tick {
            return false;
        }
        if self
            .remove_if(class, key, |slot| slot.is_expired(tick))
            .is_some()
        {
            count(&self.account.counters().expired);
        }
        true
    }

    /// Takes out the entry of `key` if it is number `id`, and tells its weight.
    pub(super) fn remove_exact<Q>(&self, class: usize, key: &Q, id: u64) -> Option<u64>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.remove_if(class, key, |slot| slot.id() == id)
    }

    fn remove_if<Q>(
        &self,
        class: usize,
        key: &Q,
        is_meant: impl FnOnce(&Slot<V>) -> bool,
    ) -> Option<u64>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let (key, slot) = self.class(class)?.remove_if(key, is_meant)?;
        let weight = slot.weight();
        let mut evicted = Evicted::default();
        let leaving = Leaving::of(self, &mut evicted);
        self.push(class, leaving.evicted, key, slot);
        drop(leaving);
        self.note_room();
        Some(weight)
    }

    /// The slot of a key and its class, without noting a use.
    pub(super) fn peek<Q>(&self, key: &Q) -> Option<(usize, Slot<V>)>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        LOOKUP
            .into_iter()
            .find_map(|class| Some((class, self.class(class)?.peek(key)?)))
    }

    /// Shows every entry of a class. `show` must not call the cache.
    pub(super) fn visit(&self, class: usize, show: impl FnMut(&K, &Slot<V>)) {
        if let Some(class) = self.class(class) {
            let show = RefCell::new(show);
            class.retain(|key, slot| {
                (show.borrow_mut())(key, slot);
                true
            });
        }
    }

    pub(super) fn weigh(&self, key: &K, value: &V) -> u64 {
        let heap = (self.heap)(key, value);
        round_weight(heap.saturating_add(Cache::<K, V>::ENTRY_OVERHEAD).get())
    }

    /// What an entry is put in with, in this cache's numbers.
    pub(super) fn meta(&self, options: EntryOptions) -> Result<Meta, Rejection> {
        let project = match options.project {
            None => 0,
            Some(project) if project.cache == self.account.identity => project.number.get(),
            Some(_) => return Err(Rejection::ForeignProject),
        };
        let expires = match options.ttl.or(self.settings.ttl) {
            None => NEVER,
            Some(ttl) => {
                self.has_ttl.store(true, Ordering::Relaxed);
                let ticks =
                    u32::try_from(ttl.as_millis().div_ceil(u128::from(TICK_MS))).unwrap_or(NEVER);
                self.account
                    .look_at_clock()
                    .saturating_add(ticks)
                    .min(NEVER - 1)
            }
        };
        Ok(Meta {
            priority: options.priority,
            project,
            expires,
            cost: options.cost,
        })
    }

    /// Puts a value in. With `lead`, only if nobody put in another one since
    /// the load began.
    #[inline]
    pub(super) fn put(
        &self,
        key: K,
        value: V,
        meta: Meta,
        lead: Option<&Lead<'_, K, V>>,
    ) -> Result<(), Rejected<V>> {
        let weight = self.weigh(&key, &value);
        let class = meta.priority.index();
        let taking = match self.admit(class, weight) {
            Ok(taking) => taking,
            Err(rejection) => return Err(self.reject(&key, value, rejection, lead.is_some())),
        };
        let account = &*self.account;
        let id = account.next_id();
        let slot = Slot::new(value, weight, id, account.tick(), meta);
        let mut evicted = Evicted::default();
        let leaving = Leaving::and(self, &mut evicted, (class, id, weight));
        self.place(class, key, slot, leaving.evicted, lead);
        drop(taking);
        drop(leaving);
        if id.is_multiple_of(CLOCK_EVERY) {
            account.look_at_clock();
        }
        Ok(())
    }

    /// Takes the charge and the room, when the value finds some.
    #[inline]
    fn admit(&self, class: usize, weight: u64) -> Result<Taking<'_>, Rejection> {
        if self.frozen.load(Ordering::Relaxed) != THAWED {
            self.thaw_or_refuse(class, weight)?;
        }
        if class < KEPT && weight > self.largest[class].load(Ordering::Relaxed) {
            self.find_room(class, weight)?;
        }
        let charge = match self.account.component.reserve(Bytes(weight)) {
            Ok(charge) => charge,
            Err(error) => self.exchange(class, weight, error)?,
        };
        let taking = if class == KEPT {
            self.keep(weight).then_some(Taking::default())
        } else {
            self.take_room(class, weight)
        };
        match taking {
            // The entry gives it back when it leaves.
            Some(taking) => {
                std::mem::forget(charge);
                Ok(taking)
            }
            None => Err(Rejection::NoRoom {
                weight: Bytes(weight),
            }),
        }
    }

    #[cold]
    pub(super) fn reject(
        &self,
        key: &K,
        value: V,
        rejection: Rejection,
        loaded: bool,
    ) -> Rejected<V> {
        count(&self.account.counters().rejected);
        if !loaded {
            // What is there is older than what was to be put in.
            let mut evicted = self.remove(key);
            self.settle(&mut evicted);
        }
        Rejected { value, rejection }
    }

    /// Puts a slot, whose charge was taken, into its class alone.
    #[inline]
    pub(super) fn place(
        &self,
        class: usize,
        key: K,
        slot: Slot<V>,
        evicted: &mut Evicted<K, V>,
        lead: Option<&Lead<'_, K, V>>,
    ) {
        let bit = 1 << class;
        let alone = self.used.load(Ordering::Relaxed) == bit;
        if alone && self.account.spill.is_none() && lead.is_none() && self.flights.is_idle() {
            let id = slot.id();
            if let Some(opened) = self.class(class) {
                opened.insert_with_lifecycle(key, slot, evicted);
                evicted.has_entered = true;
            }
            if self.used.load(Ordering::Relaxed) != bit {
                self.make_sole(class, id, evicted);
            }
            return;
        }
        self.place_among_others(class, key, slot, evicted, lead);
    }

    fn place_among_others(
        &self,
        class: usize,
        key: K,
        slot: Slot<V>,
        evicted: &mut Evicted<K, V>,
        lead: Option<&Lead<'_, K, V>>,
    ) {
        let (hash, id) = (self.account.hash(&key), slot.id());
        let spilled = self
            .account
            .spill
            .as_ref()
            .map(|spill| (spill, key.clone()));
        let opened = self.open(class);
        let mut stripe = self.flights.lock(hash);
        if lead.is_some_and(Lead::is_superseded) {
            drop(stripe);
            self.push(class, evicted, key, slot);
            evicted.has_entered = true;
            return;
        }
        if lead.is_none() {
            supersede(&mut stripe, &key);
        }
        self.take_from_all_but(class, &key, evicted);
        opened.insert_with_lifecycle(key, slot, evicted);
        evicted.has_entered = true;
        // Under the stripe: whoever reads the key from disk next must not find
        // the older value known there.
        let is_spilled = spilled.filter(|_| self.account.away.outdate(hash, Some(id)));
        drop(stripe);
        if let Some((spill, key)) = is_spilled {
            self.account.forget(spill, &key);
        }
    }

    /// Another class came into use while number `id` was put in without a
    /// lock: whoever else has its key loses it. Happens once for each class.
    #[cold]
    pub(super) fn make_sole(&self, class: usize, id: u64, evicted: &mut Evicted<K, V>) {
        let mut found = None;
        self.visit(class, |key, slot| {
            if slot.id() == id {
                found = Some(key.clone());
            }
        });
        if let Some(key) = found {
            let stripe = self.flights.lock(self.account.hash(&key));
            self.take_from_all_but(class, &key, evicted);
            drop(stripe);
        }
    }

    pub(super) fn take_from_all_but(&self, class: usize, key: &K, evicted: &mut Evicted<K, V>) {
        for other in (0..=KEPT).filter(|other| *other != class) {
            if let Some((key, slot)) = self.class(other).and_then(|class| class.remove(key)) {
                self.push(other, evicted, key, slot);
            }
        }
    }

    pub(super) fn push(&self, class: usize, evicted: &mut Evicted<K, V>, key: K, slot: Slot<V>) {
        if class == KEPT {
            evicted.kept += slot.weight();
        }
        evicted.push(key, slot);
    }

    #[inline]
    pub(super) fn settle(&self, evicted: &mut Evicted<K, V>) {
        let unkeeps = Unkeeps::of(self, std::mem::take(&mut evicted.kept));
        self.account.settle(evicted);
        drop(unkeeps);
    }

    /// Takes a key out everywhere. Nothing is settled yet.
    pub(super) fn remove(&self, key: &K) -> Evicted<K, V> {
        let mut evicted = Evicted::default();
        let leaving = Leaving::of(self, &mut evicted);
        let hash = self.account.hash(key);
        let mut stripe = self.flights.lock(hash);
        supersede(&mut stripe, key);
        self.take_from_all_but(usize::MAX, key, leaving.evicted);
        // Under the stripe: see `place_among_others`.
        let spill = self.account.spill.as_ref();
        let is_spilled = spill.filter(|_| self.account.away.outdate(hash, None));
        drop(stripe);
        if let Some(spill) = is_spilled {
            self.account.forget(spill, key);
        }
        std::mem::take(leaving.evicted)
    }

    /// Takes out everything, one after the other.
    pub(super) fn drain(&self) {
        for class in 0..=KEPT {
            let Some(opened) = self.class(class) else {
                continue;
            };
            for (key, slot) in opened.drain() {
                let mut evicted = Evicted::default();
                let leaving = Leaving::of(self, &mut evicted);
                self.push(class, leaving.evicted, key, slot);
            }
        }
        self.note_room();
    }
}

impl<K: Hash + Eq, V: Clone> Drop for Inner<K, V> {
    fn drop(&mut self) {
        let mut weight = 0;
        for class in self.classes.iter_mut().filter_map(OnceLock::get_mut) {
            for (key, slot) in class.drain() {
                weight += slot.weight();
                self.account.drop_entry(key, slot);
            }
        }
        self.account.component.release(weight);
        self.account.release_rows();
    }
}

impl<K: Hash + Eq, V: Clone> Inner<K, V> {
    /// The hash of a key in any of its forms.
    pub(super) fn hash_of<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        self.account.hasher.hash_one(key)
    }
}
