//! Groups of processes: as they were recorded, and summed where they were not.

use grey_model::{GroupField, GroupValues};

use super::*;

/// What the group of `name` held in each sample, with its life.
fn group(watched: &Watched, name: &str) -> Vec<(u64, u64)> {
    let key = (GroupKind::Program, KernelText::from(name));
    points(&watched.followed.groups[&key].trace)
}

#[test]
fn a_group_does_not_grow_when_one_of_it_is_among_the_largest_at_last() {
    let watched = recalled(&each_second(5, |second| {
        let mut all = vec![process(7, "web", 0, 100), process(6, "calm", 0, 1)];
        if second >= 3 {
            all.push(process(8, "web", 0, 30 + second));
        }
        all
    }));
    assert_eq!(
        group(&watched, "web"),
        [(0, 133), (0, 133), (0, 133), (0, 133), (0, 134)]
    );
}

#[test]
fn a_process_of_a_group_counts_from_its_start_on_and_what_it_held_in_a_gap_at_the_least() {
    let watched = recalled(&each_second(8, |second| {
        let mut all = vec![process(7, "web", 0, 100)];
        match second {
            4 => all.push(process(8, "web", 102, 10)),
            6 => all.push(process(8, "web", 102, 40)),
            _ => {}
        }
        all
    }));
    // Of the second of its start it is not known whether it had.
    let held: Vec<u64> = group(&watched, "web").iter().map(|(_, mib)| *mib).collect();
    assert_eq!(held, [100, 100, 100, 110, 110, 110, 140, 100]);
}

#[test]
fn a_group_of_which_nobody_is_left_was_restarted() {
    let watched = recalled(&each_second(4, |second| match second {
        0 | 1 => vec![process(7, "web", 0, 10)],
        _ => vec![process(9, "web", 102, 20)],
    }));
    assert_eq!(group(&watched, "web"), [(0, 10), (0, 10), (1, 20), (1, 20)]);
}

/// A group of processes of which the oldest started at this second after boot.
fn group_sample(name: &str, cgroup: &str, processes: u64, mib: u64, oldest: u64) -> GroupSample {
    GroupSample {
        key: GroupKey {
            name: KernelText::from(name),
            cgroup: CgroupPath::new(cgroup.as_bytes()),
        },
        values: GroupValues::default()
            .with(GroupField::Processes, Some(processes))
            .with(GroupField::Anonymous, Some(mib * MIB))
            .with(GroupField::Swap, Some(MIB))
            .with(
                GroupField::OldestStart,
                Some(oldest * rustix::param::clock_ticks_per_second()),
            ),
    }
}

/// A sample a second of one process, with groups in every second one.
fn with_groups(seconds: u64, groups: impl Fn(u64) -> Vec<GroupSample>) -> Vec<Sample> {
    let mut samples = each_second(seconds, |_| vec![process(7, "worker", 0, 10)]);
    for (second, sample) in (0..).zip(&mut samples) {
        sample.groups = (second % 2 == 0).then(|| groups(second));
    }
    samples
}

#[test]
fn recorded_groups_are_judged_by_all_their_processes() {
    let samples = with_groups(6, |second| {
        vec![
            group_sample("worker", "/a", 1 + second, 10 * (1 + second), 0),
            group_sample("worker", "/b", 2, 5, 0),
        ]
    });
    let watched = recalled(&samples);
    let key = (GroupKind::Program, KernelText::from("worker"));
    let workers = &watched.followed.groups[&key];
    // Both cgroups, each with a MiB in swap.
    assert_eq!(points(&workers.trace), [(0, 17), (0, 37), (0, 57)]);
    assert_eq!(workers.processes, 5 + 2);
    assert!(watched.groups_are_whole);
    assert_eq!(watched.lasted_of_groups, Duration::from_secs(4));
    // By name they are found, and no other.
    for (name, is_there) in [("name:worker", true), ("name:other", false)] {
        let named = recalled_of(&samples, &[name.parse().unwrap()]);
        assert_eq!(named.followed.groups.contains_key(&key), is_there, "{name}");
        assert!(named.groups_are_whole);
    }
    // Of those of one process that was asked for, there are no sums.
    let single = recalled_of(&samples, &[Target::Pid(7)]);
    assert_eq!(group(&single, "worker"), [(0, 10); 6]);
    assert!(!single.groups_are_whole);
}

#[test]
fn a_recorded_group_was_restarted_when_all_of_it_began_after_the_reading_before() {
    let group = |oldest: [u64; 3]| {
        let samples = with_groups(6, |second| {
            let oldest = oldest[usize::try_from(second / 2).unwrap()];
            vec![group_sample("worker", "/a", 2, 10, oldest)]
        });
        group(&recalled(&samples), "worker")
    };
    // Of two the older one ended: the other goes on.
    assert_eq!(group([50, 99, 101]), [(0, 11); 3]);
    // Between the readings of 102 and 104 seconds after boot.
    assert_eq!(group([50, 50, 103]), [(0, 11), (0, 11), (1, 11)]);
}

#[test]
fn two_names_that_are_printed_alike_are_two_groups() {
    let group = |name: &[u8]| {
        let mut process = process(1, "p", 0, 1);
        process.key.name = KernelText::from(name);
        group_of(&process.key.name, None, true)
    };
    let (byte, text) = (group(b"\xff"), group(b"\\xff"));
    assert_eq!(byte.1.to_string(), text.1.to_string());
    assert_ne!(byte, text);
}
