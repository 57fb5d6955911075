//! Sizes of nothing and of everything, names without a letter, times without an
//! end: each is refused with an error, or does what it can; nothing panics. A
//! waker that panics keeps nobody else waiting.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use grey_budget::cache::CacheBuilder;
use grey_budget::channel::bounded_bytes;
use grey_budget::tracker::MemoryTracker;
use grey_budget::{
    Action, ActionKind, Broadcaster, Budget, Bytes, Component, Controller, ControllerSettings,
    DegradationSettings, EmbeddingsCache, EntryOptions, EvictionRequest, LimitKind, Machine,
    MemoryLimits, MemoryManager, PoolAccount, Priority, ProcessSource, RollingLog, Shutdown,
    ShutdownSettings, SpillOptions, SpillStore, SpillTags, Thresholds, WorkQueue, check_thresholds,
    validate_memory_limit, validate_total_allocations,
};

const NOTHING: Bytes = Bytes::ZERO;
const ALL: Bytes = Bytes(u64::MAX);

fn budget() -> Budget {
    Budget::new(Bytes::from_mib(64)).unwrap()
}

fn component() -> Component {
    budget().component("part").register().unwrap()
}

#[test]
fn budgets_and_reservations_take_any_size() {
    assert!(Budget::new(NOTHING).is_err());
    for limit in [Bytes(1), Bytes(7), ALL] {
        let budget = Budget::new(limit).unwrap();
        let component = budget.component("").register().unwrap();
        for size in [NOTHING, Bytes(1), limit, ALL] {
            if let Ok(mut held) = component.reserve(size) {
                let _ = held.grow(ALL);
                let part = held.split(ALL);
                held.shrink(ALL);
                let _ = held.resize(ALL);
                drop(part);
            }
            drop(component.reserve_timeout(size, Duration::ZERO));
        }
        drop(component.overdraw(ALL));
        assert!(budget.set_limit(NOTHING).is_err());
        budget.set_limit(ALL).unwrap();
        drop(budget.top_consumers(usize::MAX));
        let tenant = budget.tenant("", Priority::Critical, Some(NOTHING));
        let part = budget.component("\0").tenant(&tenant).floor(ALL);
        drop(part.register());
        let part = budget.component("\u{202e}").limit(NOTHING).fair();
        drop(part.register());
    }
    // Nobody else has anything: it waits for no time at all.
    let component = component();
    assert!(component.reserve_timeout(ALL, Duration::MAX).is_err());
}

#[test]
fn two_that_take_everything_beyond_the_limit_are_counted_without_overflow() {
    let component = component();
    let first = component.overdraw(ALL);
    let second = component.overdraw(ALL);
    drop((first, second));
    assert_eq!(component.reserved(), NOTHING);
}

#[test]
fn caches_take_any_size_and_time() {
    for capacity in [Bytes(1), Bytes(1000), Bytes::from_mib(1 << 30), ALL] {
        let budget = Budget::new(ALL).unwrap();
        let cache = CacheBuilder::new(&budget, "", capacity)
            .expected_entries(u64::MAX)
            .largest_value(ALL)
            .ttl(Duration::MAX)
            .stale_after(Duration::MAX)
            .build(|_: &u64, _: &u64| ALL)
            .unwrap();
        for ttl in [Duration::ZERO, Duration::MAX] {
            let options = EntryOptions::new().ttl(ttl).cost(f32::NAN);
            let _ = cache.insert_with(1, 1, options);
            let _ = cache.get(&1);
            cache.pin(&1);
        }
        assert!(cache.project("").is_ok());
        for size in [NOTHING, Bytes(1), ALL] {
            cache.set_capacity(size);
            for priority in Priority::ALL {
                cache.set_priority_capacity(priority, size);
            }
            let _ = cache.insert(2, 2);
        }
        let usual = CacheBuilder::new(&budget, "usual", capacity)
            .largest_value(NOTHING)
            .expected_entries(0)
            .build(|_: &u64, _: &u64| NOTHING)
            .unwrap();
        let _ = usual.insert(1, 1);
        let _ = usual.get(&1);
    }
    let none = CacheBuilder::new(&budget(), "none", NOTHING).build(|_: &u64, _: &u64| NOTHING);
    assert!(none.is_err());
}

#[test]
fn queues_logs_broadcasters_and_channels_take_any_size_and_time() {
    for size in [0, 1, u64::MAX] {
        let bytes = Bytes(size);
        let count = usize::try_from(size).unwrap();
        let queue = WorkQueue::<u64>::builder(component())
            .max_items(size)
            .max_bytes(bytes)
            .weigher(|_| ALL)
            .build();
        let _ = queue.push_timeout(1, Duration::ZERO);
        let _ = queue.pop_timeout(Duration::ZERO);
        let mut out = Vec::new();
        let _ = queue.try_pop_many(&mut out, count);

        let broadcaster = Broadcaster::<u64>::builder(component())
            .capacity(count)
            .max_bytes(bytes)
            .ttl(if size == 0 {
                Duration::ZERO
            } else {
                Duration::MAX
            })
            .build();
        let mut subscriber = broadcaster.subscribe();
        let _ = broadcaster.send(1);
        let mut out = Vec::new();
        let _ = subscriber.try_recv_many(&mut out, count);
        let _ = subscriber.recv_timeout(Duration::ZERO);

        let log = RollingLog::<u64>::builder(component())
            .max_operations(count)
            .compact_after(count)
            .compact_every(if size == 0 {
                Duration::ZERO
            } else {
                Duration::MAX
            })
            .build();
        for _ in 0..3 {
            let _ = log.append(1);
        }

        let (sender, receiver) = bounded_bytes(component(), bytes, |_: &u64| ALL);
        let _ = sender.send_timeout(1, Duration::ZERO);
        let _ = receiver.recv_timeout(Duration::ZERO);

        let embeddings = EmbeddingsCache::<u64>::builder(&budget(), "")
            .entries(count)
            .dimensions(count)
            .build::<u64>();
        if let Ok(embeddings) = embeddings {
            let _ = embeddings.insert(1, &vec![0.0; count]);
            let _ = embeddings.insert(2, &[]);
        }
        let pool = PoolAccount::builder(component())
            .connections(size..=size)
            .bytes_per_connection(ALL)
            .build();
        drop(pool);
        #[expect(clippy::reversed_empty_ranges, reason = "that is what is tested")]
        let reversed = PoolAccount::builder(component()).connections(2..=1).build();
        assert!(reversed.is_err());
    }
}

#[test]
fn a_spill_store_takes_any_size_and_name() {
    let directory = tempfile::tempdir().unwrap();
    let open = |change: fn(SpillOptions) -> SpillOptions| {
        let options = SpillOptions::new(directory.path(), component()).free_floor(NOTHING);
        SpillStore::open(change(options.staging(Bytes::from_mib(6))))
    };
    assert!(open(|options| options.staging(NOTHING)).is_err());
    assert!(open(|options| options.staging(ALL)).is_err());
    assert!(open(|options| options.quota(NOTHING)).is_err());
    assert!(open(|options| options.segment(NOTHING)).is_err());
    assert!(open(|options| options.segment(ALL)).is_err());
    assert!(open(|options| options.expected_entries(usize::MAX)).is_err());
    let store = open(|options| options.quota(ALL).patience(Duration::MAX)).unwrap();
    let tags = SpillTags::default().of_project("");
    store.write(b"", tags, Vec::new().into()).unwrap();
    store.flush().unwrap();
    assert_eq!(store.read(b"").unwrap().as_deref(), Some(&[][..]));
    store.collect_garbage(ALL).unwrap();
    store.collect_garbage(NOTHING).unwrap();
    assert_eq!(store.read_many(&[]).unwrap().len(), 0);
    assert!(store.remove(b"").unwrap());
    drop(store);
    let store = open(|options| options.patience(Duration::ZERO)).unwrap();
    let _ = store.write(b"a", SpillTags::default(), vec![1; 100].into());
    let _ = store.flush();
}

#[test]
fn controllers_and_managers_take_any_time_and_size() {
    let source = Arc::new(ProcessSource::new().unwrap());
    for time in [Duration::ZERO, Duration::MAX] {
        let mut settings = ControllerSettings::default();
        settings.cooldown = time;
        settings.repeat = time;
        settings.call_deadline = time;
        settings.settle = time;
        settings.futility_pause = time;
        settings.stall = time;
        settings.futile_attempts = 0;
        // Far over its budget.
        let budget = Budget::new(Bytes(1)).unwrap();
        let controller = Controller::new(budget, Arc::<ProcessSource>::clone(&source), settings);
        for capacity in [0, usize::MAX] {
            let (subscription, _events) = controller.subscribe(capacity);
            subscription.keep();
        }
        let action = Action::new(ActionKind::custom("", || Ok(ALL)), "", u8::MAX).target(ALL);
        controller.enqueue_action(action).unwrap();
        for _ in 0..5 {
            controller.tick();
        }
        let request = EvictionRequest::new(ALL).without("");
        controller.emergency_eviction(&request);
        let mut settings = controller.settings();
        settings.interval = time;
        controller.set_settings(settings);
        controller.start().unwrap().stop();
    }
    for total in [Bytes(1), ALL] {
        let limits = MemoryLimits::at(total, &Thresholds::of::<grey_budget::Level>());
        if let Ok(manager) = MemoryManager::new(limits) {
            manager.start_monitoring(Duration::MAX).unwrap();
            let _ = manager.take_snapshot(u64::MAX, u64::MAX);
            let _ = manager.get_status();
            let _ = manager.get_breakdown();
            assert!(manager.spill_to_disk("", &1).is_err());
            let mut degradation = DegradationSettings::default();
            degradation.throttle = Duration::MAX;
            manager.degradation().set_settings(degradation);
            assert!(manager.degradation().drain(Duration::MAX));
            let mut settings = ShutdownSettings::default();
            settings.drain = Duration::MAX;
            settings.persist = Duration::MAX;
            settings.close = Duration::ZERO;
            manager.graceful_shutdown(&settings);
        }
    }
    assert!(MemoryManager::new(MemoryLimits::of(NOTHING)).is_err());
    assert_eq!(Shutdown::new().wait(Duration::ZERO), None);
}

#[test]
fn trackers_thresholds_and_limits_take_any_number() {
    for most in [0, usize::MAX] {
        let tracker = MemoryTracker::builder(Arc::new(ProcessSource::new().unwrap()))
            .most_snapshots(most)
            .baseline(ALL)
            .build();
        for _ in 0..3 {
            tracker.record_allocation(ALL);
            tracker.record_deallocation(ALL);
            tracker.record_deallocation(ALL);
            tracker.set_work_queue_size(u64::MAX);
            let _ = tracker.take_snapshot();
        }
        let _ = tracker.get_stats();
        let _ = tracker.check_memory_budget(NOTHING);
        let _ = tracker.allocation_rate_per_second();
    }
    for current in [NOTHING, Bytes(1), ALL] {
        for budget in [NOTHING, Bytes(1), ALL] {
            let _ = check_thresholds(current, budget);
        }
        let _ = validate_memory_limit(current);
        let _ = validate_total_allocations(&[current, ALL, ALL]);
        let _ = Machine::new(Some(current)).with_rlimit(LimitKind::Data, ALL);
    }
    let _ = validate_total_allocations::<Bytes>(&[]);
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("the waker of the test panics");
    }
}

#[test]
fn a_waker_that_panics_keeps_nobody_waiting_for_bytes() {
    let budget = budget();
    let component = budget.component("part").register().unwrap();
    let full = component.reserve_owned(Bytes::from_mib(64)).unwrap();
    let waker = Waker::from(Arc::new(Panics));
    let mut first = Box::pin(component.reserve_async(Bytes::from_mib(1)));
    let polled = first.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    let behind = component.clone();
    let (told, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let served = behind.reserve_timeout(Bytes::from_mib(1), Duration::from_secs(2));
        told.send(served.map(|served| served.size()))
    });
    while budget.waiters().0 < 2 {
        std::thread::yield_now();
    }
    let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(full)));
    assert!(dropped.is_ok(), "it panicked out of a destructor");
    let served = heard.recv_timeout(Duration::from_secs(20));
    assert_eq!(served, Ok(Ok(Bytes::from_mib(1))));
    drop(first);
    assert_eq!(budget.reserved(), NOTHING);
}
