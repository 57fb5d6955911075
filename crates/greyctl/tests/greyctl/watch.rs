//! `memory-watch` without a terminal: lines of the real binary on a fake
//! kernel.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use grey_fake_kernel::FakeKernel;

use crate::harness::{Ran, host, on, only_command, pasted, run};

fn watch(kernel: &FakeKernel, arguments: &[&str]) -> Ran {
    let mut all = vec!["memory-watch"];
    all.extend(arguments);
    run(on(kernel), &all)
}

#[test]
fn each_look_is_a_line_when_it_is_piped() {
    let ran = watch(&host(), &["--interval", "0.1", "--count", "3"]);
    assert_eq!((ran.exit, ran.stderr.as_str()), (0, ""));
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{}", ran.stdout);
    for line in lines {
        assert!(line.contains("used 580.0 MiB of 1000.0 MiB"), "{line}");
    }
}

#[test]
fn the_largest_processes_are_below_each_line_when_they_are_asked_for() {
    let arguments = ["--show-processes", "--top", "2", "--count", "1"];
    let ran = watch(&host(), &arguments);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{}", ran.stdout);
    assert!(lines[1].contains("PSS"), "{}", ran.stdout);
    assert!(lines[2].contains("101  ana"), "{}", ran.stdout);
}

#[test]
fn the_largest_groups_are_below_each_line_when_a_fold_a_number_or_a_filter_is_given() {
    let rows = |arguments: &[&str]| -> Vec<String> {
        let ran = watch(&host(), &[arguments, &["--count", "1"]].concat());
        assert_eq!(ran.exit, 0, "{}", ran.stderr);
        let rows = ran.stdout.lines().skip(1);
        let first = rows.map(|row| row.split_whitespace().next().unwrap().to_owned());
        first.collect()
    };
    assert_eq!(rows(&[]), [""; 0]);
    assert_eq!(rows(&["--top", "2"]), ["NAME", "nginx", "secret"]);
    assert_eq!(
        rows(&["--by", "unit", "--top", "2"]),
        ["NAME", "nginx.service", "(none)"]
    );
    assert_eq!(rows(&["--filter", "BUILD"]), ["NAME", "builder"]);
    let both = ["--by", "unit", "--show-processes", "--top", "1"];
    assert_eq!(rows(&both), ["NAME", "nginx.service", "PID", "101"]);
    let groups = ["--show-cgroups", "--filter", "build/web", "--top", "1"];
    assert_eq!(rows(&groups), ["CGROUP", "/build/web"]);
}

#[test]
fn with_no_clear_there_is_a_block_each_time() {
    let ran = watch(
        &host(),
        &["--no-clear", "--interval", "0.1", "--count", "2"],
    );
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    assert!(!ran.stdout.contains('\x1b'), "{}", ran.stdout);
    assert_eq!(ran.stdout.matches("file cache").count(), 2);
    assert_eq!(ran.stdout.matches("\n\n").count(), 2, "{}", ran.stdout);
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let kernel = host();
    let mut child = on(&kernel)
        .args(["memory-watch", "--interval", "0.1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    assert!(first.contains("used"), "{first}");
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it goes on though nobody reads");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let talk = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    assert_eq!((status.code(), talk.as_str()), (Some(0), ""));
}

#[test]
fn a_moment_of_history_is_printed_once() {
    let kernel = host();
    let recorded = run(
        on(&kernel),
        &["record", "--interval", "100ms", "--for", "300ms"],
    );
    assert_eq!(recorded.exit, 0, "{}", recorded.stderr);
    let ran = watch(&kernel, &["--at", "now", "--show-processes"]);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    assert_eq!(ran.stdout.matches("used 580.0 MiB").count(), 1);
    let builder = ran.stdout.lines().find(|line| line.ends_with("builder"));
    // RSS and PSS, as the recorder read them.
    let amounts: Vec<&str> = builder.unwrap().split("MiB").map(str::trim).collect();
    assert!(
        amounts[0].ends_with("12.0") && amounts[1] == "9.0",
        "{}",
        ran.stdout
    );
    let early = watch(&kernel, &["--at", "2001-01-01 00:00"]);
    assert_eq!(early.exit, 1);
    assert!(
        early.stderr.contains("is outside the history: it has from"),
        "{}",
        early.stderr
    );
}

#[test]
fn history_is_folded_by_what_it_has_and_not_by_what_it_lacks() {
    let kernel = host();
    let recorded = ["record", "--interval", "100ms", "--for", "300ms"];
    assert_eq!(run(on(&kernel), &recorded).exit, 0);
    for (fold, group) in [
        ("unit", "nginx.service"),
        ("container", "docker:"),
        ("cgroup", "/build/web"),
    ] {
        for command in ["memory-watch", "memory-diagnose"] {
            let ran = run(on(&kernel), &[command, "--at", "now", "--by", fold]);
            assert!(ran.stdout.contains(group), "{fold}: {}", ran.stdout);
        }
    }
    for (fold, lacks) in [("user", "users"), ("tree", "parents")] {
        for command in [
            &["memory-watch"][..],
            &["memory-diagnose"],
            &["memory-diagnose", "-t", "nginx.service"],
        ] {
            let arguments = [command, &["--at", "now", "--by", fold]].concat();
            let ran = run(on(&kernel), &arguments);
            assert_eq!((ran.exit, ran.stdout.as_str()), (2, ""), "{fold}");
            let says = format!("history does not keep the {lacks} of processes");
            assert!(ran.stderr.contains(&says), "{}", ran.stderr);
            let hinted = pasted(&only_command(&ran));
            assert!(hinted.stdout.contains("nginx.service"), "{}", hinted.stdout);
            let narrowed = !hinted.stdout.contains("(none)");
            assert_eq!(narrowed, arguments.contains(&"-t"), "{}", hinted.stdout);
        }
    }
}

#[test]
fn what_history_does_not_have_takes_no_column() {
    let kernel = host();
    let recorded = ["record", "--interval", "100ms", "--for", "300ms"];
    assert_eq!(run(on(&kernel), &recorded).exit, 0);
    for (list, titles) in [
        (
            "--show-processes",
            &["PID", "RSS", "PSS", "SWAP", "NAME"][..],
        ),
        ("--show-cgroups", &["CGROUP", "USAGE", "SWAP"]),
        (
            "--by=program",
            &["NAME", "COUNT", "RSS", "PSS", "SWAP", "OLDEST"],
        ),
    ] {
        let ran = watch(&kernel, &["--at", "now", list]);
        assert_eq!(ran.exit, 0, "{}", ran.stderr);
        let mut lines = ran.stdout.lines().skip(1).map(str::split_whitespace);
        let found: Vec<&str> = lines.next().unwrap().collect();
        // How something changes is known when there are some samples of it.
        let found: Vec<&str> = found
            .into_iter()
            .filter(|title| *title != "+/MIN")
            .collect();
        assert_eq!(found, titles, "{}", ran.stdout);
        // On a busy machine PSS of the largest is read later.
        let is_whole = lines.any(|mut values| values.all(|value| value != "-"));
        assert!(list.contains("cgroups") || is_whole, "{}", ran.stdout);
    }
    // Of the present, a dash says that it could not be read.
    let now = watch(&kernel, &["--show-processes", "--count", "1"]).stdout;
    assert!(now.contains("USER") && now.contains("USS"), "{now}");
}

#[test]
fn without_history_there_is_nothing_to_show_of_a_moment() {
    let ran = watch(&host(), &["--at", "10m ago"]);
    assert_eq!((ran.exit, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.contains("there is no history"), "{}", ran.stderr);
}

#[test]
fn a_directory_that_is_no_procfs_is_an_error_and_no_empty_screen() {
    let ran = watch(&FakeKernel::empty(), &["--count", "1"]);
    assert_eq!((ran.exit, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.contains("--procfs"), "{}", ran.stderr);
}

#[test]
fn a_moment_is_looked_at_once_and_that_may_be_said() {
    let kernel = host();
    assert_eq!(run(on(&kernel), &["record", "--for", "100ms"]).exit, 0);
    let at = |more: &[&str]| watch(&kernel, &[&["--at", "now"], more].concat());
    let one = at(&["--count", "1"]);
    assert_eq!(one.exit, 0, "{}", one.stderr);
    assert_eq!(one.stdout, at(&[]).stdout);
    let two = at(&["--count", "2"]);
    assert_eq!(two.exit, 2, "{}", two.stdout);
    assert!(two.stderr.contains("can only be 1"), "{}", two.stderr);
}

#[test]
fn options_that_make_no_sense_are_refused() {
    for arguments in [
        &["--interval", "0"][..],
        &["--interval", "often"],
        &["--count", "0"],
        &["--by", "mood"],
        &["--at", "now", "--count", "2"],
        &["--show-processes", "--show-cgroups"],
    ] {
        let ran = watch(&host(), arguments);
        assert_eq!(ran.exit, 2, "{arguments:?}: {}", ran.stdout);
    }
}
