//! `record`, `history` and `diff -b`: samples of a fake kernel, kept and read
//! back by the real binary.

use grey_fake_kernel::FakeKernel;
use grey_model::{
    BootId, CgroupPath, KernelText, ProcessField, ProcessId, ProcessKey, ProcessSample,
    ProcessValues, Sample, SystemField, SystemValues,
};
use grey_telemetry::history::{HistoryOptions, HistoryWriter};
use serde_json::Value;

use crate::documents::assert_valid;
use crate::harness::{host, on, run};

/// Records for a moment; a sample each 100 ms.
pub(crate) fn record(kernel: &FakeKernel) {
    let ran = run(
        on(kernel),
        &["record", "--interval", "100ms", "--for", "300ms"],
    );
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("recording to"), "{}", ran.stderr);
}

pub(crate) fn samples(kernel: &FakeKernel) -> Vec<Value> {
    let document = run(on(kernel), &["history", "--json"]).json();
    assert_valid("grey.history.v1", &document);
    document["samples"].as_array().unwrap().clone()
}

/// When the first of them was taken, as it can be typed.
pub(crate) fn first_moment(kernel: &FakeKernel) -> String {
    let first = samples(kernel)[0]["at_unix_ms"].as_i64().unwrap();
    jiff::Timestamp::from_millisecond(first)
        .unwrap()
        .to_string()
}

#[test]
fn what_is_recorded_is_what_the_kernel_said() {
    let kernel = host();
    record(&kernel);
    let samples = samples(&kernel);
    assert!(!samples.is_empty());
    let diagnosis = run(on(&kernel), &["memory-diagnose", "--json"]).json();
    let last = samples.last().unwrap();
    assert_eq!(
        last["system"]["free_bytes"],
        diagnosis["system"]["free_bytes"]
    );
    assert_eq!(last["boot_id"], diagnosis["host"]["boot_id"]);
    let of = |list: &Value| {
        let processes = list.as_array().unwrap().iter();
        let builder = processes.clone().find(|process| process["pid"] == 310);
        builder.unwrap().clone()
    };
    let (kept, seen) = (of(&last["processes"]), of(&diagnosis["processes"]));
    // Resident less shared, by statm.
    let statm = std::fs::read_to_string(kernel.path("proc/310/statm")).unwrap();
    let pages: Vec<u64> = statm
        .split_whitespace()
        .map(|word| word.parse().unwrap())
        .collect();
    let page = rustix::param::page_size() as u64;
    assert_eq!(kept["anonymous_bytes"], (pages[1] - pages[2]) * page);
    assert_eq!(kept["swap_bytes"], seen["swap_bytes"]);
    assert_eq!(kept["cpu_time_ticks"], seen["cpu_time_ticks"]);
    assert_eq!(kept["name"], "builder");
    assert!(!samples[0]["cgroups"].as_array().unwrap().is_empty());
    let groups = samples[0]["groups"].as_array().unwrap();
    let builders = groups.iter().find(|group| group["name"] == "builder");
    let builders = builders.unwrap();
    assert_eq!(builders["processes"], 1);
    assert_eq!(builders["anonymous_bytes"], kept["anonymous_bytes"]);
    assert_eq!(builders["cgroup"], kept["cgroup"]);
    assert_eq!(
        builders["oldest_start_time_ticks"],
        kept["start_time_ticks"]
    );
}

#[test]
fn history_is_shown_at_a_moment_over_a_time_and_as_csv() {
    let kernel = host();
    record(&kernel);
    let shown = run(on(&kernel), &["history"]);
    assert_eq!(shown.exit, 0, "{}", shown.stderr);
    assert!(shown.stdout.contains("MOST USED"), "{}", shown.stdout);
    let at = run(on(&kernel), &["history", "--at", "now"]);
    assert!(at.stdout.contains("builder"), "{}", at.stdout);
    let csv = run(on(&kernel), &["history", "--csv"]);
    let lines: Vec<&str> = csv.stdout.lines().collect();
    assert_eq!(lines.len(), samples(&kernel).len() + 1);
    let columns = |line: &str| line.split(',').count();
    assert!(lines.iter().all(|line| columns(line) == columns(lines[0])));
    let early = run(on(&kernel), &["history", "--at", "2001-01-01 00:00"]);
    assert_eq!(early.exit, 1);
    let outside = "2001-01-01 00:00:00 is outside the history: it has from ";
    assert!(early.stderr.contains(outside), "{}", early.stderr);
    let late = run(on(&kernel), &["history", "--at", "2099-01-01 00:00"]);
    assert_eq!(late.exit, 1, "{}", late.stdout);
    assert!(
        late.stderr.contains("is outside the history"),
        "{}",
        late.stderr
    );
}

#[test]
fn export_says_what_the_options_say() {
    let kernel = host();
    record(&kernel);
    for form in ["--json", "--csv"] {
        let exported = run(on(&kernel), &["history", "export", form]);
        assert_eq!(exported.exit, 0, "{}", exported.stderr);
        assert_eq!(exported.stdout, run(on(&kernel), &["history", form]).stdout);
    }
    for wrong in [
        &["history", "export"][..],
        &["history", "export", "--json", "--csv"],
    ] {
        assert_eq!(run(on(&kernel), wrong).exit, 2);
    }
}

#[test]
fn more_processes_than_a_reader_takes_are_refused() {
    let kernel = host();
    for (option, value, says) in [
        ("--processes", "10001", "from 1 to 10000"),
        ("--processes", "0", "from 1 to 10000"),
        ("--processes", "-1", "from 1 to 10000"),
        ("--max-size", "20", "1M at least"),
        ("--pss-budget", "101", "from 0 to 100"),
        ("--pss-budget", "x", "from 0 to 100"),
    ] {
        let ran = run(on(&kernel), &["record", "--for", "100ms", option, value]);
        assert_eq!(ran.exit, 2, "{option} {value}");
        assert!(ran.stderr.contains(says), "{}", ran.stderr);
    }
}

/// A recorder that is killed when this is dropped.
pub(crate) struct Recorder(std::process::Child);

impl Recorder {
    /// Starts it; the first sample is taken at once.
    pub(crate) fn start(kernel: &FakeKernel, interval: &str) -> Self {
        let mut command = on(kernel);
        command.args(["record", "--interval", interval]);
        Self(command.stderr(std::process::Stdio::null()).spawn().unwrap())
    }
}

/// Waits for a state that comes by itself, and not for ever.
pub(crate) fn wait_until(is_there: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !is_there() {
        assert!(start.elapsed() < std::time::Duration::from_secs(60));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_last_minute_before_a_kill_is_kept_and_shown() {
    let kernel = host();
    let before = "nr_free_pages 1000\npgscan_direct 5\noom_kill 2\n";
    kernel.write("proc/vmstat", before);
    let recorder = Recorder::start(&kernel, "1h");
    let document = || run(on(&kernel), &["history", "--json"]);
    // The first reading comes before the first sample is there, and a later
    // one sees what the kernel says after it.
    wait_until(|| document().exit == 0 && !samples(&kernel).is_empty());
    kernel.write("proc/vmstat", before.replace("oom_kill 2", "oom_kill 3"));
    wait_until(|| !document().json()["dumps"].as_array().unwrap().is_empty());
    drop(recorder);
    let document = document().json();
    assert_valid("grey.history.v1", &document);
    let dump = &document["dumps"][0];
    assert_eq!(dump["reason"], "oom-kill");
    let name = dump["name"].as_str().unwrap();
    let shown = run(on(&kernel), &["history", "--dump", name, "--json"]).json();
    assert_valid("grey.history.v1", &shown);
    let samples = shown["samples"].as_array().unwrap();
    assert_eq!(dump["samples"], samples.len());
    assert_eq!(samples.last().unwrap()["system"]["oom_kills"], 3);
    // The times are the dump's, not those of the history that it lies in.
    let of_dump = serde_json::json!({
        "from_unix_ms": dump["from_unix_ms"],
        "until_unix_ms": dump["until_unix_ms"],
        "samples": dump["samples"],
    });
    assert_eq!(shown["span"], of_dump);
    assert_eq!(shown["dumps"], serde_json::json!([dump]));
    assert_eq!(samples[0]["system"]["oom_kills"], 2);
    let text = run(on(&kernel), &["history", "--dump", name]);
    assert!(text.stdout.contains("STALLED"), "{}", text.stdout);
    let overview = run(on(&kernel), &["history"]).stdout;
    assert!(overview.contains(name), "{overview}");
    let other = run(on(&kernel), &["history", "--dump", "tail"]);
    assert_eq!(other.exit, 2);
    assert!(other.stderr.contains("has no dump"), "{}", other.stderr);
}

#[test]
fn a_moment_of_history_is_a_diagnosis_of_what_was_kept() {
    let kernel = host();
    record(&kernel);
    let arguments = ["memory-diagnose", "--at", "now", "--json"];
    let ran = run(on(&kernel), &arguments);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    let recorded = ran.json();
    assert_valid("grey.diagnosis.v1", &recorded);
    let now = run(on(&kernel), &["memory-diagnose", "--json"]).json();
    assert_eq!(recorded["system"], now["system"]);
    assert_eq!(
        (&recorded["recorded"], &now["recorded"]),
        (&true.into(), &false.into())
    );
    // What history does not keep is unknown and not 0.
    for name in ["pressure", "ksm", "unreadable_processes"] {
        assert_eq!(recorded[name], Value::Null, "{name}");
        assert_ne!(now[name], Value::Null, "{name}");
    }
    assert_eq!(recorded["meminfo"]["buffers_bytes"], Value::Null);
    let rows = recorded["breakdown"].as_array().unwrap();
    let sum: i64 = rows.iter().map(|row| row["bytes"].as_i64().unwrap()).sum();
    assert_eq!(recorded["system"]["total_bytes"], sum);
    assert!(!recorded["cgroups"].as_array().unwrap().is_empty());
    let text = run(on(&kernel), &["memory-diagnose", "--at", "now"]).stdout;
    for says in ["from history", "builder", "the residual holds the rest"] {
        assert!(text.contains(says), "{says}: {text}");
    }
    assert!(
        !text.contains("Pressure") && !text.contains("KSM  "),
        "{text}"
    );
    let early = ["memory-diagnose", "--at", "2001-01-01 00:00"];
    let ran = run(on(&kernel), &early);
    assert_eq!(ran.exit, 1);
    assert!(
        ran.stderr.contains("is outside the history: it has from"),
        "{}",
        ran.stderr
    );
}

#[test]
fn two_moments_of_history_are_compared() {
    let kernel = host();
    record(&kernel);
    kernel.write("proc/310/statm", "300000 200000 10 10 0 200000 0\n");
    let status = std::fs::read_to_string(kernel.path("proc/310/status")).unwrap();
    let grown = status
        .lines()
        .map(|line| match line.starts_with("RssAnon:") {
            true => "RssAnon:\t  800000 kB\n".to_owned(),
            false => format!("{line}\n"),
        });
    kernel.write("proc/310/status", grown.collect::<String>());
    record(&kernel);
    let begin = first_moment(&kernel);
    let ran = run(on(&kernel), &["diff", "-b", &begin, "--json"]);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    let document = ran.json();
    assert_valid("grey.comparison.v1", &document);
    let process = &document["processes"][0];
    assert_eq!(
        (&process["pid"], &process["fate"]),
        (&310.into(), &"grew".into())
    );
    assert_eq!(document["same_boot"], true);
}

#[test]
fn damage_is_told_and_the_rest_is_shown() {
    let kernel = host();
    record(&kernel);
    record(&kernel);
    let before = samples(&kernel).len();
    let folder = kernel.path("state/history");
    let entries = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut shards: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|suffix| suffix == "shard"))
        .collect();
    shards.sort();
    let mut bytes = std::fs::read(&shards[0]).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&shards[0], bytes).unwrap();
    let ran = run(on(&kernel), &["history", "--json"]);
    assert_eq!(ran.exit, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("are lost"), "{}", ran.stderr);
    let document = ran.json();
    assert_eq!(document["lost"].as_array().unwrap().len(), 1);
    let left = document["samples"].as_array().unwrap().len();
    assert!(0 < left && left < before, "{left} of {before}");
}

#[test]
fn without_history_the_next_step_is_named() {
    let kernel = host();
    for arguments in [&["history"][..], &["diff", "-b", "1h"]] {
        let ran = run(on(&kernel), arguments);
        assert_eq!(ran.exit, 1);
        assert!(
            ran.stderr.contains("hint: record some: greyctl record"),
            "{}",
            ran.stderr
        );
    }
    let ran = run(on(&kernel), &["record", "--interval", "1ms"]);
    assert_eq!(ran.exit, 2, "{}", ran.stderr);
}

/// History of the ten minutes before `now`: one process grows by 1 MiB/s, one
/// stays.
pub(crate) fn write_growth(folder: &std::path::Path, now: jiff::Timestamp) {
    write_growth_of(folder, now, &[(310, "builder", None, 1)]);
}

/// The same of processes with a pid, a name, a cgroup, and a growth in MiB/s.
pub(crate) fn write_growth_of(
    folder: &std::path::Path,
    now: jiff::Timestamp,
    growing: &[(u32, &str, Option<&str>, u64)],
) {
    write_seconds(folder, now, |second| {
        growing
            .iter()
            .map(|(pid, name, cgroup, rate)| holding(*pid, name, *cgroup, 100 + rate * second))
            .chain([holding(311, "calm", None, 300 + second % 3)])
            .collect()
    });
}

/// A process that holds so many MiB.
pub(crate) fn holding(pid: u32, name: &str, cgroup: Option<&str>, mib: u64) -> ProcessSample {
    ProcessSample {
        key: ProcessKey {
            id: ProcessId {
                pid,
                start_time_ticks: 3100,
            },
            name: KernelText::from(name),
            cgroup: cgroup.and_then(|path| CgroupPath::new(path.as_bytes())),
        },
        values: ProcessValues::default()
            .with(ProcessField::Rss, Some(mib << 20))
            .with(ProcessField::Anonymous, Some(mib << 20))
            .with(ProcessField::Swap, Some(0)),
    }
}

/// A sample of each second of the ten minutes before `now`.
pub(crate) fn write_seconds(
    folder: &std::path::Path,
    now: jiff::Timestamp,
    processes: impl Fn(u64) -> Vec<ProcessSample>,
) {
    write_from(folder, now, 0, processes);
}

/// The same without the seconds before `first`.
pub(crate) fn write_from(
    folder: &std::path::Path,
    now: jiff::Timestamp,
    first: u64,
    processes: impl Fn(u64) -> Vec<ProcessSample>,
) {
    let sample = |second| sample_before(now, 600 - second, "one", processes(second));
    write_samples(folder, (first..600).map(sample));
}

/// A sample so many seconds before `now`, which is 1,600 s after boot.
pub(crate) fn sample_before(
    now: jiff::Timestamp,
    seconds: u64,
    boot: &str,
    processes: Vec<ProcessSample>,
) -> Sample {
    let now = u64::try_from(now.as_millisecond()).unwrap();
    Sample {
        at_unix_ms: now - seconds * 1000,
        since_boot_ms: (1600 - seconds) * 1000,
        boot: BootId(boot.to_owned()),
        system: SystemValues::default()
            .with(SystemField::Total, Some(8 << 30))
            .with(SystemField::Free, Some(4 << 30)),
        processes,
        cgroups: None,
        groups: None,
    }
}

/// History of these samples.
pub(crate) fn write_samples(folder: &std::path::Path, samples: impl Iterator<Item = Sample>) {
    let mut writer = HistoryWriter::open(folder, HistoryOptions::default()).unwrap();
    for sample in samples {
        writer.append(&sample).unwrap();
    }
}

/// History of a clock that went two hours ahead and came back.
fn set_back(kernel: &FakeKernel) {
    let folder = kernel.path("state/history");
    let now = jiff::Timestamp::now();
    write_growth(&folder, now + jiff::SignedDuration::from_hours(2));
    write_growth(&folder, now);
}

#[test]
fn a_clock_that_was_ahead_and_came_back_is_not_called_wrong_by_doctor() {
    let kernel = host();
    set_back(&kernel);
    let doctor = run(on(&kernel), &["doctor"]).stdout;
    assert!(!doctor.contains("in the future"), "{doctor}");
    assert!(!doctor.contains("set back"), "{doctor}");
    assert!(doctor.contains("1200 samples in"), "{doctor}");
}

#[test]
fn of_now_is_the_sample_that_was_taken_last_also_after_a_clock_was_ahead() {
    let kernel = host();
    set_back(&kernel);
    let last = samples(&kernel).pop().unwrap();
    let shown = run(on(&kernel), &["history", "--at", "now", "--json"]).json();
    assert_eq!(shown["samples"][0]["at_unix_ms"], last["at_unix_ms"]);
}
