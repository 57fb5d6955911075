//! Takes or reads two diagnoses and compares them.
//!
//! Never changes anything; a command that runs between the two is the user's.

use std::path::Path;

use grey_model::{KernelText, Sample, Snapshot, SystemField, Target};
use grey_policy::comparable::{Comparability, Extent, keep_comparable};
use grey_policy::compare;
use grey_telemetry::history::{MOST_PROCESSES, SamplerOptions};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::between::run_command;
use super::document::{self, CommandRun, Compared, ComparisonDocument, NotCompared};
use super::only::Only;
use super::{file, report};
use crate::cli::{DiffOptions, GlobalOptions};
use crate::diagnose::command::{take, take_again};
use crate::exit_code::Exit;
use crate::failure::Failure;
use crate::history;
use crate::moment::{self, Moment};
use crate::output::Output;
use crate::roots::open_kernel;

/// Runs `diff`.
///
/// # Errors
/// A [`Failure`] when a diagnosis cannot be read or taken, when the two do not
/// show the same, or when the command between them did not succeed.
pub(crate) fn run(
    global: &GlobalOptions,
    options: &DiffOptions,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let mut gone = Vec::new();
    let mut again = |targets: &[Target], before: &Snapshot| {
        let before = before.targets.as_deref().unwrap_or_default();
        let (after, missing) = take_again(global, targets, before)?;
        gone = missing;
        Ok(Taken::now(file::snapshot(&after)?))
    };
    let mut of_samples = None;
    let (mut before, mut after, command) = match (&options.before, &options.after) {
        _ if options.begin.is_some() => {
            let (before, after, comparability) = of_history(global, options)?;
            of_samples = Some(comparability);
            (before, after, None)
        }
        (Some(before), Some(after)) => (load(before)?, load(after)?, None),
        (Some(before), None) => {
            let before = load(before)?;
            let after = again(&targets_of(&before.snapshot)?, &before.snapshot)?;
            (before, after, None)
        }
        (None, _) => {
            let before = file::snapshot(&take(global, &options.targets)?)?;
            let ran = run_command(&options.command)?;
            let after = again(&options.targets, &before)?;
            (Taken::now(before), after, Some(ran))
        }
    };
    if of_samples.is_none() && command.is_none() {
        let both = [&before.snapshot, &after.snapshot];
        if let Some(only) = Only::of_snapshots(&options.targets, both)? {
            only.narrow(&mut before.snapshot);
            only.narrow(&mut after.snapshot);
        }
    }
    let mut comparison = compare(&before.snapshot, &after.snapshot).map_err(|error| {
        Failure::from_error(Exit::Usage, &error)
            .hint("take both with the same --target, or both without")
    })?;
    let mut notes = report::notes(&before.snapshot, &after.snapshot, &comparison);
    notes.extend(report::of_targets(&before.snapshot, &options.targets));
    notes.extend(gone.iter().map(report::of_gone));
    if let Some(comparability) = &of_samples {
        comparability.forget_bounds(&mut comparison);
        notes.extend(report::notes_of_history(comparability));
    }
    let document = ComparisonDocument {
        schema: document::SCHEMA,
        notes,
        before: before.compared(),
        after: after.compared(),
        command,
        comparison,
        not_compared: of_samples.map(|comparability| NotCompared {
            processes: count(comparability.processes_left_out.len()),
            cgroups: count(comparability.cgroups_left_out.len()),
        }),
    };
    if options.json {
        output.json(&document)?;
    } else {
        output.text(&report::render(&document, options.rows.top, output.width()))?;
    }
    match document.command {
        Some(ran) if ran.exit_code != Some(0) => Err(unsuccessful(&ran)),
        _ => Ok(Exit::Success),
    }
}

/// The two moments of history that were named, or one and the present, which is
/// read now and whole; both without what cannot be compared.
fn of_history(
    global: &GlobalOptions,
    options: &DiffOptions,
) -> Result<(Taken, Taken, Comparability), Failure> {
    let mut history = history::command::open(global)?;
    if let (Some(begin), Some(end)) = (&options.begin, &options.end) {
        let (now, zone) = (Timestamp::now(), TimeZone::system());
        let [begin, end] = [begin, end].map(|moment| moment.unix_ms(now, &zone));
        history::command::require_order(global, begin, end, ["diff -b", "-e"])?;
    }
    let mut at = |moment: &Moment, words: &str| -> Result<Sample, Failure> {
        let mut sample = history::command::sample_at(global, &mut history, moment, words)?;
        history::past::take_cgroups(&mut history, &mut sample)
            .map_err(|error| history::record::history_failure(&error))?;
        Ok(sample)
    };
    let mut before = at(options.begin.as_ref().unwrap_or(&Moment::Now), "diff -b")?;
    let (mut after, is_now) = match &options.end {
        None | Some(Moment::Now) => {
            let mut after = history::command::sample_now(global, MOST_PROCESSES)?;
            if after.boot != before.boot {
                // Nothing is in both: then as many of each.
                let kept = before.processes.len();
                after = history::command::sample_now(global, kept)?;
            }
            (after, true)
        }
        Some(moment) => {
            let begin = moment::typed(before.at_unix_ms).unwrap_or_default();
            (at(moment, &format!("diff -b {begin} -e"))?, false)
        }
    };
    // Cgroups that were not read in one are no change in the other.
    if before.cgroups.is_none() || after.cgroups.is_none() {
        (before.cgroups, after.cgroups) = (None, None);
    }
    let only = Only::of_samples(&options.targets, [&before, &after])?;
    let mut comparability = if before.boot == after.boot {
        let extent = Extent {
            later_has_all_cgroups: is_now,
            later_has_all_processes: match is_now {
                true => after.processes.len() + 1 < MOST_PROCESSES && !hides_processes(global)?,
                false => keeps_all(&after),
            },
            most_cgroups: SamplerOptions::default().cgroups,
            ticks_per_second: rustix::param::clock_ticks_per_second(),
        };
        keep_comparable(&mut before, &mut after, extent)
    } else {
        Comparability::default()
    };
    let taken = |sample: &Sample| {
        let at = moment::shown(sample.at_unix_ms, &TimeZone::system());
        Ok(Taken {
            snapshot: history::past::snapshot(sample)?,
            file: Some(format!("history, {at}")),
        })
    };
    let (mut before, mut after) = (taken(&before)?, taken(&after)?);
    if is_now {
        after.file = None;
    }
    if let Some(only) = only {
        only.narrow(&mut before.snapshot);
        only.narrow(&mut after.snapshot);
        only.narrow_comparability(&mut comparability);
    }
    Ok((before, after, comparability))
}

fn count(some: usize) -> u64 {
    u64::try_from(some).unwrap_or(u64::MAX)
}

/// Whether a sample has every process that there was; it knows how many.
fn keeps_all(sample: &Sample) -> bool {
    let kept = u64::try_from(sample.processes.len()).ok();
    kept.is_some() && sample.system.get(SystemField::Processes) == kept
}

/// Whether processes may be there that we do not see.
fn hides_processes(global: &GlobalOptions) -> Result<bool, Failure> {
    Ok(grey_telemetry::process::hides_processes(&open_kernel(
        global,
    )?))
}

/// A snapshot and where it is from.
struct Taken {
    snapshot: Snapshot,
    file: Option<String>,
}

impl Taken {
    const fn now(snapshot: Snapshot) -> Self {
        Self {
            snapshot,
            file: None,
        }
    }

    fn compared(self) -> Compared {
        Compared {
            file: self.file,
            taken_at_unix_seconds: self.snapshot.taken_at,
        }
    }
}

fn load(path: &Path) -> Result<Taken, Failure> {
    Ok(Taken {
        snapshot: file::load(path)?,
        file: Some(path.display().to_string()),
    })
}

/// The targets that a saved diagnosis was limited to, to look at the same now.
fn targets_of(snapshot: &Snapshot) -> Result<Vec<Target>, Failure> {
    let typed = snapshot.targets.iter().flatten();
    let mut targets: Vec<Target> = Vec::new();
    for target in typed {
        let parsed = target.typed.parse().map_err(|error| {
            Failure::from_error(Exit::Failed, &error).hint("name two files to compare")
        })?;
        // One name that found several processes is there for each of them.
        if !targets.contains(&parsed) {
            targets.push(parsed);
        }
    }
    Ok(targets)
}

fn unsuccessful(ran: &CommandRun) -> Failure {
    let program = ran
        .arguments
        .first()
        .map(KernelText::from)
        .unwrap_or_default();
    let how = match (ran.exit_code, ran.signal) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "did not end as programs do".to_owned(),
    };
    Failure::new(Exit::Failed, format!("`{program}` {how}"))
}
