//! Tests of `dump.rs`: dumps are whole or not there, and bounded.
//!
//! Never part of the product.

use grey_model::{BootId, SystemField, SystemValues};

use super::*;

fn samples(count: u64) -> Vec<Sample> {
    let sample = |number: u64| Sample {
        at_unix_ms: 1_700_000_000_000 + number * 100,
        since_boot_ms: number * 100,
        boot: BootId(format!("{:0>36}", "one")),
        system: SystemValues::default().with(SystemField::Free, Some(number * 4096)),
        processes: Vec::new(),
        cgroups: None,
        groups: None,
    };
    (0..count).map(sample).collect()
}

#[test]
fn a_dump_is_read_back_and_listed() {
    let folder = tempfile::tempdir().unwrap();
    let dump_folder = DumpFolder::new(folder.path());
    let name = dump_folder
        .write(DumpReason::OomKill, &samples(600))
        .unwrap();
    assert_eq!(read_dump(folder.path(), &name).unwrap(), samples(600));
    let listed = dumps(folder.path()).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0].name, listed[0].reason),
        (&name, DumpReason::OomKill)
    );
    let from = 1_700_000_000_000;
    assert_eq!(listed[0].holds, Ok((from, from + 59_900, 600)));
    assert!(!folder.path().join(NEW_DUMP).exists());
}

#[test]
fn the_first_made_go_when_there_are_too_many() {
    let folder = tempfile::tempdir().unwrap();
    let dump_folder = DumpFolder::new(folder.path());
    let names: Vec<String> = (0..MOST_DUMPS + 3)
        .map(|_| {
            dump_folder
                .write(DumpReason::Pressure, &samples(2))
                .unwrap()
        })
        .collect();
    let left: Vec<String> = dumps(folder.path())
        .unwrap()
        .into_iter()
        .map(|dump| dump.name)
        .collect();
    assert_eq!(left, names[3..]);
}

#[test]
fn damage_anywhere_is_told_and_never_read() {
    let folder = tempfile::tempdir().unwrap();
    let dump_folder = DumpFolder::new(folder.path());
    let name = dump_folder
        .write(DumpReason::Pressure, &samples(9))
        .unwrap();
    let path = folder.path().join(&name);
    let whole = fs::read(&path).unwrap();
    for position in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[position] ^= 4;
        fs::write(&path, &damaged).unwrap();
        let error = read_dump(folder.path(), &name).unwrap_err();
        assert!(
            matches!(error, HistoryError::Damaged { .. }),
            "{position}: {error}"
        );
        let listed = dumps(folder.path()).unwrap();
        assert_eq!(listed[0].holds, Err(DumpFault::Damaged), "{position}");
    }
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(read_dump(folder.path(), &name).is_err(), "{length}");
        let listed = dumps(folder.path()).unwrap();
        assert_eq!(listed[0].holds, Err(DumpFault::Damaged), "{length}");
    }
}

#[test]
fn a_dump_of_a_newer_version_is_told_as_that_and_never_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let dump_folder = DumpFolder::new(folder.path());
    let write = || {
        dump_folder
            .write(DumpReason::Pressure, &samples(2))
            .unwrap()
    };
    let name = write();
    let path = folder.path().join(&name);
    let mut newer = fs::read(&path).unwrap();
    newer[8] = 9;
    let checksum = crc32fast::hash(&newer[..88]).to_le_bytes();
    newer[88..92].copy_from_slice(&checksum);
    fs::write(&path, &newer).unwrap();
    let listed = dumps(folder.path()).unwrap();
    assert_eq!(listed[0].holds, Err(DumpFault::Newer(9)));
    for _ in 0..MOST_DUMPS + 3 {
        write();
    }
    assert_eq!(fs::read(&path).unwrap(), newer);
    assert_eq!(dumps(folder.path()).unwrap().len(), MOST_DUMPS + 1);
}

#[test]
fn only_names_of_dumps_are_read() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "tail",
        "../x",
        "dump-1-x-pressure.dump/../tail",
        "dump-a-b-pressure.dump",
    ] {
        let error = read_dump(folder.path(), name).unwrap_err();
        assert!(error.to_string().contains("failed to read"), "{error}");
        assert_eq!(DumpName::parse(name), None, "{name}");
    }
}
