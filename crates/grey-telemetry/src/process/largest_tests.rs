//! Tests of `largest.rs`, on imitations of /proc.
//!
//! Never part of the product.

use super::super::imitation::Imitation;
use super::*;
use grey_model::GroupField;

const OPTIONS: LargestOptions = LargestOptions {
    count: 2,
    looked_at: 0,
    pss_time: Duration::from_secs(1),
    pss_largest: Bytes::from_mib(100),
};

/// `PF_EXITING`.
const EXITING: u32 = 4;

fn status(tree: &Imitation, pid: u32, swap_kib: u64) {
    let text = format!("Name:\tx\nTgid:\t{pid}\nRssShmem:\t 8 kB\nVmSwap:\t {swap_kib} kB\n");
    tree.write(pid, "status", text);
}

/// A process of so many resident pages, half of them shared.
fn process(tree: &Imitation, pid: u32, pages: u64) {
    tree.statm(pid, pages, pages / 2);
    tree.rollup(pid, 100, 60, 60);
    tree.stat(pid, b"name", 'S', 0, u64::from(pid) * 10);
    tree.write(pid, "cgroup", "0::/group\n");
    status(tree, pid, 4);
}

fn value(samples: &[ProcessSample], pid: u32, field: ProcessField) -> Option<u64> {
    let mut samples = samples.iter();
    let sample = samples.find(|sample| sample.key.id.pid == pid);
    sample.unwrap().values.get(field)
}

fn follow(tree: &Imitation, options: LargestOptions) -> (Kernel, LargestProcesses) {
    let kernel = tree.kernel();
    let largest = LargestProcesses::new(kernel.page_size, options);
    (kernel, largest)
}

#[test]
fn the_largest_have_their_numbers_name_and_cgroup() {
    let tree = Imitation::new();
    for (pid, pages) in [(1, 10), (2, 30), (3, 20)] {
        process(&tree, pid, pages);
    }
    let (kernel, mut largest) = follow(&tree, OPTIONS);
    let samples = largest.tick(&kernel).unwrap();
    let pids: Vec<u32> = samples.iter().map(|sample| sample.key.id.pid).collect();
    assert_eq!(pids, [2, 3]);
    assert_eq!(samples[0].key.id.start_time_ticks, 20);
    assert_eq!(samples[0].key.name, KernelText::from("name"));
    assert_eq!(samples[0].key.cgroup, CgroupPath::new(b"/group"));
    let page = kernel.page_size.get();
    for (field, expected) in [
        (ProcessField::Rss, 30 * page),
        (ProcessField::Anonymous, 15 * page),
        (ProcessField::Shared, 8 << 10),
        (ProcessField::Swap, 4 << 10),
        (ProcessField::Pss, 100 << 10),
    ] {
        assert_eq!(value(&samples, 2, field), Some(expected), "{field:?}");
    }
    assert_eq!(largest.count(), 3);
}

#[test]
fn what_did_not_move_is_not_read_again_but_in_its_turn() {
    let tree = Imitation::new();
    process(&tree, 2, 30);
    process(&tree, 3, 20);
    let (kernel, mut largest) = follow(&tree, OPTIONS);
    largest.tick(&kernel).unwrap();
    status(&tree, 2, 7);
    status(&tree, 3, 7);
    // Of two, one has its turn at each tick.
    let samples = largest.tick(&kernel).unwrap();
    let swaps = [2, 3].map(|pid| value(&samples, pid, ProcessField::Swap).unwrap() >> 10);
    assert_eq!(swaps.iter().sum::<u64>(), 4 + 7);
    let samples = largest.tick(&kernel).unwrap();
    assert_eq!(value(&samples, 2, ProcessField::Swap), Some(7 << 10));
    assert_eq!(value(&samples, 3, ProcessField::Swap), Some(7 << 10));
}

#[test]
fn swap_of_what_moved_is_read_at_once() {
    let tree = Imitation::new();
    for pid in 2..8 {
        process(&tree, pid, 30);
    }
    let options = LargestOptions {
        count: 6,
        ..OPTIONS
    };
    let (kernel, mut largest) = follow(&tree, options);
    largest.tick(&kernel).unwrap();
    for pid in 2..8 {
        status(&tree, pid, 9);
        tree.statm(pid, 20, 10);
    }
    let samples = largest.tick(&kernel).unwrap();
    for pid in 2..8 {
        assert_eq!(value(&samples, pid, ProcessField::Swap), Some(9 << 10));
    }
}

#[test]
fn another_process_under_the_same_pid_is_another() {
    let tree = Imitation::new();
    process(&tree, 2, 30);
    let (kernel, mut largest) = follow(&tree, OPTIONS);
    assert_eq!(
        largest.tick(&kernel).unwrap()[0].key.id.start_time_ticks,
        20
    );
    tree.stat(2, b"other", 'S', 0, 99);
    // The one that was known is gone, which is no sample of the other.
    assert_eq!(largest.tick(&kernel).unwrap(), []);
    let key = &largest.tick(&kernel).unwrap()[0].key;
    assert_eq!(key.id.start_time_ticks, 99);
    assert_eq!(key.name, KernelText::from("other"));
}

#[test]
fn pss_has_its_age_and_stays_unknown_above_the_size_cap() {
    let tree = Imitation::new();
    process(&tree, 2, 30);
    process(&tree, 3, 1 << 18);
    let (kernel, mut largest) = follow(&tree, OPTIONS);
    let before = since_boot_ms();
    let first = largest.tick(&kernel).unwrap();
    let at = value(&first, 2, ProcessField::PssAt).unwrap();
    assert!((before..=since_boot_ms()).contains(&at), "{before} {at}");
    for field in [ProcessField::Pss, ProcessField::PssAt] {
        assert_eq!(value(&first, 3, field), None, "1 GiB is over the size cap");
    }
    // It is not read again, and its age tells so; what moved is carried on.
    tree.rollup(2, 999, 999, 999);
    tree.statm(2, 30, 15);
    let second = largest.tick(&kernel).unwrap();
    assert_eq!(value(&second, 2, ProcessField::PssAt), Some(at));
    assert_eq!(value(&second, 2, ProcessField::Pss), Some(100 << 10));
}

#[test]
fn without_time_there_is_no_pss() {
    let tree = Imitation::new();
    process(&tree, 2, 30);
    let options = LargestOptions {
        pss_time: Duration::ZERO,
        ..OPTIONS
    };
    let (kernel, mut largest) = follow(&tree, options);
    let samples = largest.tick(&kernel).unwrap();
    assert_eq!(value(&samples, 2, ProcessField::Pss), None);
}

#[test]
fn descriptors_that_are_kept_have_a_bound_and_are_given_back() {
    let tree = Imitation::new();
    for pid in 2..400 {
        process(&tree, pid, 30);
    }
    let options = LargestOptions {
        count: 1000,
        ..OPTIONS
    };
    let (kernel, mut largest) = follow(&tree, options);
    assert_eq!(largest.tick(&kernel).unwrap().len(), 398);
    assert_eq!(largest.reader.kept, MOST_KEPT);
    assert_eq!(largest.tick(&kernel).unwrap().len(), 398);
    for pid in 2..399 {
        tree.remove(pid);
    }
    assert_eq!(largest.tick(&kernel).unwrap().len(), 1);
    assert!(largest.reader.kept <= 1);
}

#[test]
fn one_that_takes_longer_than_a_sample_may_is_read_when_enough_was_saved() {
    let tree = Imitation::new();
    process(&tree, 2, 30);
    process(&tree, 3, 1 << 18);
    let options = LargestOptions {
        pss_time: Duration::from_millis(5),
        pss_largest: Bytes::from_mib(8 << 10),
        ..OPTIONS
    };
    let (kernel, mut largest) = follow(&tree, options);
    let first = largest.tick(&kernel).unwrap();
    assert_eq!(value(&first, 3, ProcessField::Pss), None);
    let mut is_known = || {
        let samples = largest.tick(&kernel).unwrap();
        value(&samples, 3, ProcessField::Pss) == Some(100 << 10)
    };
    assert!((1..=200).any(|_| is_known()));
}

#[test]
fn who_is_ending_is_no_part_of_a_sample() {
    let tree = Imitation::new();
    for (pid, pages) in [(1, 10), (2, 30), (3, 20)] {
        process(&tree, pid, pages);
    }
    let (kernel, mut largest) = follow(&tree, OPTIONS);
    assert_eq!(largest.tick(&kernel).unwrap().len(), 2);
    // It has given back most of it, and its entry is still there.
    tree.statm(2, 25, 1);
    tree.stat(2, b"name", 'R', EXITING, 20);
    let pids: Vec<u32> = largest
        .tick(&kernel)
        .unwrap()
        .iter()
        .map(|sample| sample.key.id.pid)
        .collect();
    assert_eq!(pids, [3]);
}

/// The groups, each with its processes, what they hold in pages and in swap, and
/// the oldest start.
fn grouped(
    largest: &mut LargestProcesses,
    kernel: &Kernel,
    most: usize,
) -> Vec<(String, [u64; 4])> {
    let groups = largest.groups(kernel, most).into_iter();
    groups
        .map(|group| {
            let value = |field| group.values.get(field).unwrap();
            let numbers = [
                value(GroupField::Processes),
                value(GroupField::Anonymous) / kernel.page_size.get(),
                value(GroupField::Swap) >> 10,
                value(GroupField::OldestStart),
            ];
            let cgroup = group.key.cgroup.unwrap();
            (format!("{} in {cgroup}", group.key.name), numbers)
        })
        .collect()
}

#[test]
fn groups_are_the_sums_of_all_processes_also_of_those_that_are_not_the_largest() {
    let tree = Imitation::new();
    for (pid, pages) in [(1, 10), (2, 30), (3, 20), (4, 8), (5, 6)] {
        process(&tree, pid, pages);
    }
    tree.stat(4, b"other", 'S', 0, 7);
    tree.write(5, "cgroup", "0::/else\n");
    tree.stat(6, b"name", 'S', EXITING, 60);
    tree.statm(6, 50, 1);
    let (kernel, mut largest) = follow(&tree, OPTIONS);
    largest.tick(&kernel).unwrap();
    // Of one of the two largest its swap is known; the other is ending.
    let own = (String::from("name in /group"), [3, 30, 4, 10]);
    let other = (String::from("other in /group"), [1, 4, 0, 7]);
    let elsewhere = (String::from("name in /else"), [1, 3, 0, 50]);
    let all = grouped(&mut largest, &kernel, 40);
    assert_eq!(all, [elsewhere, own.clone(), other.clone()]);
    assert_eq!(grouped(&mut largest, &kernel, 2), [own, other]);
}

/// A small process that started at the tick `started` beside two large ones, by the
/// names that it has from look to look: how it is called each time.
fn called(
    tree: &Imitation,
    started: u64,
    names: &[&[u8]],
) -> (Kernel, LargestProcesses, Vec<String>) {
    for (pid, pages) in [(1, 40), (2, 30), (3, 10)] {
        process(tree, pid, pages);
    }
    let (kernel, mut largest) = follow(tree, OPTIONS);
    let mut called = Vec::new();
    for name in names {
        tree.stat(3, name, 'S', 0, started);
        largest.tick(&kernel).unwrap();
        called.extend(single(&mut largest, &kernel));
    }
    (kernel, largest, called)
}

/// The groups of one process.
fn single(largest: &mut LargestProcesses, kernel: &Kernel) -> Vec<String> {
    let groups = grouped(largest, kernel, 40).into_iter();
    let single = groups.filter(|(_, numbers)| numbers[0] == 1);
    single.map(|(name, _)| name).collect()
}

#[test]
fn who_is_new_is_asked_twice_who_it_is_and_not_each_time() {
    let tree = Imitation::new();
    // Forked, and then another program.
    let just_now = u64::MAX;
    let names: [&[u8]; 3] = [b"sh", b"cc1", b"renamed"];
    let (kernel, mut largest, called) = called(&tree, just_now, &names);
    assert_eq!(called, ["sh in /group", "cc1 in /group", "cc1 in /group"]);
    // When it is one of the largest, everything is known anew.
    tree.statm(3, 50, 1);
    tree.statm(2, 5, 1);
    largest.tick(&kernel).unwrap();
    assert_eq!(single(&mut largest, &kernel), ["renamed in /group"]);
}

#[test]
fn who_has_run_for_long_is_asked_once_who_it_is() {
    let names: [&[u8]; 2] = [b"daemon", b"renamed"];
    let (_, _, called) = called(&Imitation::new(), 30, &names);
    assert_eq!(called, ["daemon in /group", "daemon in /group"]);
}

#[test]
fn who_is_gone_is_in_no_group() {
    let tree = Imitation::new();
    for (pid, pages) in [(1, 10), (2, 30), (3, 20)] {
        process(&tree, pid, pages);
    }
    let (kernel, mut largest) = follow(&tree, OPTIONS);
    largest.tick(&kernel).unwrap();
    // Its files go between the tick and the look at who it is.
    tree.remove(1);
    let groups = grouped(&mut largest, &kernel, 40);
    assert_eq!(groups, [(String::from("name in /group"), [2, 25, 8, 20])]);
    largest.tick(&kernel).unwrap();
    assert_eq!(grouped(&mut largest, &kernel, 40), groups);
}
