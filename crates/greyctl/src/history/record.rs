//! Takes a sample each second, or as often as asked, until it is ended.
//!
//! Needs no signal handler: what was recorded is kept whenever it is killed.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use grey_telemetry::history::{
    DumpReason, HistoryError, HistoryOptions, HistoryWriter, Sampler, SamplerOptions,
};

use super::black_box::{BlackBox, Kept};

use super::options::RecordOptions;
use crate::cli::GlobalOptions;
use crate::count::counted;
use crate::duration::short;
use crate::exit_code::Exit;
use crate::failure::{Failure, is_denied};
use crate::output::Output;
use crate::recommend;
use crate::roots::{open_kernel, state_dir};

/// Where below the state directory history is kept.
pub(crate) const FOLDER: &str = "history";

/// With samples further apart than this, what tells of the minutes before a
/// moment has too few of them.
const SELDOM: Duration = Duration::from_secs(60);

/// Cgroups are read each so often, or each so many samples where that is sooner,
/// so that those of any moment are in the minute before it.
const CGROUPS_EACH: Duration = Duration::from_secs(10);

fn cgroups_every(interval: Duration) -> u32 {
    let most = SamplerOptions::default().cgroups_every;
    let every = CGROUPS_EACH.as_millis() / interval.as_millis().max(1);
    u32::try_from(every).unwrap_or(most).clamp(1, most)
}

/// Runs `record`.
///
/// # Errors
/// A [`Failure`] when there is nowhere to record to, or nothing can be read. A
/// sample that cannot be kept is told, and the next one tried; when it is the
/// last one, the command fails.
pub(crate) fn run(
    global: &GlobalOptions,
    options: &RecordOptions,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let kernel = open_kernel(global)?;
    let path = state_dir(global)?.join(FOLDER);
    let mut writer = open_writer(&path, options, output)?;
    for loss in writer.losses() {
        output.warn(&super::report::loss(loss));
    }
    if let Some(aside) = writer.damaged_tail() {
        let aside = aside.display();
        output.warn(&format!(
            "the samples of an earlier run that can be read are kept; the damaged file is now \
             {aside}"
        ));
    }
    if options.interval.0 > SELDOM {
        output.warn(&format!(
            "with a sample each {} history has little to say of what grew before a kill, and a \
             leak is seen late",
            short(options.interval.0)
        ));
    }
    let sampling = SamplerOptions {
        processes: options.processes,
        pss_time: options.pss_budget.of(options.interval.0),
        cgroups_every: cgroups_every(options.interval.0),
        ..SamplerOptions::default()
    };
    let mut sampler = Sampler::new(&kernel, sampling)
        .map_err(|error| Failure::from_error(Exit::Failed, &error))?;
    output.talk(&beginning(&path, options, writer.recovered()));
    output.hint(&format!(
        "look at it: {}",
        recommend::command(global, "history")
    ));
    let boot = sampler.boot().clone();
    // Dropped before the writer, whose lock the dumps need.
    let black_box = BlackBox::start(&kernel, boot, writer.dump_folder())
        .map_err(|error| Failure::from_error(Exit::Failed, &error))?;
    if !black_box.is_locked() {
        output.talk("the last minute is not locked into memory: RLIMIT_MEMLOCK is too small");
    }
    let started = Instant::now();
    let mut next = started;
    let mut talk = Talk::default();
    loop {
        let sample = sampler
            .sample(&kernel)
            .map_err(|error| Failure::from_error(Exit::Failed, &error))?;
        let kept = writer.append(&sample);
        talk.tell(output, kept, writer.take_trouble());
        for news in black_box.news() {
            tell_of_dump(output, news);
        }
        next += options.interval.0;
        let now = Instant::now();
        if options
            .length
            .is_some_and(|length| next >= started + length.0)
        {
            break;
        }
        if next < now {
            // Behind, as after a suspend: what was missed is not made up for.
            next = now;
        }
        std::thread::sleep(next - now);
    }
    drop(black_box);
    writer.seal().map_err(|error| history_failure(&error))?;
    // The last samples are not there: what was asked for was not done.
    match talk.failing {
        Some(error) => Err(history_failure(&error)),
        None => Ok(Exit::Success),
    }
}

/// The longest between two tries to open a history on a full disk.
const SELDOMEST_TRY: Duration = Duration::from_secs(10);

/// Opens the history. Where the disk is full, what an earlier recorder left finds
/// no place: that is told and tried again, as it is with samples, until the time
/// to record is over.
fn open_writer(
    path: &std::path::Path,
    options: &RecordOptions,
    output: &mut Output,
) -> Result<HistoryWriter, Failure> {
    let started = Instant::now();
    let pause = options.interval.0.min(SELDOMEST_TRY);
    let mut is_told = false;
    loop {
        let error = match HistoryWriter::open(path, history_options(options)) {
            Ok(writer) => {
                if is_told {
                    output.talk("there is room again");
                }
                return Ok(writer);
            }
            Err(error) => error,
        };
        let is_over = |length: &crate::duration::Keep| started.elapsed() + pause >= length.0;
        if !is_full(&error) || options.length.as_ref().is_some_and(is_over) {
            return Err(history_failure(&error));
        }
        if !std::mem::replace(&mut is_told, true) {
            output.warn(&format!("{}; trying on", crate::failure::chain(&error)));
        }
        std::thread::sleep(pause);
    }
}

/// What was said of samples that could not be kept: the first is told; what
/// follows is most likely the same.
#[derive(Default)]
struct Talk {
    /// Why the last sample was not kept.
    failing: Option<HistoryError>,
    has_trouble: bool,
}

impl Talk {
    fn tell(
        &mut self,
        output: &mut Output,
        kept: Result<(), HistoryError>,
        trouble: Option<HistoryError>,
    ) {
        match kept {
            Ok(()) => {
                if self.failing.take().is_some() {
                    output.talk("samples are kept again");
                }
            }
            Err(error) => {
                if self.failing.is_none() {
                    output.warn(&format!("{}; trying on", crate::failure::chain(&error)));
                }
                self.failing = Some(error);
            }
        }
        if let Some(error) = trouble
            && !std::mem::replace(&mut self.has_trouble, true)
        {
            let why = crate::failure::chain(&error);
            output.warn(&format!("{why}; samples are kept all the same"));
        }
    }
}

fn tell_of_dump(output: &mut Output, (reason, kept): Kept) {
    let what = match reason {
        DumpReason::Pressure => "memory pressure spiked",
        DumpReason::OomKill => "the kernel killed for want of memory",
    };
    match kept {
        Ok(name) => output.talk(&format!("{what}: the last minute is kept as {name}")),
        Err(error) => output.warn(&format!("{what}: {}", crate::failure::chain(&error))),
    }
}

fn history_options(options: &RecordOptions) -> HistoryOptions {
    HistoryOptions {
        max_bytes: options.max_size.0,
        max_age: options.keep.0,
        ..HistoryOptions::default()
    }
}

fn beginning(path: &std::path::Path, options: &RecordOptions, recovered: u64) -> String {
    let mut text = format!(
        "recording to {} every {}; end it with Ctrl-C, nothing is lost",
        path.display(),
        short(options.interval.0)
    );
    if recovered > 0 {
        let samples = counted(recovered, "sample", "samples");
        text.push_str(&format!("; {samples} of an earlier run kept"));
    }
    text
}

/// Why history cannot be used, with what to do.
pub(crate) fn history_failure(error: &HistoryError) -> Failure {
    let exit = if is_denied(error) {
        Exit::NotPermitted
    } else {
        match error {
            HistoryError::Unsafe { .. } => Exit::RefusedBySafety,
            _ => Exit::Failed,
        }
    };
    let failure = Failure::from_error(exit, error);
    match error {
        HistoryError::Busy { .. } => {
            failure.hint("history may be read as it grows; to record elsewhere, name a --state-dir")
        }
        HistoryError::Newer { .. } => failure.hint("use the newer greyctl, or another --state-dir"),
        HistoryError::Unsafe { .. } => {
            failure.hint("look at it, and name a directory of your own with --state-dir")
        }
        _ if exit == Exit::NotPermitted => {
            failure.hint("run as root, or name a directory of your own with --state-dir")
        }
        _ if is_kind(error, &[ErrorKind::NotADirectory, ErrorKind::AlreadyExists]) => {
            failure.hint("what is to be a directory there is a file: name another with --state-dir")
        }
        _ if is_kind(error, &[ErrorKind::ReadOnlyFilesystem]) => failure.hint(
            "that file system is read-only: remount it with rw, or name a directory on another \
             one with --state-dir",
        ),
        _ if is_full(error) => {
            failure.hint("make room there, or name a directory elsewhere with --state-dir")
        }
        _ => failure,
    }
}

fn is_full(error: &HistoryError) -> bool {
    is_kind(error, &[ErrorKind::StorageFull, ErrorKind::QuotaExceeded])
}

fn is_kind(error: &HistoryError, kinds: &[ErrorKind]) -> bool {
    let HistoryError::File { source, .. } = error else {
        return false;
    };
    kinds.contains(&source.kind())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_are_read_each_ten_seconds_or_ten_samples() {
        for (seconds, every) in [(0.1, 10), (1.0, 10), (2.0, 5), (10.0, 1), (3600.0, 1)] {
            let interval = Duration::from_secs_f64(seconds);
            assert_eq!(cgroups_every(interval), every, "{seconds}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_one_has_a_way_out() {
        for (kind, says) in [
            (ErrorKind::NotADirectory, "is a file"),
            (ErrorKind::AlreadyExists, "is a file"),
            (ErrorKind::ReadOnlyFilesystem, "remount it with rw"),
        ] {
            let failure = history_failure(&HistoryError::File {
                doing: "make",
                path: "/state/history".into(),
                source: kind.into(),
            });
            assert!(failure.hints[0].contains(says), "{failure:?}");
            assert!(failure.hints[0].contains("--state-dir"), "{failure:?}");
        }
    }

    #[test]
    fn a_full_disk_has_a_way_out() {
        let failure = history_failure(&HistoryError::File {
            doing: "write",
            path: "/state/history/current".into(),
            source: ErrorKind::StorageFull.into(),
        });
        assert_eq!(failure.exit, Exit::Failed);
        assert!(failure.hints[0].contains("make room"), "{failure:?}");
    }
}
