//! `memory-diagnose --detect-leaks` on a fake kernel, where nothing grows. That
//! what grows is found is in `tests/real_leaks.rs`.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{host, on, run, run_at};

/// The longest that a state is waited for.
const BOUND: Duration = Duration::from_secs(60);

const QUICK: &[&str] = &[
    "memory-diagnose",
    "--detect-leaks",
    "--for",
    "300ms",
    "--interval",
    "100ms",
];

fn with(more: &[&'static str]) -> Vec<&'static str> {
    [QUICK, more].concat()
}

#[test]
fn a_window_too_short_gives_no_verdict_and_says_how_long_it_takes() {
    let ran = run(on(&host()), &with(&["--json"]));
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("it takes 30s"), "{}", ran.stderr);
    let document = ran.json();
    assert!(document["notes"].to_string().contains("it takes 30s"));
    assert_eq!(document["leak_window"]["needs_seconds"], 30.0);
    for leak in document["leaks"].as_array().unwrap() {
        assert_eq!(leak["verdict"], "too-short");
        assert_eq!(leak["needs_seconds"], 30.0);
        assert_eq!(leak["confidence"], Value::Null);
        assert_eq!(leak["slope_bytes_per_second"], Value::Null);
    }
}

#[test]
fn an_interval_longer_than_the_window_is_refused_with_a_window_that_is_long_enough() {
    let kernel = host();
    let looks = ["memory-diagnose", "--detect-leaks", "--json"];
    for (given, told) in [
        (
            &["--for", "10s", "--interval", "30s"][..],
            "--for 210s --interval 30s",
        ),
        (
            &["--for", "2s", "--interval", "2500ms", "-t", "311"],
            "--for 30s --interval 2500ms --target",
        ),
        // What nobody says is 5s.
        (&["--for", "2s"], "--for 35s --interval 5s"),
    ] {
        let ran = run(on(&kernel), &[&looks[..], given].concat());
        assert_eq!(ran.exit, 2, "{}", ran.stderr);
        let says = format!("greyctl memory-diagnose --detect-leaks {told}");
        for part in ["a single reading in", &says] {
            assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
        }
    }
}

#[test]
fn every_process_with_memory_of_its_own_is_judged() {
    let document = run(on(&host()), &with(&["--json"])).json();
    let judged: Vec<u64> = document["leaks"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|leak| leak["pid"].as_u64())
        .collect();
    // Not a kernel thread, a zombie, or one that is gone.
    let expected = [1, 100, 101, 200, 210, 230, 300, 301, 310, 311, 320, 330];
    assert_eq!(judged, expected);
    let nginx = &document["leaks"][1];
    assert_eq!(nginx["name"], "nginx");
    assert_eq!(nginx["group"], "nginx.service");
    assert_eq!(nginx["cgroup"], "/system.slice/nginx.service");
    assert_eq!(nginx["growth_bytes"], 0);
    let groups = document["leak_groups"].as_array().unwrap();
    let of = |name: &str| groups.iter().find(|group| group["group"] == name).unwrap();
    assert_eq!(of("nginx.service")["processes"], 2);
    assert_eq!(of("nginx.service")["kind"], "unit");
    assert_eq!(of("builder")["kind"], "program");
    assert!(groups.iter().any(|group| group["kind"] == "container"));
    let cgroups = document["leak_cgroups"].as_array().unwrap();
    let web: Vec<&Value> = cgroups
        .iter()
        .filter(|leak| leak["cgroup"] == "/build/web")
        .map(|leak| &leak["of"])
        .collect();
    assert_eq!(
        web,
        ["anonymous", "shmem", "slab", "slab-reclaimable", "kernel"]
    );
    let dying = document["dying_cgroups"].as_array().unwrap();
    assert!(dying.iter().any(|entry| entry["count"] == 3));
}

#[test]
fn only_the_target_is_watched() {
    let document = run(on(&host()), &with(&["--json", "-t", "/build"])).json();
    let pids: Vec<u64> = document["leaks"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|leak| leak["pid"].as_u64())
        .collect();
    assert_eq!(pids, [310, 311, 320, 330]);
    let cgroups = document["leak_cgroups"].as_array().unwrap();
    for leak in cgroups {
        assert!(leak["cgroup"].as_str().unwrap().starts_with("/build"));
    }
    let process = run(on(&host()), &with(&["--json", "-t", "311"])).json();
    assert_eq!(process["leaks"].as_array().unwrap().len(), 1);
    assert_eq!(process["leak_cgroups"], Value::Array(Vec::new()));
}

#[test]
fn who_does_not_look_for_leaks_is_told_nothing_of_them() {
    let document = run(on(&host()), &["memory-diagnose", "--json"]).json();
    for key in ["leaks", "leak_window", "leak_groups", "leak_cgroups"] {
        assert!(document.as_object().unwrap().contains_key(key), "{key}");
        assert_eq!(document[key], Value::Null, "{key}");
    }
    for option in ["--for", "--interval"] {
        let ran = run(on(&host()), &["memory-diagnose", option, "5s"]);
        assert_eq!(ran.exit, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains("--detect-leaks"), "{}", ran.stderr);
    }
    let ran = run(
        on(&host()),
        &["memory-diagnose", "--detect-leaks", "--interval", "1ms"],
    );
    assert_eq!(ran.exit, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("100 ms"), "{}", ran.stderr);
}

#[test]
fn the_verdicts_fit_sixty_columns() {
    for arguments in [with(&[]), with(&["--verbose"])] {
        let ran = run_at(on(&host()), 60, &arguments);
        let leaks = ran.stdout.split("\nLeaks").nth(1).unwrap();
        assert!(leaks.contains("too short"), "{leaks}");
        for line in ran.stdout.lines() {
            assert!(line.chars().count() <= 60, "`{line}`");
        }
    }
}

#[test]
fn an_interrupt_ends_the_window_and_what_is_there_is_judged() {
    let kernel = host();
    let child = on(&kernel)
        .args(["memory-diagnose", "--json", "--detect-leaks"])
        .args(["--for", "1h", "--interval", "5s"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until_it_handles_interrupts(&child);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ended = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(0), "{stderr}");
    let document: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(document["leak_window"]["ended_early"], true);
    let notes = document["notes"].to_string();
    assert!(
        notes.contains("a single reading tells no change"),
        "{notes}"
    );
    assert_eq!(document["leak_window"]["asked_seconds"], 3600.0);
    assert!(!document["leaks"].as_array().unwrap().is_empty());
}

/// The kernel says which signals a process catches.
pub(crate) fn wait_until_it_handles_interrupts(child: &Child) {
    let path = format!("/proc/{}/status", child.id());
    let started = Instant::now();
    while started.elapsed() < BOUND {
        let status = std::fs::read_to_string(&path).unwrap();
        let caught = status
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:"))
            .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        // SIGINT is signal 2, the second bit.
        if caught.is_some_and(|mask| mask & 2 != 0) {
            return;
        }
        std::thread::yield_now();
    }
    panic!("it never watched for the interrupt");
}
