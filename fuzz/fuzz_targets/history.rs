//! Fuzzes the files of history: the tail, a shard and a dump, of any bytes, and
//! of samples of any bytes behind right checksums.

#![no_main]

use std::cell::OnceCell;
use std::fs;
use std::ops::ControlFlow;

use grey_telemetry::history::{History, dumps, read_dump};
use tempfile::TempDir;

const DUMP: &str = "dump-000001-20261121T100405Z-oom-kill.dump";

thread_local! {
    static FOLDER: OnceCell<TempDir> = const { OnceCell::new() };
}

/// Appends the checksum of all that is there from `begin` on.
fn sign(bytes: &mut Vec<u8>, begin: usize) {
    let sum = crc32fast::hash(&bytes[begin..]);
    bytes.extend_from_slice(&sum.to_le_bytes());
}

/// A tail of two stretches, whose samples are the halves of `encoded`.
fn tail(encoded: &[u8]) -> Vec<u8> {
    let (first, second) = encoded.split_at(encoded.len() / 2);
    let mut bytes = Vec::new();
    for (number, sample) in [first, second].into_iter().enumerate() {
        let begin = bytes.len();
        bytes.extend_from_slice(b"GREYTAIL\x02\0\0\0");
        bytes.extend_from_slice(&[b'0'; 36]);
        sign(&mut bytes, begin);
        // The time of the sample is 0 where its encoding says so.
        for (number, sample) in [(number * 2, sample), (number * 2 + 1, sample)] {
            let (number, begin) = (number as u64, bytes.len());
            bytes.extend_from_slice(&u32::try_from(sample.len()).unwrap_or(0).to_le_bytes());
            bytes.extend_from_slice(&number.to_le_bytes());
            bytes.extend_from_slice(&[0; 8]);
            sign(&mut bytes, begin);
            let all = [&number.to_le_bytes()[..], sample].concat();
            bytes.extend_from_slice(&crc32fast::hash(&all).to_le_bytes());
            bytes.extend_from_slice(sample);
        }
    }
    bytes
}

/// A block whose payload is `payload`, which claims to be 4 KiB and two samples.
fn block(payload: &[u8]) -> Vec<u8> {
    let mut bytes = b"GREYHIST\x01\0\0\0".to_vec();
    for number in [u32::try_from(payload.len()).unwrap_or(0), 4096, 2] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    for number in [0_u64, 0, u64::MAX] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&[b'0'; 36]);
    bytes.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    sign(&mut bytes, 0);
    bytes.extend_from_slice(payload);
    bytes
}

fn read(folder: &TempDir, tail: &[u8], block: &[u8]) {
    let path = folder.path();
    for (name, bytes) in [("tail", tail), ("2026-01-01-00.shard", block), (DUMP, block)] {
        fs::write(path.join(name), bytes).expect("the folder is ours");
    }
    let mut history = History::open(path).expect("damage is no error");
    let _ = history.span();
    let mut numbers = 0_u64;
    history
        .samples(0, u64::MAX, |_| {
            numbers += 1;
            ControlFlow::Continue(())
        })
        .expect("damage is no error");
    let _ = history.at(u64::MAX).expect("damage is no error");
    assert_eq!(dumps(path).expect("the folder is ours").len(), 1);
    let _ = read_dump(path, DUMP);
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(|| TempDir::new().expect("there is room"));
        read(folder, bytes, bytes);
        read(folder, &tail(bytes), &block(bytes));
    });
});
