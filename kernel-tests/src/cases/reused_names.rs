//! A cgroup or a process that is another one by now, under the same path or pid.
//!
//! Rollback goes by identity: it never touches what it did not change.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::undo::{assert_as_before, enforce, list, outcomes, rollback};
use crate::case::{Case, DEADLINE, Failure, GuestName, Outcome};
use crate::guest::Guest;
use crate::hog::HogOptions;
use crate::processes;
use crate::state::KernelState;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "rollback_knows_a_cgroup_that_was_made_again",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: rollback_knows_a_cgroup_that_was_made_again,
    },
    Case {
        name: "rollback_knows_a_process_that_got_a_dead_ones_pid",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: rollback_knows_a_process_that_got_a_dead_ones_pid,
    },
];

fn rollback_knows_a_cgroup_that_was_made_again(guest: &Guest) -> Result<Outcome, Failure> {
    let cgroup = guest.cgroup("grey-case")?;
    let plan = [
        "--target",
        "/grey-case",
        "--high",
        "200M",
        "--limit",
        "300M",
    ];
    enforce(guest, &plan)?;
    drop(cgroup);
    let again = guest.cgroup("grey-case")?;
    // The very values that we had set in the old one.
    again.write("memory.high", "200M")?;
    again.write("memory.max", "300M")?;
    let before = KernelState::read();
    let undone = rollback(guest, &[], 0)?;
    assert_eq!(outcomes(&undone), ["gone", "gone"], "{undone}");
    assert_as_before(&before);
    let forced = rollback(guest, &["--force"], 0)?;
    assert_eq!(forced["outcome"], "nothing_to_do", "{forced}");
    assert_as_before(&before);
    Ok(Outcome::Passed)
}

fn rollback_knows_a_process_that_got_a_dead_ones_pid(guest: &Guest) -> Result<Outcome, Failure> {
    let before = KernelState::read();
    let hog = guest.hog(&HogOptions::anonymous(16))?;
    let pid = hog.pid();
    let target = pid.to_string();
    let plan = ["--target", &target, "--limit", "300M"];
    let settings = ["--oom-score-adj", "500", "--rlimit-data", "4G"];
    enforce(guest, &[&plan[..], &settings[..]].concat())?;
    let limits = guest.read(format!("/proc/{pid}/limits"))?;
    drop(hog);
    guest.wait_until("the hog is gone", Duration::from_secs(20), || {
        processes::read(pid).is_none()
    })?;
    let other = Sleeper::with_pid(pid)?;
    // All that we had set in the old one, the new one has by itself.
    let group = format!("grey-optimizer/kernel-cases-{pid}/cgroup.procs");
    guest.write(guest.cgroup_root().join(group), &target)?;
    guest.write(format!("/proc/{pid}/oom_score_adj"), "500")?;
    other.limit_data(4 << 30)?;
    assert_eq!(guest.read(format!("/proc/{pid}/limits"))?, limits);
    let undone = rollback(guest, &[], 0)?;
    for change in list(&undone["changes"]) {
        let of_process = ["oom_score_adj", "rlimit_data", "process_cgroup"]
            .iter()
            .any(|kind| change["setting"]["kind"] == *kind);
        let expected = if of_process { "gone" } else { "restored" };
        assert_eq!(change["outcome"], expected, "{change}");
    }
    assert_eq!(guest.read(format!("/proc/{pid}/oom_score_adj"))?, "500");
    assert_eq!(guest.read(format!("/proc/{pid}/limits"))?, limits);
    // It was in our cgroup, which goes: so it lives on where the old one was.
    assert_eq!(guest.read(format!("/proc/{pid}/cgroup"))?, "0::/");
    assert!(processes::is_alive(pid));
    drop(other);
    assert_as_before(&before);
    Ok(Outcome::Passed)
}

/// A process that does nothing. Killed when dropped.
struct Sleeper {
    child: Child,
}

impl Sleeper {
    /// One that has a pid of our choice, which must be free.
    fn with_pid(pid: i32) -> Result<Self, Failure> {
        const TRIES: usize = 50;
        for _ in 0..TRIES {
            // The kernel takes the next free number; others may fork as well.
            fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string())?;
            let sleeper = Self {
                child: Command::new("sleep")
                    .arg("600")
                    .stdin(Stdio::null())
                    .spawn()?,
            };
            if i32::try_from(sleeper.child.id()) == Ok(pid) {
                return Ok(sleeper);
            }
        }
        Err(Failure::new(format!("no process got pid {pid}")))
    }

    fn limit_data(&self, bytes: u64) -> Result<(), Failure> {
        let pid = i32::try_from(self.child.id()).ok();
        rustix::process::prlimit(
            pid.and_then(rustix::process::Pid::from_raw),
            rustix::process::Resource::Data,
            rustix::process::Rlimit {
                current: Some(bytes),
                maximum: None,
            },
        )?;
        Ok(())
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // It may be dead already: that is what we want.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
