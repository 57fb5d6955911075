//! What is said before a unit is touched: warnings, refusals, and the next
//! step.

use crate::case::{Case, DEADLINE, Failure, GuestName, Outcome};
use crate::guest::Guest;
use crate::systemd::{BOUND, Unit};

const SYSTEMD: &[GuestName] = &[GuestName::Systemd];

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a_unit_that_oomd_watches_is_warned_about",
        guests: SYSTEMD,
        deadline: DEADLINE,
        run: a_unit_that_oomd_watches_is_warned_about,
    },
    Case {
        name: "a_unit_in_a_slice_that_oomd_watches_is_warned_about",
        guests: SYSTEMD,
        deadline: DEADLINE,
        run: a_unit_in_a_slice_that_oomd_watches_is_warned_about,
    },
    Case {
        name: "one_of_several_processes_of_a_service_is_refused",
        guests: SYSTEMD,
        deadline: DEADLINE,
        run: one_of_several_processes_of_a_service_is_refused,
    },
    Case {
        name: "a_unit_that_does_not_exist_is_no_target",
        guests: SYSTEMD,
        deadline: DEADLINE,
        run: a_unit_that_does_not_exist_is_no_target,
    },
];

fn warnings_for(guest: &Guest, unit: &str) -> Result<String, Failure> {
    let run = guest
        .greyctl(&[
            "memory-enforce",
            "--simulation",
            "--target",
            unit,
            "--limit",
            "200M",
            "--json",
        ])?
        .expect_code(0)?;
    Ok(run.json()?["warnings"].to_string())
}

fn a_unit_that_oomd_watches_is_warned_about(guest: &Guest) -> Result<Outcome, Failure> {
    let text = "[Service]\nType=exec\nExecStart=sleep infinity\nManagedOOMMemoryPressure=kill\n";
    let watched = Unit::start(guest, "grey-case-watched.service", text)?;
    let other = Unit::sleeper(guest, "grey-case-web.service")?;
    let warnings = warnings_for(guest, watched.name())?;
    assert!(warnings.contains("systemd-oomd"), "{warnings}");
    let warnings = warnings_for(guest, other.name())?;
    assert!(!warnings.contains("systemd-oomd"), "{warnings}");
    Ok(Outcome::Passed)
}

/// systemd-oomd chooses its victim among everything below what it watches.
fn a_unit_in_a_slice_that_oomd_watches_is_warned_about(guest: &Guest) -> Result<Outcome, Failure> {
    let slice = Unit::start(
        guest,
        "grey.slice",
        "[Slice]\nManagedOOMMemoryPressure=kill\n",
    )?;
    let text = "[Service]\nType=exec\nExecStart=sleep infinity\nSlice=grey-case.slice\n";
    let unit = Unit::start(guest, "grey-case-watched.service", text)?;
    let warnings = warnings_for(guest, unit.name())?;
    assert!(warnings.contains("systemd-oomd"), "{warnings}");
    drop(unit);
    drop(slice);
    crate::systemd::wait_until_gone(guest, "grey*.slice", BOUND)?;
    Ok(Outcome::Passed)
}

fn one_of_several_processes_of_a_service_is_refused(guest: &Guest) -> Result<Outcome, Failure> {
    let text = "[Service]\nType=exec\nExecStart=sh -c 'sleep 1000 & sleep 1001 & wait'\n";
    let unit = Unit::start(guest, "grey-case-web.service", text)?;
    guest.wait_until("the service has its three processes", BOUND, || {
        unit.processes().is_ok_and(|processes| processes.len() == 3)
    })?;
    let before = unit.state()?;
    let processes = unit.processes()?;
    let one = processes.last().copied().unwrap_or_default();
    let run = guest
        .greyctl(&[
            "memory-enforce",
            "--target",
            &one.to_string(),
            "--limit",
            "200M",
            "--json",
        ])?
        .expect_code(7)?;
    let refusals = run.json()?["refusals"].to_string();
    assert!(
        refusals.contains("--target grey-case-web.service"),
        "it does not name the unit: {refusals}"
    );
    assert_eq!(unit.processes()?, processes);
    assert_eq!(before.differences(&unit.state()?), Vec::<String>::new());
    Ok(Outcome::Passed)
}

fn a_unit_that_does_not_exist_is_no_target(guest: &Guest) -> Result<Outcome, Failure> {
    let run = guest
        .greyctl(&[
            "memory-enforce",
            "--target",
            "grey-none.service",
            "--limit",
            "200M",
        ])?
        .expect_code(2)?;
    assert!(run.stderr.contains("grey-none.service"), "{}", run.stderr);
    Ok(Outcome::Passed)
}
