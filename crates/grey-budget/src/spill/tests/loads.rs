//! What is read again: one value, many, and back into memory.

use super::super::load_back::Taker;
use super::*;

/// Has room for everything, and does something when it is first asked.
struct Roomy<F> {
    asked: u32,
    first: Option<F>,
    offered: Vec<Vec<u8>>,
}

impl<F: FnOnce()> Roomy<F> {
    const fn new(first: F) -> Self {
        Self {
            asked: 0,
            first: Some(first),
            offered: Vec::new(),
        }
    }
}

impl<F: FnOnce()> Taker for Roomy<F> {
    fn room(&mut self) -> Bytes {
        self.asked += 1;
        if let Some(first) = self.first.take() {
            first();
        }
        Bytes::from_mib(1)
    }

    fn is_too_large(&mut self) {}

    fn take(&mut self, spilled: Spilled<'_>) -> Take {
        self.offered.push(spilled.key.to_vec());
        Take::Left
    }
}

#[test]
fn who_loads_back_is_asked_for_room_before_the_index_is_looked_through() {
    let directory = tempfile::tempdir().unwrap();
    let store = SpillStore::open(options(directory.path())).unwrap();
    put(&store, b"before", value(1, 100));
    // What comes in while the index is looked through is not offered.
    let mut taker = Roomy::new(|| put(&store, b"meanwhile", value(2, 100)));
    store.load_back_of(Priority::Medium, &mut taker).unwrap();
    taker.offered.sort();
    assert_eq!(taker.offered, [b"before".to_vec(), b"meanwhile".to_vec()]);
    assert_eq!(taker.asked, 1);
    // Of other priorities there is nothing: nobody need look.
    let mut idle = Roomy::new(|| ());
    store.load_back_of(Priority::High, &mut idle).unwrap();
    assert_eq!(idle.asked, 0);
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
