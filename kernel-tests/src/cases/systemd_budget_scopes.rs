//! The budget library's recommended mode, for real: a program in a scope of its
//! own whose `MemoryMax` systemd sets.

use std::process::Command;
use std::time::Duration;

use super::budget_examples::{BOUND, LIMIT, SpillDirectory};
use crate::case::{Case, DEADLINE, Failure, GuestName, Outcome};
use crate::guest::{Guest, Run, run};
use crate::systemd::wait_until_gone;

const SYSTEMD: &[GuestName] = &[GuestName::Systemd];

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a_program_in_a_scope_of_its_own_is_limited_there",
        guests: SYSTEMD,
        deadline: DEADLINE,
        run: a_program_in_a_scope_of_its_own_is_limited_there,
    },
    Case {
        name: "an_example_survives_a_scope_that_kills_its_twin",
        guests: SYSTEMD,
        deadline: DEADLINE,
        run: an_example_survives_a_scope_that_kills_its_twin,
    },
];

/// The scopes that `systemd-run` names by itself.
const SCOPES: &str = "run-*.scope";
const GONE_BOUND: Duration = Duration::from_secs(30);

/// Runs `in_a_scope LIMIT PROGRAM ARGUMENTS...`.
fn in_a_scope(arguments: &[&str]) -> Result<Run, Failure> {
    let mut command = Command::new("in_a_scope");
    command.arg(LIMIT).args(arguments);
    run(command, BOUND)
}

/// Processes that the kernel has killed below the slice that scopes are in.
fn kills(guest: &Guest) -> Result<u64, Failure> {
    let events = guest.read(guest.cgroup_root().join("system.slice/memory.events"))?;
    events
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
        .ok_or_else(|| Failure::new(format!("no `oom_kill` in {events}")))
}

fn a_program_in_a_scope_of_its_own_is_limited_there(guest: &Guest) -> Result<Outcome, Failure> {
    let limit = (48_u64 << 20).to_string();
    let script = "path=$(cut -d: -f3 /proc/self/cgroup); echo \"$path\"; \
                  cat \"/sys/fs/cgroup$path/memory.max\"; exit 7";
    // Exit codes pass through, and arguments are not taken for systemd's own.
    let ran = in_a_scope(&["sh", "-c", script, "--help"])?.expect_code(7)?;
    let said: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(said.len(), 2, "{ran:?}");
    assert!(said[0].starts_with("/system.slice/run-"), "{ran:?}");
    assert!(said[0].ends_with(".scope"), "{ran:?}");
    assert_eq!(said[1], limit, "{ran:?}");
    let group = guest.cgroup_root().join(said[0].trim_start_matches('/'));
    guest.wait_until("the group is removed", GONE_BOUND, || !group.exists())?;

    // The library sees the limit from inside, and not from outside.
    let outside = run(command("in_a_scope", &[LIMIT]), BOUND)?.expect_code(0)?;
    assert!(
        outside.stdout.contains("bound here: machine"),
        "{outside:?}"
    );
    let inside = in_a_scope(&["in_a_scope", LIMIT])?.expect_code(0)?;
    let bound = format!("bound here: cgroup limit of {limit} bytes");
    assert!(inside.stdout.contains(&bound), "{inside:?}");

    // What it recommends here is this mode, and what it says to type works.
    let recommended = outside
        .stdout
        .lines()
        .next()
        .and_then(|line| line.rsplit_once('(')?.1.strip_suffix("PROGRAM)"))
        .ok_or_else(|| Failure::new(format!("no command is recommended: {outside:?}")))?;
    assert!(outside.stdout.starts_with("control group"), "{outside:?}");
    let typed = format!("{recommended} in_a_scope {LIMIT}");
    let typed = run(command("sh", &["-c", &typed]), BOUND)?.expect_code(0)?;
    assert!(typed.stdout.contains(&bound), "{typed:?}");
    wait_until_gone(guest, SCOPES, GONE_BOUND)?;
    Ok(Outcome::Passed)
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn an_example_survives_a_scope_that_kills_its_twin(guest: &Guest) -> Result<Outcome, Failure> {
    let directory = SpillDirectory::new(guest)?;
    let place = directory.path().display().to_string();
    let options = ["--items", "450", "--budget", "24M", "--directory", &place];
    let mut words = vec!["index_server"];
    words.extend(options);
    let before = kills(guest)?;
    let report = in_a_scope(&words)?.expect_code(0)?.json()?;
    assert_eq!(report["files"], 450, "{report}");
    assert_eq!(kills(guest)?, before);

    words.push("--unprotected");
    // As a shell tells that signal 9 ended it.
    in_a_scope(&words)?.expect_code(137)?;
    assert_eq!(kills(guest)?, before + 1);
    // A scope that was killed has failed, and stays unless it is collected.
    wait_until_gone(guest, SCOPES, GONE_BOUND)?;
    Ok(Outcome::Passed)
}
