//! What each allocator must show: 256 MiB in small pieces, freed to one in a
//! hundred, stay resident; a purge gives most of it back to the kernel.
//!
//! One test to a program: the resident set is the whole process's.

#![allow(
    dead_code,
    reason = "each program that includes this file uses one of the variants"
)]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test, in functions of its own"
)]

use std::fs;
use std::hint::black_box;

use grey_budget::{AllocatorKind, Bytes, MemorySource, ProcessSource};

const HELD: u64 = 256 << 20;

/// Sizes as programs have them, 224 bytes on average.
const SIZES: [usize; 8] = [64, 96, 128, 160, 224, 288, 352, 480];

/// One in a hundred outlives the others, in runs: scattered one by one they
/// would pin nearly every page, and no purge could show anything.
const KEPT: std::ops::Range<usize> = 0..512;
const KEPT_OF: usize = 51_200;

/// Whether the allocator tells what the program holds.
pub(crate) enum HeapIs {
    Exact,
    Unknown,
}

fn allocate() -> Vec<Vec<u8>> {
    let average = SIZES.iter().sum::<usize>() / SIZES.len();
    let count = usize::try_from(HELD).unwrap() / average;
    (0..count)
        .map(|number| vec![1_u8; SIZES[number % SIZES.len()]])
        .collect()
}

/// The resident set by another file of the kernel than the source reads.
fn rss_by_status() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.unwrap().split_ascii_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() * 1024
}

fn within(actual: Bytes, expected: u64, percent: u64) -> bool {
    actual.get().abs_diff(expected) <= expected / 100 * percent
}

pub(crate) fn check(allocator: AllocatorKind, heap: HeapIs) {
    let source = ProcessSource::new().unwrap();
    assert_eq!(source.allocator(), allocator);
    let empty = source.read().unwrap();

    let mut pieces = black_box(allocate());
    let full = source.read().unwrap();
    // The pieces, and the vector that has their addresses.
    let held = HELD + u64::try_from(pieces.capacity() * size_of::<Vec<u8>>()).unwrap();
    let grown = |reading: Option<Bytes>| {
        reading.map(|now| now.saturating_sub(empty.heap_allocated.unwrap_or(Bytes::ZERO)))
    };
    match heap {
        HeapIs::Exact => {
            let grown = grown(full.heap_allocated).unwrap();
            // Each piece is rounded up to a size class, with a header in glibc.
            assert!(within(grown, held, 8), "{grown} instead of {held}");
        }
        HeapIs::Unknown => assert_eq!(full.heap_allocated, None),
    }
    assert!(full.rss.saturating_sub(empty.rss) >= Bytes(held).scale(95, 100));

    let mut number = 0_usize;
    pieces.retain(|_| {
        number += 1;
        KEPT.contains(&(number % KEPT_OF))
    });
    pieces.shrink_to_fit();
    let freed = source.rss().unwrap();
    let stays = freed.saturating_sub(empty.rss);
    // mimalloc begins to give back by itself after some milliseconds.
    let least = if matches!(heap, HeapIs::Exact) {
        40
    } else {
        15
    };
    assert!(
        stays >= Bytes(HELD).scale(least, 100),
        "only {stays} stayed, so nothing is shown"
    );
    if matches!(heap, HeapIs::Exact) {
        let grown = grown(source.read().unwrap().heap_allocated).unwrap();
        assert!(grown <= Bytes(held).scale(6, 100), "{grown} is held");
    }

    let purge = source.purge().unwrap();
    println!(
        "{allocator}: full {}, freed {freed}, purged {} in {:?}",
        full.rss, purge.after, purge.took
    );
    assert_eq!(purge.allocator, allocator);
    let left = purge.after.saturating_sub(empty.rss);
    assert!(
        left <= Bytes(HELD).scale(25, 100),
        "{left} is left of {stays}"
    );
    let by_status = rss_by_status();
    assert!(
        purge.after.get().abs_diff(by_status) < 8 << 20,
        "{} and {by_status}",
        purge.after
    );
    assert!(purge.freed() >= stays.scale(50, 100));
    drop(black_box(pieces));
}
