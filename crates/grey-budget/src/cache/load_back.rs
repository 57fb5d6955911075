//! Taking back what was spilled, before anybody asks for it: into room that is
//! free in the cache, in the budget and below the controller's headroom.
//!
//! Never puts an older value in the place of a newer one, never drops anything
//! for what it loads, and never reads a key at the same time as who asks for it.

use std::hash::Hash;
use std::sync::atomic::Ordering;

use grey_model::{Bytes, Priority};

use super::account::{SpillSide, count, guarded};
use super::core::{Cache, Inner, KEPT};
use super::exchange::THAWED;
use super::flight::{Lead, Role};
use super::leaving::Leaving;
use super::slot::{Evicted, Meta, NEVER, Slot};
use super::spill::{Offer, OfferTaker, read_header};
use crate::load_back::{LOAD_BACK_SLICE, LoadBackRation, LoadBackReport};
use crate::spill::Take;

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Whether what it spilled is loaded back by itself: its codec decodes keys,
    /// its target offers what it has, and nobody said
    /// [`without_load_back`](super::CacheBuilder::without_load_back).
    #[must_use]
    pub fn loads_back(&self) -> bool {
        self.inner.settings.loads_back
    }
}

/// How a value was placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placed {
    In(u64),
    NoRoom,
    /// A newer one came meanwhile.
    Superseded,
}

/// One call.
struct Loading<'a, K: Hash + Eq, V: Clone> {
    inner: &'a Inner<K, V>,
    spill: &'a SpillSide<K, V>,
    ration: &'a LoadBackRation,
    class: usize,
    /// What each piece of the class holds; empty until a value comes, so that no
    /// class is opened in vain.
    pieces: Vec<u64>,
    /// Something had to go for what was loaded: a piece was fuller than it was
    /// known to be.
    is_full: bool,
    /// The cache, its component or its tenant has less room than the ration.
    is_bound: bool,
    /// What was offered since the ration was asked.
    offered: Bytes,
    report: LoadBackReport,
}

impl<K, V> Inner<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Takes back what was spilled of `priority`.
    pub(super) fn load_back(&self, priority: Priority, ration: &LoadBackRation) -> LoadBackReport {
        let nothing = LoadBackReport::default();
        let Some(spill) = self.account.spill.as_ref() else {
            return nothing;
        };
        let is_closed = self.frozen.load(Ordering::Relaxed) != THAWED && !self.thaw_if_open();
        if !self.settings.loads_back || self.account.away.rows() == 0 || is_closed {
            return nothing;
        }
        let class = priority.index();
        self.loosen_if_roomy(class);
        let mut loading = Loading {
            inner: self,
            spill,
            ration,
            class,
            pieces: Vec::new(),
            is_full: false,
            is_bound: false,
            offered: Bytes::ZERO,
            report: nothing,
        };
        let offered = guarded("read", || spill.target.offer(priority, &mut loading));
        let mut report = loading.report;
        match offered {
            Ok(offered) => report.damaged += offered.damaged,
            Err(error) => {
                self.account.tell_failure(&error);
                report.damaged += 1;
            }
        }
        self.account.charge_rows();
        report
    }
}

impl<K, V> OfferTaker for Loading<'_, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn room(&mut self) -> Bytes {
        // Nothing of this cache is left on disk, or nothing more fits.
        if self.is_full || self.inner.account.away.rows() == 0 {
            return Bytes::ZERO;
        }
        self.offered = Bytes::ZERO;
        let free = Bytes(self.inner.free_room(self.class));
        // What it is charged to may be full while the cache is not.
        let free = free.min(self.inner.account.component.available());
        if free == Bytes::ZERO {
            return Bytes::ZERO;
        }
        let slice = self.ration.next_slice();
        self.is_bound = free < slice;
        slice.min(free)
    }

    fn overhead(&self) -> Bytes {
        Cache::<K, V>::ENTRY_OVERHEAD
    }

    fn is_too_large(&mut self) {
        if !self.is_bound {
            self.ration.note_too_large();
        }
        self.report.left += 1;
    }

    fn take(&mut self, offer: Offer<'_>) -> Take {
        if self.ration.is_over() || self.is_full {
            return Take::Stop;
        }
        // For a target that gives more than a slice and does not ask.
        if self.offered >= LOAD_BACK_SLICE && self.room() == Bytes::ZERO {
            return Take::Stop;
        }
        let bytes = Bytes(offer.value.len() as u64).saturating_add(self.overhead());
        let before = self.report.bytes();
        let taken = self.take_offer(&offer);
        let loaded = self.report.bytes().saturating_sub(before);
        self.offered = self.offered.saturating_add(bytes.max(loaded));
        taken
    }
}

impl<K, V> Loading<'_, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn take_offer(&mut self, offer: &Offer<'_>) -> Take {
        let Some(key) = self.key_of(offer.key) else {
            self.report.unknown_keys += 1;
            return Take::Left;
        };
        let (inner, account) = (self.inner, &*self.inner.account);
        let hash = account.hash(&key);
        if !account.away.is_spilled(hash) {
            // Of another cache, or a newer value is known.
            return Take::Left;
        }
        let me = Some(std::thread::current().id());
        let Role::Lead(lead) = inner.flights.join(hash, key, me) else {
            // Somebody asks for it, and has it that way.
            return Take::Left;
        };
        // In this order: what came before this load began is in memory, or it
        // left again and the row says so, or it was written since and this is
        // not current. What comes after supersedes the load.
        if inner.peek::<K>(lead.key()).is_some()
            || !account.away.is_spilled(hash)
            || !(offer.is_current)()
        {
            return Take::Left;
        }
        self.take_lead(lead, &offer.value)
    }

    /// The key of these bytes, if it is one that encodes to them.
    fn key_of(&self, bytes: &[u8]) -> Option<K> {
        let codec = &self.spill.codec;
        let key = guarded("read", || codec.decode_key(bytes)).ok()?;
        let again = guarded("read", || codec.encode_key(&key)).ok()?;
        (again == bytes).then_some(key)
    }

    /// Puts in what was read, and gives it to whoever waits for it.
    fn take_lead(&mut self, lead: Lead<'_, K, V>, bytes: &[u8]) -> Take {
        let (inner, account) = (self.inner, &*self.inner.account);
        let codec = &self.spill.codec;
        let decoded = guarded("read", || {
            let (header, value) = read_header(bytes)?;
            Ok((header, codec.decode(value)?))
        });
        let (header, value) = match decoded {
            Ok(decoded) => decoded,
            Err(error) => {
                account.tell_failure(&error);
                self.report.damaged += 1;
                return Take::Left;
            }
        };
        let Some(expires) = account.expiry_from_disk(header.expires_ms) else {
            count(&account.counters().expired);
            if account.away.outdate(lead.hash(), None) {
                account.forget(self.spill, lead.key());
            }
            return Take::Left;
        };
        if expires != NEVER {
            inner.has_ttl.store(true, Ordering::Relaxed);
        }
        let project = header.project.and_then(|name| inner.project_number(&name));
        let meta = Meta {
            priority: header.priority,
            project: project.unwrap_or_default(),
            expires,
            cost: header.cost,
        };
        let placed = self.place(&lead, value.clone(), meta);
        lead.finish(value);
        match placed {
            Placed::In(weight) => {
                count(&account.counters().loaded_back);
                self.report.count(header.priority, Bytes(weight));
                Take::Taken
            }
            Placed::NoRoom => {
                self.report.left += 1;
                Take::Left
            }
            Placed::Superseded => Take::Left,
        }
    }

    /// Puts a value into free room, unless a newer one came.
    fn place(&mut self, lead: &Lead<'_, K, V>, value: V, meta: Meta) -> Placed {
        let (inner, account) = (self.inner, &*self.inner.account);
        let class = meta.priority.index();
        let weight = inner.weigh(lead.key(), &value);
        let Some(piece) = self.piece_for(lead.key(), class, weight) else {
            return Placed::NoRoom;
        };
        if !self.ration.take(Bytes(weight)) {
            return Placed::NoRoom;
        }
        let Some(charge) = account.component.reserve_if_free(Bytes(weight)) else {
            return Placed::NoRoom;
        };
        let Some(taking) = inner.take_free_room(class, weight) else {
            return Placed::NoRoom;
        };
        // The entry gives it back when it leaves.
        std::mem::forget(charge);
        let slot = Slot::new(value, weight, account.next_id(), account.tick(), meta);
        let mut evicted = Evicted::default();
        let leaving = Leaving::and(inner, &mut evicted, (class, slot.id(), weight));
        inner.place(class, lead.key().clone(), slot, leaving.evicted, Some(lead));
        drop(taking);
        let was_superseded = lead.is_superseded();
        if let Some(held) = self.pieces.get_mut(piece) {
            *held = held.saturating_add(weight);
        }
        self.is_full |= !was_superseded && !leaving.evicted.is_empty();
        drop(leaving);
        if was_superseded {
            Placed::Superseded
        } else {
            Placed::In(weight)
        }
    }

    /// The piece of the class that the key is in, if it has so much room.
    fn piece_for(&mut self, key: &K, class: usize, weight: u64) -> Option<usize> {
        // What was stored as of another priority than its header says is not
        // counted here.
        if class != self.class {
            return None;
        }
        let inner = self.inner;
        if self.pieces.is_empty() {
            self.pieces = inner.pieces_of(class);
        }
        let opened = inner.class(class)?;
        let largest = |class: usize| inner.largest[class].load(Ordering::Relaxed);
        if class < KEPT && weight > largest(class) {
            return None;
        }
        let piece = opened.shard_index(key);
        let held = self.pieces.get(piece)?;
        (held.saturating_add(weight) <= opened.shard_capacity()).then_some(piece)
    }
}
