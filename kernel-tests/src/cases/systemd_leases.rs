//! Leases under systemd: the keeper belongs to nobody's session, and undoes
//! what it was started for.

use std::ffi::OsString;
use std::time::Duration;

use crate::case::{Case, DEADLINE, Failure, GuestName, Outcome};
use crate::guest::{Guest, greyctl_path};
use crate::systemd::{BOUND, Unit, systemctl, wait_until_gone};

const SYSTEMD: &[GuestName] = &[GuestName::Systemd];

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a_lease_on_a_unit_outlives_its_caller_and_is_undone",
        guests: SYSTEMD,
        deadline: DEADLINE,
        run: a_lease_on_a_unit_outlives_its_caller_and_is_undone,
    },
    Case {
        name: "a_keeper_that_is_killed_comes_back_and_undoes_its_lease",
        guests: SYSTEMD,
        deadline: DEADLINE,
        run: a_keeper_that_is_killed_comes_back_and_undoes_its_lease,
    },
    Case {
        name: "a_keeper_ends_when_its_lease_was_rolled_back_by_hand",
        guests: SYSTEMD,
        deadline: DEADLINE,
        run: a_keeper_ends_when_its_lease_was_rolled_back_by_hand,
    },
];

const KEEPERS: &str = "grey-optimizer-lease-*";
/// Time for a lease to be over and undone: its own, the looks of the keeper
/// at the clock and at the journal, and an emulated guest's slowness.
const LEASE_BOUND: Duration = Duration::from_secs(120);

fn lease(guest: &Guest, unit: &Unit<'_>, time: &str) -> Result<(), Failure> {
    guest
        .greyctl(&lease_arguments(unit, time))?
        .expect_code(0)?;
    Ok(())
}

fn lease_arguments<'a>(unit: &'a Unit<'_>, time: &'a str) -> [&'a str; 10] {
    [
        "memory-enforce",
        "--target",
        unit.name(),
        "--limit",
        "200M",
        "--for",
        time,
        "--observe",
        "0s",
        "--json",
    ]
}

/// The one keeper there is.
fn keeper(guest: &Guest) -> Result<String, Failure> {
    let run = systemctl(guest, &["list-units", "--plain", "--no-legend", KEEPERS])?;
    let mut names = run
        .stdout
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().next());
    match (names.next(), names.next()) {
        (Some(name), None) => Ok(name.to_owned()),
        _ => Err(Failure::new(format!("not one keeper: `{}`", run.stdout))),
    }
}

/// The caller is a service that systemd stops, with everything in it, while
/// the lease runs: what the end of a session or a terminal is, and harsher.
fn a_lease_on_a_unit_outlives_its_caller_and_is_undone(guest: &Guest) -> Result<Outcome, Failure> {
    let unit = Unit::sleeper(guest, "grey-case-web.service")?;
    let before = unit.state()?;
    let caller = Unit::adopt(guest, "grey-case-caller.service");
    let mut arguments: Vec<OsString> = [
        "--quiet",
        "--unit",
        caller.name(),
        "--property=Type=oneshot",
        "--property=RemainAfterExit=yes",
        "--",
    ]
    .map(OsString::from)
    .to_vec();
    arguments.push(greyctl_path());
    arguments.push(OsString::from("--state-dir"));
    arguments.push(guest.state_dir.clone().into());
    arguments.extend(lease_arguments(&unit, "15s").map(OsString::from));
    guest.run("systemd-run", &arguments)?.expect_code(0)?;
    assert_eq!(unit.property("MemoryMax")?, "209715200");
    let keeper = keeper(guest)?;
    systemctl(guest, &["stop", caller.name()])?;
    drop(caller);
    assert_eq!(
        systemctl(guest, &["is-active", &keeper])?.stdout.trim(),
        "active"
    );
    guest.wait_until(
        "the lease is over and the keeper is gone",
        LEASE_BOUND,
        || wait_until_gone(guest, KEEPERS, Duration::ZERO).is_ok(),
    )?;
    assert_eq!(before.differences(&unit.state()?), Vec::<String>::new());
    Ok(Outcome::Passed)
}

fn a_keeper_that_is_killed_comes_back_and_undoes_its_lease(
    guest: &Guest,
) -> Result<Outcome, Failure> {
    let unit = Unit::sleeper(guest, "grey-case-web.service")?;
    let before = unit.state()?;
    lease(guest, &unit, "15s")?;
    let keeper = Unit::adopt(guest, &keeper(guest)?);
    let first = keeper.property("MainPID")?;
    systemctl(guest, &["kill", "--signal=KILL", keeper.name()])?;
    guest.wait_until("another keeper runs", BOUND, || {
        keeper
            .property("MainPID")
            .is_ok_and(|pid| pid != "0" && pid != first)
    })?;
    assert_eq!(unit.property("MemoryMax")?, "209715200");
    guest.wait_until(
        "the lease is over and the keeper is gone",
        LEASE_BOUND,
        || wait_until_gone(guest, KEEPERS, Duration::ZERO).is_ok(),
    )?;
    assert_eq!(before.differences(&unit.state()?), Vec::<String>::new());
    Ok(Outcome::Passed)
}

fn a_keeper_ends_when_its_lease_was_rolled_back_by_hand(guest: &Guest) -> Result<Outcome, Failure> {
    let unit = Unit::sleeper(guest, "grey-case-web.service")?;
    let before = unit.state()?;
    lease(guest, &unit, "1h")?;
    keeper(guest)?;
    guest.greyctl(&["rollback", "--json"])?.expect_code(0)?;
    assert_eq!(before.differences(&unit.state()?), Vec::<String>::new());
    wait_until_gone(guest, KEEPERS, LEASE_BOUND).map(|()| Outcome::Passed)
}
