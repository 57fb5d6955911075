//! What `why --killed` tells of the minutes before a kill, from history and
//! from a recorder's dump.

use grey_model::{BootId, Sample, SystemField, SystemValues};
use grey_telemetry::history::{DumpReason, HistoryOptions, HistoryWriter};

use super::*;
use crate::history_damage::make_newer;

#[test]
fn what_had_grown_before_a_kill_is_told_from_history() {
    let kernel = host();
    let log = KILLED;
    let explained = || why(&kernel, with_logs(&kernel, log, None), &["--json"]).json();
    let kills = explained()["kills"].as_array().unwrap().clone();
    assert!(kills.iter().all(|kill| kill["grew"].is_null()));
    let at: jiff::Timestamp = kills[0]["at"].as_str().unwrap().parse().unwrap();
    write_growth(&kernel.path("state/history"), at);
    let document = explained();
    assert_valid("grey.kills.v1", &document);
    let grew = document["kills"][0]["grew"].as_array().unwrap();
    assert_eq!(grew[0]["name"], "builder");
    let growth = grew[0]["growth_bytes"].as_u64().unwrap() >> 20;
    assert!((297..=300).contains(&growth), "{growth}");
    let shown = why(&kernel, with_logs(&kernel, log, None), &[]);
    let told = "in the 5 minutes before, builder (310) grew by";
    assert!(shown.stdout.contains(told), "{}", shown.stdout);
}

#[test]
fn no_longer_time_is_told_of_than_was_recorded_and_who_is_new_hides_nobody() {
    let kernel = host();
    let explained = || why(&kernel, with_logs(&kernel, KILLED, None), &["--json"]).json();
    let at = explained()["kills"][0]["at"].as_str().unwrap().to_owned();
    // Four start 10 s before the kill, one leaks all the time.
    let processes = |second: u64| {
        let mut all = vec![holding(500, "leak", None, 100 + second)];
        if second >= 590 {
            let starts = (501..505).map(|pid| {
                let mut process = holding(pid, "burst", None, 400);
                process.key.id.start_time_ticks = 159_000;
                process
            });
            all.extend(starts);
        }
        all
    };
    let folder = kernel.path("state/history");
    write_from(&folder, at.parse().unwrap(), 575, processes);
    let document = explained();
    assert_valid("grey.kills.v1", &document);
    let kill = &document["kills"][0];
    assert_eq!(kill["grew_covers_seconds"], 24.0);
    let new: Vec<_> = kill["grew"]
        .as_array()
        .unwrap()
        .iter()
        .map(|growth| (growth["name"].as_str().unwrap(), growth["is_new"] == true))
        .collect();
    assert_eq!(new[..4], [("burst", true); 4]);
    assert_eq!(new[4], ("leak", false));
    let shown = why(&kernel, with_logs(&kernel, KILLED, None), &[]).stdout;
    for told in [
        "in the 5 minutes before, burst (501) is new and grew to 400.0 MiB",
        "in the 24 s that were recorded before, leak (500) grew by 24.0 MiB",
    ] {
        assert!(shown.contains(told), "{shown}");
    }
}

#[test]
fn who_filled_the_cgroup_at_its_limit_is_told_before_who_grew_more_elsewhere() {
    let kernel = host();
    let explained = || why(&kernel, with_logs(&kernel, KILLED, None), &["--json"]).json();
    let at = explained()["kills"][0]["at"].as_str().unwrap().to_owned();
    let others = ["a", "b", "c"].map(|name| (name, Some("/elsewhere"), 9));
    let members = [
        ("worker", Some("/build/web"), 1),
        ("child", Some("/build/web/x"), 2),
    ];
    let growing: Vec<_> = (400..)
        .zip(others.into_iter().chain(members))
        .map(|(pid, (name, cgroup, rate))| (pid, name, cgroup, rate))
        .collect();
    write_growth_of(&kernel.path("state/history"), at.parse().unwrap(), &growing);
    let document = explained();
    assert_valid("grey.kills.v1", &document);
    let grew = document["kills"][0]["grew"].as_array().unwrap();
    let order: Vec<_> = grew
        .iter()
        .map(|growth| {
            (
                growth["name"].as_str().unwrap(),
                &growth["in_limited_cgroup"],
            )
        })
        .collect();
    assert_eq!(
        order[..2],
        [("child", &json!(true)), ("worker", &json!(true))]
    );
    assert_eq!(order[2], ("calm", &Value::Null));
    assert_eq!(order[3], ("a", &json!(false)));
    let shown = why(&kernel, with_logs(&kernel, KILLED, None), &[]).stdout;
    let lines: Vec<&str> = shown
        .lines()
        .filter(|line| line.contains("grew by"))
        .collect();
    assert!(lines[0].contains("child (404)"), "{lines:?}");
    assert!(lines[1].contains("worker (403)"), "{lines:?}");
    assert!(!lines[1].contains("outside"), "{lines:?}");
}

#[test]
fn the_minute_before_a_kill_is_told_from_the_recorders_dump() {
    let kernel = host();
    let explained = || why(&kernel, with_logs(&kernel, KILLED, None), &["--json"]).json();
    let first: jiff::Timestamp = explained()["kills"][0]["at"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let at_ms = u64::try_from(first.as_millisecond()).unwrap();
    let folder = kernel.path("state/history");
    write_growth(&folder, first);
    // 30 s before it until 5 s after it: what came after is no cause.
    let samples: Vec<Sample> = (0..350)
        .map(|number| Sample {
            at_unix_ms: at_ms - 30_000 + number * 100,
            since_boot_ms: number * 100,
            boot: BootId("one".to_owned()),
            system: SystemValues::default()
                .with(SystemField::Available, Some((400 - number) << 20))
                .with(SystemField::PressureSome, Some(number * 10_000)),
            processes: Vec::new(),
            cgroups: None,
            groups: None,
        })
        .collect();
    let writer = HistoryWriter::open(&folder, HistoryOptions::default()).unwrap();
    let name = writer.dump_folder().write(DumpReason::OomKill, &samples);
    let document = explained();
    assert_valid("grey.kills.v1", &document);
    let minute = &document["kills"][0]["last_minute"];
    assert_eq!(minute["dump"], name.unwrap());
    // Two runs do not agree on the time of boot to the millisecond.
    let near = |name: &str, expected: f64| {
        let value = minute[name].as_f64().unwrap();
        assert!(
            (value - expected).abs() <= expected / 20.0,
            "{name}: {value}"
        );
    };
    near("covers_seconds", 30.0);
    near("least_available_bytes", f64::from(100 << 20));
    near("stalled_seconds", 3.0);
    assert_eq!(minute["available_before_bytes"], 400_u64 << 20);
    assert_eq!(minute["swap_bytes"], Value::Null);
    let grew = minute["grew"][0]["growth_bytes"].as_u64().unwrap() >> 20;
    assert!((27..=30).contains(&grew), "{grew}");
    let shown = why(&kernel, with_logs(&kernel, KILLED, None), &[]).stdout;
    for told in [
        "in the last 30 s, available memory went",
        "builder (310) grew by",
    ] {
        assert!(shown.contains(told), "{shown}");
    }
    // Dumps of another time say nothing of it.
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|suffix| suffix == "dump") {
            std::fs::remove_file(path).unwrap();
        }
    }
    writer
        .dump_folder()
        .write(DumpReason::Pressure, &samples[320..])
        .unwrap();
    assert_eq!(explained()["kills"][0]["last_minute"], Value::Null);
}

#[test]
fn history_that_cannot_be_read_is_told_beside_the_account() {
    let kernel = host();
    let notes = |ran: Ran| {
        assert_eq!(ran.exit, 0, "{}", ran.stderr);
        ran.json()["notes"].to_string()
    };
    let both = || {
        let command = with_logs(&kernel, KILLED, None);
        let of_target = run(on(&kernel), &["why", "310", "--json"]);
        [notes(of_target), notes(why(&kernel, command, &["--json"]))]
    };
    // Where there is none, nothing is missing.
    assert!(both().iter().all(|notes| !notes.contains("history")));
    write_growth(&kernel.path("state/history"), jiff::Timestamp::now());
    make_newer(&kernel.path("state/history/tail"), 48);
    for notes in both() {
        assert!(notes.contains("newer version of greyctl"), "{notes}");
    }
    std::fs::remove_dir_all(kernel.path("state/history")).unwrap();
    kernel.write("state/history", "no folder");
    for notes in both() {
        assert!(notes.contains("history was not looked at: "), "{notes}");
    }
}
