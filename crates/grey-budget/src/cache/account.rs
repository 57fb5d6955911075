//! What a cache shares with the hooks under it: its charge, its counters, its
//! clock, and the way to disk.
//!
//! Never called with a lock of ours held, except [`Account::leaves`], which
//! only notes a hash.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use crossbeam_utils::CachePadded;
use grey_model::Bytes;
use quick_cache::DefaultHashBuilder;

use super::away::{Arrival, Away, Begin, ROW_BYTES};
use super::leaving::GivesBack;
use super::slot::{Evicted, MOST_IDS, NEVER, Slot, TICK_MS};
use super::spill::{Codec, Header, SpillError, SpillTarget, read_header, write_header};
use crate::budget::Component;
use crate::clock::Clock;
use crate::sharded::{SHARDS, shard_of_this_thread};

/// The rows of spilled keys are charged in steps of so many bytes.
const ROWS_STEP: u64 = 4096;

/// What a cache did so far, and what it holds. With more than 32 threads at
/// once a few counts may be lost; `entries` and `bytes` are exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CacheStats {
    /// Reads that found a value, in memory or on disk.
    pub hits: u64,
    /// Reads that found none.
    pub misses: u64,
    /// Values that were put in.
    pub insertions: u64,
    /// Values that were dropped for others, or to give memory back.
    pub evictions: u64,
    /// Values that were written to the spill target.
    pub spills: u64,
    /// Values that could not be written, read or removed there.
    pub spill_failures: u64,
    /// Values that were read back because somebody asked for them.
    pub read_backs: u64,
    /// Values that were loaded back before anybody asked for them.
    pub loaded_back: u64,
    /// Values that were not taken.
    pub rejected: u64,
    /// Values that were dropped because their time was over.
    pub expired: u64,
    /// Values in memory.
    pub entries: u64,
    /// Their weight.
    pub bytes: Bytes,
    /// Keys that may be on disk.
    pub spilled_keys: u64,
}

/// One thread's counters, in a line of their own.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) insertions: AtomicU64,
    pub(super) evictions: AtomicU64,
    pub(super) spills: AtomicU64,
    pub(super) spill_failures: AtomicU64,
    pub(super) read_backs: AtomicU64,
    pub(super) loaded_back: AtomicU64,
    pub(super) rejected: AtomicU64,
    pub(super) expired: AtomicU64,
}

/// Adds one to a counter of this thread. Reading and writing apart is three
/// times as fast as adding at once, and loses a count only where more threads
/// than [`SHARDS`] share a cell.
#[inline]
pub(super) fn count(counter: &AtomicU64) {
    count_many(counter, 1);
}

#[inline]
fn count_many(counter: &AtomicU64, many: u64) {
    let before = counter.load(Ordering::Relaxed);
    counter.store(before.wrapping_add(many), Ordering::Relaxed);
}

/// A thread's block of entry numbers, and how much of it is left.
#[derive(Clone, Copy)]
struct Numbers {
    next: u64,
    left: u32,
}

/// Entry numbers are handed to threads in blocks of so many.
const NUMBERS: u32 = 1 << 12;

/// The first number that no thread has. It would take years to wrap.
static NUMBERED: AtomicU64 = AtomicU64::new(0);

/// How many caches there were so far.
static CACHES: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static MINE: Cell<Numbers> = const { Cell::new(Numbers { next: 0, left: 0 }) };
}

/// A number that no other entry of any cache has or had.
#[inline]
fn next_number() -> u64 {
    let mut numbers = MINE.get();
    if numbers.left == 0 {
        numbers.next = NUMBERED.fetch_add(u64::from(NUMBERS), Ordering::Relaxed);
        numbers.left = NUMBERS;
    }
    MINE.set(Numbers {
        next: numbers.next.wrapping_add(1),
        left: numbers.left - 1,
    });
    numbers.next % MOST_IDS
}

/// The way to disk.
pub(super) struct SpillSide<K, V> {
    pub(super) target: Arc<dyn SpillTarget>,
    pub(super) codec: Box<dyn Codec<K, V>>,
    /// Whether what makes room for others is written, and not only what is
    /// reclaimed by spilling.
    pub(super) on_evict: bool,
}

pub(super) struct Account<K, V> {
    pub(super) component: Component,
    /// Told apart from every other cache of this process.
    pub(super) identity: u64,
    counters: Box<[CachePadded<Counters>; SHARDS]>,
    pub(super) clock: Arc<dyn Clock>,
    tick: AtomicU32,
    pub(super) spill: Option<SpillSide<K, V>>,
    pub(super) away: Away,
    rows_charged: Mutex<u64>,
    pub(super) hasher: DefaultHashBuilder,
    hash: fn(&DefaultHashBuilder, &K) -> u64,
    /// How many resize a class now, so that nobody else settles what falls out.
    resizing: AtomicUsize,
    pub(super) projects: Mutex<Vec<Arc<str>>>,
    warned: AtomicBool,
}

impl<K, V> Account<K, V> {
    pub(super) fn new(
        component: Component,
        clock: Arc<dyn Clock>,
        spill: Option<SpillSide<K, V>>,
        hash: fn(&DefaultHashBuilder, &K) -> u64,
    ) -> Self {
        let account = Self {
            component,
            identity: CACHES.fetch_add(1, Ordering::Relaxed),
            counters: Box::new(std::array::from_fn(|_| CachePadded::default())),
            clock,
            tick: AtomicU32::new(1),
            spill,
            away: Away::default(),
            rows_charged: Mutex::new(0),
            hasher: DefaultHashBuilder::default(),
            hash,
            resizing: AtomicUsize::new(0),
            projects: Mutex::new(Vec::new()),
            warned: AtomicBool::new(false),
        };
        account.look_at_clock();
        account
    }

    #[inline]
    pub(super) fn counters(&self) -> &Counters {
        &self.counters[shard_of_this_thread()]
    }

    /// The number of the next entry, which is counted.
    #[inline]
    pub(super) fn next_id(&self) -> u64 {
        count(&self.counters().insertions);
        next_number()
    }

    /// The tick as it was when the clock was last looked at.
    #[inline]
    pub(super) fn tick(&self) -> u32 {
        self.tick.load(Ordering::Relaxed)
    }

    /// Reads the clock. Tick 0 never is, nor is the last one.
    pub(super) fn look_at_clock(&self) -> u32 {
        let ticks = self.clock.now().as_millis() / u128::from(TICK_MS) + 1;
        let tick = u32::try_from(ticks).unwrap_or(NEVER).min(NEVER - 1);
        self.tick.fetch_max(tick, Ordering::Relaxed);
        tick
    }

    pub(super) fn hash(&self, key: &K) -> u64 {
        (self.hash)(&self.hasher, key)
    }

    /// The project's name.
    pub(super) fn project_name(&self, number: u32) -> Option<Arc<str>> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        let projects = self.projects.lock().unwrap_or_else(PoisonError::into_inner);
        projects.get(index).cloned()
    }

    pub(super) fn is_resizing(&self) -> bool {
        self.resizing.load(Ordering::SeqCst) > 0
    }

    /// While it lives, what `quick_cache` drops on its own is settled too.
    pub(super) fn resizing(&self) -> Resizing<'_> {
        self.resizing.fetch_add(1, Ordering::SeqCst);
        Resizing(&self.resizing)
    }

    /// Whether entries that were evicted are written or dropped: others are
    /// not even copied.
    #[inline]
    pub(super) const fn is_handed_over(&self) -> bool {
        std::mem::needs_drop::<(K, V)>() || self.spill.is_some()
    }

    /// Notes that an entry leaves memory for the disk. Called under a lock.
    #[inline]
    pub(super) fn leaves(&self, key: &K, id: u64) {
        if self.spill.as_ref().is_some_and(|spill| spill.on_evict) {
            self.away.leave(self.hash(key), id);
        }
    }

    /// Writes what is to be written of what left, drops all of it, and gives
    /// the charge back.
    #[inline]
    pub(super) fn settle(&self, evicted: &mut Evicted<K, V>) {
        if evicted.is_empty() {
            return;
        }
        let weight = std::mem::take(&mut evicted.weight);
        let evictions = std::mem::take(&mut evicted.evictions);
        if evictions > 0 {
            count_many(&self.counters().evictions, evictions);
        }
        if self.is_handed_over() {
            // After the entries went, and also when a key panics while they do.
            let gives_back = GivesBack {
                component: &self.component,
                weight,
            };
            self.settle_entries(evicted);
            drop(gives_back);
        } else {
            self.component.release(weight);
        }
    }

    fn settle_entries(&self, evicted: &mut Evicted<K, V>) {
        while let Some((key, slot)) = evicted.pop() {
            if let Some(spill) = &self.spill {
                self.write_if_leaving(spill, &key, &slot);
            }
            self.drop_entry(key, slot);
        }
    }

    /// Drops what is the program's; a panic there ends nothing of ours.
    #[inline]
    pub(super) fn drop_entry(&self, key: K, slot: Slot<V>) {
        if !std::mem::needs_drop::<(K, V)>() {
            return;
        }
        if catch_unwind(AssertUnwindSafe(|| drop((key, slot)))).is_err() {
            tracing::error!(
                cache = self.component.name(),
                "an entry panicked when it was dropped"
            );
        }
    }

    fn write_if_leaving(&self, spill: &SpillSide<K, V>, key: &K, slot: &Slot<V>) {
        let hash = self.hash(key);
        if self.away.is_leaving(hash, slot.id()) {
            self.write(spill, hash, key, slot);
        }
    }

    /// Writes an entry that was noted as leaving. Tells how many bytes it
    /// wrote, when these are now what a reader gets.
    pub(super) fn write(
        &self,
        spill: &SpillSide<K, V>,
        hash: u64,
        key: &K,
        slot: &Slot<V>,
    ) -> Option<u64> {
        match self.away.begin(hash, slot.id()) {
            Begin::Write => {}
            Begin::Remove => {
                self.forget(spill, key);
                return None;
            }
            Begin::Nothing => return None,
        }
        let written = guarded("write", || self.encode_and_store(spill, key, slot));
        match written {
            Ok((bytes, name)) => {
                if self.away.arrive(hash, slot.id()) == Arrival::Stale {
                    self.forget_written(spill, &name);
                    self.away.end(hash);
                    return None;
                }
                count(&self.counters().spills);
                self.charge_rows();
                Some(bytes)
            }
            Err(error) => {
                self.tell_failure(&error);
                self.away.abandon(hash, slot.id());
                // An older one may lie there, which the next run must not find.
                self.forget(spill, key);
                None
            }
        }
    }

    fn encode_and_store(
        &self,
        spill: &SpillSide<K, V>,
        key: &K,
        slot: &Slot<V>,
    ) -> Result<(u64, Vec<u8>), SpillError> {
        let name = spill.codec.encode_key(key)?;
        let project = self.project_name(slot.project());
        let expires = self.expiry_for_disk(slot.expires);
        let mut out = write_header(slot.priority(), slot.cost(), expires, project.as_deref());
        spill.codec.encode(&slot.value, &mut out)?;
        let bytes = u64::try_from(out.len()).unwrap_or(u64::MAX);
        spill
            .target
            .store(&name, slot.priority(), project.as_deref(), out.into())?;
        Ok((bytes, name))
    }

    /// When a tick comes, as the time of day in milliseconds: ticks mean
    /// nothing to the next run. 0 for never.
    fn expiry_for_disk(&self, expires: u32) -> u64 {
        if expires == NEVER {
            return 0;
        }
        let ticks = expires.saturating_sub(self.look_at_clock());
        self.wall_ms()
            .saturating_add(u64::from(ticks).saturating_mul(TICK_MS))
            .max(1)
    }

    /// The tick for what [`Self::expiry_for_disk`] wrote; `None` when it is over.
    pub(super) fn expiry_from_disk(&self, expires_ms: u64) -> Option<u32> {
        if expires_ms == 0 {
            return Some(NEVER);
        }
        let left = expires_ms.checked_sub(self.wall_ms())?.div_ceil(TICK_MS);
        let ticks = u32::try_from(left).unwrap_or(NEVER);
        (ticks > 0).then(|| self.look_at_clock().saturating_add(ticks).min(NEVER - 1))
    }

    fn wall_ms(&self) -> u64 {
        let since = self.clock.wall().duration_since(UNIX_EPOCH);
        u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
    }

    /// Reads a value back; `None` when there is none, or none that can be read.
    pub(super) fn read(&self, spill: &SpillSide<K, V>, key: &K) -> Option<(Header, V)> {
        let read = guarded("read", || {
            let name = spill.codec.encode_key(key)?;
            let Some(bytes) = spill.target.load(&name)? else {
                return Ok(None);
            };
            let (header, value) = read_header(&bytes)?;
            Ok(Some((header, spill.codec.decode(value)?)))
        });
        read.unwrap_or_else(|error| {
            self.tell_failure(&error);
            None
        })
    }

    /// Removes what is on disk for `key`, as [`Away`] told to.
    pub(super) fn forget(&self, spill: &SpillSide<K, V>, key: &K) {
        match guarded("remove", || spill.codec.encode_key(key)) {
            Ok(name) => self.forget_written(spill, &name),
            Err(error) => self.tell_failure(&error),
        }
        self.away.end(self.hash(key));
        self.charge_rows();
    }

    fn forget_written(&self, spill: &SpillSide<K, V>, name: &[u8]) {
        if let Err(error) = guarded("remove", || spill.target.remove(name)) {
            self.tell_failure(&error);
        }
    }

    /// Warns once; then the counter tells.
    pub(super) fn tell_failure(&self, error: &SpillError) {
        count(&self.counters().spill_failures);
        let cache = self.component.name();
        if self.warned.swap(true, Ordering::Relaxed) {
            tracing::debug!(
                cache,
                error = error as &dyn std::error::Error,
                "spill failed"
            );
        } else {
            tracing::warn!(
                cache,
                error = error as &dyn std::error::Error,
                "spill failed; further failures are only counted"
            );
        }
    }

    /// Charges what the table of spilled keys takes, in steps.
    pub(super) fn charge_rows(&self) {
        // What is given back may serve somebody, whose waker may ask this cache.
        crate::wake::wake_after(|| {
            let rows = self.rows_charged.lock();
            let mut charged = rows.unwrap_or_else(PoisonError::into_inner);
            let bytes = self.away.rows().saturating_mul(ROW_BYTES);
            let due = bytes.div_ceil(ROWS_STEP).saturating_mul(ROWS_STEP);
            if due > *charged {
                // The table is there already, so its charge cannot be refused.
                std::mem::forget(self.component.overdraw(Bytes(due - *charged)));
            } else {
                self.component.release(*charged - due);
            }
            *charged = due;
        });
    }

    /// Gives back what the table was charged; for the end.
    pub(super) fn release_rows(&self) {
        let mut charged = self
            .rows_charged
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.component.release(std::mem::take(&mut charged));
    }

    /// Sums the counters of all threads.
    pub(super) fn stats(&self) -> CacheStats {
        let sum = |of: fn(&Counters) -> &AtomicU64| {
            self.counters.iter().fold(0_u64, |sum, counters| {
                sum.wrapping_add(of(counters).load(Ordering::Relaxed))
            })
        };
        CacheStats {
            hits: sum(|counters| &counters.hits),
            misses: sum(|counters| &counters.misses),
            insertions: sum(|counters| &counters.insertions),
            evictions: sum(|counters| &counters.evictions),
            spills: sum(|counters| &counters.spills),
            spill_failures: sum(|counters| &counters.spill_failures),
            read_backs: sum(|counters| &counters.read_backs),
            loaded_back: sum(|counters| &counters.loaded_back),
            rejected: sum(|counters| &counters.rejected),
            expired: sum(|counters| &counters.expired),
            entries: 0,
            bytes: Bytes::ZERO,
            spilled_keys: self.away.rows(),
        }
    }
}

/// See [`Account::resizing`].
pub(super) struct Resizing<'a>(&'a AtomicUsize);

impl Drop for Resizing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Calls the program's codec and target; a panic becomes an error.
pub(super) fn guarded<T>(
    what: &'static str,
    call: impl FnOnce() -> Result<T, SpillError>,
) -> Result<T, SpillError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or(Err(SpillError::Panicked { what }))
}
