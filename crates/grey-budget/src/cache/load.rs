//! Loading what is not there: one loader for a key, whoever else asks waits
//! for it, in threads and in tasks.
//!
//! Never holds a lock while a loader runs. A loader that fails, panics or is
//! cancelled lets the next one try. What the budget does not take is still
//! given to whoever asked.

use std::borrow::Borrow;
use std::convert::Infallible;
use std::hash::Hash;
use std::sync::atomic::Ordering;

use super::account::count;
use super::core::{Cache, Inner};
use super::flight::{LONGEST_WAIT, Lead, Role};
use super::options::EntryOptions;
use super::slot::{Meta, NEVER};

/// How often one caller waits for a loader that then fails, before it loads by
/// itself.
const MOST_JOINS: usize = 64;

/// How often one reader of a spilled value looks, when others were at it.
const LOOKS: usize = 3;

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Reads a value, or makes it and puts it in.
    pub fn get_or_insert_with<Q>(
        &self,
        key: &Q,
        options: EntryOptions,
        load: impl FnOnce() -> V,
    ) -> V
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        match self.get_or_try_insert_with(key, options, || Ok::<V, Infallible>(load())) {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    /// Reads a value, or makes it and puts it in. One thread loads; others
    /// that ask for the same key wait, up to half a minute, then load alone.
    /// A loader may read and load other keys, and its own one, which is then
    /// loaded without the cache.
    ///
    /// # Errors
    /// What `load` returns.
    pub fn get_or_try_insert_with<Q, E>(
        &self,
        key: &Q,
        options: EntryOptions,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, E>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let inner = &*self.inner;
        if let Some(value) = inner.lookup(key) {
            count(&inner.account.counters().hits);
            return Ok(value);
        }
        let hash = inner.hash_of(key);
        for _ in 0..MOST_JOINS {
            let me = Some(std::thread::current().id());
            match inner.flights.join(hash, key.to_owned(), me) {
                Role::Lead(lead) => {
                    let lead = match inner.find_before_load(lead) {
                        Ok(value) => return Ok(value),
                        Err(lead) => lead,
                    };
                    return load().map(|value| inner.land(lead, value, options));
                }
                Role::Follow(flight) => {
                    if !flight.wait(LONGEST_WAIT) {
                        break;
                    }
                    if let Some(value) = flight.value() {
                        count(&inner.account.counters().hits);
                        return Ok(value.clone());
                    }
                }
                Role::Own => break,
            }
        }
        count(&inner.account.counters().misses);
        load()
    }

    /// Reads a value, or awaits `load` and puts it in. One task loads; others
    /// that ask for the same key wait as tasks, up to half a minute, then load
    /// alone. Dropping the future that loads lets the next one try. A loader
    /// that asks for its own key waits for itself as long.
    ///
    /// What was spilled is read from the disk and decoded by whoever polls this:
    /// its thread runs no other task meanwhile. Where the spill target is slow,
    /// have a thread that may block read first: `spawn_blocking(move ||
    /// cache.get(&key))` brings the value back into memory, or finds none.
    ///
    /// # Errors
    /// What `load` returns.
    pub async fn get_or_insert_async<Q, E>(
        &self,
        key: &Q,
        options: EntryOptions,
        load: impl Future<Output = Result<V, E>>,
    ) -> Result<V, E>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let inner = &*self.inner;
        if let Some(value) = inner.lookup(key) {
            count(&inner.account.counters().hits);
            return Ok(value);
        }
        let hash = inner.hash_of(key);
        for _ in 0..MOST_JOINS {
            match inner.flights.join(hash, key.to_owned(), None) {
                Role::Lead(lead) => {
                    let lead = match inner.find_before_load(lead) {
                        Ok(value) => return Ok(value),
                        Err(lead) => lead,
                    };
                    return load.await.map(|value| inner.land(lead, value, options));
                }
                Role::Follow(flight) => {
                    if !flight.land().await {
                        break;
                    }
                    if let Some(value) = flight.value() {
                        count(&inner.account.counters().hits);
                        return Ok(value.clone());
                    }
                }
                // A thread that loads this key awaits this task in its loader.
                Role::Own => break,
            }
        }
        count(&inner.account.counters().misses);
        load.await
    }

    /// A key is on disk from an earlier run: it is read when it is first asked
    /// for. Nothing happens without a spill target.
    pub fn insert_spilled<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let account = &*self.inner.account;
        if account.spill.is_some() && self.inner.peek(key).is_none() {
            account.away.restore(self.inner.hash_of(key));
            account.charge_rows();
        }
    }

    /// The rest of a read that found nothing in memory.
    pub(super) fn get_away<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let inner = &*self.inner;
        let value = inner.read_spilled(key);
        let counters = inner.account.counters();
        count(if value.is_some() {
            &counters.hits
        } else {
            &counters.misses
        });
        value
    }
}

impl<K, V> Inner<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn read_spilled<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.account.spill.as_ref()?;
        let hash = self.hash_of(key);
        if !self.account.away.is_spilled(hash) {
            // It may have come back since it was looked for in memory.
            return self.lookup(key);
        }
        let me = Some(std::thread::current().id());
        for _ in 0..LOOKS {
            match self.flights.join(hash, key.to_owned(), me) {
                Role::Lead(lead) => {
                    let value = match self.lookup::<K>(lead.key()) {
                        Some(value) => value,
                        None => self.read_back(&lead)?,
                    };
                    lead.finish(value.clone());
                    return Some(value);
                }
                Role::Follow(flight) => {
                    if !flight.wait(LONGEST_WAIT) {
                        return None;
                    }
                    if let Some(value) = flight.value() {
                        return Some(value.clone());
                    }
                    // Who was to load it did not: it was loading back what is
                    // not true any more.
                }
                Role::Own => return None,
            }
        }
        None
    }

    /// Looks once more: who loaded before may have just ended; and on disk.
    fn find_before_load<'a>(&self, lead: Lead<'a, K, V>) -> Result<V, Lead<'a, K, V>> {
        let counters = self.account.counters();
        let found = self
            .lookup::<K>(lead.key())
            .or_else(|| self.read_back(&lead));
        match found {
            Some(value) => {
                count(&counters.hits);
                lead.finish(value.clone());
                Ok(value)
            }
            None => {
                count(&counters.misses);
                Err(lead)
            }
        }
    }

    /// Reads what was spilled, and takes it back into memory if the budget
    /// lets it; else it stays on disk.
    fn read_back(&self, lead: &Lead<'_, K, V>) -> Option<V> {
        let spill = self.account.spill.as_ref()?;
        if !self.account.away.is_spilled(lead.hash()) {
            return None;
        }
        let (header, value) = self.account.read(spill, lead.key())?;
        // Between the look and the read a newer value may have come and gone.
        if lead.is_superseded() {
            return self.lookup::<K>(lead.key());
        }
        let Some(expires) = self.account.expiry_from_disk(header.expires_ms) else {
            count(&self.account.counters().expired);
            if self.account.away.outdate(lead.hash(), None) {
                self.account.forget(spill, lead.key());
            }
            return None;
        };
        if expires != NEVER {
            self.has_ttl.store(true, Ordering::Relaxed);
        }
        count(&self.account.counters().read_backs);
        let project = header
            .project
            .and_then(|name| self.project_number(&name))
            .unwrap_or_default();
        let meta = Meta {
            priority: header.priority,
            project,
            expires,
            cost: header.cost,
        };
        let _stays_on_disk = self.put(lead.key().clone(), value.clone(), meta, Some(lead));
        Some(value)
    }

    /// Puts in what was loaded, and tells those who wait.
    fn land(&self, lead: Lead<'_, K, V>, value: V, options: EntryOptions) -> V {
        // A refusal is no error: the value was asked for, not its caching.
        let put = match self.meta(options) {
            Ok(meta) => self.put(lead.key().clone(), value.clone(), meta, Some(&lead)),
            Err(rejection) => Err(self.reject(lead.key(), value.clone(), rejection, true)),
        };
        if put.is_err() {
            self.outdate_for(&lead);
        }
        lead.finish(value.clone());
        value
    }

    /// What was loaded is not kept, and an older value that is on its way to
    /// disk must not be read after it.
    fn outdate_for(&self, lead: &Lead<'_, K, V>) {
        let Some(spill) = self.account.spill.as_ref() else {
            return;
        };
        let stripe = self.flights.lock(lead.hash());
        let is_spilled = !lead.is_superseded() && self.account.away.outdate(lead.hash(), None);
        drop(stripe);
        if is_spilled {
            self.account.forget(spill, lead.key());
        }
    }
}
