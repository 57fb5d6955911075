//! What history takes on the disk, and how fast a day of it opens.
//!
//! A day is not waited for: what one sample and a thousand more take is
//! measured of real ones, and the files of a day are made of the same samples
//! again and again.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use grey_model::Sample;
use grey_telemetry::history::{History, HistoryError, HistoryOptions, HistoryWriter};

use crate::error::BenchError;
use crate::measure::Spread;

/// Where the recorder that is measured keeps its state.
pub(super) const STATE: &str = "state";

/// How often a moment is asked for.
const ROUNDS: usize = 9;

const SECONDS_A_DAY: u64 = 24 * 3600;

/// The sizes and times as lines of text.
pub(super) fn measure(greyctl: &Path, folder: &Path) -> Result<String, BenchError> {
    let samples = read(&folder.join(STATE).join("history")).map_err(failed)?;
    let (Some(first), count) = (samples.first(), samples.len() as u64) else {
        return Ok("no sample was recorded\n".to_owned());
    };
    let one = size_of(&folder.join("one"), std::slice::from_ref(first)).map_err(failed)?;
    let all = size_of(&folder.join("all"), &samples).map_err(failed)?;
    let per_sample = all.saturating_sub(one) as f64 / count.saturating_sub(1).max(1) as f64;
    let blocks = SECONDS_A_DAY / u64::from(HistoryOptions::default().samples_per_block);
    let day = per_sample * SECONDS_A_DAY as f64 + (blocks * one) as f64;
    let raw: usize = samples.iter().map(json_length).sum();
    let mut text = format!(
        "history: {count} samples in {all} B, the first {one} B, each other {per_sample:.0} B; \
         {:.1} times smaller than their values as text; a day {:.1} MiB\n",
        raw as f64 / all as f64,
        day / f64::from(1 << 20)
    );
    let state = folder.join("day");
    make_day(&state.join("history"), &samples).map_err(failed)?;
    let (mut times, before) = (Vec::new(), ticks_of_children());
    for _ in 0..ROUNDS {
        times.push(ask(greyctl, &state)?.as_secs_f64() * 1000.0);
    }
    let ticks = ticks_of_children().saturating_sub(before);
    let cpu = ticks as f64 * 1000.0 / procfs::ticks_per_second() as f64 / ROUNDS as f64;
    if let Some(spread) = Spread::of(times.into_iter()) {
        text.push_str(&format!(
            "history --at, of a day: {:.1} ms ({:.1} to {:.1}), {cpu:.1} ms of it on a CPU\n",
            spread.median, spread.min, spread.max
        ));
    }
    Ok(text)
}

/// What the programs that we waited for have used, in clock ticks.
fn ticks_of_children() -> u64 {
    procfs::process::Process::myself()
        .and_then(|us| us.stat())
        .map(|stat| u64::try_from(stat.cutime + stat.cstime).unwrap_or_default())
        .unwrap_or_default()
}

fn failed(source: HistoryError) -> BenchError {
    BenchError::Prepare {
        doing: "read or write history",
        source: std::io::Error::other(source),
    }
}

/// How long the values of a sample are, one after the other, as decimals.
fn json_length(sample: &Sample) -> usize {
    let length = |value: Option<u64>| value.map_or(2, |value| value.to_string().len() + 1);
    let system: usize = sample.system.iter().map(length).sum();
    let processes = sample
        .processes
        .iter()
        .flat_map(|process| process.values.iter());
    let cgroups = sample.cgroups.iter().flatten();
    let cgroups = cgroups.flat_map(|group| group.values.iter());
    system + processes.map(length).sum::<usize>() + cgroups.map(length).sum::<usize>()
}

fn read(folder: &Path) -> Result<Vec<Sample>, HistoryError> {
    let mut samples = Vec::new();
    History::open(folder)?.samples(0, u64::MAX, |sample| {
        samples.push(sample);
        ControlFlow::Continue(())
    })?;
    Ok(samples)
}

/// The length of the shards that `samples` make.
fn size_of(folder: &Path, samples: &[Sample]) -> Result<u64, HistoryError> {
    let mut writer = HistoryWriter::open(folder, HistoryOptions::default())?;
    for sample in samples {
        writer.append(sample)?;
    }
    writer.seal()?;
    drop(writer);
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let shards = entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "shard"));
    Ok(shards
        .filter_map(|shard| shard.metadata().ok())
        .map(|facts| facts.len())
        .sum())
}

/// History of a day that ends with a tail half full.
fn make_day(folder: &Path, samples: &[Sample]) -> Result<(), HistoryError> {
    let options = HistoryOptions {
        samples_per_sync: u32::MAX,
        ..HistoryOptions::default()
    };
    let mut writer = HistoryWriter::open(folder, options)?;
    let Some(last) = samples.last() else {
        return Ok(());
    };
    let begin = last.at_unix_ms.saturating_sub(SECONDS_A_DAY * 1000);
    for (second, sample) in (0..SECONDS_A_DAY + 900).zip(samples.iter().cycle()) {
        let mut sample = sample.clone();
        sample.at_unix_ms = begin + second * 1000;
        sample.since_boot_ms = second * 1000;
        writer.append(&sample)?;
    }
    Ok(())
}

/// Asks for a moment in the middle, as a person does.
fn ask(greyctl: &Path, state: &Path) -> Result<Duration, BenchError> {
    let begin = Instant::now();
    let status = Command::new(greyctl)
        .args(["history", "--at", "12h ago", "--state-dir"])
        .arg(state)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let took = begin.elapsed();
    match status {
        Ok(status) if status.success() => Ok(took),
        Ok(status) => Err(BenchError::Peer {
            peer: "greyctl".to_owned(),
            request: "history --at".to_owned(),
            answer: status.to_string(),
        }),
        Err(source) => Err(BenchError::Start {
            program: "greyctl".to_owned(),
            source,
        }),
    }
}
