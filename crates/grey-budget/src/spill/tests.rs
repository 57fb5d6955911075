//! What a spill store promises, on disks that work and on disks that do not.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use grey_model::{Bytes, Priority};
use proptest::prelude::*;

use super::format::HEADER;
use super::*;
use crate::budget::{Budget, Component};
use crate::testkit::{Fault, FaultyDisk, Operation};

mod damage;

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

fn files_with(directory: &Path, part: &str) -> usize {
    std::fs::read_dir(directory)
        .unwrap()
        .filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_str().unwrap().contains(part)
        })
        .count()
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

fn wait_until(mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "it never became so"
        );
        std::thread::yield_now();
    }
}

#[test]
fn a_damaged_value_is_an_error_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new();
    let store = SpillStore::open(options(directory.path()).disk(Arc::new(disk.clone()))).unwrap();
    put(&store, b"a", value(1, 1000));
    store.flush().unwrap();
    disk.fail(Operation::Read, 0, Fault::FlippedBit(8 * 500));
    assert!(matches!(store.read(b"a"), Err(SpillError::Damaged { .. })));
    assert_eq!(store.statistics().damaged, 1);
    assert_eq!(store.read(b"a").unwrap(), Some(value(1, 1000)));
}

#[test]
fn loading_back_begins_with_the_dearest_and_stops_at_the_limit() {
    let directory = tempfile::tempdir().unwrap();
    let store = SpillStore::open(options(directory.path())).unwrap();
    for key in 0..40_u8 {
        let priority = Priority::ALL[usize::from(key) % 4];
        let tags = SpillTags::new(priority).of_project("p");
        store
            .write(&[key], tags, value(u64::from(key), 1000))
            .unwrap();
        if key == 30 {
            store.flush().unwrap();
        }
    }
    let mut seen = Vec::new();
    let loaded = store
        .load_back(Bytes(25_000), |spilled| {
            assert_eq!(spilled.project, Some("p"));
            assert_eq!(spilled.value, value(u64::from(spilled.key[0]), 1000));
            seen.push(spilled.priority);
            Take::Taken
        })
        .unwrap();
    assert_eq!((loaded.values, loaded.bytes), (25, Bytes(25_000)));
    assert!(loaded.is_unfinished);
    let mut sorted = seen.clone();
    sorted.sort();
    sorted.reverse();
    assert_eq!(seen, sorted);
    assert_eq!(
        seen.iter().filter(|seen| **seen == Priority::High).count(),
        10
    );
    assert!(!seen.contains(&Priority::Low));
    assert_eq!(store.len(), 15);
    drop(store);
    let store = SpillStore::open(options(directory.path())).unwrap();
    assert_eq!(store.len(), 15);
    let mut offered = 0;
    store
        .load_back(Bytes(u64::MAX), |_| {
            offered += 1;
            if offered == 3 { Take::Stop } else { Take::Left }
        })
        .unwrap();
    assert_eq!((offered, store.len()), (3, 15));
}

#[test]
fn a_value_that_reaches_the_disk_meanwhile_is_offered_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = SpillStore::open(options(directory.path())).unwrap();
    for key in 0..200_u64 {
        put(&store, &key.to_le_bytes(), value(key, 1000));
    }
    let mut offered = 0;
    store
        .load_back(Bytes(u64::MAX), |_| {
            offered += 1;
            store.flush().unwrap();
            Take::Left
        })
        .unwrap();
    assert_eq!(offered, 200);
}

#[test]
fn many_values_are_read_in_the_order_of_their_keys() {
    let directory = tempfile::tempdir().unwrap();
    let store = SpillStore::open(options(directory.path()).segment(Bytes::from_kib(256))).unwrap();
    for key in 0..500_u64 {
        put(&store, &key.to_le_bytes(), text(key, 3000));
    }
    store.flush().unwrap();
    put(&store, b"staged", text(1, 10));
    let names: Vec<_> = (0..500_u64).rev().map(u64::to_le_bytes).collect();
    let mut keys: Vec<&[u8]> = names.iter().map(|key| &key[..]).collect();
    keys.push(b"staged");
    keys.push(b"absent");
    let read = store.read_many(&keys).unwrap();
    for (read, key) in read.iter().zip((0..500_u64).rev()) {
        assert_eq!(*read.as_ref().unwrap(), Some(text(key, 3000)));
    }
    assert_eq!(*read[500].as_ref().unwrap(), Some(text(1, 10)));
    assert_eq!(*read[501].as_ref().unwrap(), None);
}

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

#[test]
fn a_segment_of_a_newer_version_is_set_aside_and_reported() {
    let directory = tempfile::tempdir().unwrap();
    let store = SpillStore::open(options(directory.path())).unwrap();
    put(&store, b"a", text(1, 100));
    drop(store);
    let path = segments(directory.path()).remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] = 2;
    std::fs::write(&path, &bytes).unwrap();
    let store = SpillStore::open(options(directory.path())).unwrap();
    assert_eq!(store.read(b"a").unwrap(), None);
    let aside = &store.recovery().set_aside;
    assert_eq!(aside.len(), 1);
    assert!(aside[0].reason.contains("version 2"), "{}", aside[0].reason);
    assert_eq!(std::fs::read(&aside[0].path).unwrap(), bytes);
    put(&store, b"b", text(2, 100));
    drop(store);
    let store = SpillStore::open(options(directory.path())).unwrap();
    assert_eq!(store.read(b"b").unwrap(), Some(text(2, 100)));
}

#[test]
fn one_damaged_header_costs_one_value_and_its_segment_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let open = || SpillStore::open(options(directory.path())).unwrap();
    let store = open();
    for key in 0..10_u64 {
        put(&store, &key.to_le_bytes(), value(key, 1000));
    }
    drop(store);
    let path = segments(directory.path()).remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    let record = (HEADER + 8 + 1000).next_multiple_of(8);
    bytes[HEADER + 3 * record + 20] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let check = |store: &SpillStore| {
        for key in 0..10_u64 {
            let expected = (key != 3).then(|| value(key, 1000));
            assert_eq!(store.read(&key.to_le_bytes()).unwrap(), expected, "{key}");
        }
    };
    let store = open();
    assert_eq!(store.recovery().damaged, [path]);
    check(&store);
    while store
        .collect_garbage(Bytes::from_mib(1))
        .unwrap()
        .is_unfinished
    {}
    check(&store);
    assert_eq!(files_with(directory.path(), "damaged"), 1);
    drop(store);
    let store = open();
    assert_eq!(store.recovery().damaged, Vec::<PathBuf>::new());
    check(&store);
}

#[test]
fn a_copy_of_a_segment_inside_of_a_value_is_not_taken_for_records() {
    let directory = tempfile::tempdir().unwrap();
    let options = || options(directory.path()).compression(Compression::None);
    let store = SpillStore::open(options()).unwrap();
    put(&store, b"a", value(1, 1000));
    store.flush().unwrap();
    let path = segments(directory.path()).remove(0);
    put(&store, b"copy", std::fs::read(&path).unwrap().into());
    put(&store, b"a", value(2, 1000));
    drop(store);
    // The header of the copy is damaged, so that records are looked for in it.
    let mut bytes = std::fs::read(&path).unwrap();
    let record = (HEADER + 1 + 1000).next_multiple_of(8);
    bytes[HEADER + record + 4] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let store = SpillStore::open(options()).unwrap();
    assert_eq!(store.read(b"a").unwrap(), Some(value(2, 1000)));
    assert_eq!(store.read(b"copy").unwrap(), None);
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
fn threads_that_write_read_and_remove_see_their_own_values() {
    let directory = tempfile::tempdir().unwrap();
    let store = SpillStore::open(options(directory.path()).segment(Bytes::from_kib(128))).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let store = store.clone();
            scope.spawn(move || {
                for turn in 0..500_u64 {
                    let key = [thread, turn % 50].map(u64::to_le_bytes).concat();
                    let value = value(thread * 1000 + turn, 500 + usize::try_from(turn).unwrap());
                    store
                        .write(&key, SpillTags::default(), Arc::clone(&value))
                        .unwrap();
                    assert_eq!(store.read(&key).unwrap(), Some(value));
                    if turn % 7 == 0 {
                        assert!(store.remove(&key).unwrap());
                        assert_eq!(store.read(&key).unwrap(), None);
                    }
                }
            });
        }
    });
    store.flush().unwrap();
    assert_eq!(store.statistics().pending, Bytes::ZERO);
}

/// What a program does to a store.
#[derive(Debug, Clone)]
enum Step {
    Write(u8, usize),
    Remove(u8),
    Flush,
    Collect,
    Reopen,
}

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let length = prop_oneof![8 => 0_usize..600, 1 => 0_usize..30_000];
    let step = prop_oneof![
        10 => (0_u8..12, length).prop_map(|(key, length)| Step::Write(key, length)),
        4 => (0_u8..12).prop_map(Step::Remove),
        1 => Just(Step::Flush),
        1 => Just(Step::Collect),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..most)
}

/// The value of one version of a key, which names both.
fn versioned(key: u8, version: u64, length: usize) -> Arc<[u8]> {
    let mut bytes = vec![key];
    bytes.extend(version.to_le_bytes());
    bytes.extend(value(version, length).iter());
    bytes.into()
}

struct Model {
    directory: tempfile::TempDir,
    store: Option<SpillStore>,
    disk: FaultyDisk,
    values: HashMap<u8, Arc<[u8]>>,
    version: u64,
}

impl Model {
    fn new() -> Self {
        let mut model = Self {
            directory: tempfile::tempdir().unwrap(),
            store: None,
            disk: FaultyDisk::new(),
            values: HashMap::new(),
            version: 0,
        };
        model.store = Some(model.open().unwrap());
        model
    }

    fn open(&self) -> Result<SpillStore, SpillError> {
        SpillStore::open(
            options(self.directory.path())
                .segment(Bytes::from_kib(4))
                .disk(Arc::new(self.disk.clone())),
        )
    }

    fn store(&self) -> &SpillStore {
        self.store.as_ref().unwrap()
    }

    fn run(&mut self, steps: &[Step]) -> Result<(), SpillError> {
        for step in steps {
            match *step {
                Step::Write(key, length) => {
                    self.version += 1;
                    let value = versioned(key, self.version, length);
                    self.store()
                        .write(&[key], SpillTags::default(), Arc::clone(&value))?;
                    self.values.insert(key, value);
                }
                Step::Remove(key) => {
                    let was_there = self.store().remove(&[key])?;
                    assert_eq!(was_there, self.values.remove(&key).is_some());
                }
                Step::Flush => self.store().flush()?,
                Step::Collect => {
                    self.store().collect_garbage(Bytes::from_kib(8))?;
                }
                Step::Reopen => {
                    // What cannot be written when a store is closed is lost:
                    // a program that must know flushes before.
                    self.store().flush().or_else(|_| self.store().flush())?;
                    self.store = None;
                    self.store = Some(self.open()?);
                }
            }
        }
        Ok(())
    }

    fn check(&self) {
        for key in 0..12 {
            let read = self.store().read(&[key]).unwrap();
            assert_eq!(read.as_ref(), self.values.get(&key), "{key}");
        }
        assert_eq!(self.store().len(), self.values.len());
    }
}

/// Whether each key is as it was in one of these states. Writes that were
/// replaced before they were on the disk are left out, so that keys need not
/// all be of the same state.
fn is_of(states: &[HashMap<u8, Arc<[u8]>>], found: &HashMap<u8, Arc<[u8]>>) -> bool {
    (0..12).all(|key| {
        states
            .iter()
            .any(|state| state.get(&key) == found.get(&key))
    })
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn a_store_is_a_map_that_survives_being_opened_again(steps in steps(120)) {
        let mut model = Model::new();
        model.run(&steps).unwrap();
        model.check();
        model.run(&[Step::Reopen]).unwrap();
        model.check();
    }

    #[test]
    fn a_flipped_bit_anywhere_makes_values_absent_and_never_wrong(
        steps in steps(60),
        file: prop::sample::Index,
        byte: prop::sample::Index,
        bit in 0..8_u8,
    ) {
        let mut model = Model::new();
        model.run(&steps).unwrap();
        model.store = None;
        let files = segments(model.directory.path());
        prop_assume!(!files.is_empty());
        let path = file.get(&files);
        let mut bytes = std::fs::read(path).unwrap();
        let place = byte.index(bytes.len());
        bytes[place] ^= 1 << bit;
        std::fs::write(path, bytes).unwrap();
        // Twice, and with garbage collected between: damage must not be
        // forgotten.
        for _ in 0..2 {
            let store = model.open().unwrap();
            for key in 0..12 {
                if let Ok(Some(read)) = store.read(&[key]) {
                    prop_assert_eq!(Some(&read), model.values.get(&key));
                }
            }
            store.collect_garbage(Bytes::from_mib(1)).unwrap();
            for key in 0..12 {
                if let Ok(Some(read)) = store.read(&[key]) {
                    prop_assert_eq!(Some(&read), model.values.get(&key));
                }
            }
        }
    }

    #[test]
    fn a_torn_end_gives_earlier_values_and_never_other_ones(
        steps in steps(60),
        cut: prop::sample::Index,
    ) {
        let mut model = Model::new();
        let mut states = vec![HashMap::new()];
        for step in &steps {
            model.run(std::slice::from_ref(step)).unwrap();
            states.push(model.values.clone());
        }
        model.store = None;
        let files = segments(model.directory.path());
        prop_assume!(!files.is_empty());
        let last = files.last().unwrap();
        let length = std::fs::metadata(last).unwrap().len();
        let cut = cut.index(usize::try_from(length).unwrap() + 1) as u64;
        std::fs::OpenOptions::new().write(true).open(last).unwrap().set_len(cut).unwrap();
        let store = model.open().unwrap();
        let found: HashMap<u8, Arc<[u8]>> = (0..12_u8)
            .filter_map(|key| Some((key, store.read(&[key]).unwrap()?)))
            .collect();
        prop_assert!(is_of(&states, &found));
        // It goes on from there.
        store.write(&[0], SpillTags::default(), value(1, 10)).unwrap();
        drop(store);
        let store = model.open().unwrap();
        prop_assert_eq!(store.read(&[0]).unwrap(), Some(value(1, 10)));
    }

    #[test]
    fn a_disk_that_fails_once_at_any_step_loses_nothing(
        steps in steps(60),
        operation in prop_oneof![
            Just(Operation::Write), Just(Operation::Sync), Just(Operation::Create),
            Just(Operation::Truncate), Just(Operation::Remove),
        ],
        after in 0..40_u64,
        is_torn: bool,
        torn in 0..3000_usize,
    ) {
        let mut model = Model::new();
        let fault = if is_torn && operation == Operation::Write {
            Fault::Torn(torn)
        } else {
            Fault::Error(std::io::ErrorKind::StorageFull)
        };
        model.disk.fail(operation, after, fault);
        for step in &steps {
            // Whatever fails is done again, as a program would.
            for _ in 0..2 {
                if model.store.is_none() {
                    model.store = Some(model.open().unwrap());
                }
                match model.run(std::slice::from_ref(step)) {
                    Ok(()) => break,
                    Err(_) if model.store.is_some() => {
                        let _ = model.store().flush();
                    }
                    Err(_) => {}
                }
            }
        }
        model.disk.heal();
        model.store().flush().unwrap();
        model.check();
        model.run(&[Step::Reopen]).unwrap();
        model.check();
    }

    #[test]
    fn a_disk_that_stops_at_any_step_keeps_what_was_flushed(
        steps in steps(60),
        changes in 0..60_u64,
    ) {
        let mut model = Model::new();
        let mut states = vec![HashMap::new()];
        let mut flushed = 0;
        model.disk.stop_after(changes);
        for step in &steps {
            if matches!(step, Step::Reopen) {
                continue;
            }
            if model.run(std::slice::from_ref(step)).is_err() {
                break;
            }
            states.push(model.values.clone());
            if matches!(step, Step::Flush) {
                flushed = states.len() - 1;
            }
        }
        // A write may have been taken and not counted by the model.
        model.store = None;
        model.disk.heal();
        let store = model.open().unwrap();
        let found: HashMap<u8, Arc<[u8]>> = (0..12_u8)
            .filter_map(|key| Some((key, store.read(&[key]).unwrap()?)))
            .collect();
        prop_assert!(is_of(&states[flushed..], &found), "{} of {}", flushed, states.len());
    }
}
