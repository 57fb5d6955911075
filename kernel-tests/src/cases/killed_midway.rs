//! `greyctl` is killed for good between any two of its steps, and a second
//! `greyctl rollback` puts everything back; so it does when the end of the
//! journal was lost with the power.
//!
//! Nothing is told to stop by itself: the tracer kills at a system call.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::undo::{
    KsmSetByHand, assert_as_before, enforce, enforce_arguments, every_knob, journal, list,
    outcomes, rollback,
};
use crate::case::{Case, Failure, GuestName, Outcome};
use crate::guest::{Guest, Run};
use crate::hog::{Hog, HogOptions};
use crate::state::KernelState;
use crate::tracer::{Scope, Trace};

/// Some two hundred runs of `greyctl` in an emulated guest.
const LONG: Duration = Duration::from_secs(480);

/// Time for the children of a killed program to die with it.
const CHILDREN_BOUND: Duration = Duration::from_secs(20);

pub(super) const CASES: &[Case] = &[
    Case {
        name: "killed_at_every_step_of_a_limit_below_usage",
        guests: GuestName::PLAIN,
        deadline: LONG,
        run: killed_at_every_step_of_a_limit_below_usage,
    },
    Case {
        name: "killed_at_every_step_of_a_plan_with_every_knob",
        guests: &[GuestName::Linux6_12],
        deadline: LONG,
        run: killed_at_every_step_of_a_plan_with_every_knob,
    },
    Case {
        name: "killed_at_every_step_of_a_plan_around_a_process",
        guests: &[GuestName::Linux5_10, GuestName::Linux6_1],
        deadline: LONG,
        run: killed_at_every_step_of_a_plan_around_a_process,
    },
    Case {
        name: "rollback_killed_at_every_step_can_be_run_again",
        guests: GuestName::PLAIN,
        deadline: LONG,
        run: rollback_killed_at_every_step_can_be_run_again,
    },
    Case {
        name: "a_torn_end_of_the_journal_loses_no_earlier_record",
        guests: GuestName::PLAIN,
        deadline: LONG,
        run: a_torn_end_of_the_journal_loses_no_earlier_record,
    },
    Case {
        name: "a_record_that_was_torn_had_changed_nothing_yet",
        guests: GuestName::PLAIN,
        deadline: LONG,
        run: a_record_that_was_torn_had_changed_nothing_yet,
    },
];

/// Reclaim and the limit are written by disposable children; their steps count
/// as well.
fn killed_at_every_step_of_a_limit_below_usage(guest: &Guest) -> Result<Outcome, Failure> {
    let _swap = guest.zram_swap(256)?;
    let cgroup = guest.cgroup("grey-case")?;
    cgroup.write("memory.high", "400M")?;
    cgroup.write("memory.max", "500M")?;
    let mut hog = guest.hog(&HogOptions::anonymous(72).in_cgroup(cgroup.path()))?;
    let plan = enforce_arguments(&["--target", "/grey-case", "--limit", "70M"]);
    let written = if guest.name == GuestName::Linux5_10 {
        "memory.high"
    } else {
        "memory.reclaim"
    };
    let steps = kill_at_every_step(guest, &mut hog, &plan, &[written, "memory.max"])?;
    guest.say(&format!("{steps} steps"));
    Ok(Outcome::Passed)
}

fn killed_at_every_step_of_a_plan_with_every_knob(guest: &Guest) -> Result<Outcome, Failure> {
    let _ksm = KsmSetByHand::start(guest)?;
    let mut hog = guest.hog(&HogOptions::anonymous(4))?;
    let pid = hog.pid().to_string();
    let plan = enforce_arguments(&without_high(&pid));
    let written = [
        "oom_score_adj",
        "prlimit64",
        "advisor_mode",
        "pages_to_scan",
        "sleep_millisecs",
        "ksm/run",
        "mkdirat grey-optimizer",
        "cgroup.subtree_control",
        "cgroup.procs",
        "memory.max",
    ];
    let steps = kill_at_every_step(guest, &mut hog, &plan, &written)?;
    guest.say(&format!("{steps} steps"));
    Ok(Outcome::Passed)
}

fn killed_at_every_step_of_a_plan_around_a_process(guest: &Guest) -> Result<Outcome, Failure> {
    let mut hog = guest.hog(&HogOptions::anonymous(4))?;
    let pid = hog.pid().to_string();
    let actions = ["--target", &pid, "--limit", "300M", "--oom-score-adj", "9"];
    let plan = enforce_arguments(&actions);
    let written = ["oom_score_adj", "cgroup.procs", "memory.max"];
    let steps = kill_at_every_step(guest, &mut hog, &plan, &written)?;
    guest.say(&format!("{steps} steps"));
    Ok(Outcome::Passed)
}

/// Every knob but one: `memory.high` is the same knob as `memory.max`, and each
/// step costs two runs of `greyctl`.
fn without_high(target: &str) -> Vec<&str> {
    let mut plan = every_knob(target);
    if let Some(high) = plan.iter().position(|word| *word == "--high") {
        plan.drain(high..high + 2);
    }
    plan
}

/// Kills an enforcement at its first step, rolls back and compares, then at its
/// second, and so on until one comes to its end. Gives the number of steps.
fn kill_at_every_step(
    guest: &Guest,
    hog: &mut Hog,
    plan: &[&str],
    written: &[&str],
) -> Result<usize, Failure> {
    let before = KernelState::read();
    let whole = guest.trace_greyctl(plan, Scope::Tree, None)?;
    assert!(matches!(whole.code, Some(0 | 4)), "{}", whole.output);
    for file in written {
        assert!(names(&whole, file), "no step of {whole:?} is about {file}");
    }
    put_back(guest, hog, &before, &whole)?;
    for number in 1..=most_steps(&whole) {
        forget_journal(guest)?;
        hog.touch_again()?;
        let trace = guest.trace_greyctl(plan, Scope::Tree, Some(number))?;
        put_back(guest, hog, &before, &trace)?;
        if !trace.killed {
            return Ok(number - 1);
        }
    }
    Err(Failure::new("the plan never came to its end"))
}

fn names(trace: &Trace, file: &str) -> bool {
    trace.steps.iter().any(|step| step.text.contains(file))
}

/// How many steps one run has at most. Reclaim may need some slices more or
/// less each time.
fn most_steps(whole: &Trace) -> usize {
    whole.steps.len() * 2
}

/// Each run begins without a state directory, so that making it belongs to its
/// steps.
fn forget_journal(guest: &Guest) -> Result<(), Failure> {
    match fs::remove_dir_all(&guest.state_dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// What must hold wherever it was killed.
fn put_back(guest: &Guest, hog: &Hog, before: &KernelState, trace: &Trace) -> Result<(), Failure> {
    let last = trace.steps.last().map(|step| step.text.as_str());
    let last = format!("killed: {}, at {last:?}", trace.killed);
    guest.say(&last);
    let alive = trace.children_alive(CHILDREN_BOUND);
    assert!(alive.is_empty(), "{last}: children {alive:?} live on");
    let undone = guest.greyctl(&["rollback", "--json"])?;
    assert_put_back(&undone, &last)?;
    // A helper of the killed program may still be on its way out, and until
    // then it stands in the list of some cgroup.
    let mut differences = Vec::new();
    guest
        .wait_until("everything is as before", CHILDREN_BOUND, || {
            differences = before.differences(&KernelState::read());
            differences.is_empty()
        })
        .map_err(|failure| Failure::new(format!("{last}: {failure}: {differences:?}")))?;
    assert!(hog.is_alive(), "{last}");
    Ok(())
}

/// A rollback that ended well, and left nothing for another.
fn assert_put_back(undone: &Run, last: &str) -> Result<(), Failure> {
    assert_eq!(undone.code, Some(0), "{last}: {}", undone.stderr);
    let document = undone.json()?;
    for outcome in outcomes(&document) {
        let is_good = ["restored", "already_restored", "gone"].contains(&outcome.as_str());
        assert!(is_good, "{last}: {document}");
    }
    Ok(())
}

fn rollback_killed_at_every_step_can_be_run_again(guest: &Guest) -> Result<Outcome, Failure> {
    let mut hog = guest.hog(&HogOptions::anonymous(4))?;
    let pid = hog.pid().to_string();
    let whole_plan = without_high(&pid);
    let small = ["--target", &pid, "--limit", "300M", "--oom-score-adj", "9"];
    let plan = if guest.name == GuestName::Linux6_12 {
        &whole_plan[..]
    } else {
        &small[..]
    };
    let before = KernelState::read();
    for number in 1.. {
        enforce(guest, plan)?;
        assert_ne!(before, KernelState::read());
        hog.touch_again()?;
        let arguments = ["rollback", "--json"];
        let trace = guest.trace_greyctl(&arguments, Scope::Tree, Some(number))?;
        put_back(guest, &hog, &before, &trace)?;
        if !trace.killed {
            assert!(number > 20, "only {number} steps: {trace:?}");
            guest.say(&format!("{} steps", number - 1));
            break;
        }
        // Nothing of it is left in the journal.
        let open: Vec<_> = journal(guest)?
            .into_iter()
            .filter(|change| change["state"] != "undone")
            .collect();
        assert!(open.is_empty(), "{:?}: {open:?}", trace.steps.last());
        forget_journal(guest)?;
    }
    Ok(Outcome::Passed)
}

fn journal_file(guest: &Guest) -> PathBuf {
    guest.state_dir.join("journal/journal.jsonl")
}

/// Where the last line of a journal begins.
fn last_line(content: &[u8]) -> usize {
    let inner = content.len().saturating_sub(1);
    content[..inner]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |newline| newline + 1)
}

/// The ways in which the last record can be torn: cut at any place, even just
/// before its line break, or with blocks in it that were never written.
fn torn(content: &[u8]) -> Vec<Vec<u8>> {
    let start = last_line(content);
    let length = content.len() - start;
    let mut all: Vec<Vec<u8>> = [1, 9, length / 3, length / 2, length - 2, length - 1]
        .into_iter()
        .map(|kept| content[..start + kept].to_vec())
        .collect();
    let mut zeros = content.to_vec();
    zeros[start + length / 2..].fill(0);
    all.push(zeros);
    all
}

/// Cuts the journal and checks that everything goes back and that the next
/// enforcement works.
fn assert_torn_tail_is_harmless(
    guest: &Guest,
    before: &KernelState,
    content: &[u8],
    undone: usize,
) -> Result<(), Failure> {
    let file = journal_file(guest);
    fs::write(&file, content)?;
    let document = rollback(guest, &[], 0)?;
    let good = vec!["restored".to_owned(); undone];
    assert_eq!(outcomes(&document), good, "{document}");
    assert_as_before(before);
    let next = enforce(guest, &["--target", "/grey-case", "--high", "123M"])?;
    assert_ne!(before, &KernelState::read());
    assert_eq!(list(&next["journal_ids"]).len(), 1, "{next}");
    let document = rollback(guest, &[], 0)?;
    assert_eq!(outcomes(&document), ["restored"], "{document}");
    assert_as_before(before);
    // Nothing torn is left in it.
    journal(guest)?;
    Ok(())
}

/// The last record says what was read back: the change before it is known.
fn a_torn_end_of_the_journal_loses_no_earlier_record(guest: &Guest) -> Result<Outcome, Failure> {
    let cgroup = guest.cgroup("grey-case")?;
    cgroup.write("memory.high", "400M")?;
    let before = KernelState::read();
    let plan = [
        "--target",
        "/grey-case",
        "--high",
        "200M",
        "--limit",
        "300M",
    ];
    enforce(guest, &plan)?;
    let whole = fs::read(journal_file(guest))?;
    let last = String::from_utf8_lossy(&whole[last_line(&whole)..]).into_owned();
    assert!(last.contains(r#""record":"applied""#), "{last}");
    for content in torn(&whole) {
        cgroup.write("memory.high", "200M")?;
        cgroup.write("memory.max", "300M")?;
        assert_torn_tail_is_harmless(guest, &before, &content, 2)?;
    }
    Ok(Outcome::Passed)
}

/// The last record announces a change that was not made yet: it was not on
/// disk, and so the write has not been tried.
fn a_record_that_was_torn_had_changed_nothing_yet(guest: &Guest) -> Result<Outcome, Failure> {
    let cgroup = guest.cgroup("grey-case")?;
    cgroup.write("memory.high", "400M")?;
    let before = KernelState::read();
    let plan = [
        "--target",
        "/grey-case",
        "--high",
        "200M",
        "--limit",
        "300M",
    ];
    let plan = enforce_arguments(&plan);
    let whole = guest.trace_greyctl(&plan, Scope::Tree, None)?;
    rollback(guest, &[], 0)?;
    let number = step_before_write(&whole, Path::new("memory.max"))?;
    forget_journal(guest)?;
    let trace = guest.trace_greyctl(&plan, Scope::Tree, Some(number))?;
    assert!(trace.killed, "{trace:?}");
    // The record is written, and was not yet forced to the disk.
    let content = fs::read(journal_file(guest))?;
    let last = String::from_utf8_lossy(&content[last_line(&content)..]).into_owned();
    assert!(last.contains(r#""record":"change""#), "{last}");
    assert_eq!(cgroup.read("memory.max")?, "max");
    for content in torn(&content) {
        cgroup.write("memory.high", "200M")?;
        assert_torn_tail_is_harmless(guest, &before, &content, 1)?;
    }
    Ok(Outcome::Passed)
}

/// The `fdatasync` of the journal right before the first write to a file.
fn step_before_write(trace: &Trace, file: &Path) -> Result<usize, Failure> {
    let file = file.display().to_string();
    let steps = &trace.steps;
    let write = steps
        .iter()
        .position(|step| step.text.starts_with("write") && step.text.contains(&file))
        .ok_or_else(|| Failure::new(format!("nothing is written to {file}: {trace:?}")))?;
    steps[..write]
        .iter()
        .rposition(|step| step.text.starts_with("fdatasync"))
        .map(|index| index + 1)
        .ok_or_else(|| Failure::new(format!("no record is forced to the disk: {trace:?}")))
}
