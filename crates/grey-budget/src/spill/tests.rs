//! What a spill store promises, on disks that work and on disks that do not.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use grey_model::{Bytes, Priority};
use proptest::prelude::*;

use super::format::HEADER;
use super::*;
use crate::budget::{Budget, Component};
use crate::testkit::{Fault, FaultyDisk, Operation};
use crate::wait_until::wait_until;

mod damage;
mod garbage;
mod loads;
mod model;
mod strange;

fn component() -> Component {
    let budget = Budget::new(Bytes::from_mib(256)).unwrap();
    budget.component("spill").register().unwrap()
}

fn options(directory: &Path) -> SpillOptions {
    SpillOptions::new(directory, component())
        .free_floor(Bytes::ZERO)
        .staging(Bytes::from_mib(6))
        .patience(Duration::from_secs(20))
}

fn value(seed: u64, length: usize) -> Arc<[u8]> {
    // As if it were random: no codec makes it smaller.
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    (0..length)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state.to_le_bytes()[7]
        })
        .collect()
}

fn text(seed: u64, length: usize) -> Arc<[u8]> {
    let line = format!("{seed}: the quick brown fox jumps over the lazy dog; ");
    line.bytes().cycle().take(length).collect()
}

fn put(store: &SpillStore, key: &[u8], value: Arc<[u8]>) {
    store.write(key, SpillTags::default(), value).unwrap();
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "spill"))
        .collect();
    files.sort();
    files
}

/// Everything that may be collected is; as much as `step` is moved at once.
fn collect_all(store: &SpillStore, step: Bytes) {
    let mut turns = 0;
    while store.collect_garbage(step).unwrap().is_unfinished {
        turns += 1;
        assert!(turns < 1000, "it never ends");
    }
}

/// A copy of what is on the disk now, as if the process were killed, of a store
/// that writes nothing. What it removes meanwhile was there, or was not.
fn killed_now(directory: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let to = copy.path().join(path.file_name().unwrap());
        match std::fs::copy(path, to) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            copied => drop(copied.unwrap()),
        }
    }
    copy
}

fn files_with(directory: &Path, part: &str) -> usize {
    std::fs::read_dir(directory)
        .unwrap()
        .filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_str().unwrap().contains(part)
        })
        .count()
}

/// The segment's bytes are changed.
fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_value_can_be_read_at_once_and_after_it_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let store = SpillStore::open(options(directory.path())).unwrap();
    for (key, length) in [(b"a", 0), (b"b", 1), (b"c", 2700), (b"d", 5 << 20)] {
        for value in [value(1, length), text(2, length)] {
            put(&store, key, Arc::clone(&value));
            assert_eq!(store.read(key).unwrap(), Some(Arc::clone(&value)));
            store.flush().unwrap();
            assert_eq!(store.place(key).unwrap(), Some(SpillPlace::Disk));
            assert_eq!(store.read(key).unwrap(), Some(value));
        }
    }
    assert_eq!(store.read(b"e").unwrap(), None);
}

#[test]
fn a_store_that_is_opened_again_has_its_values() {
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let directory = tempfile::tempdir().unwrap();
        let open = || {
            SpillStore::open(
                options(directory.path())
                    .compression(compression)
                    .segment(Bytes::from_kib(64)),
            )
            .unwrap()
        };
        let store = open();
        for key in 0..100_u64 {
            put(&store, &key.to_le_bytes(), text(key, 3000));
            put(&store, &(1000 + key).to_le_bytes(), value(key, 3000));
        }
        put(&store, b"large", text(7, 3 << 20));
        store.remove(&5_u64.to_le_bytes()).unwrap();
        drop(store);
        let store = open();
        assert_eq!(store.recovery().values, 200);
        assert_eq!(store.recovery().damaged, Vec::<PathBuf>::new());
        for key in 0..100_u64 {
            let expected = (key != 5).then(|| text(key, 3000));
            assert_eq!(store.read(&key.to_le_bytes()).unwrap(), expected, "{key}");
            let read = store.read(&(1000 + key).to_le_bytes()).unwrap();
            assert_eq!(read, Some(value(key, 3000)));
        }
        assert_eq!(store.read(b"large").unwrap(), Some(text(7, 3 << 20)));
    }
}

#[test]
fn keys_are_any_bytes_and_never_a_path() {
    let directory = tempfile::tempdir().unwrap();
    let inside = directory.path().join("store");
    let store = SpillStore::open(options(&inside)).unwrap();
    let longest = vec![b'/'; MOST_KEY_BYTES];
    let keys: [&[u8]; 8] = [
        b"",
        b"/",
        b"../../outside",
        b"a/b",
        b"a\0b",
        b"a_b",
        b"\xff\xfe",
        &longest,
    ];
    for (number, key) in keys.iter().enumerate() {
        put(&store, key, text(number as u64, 100));
    }
    store.flush().unwrap();
    drop(store);
    let store = SpillStore::open(options(&inside)).unwrap();
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(store.read(key).unwrap(), Some(text(number as u64, 100)));
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_key_of_10_mb_is_refused_with_the_bound() {
    let directory = tempfile::tempdir().unwrap();
    let store = SpillStore::open(options(directory.path())).unwrap();
    let key = vec![0; 10_000_000];
    match store.write(&key, SpillTags::default(), value(1, 1)) {
        Err(SpillError::KeyTooLong { length, most }) => {
            assert_eq!((length, most), (10_000_000, MOST_KEY_BYTES));
        }
        other => panic!("{other:?}"),
    }
    let project = "p".repeat(256);
    let tags = SpillTags::default().of_project(&project);
    assert!(matches!(
        store.write(b"a", tags, value(1, 1)),
        Err(SpillError::ProjectTooLong { length: 256, .. })
    ));
    assert!(store.is_empty());
}

#[test]
fn embeddings_are_stored_as_they_are_and_text_of_another_project_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let store = SpillStore::open(options(directory.path())).unwrap();
    let embeddings = SpillTags::default().of_project("embeddings");
    let texts = SpillTags::default().of_project("texts");
    for key in 0..100_u64 {
        store
            .write(&key.to_le_bytes(), embeddings, value(key, 3072))
            .unwrap();
        store
            .write(&(1000 + key).to_le_bytes(), texts, text(key, 3072))
            .unwrap();
    }
    store.flush().unwrap();
    let statistics = store.statistics();
    assert_eq!(statistics.written, 200);
    assert_eq!(statistics.written_uncompressed, 100);
    assert!(statistics.written_stored.get() < 100 * 3072 + 100 * 1000);
}

#[test]
fn a_second_store_in_the_directory_is_refused_and_told_who_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = SpillStore::open(options(directory.path())).unwrap();
    match SpillStore::open(options(directory.path())) {
        Err(SpillError::InUse { owner, .. }) => assert_eq!(owner, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    drop(store);
    assert!(SpillStore::open(options(directory.path())).is_ok());
}

#[test]
fn the_staging_buffer_and_the_index_are_charged_and_given_back() {
    let directory = tempfile::tempdir().unwrap();
    let component = component();
    let options = SpillOptions::new(directory.path(), component.clone())
        .free_floor(Bytes::ZERO)
        .staging(Bytes::from_mib(6));
    let store = SpillStore::open(options).unwrap();
    assert_eq!(component.reserved(), Bytes::from_mib(6));
    for key in 0..1000_u64 {
        put(&store, &key.to_le_bytes(), text(key, 10));
    }
    store.flush().unwrap();
    assert!(component.reserved() >= Bytes(Bytes::from_mib(6).get() + 1000 * 41));
    drop(store);
    assert_eq!(component.reserved(), Bytes::ZERO);
}

#[test]
fn a_budget_without_room_for_the_staging_buffer_refuses_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let budget = Budget::new(Bytes::from_mib(1)).unwrap();
    let component = budget.component("spill").register().unwrap();
    let refused = SpillStore::open(SpillOptions::new(directory.path(), component));
    assert!(matches!(refused, Err(SpillError::Staging { .. })));
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let small = SpillStore::open(options(directory.path()).staging(Bytes(10)));
    assert!(matches!(small, Err(SpillError::StagingTooSmall { .. })));
    let segment = SpillStore::open(options(directory.path()).segment(Bytes::ZERO));
    assert!(matches!(segment, Err(SpillError::Setting { .. })));
    let quota = SpillStore::open(options(directory.path()).quota(Bytes::ZERO));
    assert!(matches!(quota, Err(SpillError::Setting { .. })));
}

#[test]
fn the_quota_holds_and_what_was_removed_makes_room_again() {
    let directory = tempfile::tempdir().unwrap();
    let quota = Bytes::from_mib(1);
    let store = SpillStore::open(options(directory.path()).quota(quota)).unwrap();
    let mut written = 0;
    let refused = loop {
        match store.write(&[written], SpillTags::default(), value(1, 50_000)) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, SpillError::QuotaExceeded { .. }));
    store.flush().unwrap();
    assert!(store.bytes_on_disk() <= quota);
    assert!(written >= 19, "{written}");
    for key in 0..written {
        assert!(store.read(&[key]).unwrap().is_some());
        store.remove(&[key]).unwrap();
    }
    store.flush().unwrap();
    put(&store, b"again", value(1, 50_000));
}

#[test]
fn nothing_is_written_below_the_floor_of_free_space() {
    let directory = tempfile::tempdir().unwrap();
    let store = SpillStore::open(options(directory.path()).free_floor(Bytes(u64::MAX))).unwrap();
    put(&store, b"a", text(1, 100));
    assert!(matches!(
        store.flush(),
        Err(SpillError::TooLittleFree { .. })
    ));
    assert_eq!(store.place(b"a").unwrap(), Some(SpillPlace::Memory));
    assert_eq!(store.read(b"a").unwrap(), Some(text(1, 100)));
}

#[test]
fn what_cannot_be_written_stays_readable_and_is_written_when_the_disk_works() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new();
    let options = options(directory.path()).disk(Arc::new(disk.clone()));
    let store = SpillStore::open(options).unwrap();
    put(&store, b"before", text(0, 1000));
    store.flush().unwrap();
    disk.set_room(Some(Bytes(1500)));
    for key in 0..10_u64 {
        let _ = store.write(&key.to_le_bytes(), SpillTags::default(), value(key, 1000));
    }
    assert!(matches!(store.flush(), Err(SpillError::DiskFull { .. })));
    let accepted: Vec<_> = (0..10_u64)
        .filter(|key| store.contains(&key.to_le_bytes()).unwrap())
        .collect();
    assert!(!accepted.is_empty());
    for key in &accepted {
        let read = store.read(&key.to_le_bytes()).unwrap();
        assert_eq!(read, Some(value(*key, 1000)));
    }
    assert!(store.statistics().held > 0);
    disk.heal();
    store.flush().unwrap();
    assert_eq!(store.statistics().held, 0);
    drop(store);
    let store = SpillStore::open(self::options(directory.path())).unwrap();
    assert_eq!(store.recovery().values, accepted.len() as u64 + 1);
    for key in accepted {
        let read = store.read(&key.to_le_bytes()).unwrap();
        assert_eq!(read, Some(value(key, 1000)));
    }
    assert_eq!(store.read(b"before").unwrap(), Some(text(0, 1000)));
}

#[test]
fn values_that_cannot_be_written_can_be_taken_back_and_do_not_return() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new();
    let store = SpillStore::open(options(directory.path()).disk(Arc::new(disk.clone()))).unwrap();
    put(&store, b"a", text(1, 100));
    store.flush().unwrap();
    disk.set_read_only(true);
    let tags = SpillTags::new(Priority::High).of_project("core");
    store.write(b"a", tags, text(2, 100)).unwrap();
    assert!(matches!(store.flush(), Err(SpillError::ReadOnly { .. })));
    assert!(matches!(
        store.write(b"b", tags, text(3, 100)),
        Err(SpillError::ReadOnly { .. })
    ));
    let taken = store.take_unwritten().unwrap();
    assert_eq!(
        taken,
        [Unwritten {
            key: b"a".to_vec(),
            priority: Priority::High,
            project: Some("core".into()),
            value: text(2, 100),
        }]
    );
    assert_eq!(store.read(b"a").unwrap(), None);
    assert_eq!(store.statistics().pending, Bytes::ZERO);
    disk.heal();
    store.flush().unwrap();
    drop(store);
    let store = SpillStore::open(options(directory.path())).unwrap();
    assert_eq!(store.read(b"a").unwrap(), None);
}

#[test]
fn a_directory_that_is_read_only_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new();
    disk.set_read_only(true);
    for place in [directory.path().join("new"), directory.path().to_owned()] {
        let refused = SpillStore::open(options(&place).disk(Arc::new(disk.clone())));
        let refused = refused.unwrap_err();
        assert!(matches!(refused, SpillError::ReadOnly { .. }));
        let text = refused.to_string();
        let name = place.to_str().unwrap();
        assert!(
            text.contains(name) && text.ends_with("cannot be written"),
            "{text}"
        );
    }
}

#[test]
fn a_file_in_the_place_of_the_directory_or_above_it_is_refused_as_one() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    for place in [file.clone(), file.join("below")] {
        let refused = SpillStore::open(options(&place)).unwrap_err();
        assert!(
            matches!(refused, SpillError::NotADirectory { .. }),
            "{refused:?}"
        );
        assert!(
            refused.to_string().contains("is not a directory"),
            "{refused}"
        );
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"");
}

#[test]
fn a_directory_without_a_name_is_refused_and_nothing_is_made() {
    let refused = SpillStore::open(options(Path::new("")));
    assert!(matches!(refused, Err(SpillError::NoDirectory)));
    assert!(!Path::new("spill.lock").exists());
}

#[test]
fn a_directory_that_lives_in_memory_is_reported() {
    if let Ok(directory) = tempfile::tempdir_in("/dev/shm") {
        let store = SpillStore::open(options(directory.path())).unwrap();
        assert!(store.statistics().is_in_memory);
    }
}

#[test]
fn a_disk_that_is_too_slow_ends_the_waiting_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new();
    let options = options(directory.path())
        .disk(Arc::new(disk.clone()))
        .patience(Duration::from_millis(20));
    let store = SpillStore::open(options).unwrap();
    disk.set_delay(Duration::from_millis(300));
    put(&store, b"a", text(1, 100));
    assert!(matches!(store.flush(), Err(SpillError::Stalled { .. })));
    assert_eq!(store.read(b"a").unwrap(), Some(text(1, 100)));
    disk.heal();
    wait_until(|| store.place(b"a").unwrap() == Some(SpillPlace::Disk));
}

/// A store whose thread is within a slow write of `a` that is about to fail.
fn within_a_write_that_fails(directory: &Path) -> (SpillStore, FaultyDisk) {
    let disk = FaultyDisk::new();
    let store = SpillStore::open(options(directory).disk(Arc::new(disk.clone()))).unwrap();
    let before = disk.changes();
    disk.set_delay(Duration::from_millis(200));
    disk.fail(
        Operation::Write,
        0,
        Fault::Error(std::io::ErrorKind::StorageFull),
    );
    put(&store, b"a", text(1, 100));
    wait_until(|| disk.changes() > before);
    (store, disk)
}

#[test]
fn a_flush_tries_again_what_fails_after_it_was_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _disk) = within_a_write_that_fails(directory.path());
    store.flush().unwrap();
    assert_eq!(store.statistics().write_failures, 1);
    assert_eq!(store.place(b"a").unwrap(), Some(SpillPlace::Disk));
}

#[test]
fn what_fails_while_a_store_is_closed_is_tried_a_last_time() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _disk) = within_a_write_that_fails(directory.path());
    drop(store);
    let store = SpillStore::open(options(directory.path())).unwrap();
    assert_eq!(store.read(b"a").unwrap(), Some(text(1, 100)));
}

#[test]
fn anything_serializable_goes_out_and_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let store = SpillStore::open(options(directory.path())).unwrap();
    let cached: HashMap<String, Vec<u32>> = HashMap::from([("query".to_owned(), vec![1, 2, 3])]);
    store.spill_to_disk("query_cache", &cached).unwrap();
    store.flush().unwrap();
    assert_eq!(store.load_from_disk("query_cache").unwrap(), Some(cached));
    assert_eq!(store.load_from_disk::<u8>("large_object").unwrap(), None);
    assert!(matches!(
        store.load_from_disk::<u8>("query_cache"),
        Err(SpillError::Serialize { .. })
    ));
}

#[test]
fn a_store_whose_directory_was_removed_says_so_and_writes_nothing_into_the_next_one() {
    let above = tempfile::tempdir().unwrap();
    let directory = above.path().join("spill");
    let open = || SpillStore::open(options(&directory).segment(Bytes::from_kib(64))).unwrap();
    let store = open();
    put(&store, b"first", value(1, 1000));
    store.flush().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    put(&store, b"second", value(2, 1000));
    assert!(matches!(store.flush(), Err(SpillError::Displaced { .. })));
    // What was accepted can be read.
    assert_eq!(store.read(b"second").unwrap(), Some(value(2, 1000)));
    let next = open();
    let before = segments(&directory);
    for key in 0..100_u64 {
        let tags = SpillTags::default();
        let taken = store.write(&key.to_le_bytes(), tags, value(key, 2000));
        assert!(
            matches!(taken, Ok(()) | Err(SpillError::Displaced { .. })),
            "{taken:?}"
        );
    }
    assert!(matches!(store.flush(), Err(SpillError::Displaced { .. })));
    assert_eq!(segments(&directory), before);
    put(&next, b"third", value(3, 1000));
    next.flush().unwrap();
}
