//! Facts about a whole program whose caches spill and are whole again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use grey_model::{Bytes, Level, Priority, SystemLevel};

use super::*;
use crate::cache::{Cache, CacheBuilder, EntryOptions, PostcardCodec};
use crate::load_back::{LoadBackEnd, LoadBackReport};
use crate::scripted_loader::ScriptedLoader;
use crate::shutdown::{Shutdown, ShutdownReason, ShutdownSettings};
use crate::spill::{SpillOptions, SpillStore};
use crate::testkit::{FakeClock, FakeSource, PressureScript};
use crate::wait_until::wait_until;

const SECOND: Duration = Duration::from_secs(1);

/// A program of 100 MiB with a cache, on a clock and a source of our own.
struct Program {
    manager: MemoryManager,
    cache: Arc<Cache<u64, Vec<u8>>>,
    clock: FakeClock,
    source: FakeSource,
    shutdown: Shutdown,
    _registration: crate::controller::Registration,
    _directory: tempfile::TempDir,
}

fn program(change: impl FnOnce(MemoryManagerBuilder) -> MemoryManagerBuilder) -> Program {
    let (clock, source) = (FakeClock::new(), FakeSource::new(Bytes::from_mib(10)));
    let shutdown = Shutdown::new();
    let builder = MemoryManager::builder(MemoryLimits::of(Bytes::from_mib(100)))
        .clock(Arc::new(clock.clone()))
        .source(Arc::new(source.clone()))
        .shutdown(&shutdown)
        .without_pressure_watch();
    let manager = change(builder).build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let component = manager.budget().component("spill").register().unwrap();
    let options = SpillOptions::new(directory.path(), component)
        .free_floor(Bytes::ZERO)
        .staging(Bytes::from_mib(6));
    let store = SpillStore::open(options).unwrap();
    let cache = CacheBuilder::new(manager.budget(), "cache", Bytes::from_mib(40))
        .spill(Arc::new(store), PostcardCodec)
        .build(|_: &u64, value: &Vec<u8>| Bytes(value.capacity() as u64))
        .unwrap();
    let cache = Arc::new(cache);
    let registration = manager.controller().register(Arc::<_>::clone(&cache) as _);
    Program {
        manager,
        cache,
        clock,
        source,
        shutdown,
        _registration: registration,
        _directory: directory,
    }
}

const KEYS: u64 = 300;

fn value(key: u64) -> Vec<u8> {
    vec![key.to_le_bytes()[0]; 100 << 10]
}

impl Program {
    fn fill(&self) {
        for key in 0..KEYS {
            let priority = Priority::ALL[usize::try_from(key % 3).unwrap()];
            let options = EntryOptions::new().priority(priority);
            self.cache.insert_with(key, value(key), options).unwrap();
        }
        assert_eq!(self.held(), KEYS);
    }

    fn held(&self) -> u64 {
        let held = (0..KEYS).filter(|key| self.cache.contains(key)).count();
        u64::try_from(held).unwrap()
    }

    /// The process weighs so much from so many seconds on, tick by tick.
    fn play(&self, steps: &[(u32, u64)]) {
        let steps = steps
            .iter()
            .map(|(at, mib)| (SECOND * *at, Bytes::from_mib(*mib)));
        let script = PressureScript::new(steps).unwrap();
        for _ in script.play(&self.clock, &self.source) {
            self.manager.controller().tick();
        }
    }

    /// Hard pressure, which is over; the level was normal for five seconds.
    fn spill_and_calm(&self) {
        self.play(&[(1, 94)]);
        assert_eq!(self.manager.controller().level(), Level::Hard);
        assert!(self.held() < KEYS, "nothing was spilled");
        self.play(&[(1, 40), (7, 40), (8, 40)]);
        assert_eq!(self.manager.controller().level(), Level::Normal);
        self.play(&[(6, 40)]);
    }
}

#[test]
fn a_cache_that_spilled_at_hard_is_whole_again_after_normal_though_nobody_asks() {
    let program = program(|builder| builder);
    program.fill();
    program.play(&[(1, 94)]);
    let spilled = program.cache.stats().spilled_keys;
    assert!(spilled > 50, "{spilled}");
    assert_eq!(program.held(), KEYS - spilled);
    program.play(&[(1, 40), (7, 40), (8, 40)]);
    assert_eq!(program.manager.controller().level(), Level::Normal);
    assert_eq!(program.held(), KEYS - spilled, "not before it is calm");
    program.play(&[(6, 40)]);
    wait_until(|| program.held() == KEYS);
    wait_until(|| program.manager.controller().statistics().load_backs == 1);
    let stats = program.cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.read_backs), (0, 0, 0));
    assert_eq!((stats.loaded_back, stats.spilled_keys), (spilled, 0));
    let counted = program.manager.controller().statistics();
    assert_eq!(counted.loaded_back, spilled);
    assert!(counted.loaded_back_bytes >= Bytes(spilled * (100 << 10)));
    for key in 0..KEYS {
        assert_eq!(program.cache.get(&key), Some(value(key)));
    }
    // It is not what is evicted next.
    program.play(&[(1, 40), (2, 40)]);
    assert_eq!(program.manager.controller().level(), Level::Normal);
    assert_eq!(program.held(), KEYS);
}

#[test]
fn what_finds_no_room_below_the_headroom_stays_on_disk_and_is_tried_again() {
    let program = program(|builder| builder);
    program.fill();
    program.play(&[(1, 94)]);
    let left = program.held();
    program.play(&[(1, 40), (7, 40), (8, 40)]);
    // 2 MiB below the line at 72 MiB.
    let budget = program.manager.budget();
    let other = budget.component("other").register().unwrap();
    budget.settle();
    let free = Bytes::from_mib(70).saturating_sub(budget.reserved());
    let taken = other.reserve(free).unwrap();
    let done = program.manager.load_back_now();
    assert_eq!(done.end, LoadBackEnd::NoRoom);
    let loaded = done.values();
    assert!((15..=20).contains(&loaded), "of 100 KiB each: {done:?}");
    assert!(done.bytes() <= Bytes::from_mib(2));
    assert_eq!(program.held(), left + loaded);
    drop(taken);
    program.play(&[(1, 40)]);
    assert_eq!(program.held(), left + loaded, "not at once");
    program.play(&[(31, 40)]);
    wait_until(|| program.held() == KEYS);
}

#[test]
fn without_it_what_was_spilled_stays_until_it_is_asked_for() {
    let program = program(MemoryManagerBuilder::without_load_back);
    program.fill();
    program.spill_and_calm();
    program.play(&[(40, 40), (80, 40)]);
    assert!(program.held() < KEYS);
    assert_eq!(program.cache.stats().loaded_back, 0);
    let spilled = program.cache.stats().spilled_keys;
    assert_eq!(program.manager.load_back_now().values(), spilled);
    assert_eq!(program.held(), KEYS);
}

#[test]
fn while_the_machine_is_short_of_memory_nothing_comes_back() {
    let program = program(|builder| builder);
    program.fill();
    program.manager.inner.machine_is(SystemLevel::High);
    program.spill_and_calm();
    assert_eq!(program.manager.load_back_now().end, LoadBackEnd::Stopped);
    assert!(program.held() < KEYS);
    program.manager.inner.machine_is(SystemLevel::Normal);
    program.play(&[(1, 40), (7, 40)]);
    wait_until(|| program.held() == KEYS);
}

#[test]
fn loading_back_ends_when_the_program_does() {
    let program = program(|builder| builder);
    // Loads until it is told to end, and says that it began and that it ended.
    let (began, ended) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (begins, ends) = (Arc::clone(&began), Arc::clone(&ended));
    let endless = ScriptedLoader::new(Bytes::ZERO, move |_, ration| {
        begins.store(true, Ordering::SeqCst);
        wait_until(|| ration.is_over());
        ends.store(true, Ordering::SeqCst);
        LoadBackReport::default()
    });
    let _registration = program.manager.controller().register(endless);
    program.play(&[(1, 94), (2, 40), (8, 40), (15, 40)]);
    wait_until(|| began.load(Ordering::SeqCst));
    program.shutdown.request(ShutdownReason::Requested);
    wait_until(|| ended.load(Ordering::SeqCst));
    assert_eq!(program.manager.load_back_now().end, LoadBackEnd::Stopped);
    let report = program
        .manager
        .graceful_shutdown(&ShutdownSettings::default());
    assert!(report.is_complete(), "{report:?}");
    // A manager that is made afterwards loads nothing either.
    let late = MemoryManager::builder(MemoryLimits::of(Bytes::from_mib(100)))
        .source(Arc::new(FakeSource::new(Bytes::from_mib(10))))
        .shutdown(&program.shutdown)
        .build()
        .unwrap();
    assert_eq!(late.load_back_now().end, LoadBackEnd::Stopped);
}
