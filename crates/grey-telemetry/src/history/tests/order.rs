//! What is recorded is read back, across blocks, openings, boots and days.
//!
//! Never part of the product.

use super::*;

#[test]
fn what_was_recorded_is_read_back_across_blocks_and_openings() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 0..25);
    assert_eq!(numbers(folder.path()), (0..25).collect::<Vec<_>>());
    write(folder.path(), 25..47);
    assert_eq!(numbers(folder.path()), (0..47).collect::<Vec<_>>());
    let mut history = History::open(folder.path()).unwrap();
    let span = history.span().unwrap();
    assert_eq!((span.from_unix_ms, span.samples), (NOON, 47));
    assert!(history.losses().is_empty());
    for (unix_ms, expected) in [
        (NOON - 1, None),
        (NOON, Some(0)),
        (NOON + 12_400, Some(12)),
        (NOON + 44_000, Some(44)),
        (u64::MAX, Some(46)),
    ] {
        let found = history.at(unix_ms).unwrap();
        assert_eq!(found, expected.map(sample), "{unix_ms}");
    }
}

#[test]
fn another_boot_and_another_day_begin_a_block() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = open(folder.path(), small_blocks());
    let mut of_next_boot = sample(1);
    of_next_boot.boot = boot("two");
    let mut of_next_day = sample(2);
    of_next_day.at_unix_ms += 24 * 3600 * 1000;
    for sample in [&sample(0), &of_next_boot, &of_next_day] {
        writer.append(sample).unwrap();
    }
    writer.seal().unwrap();
    let read = read(&mut History::open(folder.path()).unwrap());
    assert_eq!(read, [sample(0), of_next_boot, of_next_day]);
    assert_eq!(
        crate::history::reader::all_shards(folder.path())
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn samples_that_are_whole_in_the_tail_take_no_room_in_a_block() {
    let blocks = [3, 1_000_000].map(|samples_per_stretch| {
        let folder = tempfile::tempdir().unwrap();
        let options = HistoryOptions {
            samples_per_stretch,
            ..HistoryOptions::default()
        };
        let mut writer = open(folder.path(), options);
        for number in 0..50 {
            writer.append(&sample(number)).unwrap();
        }
        let tail = fs::metadata(folder.path().join("tail")).unwrap().len();
        writer.seal().unwrap();
        (fs::read(shard(folder.path())).unwrap(), tail)
    });
    assert_eq!(blocks[0].0, blocks[1].0);
    assert!(blocks[0].1 > blocks[1].1);
}
