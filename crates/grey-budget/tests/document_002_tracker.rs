//! The monitoring examples of the resource limits guide, with its numbers and
//! its messages.

use std::sync::Arc;
use std::time::Duration;

use grey_budget::metrics::{PublishedMetrics, Totals, publish};
use grey_budget::system_level::{Severity, SystemLevelAction as _};
use grey_budget::testkit::{FakeClock, FakeSource};
use grey_budget::{
    Bytes, Level, MemoryTracker, SystemLevel, SystemLevelWatch, Thresholds, global_memory_tracker,
};
use metrics_exporter_prometheus::PrometheusBuilder;

const GIB: u64 = 1 << 30;

fn tracker_of(source: &FakeSource) -> MemoryTracker {
    MemoryTracker::builder(Arc::new(source.clone())).build()
}

/// "Instrumentation Points": what the guide records through the global tracker.
#[test]
fn the_global_tracker_takes_what_the_guide_records() {
    let bytes = Bytes::from_mib(4);
    global_memory_tracker().record_allocation(bytes);
    global_memory_tracker().record_deallocation(bytes);

    global_memory_tracker().set_work_queue_size(9_000);
    global_memory_tracker().set_event_queue_size(1_000);
    global_memory_tracker().increment_db_connections();
    global_memory_tracker().increment_spawned_tasks();

    let snapshot = global_memory_tracker().snapshot().unwrap();
    assert!(snapshot.process_memory > Bytes::ZERO);
    assert_eq!(snapshot.counts.work_queue_size, Some(9_000));
    assert_eq!(snapshot.counts.event_queue_size, Some(1_000));
    assert_eq!(snapshot.counts.db_connections, 1);
    assert_eq!(snapshot.counts.spawned_tasks, 1);
    assert_eq!((snapshot.allocated, snapshot.freed), (bytes, bytes));

    global_memory_tracker().decrement_db_connections();
    global_memory_tracker().decrement_spawned_tasks();
    let counts = global_memory_tracker().counters().counts();
    assert_eq!((counts.db_connections, counts.spawned_tasks), (0, 0));

    let status = global_memory_tracker().check_thresholds().unwrap();
    assert!(status.percent().is_some());
}

/// "System Memory Usage": the table of thresholds and actions.
#[test]
fn the_thresholds_are_those_of_the_table() {
    let source = FakeSource::new(Bytes(GIB));
    let tracker = tracker_of(&source);
    for (percent, level, action, severity) in [
        (
            39,
            SystemLevel::Normal,
            "Continue normal operation",
            Severity::Debug,
        ),
        (
            40,
            SystemLevel::Moderate,
            "Log warning, continue operation",
            Severity::Warning,
        ),
        (
            60,
            SystemLevel::High,
            "Log warning, trigger monitoring alerts",
            Severity::Warning,
        ),
        (
            81,
            SystemLevel::Critical,
            "Log error, recommend graceful shutdown",
            Severity::Error,
        ),
    ] {
        source.change(|reading| {
            reading.machine_total = Some(Bytes(100 * GIB));
            reading.machine_available = Some(Bytes((100 - percent) * GIB));
        });
        let status = tracker.check_thresholds().unwrap();
        assert_eq!(status.level, level, "{percent}");
        assert_eq!(status.action(), action);
        assert_eq!(status.level.severity(), severity);
    }
}

/// "Environment Variables": the critical threshold is the operator's.
#[test]
fn the_critical_threshold_may_be_another() {
    let thresholds = Thresholds::entering::<SystemLevel>([0.40, 0.60, 0.90]).unwrap();
    let source = FakeSource::new(Bytes(GIB));
    source.change(|reading| {
        reading.machine_total = Some(Bytes(100 * GIB));
        reading.machine_available = Some(Bytes(15 * GIB));
    });
    let reading = tracker_of(&source).read().unwrap();
    let mut watch = SystemLevelWatch::new(thresholds, Duration::ZERO);
    let seen = watch.observe(Duration::ZERO, &reading).unwrap();
    assert_eq!(seen.to, SystemLevel::High);
}

/// "Metrics to Track": the allocation rate, in bytes a second.
#[test]
fn the_allocation_rate_is_tracked() {
    let (source, clock) = (FakeSource::new(Bytes(GIB)), FakeClock::new());
    let tracker = MemoryTracker::builder(Arc::new(source))
        .clock(Arc::new(clock.clone()))
        .build();
    tracker.take_snapshot().unwrap();
    tracker.record_allocation(Bytes::from_mib(60));
    // The guide's interval of 30 s.
    clock.advance(Duration::from_secs(30));
    tracker.take_snapshot().unwrap();
    assert_eq!(
        tracker.allocation_rate_per_second(),
        Some(Bytes::from_mib(2))
    );
}

/// "Prometheus Integration": the three gauges, updated from a snapshot.
#[test]
fn the_gauges_are_updated_from_the_tracker() {
    let source = FakeSource::new(Bytes(GIB));
    let tracker = tracker_of(&source);
    tracker.set_work_queue_size(9_001);
    for _ in 0..41 {
        tracker.increment_db_connections();
    }
    let snapshot = tracker.snapshot().unwrap();
    let breakdown = tracker.get_breakdown().unwrap();
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        publish(&PublishedMetrics {
            breakdown: &breakdown,
            peak: snapshot.peak,
            limit: None,
            threads: snapshot.threads,
            level: Level::Normal,
            system_level: SystemLevel::Normal,
            counts: snapshot.counts,
            allocation_rate_per_second: None,
            totals: Totals::default(),
        });
    });
    let text = recorder.handle().render();
    for line in [
        "grey_budget_usage_bytes 1073741824",
        "grey_budget_work_queue_items 9001",
        "grey_budget_db_connections 41",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
}
