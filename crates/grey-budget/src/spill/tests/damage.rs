//! What damage costs: the part that is damaged, and nothing else.

use super::*;

/// Ten values of 1000 bytes, of which each takes so much of a segment.
const RECORD: usize = (HEADER + 8 + 1000).next_multiple_of(8);

/// A store that is closed, with ten values in their second version.
fn ten_values() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let store = SpillStore::open(options(directory.path())).unwrap();
    for version in [100, 0] {
        for key in 0..10_u64 {
            put(&store, &key.to_le_bytes(), value(version + key, 1000));
        }
        store.flush().unwrap();
    }
    drop(store);
    let path = segments(directory.path()).remove(0);
    (directory, path)
}

/// Opens the directory; every value is there but those of `lost`.
fn open_without(directory: &Path, lost: &[u64]) -> SpillStore {
    let store = SpillStore::open(options(directory)).unwrap();
    for key in 0..10_u64 {
        let expected = (!lost.contains(&key)).then(|| value(key, 1000));
        assert_eq!(store.read(&key.to_le_bytes()).unwrap(), expected, "{key}");
    }
    store
}

#[test]
fn garbage_behind_the_last_record_costs_nothing_and_is_counted() {
    for length in [100, 4096] {
        let (directory, path) = ten_values();
        damage(&path, |bytes| bytes.extend(value(7, length).iter()));
        let store = open_without(directory.path(), &[]);
        assert_eq!(store.recovery().foreign, Bytes(length as u64));
        assert_eq!(store.recovery().distrusted, 0);
        // It goes on from there, and the next opening finds nothing.
        put(&store, b"more", value(1, 10));
        drop(store);
        let store = open_without(directory.path(), &[]);
        assert_eq!(store.recovery().foreign, Bytes::ZERO);
        assert_eq!(store.read(b"more").unwrap(), Some(value(1, 10)));
    }
}

#[test]
fn several_damaged_records_cost_themselves_alone() {
    let (directory, path) = ten_values();
    // From the middle of the third to the middle of the sixth.
    let start = HEADER + 12 * RECORD + 30;
    damage(&path, |bytes| {
        bytes[start..start + 3 * RECORD].copy_from_slice(&value(7, 3 * RECORD));
    });
    for turn in 0..2 {
        // The third keeps its head: its value is damaged when it is read.
        let store = SpillStore::open(options(directory.path())).unwrap();
        for key in 0..10_u64 {
            let read = store.read(&key.to_le_bytes());
            if (2..6).contains(&key) {
                assert!(!matches!(read, Ok(Some(_))), "{key}");
            } else {
                assert_eq!(read.unwrap(), Some(value(key, 1000)), "{key}");
            }
        }
        if turn == 0 {
            assert_eq!(store.recovery().lost, 4);
            assert_eq!(store.recovery().damaged, std::slice::from_ref(&path));
        }
    }
}

#[test]
fn a_damaged_end_costs_its_values_and_not_those_before() {
    let (directory, path) = ten_values();
    let start = HEADER + 18 * RECORD;
    damage(&path, |bytes| {
        let end = bytes.len();
        bytes[start..].copy_from_slice(&value(7, end - start));
    });
    let store = open_without(directory.path(), &[8, 9]);
    assert_eq!(store.recovery().lost, 2);
    assert_eq!(store.recovery().distrusted, 2);
    put(&store, &8_u64.to_le_bytes(), value(8, 1000));
    drop(store);
    open_without(directory.path(), &[9]);
}

#[test]
fn a_damaged_head_of_a_segment_costs_no_value() {
    let (directory, path) = ten_values();
    damage(&path, |bytes| bytes[30] ^= 1);
    let store = open_without(directory.path(), &[]);
    assert_eq!(store.recovery().damaged, std::slice::from_ref(&path));
    assert_eq!(store.recovery().set_aside, []);
}

#[test]
fn a_removed_value_does_not_return_when_its_tombstone_is_damaged() {
    let (directory, path) = ten_values();
    let store = open_without(directory.path(), &[]);
    let removed = [1_u64, 2, 3];
    for key in removed {
        store.remove(&key.to_le_bytes()).unwrap();
    }
    drop(store);
    damage(&path, |bytes| {
        let start = HEADER + 20 * RECORD;
        bytes[start..].copy_from_slice(&value(7, 3 * HEADER));
    });
    drop(open_without(directory.path(), &removed));
    open_without(directory.path(), &removed);
}

#[test]
fn without_the_list_of_its_keys_a_damaged_segment_is_not_believed() {
    let (directory, path) = ten_values();
    std::fs::remove_file(path.with_extension("keys")).unwrap();
    let start = HEADER + 12 * RECORD;
    damage(&path, |bytes| {
        bytes[start..start + 2 * RECORD].copy_from_slice(&value(7, 2 * RECORD));
    });
    let store = open_without(directory.path(), &[0, 1, 2, 3]);
    assert_eq!(store.recovery().distrusted, 10);
    store.collect_garbage(Bytes::from_mib(1)).unwrap();
    for key in 4..10_u64 {
        let read = store.read(&key.to_le_bytes()).unwrap();
        assert_eq!(read, Some(value(key, 1000)), "{key} is moved, and stays");
    }
}

#[test]
fn a_segment_that_its_list_of_keys_does_not_cover_is_not_written_on() {
    for is_missing in [true, false] {
        let (directory, path) = ten_values();
        let list = path.with_extension("keys");
        if is_missing {
            std::fs::remove_file(list).unwrap();
        } else {
            // The last record, and the mark behind it.
            damage(&list, |bytes| bytes.truncate(bytes.len() - 2 * 28));
        }
        let store = open_without(directory.path(), &[]);
        put(&store, b"more", value(1, 10));
        drop(store);
        assert_eq!(segments(directory.path()).len(), 2);
        let store = open_without(directory.path(), &[]);
        assert_eq!(store.read(b"more").unwrap(), Some(value(1, 10)));
    }
}

#[test]
fn a_list_of_keys_that_was_ahead_of_its_segment_is_right_again() {
    let (directory, path) = ten_values();
    damage(&path, |bytes| bytes.truncate(HEADER + 19 * RECORD));
    // Nothing says that the last write ever ended.
    damage(&path.with_extension("keys"), |bytes| {
        bytes.truncate(bytes.len() - 28);
    });
    // It is gone, and the value before it is there.
    let store = SpillStore::open(options(directory.path())).unwrap();
    assert_eq!(
        store.read(&9_u64.to_le_bytes()).unwrap(),
        Some(value(109, 1000))
    );
    put(&store, b"more", value(1, 5000));
    drop(store);
    damage(&path, |bytes| {
        let (start, end) = (HEADER + 19 * RECORD, bytes.len());
        bytes[start..].copy_from_slice(&value(7, end - start));
    });
    let store = SpillStore::open(options(directory.path())).unwrap();
    assert_eq!(store.read(b"more").unwrap(), None);
    assert_eq!(store.recovery().values, 10);
}

#[test]
fn a_list_of_keys_goes_with_its_segment() {
    let directory = tempfile::tempdir().unwrap();
    let store = SpillStore::open(options(directory.path()).segment(Bytes::from_kib(64))).unwrap();
    for turn in 0..300_u64 {
        put(&store, b"one", value(turn, 2000));
        store.flush().unwrap();
    }
    collect_all(&store, Bytes::from_mib(1));
    assert!(store.statistics().segments_collected > 0);
    let left = files_with(directory.path(), ".keys");
    assert_eq!(left, segments(directory.path()).len());
    drop(store);
    std::fs::write(directory.path().join("segment-000000ff.keys"), "").unwrap();
    let store = SpillStore::open(options(directory.path())).unwrap();
    assert_eq!(files_with(directory.path(), "000000ff"), 0);
    let on_disk: u64 = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_str().unwrap().starts_with("segment-"))
        .map(|entry| entry.metadata().unwrap().len())
        .sum();
    assert_eq!(store.bytes_on_disk(), Bytes(on_disk));
}

#[test]
fn a_segment_that_was_cut_brings_back_nothing_that_was_replaced_or_removed() {
    for is_flushed in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let store = SpillStore::open(options(directory.path())).unwrap();
        put(&store, b"balance", value(100, 8));
        put(&store, b"secret", value(1, 8));
        put(&store, b"other", value(2, 8));
        store.flush().unwrap();
        let path = segments(directory.path()).remove(0);
        let length = usize::try_from(std::fs::metadata(&path).unwrap().len()).unwrap();
        put(&store, b"balance", value(0, 8));
        assert!(store.remove(b"secret").unwrap());
        if is_flushed {
            store.flush().unwrap();
        }
        drop(store);
        damage(&path, |bytes| bytes.truncate(length));
        for turn in 0..2 {
            let store = SpillStore::open(options(directory.path())).unwrap();
            assert_eq!(store.read(b"balance").unwrap(), None);
            assert_eq!(store.read(b"secret").unwrap(), None);
            assert_eq!(store.read(b"other").unwrap(), Some(value(2, 8)));
            if turn == 0 {
                assert_eq!(store.recovery().lost, 2);
                assert_eq!(store.recovery().damaged, std::slice::from_ref(&path));
            }
        }
    }
}
