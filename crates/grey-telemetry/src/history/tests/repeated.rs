//! What is in the files twice is given once.
//!
//! Never part of the product.

use super::*;
use crate::history::recover::block_of;

/// Twenty samples in two blocks of one shard.
fn two_blocks() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = open(folder.path(), small_blocks());
    for number in 0..20 {
        writer.append(&sample(number)).unwrap();
    }
    writer.seal().unwrap();
    drop(writer);
    let shard = shard(folder.path());
    (folder, shard)
}

/// The numbers that are read, and what is told of repetitions.
fn once(folder: &Path) -> (Vec<u64>, Vec<(u64, u64)>) {
    let mut history = History::open(folder).unwrap();
    assert_eq!(history.span().unwrap().samples, 20);
    let read = read(&mut history).into_iter();
    let losses = history.losses().iter();
    let told = losses.map(|loss| {
        assert!(loss.is_repeated(), "{loss:?}");
        (loss.from_byte, loss.bytes)
    });
    let numbers = read.map(|sample| sample.since_boot_ms / 1000).collect();
    (numbers, told.collect())
}

#[test]
fn a_shard_that_was_copied_or_doubled_gives_its_samples_once_and_is_told() {
    let (folder, shard) = two_blocks();
    let whole = fs::read(&shard).unwrap();
    let (all, length) = ((0..20).collect::<Vec<_>>(), whole.len() as u64);
    assert_eq!(once(folder.path()), (all.clone(), vec![]));
    let copy = folder.path().join("2024-02-03-00.shard");
    fs::write(&copy, &whole).unwrap();
    assert_eq!(once(folder.path()), (all.clone(), vec![(0, length)]));
    fs::remove_file(&copy).unwrap();
    fs::write(&shard, [whole.clone(), whole].concat()).unwrap();
    assert_eq!(once(folder.path()), (all, vec![(length, length)]));
    write(folder.path(), 20..25);
    assert_eq!(numbers(folder.path()), (0..25).collect::<Vec<_>>());
}

#[test]
fn a_copy_stands_in_for_a_block_that_is_damaged() {
    let (folder, shard) = two_blocks();
    let mut whole = fs::read(&shard).unwrap();
    fs::write(folder.path().join("2024-02-03-00.shard"), &whole).unwrap();
    let last = whole.len() - 1;
    whole[last] ^= 1;
    fs::write(&shard, &whole).unwrap();
    assert_eq!(once(folder.path()).0, (0..20).collect::<Vec<_>>());
}

#[test]
fn samples_that_a_longer_block_has_too_are_given_once_and_others_are_not_lost() {
    let (folder, _) = two_blocks();
    let mut run: Vec<(u64, Sample)> = (5..15).map(|number| (number, sample(number))).collect();
    // Taken by a recorder that did not know the others.
    run[9].1 = sample(100);
    let borrowed: Vec<&(u64, Sample)> = run.iter().collect();
    let block = block_of(&borrowed).unwrap();
    fs::write(folder.path().join("2024-02-03-00.shard"), block).unwrap();
    let mut history = History::open(folder.path()).unwrap();
    assert!(history.losses().is_empty());
    let mut taken: Vec<u64> = read(&mut history)
        .iter()
        .map(|sample| sample.since_boot_ms / 1000)
        .collect();
    taken.sort_unstable();
    assert_eq!(taken, (0..20).chain([100]).collect::<Vec<_>>());
    // Its nine, and of the second block the four that it had before.
    assert!(history.losses().iter().all(|loss| loss.is_repeated()));
    assert_eq!(history.losses().len(), 2);
}
