//! However the clock is set, samples keep their order, and none is too old by it.
//!
//! Never part of the product.

use std::time::Duration;

use super::*;

#[test]
fn the_oldest_shards_go_when_history_is_too_large_or_too_old() {
    let folder = tempfile::tempdir().unwrap();
    let day = |number: u64| {
        let mut sample = sample(number);
        sample.at_unix_ms = NOON + number * 24 * 3600 * 1000;
        sample
    };
    let options = HistoryOptions {
        max_age: Duration::from_secs(3 * 24 * 3600),
        ..small_blocks()
    };
    let mut writer = open(folder.path(), options.clone());
    for number in 0..10 {
        writer.append(&day(number)).unwrap();
    }
    writer.seal().unwrap();
    drop(writer);
    // Three days and the day itself, and one that went on being needed until
    // the time was sure.
    assert_eq!(
        crate::history::reader::all_shards(folder.path())
            .unwrap()
            .len(),
        5
    );
    let options = HistoryOptions {
        max_bytes: 1,
        ..options
    };
    drop(open(folder.path(), options));
    let left = crate::history::reader::all_shards(folder.path()).unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(read(&mut History::open(folder.path()).unwrap()), [day(9)]);
}

/// The sample of a clock that is off by so many days.
fn days_off(number: u64, days: i64) -> Sample {
    let mut sample = sample(number);
    sample.at_unix_ms = sample
        .at_unix_ms
        .checked_add_signed(days * 24 * 3600 * 1000)
        .unwrap();
    sample
}

fn append_all(path: &Path, options: HistoryOptions, samples: &[Sample]) {
    let mut writer = open(path, options);
    for sample in samples {
        writer.append(sample).unwrap();
    }
    writer.seal().unwrap();
}

#[test]
fn samples_come_in_the_order_of_taking_although_the_clock_was_set_back() {
    let folder = tempfile::tempdir().unwrap();
    let samples: Vec<Sample> = (0..15)
        .map(|number| days_off(number, 0))
        .chain((15..30).map(|number| days_off(number, -2)))
        .collect();
    append_all(folder.path(), small_blocks(), &samples);
    let mut history = History::open(folder.path()).unwrap();
    assert_eq!(read(&mut history), samples);
    // By the clock, the later ones are the earlier ones.
    for (unix_ms, expected) in [
        (samples[20].at_unix_ms, 20),
        (samples[3].at_unix_ms, 3),
        (samples[0].at_unix_ms - 1, 29),
        (u64::MAX, 14),
    ] {
        let found = history.at(unix_ms).unwrap();
        assert_eq!(found.as_ref(), Some(&samples[expected]), "{unix_ms}");
    }
}

#[test]
fn of_two_samples_of_one_moment_the_later_taken_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let mut again = sample(5);
    again.at_unix_ms = sample(2).at_unix_ms;
    append_all(folder.path(), small_blocks(), &[sample(2), again.clone()]);
    let mut history = History::open(folder.path()).unwrap();
    assert_eq!(history.at(u64::MAX).unwrap(), Some(again));
}

#[test]
fn a_clock_that_was_far_ahead_makes_no_history_too_old() {
    let folder = tempfile::tempdir().unwrap();
    let options = HistoryOptions {
        max_age: Duration::from_secs(3 * 24 * 3600),
        ..small_blocks()
    };
    let ahead = 73 * 365;
    let days = [0, 1, 2, ahead, 2];
    let samples: Vec<Sample> = (0..).zip(days).map(|(n, d)| days_off(n, d)).collect();
    append_all(folder.path(), options.clone(), &samples);
    drop(open(folder.path(), options.clone()));
    assert_eq!(numbers_taken(folder.path()), [0, 1, 2, 3, 4]);
    // What is too old by the sample that is written still goes, and then what
    // was taken first, not what is named first.
    append_all(
        folder.path(),
        options.clone(),
        &[days_off(5, 5), days_off(6, 6)],
    );
    assert_eq!(numbers_taken(folder.path()), [2, 3, 4, 5, 6]);
    let tight = HistoryOptions {
        max_bytes: 1,
        ..options
    };
    drop(open(folder.path(), tight));
    assert_eq!(numbers_taken(folder.path()), [6]);
}
