//! Limits of units: set through systemd, and put back completely.
//!
//! Shows what is left on the machine, never how it came there.

use std::fs;

use crate::case::{Case, DEADLINE, Failure, GuestName, Outcome};
use crate::guest::{Guest, Run};
use crate::systemd::{BOUND, Unit, systemctl};

const SYSTEMD: &[GuestName] = &[GuestName::Systemd];

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a_units_limits_are_set_through_systemd_and_restored",
        guests: SYSTEMD,
        deadline: DEADLINE,
        run: a_units_limits_are_set_through_systemd_and_restored,
    },
    Case {
        name: "an_earlier_persistent_set_property_survives",
        guests: SYSTEMD,
        deadline: DEADLINE,
        run: an_earlier_persistent_set_property_survives,
    },
    Case {
        name: "an_earlier_runtime_set_property_survives",
        guests: SYSTEMD,
        deadline: DEADLINE,
        run: an_earlier_runtime_set_property_survives,
    },
    Case {
        name: "an_earlier_limit_in_percent_survives",
        guests: SYSTEMD,
        deadline: DEADLINE,
        run: an_earlier_limit_in_percent_survives,
    },
    Case {
        name: "a_units_limit_holds_through_reload_and_restart_until_rollback",
        guests: SYSTEMD,
        deadline: DEADLINE,
        run: a_units_limit_holds_through_reload_and_restart_until_rollback,
    },
    Case {
        name: "a_limit_that_a_reload_has_hidden_is_rolled_back_all_the_same",
        guests: SYSTEMD,
        deadline: DEADLINE,
        run: a_limit_that_a_reload_has_hidden_is_rolled_back_all_the_same,
    },
    Case {
        name: "somebody_elses_set_property_is_left_alone",
        guests: SYSTEMD,
        deadline: DEADLINE,
        run: somebody_elses_set_property_is_left_alone,
    },
    Case {
        name: "rollback_loads_nobody_elses_changed_unit_files",
        guests: SYSTEMD,
        deadline: DEADLINE,
        run: rollback_loads_nobody_elses_changed_unit_files,
    },
    Case {
        name: "a_transient_unit_that_ended_leaves_nothing_to_put_back",
        guests: SYSTEMD,
        deadline: DEADLINE,
        run: a_transient_unit_that_ended_leaves_nothing_to_put_back,
    },
    Case {
        name: "a_transient_unit_made_again_under_its_name_is_left_alone",
        guests: SYSTEMD,
        deadline: DEADLINE,
        run: a_transient_unit_made_again_under_its_name_is_left_alone,
    },
    Case {
        name: "a_units_earlier_limit_that_would_kill_it_is_not_restored",
        guests: SYSTEMD,
        deadline: DEADLINE,
        run: a_units_earlier_limit_that_would_kill_it_is_not_restored,
    },
    Case {
        name: "a_simulation_changes_nothing_of_a_unit",
        guests: SYSTEMD,
        deadline: DEADLINE,
        run: a_simulation_changes_nothing_of_a_unit,
    },
];

const LIMIT: &str = "200M";
const LIMIT_BYTES: &str = "209715200";

fn limit(guest: &Guest, unit: &Unit<'_>) -> Result<Run, Failure> {
    let run = guest.greyctl(&[
        "memory-enforce",
        "--target",
        unit.name(),
        "--limit",
        LIMIT,
        "--observe",
        "0s",
        "--json",
    ])?;
    run.expect_code(0)
}

/// The limit is there, in systemd and in the kernel.
fn assert_limited(unit: &Unit<'_>) -> Result<(), Failure> {
    assert_eq!(unit.property("MemoryMax")?, LIMIT_BYTES);
    assert_eq!(unit.cgroup_file("memory.max")?, LIMIT_BYTES);
    Ok(())
}

/// Limits the unit and rolls back: everything is as before; and still so when
/// systemd has read its files again, and when the unit has been restarted.
fn limit_and_roll_back(guest: &Guest, unit: &Unit<'_>) -> Result<(), Failure> {
    let before = unit.state()?;
    limit(guest, unit)?;
    assert_limited(unit)?;
    guest.greyctl(&["rollback", "--json"])?.expect_code(0)?;
    assert_eq!(before.differences(&unit.state()?), Vec::<String>::new());
    systemctl(guest, &["daemon-reload"])?;
    assert_eq!(before.differences(&unit.state()?), Vec::<String>::new());
    systemctl(guest, &["restart", unit.name()])?;
    assert_eq!(before.differences(&unit.state()?), Vec::<String>::new());
    Ok(())
}

fn a_units_limits_are_set_through_systemd_and_restored(guest: &Guest) -> Result<Outcome, Failure> {
    let unit = Unit::sleeper(guest, "grey-case-web.service")?;
    let before = unit.state()?;
    let run = guest
        .greyctl(&[
            "memory-enforce",
            "--target",
            unit.name(),
            "--high",
            "150M",
            "--limit",
            LIMIT,
            "--observe",
            "0s",
            "--json",
        ])?
        .expect_code(0)?;
    assert_limited(&unit)?;
    assert_eq!(unit.property("MemoryHigh")?, "157286400");
    assert_eq!(unit.cgroup_file("memory.high")?, "157286400");
    let document = run.json()?;
    assert_eq!(document["target"]["kind"], "unit", "{document}");
    assert_eq!(
        document["plan"][0]["change"]["set"]["knob"]["kind"],
        "unit_property"
    );
    assert_eq!(document["journal_ids"].as_array().map(Vec::len), Some(2));
    guest.greyctl(&["rollback", "--json"])?.expect_code(0)?;
    assert_eq!(before.differences(&unit.state()?), Vec::<String>::new());
    assert!(!unit.processes()?.is_empty());
    Ok(Outcome::Passed)
}

fn an_earlier_persistent_set_property_survives(guest: &Guest) -> Result<Outcome, Failure> {
    let unit = Unit::sleeper(guest, "grey-case-web.service")?;
    systemctl(guest, &["set-property", unit.name(), "MemoryMax=300M"])?;
    limit_and_roll_back(guest, &unit)?;
    assert_eq!(unit.property("MemoryMax")?, "314572800");
    Ok(Outcome::Passed)
}

fn an_earlier_runtime_set_property_survives(guest: &Guest) -> Result<Outcome, Failure> {
    let unit = Unit::sleeper(guest, "grey-case-web.service")?;
    systemctl(
        guest,
        &["set-property", "--runtime", unit.name(), "MemoryMax=300M"],
    )?;
    limit_and_roll_back(guest, &unit)?;
    assert_eq!(unit.property("MemoryMax")?, "314572800");
    Ok(Outcome::Passed)
}

/// systemd keeps it in a drop-in of another name, and as a share of the
/// machine, not as a number of bytes.
fn an_earlier_limit_in_percent_survives(guest: &Guest) -> Result<Outcome, Failure> {
    let unit = Unit::sleeper(guest, "grey-case-web.service")?;
    systemctl(
        guest,
        &["set-property", "--runtime", unit.name(), "MemoryMax=50%"],
    )?;
    limit_and_roll_back(guest, &unit)?;
    Ok(Outcome::Passed)
}

fn a_units_limit_holds_through_reload_and_restart_until_rollback(
    guest: &Guest,
) -> Result<Outcome, Failure> {
    let unit = Unit::sleeper(guest, "grey-case-web.service")?;
    let before = unit.state()?;
    limit(guest, &unit)?;
    systemctl(guest, &["daemon-reload"])?;
    assert_limited(&unit)?;
    systemctl(guest, &["restart", unit.name()])?;
    assert_limited(&unit)?;
    guest.greyctl(&["rollback", "--json"])?.expect_code(0)?;
    assert_eq!(before.differences(&unit.state()?), Vec::<String>::new());
    Ok(Outcome::Passed)
}

/// systemd prefers the persistent drop-in of the same name once it reads its
/// files again. Then it shows the earlier value, while the kernel and the
/// run-time drop-in may still hold ours.
fn a_limit_that_a_reload_has_hidden_is_rolled_back_all_the_same(
    guest: &Guest,
) -> Result<Outcome, Failure> {
    let unit = Unit::sleeper(guest, "grey-case-web.service")?;
    systemctl(guest, &["set-property", unit.name(), "MemoryMax=300M"])?;
    let before = unit.state()?;
    limit(guest, &unit)?;
    systemctl(guest, &["daemon-reload"])?;
    assert_eq!(unit.property("MemoryMax")?, "314572800");
    guest.greyctl(&["rollback", "--json"])?.expect_code(0)?;
    assert_eq!(before.differences(&unit.state()?), Vec::<String>::new());
    Ok(Outcome::Passed)
}

fn somebody_elses_set_property_is_left_alone(guest: &Guest) -> Result<Outcome, Failure> {
    let unit = Unit::sleeper(guest, "grey-case-web.service")?;
    let before = unit.state()?;
    limit(guest, &unit)?;
    systemctl(
        guest,
        &["set-property", "--runtime", unit.name(), "MemoryMax=250M"],
    )?;
    let theirs = unit.state()?;
    let run = guest.greyctl(&["rollback", "--json"])?.expect_code(4)?;
    assert_eq!(run.json()?["changes"][0]["outcome"], "conflict");
    assert_eq!(theirs.differences(&unit.state()?), Vec::<String>::new());
    let run = guest
        .greyctl(&["rollback", "--force", "--json"])?
        .expect_code(0)?;
    assert_eq!(run.json()?["changes"][0]["found"], "262144000");
    assert_eq!(before.differences(&unit.state()?), Vec::<String>::new());
    Ok(Outcome::Passed)
}

/// Somebody has edited another unit and has not loaded that yet: a reload for
/// our sake would do it.
fn rollback_loads_nobody_elses_changed_unit_files(guest: &Guest) -> Result<Outcome, Failure> {
    let unit = Unit::sleeper(guest, "grey-case-web.service")?;
    let other = Unit::sleeper(guest, "grey-case-other.service")?;
    let value = unit.property("MemoryMax")?;
    limit(guest, &unit)?;
    let edited = fs::read_to_string(other.file())? + "MemoryMax=123M\n";
    guest.wait_until("systemd sees the other unit's new text", BOUND, || {
        fs::write(other.file(), &edited).is_ok()
            && other
                .property("NeedDaemonReload")
                .is_ok_and(|answer| answer == "yes")
    })?;
    let run = guest.greyctl(&["rollback", "--json"])?.expect_code(0)?;
    assert!(
        run.stdout.contains(other.name()),
        "it does not say what waits: {}",
        run.stdout
    );
    assert_eq!(other.property("NeedDaemonReload")?, "yes");
    assert_eq!(other.property("MemoryMax")?, "infinity");
    // Its own value is back all the same, and is still so after the reload
    // that the administrator makes.
    assert_eq!(unit.property("MemoryMax")?, value);
    assert_eq!(unit.cgroup_file("memory.max")?, "max");
    systemctl(guest, &["daemon-reload"])?;
    assert_eq!(unit.property("MemoryMax")?, value);
    assert_eq!(unit.property("DropInPaths")?, "");
    assert_eq!(unit.property("NeedDaemonReload")?, "no");
    Ok(Outcome::Passed)
}

fn a_transient_unit_that_ended_leaves_nothing_to_put_back(
    guest: &Guest,
) -> Result<Outcome, Failure> {
    let name = "grey-case-passing.service";
    guest
        .run(
            "systemd-run",
            &[
                "--quiet",
                "--unit",
                name,
                "--property=MemoryMax=300M",
                "sleep",
                "infinity",
            ],
        )?
        .expect_code(0)?;
    let unit = Unit::adopt(guest, name);
    limit(guest, &unit)?;
    assert_limited(&unit)?;
    systemctl(guest, &["stop", name])?;
    let run = guest.greyctl(&["rollback", "--json"])?.expect_code(0)?;
    assert_eq!(run.json()?["changes"][0]["outcome"], "gone");
    let left = "/run/systemd/transient/grey-case-passing.service.d";
    assert!(!fs::exists(left)?, "{left} is left");
    guest.greyctl(&["rollback", "--json"])?.expect_code(0)?;
    Ok(Outcome::Passed)
}

/// Starts a transient unit that sleeps.
fn start_transient(guest: &Guest, name: &str, limit: &str) -> Result<(), Failure> {
    let limit = format!("--property=MemoryMax={limit}");
    let sleep = ["sleep", "infinity"];
    let arguments = [&["--quiet", "--unit", name, limit.as_str()], &sleep[..]].concat();
    guest.run("systemd-run", &arguments)?.expect_code(0)?;
    Ok(())
}

/// By itself it has the very limit that we had set in the old one; restarting
/// it, in contrast, makes it no other unit.
fn a_transient_unit_made_again_under_its_name_is_left_alone(
    guest: &Guest,
) -> Result<Outcome, Failure> {
    let name = "grey-case-again.service";
    start_transient(guest, name, "300M")?;
    let unit = Unit::adopt(guest, name);
    let before = unit.state()?;
    limit(guest, &unit)?;
    systemctl(guest, &["restart", name])?;
    assert_limited(&unit)?;
    guest.greyctl(&["rollback", "--json"])?.expect_code(0)?;
    assert_eq!(before.differences(&unit.state()?), Vec::<String>::new());
    limit(guest, &unit)?;
    systemctl(guest, &["stop", name])?;
    start_transient(guest, name, LIMIT)?;
    let other = unit.state()?;
    let run = guest
        .greyctl(&["rollback", "--force", "--json"])?
        .expect_code(0)?;
    assert_eq!(run.json()?["changes"][0]["outcome"], "gone", "{run:?}");
    assert_eq!(other.differences(&unit.state()?), Vec::<String>::new());
    assert_limited(&unit)?;
    Ok(Outcome::Passed)
}

/// Nothing that it uses by now can be reclaimed: it is in memory alone, and
/// there is no swap.
fn a_units_earlier_limit_that_would_kill_it_is_not_restored(
    guest: &Guest,
) -> Result<Outcome, Failure> {
    const FILE: &str = "/dev/shm/grey-case-units";
    let unit = Unit::sleeper(guest, "grey-case-web.service")?;
    systemctl(
        guest,
        &["set-property", "--runtime", unit.name(), "MemoryMax=70M"],
    )?;
    let before = unit.state()?;
    limit(guest, &unit)?;
    let processes = unit.processes()?;
    let procs = unit.cgroup()?.join("cgroup.procs");
    let fill = format!(
        "echo $$ > {} && exec dd if=/dev/zero of={FILE} bs=1M count=120",
        procs.display()
    );
    guest.run("sh", &["-c", &fill])?.expect_code(0)?;
    let run = guest.greyctl(&["rollback", "--json"])?.expect_code(1)?;
    let change = &run.json()?["changes"][0];
    assert_eq!(change["outcome"], "failed", "{change}");
    assert_limited(&unit)?;
    assert_eq!(unit.processes()?, processes);
    fs::remove_file(FILE)?;
    guest.greyctl(&["rollback", "--json"])?.expect_code(0)?;
    assert_eq!(before.differences(&unit.state()?), Vec::<String>::new());
    assert_eq!(unit.processes()?, processes);
    Ok(Outcome::Passed)
}

fn a_simulation_changes_nothing_of_a_unit(guest: &Guest) -> Result<Outcome, Failure> {
    let unit = Unit::sleeper(guest, "grey-case-web.service")?;
    let before = unit.state()?;
    let run = guest
        .greyctl(&[
            "memory-enforce",
            "--simulation",
            "--target",
            unit.name(),
            "--limit",
            LIMIT,
            "--json",
        ])?
        .expect_code(0)?;
    let document = run.json()?;
    assert_eq!(document["plan"][0]["after"], LIMIT_BYTES, "{document}");
    assert_eq!(document["plan"][0]["before"], "infinity");
    assert_eq!(before.differences(&unit.state()?), Vec::<String>::new());
    Ok(Outcome::Passed)
}
