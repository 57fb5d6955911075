//! Facts about the tracker, on a scripted source and a clock moved by hand.

use std::sync::Arc;
use std::time::Duration;

use grey_model::Bytes;
use proptest::prelude::*;

use super::*;
use crate::budget::Budget;
use crate::source::Reading;
use crate::testkit::{FakeClock, FakeSource};

const MIB: u64 = 1 << 20;

fn mib(count: u64) -> Bytes {
    Bytes(count * MIB)
}

struct Fixture {
    source: FakeSource,
    clock: FakeClock,
    budget: Budget,
    tracker: MemoryTracker,
}

fn fixture(baseline: Bytes) -> Fixture {
    let (source, clock) = (FakeSource::new(baseline), FakeClock::new());
    let budget = Budget::new(mib(3072)).unwrap();
    let tracker = MemoryTracker::builder(Arc::new(source.clone()))
        .clock(Arc::new(clock.clone()))
        .budget(&budget)
        .most_snapshots(4)
        .build();
    Fixture {
        source,
        clock,
        budget,
        tracker,
    }
}

#[test]
fn the_peak_is_the_highest_and_the_average_the_mean_of_all_readings() {
    let Fixture {
        source, tracker, ..
    } = fixture(mib(10));
    for size in [100, 400, 100] {
        source.set_rss(mib(size));
        tracker.get_current_usage().unwrap();
    }
    source.set_rss(mib(200));
    let stats = tracker.get_stats().unwrap();
    assert_eq!(stats.current, mib(200));
    assert_eq!(stats.peak, mib(400));
    assert_eq!(stats.average, mib(200));
    assert_eq!(stats.readings, 4);
}

#[test]
fn the_kernels_peak_counts_where_it_is_higher() {
    let Fixture {
        source, tracker, ..
    } = fixture(mib(10));
    source.change(|reading| reading.rss_peak = Some(mib(900)));
    assert_eq!(tracker.get_stats().unwrap().peak, mib(900));
}

#[test]
fn a_reading_that_fails_counts_for_nothing() {
    let Fixture {
        source, tracker, ..
    } = fixture(mib(10));
    source.fail_next(1);
    assert!(tracker.get_current_usage().is_err());
    let stats = tracker.get_stats().unwrap();
    assert_eq!((stats.readings, stats.average), (1, mib(10)));
}

#[test]
fn the_baseline_is_no_ones_fault() {
    let Fixture {
        source,
        budget,
        tracker,
        ..
    } = fixture(mib(50));
    let cache = budget.component("query_cache").register().unwrap();
    let _held = cache.reserve(mib(30)).unwrap();
    source.set_rss(mib(100));
    let breakdown = tracker.get_breakdown().unwrap();
    assert_eq!(breakdown.baseline, mib(50));
    assert_eq!(breakdown.accounted, mib(30));
    assert_eq!(breakdown.unaccounted, 20 * MIB.cast_signed());
}

#[test]
fn what_is_charged_and_not_resident_is_less_than_nothing() {
    let Fixture {
        budget, tracker, ..
    } = fixture(mib(50));
    let cache = budget.component("query_cache").register().unwrap();
    let _held = cache.reserve(mib(30)).unwrap();
    let breakdown = tracker.get_breakdown().unwrap();
    assert_eq!(breakdown.unaccounted, -30 * MIB.cast_signed());
}

#[test]
fn a_component_that_the_program_names_stands_in_the_document() {
    let Fixture {
        budget, tracker, ..
    } = fixture(mib(50));
    let model = budget.component("model_weights").register().unwrap();
    let _held = model.reserve(mib(7)).unwrap();
    let diagnostics = tracker.get_diagnostics().unwrap();
    let json: serde_json::Value = serde_json::from_str(&diagnostics.to_json()).unwrap();
    let breakdown = &json["memory_breakdown"];
    assert_eq!(breakdown["components_bytes"]["model_weights"], 7 * MIB);
    assert_eq!(breakdown["other_bytes"], 7 * MIB);
    assert!(breakdown["indexes_bytes"].is_null());
    assert!(json["active_threads"].is_null());
}

#[test]
fn the_ring_keeps_the_latest_snapshots() {
    let Fixture {
        source,
        clock,
        tracker,
        ..
    } = fixture(mib(10));
    for size in 1..=6 {
        clock.advance(Duration::from_secs(60));
        source.set_rss(mib(size));
        tracker.take_snapshot().unwrap();
    }
    let sizes: Vec<_> = tracker
        .snapshots()
        .iter()
        .map(|snapshot| snapshot.process_memory)
        .collect();
    assert_eq!(sizes, [mib(3), mib(4), mib(5), mib(6)]);
    let growth = tracker.growth().unwrap();
    assert_eq!(growth.process_memory, 3 * MIB.cast_signed());
    assert_eq!(growth.per_minute(), Some(MIB.cast_signed()));
    assert_eq!(tracker.growths().len(), 3);
}

#[test]
fn a_snapshot_that_is_only_looked_at_is_not_kept() {
    let Fixture { tracker, .. } = fixture(mib(10));
    tracker.snapshot().unwrap();
    assert!(tracker.snapshots().is_empty());
    assert_eq!(tracker.growth(), None);
}

#[test]
fn the_allocation_rate_is_per_second_between_the_last_two_snapshots() {
    let Fixture { clock, tracker, .. } = fixture(mib(10));
    tracker.take_snapshot().unwrap();
    assert_eq!(tracker.allocation_rate_per_second(), None);
    tracker.record_allocation(mib(30));
    clock.advance(Duration::from_millis(1500));
    tracker.take_snapshot().unwrap();
    assert_eq!(tracker.allocation_rate_per_second(), Some(mib(20)));
    assert_eq!(tracker.counters().in_use(), mib(30));
}

#[test]
fn no_time_has_no_rate() {
    let Fixture { tracker, .. } = fixture(mib(10));
    tracker.take_snapshot().unwrap();
    tracker.take_snapshot().unwrap();
    assert_eq!(tracker.growth().unwrap().per_minute(), None);
}

#[test]
fn a_source_that_cannot_be_read_at_the_start_makes_everything_unaccounted() {
    let source = FakeSource::new(mib(40));
    source.fail_next(1);
    let tracker = MemoryTracker::builder(Arc::new(source.clone())).build();
    assert_eq!(tracker.baseline(), Bytes::ZERO);
    let breakdown = tracker.get_breakdown().unwrap();
    assert_eq!(breakdown.unaccounted, 40 * MIB.cast_signed());
}

#[test]
fn without_a_budget_no_limit_is_exceeded_or_kept() {
    let source = FakeSource::new(mib(40));
    let tracker = MemoryTracker::builder(Arc::new(source)).build();
    let diagnostics = tracker.get_diagnostics().unwrap();
    assert_eq!(diagnostics.soft_limit_exceeded, None);
    assert_eq!(diagnostics.budget, None);
}

#[test]
fn the_global_tracker_reads_this_process() {
    let tracker = global_memory_tracker();
    assert!(tracker.get_current_usage().unwrap() > Bytes::ZERO);
    assert!(std::ptr::eq(tracker, global_memory_tracker()));
}

proptest! {
    #[test]
    fn the_parts_always_add_up_to_the_whole(
        rss in 0..u64::MAX / 4,
        baseline in 0..u64::MAX / 4,
        heap in proptest::option::of(0..u64::MAX / 4),
        reserved in proptest::collection::vec(0..1_u64 << 40, 0..5),
    ) {
        let budget = Budget::new(Bytes(u64::MAX / 2)).unwrap();
        let names = ["query_cache", "indexes", "loaded_content", "x", "y"];
        let components: Vec<_> = names[..reserved.len()]
            .iter()
            .map(|name| budget.component(name).register().unwrap())
            .collect();
        let _held: Vec<_> = components
            .iter()
            .zip(&reserved)
            .map(|(component, bytes)| component.reserve(Bytes(*bytes)).unwrap())
            .collect();
        let mut reading = Reading::of_rss(Bytes(rss));
        reading.heap_allocated = heap.map(Bytes);
        let breakdown = MemoryBreakdown::new(&reading, Bytes(baseline), budget.components());
        let sum = i128::from(breakdown.baseline.get())
            + i128::from(breakdown.accounted.get())
            + i128::from(breakdown.unaccounted);
        prop_assert_eq!(sum, i128::from(rss));
        prop_assert_eq!(breakdown.accounted.get(), reserved.iter().sum::<u64>());
    }
}
