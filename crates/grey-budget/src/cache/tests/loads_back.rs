//! Facts about what comes back from disk before anybody asks for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use grey_model::{Bytes, Priority};

use super::at;
use super::kit::{HandClock, MapTarget, OVERHEAD};
use crate::budget::Budget;
use crate::cache::{
    Cache, CacheBuilder, Codec, Offer, OfferTaker, Offered, PostcardCodec, PostcardValueCodec,
    SpillError, SpillTarget,
};
use crate::clock::Clock;
use crate::load_back::{LoadBackEnd, LoadBackRation, LoadBackReport};
use crate::reclaimer::{ReclaimMode, ReclaimRequest, Reclaimer as _, Stop};
use crate::spill::{SpillOptions, SpillStore, SpillTags, Take};
use crate::testkit::{Fault, FaultyDisk, Operation};

type Hook = Box<dyn Fn(u64) + Send + Sync>;

/// Postcard, and tells somebody what it decodes.
#[derive(Clone, Default)]
struct Told {
    key: Arc<Mutex<Option<Hook>>>,
    value: Arc<Mutex<Option<Hook>>>,
}

fn tell(hook: &Mutex<Option<Hook>>, decoded: u64) {
    // Told once: what it does may decode, too.
    let taken = hook.lock().unwrap().take();
    if let Some(hook) = taken {
        hook(decoded);
    }
}

impl Codec<u64, u64> for Told {
    fn encode_key(&self, key: &u64) -> Result<Vec<u8>, SpillError> {
        PostcardCodec.encode_key_of(key)
    }

    fn encode(&self, value: &u64, out: &mut Vec<u8>) -> Result<(), SpillError> {
        Codec::<u64, u64>::encode(&PostcardCodec, value, out)
    }

    fn decode(&self, bytes: &[u8]) -> Result<u64, SpillError> {
        let value = Codec::<u64, u64>::decode(&PostcardCodec, bytes)?;
        tell(&self.value, value);
        Ok(value)
    }

    fn decodes_keys(&self) -> bool {
        true
    }

    fn decode_key(&self, bytes: &[u8]) -> Result<u64, SpillError> {
        let key = Codec::<u64, u64>::decode_key(&PostcardCodec, bytes)?;
        tell(&self.key, key);
        Ok(key)
    }
}

trait EncodesKeys {
    fn encode_key_of(&self, key: &u64) -> Result<Vec<u8>, SpillError>;
}

impl EncodesKeys for PostcardCodec {
    fn encode_key_of(&self, key: &u64) -> Result<Vec<u8>, SpillError> {
        Codec::<u64, u64>::encode_key(self, key)
    }
}

/// A cache over a real store on a disk that fails when it is told to.
struct Spilling {
    cache: Cache<u64, u64>,
    store: SpillStore,
    budget: Budget,
    disk: FaultyDisk,
    clock: Arc<HandClock>,
    codec: Told,
    _directory: tempfile::TempDir,
}

fn spilling(capacity: u64) -> Spilling {
    spilling_in(capacity, |_, builder| builder)
}

fn spilling_in(
    capacity: u64,
    change: impl FnOnce(&Budget, CacheBuilder<u64, u64>) -> CacheBuilder<u64, u64>,
) -> Spilling {
    let directory = tempfile::tempdir().unwrap();
    let budget = Budget::new(Bytes::from_mib(64)).unwrap();
    let component = budget.component("spill").register().unwrap();
    let disk = FaultyDisk::new();
    let options = SpillOptions::new(directory.path(), component)
        .free_floor(Bytes::ZERO)
        .disk(Arc::new(disk.clone()));
    let store = SpillStore::open(options).unwrap();
    let (codec, clock) = (Told::default(), Arc::new(HandClock::default()));
    let builder = CacheBuilder::new(&budget, "cache", Bytes(capacity))
        .clock(Arc::clone(&clock) as Arc<dyn Clock>)
        .expected_entries(capacity / OVERHEAD)
        .spill(Arc::new(store.clone()), codec.clone());
    let cache = change(&budget, builder)
        .build(|_, value| Bytes(*value))
        .unwrap();
    Spilling {
        cache,
        store,
        budget,
        disk,
        clock,
        codec,
        _directory: directory,
    }
}

impl Spilling {
    /// Puts in and spills, one after the other.
    fn spill(&self, keys: impl IntoIterator<Item = u64>, priority: Priority) {
        for key in keys {
            self.cache.insert_with(key, key, at(priority)).unwrap();
            self.spill_all();
        }
    }

    fn spill_all(&self) {
        let all = ReclaimRequest::new(Bytes(u64::MAX), ReclaimMode::Spill);
        self.cache.reclaim(&all, &Stop::new());
        assert_eq!(self.cache.weight(), Bytes::ZERO);
    }

    /// Loads back, the dearest first.
    fn load(&self, ration: &LoadBackRation) -> LoadBackReport {
        let mut report = LoadBackReport::default();
        for priority in Priority::ALL.into_iter().rev() {
            report.add(&self.cache.load_back(priority, ration));
        }
        report
    }

    fn load_all(&self) -> LoadBackReport {
        self.load(&LoadBackRation::of(Bytes(u64::MAX)))
    }

    fn stored(&self) -> u64 {
        self.store.len().try_into().unwrap()
    }

    fn held(&self) -> Vec<u64> {
        (0..100).filter(|key| self.cache.contains(key)).collect()
    }
}

#[test]
fn the_dearest_come_back_first_and_of_these_what_was_spilled_last() {
    let setup = spilling(1_000_000);
    setup.spill(0..10, Priority::Low);
    setup.spill(10..20, Priority::High);
    setup.spill(20..30, Priority::Medium);
    setup.store.flush().unwrap();
    // As much as fifteen of them weigh.
    let ration = LoadBackRation::of(Bytes(15 * (OVERHEAD + 30)));
    let done = setup.load(&ration);
    let held = setup.held();
    assert_eq!(held[..10], (10..20).collect::<Vec<_>>(), "all that is high");
    assert_eq!(*held.last().unwrap(), 29);
    let medium = done.of(Priority::Medium).values;
    assert!((4..=6).contains(&medium), "{done:?}");
    let newest: Vec<u64> = (30 - medium..30).collect();
    assert_eq!(held[10..], newest);
    assert_eq!(done.of(Priority::Low).values, 0);
    assert_eq!(done.of(Priority::High).values, 10);
    assert_eq!(done.bytes(), setup.cache.weight());
    assert_eq!(setup.cache.stats().loaded_back, done.values());
    assert_eq!(setup.stored(), 30 - done.values());
    for key in 0..30 {
        assert_eq!(setup.cache.get(&key), Some(key), "the others are on disk");
    }
}

#[test]
fn what_came_back_is_gone_from_the_disk_and_is_read_without_it() {
    let setup = spilling(1_000_000);
    setup.spill(0..20, Priority::Medium);
    assert_eq!(setup.load_all().values(), 20);
    assert!(setup.store.is_empty());
    let stats = setup.cache.stats();
    assert_eq!((stats.spilled_keys, stats.read_backs), (0, 0));
    assert_eq!(setup.held().len(), 20);
    assert_eq!(
        setup.load_all(),
        LoadBackReport::default(),
        "once is enough"
    );
}

#[test]
fn a_value_that_is_put_in_or_removed_meanwhile_is_not_undone() {
    for removes in [false, true] {
        let setup = spilling(1_000_000);
        setup.spill([7], Priority::Medium);
        let cache = setup.cache.clone();
        *setup.codec.value.lock().unwrap() = Some(Box::new(move |_| {
            if removes {
                cache.remove(&7);
            } else {
                cache.insert(7, 1000).unwrap();
            }
        }));
        let done = setup.load_all();
        assert_eq!(done.values(), 0);
        let expected = (!removes).then_some(1000);
        assert_eq!(setup.cache.get(&7), expected);
        setup.spill_all();
        assert_eq!(setup.cache.get(&7), expected, "on disk, too");
        let component = setup.cache.component();
        setup.cache.remove(&7);
        setup.budget.settle();
        assert!(
            component.reserved() <= Bytes(4096),
            "{}",
            component.reserved()
        );
    }
}

#[test]
fn a_newer_value_that_was_spilled_meanwhile_is_not_replaced_by_the_older() {
    let setup = spilling(1_000_000);
    setup.spill([7], Priority::Medium);
    let cache = setup.cache.clone();
    *setup.codec.key.lock().unwrap() = Some(Box::new(move |_| {
        cache.insert(7, 1000).unwrap();
        let all = ReclaimRequest::new(Bytes(u64::MAX), ReclaimMode::Spill);
        cache.reclaim(&all, &Stop::new());
    }));
    assert_eq!(setup.load_all().values(), 0);
    assert_eq!(setup.cache.get(&7), Some(1000));
}

#[test]
fn who_asks_while_it_is_loaded_back_gets_the_same_without_another_read() {
    let setup = spilling(1_000_000);
    setup.spill([7], Priority::Medium);
    setup.store.flush().unwrap();
    let (told, heard) = mpsc::channel();
    let cache = setup.cache.clone();
    *setup.codec.value.lock().unwrap() = Some(Box::new(move |_| {
        let (cache, told) = (cache.clone(), told.clone());
        let (began, begins) = mpsc::channel();
        std::thread::spawn(move || {
            began.send(()).unwrap();
            told.send(cache.get(&7)).unwrap();
        });
        begins.recv().unwrap();
    }));
    assert_eq!(setup.load_all().values(), 1);
    assert_eq!(heard.recv_timeout(Duration::from_secs(60)), Ok(Some(7)));
    assert_eq!(setup.store.statistics().reads, 1);
}

#[test]
fn nothing_is_dropped_for_what_comes_back() {
    let setup = spilling(10_000);
    let fits = 10_000 / (OVERHEAD + 50);
    setup.spill(0..fits, Priority::Medium);
    for key in 1000..1000 + fits / 2 {
        setup.cache.insert(key, 50).unwrap();
    }
    let before = setup.cache.stats();
    let done = setup.load_all();
    let after = setup.cache.stats();
    assert!(done.values() > 0 && done.values() < fits, "{done:?}");
    assert_eq!(after.evictions, before.evictions);
    assert_eq!(after.spills, before.spills);
    assert!(setup.cache.weight() <= setup.cache.capacity());
    for key in 1000..1000 + fits / 2 {
        assert!(setup.cache.contains(&key), "{key}");
    }
    // What did not fit is still on disk.
    for key in 0..fits {
        assert_eq!(setup.cache.get(&key), Some(key));
    }
}

#[test]
fn a_piece_of_the_cache_that_is_full_drops_nothing_while_others_have_room() {
    let setup = spilling(8_000_000);
    for key in 0..250 {
        setup.cache.insert(key, 25_000).unwrap();
    }
    setup.spill_all();
    for key in 1000..1250 {
        setup.cache.insert(key, 25_000).unwrap();
    }
    let before = setup.cache.stats();
    let done = setup.load_all();
    let after = setup.cache.stats();
    assert!(done.values() > 0 && done.left > 0, "{done:?}");
    assert_eq!(after.evictions, before.evictions);
    assert_eq!(after.entries, before.entries + done.values());
}

#[test]
fn a_budget_that_is_full_is_not_asked_to_make_room() {
    let setup = spilling(1_000_000);
    setup.spill(0..10, Priority::Medium);
    let other = setup.budget.component("other").register().unwrap();
    let _held = other.reserve(other.available()).unwrap();
    let (shortages, _) = setup.budget.shortage();
    let refusals = setup.budget.refusals();
    assert_eq!(setup.load_all().values(), 0);
    assert_eq!(setup.budget.shortage().0, shortages);
    assert_eq!(setup.budget.refusals(), refusals);
    assert_eq!(setup.store.len(), 10);
}

#[test]
fn nothing_is_read_for_a_cache_whose_tenant_is_full() {
    let limit = Bytes::from_mib(2);
    let mut other = None;
    let setup = spilling_in(1_000_000, |budget, builder| {
        let tenant = budget.tenant("tenant", Priority::Medium, Some(limit));
        let others = budget.component("other").tenant(&tenant).register();
        other = Some(others.unwrap());
        builder.tenant(&tenant)
    });
    setup.spill(0..10, Priority::Medium);
    setup.store.flush().unwrap();
    let other = other.unwrap();
    let held = other.reserve(other.available()).unwrap();
    assert_eq!(setup.load_all().values(), 0);
    assert_eq!(setup.store.statistics().reads, 0);
    drop(held);
    assert_eq!(setup.load_all().values(), 10);
}

/// Offers all that it has at once.
struct Pushy(MapTarget);

impl SpillTarget for Pushy {
    fn store(
        &self,
        key: &[u8],
        priority: Priority,
        project: Option<&str>,
        value: Arc<[u8]>,
    ) -> Result<(), SpillError> {
        self.0.store(key, priority, project, value)
    }

    fn load(&self, key: &[u8]) -> Result<Option<Arc<[u8]>>, SpillError> {
        self.0.load(key)
    }

    fn remove(&self, key: &[u8]) -> Result<(), SpillError> {
        self.0.remove(key)
    }

    fn offers(&self) -> bool {
        true
    }

    fn offer(&self, _: Priority, taker: &mut dyn OfferTaker) -> Result<Offered, SpillError> {
        taker.room();
        let all: Vec<_> = self.0.map.lock().unwrap().clone().into_iter().collect();
        for (key, value) in all {
            let offer = Offer {
                key: &key,
                value,
                is_current: &|| true,
            };
            if taker.take(offer) == Take::Taken {
                self.0.map.lock().unwrap().remove(&key);
            }
        }
        Ok(Offered::default())
    }
}

#[test]
fn a_target_that_offers_all_at_once_is_bounded_by_the_slice() {
    let budget = Budget::new(Bytes::from_mib(512)).unwrap();
    let target = Arc::new(Pushy(MapTarget::default()));
    let cache = CacheBuilder::new(&budget, "cache", Bytes::from_mib(256))
        .largest_value(Bytes::from_mib(2))
        .spill(Arc::<Pushy>::clone(&target), PostcardCodec)
        .build(|_: &u64, value: &u64| Bytes(*value))
        .unwrap();
    for key in 0..20 {
        cache.insert(key, 1 << 20).unwrap();
    }
    let all = ReclaimRequest::new(Bytes(u64::MAX), ReclaimMode::Spill);
    cache.reclaim(&all, &Stop::new());
    assert_eq!(target.0.len(), 20);
    // There is room once; then the level rises.
    let asked = AtomicU64::new(0);
    let judge = move || match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Ok(Bytes::from_mib(256)),
        _ => Err(LoadBackEnd::Pressure),
    };
    let until = Instant::now() + Duration::from_secs(60);
    let ration = LoadBackRation::judged(Box::new(judge), until, false);
    let done = cache.load_back(Priority::Medium, &ration);
    assert_eq!(
        (done.values(), ration.end()),
        (4, Some(LoadBackEnd::Pressure))
    );
    assert_eq!(target.0.len(), 16);
}

#[test]
fn a_damaged_record_is_passed_over_and_counted() {
    let setup = spilling(1_000_000);
    setup.spill(0..10, Priority::Medium);
    setup.store.flush().unwrap();
    setup
        .disk
        .fail(Operation::Read, 0, Fault::FlippedBit(8 * 70));
    let done = setup.load_all();
    assert!(done.damaged > 0, "{done:?}");
    assert_eq!(done.values() + done.damaged, 10);
    assert_eq!(setup.stored(), done.damaged, "it stays");
}

#[test]
fn a_value_that_cannot_be_decoded_stays_and_is_counted() {
    let setup = spilling(1_000_000);
    setup.spill([5], Priority::Medium);
    let name = PostcardCodec.encode_key_of(&5).unwrap();
    let rubbish: Arc<[u8]> = b"\x09".as_slice().into();
    setup
        .store
        .write(&name, SpillTags::new(Priority::Medium), rubbish)
        .unwrap();
    let done = setup.load_all();
    assert_eq!((done.damaged, done.values()), (1, 0));
    assert_eq!(setup.cache.stats().spill_failures, 1);
    assert_eq!(setup.store.len(), 1);
}

#[test]
fn keys_of_others_in_the_same_store_are_left_alone() {
    let setup = spilling(1_000_000);
    setup.spill([5], Priority::Medium);
    let theirs: [&[u8]; 4] = [b"", b"large_object", b"\xff\xff\xff", b"\x07"];
    let value: Arc<[u8]> = b"theirs".as_slice().into();
    for key in theirs {
        let tags = SpillTags::new(Priority::Medium);
        setup.store.write(key, tags, Arc::clone(&value)).unwrap();
    }
    let done = setup.load_all();
    // The last one is a key of ours, which we never spilled.
    assert_eq!((done.values(), done.unknown_keys, done.damaged), (1, 3, 0));
    for key in theirs {
        assert_eq!(setup.store.read(key).unwrap(), Some(Arc::clone(&value)));
    }
}

#[test]
fn what_is_expired_does_not_come_back() {
    let setup = spilling(1_000_000);
    let short = at(Priority::Medium).ttl(Duration::from_secs(5));
    setup.cache.insert_with(1, 1, short).unwrap();
    setup.cache.insert_with(2, 2, at(Priority::Medium)).unwrap();
    setup.spill_all();
    setup.clock.advance(Duration::from_secs(6));
    assert_eq!(setup.load_all().values(), 1);
    assert_eq!(setup.held(), [2]);
    assert_eq!(setup.cache.stats().expired, 1);
    assert!(setup.store.is_empty());
}

#[test]
fn loading_ends_in_the_middle_when_it_is_told_to() {
    let setup = spilling(1_000_000);
    setup.spill(0..20, Priority::Medium);
    let ration = Arc::new(LoadBackRation::of(Bytes(u64::MAX)));
    let ended = Arc::clone(&ration);
    *setup.codec.value.lock().unwrap() =
        Some(Box::new(move |_| ended.finish(LoadBackEnd::Pressure)));
    let done = setup.load(&ration);
    assert_eq!(done.values(), 0);
    assert_eq!(setup.store.len(), 20, "nothing is lost");
    assert_eq!(setup.load_all().values(), 20);
}

#[test]
fn while_the_budget_is_closed_nothing_comes_back() {
    let setup = spilling(1_000_000);
    setup.spill(0..5, Priority::Medium);
    setup
        .budget
        .set_admission(crate::budget::Admission::NoRefill);
    assert_eq!(setup.load_all().values(), 0);
    setup.budget.set_admission(crate::budget::Admission::Open);
    assert_eq!(setup.load_all().values(), 5);
}

#[test]
fn a_cache_whose_keys_cannot_be_decoded_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let budget = Budget::new(Bytes::from_mib(64)).unwrap();
    let component = budget.component("spill").register().unwrap();
    let options = SpillOptions::new(directory.path(), component).free_floor(Bytes::ZERO);
    let store = Arc::new(SpillStore::open(options).unwrap());
    let number = AtomicU64::new(0);
    let build = |change: &dyn Fn(CacheBuilder<u64, u64>) -> CacheBuilder<u64, u64>| {
        let name = format!("cache {}", number.fetch_add(1, Ordering::Relaxed));
        let builder = CacheBuilder::new(&budget, &name, Bytes(100_000));
        let cache = change(builder).build(|_, value| Bytes(*value)).unwrap();
        cache.loads_back()
    };
    assert!(build(&|builder| builder.spill(store.clone(), PostcardCodec)));
    assert!(!build(
        &|builder| builder.spill(store.clone(), PostcardValueCodec)
    ));
    assert!(!build(&|builder| {
        builder
            .spill(store.clone(), PostcardCodec)
            .without_load_back()
    }));
    assert!(!build(&|builder| builder));
    assert!(PostcardValueCodec.decode_no_key());
}

trait DecodesNoKey {
    fn decode_no_key(&self) -> bool;
}

impl DecodesNoKey for PostcardValueCodec {
    fn decode_no_key(&self) -> bool {
        Codec::<u64, u64>::decode_key(self, b"\x01").is_err()
    }
}

#[test]
fn what_was_removed_before_it_was_noted_as_leaving_does_not_leave() {
    let spilling = spilling(1 << 20);
    let inner = &spilling.cache.inner;
    spilling.cache.insert(1, 10).unwrap();
    let (_, slot) = inner.peek(&1).unwrap();
    let hash = inner.account.hash(&1);
    assert!(inner.leaves_unchanged(hash, &1, slot.id()));
    inner.account.away.abandon(hash, slot.id());
    spilling.cache.remove(&1);
    assert!(!inner.leaves_unchanged(hash, &1, slot.id()));
    assert!(!inner.account.away.is_leaving(hash, slot.id()));
}
