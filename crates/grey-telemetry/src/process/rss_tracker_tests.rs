//! Tests of `rss_tracker.rs`, on imitations of /proc and on the real one.
//!
//! Never part of the product.

use std::path::Path;

use super::super::imitation::{Imitation, Waiting};
use super::super::scan::ProcessScan;
use super::*;

fn seen(tracker: &RssTracker) -> Vec<(u32, u64)> {
    let processes = tracker.processes().iter();
    processes
        .map(|process| (process.pid(), process.statm().resident.0))
        .collect()
}

#[test]
fn ticks_follow_what_comes_changes_and_goes() {
    for bound in [0, 1, 100] {
        let tree = Imitation::new();
        let proc = tree.proc();
        let mut tracker = RssTracker::with_bound(bound);
        tree.statm(10, 100, 1);
        tree.statm(20, 200, 2);
        assert_eq!(tracker.tick(&proc).unwrap().appeared, 2);
        tree.statm(10, 111, 1);
        tree.statm(15, 150, 1);
        tree.remove(20);
        let expected = RssTick {
            appeared: 1,
            vanished: 1,
            unreadable: 0,
        };
        assert_eq!(tracker.tick(&proc).unwrap(), expected, "bound {bound}");
        assert_eq!(seen(&tracker), [(10, 111), (15, 150)]);
        assert_eq!(tracker.resident(), Pages(261));
        assert_eq!(tracker.tick(&proc).unwrap(), RssTick::default());
    }
}

#[test]
fn no_more_descriptors_are_kept_than_the_bound_allows() {
    let tree = Imitation::new();
    for pid in 1..=10 {
        tree.statm(pid, 1, 0);
    }
    let mut tracker = RssTracker::with_bound(3);
    tracker.tick(&tree.proc()).unwrap();
    assert_eq!(tracker.kept_descriptors(), 3);
    tree.remove(1);
    tracker.tick(&tree.proc()).unwrap();
    assert_eq!(tracker.kept_descriptors(), 3, "another took the free place");
    assert_eq!(tracker.processes().len(), 9);
    for pid in 2..=10 {
        tree.remove(pid);
    }
    tracker.tick(&tree.proc()).unwrap();
    assert_eq!(tracker.kept_descriptors(), 0);
}

#[test]
fn a_broken_file_drops_the_process_and_its_descriptor() {
    let tree = Imitation::new();
    tree.statm(1, 1, 0);
    let mut tracker = RssTracker::with_bound(9);
    tracker.tick(&tree.proc()).unwrap();
    tree.write(1, "statm", "x\n");
    assert_eq!(tracker.tick(&tree.proc()).unwrap().unreadable, 1);
    assert_eq!(tracker.kept_descriptors(), 0);
}

#[test]
fn a_process_keeps_its_serial_and_its_successor_gets_another() {
    let proc = KernelDirectory::open(Path::new("/proc")).unwrap();
    let serial = |tracker: &RssTracker, pid| {
        let mut processes = tracker.processes().iter();
        processes
            .find(|process| process.pid() == pid)
            .map(TrackedRss::serial)
    };
    let mut tracker = RssTracker::new();
    let mut child = Waiting::start();
    tracker.tick(&proc).unwrap();
    let first = serial(&tracker, child.pid());
    assert!(first.is_some());
    tracker.tick(&proc).unwrap();
    assert_eq!(serial(&tracker, child.pid()), first);
    child.end();
    tracker.tick(&proc).unwrap();
    assert_eq!(serial(&tracker, child.pid()), None);
}

#[test]
fn a_pid_that_is_used_again_is_another_process() {
    // The kept descriptor is bound to the first child; the imitation puts the
    // second one's file under the same number.
    let real = KernelDirectory::open(Path::new("/proc")).unwrap();
    let tree = Imitation::new();
    let mut first = Waiting::start();
    let second = Waiting::start();
    let link = tree.path().join("77");
    let target = |child: &Waiting| format!("/proc/{}", child.pid());
    std::os::unix::fs::symlink(target(&first), &link).unwrap();
    let mut tracker = RssTracker::new();
    tracker.tick(&tree.proc()).unwrap();
    let before = tracker.processes()[0].serial();
    first.end();
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(target(&second), &link).unwrap();
    let tick = tracker.tick(&tree.proc()).unwrap();
    assert_eq!((tick.appeared, tick.vanished), (1, 1));
    assert_ne!(tracker.processes()[0].serial(), before);
    assert_eq!(tracker.kept_descriptors(), 1);
    drop(real);
}

#[test]
fn a_tick_agrees_with_a_pass() {
    let proc = KernelDirectory::open(Path::new("/proc")).unwrap();
    let child = Waiting::start();
    let mut tracker = RssTracker::new();
    tracker.tick(&proc).unwrap();
    tracker.tick(&proc).unwrap();
    let tracked = tracker.processes().iter();
    let tracked = tracked
        .filter(|process| process.pid() == child.pid())
        .map(TrackedRss::statm)
        .next();
    let mut scan = ProcessScan::new();
    let pass = scan.rss_pass(&proc).unwrap();
    let mut passed = pass.processes.iter();
    let passed = passed.find(|&&(pid, _)| pid == child.pid());
    assert_eq!(tracked, passed.map(|&(_, statm)| statm));
    assert!(tracked.is_some());
}

#[test]
fn the_default_bound_leaves_descriptors_to_others() {
    let tracker = RssTracker::new();
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    assert!(tracker.reader.bound <= MOST_KEPT_DESCRIPTORS);
    assert!(u64::try_from(tracker.reader.bound).unwrap() <= limit / 2);
}
