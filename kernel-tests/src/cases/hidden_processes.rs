//! A procfs that hides the processes of others: what is missing is told, and
//! never counted as none.

use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::Value;

use super::undo::list;
use crate::case::{Case, DEADLINE, Failure, GuestName, Outcome};
use crate::guest::{GREYCTL_DEADLINE, Guest, Run, greyctl_path, run, say};
use crate::hog::HogOptions;

pub(super) const CASES: &[Case] = &[Case {
    name: "processes_that_procfs_hides_are_null_and_not_zero",
    guests: GuestName::PLAIN,
    deadline: DEADLINE,
    run: processes_that_procfs_hides_are_null_and_not_zero,
}];

/// `/proc` mounted with a `hidepid` option, until dropped.
struct HiddenProcesses;

impl HiddenProcesses {
    fn mount(level: &str) -> Result<Self, Failure> {
        remount(level)?.expect_code(0)?;
        Ok(Self)
    }
}

impl Drop for HiddenProcesses {
    fn drop(&mut self) {
        // root, as whom all cases run, sees everything in any case.
        if let Err(failure) = remount("0").and_then(|run| run.expect_code(0)) {
            say(&failure.to_string());
        }
    }
}

fn remount(level: &str) -> Result<Run, Failure> {
    let mut command = Command::new("mount");
    command.args(["-o", &format!("remount,hidepid={level}"), "/proc"]);
    run(command, GREYCTL_DEADLINE)
}

/// What somebody who may do nothing is told.
fn diagnosis_of_nobody(arguments: &[&str]) -> Result<Run, Failure> {
    const NOBODY: u32 = 65534;
    let mut command = Command::new(greyctl_path());
    command
        .args(["memory-diagnose", "--json"])
        .args(arguments)
        .uid(NOBODY)
        .gid(NOBODY);
    run(command, GREYCTL_DEADLINE)
}

fn has(diagnosis: &Value, pid: i32) -> bool {
    list(&diagnosis["processes"])
        .iter()
        .any(|process| process["pid"] == pid)
}

fn processes_that_procfs_hides_are_null_and_not_zero(guest: &Guest) -> Result<Outcome, Failure> {
    let hog = guest.hog(&HogOptions::anonymous(16))?;
    // 1 shows them and lets nobody look inside; 2 and 4 do not even show them.
    let listed_only = HiddenProcesses::mount("1")?;
    let told = diagnosis_of_nobody(&[])?.expect_code(0)?.json()?;
    assert!(told["unreadable_processes"].as_u64() >= Some(2), "{told}");
    drop(listed_only);
    for level in ["2", "4"] {
        let hidden = HiddenProcesses::mount(level)?;
        let told = diagnosis_of_nobody(&[])?.expect_code(0)?.json()?;
        assert_eq!(
            told.get("unreadable_processes"),
            Some(&Value::Null),
            "{told}"
        );
        assert!(told["notes"].to_string().contains("hidepid"), "{told}");
        assert!(!has(&told, hog.pid()), "{told}");
        // It is there, and nobody can say that it is not.
        let target = diagnosis_of_nobody(&["--target", &hog.pid().to_string()])?.expect_code(2)?;
        assert!(target.stderr.contains("hidepid"), "{target:?}");
        let root = guest
            .greyctl(&["memory-diagnose", "--json"])?
            .expect_code(0)?
            .json()?;
        assert!(root["unreadable_processes"].is_u64(), "{root}");
        assert!(has(&root, hog.pid()), "{root}");
        drop(hidden);
    }
    let seen = diagnosis_of_nobody(&[])?.expect_code(0)?.json()?;
    assert!(seen["unreadable_processes"].is_u64(), "{seen}");
    assert!(!seen["notes"].to_string().contains("hidepid"), "{seen}");
    assert!(has(&seen, hog.pid()), "{seen}");
    Ok(Outcome::Passed)
}
