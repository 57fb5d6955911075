//! Comparing two snapshots: what is matched, what a change is, and what is
//! unknown.

#![expect(
    clippy::unwrap_used,
    reason = "what fails here fails the test, which is what it is for"
)]

use grey_model::{Comparison, Fate, Snapshot};
use grey_policy::{CompareError, compare};
use proptest::prelude::*;
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;

/// A process as a diagnosis prints it; amounts in MiB.
fn process(pid: u32, start: u64, name: &str, rss: Option<u64>, pss: Option<u64>) -> Value {
    let bytes = |amount: Option<u64>| amount.map(|amount| amount * MIB);
    json!({
        "pid": pid, "start_time_ticks": start, "parent_pid": 1, "name": name,
        "state": "sleeping", "kernel_thread": false, "user_id": 0, "user": null,
        "command_line": null, "threads": 1, "rss_bytes": bytes(rss), "pss_bytes": bytes(pss),
        "swap_bytes": 0, "cgroup": null, "unit": null, "container": null, "ksm": null,
    })
}

/// A group as a diagnosis prints it; amounts in MiB.
fn group(path: &str, id: u64, current: Option<u64>) -> Value {
    json!({
        "path": path, "id": id, "current_bytes": current.map(|amount| amount * MIB),
        "min_bytes": 0, "low_bytes": 0, "high_bytes": "max", "max_bytes": "max",
        "can_reclaim": true, "swap_current_bytes": 0,
    })
}

fn document(used: u64, processes: Vec<Value>) -> Value {
    json!({
        "schema": "grey.diagnosis/v1",
        "taken_at_unix_seconds": 1000.0,
        "host": {
            "kernel": "6.12", "boot_id": "one", "cgroup_mode": "v2",
            "page_size_bytes": 4096, "systemd": true, "container": false,
        },
        "system": {
            "total_bytes": 4096 * MIB, "available_bytes": (4000 - used) * MIB,
            "used_bytes": used * MIB, "free_bytes": (4000 - used) * MIB,
        },
        "breakdown": [
            { "name": "file_active", "bytes": 100 * MIB },
            { "name": "file_inactive", "bytes": used * MIB },
        ],
        "swap": { "used_bytes": 0 },
        "targets": null,
        "processes": processes,
        "cgroups": [],
        "unreadable_processes": 0,
    })
}

fn snapshot(document: &Value) -> Snapshot {
    serde_json::from_value(document.clone()).unwrap()
}

fn compared(before: &Value, after: &Value) -> Comparison {
    compare(&snapshot(before), &snapshot(after)).unwrap()
}

fn fates(comparison: &Comparison) -> Vec<(u32, Fate, Option<i64>)> {
    let mib = i64::try_from(MIB).unwrap();
    let deltas = comparison.processes.iter();
    deltas
        .map(|delta| {
            (
                delta.id.pid,
                delta.fate,
                delta.delta_bytes.map(|bytes| bytes / mib),
            )
        })
        .collect()
}

#[test]
fn processes_appear_grow_shrink_and_go_largest_change_first() {
    let before = document(
        1000,
        vec![
            process(1, 1, "still", Some(5), Some(5)),
            process(2, 2, "grower", Some(10), Some(10)),
            process(3, 3, "shrinker", Some(10), Some(10)),
            process(4, 4, "goer", Some(30), Some(20)),
        ],
    );
    let after = document(
        1000,
        vec![
            process(1, 1, "still", Some(5), Some(5)),
            process(2, 2, "grower", Some(60), Some(50)),
            process(3, 3, "shrinker", Some(9), Some(9)),
            process(5, 9, "comer", Some(30), Some(30)),
        ],
    );
    assert_eq!(
        fates(&compared(&before, &after)),
        [
            (2, Fate::Grew, Some(40)),
            (5, Fate::Appeared, Some(30)),
            (4, Fate::Went, Some(-20)),
            (3, Fate::Shrank, Some(-1)),
        ]
    );
}

#[test]
fn a_reused_pid_is_another_process() {
    let before = document(1000, vec![process(7, 1, "old", Some(10), Some(10))]);
    let after = document(1000, vec![process(7, 2, "new", Some(10), Some(10))]);
    assert_eq!(
        fates(&compared(&before, &after)),
        [(7, Fate::Went, Some(-10)), (7, Fate::Appeared, Some(10))]
    );
}

#[test]
fn after_a_reboot_no_process_is_the_same_and_programs_still_compare() {
    let before = document(1000, vec![process(7, 1, "web", Some(10), Some(10))]);
    let mut after = document(1000, vec![process(7, 1, "web", Some(15), Some(15))]);
    after["host"]["boot_id"] = json!("two");
    let comparison = compared(&before, &after);
    assert_eq!(comparison.same_boot, Some(false));
    assert_eq!(
        fates(&comparison),
        [(7, Fate::Appeared, Some(15)), (7, Fate::Went, Some(-10))]
    );
    let web = &comparison.programs[0];
    assert_eq!((web.count_before, web.count_after), (1, 1));
    assert_eq!(web.delta_bytes, Some(5 << 20));
}

#[test]
fn what_lacks_pss_in_one_is_compared_by_rss_and_left_out_of_the_sum() {
    let before = document(
        1000,
        vec![
            process(1, 1, "hidden", Some(10), None),
            process(2, 2, "open", Some(10), Some(10)),
        ],
    );
    let after = document(
        1000,
        vec![
            process(1, 1, "hidden", Some(12), Some(3)),
            process(2, 2, "open", Some(10), Some(11)),
        ],
    );
    let comparison = compared(&before, &after);
    assert_eq!(
        fates(&comparison),
        [(1, Fate::Grew, Some(2)), (2, Fate::Grew, Some(1))]
    );
    assert_eq!(comparison.system.pss_delta_bytes, Some(1 << 20));
    assert_eq!(comparison.system.pss_unknown_processes, 1);
}

#[test]
fn where_no_pss_is_known_its_change_is_unknown() {
    let before = document(1000, vec![process(1, 1, "hidden", Some(10), None)]);
    let after = document(1000, vec![process(1, 1, "hidden", Some(12), None)]);
    assert_eq!(compared(&before, &after).system.pss_delta_bytes, None);
}

#[test]
fn what_is_unknown_is_no_change_from_nothing() {
    let before = document(1000, vec![process(1, 1, "hidden", None, None)]);
    let after = document(1000, vec![process(1, 1, "hidden", Some(12), Some(12))]);
    assert_eq!(
        fates(&compared(&before, &after)),
        [(1, Fate::Unknown, None)]
    );
}

#[test]
fn memory_that_went_to_swap_has_moved() {
    let before = document(1000, vec![process(1, 1, "idle", Some(12), Some(12))]);
    let mut after = document(1000, vec![process(1, 1, "idle", Some(2), Some(2))]);
    after["processes"][0]["swap_bytes"] = json!(10 * MIB);
    assert_eq!(
        fates(&compared(&before, &after)),
        [(1, Fate::Moved, Some(0))]
    );
}

#[test]
fn a_reduction_is_told_in_percent_of_what_was_used() {
    let comparison = compared(&document(1000, vec![]), &document(750, vec![]));
    assert_eq!(comparison.system.reduction_percent, Some(25.0));
    assert_eq!(comparison.system.used_delta_bytes, -250 << 20);
    assert_eq!(comparison.system.cache_delta_bytes, Some(-250 << 20));
    let grown = compared(&document(1000, vec![]), &document(1500, vec![]));
    assert_eq!(grown.system.reduction_percent, Some(-50.0));
}

/// The machine of [`document`] where `listed` MiB are free on the lists of CPUs.
fn with_listed(used: u64, listed: u64) -> Value {
    let mut document = document(used, vec![]);
    let rows = document["breakdown"].as_array_mut().unwrap();
    rows.push(json!({ "name": "free_per_cpu_lists", "bytes": listed * MIB }));
    document
}

#[test]
fn pages_that_moved_to_the_lists_of_cpus_are_not_in_use() {
    // 30 MiB left MemFree, 28 of them to the lists.
    let system = compared(&with_listed(1000, 20), &with_listed(1030, 48)).system;
    assert_eq!(system.used_delta_bytes, 2 << 20);
    assert_eq!(system.available_delta_bytes, Some(-2 << 20));
    assert_eq!(system.free_delta_bytes, -2 << 20);
    assert_eq!(system.per_cpu_free_lists_delta_bytes, Some(28 << 20));
    // 490 of 980 MiB.
    let halved = compared(&with_listed(1000, 20), &with_listed(500, 10)).system;
    assert_eq!(halved.reduction_percent, Some(50.0));
}

#[test]
fn lists_of_cpus_that_one_does_not_know_are_in_neither() {
    let (known, unknown) = (with_listed(1000, 20), document(1030, vec![]));
    for (before, after, used) in [(&known, &unknown, 30), (&unknown, &known, -30)] {
        let system = compared(before, after).system;
        assert_eq!(system.used_delta_bytes, used << 20);
        assert_eq!(system.free_delta_bytes, -used << 20);
        assert_eq!(system.per_cpu_free_lists_delta_bytes, None);
    }
}

#[test]
fn a_cgroup_made_again_under_its_path_went_and_appeared() {
    let (mut before, mut after) = (document(1000, vec![]), document(1000, vec![]));
    before["cgroups"] = json!([group("/a", 5, Some(10)), group("/b", 6, Some(10))]);
    after["cgroups"] = json!([group("/a", 9, Some(30)), group("/b", 6, Some(15))]);
    let comparison = compared(&before, &after);
    let fates: Vec<_> = comparison
        .cgroups
        .iter()
        .map(|delta| (delta.path.to_string(), delta.fate))
        .collect();
    let expected = [
        ("/a", Fate::Appeared),
        ("/a", Fate::Went),
        ("/b", Fate::Grew),
    ];
    assert_eq!(fates, expected.map(|(path, fate)| (path.to_owned(), fate)));
}

#[test]
fn a_target_is_not_compared_with_the_whole_machine() {
    let before = document(1000, vec![]);
    let mut after = document(1000, vec![]);
    after["targets"] = json!([{
        "typed": "web", "kind": "cgroup", "name": "web", "process": null, "cgroup": "/web",
        "owner": null, "processes": [], "bystanders": 0,
    }]);
    let error = compare(&snapshot(&before), &snapshot(&after)).unwrap_err();
    let expected = CompareError::OtherTargets {
        before: "the whole machine".to_owned(),
        after: "web".to_owned(),
    };
    assert_eq!(error, expected);
}

#[test]
fn a_row_that_this_version_does_not_know_is_compared_too() {
    let before = document(1000, vec![]);
    let mut after = before.clone();
    after["breakdown"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "name": "guest", "bytes": 5 }));
    let comparison = compared(&before, &after);
    let row = comparison
        .breakdown
        .iter()
        .find(|row| row.name == "guest")
        .unwrap();
    assert_eq!(
        (row.before_bytes, row.after_bytes, row.delta_bytes),
        (None, Some(5), None)
    );
}

proptest! {
    /// Compared the other way round, every change has the other sign.
    #[test]
    fn a_comparison_turned_round_is_its_negative(
        amounts in prop::collection::vec((0_u64..4, 0_u64..4, 0_u64..500, 0_u64..500), 0..12),
    ) {
        let list = |of_after: bool| {
            amounts
                .iter()
                .enumerate()
                .filter(|(_, (in_before, in_after, ..))| 0 < if of_after { *in_after } else { *in_before })
                .map(|(index, (_, _, before, after))| {
                    let amount = if of_after { *after } else { *before };
                    let pid = u32::try_from(index).unwrap() + 1;
                    process(pid, 1, &format!("p{}", index % 3), Some(amount), Some(amount / 2))
                })
                .collect::<Vec<_>>()
        };
        let (one, other) = (document(900, list(false)), document(700, list(true)));
        let (there, back) = (compared(&one, &other), compared(&other, &one));
        prop_assert_eq!(there.system.rss_delta_bytes, -back.system.rss_delta_bytes);
        let turned = back.system.pss_delta_bytes.map(|bytes| -bytes);
        prop_assert_eq!(there.system.pss_delta_bytes, turned);
        prop_assert_eq!(there.processes.len(), back.processes.len());
        for delta in &there.processes {
            let turned = back.processes.iter().find(|other| other.id == delta.id).unwrap();
            prop_assert_eq!(delta.delta_bytes, turned.delta_bytes.map(|bytes| -bytes));
        }
        let sum = |comparison: &Comparison| -> i64 {
            comparison.programs.iter().filter_map(|program| program.delta_bytes).sum()
        };
        prop_assert_eq!(Some(sum(&there)), there.system.pss_delta_bytes);
        prop_assert_eq!(Some(sum(&back)), back.system.pss_delta_bytes);
    }
}
