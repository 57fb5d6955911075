//! Which processes and cgroups of two samples can be compared.

#![expect(
    clippy::unwrap_used,
    reason = "what fails here fails the test, which is what it is for"
)]

use grey_model::{
    BootId, CgroupField, CgroupPath, CgroupSample, CgroupValues, KernelText, ProcessField,
    ProcessId, ProcessKey, ProcessSample, ProcessValues, Sample, SystemValues,
};
use grey_policy::comparable::{Comparability, Extent, keep_comparable};

/// A whole present, samples with up to 2 cgroups, 100 ticks a second.
const NOW: Extent = Extent {
    later_is_whole: true,
    most_cgroups: 2,
    ticks_per_second: 100,
};

const PAST: Extent = Extent {
    later_is_whole: false,
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
    assert_eq!(found.processes_left_out, 1);
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
    assert_eq!(found.processes_left_out, 0);
}

#[test]
fn what_a_sample_of_the_largest_lacks_has_gone_only_where_it_was_large_or_has_a_successor() {
    let before = vec![
        process(1, 10, 500),
        process(2, 20, 100),
        process(3, 30, 100),
    ];
    let after = vec![process(3, 31, 300), process(4, 5500, 400)];
    let (earlier, later, found) = kept(before, after, PAST);
    assert_eq!((earlier, later), (vec![1, 3], vec![3, 4]));
    assert_eq!(found.processes_left_out, 1);
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
    assert_eq!((later, found.processes_left_out), (vec![], 1));
}

#[test]
fn a_small_cgroup_that_a_full_sample_lacks_did_not_appear() {
    let mut before = sample(50, vec![], &[("/a", 500), ("/b", 300)]);
    let mut after = sample(60, vec![], &[("/a", 500), ("/c", 200), ("/d", 400)]);
    let found = keep_comparable(&mut before, &mut after, NOW);
    assert_eq!(found.cgroups_left_out, 1);
    assert_eq!(paths(&after), ["/a", "/d"]);
    // The later one is whole: what it lacks is gone.
    assert_eq!(paths(&before), ["/a", "/b"]);
}

#[test]
fn where_all_cgroups_are_kept_one_that_is_new_appeared() {
    let mut before = sample(50, vec![], &[("/a", 500)]);
    let mut after = sample(60, vec![], &[("/a", 500), ("/c", 200)]);
    let found = keep_comparable(&mut before, &mut after, NOW);
    assert_eq!(found.cgroups_left_out, 0);
    assert_eq!(paths(&after), ["/a", "/c"]);
}
