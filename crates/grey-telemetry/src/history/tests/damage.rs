//! Damage costs what is damaged, is told, and is never read as a sample.
//!
//! Never part of the product.

use proptest::prelude::*;

use super::*;
use crate::history::tail::HEADER;

/// Ten samples in a block, and nine in a tail of three stretches.
const TAKEN: u64 = 19;
const STRETCH: u64 = 3;

fn recorded() -> (tempfile::TempDir, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 0..TAKEN);
    let tail = fs::read(folder.path().join("tail")).unwrap();
    (folder, tail)
}

/// How many samples history says are lost, after a look at whether their time
/// is within what it says.
fn told(history: &History, missing: &[u64]) -> u64 {
    for loss in history.losses() {
        let (from, until) = loss.between_unix_ms.unwrap();
        let taken = |number: &u64| NOON + number * 1000;
        assert!(
            missing
                .iter()
                .map(taken)
                .any(|at| from <= at && at <= until),
            "{loss:?} of {missing:?}"
        );
    }
    let counts = history.losses().iter().map(|loss| loss.samples.unwrap());
    counts.sum()
}

/// Where each stretch of a tail begins.
fn stretches(tail: &[u8]) -> Vec<usize> {
    let places = 0..tail.len();
    places
        .filter(|&at| tail[at..].starts_with(b"GREYTAIL"))
        .collect()
}

fn missing(there: &[u64]) -> Vec<u64> {
    (0..TAKEN)
        .filter(|number| !there.contains(number))
        .collect()
}

#[test]
fn a_tail_that_was_cut_anywhere_loses_only_its_last_sample() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 0..15);
    let tail = folder.path().join("tail");
    let whole = fs::read(&tail).unwrap();
    let mut before = 15;
    for length in (0..whole.len()).rev() {
        fs::write(&tail, &whole[..length]).unwrap();
        let read = numbers(folder.path()).len();
        assert!(
            read == before || read + 1 == before,
            "{length}: {read} after {before}"
        );
        before = read;
        // Nobody was told that it was kept; of a file without its header
        // somebody was.
        let history = History::open(folder.path()).unwrap();
        let is_told = !history.losses().is_empty();
        assert_eq!(is_told, (1..HEADER).contains(&length), "{length}");
    }
    assert_eq!(before, 10);
    fs::write(&tail, &whole[..whole.len() - 1]).unwrap();
    write(folder.path(), 14..16);
    assert_eq!(numbers(folder.path()), (0..16).collect::<Vec<_>>());
}

#[test]
fn a_damaged_block_is_told_and_the_others_are_read() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 0..35);
    let path = shard(folder.path());
    let whole = fs::read(&path).unwrap();
    for position in (0..whole.len()).step_by(37) {
        let mut damaged = whole.clone();
        damaged[position] ^= 0x40;
        fs::write(&path, &damaged).unwrap();
        let mut history = History::open(folder.path()).unwrap();
        let read: Vec<u64> = read(&mut history)
            .into_iter()
            .map(|read| {
                let number = read.since_boot_ms / 1000;
                assert_eq!(read, sample(number));
                number
            })
            .collect();
        assert_eq!(read.len(), 25, "{position}");
        assert_eq!(
            history.losses().len(),
            1,
            "{position}: {:?}",
            history.losses()
        );
    }
    // A recorder adds nothing behind the damage, and deletes nothing.
    write(folder.path(), 35..46);
    assert_eq!(numbers(folder.path()).len(), 36);
}

#[test]
fn a_damaged_byte_anywhere_in_the_tail_costs_a_stretch_at_most_and_is_told() {
    let (folder, whole) = recorded();
    let tail = folder.path().join("tail");
    for position in 0..whole.len() {
        for flip in [0x01, 0xff] {
            let mut damaged = whole.clone();
            damaged[position] ^= flip;
            fs::write(&tail, &damaged).unwrap();
            // Compares each with what was recorded.
            let missing = missing(&numbers(folder.path()));
            assert!(!missing.is_empty(), "{position}");
            assert!(missing.len() as u64 <= STRETCH, "{position}: {missing:?}");
            let history = History::open(folder.path()).unwrap();
            assert_eq!(history.losses().len(), 1, "{position}");
            let told = told(&history, &missing);
            assert_eq!(told, missing.len() as u64, "{position}: {missing:?}");
        }
    }
}

#[test]
fn what_lies_twice_in_the_tail_is_read_once() {
    let (folder, whole) = recorded();
    let second = stretches(&whole)[1];
    for from in [HEADER, second] {
        let twice = [&whole, &whole[second..], &whole[from..]].concat();
        fs::write(folder.path().join("tail"), twice).unwrap();
        assert_eq!(numbers(folder.path()), (0..TAKEN).collect::<Vec<_>>());
    }
}

#[test]
fn a_recorder_keeps_what_is_good_in_a_damaged_tail_and_sets_it_aside() {
    let (folder, whole) = recorded();
    let middle = whole.len() / 2;
    let mut damaged = whole.clone();
    damaged[middle] ^= 4;
    fs::write(folder.path().join("tail"), &damaged).unwrap();
    let before = numbers(folder.path());
    let mut writer = open(folder.path(), small_blocks());
    assert_eq!(writer.recovered(), before.len() as u64 - 10);
    assert_eq!(writer.losses().len(), 1);
    let aside = writer.damaged_tail().unwrap().to_owned();
    assert_eq!(fs::read(&aside).unwrap(), damaged);
    writer.append(&sample(TAKEN)).unwrap();
    drop(writer);
    let mut after = before;
    after.push(TAKEN);
    assert_eq!(numbers(folder.path()), after);
    let writer = open(folder.path(), small_blocks());
    assert_eq!(writer.damaged_tail(), None);
    assert!(fs::exists(&aside).unwrap());
}

#[test]
fn what_was_recovered_before_a_kill_is_not_recovered_twice() {
    let (folder, mut tail) = recorded();
    let middle = tail.len() / 2;
    tail[middle] ^= 4;
    fs::write(folder.path().join("tail"), &tail).unwrap();
    drop(open(folder.path(), small_blocks()));
    let there = numbers(folder.path());
    // The kill came before the damaged tail was set aside.
    fs::write(folder.path().join("tail"), &tail).unwrap();
    let writer = open(folder.path(), small_blocks());
    assert_eq!((writer.recovered(), writer.losses().len()), (0, 1));
    assert!(writer.damaged_tail().is_some());
    assert_eq!(numbers(folder.path()), there);
}

#[test]
fn a_torn_end_is_no_damage_and_nothing_is_set_aside() {
    let (folder, whole) = recorded();
    let tail = folder.path().join("tail");
    fs::write(&tail, &whole[..whole.len() - 5]).unwrap();
    let writer = open(folder.path(), small_blocks());
    assert_eq!((writer.recovered(), writer.damaged_tail()), (8, None));
    assert_eq!(writer.losses(), []);
}

#[test]
fn eight_damaged_tails_are_kept_and_the_newest_among_them() {
    let (folder, mut whole) = recorded();
    let last = whole.len() - 1;
    whole[last] ^= 1;
    let mut aside = Vec::new();
    for _ in 0..11 {
        fs::write(folder.path().join("tail"), &whole).unwrap();
        let writer = open(folder.path(), small_blocks());
        aside.push(writer.damaged_tail().unwrap().to_owned());
    }
    let kept = aside.iter().filter(|path| path.exists());
    assert_eq!(
        kept.collect::<Vec<_>>(),
        aside[3..].iter().collect::<Vec<_>>()
    );
}

#[test]
fn damage_in_a_tail_that_is_in_a_block_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    append_all_and_seal(folder.path());
    let tail = folder.path().join("tail");
    let whole = fs::read(&tail).unwrap();
    for position in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[position] ^= 2;
        fs::write(&tail, &damaged).unwrap();
        assert_eq!(numbers(folder.path()), (0..7).collect::<Vec<_>>());
        let history = History::open(folder.path()).unwrap();
        assert_eq!(history.losses(), [], "{position}");
    }
}

fn append_all_and_seal(path: &Path) {
    let mut writer = open(path, small_blocks());
    for number in 0..7 {
        writer.append(&sample(number)).unwrap();
    }
    writer.seal().unwrap();
}

proptest! {
    /// Runs of bytes are overwritten: with anything, or with what lies
    /// elsewhere in the file.
    #[test]
    fn no_damage_makes_a_wrong_sample_or_costs_a_stretch_that_it_did_not_touch(
        runs in prop::collection::vec((any::<u16>(), 1_usize..80, any::<u16>()), 1..5),
        moved: bool,
    ) {
        let (folder, whole) = recorded();
        let mut damaged = whole.clone();
        for (at, length, from) in runs {
            let at = usize::from(at) % whole.len();
            for offset in 0..length.min(whole.len() - at) {
                let source = (usize::from(from) + offset) % whole.len();
                damaged[at + offset] = match moved {
                    true => whole[source],
                    false => u8::try_from((usize::from(from) + offset * 31) % 256).unwrap(),
                };
            }
        }
        fs::write(folder.path().join("tail"), &damaged).unwrap();
        let there = numbers(folder.path());
        prop_assert!(there.is_sorted());
        let heads = [stretches(&whole), vec![whole.len()]].concat();
        for (index, stretch) in heads.windows(2).enumerate() {
            if whole[stretch[0]..stretch[1]] != damaged[stretch[0]..stretch[1]] {
                continue;
            }
            let first = 10 + index as u64 * STRETCH;
            for number in first..first + STRETCH {
                prop_assert!(there.contains(&number), "{} of {:?}", number, there);
            }
        }
        let history = History::open(folder.path()).unwrap();
        prop_assert_eq!(history.losses().is_empty(), missing(&there).is_empty());
        // A recorder keeps as much.
        drop(open(folder.path(), small_blocks()));
        prop_assert_eq!(numbers(folder.path()), there);
    }
}

#[test]
fn what_is_no_file_is_told_as_lost_and_the_rest_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = open(folder.path(), small_blocks());
    for number in 0..5 {
        writer.append(&sample(number)).unwrap();
    }
    writer.seal().unwrap();
    drop(writer);
    let tail = folder.path().join("tail");
    fs::remove_file(&tail).unwrap_or_default();
    fs::create_dir(&tail).unwrap();
    let mut history = History::open(folder.path()).unwrap();
    assert_eq!(history.losses().len(), 1);
    assert!(history.losses()[0].reason.contains("no regular file"));
    let mut count = 0;
    let each = |_| {
        count += 1;
        std::ops::ControlFlow::Continue(())
    };
    history.samples(0, u64::MAX, each).unwrap();
    assert_eq!(count, 5);
    HistoryWriter::open(folder.path(), small_blocks()).unwrap_err();
}
