//! History as a whole: what is recorded is read back, after a kill at any
//! point, beside any damage, and from any bytes.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use grey_model::{
    BootId, CgroupField, CgroupPath, CgroupSample, CgroupValues, KernelText, ProcessField,
    ProcessId, ProcessKey, ProcessSample, ProcessValues, Sample, SystemField, SystemValues,
};
use proptest::prelude::*;

use super::codec::{Decoder, Encoder};
use super::{History, HistoryError, HistoryOptions, HistoryWriter};

const NOON: u64 = 1_700_000_000_000;

fn boot(name: &str) -> BootId {
    BootId(format!("{name:0>36}"))
}

/// A number that looks like none before it.
fn mixed(seed: u64) -> u64 {
    let mut value = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    value ^= value >> 29;
    value.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 3
}

/// The sample number `number`: everything in it follows from the number.
fn sample(number: u64) -> Sample {
    let mut system = SystemValues::default();
    for (index, field) in SystemField::ALL.iter().enumerate() {
        let seed = number * 100 + index as u64;
        system.set(*field, (!seed.is_multiple_of(7)).then(|| mixed(seed)));
    }
    let processes = (0..number % 5).map(|index| ProcessSample {
        key: ProcessKey {
            id: ProcessId {
                pid: u32::try_from(number % 7 + index).unwrap() + 1,
                start_time_ticks: index,
            },
            name: KernelText(vec![b'p', 0xff, u8::try_from(index).unwrap()]),
            cgroup: (index % 2 == 0).then(|| CgroupPath::new(b"/a/b").unwrap()),
        },
        values: ProcessValues::default().with(ProcessField::Rss, Some(mixed(number + index))),
    });
    let cgroups = (0..number % 3).map(|index| CgroupSample {
        path: CgroupPath::new(format!("/group/{index}").as_bytes()).unwrap(),
        values: CgroupValues::default().with(CgroupField::Current, Some(mixed(number ^ index))),
    });
    Sample {
        at_unix_ms: NOON + number * 1000,
        since_boot_ms: number * 1000,
        boot: boot("one"),
        system,
        processes: processes.collect(),
        cgroups: (number % 4 != 1).then(|| cgroups.collect()),
    }
}

fn small_blocks() -> HistoryOptions {
    HistoryOptions {
        samples_per_block: 10,
        ..HistoryOptions::default()
    }
}

fn write(path: &Path, numbers: std::ops::Range<u64>) {
    let mut writer = HistoryWriter::open(path, small_blocks()).unwrap();
    for number in numbers {
        writer.append(&sample(number)).unwrap();
    }
}

fn read(history: &mut History) -> Vec<Sample> {
    let mut samples = Vec::new();
    let each = |sample| {
        samples.push(sample);
        ControlFlow::Continue(())
    };
    history.samples(0, u64::MAX, each).unwrap();
    samples
}

fn numbers(path: &Path) -> Vec<u64> {
    let samples = read(&mut History::open(path).unwrap());
    let number = |read: Sample| {
        let number = read.since_boot_ms / 1000;
        assert_eq!(read, sample(number));
        number
    };
    samples.into_iter().map(number).collect()
}

fn shard(path: &Path) -> std::path::PathBuf {
    let names = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut shards: Vec<_> = names
        .filter(|name| name.extension().is_some_and(|suffix| suffix == "shard"))
        .collect();
    shards.sort();
    shards.remove(0)
}

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
fn a_newer_format_is_told_and_not_added_to() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 0..15);
    let path = shard(folder.path());
    let mut newer = fs::read(&path).unwrap();
    newer[8] = 9;
    let checksum = crc32fast::hash(&newer[..88]).to_le_bytes();
    newer[88..92].copy_from_slice(&checksum);
    fs::write(&path, &newer).unwrap();
    let error = HistoryWriter::open(folder.path(), small_blocks()).unwrap_err();
    assert!(
        matches!(error, HistoryError::Newer { version: 9, .. }),
        "{error}"
    );
    let history = History::open(folder.path()).unwrap();
    assert!(history.losses()[0].reason.contains("newer version"));
    assert_eq!(fs::read(&path).unwrap(), newer);
}

#[test]
fn two_recorders_do_not_write_to_one_history() {
    let folder = tempfile::tempdir().unwrap();
    let first = HistoryWriter::open(folder.path(), small_blocks()).unwrap();
    let error = HistoryWriter::open(folder.path(), small_blocks()).unwrap_err();
    let HistoryError::Busy { holder, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(holder, Some(std::process::id()));
    drop(first);
    HistoryWriter::open(folder.path(), small_blocks()).unwrap();
}

#[test]
fn a_directory_that_others_may_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let open = fs::Permissions::from_mode(0o777);
    fs::set_permissions(folder.path(), open).unwrap();
    let error = HistoryWriter::open(folder.path(), small_blocks()).unwrap_err();
    assert!(matches!(error, HistoryError::Unsafe { .. }), "{error}");
}

#[test]
fn another_boot_and_another_day_begin_a_block() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = HistoryWriter::open(folder.path(), small_blocks()).unwrap();
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
    assert_eq!(super::reader::all_shards(folder.path()).unwrap().len(), 2);
}

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
    let mut writer = HistoryWriter::open(folder.path(), options.clone()).unwrap();
    for number in 0..10 {
        writer.append(&day(number)).unwrap();
    }
    writer.seal().unwrap();
    drop(writer);
    // Three days and the day itself, and one that went on being needed until
    // the time was sure.
    assert_eq!(super::reader::all_shards(folder.path()).unwrap().len(), 5);
    let options = HistoryOptions {
        max_bytes: 1,
        ..options
    };
    drop(HistoryWriter::open(folder.path(), options).unwrap());
    let left = super::reader::all_shards(folder.path()).unwrap();
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
    let mut writer = HistoryWriter::open(path, options).unwrap();
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
    drop(HistoryWriter::open(folder.path(), options.clone()).unwrap());
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
    drop(HistoryWriter::open(folder.path(), tight).unwrap());
    assert_eq!(numbers_taken(folder.path()), [6]);
}

fn numbers_taken(path: &Path) -> Vec<u64> {
    let samples = read(&mut History::open(path).unwrap());
    let taken = samples.iter().map(|sample| sample.since_boot_ms / 1000);
    taken.collect()
}

#[test]
fn a_block_that_finds_no_room_refuses_no_sample() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = HistoryWriter::open(folder.path(), small_blocks()).unwrap();
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
    let sealed = super::reader::all_shards(folder.path()).unwrap();
    assert_eq!(sealed.len(), 2);
}

#[test]
fn a_block_that_finds_no_room_refuses_a_sample_of_another_boot() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = HistoryWriter::open(folder.path(), small_blocks()).unwrap();
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
fn new_names_are_written_through_to_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = HistoryWriter::open(folder.path(), small_blocks()).unwrap();
    assert_eq!(writer.directory_syncs(), 0);
    writer.append(&sample(0)).unwrap();
    assert_eq!(writer.directory_syncs(), 1, "the tail's");
    writer.seal().unwrap();
    assert_eq!(writer.directory_syncs(), 2, "the shard's");
    writer.append(&sample(1)).unwrap();
    writer.seal().unwrap();
    assert_eq!(writer.directory_syncs(), 3, "the same shard needs no more");
}

#[test]
fn a_sample_that_finds_no_room_is_refused_and_costs_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = HistoryWriter::open(folder.path(), small_blocks()).unwrap();
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
    let mut writer = HistoryWriter::open(folder.path(), small_blocks()).unwrap();
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

#[test]
fn a_damaged_record_ends_what_is_read_of_the_tail() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 0..9);
    let tail = folder.path().join("tail");
    let whole = fs::read(&tail).unwrap();
    for position in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[position] ^= 1;
        fs::write(&tail, &damaged).unwrap();
        let read = numbers(folder.path());
        assert!(read.len() < 9, "{position}");
        assert_eq!(read, (0..read.len() as u64).collect::<Vec<_>>());
        let history = History::open(folder.path()).unwrap();
        assert_eq!(history.losses().len(), 1, "{position}");
    }
}

/// Set in the child that records until it is killed: where to.
const CHILD: &str = "GREY_TEST_HISTORY_CHILD";
/// How often a recorder is killed.
const KILLS: u32 = 200;

/// Not a test of its own: what [`a_recorder_that_is_killed_loses_nothing`] kills.
#[test]
fn a_recorder_that_runs_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let path = Path::new(&path);
    let first = History::open(path)
        .ok()
        .and_then(|history| history.span())
        .map_or(0, |span| span.samples);
    let mut writer = HistoryWriter::open(path, small_blocks()).unwrap();
    use std::io::Write as _;
    let mut stdout = std::io::stdout();
    for number in first.. {
        writer.append(&sample(number)).unwrap();
        writeln!(stdout, "recorded {number}").unwrap();
    }
}

#[test]
fn a_recorder_that_is_killed_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history");
    let mut acknowledged = 0;
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "--nocapture",
                "history::tests::a_recorder_that_runs_until_it_is_killed",
            ])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // After so many more samples; where in the next one is chance.
        let wanted = acknowledged + mixed(kill.into()) % 23;
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while acknowledged <= wanted {
            line.clear();
            assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the recorder ended");
            if let Some((_, number)) = line.rsplit_once("recorded ") {
                acknowledged = number.trim().parse::<u64>().unwrap() + 1;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let there = numbers(&path);
        let count = there.len() as u64;
        assert_eq!(there, (0..count).collect::<Vec<_>>(), "after kill {kill}");
        assert!(
            count >= acknowledged,
            "{count} of {acknowledged} after kill {kill}"
        );
        acknowledged = count;
    }
    assert!(acknowledged > u64::from(KILLS));
}

fn any_sample() -> impl Strategy<Value = Sample> {
    let value = || prop_oneof![Just(None), (0_u64..u64::MAX).prop_map(Some)];
    let name = prop::collection::vec(any::<u8>(), 0..20);
    let process = (
        1_u32..6,
        0_u64..3,
        name,
        any::<bool>(),
        prop::collection::vec(value(), 0..5),
    );
    let group = (0_u8..5, prop::collection::vec(value(), 0..7));
    (
        any::<u64>(),
        any::<u64>(),
        prop::collection::vec(value(), 0..30),
        prop::collection::vec(process, 0..6),
        prop::option::of(prop::collection::vec(group, 0..6)),
    )
        .prop_map(
            |(at_unix_ms, since_boot_ms, system, processes, cgroups)| Sample {
                at_unix_ms,
                since_boot_ms,
                boot: boot("any"),
                system: SystemValues::from_values(system),
                processes: processes
                    .into_iter()
                    .map(
                        |(pid, start_time_ticks, name, grouped, values)| ProcessSample {
                            key: ProcessKey {
                                id: ProcessId {
                                    pid,
                                    start_time_ticks,
                                },
                                name: KernelText(name),
                                cgroup: grouped.then(CgroupPath::root),
                            },
                            values: ProcessValues::from_values(values),
                        },
                    )
                    .collect(),
                cgroups: cgroups.map(|cgroups| {
                    cgroups
                        .into_iter()
                        .map(|(name, values)| CgroupSample {
                            path: CgroupPath::root().child(&[b'a' + name]).unwrap(),
                            values: CgroupValues::from_values(values),
                        })
                        .collect()
                }),
            },
        )
}

proptest! {
    #[test]
    fn any_samples_come_back(samples in prop::collection::vec(any_sample(), 1..8)) {
        let (mut encoder, mut bytes) = (Encoder::default(), Vec::new());
        for sample in &samples {
            encoder.put(&mut bytes, sample);
        }
        let (mut decoder, mut rest) = (Decoder::new(boot("any")), bytes.as_slice());
        for sample in &samples {
            let taken = decoder.take(&mut rest);
            prop_assert_eq!(taken.as_ref(), Some(sample));
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn no_bytes_panic_the_decoder(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let (mut decoder, mut rest) = (Decoder::new(boot("any")), bytes.as_slice());
        while decoder.take(&mut rest).is_some() && !rest.is_empty() {}
        super::tail::parse(&bytes);
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("2026-01-01-00.shard"), &bytes).unwrap();
        fs::write(folder.path().join("tail"), &bytes).unwrap();
        let mut history = History::open(folder.path()).unwrap();
        prop_assert_eq!(read(&mut history), []);
    }
}
