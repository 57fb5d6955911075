//! Reads history: what there is, one moment of it, or all of it for another
//! program.
//!
//! Takes no lock: a recorder may be at work.

use std::ops::ControlFlow;

use grey_model::{Sample, SystemField};
use grey_telemetry::history::{History, HistoryError};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::document::{HistoryDocument, PublishedSample, SCHEMA};
use super::record::{FOLDER, history_failure};
use super::report;
use crate::cli::{GlobalOptions, HistoryOptions};
use crate::exit_code::Exit;
use crate::failure::Failure;
use crate::moment::{Moment, shown};
use crate::output::Output;
use crate::recommend;
use crate::roots::state_dir;

/// Opens the history of the state directory.
///
/// # Errors
/// A [`Failure`] when there is none, or it cannot be read.
pub(crate) fn open(global: &GlobalOptions) -> Result<History, Failure> {
    let path = state_dir(global)?.join(FOLDER);
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

/// The sample of `moment`: the last that was taken then or before.
///
/// # Errors
/// A [`Failure`] when there is none so early.
pub(crate) fn sample_at(history: &mut History, moment: &Moment) -> Result<Sample, Failure> {
    let zone = TimeZone::system();
    let wanted = moment.unix_ms(Timestamp::now(), &zone);
    let found = history
        .at(wanted)
        .map_err(|error| history_failure(&error))?;
    found.ok_or_else(|| {
        let failure = Failure::new(
            Exit::Failed,
            format!(
                "history has no sample of {} or before",
                shown(wanted, &zone)
            ),
        );
        match history.span() {
            Some(span) => failure.hint(format!("it begins at {}", shown(span.from_unix_ms, &zone))),
            None => failure.hint("it is empty: let greyctl record run for a while"),
        }
    })
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
    let (now, zone) = (Timestamp::now(), TimeZone::system());
    let from = options
        .from
        .as_ref()
        .map_or(0, |from| from.unix_ms(now, &zone));
    let until = options
        .until
        .as_ref()
        .map_or(u64::MAX, |until| until.unix_ms(now, &zone));
    if let Some(at) = &options.at {
        let sample = sample_at(&mut history, at)?;
        if options.json {
            output.json(&document(&history, vec![PublishedSample::from(&sample)]))?;
        } else {
            output.text(&report::sample(&sample, options.top, &zone, output.width()))?;
        }
    } else if options.csv {
        export_csv(&mut history, from, until, output)?;
    } else if options.json {
        let mut samples = Vec::new();
        let each = |sample: Sample| {
            samples.push(PublishedSample::from(&sample));
            ControlFlow::Continue(())
        };
        history
            .samples(from, until, each)
            .map_err(|error| history_failure(&error))?;
        output.json(&document(&history, samples))?;
    } else {
        let text = report::overview(&mut history, from, until, &zone, output.width())
            .map_err(|error| history_failure(&error))?;
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

fn document(history: &History, samples: Vec<PublishedSample>) -> HistoryDocument {
    HistoryDocument {
        schema: SCHEMA,
        span: history.span().map(Into::into),
        lost: history.losses().iter().map(Into::into).collect(),
        samples,
    }
}

/// The machine's numbers, a line for each sample. What was not read is empty.
fn export_csv(
    history: &mut History,
    from: u64,
    until: u64,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut text = String::from("at_unix_ms,since_boot_ms,boot_id");
    for field in SystemField::ALL {
        text.push(',');
        text.push_str(field.key());
    }
    text.push('\n');
    let each = |sample: Sample| {
        // An id is letters, digits and dashes.
        let (at, since, boot) = (sample.at_unix_ms, sample.since_boot_ms, &sample.boot);
        text.push_str(&format!("{at},{since},{boot}"));
        for value in sample.system.iter() {
            text.push(',');
            text.extend(value.map(|value| value.to_string()));
        }
        text.push('\n');
        ControlFlow::Continue(())
    };
    history
        .samples(from, until, each)
        .map_err(|error| history_failure(&error))?;
    output.data(text.as_bytes())
}
