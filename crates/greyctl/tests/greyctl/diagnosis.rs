//! `memory-diagnose` on a host that has everything, and on hosts that lack
//! one thing each.

use serde_json::Value;

use crate::harness::{forbid, host, on, run, run_at, unprivileged_on};

#[test]
fn the_report_of_a_full_host_fits_eighty_columns() {
    let ran = run_at(on(&host()), 80, &["memory-diagnose"]);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    for line in ran.stdout.lines() {
        assert!(line.chars().count() <= 80, "`{line}`");
    }
    insta::assert_snapshot!("diagnosis_80", ran.timeless());
}

#[test]
fn no_line_of_any_report_is_wider_than_sixty_columns() {
    let poor = host()
        .without("proc/pressure")
        .without("sys/kernel/mm/ksm")
        .with_v1_cgroups();
    for (kernel, arguments) in [
        (host(), &["memory-diagnose"][..]),
        (host(), &["memory-diagnose", "--verbose"]),
        (host(), &["memory-diagnose", "--target", "310"]),
        (host(), &["memory-diagnose", "--target", "/build"]),
        (poor, &["memory-diagnose"]),
    ] {
        let ran = run_at(on(&kernel), 60, arguments);
        assert_eq!(ran.exit, 0, "{}", ran.stderr);
        let wide: Vec<&str> = ran
            .stdout
            .lines()
            .filter(|line| line.chars().count() > 60)
            .collect();
        assert!(wide.is_empty(), "{arguments:?}: {wide:#?}");
    }
}

#[test]
fn a_wide_verbose_report_shows_every_process_and_cgroup() {
    let ran = run_at(on(&host()), 160, &["memory-diagnose", "--verbose"]);
    insta::assert_snapshot!("diagnosis_verbose_160", ran.timeless());
}

#[test]
fn a_target_has_its_own_lines() {
    let process = run_at(on(&host()), 100, &["memory-diagnose", "--target", "310"]);
    let cgroup = run_at(on(&host()), 100, &["memory-diagnose", "--target", "/build"]);
    insta::assert_snapshot!(
        "diagnosis_targets",
        format!("{}\n\n{}", process.timeless(), cgroup.timeless())
    );
}

#[test]
fn the_breakdown_sums_to_the_total_and_has_a_residual() {
    let document = run(on(&host()), &["memory-diagnose", "--json"]).json();
    let rows = document["breakdown"].as_array().unwrap();
    let sum: i64 = rows.iter().map(|row| row["bytes"].as_i64().unwrap()).sum();
    assert_eq!(Some(sum), document["system"]["total_bytes"].as_i64());
    assert_eq!(
        rows.iter().filter(|row| row["name"] == "residual").count(),
        1
    );
}

#[test]
fn a_list_that_is_cut_to_nothing_is_not_empty() {
    let run = run(on(&host()), &["memory-diagnose", "--top", "0"]);
    let heading = run
        .stdout
        .lines()
        .find(|line| line.starts_with("Processes"))
        .unwrap();
    assert!(heading.starts_with("Processes  0 of "), "{heading}");
}

#[test]
fn unreadable_processes_are_counted_and_null() {
    let kernel = host();
    forbid(&kernel.path("proc/310/smaps_rollup"));
    let before = run(unprivileged_on(&host()), &["memory-diagnose", "--json"]).json();
    let document = run(unprivileged_on(&kernel), &["memory-diagnose", "--json"]).json();
    assert_eq!(
        document["unreadable_processes"].as_u64(),
        before["unreadable_processes"]
            .as_u64()
            .map(|count| count + 1)
    );
    let process = by_pid(&document, 310);
    assert_eq!(process["pss_bytes"], Value::Null);
    assert_eq!(process["uss_bytes"], Value::Null);
    assert!(process["rss_bytes"].is_u64());
}

#[test]
fn processes_that_procfs_hides_are_told_and_not_counted_as_none() {
    // Mounted with hidepid=2, /proc has no entry for process 1.
    let kernel = host().without("proc/1");
    let document = run(on(&kernel), &["memory-diagnose", "--json"]).json();
    assert_eq!(document["unreadable_processes"], Value::Null);
    assert!(document["notes"].to_string().contains("hidepid"));
    let seen = run(on(&host()), &["memory-diagnose", "--json"]).json();
    assert!(seen["unreadable_processes"].is_u64());
    assert!(!seen["notes"].to_string().contains("hidepid"));
    let one = run(on(&kernel), &["memory-diagnose", "--json", "-t", "310"]).json();
    assert!(one["unreadable_processes"].is_u64());
    for target in ["1", "name:init", "nobody-at-all"] {
        let ran = run(on(&kernel), &["memory-diagnose", "-t", target]);
        assert_eq!(ran.exit, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains("hidepid"), "{}", ran.stderr);
        let ran = run(on(&host()), &["memory-diagnose", "-t", "nobody-at-all"]);
        assert!(!ran.stderr.contains("hidepid"), "{}", ran.stderr);
    }
}

#[test]
fn a_limit_that_is_missing_is_null_and_no_limit_is_a_word() {
    let kernel = host().without("cgroup/build/memory.max");
    let document = run(on(&kernel), &["memory-diagnose", "--json"]).json();
    let cgroups = document["cgroups"].as_array().unwrap();
    let build = cgroups
        .iter()
        .find(|group| group["path"] == "/build")
        .unwrap();
    assert_eq!(build["max_bytes"], Value::Null);
    assert!(
        cgroups.iter().any(|group| group["max_bytes"] == "max"),
        "{cgroups:?}"
    );
}

#[test]
fn a_machine_without_psi_ksm_and_v2_is_diagnosed_and_says_what_is_missing() {
    let kernel = host()
        .without("proc/pressure")
        .without("sys/kernel/mm/ksm")
        .with_v1_cgroups();
    let ran = run(on(&kernel), &["memory-diagnose", "--json"]);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    let document = ran.json();
    assert_eq!(document["pressure"], Value::Null);
    assert_eq!(document["ksm"], Value::Null);
    assert_eq!(document["cgroups"], Value::Array(Vec::new()));
    let notes = document["notes"].to_string();
    for word in ["PSI", "KSM", "cgroup v1"] {
        assert!(notes.contains(word), "{word} in {notes}");
    }
    let text = run_at(on(&kernel), 80, &["memory-diagnose"]);
    insta::assert_snapshot!("diagnosis_of_a_poor_host", text.timeless());
}

#[test]
fn systemds_own_parameter_is_named_only_where_systemd_runs() {
    let notes =
        |kernel| run(on(&kernel), &["memory-diagnose", "--json"]).json()["notes"].to_string();
    let with = notes(host().with_v1_cgroups());
    assert!(
        with.contains("systemd.unified_cgroup_hierarchy=1"),
        "{with}"
    );
    let kernel = host().with_v1_cgroups();
    std::fs::remove_dir_all(kernel.systemd()).unwrap();
    let without = notes(kernel);
    assert!(!without.contains("systemd"), "{without}");
    assert!(without.contains("mount cgroup2"), "{without}");
}

#[test]
fn a_name_with_an_escape_sequence_never_reaches_the_terminal() {
    let kernel = host();
    let stat = std::fs::read(kernel.path("proc/310/stat")).unwrap();
    let end = stat.iter().rposition(|byte| *byte == b')').unwrap();
    let evil = [&b"310 (\x1b[31mevil"[..], &stat[end..]].concat();
    let kernel = kernel.with("proc/310/stat", evil);
    let ran = run(on(&kernel), &["memory-diagnose", "--verbose"]);
    assert!(!ran.stdout.contains('\x1b'), "{}", ran.stdout);
    assert!(ran.stdout.contains("\\x1b[31mevil"), "{}", ran.stdout);
}

#[test]
fn a_target_that_does_not_exist_is_a_usage_error() {
    for target in [
        "99999",
        "name:nobody-at-all",
        "/no/such/group",
        "no.service",
    ] {
        let ran = run(on(&host()), &["memory-diagnose", "--target", target]);
        assert_eq!(ran.exit, 2, "{target}: {}", ran.stderr);
        assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
        assert_eq!(ran.stdout, "");
    }
}

#[test]
fn a_name_that_matches_many_shows_them_and_enforces_none() {
    let arguments = ["memory-diagnose", "--target", "nginx", "--json"];
    let ran = run(on(&host()), &arguments);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    let document = ran.json();
    let pids: Vec<&Value> = document["processes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|process| &process["pid"])
        .collect();
    assert_eq!(pids, [100, 101]);
    assert_eq!(document["targets"].as_array().unwrap().len(), 2);
    assert!(document["notes"].to_string().contains("all are shown"));
    let arguments = ["memory-enforce", "-t", "nginx", "--oom-score-adj", "5"];
    let ran = run(on(&host()), &arguments);
    assert_eq!(ran.exit, 2, "{}", ran.stderr);
    for pid in ["100", "101"] {
        assert!(ran.stderr.contains(pid), "{}", ran.stderr);
    }
    assert!(ran.stderr.contains("hint: "), "{}", ran.stderr);
}

fn by_pid(document: &Value, pid: u64) -> &Value {
    document["processes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|process| process["pid"] == pid)
        .unwrap()
}

#[test]
fn a_release_that_is_missing_is_null_and_a_huge_one_is_cut() {
    let kernel = host().without("proc/sys/kernel/osrelease");
    let ran = run(on(&kernel), &["memory-diagnose", "--json"]);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    assert_eq!(ran.json()["host"]["kernel"], Value::Null);
    let ran = run(on(&kernel), &["memory-diagnose"]);
    assert!(ran.stdout.contains("Linux -,"), "{}", ran.stdout);
    let ran = run(on(&kernel), &["memory-enforce", "--simulation"]);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    let kernel = host().with("proc/sys/kernel/osrelease", vec![b'\x01'; 1 << 20]);
    let ran = run(on(&kernel), &["memory-diagnose", "--json"]);
    let release = ran.json()["host"]["kernel"].as_str().unwrap().len();
    assert_eq!(release, 64 * "\\x01".len());
}

#[test]
fn root_is_not_told_to_become_root() {
    let kernel = host().without("proc/1");
    for arguments in [&["memory-diagnose"][..], &["memory-diagnose", "-t", "1"]] {
        let ran = run(on(&kernel), arguments);
        let told = format!("{}{}", ran.stdout, ran.stderr);
        assert!(told.contains("hidepid"), "{told}");
        let root = rustix::process::geteuid().is_root();
        let sent = told.contains("run as root") || told.contains("sudo");
        assert_eq!(sent, !root, "{told}");
    }
}

#[test]
fn a_narrow_terminal_gets_no_broken_tables() {
    let kernel = host();
    for columns in [24, 25, 32, 40, 55] {
        for arguments in [
            &["memory-diagnose"][..],
            &["memory-diagnose", "-v"],
            &["memory-diagnose", "-t", "310", "-t", "/build"],
        ] {
            let ran = run_at(on(&kernel), columns, arguments);
            let most = usize::from(columns);
            for line in ran.stdout.lines() {
                // A word that is longer than the terminal stands alone.
                let wide = unicode_width::UnicodeWidthStr::width(line) > most;
                let words = line.split_whitespace().count();
                assert!(!wide || words == 1, "{columns} {arguments:?}: `{line}`");
            }
        }
    }
}

#[test]
fn the_sum_of_a_target_has_its_holes_told() {
    let kernel = host();
    forbid(&kernel.path("proc/311/smaps_rollup"));
    let ran = run(
        unprivileged_on(&kernel),
        &["memory-diagnose", "-t", "/build/web"],
    );
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    let sums = ran
        .stdout
        .lines()
        .find(|line| line.contains("RSS of anonymous"))
        .unwrap();
    assert!(!sums.contains("PSS -"), "{sums}");
    assert!(sums.contains("could not be read"), "{sums}");
}

#[test]
fn a_target_that_is_named_twice_is_shown_once() {
    let ran = run(
        on(&host()),
        &["memory-diagnose", "-t", "/build", "-t", "/build", "--json"],
    );
    assert_eq!(ran.json()["targets"].as_array().unwrap().len(), 1);
}
