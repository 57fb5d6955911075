//! History as a whole: what is recorded is read back, after a kill at any
//! point, beside any damage, and from any bytes. Here is what the tests of each
//! subject share.
//!
//! Never part of the product.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use grey_model::{
    BootId, CgroupField, CgroupPath, CgroupSample, CgroupValues, GroupField, GroupKey, GroupSample,
    GroupValues, KernelText, ProcessField, ProcessId, ProcessKey, ProcessSample, ProcessValues,
    Sample, SystemField, SystemValues,
};

use super::{History, HistoryError, HistoryOptions, HistoryWriter};

mod bytes;
mod caps;
mod clock;
mod damage;
mod directory;
mod killed;
mod order;
mod repeated;
mod room;
mod versions;

pub(super) const NOON: u64 = 1_700_000_000_000;

pub(super) fn boot(name: &str) -> BootId {
    BootId(format!("{name:0>36}"))
}

/// A number that looks like none before it.
pub(super) fn mixed(seed: u64) -> u64 {
    let mut value = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    value ^= value >> 29;
    value.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 3
}

/// The sample number `number`: everything in it follows from the number.
pub(super) fn sample(number: u64) -> Sample {
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
    let groups = (0..number % 4).map(|index| GroupSample {
        key: GroupKey {
            name: KernelText(vec![b'g', 0xff]),
            cgroup: (index > 0).then(|| CgroupPath::new(format!("/{index}").as_bytes()).unwrap()),
        },
        values: GroupValues::default().with(GroupField::Anonymous, Some(mixed(number + index))),
    });
    Sample {
        at_unix_ms: NOON + number * 1000,
        since_boot_ms: number * 1000,
        boot: boot("one"),
        system,
        processes: processes.collect(),
        cgroups: (number % 4 != 1).then(|| cgroups.collect()),
        groups: (number % 3 != 1).then(|| groups.collect()),
    }
}

pub(super) fn small_blocks() -> HistoryOptions {
    HistoryOptions {
        samples_per_block: 10,
        samples_per_stretch: 3,
        ..HistoryOptions::default()
    }
}

/// Opens a history to write to. A test beside this one that starts a program
/// holds its lock, too, for a moment: that of the fork.
pub(super) fn open(path: &Path, options: HistoryOptions) -> HistoryWriter {
    try_open(path, &options).unwrap()
}

/// The same where it may be refused.
pub(super) fn try_open(
    path: &Path,
    options: &HistoryOptions,
) -> Result<HistoryWriter, HistoryError> {
    let begun = std::time::Instant::now();
    loop {
        match HistoryWriter::open(path, options.clone()) {
            Err(HistoryError::Busy { .. }) if begun.elapsed().as_secs() < 60 => {
                std::thread::yield_now();
            }
            opened => return opened,
        }
    }
}

pub(super) fn write(path: &Path, numbers: std::ops::Range<u64>) {
    let mut writer = open(path, small_blocks());
    for number in numbers {
        writer.append(&sample(number)).unwrap();
    }
}

pub(super) fn read(history: &mut History) -> Vec<Sample> {
    let mut samples = Vec::new();
    let each = |sample| {
        samples.push(sample);
        ControlFlow::Continue(())
    };
    history.samples(0, u64::MAX, each).unwrap();
    samples
}

pub(super) fn numbers(path: &Path) -> Vec<u64> {
    let samples = read(&mut History::open(path).unwrap());
    let number = |read: Sample| {
        let number = read.since_boot_ms / 1000;
        assert_eq!(read, sample(number));
        number
    };
    samples.into_iter().map(number).collect()
}

pub(super) fn shard(path: &Path) -> std::path::PathBuf {
    let names = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut shards: Vec<_> = names
        .filter(|name| name.extension().is_some_and(|suffix| suffix == "shard"))
        .collect();
    shards.sort();
    shards.remove(0)
}

pub(super) fn numbers_taken(path: &Path) -> Vec<u64> {
    let samples = read(&mut History::open(path).unwrap());
    let taken = samples.iter().map(|sample| sample.since_boot_ms / 1000);
    taken.collect()
}
