//! Reads the machine as a diagnosis does, then each target more closely, and
//! shows the account.
//!
//! Never changes anything: what is cold is told only as far as the kernel tells
//! it by itself.

use std::time::Duration;

use grey_model::{ResolvedTarget, Target};
use grey_telemetry::Kernel;
use grey_telemetry::history::{self, History};
use jiff::Timestamp;

use super::document::{self, TrendSource, WhyDocument};
use super::gather::{Closer, accounts};
use super::report;
use crate::cli::GlobalOptions;
use crate::diagnose::command::take_after;
use crate::diagnose::leaks::{self, Scope, Watched};
use crate::exit_code::Exit;
use crate::failure::Failure;
use crate::history::record::FOLDER;
use crate::output::Output;
use crate::roots::{open_kernel, state_dir};
use crate::why::options::WhyOptions;

/// How much of history is judged, in milliseconds: an hour.
const LOOKED_BACK: u64 = 3_600_000;

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
    let watch = |kernel: &Kernel, targets: &[ResolvedTarget]| match look {
        Some(window) => {
            let interval = (window / READINGS).max(SHORTEST_INTERVAL);
            leaks::watch(kernel, targets, window, interval, visible).map(Some)
        }
        None => Ok(recall(global, kernel, targets)),
    };
    let diagnosis = take_after(global, std::slice::from_ref(named), watch)?;
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
    let folder = state_dir(global).map(|state| state.join(FOLDER));
    folder.is_ok_and(|folder| history::is_being_recorded(&folder).unwrap_or(false))
}

/// What was recorded in the last hour; nothing where there is no history, or
/// it cannot be read: the account is true without it.
fn recall(global: &GlobalOptions, kernel: &Kernel, targets: &[ResolvedTarget]) -> Option<Watched> {
    let mut history = History::open(&state_dir(global).ok()?.join(FOLDER)).ok()?;
    let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
    let from = now.saturating_sub(LOOKED_BACK);
    let recorded = leaks::Recorded::read(&mut history, from, u64::MAX).ok()?;
    (!recorded.is_empty()).then(|| leaks::recall(kernel, &Scope::of(targets), &recorded))
}
