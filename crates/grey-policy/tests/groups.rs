//! Processes folded into groups: what counts, what is unknown, who is idle.

#![expect(
    clippy::unwrap_used,
    reason = "what fails here fails the test, which is what it is for"
)]

use std::collections::HashMap;

use grey_model::{Bytes, GroupBy, KernelText, ProcessGroup, ProcessId, ProcessMemory};
use grey_policy::groups::{GroupFacts, Idleness, fold, idle_holders};
use proptest::prelude::*;
use serde_json::json;

const MIB: u64 = 1 << 20;

fn process(pid: u32, parent: u32, name: &str, pss: Option<u64>) -> ProcessMemory {
    let document = json!({
        "pid": pid, "start_time_ticks": u64::from(pid) * 100, "parent_pid": parent, "name": name,
        "state": "sleeping", "kernel_thread": false, "user_id": 1000, "user": null,
        "rss_bytes": pss.map(|pss| 2 * pss * MIB), "pss_bytes": pss.map(|pss| pss * MIB),
        "uss_bytes": pss.map(|pss| pss * MIB / 2), "swap_bytes": 4 * MIB,
    });
    serde_json::from_value(document).unwrap()
}

fn names(groups: &[ProcessGroup]) -> Vec<(Option<&str>, u64)> {
    groups
        .iter()
        .map(|group| {
            let name = group.name.as_ref();
            let name = name.map(|name| std::str::from_utf8(name.as_bytes()).unwrap());
            (name, group.count)
        })
        .collect()
}

#[test]
fn a_program_is_the_sum_of_its_processes_and_the_largest_comes_first() {
    let processes = [
        process(10, 1, "agent", Some(100)),
        process(11, 1, "agent", Some(50)),
        process(12, 1, "web", Some(120)),
    ];
    let facts = GroupFacts {
        since_boot_seconds: Some(100),
        ticks_per_second: 100,
        ..GroupFacts::default()
    };
    let groups = fold(&processes, GroupBy::Program, &facts);
    assert_eq!(names(&groups), [(Some("agent"), 2), (Some("web"), 1)]);
    let agent = &groups[0];
    assert_eq!((agent.pss, agent.rss), (Bytes(150 * MIB), Bytes(300 * MIB)));
    assert_eq!((agent.uss, agent.swap), (Bytes(75 * MIB), Bytes(8 * MIB)));
    assert_eq!(agent.oldest_seconds, Some(90));
    assert_eq!(agent.idle_seconds, None);
}

#[test]
fn what_is_unknown_of_a_member_is_counted_and_not_taken_for_nothing() {
    let processes = [
        process(10, 1, "agent", Some(100)),
        process(11, 1, "agent", None),
    ];
    let groups = fold(&processes, GroupBy::Program, &GroupFacts::default());
    assert_eq!((groups[0].pss_unknown, groups[0].rss_unknown), (1, 1));
    assert_eq!(groups[0].pss, Bytes(100 * MIB));
    assert_eq!(groups[0].oldest_seconds, None);
}

#[test]
fn those_without_a_container_are_one_group_without_a_name() {
    let mut inside = process(10, 1, "web", Some(10));
    inside.container = Some("docker 1234".to_owned());
    let processes = [
        inside,
        process(11, 1, "a", Some(5)),
        process(12, 1, "b", Some(4)),
    ];
    let groups = fold(&processes, GroupBy::Container, &GroupFacts::default());
    assert_eq!(names(&groups), [(None, 2), (Some("docker 1234"), 1)]);
}

#[test]
fn a_tree_is_named_by_who_stands_right_below_the_first_process() {
    let mut thread = process(2, 0, "kthreadd", None);
    thread.kernel_thread = true;
    let processes = [
        process(1, 0, "init", Some(1)),
        thread,
        process(10, 1, "shell", Some(1)),
        process(11, 10, "make", Some(2)),
        process(12, 11, "cc", Some(300)),
        process(20, 1, "orphan", Some(5)),
        process(30, 99, "stray", Some(6)),
    ];
    let groups = fold(&processes, GroupBy::Tree, &GroupFacts::default());
    assert_eq!(
        names(&groups),
        [
            (Some("shell (10)"), 3),
            (Some("stray (30)"), 1),
            (Some("orphan (20)"), 1),
            (Some("init (1)"), 1),
        ]
    );
}

#[test]
fn two_names_that_are_printed_alike_are_two_groups() {
    let named = |pid, name: &[u8]| ProcessMemory {
        name: KernelText::from(name),
        ..process(pid, 1, "", Some(1))
    };
    // A byte that is no UTF-8, the text that stands for it, and another byte.
    let processes = [
        named(10, b"\xff"),
        named(11, b"\\xff"),
        named(12, b"\xfe"),
        named(13, b"\xff"),
    ];
    let groups = fold(&processes, GroupBy::Program, &GroupFacts::default());
    let found: Vec<(&[u8], u64)> = groups
        .iter()
        .map(|group| (group.name.as_ref().unwrap().as_bytes(), group.count))
        .collect();
    assert_eq!(found, [(&b"\xff"[..], 2), (b"\\xff", 1), (b"\xfe", 1)]);
    let printed = |index: usize| groups[index].name.as_ref().unwrap().to_string();
    assert_eq!(printed(0), printed(1));
}

#[test]
fn a_loop_of_parents_ends() {
    let processes = [process(10, 11, "a", Some(1)), process(11, 10, "b", Some(1))];
    let groups = fold(&processes, GroupBy::Tree, &GroupFacts::default());
    assert_eq!(groups.iter().map(|group| group.count).sum::<u64>(), 2);
}

#[test]
fn a_group_is_idle_for_as_long_as_its_busiest_member() {
    let processes = [
        process(10, 1, "agent", Some(100)),
        process(11, 1, "agent", Some(100)),
    ];
    let id = |index: usize| processes[index].id;
    let mut idleness = Idleness::default();
    for (at, of_first, of_second) in [(0, 5, 7), (1000, 5, 8), (2000, 5, 8)] {
        idleness.take(id(0), at, of_first);
        idleness.take(id(1), at, of_second);
    }
    let folded = |idle_seconds: HashMap<ProcessId, u64>| {
        let facts = GroupFacts {
            idle_seconds,
            ..GroupFacts::default()
        };
        fold(&processes, GroupBy::Program, &facts)
    };
    let idle = idleness.seconds_at(2000);
    assert_eq!((idle[&id(0)], idle[&id(1)]), (2000, 1000));
    let groups = folded(idle.clone());
    assert_eq!(groups[0].idle_seconds, Some(1000));
    let holders = |groups: &[ProcessGroup], total| idle_holders(groups, Bytes(total)).count();
    assert_eq!(holders(&groups, 1000 * MIB), 1);
    // 208 MiB of 20 GiB are little.
    assert_eq!(holders(&groups, 20_480 * MIB), 0);
    let mut unknown = idle;
    unknown.remove(&id(0));
    assert_eq!(folded(unknown)[0].idle_seconds, None);
}

proptest! {
    /// However they are folded, every process is in one group and every byte
    /// counts once.
    #[test]
    fn a_fold_keeps_every_process_once(
        shapes in prop::collection::vec((0_u32..12, 0_usize..3, prop::option::of(0_u64..500)), 0..12),
    ) {
        let processes: Vec<ProcessMemory> = shapes
            .iter()
            .enumerate()
            .map(|(index, &(parent, name, pss))| {
                process(u32::try_from(index).unwrap() + 1, parent, ["a", "b", "c"][name], pss)
            })
            .collect();
        for by in [
            GroupBy::Program,
            GroupBy::Unit,
            GroupBy::Container,
            GroupBy::User,
            GroupBy::Cgroup,
            GroupBy::Tree,
        ] {
            let groups = fold(&processes, by, &GroupFacts::default());
            let mut members: Vec<_> = groups.iter().flat_map(|group| &group.members).collect();
            members.sort();
            members.dedup();
            prop_assert_eq!(members.len(), processes.len());
            prop_assert_eq!(groups.iter().map(|group| group.count).sum::<u64>(), processes.len() as u64);
            let pss: Bytes = groups.iter().map(|group| group.pss).sum();
            let expected: Bytes = processes.iter().filter_map(|process| process.pss).sum();
            prop_assert_eq!(pss, expected);
        }
    }
}
