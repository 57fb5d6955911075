//! `memory-diagnose --cold`: what the kernel tells by itself, what writes and
//! when, and why nothing serves where nothing does.

use grey_fake_kernel::{FakeCgroup, FakeKernel, FakeProcess};
use serde_json::Value;

use crate::harness::{contents, greyctl, host, is_taken, on, only_command, run, run_at};

/// Ages of `/build/web`, the youngest 20 s ago.
const AGES: &str = "memcg 9 /build/web\n node 0\n 1 900000 5120 0\n 2 400000 0 256\n \
                    3 20000 10240 0\n";

fn candidate<'document>(document: &'document Value, method: &str) -> &'document Value {
    let all = document["cold"][0]["candidates"].as_array().unwrap();
    all.iter().find(|one| one["method"] == method).unwrap()
}

#[test]
fn without_a_window_nothing_is_written() {
    let kernel = host()
        .with("sys/kernel/mm/lru_gen/enabled", "0x0007\n")
        .with("sys/kernel/debug/lru_gen", AGES)
        .with("proc/310/clear_refs", "");
    let before = contents(&kernel.path("."));
    let ran = run(
        on(&kernel),
        &["memory-diagnose", "--cold", "--json", "-t", "/build/web"],
    );
    assert_eq!((ran.exit, ran.stderr.as_str()), (0, ""));
    assert_eq!(contents(&kernel.path(".")), before);
    let document = ran.json();
    let cold = &document["cold"][0];
    assert_eq!(cold["method"], "generation-ages");
    assert_eq!(cold["disturbs"], Value::Null);
    assert_eq!(cold["cost"]["writes"], 0);
    assert_eq!(cold["blind_seconds"], 20.0);
    let seconds: Vec<&Value> = (0..3)
        .map(|i| &cold["windows"][i]["window_seconds"])
        .collect();
    assert_eq!(seconds, [60, 300, 900]);
    // One MiB was last seen up to 400 s ago, 20 MiB up to 900 s.
    assert_eq!(cold["windows"][1]["cold_bytes"], 20 << 20);
    assert_eq!(cold["windows"][1]["uncertainty"]["at_most_bytes"], 21 << 20);
    assert_eq!(candidate(&document, "generation-ages")["used"], true);
}

#[test]
fn ages_of_a_process_are_told_only_where_its_cgroup_holds_nobody_else() {
    let ages = "memcg 9 /solo\n node 0\n 1 900000 5120 0\n 2 400000 0 0\n 3 20000 10240 0\n";
    let alone = host()
        .with_cgroup(&FakeCgroup::new("solo", 60 << 20, &[400]))
        .with_process(&FakeProcess::new(400, 1, "master", "/solo"))
        .with("sys/kernel/mm/lru_gen/enabled", "0x0007\n")
        .with("sys/kernel/debug/lru_gen", ages);
    let method = |kernel: &FakeKernel| {
        let arguments = &["memory-diagnose", "--cold", "--json", "-t", "400"];
        run(on(kernel), arguments).json()["cold"][0]["method"].clone()
    };
    assert_eq!(method(&alone), "generation-ages");
    // A child of its own: its pages are in the same ages.
    let with_child = alone
        .with_process(&FakeProcess::new(401, 400, "worker", "/solo"))
        .with("cgroup/solo/cgroup.procs", "400\n401\n");
    assert_eq!(method(&with_child), Value::Null);
}

#[test]
fn where_nothing_serves_every_method_says_why() {
    let kernel = host();
    let ran = run(
        on(&kernel),
        &["memory-diagnose", "--cold", "--json", "-t", "310"],
    );
    let command = only_command(&ran);
    assert!(
        command.contains("memory-diagnose --cold --for 60s --target 310 "),
        "{command}"
    );
    assert!(is_taken(&command), "{command}");
    let document = ran.json();
    let cold = &document["cold"][0];
    assert_eq!(cold["method"], Value::Null);
    assert_eq!(cold["counted_bytes"], Value::Null);
    assert_eq!(cold["candidates"].as_array().unwrap().len(), 6);
    for method in [
        "generation-ages",
        "cleared-references",
        "damon",
        "idle-pages",
    ] {
        let reason = candidate(&document, method)["reason"].as_str().unwrap();
        assert!(!reason.is_empty(), "{method}");
    }
    let text = run_at(on(&host()), 80, &["memory-diagnose", "--cold", "-t", "310"]).stdout;
    assert!(text.contains("Cold memory of 310  not known"), "{text}");
}

#[test]
fn generations_that_are_turned_off_are_told_so() {
    let kernel = host()
        .with("sys/kernel/mm/lru_gen/enabled", "0x0000\n")
        .with("sys/kernel/debug/lru_gen", AGES);
    let arguments = &["memory-diagnose", "--cold", "--json", "-t", "/build/web"];
    let document = run(on(&kernel), arguments).json();
    let reason = candidate(&document, "generation-ages")["reason"]
        .as_str()
        .unwrap();
    assert!(reason.contains("turned off"), "{reason}");
}

#[test]
fn a_window_takes_the_marks_of_use_of_the_target_away() {
    let kernel = host()
        .with("proc/310/clear_refs", "")
        .with("proc/311/clear_refs", "");
    let arguments = &[
        "memory-diagnose",
        "--cold",
        "--for",
        "100ms",
        "--json",
        "-t",
        "310",
    ];
    let ran = run(on(&kernel), arguments);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    let written =
        |pid: u32| std::fs::read_to_string(kernel.path(format!("proc/{pid}/clear_refs"))).unwrap();
    assert_eq!(
        (written(310), written(311)),
        ("1\n".to_owned(), String::new())
    );
    let document = ran.json();
    let cold = &document["cold"][0];
    assert_eq!(cold["method"], "cleared-references");
    // The fake process has all its pages marked.
    assert_eq!(cold["windows"][0]["cold_bytes"], 0);
    assert_eq!(cold["counted_bytes"], 12 << 20);
    assert_eq!(cold["cost"]["pages_walked"], 2 * (12 << 20) / 4096);
    assert!(cold["disturbs"].as_str().unwrap().contains("marks of use"));
}

#[test]
fn what_is_cold_is_of_a_target_and_not_looked_for_beside_leaks() {
    for arguments in [
        &["memory-diagnose", "--cold"][..],
        &["memory-diagnose", "--for", "1s"],
        &["memory-diagnose", "--cold", "--detect-leaks", "-t", "1"],
    ] {
        assert_eq!(run(greyctl(), arguments).exit, 2, "{arguments:?}");
    }
}

#[test]
fn a_reclaim_is_told_what_of_it_is_cold() {
    let kernel = host()
        .with("sys/kernel/mm/lru_gen/enabled", "0x0007\n")
        .with("sys/kernel/debug/lru_gen", AGES);
    let arguments = &[
        "memory-enforce",
        "-n",
        "-t",
        "/build/web",
        "--reclaim",
        "40M",
        "--json",
    ];
    let document = run(on(&kernel), arguments).json();
    let text = document.to_string();
    assert!(
        text.contains("20.0 MiB was not seen in use for 5 minutes"),
        "{text}"
    );
    assert!(
        text.contains("only 20.0 MiB of 40.0 MiB was not seen in use"),
        "{text}"
    );
}
