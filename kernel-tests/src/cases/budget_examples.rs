//! The examples of the budget library in a cgroup with a limit: each survives
//! where the kernel kills the same program without the library.
//!
//! Nothing here sets an rlimit: the group is the only bound. There is no swap,
//! and what is spilled goes to a disk, since a tmpfs would be charged to the
//! group.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{fs, io};

use serde_json::Value;

use crate::case::{Case, DEADLINE, Failure, GuestName, Outcome};
use crate::cgroup::Cgroup;
use crate::guest::{Guest, Run, run};

/// The newest kernel and the oldest.
const GUESTS: &[GuestName] = &[GuestName::Linux5_10, GuestName::Linux6_12];

pub(super) const CASES: &[Case] = &[
    Case {
        name: "the_index_server_survives_a_group_that_kills_its_twin",
        guests: GUESTS,
        deadline: DEADLINE,
        run: the_index_server_survives_a_group_that_kills_its_twin,
    },
    Case {
        name: "an_agent_survives_a_group_that_kills_its_twin",
        guests: GUESTS,
        deadline: DEADLINE,
        run: an_agent_survives_a_group_that_kills_its_twin,
    },
    Case {
        name: "the_orchestrator_survives_a_group_that_kills_its_twin",
        guests: GUESTS,
        deadline: DEADLINE,
        run: the_orchestrator_survives_a_group_that_kills_its_twin,
    },
    Case {
        name: "a_fleet_that_does_not_fit_its_group_is_not_started",
        guests: GUESTS,
        deadline: DEADLINE,
        run: a_fleet_that_does_not_fit_its_group_is_not_started,
    },
];

/// The limit of the group. What the examples keep without the library is more.
pub(super) const LIMIT: &str = "48M";
/// The budget under it: the rest is for the program itself and its file cache.
const BUDGET: &str = "24M";
/// Time for one program, in an emulated guest.
pub(super) const BOUND: Duration = Duration::from_secs(80);

/// A directory on a real disk, removed when dropped.
pub(super) struct SpillDirectory {
    path: PathBuf,
}

impl SpillDirectory {
    pub(super) fn new(guest: &Guest) -> Result<Self, io::Error> {
        let path = guest.scratch().join("grey-budget");
        fs::create_dir(&path)?;
        Ok(Self { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SpillDirectory {
    fn drop(&mut self) {
        // What a guest writes to its disk is thrown away with it.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A group of its own with a limit and without swap.
fn limited_group(guest: &Guest, limit: &str) -> Result<Cgroup, Failure> {
    let cgroup = guest.cgroup("grey-case")?;
    cgroup.write("memory.max", limit)?;
    cgroup.write("memory.swap.max", "0")?;
    Ok(cgroup)
}

/// Runs a program that is in the group from its first instruction on.
fn run_in(cgroup: &Cgroup, program: &str, arguments: &[&str]) -> Result<Run, Failure> {
    let mut command = Command::new("sh");
    command
        .args(["-c", "echo $$ > \"$0\" && exec \"$@\""])
        .arg(cgroup.path().join("cgroup.procs"))
        .arg(program)
        .args(arguments);
    run(command, BOUND)
}

/// Runs an example in a fresh group, then its unprotected twin in another one
/// with the same limit, and gives what the first one reported.
fn survives_where_its_twin_is_killed(
    guest: &Guest,
    program: &str,
    arguments: &[&str],
) -> Result<Value, Failure> {
    let directory = SpillDirectory::new(guest)?;
    let place = directory.path().display().to_string();
    let mut all = [arguments, &["--budget", BUDGET, "--directory", &place]].concat();

    let group = limited_group(guest, LIMIT)?;
    let done = run_in(&group, program, &all)?.expect_code(0)?;
    guest.say(&group.read("memory.events")?);
    assert_eq!(group.read_key("memory.events", "oom_kill")?, 0);
    drop(group);

    all.push("--unprotected");
    let group = limited_group(guest, LIMIT)?;
    let twin = run_in(&group, program, &all)?;
    guest.say(&group.read("memory.events")?);
    assert_eq!(twin.signal, Some(9), "{twin:?}");
    assert!(group.read_key("memory.events", "oom_kill")? >= 1);
    done.json()
}

/// A number of a report.
fn number(report: &Value, key: &str) -> u64 {
    report[key].as_u64().unwrap_or_else(|| {
        panic!("no number `{key}` in {report}");
    })
}

/// It compares answers with the files read anew, and fails when one is wrong.
fn the_index_server_survives_a_group_that_kills_its_twin(
    guest: &Guest,
) -> Result<Outcome, Failure> {
    let report = survives_where_its_twin_is_killed(guest, "index_server", &["--items", "450"])?;
    assert_eq!(number(&report, "files"), 450, "{report}");
    // It met its budget: there was more than fits.
    assert!(number(&report, "spills") > 0, "{report}");
    Ok(Outcome::Passed)
}

/// One instance of the fleet, in a group of its own as a container would be.
/// The fleet as a whole would be ended by the rlimit of each instance first,
/// and not by the group.
fn an_agent_survives_a_group_that_kills_its_twin(guest: &Guest) -> Result<Outcome, Failure> {
    let arguments = ["--instance", "subject", "--items", "1000"];
    let report = survives_where_its_twin_is_killed(guest, "agent_fleet", &arguments)?;
    assert_eq!(number(&report, "conversations"), 1000, "{report}");
    assert!(number(&report, "remembered") > 0, "{report}");
    let kept = number(&report, "kept_bytes");
    assert!(kept > 4 << 20 && kept < 24 << 20, "{report}");
    Ok(Outcome::Passed)
}

/// It adds up every task and fails when the sum is not that of all of them.
fn the_orchestrator_survives_a_group_that_kills_its_twin(
    guest: &Guest,
) -> Result<Outcome, Failure> {
    let report = survives_where_its_twin_is_killed(guest, "orchestrator", &["--items", "1700"])?;
    assert_eq!(number(&report, "done"), 1700, "{report}");
    let queued = number(&report, "most_queued_bytes");
    assert!(queued > 0 && queued <= 16 << 20, "{report}");
    Ok(Outcome::Passed)
}

/// Three agents may have 240 MiB together, and each reads the group's limit by
/// itself.
fn a_fleet_that_does_not_fit_its_group_is_not_started(guest: &Guest) -> Result<Outcome, Failure> {
    let group = limited_group(guest, "200M")?;
    let refused = run_in(&group, "agent_fleet", &["--items", "20"])?.expect_code(1)?;
    let why = "exceeds the control group's effective limit of 0.20 GB";
    assert!(refused.stderr.contains(why), "{refused:?}");
    assert_eq!(refused.stdout, "", "an agent was started");
    group.write("memory.max", "256M")?;
    let fits = run_in(&group, "agent_fleet", &["--items", "20"])?.expect_code(0)?;
    for agent in ["subject", "observer", "god"] {
        let reported = format!("\"example\": \"{agent}\"");
        assert!(fits.stdout.contains(&reported), "{fits:?}");
    }
    assert_eq!(group.read_key("memory.events", "oom_kill")?, 0);
    Ok(Outcome::Passed)
}
