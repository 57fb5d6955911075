//! Tests of `snapshot.rs`, on imitations of /proc and on the real one.
//!
//! Never part of the product.

use std::cell::RefCell;
use std::os::unix::fs::PermissionsExt;

use super::super::imitation::{Imitation, Waiting, as_nobody};
use super::super::share::useful_threads;
use super::*;
use crate::roots::Roots;

const TWO: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

#[test]
fn every_kind_of_process_is_counted_where_it_belongs() {
    let tree = Imitation::new();
    tree.stat(1, b"init", 'S', 0, 1);
    tree.write(1, "status", "Uid:\t0\t0\t0\t0\nVmRSS:\t8 kB\n");
    tree.rollup(1, 4, 4, 4);
    tree.stat(2, b"kthreadd", 'S', 0x0020_0000, 2);
    tree.stat(3, b"dead", 'Z', 0, 3);
    tree.write(4, "statm", "vanished before its stat was read");
    let snapshot = full_snapshot(&tree.kernel(), TWO, &|_| None).unwrap();
    let pids: Vec<u32> = snapshot
        .processes
        .iter()
        .map(|memory| memory.id.pid)
        .collect();
    assert_eq!(pids, [1, 2, 3]);
    assert_eq!((snapshot.kernel_threads, snapshot.zombies), (1, 1));
    assert_eq!((snapshot.vanished, snapshot.unreadable), (1, 0));
}

#[test]
fn each_user_is_asked_for_once() {
    let tree = Imitation::new();
    for pid in 1..=6 {
        tree.stat(pid, b"x", 'S', 0, 1);
        tree.write(pid, "status", format!("Uid:\t{}\t0\t0\t0\n", pid % 2));
    }
    let asked = RefCell::new(Vec::new());
    let snapshot = full_snapshot(&tree.kernel(), TWO, &|id| {
        asked.borrow_mut().push(id);
        (id == 0).then(|| "root".to_owned())
    })
    .unwrap();
    assert_eq!(asked.into_inner(), [1, 0]);
    let named = snapshot
        .processes
        .iter()
        .filter(|memory| memory.user.is_some());
    assert_eq!(named.count(), 3);
}

#[test]
fn processes_that_cannot_be_entered_are_counted() {
    let tree = Imitation::new();
    tree.stat(1, b"hidden", 'S', 0, 1);
    let mode = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(tree.path(), 0o755);
    mode(&tree.path().join("1"), 0o000);
    let kernel = tree.kernel();
    let snapshot = as_nobody(|| full_snapshot(&kernel, TWO, &|_| None)).unwrap();
    assert_eq!(snapshot.unreadable, 1);
    assert!(snapshot.processes.is_empty());
}

#[test]
fn nobody_sees_others_as_unreadable_and_never_as_zero() {
    let kernel = Kernel::open(&Roots::default()).unwrap();
    let snapshot = as_nobody(|| full_snapshot(&kernel, useful_threads(), &|_| None)).unwrap();
    assert!(snapshot.unreadable >= 1);
    let first = &snapshot.processes[0];
    assert_eq!((first.id.pid, first.pss, first.uss), (1, None, None));
}

#[test]
fn the_real_snapshot_has_a_child_and_its_identity() {
    let kernel = Kernel::open(&Roots::default()).unwrap();
    let child = Waiting::start();
    let snapshot = full_snapshot(&kernel, useful_threads(), &|_| None).unwrap();
    let mut processes = snapshot.processes.iter();
    let found = processes
        .find(|memory| memory.id.pid == child.pid())
        .unwrap();
    assert_eq!(found.parent_pid, std::process::id());
    assert!(found.pss.is_some() && found.rss.is_some());
    assert!(snapshot.processes.is_sorted_by_key(|memory| memory.id));
}
