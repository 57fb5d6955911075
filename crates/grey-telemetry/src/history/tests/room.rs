//! Where there is no room a sample is refused at most, and no other is lost.
//!
//! Never part of the product.

use super::*;

#[test]
fn a_block_that_finds_no_room_refuses_no_sample() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = open(folder.path(), small_blocks());
    for number in 0..11 {
        writer.append(&sample(number)).unwrap();
    }
    assert!(writer.take_trouble().is_none());
    writer.break_shard();
    for number in 11..90 {
        writer.append(&sample(number)).unwrap();
    }
    let trouble = writer.take_trouble().unwrap().to_string();
    assert!(trouble.contains("failed to add to"), "{trouble}");
    assert_eq!(numbers(folder.path()), (0..90).collect::<Vec<_>>());
    drop(writer);
    // It was tried again meanwhile: the tail did not grow for ever.
    let sealed = crate::history::reader::all_shards(folder.path()).unwrap();
    assert_eq!(sealed.len(), 2);
}

#[test]
fn a_block_that_finds_no_room_refuses_a_sample_of_another_boot() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = open(folder.path(), small_blocks());
    for number in 0..12 {
        writer.append(&sample(number)).unwrap();
    }
    writer.break_shard();
    let mut of_next_boot = sample(12);
    of_next_boot.boot = boot("two");
    assert!(writer.append(&of_next_boot).is_err());
    assert_eq!(numbers(folder.path()), (0..12).collect::<Vec<_>>());
    writer.append(&of_next_boot).unwrap();
    assert_eq!(numbers_taken(folder.path()), (0..13).collect::<Vec<_>>());
}

#[test]
fn a_sample_that_finds_no_room_is_refused_and_costs_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = open(folder.path(), small_blocks());
    for number in 0..3 {
        writer.append(&sample(number)).unwrap();
    }
    writer.break_tail();
    let error = writer.append(&sample(3)).unwrap_err();
    assert!(error.to_string().contains("failed to write"), "{error}");
    for number in 4..7 {
        writer.append(&sample(number)).unwrap();
    }
    assert_eq!(numbers(folder.path()), [0, 1, 2, 4, 5, 6]);
}

#[test]
fn half_a_record_is_taken_off_and_the_next_needs_nothing_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = open(folder.path(), small_blocks());
    for number in 0..7 {
        if number == 3 {
            writer.leave_little_room();
        }
        assert_eq!(writer.append(&sample(number)).is_err(), number == 3);
    }
    assert_eq!(numbers(folder.path()), [0, 1, 2, 4, 5, 6]);
    writer.seal().unwrap();
    assert_eq!(numbers(folder.path()), [0, 1, 2, 4, 5, 6]);
}
