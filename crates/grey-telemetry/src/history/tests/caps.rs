//! What history may take and how old it may be: of all its files.
//!
//! Never part of the product.

use std::fs::{File, FileTimes};
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::history::DumpReason;

const DAY: u64 = 24 * 3600 * 1000;

/// What a file set aside takes here.
const ASIDE: u64 = 40_000;

/// A damaged tail that was last written so many days after noon.
fn aside(path: &Path, number: u64, day: u64) -> PathBuf {
    let file = path.join(format!("tail-damaged-{number:06}"));
    fs::write(&file, vec![7; usize::try_from(ASIDE).unwrap()]).unwrap();
    let at = UNIX_EPOCH + Duration::from_millis(NOON + day * DAY);
    let times = FileTimes::new().set_modified(at);
    File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_times(times)
        .unwrap();
    file
}

fn dump(writer: &HistoryWriter, path: &Path, day: u64) -> PathBuf {
    let mut sample = sample(1);
    sample.at_unix_ms = NOON + day * DAY;
    let name = writer.dump_folder().write(DumpReason::Pressure, &[sample]);
    path.join(name.unwrap())
}

/// Shards of the days 0, 10 and 20, and a tail.
fn recorded(path: &Path) -> HistoryWriter {
    let mut writer = open(path, small_blocks());
    for day in [0, 10, 20] {
        let mut sample = sample(day);
        sample.at_unix_ms = NOON + day * DAY;
        writer.append(&sample).unwrap();
    }
    writer.seal().unwrap();
    writer
}

fn shards(path: &Path) -> usize {
    crate::history::reader::all_shards(path).unwrap().len()
}

#[test]
fn dumps_and_damaged_tails_count_towards_the_size_and_the_oldest_goes_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let writer = recorded(path);
    let dumps = [5, 6].map(|day| dump(&writer, path, day));
    drop(writer);
    let asides = [aside(path, 1, 1), aside(path, 2, 15)];
    let left = |max_bytes| {
        let options = HistoryOptions {
            max_bytes,
            ..small_blocks()
        };
        drop(open(path, options));
        let there = |file: &PathBuf| file.exists();
        (
            shards(path),
            asides.each_ref().map(there),
            dumps.each_ref().map(there),
        )
    };
    assert_eq!(left(2 * ASIDE + 100_000), (3, [true, true], [true, true]));
    // The shard of day 0 and the tail of day 1 are older than all else.
    assert_eq!(left(2 * ASIDE), (2, [false, true], [true, true]));
    // The newest shard, the newest dump and the tail stay in any case.
    assert_eq!(left(1), (1, [false, false], [false, true]));
    assert!(path.join("tail").exists());
    assert_eq!(read(&mut History::open(path).unwrap()).len(), 1);
}

#[test]
fn dumps_and_damaged_tails_grow_too_old() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut writer = recorded(path);
    let dumps = [dump(&writer, path, 16), dump(&writer, path, 18)];
    let asides = [aside(path, 1, 16), aside(path, 2, 18)];
    drop(writer);
    let options = HistoryOptions {
        max_age: Duration::from_millis(3 * DAY),
        samples_per_block: 1,
        ..small_blocks()
    };
    writer = open(path, options);
    for number in 0..3 {
        let mut sample = sample(30 + number);
        sample.at_unix_ms = NOON + 20 * DAY + number;
        writer.append(&sample).unwrap();
    }
    let there = |file: &PathBuf| file.exists();
    assert_eq!(dumps.each_ref().map(there), [false, true]);
    assert_eq!(asides.each_ref().map(there), [false, true]);
}

#[test]
fn a_damaged_tail_with_a_hole_costs_no_other_file() {
    let folder = tempfile::tempdir().unwrap();
    drop(recorded(folder.path()));
    let file = aside(folder.path(), 1, 30);
    File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(10 << 30)
        .unwrap();
    let options = HistoryOptions {
        max_bytes: 1 << 20,
        ..small_blocks()
    };
    drop(open(folder.path(), options));
    assert_eq!(shards(folder.path()), 3);
    assert!(file.exists());
}

#[test]
fn a_tail_that_was_made_huge_is_read_as_far_as_one_can_be_and_told() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 0..15);
    let tail = folder.path().join("tail");
    let before = fs::metadata(&tail).unwrap().len();
    let huge = 10_u64 << 30;
    File::options()
        .write(true)
        .open(&tail)
        .unwrap()
        .set_len(huge)
        .unwrap();
    assert_eq!(numbers(folder.path()), (0..15).collect::<Vec<_>>());
    let history = History::open(folder.path()).unwrap();
    let [loss] = history.losses() else {
        panic!("{:?}", history.losses());
    };
    assert_eq!((loss.from_byte, loss.bytes), (before, huge - before));
    assert!(
        loss.reason.contains("only its first 16 MiB were looked at"),
        "{loss:?}"
    );
    let mut writer = open(folder.path(), small_blocks());
    assert_eq!(writer.recovered(), 5);
    assert!(writer.damaged_tail().is_some());
    writer.append(&sample(16)).unwrap();
    assert_eq!(numbers(folder.path()).len(), 16);
}

#[test]
fn a_shard_that_was_made_huge_is_read_as_far_as_one_can_be_and_told() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 0..25);
    let huge = 10_u64 << 30;
    let file = File::options()
        .write(true)
        .open(shard(folder.path()))
        .unwrap();
    file.set_len(huge).unwrap();
    assert_eq!(numbers(folder.path()), (0..25).collect::<Vec<_>>());
    let history = History::open(folder.path()).unwrap();
    let losses = history.losses();
    assert!(
        losses[0].reason.contains("what is beyond was not read"),
        "{losses:?}"
    );
    assert_eq!(losses[0].from_byte + losses[0].bytes, huge);
}
