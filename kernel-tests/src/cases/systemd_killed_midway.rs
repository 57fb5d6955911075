//! `greyctl` is killed for good between two of its steps while it changes a
//! unit, or puts one back; a second `greyctl rollback` then ends the work.
//!
//! Killed are only steps from the first one on the journal: before it, nothing
//! but questions is asked of systemd.

use std::fs;
use std::time::Duration;

use super::undo::{enforce, enforce_arguments, outcomes};
use crate::case::{Case, Failure, GuestName, Outcome};
use crate::guest::Guest;
use crate::systemd::{Unit, UnitState, systemctl};
use crate::tracer::{Scope, Trace};

/// Some sixty runs of `greyctl` in an emulated guest.
const LONG: Duration = Duration::from_secs(480);

/// Time for the children of a killed program to die with it.
const CHILDREN_BOUND: Duration = Duration::from_secs(20);

pub(super) const CASES: &[Case] = &[
    Case {
        name: "killed_at_every_step_of_a_units_limit",
        guests: &[GuestName::Systemd],
        deadline: LONG,
        run: killed_at_every_step_of_a_units_limit,
    },
    Case {
        name: "rollback_of_a_unit_killed_at_every_step_can_be_run_again",
        guests: &[GuestName::Systemd],
        deadline: LONG,
        run: rollback_of_a_unit_killed_at_every_step_can_be_run_again,
    },
];

const UNIT: &str = "grey-case-web.service";
const LIMIT: [&str; 4] = ["--target", UNIT, "--limit", "200M"];

/// A sleeping service with an earlier limit of 300M.
fn limited_unit(guest: &Guest) -> Result<Unit<'_>, Failure> {
    let unit = Unit::sleeper(guest, UNIT)?;
    let earlier = ["set-property", "--runtime", UNIT, "MemoryMax=300M"];
    systemctl(guest, &earlier)?;
    Ok(unit)
}

fn killed_at_every_step_of_a_units_limit(guest: &Guest) -> Result<Outcome, Failure> {
    let unit = limited_unit(guest)?;
    let before = unit.state()?;
    let plan = enforce_arguments(&LIMIT);
    let whole = guest.trace_greyctl(&plan, Scope::Tree, None)?;
    assert_eq!(whole.code, Some(0), "{}", whole.output);
    assert_eq!(unit.property("MemoryMax")?, "209715200");
    put_back(guest, &unit, &before, &whole)?;
    let first = first_journal_step(&whole)?;
    let mut changed = 0;
    for number in first.. {
        forget_journal(guest)?;
        let trace = guest.trace_greyctl(&plan, Scope::Tree, Some(number))?;
        if unit.property("MemoryMax")? == "209715200" {
            changed += 1;
        }
        put_back(guest, &unit, &before, &trace)?;
        if !trace.killed {
            guest.say(&format!(
                "{} steps, {changed} after the change",
                number - first
            ));
            break;
        }
        assert!(number <= whole.steps.len() * 2, "it never ends: {trace:?}");
    }
    // It was killed after the change at least once, not only before.
    assert!(changed > 1, "{:?}", whole.steps);
    Ok(Outcome::Passed)
}

/// Ends what was begun, wherever it was killed.
fn put_back(
    guest: &Guest,
    unit: &Unit<'_>,
    before: &UnitState,
    trace: &Trace,
) -> Result<(), Failure> {
    let last = trace.steps.last().map(|step| step.text.as_str());
    let last = format!("killed: {}, at {last:?}", trace.killed);
    guest.say(&last);
    let alive = trace.children_alive(CHILDREN_BOUND);
    assert!(alive.is_empty(), "{last}: children {alive:?} live on");
    let undone = guest.greyctl(&["rollback", "--json"])?;
    assert_eq!(undone.code, Some(0), "{last}: {}", undone.stderr);
    let document = undone.json()?;
    for outcome in outcomes(&document) {
        let is_good = ["restored", "already_restored"].contains(&outcome.as_str());
        assert!(is_good, "{last}: {document}");
    }
    assert_eq!(
        before.differences(&unit.state()?),
        Vec::<String>::new(),
        "{last}"
    );
    Ok(())
}

fn forget_journal(guest: &Guest) -> Result<(), Failure> {
    Ok(fs::remove_dir_all(&guest.state_dir)?)
}

fn first_journal_step(trace: &Trace) -> Result<usize, Failure> {
    trace
        .steps
        .iter()
        .position(|step| step.text.contains("journal"))
        .map(|index| index + 1)
        .ok_or_else(|| Failure::new(format!("nothing is done to the journal: {trace:?}")))
}

/// Without an earlier limit, so that the drop-in goes and systemd has to read
/// its files again.
fn rollback_of_a_unit_killed_at_every_step_can_be_run_again(
    guest: &Guest,
) -> Result<Outcome, Failure> {
    let unit = Unit::sleeper(guest, UNIT)?;
    let before = unit.state()?;
    for number in 1.. {
        enforce(guest, &LIMIT)?;
        assert_eq!(unit.property("MemoryMax")?, "209715200");
        let trace = guest.trace_greyctl(&["rollback", "--json"], Scope::Tree, Some(number))?;
        put_back(guest, &unit, &before, &trace)?;
        if !trace.killed {
            assert!(number > 5, "only {number} steps: {trace:?}");
            guest.say(&format!("{} steps", number - 1));
            break;
        }
        forget_journal(guest)?;
    }
    Ok(Outcome::Passed)
}
