//! The directory: one recorder, safe, and its names on the disk.
//!
//! Never part of the product.

use super::*;

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
