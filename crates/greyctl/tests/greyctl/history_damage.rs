//! History that is damaged, or that a newer version has written: what is told,
//! and what is still read.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use grey_fake_kernel::FakeKernel;
use grey_model::{BootId, Sample, SystemValues};
use grey_telemetry::history::{DumpReason, HistoryOptions, HistoryWriter};
use serde_json::Value;

use crate::documents::assert_valid;
use crate::harness::{host, on, run};
use crate::history::{samples, write_growth};

/// Ten minutes of history in the tail, and where it is.
fn recorded(kernel: &FakeKernel) -> PathBuf {
    let folder = kernel.path("state/history");
    write_growth(&folder, jiff::Timestamp::now());
    folder
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Writes format 9 into the header of the file at `path`, whose checksum is at
/// `sum`.
pub(crate) fn make_newer(path: &Path, sum: usize) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    bytes[8] = 9;
    let checksum = crc32fast::hash(&bytes[..sum]).to_le_bytes();
    bytes[sum..sum + 4].copy_from_slice(&checksum);
    fs::write(path, &bytes).unwrap();
    bytes
}

fn write_dump(folder: &Path) -> PathBuf {
    let sample = Sample {
        at_unix_ms: 1_700_000_000_000,
        since_boot_ms: 1000,
        boot: BootId("one".to_owned()),
        system: SystemValues::default(),
        processes: Vec::new(),
        cgroups: None,
        groups: None,
    };
    let writer = HistoryWriter::open(folder, HistoryOptions::default()).unwrap();
    let name = writer.dump_folder().write(DumpReason::OomKill, &[sample]);
    folder.join(name.unwrap())
}

#[test]
fn a_damaged_byte_among_the_newest_samples_costs_a_minute_and_is_told_exactly() {
    let kernel = host();
    let folder = recorded(&kernel);
    damage(&folder.join("tail"));
    let ran = run(on(&kernel), &["history", "--json"]);
    assert_eq!(ran.exit, 4, "{}", ran.stderr);
    let document = ran.json();
    assert_valid("grey.history.v1", &document);
    let left = document["samples"].as_array().unwrap();
    let missing = 600 - left.len() as u64;
    assert!((1..=60).contains(&missing), "{missing}");
    let lost = document["lost"].as_array().unwrap();
    assert_eq!((lost.len(), &lost[0]["samples"]), (1, &missing.into()));
    let at = |value: &Value| value.as_u64().unwrap();
    let between = at(&lost[0]["from_unix_ms"])..=at(&lost[0]["until_unix_ms"]);
    let kept = left.iter().map(|sample| at(&sample["at_unix_ms"]));
    // The two beside it, and none between them.
    assert_eq!(kept.filter(|at| between.contains(at)).count(), 2);
    let told = format!("{missing} samples between ");
    assert!(ran.stderr.contains(&told), "{}", ran.stderr);
}

#[test]
fn a_recorder_keeps_what_is_good_beside_damage_and_says_where_the_rest_is() {
    let kernel = host();
    let folder = recorded(&kernel);
    damage(&folder.join("tail"));
    let damaged = fs::read(folder.join("tail")).unwrap();
    let ran = run(on(&kernel), &["record", "--for", "100ms"]);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    let aside = folder.join("tail-damaged-000001");
    for says in [
        "are lost: a sample is damaged",
        &aside.display().to_string(),
    ] {
        assert!(ran.stderr.contains(says), "{says}: {}", ran.stderr);
    }
    assert_eq!(fs::read(aside).unwrap(), damaged);
    assert!(samples(&kernel).len() > 540, "{}", samples(&kernel).len());
    assert_eq!(run(on(&kernel), &["history"]).exit, 0);
}

#[test]
fn a_damaged_dump_is_told_by_history_and_doctor() {
    let kernel = host();
    let folder = recorded(&kernel);
    let path = write_dump(&folder);
    assert_eq!(run(on(&kernel), &["history"]).exit, 0);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let ran = run(on(&kernel), &["history"]);
    assert_eq!(ran.exit, 4, "{}", ran.stderr);
    let told = format!("the dump {name} is damaged");
    assert!(ran.stderr.contains(&told), "{}", ran.stderr);
    assert!(ran.stdout.contains("oom-kill, damaged"), "{}", ran.stdout);
    let document = run(on(&kernel), &["history", "--json"]).json();
    assert_valid("grey.history.v1", &document);
    assert_eq!(document["dumps"][0]["state"], "damaged");
    let doctor = run(on(&kernel), &["doctor"]).stdout;
    assert!(doctor.contains(&format!("damaged: {name}")), "{doctor}");
}

#[test]
fn what_a_newer_version_wrote_is_called_that_and_left_alone() {
    let kernel = host();
    let folder = recorded(&kernel);
    let path = folder.join("tail");
    let newer = make_newer(&path, 48);
    let ran = run(on(&kernel), &["history", "--json"]);
    assert_eq!(ran.exit, 4, "{}", ran.stderr);
    let document = ran.json();
    assert_valid("grey.history.v1", &document);
    assert_eq!(document["lost"], serde_json::json!([]));
    assert_eq!(document["newer"][0]["format"], 9);
    let record = run(on(&kernel), &["record", "--for", "100ms"]);
    assert_eq!(record.exit, 1, "{}", record.stderr);
    let doctor = run(on(&kernel), &["doctor"]).stdout;
    for said in [&ran.stderr, &record.stderr, &doctor] {
        assert!(said.contains("newer version"), "{said}");
        assert!(
            !said.contains("lost:") && !said.contains("damaged:"),
            "{said}"
        );
    }
    assert_eq!(fs::read(&path).unwrap(), newer);
}

#[test]
fn a_dump_of_a_newer_version_is_called_that() {
    let kernel = host();
    let folder = recorded(&kernel);
    let path = write_dump(&folder);
    make_newer(&path, 88);
    let ran = run(on(&kernel), &["history"]);
    assert_eq!(ran.exit, 4, "{}", ran.stderr);
    assert!(ran.stdout.contains("oom-kill, newer"), "{}", ran.stdout);
    let name = path.file_name().unwrap().to_str().unwrap();
    let shown = run(on(&kernel), &["history", "--dump", name]);
    for said in [&ran.stderr, &shown.stderr] {
        assert!(said.contains("by a newer version"), "{said}");
        assert!(!said.contains("damaged"), "{said}");
    }
}

#[test]
fn a_shard_that_was_copied_is_told_and_its_samples_are_given_once() {
    let kernel = host();
    let folder = recorded(&kernel);
    // Puts the tail into a shard.
    assert_eq!(run(on(&kernel), &["record", "--for", "100ms"]).exit, 0);
    let taken = samples(&kernel);
    let names = names_in(&folder).into_iter();
    let mut shards = names.filter(|name| name.as_encoded_bytes().ends_with(b".shard"));
    let shard = folder.join(shards.next().unwrap());
    fs::copy(shard, folder.join("2020-01-01-00.shard")).unwrap();
    assert_eq!(samples(&kernel), taken);
    let ran = run(on(&kernel), &["history"]);
    let told = "are no loss: the same samples are there already, and are given once";
    assert!(ran.stderr.contains(told), "{}", ran.stderr);
    let doctor = run(on(&kernel), &["doctor", "--json"]).stdout;
    assert!(doctor.contains("in its files twice: "), "{doctor}");
    assert!(!doctor.contains("damaged"), "{doctor}");
    assert!(!doctor.contains("(0 samples)"), "{doctor}");
}

/// Runs `script` in bash with the directory of the history in `$H`, and greyctl
/// on `kernel` as its arguments.
fn bash(kernel: &FakeKernel, shell: &[&str], script: &str) -> Output {
    let greyctl = on(kernel);
    Command::new(shell[0])
        .args(&shell[1..])
        .args(["bash", "-c", script, "bash"])
        .arg(greyctl.get_program())
        .args(greyctl.get_args())
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("H", kernel.path("state/history"))
        .output()
        .unwrap()
}

/// Records twice where no file may have a byte: a limit on the length of files
/// stands for the disk's.
fn record_without_room(kernel: &FakeKernel) {
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$@\" record --for 100ms";
    for _ in 0..2 {
        let ran = bash(kernel, &["env"], script);
        assert_eq!(ran.status.code(), Some(1), "{ran:?}");
    }
}

fn names_in(folder: &Path) -> Vec<std::ffi::OsString> {
    let names = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

#[test]
fn a_history_that_finds_no_room_to_begin_leaves_no_file_behind() {
    let kernel = host();
    let folder = kernel.path("state/history");
    record_without_room(&kernel);
    assert_eq!(names_in(&folder), ["lock"]);
    assert_eq!(run(on(&kernel), &["record", "--for", "100ms"]).exit, 0);
    assert!(!samples(&kernel).is_empty());
}

#[test]
fn what_finds_no_room_stays_in_the_tail_and_leaves_no_empty_shard() {
    let kernel = host();
    let folder = recorded(&kernel);
    let tail = fs::read(folder.join("tail")).unwrap();
    record_without_room(&kernel);
    assert!(
        fs::read(folder.join("tail")).unwrap() == tail,
        "the tail is another"
    );
    assert_eq!(names_in(&folder), ["lock", "tail"]);
    assert_eq!(run(on(&kernel), &["record", "--for", "100ms"]).exit, 0);
    assert!(samples(&kernel).len() > 600);
}

#[test]
fn a_recorder_on_a_full_disk_tries_on_and_goes_on_when_there_is_room() {
    if !rustix::process::geteuid().is_root() {
        // Only root can mount a small disk.
        return;
    }
    let kernel = host();
    recorded(&kernel);
    // Each state is waited for, 30 s at the most.
    let script = r#"
        until_true() { for _ in $(seq 600); do if "$@"; then return; fi; sleep 0.05; done; }
        has() { grep -q "$1" "$S/said"; }
        more_than() { [ "$(greyctl history --csv | wc -l)" -gt "$1" ]; }
        P="$1"; shift; A=("$@"); greyctl() { "$P" "${A[@]}" "$@"; }
        S="$H.beside"; cp -a "$H" "$S"
        mount -t tmpfs -o size=256k,mode=700 tmpfs "$H" && cp -a "$S/tail" "$H/" || exit 9
        dd if=/dev/zero of="$H/fill" bs=1k count=1000 2>/dev/null
        "$P" "${A[@]}" record --interval 100ms --for 2m 2> "$S/said" & recorder=$!
        until_true has "trying on"
        greyctl history --csv | wc -l
        rm "$H/fill"
        until_true has "there is room again"
        until_true more_than 605
        dd if=/dev/zero of="$H/fill" bs=1k count=1000 2>/dev/null
        until_true has "/tail.: No space left on device"
        rm "$H/fill"
        until_true has "samples are kept again"
        kill -9 $recorder; wait
        greyctl history --json > "$S/all"; echo "exit $?"
        cat "$S/said" >&2
    "#;
    let ran = bash(
        &kernel,
        &["unshare", "--mount", "--propagation", "private"],
        script,
    );
    let (said, seen) = (
        String::from_utf8_lossy(&ran.stderr),
        String::from_utf8_lossy(&ran.stdout),
    );
    // The heading of the lines, and what was there before; all of it is whole at
    // the end.
    assert_eq!(
        seen.split_whitespace().collect::<Vec<_>>(),
        ["601", "exit", "0"],
        "{said}"
    );
    for told in [
        "trying on",
        "there is room again",
        "600 samples of an earlier run kept",
        "samples are kept again",
    ] {
        assert!(said.contains(told), "no `{told}` in {said}");
    }
    let all: Value =
        serde_json::from_slice(&fs::read(kernel.path("state/history.beside/all")).unwrap())
            .unwrap();
    assert!(all["samples"].as_array().unwrap().len() > 605);
    assert_eq!(all["lost"], serde_json::json!([]));
}
