//! A simulation tells what the run would meet: here of its journal, which is
//! opened before anything is changed.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use grey_fake_kernel::{Ended, FakeKernel};

use crate::harness::{contents, host, on, run};

const SET: [&str; 8] = [
    "memory-enforce",
    "--json",
    "--observe",
    "0s",
    "-t",
    "310",
    "--oom-score-adj",
    "100",
];

fn as_root() -> FakeKernel {
    let root = "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n";
    host()
        .with("proc/self/status", root)
        .with("proc/310/oom_score_adj", "150\n")
}

/// The simulation tells the very refusal that the run ends with, and makes
/// nothing. `with_state` is the binary with its state directory prepared.
fn assert_told(kernel: &FakeKernel, with_state: &dyn Fn() -> Command, exit: i32, part: &str) {
    let before = contents(&kernel.path("."));
    let simulated = run(with_state(), &[&SET[..], &["--simulation"]].concat());
    assert_eq!(simulated.exit, 0, "{}", simulated.stderr);
    assert!(before == contents(&kernel.path(".")));
    let real = run(with_state(), &SET);
    assert_eq!(real.exit, exit, "{}{}", real.stdout, real.stderr);
    let (told, met) = (simulated.json(), real.json());
    assert_eq!(told["refusals"], met["refusals"], "{}", simulated.stderr);
    let reason = met["refusals"][0]["reason"].as_str().unwrap();
    assert!(reason.contains(part), "{reason}");
    assert!(
        simulated.stderr.contains("this would be refused: "),
        "{}",
        simulated.stderr
    );
}

#[test]
fn a_simulation_tells_of_a_state_directory_that_others_may_write_to() {
    let kernel = as_root();
    let state = kernel.path("state");
    std::fs::create_dir(&state).unwrap();
    std::fs::set_permissions(&state, Permissions::from_mode(0o777)).unwrap();
    assert_told(&kernel, &|| on(&kernel), 7, "others may write to it");
}

#[test]
fn a_simulation_tells_of_a_state_directory_of_another_user() -> Ended {
    if !rustix::process::geteuid().is_root() {
        return Ended::Skipped {
            reason: "giving a directory away needs root",
        };
    }
    let kernel = as_root();
    let state = kernel.path("state");
    std::fs::create_dir(&state).unwrap();
    std::os::unix::fs::chown(&state, Some(1), Some(1)).unwrap();
    assert_told(&kernel, &|| on(&kernel), 7, "it belongs to user 1");
    Ended::Done
}

/// `given`, in a mount namespace where `state` is an empty read-only tmpfs.
fn on_a_read_only_disk(given: &Command, state: &std::path::Path) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c"])
        .arg("mount -t tmpfs -o ro,mode=700 tmpfs \"$0\" && exec \"$@\"")
        .arg(state)
        .arg(given.get_program())
        .args(given.get_args());
    command
}

#[test]
fn a_simulation_tells_of_a_read_only_disk_and_sends_nobody_to_root_for_it() -> Ended {
    let kernel = as_root();
    let state = kernel.path("state");
    std::fs::create_dir(&state).unwrap();
    let possible = on_a_read_only_disk(&Command::new("true"), &state).output();
    if !possible.is_ok_and(|done| done.status.success()) {
        return Ended::Skipped {
            reason: "mounting a tmpfs needs root",
        };
    }
    let with_state = || on_a_read_only_disk(&on(&kernel), &state);
    assert_told(&kernel, &with_state, 6, "Read-only file system");
    let ran = run(with_state(), &SET);
    assert!(!ran.stderr.contains("as root"), "{}", ran.stderr);
    assert!(ran.stderr.contains("remount it"), "{}", ran.stderr);
    // Nor with a directory that is yet to be made there.
    let below = |given: &Command| {
        let mut arguments: Vec<_> = given.get_args().map(ToOwned::to_owned).collect();
        if let Some(last) = arguments.last_mut() {
            *last = state.join("new/er").into_os_string();
        }
        let mut command = Command::new(given.get_program());
        command.args(arguments);
        on_a_read_only_disk(&command, &state)
    };
    let with_state = || below(&on(&kernel));
    assert_told(&kernel, &with_state, 6, "Read-only file system");
    Ended::Done
}
