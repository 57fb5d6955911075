//! `record`, `history` and `diff -b`: samples of a fake kernel, kept and read
//! back by the real binary.

use grey_fake_kernel::FakeKernel;
use grey_model::{
    BootId, KernelText, ProcessField, ProcessId, ProcessKey, ProcessSample, ProcessValues, Sample,
    SystemValues,
};
use grey_telemetry::history::{HistoryOptions, HistoryWriter};
use serde_json::Value;

use crate::documents::assert_valid;
use crate::harness::{host, on, run};

/// Records for a moment; a sample each 100 ms.
fn record(kernel: &FakeKernel) {
    let ran = run(
        on(kernel),
        &["record", "--interval", "100ms", "--for", "300ms"],
    );
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("recording to"), "{}", ran.stderr);
}

fn samples(kernel: &FakeKernel) -> Vec<Value> {
    let document = run(on(kernel), &["history", "--json"]).json();
    assert_valid("grey.history.v1", &document);
    document["samples"].as_array().unwrap().clone()
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
    assert_eq!(kept["anonymous_bytes"], seen["rss_anon_bytes"]);
    assert_eq!(kept["name"], "builder");
    assert!(!samples[0]["cgroups"].as_array().unwrap().is_empty());
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
    assert!(early.stderr.contains("it begins at"), "{}", early.stderr);
    let nothing = run(on(&kernel), &["history", "--until", "2001-01-01 00:00"]);
    assert!(
        nothing.stdout.contains("No sample of that time"),
        "{}",
        nothing.stdout
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
    let first = samples(&kernel)[0]["at_unix_ms"].as_i64().unwrap();
    let begin = jiff::Timestamp::from_millisecond(first)
        .unwrap()
        .to_string();
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
    let now = now.as_millisecond();
    let mut writer = HistoryWriter::open(folder, HistoryOptions::default()).unwrap();
    for second in 0..600_u64 {
        let process = |pid, name: &str, mib: u64| ProcessSample {
            key: ProcessKey {
                id: ProcessId {
                    pid,
                    start_time_ticks: 3100,
                },
                name: KernelText::from(name),
                cgroup: None,
            },
            values: ProcessValues::default()
                .with(ProcessField::Anonymous, Some(mib << 20))
                .with(ProcessField::Swap, Some(0)),
        };
        let sample = Sample {
            at_unix_ms: u64::try_from(now).unwrap() - (600 - second) * 1000,
            since_boot_ms: 1_000_000 + second * 1000,
            boot: BootId("one".to_owned()),
            system: SystemValues::default(),
            processes: vec![
                process(310, "builder", 100 + second),
                process(311, "calm", 300 + second % 3),
            ],
            cgroups: None,
        };
        writer.append(&sample).unwrap();
    }
}

#[test]
fn leaks_are_looked_for_in_history() {
    let kernel = host();
    write_growth(&kernel.path("state/history"), jiff::Timestamp::now());
    let arguments = [
        "memory-diagnose",
        "--detect-leaks",
        "--since",
        "1h ago",
        "--json",
    ];
    let ran = run(on(&kernel), &arguments);
    assert_eq!(ran.exit, 3, "{}", ran.stderr);
    let document = ran.json();
    assert_valid("grey.diagnosis.v1", &document);
    let leaks = document["leaks"].as_array().unwrap();
    let verdict = |name: &str| {
        let leak = leaks.iter().find(|leak| leak["name"] == name).unwrap();
        leak["verdict"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        (verdict("builder").as_str(), verdict("calm").as_str()),
        ("leak", "stable")
    );
    assert_eq!(document["leak_groups"], serde_json::json!([]));
    // Of the last ten seconds there is nothing to be told.
    let arguments = [
        "memory-diagnose",
        "--detect-leaks",
        "--since",
        "10s ago",
        "--json",
    ];
    let ran = run(on(&kernel), &arguments);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    let both = [
        "memory-diagnose",
        "--detect-leaks",
        "--since",
        "1h",
        "--for",
        "5s",
    ];
    assert_eq!(run(on(&kernel), &both).exit, 2);
}
