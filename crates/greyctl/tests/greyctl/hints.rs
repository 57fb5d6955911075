//! What people are told to do next: commands that can be pasted, whatever the
//! state directory is called, and nothing that drives a terminal.

use std::process::Command;

use grey_fake_kernel::FakeKernel;

use crate::harness::{Ran, greyctl, host, is_taken, pasted, recommended, run};

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

/// The one command that was recommended.
fn only_command(ran: &Ran) -> String {
    let all: Vec<String> = ran.stderr.lines().filter_map(recommended).collect();
    let [one] = all.as_slice() else {
        panic!("not one command: {}", ran.stderr)
    };
    one.clone()
}

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
