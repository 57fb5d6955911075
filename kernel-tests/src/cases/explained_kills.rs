//! Kills that happen here, and what `why --killed` makes of them: by a
//! cgroup's limit, by the machine's out-of-memory killer, at somebody's request,
//! by a person.
//!
//! The pid is known beforehand, so that no other case's kill is taken for ours.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::case::{Case, DEADLINE, Failure, GuestName, Outcome};
use crate::guest::Guest;
use crate::hog::HogOptions;
use crate::program::spawn;
use crate::systemd::{BOUND, Unit, systemctl};

const OVERCOMMIT: &str = "/proc/sys/vm/overcommit_memory";

/// Time for a hog to fill the machine and die, in an emulated guest.
const DEATH_BOUND: Duration = Duration::from_secs(150);

const SYSTEMD: &[GuestName] = &[GuestName::Systemd];

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a_kill_by_the_limit_of_a_cgroup_above_is_explained",
        guests: GuestName::ALL,
        deadline: DEADLINE,
        run: a_kill_by_the_limit_of_a_cgroup_above_is_explained,
    },
    Case {
        name: "a_group_that_is_killed_as_one_is_explained_whole",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: a_group_that_is_killed_as_one_is_explained_whole,
    },
    Case {
        name: "a_kill_by_the_machines_oom_killer_is_explained",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: a_kill_by_the_machines_oom_killer_is_explained,
    },
    Case {
        name: "a_kill_that_somebody_asked_for_with_sysrq_is_explained",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: a_kill_that_somebody_asked_for_with_sysrq_is_explained,
    },
    Case {
        name: "a_persons_sigterm_is_never_taken_for_the_oom_killers",
        guests: GuestName::ALL,
        deadline: DEADLINE,
        run: a_persons_sigterm_is_never_taken_for_the_oom_killers,
    },
    Case {
        name: "a_units_limit_is_explained_with_its_unit",
        guests: SYSTEMD,
        deadline: DEADLINE,
        run: a_units_limit_is_explained_with_its_unit,
    },
    Case {
        name: "a_persons_sigterm_to_a_unit_is_found_in_the_journal",
        guests: SYSTEMD,
        deadline: DEADLINE,
        run: a_persons_sigterm_to_a_unit_is_found_in_the_journal,
    },
];

/// Starts a hog, waits until it is killed by SIGKILL, and gives its pid.
fn killed_hog(options: &HogOptions, oom_score_adj: i16) -> Result<i32, Failure> {
    let program = std::env::current_exe()?;
    let mut command = Command::new("sh");
    let script = format!("echo {oom_score_adj} >/proc/$$/oom_score_adj && exec \"$@\"");
    command
        .args(["-c", &script, "sh"])
        .arg(program)
        .args(options.arguments())
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    let mut hog = spawn(command)?;
    let pid = hog.pid();
    let status = hog.wait(DEATH_BOUND)?;
    assert_eq!(
        status.signal(),
        Some(9),
        "hog {pid} was not killed: {status}"
    );
    Ok(pid)
}

/// The kills that `why --killed` tells of, asked with `more`.
fn why(guest: &Guest, more: &[&str]) -> Result<Value, Failure> {
    let arguments = [&["why", "--killed", "--json"][..], more].concat();
    guest.greyctl(&arguments)?.expect_code(0)?.json()
}

/// The only kill of this process.
fn kill_of(guest: &Guest, pid: i32) -> Result<Value, Failure> {
    let document = why(guest, &["--pid", &pid.to_string()])?;
    let kills = document["kills"].as_array().cloned().unwrap_or_default();
    assert_eq!(kills.len(), 1, "{document:#}");
    Ok(kills[0].clone())
}

fn says(kill: &Value, text: &str) -> bool {
    let lines = kill["explanation"].as_array();
    lines.is_some_and(|lines| {
        lines
            .iter()
            .any(|line| line.as_str().is_some_and(|line| line.contains(text)))
    })
}

fn a_kill_by_the_limit_of_a_cgroup_above_is_explained(guest: &Guest) -> Result<Outcome, Failure> {
    let above = guest.cgroup("grey-case")?;
    let own = above.child("in")?;
    above.write("memory.max", "48M")?;
    let pid = killed_hog(&HogOptions::anonymous(96).in_cgroup(own.path()), 0)?;
    let kill = kill_of(guest, pid)?;
    assert_eq!(kill["killer"], "kernel-cgroup", "{kill:#}");
    assert_eq!(kill["name"], "kernel-cases", "{kill:#}");
    assert_eq!(kill["cgroup"], "/grey-case/in", "{kill:#}");
    assert_eq!(kill["limit_cgroup"], "/grey-case", "{kill:#}");
    assert_eq!(kill["limit_bytes"], 48 << 20, "{kill:#}");
    assert!(
        kill["rss_bytes"].as_u64().is_some_and(|rss| rss > 40 << 20),
        "{kill:#}"
    );
    assert_eq!(kill["consumers"][0]["pid"], pid, "{kill:#}");
    assert!(kill["at"].is_string(), "{kill:#}");
    assert!(
        says(
            &kill,
            "the limit is not of that one but of /grey-case above it"
        ),
        "{kill:#}"
    );
    // The counter and the log agree about it.
    let document = why(guest, &[])?;
    let unlogged = document["unlogged"].to_string();
    assert!(!unlogged.contains("/grey-case"), "{document:#}");
    Ok(Outcome::Passed)
}

fn a_group_that_is_killed_as_one_is_explained_whole(guest: &Guest) -> Result<Outcome, Failure> {
    // A name of its own: kills in an earlier cgroup of its path would count as its.
    let group = guest.cgroup("grey-case-group")?;
    group.write("memory.max", "48M")?;
    group.write("memory.oom.group", "1")?;
    let other = guest.hog(&HogOptions::anonymous(4).in_cgroup(group.path()))?;
    let pid = killed_hog(&HogOptions::anonymous(96).in_cgroup(group.path()), 0)?;
    for pid in [pid, other.pid()] {
        let kill = kill_of(guest, pid)?;
        assert_eq!(kill["killer"], "kernel-cgroup", "{kill:#}");
        assert_eq!(kill["whole_group"], true, "{kill:#}");
        assert_eq!(kill["limit_cgroup"], "/grey-case-group", "{kill:#}");
    }
    let unlogged = why(guest, &[])?["unlogged"].to_string();
    assert!(!unlogged.contains("/grey-case-group"), "{unlogged}");
    Ok(Outcome::Passed)
}

fn a_kill_by_the_machines_oom_killer_is_explained(guest: &Guest) -> Result<Outcome, Failure> {
    let before = guest.read(OVERCOMMIT)?;
    // More than there is would be refused at once.
    guest.write(OVERCOMMIT, "1")?;
    let pid = killed_hog(&HogOptions::anonymous(4096), 900);
    guest.write(OVERCOMMIT, &before)?;
    let kill = kill_of(guest, pid?)?;
    assert_eq!(kill["killer"], "kernel-global", "{kill:#}");
    assert_eq!(kill["limit_bytes"], Value::Null, "{kill:#}");
    assert_eq!(kill["limit_cgroup"], Value::Null, "{kill:#}");
    assert!(
        kill["rss_bytes"]
            .as_u64()
            .is_some_and(|rss| rss > 400 << 20),
        "{kill:#}"
    );
    assert_eq!(kill["consumers"][0]["killed"], true, "{kill:#}");
    assert!(
        says(&kill, "the whole machine was out of memory"),
        "{kill:#}"
    );
    assert_eq!(kill["shortage"], "machine", "{kill:#}");
    assert!(says(&kill, "the machine has no swap"), "{kill:#}");
    Ok(Outcome::Passed)
}

fn a_kill_that_somebody_asked_for_with_sysrq_is_explained(
    guest: &Guest,
) -> Result<Outcome, Failure> {
    let script = "sh -c 'echo 1000 >/proc/$$/oom_score_adj && exec sleep 600' & \
                  until grep -q 1000 /proc/$!/oom_score_adj; do :; done; \
                  echo $!; echo f >/proc/sysrq-trigger; wait $!";
    let ended = guest.run("sh", &["-c", script])?.expect_code(137)?;
    let kill = kill_of(guest, ended.stdout.trim_end().parse()?)?;
    assert_eq!(kill["killer"], "kernel-global", "{kill:#}");
    assert_eq!(kill["shortage"], "nothing", "{kill:#}");
    assert!(
        says(&kill, "somebody asked for it with SysRq F"),
        "{kill:#}"
    );
    assert_eq!(kill["advice"], serde_json::json!([]), "{kill:#}");
    Ok(Outcome::Passed)
}

fn a_persons_sigterm_is_never_taken_for_the_oom_killers(guest: &Guest) -> Result<Outcome, Failure> {
    let script = "sleep 600 & echo $!; kill -TERM $!; wait $!";
    let ended = guest.run("sh", &["-c", script])?.expect_code(143)?;
    let pid = ended.stdout.trim_end().to_owned();
    let document = why(guest, &["--pid", &pid, "--exit-code", "143"])?;
    assert_eq!(document["kills"], serde_json::json!([]), "{document:#}");
    assert_eq!(document["exit_code"]["signal"], 15, "{document:#}");
    assert_eq!(
        document["exit_code"]["can_be_oom_killer"], false,
        "{document:#}"
    );
    let killed = guest.run("sh", &["-c", "sleep 600 & kill -KILL $!; wait $!"])?;
    killed.expect_code(137)?;
    let document = why(guest, &["--exit-code", "137"])?;
    assert_eq!(
        document["exit_code"]["can_be_oom_killer"], true,
        "{document:#}"
    );
    Ok(Outcome::Passed)
}

/// A unit whose file holds `text`, started without waiting for it.
fn started<'guest>(guest: &'guest Guest, name: &str, text: &str) -> Result<Unit<'guest>, Failure> {
    let unit = Unit::adopt(guest, name);
    if let Some(folder) = unit.file().parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(unit.file(), text)?;
    systemctl(guest, &["start", "--no-block", name])?;
    Ok(unit)
}

/// The unit's kill, once the journal has it.
fn kill_of_unit(guest: &Guest, unit: &Unit<'_>) -> Result<Value, Failure> {
    guest.wait_until("the unit has failed", BOUND, || {
        unit.property("ActiveState")
            .is_ok_and(|state| state == "failed")
    })?;
    let mut kills = Vec::new();
    guest.wait_until("the journal tells of it", BOUND, || {
        let document = why(guest, &["--name", unit.name()]);
        kills = document
            .ok()
            .and_then(|document| document["kills"].as_array().cloned())
            .unwrap_or_default();
        kills.iter().any(|kill| kill["unit"] == unit.name())
    })?;
    assert_eq!(kills.len(), 1, "{kills:#?}");
    Ok(kills.remove(0))
}

fn a_units_limit_is_explained_with_its_unit(guest: &Guest) -> Result<Outcome, Failure> {
    let program = std::env::current_exe()?;
    let hog = HogOptions::anonymous(96).arguments().join(" ");
    let text = format!(
        "[Service]\nType=exec\nMemoryMax=48M\nMemorySwapMax=0\nExecStart={} {hog}\n",
        Path::new(&program).display()
    );
    let unit = started(guest, "grey-case-limit.service", &text)?;
    let kill = kill_of_unit(guest, &unit)?;
    assert_eq!(kill["killer"], "kernel-cgroup", "{kill:#}");
    assert_eq!(
        kill["limit_cgroup"], "/system.slice/grey-case-limit.service",
        "{kill:#}"
    );
    assert_eq!(kill["limit_bytes"], 48 << 20, "{kill:#}");
    assert!(says(&kill, "it may not use swap"), "{kill:#}");
    let advice = kill["advice"].to_string();
    // It has ended: only what is told systemd for good is of use.
    let for_good = "systemctl set-property -- grey-case-limit.service MemoryMax=";
    assert!(advice.contains(for_good), "{advice}");
    assert!(!advice.contains("--target"), "{advice}");
    Ok(Outcome::Passed)
}

fn a_persons_sigterm_to_a_unit_is_found_in_the_journal(guest: &Guest) -> Result<Outcome, Failure> {
    // Of a service of another type systemd takes SIGTERM for a good end, and
    // says nothing.
    let text = "[Service]\nType=oneshot\nExecStart=sleep 600\n";
    let unit = started(guest, "grey-case-term.service", text)?;
    let mut pid = String::new();
    guest.wait_until("it runs", BOUND, || {
        pid = unit.property("MainPID").unwrap_or_default();
        pid.parse().is_ok_and(|pid: i32| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm"));
            pid > 0 && name.is_ok_and(|name| name == "sleep\n")
        })
    })?;
    guest.run("kill", &["-TERM", &pid])?.expect_code(0)?;
    let kill = kill_of_unit(guest, &unit)?;
    assert_eq!(kill["killer"], "signal", "{kill:#}");
    assert_eq!(kill["signal"], 15, "{kill:#}");
    assert!(says(&kill, "never sends SIGTERM"), "{kill:#}");
    Ok(Outcome::Passed)
}
