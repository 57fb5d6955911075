//! Facts about this very process, beside what other ways of asking say.

use std::fs;
use std::hint::black_box;

use super::*;

const MIB: u64 = 1 << 20;

fn status_line(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    let number = line.split_ascii_whitespace().nth(1).unwrap();
    number.parse().unwrap()
}

#[test]
fn the_resident_set_size_is_what_status_says() {
    let source = ProcessSource::new().unwrap();
    let held = black_box(vec![1_u8; 64 << 20]);
    let ours = source.rss().unwrap().get();
    let theirs = status_line("VmRSS:") * 1024;
    // Other tests of this program run beside this one.
    assert!(ours.abs_diff(theirs) < 32 * MIB, "{ours} {theirs}");
    assert!(ours > 64 * MIB);
    drop(held);
}

#[test]
fn a_reading_has_the_peak_and_the_threads() {
    let source = ProcessSource::new().unwrap();
    let reading = source.read().unwrap();
    assert!(reading.rss_peak.unwrap() >= Bytes(status_line("VmHWM:") * 1024).scale(1, 2));
    assert!(reading.threads.unwrap() >= 1);
    assert!(reading.machine_total.unwrap() > reading.machine_available.unwrap());
}

#[test]
fn the_test_program_is_served_by_glibc_although_others_are_linked() {
    assert_eq!(
        ProcessSource::new().unwrap().allocator(),
        AllocatorKind::Glibc
    );
}

#[test]
fn the_bounds_hold_the_machine_and_the_rlimits() {
    let bounds = ProcessSource::new().unwrap().bounds().unwrap();
    let (_, strictest) = bounds.strictest().unwrap();
    assert!(strictest <= bounds.machine.unwrap());
}

#[test]
fn an_rlimit_is_told_with_what_counts_against_it() {
    use crate::limits::{LimitCalls as _, LimitKind, LinuxCalls, Range};
    let source = ProcessSource::new().unwrap();
    let before = LinuxCalls.get(LimitKind::Data);
    // Far above what any test holds.
    let limit = Bytes(1 << 45);
    let range = Range {
        soft: Some(limit),
        ..before
    };
    LinuxCalls.set(LimitKind::Data, range).unwrap();
    let told = source.rlimits();
    LinuxCalls.set(LimitKind::Data, before).unwrap();
    let data = told.iter().find(|rlimit| rlimit.kind == LimitKind::Data);
    let data = data.unwrap();
    assert_eq!(data.limit, limit);
    assert!(data.used > Bytes::ZERO && data.used < limit, "{data:?}");
}
