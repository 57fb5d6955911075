//! The command line itself: help, usage errors, environment, colours, pipes.

use std::io::Read as _;
use std::process::Stdio;

use crate::harness::{as_nobody, greyctl, host, on, run, run_at};

#[test]
fn help_describes_every_command() {
    let mut text = String::new();
    for arguments in [
        &["--help"][..],
        &["memory-diagnose", "-h"],
        &["memory-watch", "-h"],
        &["memory-enforce", "-h"],
        &["rollback", "-h"],
        &["journal", "-h"],
        &["diff", "-h"],
        &["record", "-h"],
        &["history", "-h"],
        &["why", "-h"],
        &["doctor", "-h"],
    ] {
        let ran = run_at(greyctl(), 80, arguments);
        assert_eq!(ran.exit, 0, "{}", ran.stderr);
        text.push_str(&format!(
            "$ greyctl {}\n{}\n",
            arguments.join(" "),
            ran.stdout
        ));
    }
    insta::assert_snapshot!("help", text);
}

#[test]
fn what_is_no_command_or_option_is_a_usage_error() {
    for arguments in [
        &[][..],
        &["memory-destroy"],
        &["memory-diagnose", "--loud"],
        &["memory-diagnose", "--top", "many"],
        &["memory-enforce", "--reclaim", "lots", "--target", "1"],
        &[
            "memory-enforce",
            "--limit",
            "99999999999999999999G",
            "--target",
            "1",
        ],
        &["memory-enforce", "--for", "0s", "--drop-caches"],
        &["memory-enforce", "--for", "31d", "--drop-caches"],
        &["memory-enforce", "--oom-score-adj", "2000", "--target", "1"],
        &["memory-enforce", "--drop-caches", "4"],
        &["memory-enforce", "--target", ""],
        &["rollback", "all"],
        &["man", "no-such-command"],
        &["man", "kernel-write"],
    ] {
        let ran = run(greyctl(), arguments);
        assert_eq!(ran.exit, 2, "{arguments:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{arguments:?}");
        assert!(!ran.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_bad_value_is_told_with_its_option_and_how_to_write_it() {
    let size = "hint: sizes are written as 512M";
    let duration = "hint: durations are written as 45s";
    let target = "hint: a target is a pid";
    for (option, value, hint) in [
        ("--reclaim", "-5", size),
        ("--high", "-5M", size),
        ("--limit", "-5", size),
        ("--limit", "lots", size),
        ("--rlimit-data", "-1", size),
        ("--for", "-5m", duration),
        ("--for", "10", duration),
        ("--for", "31d", duration),
        ("--observe", "-1s", duration),
        ("--target", "", target),
        ("--target", "pid:-5", target),
    ] {
        let ran = run(greyctl(), &["memory-enforce", option, value]);
        assert_eq!(ran.exit, 2, "{option} {value}: {}", ran.stderr);
        let first = ran.stderr.lines().next().unwrap();
        assert!(first.contains(option), "{option} {value}: {first}");
        assert!(first.contains(value), "{option} {value}: {first}");
        assert!(
            ran.stderr.contains(hint),
            "{option} {value}: {}",
            ran.stderr
        );
    }
}

#[test]
fn an_option_that_follows_an_option_is_not_its_value() {
    let kernel = host();
    for (command, option, next) in [
        ("memory-diagnose", "--target", "--json"),
        ("memory-diagnose", "-t", "-v"),
        ("memory-diagnose", "--target", "--procfs"),
        ("memory-diagnose", "--target", "--jsno"),
        ("memory-enforce", "--target", "--simulation"),
        ("memory-enforce", "-t", "-n"),
        ("memory-enforce", "--reclaim", "--json"),
        ("memory-enforce", "--high", "--json"),
        ("memory-enforce", "--limit", "-n"),
        ("memory-enforce", "--rlimit-data", "--json"),
        ("memory-enforce", "--for", "--json"),
        ("memory-enforce", "--observe", "--json"),
        ("memory-enforce", "--reason", "--json"),
        ("memory-diagnose", "--state-dir", "--json"),
    ] {
        let ran = run(on(&kernel), &[command, option, next]);
        assert_eq!(ran.exit, 2, "{option} {next}: {}", ran.stderr);
        if next == "--json" {
            assert_eq!(ran.json()["schema"], "grey.error/v1", "{option} {next}");
        } else {
            assert_eq!(ran.stdout, "", "{option} {next}");
        }
        let first = ran.stderr.lines().next().unwrap();
        assert!(
            first.starts_with("error: a value is required for '-"),
            "{option} {next}: {first}"
        );
    }
    let named = run(on(&kernel), &["memory-diagnose", "-t", "name:--json"]);
    assert!(named.stderr.contains("`--json`"), "{}", named.stderr);
}

#[test]
fn a_negative_count_is_told_with_its_option() {
    for (arguments, name) in [
        (&["memory-diagnose", "--top", "-5"][..], "--top <N>"),
        (&["rollback", "-5"], "[ID]"),
    ] {
        let ran = run(greyctl(), arguments);
        assert_eq!(ran.exit, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains(name), "{}", ran.stderr);
    }
}

#[test]
fn a_target_that_begins_with_a_dash_is_looked_for() {
    let kernel = host();
    for target in ["-5", "-bash"] {
        let ran = run(on(&kernel), &["memory-diagnose", "-t", target]);
        assert_eq!(ran.exit, 2, "{}", ran.stderr);
        let first = ran.stderr.lines().next().unwrap();
        assert!(first.contains(&format!("`{target}`")), "{first}");
        assert!(ran.stderr.contains("hint: "), "{}", ran.stderr);
    }
    let ran = run(on(&kernel), &["memory-diagnose", "-t", "-.slice"]);
    assert!(
        !ran.stderr.contains("unexpected argument"),
        "{}",
        ran.stderr
    );
}

#[test]
fn each_prefix_can_be_given_in_the_environment() {
    let kernel = host();
    let mut command = greyctl();
    command
        .env("GREY_PROCFS", kernel.procfs())
        .env("GREY_SYSFS", kernel.sysfs())
        .env("GREY_CGROUPFS", kernel.cgroupfs());
    let by_environment = run(command, &["memory-diagnose", "--json"]).json();
    let by_option = run(on(&kernel), &["memory-diagnose", "--json"]).json();
    for key in ["meminfo", "ksm", "cgroups"] {
        assert_eq!(by_environment[key], by_option[key], "{key}");
    }
    assert_ne!(by_option["cgroups"].as_array().unwrap().len(), 0);
}

#[test]
fn cgroups_are_looked_for_below_the_given_sysfs() {
    let kernel = host();
    std::fs::create_dir_all(kernel.path("sys/fs")).unwrap();
    std::fs::rename(kernel.cgroupfs(), kernel.path("sys/fs/cgroup")).unwrap();
    let mut command = greyctl();
    command.env("GREY_PROCFS", kernel.procfs());
    command.env("GREY_SYSFS", kernel.sysfs());
    let ran = run(command, &["memory-diagnose", "--json"]);
    assert_eq!(ran.json()["host"]["cgroup_mode"], "v2");
}

#[test]
fn an_option_wins_over_the_environment() {
    let kernel = host();
    let mut command = on(&kernel);
    command.env("GREY_PROCFS", "/nonexistent");
    assert_eq!(run(command, &["memory-diagnose"]).exit, 0);
}

#[test]
fn the_state_directory_can_be_given_in_the_environment() {
    let kernel = host();
    let state = kernel.path("elsewhere");
    std::fs::write(&state, "a file, not a directory").unwrap();
    let mut command = greyctl();
    command.env("GREY_PROCFS", kernel.procfs());
    command.env("GREY_STATE_DIR", &state);
    let ran = run(command, &["journal"]);
    assert_ne!(ran.exit, 0);
    assert!(ran.stderr.contains("elsewhere"), "{}", ran.stderr);
}

#[test]
fn what_is_set_to_nothing_in_the_environment_is_not_set() {
    let kernel = host();
    let mut given = greyctl();
    given.arg("--procfs").arg(kernel.procfs());
    let empty = || {
        let mut command = as_nobody(&kernel, &given);
        command
            .env_remove("GREY_PROCFS")
            .env("GREY_SYSFS", "")
            .env("GREY_CGROUPFS", "")
            .env("GREY_STATE_DIR", "")
            .env("XDG_STATE_HOME", "/nonexistent/of xdg");
        command
    };
    let history = run(empty(), &["history"]);
    let of_xdg = "/nonexistent/of xdg/grey-optimizer/history";
    assert!(history.stderr.contains(of_xdg), "{}", history.stderr);
    // The command of its hint is one in the same environment.
    assert!(
        history.stderr.contains("greyctl record"),
        "{}",
        history.stderr
    );
    assert_eq!(run(empty(), &["memory-diagnose"]).exit, 0);
    // Who types nothing has made a mistake.
    let typed = run(empty(), &["history", "--state-dir", ""]);
    assert_eq!(typed.exit, 2, "{}", typed.stderr);
}

#[test]
fn colours_are_for_terminals_unless_they_are_asked_for() {
    let kernel = host();
    let plain = run(on(&kernel), &["memory-diagnose"]);
    assert!(!plain.stdout.contains('\x1b'));
    let coloured = run(on(&kernel), &["memory-diagnose", "--color", "always"]);
    assert!(coloured.stdout.contains("\x1b["));
}

#[test]
fn no_color_is_honoured_on_a_terminal() {
    let kernel = host();
    let on_terminal = |no_color: &str| {
        let mut command = std::process::Command::new("script");
        let line = format!(
            "{} --procfs {} --sysfs {} --cgroupfs {} memory-diagnose",
            env!("CARGO_BIN_EXE_greyctl"),
            kernel.procfs().display(),
            kernel.sysfs().display(),
            kernel.cgroupfs().display(),
        );
        command
            .args(["-q", "-e", "-c", &line, "/dev/null"])
            .env_remove("NO_COLOR")
            .env("TERM", "xterm-256color")
            .stdin(Stdio::null());
        if !no_color.is_empty() {
            command.env("NO_COLOR", no_color);
        }
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert!(on_terminal("").contains("\x1b["), "no terminal here");
    assert!(!on_terminal("1").contains('\x1b'));
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let kernel = host();
    for arguments in [
        &["memory-diagnose", "--verbose"][..],
        &["memory-diagnose", "--json"],
    ] {
        let mut child = on(&kernel)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut talk = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut talk)
            .unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{talk}");
        assert_eq!(talk, "");
    }
}

#[test]
fn a_full_disk_behind_stdout_is_an_error() {
    let kernel = host();
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = on(&kernel)
        .args(["memory-diagnose", "--json"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("standard output"));
}

#[test]
fn without_procfs_the_error_says_where_it_was_looked_for() {
    let ran = run(greyctl(), &["--procfs", "/nonexistent", "memory-diagnose"]);
    assert_eq!(ran.exit, 1);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("/nonexistent"), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: "), "{}", ran.stderr);
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(greyctl(), &["completions", shell]);
        assert!(script.stdout.contains("memory-enforce"), "{shell}");
        assert!(!script.stdout.contains("\x1b"), "{shell}");
    }
    let page = run(greyctl(), &["man"]).stdout;
    assert!(page.starts_with(".ie"), "{page}");
    assert!(page.contains("memory\\-diagnose"), "{page}");
    assert!(!page.contains("kernel\\-write"), "{page}");
    let page = run(greyctl(), &["man", "memory-enforce"]).stdout;
    assert!(page.contains("\\-\\-reclaim"), "{page}");
}

#[test]
fn a_name_that_is_not_utf_8_is_told_to_be_given_as_a_pid() {
    use std::os::unix::ffi::OsStrExt as _;
    let mut command = greyctl();
    command.arg("memory-diagnose").arg("--target");
    command.arg(std::ffi::OsStr::from_bytes(b"\xff\xfe"));
    let ran = run(command, &[]);
    assert_eq!(ran.exit, 2);
    assert!(ran.stderr.contains("use the pid"), "{}", ran.stderr);
}

#[test]
fn a_score_that_is_no_number_is_told_how_to_write_it() {
    for score in ["abc", "1001", "-1001"] {
        let ran = run(greyctl(), &["memory-enforce", "--oom-score-adj", score]);
        assert_eq!(ran.exit, 2);
        assert!(ran.stderr.contains("from -1000 to 1000"), "{}", ran.stderr);
    }
}

#[test]
fn the_usage_names_nothing_that_came_from_the_environment() {
    let mut command = greyctl();
    command.env("GREY_STATE_DIR", "/nowhere");
    let ran = run(command, &["memory-enforce", "--aggressive"]);
    assert_eq!(ran.exit, 2);
    assert!(!ran.stderr.contains("--state-dir"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("greyctl memory-enforce"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_width_that_nothing_fits_is_not_believed() {
    let narrow = run_at(on(&host()), 1, &["memory-diagnose"]);
    let usual = run_at(on(&host()), 80, &["memory-diagnose"]);
    assert_eq!(narrow.timeless(), usual.timeless());
}
