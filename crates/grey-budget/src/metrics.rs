//! Publishes what the controller knows through the `metrics` facade, once a
//! tick. The names are in [`crate::metric_names`].
//!
//! Never called on a hot path, and installs no recorder: the program does.

use std::sync::Arc;

use grey_model::{Bytes, Level, SystemLevel};
use metrics::{SharedString, counter, describe_counter, describe_gauge, gauge};

use crate::metric_names::{self as names, Kind};
use crate::tracker::{ComponentCounts, ComponentShare, MemoryBreakdown};

/// What one tick publishes. Totals are since the start of the program.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishedMetrics<'a> {
    /// Where the memory is.
    pub breakdown: &'a MemoryBreakdown,
    /// Highest resident set size so far.
    pub peak: Bytes,
    /// The budget; `None` without one.
    pub limit: Option<Bytes>,
    /// Threads; `None` when unknown.
    pub threads: Option<u64>,
    /// The level of the budget.
    pub level: Level,
    /// The level of the machine and the cgroup.
    pub system_level: SystemLevel,
    /// The program's own counts.
    pub counts: ComponentCounts,
    /// Bytes recorded as taken a second.
    pub allocation_rate_per_second: Option<Bytes>,
    /// Sums since the start.
    pub totals: Totals,
}

/// Sums since the start of the program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes recorded as taken.
    pub allocated: Bytes,
    /// Things that were evicted.
    pub evictions: u64,
    /// Bytes that were evicted.
    pub evicted: Bytes,
    /// Things that were written to disk.
    pub spills: u64,
    /// Bytes that were written to disk.
    pub spilled: Bytes,
    /// Values that were loaded back.
    pub loaded_back: u64,
    /// What these weigh.
    pub loaded_back_bytes: Bytes,
    /// Requests that were refused.
    pub rejections: u64,
    /// Bytes that the kernel got back by purges.
    pub purged: Bytes,
}

/// Tells the recorder what each metric means. Once, after it is installed.
pub fn describe() {
    for metric in names::ALL {
        match metric.kind {
            Kind::Gauge => describe_gauge!(metric.name, metric.help),
            Kind::Counter => describe_counter!(metric.name, metric.help),
        }
    }
}

/// Publishes. What is unknown is not published, and keeps its last value.
pub fn publish(now: &PublishedMetrics<'_>) {
    let set = |metric: names::Metric, value: f64| gauge!(metric.name).set(value);
    let breakdown = now.breakdown;
    set(names::USAGE, float(breakdown.process_rss.get()));
    set(names::PEAK, float(now.peak.get()));
    if let Some(limit) = now.limit {
        set(names::LIMIT, float(limit.get()));
        if let Some(percent) = breakdown.process_rss.percent_of(limit) {
            set(names::PERCENT, percent.0);
        }
    }
    set(names::RESERVED, float(breakdown.accounted.get()));
    set(names::UNACCOUNTED, signed(breakdown.unaccounted));
    for share in &breakdown.components {
        publish_component(share);
    }
    set(names::LEVEL, step(now.level));
    set(names::SYSTEM_LEVEL, step(now.system_level));
    let counts = now.counts;
    set(names::DB_CONNECTIONS, float(counts.db_connections));
    set(names::SPAWNED_TASKS, float(counts.spawned_tasks));
    for (metric, known) in [
        (names::HEAP, breakdown.heap.map(Bytes::get)),
        (names::THREADS, now.threads),
        (names::WORK_QUEUE, counts.work_queue_size),
        (names::EVENT_QUEUE, counts.event_queue_size),
        (
            names::ALLOCATION_RATE,
            now.allocation_rate_per_second.map(Bytes::get),
        ),
    ] {
        if let Some(value) = known {
            set(metric, float(value));
        }
    }
    publish_totals(&now.totals);
}

fn publish_totals(totals: &Totals) {
    for (metric, total) in [
        (names::ALLOCATED, totals.allocated.get()),
        (names::EVICTIONS, totals.evictions),
        (names::EVICTED, totals.evicted.get()),
        (names::SPILLS, totals.spills),
        (names::SPILLED, totals.spilled.get()),
        (names::LOADED_BACK, totals.loaded_back),
        (names::LOADED_BACK_BYTES, totals.loaded_back_bytes.get()),
        (names::REJECTIONS, totals.rejections),
        (names::PURGED, totals.purged.get()),
    ] {
        counter!(metric.name).absolute(total);
    }
}

fn publish_component(share: &ComponentShare) {
    let label = names::COMPONENT.label.unwrap_or("component");
    let name = SharedString::from_shared(Arc::clone(&share.name));
    gauge!(names::COMPONENT.name, label => name).set(float(share.reserved.get()));
}

/// A component that is gone holds nothing: its last value would stand for ever.
pub fn forget_component(name: &str) {
    publish_component(&ComponentShare {
        name: name.into(),
        reserved: Bytes::ZERO,
    });
}

fn step<S: grey_model::Step>(step: S) -> f64 {
    let below = S::ALL.iter().take_while(|other| **other < step).count();
    f64::from(u8::try_from(below).unwrap_or(u8::MAX))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge is a float; above 8 PiB it rounds"
)]
fn float(number: u64) -> f64 {
    number as f64
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge is a float; above 8 PiB it rounds"
)]
fn signed(number: i64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::budget::Budget;
    use crate::testkit::FakeSource;
    use crate::tracker::MemoryTracker;

    const MIB: u64 = 1 << 20;

    #[test]
    fn everything_that_is_published_is_rendered_under_its_name() {
        let budget = Budget::new(Bytes(400 * MIB)).unwrap();
        let cache = budget.component("query_cache").register().unwrap();
        let _held = cache.reserve(Bytes(30 * MIB)).unwrap();
        let source = FakeSource::new(Bytes(50 * MIB));
        source.change(|reading| reading.heap_allocated = Some(Bytes(45 * MIB)));
        let tracker = MemoryTracker::builder(Arc::new(source.clone()))
            .budget(&budget)
            .build();
        source.set_rss(Bytes(100 * MIB));
        tracker.set_work_queue_size(7);
        tracker.counters().set_event_queue_size(8);
        tracker.increment_db_connections();
        let breakdown = tracker.get_breakdown().unwrap();
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            describe();
            publish(&PublishedMetrics {
                breakdown: &breakdown,
                peak: Bytes(120 * MIB),
                limit: Some(budget.limit()),
                threads: Some(3),
                level: Level::Hard,
                system_level: SystemLevel::Critical,
                counts: tracker.counters().counts(),
                allocation_rate_per_second: Some(Bytes(9)),
                totals: Totals {
                    allocated: Bytes(11),
                    evictions: 12,
                    evicted: Bytes(13),
                    spills: 14,
                    spilled: Bytes(15),
                    loaded_back: 18,
                    loaded_back_bytes: Bytes(19),
                    rejections: 16,
                    purged: Bytes(17),
                },
            });
        });
        let text = recorder.handle().render();
        for line in [
            "grey_budget_usage_bytes 104857600",
            "grey_budget_peak_bytes 125829120",
            "grey_budget_limit_bytes 419430400",
            "grey_budget_usage_percent 25",
            "grey_budget_reserved_bytes 31457280",
            "grey_budget_component_bytes{component=\"query_cache\"} 31457280",
            "grey_budget_unaccounted_bytes 20971520",
            "grey_budget_heap_bytes 47185920",
            "grey_budget_threads 3",
            "grey_budget_level 2",
            "grey_budget_system_level 3",
            "grey_budget_work_queue_items 7",
            "grey_budget_event_queue_items 8",
            "grey_budget_db_connections 1",
            "grey_budget_spawned_tasks 0",
            "grey_budget_allocation_bytes_per_second 9",
            "grey_budget_allocated_bytes_total 11",
            "grey_budget_evictions_total 12",
            "grey_budget_evicted_bytes_total 13",
            "grey_budget_spills_total 14",
            "grey_budget_spilled_bytes_total 15",
            "grey_budget_loaded_back_total 18",
            "grey_budget_loaded_back_bytes_total 19",
            "grey_budget_rejections_total 16",
            "grey_budget_purged_bytes_total 17",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        for metric in names::ALL {
            let help = format!("# HELP {} {}", metric.name, metric.help);
            assert!(text.contains(&help), "{help} in\n{text}");
        }
    }

    #[test]
    fn what_is_unknown_is_absent_and_not_0() {
        let source = FakeSource::new(Bytes(50 * MIB));
        let tracker = MemoryTracker::builder(Arc::new(source)).build();
        let breakdown = tracker.get_breakdown().unwrap();
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            publish(&PublishedMetrics {
                breakdown: &breakdown,
                peak: Bytes(50 * MIB),
                limit: None,
                threads: None,
                level: Level::Normal,
                system_level: SystemLevel::Normal,
                counts: ComponentCounts::default(),
                allocation_rate_per_second: None,
                totals: Totals::default(),
            });
        });
        let text = recorder.handle().render();
        for metric in [
            names::HEAP,
            names::THREADS,
            names::LIMIT,
            names::PERCENT,
            names::WORK_QUEUE,
            names::ALLOCATION_RATE,
        ] {
            assert!(!text.contains(metric.name), "{} in\n{text}", metric.name);
        }
    }
}
