//! Resource limits and management: what each part of the program may hold by
//! default, what degrades when, the alerts.
//!
//! Never touches another process's score.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use grey_budget::rolling_log::Compact;
use grey_budget::testkit::{FakeClock, FakeSource};
use grey_budget::{
    Broadcaster, Budget, Bytes, Component, Degradation, DegradationSettings, EmbeddingsCache,
    OomScoreError, Overloaded, PoolAccount, PoolHealth, Precision, Priority, RecvError, RollingLog,
    Shutdown, ShutdownReason, SystemLevel, WorkQueue, oom_score_adj, set_oom_score_adj,
};

use crate::captured_log::captured;
use crate::program::{becomes, cache, fill, manager, mb};

const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;

fn component(name: &str) -> Component {
    Budget::new(mb(1024))
        .unwrap()
        .component(name)
        .register()
        .unwrap()
}

// "Event Broadcaster": 1,000 events, 60 seconds, about 10 MB

#[test]
fn a_broadcaster_keeps_1000_events_and_drops_the_oldest() {
    let events = Broadcaster::builder(component("events"))
        .weigher(|_: &u64| Bytes(10 * KIB))
        .build();
    let mut subscriber = events.subscribe();
    for number in 0..1_001 {
        events.send(number).unwrap();
    }
    assert_eq!(events.len(), 1_000);
    // ~10 KB per event = ~10 MB max.
    assert_eq!(events.bytes(), Bytes(1_000 * 10 * KIB));
    assert_eq!(subscriber.try_recv(), Err(RecvError::Lagged(1)));
    assert_eq!(subscriber.try_recv().map(|event| *event), Ok(1));
}

#[test]
fn an_event_lives_for_60_seconds() {
    let clock = FakeClock::new();
    let events = Broadcaster::builder(component("events"))
        .clock(Arc::new(clock.clone()))
        .build();
    let mut late = events.subscribe();
    let mut later = events.subscribe();
    events.send("started").unwrap();
    clock.advance(Duration::from_millis(59_900));
    assert_eq!(late.try_recv().map(|event| *event), Ok("started"));
    clock.advance(Duration::from_millis(200));
    assert_eq!(later.try_recv(), Err(RecvError::Lagged(1)));
}

// "Work Queue": 10,000 items, block when the limit is reached

#[test]
fn the_10001st_item_waits_until_one_is_taken() {
    let queue = Arc::new(WorkQueue::builder(component("work")).build());
    assert_eq!(queue.max_items(), 10_000);
    for number in 0..10_000_u64 {
        queue.try_push(number).unwrap();
    }
    assert!(queue.try_push(10_000).is_err());
    let waiting = Arc::clone(&queue);
    let submits = std::thread::spawn(move || waiting.push(10_000).is_ok());
    assert!(becomes(|| queue.waiting_for_room() == 1));
    assert_eq!(queue.len(), 10_000);
    assert_eq!(queue.try_pop().unwrap(), 0);
    assert!(submits.join().unwrap());
    assert_eq!(queue.len(), 10_000);
}

// "Database Connections": a pool of 10 to 50, 50 to 250 MB in all

#[test]
fn a_pool_opens_50_connections_and_refuses_the_51st() {
    for (megabytes, total) in [(1, 50), (5, 250)] {
        let component = component("db");
        let pool = PoolAccount::builder(component.clone())
            .bytes_per_connection(mb(megabytes))
            .build()
            .unwrap();
        assert_eq!(pool.connections(), 10..=50);
        let open: Vec<_> = (0..50).map(|_| pool.open().unwrap()).collect();
        assert_eq!(component.reserved(), mb(total));
        assert_eq!(
            pool.open().unwrap_err().to_string(),
            "failed to open a connection of `db`: 50 are open, 50 at most"
        );
        drop(open);
        assert_eq!(component.reserved(), Bytes::ZERO);
    }
}

// "Embeddings Cache": 10,000 of 768 numbers, about 30 MB, least recently used out

#[test]
fn ten_thousand_embeddings_take_about_30_mb_and_the_least_used_goes() {
    let budget = Budget::new(mb(1024)).unwrap();
    let embeddings = EmbeddingsCache::<u64>::builder(&budget, "embeddings")
        .build()
        .unwrap();
    let vector = |number: u64| vec![number as f32; 768];
    for number in 0..10_000 {
        embeddings.insert(number, &vector(number)).unwrap();
    }
    let held = embeddings.component().reserved();
    // 10,000 x 768 x 4 bytes are 29.3 MB; keys and order are on top.
    assert!((mb(29)..mb(33)).contains(&held), "{held}");
    assert!(embeddings.get(&0).is_some());
    embeddings.insert(10_000, &vector(10_000)).unwrap();
    assert_eq!(embeddings.len(), 10_000);
    assert!(embeddings.contains(&0) && !embeddings.contains(&1));
    assert_eq!(embeddings.get(&10_000), Some(vector(10_000)));
}

#[test]
fn half_precision_takes_half_of_it() {
    let budget = Budget::new(mb(1024)).unwrap();
    let halves = EmbeddingsCache::<u64>::builder(&budget, "embeddings")
        .precision(Precision::F16)
        .build()
        .unwrap();
    for number in 0..10_000 {
        halves.insert(number, &[0.5; 768]).unwrap();
    }
    let held = halves.component().reserved();
    assert!((mb(14)..mb(18)).contains(&held), "{held}");
}

// "CRDT History": the last 1,000 operations, compacted every 10 minutes or
// 1,000 operations, about 100 KB

#[derive(Default)]
struct Compacted(AtomicU64);

struct Count(Arc<Compacted>);

impl Compact<u64> for Count {
    fn compact(&self, operations: &[Arc<u64>]) -> Vec<u64> {
        self.0.0.fetch_add(1, Ordering::SeqCst);
        operations.iter().map(|operation| **operation).collect()
    }
}

#[test]
fn a_history_keeps_1000_operations_and_compacts_by_count_and_by_time() {
    let (clock, compacted) = (FakeClock::new(), Arc::new(Compacted::default()));
    let count = || compacted.0.load(Ordering::SeqCst);
    let history = RollingLog::builder(component("crdt_history"))
        .weigher(|_: &u64| Bytes(100))
        .clock(Arc::new(clock.clone()))
        .compact_with(Count(Arc::clone(&compacted)))
        .build();
    for number in 0..999 {
        history.append(number).unwrap();
    }
    assert_eq!(count(), 0);
    history.append(999).unwrap();
    assert_eq!(count(), 1);
    history.append(1_000).unwrap();
    assert_eq!(history.len(), 1_000);
    assert_eq!(*history.operations()[0], 1);
    // ~100 bytes per op = ~100 KB per session.
    assert_eq!(history.bytes(), Bytes(100_000));
    clock.advance(Duration::from_secs(599));
    assert!(!history.compact_if_due());
    clock.advance(Duration::from_secs(1));
    assert!(history.compact_if_due());
    assert_eq!(count(), 2);
}

// "Instrumentation Points": `start_memory_monitoring()`, every 30 seconds

#[test]
fn monitoring_takes_a_snapshot_at_once_and_then_every_interval() {
    let (manager, _source) = manager(mb(100));
    manager.start_monitoring(Duration::from_secs(30)).unwrap();
    assert!(becomes(|| !manager.tracker().snapshots().is_empty()));
    manager.stop_monitoring();
    assert_eq!(manager.tracker().snapshots().len(), 1);
}

// "Graceful Degradation"

/// A machine that is `percent` full.
fn fill_machine(source: &FakeSource, percent: u64) {
    source.change(|reading| {
        reading.machine_total = Some(Bytes(100 * GIB));
        reading.machine_available = Some(Bytes((100 - percent) * GIB));
    });
}

/// "High Memory (60-80%)": all four steps.
#[test]
fn a_high_machine_warns_shrinks_caches_throttles_and_defers() {
    let (manager, source) = manager(mb(1000));
    let entries = cache(manager.budget(), "query_cache", mb(1000));
    let _registration = manager
        .controller()
        .register(Arc::<_>::clone(&entries) as _);
    fill(&entries, "web", Priority::Low, 500);
    let before = entries.weight();
    fill_machine(&source, 70);
    manager.start_monitoring(Duration::from_secs(30)).unwrap();
    // A twentieth of the budget, 153.6 MB, to the next entry, once.
    assert!(becomes(
        || before.saturating_sub(entries.weight()) >= mb(153)
    ));
    manager.stop_monitoring();
    assert!(before.saturating_sub(entries.weight()) <= mb(156));
    let degradation = manager.degradation();
    assert_eq!(degradation.level(), SystemLevel::High);
    assert!(degradation.throttle() > Duration::ZERO);
    assert!(!degradation.may_run_background_work());
    assert!(degradation.admit().is_ok());
}

/// "Critical Memory (> 80%)": all five steps.
#[test]
fn a_critical_machine_refuses_finishes_saves_and_exits_with_a_code() {
    let shutdown = Shutdown::new();
    let mut settings = DegradationSettings::default();
    settings.exit_when_critical = true;
    let degradation = Degradation::new(settings, shutdown.clone());
    let work = degradation.admit().unwrap();
    let ((), log) = captured(|| {
        degradation.set_level(SystemLevel::High);
        degradation.set_level(SystemLevel::Critical);
    });
    assert_eq!(
        log[..2],
        [
            "WARNING: memory is high: new work is slowed down, background work waits",
            "ERROR: memory is critical: no new work is taken; restart is recommended",
        ]
    );
    assert!(matches!(
        degradation.admit(),
        Err(Overloaded::ShuttingDown | Overloaded::Critical)
    ));
    assert_eq!(degradation.in_flight(), 1);
    drop(work);
    assert!(degradation.drain(Duration::from_secs(1)));
    assert_eq!(shutdown.reason(), Some(ShutdownReason::MemoryCritical));
    // EX_TEMPFAIL: whoever runs it may start it anew.
    assert_eq!(shutdown.exit_code(), 75);
}

// "OOM Killer Prevention": `echo -500 > /proc/.../oom_score_adj`

#[test]
fn a_score_of_minus_500_is_set_and_put_back_or_refused_with_a_hint() {
    let before = oom_score_adj().unwrap();
    match set_oom_score_adj(-500) {
        Ok(guard) => {
            assert_eq!(oom_score_adj().unwrap(), -500);
            assert_eq!(guard.before(), before);
            drop(guard);
        }
        Err(error) => {
            assert!(matches!(error, OomScoreError::NotPermitted { .. }));
            assert!(error.hint().is_some());
        }
    }
    assert_eq!(oom_score_adj().unwrap(), before);
}

// "Alert Thresholds"

#[test]
fn the_machine_alerts_at_60_and_80_percent() {
    for (percent, level) in [
        (59, SystemLevel::Moderate),
        (61, SystemLevel::High),
        (79, SystemLevel::High),
        (81, SystemLevel::Critical),
    ] {
        let (manager, source) = manager(mb(100));
        fill_machine(&source, percent);
        let status = manager.tracker().check_thresholds().unwrap();
        assert_eq!(status.level, level, "{percent}");
    }
}

#[test]
fn a_work_queue_alerts_above_9000_items() {
    let queue = WorkQueue::builder(component("work")).build();
    for number in 0..9_000_u64 {
        queue.try_push(number).unwrap();
    }
    assert!(!queue.is_nearly_full());
    queue.try_push(9_000).unwrap();
    assert!(queue.is_nearly_full());
}

#[test]
fn connections_leak_above_twice_the_size_of_the_pool() {
    // `db_pool_size = 20`.
    let pool = PoolAccount::builder(component("db"))
        .size(20)
        .build()
        .unwrap();
    let mut open: Vec<_> = (0..40).map(|_| pool.adopt()).collect();
    assert_eq!(pool.health(), PoolHealth::Oversized);
    open.push(pool.adopt());
    assert_eq!(pool.health(), PoolHealth::Leaking);
    assert_eq!(pool.statistics().leaks, 1);
}
