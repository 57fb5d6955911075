//! `memory-diagnose --detect-leaks --since`: what was recorded is judged, also what
//! is gone by now.

use std::fs;

use grey_fake_kernel::FakeKernel;
use grey_model::{
    BootId, CgroupField, CgroupPath, CgroupSample, CgroupValues, GroupField, GroupKey, GroupSample,
    GroupValues, Sample, SystemValues,
};
use grey_telemetry::history::{HistoryOptions, HistoryWriter};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::documents::assert_valid;
use crate::harness::{Ran, host, is_taken, on, pasted, run};
use crate::history::{holding, record, write_growth, write_seconds};
use crate::history_damage::make_newer;

/// Judges what was recorded since the first of these, for people.
fn show(kernel: &FakeKernel, further: &[&str]) -> Ran {
    let since = ["memory-diagnose", "--detect-leaks", "--since"];
    run(on(kernel), &[&since[..], further].concat())
}

/// The same as a document.
fn judge(kernel: &FakeKernel, further: &[&str]) -> Ran {
    show(kernel, &[further, &["--json"]].concat())
}

/// The verdicts on processes with this name.
fn of_name<'all>(document: &'all Value, name: &str) -> Vec<&'all Value> {
    let leaks = document["leaks"].as_array().unwrap().iter();
    leaks.filter(|leak| leak["name"] == name).collect()
}

#[test]
fn leaks_are_looked_for_in_history() {
    let kernel = host();
    write_growth(&kernel.path("state/history"), jiff::Timestamp::now());
    let ran = judge(&kernel, &["1h ago"]);
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
    // Of the other group not every process may have been recorded: it is not known
    // that it does not grow.
    let groups = document["leak_groups"].as_array().unwrap();
    let verdicts: Vec<_> = (groups.iter())
        .map(|group| (&group["group"], &group["verdict"]))
        .collect();
    assert_eq!(verdicts, [(&"builder".into(), &"leak".into())]);
    let notes = document["notes"].to_string();
    assert!(notes.contains("1 group is not judged"), "{notes}");
    // Of the last ten seconds there is nothing to be told.
    let ran = judge(&kernel, &["10s ago"]);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    assert_eq!(show(&kernel, &["1h", "--for", "5s"]).exit, 2);
}

/// One that leaks and is killed after eight minutes, and one that stays.
fn write_killed(kernel: &FakeKernel, now: Timestamp) {
    write_seconds(&kernel.path("state/history"), now, |second| {
        let leaker = holding(777, "leaker", None, 100 + second);
        let mut all = vec![holding(311, "calm", None, 300)];
        all.extend((second < 480).then_some(leaker));
        all
    });
}

#[test]
fn a_leaker_that_was_killed_is_judged_and_marked_as_ended() {
    let kernel = host();
    write_killed(&kernel, Timestamp::now());
    let ran = judge(&kernel, &["1h ago"]);
    // It has given everything back: nothing leaks by now.
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    let document = ran.json();
    assert_valid("grey.diagnosis.v1", &document);
    let leaker = of_name(&document, "leaker")[0];
    assert_eq!(
        (&leaker["ended"], &leaker["verdict"]),
        (&true.into(), &"growing".into())
    );
    assert!(
        leaker["growth_bytes"].as_i64().unwrap() > 450 << 20,
        "{leaker}"
    );
    assert_eq!(of_name(&document, "calm")[0]["ended"], false);
    let text = show(&kernel, &["1h ago"]);
    assert!(text.stdout.contains("leaker (ended)"), "{}", text.stdout);
    // When it ran it was a leak.
    let until = (Timestamp::now() - SignedDuration::from_mins(3)).to_string();
    let ran = judge(&kernel, &["1h ago", "--until", &until]);
    assert_eq!(ran.exit, 3, "{}", ran.stderr);
    let document = ran.json();
    let leaker = of_name(&document, "leaker")[0];
    assert_eq!(
        (&leaker["ended"], &leaker["verdict"]),
        (&false.into(), &"leak".into())
    );
    // Without a beginning, from that of history.
    let ran = run(
        on(&kernel),
        &[
            "memory-diagnose",
            "--detect-leaks",
            "--until",
            &until,
            "--json",
        ],
    );
    assert_eq!(ran.exit, 3, "{}", ran.stderr);
    assert_eq!(of_name(&ran.json(), "leaker")[0]["verdict"], "leak");
    // The room of now tells nothing of when something was full then.
    assert_eq!(leaker["exhausts_in_seconds"], Value::Null);
}

#[test]
fn what_is_gone_and_was_recorded_is_a_target() {
    let kernel = host();
    write_killed(&kernel, Timestamp::now());
    for target in ["777", "name:leaker", "leaker"] {
        let ran = judge(&kernel, &["1h ago", "-t", target]);
        assert_eq!(ran.exit, 0, "{target}: {}", ran.stderr);
        let document = ran.json();
        assert_valid("grey.diagnosis.v1", &document);
        let names: Vec<&Value> = (document["leaks"].as_array().unwrap().iter())
            .map(|leak| &leak["name"])
            .collect();
        assert_eq!(names, ["leaker"], "{target}");
        assert_eq!(document["targets"], serde_json::json!([]));
        assert_eq!(document["processes"], serde_json::json!([]));
        let notes = document["notes"].to_string();
        assert!(notes.contains("is only in history"), "{notes}");
        assert_eq!(show(&kernel, &["1h ago", "-t", target]).exit, 0);
    }
    // What is in neither is none.
    let ran = judge(&kernel, &["1h ago", "-t", "778"]);
    assert_eq!(ran.exit, 2, "{}", ran.stderr);
}

/// The command that a refusal of `arguments` gives for a look at history.
fn look_at_history(kernel: &FakeKernel, arguments: &[&str]) -> Option<String> {
    let ran = run(on(kernel), arguments);
    assert_eq!(ran.exit, 2, "{arguments:?}: {}", ran.stderr);
    let mut lines = ran.stderr.lines();
    let (_, line) = lines.find_map(|line| line.split_once("history has it: "))?;
    assert!(is_taken(line), "`{line}` cannot be pasted");
    Some(line.to_owned())
}

#[test]
fn who_asks_for_what_is_gone_is_sent_to_the_history_that_has_it() {
    let kernel = host();
    let gone = ["777", "leaker", "/job", "job.service"];
    let of = |target: &str, kernel: &FakeKernel| {
        let why = look_at_history(kernel, &["why", target]);
        let diagnosed = look_at_history(kernel, &["memory-diagnose", "-t", target]);
        assert_eq!(why, diagnosed);
        why
    };
    assert!(gone.iter().all(|target| of(target, &kernel).is_none()));
    write_seconds(
        &kernel.path("state/history"),
        Timestamp::now(),
        |second| match second < 480 {
            true => vec![
                holding(777, "leaker", Some("/job"), 100 + second),
                holding(778, "other", Some("/system.slice/job.service"), 100),
            ],
            false => vec![holding(311, "calm", None, 300)],
        },
    );
    for target in gone {
        let line = of(target, &kernel).unwrap_or_else(|| panic!("no hint for {target}"));
        let document = pasted(&format!("{line} --json")).json();
        let judged = document["leaks"].as_array().unwrap();
        assert!(!judged.is_empty(), "{line}: {document:#}");
    }
    assert_eq!(of("779", &kernel), None);
    assert_eq!(of("/jo", &kernel), None);
}

#[test]
fn groups_and_cgroups_of_history_are_judged() {
    let kernel = host();
    let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap();
    let folder = kernel.path("state/history");
    let mut writer = HistoryWriter::open(&folder, HistoryOptions::default()).unwrap();
    for second in 0..300_u64 {
        // Three workers of 100 MiB, each larger by 1 MiB in three seconds.
        let worker = |pid| holding(pid, "worker", Some("/pool"), 100 + second / 3);
        let pool = CgroupValues::default()
            .with(CgroupField::Current, Some((900 + second % 7) << 20))
            .with(CgroupField::Anonymous, Some(300 << 20))
            .with(CgroupField::Shared, Some((10 + second) << 20))
            .with(CgroupField::SlabReclaimable, Some((10 + second) << 20))
            .with(CgroupField::Id, Some(5));
        let cgroup = |path: &[u8]| CgroupSample {
            path: CgroupPath::new(path).unwrap(),
            values: pool.clone(),
        };
        let mut cgroups = vec![cgroup(b"/pool")];
        cgroups.extend((second < 200).then(|| cgroup(b"/removed")));
        let sample = Sample {
            at_unix_ms: now - (300 - second) * 1000,
            since_boot_ms: 1_000_000 + second * 1000,
            boot: BootId("one".to_owned()),
            system: SystemValues::default(),
            processes: [801, 802, 803].map(worker).to_vec(),
            cgroups: second.is_multiple_of(10).then_some(cgroups),
            groups: None,
        };
        writer.append(&sample).unwrap();
    }
    drop(writer);
    let ran = judge(&kernel, &["1h ago"]);
    assert_eq!(ran.exit, 3, "{}", ran.stderr);
    let document = ran.json();
    assert_valid("grey.diagnosis.v1", &document);
    let group = &document["leak_groups"][0];
    assert_eq!(group["group"], "worker");
    assert_eq!(
        (&group["verdict"], &group["processes"]),
        (&"leak".into(), &3.into())
    );
    let slope = group["slope_bytes_per_second"].as_f64().unwrap() / f64::from(1 << 20);
    assert!((slope - 1.0).abs() < 0.05, "{slope}");
    let leak_of = |path: &str, kind: &str| {
        let mut all = document["leak_cgroups"].as_array().unwrap().iter();
        let found = all.find(|leak| leak["cgroup"] == path && leak["of"] == kind);
        found.map(|leak| (leak["verdict"].clone(), leak["ended"].clone()))
    };
    let pool = |kind| leak_of("/pool", kind);
    let says = |verdict: &str, ended: bool| Some((verdict.into(), ended.into()));
    assert_eq!(pool("anonymous"), says("stable", false));
    assert_eq!(pool("shmem"), says("leak", false));
    // What the kernel frees when memory is needed may grow.
    assert_eq!(pool("slab-reclaimable"), says("growing", false));
    assert_eq!(pool("slab"), None);
    assert_eq!(leak_of("/removed", "shmem"), says("growing", true));
    let notes = document["notes"].to_string();
    assert!(
        notes.contains("cgroups were read 30 times, 10s apart"),
        "{notes}"
    );
    let text = show(&kernel, &["1h ago"]).stdout;
    assert!(text.contains("/removed (gone)"), "{text}");
}

#[test]
fn a_program_that_leaks_by_ever_more_processes_is_found_beyond_the_largest() {
    let kernel = host();
    let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap();
    let folder = kernel.path("state/history");
    let mut writer = HistoryWriter::open(&folder, HistoryOptions::default()).unwrap();
    for second in 0..300_u64 {
        // A child of 10 MiB each three seconds, of which the samples have two.
        let children = 2 + second / 3;
        let group = GroupSample {
            key: GroupKey {
                name: "child".into(),
                cgroup: None,
            },
            values: GroupValues::default()
                .with(GroupField::Processes, Some(children))
                .with(GroupField::Anonymous, Some((children * 10) << 20)),
        };
        let sample = Sample {
            at_unix_ms: now - (300 - second) * 1000,
            since_boot_ms: 1_000_000 + second * 1000,
            boot: BootId("one".to_owned()),
            system: SystemValues::default(),
            processes: [901, 902]
                .map(|pid| holding(pid, "child", None, 10))
                .to_vec(),
            cgroups: None,
            groups: second.is_multiple_of(10).then(|| vec![group]),
        };
        writer.append(&sample).unwrap();
    }
    drop(writer);
    let ran = judge(&kernel, &["1h ago"]);
    assert_eq!(ran.exit, 3, "{}", ran.stderr);
    let document = ran.json();
    assert_valid("grey.diagnosis.v1", &document);
    let group = &document["leak_groups"][0];
    assert_eq!(
        (&group["group"], &group["verdict"]),
        (&"child".into(), &"leak".into())
    );
    assert_eq!(
        (&group["processes"], &group["ended"]),
        (&98.into(), &false.into())
    );
    let notes = document["notes"].to_string();
    assert!(
        notes.contains("groups were read 30 times, 10s apart"),
        "{notes}"
    );
}

#[test]
fn what_was_before_the_last_boot_is_told_and_judged_when_asked_for() {
    let kernel = host();
    let then = Timestamp::now() - SignedDuration::from_hours(2);
    write_growth(&kernel.path("state/history"), then);
    record(&kernel);
    let ran = judge(&kernel, &["3h ago"]);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    let document = ran.json();
    assert!(of_name(&document, "calm").is_empty());
    let notes = document["notes"].to_string();
    assert!(
        notes.contains("600 samples of before the last boot"),
        "{notes}"
    );
    let ran = judge(&kernel, &["3h ago", "--until", "1h ago"]);
    assert_eq!(ran.exit, 3, "{}", ran.stderr);
    assert_eq!(of_name(&ran.json(), "builder")[0]["verdict"], "leak");
    // Between the two there is nothing.
    let ran = judge(&kernel, &["90m ago", "--until", "1h ago"]);
    assert_eq!(ran.exit, 1, "{}", ran.stdout);
    assert!(ran.stderr.contains("no sample between"), "{}", ran.stderr);
}

/// Every command that needs a sample.
const LOOKS: [&[&str]; 5] = [
    &["memory-diagnose", "--detect-leaks", "--since", "1h ago"],
    &["memory-diagnose", "--at", "5m ago"],
    &["memory-watch", "--at", "5m ago"],
    &["history", "--at", "5m ago"],
    &["diff", "-b", "5m ago"],
];

#[test]
fn history_without_a_sample_is_no_clean_bill_of_health() {
    let kernel = host();
    write_growth(&kernel.path("state/history"), Timestamp::now());
    fs::write(kernel.path("state/history/tail"), b"").unwrap();
    for arguments in LOOKS {
        let ran = run(on(&kernel), arguments);
        assert_eq!((ran.exit, ran.stdout.as_str()), (1, ""), "{arguments:?}");
        assert!(ran.stderr.contains("history is empty"), "{}", ran.stderr);
        assert!(ran.stderr.contains("record some: "), "{}", ran.stderr);
    }
}

#[test]
fn history_of_a_newer_version_is_called_that_by_who_needs_a_sample() {
    let kernel = host();
    write_growth(&kernel.path("state/history"), Timestamp::now());
    make_newer(&kernel.path("state/history/tail"), 48);
    for arguments in LOOKS {
        let ran = run(on(&kernel), arguments);
        assert_eq!((ran.exit, ran.stdout.as_str()), (1, ""), "{arguments:?}");
        assert!(
            ran.stderr.contains("newer version of greyctl (format 9)"),
            "{}",
            ran.stderr
        );
        assert!(!ran.stderr.contains("record some"), "{}", ran.stderr);
    }
}
