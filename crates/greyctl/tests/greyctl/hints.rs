//! What people are told to do next: commands that can be pasted, whatever the
//! state directory is called, and nothing that drives a terminal.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;

use grey_fake_kernel::FakeKernel;

use crate::harness::{as_nobody, greyctl, host, is_taken, on, only_command, pasted, run};

const SCORE: &str = "proc/310/oom_score_adj";

/// A host on which we may change a score.
fn as_root() -> FakeKernel {
    let root = "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n";
    host().with("proc/self/status", root).with(SCORE, "150\n")
}

/// The binary on `kernel`, without a state directory.
fn stateless(kernel: &FakeKernel) -> Command {
    let mut command = greyctl();
    for (option, directory) in [
        ("--procfs", kernel.procfs()),
        ("--sysfs", kernel.sysfs()),
        ("--cgroupfs", kernel.cgroupfs()),
        ("--systemd-dir", kernel.systemd()),
    ] {
        command.arg(option).arg(directory);
    }
    command
}

const SET: [&str; 6] = [
    "memory-enforce",
    "--observe=0s",
    "-t",
    "310",
    "--oom-score-adj",
    "100",
];

#[test]
fn the_undo_of_a_change_can_be_pasted_whatever_the_state_directory_is_called() {
    for name in [
        "plain",
        "two  words",
        "it's",
        "$(false) `false` \"x\" \\ *",
        "esc\x1b[31mape\n",
        "#-~!",
    ] {
        let kernel = as_root();
        let mut command = stateless(&kernel);
        command.arg("--state-dir").arg(kernel.path(name));
        let set = run(command, &SET);
        assert_eq!(set.exit, 0, "{name:?}: {}", set.stderr);
        assert!(!set.stderr.contains('\x1b'), "{name:?}: {}", set.stderr);
        let undone = pasted(&only_command(&set));
        assert_eq!(undone.exit, 0, "{name:?}: {}", undone.stderr);
        let score = std::fs::read_to_string(kernel.path(SCORE)).unwrap();
        assert_eq!(score.trim(), "150", "{name:?}");
    }
}

#[test]
fn a_state_directory_of_the_environment_is_not_named_again() {
    let kernel = as_root();
    let mut command = stateless(&kernel);
    command.env("GREY_STATE_DIR", kernel.path("from here"));
    let set = run(command, &SET);
    assert_eq!(set.exit, 0, "{}", set.stderr);
    let undo = only_command(&set);
    assert!(!undo.contains("state-dir"), "{undo}");
    assert!(undo.starts_with("greyctl rollback "), "{undo}");
}

#[test]
fn a_placeholder_or_an_unknown_option_is_no_command() {
    assert!(is_taken("greyctl rollback 2"));
    for line in ["greyctl rollback ID", "greyctl rollback …", "greyctl x"] {
        assert!(!is_taken(line), "{line}");
    }
}

#[test]
fn what_was_typed_cannot_drive_the_terminal() {
    for argument in ["\x1b[2J", "--\x1b[2J"] {
        let ran = run(greyctl(), &["memory-diagnose", argument]);
        assert_eq!(ran.exit, 2);
        assert!(ran.stderr.contains("\\x1b[2J"), "{}", ran.stderr);
        assert!(ran.stderr.contains("Usage: greyctl"), "{}", ran.stderr);
        assert!(!ran.stderr.contains('\x1b'), "{}", ran.stderr);
    }
}

#[test]
fn a_path_in_an_error_cannot_drive_the_terminal() {
    let kernel = as_root();
    let mut command = stateless(&kernel);
    let state = kernel.path("a\x1b[2Jb");
    std::fs::write(&state, "a file, not a directory").unwrap();
    command.arg("--state-dir").arg(state);
    let ran = run(command, &["rollback", "2"]);
    assert_ne!(ran.exit, 0);
    assert!(ran.stderr.contains("a\\x1b[2Jb"), "{}", ran.stderr);
    assert!(!ran.stderr.contains('\x1b'), "{}", ran.stderr);
}

#[test]
fn whoever_finds_an_empty_journal_is_told_whose_it_is() {
    let kernel = as_root();
    let home = kernel.path("home");
    std::fs::create_dir(&home).unwrap();
    let mut command = as_nobody(&kernel, &stateless(&kernel));
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("HOME", &home);
    let ran = run(command, &["journal"]);
    assert_eq!(ran.stdout, "Nothing was changed.\n", "{}", ran.stderr);
    let place = home.to_str().unwrap();
    assert!(ran.stderr.contains(place), "{}", ran.stderr);
    assert!(only_command(&ran).starts_with("greyctl journal"));
    assert!(ran.stderr.contains(": sudo greyctl "), "{}", ran.stderr);
    // Whoever named one knows.
    let ran = run(on(&kernel), &["journal"]);
    assert_eq!(ran.stderr, "");
}

#[test]
fn a_directory_that_is_no_procfs_is_told_how_to_be_named() {
    let kernel = as_root();
    let empty = kernel.path("empty");
    std::fs::create_dir(&empty).unwrap();
    let mut command = greyctl();
    command.arg("--procfs").arg(&empty);
    let ran = run(command, &["memory-diagnose"]);
    assert_eq!(ran.exit, 1, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("mounted with --procfs"),
        "{}",
        ran.stderr
    );
}

#[test]
fn without_version_2_nobody_is_sent_to_a_list_of_cgroups_that_is_empty() {
    for kernel in [as_root().with_v1_cgroups(), as_root().with_hybrid_cgroups()] {
        let ran = run(on(&kernel), &["memory-diagnose", "-t", "/nowhere"]);
        assert_eq!(ran.exit, 2, "{}", ran.stderr);
        assert!(!ran.stderr.contains("--verbose"), "{}", ran.stderr);
        assert!(ran.stderr.contains("/proc/PID/cgroup"), "{}", ran.stderr);
    }
    let ran = run(on(&as_root()), &["memory-diagnose", "-t", "/nowhere"]);
    assert!(ran.stderr.contains("--verbose"), "{}", ran.stderr);
}

#[test]
fn a_lease_beside_a_path_that_is_not_utf_8_says_what_it_needs() {
    let kernel = as_root();
    let state = kernel.path(OsStr::from_bytes(b"st\xffate"));
    let mut command = stateless(&kernel);
    command.arg("--state-dir").arg(state);
    let ran = run(command, &[&SET[..], &["--for", "1h"]].concat());
    assert_eq!(ran.exit, 7, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("hint: --for needs paths"),
        "{}",
        ran.stderr
    );
    assert!(!ran.stderr.contains("memory-diagnose"), "{}", ran.stderr);
}

#[test]
fn a_threaded_cgroup_is_told_by_its_type_and_who_has_its_memory() {
    let root = "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n";
    let kernel = as_root()
        .with("proc/self/status", root)
        .with("cgroup/build/cgroup.type", "domain threaded\n")
        .with("cgroup/build/web/cgroup.type", "threaded\n");
    for action in [["--high", "200M"], ["--reclaim", "1M"]] {
        let ran = run(
            on(&kernel),
            &[&["memory-enforce", "-t", "/build/web"][..], &action].concat(),
        );
        assert_eq!(ran.exit, 9, "{}", ran.stderr);
        assert!(ran.stderr.contains("is threaded"), "{}", ran.stderr);
        let hint = "hint: name the one that has it: --target /build\n";
        assert!(ran.stderr.contains(hint), "{}", ran.stderr);
    }
}

#[test]
fn a_lease_says_when_it_has_nothing_to_undo() {
    let kernel = as_root().with(SCORE, "100\n");
    let ran = run(on(&kernel), &[&SET[..], &["--for", "1h"]].concat());
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    let warning = "warning: 1 setting was so already, and stays so: nothing of that is undone \
                   after 1h\n";
    assert!(ran.stderr.contains(warning), "{}", ran.stderr);
    let ran = run(on(&kernel), &SET);
    assert!(!ran.stderr.contains("undone"), "{}", ran.stderr);
}
