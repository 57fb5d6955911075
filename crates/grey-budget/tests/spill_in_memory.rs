//! A spill directory that lives in memory is told of, once, when it is opened:
//! spilling there frees nothing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod captured_log;

use std::path::Path;

use grey_budget::{Budget, Bytes, SpillOptions, SpillStore, SpillTags};
use grey_fake_kernel::Ended;

fn open(directory: &Path) -> SpillStore {
    let budget = Budget::new(Bytes::from_mib(64)).unwrap();
    let component = budget.component("spill").register().unwrap();
    SpillStore::open(SpillOptions::new(directory, component).free_floor(Bytes::ZERO)).unwrap()
}

fn warnings(directory: &Path) -> (SpillStore, Vec<String>) {
    let (store, lines) = captured_log::captured(|| {
        let store = open(directory);
        for key in 0..5_u8 {
            store
                .write(&[key], SpillTags::default(), vec![key; 100].into())
                .unwrap();
            store.flush().unwrap();
        }
        store
    });
    let warnings = lines.into_iter().filter(|line| line.contains("in memory"));
    (store, warnings.collect())
}

#[test]
fn a_directory_in_memory_is_warned_of_once_and_stays_known() -> Ended {
    let Ok(directory) = tempfile::tempdir_in("/dev/shm") else {
        return Ended::Skipped {
            reason: "there is no /dev/shm here",
        };
    };
    let (store, warnings) = warnings(directory.path());
    assert_eq!(
        warnings,
        ["WARNING: the spill directory is in memory: spilling frees nothing"]
    );
    assert!(store.statistics().is_in_memory);
    Ended::Done
}

/// By the kernel's table of mounts.
fn is_mounted_in_memory(path: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let nearest = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .filter(|(place, _)| path.starts_with(place))
        .max_by_key(|(place, _)| place.len());
    nearest.is_some_and(|(_, kind)| kind == "tmpfs" || kind == "ramfs")
}

#[test]
fn a_directory_on_a_disk_is_not_warned_of() -> Ended {
    // The build's own directory is on a disk mostly, wherever tests keep their
    // files.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    if is_mounted_in_memory(directory.path()) {
        return Ended::Skipped {
            reason: "the build's directory is in memory",
        };
    }
    let (store, warnings) = warnings(directory.path());
    assert_eq!(warnings, Vec::<String>::new());
    assert!(!store.statistics().is_in_memory);
    Ended::Done
}
