//! Reads the machine as a diagnosis does, then each target more closely, and
//! shows the account.
//!
//! Never changes anything: what is cold is told only as far as the kernel tells
//! it by itself.

use std::time::Duration;

use grey_model::{ResolvedTarget, Target};
use grey_telemetry::Kernel;
use grey_telemetry::history;

use super::document::{self, TrendSource, WhyDocument};
use super::gather::{Closer, accounts};
use super::report;
use crate::cli::GlobalOptions;
use crate::diagnose::command::take_after;
use crate::diagnose::leaks::{self, Watched};
use crate::exit_code::Exit;
use crate::failure::{Failure, chain};
use crate::history::command::{folder, missing, open_beside};
use crate::output::Output;
use crate::roots::open_kernel;
use crate::scope::Scope;
use crate::why::options::WhyOptions;

/// So many readings are tried for in a look.
const READINGS: u32 = 24;

/// Between two readings of a look at the least.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// Runs `why TARGET`.
///
/// # Errors
/// A [`Failure`] when the target is not found or the machine cannot be read.
pub(in super::super) fn run(
    global: &GlobalOptions,
    options: &WhyOptions,
    named: &Target,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let look = options.look.as_ref().map(|look| look.0);
    let visible = output.shows_progress();
    let mut notes = Vec::new();
    let watch = |kernel: &Kernel, targets: &[ResolvedTarget]| match look {
        Some(window) => {
            let interval = (window / READINGS).max(SHORTEST_INTERVAL);
            leaks::watch(kernel, targets, window, interval, visible).map(Some)
        }
        None => {
            let (recalled, said) = recall(global, kernel, targets);
            notes = said;
            Ok(recalled)
        }
    };
    let mut diagnosis = take_after(global, std::slice::from_ref(named), watch)?;
    diagnosis.notes.append(&mut notes);
    let source = if look.is_some() {
        TrendSource::Look
    } else {
        TrendSource::History
    };
    let kernel = open_kernel(global)?;
    let closer = Closer {
        kernel: &kernel,
        global,
        source,
        is_being_recorded: is_being_recorded(global),
    };
    let document = WhyDocument {
        schema: document::SCHEMA,
        targets: accounts(&closer, &diagnosis),
        system: diagnosis.system,
        pressure: diagnosis.pressure,
        notes: diagnosis.notes,
    };
    if options.json {
        output.json(&document)?;
    } else {
        output.text(&report::render(&document, output.width()))?;
    }
    Ok(Exit::Success)
}

/// Whether a recorder is at work; not where that cannot be asked.
fn is_being_recorded(global: &GlobalOptions) -> bool {
    folder(global).is_ok_and(|folder| history::is_being_recorded(&folder).unwrap_or(false))
}

/// What was recorded in the last hour, and what of history could not be read: the
/// account is true without it.
fn recall(
    global: &GlobalOptions,
    kernel: &Kernel,
    targets: &[ResolvedTarget],
) -> (Option<Watched>, Vec<String>) {
    let mut history = match open_beside(global) {
        Ok(Some(history)) => history,
        Ok(None) => return (None, Vec::new()),
        Err(why_not) => return (None, vec![why_not]),
    };
    let read = leaks::Recorded::read_last_hour(&mut history);
    let mut notes = missing(&history);
    let recorded = match read {
        Ok(recorded) if !recorded.is_empty() => recorded,
        Ok(_) => return (None, notes),
        Err(error) => {
            notes.push(format!("history was not looked at: {}", chain(&error)));
            return (None, notes);
        }
    };
    (
        Some(leaks::recall(kernel, &Scope::of(targets), &recorded)),
        notes,
    )
}
