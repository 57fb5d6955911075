//! Leases on a machine without systemd: what was set for a time is undone when
//! the time is over, whoever is dead by then.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use super::undo::{assert_as_before, enforce, enforce_arguments, journal, outcomes, rollback};
use crate::case::{Case, DEADLINE, Failure, GuestName, Outcome};
use crate::guest::{Guest, greyctl_path};
use crate::hog::HogOptions;
use crate::processes;
use crate::state::KernelState;
use crate::tracer::Scope;

/// Time for a lease of some seconds to end and to be undone.
const OVER_BOUND: Duration = Duration::from_secs(60);
/// A keeper that has nothing left to undo looks only every 30 s.
const IDLE_BOUND: Duration = Duration::from_secs(90);

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a_lease_is_undone_with_its_greyctl_and_shell_dead",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: a_lease_is_undone_with_its_greyctl_and_shell_dead,
    },
    Case {
        name: "a_lease_rolled_back_early_leaves_its_keeper_nothing",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: a_lease_rolled_back_early_leaves_its_keeper_nothing,
    },
    Case {
        name: "a_lease_is_undone_when_its_plan_was_killed_midway",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: a_lease_is_undone_when_its_plan_was_killed_midway,
    },
    Case {
        name: "a_lease_whose_keeper_was_killed_can_be_rolled_back",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: a_lease_whose_keeper_was_killed_can_be_rolled_back,
    },
    Case {
        name: "an_overdue_lease_is_put_back_by_whatever_comes_next",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: an_overdue_lease_is_put_back_by_whatever_comes_next,
    },
];

/// The keepers that run now.
fn keepers() -> Vec<i32> {
    processes::all()
        .into_iter()
        .filter(|process| {
            let line = fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
            line.split(|byte| *byte == 0)
                .any(|word| word == b"lease-keeper")
        })
        .map(|process| process.pid)
        .collect()
}

fn wait_for_end_of_keepers(guest: &Guest, bound: Duration) -> Result<(), Failure> {
    guest.wait_until("no keeper is left", bound, || keepers().is_empty())
}

fn a_lease_is_undone_with_its_greyctl_and_shell_dead(guest: &Guest) -> Result<Outcome, Failure> {
    let cgroup = guest.cgroup("grey-case")?;
    cgroup.write("memory.high", "400M")?;
    let hog = guest.hog(&HogOptions::anonymous(16).in_cgroup(cgroup.path()))?;
    let before = KernelState::read();
    let printed = guest.directory.join("printed");
    let mut shell = Command::new("sh")
        .args(["-c", "\"$@\" > \"$0\"; sleep 600"])
        .arg(&printed)
        .arg(greyctl_path())
        .arg("--state-dir")
        .arg(&guest.state_dir)
        .args(enforce_arguments(&[
            "--target",
            "/grey-case",
            "--for",
            "5s",
        ]))
        .args(["--high", "200M", "--oom-score-adj", "500"])
        .process_group(0)
        .spawn()?;
    let has_ended = || {
        fs::read(&printed)
            .is_ok_and(|text| serde_json::from_slice::<serde_json::Value>(&text).is_ok())
    };
    let waited = guest.wait_until("greyctl has printed its report", OVER_BOUND, has_ended);
    // The whole group: the shell and what it runs.
    let group = i32::try_from(shell.id()).ok();
    if let Some(group) = group.and_then(rustix::process::Pid::from_raw) {
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL)?;
    }
    shell.wait()?;
    waited?;
    let report: serde_json::Value = serde_json::from_slice(&fs::read(&printed)?)?;
    for effect in super::undo::list(&report["effects"]) {
        assert_eq!(effect["verdict"], "worked", "{report}");
    }
    guest.wait_until("the lease is over", OVER_BOUND, || {
        before.differences(&KernelState::read()).is_empty()
    })?;
    wait_for_end_of_keepers(guest, OVER_BOUND)?;
    let changes = journal(guest)?;
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert!(
        changes.iter().all(|change| change["state"] == "undone"),
        "{changes:?}"
    );
    assert_as_before(&before);
    assert!(hog.is_alive());
    Ok(Outcome::Passed)
}

fn a_lease_rolled_back_early_leaves_its_keeper_nothing(guest: &Guest) -> Result<Outcome, Failure> {
    let cgroup = guest.cgroup("grey-case")?;
    let before = KernelState::read();
    enforce(
        guest,
        &["--target", "/grey-case", "--high", "200M", "--for", "1h"],
    )?;
    let keeper = keepers();
    assert_eq!(keeper.len(), 1, "{keeper:?}");
    rollback(guest, &[], 0)?;
    // Somebody sets the same value by hand: it is theirs from now on.
    cgroup.write("memory.high", "200M")?;
    wait_for_end_of_keepers(guest, IDLE_BOUND)?;
    assert_eq!(cgroup.read("memory.high")?, (200 << 20).to_string());
    cgroup.write("memory.high", "max")?;
    assert_as_before(&before);
    Ok(Outcome::Passed)
}

fn a_lease_is_undone_when_its_plan_was_killed_midway(guest: &Guest) -> Result<Outcome, Failure> {
    let cgroup = guest.cgroup("grey-case")?;
    cgroup.write("memory.high", "400M")?;
    let before = KernelState::read();
    let plan = [
        "--target",
        "/grey-case",
        "--high",
        "200M",
        "--limit",
        "300M",
    ];
    let plan = enforce_arguments(&[&plan[..], &["--for", "6s"]].concat());
    let whole = guest.trace_greyctl(&plan, Scope::Program, None)?;
    rollback(guest, &[], 0)?;
    wait_for_end_of_keepers(guest, IDLE_BOUND)?;
    let written = whole
        .steps
        .iter()
        .position(|step| step.text.starts_with("write") && step.text.contains("memory.high"));
    let Some(written) = written else {
        return Err(Failure::new(format!(
            "memory.high is not written: {whole:?}"
        )));
    };
    // Killed at the step after it: nothing was read back, let alone recorded.
    let trace = guest.trace_greyctl(&plan, Scope::Program, Some(written + 2))?;
    assert!(trace.killed, "{trace:?}");
    let open: Vec<_> = journal(guest)?
        .into_iter()
        .filter(|change| change["state"] == "active")
        .collect();
    assert_eq!(open.len(), 1, "{open:?}");
    guest.wait_until("the lease is over", OVER_BOUND, || {
        before.differences(&KernelState::read()).is_empty()
    })?;
    wait_for_end_of_keepers(guest, OVER_BOUND)?;
    let again = rollback(guest, &[], 0)?;
    assert_eq!(again["outcome"], "nothing_to_do", "{again}");
    assert_as_before(&before);
    Ok(Outcome::Passed)
}

fn a_lease_whose_keeper_was_killed_can_be_rolled_back(guest: &Guest) -> Result<Outcome, Failure> {
    let cgroup = guest.cgroup("grey-case")?;
    cgroup.write("memory.high", "400M")?;
    let before = KernelState::read();
    enforce(
        guest,
        &["--target", "/grey-case", "--high", "200M", "--for", "4s"],
    )?;
    wait_until_overdue_without_keeper(guest)?;
    assert_eq!(cgroup.read("memory.high")?, (200 << 20).to_string());
    let undone = rollback(guest, &[], 0)?;
    assert_eq!(outcomes(&undone), ["restored"], "{undone}");
    assert_as_before(&before);
    Ok(Outcome::Passed)
}

/// Kills the keepers and waits until the one lease that is still active is over.
fn wait_until_overdue_without_keeper(guest: &Guest) -> Result<(), Failure> {
    for keeper in keepers() {
        processes::kill_hard(keeper);
    }
    let mut active = Vec::new();
    guest.wait_until(
        "the journal says that the lease is over",
        OVER_BOUND,
        || {
            active = journal(guest).unwrap_or_default();
            active.retain(|change| {
                change["state"] == "active" && !change["lease_remaining_seconds"].is_null()
            });
            active.len() == 1 && active[0]["lease_remaining_seconds"] == 0
        },
    )
}

fn an_overdue_lease_is_put_back_by_whatever_comes_next(guest: &Guest) -> Result<Outcome, Failure> {
    let leased = guest.cgroup("grey-case")?;
    leased.write("memory.high", "400M")?;
    let other = guest.cgroup("grey-other")?;
    let before = KernelState::read();
    let lease = ["--target", "/grey-case", "--high", "200M", "--for", "4s"];
    let plan = ["--target", "/grey-other", "--high", "300M"];

    enforce(guest, &lease)?;
    wait_until_overdue_without_keeper(guest)?;
    // Looking is no reason to change anything.
    let simulated = enforce(guest, &[&plan[..], &["--simulation"]].concat())?;
    assert!(simulated["warnings"].to_string().contains("lease is over"));
    // It may be being undone right now, so that it is not told at once.
    guest.wait_until("a diagnosis tells it", OVER_BOUND, || {
        guest
            .greyctl(&["memory-diagnose", "--json"])
            .and_then(|told| told.json())
            .is_ok_and(|told| told["notes"].to_string().contains("lease is over"))
    })?;
    assert_eq!(leased.read("memory.high")?, (200 << 20).to_string());

    let enforced = enforce(guest, &plan)?;
    assert_put_back_first(&enforced);
    assert_eq!(leased.read("memory.high")?, (400 << 20).to_string());
    assert_eq!(other.read("memory.high")?, (300 << 20).to_string());

    enforce(guest, &lease)?;
    wait_until_overdue_without_keeper(guest)?;
    let id = super::undo::list(&enforced["journal_ids"])[0].to_string();
    let undone = rollback(guest, &[&id], 0)?;
    assert_put_back_first(&undone);
    assert_eq!(outcomes(&undone), ["restored"], "{undone}");
    assert_as_before(&before);
    Ok(Outcome::Passed)
}

/// One change that nobody asked for went back, since its lease was over.
fn assert_put_back_first(document: &serde_json::Value) {
    let expired = super::undo::list(&document["expired_leases"]);
    assert_eq!(expired.len(), 1, "{document}");
    assert_eq!(expired[0]["outcome"], "restored", "{document}");
    assert_eq!(expired[0]["lease_over"], true, "{document}");
}
