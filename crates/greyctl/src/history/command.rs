//! Reads history: what there is, one moment of it, or all of it for another
//! program.
//!
//! Takes no lock: a recorder may be at work.

use std::path::PathBuf;
use std::time::Duration;

use grey_model::Sample;
use grey_telemetry::history::{
    Dump, History, HistoryError, HistorySpan, Sampler, SamplerOptions, dumps, read_dump,
};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::document::{HistoryDocument, PublishedSample};
use super::export::{self, Streamed};
use super::options::{ExportOptions, HistoryCommand, HistoryOptions, Since};
use super::past::{self, CgroupsOf};
use super::record::{FOLDER, history_failure};
use super::report;
use crate::cli::GlobalOptions;
use crate::duration::short;
use crate::exit_code::Exit;
use crate::failure::{Failure, chain};
use crate::moment::{Moment, shown, typed};
use crate::output::Output;
use crate::recommend;
use crate::roots::{open_kernel, own_pid, state_dir};
use crate::table::noted;

/// A moment so long after the last sample before it, in milliseconds, is outside
/// of history, or so many times what lies between two samples.
const LEAST_GAP_MS: u64 = 120_000;
const GAPS: u64 = 3;

/// No recorder waits longer than this between two samples, in milliseconds.
const LONGEST_INTERVAL_MS: u64 = 3_600_000 + LEAST_GAP_MS;

/// Where history lies.
pub(crate) fn folder(global: &GlobalOptions) -> Result<PathBuf, Failure> {
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

/// Opens history for an account that is true without it: `None` where there is
/// none; where it cannot be read, the sentence says why.
pub(crate) fn open_beside(global: &GlobalOptions) -> Result<Option<History>, String> {
    match folder(global).map(|folder| History::open(&folder)) {
        Ok(Ok(history)) => Ok(Some(history)),
        Ok(Err(HistoryError::File { source, .. }))
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(None)
        }
        Ok(Err(error)) => Err(format!("history was not looked at: {}", chain(&error))),
        // There is no place for it.
        Err(_) => Ok(None),
    }
}

/// Why there is no sample.
fn nothing_in(global: &GlobalOptions, history: &History) -> Failure {
    let missing = missing(history);
    if missing.is_empty() {
        return Failure::new(Exit::Failed, "history is empty").hint(format!(
            "record some: {}",
            recommend::command(global, "record")
        ));
    }
    let said = "history has no sample that can be read here";
    let failure = missing
        .into_iter()
        .fold(Failure::new(Exit::Failed, said), Failure::detail);
    match history.newer() {
        [] => failure,
        [..] => failure.hint("use the version of greyctl that recorded it, or a later one"),
    }
}

/// What of `history` was not read, each in a sentence.
pub(crate) fn missing(history: &History) -> Vec<String> {
    let losses = history.losses().iter().map(report::loss);
    losses
        .chain(history.newer().iter().map(report::newer))
        .collect()
}

/// The sample of `moment`: the last that was taken then or before. Of `now` it
/// is the last of all, also where the clock was set back since. `words` are the
/// command up to where the moment stands in it, for a hint.
///
/// # Errors
/// A [`Failure`] when there is none near the moment.
pub(crate) fn sample_at(
    global: &GlobalOptions,
    history: &mut History,
    moment: &Moment,
    words: &str,
) -> Result<Sample, Failure> {
    let zone = TimeZone::system();
    let failed = |error: HistoryError| history_failure(&error);
    let wanted = moment.unix_ms(Timestamp::now(), &zone);
    let Some(span) = history.span() else {
        return Err(nothing_in(global, history));
    };
    let found = match moment {
        Moment::Now => history.last(),
        _ => history.at(wanted),
    };
    let Some(sample) = found.map_err(failed)? else {
        return Err(outside(global, wanted, &span, words));
    };
    let distance = wanted.saturating_sub(sample.at_unix_ms);
    if distance <= LEAST_GAP_MS || distance <= gap(history, &sample).map_err(failed)? {
        return Ok(sample);
    }
    let taken = shown(sample.at_unix_ms, &zone);
    let distance = short(Duration::from_secs(distance / 1000));
    if *moment == Moment::Now {
        let failure = Failure::new(
            Exit::Failed,
            format!("history has nothing of now: its last sample is of {taken}, {distance} ago"),
        );
        let failure = look_at(global, failure, "that one", words, sample.at_unix_ms);
        return Err(failure.hint(format!(
            "record from now on: {}",
            recommend::command(global, "record")
        )));
    }
    if wanted > span.until_unix_ms {
        return Err(outside(global, wanted, &span, words));
    }
    let failure = Failure::new(
        Exit::Failed,
        format!(
            "nothing was recorded at {}: the last sample before is of {taken}, {distance} earlier",
            shown(wanted, &zone)
        ),
    );
    Err(look_at(
        global,
        failure,
        "that one",
        words,
        sample.at_unix_ms,
    ))
}

fn outside(global: &GlobalOptions, wanted: u64, span: &HistorySpan, words: &str) -> Failure {
    let zone = TimeZone::system();
    let (nearest, at) = match wanted < span.from_unix_ms {
        true => ("its first sample", span.from_unix_ms),
        false => ("its last sample", span.until_unix_ms),
    };
    let (wanted, from) = (shown(wanted, &zone), shown(span.from_unix_ms, &zone));
    let until = shown(span.until_unix_ms, &zone);
    let failure = Failure::new(
        Exit::Failed,
        format!("{wanted} is outside the history: it has from {from} to {until}"),
    );
    look_at(global, failure, nearest, words, at)
}

/// `failure` with the command that shows the sample taken at `unix_ms` instead.
fn look_at(
    global: &GlobalOptions,
    failure: Failure,
    which: &str,
    words: &str,
    unix_ms: u64,
) -> Failure {
    match typed(unix_ms) {
        Some(at) => failure.hint(format!(
            "look at {which}: {}",
            recommend::command(global, &format!("{words} {at}"))
        )),
        None => failure,
    }
}

/// `failure` of a time in which `history` has nothing, with the command that
/// shows all it has. `words` are the command up to where its begin stands.
pub(crate) fn look_at_all(
    global: &GlobalOptions,
    history: &History,
    words: &str,
    failure: Failure,
) -> Failure {
    match history.span() {
        Some(span) => look_at(global, failure, "all it has", words, span.from_unix_ms),
        None => failure,
    }
}

/// How long after `sample` it is still the one of the moment, in milliseconds:
/// some times what lies between it and the one before.
fn gap(history: &mut History, sample: &Sample) -> Result<u64, HistoryError> {
    let Some(before) = sample.at_unix_ms.checked_sub(1) else {
        return Ok(0);
    };
    let before = history.at(before)?;
    Ok(before.map_or(0, |before| {
        let between = sample.at_unix_ms.saturating_sub(before.at_unix_ms);
        match before.boot == sample.boot && between <= LONGEST_INTERVAL_MS {
            true => between.saturating_mul(GAPS),
            false => 0,
        }
    }))
}

/// Every process and every cgroup now, without ourselves; at most `most`
/// processes, the largest.
///
/// # Errors
/// A [`Failure`] when the kernel cannot be read.
pub(crate) fn sample_now(global: &GlobalOptions, most: usize) -> Result<Sample, Failure> {
    let kernel = open_kernel(global)?;
    let options = SamplerOptions {
        processes: most,
        cgroups: usize::MAX,
        groups: 0,
        pss_time: Duration::ZERO,
        ..SamplerOptions::default()
    };
    let us = own_pid(&kernel);
    let mut sample = Sampler::new(&kernel, options)
        .and_then(|mut sampler| sampler.sample(&kernel))
        .map_err(|error| Failure::from_error(Exit::Failed, &error))?;
    sample
        .processes
        .retain(|process| Some(process.key.id.pid) != us);
    Ok(sample)
}

/// What a newer version wrote, what is lost, and which dumps cannot be read:
/// each is told. Whether there is any.
fn tell_of_what_is_missing(history: &History, dumps: &[Dump], output: &mut Output) -> bool {
    let faults = dumps.iter().filter_map(|dump| {
        let fault = dump.holds.as_ref().err()?;
        Some(report::dump_fault(&dump.name, fault))
    });
    let missing: Vec<String> = missing(history).into_iter().chain(faults).collect();
    for sentence in &missing {
        output.warn(sentence);
    }
    !missing.is_empty()
}

/// Says so where there is history, and nothing of the time that was asked for.
///
/// # Errors
/// A [`Failure`] when nothing of `from` to `until` was recorded.
pub(crate) fn require_some(history: &History, from: u64, until: u64) -> Result<(), Failure> {
    let Some(span) = history.span() else {
        return Ok(());
    };
    if from <= span.until_unix_ms && until >= span.from_unix_ms {
        return Ok(());
    }
    let zone = TimeZone::system();
    let asked = match (from > span.until_unix_ms, until) {
        (true, _) => format!("since {}", shown(from, &zone)),
        (false, until) => format!("until {}", shown(until, &zone)),
    };
    Err(has_no(&asked, &span))
}

fn has_no(asked: &str, span: &HistorySpan) -> Failure {
    let zone = TimeZone::system();
    let (from, until) = (
        shown(span.from_unix_ms, &zone),
        shown(span.until_unix_ms, &zone),
    );
    Failure::new(
        Exit::Failed,
        format!("history has no sample {asked}: it has from {from} to {until}"),
    )
}

/// The failure where history has samples, and none between these.
pub(crate) fn no_sample(
    global: &GlobalOptions,
    history: &History,
    from: u64,
    until: u64,
) -> Failure {
    let Some(span) = history.span() else {
        return nothing_in(global, history);
    };
    let zone = TimeZone::system();
    let (from, until) = (
        shown(from, &zone),
        shown(until.min(span.until_unix_ms), &zone),
    );
    has_no(&format!("between {from} and {until}"), &span)
}

/// That `history` begins so much later than it was asked from that people should
/// know.
pub(crate) fn begins_later(history: &History, from: u64) -> Option<String> {
    let span = history.span()?;
    let zone = TimeZone::system();
    (span.from_unix_ms.saturating_sub(from) > LEAST_GAP_MS).then(|| {
        format!(
            "history has nothing of {}: it has from {} to {}, and that is what is looked at",
            shown(from, &zone),
            shown(span.from_unix_ms, &zone),
            shown(span.until_unix_ms, &zone)
        )
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
        let (dump, samples) = of_dump(global, name, &dumps)?;
        show_dump(dump, &samples, options, output)?;
        return Ok(Exit::Success);
    }
    if let Some(at) = &options.at {
        let mut sample = sample_at(global, &mut history, at, "history --at")?;
        let cgroups = past::take_cgroups(&mut history, &mut sample)
            .map_err(|error| history_failure(&error))?;
        if options.json {
            let mut published = PublishedSample::from(&sample);
            if let CgroupsOf::Before(at) = cgroups {
                published.cgroups_at_unix_ms = Some(at);
            }
            output.json(&HistoryDocument::new(&history, &dumps, vec![published]))?;
        } else {
            let (zone, width) = (TimeZone::system(), output.width());
            let mut text = report::sample(&sample, options.rows.top, &zone, width);
            text.extend(cgroups.note().map(|note| noted(&note, width)));
            output.text(&text)?;
        }
    } else if let Some(export) = export {
        run_export(global, &mut history, &dumps, &export, output)?;
    } else {
        let (Since { from, until }, words) = (&options.since, "history --from");
        let (from, until) = bounds(global, from.as_ref(), until.as_ref(), words)?;
        let zone = TimeZone::system();
        require_some(&history, from, until)
            .map_err(|failure| look_at_all(global, &history, words, failure))?;
        let mut text = report::overview(&mut history, from, until, &zone, output.width())
            .map_err(|error| history_failure(&error))?;
        text.push_str(&report::dumps(&dumps, &zone, output.width()));
        output.text(&text)?;
    }
    Ok(match tell_of_what_is_missing(&history, &dumps, output) {
        false => Exit::Success,
        true => Exit::PartlyDone,
    })
}

/// From when to when, in milliseconds since 1970; all there is where nothing is
/// said. `words` are the command up to where the beginning stands, for a hint.
///
/// # Errors
/// A [`Failure`] when the end is before the beginning.
pub(crate) fn bounds(
    global: &GlobalOptions,
    from: Option<&Moment>,
    until: Option<&Moment>,
    words: &str,
) -> Result<(u64, u64), Failure> {
    let (now, zone) = (Timestamp::now(), TimeZone::system());
    let at = |moment: &Moment| moment.unix_ms(now, &zone);
    let (from, until) = (from.map_or(0, at), until.map_or(u64::MAX, at));
    require_order(global, from, until, [words, "--until"])?;
    Ok((from, until))
}

/// Refuses an end before the beginning. `words` are the command up to where the
/// beginning stands, and what stands before the end, for a hint.
///
/// # Errors
/// A [`Failure`] with the command that has the two in order.
pub(crate) fn require_order(
    global: &GlobalOptions,
    from: u64,
    until: u64,
    [words, before_end]: [&str; 2],
) -> Result<(), Failure> {
    if from <= until {
        return Ok(());
    }
    let zone = TimeZone::system();
    let said = format!(
        "the end, {}, is before the beginning, {}",
        shown(until, &zone),
        shown(from, &zone)
    );
    let failure = Failure::new(Exit::Usage, said);
    Err(match typed(until).zip(typed(from)) {
        Some((earlier, later)) => {
            let words = format!("{words} {earlier} {before_end} {later}");
            let command = recommend::command(global, &words);
            failure.hint(format!("look at the time between them: {command}"))
        }
        None => failure,
    })
}

fn run_export(
    global: &GlobalOptions,
    history: &mut History,
    dumps: &[Dump],
    options: &ExportOptions,
    output: &mut Output,
) -> Result<(), Failure> {
    let words = match options.csv {
        true => "history export --csv --from",
        false => "history export --json --from",
    };
    let Since { from, until } = &options.since;
    let (from, until) = bounds(global, from.as_ref(), until.as_ref(), words)?;
    require_some(history, from, until)
        .map_err(|failure| look_at_all(global, history, words, failure))?;
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

/// The dump `name` and its samples.
fn of_dump<'there>(
    global: &GlobalOptions,
    name: &str,
    there: &'there [Dump],
) -> Result<(&'there Dump, Vec<Sample>), Failure> {
    let Some(dump) = there.iter().find(|dump| dump.name == name) else {
        let failure = Failure::new(Exit::Usage, format!("history has no dump `{name}`"));
        return Err(failure.hint(format!(
            "see which there are: {}",
            recommend::command(global, "history")
        )));
    };
    let samples = read_dump(&folder(global)?, name).map_err(|error| history_failure(&error))?;
    Ok((dump, samples))
}

fn show_dump(
    dump: &Dump,
    samples: &[Sample],
    options: &HistoryOptions,
    output: &mut Output,
) -> Result<(), Failure> {
    if options.json {
        return output.json(&HistoryDocument::of_dump(dump, samples));
    }
    output.text(&report::dump(samples, &TimeZone::system(), output.width()))
}
