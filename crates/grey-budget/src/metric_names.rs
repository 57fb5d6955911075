//! Every metric that this crate publishes: its name, its unit, what it means.
//!
//! Never a metric that stands elsewhere: whoever reads this file has seen all.

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only goes up.
    Counter,
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name, with its unit.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What it means.
    pub help: &'static str,
    /// Its label, if it has one.
    pub label: Option<&'static str>,
}

macro_rules! metrics {
    ($($constant:ident $kind:ident $name:literal $(by $label:literal)? : $help:literal;)*) => {
        $(#[doc = $help] pub const $constant: Metric = Metric {
            name: $name,
            kind: Kind::$kind,
            help: $help,
            label: metrics!(@label $($label)?),
        };)*

        /// All of them.
        pub const ALL: &[Metric] = &[$($constant),*];
    };
    (@label) => { None };
    (@label $label:literal) => { Some($label) };
}

metrics! {
    USAGE Gauge "grey_budget_usage_bytes":
        "Resident set size of the process.";
    PEAK Gauge "grey_budget_peak_bytes":
        "Highest resident set size so far.";
    LIMIT Gauge "grey_budget_limit_bytes":
        "The budget.";
    PERCENT Gauge "grey_budget_usage_percent":
        "Resident set size in percent of the budget.";
    RESERVED Gauge "grey_budget_reserved_bytes":
        "What all components have reserved.";
    COMPONENT Gauge "grey_budget_component_bytes" by "component":
        "What one component has reserved.";
    UNACCOUNTED Gauge "grey_budget_unaccounted_bytes":
        "Resident, and neither the start-up baseline nor charged to a component.";
    HEAP Gauge "grey_budget_heap_bytes":
        "What the program holds of its allocator; absent while unknown.";
    THREADS Gauge "grey_budget_threads":
        "Threads of the process; absent while unknown.";
    LEVEL Gauge "grey_budget_level":
        "0 normal, 1 soft, 2 hard, 3 emergency.";
    SYSTEM_LEVEL Gauge "grey_budget_system_level":
        "0 normal, 1 moderate, 2 high, 3 critical.";
    WORK_QUEUE Gauge "grey_budget_work_queue_items":
        "Items in the work queue; absent while unknown.";
    EVENT_QUEUE Gauge "grey_budget_event_queue_items":
        "Events in the broadcaster; absent while unknown.";
    DB_CONNECTIONS Gauge "grey_budget_db_connections":
        "Open connections to databases.";
    SPAWNED_TASKS Gauge "grey_budget_spawned_tasks":
        "Tasks that were spawned and have not ended.";
    ALLOCATION_RATE Gauge "grey_budget_allocation_bytes_per_second":
        "Bytes recorded as taken a second, since the reading before.";
    ALLOCATED Counter "grey_budget_allocated_bytes_total":
        "Bytes recorded as taken.";
    EVICTIONS Counter "grey_budget_evictions_total":
        "Things that were evicted.";
    EVICTED Counter "grey_budget_evicted_bytes_total":
        "Bytes that were evicted.";
    SPILLS Counter "grey_budget_spills_total":
        "Things that were written to disk.";
    SPILLED Counter "grey_budget_spilled_bytes_total":
        "Bytes that were written to disk.";
    LOADED_BACK Counter "grey_budget_loaded_back_total":
        "Spilled values that came back before anybody asked for them.";
    LOADED_BACK_BYTES Counter "grey_budget_loaded_back_bytes_total":
        "What these weigh in memory.";
    REJECTIONS Counter "grey_budget_rejections_total":
        "Requests for memory or work that were refused.";
    PURGED Counter "grey_budget_purged_bytes_total":
        "Bytes that the kernel got back by purging the allocator.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_says_whose_it_is_and_counters_end_in_total() {
        for metric in ALL {
            assert!(metric.name.starts_with("grey_budget_"), "{}", metric.name);
            let total = metric.name.ends_with("_total");
            assert_eq!(total, metric.kind == Kind::Counter, "{}", metric.name);
            let same = ALL.iter().filter(|other| other.name == metric.name);
            assert_eq!(same.count(), 1, "{}", metric.name);
        }
    }
}
