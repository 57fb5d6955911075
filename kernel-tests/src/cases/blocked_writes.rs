//! Writes that do not end in time: they are given up, and what was set is undone.
//!
//! Never waits for the kernel to be slow by chance: the writer is made slow.

use std::fs;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::undo::{enforce_arguments, journal, outcomes, text};
use crate::case::{Case, DEADLINE, Failure, GuestName, Outcome};
use crate::guest::Guest;
use crate::hog::HogOptions;
use crate::processes;
use crate::state::KernelState;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a_write_that_blocks_past_its_deadline_is_undone",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: a_write_that_blocks_past_its_deadline_is_undone,
    },
    Case {
        name: "a_writer_that_falls_silent_is_killed_and_undone",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: a_writer_that_falls_silent_is_killed_and_undone,
    },
];

/// The processes that write for `greyctl`.
fn writers() -> Vec<i32> {
    processes::all()
        .into_iter()
        .filter(|process| {
            let line = fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
            line.split(|byte| *byte == 0)
                .any(|word| word == b"kernel-write")
        })
        .map(|process| process.pid)
        .collect()
}

/// Sets `memory.high` far below what a hog holds, and does something to the
/// process that is busy with it. The enforcement must then end with exit code
/// 8, and put everything back; gives its report.
fn interfere_with_a_write(
    guest: &Guest,
    interfere: impl Fn(i32) -> Result<(), Failure>,
) -> Result<Value, Failure> {
    let cgroup = guest.cgroup("grey-case")?;
    cgroup.write("memory.high", "400M")?;
    let hog = guest.hog(&HogOptions::anonymous(256).in_cgroup(cgroup.path()))?;
    let before = KernelState::read();
    let plan = enforce_arguments(&["--target", "/grey-case", "--high", "64M"]);
    let ended = thread::scope(|threads| {
        let enforcement = threads.spawn(|| guest.greyctl(&plan));
        // The limit is there at once; then the write goes on reclaiming.
        let caught = guest
            .wait_until("somebody writes", Duration::from_secs(60), || {
                !writers().is_empty()
                    && cgroup
                        .read("memory.high")
                        .is_ok_and(|high| high == (64 << 20).to_string())
            })
            .and_then(|()| writers().into_iter().try_for_each(&interfere));
        let ended = enforcement
            .join()
            .map_err(|_| Failure::new("a thread panicked"))?;
        caught.and(ended)
    })?;
    let report = ended.expect_code(8)?.json()?;
    assert_eq!(report["outcome"], "timed_out", "{report}");
    assert_eq!(report["effects"][0]["verdict"], "timed_out", "{report}");
    assert_eq!(report["journal_ids"], serde_json::json!([]), "{report}");
    assert_eq!(
        outcomes(&serde_json::json!({"changes": report["undone"]})),
        ["restored"]
    );
    assert_eq!(cgroup.read("memory.high")?, (400 << 20).to_string());
    let changes = journal(guest)?;
    assert_eq!(changes[0]["state"], "undone", "{changes:?}");
    let differences = before.differences(&KernelState::read());
    let ours = |line: &String| !writers().iter().any(|pid| line.contains(&pid.to_string()));
    assert!(!differences.iter().any(ours), "{differences:?}");
    assert!(hog.is_alive());
    Ok(report)
}

/// The writer gets a hundredth of one CPU, so that the kernel reclaims within
/// the write for longer than the deadline.
fn a_write_that_blocks_past_its_deadline_is_undone(guest: &Guest) -> Result<Outcome, Failure> {
    let _swap = guest.zram_swap(400)?;
    let slow = guest.cgroup("grey-slow")?;
    slow.write("cpu.max", "1000 100000")?;
    let report = interfere_with_a_write(guest, |pid| slow.add(pid))?;
    let detail = text(&report["effects"][0]["detail"]);
    assert!(detail.contains("did not end in time"), "{detail}");
    // The one that the kernel held may have been left behind.
    slow.write("cpu.max", "max 100000")?;
    guest.wait_until("the writer is gone", Duration::from_secs(60), || {
        writers().is_empty()
    })?;
    Ok(Outcome::Passed)
}

fn a_writer_that_falls_silent_is_killed_and_undone(guest: &Guest) -> Result<Outcome, Failure> {
    let _swap = guest.zram_swap(400)?;
    let report = interfere_with_a_write(guest, |pid| {
        let pid = rustix::process::Pid::from_raw(pid);
        if let Some(pid) = pid {
            rustix::process::kill_process(pid, rustix::process::Signal::STOP)?;
        }
        Ok(())
    })?;
    let detail = text(&report["effects"][0]["detail"]);
    assert!(detail.contains("was interrupted"), "{detail}");
    assert_eq!(writers(), Vec::<i32>::new());
    Ok(Outcome::Passed)
}
