//! The kernel cases of a test run: builds the programs, boots every guest, two
//! at a time, and counts.
//!
//! Never forgives a case that no guest could show.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use crate::guests::{self, GUESTS, GuestError, Guests, ListedCase, Report};
use crate::initramfs::Work;
use crate::program;
use crate::talk;
use crate::tally::Tally;
use crate::verdicts::Outcome;
use crate::workspace::Workspace;

/// Guests that run side by side: an emulated one takes a core.
const SIDE_BY_SIDE: usize = 2;

/// What all guests together found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) tally: Tally,
    /// Guests that gave no verdict, and why.
    pub(crate) broken: Vec<String>,
    /// Everything that failed, for the summary.
    pub(crate) failed: Vec<String>,
    /// The last lines of the guests that broke.
    consoles: Vec<String>,
}

/// The examples of the budget library that guests run.
const EXAMPLES: &[&str] = &["index_server", "agent_fleet", "orchestrator", "in_a_scope"];

/// Builds the programs that go into a guest: the cases first, then `greyctl`,
/// then the examples. `None` when one does not compile; cargo has said why.
pub(crate) fn built_programs(workspace: &Workspace) -> Option<Vec<PathBuf>> {
    let cases = built(workspace, "kernel-tests", "kernel-cases")?;
    let greyctl = built(workspace, "greyctl", "greyctl")?;
    let mut programs = vec![cases, greyctl];
    programs.extend(built_examples(workspace)?);
    Some(programs)
}

/// One program of a package.
pub(crate) fn built(workspace: &Workspace, package: &str, name: &str) -> Option<PathBuf> {
    talk::step(&format!("building {name}"));
    let cargo = workspace.cargo(["build", "--quiet", "--package", package, "--bin", name]);
    compiles(cargo).then(|| workspace.built().join(name))
}

/// The examples of the budget library, for release: they make and compress tens
/// of megabytes, which takes an emulated guest minutes without optimization.
pub(crate) fn built_examples(workspace: &Workspace) -> Option<Vec<PathBuf>> {
    talk::step("building the examples of grey-budget for release");
    let mut cargo = workspace.cargo(["build", "--quiet", "--release", "--package", "grey-budget"]);
    for name in EXAMPLES {
        cargo.args(["--example", name]);
    }
    let folder = workspace.built_for_release().join("examples");
    compiles(cargo).then(|| EXAMPLES.iter().map(|name| folder.join(name)).collect())
}

fn compiles(mut cargo: Command) -> bool {
    match program::watched(&mut cargo) {
        Ok((status, _)) => status.success(),
        Err(error) => {
            talk::line(&format!("error: {}", talk::chain(&error)));
            false
        }
    }
}

/// Runs the cases in the guests named (all, when none is), or some of them.
///
/// # Errors
/// When the guests cannot even be prepared.
pub(crate) fn run(
    workspace: &Workspace,
    names: &[String],
    cases: &[String],
) -> Result<Found, GuestError> {
    let Some(programs) = built_programs(workspace) else {
        return Ok(Found {
            tally: Tally::one(false),
            failed: vec!["building what runs in the guests".to_owned()],
            ..Found::default()
        });
    };
    let listed = match guests::listed_cases(&programs[0]) {
        Ok(listed) => listed,
        Err(error) => {
            return Ok(Found {
                tally: Tally::one(false),
                failed: vec![talk::chain(&error)],
                ..Found::default()
            });
        }
    };
    let plan = plan(&listed, names, cases);
    if let Some(unknown) = unknown(&listed, names, cases) {
        return Ok(Found {
            tally: Tally::one(false),
            failed: vec![unknown],
            ..Found::default()
        });
    }
    let guests = Guests::prepare(workspace, programs)?;
    // The slowest first, so that the two that run side by side end together.
    let queue = Mutex::new(plan.clone());
    let reports = Mutex::new(Vec::new());
    thread::scope(|threads| {
        for _ in 0..SIDE_BY_SIDE {
            threads.spawn(|| {
                while let Some(next) = pop(&queue) {
                    let report = guests.run(&next.guest, &Work::Cases(chosen(&next, cases)));
                    if let Ok(mut reports) = reports.lock() {
                        reports.push((next, report));
                    }
                }
            });
        }
    });
    let mut found = Found::default();
    let reports = reports.into_inner().unwrap_or_default();
    for (planned, report) in &reports {
        found.count(planned, report);
    }
    for console in &found.consoles {
        talk::line(console);
    }
    // Only a run of everything can say that no guest could show a case.
    if names.is_empty() {
        found.count_skipped_everywhere(&listed, &reports);
    }
    Ok(found)
}

/// The cases that one guest is expected to give verdicts on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Planned {
    guest: String,
    cases: Vec<String>,
}

fn plan(listed: &[ListedCase], names: &[String], cases: &[String]) -> Vec<Planned> {
    GUESTS
        .iter()
        .filter(|guest| names.is_empty() || names.iter().any(|name| name == *guest))
        .map(|guest| Planned {
            guest: (*guest).to_owned(),
            cases: listed
                .iter()
                .filter(|listed| listed.guests.iter().any(|name| name == guest))
                .filter(|listed| cases.is_empty() || cases.contains(&listed.case))
                .map(|listed| listed.case.clone())
                .collect(),
        })
        .filter(|planned| !planned.cases.is_empty())
        .collect()
}

/// A name that is no guest's or no case's, told to whoever mistyped it. Nothing
/// to do must not look like success.
pub(crate) fn unknown(listed: &[ListedCase], names: &[String], cases: &[String]) -> Option<String> {
    let wrong_guest = names.iter().find(|name| !GUESTS.contains(&name.as_str()));
    if let Some(name) = wrong_guest {
        return Some(format!(
            "no guest is called `{name}`; there are {}",
            GUESTS.join(", ")
        ));
    }
    let here = |listed: &&ListedCase| {
        names.is_empty() || listed.guests.iter().any(|guest| names.contains(guest))
    };
    let known: Vec<&str> = listed
        .iter()
        .filter(here)
        .map(|listed| listed.case.as_str())
        .collect();
    let wrong_case = cases.iter().find(|case| !known.contains(&case.as_str()))?;
    Some(format!(
        "no case is called `{wrong_case}`; there are {}",
        known.join(", ")
    ))
}

/// All of a guest's cases need no names.
fn chosen(planned: &Planned, cases: &[String]) -> Vec<String> {
    if cases.is_empty() {
        Vec::new()
    } else {
        planned.cases.clone()
    }
}

fn pop(queue: &Mutex<Vec<Planned>>) -> Option<Planned> {
    queue.lock().ok()?.pop()
}

impl Found {
    fn count(&mut self, planned: &Planned, report: &Result<Report, GuestError>) {
        let guest = &planned.guest;
        let report = match report {
            Ok(report) => report,
            Err(error) => {
                self.broken.push(format!("{guest}: {}", talk::chain(error)));
                self.tally.failed += count(planned.cases.len());
                return;
            }
        };
        for verdict in &report.received.verdicts {
            match verdict.outcome {
                Outcome::Passed => self.tally.passed += 1,
                Outcome::Skipped => self.tally.skipped += 1,
                Outcome::Failed => {
                    self.tally.failed += 1;
                    self.failed
                        .push(format!("{guest}: {}: {}", verdict.case, verdict.detail));
                }
            }
        }
        let missing = report.received.missing(&planned.cases);
        self.tally.failed += count(missing.len());
        match &report.broken {
            Some(why) => {
                self.consoles.push(format!(
                    "--- console of {guest}\n{}\n---",
                    report.console_end()
                ));
                self.broken.push(format!(
                    "{guest}: {why}; no verdict on: {}",
                    missing.join(", ")
                ));
            }
            None if !missing.is_empty() => {
                self.broken
                    .push(format!("{guest}: no verdict on: {}", missing.join(", ")));
            }
            None => {}
        }
    }

    /// A case that every guest skips proves nothing: its skips become one
    /// failure.
    fn count_skipped_everywhere(
        &mut self,
        listed: &[ListedCase],
        reports: &[(Planned, Result<Report, GuestError>)],
    ) {
        for case in listed {
            let outcomes: Vec<Outcome> = reports
                .iter()
                .filter_map(|(_, report)| report.as_ref().ok())
                .flat_map(|report| &report.received.verdicts)
                .filter(|verdict| verdict.case == case.case)
                .map(|verdict| verdict.outcome)
                .collect();
            let everywhere = outcomes.len() == case.guests.len()
                && outcomes.iter().all(|outcome| *outcome == Outcome::Skipped);
            if everywhere {
                self.tally.skipped = self.tally.skipped.saturating_sub(count(outcomes.len()));
                self.tally.failed += 1;
                self.failed.push(format!(
                    "{}: skipped in every guest, so it shows nothing",
                    case.case
                ));
            }
        }
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdicts::{Received, Verdict};

    fn listed(case: &str, guests: &[&str]) -> ListedCase {
        ListedCase {
            case: case.to_owned(),
            guests: guests.iter().map(|guest| (*guest).to_owned()).collect(),
        }
    }

    fn report(verdicts: &[(&str, Outcome)], broken: Option<&str>) -> Result<Report, GuestError> {
        Ok(Report {
            received: Received {
                has_begun: true,
                has_ended: broken.is_none(),
                running: None,
                verdicts: verdicts
                    .iter()
                    .map(|(case, outcome)| Verdict {
                        case: (*case).to_owned(),
                        outcome: *outcome,
                        detail: String::new(),
                        seconds: 1.0,
                        log: String::new(),
                    })
                    .collect(),
            },
            broken: broken.map(ToOwned::to_owned),
            ..Report::silent()
        })
    }

    fn planned(guest: &str, cases: &[&str]) -> Planned {
        Planned {
            guest: guest.to_owned(),
            cases: cases.iter().map(|case| (*case).to_owned()).collect(),
        }
    }

    #[test]
    fn each_guest_gets_its_cases_and_no_guest_boots_for_nothing() {
        let all = [listed("a", &["5.10", "6.1"]), listed("b", &["6.1"])];
        let found = plan(&all, &[], &["b".to_owned()]);
        assert_eq!(found, [planned("6.1", &["b"])]);
        assert_eq!(
            plan(&all, &["5.10".to_owned()], &[]),
            [planned("5.10", &["a"])]
        );
    }

    #[test]
    fn a_mistyped_guest_or_case_is_told_and_is_no_success() {
        let all = [listed("a", &["5.10"]), listed("b", &["6.1"])];
        let text = |text: &str| vec![text.to_owned()];
        assert!(unknown(&all, &text("6.13"), &[]).unwrap().contains("6.13"));
        assert!(
            unknown(&all, &[], &text("c"))
                .unwrap()
                .contains("there are a, b")
        );
        assert!(unknown(&all, &text("5.10"), &text("b")).is_some());
        assert_eq!(unknown(&all, &text("6.1"), &text("b")), None);
    }

    #[test]
    fn a_guest_without_a_verdict_is_broken_and_its_cases_count_as_failed() {
        let mut found = Found::default();
        found.count(
            &planned("6.1", &["a", "b", "c"]),
            &report(&[("a", Outcome::Passed)], Some("hang")),
        );
        assert_eq!((found.tally.passed, found.tally.failed), (1, 2));
        assert!(found.broken[0].contains("b, c"), "{:?}", found.broken);
        assert_eq!(found.consoles.len(), 1);
    }

    #[test]
    fn a_guest_that_forgets_a_case_is_broken_although_it_came_to_its_end() {
        let mut found = Found::default();
        found.count(
            &planned("6.1", &["a", "b"]),
            &report(&[("a", Outcome::Passed)], None),
        );
        assert_eq!((found.tally.failed, found.broken.len()), (1, 1));
    }

    #[test]
    fn a_case_that_is_skipped_in_every_guest_fails() {
        let all = [listed("a", &["5.10", "6.1"]), listed("b", &["5.10", "6.1"])];
        let reports = [
            (
                planned("5.10", &["a", "b"]),
                report(&[("a", Outcome::Skipped), ("b", Outcome::Skipped)], None),
            ),
            (
                planned("6.1", &["a", "b"]),
                report(&[("a", Outcome::Skipped), ("b", Outcome::Passed)], None),
            ),
        ];
        let mut found = Found::default();
        for (planned, report) in &reports {
            found.count(planned, report);
        }
        found.count_skipped_everywhere(&all, &reports);
        let Tally {
            passed,
            failed,
            skipped,
        } = found.tally;
        assert_eq!((passed, failed, skipped), (1, 1, 1));
        assert!(found.failed[0].contains("a: skipped in every guest"));
    }
}
