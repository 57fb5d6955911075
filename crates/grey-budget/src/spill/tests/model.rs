//! A store beside a map, with threads, and with faults at any step.

use super::*;

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

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn a_run_of_damage_anywhere_makes_values_absent_and_never_wrong(
        steps in steps(60),
        file: prop::sample::Index,
        start: prop::sample::Index,
        length in 1_usize..3000,
        grows: bool,
        seed: u64,
    ) {
        let mut model = Model::new();
        model.run(&steps).unwrap();
        model.store = None;
        let files: Vec<PathBuf> = segments(model.directory.path())
            .into_iter()
            .flat_map(|path| [path.with_extension("keys"), path])
            .collect();
        prop_assume!(!files.is_empty());
        let path = file.get(&files);
        damage(path, |bytes| {
            let start = if grows { bytes.len() } else { start.index(bytes.len()) };
            let end = if grows { start + length } else { bytes.len().min(start + length) };
            bytes.resize(bytes.len().max(end), 0);
            bytes[start..end].copy_from_slice(&value(seed, end - start));
        });
        for _ in 0..2 {
            let store = model.open().unwrap();
            let mut wrong = 0;
            for key in 0..12 {
                if let Ok(Some(read)) = store.read(&[key]) {
                    wrong += u32::from(Some(&read) != model.values.get(&key));
                } else if grows {
                    // Nothing that was written is damaged.
                    prop_assert_eq!(model.values.get(&key), None);
                }
            }
            prop_assert_eq!(wrong, 0);
            store.collect_garbage(Bytes::from_mib(1)).unwrap();
        }
    }
}
