//! Reads history: what there is, one moment of it, or all of it for another
//! program.
//!
//! Takes no lock: a recorder may be at work.

use std::path::PathBuf;

use grey_model::Sample;
use grey_telemetry::history::{Dump, History, HistoryError, HistorySpan, dumps, read_dump};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::document::{HistoryDocument, PublishedSample};
use super::export::{self, Streamed};
use super::options::{ExportOptions, HistoryCommand, HistoryOptions, Since};
use super::record::{FOLDER, history_failure};
use super::report;
use crate::cli::GlobalOptions;
use crate::exit_code::Exit;
use crate::failure::Failure;
use crate::moment::{Moment, shown};
use crate::output::Output;
use crate::recommend;
use crate::roots::state_dir;

/// A moment so long after the last sample, in milliseconds, is outside of
/// history, or so many times what lies between two samples.
const LEAST_GAP_MS: u64 = 120_000;
const GAPS: u64 = 3;

/// Where history lies.
fn folder(global: &GlobalOptions) -> Result<PathBuf, Failure> {
    Ok(state_dir(global)?.join(FOLDER))
}

/// Opens the history of the state directory.
///
/// # Errors
/// A [`Failure`] when there is none, or it cannot be read.
pub(crate) fn open(global: &GlobalOptions) -> Result<History, Failure> {
    let path = folder(global)?;
    History::open(&path).map_err(|error| match &error {
        HistoryError::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            let path = path.display();
            Failure::new(Exit::Failed, format!("there is no history in `{path}`")).hint(format!(
                "record some: {}",
                recommend::command(global, "record")
            ))
        }
        _ => history_failure(&error),
    })
}

/// The sample of `moment`: the last that was taken then or before. `now` is the
/// last of all, however old.
///
/// # Errors
/// A [`Failure`] when the moment is outside of history.
pub(crate) fn sample_at(history: &mut History, moment: &Moment) -> Result<Sample, Failure> {
    let zone = TimeZone::system();
    let wanted = match moment {
        Moment::Now => u64::MAX,
        _ => moment.unix_ms(Timestamp::now(), &zone),
    };
    let Some(span) = history.span() else {
        return Err(Failure::new(Exit::Failed, "history is empty")
            .hint("let greyctl record run for a while"));
    };
    let is_later = *moment != Moment::Now && wanted > span.until_unix_ms.saturating_add(gap(&span));
    let found = history
        .at(wanted)
        .map_err(|error| history_failure(&error))?;
    found.filter(|_| !is_later).ok_or_else(|| {
        let (wanted, from) = (shown(wanted, &zone), shown(span.from_unix_ms, &zone));
        let until = shown(span.until_unix_ms, &zone);
        Failure::new(
            Exit::Failed,
            format!("{wanted} is outside the history: it has from {from} to {until}"),
        )
    })
}

/// How long after a sample it is still the one of the moment.
fn gap(span: &HistorySpan) -> u64 {
    let length = span.until_unix_ms.saturating_sub(span.from_unix_ms);
    let between = length / span.samples.saturating_sub(1).max(1);
    between.saturating_mul(GAPS).max(LEAST_GAP_MS)
}

/// Runs `history`.
///
/// # Errors
/// A [`Failure`] when there is no history, it cannot be read, or a part of it
/// is lost.
pub(crate) fn run(
    global: &GlobalOptions,
    options: &HistoryOptions,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let mut history = open(global)?;
    let dumps = dumps(&folder(global)?).map_err(|error| history_failure(&error))?;
    let export = match &options.command {
        Some(HistoryCommand::Export(export)) => Some(export.clone()),
        None if options.is_export() => Some(ExportOptions {
            since: options.since.clone(),
            json: options.json,
            csv: options.csv,
        }),
        None => None,
    };
    if let Some(name) = &options.dump {
        let samples = of_dump(global, name, &dumps)?;
        show_dump(&history, &samples, options, output)?;
    } else if let Some(at) = &options.at {
        let sample = sample_at(&mut history, at)?;
        if options.json {
            let samples = vec![PublishedSample::from(&sample)];
            output.json(&HistoryDocument::new(&history, &dumps, samples))?;
        } else {
            let zone = TimeZone::system();
            let rows = options.rows.top;
            output.text(&report::sample(&sample, rows, &zone, output.width()))?;
        }
    } else if let Some(export) = export {
        run_export(&mut history, &dumps, &export, output)?;
    } else {
        let ((from, until), zone) = (bounds(&options.since), TimeZone::system());
        let mut text = report::overview(&mut history, from, until, &zone, output.width())
            .map_err(|error| history_failure(&error))?;
        text.push_str(&report::dumps(&dumps, &zone, output.width()));
        output.text(&text)?;
    }
    for loss in history.losses() {
        output.warn(&report::loss(loss));
    }
    Ok(match history.losses() {
        [] => Exit::Success,
        _ => Exit::PartlyDone,
    })
}

/// From when to when, in milliseconds since 1970.
fn bounds(since: &Since) -> (u64, u64) {
    let (now, zone) = (Timestamp::now(), TimeZone::system());
    let at = |moment: &Moment| moment.unix_ms(now, &zone);
    (
        since.from.as_ref().map_or(0, at),
        since.until.as_ref().map_or(u64::MAX, at),
    )
}

fn run_export(
    history: &mut History,
    dumps: &[Dump],
    options: &ExportOptions,
    output: &mut Output,
) -> Result<(), Failure> {
    let (from, until) = bounds(&options.since);
    if options.csv {
        let mut read = Ok(());
        output.stream(|out| export::csv(history, from, until, out).map(|done| read = done))?;
        return read.map_err(|error| history_failure(&error));
    }
    let streamed = Streamed::new(history, dumps, from, until);
    let printed = output.json(&streamed);
    match streamed.into_failure() {
        Some(error) => Err(history_failure(&error)),
        None => printed,
    }
}

/// The samples of the dump `name`.
fn of_dump(global: &GlobalOptions, name: &str, there: &[Dump]) -> Result<Vec<Sample>, Failure> {
    if there.iter().all(|dump| dump.name != name) {
        let failure = Failure::new(Exit::Usage, format!("history has no dump `{name}`"));
        return Err(failure.hint(format!(
            "see which there are: {}",
            recommend::command(global, "history")
        )));
    }
    read_dump(&folder(global)?, name).map_err(|error| history_failure(&error))
}

fn show_dump(
    history: &History,
    samples: &[Sample],
    options: &HistoryOptions,
    output: &mut Output,
) -> Result<(), Failure> {
    if options.json {
        let samples = samples.iter().map(PublishedSample::from).collect();
        return output.json(&HistoryDocument::new(history, &[], samples));
    }
    output.text(&report::dump(samples, &TimeZone::system(), output.width()))
}
