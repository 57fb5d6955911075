//! What becomes of values that nobody can reach any more.

use super::*;

#[test]
fn segments_that_are_mostly_dead_are_collected_and_what_lives_stays() {
    let directory = tempfile::tempdir().unwrap();
    let open = || SpillStore::open(options(directory.path()).segment(Bytes::from_kib(64))).unwrap();
    let store = open();
    for key in 0..300_u64 {
        put(&store, &key.to_le_bytes(), value(key, 2000));
    }
    put(&store, b"large", value(9, 2 << 20));
    store.flush().unwrap();
    let before = store.bytes_on_disk();
    for key in 0..300_u64 {
        if key % 10 != 0 {
            store.remove(&key.to_le_bytes()).unwrap();
        }
    }
    store.flush().unwrap();
    let mut turns = 0;
    while store
        .collect_garbage(Bytes::from_kib(16))
        .unwrap()
        .is_unfinished
    {
        turns += 1;
        assert!(turns < 1000, "it never ends");
    }
    let after = store.bytes_on_disk();
    assert!(after.get() < before.get() - 400_000, "{before} {after}");
    assert_eq!(files_size(directory.path()), after.get());
    let check = |store: &SpillStore| {
        for key in 0..300_u64 {
            let expected = (key % 10 == 0).then(|| value(key, 2000));
            assert_eq!(store.read(&key.to_le_bytes()).unwrap(), expected, "{key}");
        }
        assert_eq!(store.read(b"large").unwrap(), Some(value(9, 2 << 20)));
    };
    check(&store);
    drop(store);
    check(&open());
}

fn files_size(directory: &Path) -> u64 {
    segments(directory)
        .iter()
        .flat_map(|path| [path.clone(), path.with_extension("keys")])
        .map(|path| path.metadata().unwrap().len())
        .sum()
}

#[test]
fn a_store_that_was_emptied_takes_next_to_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = SpillStore::open(options(directory.path()).segment(Bytes::from_kib(64))).unwrap();
    for key in 0..300_u64 {
        put(&store, &key.to_le_bytes(), value(key, 2000));
    }
    store.flush().unwrap();
    store.load_back(Bytes(u64::MAX), |_| Take::Taken).unwrap();
    store.flush().unwrap();
    let mut turns = 0;
    while store
        .collect_garbage(Bytes::from_mib(1))
        .unwrap()
        .is_unfinished
    {
        turns += 1;
        assert!(turns < 1000, "it never ends");
    }
    assert_eq!(store.bytes_on_disk(), Bytes(2 * HEADER as u64));
}

#[test]
fn a_removed_value_does_not_return_when_its_tombstones_segment_is_collected() {
    let directory = tempfile::tempdir().unwrap();
    let open = || SpillStore::open(options(directory.path()).segment(Bytes::from_kib(64))).unwrap();
    let store = open();
    // The first segment stays: most of it lives.
    put(&store, b"victim", value(1, 1000));
    for key in 0..25_u64 {
        put(&store, &key.to_le_bytes(), value(key, 2000));
    }
    store.flush().unwrap();
    // The second holds the tombstone, and dies.
    store.remove(b"victim").unwrap();
    for turn in 0..100_u64 {
        put(&store, b"other", value(turn, 2000));
        store.flush().unwrap();
    }
    while store
        .collect_garbage(Bytes::from_mib(1))
        .unwrap()
        .is_unfinished
    {}
    assert!(store.statistics().segments_collected > 0);
    drop(store);
    assert_eq!(open().read(b"victim").unwrap(), None);
}
