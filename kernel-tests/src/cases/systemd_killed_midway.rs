//! `greyctl` is killed for good between two of its steps while it changes a
//! unit, or puts one back; a second `greyctl rollback` then ends the work.
//!
//! Most steps are questions to systemd, in rows of up to a hundred. Of each row
//! only the first and the last are where it is killed. What comes before the
//! first change, like the making of the journal, is shown in the other guests.

use std::fs;
use std::time::Duration;

use super::undo::{enforce, enforce_arguments, outcomes};
use crate::case::{Case, Failure, GuestName, Outcome};
use crate::guest::Guest;
use crate::systemd::{Unit, UnitState, systemctl};
use crate::tracer::{Scope, Trace};

/// Some forty runs of `greyctl`, traced, in an emulated guest.
const LONG: Duration = Duration::from_secs(900);

/// Time for the children of a killed program to die with it.
const CHILDREN_BOUND: Duration = Duration::from_secs(20);

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a_units_limit_killed_anywhere_is_rolled_back",
        guests: &[GuestName::Systemd],
        deadline: LONG,
        run: a_units_limit_killed_anywhere_is_rolled_back,
    },
    Case {
        name: "a_units_rollback_killed_anywhere_can_be_run_again",
        guests: &[GuestName::Systemd],
        deadline: LONG,
        run: a_units_rollback_killed_anywhere_can_be_run_again,
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

fn a_units_limit_killed_anywhere_is_rolled_back(guest: &Guest) -> Result<Outcome, Failure> {
    let unit = limited_unit(guest)?;
    let before = unit.state()?;
    let plan = enforce_arguments(&LIMIT);
    let whole = guest.trace_greyctl(&plan, Scope::Tree, None)?;
    assert_eq!(whole.code, Some(0), "{}", whole.output);
    assert_eq!(unit.property("MemoryMax")?, "209715200");
    put_back(guest, &unit, &before, &whole)?;
    let mut changed = 0;
    let chosen = telling_steps(&whole, |text| {
        text.starts_with("pwrite") && text.contains("journal.jsonl")
    })?;
    for number in chosen {
        forget_journal(guest)?;
        let trace = guest.trace_greyctl(&plan, Scope::Tree, Some(number))?;
        if unit.property("MemoryMax")? == "209715200" {
            changed += 1;
        }
        put_back(guest, &unit, &before, &trace)?;
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

/// The steps at which a kill tells something, see above: from the first one on
/// that `begins` holds for.
fn telling_steps(trace: &Trace, begins: impl Fn(&str) -> bool) -> Result<Vec<usize>, Failure> {
    let asks: Vec<bool> = trace
        .steps
        .iter()
        .map(|step| step.text.starts_with("send"))
        .collect();
    let first = trace
        .steps
        .iter()
        .position(|step| begins(&step.text))
        .ok_or_else(|| Failure::new(format!("the work never begins: {trace:?}")))?;
    let is_inside = |index: usize| {
        index > 0 && asks[index] && asks[index - 1] && asks.get(index + 1) == Some(&true)
    };
    Ok((first..asks.len())
        .filter(|index| !is_inside(*index))
        .map(|index| index + 1)
        .collect())
}

/// Without an earlier limit, so that the drop-in goes and systemd has to read
/// its files again.
fn a_units_rollback_killed_anywhere_can_be_run_again(guest: &Guest) -> Result<Outcome, Failure> {
    let unit = Unit::sleeper(guest, UNIT)?;
    let before = unit.state()?;
    enforce(guest, &LIMIT)?;
    let whole = guest.trace_greyctl(&["rollback", "--json"], Scope::Tree, None)?;
    put_back(guest, &unit, &before, &whole)?;
    let removed = |trace: &Trace| {
        trace
            .steps
            .iter()
            .any(|step| step.text.contains("50-MemoryMax.conf"))
    };
    assert!(removed(&whole), "{whole:?}");
    let mut killed_before = 0;
    let chosen = telling_steps(&whole, |text| text.starts_with("send"))?;
    for number in chosen {
        forget_journal(guest)?;
        enforce(guest, &LIMIT)?;
        assert_eq!(unit.property("MemoryMax")?, "209715200");
        let trace = guest.trace_greyctl(&["rollback", "--json"], Scope::Tree, Some(number))?;
        if !removed(&trace) {
            killed_before += 1;
        }
        put_back(guest, &unit, &before, &trace)?;
    }
    // Some kills were before the drop-in went, and some after.
    assert!(killed_before > 0);
    Ok(Outcome::Passed)
}
