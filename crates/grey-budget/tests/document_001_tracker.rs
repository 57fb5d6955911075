//! The tracker's examples of the memory management guide, with its numbers
//! and its messages.
//!
//! A process that has the guide's sizes cannot be had on every machine, so the
//! source and the clock are the test kit's.

use std::sync::Arc;
use std::time::Duration;

use grey_budget::testkit::{FakeClock, FakeSource};
use grey_budget::tracker::{Growth, MemoryStats};
use grey_budget::{Budget, Bytes, MemoryTracker};

/// The guide's total budget: 3072 MB.
const BUDGET_MB: u64 = 3072;

/// A size as the guide writes it, in MB with one decimal.
fn mb(tenths: u64) -> Bytes {
    Bytes::from_mib(1).scale(tenths, 10)
}

/// The guide's `{:.1}`.
fn in_mb(bytes: Bytes) -> String {
    format!("{:.1}", bytes.get() as f64 / f64::from(1 << 20))
}

struct Program {
    source: FakeSource,
    clock: FakeClock,
    budget: Budget,
    tracker: MemoryTracker,
}

fn program(rss: Bytes) -> Program {
    let (source, clock) = (FakeSource::new(rss), FakeClock::new());
    let budget = Budget::new(Bytes::from_mib(BUDGET_MB)).expect("it is not empty");
    let tracker = MemoryTracker::builder(Arc::new(source.clone()))
        .clock(Arc::new(clock.clone()))
        .budget(&budget)
        .baseline(Bytes::ZERO)
        .build();
    Program {
        source,
        clock,
        budget,
        tracker,
    }
}

/// "Memory Tracker": current usage, the check of the budget, the statistics.
#[test]
fn the_tracker_tells_current_peak_and_average() {
    let Program {
        source, tracker, ..
    } = program(mb(28_002));
    let current = tracker.get_current_usage().unwrap();
    assert_eq!(
        format!("Current memory: {} MB", in_mb(current)),
        "Current memory: 2800.2 MB"
    );

    let within_budget = tracker
        .check_memory_budget(Bytes::from_mib(BUDGET_MB))
        .unwrap();
    assert!(within_budget);
    source.set_rss(Bytes::from_mib(BUDGET_MB + 1));
    let within_budget = tracker
        .check_memory_budget(Bytes::from_mib(BUDGET_MB))
        .unwrap();
    assert!(!within_budget, "Memory budget exceeded!");

    source.set_rss(Bytes::from_mib(1995));
    let MemoryStats { peak, average, .. } = tracker.get_stats().unwrap();
    assert_eq!(
        format!("Peak memory: {} MB", in_mb(peak)),
        "Peak memory: 3073.0 MB"
    );
    // (2800.2 + 2800.2 + 3073 + 1995) / 4
    assert_eq!(
        format!("Average memory: {} MB", in_mb(average)),
        "Average memory: 2667.1 MB"
    );
}

/// "Memory Breakdown": the guide's tree, 3072 MB with a heap of 1200 MB.
#[test]
fn the_breakdown_has_the_guides_parts() {
    let Program {
        source,
        budget,
        tracker,
        ..
    } = program(mb(30_720));
    source.change(|reading| reading.heap_allocated = Some(mb(12_000)));
    let content = budget.component("loaded_content").register().unwrap();
    let queries = budget.component("query_cache").register().unwrap();
    let indexes = budget.component("indexes").register().unwrap();
    let _content = content.reserve(mb(4_800)).unwrap();
    let _queries = queries.reserve(mb(2_400)).unwrap();
    let _indexes = indexes.reserve(mb(3_600)).unwrap();

    let breakdown = tracker.get_breakdown().unwrap();
    let lines = [
        format!("Total: {} MB", in_mb(breakdown.total)),
        format!("Process RSS: {} MB", in_mb(breakdown.process_rss)),
        format!("Heap: {} MB", in_mb(breakdown.heap.unwrap())),
        format!(
            "Loaded Content: {} MB",
            in_mb(breakdown.loaded_content.unwrap())
        ),
        format!("Query Cache: {} MB", in_mb(breakdown.query_cache.unwrap())),
        format!("Indexes: {} MB", in_mb(breakdown.indexes.unwrap())),
        format!("Other: {} MB", in_mb(breakdown.other)),
    ];
    assert_eq!(
        lines,
        [
            "Total: 3072.0 MB",
            "Process RSS: 3072.0 MB",
            "Heap: 1200.0 MB",
            "Loaded Content: 480.0 MB",
            "Query Cache: 240.0 MB",
            "Indexes: 360.0 MB",
            "Other: 120.0 MB",
        ]
    );
    // What the guide calls stack, code and other RSS: nobody is charged for it.
    assert_eq!(breakdown.unaccounted, mb(19_920).get().cast_signed());
}

/// "get_diagnostics (Type: memory)": the response, with sizes in bytes.
#[test]
fn the_diagnostics_are_the_guides_response() {
    let Program {
        source,
        budget,
        tracker,
        ..
    } = program(mb(25_005));
    source.change(|reading| {
        reading.heap_allocated = Some(mb(12_003));
        reading.rss_peak = Some(mb(28_002));
        reading.threads = Some(8);
    });
    tracker.counters().set_loaded_files(850);
    tracker.counters().set_cached_queries(320);
    let parts = [
        ("loaded_content", 4_802),
        ("query_cache", 2_401),
        ("indexes", 3_604),
    ];
    let components = parts.map(|(name, _)| budget.component(name).register().unwrap());
    let _held: Vec<_> = components
        .iter()
        .zip(parts)
        .map(|(component, (_, tenths))| component.reserve(mb(tenths)).unwrap())
        .collect();

    let text = tracker.get_diagnostics().unwrap().to_json();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["schema"], "grey.program/v1");
    // The guide's 1234567890.0 seconds.
    assert_eq!(json["timestamp_ms"], 1_234_567_890_000_u64);
    let megabytes = |value: &serde_json::Value| in_mb(Bytes(value.as_u64().unwrap()));
    assert_eq!(megabytes(&json["process_memory_bytes"]), "2500.5");
    assert_eq!(megabytes(&json["peak_memory_bytes"]), "2800.2");
    assert_eq!(megabytes(&json["heap_size_bytes"]), "1200.3");
    assert!(json["gc_objects"].is_null());
    assert_eq!(json["active_threads"], 8);
    assert_eq!(json["loaded_files"], 850);
    assert_eq!(json["cached_queries"], 320);
    // 2500.5 of 3072 is 81.4 %, above the guide's own soft limit of 80 %: its
    // response says false, and contradicts its thresholds.
    assert_eq!(json["soft_limit_exceeded"], true);
    assert_eq!(json["hard_limit_exceeded"], false);
    let breakdown = &json["memory_breakdown"];
    for (key, expected) in [
        ("total_bytes", "2500.5"),
        ("process_rss_bytes", "2500.5"),
        ("heap_bytes", "1200.3"),
        ("loaded_content_bytes", "480.2"),
        ("query_cache_bytes", "240.1"),
        ("indexes_bytes", "360.4"),
        ("other_bytes", "119.6"),
    ] {
        assert_eq!(megabytes(&breakdown[key]), expected, "{key}");
    }
}

/// The diagram "Memory Threshold System": 65 % of 3072 MB is 1995 MB.
#[test]
fn the_limits_are_exceeded_where_the_guide_draws_them() {
    let Program {
        source, tracker, ..
    } = program(mb(0));
    for (megabytes, soft, hard) in [
        (1995, false, false),
        (2457, false, false),
        (2458, true, false),
        (2856, true, false),
        (2857, true, true),
    ] {
        source.set_rss(Bytes::from_mib(megabytes));
        let diagnostics = tracker.get_diagnostics().unwrap();
        assert_eq!(
            (
                diagnostics.soft_limit_exceeded,
                diagnostics.hard_limit_exceeded
            ),
            (Some(soft), Some(hard)),
            "{megabytes}"
        );
    }
}

/// "Memory Leaks": ten snapshots, a minute apart.
#[test]
fn a_leak_is_seen_in_the_growth_between_snapshots() {
    let Program {
        source,
        clock,
        tracker,
        ..
    } = program(mb(10_000));
    let mut snapshots = Vec::new();
    for _ in 0..10 {
        snapshots.push(tracker.take_snapshot().unwrap());
        source.allocate(mb(125));
        clock.advance(Duration::from_secs(60));
    }
    for (interval, pair) in (1..).zip(snapshots.windows(2)) {
        let growth = Growth::between(&pair[0], &pair[1]);
        let grown = Bytes(growth.process_memory.cast_unsigned());
        assert_eq!(
            format!("Interval {interval}: {} MB growth", in_mb(grown)),
            format!("Interval {interval}: 12.5 MB growth")
        );
        assert_eq!(growth.per_minute(), Some(growth.process_memory));
    }
    assert_eq!(tracker.growths().len(), 9);
}

/// "High RSS vs Heap": the ratio, and the warning above 2.0.
#[test]
fn a_resident_set_far_above_the_heap_is_explained() {
    let Program {
        source, tracker, ..
    } = program(mb(30_720));
    source.change(|reading| reading.heap_allocated = Some(mb(12_000)));
    let ratio = tracker.get_breakdown().unwrap().rss_heap_ratio().unwrap();
    assert_eq!(
        ratio.to_string(),
        "RSS/Heap ratio: 2.56\n\
         Warning: RSS much higher than heap\n\
         This may indicate:\n\
         - Large index structures (LEANN, Tantivy)\n\
         - Memory fragmentation\n\
         - External library allocations"
    );
    source.change(|reading| reading.heap_allocated = Some(mb(25_000)));
    let ratio = tracker.get_breakdown().unwrap().rss_heap_ratio().unwrap();
    assert!(!ratio.is_high());
    assert!(!ratio.to_string().contains("Warning"));
}

/// "Monitor Memory Usage Regularly": the line for the log.
#[test]
fn the_status_line_is_the_guides() {
    let Program { tracker, .. } = program(mb(25_005));
    let stats = tracker.get_stats().unwrap();
    assert_eq!(
        format!(
            "Memory: {} MB (Peak: {} MB)",
            in_mb(stats.current),
            in_mb(stats.peak)
        ),
        "Memory: 2500.5 MB (Peak: 2500.5 MB)"
    );
}
