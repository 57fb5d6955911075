//! A process that shares its cgroup with others gets a scope of its own, and
//! goes back where it came from.

use std::fs;

use crate::case::{Case, DEADLINE, Failure, GuestName, Outcome};
use crate::guest::Guest;
use crate::processes;
use crate::systemd::{BOUND, Unit, wait_until_gone};

const SYSTEMD: &[GuestName] = &[GuestName::Systemd];

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a_process_of_a_session_is_scoped_and_returned",
        guests: SYSTEMD,
        deadline: DEADLINE,
        run: a_process_of_a_session_is_scoped_and_returned,
    },
    Case {
        name: "children_born_in_the_scope_go_back_with_their_parent",
        guests: SYSTEMD,
        deadline: DEADLINE,
        run: children_born_in_the_scope_go_back_with_their_parent,
    },
    Case {
        name: "a_scoped_process_that_ended_takes_its_scope_with_it",
        guests: SYSTEMD,
        deadline: DEADLINE,
        run: a_scoped_process_that_ended_takes_its_scope_with_it,
    },
];

/// Where a session of user 1000 would be.
const SESSION: &str = "grey-case-session.scope";
const SESSION_CGROUP: &str = "0::/user.slice/user-1000.slice/grey-case-session.scope";

/// Starts a scope in the slice of a user, with a shell in it that runs this.
/// It ends with the returned value.
fn session<'guest>(
    guest: &'guest Guest,
    script: &str,
    wanted: usize,
) -> Result<Unit<'guest>, Failure> {
    // The service only starts the scope, detached from this case, and is gone.
    let command = format!(
        "systemd-run --quiet --scope --unit {SESSION} --slice user-1000.slice -- sh -c '{script}' \
         </dev/null >/dev/null 2>&1 &"
    );
    guest.run("sh", &["-c", command.as_str()])?.expect_code(0)?;
    let unit = Unit::adopt(guest, SESSION);
    guest.wait_until("the session has its processes", BOUND, || {
        unit.processes().is_ok_and(|found| {
            found.len() == wanted
                && processes::all()
                    .iter()
                    .filter(|one| found.contains(&one.pid))
                    .all(|one| one.name != "systemd-run")
        })
    })?;
    Ok(unit)
}

fn cgroup_of(guest: &Guest, pid: i32) -> Result<String, Failure> {
    guest.read(format!("/proc/{pid}/cgroup"))
}

fn sleeper_in(unit: &Unit<'_>) -> Result<i32, Failure> {
    let members = unit.processes()?;
    processes::all()
        .iter()
        .find(|process| members.contains(&process.pid) && process.name == "sleep")
        .map(|process| process.pid)
        .ok_or_else(|| Failure::new("no `sleep` runs in the session"))
}

fn limit(guest: &Guest, pid: i32) -> Result<(), Failure> {
    guest
        .greyctl(&[
            "memory-enforce",
            "--target",
            &pid.to_string(),
            "--limit",
            "200M",
            "--observe",
            "0s",
            "--json",
        ])?
        .expect_code(0)?;
    Ok(())
}

fn a_process_of_a_session_is_scoped_and_returned(guest: &Guest) -> Result<Outcome, Failure> {
    let session = session(guest, "sleep 1000 & sleep 1001 & wait", 3)?;
    let before = session.state()?;
    let mut members = session.processes()?;
    let pid = sleeper_in(&session)?;
    limit(guest, pid)?;
    let scope = format!("grey-optimizer-{pid}.scope");
    // In the slice of the user whose session it was, and alone.
    assert_eq!(
        cgroup_of(guest, pid)?,
        format!("0::/user.slice/user-1000.slice/{scope}")
    );
    let ours = guest
        .cgroup_root()
        .join("user.slice/user-1000.slice")
        .join(&scope);
    assert_eq!(guest.read(ours.join("memory.max"))?, "209715200");
    assert_eq!(crate::cgroup::pids(&ours), [pid]);
    let mut rest = session.processes()?;
    rest.push(pid);
    rest.sort_unstable();
    members.sort_unstable();
    assert_eq!(rest, members);
    assert_eq!(before.differences(&session.state()?), Vec::<String>::new());

    guest.greyctl(&["rollback", "--json"])?.expect_code(0)?;
    assert_eq!(cgroup_of(guest, pid)?, SESSION_CGROUP);
    wait_until_gone(guest, &scope, BOUND)?;
    assert!(!ours.exists());
    assert!(!fs::exists(format!("/run/systemd/transient/{scope}"))?);
    assert!(!fs::exists(format!("/run/systemd/transient/{scope}.d"))?);
    let mut after = session.processes()?;
    after.sort_unstable();
    assert_eq!(after, members);
    assert_eq!(before.differences(&session.state()?), Vec::<String>::new());
    Ok(Outcome::Passed)
}

fn children_born_in_the_scope_go_back_with_their_parent(guest: &Guest) -> Result<Outcome, Failure> {
    let flag = guest.directory.join("go");
    let script = format!(
        "sleep 1000 & sh -c \"while ! test -e {}; do sleep 0.05; done; sleep 1002; true\" & wait",
        flag.display()
    );
    let session = session(guest, &script, 4)?;
    let shell = processes::all()
        .iter()
        .map(|process| process.pid)
        .find(|pid| {
            guest
                .read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.starts_with("sh\0-c\0while"))
        })
        .ok_or_else(|| Failure::new("the waiting shell is missing"))?;
    limit(guest, shell)?;
    fs::write(&flag, "")?;
    let scope = format!("grey-optimizer-{shell}.scope");
    let ours = guest
        .cgroup_root()
        .join("user.slice/user-1000.slice")
        .join(&scope);
    guest.wait_until("the shell has its last child in the scope", BOUND, || {
        processes::children_of(shell).iter().any(|child| {
            crate::cgroup::pids(&ours).contains(&child.pid)
                && guest
                    .read(format!("/proc/{}/cmdline", child.pid))
                    .is_ok_and(|line| line.contains("1002"))
        })
    })?;
    guest.greyctl(&["rollback", "--json"])?.expect_code(0)?;
    wait_until_gone(guest, &scope, BOUND)?;
    assert_eq!(cgroup_of(guest, shell)?, SESSION_CGROUP);
    for child in processes::children_of(shell) {
        assert_eq!(cgroup_of(guest, child.pid)?, SESSION_CGROUP);
    }
    drop(session);
    Ok(Outcome::Passed)
}

fn a_scoped_process_that_ended_takes_its_scope_with_it(guest: &Guest) -> Result<Outcome, Failure> {
    let session = session(guest, "sleep 1000 & sleep 1001 & wait", 3)?;
    let pid = sleeper_in(&session)?;
    limit(guest, pid)?;
    processes::kill_hard(pid);
    let scope = format!("grey-optimizer-{pid}.scope");
    wait_until_gone(guest, &scope, BOUND)?;
    let run = guest.greyctl(&["rollback", "--json"])?.expect_code(0)?;
    let document = run.json()?;
    let outcomes: Vec<&str> = document["changes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|change| change["outcome"].as_str())
        .collect();
    assert_eq!(outcomes, ["gone", "gone"], "{document}");
    assert!(!fs::exists(format!("/run/systemd/transient/{scope}.d"))?);
    Ok(Outcome::Passed)
}
