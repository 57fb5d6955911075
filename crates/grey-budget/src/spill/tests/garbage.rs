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
    collect_all(&store, Bytes::from_kib(16));
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
    collect_all(&store, Bytes::from_mib(1));
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
    collect_all(&store, Bytes::from_mib(1));
    assert!(store.statistics().segments_collected > 0);
    drop(store);
    assert_eq!(open().read(b"victim").unwrap(), None);
}

#[test]
fn a_tombstone_that_is_moved_hides_no_later_value_while_the_next_one_waits() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new();
    let options = options(directory.path()).segment(Bytes::from_kib(64));
    let store = SpillStore::open(options.disk(Arc::new(disk.clone()))).unwrap();
    let fill = |from: u64| {
        for key in from..from + 40 {
            put(&store, &key.to_le_bytes(), value(key, 2000));
        }
        store.flush().unwrap();
    };
    // The first segment stays, the second has the tombstone, a later one a value.
    put(&store, b"key", value(1, 1000));
    fill(0);
    store.remove(b"key").unwrap();
    fill(100);
    put(&store, b"key", value(2, 1000));
    fill(200);
    let storage_full = Fault::Error(std::io::ErrorKind::StorageFull);
    disk.fail(Operation::Write, 0, storage_full);
    put(&store, b"key", value(3, 1000));
    wait_until(|| store.statistics().held == 1);
    // The second segment dies, and its tombstone is moved if it must be.
    for key in 100..140_u64 {
        store.remove(&key.to_le_bytes()).unwrap();
    }
    wait_until(|| {
        // It fails while nothing may go but for what is held.
        let _ = store.collect_garbage(Bytes::from_mib(1));
        store.statistics().segments_collected > 0
    });
    assert_eq!(store.statistics().held, 1);
    let killed = killed_now(directory.path());
    let of_killed = SpillStore::open(self::options(killed.path())).unwrap();
    assert_eq!(of_killed.read(b"key").unwrap(), Some(value(2, 1000)));
}

/// A store on a disk that can be filled: below 1 MiB nothing is written.
fn with_floor(directory: &Path, disk: &FaultyDisk) -> SpillStore {
    let options = options(directory)
        .segment(Bytes::from_kib(64))
        .free_floor(Bytes::from_mib(1))
        .disk(Arc::new(disk.clone()));
    SpillStore::open(options).unwrap()
}

#[test]
fn a_store_below_the_floor_becomes_smaller_by_what_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new();
    let store = with_floor(directory.path(), &disk);
    for key in 0..300_u64 {
        put(&store, &key.to_le_bytes(), value(key, 2000));
    }
    store.flush().unwrap();
    let before = store.bytes_on_disk();
    disk.set_room(Some(Bytes::from_kib(900)));
    for key in 0..290_u64 {
        store.remove(&key.to_le_bytes()).unwrap();
    }
    store.flush().unwrap();
    // What lives would have to be moved: for that there is no room.
    while store
        .collect_garbage(Bytes::from_mib(1))
        .is_ok_and(|collected| collected.is_unfinished)
    {}
    let after = store.bytes_on_disk();
    assert!(after.get() < before.get() / 5, "{before} {after}");
    drop(store);
    let store = with_floor(directory.path(), &disk);
    assert_eq!(store.recovery().values, 10);
    for key in 0..300_u64 {
        let expected = (key >= 290).then(|| value(key, 2000));
        assert_eq!(store.read(&key.to_le_bytes()).unwrap(), expected, "{key}");
    }
}

#[test]
fn values_that_have_no_room_keep_neither_removes_nor_dead_segments() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new();
    let store = with_floor(directory.path(), &disk);
    for key in 0..100_u64 {
        put(&store, &key.to_le_bytes(), value(key, 2000));
    }
    store.flush().unwrap();
    let before = store.bytes_on_disk();
    disk.set_room(Some(Bytes::from_kib(900)));
    put(&store, b"held", value(7, 2000));
    for key in 0..100_u64 {
        store.remove(&key.to_le_bytes()).unwrap();
    }
    assert!(matches!(
        store.flush(),
        Err(SpillError::TooLittleFree { .. })
    ));
    while store
        .collect_garbage(Bytes::from_mib(1))
        .is_ok_and(|collected| collected.segments > 0)
    {}
    let after = store.bytes_on_disk();
    assert!(after.get() < before.get() / 5, "{before} {after}");
    assert_eq!(store.place(b"held").unwrap(), Some(SpillPlace::Memory));
    let killed = killed_now(directory.path());
    let of_killed = SpillStore::open(options(killed.path())).unwrap();
    assert_eq!(of_killed.recovery().values, 0);
    disk.heal();
    store.flush().unwrap();
    drop(store);
    let store = with_floor(directory.path(), &disk);
    assert_eq!(store.read(b"held").unwrap(), Some(value(7, 2000)));
    assert_eq!(store.len(), 1);
}

#[test]
fn a_value_that_one_without_room_replaces_stays_until_that_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new();
    let store = with_floor(directory.path(), &disk);
    let fill = |from: u64, to: u64| {
        for key in from..to {
            put(&store, &key.to_le_bytes(), value(key, 2000));
        }
        store.flush().unwrap();
    };
    // The oldest version is in the first segment, which stays: most of it lives.
    put(&store, b"key", value(1, 1000));
    fill(0, 40);
    put(&store, b"key", value(2, 1000));
    fill(100, 200);
    let before = segments(directory.path()).len();
    disk.set_room(Some(Bytes::from_kib(900)));
    put(&store, b"key", value(3, 1000));
    for key in 20..200_u64 {
        store.remove(&key.to_le_bytes()).unwrap();
    }
    assert!(store.flush().is_err());
    while store
        .collect_garbage(Bytes::from_mib(1))
        .is_ok_and(|collected| collected.segments > 0)
    {}
    assert!(segments(directory.path()).len() < before);
    let read = |directory: &Path| {
        let store = SpillStore::open(options(directory)).unwrap();
        store.read(b"key").unwrap()
    };
    let killed = killed_now(directory.path());
    assert_eq!(read(killed.path()), Some(value(2, 1000)));
    disk.heal();
    store.flush().unwrap();
    collect_all(&store, Bytes::from_mib(1));
    let killed = killed_now(directory.path());
    assert_eq!(read(killed.path()), Some(value(3, 1000)));
}

#[test]
fn a_full_disk_gets_its_oldest_segments_back_before_it_can_be_written_to() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new();
    let options = options(directory.path())
        .segment(Bytes::from_kib(64))
        .disk(Arc::new(disk.clone()));
    let store = SpillStore::open(options).unwrap();
    for key in 0..100_u64 {
        put(&store, &key.to_le_bytes(), value(key, 2000));
    }
    store.flush().unwrap();
    disk.set_room(Some(Bytes::ZERO));
    for key in 0..100_u64 {
        store.remove(&key.to_le_bytes()).unwrap();
    }
    store.flush().unwrap();
    let before = segments(directory.path()).len();
    while store
        .collect_garbage(Bytes::from_mib(1))
        .is_ok_and(|collected| collected.segments > 0)
    {}
    assert_eq!(segments(directory.path()).len(), 1, "of {before}");
}

#[test]
fn a_damaged_segment_that_cannot_be_emptied_keeps_no_dead_one_from_going() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new();
    let store = with_floor(directory.path(), &disk);
    for key in 0..100_u64 {
        put(&store, &key.to_le_bytes(), value(key, 2000));
    }
    drop(store);
    let paths = segments(directory.path());
    // The head of its first record.
    damage(&paths[0], |bytes| bytes[HEADER + 30] ^= 1);
    disk.set_room(Some(Bytes::from_kib(900)));
    let store = with_floor(directory.path(), &disk);
    assert_eq!(store.recovery().damaged, paths[..1]);
    for key in 30..100_u64 {
        store.remove(&key.to_le_bytes()).unwrap();
    }
    store.flush().unwrap();
    while store
        .collect_garbage(Bytes::from_mib(1))
        .is_ok_and(|collected| collected.segments > 0)
    {}
    assert!(segments(directory.path()).len() < paths.len());
    assert!(paths[0].exists());
    for key in 1..30_u64 {
        let read = store.read(&key.to_le_bytes()).unwrap();
        assert_eq!(read, Some(value(key, 2000)), "{key}");
    }
}

#[test]
fn what_was_removed_on_a_full_disk_stays_removed_and_what_lives_stays() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new();
    let open = || {
        let options = options(directory.path())
            .segment(Bytes::from_kib(64))
            .disk(Arc::new(disk.clone()));
        SpillStore::open(options).unwrap()
    };
    let store = open();
    // Two records of each key, of which the older must not come back either.
    for seed in [0, 1000] {
        for key in 0..60_u64 {
            put(&store, &key.to_le_bytes(), value(seed + key, 1500));
        }
        store.flush().unwrap();
    }
    disk.set_room(Some(Bytes::ZERO));
    for key in (0..60_u64).filter(|key| !key.is_multiple_of(3)) {
        assert!(store.remove(&key.to_le_bytes()).unwrap());
    }
    store.flush().unwrap();
    let expected = |key: u64| key.is_multiple_of(3).then(|| value(1000 + key, 1500));
    let killed = killed_now(directory.path());
    drop(store);
    for directory in [killed.path(), directory.path()] {
        let store = SpillStore::open(options(directory)).unwrap();
        assert_eq!(store.recovery().damaged, Vec::<PathBuf>::new());
        for key in 0..60_u64 {
            assert_eq!(
                store.read(&key.to_le_bytes()).unwrap(),
                expected(key),
                "{key}"
            );
        }
        // What is left can be collected as ever.
        collect_all(&store, Bytes::from_mib(1));
        store.flush().unwrap();
        drop(store);
        let store = SpillStore::open(options(directory)).unwrap();
        for key in 0..60_u64 {
            assert_eq!(
                store.read(&key.to_le_bytes()).unwrap(),
                expected(key),
                "{key}"
            );
        }
    }
}

#[test]
fn no_older_value_comes_back_after_an_end_on_a_full_disk() {
    // With room for nothing, for a word that it is gone, and for no value.
    for room in [0, 1, 300, 1000] {
        let directory = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::new();
        let options = options(directory.path()).disk(Arc::new(disk.clone()));
        let store = SpillStore::open(options).unwrap();
        for version in 0..2 {
            put(&store, b"replaced", value(version, 2000));
            put(&store, b"other", value(100 + version, 2000));
            store.flush().unwrap();
        }
        disk.set_room(Some(Bytes(room)));
        put(&store, b"replaced", value(2, 2000));
        store.flush().unwrap_err();
        assert!(store.read(b"replaced").unwrap() == Some(value(2, 2000)));
        drop(store);
        let store = SpillStore::open(self::options(directory.path())).unwrap();
        assert_eq!(store.recovery().damaged, Vec::<PathBuf>::new());
        assert!(store.read(b"replaced").unwrap().is_none(), "{room}");
        assert!(store.read(b"other").unwrap() == Some(value(101, 2000)));
    }
}

#[test]
fn no_older_value_comes_back_after_an_end_below_the_floor_of_free_space() {
    let directory = tempfile::tempdir().unwrap();
    let store = SpillStore::open(options(directory.path())).unwrap();
    put(&store, b"replaced", value(1, 2000));
    drop(store);
    let most = Bytes(u64::MAX);
    let store = SpillStore::open(options(directory.path()).free_floor(most)).unwrap();
    put(&store, b"replaced", value(2, 2000));
    store.flush().unwrap_err();
    drop(store);
    let store = SpillStore::open(options(directory.path())).unwrap();
    assert!(store.read(b"replaced").unwrap().is_none());
}
