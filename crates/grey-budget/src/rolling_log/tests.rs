//! Facts about the rolling log: its window, when it compacts, what it keeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use grey_model::Bytes;

use super::*;
use crate::budget::Budget;
use crate::clock::Clock;
use crate::reclaimer::{ReclaimMode, ReclaimRequest, Reclaimer, Stop};

#[derive(Debug, Default)]
struct HandClock(AtomicU64);

impl Clock for HandClock {
    fn now(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.now()
    }
}

fn builder() -> (Budget, RollingLogBuilder<u64>) {
    let budget = Budget::new(Bytes::from_mib(1)).unwrap();
    let component = budget.component("history").register().unwrap();
    (budget, RollingLog::builder(component))
}

/// One operation that stands for all.
fn sum(operations: &[Arc<u64>]) -> Vec<u64> {
    vec![operations.iter().map(|operation| **operation).sum()]
}

fn kept(log: &RollingLog<u64>) -> Vec<u64> {
    log.operations()
        .iter()
        .map(|operation| **operation)
        .collect()
}

#[test]
fn the_last_1_000_operations_are_kept() {
    let (_budget, builder) = builder();
    let log = builder.build();
    for operation in 0..2_500 {
        log.append(operation).unwrap();
    }
    assert!(kept(&log).into_iter().eq(1_500..2_500));
    assert_eq!(log.statistics().dropped, 1_500);
}

#[test]
fn a_thousand_operations_are_compacted_and_none_is_lost() {
    let (_budget, builder) = builder();
    let log = builder.compact_with(sum).build();
    for _ in 0..999 {
        log.append(1).unwrap();
    }
    assert_eq!(log.len(), 999);
    log.append(1).unwrap();
    assert_eq!(kept(&log), [1_000]);
    for _ in 0..5_000 {
        log.append(1).unwrap();
        assert!(log.len() <= 1_000);
    }
    assert_eq!(kept(&log).iter().sum::<u64>(), 6_000);
    assert_eq!(log.statistics().dropped, 0);
}

#[test]
fn after_ten_minutes_it_compacts_what_is_new() {
    let (_budget, builder) = builder();
    let clock = Arc::new(HandClock::default());
    let log = builder
        .compact_with(sum)
        .clock(Arc::clone(&clock) as Arc<dyn Clock>)
        .build();
    log.append(1).unwrap();
    log.append(2).unwrap();
    clock.0.store(599, Ordering::SeqCst);
    assert!(!log.compact_if_due());
    clock.0.store(600, Ordering::SeqCst);
    assert!(log.compact_if_due());
    assert_eq!(kept(&log), [3]);
    clock.0.store(5_000, Ordering::SeqCst);
    assert!(!log.compact_if_due(), "nothing is new");
}

#[test]
fn a_log_that_was_idle_for_ten_minutes_is_compacted_by_who_reads_it() {
    let reads: [fn(&RollingLog<u64>); 4] = [
        |log| assert_eq!(kept(log), [3]),
        |log| assert_eq!(log.len(), 1),
        |log| assert_eq!(log.bytes(), Bytes(8)),
        |log| assert!(!log.is_empty()),
    ];
    for read in reads {
        let (_budget, builder) = builder();
        let clock = Arc::new(HandClock::default());
        let log = builder
            .compact_with(sum)
            .clock(Arc::clone(&clock) as Arc<dyn Clock>)
            .build();
        log.append(1).unwrap();
        log.append(2).unwrap();
        clock.0.store(599, Ordering::SeqCst);
        assert_eq!((log.len(), log.bytes()), (2, Bytes(16)));
        clock.0.store(600, Ordering::SeqCst);
        let _ = format!("{log:?}");
        assert_eq!(log.statistics().compactions, 0, "to look at it is no use");
        read(&log);
        assert_eq!(log.statistics().compactions, 1);
    }
}

#[test]
fn a_compaction_that_panics_keeps_every_operation() {
    let (budget, builder) = builder();
    let breaks = Arc::new(AtomicBool::new(true));
    let breaking = Arc::clone(&breaks);
    let log = builder
        .compact_with(move |operations: &[Arc<u64>]| {
            assert!(!breaking.load(Ordering::SeqCst), "broken");
            sum(operations)
        })
        .build();
    for operation in 0..1_000 {
        log.append(operation).unwrap();
    }
    assert!(kept(&log).into_iter().eq(0..1_000));
    assert_eq!(log.statistics().failed_compactions, 1);
    breaks.store(false, Ordering::SeqCst);
    assert!(log.compact_now());
    assert_eq!(kept(&log), [499_500]);
    drop(log);
    assert_eq!(budget.reserved(), Bytes::ZERO);
}

#[test]
fn what_is_appended_while_it_compacts_stays_behind_the_result() {
    let (_budget, builder) = builder();
    let log: Arc<std::sync::OnceLock<RollingLog<u64>>> = Arc::default();
    let within = Arc::clone(&log);
    let built = builder
        .compact_with(move |operations: &[Arc<u64>]| {
            // The lock is free: the log may be used from within.
            within.get().unwrap().append(100).unwrap();
            sum(operations)
        })
        .build();
    log.set(built).unwrap();
    let log = log.get().unwrap();
    for _ in 0..1_000 {
        log.append(1).unwrap();
    }
    assert_eq!(kept(log), [1_000, 100]);
}

#[test]
fn trimming_compacts_and_gives_the_bytes_back() {
    let (budget, builder) = builder();
    let log = builder.weigher(|_| Bytes(100)).compact_with(sum).build();
    for operation in 0..500 {
        log.append(operation).unwrap();
    }
    let before = budget.reserved();
    assert!(before >= Bytes(50_000));
    let request = ReclaimRequest::new(Bytes(1), ReclaimMode::Trim);
    let reclaimed = log.reclaim(&request, &Stop::new());
    let one = Bytes(100).saturating_add(RollingLog::<u64>::OPERATION_OVERHEAD);
    assert_eq!(budget.reserved(), one);
    assert_eq!(reclaimed.freed, before.saturating_sub(one));
    assert_eq!(reclaimed.entries, 499);
}

#[test]
fn a_log_without_memory_compacts_before_it_refuses() {
    let (budget, builder) = builder();
    let other = budget.component("other").register().unwrap();
    let log = builder.weigher(|_| Bytes(4_000)).compact_with(sum).build();
    let _held = other.reserve(Bytes(1024 * 1024 - 50_000)).unwrap();
    for _ in 0..100 {
        log.append(1).unwrap();
    }
    assert_eq!(kept(&log).iter().sum::<u64>(), 100);
    assert!(log.statistics().compactions > 0);
    let budget = Budget::new(Bytes(100)).unwrap();
    let component = budget.component("small").register().unwrap();
    let log = RollingLog::builder(component)
        .weigher(|_: &u64| Bytes(101))
        .build();
    match log.append(7) {
        Err(AppendError::Refused { operation, .. }) => assert_eq!(operation, 7),
        Ok(()) => panic!("it fits"),
    }
}

#[test]
fn many_append_at_once_and_nothing_is_lost() {
    let (budget, builder) = builder();
    // However long one compaction takes, nothing overflows.
    let log = builder
        .max_operations(8_000)
        .compact_after(50)
        .compact_with(sum)
        .build();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    log.append(1).unwrap();
                }
            });
        }
    });
    log.compact_now();
    let statistics = log.statistics();
    assert_eq!(statistics.appended, 8_000);
    assert_eq!(statistics.dropped, 0);
    assert_eq!(kept(&log), [8_000]);
    drop(log);
    assert_eq!(budget.reserved(), Bytes::ZERO);
}

#[test]
fn a_log_of_smaller_operations_than_before_gives_back_what_those_took() {
    let budget = Budget::new(Bytes::from_mib(64)).unwrap();
    let component = budget.component("history").register().unwrap();
    let log = RollingLog::builder(component)
        .max_operations(100)
        .weigher(|bytes: &u64| Bytes(*bytes))
        .build();
    for _ in 0..100 {
        log.append(100_000).unwrap();
    }
    assert!(budget.reserved() >= Bytes(10_000_000));
    for _ in 0..100 {
        log.append(10).unwrap();
    }
    assert_eq!(log.bytes(), Bytes(1_000));
    let reserved = budget.reserved();
    assert!(reserved <= Bytes(64 << 10), "{reserved}");
}
