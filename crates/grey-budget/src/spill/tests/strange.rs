//! What is in a directory that this store did not write, or not so.

use super::*;

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
