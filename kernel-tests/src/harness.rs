//! Runs the cases of a guest one after the other, each in a process of its own
//! with a deadline, cleans up between them, and sends a verdict for each.
//!
//! Never boots or powers off anything, and never lets one case end the others.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::case::{Case, Failure, GuestName, Outcome};
use crate::cases;
use crate::cleanup::Before;
use crate::guest::{Guest, say, wait_until};
use crate::program::process_id;
use crate::verdict::{Record, Verdicts};

/// Where the cases have their directories: a tmpfs.
const DIRECTORY: &str = "/run/grey-cases";
/// So much of the end of a failed case's log is sent.
const LOG_BYTES: usize = 48 * 1024;
/// Time for a case to be gone after it was killed.
const DEATH_BOUND: Duration = Duration::from_secs(30);

/// Runs the cases of this guest, or those of them that are named.
///
/// # Errors
/// When nobody takes the verdicts, or a name is unknown here.
pub fn run_all(guest: GuestName, names: &[String], verdicts: &Path) -> Result<(), Failure> {
    let mut verdicts = Verdicts::open(verdicts)?;
    rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1))?;
    // Whatever a case does to this machine's memory, its judge survives.
    fs::write("/proc/self/oom_score_adj", "-1000")?;
    let chosen = choose(guest, names)?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    verdicts.send(&Record::Begin {
        guest,
        kernel: kernel.trim().to_owned(),
        cases: chosen.len(),
    })?;
    for case in chosen {
        verdicts.send(&Record::Started {
            case: case.name.to_owned(),
        })?;
        let start = Instant::now();
        let directory = Path::new(DIRECTORY).join(case.name);
        let outcome = run_one(guest, case, &directory)
            .unwrap_or_else(|failure| Outcome::Failed(failure.to_string()));
        let log = match outcome {
            Outcome::Failed(_) => log_end(&directory),
            Outcome::Passed | Outcome::Skipped(_) => String::new(),
        };
        // Only a tmpfs: it goes with the guest, should this fail.
        let _ = fs::remove_dir_all(&directory);
        verdicts.send(&Record::Verdict {
            case: case.name.to_owned(),
            outcome,
            seconds: start.elapsed().as_secs_f64(),
            log,
        })?;
    }
    verdicts.send(&Record::End)
}

/// Runs one case in this very process and notes its outcome in its directory.
///
/// # Errors
/// When there is no such case, or the outcome cannot be written.
pub fn run_in_this_process(guest: GuestName, name: &str, directory: &Path) -> Result<(), Failure> {
    // The harness is protected from the kernel's OOM killer; its cases are not.
    fs::write("/proc/self/oom_score_adj", "0")?;
    let chosen = choose(guest, &[name.to_owned()])?;
    let case = chosen
        .first()
        .ok_or_else(|| Failure::new(format!("no case is called `{name}`")))?;
    let outcome = judge(case, &Guest::new(guest, directory.to_owned()));
    fs::write(outcome_file(directory), serde_json::to_vec(&outcome)?)?;
    Ok(())
}

/// What the case found; a panic is a failure.
#[must_use]
pub fn judge(case: &Case, guest: &Guest) -> Outcome {
    let (sender, message) = std::sync::mpsc::channel();
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |about| {
        say(&format!("panic: {about}"));
        // Only the first one counts, and somebody is always there to take it.
        let _ = sender.send(about.to_string());
    }));
    let result = panic::catch_unwind(|| (case.run)(guest));
    panic::set_hook(usual);
    match result {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(failure)) => Outcome::Failed(failure.to_string()),
        Err(_) => Outcome::Failed(message.try_recv().unwrap_or_else(|_| "panic".to_owned())),
    }
}

fn choose(guest: GuestName, names: &[String]) -> Result<Vec<&'static Case>, Failure> {
    let here: Vec<&Case> = cases::all()
        .filter(|case| case.guests.contains(&guest))
        .collect();
    if names.is_empty() {
        return Ok(here);
    }
    names
        .iter()
        .map(|name| {
            here.iter()
                .find(|case| case.name == name)
                .copied()
                .ok_or_else(|| Failure::new(format!("guest {guest} has no case called `{name}`")))
        })
        .collect()
}

fn run_one(guest: GuestName, case: &Case, directory: &Path) -> Result<Outcome, Failure> {
    fs::create_dir_all(directory)?;
    let before = Before::note(guest);
    let found = run_child(guest, case, directory);
    let left = before.take_away_leftovers();
    if left.is_empty() {
        return found;
    }
    let left = left.join("; ");
    match found? {
        Outcome::Failed(why) => Ok(Outcome::Failed(format!("{why}\n(and left behind: {left})"))),
        Outcome::Passed | Outcome::Skipped(_) => {
            Ok(Outcome::Failed(format!("left behind: {left}")))
        }
    }
}

fn run_child(guest: GuestName, case: &Case, directory: &Path) -> Result<Outcome, Failure> {
    let log = File::create(log_file(directory))?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["case", case.name, "--guest", &guest.to_string()])
        .arg("--directory")
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()?;
    let mut status = None;
    let _ = wait_until(case.deadline, || {
        status = child.try_wait().ok().flatten();
        status.is_some()
    });
    let Some(status) = status else {
        child.kill()?;
        let pid = process_id(&child);
        if !wait_until(DEATH_BOUND, || matches!(child.try_wait(), Ok(Some(_)))) {
            say(&format!("case process {pid} does not die"));
        }
        return Ok(Outcome::Failed(format!(
            "not done after {:?}",
            case.deadline
        )));
    };
    match fs::read(outcome_file(directory)) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(_) => Ok(Outcome::Failed(format!(
            "the case's process ended without an outcome: {status}"
        ))),
    }
}

fn outcome_file(directory: &Path) -> PathBuf {
    directory.join("outcome.json")
}

fn log_file(directory: &Path) -> PathBuf {
    directory.join("log")
}

fn log_end(directory: &Path) -> String {
    let bytes = fs::read(log_file(directory)).unwrap_or_default();
    let start = bytes.len().saturating_sub(LOG_BYTES);
    String::from_utf8_lossy(&bytes[start..]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(run: fn(&Guest) -> Result<Outcome, Failure>) -> Case {
        Case {
            name: "x",
            guests: GuestName::ALL,
            deadline: crate::case::DEADLINE,
            run,
        }
    }

    fn judged(run: fn(&Guest) -> Result<Outcome, Failure>) -> Outcome {
        judge(
            &case(run),
            &Guest::new(GuestName::Linux6_12, PathBuf::from("/nonexistent")),
        )
    }

    /// One test for all: the panic hook belongs to the whole process.
    #[test]
    fn a_panic_and_an_error_are_failures_that_say_why() {
        let Outcome::Failed(why) = judged(|_| panic!("two is not three")) else {
            panic!("a panic was no failure");
        };
        assert!(why.contains("two is not three"), "{why}");
        let Outcome::Failed(why) =
            judged(|_| Ok(std::fs::read("/nonexistent/x").map(|_| Outcome::Passed)?))
        else {
            panic!("an error was no failure");
        };
        assert!(why.contains("No such file"), "{why}");
        assert_eq!(judged(|_| Ok(Outcome::Passed)), Outcome::Passed);
    }

    #[test]
    fn a_name_that_no_case_has_is_refused() {
        assert!(choose(GuestName::Linux6_12, &["no_such_case".to_owned()]).is_err());
        assert!(!choose(GuestName::Linux6_12, &[]).unwrap().is_empty());
    }

    #[test]
    fn no_two_cases_have_one_name_and_each_has_a_guest() {
        let mut names: Vec<&str> = cases::all().map(|case| case.name).collect();
        assert!(cases::all().all(|case| !case.guests.is_empty()));
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
