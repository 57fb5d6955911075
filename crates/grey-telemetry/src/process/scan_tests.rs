//! Tests of `scan.rs`, on imitations of /proc and on the real one.
//!
//! Never part of the product.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use grey_model::{Bytes, Pages};

use super::super::imitation::{Imitation, Waiting, as_nobody};
use super::*;

const TWO: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

fn real() -> KernelDirectory {
    KernelDirectory::open(Path::new("/proc")).unwrap()
}

#[test]
fn what_has_no_memory_is_counted_and_not_shown_as_zero() {
    let tree = Imitation::new();
    tree.statm(10, 300, 100);
    tree.write(2, "statm", "0 0 0 0 0 0 0\n");
    tree.write(11, "statm", "garbage\n");
    tree.write(12, "other", "");
    tree.write(13, "statm", "500 0 0 0 0 0 0\n");
    let mut scan = ProcessScan::new();
    let pass = scan.rss_pass(&tree.proc()).unwrap();
    let resident: Vec<_> = pass
        .processes
        .iter()
        .map(|&(pid, statm)| (pid, statm.resident))
        .collect();
    assert_eq!(
        resident,
        [(10, Pages(300)), (13, Pages(0))],
        "13 is swapped out"
    );
    let expected = Passed {
        without_memory: 2,
        unreadable: 1,
    };
    assert_eq!(pass.passed, expected);
}

#[test]
fn a_second_pass_forgets_the_first() {
    let tree = Imitation::new();
    tree.statm(10, 300, 100);
    tree.rollup(10, 40, 10, 12);
    let mut scan = ProcessScan::new();
    assert_eq!(scan.rss_pass(&tree.proc()).unwrap().processes.len(), 1);
    assert_eq!(
        scan.memory_pass(&tree.proc(), TWO).unwrap().processes.len(),
        1
    );
    tree.remove(10);
    assert!(scan.rss_pass(&tree.proc()).unwrap().processes.is_empty());
    let pass = scan.memory_pass(&tree.proc(), TWO).unwrap();
    assert!(pass.processes.is_empty());
    assert_eq!(pass.passed, Passed::default());
}

#[test]
fn any_number_of_threads_finds_the_same() {
    let tree = Imitation::new();
    for pid in 1..=500 {
        tree.rollup(pid, u64::from(pid), 0, 1);
    }
    tree.write(501, "smaps_rollup", "");
    let proc = tree.proc();
    for threads in [1, 2, 5, 1000] {
        let mut scan = ProcessScan::new();
        let pass = scan
            .memory_pass(&proc, NonZeroUsize::new(threads).unwrap())
            .unwrap();
        let pids: Vec<u32> = pass.processes.iter().map(|&(pid, _)| pid).collect();
        assert!(pids.into_iter().eq(1..=500), "{threads} threads");
        let sum: Bytes = pass
            .processes
            .iter()
            .filter_map(|(_, rollup)| rollup.pss)
            .sum();
        assert_eq!(sum, Bytes::from_kib(500 * 501 / 2));
        assert_eq!(pass.passed.without_memory, 1);
        let again = scan.memory_pass(&proc, TWO).unwrap();
        assert_eq!(again.passed.without_memory, 1, "counted anew");
    }
}

#[test]
fn what_may_not_be_read_is_counted() {
    let tree = Imitation::new();
    tree.statm(10, 300, 100);
    tree.rollup(10, 40, 10, 12);
    tree.rollup(11, 40, 10, 12);
    let world = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(tree.path(), world).unwrap();
    for file in ["10/statm", "10/smaps_rollup"] {
        let closed = std::fs::Permissions::from_mode(0o000);
        std::fs::set_permissions(tree.path().join(file), closed).unwrap();
    }
    let proc = tree.proc();
    as_nobody(|| {
        let mut scan = ProcessScan::new();
        assert_eq!(scan.rss_pass(&proc).unwrap().passed.unreadable, 1);
        let pass = scan.memory_pass(&proc, NonZeroUsize::MIN).unwrap();
        assert_eq!(pass.passed.unreadable, 1);
        assert_eq!(pass.processes.len(), 1);
    });
}

#[test]
fn the_real_pass_finds_a_child_until_it_ends() {
    let mut child = Waiting::start();
    let mut scan = ProcessScan::new();
    let found = |scan: &mut ProcessScan, pid| {
        let resident = scan.rss_pass(&real()).unwrap().processes.to_vec();
        let pass = scan.memory_pass(&real(), TWO).unwrap();
        let walked = pass.processes.iter().any(|&(other, _)| other == pid);
        (resident.iter().any(|&(other, _)| other == pid), walked)
    };
    assert_eq!(found(&mut scan, child.pid()), (true, true));
    child.make_zombie();
    assert_eq!(found(&mut scan, child.pid()), (false, false));
    child.end();
    assert_eq!(found(&mut scan, child.pid()), (false, false));
}

#[test]
fn processes_that_come_and_go_during_passes_fail_none() {
    /// Ends the other thread on every way out, a failed assertion too.
    struct Stop<'flag>(&'flag AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                drop(Waiting::start());
            }
        });
        let mut scan = ProcessScan::new();
        let us = std::process::id();
        for _ in 0..30 {
            let pass = scan.memory_pass(&real(), TWO).unwrap();
            assert!(pass.processes.iter().any(|&(pid, _)| pid == us));
        }
    });
}

#[test]
fn a_missing_proc_is_an_error() {
    let tree = Imitation::new();
    let proc = tree.proc();
    drop(tree);
    assert!(ProcessScan::new().rss_pass(&proc).is_err());
}
