//! The directory: one recorder, safe, and its names on the disk.
//!
//! Never part of the product.

use super::*;
use crate::history::is_being_recorded;

#[test]
fn two_recorders_do_not_write_to_one_history() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path(), small_blocks());
    let error = HistoryWriter::open(folder.path(), small_blocks()).unwrap_err();
    let HistoryError::Busy { holder, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(holder, Some(std::process::id()));
    drop(first);
    open(folder.path(), small_blocks());
}

#[test]
fn who_records_is_known_until_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none");
    assert!(!is_being_recorded(&missing).unwrap());
    assert!(!is_being_recorded(folder.path()).unwrap());
    let writer = open(folder.path(), small_blocks());
    for _ in 0..2 {
        assert!(is_being_recorded(folder.path()).unwrap(), "asked again");
    }
    drop(writer);
    // A program that a test beside this one starts has the lock, too, until it
    // runs.
    let begun = std::time::Instant::now();
    while is_being_recorded(folder.path()).unwrap() {
        assert!(begun.elapsed().as_secs() < 60);
        std::thread::yield_now();
    }
    let lock = folder.path().join("lock");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    assert!(is_being_recorded(folder.path()).is_err(), "nobody knows");
}

#[test]
fn who_asks_keeps_no_recorder_from_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let order = std::sync::atomic::Ordering::Relaxed;
    drop(open(folder.path(), small_blocks()));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(order) {
                is_being_recorded(folder.path()).unwrap();
            }
        });
        let begun: Vec<_> = (0..200)
            .map(|_| HistoryWriter::open(folder.path(), small_blocks()).is_ok())
            .collect();
        is_over.store(true, order);
        assert!(begun.iter().all(|begun| *begun));
    });
}

#[test]
fn a_directory_that_others_may_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let open = fs::Permissions::from_mode(0o777);
    fs::set_permissions(folder.path(), open).unwrap();
    let error = HistoryWriter::open(folder.path(), small_blocks()).unwrap_err();
    assert!(matches!(error, HistoryError::Unsafe { .. }), "{error}");
}

#[test]
fn new_names_are_written_through_to_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = open(folder.path(), small_blocks());
    assert_eq!(writer.directory_syncs(), 0);
    writer.append(&sample(0)).unwrap();
    assert_eq!(writer.directory_syncs(), 1, "the tail's");
    writer.seal().unwrap();
    assert_eq!(writer.directory_syncs(), 2, "the shard's");
    writer.append(&sample(1)).unwrap();
    writer.seal().unwrap();
    assert_eq!(writer.directory_syncs(), 3, "the same shard needs no more");
}
