//! Which processes and cgroups of two samples can be compared.

#![expect(
    clippy::unwrap_used,
    reason = "what fails here fails the test, which is what it is for"
)]

use grey_model::{
    BootId, Bytes, CgroupDelta, CgroupField, CgroupPath, CgroupSample, CgroupValues, Comparison,
    Fate, KernelText, ProcessField, ProcessId, ProcessKey, ProcessSample, ProcessValues, Sample,
    Snapshot, SystemValues,
};
use grey_policy::comparable::{Comparability, Extent, keep_comparable};
use grey_policy::compare;
use serde_json::json;

/// A whole present, samples with up to 2 cgroups, 100 ticks a second.
const NOW: Extent = Extent {
    later_has_all_processes: true,
    later_has_all_cgroups: true,
    most_cgroups: 2,
    ticks_per_second: 100,
};

const PAST: Extent = Extent {
    later_has_all_processes: false,
    later_has_all_cgroups: false,
    ..NOW
};

fn process(pid: u32, start_time_ticks: u64, rss: u64) -> ProcessSample {
    ProcessSample {
        key: ProcessKey {
            id: ProcessId {
                pid,
                start_time_ticks,
            },
            name: KernelText::from("name"),
            cgroup: None,
        },
        values: ProcessValues::default()
            .with(ProcessField::Rss, Some(rss))
            .with(ProcessField::Swap, Some(1)),
    }
}

/// A sample of so many seconds after boot.
fn sample(seconds: u64, processes: Vec<ProcessSample>, groups: &[(&str, u64)]) -> Sample {
    let groups = groups.iter().map(|(path, usage)| CgroupSample {
        path: CgroupPath::new(path.as_bytes()).unwrap(),
        values: CgroupValues::default().with(CgroupField::Current, Some(*usage)),
    });
    Sample {
        at_unix_ms: seconds * 1000,
        since_boot_ms: seconds * 1000,
        boot: BootId("one".to_owned()),
        system: SystemValues::default(),
        processes,
        cgroups: Some(groups.collect()),
        groups: None,
    }
}

fn pids(sample: &Sample) -> Vec<u32> {
    let processes = sample.processes.iter();
    processes.map(|process| process.key.id.pid).collect()
}

fn paths(sample: &Sample) -> Vec<String> {
    let groups = sample.cgroups.iter().flatten();
    groups.map(|group| group.path.to_string()).collect()
}

fn kept(
    before: Vec<ProcessSample>,
    after: Vec<ProcessSample>,
    extent: Extent,
) -> (Vec<u32>, Vec<u32>, Comparability) {
    let (mut before, mut after) = (sample(50, before, &[]), sample(60, after, &[]));
    let found = keep_comparable(&mut before, &mut after, extent);
    (pids(&before), pids(&after), found)
}

#[test]
fn a_process_that_was_there_and_was_not_kept_did_not_appear() {
    let before = vec![process(1, 10, 500), process(2, 20, 300)];
    let mut after = before.clone();
    // Older than the first sample, which kept larger ones; and a younger one.
    after.extend([process(3, 30, 200), process(4, 5500, 100)]);
    let (earlier, later, found) = kept(before, after, NOW);
    assert_eq!((earlier, later), (vec![1, 2], vec![1, 2, 4]));
    assert_eq!(found.processes_left_out.len(), 1);
    assert!(found.at_most_before.is_empty());
}

#[test]
fn one_that_grew_past_the_others_is_given_the_most_that_it_can_have_had() {
    let mut before = sample(50, vec![process(1, 10, 500), process(2, 20, 300)], &[]);
    let mut after = sample(60, vec![process(1, 10, 500), process(3, 30, 900)], &[]);
    let found = keep_comparable(&mut before, &mut after, NOW);
    let grown = process(3, 30, 0).key.id;
    assert_eq!(found.at_most_before.iter().collect::<Vec<_>>(), [&grown]);
    assert_eq!(pids(&before), [1, 2, 3]);
    let given = &before.processes[2].values;
    // 300 and 1 in swap is what the smallest one that was kept had.
    assert_eq!(given.get(ProcessField::Rss), Some(301));
    assert_eq!(given.get(ProcessField::Swap), Some(1), "no change is known");
    assert_eq!(given.get(ProcessField::Pss), None);
}

#[test]
fn what_a_whole_sample_lacks_has_gone() {
    let (earlier, _, found) = kept(vec![process(1, 10, 500)], vec![process(2, 20, 600)], NOW);
    assert!(earlier.contains(&1));
    assert_eq!(found.processes_left_out.len(), 0);
}

#[test]
fn what_a_sample_of_the_largest_lacks_has_gone_only_where_its_pid_has_a_successor() {
    let before = vec![
        process(1, 10, 500),
        process(2, 20, 100),
        process(3, 30, 100),
    ];
    let after = vec![process(3, 31, 300), process(4, 5500, 400)];
    let (earlier, later, found) = kept(before, after, PAST);
    // The first was larger than what was kept, and is there with the most that
    // it can have; the second was not, and may be there as it was.
    assert_eq!((earlier, later), (vec![1, 3], vec![1, 3, 4]));
    assert_eq!(found.processes_left_out.len(), 1);
    let ids: Vec<_> = found.at_most_after.iter().map(|id| id.pid).collect();
    assert_eq!(ids, [1]);
}

/// What is told of two samples, as `diff` does.
fn told(before: &Sample, after: &Sample, extent: Extent) -> Comparison {
    let (mut before, mut after) = (before.clone(), after.clone());
    let found = keep_comparable(&mut before, &mut after, extent);
    let mut comparison = compare(&snapshot(&before), &snapshot(&after)).unwrap();
    found.forget_bounds(&mut comparison);
    comparison
}

fn snapshot(sample: &Sample) -> Snapshot {
    let processes = sample.processes.iter().map(|process| {
        json!({
            "pid": process.key.id.pid, "start_time_ticks": process.key.id.start_time_ticks,
            "parent_pid": 0, "name": process.key.name, "state": "unknown", "kernel_thread": false,
            "rss_bytes": process.values.get(ProcessField::Rss),
            "swap_bytes": process.values.get(ProcessField::Swap),
        })
    });
    let groups = sample.cgroups.iter().flatten().map(|group| {
        json!({
            "path": group.path, "id": 0, "can_reclaim": false,
            "current_bytes": group.values.get(CgroupField::Current),
        })
    });
    serde_json::from_value(json!({
        "taken_at_unix_seconds": 1.0,
        "host": {
            "kernel": null, "boot_id": "one", "cgroup_mode": "none", "page_size_bytes": 0,
            "systemd": false, "container": false,
        },
        "system": { "total_bytes": 9, "available_bytes": 1, "used_bytes": 8, "free_bytes": 1 },
        "breakdown": [], "swap": { "used_bytes": 0 }, "targets": null, "unreadable_processes": 0,
        "processes": processes.collect::<Vec<_>>(), "cgroups": groups.collect::<Vec<_>>(),
    }))
    .unwrap()
}

#[test]
fn who_left_the_largest_may_only_be_smaller_and_is_not_said_to_have_gone() {
    let before = sample(50, vec![process(1, 10, 900), process(2, 20, 500)], &[]);
    let after = sample(60, vec![process(2, 20, 300)], &[]);
    let comparison = told(&before, &after, PAST);
    let left = &comparison.processes[0];
    assert_eq!((left.id.pid, left.fate), (1, Fate::Left));
    // It has 301 at most; what it has in swap is not known, either.
    assert_eq!(left.delta_bytes, Some(301 - 900));
    assert_eq!((left.rss_before, left.rss_after), (Some(Bytes(900)), None));
    assert_eq!(left.swap_after, None);
    let program = &comparison.programs[0];
    assert_eq!((program.count_before, program.count_after), (2, 1));
    // Where every process is there, it has gone.
    let gone = &told(&before, &after, NOW).processes[0];
    assert_eq!((gone.fate, gone.delta_bytes), (Fate::Went, Some(-901)));
}

#[test]
fn who_has_the_pid_of_another_shows_that_the_other_has_gone() {
    let before = sample(50, vec![process(1, 10, 900), process(2, 20, 500)], &[]);
    let after = sample(60, vec![process(1, 5500, 700), process(2, 20, 500)], &[]);
    let comparison = told(&before, &after, PAST);
    let fates: Vec<Fate> = comparison
        .processes
        .iter()
        .map(|delta| delta.fate)
        .collect();
    assert_eq!(fates, [Fate::Went, Fate::Appeared]);
}

#[test]
fn cgroups_that_enter_or_leave_the_largest_are_not_said_to_have_appeared_or_gone() {
    let before = sample(50, vec![], &[("/a", 500), ("/b", 300)]);
    let after = sample(60, vec![], &[("/b", 300), ("/c", 400)]);
    let fates = |extent: Extent| -> Vec<(String, Fate, Option<i64>)> {
        let groups = told(&before, &after, extent).cgroups;
        let fate = |delta: CgroupDelta| (delta.path.to_string(), delta.fate, delta.delta_bytes);
        groups.into_iter().map(fate).collect()
    };
    let told = |path: &str, fate, delta| (path.to_owned(), fate, Some(delta));
    let left = told("/a", Fate::Left, -200);
    let entered = told("/c", Fate::Entered, 100);
    assert_eq!(fates(PAST), [left, entered.clone()]);
    let went = told("/a", Fate::Went, -500);
    assert_eq!(fates(NOW), [went, entered]);
    // With fewer than a sample has room for, all of them are there.
    let roomy = Extent {
        most_cgroups: 3,
        ..PAST
    };
    let (went, appeared) = (
        told("/a", Fate::Went, -500),
        told("/c", Fate::Appeared, 400),
    );
    assert_eq!(fates(roomy), [went, appeared]);
}

#[test]
fn without_a_tick_rate_nothing_is_known_to_be_new() {
    let extent = Extent {
        ticks_per_second: 0,
        ..NOW
    };
    let (_, later, found) = kept(
        vec![process(1, 10, 500)],
        vec![process(4, 9000, 100)],
        extent,
    );
    assert_eq!((later, found.processes_left_out.len()), (vec![], 1));
}

#[test]
fn a_small_cgroup_that_a_full_sample_lacks_did_not_appear() {
    let mut before = sample(50, vec![], &[("/a", 500), ("/b", 300)]);
    let mut after = sample(60, vec![], &[("/a", 500), ("/c", 200), ("/d", 400)]);
    let found = keep_comparable(&mut before, &mut after, NOW);
    assert_eq!(found.cgroups_left_out.len(), 1);
    assert_eq!(paths(&after), ["/a", "/d"]);
    // The later one is whole: what it lacks is gone.
    assert_eq!(paths(&before), ["/a", "/b", "/d"]);
    assert!(found.cgroups_left.is_empty());
}

#[test]
fn where_all_cgroups_are_kept_one_that_is_new_appeared() {
    let mut before = sample(50, vec![], &[("/a", 500)]);
    let mut after = sample(60, vec![], &[("/a", 500), ("/c", 200)]);
    let found = keep_comparable(&mut before, &mut after, NOW);
    assert_eq!(found.cgroups_left_out.len(), 0);
    assert_eq!(paths(&after), ["/a", "/c"]);
}
