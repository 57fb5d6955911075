//! What a newer version has written is told as that, and left alone.
//!
//! Never part of the product.

use super::*;
use crate::history::codec::Encoder;

#[test]
fn a_newer_format_is_told_and_not_added_to() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 0..15);
    let path = shard(folder.path());
    let mut newer = fs::read(&path).unwrap();
    newer[8] = 9;
    let checksum = crc32fast::hash(&newer[..88]).to_le_bytes();
    newer[88..92].copy_from_slice(&checksum);
    fs::write(&path, &newer).unwrap();
    let error = try_open(folder.path(), &small_blocks()).unwrap_err();
    assert!(
        matches!(error, HistoryError::Newer { version: 9, .. }),
        "{error}"
    );
    let history = History::open(folder.path()).unwrap();
    // It is there for the newer version: nothing is lost.
    assert_eq!(history.losses(), []);
    assert_eq!(
        (&history.newer()[0].path, history.newer()[0].format),
        (&path, 9)
    );
    assert_eq!(fs::read(&path).unwrap(), newer);
}

#[test]
fn a_tail_of_a_newer_version_is_told_and_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 0..15);
    let path = folder.path().join("tail");
    let mut newer = fs::read(&path).unwrap();
    newer[8] = 9;
    let checksum = crc32fast::hash(&newer[..48]).to_le_bytes();
    newer[48..52].copy_from_slice(&checksum);
    fs::write(&path, &newer).unwrap();
    let error = try_open(folder.path(), &small_blocks()).unwrap_err();
    assert!(
        matches!(error, HistoryError::Newer { version: 9, .. }),
        "{error}"
    );
    let history = History::open(folder.path()).unwrap();
    assert_eq!(history.losses(), []);
    assert_eq!(
        (&history.newer()[0].path, history.newer()[0].format),
        (&path, 9)
    );
    assert_eq!(numbers(folder.path()), (0..10).collect::<Vec<_>>());
    assert_eq!(fs::read(&path).unwrap(), newer);
}

/// A tail as version 0.1 wrote it: one header, and the checksum of a sample's
/// number and encoding before the number.
fn tail_of_format_1(numbers: std::ops::Range<u64>) -> Vec<u8> {
    let mut bytes = b"GREYTAIL\x01\0\0\0".to_vec();
    bytes.extend_from_slice(sample(0).boot.0.as_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    let mut encoder = Encoder::default();
    for number in numbers {
        let mut record = number.to_le_bytes().to_vec();
        encoder.put(&mut record, &sample(number));
        let length = u32::try_from(record.len() - 8).unwrap();
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&record).to_le_bytes());
        bytes.extend_from_slice(&record);
    }
    bytes
}

#[test]
fn a_tail_of_the_format_before_is_read_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tail"), tail_of_format_1(0..9)).unwrap();
    assert_eq!(numbers(folder.path()), (0..9).collect::<Vec<_>>());
    write(folder.path(), 9..12);
    assert_eq!(numbers(folder.path()), (0..12).collect::<Vec<_>>());
    assert_eq!(History::open(folder.path()).unwrap().losses(), []);
}

#[test]
fn damage_in_a_tail_of_the_format_before_costs_what_is_behind_it_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let whole = tail_of_format_1(0..9);
    for position in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[position] ^= 1;
        fs::write(folder.path().join("tail"), &damaged).unwrap();
        let there = numbers(folder.path());
        assert!(there.len() < 9, "{position}");
        assert_eq!(there, (0..there.len() as u64).collect::<Vec<_>>());
        let history = History::open(folder.path()).unwrap();
        assert_eq!(history.losses().len(), 1, "{position}");
    }
}

/// Writes `format` into the header at the front of a file, whose checksum is at
/// `sum`.
fn make_format(path: &Path, format: u8, sum: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[8] = format;
    let checksum = crc32fast::hash(&bytes[..sum]).to_le_bytes();
    bytes[sum..sum + 4].copy_from_slice(&checksum);
    fs::write(path, bytes).unwrap();
}

#[test]
fn blocks_and_tails_of_before_there_were_groups_are_read_and_added_to() {
    let folder = tempfile::tempdir().unwrap();
    // Without groups the bytes are the same.
    let without = |number| Sample {
        groups: None,
        ..sample(number)
    };
    let write = |numbers: std::ops::Range<u64>| {
        let mut writer = try_open(folder.path(), &small_blocks()).unwrap();
        for number in numbers {
            writer.append(&without(number)).unwrap();
        }
    };
    write(0..12);
    make_format(&shard(folder.path()), 1, 88);
    make_format(&folder.path().join("tail"), 2, 48);
    write(12..14);
    let mut history = History::open(folder.path()).unwrap();
    assert_eq!((history.newer(), history.losses()), (&[][..], &[][..]));
    let mut read = Vec::new();
    history
        .samples(0, u64::MAX, |sample| {
            read.push(sample);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(read, (0..14).map(without).collect::<Vec<_>>());
}
